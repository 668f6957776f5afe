//! Lists of address prefixes (RFC 3123 §4).

/// The address family of IPv4 (IANA "Address Family Numbers").
pub(crate) const IPV4: u16 = 1;
/// The address family of IPv6.
pub(crate) const IPV6: u16 = 2;

/// One prefix of a list.
#[derive(Clone, Copy)]
pub(super) struct AddressPrefix<'a> {
    pub(super) family: u16,
    /// Its length in bits.
    pub(super) bits: u8,
    pub(super) is_negated: bool,
    /// The address without the zero octets at its end.
    pub(super) address: &'a [u8],
}

impl AddressPrefix<'_> {
    /// "Trailing zero octets … MUST NOT be included"; a prefix is at most as long as an address of its family.
    fn is_valid(self) -> bool {
        let octets = match self.family {
            IPV4 => 4,
            IPV6 => 16,
            _ => usize::from(u8::MAX),
        };
        self.address.len() <= octets
            && usize::from(self.bits) <= 8 * octets
            && self.address.last() != Some(&0)
    }
}

/// The first prefix, and what follows it.
pub(super) fn split_first(list: &[u8]) -> Option<(AddressPrefix<'_>, &[u8])> {
    let (&[high, low, bits, length], rest) = list.split_first_chunk()?;
    let (address, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
    let prefix = AddressPrefix {
        family: u16::from_be_bytes([high, low]),
        bits,
        is_negated: length & 0x80 != 0,
        address,
    };
    Some((prefix, rest))
}

pub(super) fn are_valid(list: &[u8]) -> bool {
    let mut rest = list;
    while !rest.is_empty() {
        match split_first(rest) {
            Some((prefix, after)) if prefix.is_valid() => rest = after,
            _ => return false,
        }
    }
    true
}
