//! The records of one zone in memory, sortable by their owners.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

use crate::master_file::Record;
use crate::name::Name;
use crate::record::{RecordClass, RecordType};
use crate::zone_set::sort_key;

use super::diagnostics::{Diagnostic, Problem};

/// Which record a diagnostic is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(usize);

/// All records in the order of the file. Owners, their sort keys and the data lie in one buffer.
#[derive(Debug, Default)]
pub(super) struct Records {
    entries: Vec<Entry>,
    octets: Vec<u8>,
    files: Vec<String>,
}

#[derive(Debug, Clone)]
struct Entry {
    owner: Span,
    key: Span,
    data: Span,
    ttl: u32,
    record_type: RecordType,
    class: RecordClass,
    file: u32,
    line: u32,
    column: u32,
}

/// A part of the octets.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    length: u16,
}

impl Span {
    fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + usize::from(self.length)
    }
}

/// A record as the checks see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored<'a> {
    pub(super) place: Place,
    pub(super) owner: Name<'a>,
    /// The owner's [`sort_key`]: these sort canonically, and an ancestor's is a prefix.
    pub(super) key: &'a [u8],
    pub(super) ttl: u32,
    pub(super) class: RecordClass,
    pub(super) record_type: RecordType,
    pub(super) data: &'a [u8],
}

/// The octets pass what 32 bits can count.
#[derive(Debug)]
pub(super) struct TooLarge;

impl Records {
    pub(super) fn push(&mut self, record: &Record<'_, '_>) -> Result<(), TooLarge> {
        // An owner that is left out, or repeated, is not stored again.
        let last = self
            .entries
            .last()
            .filter(|last| self.octets[last.owner.range()] == *record.owner.as_wire());
        let (owner, key) = match last {
            Some(last) => (last.owner, last.key),
            None => {
                let owner = self.store(record.owner.as_wire())?;
                let key = self.store(&sort_key(record.owner))?;
                (owner, key)
            }
        };
        let data = self.store(record.data)?;
        let file = match self.files.iter().rposition(|file| file == record.file) {
            Some(file) => file,
            None => {
                self.files.push(record.file.to_string());
                self.files.len() - 1
            }
        };
        self.entries.push(Entry {
            owner,
            key,
            data,
            ttl: record.ttl,
            record_type: record.record_type,
            class: record.class,
            file: u32::try_from(file).map_err(|_| TooLarge)?,
            line: record.position.line,
            column: record.position.column,
        });
        Ok(())
    }

    fn store(&mut self, octets: &[u8]) -> Result<Span, TooLarge> {
        let start = self.octets.len();
        self.octets.extend_from_slice(octets);
        Ok(Span {
            start: u32::try_from(start).map_err(|_| TooLarge)?,
            length: u16::try_from(octets.len()).map_err(|_| TooLarge)?,
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Stored<'_>> {
        self.entries
            .iter()
            .enumerate()
            .map(|(index, entry)| Stored {
                place: Place(index),
                owner: Name::from_checked(&self.octets[entry.owner.range()]),
                key: &self.octets[entry.key.range()],
                ttl: entry.ttl,
                class: entry.class,
                record_type: entry.record_type,
                data: &self.octets[entry.data.range()],
            })
    }

    pub(super) fn diagnostic(&self, place: Place, problem: Problem) -> Diagnostic {
        let entry = &self.entries[place.0];
        let owner = Name::from_checked(&self.octets[entry.owner.range()]);
        Diagnostic {
            file: self.files[entry.file as usize].clone(),
            line: entry.line,
            column: entry.column,
            owner: Some(owner.to_string()),
            problem,
        }
    }
}
