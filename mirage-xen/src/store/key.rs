//! Names of keys.

use core::fmt;

use crate::abi::xs_wire::{XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX};

/// The name of a key: a path in one piece, or a directory and the rest below it, which needs no buffer to put them
/// together.
///
/// One that does not begin with `/` is relative to the domain's own directory, `/local/domain/N`. Xenstore permits
/// letters and digits of ASCII and `-`, `_`, `@`, in parts between single slashes.
///
/// ```
/// use mirage_xen::store::Key;
///
/// assert_eq!(Key::from("device/vif/0/mac").check(), Ok(16));
/// assert_eq!(Key::from(("device/vif/0", "mac")).check(), Ok(16));
/// assert!(Key::from("device//vif").check().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    directory: &'a str,
    name: &'a str,
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(path: &'a str) -> Self {
        Self {
            directory: "",
            name: path,
        }
    }
}

/// A directory and what is below it. An empty directory is the domain's own.
impl<'a> From<(&'a str, &'a str)> for Key<'a> {
    fn from((directory, name): (&'a str, &'a str)) -> Self {
        Self { directory, name }
    }
}

impl<'a> Key<'a> {
    /// Whether xenstore can have such a name: its length in bytes.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(self) -> Result<usize, KeyError> {
        let parts = self.parts();
        let length = parts.iter().map(|part| part.len()).sum();
        let absolute = self.directory.starts_with('/')
            || self.directory.is_empty() && self.name.starts_with('/');
        let most = if absolute {
            XENSTORE_ABS_PATH_MAX
        } else {
            XENSTORE_REL_PATH_MAX
        };
        if length == 0 {
            return Err(KeyError::Empty);
        }
        if length > most {
            return Err(KeyError::TooLong { length });
        }
        let mut last = b' ';
        for part in parts {
            for byte in part {
                match byte {
                    b'/' if last == b'/' => return Err(KeyError::Slash),
                    b'/' | b'-' | b'_' | b'@' => {}
                    _ if byte.is_ascii_alphanumeric() => {}
                    _ => return Err(KeyError::Character(*byte)),
                }
                last = *byte;
            }
        }
        if last == b'/' && length > 1 {
            return Err(KeyError::Slash);
        }
        Ok(length)
    }

    /// The bytes, in pieces.
    pub(super) fn parts(self) -> [&'a [u8]; 3] {
        let slash: &[u8] = if self.directory.is_empty() || self.directory == "/" {
            b""
        } else {
            b"/"
        };
        [self.directory.as_bytes(), slash, self.name.as_bytes()]
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, slash, _] = self.parts();
        f.write_str(self.directory)?;
        f.write_str(if slash.is_empty() { "" } else { "/" })?;
        f.write_str(self.name)
    }
}

/// Why xenstore can't have a key of that name. The caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// It is empty.
    Empty,
    /// It has a NUL or another byte that xenstore does not permit.
    Character(u8),
    /// It has two slashes in a row, or one at its end.
    Slash,
    /// It is longer than `XENSTORE_ABS_PATH_MAX` (3,072 bytes) or, where it is relative, `XENSTORE_REL_PATH_MAX`
    /// (2,048).
    TooLong {
        /// Its bytes.
        length: usize,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the key's name is empty"),
            Self::Character(byte) => write!(
                f,
                "the key's name has the byte {byte:#04x}, which xenstore does not permit"
            ),
            Self::Slash => f.write_str("the key's name has an empty part"),
            Self::TooLong { length } => {
                write!(
                    f,
                    "the key's name has {length} bytes, more than xenstore permits"
                )
            }
        }
    }
}

impl core::error::Error for KeyError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_name_in_two_pieces_is_the_same_as_in_one() {
        for (directory, name, whole) in [
            ("device/vif/0", "mac", "device/vif/0/mac"),
            ("/local/domain/0", "name", "/local/domain/0/name"),
            ("/", "local", "/local"),
            ("", "control", "control"),
        ] {
            let key = Key::from((directory, name));
            assert_eq!(key.check(), Key::from(whole).check());
            assert_eq!(key.parts().concat(), whole.as_bytes());
            assert_eq!(key.to_string(), whole);
        }
    }

    #[test]
    fn a_nul_in_a_name_is_refused_before_it_reaches_xenstored() {
        let nul = Err(KeyError::Character(0));
        assert_eq!(Key::from("a\0b").check(), nul);
        assert_eq!(Key::from(("a\0", "b")).check(), nul);
        assert_eq!(Key::from(("a", "b\0")).check(), nul);
        assert_eq!(Key::from("ä").check(), Err(KeyError::Character(0xC3)));
        assert_eq!(Key::from("a b").check(), Err(KeyError::Character(b' ')));
    }

    #[test]
    fn empty_parts_are_refused() {
        assert_eq!(Key::from("").check(), Err(KeyError::Empty));
        for name in ["//", "a//b", "a/", "/a/"] {
            assert_eq!(Key::from(name).check(), Err(KeyError::Slash), "{name}");
        }
        assert_eq!(Key::from(("a/", "b")).check(), Err(KeyError::Slash));
        assert_eq!(Key::from(("a", "/b")).check(), Err(KeyError::Slash));
        assert_eq!(Key::from(("a", "")).check(), Err(KeyError::Slash));
        assert_eq!(Key::from("/").check(), Ok(1));
        assert_eq!(Key::from("@releaseDomain").check(), Ok(14));
    }

    #[test]
    fn absolute_names_may_be_longer_than_relative_ones() {
        let relative = "a".repeat(XENSTORE_REL_PATH_MAX);
        assert_eq!(Key::from(&*relative).check(), Ok(2_048));
        let longer = Key::from((&*relative, "b")).check();
        assert_eq!(longer, Err(KeyError::TooLong { length: 2_050 }));
        let mut absolute = "/".to_string() + &"a".repeat(XENSTORE_ABS_PATH_MAX - 1);
        assert_eq!(Key::from(&*absolute).check(), Ok(3_072));
        absolute.push('a');
        let longer = Key::from(&*absolute).check();
        assert_eq!(longer, Err(KeyError::TooLong { length: 3_073 }));
    }
}
