//! Names, messages, the master-file parser, zone images and the server; with `alloc` a zone is compiled.

use mirage_dns::master_file::{NoFiles, Parser, Source};
use mirage_dns::message::{Edns, Flags, Header, MessageBuilder, MessageReader};
use mirage_dns::name::NameBuf;
use mirage_dns::record::{RecordClass, RecordType};
use mirage_dns::tsig::{Key, KeyRing, RequestVerifier, sign_request};
use mirage_dns::zone_set::ZoneSet;

const ZONE: &[u8] = b"$ORIGIN example.org.\n$TTL 1h\n@ SOA ns1 h 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.1\n*.x A 192.0.2.2\n";

/// Whether all of it works.
pub fn run() -> bool {
    let mut query = [0; 512];
    let Some(length) = ask(&mut query) else {
        return false;
    };
    let query = &query[..length];
    reads(query) && parses() && answers(query) && signs(query) && with_a_heap(query)
}

fn ask(buffer: &mut [u8]) -> Option<usize> {
    let name = NameBuf::from_text("a.X.example.org").ok()?;
    let header = Header {
        id: 77,
        flags: Flags::RD,
        ..Header::default()
    };
    let mut builder = MessageBuilder::new(buffer, header).ok()?;
    builder
        .push_question(name.as_name(), RecordType::A, RecordClass::IN)
        .ok()?;
    builder.push_edns(&Edns::with_payload_size(1232)).ok()?;
    Some(builder.finish())
}

fn reads(message: &[u8]) -> bool {
    let Ok(reader) = MessageReader::new(message) else {
        return false;
    };
    let question = reader.questions().next();
    let Some(Ok(question)) = question else {
        return false;
    };
    question.record_type == RecordType::A
        && matches!(reader.edns(), Ok(Some(_)))
        && reader.end() == Ok(message.len())
}

fn parses() -> bool {
    let source = Source {
        name: "zone",
        text: ZONE,
    };
    let mut parser = Parser::new(source, &NoFiles);
    let mut buffer = [0; 1024];
    let mut records = 0;
    loop {
        match parser.next_record(&mut buffer) {
            Ok(Some(_)) => records += 1,
            Ok(None) => return records == 4,
            Err(_) => return false,
        }
    }
}

/// A query that is signed, verified, and given back as it was.
fn signs(query: &[u8]) -> bool {
    let Ok(key) = Key::from_text("hmac-sha512:a.example:c2VjcmV0") else {
        return false;
    };
    let keys = [key];
    let mut message = [0; 512];
    message[..query.len()].copy_from_slice(query);
    let Ok((length, _)) = sign_request(&keys[0], &mut message, query.len(), 1) else {
        return false;
    };
    let verifier = RequestVerifier::new(KeyRing::new(&keys));
    match verifier.verify(&mut message[..length], 1) {
        Ok(Some(verified)) => message[..verified.length()] == *query,
        _ => false,
    }
}

fn answers(query: &[u8]) -> bool {
    respond(&ZoneSet::EMPTY, query) == Some(REFUSED) && ZoneSet::from_bytes(query).is_err()
}

const REFUSED: u16 = 5;

fn respond(zones: &ZoneSet<'_>, query: &[u8]) -> Option<u16> {
    use mirage_dns::server::{Client, Limits, Server, Transport};
    let server = Server::new(Limits::default());
    let mut out = [0; 512];
    let client = Client {
        address: [192, 0, 2, 1].into(),
        transport: Transport::Udp,
        now: 0,
    };
    let length = server.answer(zones, query, &client, &mut out)?;
    let reader = MessageReader::new(&out[..length]).ok()?;
    (reader.header().id == 77).then_some(reader.header().rcode.0)
}

#[cfg(not(feature = "alloc"))]
fn with_a_heap(_: &[u8]) -> bool {
    true
}

#[cfg(feature = "alloc")]
fn with_a_heap(query: &[u8]) -> bool {
    let mut compiler = mirage_dns::zone_compiler::ZoneCompiler::new();
    let source = Source {
        name: "zone",
        text: ZONE,
    };
    compiler.add_zone(source, &NoFiles);
    let Ok(compiled) = compiler.finish() else {
        return false;
    };
    let Ok(zones) = ZoneSet::from_bytes(&compiled.image) else {
        return false;
    };
    respond(&zones, query) == Some(0)
}
