//! One counter for each reason to be silent, and a few for what was said.

/// What a server has counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DhcpServerCounters {
    /// Messages given to the server.
    pub received: u64,
    /// No DHCP message, a malformed one, or one whose fields contradict its type.
    pub malformed: u64,
    /// Replies, and types of messages that no client sends.
    pub not_a_request: u64,
    /// Client identifiers above 64 bytes, or relay agent information above 255.
    pub too_long: u64,
    /// From a link that the server has no subnet for.
    pub no_subnet: u64,
    /// For another server, by its identifier.
    pub other_server: u64,
    /// For an address that is not of this server's pools, or that it has no record of: perhaps another server's.
    pub not_ours: u64,
    /// Offers.
    pub offered: u64,
    /// Leases given or prolonged.
    pub acknowledged: u64,
    /// Requests refused.
    pub refused: u64,
    /// Clients that found another station with their address.
    pub declined: u64,
    /// Addresses that answered an echo request before they were offered.
    pub in_use: u64,
    /// Addresses that were offered without a look, for too many messages waited already, or this one was too long to.
    pub not_probed: u64,
    /// Leases given back.
    pub released: u64,
    /// Clients that asked for options alone.
    pub informed: u64,
    /// No address was free.
    pub exhausted: u64,
    /// The table of leases was full of leases that run.
    pub table_full: u64,
    /// Options that a client asked for, and that had no room in the message.
    pub options_left_out: u64,
    /// Replies that had no room for what they must hold.
    pub no_room: u64,
    /// Records that could not be written; their replies were not sent.
    pub not_saved: u64,
}
