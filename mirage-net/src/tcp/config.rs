//! Times, rates and bounds of TCP: of the stack, and of one connection.

use core::time::Duration;

use crate::limit::RateLimit;

/// Times and rates that all connections of a stack share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpConfig {
    /// Twice the maximum segment lifetime: how long a closed connection stays in TIME-WAIT. RFC 9293
    /// §3.4.2 has four minutes; the usual practice is one.
    pub time_wait: Duration,
    /// How long a SYN or a half-open connection is repeated before it is given up (RFC 9293,
    /// MUST-23: three minutes at least for our own SYN).
    pub connect: Duration,
    /// How often the SYN,ACK of a half-open connection is repeated: after one second, two, four …
    pub synchronise_retries: u8,
    /// How long a connection that its owner closed stays in FIN-WAIT-2.
    pub fin_wait_2: Duration,
    /// The longest that an acknowledgement waits (RFC 9293, MUST-59: below half a second).
    pub delayed_acknowledgement: Duration,
    /// Challenge acknowledgements of one connection (RFC 5961 §7), be it half open, open, or in TIME-WAIT.
    pub challenges: RateLimit,
    /// Resets for segments that belong to no connection.
    pub resets: RateLimit,
    /// The least that a retransmission waits (RFC 6298 §2.4 recommends a second; 200 ms is what
    /// data centres use).
    pub retransmission_floor: Duration,
    /// The most that a retransmission waits: 60 s at least (RFC 6298 §2.5).
    pub retransmission_ceiling: Duration,
    /// Below this many octets an MSS that a peer announces is taken as this many: a peer must not
    /// make us send a packet for every few octets.
    pub least_segment: u16,
}

impl Default for TcpConfig {
    fn default() -> Self {
        TcpConfig {
            time_wait: Duration::from_secs(60),
            connect: Duration::from_secs(180),
            synchronise_retries: 5,
            fin_wait_2: Duration::from_secs(60),
            delayed_acknowledgement: Duration::from_millis(40),
            challenges: RateLimit::per_second(100, 20),
            resets: RateLimit::per_second(200, 50),
            retransmission_floor: Duration::from_millis(200),
            retransmission_ceiling: Duration::from_secs(60),
            least_segment: 88,
        }
    }
}

/// Whether a peer of whom nothing is heard is asked if it is still there (RFC 9293 §3.8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// How long nothing is heard before the first question; up to a sixteenth more, so that of many connections that fell silent
    /// together not all ask at once.
    pub idle: Duration,
    /// From one question to the next.
    pub interval: Duration,
    /// Questions without an answer before the connection is given up.
    pub probes: u8,
}

impl Default for KeepAlive {
    /// RFC 9293, MUST-28: two hours at least unless the owner wants less. Then 9 questions, 75 s apart.
    fn default() -> Self {
        KeepAlive {
            idle: Duration::from_secs(7_200),
            interval: Duration::from_secs(75),
            probes: 9,
        }
    }
}

/// Which congestion control a connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CongestionAlgorithm {
    /// CUBIC (RFC 9438).
    #[default]
    Cubic,
    /// NewReno (RFC 5681, RFC 6582).
    NewReno,
}

/// Bounds and habits of one connection, or of all that a listener accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// Octets that may be received and not yet read: the receive window, at most 2³⁰ − 1. What is under way to us is a part of it, so a sender
    /// stands still where it is less than the path's rate times its round trip; it hears of what was read by halves. The memory that this
    /// may cost is bounded apart, by `receive_pages`.
    pub receive_window: u32,
    /// Pages that those, and what came out of order, hold at most: enough for the whole window is twice as many as it fills.
    /// Data beyond is dropped, and comes again when the peer retransmits it.
    pub receive_pages: u16,
    /// Octets that the owner may have queued and the peer not yet acknowledged. What is more is
    /// refused.
    pub send_octets: u32,
    /// Pages that those hold at most.
    pub send_pages: u16,
    /// Small segments go out at once, though others are not acknowledged: Nagle's algorithm is off
    /// (RFC 9293, MUST-17).
    pub no_delay: bool,
    /// Whether a silent peer is asked if it is there. Off by default (RFC 9293, MUST-25).
    pub keep_alive: Option<KeepAlive>,
    /// How long sent data may stay without any acknowledgement before the connection is given up
    /// (RFC 9293 §3.8.3, R2: 100 s at least; the user time-out of §3.9.1).
    pub user_timeout: Duration,
    /// Explicit congestion notification is offered and accepted (RFC 3168).
    pub congestion_notification: bool,
    /// Congestion control.
    pub congestion: CongestionAlgorithm,
    /// Time to live of what is sent.
    pub time_to_live: u8,
}

impl ConnectionOptions {
    /// 64 KiB both ways in at most 72 and 48 pages, Nagle, no keep-alives, a user time-out of five minutes
    /// (RFC 9293 §3.9.1), ECN, CUBIC.
    pub const DEFAULT: Self = ConnectionOptions {
        receive_window: 65_536,
        receive_pages: 72,
        send_octets: 65_536,
        send_pages: 48,
        no_delay: false,
        keep_alive: None,
        user_timeout: Duration::from_secs(300),
        congestion_notification: true,
        congestion: CongestionAlgorithm::Cubic,
        time_to_live: 64,
    };

    /// The shift of the windows that we state (RFC 7323 §2.2): the least with which the whole
    /// window can be stated.
    pub(crate) fn window_scale(&self) -> u8 {
        let mut shift = 0;
        while shift < 14 && self.window() >> shift > 65_535 {
            shift += 1;
        }
        shift
    }

    /// The receive window in octets: RFC 7323 §2.3 allows 2³⁰.
    pub(crate) fn window(&self) -> u32 {
        self.receive_window.clamp(1, (1 << 30) - 1)
    }
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_the_least_that_states_the_whole_window() {
        let scale = |receive_window| {
            ConnectionOptions {
                receive_window,
                ..ConnectionOptions::DEFAULT
            }
            .window_scale()
        };
        assert_eq!(
            [0, 1, 65_535, 65_536, 131_071, 131_072, 1 << 20, u32::MAX].map(scale),
            [0, 0, 0, 1, 1, 2, 5, 14]
        );
    }
}
