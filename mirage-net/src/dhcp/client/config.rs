//! What a client is told, and its times.

use core::net::Ipv4Addr;
use core::time::Duration;

use heapless::{String, Vec};
use mirage_core::MacAddress;

/// What a client is told, and its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpClientConfig {
    /// The interface's address.
    pub mac: MacAddress,
    /// The client identifier (RFC 2132 §9.14, RFC 4361), type byte first. Without one servers know the client by its
    /// hardware address. It must be unique on the link, and stay the same.
    pub identifier: Option<Vec<u8, 64>>,
    /// The name that servers are told.
    pub host_name: Option<String<63>>,
    /// The vendor class that servers are told.
    pub vendor_class: Option<String<63>>,
    /// The address of an earlier life: the client begins with INIT-REBOOT and asks for it (RFC 2131 §3.2).
    pub last_address: Option<Ipv4Addr>,
    /// The lease time that is asked for; servers may give another.
    pub lease_time: Option<Duration>,
    /// Sets the flag BROADCAST: for a stack that can't receive unicast datagrams before it has the address. A
    /// [`Stack`](crate::Stack) can, by a socket with [`UdpOptions::unconfigured`](crate::UdpOptions::unconfigured).
    pub broadcast: bool,
    /// The first message is sent after a random part of this. RFC 2131 §4.4.1 wants one to ten seconds, against clients
    /// that all start at once; the default is at most one second, for a machine that starts within a moment.
    pub start_delay: Duration,
    /// How long other offers are waited for after the first. Zero takes the first.
    pub offer_wait: Duration,
    /// Messages that ask for an offer before another is looked for: by default four, of a minute in all (RFC 2131 §3.1).
    pub request_attempts: u8,
    /// Messages that ask for the address of an earlier life, before a new one is looked for.
    pub reboot_attempts: u8,
    /// Whether the owner looks for another station with the address before it is used (RFC 2131 §3.1, RFC 5227), and says
    /// by [`handle_address_acquired`](super::DhcpClient::handle_address_acquired) or
    /// [`handle_address_conflict`](super::DhcpClient::handle_address_conflict) what it found.
    pub check: bool,
    /// How long to wait after a conflict; doubled for each that follows, up to 32 times. "The client SHOULD wait a minimum
    /// of ten seconds" (RFC 2131 §3.1).
    pub conflict_wait: Duration,
    /// Leases for less are not taken: they would make a stream of messages.
    pub shortest_lease: Duration,
}

impl DhcpClientConfig {
    /// The usual times, no name, no identifier, with a look for other stations.
    pub const fn new(mac: MacAddress) -> Self {
        DhcpClientConfig {
            mac,
            identifier: None,
            host_name: None,
            vendor_class: None,
            last_address: None,
            lease_time: None,
            broadcast: false,
            start_delay: Duration::from_secs(1),
            offer_wait: Duration::from_millis(500),
            request_attempts: 4,
            reboot_attempts: 2,
            check: true,
            conflict_wait: Duration::from_secs(10),
            shortest_lease: Duration::from_secs(10),
        }
    }
}
