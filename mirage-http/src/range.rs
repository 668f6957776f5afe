//! Ranges (RFC 9110 §14): parts of a content, one or several.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`RangeSet`] | the ranges of a request that there are, at most [`RangeSet::MOST`] |
//! | [`Selection`] | what a Range field comes to |
//! | [`Multipart`] | what goes around the parts of an answer with several ranges |

use core::fmt;

use crate::field::elements;
use crate::scan::{decimal, trim};

/// A part of a content: from an octet on, so many. At least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteRange {
    /// The first octet's number, from zero.
    pub start: u64,
    /// How many.
    pub length: u64,
}

impl ByteRange {
    /// The number of the last octet.
    pub const fn last(&self) -> u64 {
        self.start + (self.length - 1)
    }

    /// As it stands in Content-Range, of a content of `size` octets (RFC 9110 §14.4).
    pub fn content_range(self, size: u64) -> impl fmt::Display {
        ContentRange { range: self, size }
    }
}

struct ContentRange {
    range: ByteRange,
    size: u64,
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.range.start, self.range.last());
        write!(f, "bytes {first}-{last}/{}", self.size)
    }
}

/// What a Range field comes to, for a content whose size is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Send all of it: the field says nothing that this server takes up (RFC 9110 §14.2 allows to leave any Range out).
    Whole,
    /// Send these.
    Parts(RangeSet),
    /// None of the ranges is of the content: answer 416 with [`Unsatisfied`] as Content-Range.
    Unsatisfiable,
}

impl Selection {
    /// Reads a Range field's value for a content of `size` octets.
    ///
    /// Taken up are ranges of bytes, up to [`RangeSet::MOST`] that are of the content, and only if they are together no more than the
    /// content: many small or overlapping ranges cost a server more than they are worth (RFC 9110 §17.15). A value that is wrong
    /// counts as none (§14.2).
    pub fn new(value: &[u8], size: u64) -> Self {
        let Some((unit, ranges)) = value.split_at_checked(6) else {
            return Self::Whole;
        };
        if !unit.eq_ignore_ascii_case(b"bytes=") {
            return Self::Whole;
        }
        let mut set = RangeSet::NONE;
        let (mut total, mut any) = (0u64, false);
        for element in elements(ranges) {
            any = true;
            match range(element, size) {
                None => return Self::Whole,
                Some(None) => {}
                Some(Some(range)) => {
                    total = total.saturating_add(range.length);
                    if total > size || !set.push(range) {
                        return Self::Whole;
                    }
                }
            }
        }
        match (any, set.is_empty()) {
            (false, _) => Self::Whole,
            (true, true) => Self::Unsatisfiable,
            (true, false) => Self::Parts(set),
        }
    }
}

/// What one element says of a content: `None` if it is wrong, `Some(None)` if nothing of it is of the content.
fn range(element: &[u8], size: u64) -> Option<Option<ByteRange>> {
    let dash = element.iter().position(|octet| *octet == b'-')?;
    let (first, last) = (trim(&element[..dash]), trim(&element[dash + 1..]));
    if first.len() != dash || last.len() != element.len() - dash - 1 {
        return None;
    }
    if first.is_empty() {
        // The last so many octets.
        let wanted = number(last)?;
        if wanted > 0 && size == 0 {
            // Satisfiable (RFC 9110 §14.1.2), and no Content-Range can say so: all of it is sent.
            return None;
        }
        let length = wanted.min(size);
        return Some((length > 0).then_some(ByteRange {
            start: size - length,
            length,
        }));
    }
    let start = number(first)?;
    let last = match last {
        b"" => u64::MAX,
        last => number(last)?,
    };
    if last < start {
        return None;
    }
    if start >= size {
        return Some(None);
    }
    let length = last.min(size - 1) - start + 1;
    Some(Some(ByteRange { start, length }))
}

/// A number of digits; one that is too large for 64 bits lies behind every content all the same.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(decimal(digits).unwrap_or(u64::MAX))
}

/// Content-Range of an answer 416: none of a content of so many octets (RFC 9110 §14.4).
#[derive(Clone, Copy, Debug)]
pub struct Unsatisfied(pub u64);

impl fmt::Display for Unsatisfied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes */{}", self.0)
    }
}

/// Up to [`MOST`](Self::MOST) ranges, in the order in which they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeSet {
    ranges: [ByteRange; Self::MOST],
    length: u8,
}

impl RangeSet {
    /// The most ranges of one answer.
    pub const MOST: usize = 8;

    const NONE: Self = Self {
        ranges: [ByteRange {
            start: 0,
            length: 0,
        }; Self::MOST],
        length: 0,
    };

    /// One range alone.
    pub const fn one(range: ByteRange) -> Self {
        let mut set = Self::NONE;
        set.ranges[0] = range;
        set.length = 1;
        set
    }

    /// The ranges.
    pub fn as_slice(&self) -> &[ByteRange] {
        &self.ranges[..usize::from(self.length)]
    }

    fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn push(&mut self, range: ByteRange) -> bool {
        match self.ranges.get_mut(usize::from(self.length)) {
            Some(place) => {
                *place = range;
                self.length += 1;
                true
            }
            None => false,
        }
    }
}

/// What goes around the parts of a `multipart/byteranges` (RFC 9110 §14.6), for a given content.
///
/// The boundary is made of a tag of the content, such as its digest: octets in which their own digest stands are not met by
/// chance, and who can make the content can as well make what he likes of the answer.
#[derive(Clone, Copy, Debug)]
pub struct Multipart<'a> {
    /// Octets of the boundary, of the tag's first.
    tag: &'a [u8],
    content_type: &'a str,
    size: u64,
}

/// The most octets of the tag that are used: each makes two characters of the boundary, whose most are 70 (RFC 2046 §5.1.1).
const TAG: usize = 16;

impl<'a> Multipart<'a> {
    /// For a content of `size` octets with a media type and a tag.
    pub fn new(tag: &'a [u8], content_type: &'a str, size: u64) -> Self {
        let tag = tag.get(..TAG).unwrap_or(tag);
        Self {
            tag,
            content_type,
            size,
        }
    }

    /// The value of Content-Type.
    pub fn content_type(&self) -> impl fmt::Display + use<'a> {
        MultipartType(*self)
    }

    /// What goes before a part.
    pub fn before(&self, range: ByteRange) -> impl fmt::Display + use<'a> {
        Before(*self, range)
    }

    /// What goes behind the last.
    pub fn end(&self) -> impl fmt::Display + use<'a> {
        End(*self)
    }

    /// The whole length.
    pub fn length(&self, ranges: &RangeSet) -> u64 {
        let mut counter = Counter(0);
        let mut content = 0;
        for range in ranges.as_slice() {
            let _ = fmt::Write::write_fmt(&mut counter, format_args!("{}", self.before(*range)));
            content += range.length;
        }
        let _ = fmt::Write::write_fmt(&mut counter, format_args!("{}", self.end()));
        counter.0 + content
    }

    fn write_boundary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("part-")?;
        self.tag
            .iter()
            .try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

struct MultipartType<'a>(Multipart<'a>);

impl fmt::Display for MultipartType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("multipart/byteranges; boundary=")?;
        self.0.write_boundary(f)
    }
}

struct Before<'a>(Multipart<'a>, ByteRange);

impl fmt::Display for Before<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\r\n--")?;
        self.0.write_boundary(f)?;
        write!(
            f,
            "\r\ncontent-type: {}\r\ncontent-range: {}\r\n\r\n",
            self.0.content_type,
            self.1.content_range(self.0.size)
        )
    }
}

struct End<'a>(Multipart<'a>);

impl fmt::Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\r\n--")?;
        self.0.write_boundary(f)?;
        f.write_str("--\r\n")
    }
}

struct Counter(u64);

impl fmt::Write for Counter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::format;
    use std::string::ToString;
    use std::vec::Vec;

    #[derive(Debug, PartialEq)]
    enum No {
        Whole,
        Unsatisfiable,
    }

    /// Ranges of a content of 100 octets, as first and last.
    fn select(value: &str) -> Result<Vec<(u64, u64)>, No> {
        match Selection::new(value.as_bytes(), 100) {
            Selection::Parts(set) => Ok(set
                .as_slice()
                .iter()
                .map(|range| (range.start, range.last()))
                .collect()),
            Selection::Whole => Err(No::Whole),
            Selection::Unsatisfiable => Err(No::Unsatisfiable),
        }
    }

    #[test]
    fn ranges_of_a_content() {
        assert_eq!(select("bytes=0-0"), Ok([(0, 0)].into()));
        assert_eq!(select("bytes=10-19"), Ok([(10, 19)].into()));
        assert_eq!(select("bytes=90-"), Ok([(90, 99)].into()));
        assert_eq!(select("bytes=-10"), Ok([(90, 99)].into()));
        assert_eq!(select("bytes=-1000"), Ok([(0, 99)].into()));
        assert_eq!(select("bytes=50-1000"), Ok([(50, 99)].into()));
        assert_eq!(
            select("bytes=99-99999999999999999999999"),
            Ok([(99, 99)].into())
        );
        assert_eq!(
            select("BYTES=0-1, 5-6 ,, -1"),
            Ok([(0, 1), (5, 6), (99, 99)].into())
        );
        assert_eq!(select("bytes=200-300, 1-2"), Ok([(1, 2)].into()));
    }

    #[test]
    fn ranges_behind_the_content() {
        for value in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=200-,300-"] {
            assert_eq!(select(value), Err(No::Unsatisfiable), "{value}");
        }
        assert_eq!(Selection::new(b"bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(Selection::new(b"bytes=-1", 0), Selection::Whole);
        assert_eq!(Selection::new(b"bytes=-0", 0), Selection::Unsatisfiable);
        assert_eq!(Unsatisfied(100).to_string(), "bytes */100");
    }

    #[test]
    fn a_range_that_is_wrong_is_none() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=2-1",
            "bytes=a-b",
            "bytes=1",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes=1 - 2",
            "lines=1-2",
            "bytes:1-2",
            "bytes=1-2, x",
            "bytes=0x0-1",
            "bytes=--1",
        ] {
            assert_eq!(select(value), Err(No::Whole), "{value:?}");
        }
    }

    #[test]
    fn many_or_overlapping_ranges_are_not_taken_up() {
        let many = |count: usize| {
            let ranges: Vec<_> = (0..count).map(|at| format!("{0}-{0}", at * 2)).collect();
            format!("bytes={}", ranges.join(","))
        };
        assert!(select(&many(RangeSet::MOST)).is_ok());
        assert_eq!(select(&many(RangeSet::MOST + 1)), Err(No::Whole));
        assert_eq!(select("bytes=0-,0-,0-"), Err(No::Whole));
        assert_eq!(select("bytes=0-49,0-49"), Ok([(0, 49), (0, 49)].into()));
        assert_eq!(select("bytes=0-49,0-50"), Err(No::Whole));
    }

    #[test]
    fn several_parts_are_a_multipart() {
        let Selection::Parts(set) = Selection::new(b"bytes=0-1,-2", 10) else {
            panic!("two ranges");
        };
        let multipart = Multipart::new(b"\x01\xab", "text/plain", 10);
        let mut text = std::string::String::new();
        for range in set.as_slice() {
            text += &multipart.before(*range).to_string();
            text += &"x".repeat(range.length as usize);
        }
        text += &multipart.end().to_string();
        assert_eq!(
            text,
            "\r\n--part-01ab\r\ncontent-type: text/plain\r\ncontent-range: bytes 0-1/10\r\n\r\nxx\
             \r\n--part-01ab\r\ncontent-type: text/plain\r\ncontent-range: bytes 8-9/10\r\n\r\nxx\
             \r\n--part-01ab--\r\n"
        );
        assert_eq!(multipart.length(&set), text.len() as u64);
        let content_type = multipart.content_type().to_string();
        assert_eq!(content_type, "multipart/byteranges; boundary=part-01ab");
        let long = Multipart::new(&[0xff; 32], "a/b", 1)
            .content_type()
            .to_string();
        assert!(long.len() <= "multipart/byteranges; boundary=".len() + 70);
    }

    proptest! {
        #[test]
        fn what_is_selected_is_of_the_content(
            value in "bytes=([0-9]{0,21}-[0-9]{0,3}[, ]{0,2}){0,9}",
            size in 0u64..200,
        ) {
            if let Selection::Parts(set) = Selection::new(value.as_bytes(), size) {
                let ranges = set.as_slice();
                prop_assert!(!ranges.is_empty());
                for range in ranges {
                    prop_assert!(range.length > 0 && range.start + range.length <= size);
                }
                prop_assert!(ranges.iter().map(|range| range.length).sum::<u64>() <= size);
            }
        }
    }
}
