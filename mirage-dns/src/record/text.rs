//! Rdata in the form that master files have it.

use core::fmt::{self, Write as _};
use core::net::{Ipv4Addr, Ipv6Addr};

use crate::name::Name;

use super::location::{DEGREE, LENGTH, MIDDLE, SPHEROID};
use super::service_parameters::{self, ServiceKey};
use super::{
    RdataField, RecordType, address_prefixes, check_rdata, known_digest_length, rdata_fields,
    type_bitmap,
};

/// A type and uncompressed rdata, which displays as a master file has it: the text behind the type's mnemonic.
///
/// What it displays as is read by [`Parser`](crate::master_file::Parser) as the same octets. They are written as RFC 3597 §5
/// has them (`\# 3 abcdef`) if the type isn't known, if they aren't what the type's table says, or if the type's own
/// text can't express them or would be refused: a digest of the wrong length, say.
///
/// ```
/// use mirage_dns::record::{Rdata, RecordType};
///
/// let rdata = |record_type, octets| Rdata { record_type, octets }.to_string();
/// assert_eq!(rdata(RecordType::MX, b"\0\x0a\x04mail\x03org\0"), "10 mail.org.");
/// assert_eq!(rdata(RecordType::CAA, b"\0\x05issue\"x\""), r#"0 issue "\"x\"""#);
/// assert_eq!(rdata(RecordType(731), &[0xab, 0xcd]), r"\# 2 abcd");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rdata<'a> {
    /// The type.
    pub record_type: RecordType,
    /// The octets, names in them whole.
    pub octets: &'a [u8],
}

impl Rdata<'_> {
    /// Whether the type's own text stands for these octets.
    fn has_text(self) -> bool {
        self.record_type.rdata_fields().is_some()
            && check_rdata(self.record_type, self.octets).is_ok()
            && known_digest_length(self.record_type, self.octets)
                .is_none_or(|(length, known)| length == known)
            && rdata_fields(self.record_type, self.octets)
                .all(|(field, octets)| has_text(field, octets))
    }
}

impl fmt::Display for Rdata<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.has_text() {
            write!(f, "\\# {}", self.octets.len())?;
            if !self.octets.is_empty() {
                f.write_char(' ')?;
            }
            return hexadecimal(self.octets, f);
        }
        let mut is_first = true;
        for (field, octets) in rdata_fields(self.record_type, self.octets) {
            // What is empty and is no string has no word.
            if octets.is_empty() && field != RdataField::Text {
                continue;
            }
            if !is_first {
                f.write_char(' ')?;
            }
            is_first = false;
            write_field(field, octets, f)?;
        }
        Ok(())
    }
}

/// Whether the text of a field says all that is in octets which passed the check.
fn has_text(field: RdataField, octets: &[u8]) -> bool {
    match field {
        RdataField::ServiceBitmap => octets.last() != Some(&0),
        // A length of nothing has many exponents.
        RdataField::Location => {
            octets[0] == 0
                && octets[1..4]
                    .iter()
                    .all(|&length| length == 0 || length > 15)
        }
        RdataField::AddressPrefixes => prefixes(octets).all(|prefix| {
            matches!(
                prefix.family,
                address_prefixes::IPV4 | address_prefixes::IPV6
            )
        }),
        RdataField::ServiceParameters => service_parameters::are_self_consistent(octets),
        _ => true,
    }
}

fn write_field(field: RdataField, octets: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let number = || {
        octets
            .iter()
            .fold(0, |number, &octet| number << 8 | u32::from(octet))
    };
    match field {
        RdataField::CompressibleName
        | RdataField::Name
        | RdataField::WholeName
        | RdataField::CasedName => write!(f, "{}", Name::from_checked(octets)),
        RdataField::Names => separated(names(octets), f),
        RdataField::U8
        | RdataField::U16
        | RdataField::U32
        | RdataField::Period
        | RdataField::Algorithm
        | RdataField::Protocol
        | RdataField::CertificateType => write!(f, "{}", number()),
        RdataField::Timestamp => timestamp(number(), f),
        RdataField::TypeCode => write!(f, "{}", RecordType(number() as u16)), // of two octets
        RdataField::Ipv4Address => address::<4, Ipv4Addr>(octets, f),
        RdataField::Ipv6Address => address::<16, Ipv6Addr>(octets, f),
        RdataField::Eui48 | RdataField::Eui64 => {
            for (index, octet) in octets.iter().enumerate() {
                let hyphen = if index == 0 { "" } else { "-" };
                write!(f, "{hyphen}{octet:02x}")?;
            }
            Ok(())
        }
        RdataField::CharacterString => quoted(&octets[1..], f),
        RdataField::CharacterStrings => {
            let mut rest = octets;
            while let Some((&length, after)) = rest.split_first() {
                let (string, after) = after.split_at(usize::from(length));
                quoted(string, f)?;
                if !after.is_empty() {
                    f.write_char(' ')?;
                }
                rest = after;
            }
            Ok(())
        }
        RdataField::Tag => octets[1..]
            .iter()
            .try_for_each(|&octet| f.write_char(octet.into())),
        RdataField::Text | RdataField::NonEmptyText => quoted(octets, f),
        RdataField::Hexadecimal => hexadecimal(octets, f),
        RdataField::Base64 | RdataField::OptionalBase64 => base64(octets, f),
        RdataField::Salt if octets.len() == 1 => f.write_char('-'),
        RdataField::Salt => hexadecimal(&octets[1..], f),
        RdataField::HashedName => base32hex(&octets[1..], f),
        RdataField::TypeBitmap => separated(type_bitmap::types(octets), f),
        RdataField::ServiceBitmap => {
            let ports = (0..8 * octets.len()).filter(|&port| type_bitmap::is_set(octets, port));
            separated(ports, f)
        }
        RdataField::Location => location(octets, f),
        RdataField::AddressPrefixes => separated(prefixes(octets), f),
        RdataField::ServiceParameters => parameters(octets, f),
        RdataField::IpsecGateway => {
            let (kind, gateway) = (octets[0], &octets[2..]);
            write!(f, "{kind} {} ", octets[1])?;
            match kind {
                1 => address::<4, Ipv4Addr>(gateway, f),
                2 => address::<16, Ipv6Addr>(gateway, f),
                3 => write!(f, "{}", Name::from_checked(gateway)),
                _ => f.write_char('.'),
            }
        }
        RdataField::HostIdentity => {
            let (tag, key) = octets[4..].split_at(usize::from(octets[0]));
            write!(f, "{} ", octets[1])?;
            hexadecimal(tag, f)?;
            f.write_char(' ')?;
            base64(key, f)
        }
    }
}

/// Words with a space between.
fn separated<T: fmt::Display>(
    items: impl Iterator<Item = T>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    for (index, item) in items.enumerate() {
        let space = if index == 0 { "" } else { " " };
        write!(f, "{space}{item}")?;
    }
    Ok(())
}

fn names(octets: &[u8]) -> impl Iterator<Item = Name<'_>> {
    let mut rest = octets;
    core::iter::from_fn(move || {
        let (name, after) = Name::split_from(rest).ok()?;
        rest = after;
        Some(name)
    })
}

fn address<const N: usize, A: From<[u8; N]> + fmt::Display>(
    octets: &[u8],
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let mut whole = [0; N];
    let length = octets.len().min(N);
    whole[..length].copy_from_slice(&octets[..length]);
    write!(f, "{}", A::from(whole))
}

/// A quoted string (RFC 1035 §5.1).
fn quoted(octets: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    octets
        .iter()
        .try_for_each(|&octet| string_octet(octet, f))?;
    f.write_char('"')
}

/// An octet of a quoted string.
fn string_octet(octet: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match octet {
        b'"' | b'\\' => write!(f, "\\{}", char::from(octet)),
        b' '..=b'~' => f.write_char(octet.into()),
        _ => write!(f, "\\{octet:03}"),
    }
}

fn hexadecimal(octets: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
}

/// RFC 4648 §4.
fn base64(octets: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in octets.chunks(3) {
        let bits = group
            .iter()
            .fold(0, |bits, &octet| bits << 8 | u32::from(octet));
        let bits = bits << (8 * (3 - group.len()));
        for digit in 0..4 {
            f.write_char(match digit <= group.len() {
                true => DIGITS[(bits >> (18 - 6 * digit)) as usize & 63].into(),
                false => '=',
            })?;
        }
    }
    Ok(())
}

/// RFC 4648 §7, without padding, as RFC 5155 §3.3 wants it.
fn base32hex(octets: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    for group in octets.chunks(5) {
        let bits = group
            .iter()
            .fold(0, |bits, &octet| bits << 8 | u64::from(octet));
        let bits = bits << (8 * (5 - group.len()));
        for digit in 0..(8 * group.len()).div_ceil(5) {
            f.write_char(DIGITS[(bits >> (35 - 5 * digit)) as usize & 31].into())?;
        }
    }
    Ok(())
}

/// YYYYMMDDHHmmSS (RFC 4034 §3.2), all of it in UTC.
fn timestamp(seconds: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let mut month = 1;
    while days >= days_of_month(year, month) {
        days -= days_of_month(year, month);
        month += 1;
    }
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    write!(
        f,
        "{year:04}{month:02}{:02}{hour:02}{minute:02}{second:02}",
        days + 1
    )
}

pub(crate) fn days_of_year(year: u32) -> u32 {
    if is_leap_year(year) { 366 } else { 365 }
}

/// The days of a month, from 1 for January to 12.
pub(crate) fn days_of_month(year: u32, month: u32) -> u32 {
    match month {
        2 if is_leap_year(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap_year(year: u32) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

/// RFC 1876 §3, everything written out.
fn location(octets: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(&[_, size, horizontal, vertical, ref values @ ..]) = octets.first_chunk::<LENGTH>()
    else {
        return Err(fmt::Error);
    };
    let value = |index: usize| {
        values[4 * index..][..4]
            .iter()
            .fold(0, |value, &octet| value << 8 | u32::from(octet))
    };
    for (value, [positive, negative]) in [(value(0), ["N", "S"]), (value(1), ["E", "W"])] {
        let (off, direction) = (
            value.abs_diff(MIDDLE),
            if value < MIDDLE { negative } else { positive },
        );
        let (minutes, seconds) = (off / 60_000 % 60, off % 60_000);
        write!(
            f,
            "{} {minutes} {}.{:03} {direction} ",
            off / DEGREE,
            seconds / 1_000,
            seconds % 1_000
        )?;
    }
    let altitude = value(2);
    let (off, sign) = (
        altitude.abs_diff(SPHEROID),
        if altitude < SPHEROID { "-" } else { "" },
    );
    write!(f, "{sign}{}.{:02}m", off / 100, off % 100)?;
    for length in [size, horizontal, vertical] {
        let centimetres = u64::from(length >> 4) * 10u64.pow(u32::from(length & 15));
        write!(f, " {}.{:02}m", centimetres / 100, centimetres % 100)?;
    }
    Ok(())
}

fn prefixes(octets: &[u8]) -> impl Iterator<Item = address_prefixes::AddressPrefix<'_>> {
    let mut rest = octets;
    core::iter::from_fn(move || {
        let (prefix, after) = address_prefixes::split_first(rest)?;
        rest = after;
        Some(prefix)
    })
}

impl fmt::Display for address_prefixes::AddressPrefix<'_> {
    /// `[!]afi:address/prefix` (RFC 3123 §5), of a family that has an address in text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let negation = if self.is_negated { "!" } else { "" };
        write!(f, "{negation}{}:", self.family)?;
        match self.family {
            address_prefixes::IPV4 => address::<4, Ipv4Addr>(self.address, f)?,
            _ => address::<16, Ipv6Addr>(self.address, f)?,
        }
        write!(f, "/{}", self.bits)
    }
}

/// RFC 9460 §2.1.
fn parameters(octets: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut rest = octets;
    while let Some((key, value, after)) = service_parameters::split_first(rest) {
        write!(f, "{key}")?;
        if !value.is_empty() {
            f.write_char('=')?;
            parameter_value(key, value, f)?;
        }
        if !after.is_empty() {
            f.write_char(' ')?;
        }
        rest = after;
    }
    Ok(())
}

fn parameter_value(key: ServiceKey, value: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let comma = |index: usize| if index == 0 { "" } else { "," };
    match key {
        ServiceKey::MANDATORY => {
            for (index, key) in value.as_chunks::<2>().0.iter().enumerate() {
                write!(
                    f,
                    "{}{}",
                    comma(index),
                    ServiceKey(u16::from_be_bytes(*key))
                )?;
            }
            Ok(())
        }
        ServiceKey::PORT => write!(
            f,
            "{}",
            value
                .iter()
                .fold(0, |port, &octet| port << 8 | u32::from(octet))
        ),
        ServiceKey::IPV4_HINT => {
            for (index, hint) in value.as_chunks::<4>().0.iter().enumerate() {
                write!(f, "{}{}", comma(index), Ipv4Addr::from(*hint))?;
            }
            Ok(())
        }
        ServiceKey::IPV6_HINT => {
            for (index, hint) in value.as_chunks::<16>().0.iter().enumerate() {
                write!(f, "{}{}", comma(index), Ipv6Addr::from(*hint))?;
            }
            Ok(())
        }
        ServiceKey::ECH => base64(value, f),
        ServiceKey::ALPN => {
            f.write_char('"')?;
            let mut rest = value;
            while let Some((&length, after)) = rest.split_first() {
                let (protocol, after) = after.split_at(usize::from(length));
                for &octet in protocol {
                    // RFC 9460 §A.1: an escape of the list, which the string that the list is escapes again.
                    match octet {
                        b',' | b'\\' => {
                            f.write_str("\\\\")?;
                            string_octet(octet, f)?;
                        }
                        _ => string_octet(octet, f)?,
                    }
                }
                if !after.is_empty() {
                    f.write_char(',')?;
                }
                rest = after;
            }
            f.write_char('"')
        }
        _ => quoted(value, f),
    }
}

impl fmt::Display for ServiceKey {
    /// The key's name, else `key` and the number (RFC 9460 §2.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "key{}", self.0),
        }
    }
}
