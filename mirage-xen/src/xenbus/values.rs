//! Values that are of some kind.

use core::future::Future;

use mirage_core::MacAddress;

use super::state::XenbusState;
use crate::abi::DomainId;
use crate::hypervisor::Hypervisor;
use crate::store::{Key, Store, StoreError, parse_decimal};

/// Keys whose values have a kind.
impl<H: Hypervisor> Store<H> {
    /// An end's state. A key that does not exist is [`XenbusState::Unknown`].
    ///
    /// # Errors
    ///
    /// [`StoreError::Value`] if it's no state.
    pub fn read_state<'k>(
        &self,
        key: impl Into<Key<'k>>,
    ) -> impl Future<Output = Result<XenbusState, StoreError>> {
        let missing = Some(XenbusState::Unknown);
        self.read_parsed::<8, _>(key.into(), XenbusState::parse, missing)
    }

    /// A switch: `0` or `1`. A key that does not exist is `0`, as a feature that the other end has not heard of.
    ///
    /// # Errors
    ///
    /// [`StoreError::Value`] if it's another value.
    pub fn read_flag<'k>(
        &self,
        key: impl Into<Key<'k>>,
    ) -> impl Future<Output = Result<bool, StoreError>> {
        self.read_parsed::<8, _>(key.into(), parse_flag, Some(false))
    }

    /// A domain's number, below [`DomainId::FIRST_RESERVED`].
    ///
    /// # Errors
    ///
    /// [`StoreError::Value`] if it's none.
    pub fn read_domain<'k>(
        &self,
        key: impl Into<Key<'k>>,
    ) -> impl Future<Output = Result<DomainId, StoreError>> {
        self.read_parsed::<8, _>(key.into(), parse_domain, None)
    }

    /// A MAC address, as [`MacAddress`] reads it: six numbers in hexadecimal, with colons between.
    ///
    /// # Errors
    ///
    /// [`StoreError::Value`] if it's none.
    pub fn read_mac<'k>(
        &self,
        key: impl Into<Key<'k>>,
    ) -> impl Future<Output = Result<MacAddress, StoreError>> {
        self.read_parsed::<24, _>(key.into(), parse_mac, None)
    }

    /// A value of some kind, of up to `N` bytes; what it is when the key does not exist, if that's no error.
    async fn read_parsed<const N: usize, T>(
        &self,
        key: Key<'_>,
        parse: fn(&[u8]) -> Option<T>,
        missing: Option<T>,
    ) -> Result<T, StoreError> {
        let mut buffer = [0; N];
        match (self.read(key, &mut buffer).await, missing) {
            (Ok(value), _) => parse(value).ok_or(StoreError::Value),
            (Err(error), Some(missing)) if error.is_not_found() => Ok(missing),
            (Err(StoreError::ReplyTooLong { .. }), _) => Err(StoreError::Value),
            (Err(error), _) => Err(error),
        }
    }
}

fn parse_domain(value: &[u8]) -> Option<DomainId> {
    let number = u16::try_from(parse_decimal(value)?).ok()?;
    Some(DomainId(number)).filter(|domain| *domain < DomainId::FIRST_RESERVED)
}

fn parse_flag(value: &[u8]) -> Option<bool> {
    match parse_decimal(value)? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn parse_mac(value: &[u8]) -> Option<MacAddress> {
    core::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_domains_end_where_xen_reserves_them() {
        assert_eq!(parse_domain(b"0"), Some(DomainId::DOM0));
        assert_eq!(parse_domain(b"32751"), Some(DomainId(32_751)));
        for value in [&b"32752"[..], b"65536", b"-1", b"0 ", b""] {
            assert_eq!(parse_domain(value), None, "{value:?}");
        }
    }

    #[test]
    fn an_address_is_six_bytes_in_hexadecimal_and_nothing_else() {
        let address = MacAddress([0x00, 0x16, 0x3E, 0x0A, 0xBC, 0xFF]);
        assert_eq!(parse_mac(b"00:16:3e:0a:Bc:fF"), Some(address));
        for value in [
            &b""[..],
            b"00:16:3e:0a:bc",
            b"00:16:3e:0a:bc:ff:00",
            b"00:16:3e:0a:bc:ff\n",
            b"00:16:3e:0a:bc:+f",
            b"00:16:3e:0a:bc:fff",
            b"00:16:3e::0a:bc",
            b"00:16:3e:0a:bc:\xFFf",
        ] {
            assert_eq!(parse_mac(value), None, "{value:?}");
        }
    }

    #[test]
    fn a_flag_is_zero_or_one() {
        assert_eq!(parse_flag(b"0"), Some(false));
        assert_eq!(parse_flag(b"1"), Some(true));
        for value in [&b""[..], b"2", b"true", b"1\n"] {
            assert_eq!(parse_flag(value), None, "{value:?}");
        }
    }
}
