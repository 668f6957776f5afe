//! The record of a batch, from which it is made again after a crash.

use std::collections::BTreeMap;

use mirage_core::kv::{Digest, Key};

const MAGIC: &[u8; 4] = b"MKJ1";

/// What keys have after a batch; none is no value.
pub(super) type Outcome = BTreeMap<String, Option<Vec<u8>>>;

/// As bytes, with a hash at the end.
pub(super) fn to_bytes(outcome: &Outcome) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend((outcome.len() as u64).to_be_bytes());
    for (key, value) in outcome {
        bytes.extend((key.len() as u64).to_be_bytes());
        bytes.extend(key.as_bytes());
        match value {
            Some(value) => {
                bytes.push(1);
                bytes.extend((value.len() as u64).to_be_bytes());
                bytes.extend(value);
            }
            None => bytes.push(0),
        }
    }
    let hash = Digest::hash(&bytes);
    bytes.extend(hash.as_bytes());
    bytes
}

/// From bytes; none if they are not as they were written.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<Outcome> {
    let hash_len = Digest::hash(&[]).as_bytes().len();
    let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(hash_len)?)?;
    if Digest::hash(body).as_bytes() != hash {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?;
    let count = number(&mut rest)?;
    let mut outcome = Outcome::new();
    for _ in 0..count {
        let length = number(&mut rest)?;
        let key = std::str::from_utf8(take(&mut rest, length)?).ok()?;
        Key::new(key).ok()?;
        let value = match take(&mut rest, 1)? {
            [0] => None,
            [1] => {
                let length = number(&mut rest)?;
                Some(take(&mut rest, length)?.to_vec())
            }
            _ => return None,
        };
        outcome.insert(key.to_owned(), value);
    }
    rest.is_empty().then_some(outcome)
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let bytes = take(rest, 8)?;
    usize::try_from(u64::from_be_bytes(bytes.try_into().ok()?)).ok()
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}
