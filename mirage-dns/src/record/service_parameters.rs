//! The parameters of a service binding (RFC 9460 §2.2): keys in ascending order, each with its value.

/// A key of a parameter (RFC 9460 §14.3.2; IANA "Service Parameter Keys (SvcParamKeys)").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ServiceKey(pub(crate) u16);

impl ServiceKey {
    /// Keys that a client must understand to use the record (RFC 9460 §8).
    pub(crate) const MANDATORY: Self = Self(0);
    /// Protocols of the application layer (RFC 9460 §7.1).
    pub(crate) const ALPN: Self = Self(1);
    /// The scheme's own protocol is not supported (RFC 9460 §7.1).
    pub(crate) const NO_DEFAULT_ALPN: Self = Self(2);
    /// A port (RFC 9460 §7.2).
    pub(crate) const PORT: Self = Self(3);
    /// IPv4 addresses (RFC 9460 §7.3).
    pub(crate) const IPV4_HINT: Self = Self(4);
    /// A configuration of encrypted ClientHello (RFC 9848).
    pub(crate) const ECH: Self = Self(5);
    /// IPv6 addresses (RFC 9460 §7.3).
    pub(crate) const IPV6_HINT: Self = Self(6);
    /// The template of DNS over HTTPS (RFC 9461 §5).
    pub(crate) const DOHPATH: Self = Self(7);
    /// The service is a target of Oblivious HTTP (RFC 9540 §4).
    pub(crate) const OHTTP: Self = Self(8);

    /// Whether a value is of the form that the key prescribes.
    pub(crate) fn is_valid(self, value: &[u8]) -> bool {
        match self {
            Self::MANDATORY => {
                let keys = value
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|key| u16::from_be_bytes(*key));
                !value.is_empty()
                    && value.len().is_multiple_of(2)
                    && keys.is_sorted_by(|a, b| a < b)
            }
            Self::ALPN => {
                let mut rest = value;
                while let Some((&length @ 1.., after)) = rest.split_first() {
                    rest = after.get(usize::from(length)..).unwrap_or(&[0]);
                }
                !value.is_empty() && rest.is_empty()
            }
            Self::NO_DEFAULT_ALPN | Self::OHTTP => value.is_empty(),
            Self::PORT => value.len() == 2,
            Self::IPV4_HINT => !value.is_empty() && value.len().is_multiple_of(4),
            Self::IPV6_HINT => !value.is_empty() && value.len().is_multiple_of(16),
            Self::ECH => !value.is_empty(),
            _ => true,
        }
    }
}

/// The first key and its value, and what follows them.
pub(crate) fn split_first(parameters: &[u8]) -> Option<(ServiceKey, &[u8], &[u8])> {
    let (&[a, b, c, d], rest) = parameters.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([c, d]));
    let (value, rest) = rest.split_at_checked(length)?;
    Some((ServiceKey(u16::from_be_bytes([a, b])), value, rest))
}

/// The value of a key.
fn find(parameters: &[u8], wanted: ServiceKey) -> Option<&[u8]> {
    let mut rest = parameters;
    while let Some((key, value, after)) = split_first(rest) {
        if key == wanted {
            return Some(value);
        }
        rest = after;
    }
    None
}

/// RFC 9460 §2.2: "Clients MUST consider an RR malformed if: the end of the RDATA occurs within a SvcParam, SvcParamKeys are
/// not in strictly increasing numeric order, the SvcParamValue for a SvcParamKey does not have the expected format."
/// §8: "This SvcParamKey is always automatically mandatory and MUST NOT appear in its own value-list", and other keys of
/// the list must be there.
pub(super) fn are_valid(parameters: &[u8]) -> bool {
    let mut rest = parameters;
    let mut least = 0;
    // What is left of the list of mandatory keys: both ascend, so one walk over the keys finds them all.
    let mut mandatory: &[u8] = &[];
    while !rest.is_empty() {
        let Some((key, value, after)) = split_first(rest) else {
            return false;
        };
        if u32::from(key.0) < least || !key.is_valid(value) {
            return false;
        }
        if key == ServiceKey::MANDATORY {
            mandatory = value;
        } else if mandatory.starts_with(&key.0.to_be_bytes()) {
            mandatory = &mandatory[2..];
        }
        least = u32::from(key.0) + 1;
        rest = after;
    }
    mandatory.is_empty()
}

/// RFC 9460 §7.1.1: "When "no-default-alpn" is specified in an RR, "alpn" must also be specified in order for the RR to be
/// "self-consistent"."
pub(crate) fn are_self_consistent(parameters: &[u8]) -> bool {
    find(parameters, ServiceKey::NO_DEFAULT_ALPN).is_none()
        || find(parameters, ServiceKey::ALPN).is_some()
}

impl ServiceKey {
    const NAMES: [(Self, &str); 9] = [
        (Self::MANDATORY, "mandatory"),
        (Self::ALPN, "alpn"),
        (Self::NO_DEFAULT_ALPN, "no-default-alpn"),
        (Self::PORT, "port"),
        (Self::IPV4_HINT, "ipv4hint"),
        (Self::ECH, "ech"),
        (Self::IPV6_HINT, "ipv6hint"),
        (Self::DOHPATH, "dohpath"),
        (Self::OHTTP, "ohttp"),
    ];

    /// The name that the registry has for the key.
    pub(crate) fn name(self) -> Option<&'static str> {
        let named = Self::NAMES.iter().find(|(key, _)| *key == self);
        named.map(|&(_, name)| name)
    }

    /// The key that a name of the registry stands for. Names have small letters alone (RFC 9460 §2.1).
    pub(crate) fn from_name(text: &[u8]) -> Option<Self> {
        let named = Self::NAMES.iter().find(|(_, name)| name.as_bytes() == text);
        named.map(|&(key, _)| key)
    }
}
