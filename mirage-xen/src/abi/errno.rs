//! What a hypercall answers when it refuses.

use core::fmt;

/// Xen's error numbers (`errno.h`): those that this crate looks at, and the rest by number.
///
/// Xenstore has the same ones, by name ([`from_name`](Self::from_name), `io/xs_wire.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum XenError {
    /// `EPERM`: this domain may not.
    NotPermitted,
    /// `ENOENT`: there is no such thing.
    NotFound,
    /// `ESRCH`: there is no such domain.
    NoSuchDomain,
    /// `EIO`: it failed in Xen or xenstored.
    InputOutput,
    /// `E2BIG`: longer than the peer takes.
    TooBig,
    /// `EAGAIN`: something else came between; try again.
    TryAgain,
    /// `ENOMEM`: Xen or xenstored has no memory for it.
    OutOfMemory,
    /// `EACCES`: this domain has no right to that key.
    AccessDenied,
    /// `EFAULT`: an address of ours that Xen can't reach.
    BadAddress,
    /// `EBUSY`: in use.
    Busy,
    /// `EEXIST`: it exists.
    Exists,
    /// `EISDIR`.
    IsDirectory,
    /// `EINVAL`: an argument that makes no sense there.
    Invalid,
    /// `ENOSPC`: none left, or over a quota.
    NoSpace,
    /// `EROFS`.
    ReadOnly,
    /// `ENOSYS`: this Xen doesn't know the call.
    NotImplemented,
    /// `ENOTEMPTY`.
    NotEmpty,
    /// `EOPNOTSUPP`.
    NotSupported,
    /// Another one, by its number (positive).
    Other(u16),
}

/// Each error, its number in `errno.h`, and its name.
const TABLE: [(XenError, u16, &str); 18] = [
    (XenError::NotPermitted, 1, "EPERM"),
    (XenError::NotFound, 2, "ENOENT"),
    (XenError::NoSuchDomain, 3, "ESRCH"),
    (XenError::InputOutput, 5, "EIO"),
    (XenError::TooBig, 7, "E2BIG"),
    (XenError::TryAgain, 11, "EAGAIN"),
    (XenError::OutOfMemory, 12, "ENOMEM"),
    (XenError::AccessDenied, 13, "EACCES"),
    (XenError::BadAddress, 14, "EFAULT"),
    (XenError::Busy, 16, "EBUSY"),
    (XenError::Exists, 17, "EEXIST"),
    (XenError::IsDirectory, 21, "EISDIR"),
    (XenError::Invalid, 22, "EINVAL"),
    (XenError::NoSpace, 28, "ENOSPC"),
    (XenError::ReadOnly, 30, "EROFS"),
    (XenError::NotImplemented, 38, "ENOSYS"),
    (XenError::NotEmpty, 39, "ENOTEMPTY"),
    (XenError::NotSupported, 95, "EOPNOTSUPP"),
];

impl XenError {
    /// The error with this (positive) number.
    pub fn from_number(number: u16) -> Self {
        let known = TABLE.iter().find(|(_, of, _)| *of == number);
        known.map_or(Self::Other(number), |(error, ..)| *error)
    }

    /// The error that xenstored calls so. `None` of a name that it isn't known to have.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let known = TABLE.iter().find(|(.., of)| of.as_bytes() == name);
        known.map(|(error, ..)| *error)
    }

    /// A hypercall's return value: what it gives, or the error that a negative one stands for.
    ///
    /// # Errors
    ///
    /// The error.
    pub fn check(value: i64) -> Result<u64, Self> {
        u64::try_from(value).map_err(|_| {
            let number = u16::try_from(value.unsigned_abs()).unwrap_or(u16::MAX);
            Self::from_number(number)
        })
    }

    /// Its number in `errno.h`.
    pub fn number(self) -> u16 {
        if let Self::Other(number) = self {
            return number;
        }
        let known = TABLE.iter().find(|(error, ..)| *error == self);
        known.map_or(0, |(_, number, _)| *number)
    }

    /// Its name in `errno.h`, if this crate knows it.
    pub fn name(self) -> Option<&'static str> {
        let known = TABLE.iter().find(|(error, ..)| *error == self);
        known.map(|(.., name)| *name)
    }
}

impl fmt::Display for XenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Xen error {}", self.number()),
        }
    }
}

impl core::error::Error for XenError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_go_both_ways() {
        for (error, number, name) in TABLE {
            assert_eq!(XenError::from_number(number), error);
            assert_eq!(XenError::from_name(name.as_bytes()), Some(error));
            assert_eq!((error.number(), error.name()), (number, Some(name)));
        }
        assert_eq!(XenError::from_number(84), XenError::Other(84));
        assert_eq!(XenError::from_name(b"EILSEQ"), None);
    }

    #[test]
    fn a_return_value_is_an_error_only_below_zero() {
        assert_eq!(XenError::check(0), Ok(0));
        assert_eq!(XenError::check(i64::MAX), Ok(i64::MAX as u64));
        assert_eq!(XenError::check(-11), Err(XenError::TryAgain));
        assert_eq!(XenError::check(i64::MIN), Err(XenError::Other(u16::MAX)));
    }
}
