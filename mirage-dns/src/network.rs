//! Ranges of addresses: who may do something, whom a limit spares.
//!
//! | type | what it is |
//! |------|------------|
//! | [`Network`] | the addresses whose first bits are the same |
//! | [`NetworkError`] | why a text is none |

use core::error::Error;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

/// The addresses whose first bits are the same: `192.0.2.0/24`, `2001:db8::/32`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

impl Network {
    /// The addresses that share the first `length` bits of `address`.
    ///
    /// # Errors
    /// [`NetworkError::Length`] when the address has fewer bits.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, NetworkError> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if length > bits {
            return Err(NetworkError::Length);
        }
        // What lies within ::ffff:0:0/96 are addresses of IPv4 in IPv6's form.
        match (address, address.to_canonical(), length.checked_sub(96)) {
            (IpAddr::V6(_), canonical @ IpAddr::V4(_), Some(length)) => Ok(Self {
                address: canonical,
                length,
            }),
            _ => Ok(Self { address, length }),
        }
    }

    /// One address alone.
    pub fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let length = if address.is_ipv4() { 32 } else { 128 };
        Self { address, length }
    }

    /// Whether an address is one of them. An IPv4 address in IPv6's form (`::ffff:192.0.2.1`), as a socket for both families
    /// gives it, counts as what it is.
    pub fn contains(self, address: IpAddr) -> bool {
        let shift = |bits: u32| bits - u32::from(self.length);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let differ = u64::from(ours.to_bits() ^ other.to_bits());
                differ >> shift(32) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let differ = ours.to_bits() ^ other.to_bits();
                self.length == 0 || differ >> shift(128) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// `ADDRESS` or `ADDRESS/LENGTH`.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, length) = match text.split_once('/') {
            None => (text, None),
            Some((address, length)) => (address, Some(length)),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        match length {
            None => Ok(Self::host(address)),
            Some(length) => {
                let length = length.parse().map_err(|_| NetworkError::Length)?;
                Self::new(address, length)
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Why a text is no range of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NetworkError {
    /// What stands before the slash is no address.
    Address,
    /// What stands behind the slash is no number of bits that the address has.
    Length,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "no address of IPv4 or IPv6",
            Self::Length => "the prefix length is no number from 0 to what the address has bits",
        })
    }
}

impl Error for NetworkError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn contains(range: &str, address: &str) -> bool {
        network(range).contains(address.parse().unwrap())
    }

    #[test]
    fn address_belongs_to_a_network_by_its_first_bits() {
        assert!(contains("192.0.2.0/24", "192.0.2.255"));
        assert!(!contains("192.0.2.0/24", "192.0.3.0"));
        assert!(contains("192.0.2.128/25", "192.0.2.129"));
        assert!(!contains("192.0.2.128/25", "192.0.2.127"));
        assert!(contains("0.0.0.0/0", "255.255.255.255"));
        assert!(contains("192.0.2.1", "192.0.2.1") && !contains("192.0.2.1", "192.0.2.0"));
        assert!(contains("2001:db8::/33", "2001:db8:7fff::1"));
        assert!(!contains("2001:db8::/33", "2001:db8:8000::1"));
        assert!(contains("::/0", "2001:db8::1") && contains("::1", "::1"));
    }

    #[test]
    fn families_are_apart_and_mapped_addresses_are_what_they_are() {
        assert!(!contains("0.0.0.0/0", "::1") && !contains("::/0", "192.0.2.1"));
        assert!(contains("192.0.2.0/24", "::ffff:192.0.2.7"));
        assert!(contains("::ffff:192.0.2.0/120", "192.0.2.7"));
        assert!(!contains("::ffff:192.0.2.0/120", "192.0.3.7"));
        assert!(contains("::ffff:192.0.2.7", "192.0.2.7"));
        assert!(contains("::ffff:0:0/96", "203.0.113.1") && !contains("::ffff:0:0/96", "::1"));
        assert!(!contains("192.0.2.0/24", "::ffff:192.0.3.7"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/",
            "192.0.2.1/33",
            "::1/129",
            "192.0.2.1/",
            "192.0.2/24",
            "a/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
