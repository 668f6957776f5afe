//! What a simulated network interface's backend is like.

use std::time::Duration;

use mirage_core::MacAddress;

use crate::abi::DomainId;

/// What a [`SimulatedNetback`](super::SimulatedNetback) is like. Start from [`VifConfig::new`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VifConfig {
    /// The interface's address.
    pub mac: MacAddress,
    /// The key `mtu` of the frontend; `None`: there is none.
    pub mtu: Option<u16>,
    /// The backend's domain; `None`: that of the simulation, which a resumption may change.
    pub backend: Option<DomainId>,
    /// `feature-rx-copy`: yes.
    pub rx_copy: bool,
    /// `feature-sg`, frames in several slots: yes.
    pub scatter_gather: bool,
    /// `feature-gso-tcpv4`: yes.
    pub gso_tcpv4: bool,
    /// `feature-gso-tcpv6`: yes.
    pub gso_tcpv6: bool,
    /// Blank checksums over IPv4 are taken: yes. Else there is a `feature-no-csum-offload`.
    pub checksum_offload: bool,
    /// `feature-ipv6-csum-offload`: yes.
    pub checksum_offload_v6: bool,
    /// `feature-split-event-channels`: no.
    pub split_event_channels: bool,
    /// `feature-multicast-control`: no.
    pub multicast_control: bool,
    /// `multi-queue-max-queues`; `None`: there is no such key. By default 1.
    pub max_queues: Option<u16>,
    /// The key `carrier`; `None`: there is none, which means up.
    pub carrier: Option<bool>,
    /// Where received frames begin in their pages: 0, as Linux has it.
    pub receive_offset: u16,
    /// The most bytes of a received frame that are put in one slot, where it may have several: a page.
    pub receive_segment: usize,
    /// The most frames that wait for posted pages: 64. Full: the newest is dropped.
    pub receive_queue: usize,
    /// The most frames that wait to be taken by the test: 1,024. Full: the newest is dropped.
    pub transmit_queue: usize,
    /// The most frames that are taken off the ring in one turn: 64.
    pub budget: usize,
    /// How long a backend that closed or vanished stays away: 10 ms.
    pub absence: Duration,
}

impl VifConfig {
    /// An interface as Linux's netback makes it.
    pub const fn new(mac: MacAddress) -> Self {
        Self {
            mac,
            mtu: None,
            backend: None,
            rx_copy: true,
            scatter_gather: true,
            gso_tcpv4: true,
            gso_tcpv6: true,
            checksum_offload: true,
            checksum_offload_v6: true,
            split_event_channels: false,
            multicast_control: false,
            max_queues: Some(1),
            carrier: None,
            receive_offset: 0,
            receive_segment: 4_096,
            receive_queue: 64,
            transmit_queue: 1_024,
            budget: 64,
            absence: Duration::from_millis(10),
        }
    }
}

/// What a backend did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetbackCounters {
    /// How often it was connected.
    pub connections: u64,
    /// Frames from the domain, whole and in order.
    pub transmitted: u64,
    /// Frames from the domain that were refused: a [`Violation`](super::super::Violation) says why.
    pub refused: u64,
    /// Frames from the domain that were dropped since nobody took those before.
    pub transmit_dropped: u64,
    /// Frames from the domain that were dropped by a fault, or answered with an error by one.
    pub transmit_lost: u64,
    /// Frames put into the domain's pages.
    pub received: u64,
    /// Frames for the domain that were dropped since too many waited, or there was no connection, or they don't fit the way
    /// that the domain takes them.
    pub receive_dropped: u64,
    /// Frames for the domain that were dropped or made unreadable by a fault.
    pub receive_lost: u64,
    /// Responses to pages that were posted which the domain had not taken, by its word, when a connection ended.
    pub unread: u64,
    /// Requests answered, of both rings.
    pub answered: u64,
    /// Requests that a fault left without an answer.
    pub unanswered: u64,
    /// Events sent to the domain.
    pub notified: u64,
    /// Turns that the backend had.
    pub turns: u64,
}
