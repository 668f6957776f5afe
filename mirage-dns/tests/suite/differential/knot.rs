//! Where Knot 3.2 differs from us and from NSD, on purpose or by a choice that the RFCs leave.

use mirage_dns::record::{RecordClass, RecordType, rdata_names};

use super::compare::Rule;
use super::oracle::MAX_UDP_PAYLOAD;
use super::questions::{Oddity, Question};
use super::response::{Record, Response};
use super::zones::Served;

/// How many aliases Knot follows.
const MOST_ALIASES: usize = 5;

/// How many octets more Knot may need for the same answer, as it compresses names less.
const SAVED: usize = 80;

/// Whether Knot is asked a question. It is not:
///
/// - what isn't an ordinary query of class IN: to most of what is malformed it says nothing, where NSD and we say FORMERR;
/// - with a payload size from 1 to 511, which it takes as malformed (RFC 6891 §6.2.3: "MUST be treated as equal to 512");
/// - for type 0, which it does not implement, and for what only signed zones have.
pub(crate) fn is_asked(question: &Question) -> bool {
    let record_type = question.record_type;
    question.oddity == Oddity::None
        && question.opcode == 0
        && question.question_count == 1
        && question.class == RecordClass::IN
        && question.edns_version == 0
        && !matches!(question.edns_size, Some(1..=511))
        && record_type.0 != 0
        && !matches!(
            record_type,
            RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3 | RecordType::NSEC3PARAM
        )
}

/// A difference that is known.
pub(crate) fn known_difference(
    question: &Question,
    zones: &Served<'_>,
    ours: &Response,
    theirs: &Response,
) -> Option<Rule> {
    const SERVFAIL: u16 = 2;
    if theirs.is_bare(SERVFAIL) && question.record_type == RecordType::LOC {
        return Some(Rule::LocThatKnotCannotRead);
    }
    let delegates = |record: &Record| record.record_type == RecordType::NS.0;
    let is_wildcard = |record: &Record| record.owner.as_name().is_wildcard();
    if theirs
        .authority
        .iter()
        .any(|record| delegates(record) && is_wildcard(record))
    {
        return Some(Rule::NsAtAWildcard);
    }
    let is_soa = |record: &Record| record.record_type == RecordType::SOA.0;
    let room = usize::from(
        question
            .edns_size
            .unwrap_or(512)
            .clamp(512, MAX_UDP_PAYLOAD),
    );
    if theirs.authority.is_empty()
        && theirs.answer == ours.answer
        && ours.authority.iter().all(is_soa)
        && ours.length + SAVED > room
    {
        return Some(Rule::SoaThatKnotLeavesOut);
    }
    // What Knot says of a chain is the beginning of what we say.
    let whole = ours.has(Response::TC) || theirs.answer.is_subset(&ours.answer);
    let aliases: Vec<&Record> = theirs
        .answer
        .iter()
        .filter(|record| record.record_type == RecordType::CNAME.0)
        .collect();
    let zone = |name: mirage_dns::name::Name<'_>| zones.set.zone_of(name).map(|zone| zone.apex());
    let asked = zone(question.name.as_name());
    let leaves = aliases.iter().any(|alias| {
        let mut targets = rdata_names(RecordType::CNAME, &alias.data);
        targets.any(|target| zone(target) != asked)
    });
    if whole && leaves {
        return Some(Rule::ChainsEndAtTheZone);
    }
    (whole && aliases.len() >= MOST_ALIASES).then_some(Rule::LengthOfChains)
}
