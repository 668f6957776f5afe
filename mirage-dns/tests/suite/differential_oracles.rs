//! The same questions to NSD, to Knot and to us, over the same zones; the answers must be the same.
//!
//! The oracles run as child processes on loopback, without privileges. Our server is called in the process: bytes in, bytes
//! out. Questions and random zones come from a seed: `MIRAGE_SEED` sets another one, and each run prints it.
//! `MIRAGE_QUESTIONS` sets how many ordinary questions are asked over UDP, besides one for each RRset. What is
//! compared, and each tolerated difference with its reason, stands in `differential/compare.rs` and `differential/knot.rs`.

use std::collections::{BTreeMap, BTreeSet};

use mirage_dns::client::Query;
use mirage_dns::record::RecordType;
use mirage_dns::server::{Client, Limits, Server, Transport};
use mirage_dns::zone_set::ZoneSet;

use crate::differential::compare::{Answers, Rule, Verdict, compare};
use crate::differential::knot;
use crate::differential::oracle::{Kind, MAX_UDP_PAYLOAD, Oracle, Pace};
use crate::differential::questions::{Question, Questions};
use crate::differential::random::Random;
use crate::differential::response::Record;
use crate::differential::zones::{self, Served};

/// The seed of a run that isn't given one, so that what passed once passes again.
const SEED: u64 = 2013;
/// Random zone families; every other one has three more zones below it.
const RANDOM_ZONES: usize = 6;
/// For so many ordinary questions one is odd.
const ODD_SHARE: usize = 20;
/// Of the questions over UDP, one in so many is asked over TCP as well.
const TCP_SHARE: usize = 5;
/// Of a hundred answers so many at least have to be the same without any rule that tolerates a difference.
const SAME_PERCENT: usize = 90;
/// Of a thousand answers so many at most may be tolerated by a rule that isn't listed in [`FREQUENT`]. A rule
/// that tolerates more no longer covers the few cases that it was made for.
const TOLERATED_PER_MILLE: usize = 5;
/// Rules for which that is too few, and how many they may tolerate of a thousand answers: two to four times what
/// they do with the seeds that were tried.
const FREQUENT: &[(Rule, usize)] = &[
    // The random zones have many delegations with more glue than fits.
    (Rule::GlueThatNsdLeavesOut, 60),
    (Rule::ResponseCodeOfRequest, 10),
    (Rule::QuestionOfErrors, 8),
    (Rule::DoBitOfBadvers, 8),
    (Rule::OptOfFormatErrors, 25),
    // Knot sets TC, as we do, where NSD leaves glue out.
    (Rule::ContentOfTruncated, 40),
    // Half of the random aliases lead out of their zones.
    (Rule::ChainsEndAtTheZone, 20),
];
/// How many differences of one kind are printed.
const SHOWN: usize = 2;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
    )
}

#[test]
fn nsd_and_we_give_the_same_answers() {
    the_same_answers(Kind::Nsd);
}

#[test]
fn knot_and_we_give_the_same_answers() {
    the_same_answers(Kind::Knot);
}

fn the_same_answers(kind: Kind) {
    let seed = number("MIRAGE_SEED").unwrap_or(SEED);
    let count = number("MIRAGE_QUESTIONS").unwrap_or(12_000) as usize;
    println!("MIRAGE_SEED={seed}");
    let mut random = Random::new(seed);

    let directory = tempfile::tempdir().expect("a temporary directory");
    let (files, image) = zones::prepare(directory.path(), &mut random, RANDOM_ZONES);
    let set = ZoneSet::from_bytes(&image).expect("a valid image");
    let served = Served::new(set);
    let source = Questions {
        owners: &served.owners,
        targets: &served.targets,
    };
    let mut ordinary = source.existing(&mut random);
    ordinary.extend((0..count).map(|_| source.ordinary(&mut random)));
    if kind == Kind::Knot {
        ordinary.retain(knot::is_asked);
    }
    let odd = (0..count / ODD_SHARE).map(|_| source.odd(&mut random));
    let odd: Vec<Question> = odd
        .filter(|question| kind == Kind::Nsd || knot::is_asked(question))
        .collect();
    let every = |share: usize, of: &[Question]| of.iter().step_by(share).cloned().collect();
    let (ordinary_tcp, odd_tcp): (Vec<_>, Vec<_>) =
        (every(TCP_SHARE, &ordinary), every(TCP_SHARE, &odd));

    let files = match kind {
        Kind::Nsd => files,
        Kind::Knot => zones::plainly(directory.path(), &set),
    };
    let oracle = Oracle::start(kind, directory.path(), &files);
    if kind == Kind::Nsd {
        same_zones(&oracle, &set);
    }
    let server = Server::new(Limits {
        udp_payload_size: MAX_UDP_PAYLOAD,
    });
    let mut tally = Tally::default();
    for (transport, questions, pace) in [
        (Transport::Udp, &ordinary, Pace::Fast),
        (Transport::Udp, &odd, Pace::Patient),
        (Transport::Tcp, &ordinary_tcp, Pace::Fast),
        (Transport::Tcp, &odd_tcp, Pace::Patient),
    ] {
        let octets: Vec<Vec<u8>> = questions.iter().map(|q| q.octets.clone()).collect();
        let theirs = match transport {
            Transport::Udp => oracle.ask_udp(&octets, pace),
            Transport::Tcp => oracle.ask_tcp(&octets, pace),
        };
        let answer = |question: &Question, transport| {
            let mut buffer = vec![0; 65_535];
            let client = Client {
                address: [127, 0, 0, 1].into(),
                transport,
                now: 0,
            };
            let length = server.answer(&set, &question.octets, &client, &mut buffer)?;
            buffer.truncate(length);
            Some(buffer)
        };
        for (question, theirs) in questions.iter().zip(&theirs) {
            let ours = answer(question, transport);
            let whole = answer(question, Transport::Tcp);
            let answers = Answers {
                is_udp: transport == Transport::Udp,
                ours: ours.as_deref(),
                whole: whole.as_deref(),
                theirs: theirs.as_deref(),
                oracle: kind,
            };
            tally.count(question, &answers, &compare(question, &served, &answers));
        }
    }
    tally.print();
    assert!(
        tally.different == 0,
        "{} of {} answers differ; the same run again: MIRAGE_SEED={seed} MIRAGE_QUESTIONS={count}",
        tally.different,
        tally.asked,
    );
    // A run in which the oracle answered nothing would prove nothing.
    assert!(tally.answered * 10 > tally.asked * 9, "{}", oracle.log());
    // Nor would one in which the rules tolerate whatever differs.
    let complaints = tally.complaints();
    assert!(
        complaints.is_empty(),
        "{}; the same run again: MIRAGE_SEED={seed} MIRAGE_QUESTIONS={count}",
        complaints.join("; ")
    );
}

/// What the oracle made of the zones' text is what we made of it, record by record.
fn same_zones(oracle: &Oracle, set: &ZoneSet<'_>) {
    for zone in set.zones() {
        let question = Query::new(1, zone.apex(), RecordType::AXFR);
        let mut octets = [0; 512];
        let length = question.write(&mut octets).expect("a question fits");
        let theirs = oracle.transfer(&octets[..length]);
        let ours: BTreeSet<Record> = zone.records().map(|record| Record::from(&record)).collect();
        let only_theirs: Vec<_> = theirs.difference(&ours).collect();
        let only_ours: Vec<_> = ours.difference(&theirs).collect();
        assert!(
            only_theirs.is_empty() && only_ours.is_empty(),
            "{}: only theirs: {only_theirs:?}; only ours: {only_ours:?}",
            zone.apex()
        );
    }
}

#[test]
fn a_rule_that_tolerates_too_much_is_named() {
    let notify = |count| Tally {
        asked: 1000,
        same: 1000 - count,
        tolerated: BTreeMap::from([(format!("{:?}", Rule::Notify), count)]),
        ..Tally::default()
    };
    assert!(notify(TOLERATED_PER_MILLE).complaints().is_empty());
    let complaints = notify(TOLERATED_PER_MILLE + 1).complaints();
    assert!(matches!(&complaints[..], [one] if one.starts_with("Notify tolerates 6 of 1000")));
    let complaints = notify(101).complaints();
    assert!(complaints[0].starts_with("only 899 of 1000"));
}

/// How many answers were the same, by rule.
#[derive(Default)]
struct Tally {
    asked: usize,
    answered: usize,
    same: usize,
    different: usize,
    tolerated: BTreeMap<String, usize>,
    /// How many differences have the same words at the beginning of each part.
    kinds: BTreeMap<String, usize>,
}

impl Tally {
    fn count(&mut self, question: &Question, answers: &Answers<'_>, verdict: &Verdict) {
        self.asked += 1;
        self.answered += usize::from(answers.theirs.is_some());
        match verdict {
            Verdict::Same => self.same += 1,
            Verdict::Tolerated(rules) => {
                for rule in rules {
                    *self.tolerated.entry(format!("{rule:?}")).or_default() += 1;
                }
            }
            Verdict::Different(text) => {
                self.different += 1;
                let kind: Vec<String> = text
                    .split(';')
                    .map(|part| part.split(' ').take(5).collect::<Vec<_>>().join(" "))
                    .collect();
                let kind = format!(
                    "{:?}, opcode {}:{}",
                    question.oddity,
                    question.opcode,
                    kind.join(";")
                );
                let seen = self.kinds.entry(kind).or_default();
                *seen += 1;
                if *seen <= SHOWN {
                    let transport = if answers.is_udp { "UDP" } else { "TCP" };
                    println!("{transport} {question}\n   {text}");
                }
            }
        }
    }

    /// What is wrong with the shares of answers that are the same and that a rule tolerates.
    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.same * 100 < self.asked * SAME_PERCENT {
            complaints.push(format!(
                "only {} of {} answers are the same, less than {SAME_PERCENT} %",
                self.same, self.asked
            ));
        }
        for (rule, &count) in &self.tolerated {
            let frequent = FREQUENT.iter().find(|(of, _)| format!("{of:?}") == *rule);
            let most = frequent.map_or(TOLERATED_PER_MILLE, |&(_, most)| most);
            if count * 1000 > self.asked * most {
                complaints.push(format!(
                    "{rule} tolerates {count} of {} answers, more than {most} of 1,000",
                    self.asked
                ));
            }
        }
        complaints
    }

    fn print(&self) {
        println!(
            "{} questions, {} answered by the oracle: {} the same, {} different",
            self.asked, self.answered, self.same, self.different
        );
        for (kind, count) in &self.kinds {
            println!("  different: {count} times: {kind}");
        }
        for (rule, count) in &self.tolerated {
            println!("  tolerated by {rule}: {count}");
        }
    }
}
