//! Compiles a zone, asks the server for a name in it, and prints the answer.
//!
//! ```text
//! cargo run -p mirage-dns --features std --example answer_query [NAME [TYPE]]
//! ```

use std::error::Error;

use mirage_dns::client::Query;
use mirage_dns::master_file::{NoFiles, Source};
use mirage_dns::name::NameBuf;
use mirage_dns::record::{RecordType, rdata_fields};
use mirage_dns::server::{Client, Limits, Server, Transport};
use mirage_dns::zone_compiler::ZoneCompiler;
use mirage_dns::zone_set::ZoneSet;

const ZONE: &str = "\
$ORIGIN example.org.
$TTL 1h
@       SOA   ns hostmaster 2024010101 2h 30m 4w 5m
@       NS    ns
@       MX    10 mail
ns      A     192.0.2.53
mail    A     192.0.2.25
mail    AAAA  2001:db8::25
www     CNAME web
web     A     192.0.2.80
*.dyn   TXT   \"all the same\"
";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or("www.example.org".into());
    let name = NameBuf::from_text(&name)?;
    let record_type = arguments.next().unwrap_or("A".into());
    let record_type = RecordType::from_mnemonic(&record_type).ok_or("no such type")?;

    // An appliance does this when it is built, and has the image compiled in.
    let mut compiler = ZoneCompiler::new();
    let text = ZONE.as_bytes();
    compiler.add_zone(
        Source {
            name: "example.zone",
            text,
        },
        &NoFiles,
    );
    let compiled = compiler.finish()?;

    // This is all that it does when it runs: no allocation from here on.
    let zones = ZoneSet::from_bytes(&compiled.image)?;
    let server = Server::new(Limits::default());

    let query = Query::new(0x2a17, name.as_name(), record_type);
    let (mut request, mut response) = ([0; 512], [0; 1232]);
    let length = query.write(&mut request)?;
    let client = Client {
        address: [192, 0, 2, 1].into(),
        transport: Transport::Udp,
        now: 0,
    };
    let length = server
        .answer(&zones, &request[..length], &client, &mut response)
        .ok_or("no answer")?;

    let reply = query.accept(&response[..length])?;
    println!(
        ";; {} {:?}, {length} octets",
        reply.header().rcode,
        reply.header().flags
    );
    for record in reply.records() {
        let record = record?;
        if record.record_type == RecordType::OPT {
            continue;
        }
        let mut room = [0; 1232];
        print!(
            "{:?}: {} {}",
            record.section,
            record.owner()?,
            record.record_type
        );
        for (_, octets) in rdata_fields(record.record_type, record.rdata(&mut room)?) {
            print!(" {}", octets.escape_ascii());
        }
        println!();
    }
    Ok(())
}
