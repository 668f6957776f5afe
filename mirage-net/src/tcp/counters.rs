//! What TCP has counted: one number for each reason to drop.

/// What TCP has counted since the stack was made.
///
/// Every received segment is counted once in `received`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpCounters {
    /// Segments received, whatever became of them; what the device has merged counts as one.
    pub received: u64,
    /// Frames of several segments that the device had merged, or that were never cut.
    pub received_merged: u64,
    /// Segments sent, retransmissions and those without data included.
    pub sent: u64,
    /// Frames of several segments that the device cuts.
    pub sent_uncut: u64,
    /// Octets of data that connections took in order, each once.
    pub received_octets: u64,
    /// Octets of data that were sent for the first time.
    pub sent_octets: u64,

    /// The header is not whole, or its length or options contradict it.
    pub malformed: u64,
    /// The checksum is wrong.
    pub bad_checksum: u64,
    /// Checksums verified here.
    pub verified_here: u64,
    /// Checksums verified by the device.
    pub verified_by_device: u64,
    /// Checksums that were never made, for the segment never crossed a wire.
    pub partial: u64,
    /// Sent to a broadcast or multicast address, on the link or above (RFC 9293, MUST-57).
    pub broadcast: u64,
    /// From or to port 0.
    pub port_zero: u64,

    /// For no connection and no listener; answered with a reset unless the limit forbade it.
    pub no_connection: u64,
    /// Resets sent to segments that belong to no connection.
    pub resets_sent: u64,
    /// Resets not sent, for their rate limit or for want of pages or room.
    pub resets_limited: u64,

    /// Outside of the receive window (RFC 9293 §3.10.7.4, first).
    pub out_of_window: u64,
    /// Older than what came before (PAWS, RFC 7323 §5).
    pub paws: u64,
    /// Resets in the window, but not exactly at its left edge (RFC 5961 §3).
    pub reset_inexact: u64,
    /// Connections that a peer reset.
    pub resets_received: u64,
    /// Resets that came to a connection in TIME-WAIT, and were ignored (RFC 1337).
    pub reset_in_time_wait: u64,
    /// SYNs in a synchronised state (RFC 5961 §4).
    pub syn_in_connection: u64,
    /// Without ACK, in a state in which every segment has one.
    pub without_acknowledgement: u64,
    /// Acknowledges what was never sent (RFC 9293 §3.10.7.4, fifth).
    pub acknowledges_unsent: u64,
    /// Acknowledges what is too old (RFC 5961 §5).
    pub acknowledges_too_old: u64,
    /// Challenge acknowledgements sent (RFC 5961).
    pub challenges_sent: u64,
    /// Challenge acknowledgements not sent, for their rate limit (RFC 5961 §7).
    pub challenges_limited: u64,
    /// Data for a connection whose owner has closed it: the peer was reset (RFC 1122 §4.2.2.13).
    pub data_after_close: u64,
    /// Data, or a FIN, after the peer's FIN.
    pub after_fin: u64,
    /// Data dropped, for the connection's queues or all queues were full, or the pool had no page.
    pub no_room: u64,
    /// Times that a connection with nothing in the network found no slot for what it had to send, a FIN or the pieces of a segment, and
    /// joined the line of those that wait for one.
    pub slots_awaited: u64,
    /// Writes that were cut short, and pages to be filled that were not given, because what is left of the pool is kept for what is
    /// received. Not those that the connection's own bounds or a want of slots cut short.
    pub kept_for_received: u64,
    /// Segments with data that had all come before.
    pub duplicates: u64,
    /// Segments with data that came out of order and were kept.
    pub out_of_order: u64,

    /// Connections opened by us.
    pub active_opens: u64,
    /// Connections that a listener's peer opened.
    pub passive_opens: u64,
    /// Active opens that failed.
    pub failed_opens: u64,
    /// Half-open connections given up: the peer did not answer, or reset.
    pub half_open_dropped: u64,
    /// SYNs dropped: the listener's backlog was full of connections that nobody accepted; or a cookie would have been the answer to one
    /// without timestamps, in the place of a TIME-WAIT.
    pub backlog_full: u64,
    /// Last acknowledgements of a handshake not taken, for backlog or connections were full.
    pub accept_full: u64,
    /// Connections refused: the table was full.
    pub table_full: u64,
    /// SYN cookies sent, for the cache of half-open connections was full.
    pub cookies_sent: u64,
    /// Connections made of a cookie.
    pub cookies_taken: u64,
    /// Acknowledgements that carried no cookie of ours.
    pub cookies_bad: u64,

    /// Retransmission time-outs.
    pub time_outs: u64,
    /// Segments sent again.
    pub retransmitted: u64,
    /// Time-outs and fast retransmissions that turned out needless.
    pub spurious: u64,
    /// Zero-window probes sent (RFC 9293 §3.8.6.1).
    pub window_probes: u64,
    /// Keep-alives sent (RFC 9293 §3.8.4).
    pub keep_alives: u64,
    /// Connections given up: the peer did not answer in the user time-out, or to keep-alives.
    pub timed_out: u64,
    /// Segments marked by a router (RFC 3168).
    pub congestion_marks: u64,
    /// Reductions of the window because the peer reported such a mark.
    pub congestion_echoes: u64,
    /// Paths found narrower than thought: by a router's report, or because nothing larger arrived.
    pub path_mtu_reduced: u64,
    /// Paths found wider than thought: a larger segment that tested it arrived (RFC 4821).
    pub path_mtu_raised: u64,
    /// ICMP errors about a connection, that were kept as a hint (RFC 5927).
    pub soft_errors: u64,
    /// ICMP errors that ended an attempt to connect.
    pub hard_errors: u64,
    /// ICMP errors that quote a sequence number that is not in flight (RFC 5927 §4.1).
    pub icmp_out_of_window: u64,

    /// Connections that entered TIME-WAIT.
    pub time_waits: u64,
    /// TIME-WAITs ended early: their table was full.
    pub time_waits_evicted: u64,
    /// TIME-WAITs ended by a new connection (RFC 6191, RFC 1122 §4.2.2.13).
    pub time_waits_reused: u64,
}
