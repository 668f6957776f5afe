//! An address and the length of its prefix.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use core::str::FromStr;

/// An address with a prefix length, in the notation of RFC 4632: `10.0.0.2/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix_len: u8,
}

impl Cidr {
    /// An address and its prefix length in bits.
    ///
    /// # Errors
    /// [`PrefixError`] when the prefix is longer than the address.
    pub const fn new(address: IpAddr, prefix_len: u8) -> Result<Self, PrefixError> {
        let longest = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        if prefix_len > longest {
            return Err(PrefixError);
        }
        Ok(Cidr {
            address,
            prefix_len,
        })
    }

    /// The address, host part included.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits of the prefix.
    pub const fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Whether `address` has this prefix.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()) & mask(self.prefix_len) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix_len);
                let difference = own.to_bits() ^ other.to_bits();
                difference.checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// The directed broadcast address of an IPv4 subnet: the host part all ones (RFC 919 §7).
    ///
    /// None for IPv6 and for prefixes of 31 (RFC 3021) and 32 bits, which have none.
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        Some(self.ends()?.1)
    }

    /// The network's own address, which is never a host's: the host part all zero.
    ///
    /// None where [`broadcast`](Self::broadcast) is.
    pub fn network(&self) -> Option<Ipv4Addr> {
        Some(self.ends()?.0)
    }

    /// [`network`](Self::network) and [`broadcast`](Self::broadcast).
    #[inline(always)]
    pub(crate) fn ends(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        match self.address {
            IpAddr::V4(address) if self.prefix_len <= 30 => {
                let (bits, mask) = (address.to_bits(), mask(self.prefix_len));
                let (first, last) = (bits & mask, bits | !mask);
                Some((Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl FromStr for Cidr {
    type Err = PrefixError;

    /// Reads `address/bits`.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, prefix_len) = text.split_once('/').ok_or(PrefixError)?;
        // `u8::from_str` takes a sign; a prefix length has none.
        if !prefix_len.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PrefixError);
        }
        Cidr::new(
            address.parse().map_err(|_| PrefixError)?,
            prefix_len.parse().map_err(|_| PrefixError)?,
        )
    }
}

fn mask(prefix_len: u8) -> u32 {
    u32::MAX
        .checked_shl(32 - u32::from(prefix_len))
        .unwrap_or(0)
}

/// A prefix longer than its address, or text that is no address with a prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixError;

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an IP address with a prefix length such as 10.0.0.2/24")
    }
}

impl core::error::Error for PrefixError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn knows_what_it_contains() {
        let net = cidr("10.1.2.3/22");
        assert!(net.contains("10.1.0.0".parse().unwrap()));
        assert!(net.contains("10.1.3.255".parse().unwrap()));
        assert!(!net.contains("10.1.4.0".parse().unwrap()));
        assert!(!net.contains("::".parse().unwrap()));
        assert!(cidr("0.0.0.0/0").contains("255.1.2.3".parse().unwrap()));
        assert!(cidr("::/0").contains("ffff::1".parse().unwrap()));
        assert!(cidr("fe80::1/64").contains("fe80::2".parse().unwrap()));
        assert!(!cidr("fe80::1/64").contains("fe81::1".parse().unwrap()));
        assert!(!cidr("::1/128").contains("::2".parse().unwrap()));
    }

    #[test]
    fn knows_its_broadcast_and_network() {
        assert_eq!(
            cidr("10.1.2.3/22").broadcast(),
            Some(Ipv4Addr::new(10, 1, 3, 255))
        );
        assert_eq!(
            cidr("10.1.2.3/22").network(),
            Some(Ipv4Addr::new(10, 1, 0, 0))
        );
        assert_eq!(cidr("10.1.2.3/31").broadcast(), None);
        assert_eq!(cidr("10.1.2.3/32").network(), None);
        assert_eq!(cidr("fe80::1/64").broadcast(), None);
    }

    #[test]
    fn reads_and_writes_its_notation() {
        assert_eq!(cidr("192.0.2.1/24").to_string(), "192.0.2.1/24");
        for bad in [
            "",
            "1.2.3.4",
            "1.2.3.4/33",
            "1.2.3.4/+8",
            "1.2.3.4/",
            "::/129",
            "1.2.3/8",
            "1.2.3.4/8/8",
        ] {
            assert_eq!(bad.parse::<Cidr>(), Err(PrefixError), "{bad}");
        }
    }
}
