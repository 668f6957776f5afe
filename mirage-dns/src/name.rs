//! Domain names in uncompressed wire form (RFC 1035 §3.1).
//!
//! | type | what it is |
//! |------|------------|
//! | [`Name`] | a borrowed name, two words, `Copy` |
//! | [`NameBuf`] | an owned name, 256 octets inline, no allocation |
//! | [`NameError`] | why octets or text are not a name |
//!
//! Both hold the proof that the octets are well formed: labels of 1 to 63 octets, the root label at the end and only
//! there, at most 255 octets, no compression pointer. Comparison, ordering and hash ignore the case of ASCII letters
//! (RFC 4343); the order is the canonical one of RFC 4034 §6.1. The octets themselves keep their case.
//!
//! ```
//! use mirage_dns::name::{Name, NameBuf};
//!
//! let www = NameBuf::from_text("www.Example.ORG.").unwrap();
//! let apex = NameBuf::from_text("example.org").unwrap();
//! assert!(www.as_name().is_subdomain_of(apex.as_name()));
//! assert_eq!(www.as_name().parent(), Some(apex.as_name()));
//! assert_eq!(Name::ROOT.to_owned().as_name().label_count(), 0);
//! ```

use core::cmp::Ordering;
use core::error::Error;
use core::fmt;
use core::hash::{Hash, Hasher};

/// The most octets that a name has in wire form, the root label included (RFC 1035 §2.3.4).
pub const MAX_NAME_LENGTH: usize = 255;

/// The most octets that a label has, its length octet not counted (RFC 1035 §2.3.4).
pub const MAX_LABEL_LENGTH: usize = 63;

/// The most labels that a name has, the root not counted: (255 − 1) / 2.
pub const MAX_LABELS: usize = 127;

/// A borrowed domain name in uncompressed wire form.
///
/// Holding one proves that the octets are one well-formed absolute name and nothing else.
#[derive(Clone, Copy)]
pub struct Name<'a> {
    wire: &'a [u8],
}

impl<'a> Name<'a> {
    /// The root, `.`.
    pub const ROOT: Name<'static> = Name { wire: &[0] };

    /// The name that `wire` is, from its first octet to its last.
    ///
    /// # Errors
    /// Whatever [`Name::split_from`] reports, and [`NameError::TrailingOctets`] when octets follow the root label.
    pub fn from_wire(wire: &'a [u8]) -> Result<Self, NameError> {
        match Self::split_from(wire)? {
            (name, []) => Ok(name),
            _ => Err(NameError::TrailingOctets),
        }
    }

    /// The name at the start of `octets`, and the octets that follow it.
    ///
    /// # Errors
    /// [`NameError::Truncated`], [`NameError::NameTooLong`], [`NameError::CompressionPointer`] or
    /// [`NameError::ReservedLabelType`].
    pub fn split_from(octets: &'a [u8]) -> Result<(Self, &'a [u8]), NameError> {
        let mut at = 0;
        loop {
            let &length = octets.get(at).ok_or(NameError::Truncated)?;
            match length {
                0 => {
                    let (wire, rest) = octets.split_at(at + 1);
                    return Ok((Name { wire }, rest));
                }
                1..=63 => at += 1 + usize::from(length),
                0xc0.. => return Err(NameError::CompressionPointer),
                _ => return Err(NameError::ReservedLabelType),
            }
            // The root label must still fit.
            if at >= MAX_NAME_LENGTH {
                return Err(NameError::NameTooLong);
            }
        }
    }

    /// A name whose octets were checked earlier, when a compiled image was read.
    pub(crate) const fn from_checked(wire: &'a [u8]) -> Self {
        Name { wire }
    }

    /// The octets: each label with its length octet before it, the root's zero at the end.
    pub const fn as_wire(self) -> &'a [u8] {
        self.wire
    }

    /// Octets in wire form, 1 to 255.
    #[allow(clippy::len_without_is_empty)] // a name is never empty: the root has one octet
    pub const fn len(self) -> usize {
        self.wire.len()
    }

    /// Whether this is the root.
    pub const fn is_root(self) -> bool {
        self.wire.len() <= 1
    }

    /// The labels from the leftmost to the one below the root, which is not among them.
    pub const fn labels(self) -> Labels<'a> {
        Labels { rest: self.wire }
    }

    /// How many labels there are, the root not counted.
    pub fn label_count(self) -> usize {
        self.labels().count()
    }

    /// The name without its leftmost label; `None` for the root.
    #[inline(always)]
    pub fn parent(self) -> Option<Name<'a>> {
        let (&length, rest) = self.wire.split_first()?;
        if length == 0 {
            return None;
        }
        Some(Name {
            wire: rest.get(usize::from(length)..)?,
        })
    }

    /// This name, its parent, and so on up to the root, which is the last.
    pub const fn ancestors(self) -> Ancestors<'a> {
        Ancestors { next: Some(self) }
    }

    /// Whether this name is `other` or lies below it.
    pub fn is_subdomain_of(self, other: Name<'_>) -> bool {
        let Some(mut surplus) = self.len().checked_sub(other.len()) else {
            return false;
        };
        let mut name = self;
        // Octets that look like a suffix are one only if a label begins there.
        while surplus > 0 {
            let Some(parent) = name.parent() else {
                return false;
            };
            let Some(left) = surplus.checked_sub(name.len() - parent.len()) else {
                return false;
            };
            surplus = left;
            name = parent;
        }
        name == other
    }

    /// Whether the leftmost label is the single octet `*` (RFC 4592 §2.1.1).
    pub fn is_wildcard(self) -> bool {
        self.wire.starts_with(b"\x01*")
    }

    /// A copy that owns its octets.
    pub fn to_owned(self) -> NameBuf {
        NameBuf::from(self)
    }

    /// The offset of each label's length octet, and how many there are.
    fn label_offsets(self) -> ([u8; MAX_LABELS], usize) {
        let mut offsets = [0; MAX_LABELS];
        let mut count = 0;
        let mut at = 0;
        for label in self.labels() {
            if let Some(offset) = offsets.get_mut(count) {
                *offset = at as u8; // at most 254
                count += 1;
            }
            at += 1 + label.len();
        }
        (offsets, count)
    }

    fn label_at(self, offset: u8) -> &'a [u8] {
        let rest = &self.wire[usize::from(offset)..];
        &rest[1..1 + usize::from(rest[0])]
    }
}

impl PartialEq for Name<'_> {
    // A length octet is at most 63 and so no ASCII letter: the whole can be folded at once.
    fn eq(&self, other: &Self) -> bool {
        self.wire.eq_ignore_ascii_case(other.wire)
    }
}

impl Eq for Name<'_> {}

impl PartialOrd for Name<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name<'_> {
    /// RFC 4034 §6.1: label by label from the right, each as octets with capital letters folded, a name before what is
    /// below it.
    fn cmp(&self, other: &Self) -> Ordering {
        let (ours, our_count) = self.label_offsets();
        let (theirs, their_count) = other.label_offsets();
        let pairs = ours[..our_count]
            .iter()
            .rev()
            .zip(theirs[..their_count].iter().rev());
        for (&our, &their) in pairs {
            let our = self.label_at(our).iter().map(u8::to_ascii_lowercase);
            let their = other.label_at(their).iter().map(u8::to_ascii_lowercase);
            match our.cmp(their) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        our_count.cmp(&their_count)
    }
}

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for octet in self.wire {
            state.write_u8(octet.to_ascii_lowercase());
        }
    }
}

impl fmt::Display for Name<'_> {
    /// The master-file form (RFC 1035 §5.1), absolute, with `\X` and `\DDD` where they are needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                        write!(f, "\\{}", char::from(octet))?;
                    }
                    0x21..=0x7e => write!(f, "{}", char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// The labels of a name from left to right; see [`Name::labels`].
#[derive(Clone, Debug)]
pub struct Labels<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.rest.split_first()?;
        if length == 0 {
            return None;
        }
        let (label, rest) = rest.split_at_checked(usize::from(length))?;
        self.rest = rest;
        Some(label)
    }
}

/// A name and all that are above it; see [`Name::ancestors`].
#[derive(Clone, Debug)]
pub struct Ancestors<'a> {
    next: Option<Name<'a>>,
}

impl<'a> Iterator for Ancestors<'a> {
    type Item = Name<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Name<'a>> {
        let name = self.next?;
        self.next = name.parent();
        Some(name)
    }
}

/// An owned domain name, kept inline.
///
/// It is a well-formed name at every moment: the root when new, then one label longer with each
/// [`NameBuf::push_label`].
#[derive(Clone)]
pub struct NameBuf {
    /// Octets in use, the root label included.
    length: u8,
    octets: [u8; MAX_NAME_LENGTH],
}

impl NameBuf {
    /// The root.
    pub const fn new() -> Self {
        Self {
            length: 1,
            octets: [0; MAX_NAME_LENGTH],
        }
    }

    /// The name that `text` is in master-file form, always taken as absolute: the last dot may be left out.
    ///
    /// `\X` stands for the octet X and `\DDD` for the octet of that decimal value (RFC 1035 §5.1). `.` alone is the
    /// root.
    ///
    /// # Errors
    /// [`NameError::EmptyLabel`], [`NameError::LabelTooLong`], [`NameError::NameTooLong`] or [`NameError::BadEscape`].
    pub fn from_text(text: &str) -> Result<Self, NameError> {
        let mut name = Self::new();
        if text == "." {
            return Ok(name);
        }
        let mut label: heapless::Vec<u8, MAX_LABEL_LENGTH> = heapless::Vec::new();
        let mut octets = text.bytes();
        while let Some(octet) = octets.next() {
            let octet = match octet {
                b'.' => {
                    name.push_label(&label)?;
                    label.clear();
                    continue;
                }
                b'\\' => unescape(&mut octets)?,
                plain => plain,
            };
            label.push(octet).map_err(|_| NameError::LabelTooLong)?;
        }
        if !label.is_empty() {
            name.push_label(&label)?;
        } else if name.as_name().is_root() {
            return Err(NameError::EmptyLabel);
        }
        Ok(name)
    }

    /// Adds a label on the right, directly below the root: labels are pushed in the order in which they are read.
    ///
    /// # Errors
    /// [`NameError::EmptyLabel`], [`NameError::LabelTooLong`] or [`NameError::NameTooLong`]; the name is then as
    /// before.
    pub fn push_label(&mut self, label: &[u8]) -> Result<(), NameError> {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > MAX_LABEL_LENGTH {
            return Err(NameError::LabelTooLong);
        }
        let start = usize::from(self.length) - 1;
        let end = start + 1 + label.len();
        if end >= MAX_NAME_LENGTH {
            return Err(NameError::NameTooLong);
        }
        self.octets[start] = label.len() as u8; // at most 63
        self.octets[start + 1..end].copy_from_slice(label);
        self.octets[end] = 0;
        self.length = end as u8 + 1; // at most 255
        Ok(())
    }

    /// Adds all labels of `suffix` on the right: a relative name becomes one below `suffix`.
    ///
    /// # Errors
    /// [`NameError::NameTooLong`]; the name is then as before.
    pub fn push_name(&mut self, suffix: Name<'_>) -> Result<(), NameError> {
        let start = usize::from(self.length) - 1;
        let end = start + suffix.len();
        let room = self
            .octets
            .get_mut(start..end)
            .ok_or(NameError::NameTooLong)?;
        room.copy_from_slice(suffix.as_wire());
        self.length = end as u8; // at most 255
        Ok(())
    }

    /// The name, borrowed.
    pub fn as_name(&self) -> Name<'_> {
        Name {
            wire: &self.octets[..usize::from(self.length)],
        }
    }

    /// Folds capital ASCII letters to small ones, in place.
    pub fn make_lowercase(&mut self) {
        self.octets[..usize::from(self.length)].make_ascii_lowercase();
    }
}

impl Default for NameBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Name<'_>> for NameBuf {
    fn from(name: Name<'_>) -> Self {
        let mut octets = [0; MAX_NAME_LENGTH];
        octets[..name.len()].copy_from_slice(name.as_wire());
        Self {
            length: name.len() as u8, // at most 255
            octets,
        }
    }
}

impl PartialEq for NameBuf {
    fn eq(&self, other: &Self) -> bool {
        self.as_name() == other.as_name()
    }
}

impl Eq for NameBuf {}

impl PartialOrd for NameBuf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NameBuf {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_name().cmp(&other.as_name())
    }
}

impl Hash for NameBuf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_name().hash(state);
    }
}

impl fmt::Display for NameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_name().fmt(f)
    }
}

impl fmt::Debug for NameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameBuf({self})")
    }
}

/// Why octets or text are not a domain name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NameError {
    /// The octets end before the root label.
    Truncated,
    /// More than 255 octets.
    NameTooLong,
    /// A label of more than 63 octets.
    LabelTooLong,
    /// A label without octets that is not the root.
    EmptyLabel,
    /// A compression pointer where a name must be whole.
    CompressionPointer,
    /// A label type that is neither a label nor a pointer: its two highest bits are 01 or 10.
    ReservedLabelType,
    /// Octets after the root label.
    TrailingOctets,
    /// A backslash that no octet follows, or a `\DDD` that is not three digits or above 255.
    BadEscape,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the name ends before its root label",
            Self::NameTooLong => "the name is longer than 255 octets",
            Self::LabelTooLong => "a label is longer than 63 octets",
            Self::EmptyLabel => "a label is empty",
            Self::CompressionPointer => "a compression pointer where the name must be whole",
            Self::ReservedLabelType => "a label type that is not assigned",
            Self::TrailingOctets => "octets follow the name",
            Self::BadEscape => "a backslash is not followed by an octet or three digits up to 255",
        })
    }
}

impl Error for NameError {}

/// The octet that the characters after a backslash stand for.
fn unescape(octets: &mut core::str::Bytes<'_>) -> Result<u8, NameError> {
    let first = octets.next().ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u32::from(first - b'0');
    for _ in 0..2 {
        let digit = octets
            .next()
            .filter(u8::is_ascii_digit)
            .ok_or(NameError::BadEscape)?;
        value = value * 10 + u32::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| NameError::BadEscape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::hash_map::DefaultHasher;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn name(text: &str) -> NameBuf {
        NameBuf::from_text(text).unwrap()
    }

    fn hash_of(name: &NameBuf) -> u64 {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn names_are_compared_without_case() {
        let (small, mixed) = (name("www.example.org"), name("wWw.EXAMPLE.oRg"));
        assert_eq!(small, mixed);
        assert_eq!(hash_of(&small), hash_of(&mixed));
        assert_eq!(small.cmp(&mixed), Ordering::Equal);
        assert!(
            mixed
                .as_name()
                .is_subdomain_of(name("Example.org").as_name())
        );
        assert_ne!(name("www.example.org"), name("www.example.com"));
        // Only ASCII letters fold (RFC 4343 §3.1).
        assert_ne!(name("\\228.example"), name("\\196.example"));
        assert_ne!(name("[.example"), name("{.example"));
    }

    #[test]
    fn case_of_the_octets_is_kept() {
        assert_eq!(name("WwW.example").to_string(), "WwW.example.");
    }

    #[test]
    fn canonical_order_of_rfc_4034_section_6_1() {
        let sorted = [
            "example",
            "a.example",
            "yljkjljk.a.example",
            "Z.a.example",
            "zABC.a.EXAMPLE",
            "z.example",
            "\\001.z.example",
            "*.z.example",
            "\\200.z.example",
        ]
        .map(name);
        for window in sorted.windows(2) {
            assert!(window[0] < window[1], "{} < {}", window[0], window[1]);
        }
    }

    #[test]
    fn name_of_255_octets_is_taken_and_one_of_256_refused() {
        let mut wire = Vec::new();
        for length in [63u8, 63, 63, 61] {
            wire.push(length);
            wire.extend(core::iter::repeat_n(b'x', usize::from(length)));
        }
        wire.push(0);
        assert_eq!(wire.len(), 255);
        assert_eq!(Name::from_wire(&wire).unwrap().len(), 255);
        let text = Name::from_wire(&wire).unwrap().to_string();
        assert_eq!(NameBuf::from_text(&text).unwrap().as_name().as_wire(), wire);

        let mut one_more = wire.clone();
        one_more[64 * 3] = 62;
        one_more.insert(255 - 1, b'x');
        assert_eq!(one_more.len(), 256);
        assert_eq!(Name::from_wire(&one_more), Err(NameError::NameTooLong));

        wire.splice(0..1, [1, b'y', 63]);
        assert_eq!(Name::from_wire(&wire), Err(NameError::NameTooLong));
        assert_eq!(
            NameBuf::from_text(&("y.".to_string() + &text)),
            Err(NameError::NameTooLong)
        );
        let mut longest = NameBuf::from_text(&text).unwrap();
        assert_eq!(longest.push_label(b"y"), Err(NameError::NameTooLong));
        assert_eq!(longest.to_string(), text);
    }

    #[test]
    fn label_of_64_octets_is_refused() {
        let long: String = core::iter::repeat_n('x', 64).collect();
        assert_eq!(NameBuf::from_text(&long), Err(NameError::LabelTooLong));
        assert!(NameBuf::from_text(&long[1..]).is_ok());
        let mut wire = Vec::from([64u8]);
        wire.extend(core::iter::repeat_n(b'x', 64));
        wire.push(0);
        assert_eq!(Name::from_wire(&wire), Err(NameError::ReservedLabelType));
    }

    #[test]
    fn octets_that_are_no_name() {
        assert_eq!(Name::from_wire(b""), Err(NameError::Truncated));
        assert_eq!(Name::from_wire(b"\x03ww"), Err(NameError::Truncated));
        assert_eq!(Name::from_wire(b"\x03www"), Err(NameError::Truncated));
        assert_eq!(Name::from_wire(b"\0\0"), Err(NameError::TrailingOctets));
        assert_eq!(
            Name::from_wire(b"\x01a\xc0\x00"),
            Err(NameError::CompressionPointer)
        );
        assert_eq!(
            Name::from_wire(b"\x80\0"),
            Err(NameError::ReservedLabelType)
        );
        let (first, rest) = Name::split_from(b"\x01a\0rest").unwrap();
        assert_eq!((first.as_wire(), rest), (&b"\x01a\0"[..], &b"rest"[..]));
    }

    #[test]
    fn a_suffix_of_octets_is_no_ancestor_when_it_cuts_a_label() {
        // "\001a\000" is the end of the octets of "x\001a." but not an ancestor of it.
        let inner = name("x\\001a");
        assert!(inner.as_name().as_wire().ends_with(b"\x01a\0"));
        assert!(!inner.as_name().is_subdomain_of(name("a").as_name()));
        assert!(
            !name("notexample.org")
                .as_name()
                .is_subdomain_of(name("example.org").as_name())
        );
        assert!(name("a.b").as_name().is_subdomain_of(Name::ROOT));
        assert!(!name("b").as_name().is_subdomain_of(name("a.b").as_name()));
    }

    #[test]
    fn text_is_escaped_and_read_back() {
        let mut odd = NameBuf::new();
        odd.push_label(b"a.b\\c\"d;e(f)g@h$i j\0\xff").unwrap();
        odd.push_label(b"*").unwrap();
        assert_eq!(
            odd.to_string(),
            "a\\.b\\\\c\\\"d\\;e\\(f\\)g\\@h\\$i\\032j\\000\\255.*."
        );
        assert_eq!(
            name(&odd.to_string()).as_name().as_wire(),
            odd.as_name().as_wire()
        );
        assert_eq!(name(".").to_string(), ".");
        for bad in ["", "..", "a..b", ".a"] {
            assert_eq!(
                NameBuf::from_text(bad),
                Err(NameError::EmptyLabel),
                "{bad:?}"
            );
        }
        for bad in ["\\", "\\25", "\\256", "\\2x5"] {
            assert_eq!(
                NameBuf::from_text(bad),
                Err(NameError::BadEscape),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn labels_parents_and_joins() {
        let www = name("www.example.org");
        let labels: Vec<&[u8]> = www.as_name().labels().collect();
        assert_eq!(labels, [&b"www"[..], b"example", b"org"]);
        let ancestors: Vec<String> = www.as_name().ancestors().map(|n| n.to_string()).collect();
        assert_eq!(ancestors, ["www.example.org.", "example.org.", "org.", "."]);
        assert_eq!(Name::ROOT.parent(), None);
        let mut joined = name("a.b");
        joined.push_name(www.as_name()).unwrap();
        assert_eq!(joined, name("a.b.www.example.org"));
        assert!(name("*.example").as_name().is_wildcard());
        assert!(!name("a.*.example").as_name().is_wildcard());
        assert!(!name("**.example").as_name().is_wildcard());
    }
}
