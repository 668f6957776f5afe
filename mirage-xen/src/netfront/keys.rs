//! What the two ends of a network device say of themselves in xenstore (io/netif.h), read with bounds.

#[cfg(test)]
mod tests;

use core::fmt;

use heapless::String;
use mirage_core::MacAddress;

use super::headers::{ETHERNET_HEADER, VLAN_TAG};
use crate::abi::netif::XEN_NETIF_MAX_TX_SIZE;
use crate::abi::{DomainId, PAGE_SIZE};
use crate::store::parse_decimal;
use crate::xenbus::XenbusState;

/// The most bytes of a backend's path. (`/local/domain/32751/backend/vif/32751/4294967295` has 51.)
pub(super) const MAXIMUM_PATH: usize = 128;

/// The MTU of a device that has no key for it.
const DEFAULT_MTU: u16 = 1_500;
/// The least MTU that IPv4 works with (RFC 791, 3.2).
const LEAST_MTU: u16 = 68;
/// The largest: with its headers a frame is at most [`XEN_NETIF_MAX_TX_SIZE`].
const LARGEST_MTU: u16 = (XEN_NETIF_MAX_TX_SIZE - ETHERNET_HEADER - VLAN_TAG) as u16;
/// The largest where a frame has to be in one page.
const LARGEST_MTU_OF_A_PAGE: u16 = (PAGE_SIZE - ETHERNET_HEADER - VLAN_TAG) as u16;

/// The number of a queue of a device with several (netif.h, "Multiple transmit and receive queues").
///
/// Its keys are in a directory of their own, `queue-N`; those of the only queue are among the device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueNumber(pub u16);

impl fmt::Display for QueueNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "queue-{}", self.0)
    }
}

/// A key's value: `None` where there is no such key.
pub(super) type Value<'a> = Option<&'a [u8]>;

/// Why a device can't be used, or not now. Always the other end's doing, or the toolstack's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceError {
    /// The toolstack's: `backend` is no path, or longer than 128 bytes.
    BackendPath,
    /// The toolstack's: `backend-id` is no domain's number.
    BackendId,
    /// The toolstack's: `mac` is no unicast address.
    Mac,
    /// The toolstack's: `mtu` is no number from 68 to 65,517.
    Mtu,
    /// The backend's: a key that is a number isn't one, or not in its range.
    Feature,
    /// The backend's: it doesn't copy into the pages that are posted to it (`feature-rx-copy`).
    NoReceiveCopy,
    /// The toolstack's and ours: a frame of the MTU does not fit into the receive reserve.
    ReserveTooSmall,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BackendPath => "the device's key backend is no path",
            Self::BackendId => "the device's key backend-id is no domain's number",
            Self::Mac => "the device's key mac is no unicast address",
            Self::Mtu => "the device's key mtu is no number from 68 to 65517",
            Self::Feature => "a key of the backend is no number, or out of range",
            Self::NoReceiveCopy => "the backend does not offer feature-rx-copy",
            Self::ReserveTooSmall => "the receive reserve does not hold a frame of the MTU",
        })
    }
}

impl core::error::Error for DeviceError {}

/// What the toolstack wrote for the frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// The backend's directory.
    pub(super) backend: String<MAXIMUM_PATH>,
    pub(super) backend_id: DomainId,
    pub(super) mac: MacAddress,
    pub(super) mtu: u16,
}

/// Keys of the device's directory: those of [`Device::parse`], in the order of its values, and our own state. The first is
/// watched.
pub(super) static DEVICE_KEYS: [&str; 5] = ["backend", "backend-id", "mac", "mtu", "state"];

impl Device {
    /// `Ok(None)`: there is no device.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub(super) fn parse(values: [Value<'_>; 4]) -> Result<Option<Self>, DeviceError> {
        let [backend, backend_id, mac, mtu] = values;
        let Some(backend) = backend else {
            return Ok(None);
        };
        let backend = core::str::from_utf8(backend)
            .ok()
            .filter(|path| path.starts_with('/'))
            .and_then(|path| String::try_from(path).ok())
            .ok_or(DeviceError::BackendPath)?;
        let backend_id = backend_id
            .and_then(parse_decimal)
            .and_then(|id| u16::try_from(id).ok())
            .map(DomainId)
            .filter(|id| *id < DomainId::FIRST_RESERVED)
            .ok_or(DeviceError::BackendId)?;
        let mac = mac
            .and_then(|text| core::str::from_utf8(text).ok())
            .and_then(|text| text.parse().ok())
            .filter(|mac: &MacAddress| mac.is_unicast())
            .ok_or(DeviceError::Mac)?;
        let mtu = match mtu {
            None => DEFAULT_MTU,
            Some(text) => parse_decimal(text)
                .and_then(|mtu| u16::try_from(mtu).ok())
                .filter(|mtu| (LEAST_MTU..=LARGEST_MTU).contains(mtu))
                .ok_or(DeviceError::Mtu)?,
        };
        Ok(Some(Self {
            backend,
            backend_id,
            mac,
            mtu,
        }))
    }
}

/// What a backend offers: negotiated by what is written, never assumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendFeatures {
    /// `feature-sg`: frames may be in several pieces.
    pub scatter_gather: bool,
    /// It completes IPv4's partial checksums: no `feature-no-csum-offload`.
    pub checksum_v4: bool,
    /// `feature-ipv6-csum-offload`: it completes IPv6's.
    pub checksum_v6: bool,
    /// `feature-gso-tcpv4`: it cuts TCP over IPv4 into segments.
    pub segmentation_v4: bool,
    /// `feature-gso-tcpv6`: it cuts TCP over IPv6 into segments.
    pub segmentation_v6: bool,
}

impl BackendFeatures {
    /// Whether all that is in `needs` is in these.
    pub(super) fn cover(self, needs: Self) -> bool {
        let pairs = [
            (self.scatter_gather, needs.scatter_gather),
            (self.checksum_v4, needs.checksum_v4),
            (self.checksum_v6, needs.checksum_v6),
            (self.segmentation_v4, needs.segmentation_v4),
            (self.segmentation_v6, needs.segmentation_v6),
        ];
        pairs.into_iter().all(|(has, needed)| has || !needed)
    }

    /// The largest MTU that frames to it may have.
    pub(super) fn largest_mtu(self) -> u16 {
        if self.scatter_gather {
            LARGEST_MTU
        } else {
            LARGEST_MTU_OF_A_PAGE
        }
    }
}

/// Keys of the backend's directory: those of [`Backend::parse`], and those of [`parse_features`], in the order of their values. The
/// first two, which change while a device is connected, are watched.
pub(super) static BACKEND_KEYS: [&str; 9] = [
    "state",
    "carrier",
    "online",
    "feature-rx-copy",
    "feature-sg",
    "feature-no-csum-offload",
    "feature-ipv6-csum-offload",
    "feature-gso-tcpv4",
    "feature-gso-tcpv6",
];
/// So many of them say how the backend is.
pub(super) const STATUS_KEYS: usize = 3;

/// What the backend's feature keys say. Features that it says nothing of are off, but for IPv4's checksums (netif.h).
pub(super) fn parse_features(values: [Value<'_>; 6]) -> Result<BackendFeatures, DeviceError> {
    let [copy, scatter_gather, no_checksum, checksum_v6, v4, v6] = values;
    if !parse_flag(copy, false)? {
        return Err(DeviceError::NoReceiveCopy);
    }
    Ok(BackendFeatures {
        scatter_gather: parse_flag(scatter_gather, false)?,
        checksum_v4: !parse_flag(no_checksum, false)?,
        checksum_v6: parse_flag(checksum_v6, false)?,
        segmentation_v4: parse_flag(v4, false)?,
        segmentation_v6: parse_flag(v6, false)?,
    })
}

/// How the backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    /// [`XenbusState::Unknown`]: there is none.
    pub(super) state: XenbusState,
    /// Whether its link is up. A backend that says nothing has it up (netif.h, "Link state").
    pub(super) carrier: bool,
    /// Whether it is there to stay. The toolstack takes back its word before it takes a device away: such a backend isn't asked
    /// to begin anew, or it would.
    pub(super) online: bool,
}

impl Backend {
    /// Whether it has said what it offers.
    pub(super) fn has_offered(&self) -> bool {
        matches!(self.state, XenbusState::InitWait | XenbusState::Initialised)
    }

    /// `None`: what it says is none of what it can be.
    pub(super) fn parse(values: [Value<'_>; 3]) -> Option<Self> {
        let [state, carrier, online] = values;
        Some(Self {
            state: match state {
                Some(state) => XenbusState::parse(state)?,
                None => XenbusState::Unknown,
            },
            carrier: parse_flag(carrier, true).ok()?,
            online: parse_flag(online, true).ok()?,
        })
    }
}

/// A flag is a number, zero for off.
fn parse_flag(value: Value<'_>, absent: bool) -> Result<bool, DeviceError> {
    match value {
        None => Ok(absent),
        Some(text) => match parse_decimal(text) {
            Some(number) => Ok(number != 0),
            None => Err(DeviceError::Feature),
        },
    }
}
