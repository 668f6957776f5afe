//! Xenstore's messages, and the ring that carries them (io/xs_wire.h, docs/misc/xenstore-ring.txt).

use core::sync::atomic::{AtomicU8, AtomicU32};

use bitflags::bitflags;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `XENSTORE_RING_SIZE`: bytes of each direction's ring.
pub const XENSTORE_RING_SIZE: usize = 1_024;
/// `XENSTORE_PAYLOAD_MAX`: bytes that follow a header at most. Whoever sends more has its connection ended.
pub const XENSTORE_PAYLOAD_MAX: usize = 4_096;
/// `XENSTORE_ABS_PATH_MAX`: bytes of a path that begins with `/`.
pub const XENSTORE_ABS_PATH_MAX: usize = 3_072;
/// `XENSTORE_REL_PATH_MAX`: bytes of a path that does not.
pub const XENSTORE_REL_PATH_MAX: usize = 2_048;

/// `enum xsd_sockmsg_type`, as of Xen 4.17.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum MessageType {
    /// `XS_CONTROL`.
    Control = 0,
    /// `XS_DIRECTORY`.
    Directory = 1,
    /// `XS_READ`.
    Read = 2,
    /// `XS_GET_PERMS`.
    GetPermissions = 3,
    /// `XS_WATCH`.
    Watch = 4,
    /// `XS_UNWATCH`.
    Unwatch = 5,
    /// `XS_TRANSACTION_START`.
    TransactionStart = 6,
    /// `XS_TRANSACTION_END`.
    TransactionEnd = 7,
    /// `XS_INTRODUCE`.
    Introduce = 8,
    /// `XS_RELEASE`.
    Release = 9,
    /// `XS_GET_DOMAIN_PATH`.
    GetDomainPath = 10,
    /// `XS_WRITE`.
    Write = 11,
    /// `XS_MKDIR`.
    MakeDirectory = 12,
    /// `XS_RM`.
    Remove = 13,
    /// `XS_SET_PERMS`.
    SetPermissions = 14,
    /// `XS_WATCH_EVENT`: only from xenstored, and not a reply.
    WatchEvent = 15,
    /// `XS_ERROR`: only from xenstored.
    Error = 16,
    /// `XS_IS_DOMAIN_INTRODUCED`.
    IsDomainIntroduced = 17,
    /// `XS_RESUME`.
    Resume = 18,
    /// `XS_SET_TARGET`.
    SetTarget = 19,
    /// `XS_RESET_WATCHES`.
    ResetWatches = 21,
    /// `XS_DIRECTORY_PART`.
    DirectoryPart = 22,
}

impl MessageType {
    const ALL: [Self; 22] = [
        Self::Control,
        Self::Directory,
        Self::Read,
        Self::GetPermissions,
        Self::Watch,
        Self::Unwatch,
        Self::TransactionStart,
        Self::TransactionEnd,
        Self::Introduce,
        Self::Release,
        Self::GetDomainPath,
        Self::Write,
        Self::MakeDirectory,
        Self::Remove,
        Self::SetPermissions,
        Self::WatchEvent,
        Self::Error,
        Self::IsDomainIntroduced,
        Self::Resume,
        Self::SetTarget,
        Self::ResetWatches,
        Self::DirectoryPart,
    ];

    /// The type with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|kind| **kind as u32 == number)
            .copied()
    }
}

/// `struct xsd_sockmsg`: what each message begins with.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct MessageHeader {
    /// A [`MessageType`] (`type`).
    pub kind: U32,
    /// Chosen by who asks, echoed in the reply (`req_id`). Zero in watch events.
    pub request: U32,
    /// The transaction that it belongs to, or zero (`tx_id`).
    pub transaction: U32,
    /// Bytes that follow (`len`): at most [`XENSTORE_PAYLOAD_MAX`].
    pub length: U32,
}

impl MessageHeader {
    /// Bytes of a header.
    pub const LENGTH: usize = size_of::<Self>();
}

/// `struct xenstore_domain_interface`: the page that a domain shares with xenstored. All of it may change while it is
/// looked at.
#[derive(Debug)]
#[repr(C)]
pub struct StoreInterface {
    /// Bytes to xenstored (`req`).
    pub request: [AtomicU8; XENSTORE_RING_SIZE],
    /// Bytes from xenstored (`rsp`).
    pub response: [AtomicU8; XENSTORE_RING_SIZE],
    /// How many bytes of [`request`](Self::request) xenstored took, modulo 2³² (`req_cons`).
    pub request_consumer: AtomicU32,
    /// How many bytes the domain put there (`req_prod`).
    pub request_producer: AtomicU32,
    /// How many bytes of [`response`](Self::response) the domain took (`rsp_cons`).
    pub response_consumer: AtomicU32,
    /// How many bytes xenstored put there (`rsp_prod`).
    pub response_producer: AtomicU32,
    /// [`ServerFeatures`].
    pub server_features: AtomicU32,
    /// [`XENSTORE_CONNECTED`] or [`XENSTORE_RECONNECT`].
    pub connection: AtomicU32,
    /// Why xenstored ended the connection (`XENSTORE_ERROR_*`), or [`XENSTORE_ERROR_NONE`].
    pub error: AtomicU32,
    /// A port for xenstored, only of domains that Xen itself made (`evtchn_port`).
    pub event_channel_port: AtomicU32,
}

const _: () = {
    use core::mem::offset_of;
    assert!(MessageHeader::LENGTH == 16);
    assert!(offset_of!(MessageHeader, request) == 4);
    assert!(offset_of!(MessageHeader, transaction) == 8);
    assert!(offset_of!(MessageHeader, length) == 12);
    assert!(offset_of!(StoreInterface, response) == 1024);
    assert!(offset_of!(StoreInterface, request_consumer) == 2048);
    assert!(offset_of!(StoreInterface, request_producer) == 2052);
    assert!(offset_of!(StoreInterface, response_consumer) == 2056);
    assert!(offset_of!(StoreInterface, response_producer) == 2060);
    assert!(offset_of!(StoreInterface, server_features) == 2064);
    assert!(offset_of!(StoreInterface, connection) == 2068);
    assert!(offset_of!(StoreInterface, error) == 2072);
    assert!(offset_of!(StoreInterface, event_channel_port) == 2076);
    assert!(size_of::<StoreInterface>() == 2080);
};

impl StoreInterface {
    /// Zeros, as a new domain's page is.
    pub const fn new() -> Self {
        Self {
            request: [const { AtomicU8::new(0) }; XENSTORE_RING_SIZE],
            response: [const { AtomicU8::new(0) }; XENSTORE_RING_SIZE],
            request_consumer: AtomicU32::new(0),
            request_producer: AtomicU32::new(0),
            response_consumer: AtomicU32::new(0),
            response_producer: AtomicU32::new(0),
            server_features: AtomicU32::new(0),
            connection: AtomicU32::new(XENSTORE_CONNECTED),
            error: AtomicU32::new(XENSTORE_ERROR_NONE),
            event_channel_port: AtomicU32::new(0),
        }
    }
}

impl Default for StoreInterface {
    fn default() -> Self {
        Self::new()
    }
}

bitflags! {
    /// `XENSTORE_SERVER_FEATURE_*`: what xenstored can, set by it and never taken back. The C xenstored of Xen 4.17
    /// sets none.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ServerFeatures: u32 {
        /// `XENSTORE_SERVER_FEATURE_RECONNECTION`: the domain may ask for the ring to be set up again.
        const RECONNECTION = 1;
        /// `XENSTORE_SERVER_FEATURE_ERROR`: [`StoreInterface::error`] is kept.
        const ERROR = 2;
        /// `XENSTORE_SERVER_FEATURE_WATCHDEPTH`: `XS_WATCH` takes a depth.
        const WATCH_DEPTH = 4;
        /// `XENSTORE_SERVER_FEATURE_DOMID_ANY`: permissions can be for any domain.
        const DOMID_ANY = 8;
    }
}

/// `XENSTORE_CONNECTED`.
pub const XENSTORE_CONNECTED: u32 = 0;
/// `XENSTORE_RECONNECT`: the ring is being set up again; only the domain sets it, only xenstored takes it back.
pub const XENSTORE_RECONNECT: u32 = 1;

/// `XENSTORE_ERROR_NONE`.
pub const XENSTORE_ERROR_NONE: u32 = 0;
/// `XENSTORE_ERROR_COMM`: the event channel does not work.
pub const XENSTORE_ERROR_COMM: u32 = 1;
/// `XENSTORE_ERROR_RINGIDX`: an index that can't be.
pub const XENSTORE_ERROR_RINGIDX: u32 = 2;
/// `XENSTORE_ERROR_PROTO`: a payload that is too long.
pub const XENSTORE_ERROR_PROTO: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_four_little_endian_words() {
        let header = MessageHeader {
            kind: U32::new(MessageType::Write as u32),
            request: U32::new(0x0102_0304),
            transaction: U32::new(7),
            length: U32::new(300),
        };
        let golden = [11, 0, 0, 0, 4, 3, 2, 1, 7, 0, 0, 0, 0x2C, 1, 0, 0];
        assert_eq!(header.as_bytes(), golden);
        assert_eq!(MessageHeader::read_from_bytes(&golden), Ok(header));
    }

    #[test]
    fn type_twenty_was_removed_and_others_are_unknown() {
        let known =
            (0..=u16::MAX.into()).filter(|number| MessageType::from_number(*number).is_some());
        assert!(known.eq((0..=19).chain(21..=22)));
        for kind in MessageType::ALL {
            assert_eq!(MessageType::from_number(kind as u32), Some(kind));
        }
    }
}
