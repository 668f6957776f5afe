//! The zones that are served, and what is asked of them.

use core::fmt::Write as _;

/// The zone's name.
pub(crate) const ORIGIN: &str = "example.com";

/// A master file with `names` names beside the zone's own, each with an address.
pub(crate) fn master_file(names: usize) -> String {
    let mut text = format!(
        "$ORIGIN {ORIGIN}.\n$TTL 3600\n\
         @ SOA ns1 hostmaster 1 7200 3600 1209600 300\n@ NS ns1\nns1 A 192.0.2.1\n"
    );
    for index in 0..names {
        let [_, a, b, c] = u32::try_from(index).unwrap_or(0).to_be_bytes();
        // Writing to a String doesn't fail.
        let _ = writeln!(text, "{} A 10.{a}.{b}.{c}", label(index));
    }
    text
}

/// Of one length, spread over the alphabet.
fn label(index: usize) -> String {
    let mixed = (index as u32).wrapping_mul(2_654_435_761);
    format!("h{mixed:08x}")
}

/// What is asked: names of the zone, drawn at random, in the form that dnsperf reads.
pub(crate) fn queries(names: usize, count: usize, seed: u64) -> String {
    let mut random = SplitMix(seed);
    let mut text = String::with_capacity(count * 32);
    for _ in 0..count {
        let index = (random.next() % names.max(1) as u64) as usize;
        let _ = writeln!(text, "{}.{ORIGIN} A", label(index));
    }
    text
}

/// SplitMix64: small, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_name_is_there_once_and_each_query_asks_for_one() {
        let zone = master_file(1_000);
        let names: BTreeSet<&str> = zone
            .lines()
            .filter_map(|line| {
                line.strip_suffix(|c: char| c.is_ascii_digit())?
                    .split(' ')
                    .next()
            })
            .filter(|name| name.starts_with('h'))
            .collect();
        assert_eq!(names.len(), 1_000);
        let queries = queries(1_000, 5_000, 1);
        assert_eq!(queries.lines().count(), 5_000);
        let mut asked = BTreeSet::new();
        for line in queries.lines() {
            let name = line.strip_suffix(".example.com A").expect("a query");
            assert!(names.contains(name), "{line}");
            asked.insert(name);
        }
        assert!(asked.len() > 950, "{}", asked.len());
    }
}
