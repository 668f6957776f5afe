//! The zone, and what is asked about it.

use std::fmt::Write as _;

use mirage_dns::client::Query;
use mirage_dns::name::NameBuf;
use mirage_dns::record::RecordType;

use bench_common::report::Error;

/// The zone's name.
const APEX: &str = "example.org";

/// A zone with about so many names, as a master file. Its SOA has the TTL of denials, which `domain` does not lower.
///
/// Of a hundred names 80 are hosts with one address, 8 aliases of hosts, 8 belong to four delegations and their servers, 4 to
/// two wildcards.
pub(crate) fn zone(names: u32) -> String {
    let shares = Shares::of(names);
    let mut text = format!(
        "$ORIGIN {APEX}.\n$TTL 3600\n@ IN SOA ns root 2026010101 7200 1800 1209600 3600\n@ NS ns\nns A 192.0.2.53\n"
    );
    for index in 0..shares.hosts {
        let [_, a, b, c] = index.to_be_bytes();
        let _ = writeln!(text, "host{index} A 10.{a}.{b}.{c}");
    }
    for index in 0..shares.aliases {
        let _ = writeln!(text, "alias{index} CNAME host{index}");
    }
    for index in 0..shares.delegations {
        let _ = writeln!(
            text,
            "sub{index} NS ns.sub{index}\nns.sub{index} A 198.51.100.7"
        );
    }
    for index in 0..shares.wildcards {
        let _ = writeln!(text, "*.wild{index} A 203.0.113.9");
    }
    text
}

/// How many of each kind a zone has.
struct Shares {
    hosts: u32,
    aliases: u32,
    delegations: u32,
    wildcards: u32,
}

impl Shares {
    const fn of(names: u32) -> Self {
        Self {
            hosts: names / 100 * 80,
            aliases: names / 100 * 8,
            delegations: names / 100 * 4,
            wildcards: names / 100 * 2,
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    /// Addresses of hosts alone.
    Positive,
    /// As many each: addresses, names that are missing, names below delegations, names that a wildcard covers, aliases.
    Mixed,
}

impl Mix {
    pub(crate) const ALL: [Self; 2] = [Self::Positive, Self::Mixed];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::Mixed => "mixed",
        }
    }
}

/// Questions behind each other, as in a device's ring: what a list of pointers costs is no part of an answer.
pub(crate) struct Questions {
    octets: Vec<u8>,
    ends: Vec<u32>,
}

impl Questions {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self {
            octets: Vec::new(),
            ends: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, question: &[u8]) -> Result<(), Error> {
        self.octets.extend_from_slice(question);
        self.ends.push(u32::try_from(self.octets.len())?);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let question = &self.octets[start..end as usize];
            start = end as usize;
            question
        })
    }
}

/// So many questions about random names of the zone, with EDNS and a payload size of 1,232 octets, as resolvers ask.
pub(crate) fn questions(names: u32, mix: Mix, count: u32, seed: u64) -> Result<Questions, Error> {
    let shares = Shares::of(names);
    let mut random = seed | 1;
    let mut below = |bound: u32| {
        // Marsaglia's xorshift.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (((random >> 32) * u64::from(bound)) >> 32) as u32
    };
    let mut questions = Questions::new();
    for number in 0..count {
        let kind = match mix {
            Mix::Positive => 0,
            Mix::Mixed => number % 5,
        };
        let text = match kind {
            0 => format!("host{}.{APEX}", below(shares.hosts)),
            1 => format!("missing{}.{APEX}", below(shares.hosts)),
            2 => format!("www.sub{}.{APEX}", below(shares.delegations)),
            3 => format!("any{}.wild{}.{APEX}", below(1000), below(shares.wildcards)),
            _ => format!("alias{}.{APEX}", below(shares.aliases)),
        };
        let name = NameBuf::from_text(&text)?;
        let query = Query::new(below(1 << 16) as u16, name.as_name(), RecordType::A);
        let mut buffer = [0; 512];
        let length = query.write(&mut buffer)?;
        questions.push(&buffer[..length])?;
    }
    Ok(questions)
}
