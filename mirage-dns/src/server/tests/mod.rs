//! Questions asked of zones that are written as master files, and answers compared as text.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::master_file::{NoFiles, Source};
use crate::message::{Edns, Header, MessageBuilder, MessageReader, Record, Section};
use crate::name::NameBuf;
use crate::record::{Rdata, RdataField, RecordClass, RecordType, rdata_fields};
use crate::zone_compiler::ZoneCompiler;

mod absent;
mod data;
mod delegation;
mod memo;
mod options;
mod redirection;
mod reference;
mod requests;
mod truncation;
mod wildcards;

/// Compiles zones from master files, whose lines may be indented as the tests are: by eight spaces.
fn compile(zones: &[&str]) -> Vec<u8> {
    let mut compiler = ZoneCompiler::new();
    for text in zones {
        let lines = text
            .lines()
            .map(|line| line.strip_prefix("        ").unwrap_or(line));
        let text = lines.collect::<Vec<_>>().join("\n");
        let text = text.as_bytes();
        compiler.add_zone(Source { name: "test", text }, &NoFiles);
    }
    match compiler.finish() {
        Ok(compiled) => compiled.image,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

/// A question and how it is asked.
#[derive(Clone)]
struct Ask {
    name: NameBuf,
    record_type: RecordType,
    class: RecordClass,
    header: Header,
    edns: Option<Edns<'static>>,
    transport: Transport,
    limits: Limits,
}

impl Ask {
    /// `"www.example. A"`, over UDP without EDNS.
    fn new(question: &str) -> Self {
        let (name, record_type) = question.split_once(' ').unwrap();
        Self {
            name: NameBuf::from_text(name).unwrap(),
            record_type: RecordType::from_mnemonic(record_type).unwrap(),
            class: RecordClass::IN,
            header: Header {
                id: 0xbeef,
                ..Header::default()
            },
            edns: None,
            transport: Transport::Udp,
            limits: Limits::default(),
        }
    }

    fn edns(mut self, payload_size: u16) -> Self {
        self.edns = Some(Edns::with_payload_size(payload_size));
        self
    }

    fn tcp(mut self) -> Self {
        self.transport = Transport::Tcp;
        self
    }

    fn octets(&self) -> Vec<u8> {
        let mut buffer = [0; 512];
        let mut builder = MessageBuilder::new(&mut buffer, self.header).unwrap();
        let (name, record_type) = (self.name.as_name(), self.record_type);
        builder
            .push_question(name, record_type, self.class)
            .unwrap();
        if let Some(edns) = &self.edns {
            builder.push_edns(edns).unwrap();
        }
        let length = builder.finish();
        buffer[..length].to_vec()
    }

    fn of(&self, image: &[u8]) -> Reply {
        self.of_zones(&ZoneSet::from_bytes(image).unwrap())
    }

    fn of_zones(&self, zones: &ZoneSet<'_>) -> Reply {
        let mut out = std::vec![0xaa; 65_535];
        let answer = respond(
            zones,
            &self.limits,
            &self.octets(),
            &client(self.transport),
            &mut out,
        );
        out.truncate(answer.unwrap().length);
        Reply::read(&out, answer.unwrap())
    }
}

/// One who asks, some day of 2026.
fn client(transport: Transport) -> Client {
    Client {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77)),
        transport,
        now: 1_780_000_000,
    }
}

/// Asks one question over UDP without EDNS.
fn ask(image: &[u8], question: &str) -> Reply {
    Ask::new(question).of(image)
}

/// An answer as text.
#[derive(Debug)]
struct Reply {
    octets: Vec<u8>,
    answer: Answer,
    /// `"NOERROR aa tc"`: the code and the flags but QR.
    status: String,
    sections: [Vec<String>; 3],
}

impl Reply {
    fn read(octets: &[u8], answer: Answer) -> Self {
        let reader = MessageReader::new(octets).unwrap();
        let header = reader.header();
        assert!(header.flags.contains(Flags::QR));
        assert_eq!(header.flags, answer.flags);
        assert_eq!(reader.end(), Ok(octets.len()), "no octets are left over");
        let edns = reader.edns().unwrap();
        let upper = edns.map_or(0, |edns| u16::from(edns.extended_rcode) << 4);
        let rcode = Rcode(header.rcode.0 | upper);
        assert_eq!(rcode, answer.rcode);
        let mut status = rcode.to_string();
        let names = [(Flags::AA, " aa"), (Flags::TC, " tc"), (Flags::RD, " rd")];
        for (flag, name) in names {
            if header.flags.contains(flag) {
                status += name;
            }
        }
        let records = |section| {
            let records = reader.section(section).map(Result::unwrap);
            let records = records.filter(|record| record.record_type != RecordType::OPT);
            records.map(|record| show(&record)).collect()
        };
        Self {
            octets: octets.to_vec(),
            answer,
            status,
            sections: [Section::Answer, Section::Authority, Section::Additional].map(records),
        }
    }

    fn reader(&self) -> MessageReader<'_> {
        MessageReader::new(&self.octets).unwrap()
    }

    /// Panics unless status and sections are these; the order inside a section counts.
    #[track_caller]
    fn is(&self, status: &str, answer: &[&str], authority: &[&str], additional: &[&str]) {
        assert_eq!(self.status, status, "{self:?}");
        for (section, expected) in self.sections.iter().zip([answer, authority, additional]) {
            assert_eq!(section, expected, "{self:?}");
        }
    }
}

/// `"www.example. 300 A 192.0.2.1"`.
fn show(record: &Record<'_>) -> String {
    let mut room = std::vec![0; 65_535];
    let rdata = record.rdata(&mut room).unwrap();
    let owner = record.owner().unwrap();
    let mut text = format!("{owner} {} {}", record.ttl, record.record_type);
    assert_eq!(record.class, RecordClass::IN);
    let record_type = record.record_type;
    if record_type.rdata_fields().is_none() || record_type == RecordType::DS {
        let octets = rdata;
        return text
            + &format!(
                " {}",
                Rdata {
                    record_type,
                    octets
                }
            );
    }
    for (field, octets) in rdata_fields(record.record_type, rdata) {
        text += " ";
        text += &match (field, octets) {
            (RdataField::Ipv4Address, &[a, b, c, d]) => Ipv4Addr::new(a, b, c, d).to_string(),
            (RdataField::Ipv6Address, octets) => {
                Ipv6Addr::from(<[u8; 16]>::try_from(octets).unwrap()).to_string()
            }
            (RdataField::U16, &[a, b]) => u16::from_be_bytes([a, b]).to_string(),
            (RdataField::U32 | RdataField::Period, &[a, b, c, d]) => {
                u32::from_be_bytes([a, b, c, d]).to_string()
            }
            (field, octets) if field.is_name() => {
                crate::name::Name::from_wire(octets).unwrap().to_string()
            }
            (_, octets) => String::from_utf8_lossy(&octets[1..]).to_string(),
        };
    }
    text
}
