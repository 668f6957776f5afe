//! Fields of a head or of trailers: names and values, as they lie (RFC 9110 §5).
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Fields`] | the fields of one head, in order |
//! | [`Field`] | one of them |
//! | [`FieldName`] | the names that are told when a head is read |
//! | [`FieldSlot`] | the caller's memory: where one field lies |
//! | [`elements`] | the elements of a list in a value |

mod list;
mod name;

pub(crate) use list::weight;
pub use list::{Elements, elements};
pub use name::FieldName;

/// Where a field lies in its head: eight octets of the caller's memory for each field that he takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct FieldSlot {
    start: u16,
    value: u16,
    value_length: u16,
    name_length: u8,
    /// The number of a `FieldName` plus one, 0 for another name.
    known: u8,
}

impl FieldSlot {
    /// One that nothing was written to.
    pub const EMPTY: Self = Self {
        start: 0,
        value: 0,
        value_length: 0,
        name_length: 0,
        known: 0,
    };

    /// The head is at most 65,535 octets long, and the name 255.
    #[inline]
    pub(crate) fn new(
        name: core::ops::Range<usize>,
        value: core::ops::Range<usize>,
        known: Option<FieldName>,
    ) -> Self {
        Self {
            start: name.start as u16,
            value: value.start as u16,
            value_length: value.len() as u16,
            name_length: name.len() as u8,
            known: known.map_or(0, |known| known as u8 + 1),
        }
    }
}

/// A field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Field<'a> {
    /// The name: a token, in the case that it was sent in.
    pub fn name(&self) -> &'a str {
        // A token is ASCII.
        core::str::from_utf8(self.name).unwrap_or_default()
    }

    /// The value, without blanks at either end: SP, HTAB, visible characters, and octets above 0x7f.
    pub fn value(&self) -> &'a [u8] {
        self.value
    }
}

/// The fields of a head, in the order in which they came. Copied freely.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    octets: &'a [u8],
    slots: &'a [FieldSlot],
    present: u64,
    repeated: u64,
}

impl<'a> Fields<'a> {
    /// None.
    pub const NONE: Self = Self {
        octets: &[],
        slots: &[],
        present: 0,
        repeated: 0,
    };

    pub(crate) fn new(
        octets: &'a [u8],
        slots: &'a [FieldSlot],
        present: u64,
        repeated: u64,
    ) -> Self {
        Self {
            octets,
            slots,
            present,
            repeated,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Field<'a>> + Clone + use<'a> {
        let octets = self.octets;
        self.slots.iter().map(move |slot| field(octets, slot))
    }

    /// Whether a field of this name is there. In constant time.
    #[inline]
    pub fn has(&self, name: FieldName) -> bool {
        self.present & name.bit() != 0
    }

    /// Whether more than one line has this name. In constant time.
    #[inline]
    pub fn is_repeated(&self, name: FieldName) -> bool {
        self.repeated & name.bit() != 0
    }

    /// The first value under this name.
    #[inline]
    pub fn get(&self, name: FieldName) -> Option<&'a [u8]> {
        if !self.has(name) {
            return None;
        }
        self.all(name).next()
    }

    /// The value under this name if one line alone has it, as a field that is no list must be.
    #[inline]
    pub fn single(&self, name: FieldName) -> Option<&'a [u8]> {
        if self.is_repeated(name) {
            return None;
        }
        self.get(name)
    }

    /// The value under this name if it is US-ASCII or UTF-8, and one line alone has it.
    pub fn text(&self, name: FieldName) -> Option<&'a str> {
        core::str::from_utf8(self.single(name)?).ok()
    }

    /// All values under this name, in order.
    #[inline]
    pub fn all(&self, name: FieldName) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let octets = self.octets;
        self.slots
            .iter()
            .filter(move |slot| slot.known == name as u8 + 1)
            .map(move |slot| field(octets, slot).value)
    }

    /// The elements of the lists under this name, over all lines as if they were one (RFC 9110 §5.3).
    pub fn list(&self, name: FieldName) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        self.all(name).flat_map(elements)
    }

    /// All values under a name of any kind, compared without case. Looks at each field.
    pub fn by_name<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| field.value)
    }
}

/// A slot is only ever looked at together with the head that it was written for; of another there is nothing.
#[inline]
fn field<'a>(octets: &'a [u8], slot: &FieldSlot) -> Field<'a> {
    let part = |start: u16, length: usize| {
        let start = usize::from(start);
        octets.get(start..start + length).unwrap_or_default()
    };
    Field {
        name: part(slot.start, usize::from(slot.name_length)),
        value: part(slot.value, usize::from(slot.value_length)),
    }
}
