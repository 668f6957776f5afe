//! Checked paths.

use core::fmt;

/// The name of a value or of a dictionary: segments, separated by `/`. Copied freely.
///
/// No segment is empty, `.` or `..`, and none contains a NUL: whoever holds a key needs no check of his own against paths
/// that lead out of a store. Other characters are as they are: nothing is decoded here, so nothing is decoded twice.
/// One `/` at the beginning is taken off. The empty key is the root.
///
/// ```
/// use mirage_core::kv::{Key, KeyError};
///
/// let key = Key::new("/css/site.css").unwrap();
/// assert_eq!(key.as_str(), "css/site.css");
/// assert_eq!(key.segments().collect::<Vec<_>>(), ["css", "site.css"]);
/// assert_eq!(Key::new("css/../../etc/passwd"), Err(KeyError::Dots));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key<'a>(&'a str);

impl<'a> Key<'a> {
    /// The root.
    pub const ROOT: Self = Self("");

    /// Checks a path.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub const fn new(path: &'a str) -> Result<Self, KeyError> {
        let path = match path.as_bytes() {
            // The byte is a character of its own.
            [b'/', ..] => path.split_at(1).1,
            _ => path,
        };
        let bytes = path.as_bytes();
        let (mut segment, mut at) = (0, 0);
        while at <= bytes.len() {
            if at == bytes.len() || bytes[at] == b'/' {
                match (at - segment, bytes.len()) {
                    (0, 0) => return Ok(Self::ROOT),
                    (0, _) => return Err(KeyError::Empty),
                    (1, _) if bytes[segment] == b'.' => return Err(KeyError::Dots),
                    (2, _) if bytes[segment] == b'.' && bytes[segment + 1] == b'.' => {
                        return Err(KeyError::Dots);
                    }
                    _ => segment = at + 1,
                }
            } else if bytes[at] == 0 {
                return Err(KeyError::Nul);
            }
            at += 1;
        }
        Ok(Self(path))
    }

    /// The path, without `/` at either end.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The key that has `suffix` behind its last segment, written into `room`. None where that is no key, and where the room is too small.
    ///
    /// ```
    /// use mirage_core::kv::Key;
    ///
    /// let (page, mut room) = (Key::new("index.html").unwrap(), [0; 13]);
    /// assert_eq!(page.with_suffix(".gz", &mut room).unwrap().as_str(), "index.html.gz");
    /// assert_eq!(page.with_suffix(".br.gz", &mut room), None);
    /// ```
    pub fn with_suffix<'r>(self, suffix: &str, room: &'r mut [u8]) -> Option<Key<'r>> {
        let key = self.0;
        let room = room.get_mut(..key.len() + suffix.len())?;
        let (before, behind) = room.split_at_mut_checked(key.len())?;
        before.copy_from_slice(key.as_bytes());
        behind.copy_from_slice(suffix.as_bytes());
        Key::new(core::str::from_utf8(room).ok()?).ok()
    }

    /// Whether it is the root.
    pub const fn is_root(self) -> bool {
        self.0.is_empty()
    }

    /// The segments, none for the root.
    pub fn segments(self) -> impl DoubleEndedIterator<Item = &'a str> + Clone {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }
}

impl fmt::Display for Key<'_> {
    /// With a `/` before each segment, as a path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// A segment is empty.
    Empty,
    /// A segment is `.` or `..`.
    Dots,
    /// There is a NUL in it.
    Nul,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "path has an empty segment",
            Self::Dots => "path has a segment `.` or `..`",
            Self::Nul => "path has a NUL",
        })
    }
}

impl core::error::Error for KeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_out_of_the_store_is_no_key() {
        for path in [
            "..", ".", "../a", "a/..", "a/../b", "a/./b", "/../a", "/..", "./a",
        ] {
            assert_eq!(Key::new(path), Err(KeyError::Dots), "{path}");
        }
        for path in ["//", "a//b", "a/", "//a", "a/b//"] {
            assert_eq!(Key::new(path), Err(KeyError::Empty), "{path}");
        }
        assert_eq!(Key::new("a\0"), Err(KeyError::Nul));
    }

    #[test]
    fn nothing_is_decoded() {
        for path in ["..%2f", "%2e%2e", "...", "..a", "a b", "a\\..\\b", "ä/ö"] {
            assert_eq!(Key::new(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn the_root_has_no_segments() {
        assert_eq!(
            (Key::new(""), Key::new("/")),
            (Ok(Key::ROOT), Ok(Key::ROOT))
        );
        assert_eq!(Key::ROOT.segments().count(), 0);
    }
}
