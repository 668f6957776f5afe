//! What counts as the same answer, and every difference that is tolerated, with its reason.
//!
//! Compared are RCODE, AA, TC, version and flags of EDNS, the question section, and as sets the answer section, the
//! authority section, and of the additional section the glue that a delegation can't do without. Other records there
//! are optional (RFC 1034 §4.3.2, step 6): NSD is told to leave them out, and ours must be in a zone.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use mirage_dns::message::HEADER_LENGTH;
use mirage_dns::record::{RecordClass, RecordType, rdata_names};

use super::knot;
use super::oracle::{Kind, MAX_UDP_PAYLOAD};
use super::questions::{Oddity, Question};
use super::response::{Record, Response};
use super::zones::Served;

const NOERROR: u16 = 0;
const FORMERR: u16 = 1;
const NXDOMAIN: u16 = 3;
const NOTIMP: u16 = 4;
const BADVERS: u16 = 16;
/// The opcode of RFC 1996.
const NOTIFY: u8 = 4;

/// What pointers to a name in another case can save, for the few names of a small answer.
const MOST_SAVED: usize = 64;

/// A difference that isn't a fault of either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// RFC 9471 §3.1: when not all addresses of servers below the cut fit, TC is set. NSD 4.6 leaves addresses out
    /// without saying so, over UDP and from 1,480 octets on. Ours must be complete or truncated, NSD's must be a part
    /// of it.
    GlueThatNsdLeavesOut,
    /// NSD 4.6 has no answer when NSEC3 is asked for, be it an alias or data, as no name of a zone has that type
    /// (RFC 5155 §7.2.8). RFC 1034 §4.3.2 and RFC 6604 make no exception for it.
    NoAnswerForNsec3,
    /// NSD implements NOTIFY, and refuses it by zone. A [`Server`](mirage_dns::server::Server) alone, which is what is compared
    /// here, doesn't, and says NOTIMP (RFC 1996 §3.12 leaves it to the server); an authority does.
    Notify,
    /// NSD leaves AA as it is in the question when it answers with an error before it looks at any zone.
    AaOfTheQuestionInErrors,
    /// RFC 3225 §3: "The DO bit of the query MUST be copied in the response." NSD's BADVERS doesn't.
    DoBitOfBadvers,
    /// RFC 6891 §7: to an OPT record that is malformed the answer is FORMERR, and "MUST include an OPT record"; with the
    /// question, at least. NSD's has neither.
    OptOfFormatErrors,
    /// RFC 6891 §6.1.1: "If an OPT record is present in a received request, compliant responders MUST include an OPT record in
    /// their respective responses." NSD's NOTIMP has none.
    OptOfNotImplemented,
    /// Of errors, some repeat the question and some don't, on both sides; what is repeated is octet by octet that of
    /// the question. (RFC 1035 §4.1.1 doesn't say, and clients go by the ID.)
    QuestionOfErrors,
    /// A negative answer to class ANY isn't authoritative, so RFC 2308 §3 doesn't ask for a SOA record; NSD gives none.
    SoaForClassAny,
    /// RFC 7873 §5.4 gives a message without question a meaning together with a cookie option; NSD answers it without one, too. We
    /// say FORMERR then.
    NoQuestion,
    /// RFC 1035 §3.2.5's class ANY never gets an authoritative answer from us; from NSD it does when it follows an
    /// alias.
    AaForClassAny,
    /// NSD takes a request that has a response code as malformed. RFC 1035 §4.1.1: it is "set as part of responses"; we
    /// ignore it.
    ResponseCodeOfRequest,
    /// NSD closes a TCP connection on a message that is shorter than a header and the shortest question. We say
    /// FORMERR, or NOTIMP.
    ShortMessageOverTcp,
    /// The answer fits only with NSD's compression, which ignores case. Ours keeps the case that names in the zone
    /// have, and so doesn't point to the question's in another.
    CaseOfNamesKept,
    /// What a truncated answer still holds is of no use (RFC 2181 §9: it "should be ignored"); only that both are
    /// truncated counts.
    ContentOfTruncated,
    /// Knot follows aliases within a zone alone; RFC 1034 §4.3.2, step 3a, begins anew with all zones.
    ChainsEndAtTheZone,
    /// Knot follows five aliases, NSD as many as fit, we sixteen ([`mirage_dns::server::MAX_ALIASES`]).
    LengthOfChains,
    /// NS at a wildcard, which RFC 4592 §4.2 leaves open: Knot delegates all that it covers, NSD and we nothing.
    NsAtAWildcard,
    /// Where the SOA record of a denial does not fit, TC is set (RFC 2181 §9). Knot leaves the record out without saying so.
    SoaThatKnotLeavesOut,
    /// A LOC record of another version than 0 (RFC 1876 §2 reserves them): Knot takes it into the zone, and fails to answer
    /// with it.
    LocThatKnotCannotRead,
}

/// What came of a comparison.
#[derive(Debug)]
pub(crate) enum Verdict {
    Same,
    Tolerated(Vec<Rule>),
    Different(String),
}

/// What was said to a question.
pub(crate) struct Answers<'a> {
    pub(crate) oracle: Kind,
    pub(crate) is_udp: bool,
    pub(crate) ours: Option<&'a [u8]>,
    /// What we say over TCP.
    pub(crate) whole: Option<&'a [u8]>,
    pub(crate) theirs: Option<&'a [u8]>,
}

/// Compares what we and an oracle said to a question.
pub(crate) fn compare(question: &Question, zones: &Served<'_>, answers: &Answers<'_>) -> Verdict {
    let (ours, theirs) = match (answers.ours, answers.theirs) {
        (None, None) => return Verdict::Same,
        (Some(ours), None) => {
            let is_error = |ours: Response| ours.is_bare(FORMERR) || ours.is_bare(NOTIMP);
            let shortest = HEADER_LENGTH + 1 + 4;
            let is_short = !answers.is_udp && question.octets.len() < shortest;
            return if is_short && check_form(question, false, ours).is_ok_and(is_error) {
                Verdict::Tolerated(vec![Rule::ShortMessageOverTcp])
            } else {
                Verdict::Different("we answer, they don't".to_owned())
            };
        }
        (None, Some(_)) => return Verdict::Different("they answer, we don't".to_owned()),
        (Some(ours), Some(theirs)) => (ours, theirs),
    };
    let both = check_form(question, answers.is_udp, ours).and_then(|ours| {
        let whole = check_form(question, false, answers.whole.unwrap_or_default())?;
        match ours
            .additional
            .union(&whole.additional)
            .find(|r| !zones.records.contains(r))
        {
            Some(record) => Err(format!("in additional, but in no zone: {record:?}")),
            None => Ok((ours, whole)),
        }
    });
    let (ours, whole) = match both {
        Ok(both) => both,
        Err(fault) => return Verdict::Different(fault),
    };
    let theirs = match Response::parse(theirs) {
        Ok(theirs) => theirs,
        Err(error) => return Verdict::Different(format!("their answer can't be read: {error}")),
    };
    let known = match answers.oracle {
        Kind::Nsd => None,
        Kind::Knot => knot::known_difference(question, zones, &whole, &theirs),
    };
    match differences(question, zones, &ours, &whole, &theirs) {
        Verdict::Different(text) => match known {
            Some(rule) => Verdict::Tolerated(vec![rule]),
            None => Verdict::Different(text),
        },
        verdict => verdict,
    }
}

/// What must hold of our answer whatever NSD says.
fn check_form(question: &Question, is_udp: bool, octets: &[u8]) -> Result<Response, String> {
    let response = Response::parse(octets).map_err(|e| format!("ours can't be read: {e}"))?;
    let asked = &question.octets;
    if octets[..2] != asked[..2] {
        return Err("not the ID of the question".to_owned());
    }
    // The opcode and RD are copied; QR is set; RA, Z, AD and CD are not (RFC 1035 §4.1.1, RFC 4035 §3.1.6).
    let copied = u16::from_be_bytes([asked[2], asked[3]]) & 0x7900;
    if response.flags & !(Response::AA | Response::TC) != 0x8000 | copied {
        return Err(format!("flags {:04x}", response.flags));
    }
    if !response.question.is_empty() && !asked[12..].starts_with(&response.question) {
        return Err("the question is not repeated octet by octet".to_owned());
    }
    if response.repeats {
        return Err("a record is there twice".to_owned());
    }
    let stated = question
        .edns_size
        .unwrap_or(512)
        .clamp(512, MAX_UDP_PAYLOAD);
    if is_udp && response.length > usize::from(stated) {
        return Err(format!(
            "{} octets where {stated} are allowed",
            response.length
        ));
    }
    Ok(response)
}

fn differences(
    question: &Question,
    zones: &Served<'_>,
    ours: &Response,
    whole: &Response,
    theirs: &Response,
) -> Verdict {
    let mut text = String::new();
    let mut rules = Vec::new();
    let mut flags = theirs.flags;
    let asked_flags = u16::from_be_bytes([question.octets[2], question.octets[3]]);
    if ours.rcode == NOTIMP && question.opcode == NOTIFY {
        return if ours.is_bare(NOTIMP) {
            Verdict::Tolerated(vec![Rule::Notify])
        } else {
            Verdict::Different(format!("NOTIFY is answered with {ours:?}"))
        };
    }
    let aliases = |record: &Record| record.record_type == RecordType::CNAME.0;
    if question.record_type == RecordType::NSEC3
        && theirs.answer.is_empty()
        && !ours.answer.is_empty()
        && (ours.answer.iter())
            .all(|record| aliases(record) || record.record_type == RecordType::NSEC3.0)
    {
        return Verdict::Tolerated(vec![Rule::NoAnswerForNsec3]);
    }
    if question.question_count == 0 && ours.is_bare(FORMERR) && theirs.is_bare(NOERROR) {
        return Verdict::Tolerated(vec![Rule::NoQuestion]);
    }
    if question.oddity == Oddity::ResponseCode && theirs.is_bare(FORMERR) {
        return Verdict::Tolerated(vec![Rule::ResponseCodeOfRequest]);
    }
    if ours.rcode != theirs.rcode {
        let _ = write!(text, " RCODE {} for {};", ours.rcode, theirs.rcode);
    }
    let is_error = !matches!(ours.rcode, NOERROR | NXDOMAIN) && ours.rcode == theirs.rcode;
    if is_error && asked_flags & flags & Response::AA != 0 {
        rules.push(Rule::AaOfTheQuestionInErrors);
        flags &= !Response::AA;
    }
    let nsd_alone_has_aa = flags & !ours.flags & Response::AA != 0;
    if question.class == RecordClass::ANY && nsd_alone_has_aa && ours.answer.iter().any(aliases) {
        rules.push(Rule::AaForClassAny);
        flags &= !Response::AA;
    }
    if ours.edns != theirs.edns {
        let do_bit_alone = ours.edns == Some((0, 0x8000)) && theirs.edns == Some((0, 0));
        if is_error && ours.rcode == BADVERS && do_bit_alone {
            rules.push(Rule::DoBitOfBadvers);
        } else if ours.rcode == NOTIMP && is_error && theirs.edns.is_none() {
            rules.push(Rule::OptOfNotImplemented);
        } else if ours.rcode == FORMERR && is_error && theirs.edns.is_none() && is_odd_opt(question)
        {
            rules.push(Rule::OptOfFormatErrors);
        } else {
            let _ = write!(text, " EDNS {:?} for {:?};", ours.edns, theirs.edns);
        }
    }
    if ours.question != theirs.question {
        if is_error && is_odd_opt(question) && theirs.question.is_empty() {
            if !rules.contains(&Rule::OptOfFormatErrors) {
                rules.push(Rule::OptOfFormatErrors);
            }
        } else if is_error && (ours.question.is_empty() || theirs.question.is_empty()) {
            rules.push(Rule::QuestionOfErrors);
        } else {
            text += " question sections differ;";
        }
    }
    if let Some(glue) = needed_glue(ours, zones) {
        let in_ours: BTreeSet<&Record> = ours.additional.intersection(&glue).collect();
        let in_theirs: BTreeSet<&Record> = theirs.additional.intersection(&glue).collect();
        if !ours.has(Response::TC) && in_ours.len() < glue.len() {
            text += " our glue is not complete and TC is not set;";
        }
        if in_theirs.len() < glue.len() && !theirs.has(Response::TC) {
            rules.push(Rule::GlueThatNsdLeavesOut);
            flags |= ours.flags & Response::TC;
        }
    }
    // Where one alone is truncated, what we would say over TCP shows whether the rest is the same.
    let mut compared = ours;
    if ours.has(Response::TC) && !theirs.has(Response::TC) {
        compared = whole;
        if flags & Response::TC == 0 && whole.length.saturating_sub(theirs.length) <= MOST_SAVED {
            rules.push(Rule::CaseOfNamesKept);
            flags |= Response::TC;
        }
    }
    for (flag, name) in [(Response::AA, "AA"), (Response::TC, "TC")] {
        if ours.has(flag) != (flags & flag != 0) {
            let _ = write!(text, " {name} {} for {};", ours.has(flag), theirs.has(flag));
        }
    }
    if compared.has(Response::TC) {
        rules.push(Rule::ContentOfTruncated);
    } else {
        describe("answer", &compared.answer, &theirs.answer, &mut text);
        let is_soa = |record: &Record| record.record_type == RecordType::SOA.0;
        if question.class == RecordClass::ANY
            && compared.authority.iter().all(is_soa)
            && compared.authority.len() == 1
            && theirs.authority.is_empty()
        {
            rules.push(Rule::SoaForClassAny);
        } else {
            describe(
                "authority",
                &compared.authority,
                &theirs.authority,
                &mut text,
            );
        }
    }
    if !text.is_empty() {
        Verdict::Different(text)
    } else if rules.is_empty() {
        Verdict::Same
    } else {
        Verdict::Tolerated(rules)
    }
}

/// Whether the question's OPT records are malformed, or one too many.
fn is_odd_opt(question: &Question) -> bool {
    matches!(
        question.oddity,
        Oddity::TwoOpts | Oddity::OptWithOwner | Oddity::BrokenOption
    )
}

fn describe(section: &str, ours: &BTreeSet<Record>, theirs: &BTreeSet<Record>, text: &mut String) {
    let ours_only = ours.difference(theirs).map(|record| ("ours", record));
    let theirs_only = theirs.difference(ours).map(|record| ("theirs", record));
    for (whose, record) in ours_only.chain(theirs_only).take(6) {
        let record_type = RecordType(record.record_type);
        let _ = write!(
            text,
            " {section}, only {whose}: {record_type} {} {} {};",
            record.owner,
            record.ttl,
            record.data.escape_ascii()
        );
    }
}

/// Of a referral: all addresses in the zones of its servers that lie at or below the cut. Without them it can't be
/// followed.
fn needed_glue(response: &Response, zones: &Served<'_>) -> Option<BTreeSet<Record>> {
    if response.has(Response::AA) {
        return None;
    }
    let mut servers = BTreeSet::new();
    let mut cut = None;
    for record in &response.authority {
        if record.record_type != RecordType::NS.0 {
            continue;
        }
        cut = Some(record.owner.as_name());
        for target in rdata_names(RecordType::NS, &record.data) {
            if target.is_subdomain_of(record.owner.as_name()) {
                servers.insert(target.to_owned());
            }
        }
    }
    // The zone above the cut: the deepest one that isn't the child itself.
    let cut = cut?;
    let zone = cut
        .ancestors()
        .skip(1)
        .find_map(|above| zones.set.zones().find(|zone| zone.apex() == above))?;
    let glue = zone.records().filter(|record| {
        matches!(record.record_type, RecordType::A | RecordType::AAAA)
            && servers.contains(&record.owner.to_owned())
    });
    Some(glue.map(|record| Record::from(&record)).collect())
}
