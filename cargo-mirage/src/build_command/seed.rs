//! Where in virtual memory an image is linked.

use core::fmt;
use std::str::FromStr;

use crate::error::Error;

/// What the virtual base is drawn with: 64 bits. The same seed gives the same image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(u64);

/// The lowest virtual base: far above any physical address, so that one is never taken for the other.
const LOWEST: u64 = 1 << 40;

/// Bases end here: an image, and what is mapped after it, stays in the lower half of the address space (2^47 bytes).
const HIGHEST: u64 = 1 << 46;

/// Bases are multiples of it, in bytes.
const PAGE: u64 = 4096;

/// How many bases there are: nearly 2^34.
const BASES: u64 = (HIGHEST - LOWEST) / PAGE;

impl Seed {
    /// Draws one from the system's random numbers.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if the system has none.
    pub fn draw() -> Result<Self, Error> {
        getrandom::u64()
            .map(Self)
            .map_err(|error| Error::Unsupported {
                reason: format!("no random number for the virtual base: {error}"),
            })
    }

    /// The virtual base, a multiple of 4 KiB from 2^40 up to 2^46.
    ///
    /// Each base has the same chance but for one part in 2^30.
    pub fn virtual_base(self) -> u64 {
        LOWEST + self.0 % BASES * PAGE
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Seed {
    type Err = String;

    /// Takes up to 16 hexadecimal digits, with or without `0x`.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let all_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits.is_empty() || digits.len() > 16 || !all_digits {
            return Err(
                "expected 1 to 16 hexadecimal digits, as `cargo mirage build` prints them".into(),
            );
        }
        u64::from_str_radix(digits, 16)
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_seed_is_read_as_it_is_printed() {
        for text in ["0123456789abcdef", "ffffffffffffffff"] {
            assert_eq!(text.parse::<Seed>().unwrap().to_string(), text);
        }
        assert_eq!("0xA".parse(), "a".parse::<Seed>());
        for text in ["", "0x", "-1", "+1", "g", "11112222333344445", "0x 1"] {
            assert!(text.parse::<Seed>().is_err(), "{text}");
        }
    }

    #[test]
    fn two_draws_differ() {
        assert_ne!(Seed::draw().unwrap(), Seed::draw().unwrap());
    }

    proptest! {
        #[test]
        fn every_base_is_aligned_and_in_its_range(number in any::<u64>()) {
            let base = Seed(number).virtual_base();
            prop_assert_eq!(base % PAGE, 0);
            prop_assert!((LOWEST..HIGHEST).contains(&base));
        }
    }

    #[test]
    fn the_whole_range_is_used() {
        assert_eq!(Seed(0).virtual_base(), LOWEST);
        assert_eq!(Seed(BASES - 1).virtual_base(), HIGHEST - PAGE);
        const { assert!(BASES > 1 << 33) }
    }
}
