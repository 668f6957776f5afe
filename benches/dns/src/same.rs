//! Whether all give the same answers, before any is timed.

use std::collections::BTreeSet;

use mirage_dns::message::{MessageReader, Section};
use mirage_dns::record::{Rcode, RecordType};
use mirage_dns::server::MemoSlot;

use bench_common::report::Error;

use crate::questions::Questions;
use crate::systems::{Answering, Domain, MEMO_SLOTS, Mirage, MirageMemo};

/// An answer without the order of its records.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    rcode: Rcode,
    answer: BTreeSet<String>,
    authority: BTreeSet<String>,
    additional: BTreeSet<String>,
    has_opt: bool,
}

/// Asks every question of every system.
///
/// With and without the memo the answers are equal to the octet. Those of `domain` hold the same records, but that it does not
/// follow aliases: of a chain ours has the target, too.
///
/// # Errors
/// Names the first question whose answers differ.
pub(crate) fn check(text: &str, image: &[u8], asked: &Questions) -> Result<(), Error> {
    let mut slots = vec![MemoSlot::EMPTY; MEMO_SLOTS];
    let mut mirage = Mirage::new(image)?;
    let mut memo = MirageMemo::new(image, &mut slots)?;
    let mut domain = Domain::new(text)?;
    // What was answered from the memo is looked at too.
    for request in asked.iter().chain(asked.iter()) {
        let ours = reply(&mut mirage, request);
        if reply(&mut memo, request) != ours {
            return Err(format!("with the memo another answer to {request:02x?}").into());
        }
        let theirs = reply(&mut domain, request);
        let (ours, theirs) = (content(&ours)?, content(&theirs)?);
        let same = ours.rcode == theirs.rcode
            && ours.answer.is_superset(&theirs.answer)
            && (ours.answer == theirs.answer || theirs.answer.iter().any(|r| r.contains("CNAME")))
            && ours.authority == theirs.authority
            && ours.additional == theirs.additional
            && ours.has_opt == theirs.has_opt;
        if !same {
            return Err(format!("ours {ours:?}, theirs {theirs:?}").into());
        }
    }
    Ok(())
}

fn reply(system: &mut impl Answering, request: &[u8]) -> Vec<u8> {
    let mut out = [0; 1232];
    let length = system.answer(request, &mut out);
    out[..length].to_vec()
}

fn content(octets: &[u8]) -> Result<Content, Error> {
    let reader = MessageReader::new(octets)?;
    let mut content = Content {
        rcode: reader.header().rcode,
        answer: BTreeSet::new(),
        authority: BTreeSet::new(),
        additional: BTreeSet::new(),
        has_opt: false,
    };
    let mut rdata = [0; 1232];
    for record in reader.records() {
        let record = record?;
        if record.record_type == RecordType::OPT {
            content.has_opt = true;
            continue;
        }
        let section = match record.section {
            Section::Answer => &mut content.answer,
            Section::Authority => &mut content.authority,
            Section::Additional => &mut content.additional,
        };
        let data = record.rdata(&mut rdata)?;
        section.insert(format!(
            "{} {} {} {data:02x?}",
            record.owner()?,
            record.ttl,
            record.record_type
        ));
    }
    Ok(content)
}
