//! The parameters of a service binding (RFC 9460 §2.1), in any order in text.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::record::{self, ServiceKey};

use super::super::error::Fault;
use super::super::lexer::Text;
use super::super::numbers;
use super::super::parser::fault_at;
use super::buffer::DataBuffer;
use super::words::Words;
use super::{bad_escape, encoded, from_str, octets};

pub(super) const EXPECTED: &str =
    "service parameters among which are all that are mandatory, and alpn if no-default-alpn is";
const KEY: &str = "the key of a service parameter";
const KEY_ONCE: &str = "each key of a service parameter once";
const MANDATORY: &str = "a list of other keys, each once, with commas between";
const ALPN: &str = "a list of protocols of 1 to 255 octets each, with commas between";
const PORT: &str = "a port from 0 to 65535";
const NO_VALUE: &str = "no value, as this key has none";
const IPV4_HINT: &str = "a list of IPv4 addresses with commas between";
const IPV6_HINT: &str = "a list of IPv6 addresses with commas between";
const ECH: &str = "a list of ECH configurations in Base64";
const VALUE: &str = "a value in the form that this key prescribes";

/// How many parameters of a record may stand behind one with a greater key. Each costs a walk over those that are there, and
/// a move of their octets; records that are written by people have a few parameters in all.
const MAX_OUT_OF_ORDER: usize = 256;
const IN_ORDER: &str =
    "service parameters of which at most 256 stand behind one with a greater key";

/// Reads parameters up to the end of the entry, and brings them into ascending order of their keys.
pub(super) fn parse<'s>(
    words: &mut Words<'_, 's>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    let start = data.len();
    let mut greatest = None;
    let mut out_of_order = 0;
    let Ok(first) = words.peek()? else {
        return Ok(());
    };
    while let Ok(word) = words.next_or_end()? {
        let equals = word.raw.iter().position(|&byte| byte == b'=');
        let (name, value) = word.raw.split_at(equals.unwrap_or(word.raw.len()));
        let (key, is_named) = key(name)
            .filter(|_| !word.quoted)
            .ok_or_else(|| fault_at(&word, KEY))?;
        let mut value = Text {
            raw: value.get(1..).unwrap_or(&[]),
            quoted: false,
            position: word.position.plus(name.len() + 1),
        };
        // A quoted value is a word of its own for the lexer.
        if equals.is_some()
            && value.raw.is_empty()
            && let Ok(next) = words.peek()?
            && next.quoted
            && next.position == value.position
        {
            value = next;
            let _ = words.next_or_end()?;
        }
        let at = data.len();
        data.put(&key.0.to_be_bytes(), &word)?;
        data.put(&[0; 2], &word)?;
        if is_named {
            // Of a value that isn't there, the key is shown.
            let shown = if value.raw.is_empty() { word } else { value };
            named_value(key, &value, &shown, data)?;
        } else {
            octets(&value, data)?;
        }
        let length = data.len() - at - 4;
        if !key.is_valid(&data.written()[at + 4..]) {
            return Err(fault_at(&word, VALUE));
        }
        // The whole has at most 65,535 octets.
        data.written_mut()[at + 2..at + 4].copy_from_slice(&(length as u16).to_be_bytes());
        if greatest.is_none_or(|greatest| greatest < key) {
            greatest = Some(key);
            continue;
        }
        out_of_order += 1;
        if out_of_order > MAX_OUT_OF_ORDER {
            return Err(fault_at(&word, IN_ORDER));
        }
        let place =
            place_of(key, &data.written()[start..at]).ok_or_else(|| fault_at(&word, KEY_ONCE))?;
        data.written_mut()[start + place..].rotate_right(4 + length);
    }
    match record::are_self_consistent(&data.written()[start..]) {
        true => Ok(()),
        false => Err(fault_at(&first, EXPECTED)),
    }
}

/// Where a key belongs; `None` if it is there.
fn place_of(key: ServiceKey, parameters: &[u8]) -> Option<usize> {
    let mut rest = parameters;
    while let Some((other, _, after)) = record::split_first(rest) {
        if other >= key {
            return (other > key).then_some(parameters.len() - rest.len());
        }
        rest = after;
    }
    Some(parameters.len())
}

/// A key by its name, or as `key` and a number "without leading zeros"; and whether by its name.
fn key(text: &[u8]) -> Option<(ServiceKey, bool)> {
    if let Some(key) = ServiceKey::from_name(text) {
        return Some((key, true));
    }
    let digits = text.strip_prefix(b"key")?;
    let number = numbers::decimal(digits, u16::MAX.into())?;
    let is_short = digits.len() == 1 || digits.first() != Some(&b'0');
    is_short.then_some((ServiceKey(number as u16), false)) // at most 65,535
}

/// The value of a key that is called by its name; `shown` is what is shown of one that is wrong.
fn named_value<'s>(
    key: ServiceKey,
    text: &Text<'s>,
    shown: &Text<'s>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    // "This SvcParamValue MUST NOT contain escape sequences" (RFC 9460 §7.3, §8): the parts are taken as they stand.
    let parts = || text.raw.split(|&byte| byte == b',');
    match key {
        ServiceKey::MANDATORY => {
            let start = data.len();
            for part in parts() {
                let (key, _) = self::key(part).ok_or_else(|| fault_at(shown, MANDATORY))?;
                insert_key(key, start, shown, data)?;
            }
            Ok(())
        }
        ServiceKey::ALPN => protocols(text, shown, data),
        ServiceKey::NO_DEFAULT_ALPN | ServiceKey::OHTTP => match text.raw.is_empty() {
            true => Ok(()),
            false => Err(fault_at(shown, NO_VALUE)),
        },
        ServiceKey::PORT => {
            let port = numbers::decimal(text.raw, u16::MAX.into());
            let port = port.ok_or_else(|| fault_at(shown, PORT))?;
            data.put(&port.to_be_bytes()[2..], text)
        }
        ServiceKey::IPV4_HINT => parts().try_for_each(|part| {
            let hint = from_str::<Ipv4Addr>(part).ok_or_else(|| fault_at(shown, IPV4_HINT))?;
            data.put(&hint.octets(), text)
        }),
        ServiceKey::IPV6_HINT => parts().try_for_each(|part| {
            let hint = from_str::<Ipv6Addr>(part).ok_or_else(|| fault_at(shown, IPV6_HINT))?;
            data.put(&hint.octets(), text)
        }),
        ServiceKey::ECH => encoded::base64_word(text, data, || fault_at(shown, ECH)),
        _ => octets(text, data),
    }
}

/// "In wire format, the keys are represented by their numeric values in network byte order, concatenated in strictly
/// increasing numeric order" (RFC 9460 §8).
fn insert_key<'s>(
    key: ServiceKey,
    start: usize,
    text: &Text<'s>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    let octets = key.0.to_be_bytes();
    let keys = data.written()[start..].as_chunks::<2>().0;
    let at = start + 2 * keys.partition_point(|other| *other < octets);
    if data.written()[at..].starts_with(&octets) {
        return Err(fault_at(text, MANDATORY));
    }
    data.insert_zeroes(at, 2, text)?;
    data.written_mut()[at..at + 2].copy_from_slice(&octets);
    Ok(())
}

/// A list of protocols. The string has been unescaped before the list is read, so that a comma or a backslash inside a
/// protocol has two backslashes before it, or three (RFC 9460 §7.1.1, §A.1).
fn protocols<'s>(
    text: &Text<'s>,
    shown: &Text<'s>,
    data: &mut DataBuffer<'_>,
) -> Result<(), Fault<'s>> {
    let wrong = || fault_at(shown, ALPN);
    let mut item = data.len();
    data.put(&[0], text)?;
    let mut is_escaped = false;
    for octet in text.octets() {
        let octet = octet.map_err(|bad| bad_escape(text, bad))?.value;
        match octet {
            b'\\' if !is_escaped => is_escaped = true,
            b',' if !is_escaped => {
                end_item(item, data).ok_or_else(wrong)?;
                item = data.len();
                data.put(&[0], text)?;
            }
            _ => {
                is_escaped = false;
                data.put(&[octet], text)?;
            }
        }
    }
    end_item(item, data)
        .filter(|()| !is_escaped)
        .ok_or_else(wrong)
}

/// Writes the length of the protocol at `item`.
fn end_item(item: usize, data: &mut DataBuffer<'_>) -> Option<()> {
    let length = u8::try_from(data.len() - item - 1)
        .ok()
        .filter(|&length| length > 0)?;
    data.written_mut()[item] = length;
    Some(())
}
