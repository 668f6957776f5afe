//! The DNS message reader on any octets; what it reads whole, the builder writes again so that it reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_dns::client::Query;
use mirage_dns::message::{Flags, MessageBuilder, MessageReader, Question, Section, WriteError};
use mirage_dns::name::NameBuf;
use mirage_dns::record::{RecordClass, RecordType};

#[derive(Debug, PartialEq)]
struct Read {
    questions: Vec<Question>,
    records: Vec<(Section, NameBuf, RecordType, RecordClass, u32, Vec<u8>)>,
}

fuzz_target!(|octets: &[u8]| {
    is_a_reply(octets);
    let Some(first) = read(octets) else { return };
    let mut buffer = vec![0; 65_535];
    let Ok(length) = write(octets, &first, &mut buffer) else {
        // Decompressed, a message can be longer than any.
        return;
    };
    let second = read(&buffer[..length]).expect("what was built can be read");
    assert_eq!(first, second);
    let mut again = vec![0; 65_535];
    let length_again =
        write(&buffer[..length], &second, &mut again).expect("what was built can be built");
    assert_eq!(
        buffer[..length],
        again[..length_again],
        "building is stable"
    );
});

/// A client takes only a response to its own question.
fn is_a_reply(octets: &[u8]) {
    let Ok(reader) = MessageReader::new(octets) else {
        return;
    };
    let Some(Ok(question)) = reader.questions().next() else {
        return;
    };
    let name = question.name;
    let mut query = Query::new(reader.header().id, name.as_name(), question.record_type);
    query.class = question.class;
    if query.accept(octets).is_ok() {
        assert!(reader.header().flags.contains(Flags::QR));
        query.id ^= 1;
        assert!(query.accept(octets).is_err(), "another query's reply");
    }
}

fn read(octets: &[u8]) -> Option<Read> {
    let reader = MessageReader::new(octets).ok()?;
    let _ = (reader.edns(), reader.end());
    let mut rdata = vec![0; 65_535];
    let mut records = Vec::new();
    let mut whole = true;
    for record in reader.records() {
        let Ok(record) = record else {
            whole = false;
            break;
        };
        let (Ok(owner), Ok(data)) = (record.owner(), record.rdata(&mut rdata)) else {
            whole = false;
            continue;
        };
        records.push((
            record.section,
            owner,
            record.record_type,
            record.class,
            record.ttl,
            data.to_vec(),
        ));
    }
    let questions: Vec<Question> = reader.questions().collect::<Result<_, _>>().ok()?;
    whole.then_some(Read { questions, records })
}

fn write(octets: &[u8], read: &Read, buffer: &mut [u8]) -> Result<usize, WriteError> {
    let header = *MessageReader::new(octets).expect("it was read").header();
    let mut builder = MessageBuilder::new(buffer, header)?;
    for question in &read.questions {
        builder.push_question(
            question.name.as_name(),
            question.record_type,
            question.class,
        )?;
    }
    for (section, owner, record_type, class, ttl, rdata) in &read.records {
        builder.push_record(*section, owner.as_name(), *record_type, *class, *ttl, rdata)?;
    }
    Ok(builder.finish())
}
