//! The keyed hash (RFC 2104), and what may be done with its results: one of ours is written, one that was received is
//! compared in constant time, and neither can be compared in another way.

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::{Sha256, Sha384, Sha512};

use super::Algorithm;

/// The most octets of a MAC: HMAC-SHA-512's.
pub(super) const MAX_MAC_LENGTH: usize = 64;

/// A hash keyed with a secret, and what was put into it so far.
#[derive(Clone)]
pub(super) enum Context {
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl Context {
    /// `None` for a secret without octets, which is none.
    pub(super) fn new(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
        if secret.is_empty() {
            return None;
        }
        match algorithm {
            Algorithm::HmacSha256 => Hmac::new_from_slice(secret).map(Self::Sha256),
            Algorithm::HmacSha384 => Hmac::new_from_slice(secret).map(Self::Sha384),
            Algorithm::HmacSha512 => Hmac::new_from_slice(secret).map(Self::Sha512),
        }
        .ok()
    }

    pub(super) fn update(&mut self, octets: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(octets),
            Self::Sha384(hash) => hash.update(octets),
            Self::Sha512(hash) => hash.update(octets),
        }
    }

    /// A MAC with its length before it (RFC 8945 §4.3.1).
    pub(super) fn update_with_mac(&mut self, mac: &Mac) {
        self.update(&u16::from(mac.length).to_be_bytes());
        self.update(mac.octets());
    }

    /// The MAC, to be sent.
    pub(super) fn finish(self) -> Mac {
        match self {
            Self::Sha256(hash) => Mac::copy(&hash.finalize().into_bytes()),
            Self::Sha384(hash) => Mac::copy(&hash.finalize().into_bytes()),
            Self::Sha512(hash) => Mac::copy(&hash.finalize().into_bytes()),
        }
    }

    /// Whether `received` is the MAC, or the beginning of it. In constant time, by [`hmac::Mac`].
    pub(super) fn matches(self, received: ReceivedMac<'_>) -> bool {
        let ReceivedMac(received) = received;
        match self {
            Self::Sha256(hash) => hash.verify_truncated_left(received),
            Self::Sha384(hash) => hash.verify_truncated_left(received),
            Self::Sha512(hash) => hash.verify_truncated_left(received),
        }
        .is_ok()
    }
}

/// A MAC that a peer claims. It has no equality, and its octets are out of reach but for [`Context::matches`] and a
/// copy that goes into the next digest.
#[derive(Clone, Copy)]
pub(super) struct ReceivedMac<'m>(&'m [u8]);

impl<'m> ReceivedMac<'m> {
    pub(super) const fn new(octets: &'m [u8]) -> Self {
        Self(octets)
    }

    pub(super) const fn len(self) -> usize {
        self.0.len()
    }

    /// What the digest of the message that follows begins with.
    pub(super) fn copied(self) -> Mac {
        Mac::copy(self.0)
    }
}

/// A MAC that was made here, or that was verified. It has no equality either.
#[derive(Clone)]
pub(super) struct Mac {
    length: u8,
    octets: [u8; MAX_MAC_LENGTH],
}

impl Mac {
    /// None: of a request that was not verified, or a reply that is not signed.
    pub(super) const EMPTY: Self = Self {
        length: 0,
        octets: [0; MAX_MAC_LENGTH],
    };

    /// At most [`MAX_MAC_LENGTH`] octets; more are left out.
    fn copy(from: &[u8]) -> Self {
        let mut mac = Self::EMPTY;
        let length = from.len().min(MAX_MAC_LENGTH);
        mac.octets[..length].copy_from_slice(&from[..length]);
        mac.length = length as u8; // at most 64
        mac
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test cases 1, 2 and 6 of RFC 4231.
    #[test]
    fn vectors_of_rfc_4231() {
        let cases: [(&[u8], &[u8], [&str; 3]); 3] = [
            (
                &[0x0b; 20],
                b"Hi There",
                ["b0344c61", "afd03944", "87aa7cde"],
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                ["5bdcc146", "af45d2e3", "164b7a7b"],
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                ["60e43159", "4ece0844", "80b24263"],
            ),
        ];
        let algorithms = [
            Algorithm::HmacSha256,
            Algorithm::HmacSha384,
            Algorithm::HmacSha512,
        ];
        for (secret, data, wanted) in cases {
            for (algorithm, wanted) in algorithms.into_iter().zip(wanted) {
                let mut context = Context::new(algorithm, secret).unwrap();
                context.update(data);
                let mac = context.clone().finish();
                assert_eq!(mac.octets().len(), algorithm.mac_length());
                let wanted = u32::from_str_radix(wanted, 16).unwrap().to_be_bytes();
                assert_eq!(mac.octets()[..4], wanted);
                assert!(context.clone().matches(ReceivedMac::new(mac.octets())));
                assert!(context.matches(ReceivedMac::new(&mac.octets()[..10])));
            }
        }
    }

    #[test]
    fn mac_that_is_empty_longer_or_of_other_octets_does_not_match() {
        let context = Context::new(Algorithm::HmacSha256, b"secret").unwrap();
        let mac = context.clone().finish();
        let mut octets = [0; 33];
        octets[..32].copy_from_slice(mac.octets());
        assert!(context.clone().matches(ReceivedMac::new(&octets[..32])));
        assert!(!context.clone().matches(ReceivedMac::new(&octets)));
        assert!(!context.clone().matches(ReceivedMac::new(&[])));
        for bit in 0..256 {
            octets[bit / 8] ^= 1 << (bit % 8);
            assert!(!context.clone().matches(ReceivedMac::new(&octets[..32])));
            octets[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// What knows a secret is wiped: this stops to compile without the feature that does it. A keyed hash has no such mark
    /// of its own; it is made of plain ones.
    #[test]
    fn keyed_hashes_are_wiped_when_they_are_dropped() {
        fn is_wiped<T: zeroize::ZeroizeOnDrop>(_: Option<T>) -> bool {
            true
        }
        assert!(is_wiped(None::<Sha256>));
        assert!(is_wiped(None::<Sha384>));
        assert!(is_wiped(None::<Sha512>));
    }

    /// TSIG compared in variable time: what could be compared with `==` cannot be had. Each line stops to compile when
    /// its type gets an equality, for then there are two implementations to choose from.
    #[test]
    fn macs_have_no_equality_that_takes_variable_time() {
        trait WithoutEquality<T> {
            const PROVEN: bool = true;
        }
        struct Equality;
        impl<T: ?Sized> WithoutEquality<()> for T {}
        impl<T: ?Sized + PartialEq> WithoutEquality<Equality> for T {}
        const PROVEN: [bool; 3] = [
            <ReceivedMac<'static> as WithoutEquality<_>>::PROVEN,
            <Mac as WithoutEquality<_>>::PROVEN,
            <Context as WithoutEquality<_>>::PROVEN,
        ];
        assert_eq!(PROVEN, [true; 3]);
    }
}
