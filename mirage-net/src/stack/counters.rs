//! One counter for each reason to drop, and a few for what went well.

use crate::arp::NeighbourCounters;
use crate::ip::ReassemblyCounters;
use crate::tcp::TcpCounters;

/// What a stack has counted since it was made.
///
/// Every received frame is counted once in `received`, and then either reaches somebody or is
/// counted under the reason for which it was dropped.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Frames given to [`Stack::handle_frame`](crate::Stack::handle_frame).
    pub received: u64,
    /// Frames that [`Stack::poll_transmit`](crate::Stack::poll_transmit) gave.
    pub transmitted: u64,
    /// Frames whose first bytes had to be copied together, for they lay in several segments.
    pub pulled_up: u64,
    /// Frames to transmit that had to be copied together, for the device takes fewer segments.
    pub compacted: u64,
    /// Ethernet.
    pub ethernet: EthernetCounters,
    /// ARP.
    pub arp: ArpCounters,
    /// The neighbour cache.
    pub neighbours: NeighbourCounters,
    /// IPv4.
    pub ipv4: Ipv4Counters,
    /// Reassembly.
    pub reassembly: ReassemblyCounters,
    /// ICMP.
    pub icmp: IcmpCounters,
    /// UDP.
    pub udp: UdpCounters,
    /// TCP.
    pub tcp: TcpCounters,
    /// What was not sent.
    pub send: SendCounters,
}

/// Dropped at the Ethernet layer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EthernetCounters {
    /// Shorter than a header.
    pub truncated: u64,
    /// A source that is a group or unspecified.
    pub bad_source: u64,
    /// For another station, or for a group that we are not in.
    pub not_for_us: u64,
    /// Our own frames, looped back to us.
    pub own: u64,
    /// IPv6, which is not implemented.
    pub ipv6: u64,
    /// Any other EtherType: VLAN tags, IEEE 802.3 lengths.
    pub unknown_type: u64,
    /// No page was left to copy a scattered header together.
    pub no_pages: u64,
}

/// ARP packets.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArpCounters {
    /// Packets received, whatever became of them.
    pub received: u64,
    /// Shorter than a packet.
    pub truncated: u64,
    /// Neither request nor reply about IPv4 over Ethernet.
    pub unsupported: u64,
    /// Sender addresses that can't be a host's, or that contradict the frame's source.
    pub bad_sender: u64,
    /// Our requests answered.
    pub requests_for_us: u64,
    /// Replies to others' requests that could not be sent: no page, or the queue is full.
    pub not_answered: u64,
    /// Another station used an address of ours.
    pub conflicts: u64,
}

/// IPv4 datagrams dropped, and why.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ipv4Counters {
    /// The header, or the datagram, is not whole.
    pub truncated: u64,
    /// Wrong version, or lengths that contradict each other.
    pub malformed: u64,
    /// The header's checksum is wrong.
    pub bad_checksum: u64,
    /// Sources that can't be: loopback, multicast, broadcast, class E, 0/8, our own.
    pub bad_source: u64,
    /// Loopback addresses as destinations.
    pub bad_destination: u64,
    /// For another host, or a group; we do not forward.
    pub not_for_us: u64,
    /// A link-layer broadcast with a unicast destination (RFC 1122 §3.3.6).
    pub broadcast_mismatch: u64,
    /// Datagrams for a transport that is not implemented.
    pub unknown_protocol: u64,
}

/// ICMP messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct IcmpCounters {
    /// The header is not whole.
    pub truncated: u64,
    /// The checksum is wrong.
    pub bad_checksum: u64,
    /// Echo requests answered.
    pub echo_answered: u64,
    /// Echo requests to a broadcast address, or from the unspecified one.
    pub echo_broadcast: u64,
    /// Echo requests beyond the rate limit.
    pub echo_limited: u64,
    /// Echo requests that could not be answered: no page, no route, queue full.
    pub echo_failed: u64,
    /// Echo replies to no request of ours.
    pub echo_unexpected: u64,
    /// Errors taken: they quote what we sent.
    pub errors_taken: u64,
    /// Errors that quote nothing that we sent.
    pub errors_unmatched: u64,
    /// Source Quench, Redirect: never obeyed.
    pub ignored: u64,
    /// Other types.
    pub unknown_type: u64,
    /// Errors sent.
    pub errors_sent: u64,
    /// Errors not sent for the rate limit.
    pub errors_limited: u64,
    /// Errors not sent because none may be: about errors, groups, later fragments, bad sources.
    pub errors_forbidden: u64,
    /// Errors not sent for want of a page, a route, or room in the queue.
    pub errors_failed: u64,
}

/// UDP datagrams.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpCounters {
    /// The header or the datagram is not whole.
    pub truncated: u64,
    /// A length below 8, or destination port 0.
    pub malformed: u64,
    /// The checksum is wrong.
    pub bad_checksum: u64,
    /// Taken without a checksum: the sender made none (RFC 768).
    pub without_checksum: u64,
    /// Checksums verified here.
    pub verified_here: u64,
    /// Checksums verified by the device.
    pub verified_by_device: u64,
    /// Checksums that were never made, for the datagram never crossed a wire.
    pub partial: u64,
    /// Delivered to a socket.
    pub delivered: u64,
    /// Of these, copied into a page that a crowded queue's small datagrams share.
    pub coalesced: u64,
    /// Given to a service.
    pub served: u64,
    /// Answers of services that were sent.
    pub answered: u64,
    /// Requests that a service did not answer.
    pub unanswered: u64,
    /// Requests from port 0, which can't be answered.
    pub unanswerable: u64,
    /// Requests in several segments, too long for one page.
    pub service_too_long: u64,
    /// Requests copied into one page, for they came in several segments.
    pub service_copied: u64,
    /// Answers longer than the room that the service was given.
    pub service_overrun: u64,
    /// No page was left for a request or its answer.
    pub service_no_pages: u64,
    /// Answers that could not be sent; `send` says why.
    pub answers_failed: u64,
    /// No socket or service has the port.
    pub no_port: u64,
    /// The socket's queue was full.
    pub queue_full: u64,
    /// The socket's queue had as many pages as it may, or the pool had none to exchange.
    pub no_pages: u64,
}

/// Datagrams of ours that were not sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendCounters {
    /// Datagrams given to the link, or waiting for a neighbour.
    pub datagrams: u64,
    /// Datagrams sent in fragments.
    pub fragmented: u64,
    /// Fragments sent.
    pub fragments: u64,
    /// Refused: longer than the path, or than any datagram.
    pub too_long: u64,
    /// Refused: no route, or no address of ours to send from.
    pub no_route: u64,
    /// Refused: a destination that nothing can be sent to.
    pub bad_destination: u64,
    /// Refused: the next hop does not answer.
    pub unreachable: u64,
    /// Refused: no room to wait for the next hop's address.
    pub no_room_to_wait: u64,
    /// Refused: the transmit queue is full.
    pub queue_full: u64,
    /// Refused: no pages.
    pub no_pages: u64,
    /// Dropped after they had waited for a neighbour: the path had become too narrow for
    /// Don't Fragment, or pages were short. A connected socket is told.
    pub dropped_late: u64,
}
