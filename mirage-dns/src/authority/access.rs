//! Who may do what: address ranges and keys.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::name::{Name, NameBuf};
use crate::network::Network;

/// Whom one entry of an [`AccessList`] lets in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessRule {
    /// From these addresses.
    pub network: Network,
    /// With this key's signature; without a key, signed or not.
    pub key: Option<NameBuf>,
}

/// Who may do something: whom one of the rules lets in. Without rules, nobody.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AccessList(pub Vec<AccessRule>);

impl AccessList {
    /// Whether a request from this address, signed with the key of this name if with any, is let in.
    pub fn allows(&self, address: IpAddr, key: Option<Name<'_>>) -> bool {
        self.0.iter().any(|rule| {
            let signed = match &rule.key {
                None => true,
                Some(wanted) => key == Some(wanted.as_name()),
            };
            signed && rule.network.contains(address)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_lets_in_whom_a_rule_names_by_address_and_key() {
        let key = NameBuf::from_text("k.example").unwrap();
        let other = NameBuf::from_text("other.example").unwrap();
        let rule = |range: &str, key: Option<&NameBuf>| AccessRule {
            network: range.parse().expect("a network"),
            key: key.cloned(),
        };
        let list = AccessList(alloc::vec![
            rule("192.0.2.0/24", None),
            rule("198.51.100.0/24", Some(&key))
        ]);
        let allows = |address: &str, key: Option<&NameBuf>| {
            list.allows(address.parse().unwrap(), key.map(|key| key.as_name()))
        };
        assert!(allows("192.0.2.9", None) && allows("192.0.2.9", Some(&other)));
        assert!(allows("198.51.100.1", Some(&key)));
        assert!(!allows("198.51.100.1", None) && !allows("198.51.100.1", Some(&other)));
        assert!(!allows("203.0.113.1", Some(&key)));
        assert!(!AccessList::default().allows("192.0.2.9".parse().unwrap(), None));
    }
}
