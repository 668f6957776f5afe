//! What the command line says of zones that change.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use mirage_dns::authority::{AccessRule, Peer};
use mirage_dns::name::NameBuf;
use mirage_dns::network::Network;

/// The port of DNS (RFC 1035 §4.2).
const PORT: u16 = 53;

/// Zones that change: who fetches them, who changes them, where they come from.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Zones that change")]
pub(crate) struct ChangingArguments {
    /// A zone that is fetched from this primary and kept up to date. May be repeated, also for several primaries of one zone.
    #[arg(long = "secondary", value_name = "ZONE=ADDRESS[:PORT][@KEY]")]
    pub(crate) secondary: Vec<OfZone<PeerText>>,

    /// Who may fetch zones (AXFR and IXFR): addresses, and a key that must sign. Without ZONE for all zones. May be repeated.
    #[arg(long = "transfer", value_name = "[ZONE=]NETWORK[@KEY]")]
    pub(crate) transfer: Vec<OfAnyZone<RuleText>>,

    /// Who is told when a zone changes (NOTIFY). Without ZONE of all zones. May be repeated.
    #[arg(long = "notify", value_name = "[ZONE=]ADDRESS[:PORT][@KEY]")]
    pub(crate) notify: Vec<OfAnyZone<PeerText>>,

    /// Who may change zones (dynamic updates): addresses, and the key that must sign. Without ZONE all zones. May be repeated.
    #[arg(long = "update", value_name = "[ZONE=]NETWORK@KEY", requires = "state")]
    pub(crate) update: Vec<OfAnyZone<SignedRuleText>>,

    /// Keys for all of these (TSIG), as tsig-keygen writes them. May be repeated.
    #[arg(long = "keys", value_name = "FILE")]
    pub(crate) keys: Vec<PathBuf>,

    /// Where zones that were fetched or changed are kept, so that they outlast a restart. It is made if it is not there.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) state: Option<PathBuf>,
}

impl ChangingArguments {
    /// Whether zones may change by what comes over the network, or others are told or given them.
    pub(crate) fn is_any(&self) -> bool {
        let of_all = self.transfer.len() + self.notify.len() + self.update.len();
        of_all + self.secondary.len() + self.keys.len() > 0
    }
}

/// Something for one zone.
#[derive(Clone, Debug)]
pub(crate) struct OfZone<T> {
    pub(crate) zone: NameBuf,
    pub(crate) what: T,
}

/// Something for one zone, or for all.
#[derive(Clone, Debug)]
pub(crate) struct OfAnyZone<T> {
    pub(crate) zone: Option<NameBuf>,
    pub(crate) what: T,
}

impl<T: FromStr<Err = String>> FromStr for OfAnyZone<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None => Ok(Self {
                zone: None,
                what: text.parse()?,
            }),
            Some((zone, what)) => Ok(Self {
                zone: Some(name(zone)?),
                what: what.parse()?,
            }),
        }
    }
}

impl<T: FromStr<Err = String>> FromStr for OfZone<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let of_any: OfAnyZone<T> = text.parse()?;
        match of_any.zone {
            Some(zone) => Ok(Self {
                zone,
                what: of_any.what,
            }),
            None => Err("the zone is missing: ZONE=ADDRESS, such as example.org=192.0.2.1".into()),
        }
    }
}

/// Another server: `ADDRESS[:PORT][@KEY]`.
#[derive(Clone, Debug)]
pub(crate) struct PeerText(pub(crate) Peer);

impl FromStr for PeerText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, key) = with_key(text)?;
        let address = address
            .parse::<SocketAddr>()
            .or_else(|_| address.parse::<IpAddr>().map(|ip| (ip, PORT).into()))
            .map_err(|_| {
                format!("{address} is no address: 192.0.2.1, 192.0.2.1:5300 or [2001:db8::1]:5300, for example")
            })?;
        if address.ip().is_unspecified() || address.ip().is_multicast() || address.port() == 0 {
            return Err(format!("no server listens at {address}"));
        }
        Ok(Self(Peer { address, key }))
    }
}

/// Who may: `NETWORK[@KEY]`.
#[derive(Clone, Debug)]
pub(crate) struct RuleText(pub(crate) AccessRule);

impl FromStr for RuleText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (network, key) = with_key(text)?;
        let network: Network = network.parse().map_err(|error| {
            format!("{network}: {error}; 192.0.2.1 or 192.0.2.0/24, for example")
        })?;
        Ok(Self(AccessRule { network, key }))
    }
}

/// Who may if it signs: `NETWORK@KEY`.
#[derive(Clone, Debug)]
pub(crate) struct SignedRuleText(pub(crate) AccessRule);

impl FromStr for SignedRuleText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let RuleText(rule) = text.parse()?;
        if rule.key.is_none() {
            return Err(
                "a key is missing: NETWORK@KEY. An address alone can be forged, and updates come over UDP"
                    .into(),
            );
        }
        Ok(Self(rule))
    }
}

fn with_key(text: &str) -> Result<(&str, Option<NameBuf>), String> {
    match text.rsplit_once('@') {
        None => Ok((text, None)),
        Some((rest, key)) => Ok((rest, Some(name(key)?))),
    }
}

fn name(text: &str) -> Result<NameBuf, String> {
    if text.is_empty() {
        return Err("a name is missing".into());
    }
    NameBuf::from_text(text).map_err(|error| format!("{text} is no domain name: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_has_an_address_and_perhaps_port_and_key() {
        for (text, address, key) in [
            ("192.0.2.1", "192.0.2.1:53", None),
            (
                "192.0.2.1:5300@k.example",
                "192.0.2.1:5300",
                Some("k.example."),
            ),
            ("2001:db8::1@k", "[2001:db8::1]:53", Some("k.")),
            ("[2001:db8::1]:5300", "[2001:db8::1]:5300", None),
        ] {
            let PeerText(peer) = text.parse().expect(text);
            assert_eq!(peer.address.to_string(), address);
            assert_eq!(peer.key.map(|key| key.to_string()).as_deref(), key);
        }
        for text in [
            "",
            "x",
            "192.0.2.1@",
            "192.0.2.1:x",
            "192.0.2.1/24",
            "192.0.2.1:0",
            "0.0.0.0",
            "[::]:53",
            "224.0.0.1",
        ] {
            assert!(text.parse::<PeerText>().is_err(), "{text}");
        }
    }

    #[test]
    fn zone_comes_first_and_may_be_missing_where_all_are_meant() {
        let of: OfAnyZone<RuleText> = "example.org=192.0.2.0/24@k".parse().expect("a rule");
        assert_eq!(of.zone.expect("a zone").to_string(), "example.org.");
        assert_eq!(of.what.0.network.to_string(), "192.0.2.0/24");
        let of: OfAnyZone<RuleText> = "::/0".parse().expect("a rule");
        assert!(of.zone.is_none() && of.what.0.key.is_none());
        assert!("192.0.2.1".parse::<OfZone<PeerText>>().is_err());
        assert!("=192.0.2.1".parse::<OfZone<PeerText>>().is_err());
    }

    #[test]
    fn updates_by_address_alone_are_refused() {
        let error = "127.0.0.1".parse::<SignedRuleText>().expect_err("no key");
        assert!(error.contains("key"), "{error}");
        assert!("127.0.0.1@k".parse::<SignedRuleText>().is_ok());
    }
}
