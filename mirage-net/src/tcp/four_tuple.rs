//! What names a connection: two addresses and two ports.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use crate::random::HashKey;

/// Bytes of the longest encoding of a four-tuple, with room for a word and a domain byte.
const LONGEST: usize = 2 * 17 + 4 + 8 + 1;

/// The four-tuple of a connection (RFC 9293 §3.3.1, Key Connection State Variables): 38 bytes.
///
/// Flow labels and scopes of IPv6 don't tell connections apart, so a `SocketAddr` would carry too
/// much.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FourTuple {
    pub(crate) local_address: IpAddr,
    pub(crate) remote_address: IpAddr,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
}

const _: () = assert!(size_of::<FourTuple>() == 38);

impl FourTuple {
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        FourTuple {
            local_address: local.ip(),
            remote_address: remote.ip(),
            local_port: local.port(),
            remote_port: remote.port(),
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        (self.local_address, self.local_port).into()
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        (self.remote_address, self.remote_port).into()
    }

    /// Where it is in a table: see [`HashKey::place`].
    pub(crate) fn place(&self, key: &HashKey) -> u32 {
        let ports = u64::from(self.local_port) << 16 | u64::from(self.remote_port);
        match (self.local_address, self.remote_address) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let addresses = u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits());
                key.place(&[addresses, 12 << 56 | ports])
            }
            (local, remote) => {
                let [local, remote] = [local, remote].map(|address| match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
                    IpAddr::V6(address) => address.to_bits(),
                });
                let (first, second) = ((local >> 64) as u64, local as u64);
                let (third, fourth) = ((remote >> 64) as u64, remote as u64);
                key.place(&[first, second, third, fourth, 36 << 56 | ports])
            }
        }
    }

    /// Gives `with` an unambiguous encoding: a byte that says what it is for, the addresses with
    /// their families, the ports, and a word of the caller's.
    pub(crate) fn encoded<T>(&self, domain: u8, word: u64, with: impl FnOnce(&[u8]) -> T) -> T {
        let mut bytes = [0; LONGEST];
        let mut length = 0;
        let mut put = |part: &[u8]| {
            if let Some(room) = bytes.get_mut(length..length + part.len()) {
                room.copy_from_slice(part);
                length += part.len();
            }
        };
        put(&[domain]);
        for address in [self.local_address, self.remote_address] {
            match address {
                IpAddr::V4(address) => {
                    put(&[4]);
                    put(&address.octets());
                }
                IpAddr::V6(address) => {
                    put(&[6]);
                    put(&address.octets());
                }
            }
        }
        put(&self.local_port.to_be_bytes());
        put(&self.remote_port.to_be_bytes());
        put(&word.to_be_bytes());
        with(bytes.get(..length).unwrap_or(&bytes))
    }
}

impl fmt::Debug for FourTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {}", self.local(), self.remote())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::vec::Vec;

    pub(crate) fn tuple(local_port: u16, remote: [u8; 4], remote_port: u16) -> FourTuple {
        FourTuple::new(
            ([10, 0, 0, 1], local_port).into(),
            (remote, remote_port).into(),
        )
    }

    #[test]
    fn every_part_says_where_it_is() {
        let mut random = crate::random::Random::fixed(4);
        let key = HashKey::new(&mut random);
        let v6: std::net::SocketAddr = "[::1]:80".parse().unwrap();
        let other: std::net::SocketAddr = "[1::1]:80".parse().unwrap();
        let mut seen = std::vec![tuple(80, [10, 0, 0, 2], 4_000).place(&key)];
        for tuple in [
            tuple(81, [10, 0, 0, 2], 4_000),
            tuple(80, [10, 0, 0, 3], 4_000),
            tuple(80, [10, 0, 0, 2], 4_001),
            tuple(4_000, [10, 0, 0, 2], 80),
            FourTuple::new(v6, v6),
            FourTuple::new(v6, other),
            FourTuple::new(other, v6),
        ] {
            let place = tuple.place(&key);
            assert_ne!(place, tuple.place(&HashKey::new(&mut random)));
            assert!(!seen.contains(&place));
            seen.push(place);
        }
    }

    #[test]
    fn every_part_and_the_domain_are_encoded() {
        let base = tuple(80, [10, 0, 0, 2], 4_000);
        let encode = |tuple: &FourTuple, domain, word| -> Vec<u8> {
            tuple.encoded(domain, word, |bytes| bytes.to_vec())
        };
        let mut seen = std::vec![encode(&base, 1, 7)];
        let v6: std::net::SocketAddr = "[::1]:80".parse().unwrap();
        for other in [
            encode(&base, 2, 7),
            encode(&base, 1, 8),
            encode(&tuple(81, [10, 0, 0, 2], 4_000), 1, 7),
            encode(&tuple(80, [10, 0, 0, 3], 4_000), 1, 7),
            encode(&tuple(80, [10, 0, 0, 2], 4_001), 1, 7),
            encode(&FourTuple::new(v6, v6), 1, 7),
        ] {
            assert!(!seen.contains(&other));
            seen.push(other);
        }
        // The longest loses nothing: its last byte is the word's.
        assert_eq!(seen.last().unwrap().len(), LONGEST);
        assert_eq!(seen.last().unwrap().last(), Some(&7));
    }
}
