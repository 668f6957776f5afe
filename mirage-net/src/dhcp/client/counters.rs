//! One counter for each reason to drop, and a few for what went well.

/// What a client has counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DhcpClientCounters {
    /// Messages given to the client.
    pub received: u64,
    /// No DHCP message, or a malformed one.
    pub malformed: u64,
    /// Other clients' requests, or messages of a type that no server sends.
    pub not_a_reply: u64,
    /// Another transaction, another hardware address, another client identifier.
    pub not_for_us: u64,
    /// Of a type that the client doesn't wait for now.
    pub unexpected: u64,
    /// From another server than the one that was asked.
    pub other_server: u64,
    /// Without a server identifier or a lease time.
    pub incomplete: u64,
    /// With an address that can't be a host's, or not the one that was asked for.
    pub bad_address: u64,
    /// Leases for less than [`shortest_lease`](super::DhcpClientConfig::shortest_lease), or over when they came.
    pub too_short: u64,
    /// Offers that were looked at.
    pub offers: u64,
    /// Leases taken, renewals among them.
    pub acknowledged: u64,
    /// Refusals taken.
    pub refused: u64,
    /// Addresses declined, for another station had them.
    pub declined: u64,
    /// Leases that ended because no server renewed them.
    pub expired: u64,
    /// Messages sent, repetitions among them.
    pub sent: u64,
    /// Messages sent again, for nobody had answered.
    pub repeated: u64,
}
