//! Sets and lists up to the end of the entry: types, services, address prefixes.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::record::{self, RdataField};

use super::super::error::Fault;
use super::super::lexer::Text;
use super::super::numbers;
use super::super::parser::fault_at;
use super::buffer::DataBuffer;
use super::words::Words;
use super::{expected, from_str, mnemonics, record_type};

/// Record types in any order (RFC 4034 §4.2), into the windows of a bitmap.
pub(super) fn types<'s>(
    words: &mut Words<'_, 's>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    let start = data.len();
    while let Ok(text) = words.next_or_end()? {
        let wrong = || fault_at(&text, expected(RdataField::TypeBitmap));
        let word = if text.quoted { &b""[..] } else { text.raw };
        let [window, bit] = record_type(word).ok_or_else(wrong)?.0.to_be_bytes();
        let at = window_at(start, window, data);
        if data.written().get(at) != Some(&window) {
            data.insert_zeroes(at, 2, &text)?;
            data.written_mut()[at] = window;
        }
        let (octet, length) = (bit / 8, data.written()[at + 1]);
        if let Some(missing @ 1..) = (octet + 1).checked_sub(length) {
            let end = at + 2 + usize::from(length);
            data.insert_zeroes(end, missing.into(), &text)?;
            data.written_mut()[at + 1] = octet + 1;
        }
        data.written_mut()[at + 2 + usize::from(octet)] |= 0x80 >> (bit % 8);
    }
    Ok(())
}

/// Where the window with this number is, or belongs.
fn window_at(start: usize, number: u8, data: &DataBuffer<'_>) -> usize {
    let mut rest = &data.written()[start..];
    while let Some((window, after)) = record::split_window(rest)
        && window[0] < number
    {
        rest = after;
    }
    data.len() - rest.len()
}

/// Ports or names of services in any order, into a bitmap.
pub(super) fn services<'s>(
    words: &mut Words<'_, 's>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    let start = data.len();
    while let Ok(text) = words.next_or_end()? {
        let port = Some(text.raw)
            .filter(|_| !text.quoted)
            .and_then(mnemonics::service)
            .ok_or_else(|| fault_at(&text, expected(RdataField::ServiceBitmap)))?;
        let at = start + port as usize / 8; // at most 65,535
        if let Some(missing @ 1..) = (at + 1).checked_sub(data.len()) {
            data.insert_zeroes(data.len(), missing, &text)?;
        }
        data.written_mut()[at] |= 0x80 >> (port % 8);
    }
    Ok(())
}

pub(super) const PREFIX: &str = "an address prefix such as 1:192.0.2.0/24 or !2:2001:db8::/32";

/// Address prefixes, `[!]afi:address/prefix` each (RFC 3123 §5).
pub(super) fn prefixes<'s>(
    words: &mut Words<'_, 's>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    while let Ok(text) = words.next_or_end()? {
        let parsed = if text.quoted {
            None
        } else {
            split_prefix(text.raw)
        };
        let Some((is_negated, family, address, bits)) = parsed else {
            return Err(fault_at(&text, PREFIX));
        };
        let put = match family {
            record::IPV4 => from_str::<Ipv4Addr>(address)
                .filter(|_| bits <= 32)
                .map(|address| {
                    put_prefix(family, is_negated, &address.octets(), bits, data, &text)
                }),
            record::IPV6 => from_str::<Ipv6Addr>(address)
                .filter(|_| bits <= 128)
                .map(|address| {
                    put_prefix(family, is_negated, &address.octets(), bits, data, &text)
                }),
            _ => None,
        };
        put.ok_or_else(|| fault_at(&text, PREFIX))??;
    }
    Ok(())
}

/// Whether the prefix is negated, its family, address, and bits.
fn split_prefix(word: &[u8]) -> Option<(bool, u16, &[u8], u32)> {
    let (is_negated, word) = match word.strip_prefix(b"!") {
        Some(word) => (true, word),
        None => (false, word),
    };
    let colon = word.iter().position(|&byte| byte == b':')?;
    let (family, address) = (&word[..colon], &word[colon + 1..]);
    let slash = address.iter().position(|&byte| byte == b'/')?;
    let (address, bits) = (&address[..slash], &address[slash + 1..]);
    let family = numbers::decimal(family, u16::MAX.into())?;
    let bits = numbers::decimal(bits, u8::MAX.into())?;
    Some((is_negated, family as u16, address, bits)) // at most 65,535
}

/// "Trailing zero octets do not bear any information … and MUST NOT be included" (RFC 3123 §4).
fn put_prefix<'s>(
    family: u16,
    is_negated: bool,
    address: &[u8],
    bits: u32,
    data: &mut DataBuffer<'_>,
    text: &Text<'s>,
) -> Result<(), Fault<'s>> {
    let zeroes = address
        .iter()
        .rev()
        .take_while(|&&octet| octet == 0)
        .count();
    let address = &address[..address.len() - zeroes];
    let [high, low] = family.to_be_bytes();
    let negation = if is_negated { 0x80 } else { 0 };
    // Bits are at most 128, an address has at most 16 octets.
    data.put(
        &[high, low, bits as u8, negation | address.len() as u8],
        text,
    )?;
    data.put(address, text)
}
