//! Ethernet addresses.

use core::fmt;
use core::str::FromStr;

/// An Ethernet (MAC-48) address, in the order of transmission (IEEE 802-2014, 8.2).
///
/// ```
/// use mirage_core::MacAddress;
///
/// let mac: MacAddress = "02:00:5e:10:00:01".parse().unwrap();
/// assert!(mac.is_unicast() && mac.is_local());
/// assert_eq!(MacAddress::BROADCAST.to_string(), "ff:ff:ff:ff:ff:ff");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// All zeros: no address.
    pub const UNSPECIFIED: Self = Self([0; 6]);

    /// Its six octets.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether it is the broadcast address.
    pub const fn is_broadcast(self) -> bool {
        matches!(self.0, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
    }

    /// Whether it names a group: the first octet's lowest bit is set (IEEE 802-2014, 8.2.2). So is the broadcast address's.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it is all zeros.
    pub const fn is_unspecified(self) -> bool {
        matches!(self.0, [0, 0, 0, 0, 0, 0])
    }

    /// Whether it may be the address of one station: neither a group nor all zeros.
    pub const fn is_unicast(self) -> bool {
        !self.is_multicast() && !self.is_unspecified()
    }

    /// Whether it is administered locally: the first octet's second lowest bit is set (IEEE 802-2014, 8.2.2).
    pub const fn is_local(self) -> bool {
        self.0[0] & 2 != 0
    }
}

impl From<[u8; 6]> for MacAddress {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl From<MacAddress> for [u8; 6] {
    fn from(mac: MacAddress) -> Self {
        mac.0
    }
}

impl AsRef<[u8]> for MacAddress {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = ParseMacAddressError;

    /// Six octets of one or two hexadecimal digits, all separated by `:` or all by `-`.
    fn from_str(text: &str) -> Result<Self, ParseMacAddressError> {
        let text = text.as_bytes();
        let separator = if text.contains(&b':') { b':' } else { b'-' };
        let mut parts = text.split(|byte| *byte == separator);
        let mut octets = [0; 6];
        for octet in &mut octets {
            let part = parts.next().ok_or(ParseMacAddressError)?;
            if part.is_empty() || part.len() > 2 {
                return Err(ParseMacAddressError);
            }
            for byte in part {
                let digit = char::from(*byte).to_digit(16);
                let digit = digit.ok_or(ParseMacAddressError)?;
                *octet = *octet << 4 | digit as u8;
            }
        }
        if parts.next().is_some() {
            Err(ParseMacAddressError)
        } else {
            Ok(Self(octets))
        }
    }
}

/// The text is no Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseMacAddressError;

impl fmt::Display for ParseMacAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected six hexadecimal octets, as in 02:00:00:00:00:01")
    }
}

impl core::error::Error for ParseMacAddressError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn parses_what_it_prints() {
        let mac = MacAddress([0x02, 0, 0x5e, 0x10, 0, 0xff]);
        assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
        assert_eq!("02:00:5e:10:00:ff".parse(), Ok(mac));
        assert_eq!("2-0-5E-10-0-FF".parse(), Ok(mac));
    }

    #[test]
    fn refuses_what_is_no_address() {
        for text in [
            "",
            ":::::",
            "02:00:00:00:00",
            "02:00:00:00:00:00:00",
            "+2:00:00:00:00:01",
            "002:0:0:0:0:1",
            "02:00-00:00:00:01",
            "gg:0:0:0:0:0",
        ] {
            assert_eq!(
                text.parse::<MacAddress>(),
                Err(ParseMacAddressError),
                "{text}"
            );
        }
    }

    #[test]
    fn kinds() {
        assert!(MacAddress::BROADCAST.is_multicast() && MacAddress::BROADCAST.is_broadcast());
        assert!(!MacAddress::UNSPECIFIED.is_unicast());
        assert!(MacAddress([1, 0, 0x5e, 0, 0, 1]).is_multicast());
        assert!(MacAddress([2, 0, 0, 0, 0, 1]).is_local());
        assert!(!MacAddress([0, 0x16, 0x3e, 0, 0, 1]).is_local());
    }
}
