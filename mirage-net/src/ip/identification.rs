//! Identifications for datagrams that may be fragmented (RFC 6864).

use core::net::{IpAddr, Ipv4Addr};

use crate::random::Random;

/// Counters shared by all destinations of a bucket.
const BUCKETS: usize = 32;

/// Gives identifications that repeat late for one destination and tell an outsider nothing.
///
/// Each flow has a secret offset (a keyed hash of its addresses and protocol) on a counter that
/// it shares with the flows of its bucket, so that what one peer sees does not count the
/// datagrams that another gets (RFC 7739 §3 tells why; its §5.3 is the scheme).
pub(crate) struct Identifications {
    counters: [u16; BUCKETS],
    /// The flow that was asked for last, and its hash: datagrams come in trains.
    last: (IpAddr, IpAddr, u8),
    hash: u64,
}

impl Identifications {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut counters = [0; BUCKETS];
        for counter in &mut counters {
            *counter = random.next_u64() as u16;
        }
        // A flow that none is.
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Identifications {
            counters,
            last: (nobody, nobody, 0),
            hash: random.flow_hash(nobody, nobody, 0),
        }
    }

    pub(crate) fn next(
        &mut self,
        random: &Random,
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
    ) -> u16 {
        let flow = (source, destination, protocol);
        if self.last != flow {
            self.hash = random.flow_hash(source, destination, protocol);
            self.last = flow;
        }
        let hash = self.hash;
        let counter = &mut self.counters[(hash >> 32) as usize % BUCKETS];
        *counter = counter.wrapping_add(1);
        counter.wrapping_add(hash as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_flow_sees_every_value_once_before_any_repeats() {
        let mut random = Random::fixed(1);
        let mut identifications = Identifications::new(&mut random);
        let source: IpAddr = "10.0.0.1".parse().unwrap();
        let destination: IpAddr = "10.0.0.2".parse().unwrap();
        let mut seen = HashSet::new();
        for _ in 0..65_536 {
            assert!(seen.insert(identifications.next(&random, source, destination, 17)));
        }
    }

    #[test]
    fn two_flows_start_at_unrelated_values() {
        let mut random = Random::fixed(2);
        let mut identifications = Identifications::new(&mut random);
        let source: IpAddr = "10.0.0.1".parse().unwrap();
        let mut values = HashSet::new();
        for last in 0..100 {
            let destination: IpAddr = core::net::Ipv4Addr::new(10, 0, 1, last).into();
            values.insert(identifications.next(&random, source, destination, 17));
        }
        assert!(values.len() > 90);
    }
}
