//! Algorithms and keys.

use core::error::Error;
use core::fmt;

use super::mac::{Context, MAX_MAC_LENGTH};
use crate::name::{MAX_NAME_LENGTH, Name, NameBuf};

/// How a message is digested (RFC 8945 §6).
///
/// HMAC-MD5 must not be used and HMAC-SHA-1 is not recommended any more, so neither is there: a peer that wants one gets
/// BADKEY. HMAC-SHA-224 and the algorithms that cut their MAC are optional, and left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Algorithm {
    /// `hmac-sha256`, which everybody has.
    HmacSha256,
    /// `hmac-sha384`.
    HmacSha384,
    /// `hmac-sha512`.
    HmacSha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    /// The algorithm with this name in a TSIG record.
    pub fn from_name(name: Name<'_>) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    /// The algorithm that is written so in configurations; upper or lower case.
    pub fn from_mnemonic(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.mnemonic().eq_ignore_ascii_case(text))
    }

    /// Its name in a TSIG record.
    pub const fn name(self) -> Name<'static> {
        Name::from_checked(match self {
            Self::HmacSha256 => b"\x0bhmac-sha256\0",
            Self::HmacSha384 => b"\x0bhmac-sha384\0",
            Self::HmacSha512 => b"\x0bhmac-sha512\0",
        })
    }

    /// How it is written in configurations.
    pub const fn mnemonic(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    /// Octets of a MAC.
    pub const fn mac_length(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    /// The fewest octets to which a sender may cut a MAC: the larger of ten and half of it (RFC 8945 §5.2.2.1).
    pub(super) const fn least_mac_length(self) -> usize {
        self.mac_length() / 2 // 16 at least
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.mnemonic())
    }
}

/// A secret that two hosts share, with the name under which they do (RFC 8945 §4.2, §7).
///
/// The secret's octets are not kept: what is kept is the hash that was keyed with them, which is as secret, and wiped
/// when the key is dropped. `Debug` does not show it.
#[derive(Clone)]
pub struct Key {
    name: NameBuf,
    algorithm: Algorithm,
    context: Context,
}

impl Key {
    /// A key. A secret should have as many octets as the algorithm's MAC, drawn at random (RFC 8945 §8); longer ones
    /// add little.
    ///
    /// # Errors
    /// [`KeyError::EmptySecret`].
    pub fn new(name: Name<'_>, algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        let context = Context::new(algorithm, secret).ok_or(KeyError::EmptySecret)?;
        let mut name = name.to_owned();
        // The form in which it is digested (RFC 8945 §4.3.3).
        name.make_lowercase();
        Ok(Self {
            name,
            algorithm,
            context,
        })
    }

    /// The name, in small letters.
    pub fn name(&self) -> Name<'_> {
        self.name.as_name()
    }

    /// The algorithm; the same secret under another is another key.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The most octets of a TSIG record that is made with this key: what to leave free behind a message that will be
    /// signed.
    pub fn record_length(&self) -> usize {
        let names = self.name.as_name().len() + self.algorithm.name().len();
        names + FIXED_LENGTH + self.algorithm.mac_length() + SERVER_TIME_LENGTH
    }

    /// The keyed hash before anything was put into it.
    pub(super) fn context(&self) -> Context {
        self.context.clone()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Octets of a TSIG record but for its names, the MAC and other data: type, class, TTL and length, then time signed,
/// fudge, MAC size, original ID, error and other length.
pub(super) const FIXED_LENGTH: usize = 10 + 16;

/// Octets of the server's time in the other data of BADTIME (RFC 8945 §5.2.3).
pub(super) const SERVER_TIME_LENGTH: usize = 6;

/// The most octets of a TSIG record that is made here, whatever the key.
pub const MAX_RECORD_LENGTH: usize =
    MAX_NAME_LENGTH + 13 + FIXED_LENGTH + MAX_MAC_LENGTH + SERVER_TIME_LENGTH;

/// Why there is no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum KeyError {
    /// A secret without octets, which everybody knows.
    EmptySecret,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptySecret => "the secret is empty",
        })
    }
}

impl Error for KeyError {}

/// The keys that a host knows: as many as the caller has room for, looked through one by one.
#[derive(Clone, Copy, Default, Debug)]
pub struct KeyRing<'k> {
    keys: &'k [Key],
}

impl<'k> KeyRing<'k> {
    /// Without keys: every signature is refused.
    pub const EMPTY: KeyRing<'static> = KeyRing { keys: &[] };

    /// These keys. Of two with the same name and algorithm the first counts.
    pub const fn new(keys: &'k [Key]) -> Self {
        Self { keys }
    }

    /// The key with this name and algorithm.
    pub fn find(&self, name: Name<'_>, algorithm: Algorithm) -> Option<&'k Key> {
        let mut keys = self.keys.iter();
        keys.find(|key| key.algorithm == algorithm && key.name() == name)
    }

    /// The first key with this name: what a configuration refers to.
    pub fn find_by_name(&self, name: Name<'_>) -> Option<&'k Key> {
        self.keys.iter().find(|key| key.name() == name)
    }

    /// All keys.
    pub fn keys(&self) -> &'k [Key] {
        self.keys
    }
}
