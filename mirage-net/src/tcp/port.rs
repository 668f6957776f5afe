//! Ephemeral ports that an outsider can't predict (RFC 6056).

use core::net::IpAddr;

use super::four_tuple::FourTuple;
use crate::random::{HashKey, Random};

/// RFC 6056 §3.2: the whole range above the well-known ports.
const FIRST: u16 = 1_024;
const COUNT: u32 = 65_536 - 1_024;

/// Counters of the algorithm's table (RFC 6056 §3.3.4, TABLE_LENGTH).
const COUNTERS: usize = 16;

/// Bytes that tell the purposes of one key apart.
const OFFSET: u8 = 1;
const INDEX: u8 = 2;

/// RFC 6056 §3.3.4 (algorithm 4, double-hash): each peer has its own starting point, by a keyed hash, and
/// goes on from port to port, so that a port comes again as late as it can; what one peer sees says nothing of
/// the ports that another sees.
#[derive(Clone)]
pub(crate) struct EphemeralPorts {
    key: HashKey,
    counters: [u32; COUNTERS],
}

impl EphemeralPorts {
    pub(crate) fn new(random: &mut Random) -> Self {
        EphemeralPorts {
            key: HashKey::new(random),
            counters: core::array::from_fn(|_| random.below(u64::from(COUNT)) as u32),
        }
    }

    /// A port for a connection from `local` to a peer, of which `taken` does not say that it is in
    /// use; none when all 64,512 are.
    pub(crate) fn choose(
        &mut self,
        local: IpAddr,
        remote: core::net::SocketAddr,
        taken: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let tuple = FourTuple::new((local, 0).into(), remote);
        let offset = tuple.encoded(OFFSET, 0, |bytes| self.key.hash(bytes)) as u32 % COUNT;
        let index = tuple.encoded(INDEX, 0, |bytes| self.key.hash(bytes)) as usize % COUNTERS;
        for _ in 0..COUNT {
            let counter = &mut self.counters[index];
            let port = FIRST + ((offset + *counter) % COUNT) as u16;
            *counter = (*counter + 1) % COUNT;
            if !taken(port) {
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn local() -> IpAddr {
        [10, 0, 0, 1].into()
    }

    /// "Ephemeral ports not RFC 6056."
    #[test]
    fn ports_of_two_peers_tell_nothing_of_each_other() {
        let mut ports = EphemeralPorts::new(&mut Random::fixed(5));
        let mut distances = BTreeSet::new();
        for last in 2..40 {
            let one = ports.choose(local(), ([10, 0, 0, last], 80).into(), |_| false);
            let two = ports.choose(local(), ([10, 0, 1, last], 80).into(), |_| false);
            distances.insert(one.unwrap().wrapping_sub(two.unwrap()));
        }
        assert!(distances.len() > 30, "{distances:?}");
    }

    #[test]
    fn a_peer_sees_each_port_as_late_as_possible_again() {
        let mut ports = EphemeralPorts::new(&mut Random::fixed(6));
        let remote = ([10, 0, 0, 2], 80).into();
        let mut seen = BTreeSet::new();
        for _ in 0..10_000 {
            let port = ports.choose(local(), remote, |_| false).unwrap();
            assert!(port >= FIRST);
            assert!(seen.insert(port), "{port} came again");
        }
    }

    #[test]
    fn taken_ports_are_passed_over_and_none_is_an_answer() {
        let mut ports = EphemeralPorts::new(&mut Random::fixed(7));
        let remote = ([10, 0, 0, 2], 80).into();
        assert_eq!(
            ports.choose(local(), remote, |port| port != 4_711),
            Some(4_711)
        );
        assert_eq!(ports.choose(local(), remote, |_| true), None);
    }
}
