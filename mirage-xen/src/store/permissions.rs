//! Who may reach a key.

use super::text::parse_decimal;
use crate::abi::DomainId;

/// What a domain may do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `n`: nothing.
    None,
    /// `r`: read it.
    Read,
    /// `w`: write it.
    Write,
    /// `b`: both.
    Both,
}

/// One entry of a key's permissions. The first one's domain owns the key and may do anything with it; its access is
/// that of all domains without an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permission {
    /// The domain.
    pub domain: DomainId,
    /// What it may do.
    pub access: Access,
}

/// Entries that [`set_permissions`](super::Store::set_permissions) takes at most. Xenstored grants a domain five
/// unless told otherwise.
pub(super) const MAXIMUM_PERMISSIONS: usize = 32;

impl Permission {
    fn parse(text: &[u8]) -> Option<Self> {
        let (letter, domain) = text.split_first()?;
        let access = match letter {
            b'n' => Access::None,
            b'r' => Access::Read,
            b'w' => Access::Write,
            b'b' => Access::Both,
            _ => return None,
        };
        let domain = DomainId(u16::try_from(parse_decimal(domain)?).ok()?);
        Some(Self { domain, access })
    }

    /// A letter, and the domain's number for [`Decimal`](super::Decimal).
    pub(super) fn letter(self) -> &'static [u8] {
        match self.access {
            Access::None => b"n",
            Access::Read => b"r",
            Access::Write => b"w",
            Access::Both => b"b",
        }
    }
}

/// A key's permissions, as xenstored gave them: at least the owner's.
#[derive(Clone, Debug)]
pub struct Permissions<'a>(&'a [u8]);

impl<'a> Permissions<'a> {
    /// `None` if one of them isn't what the protocol says.
    pub(super) fn new(payload: &'a [u8]) -> Option<Self> {
        let entries = payload.strip_suffix(b"\0")?;
        let mut texts = entries.split(|byte| *byte == 0);
        texts
            .all(|text| Permission::parse(text).is_some())
            .then_some(Self(entries))
    }
}

impl Iterator for Permissions<'_> {
    type Item = Permission;

    fn next(&mut self) -> Option<Permission> {
        let mut parts = self.0.splitn(2, |byte| *byte == 0);
        let permission = Permission::parse(parts.next()?);
        self.0 = parts.next().unwrap_or_default();
        permission
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn permissions_are_a_letter_and_a_domain() {
        let all: Vec<_> = Permissions::new(b"n0\0r5\0w65535\0b7\0").unwrap().collect();
        let expected = [
            (0, Access::None),
            (5, Access::Read),
            (65_535, Access::Write),
            (7, Access::Both),
        ];
        let expected = expected.map(|(domain, access)| Permission {
            domain: DomainId(domain),
            access,
        });
        assert_eq!(all, expected);
    }

    #[test]
    fn permissions_that_are_none_are_refused() {
        for payload in [
            &b""[..],
            b"\0",
            b"n0",
            b"n0\0\0",
            b"x0\0",
            b"n\0",
            b"r65536\0",
            b"r-1\0",
            b"r1 \0",
        ] {
            assert!(Permissions::new(payload).is_none(), "{payload:?}");
        }
    }
}
