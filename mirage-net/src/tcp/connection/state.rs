//! The states of a connection, and the ways from one to the next.

use core::fmt;

/// The state of a connection (RFC 9293 §3.3.2). LISTEN is a listener's, and a half-open connection of
/// a listener is no connection yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcpState {
    /// No connection: it ended, and only what was received may be left.
    Closed,
    /// Our SYN is on its way.
    SynSent,
    /// SYNs went both ways; ours is not acknowledged.
    SynReceived,
    /// Data go both ways.
    Established,
    /// We closed; our FIN is not acknowledged.
    FinWait1,
    /// We closed, and the peer knows; it may go on sending.
    FinWait2,
    /// The peer closed; we may go on sending.
    CloseWait,
    /// Both closed at once; our FIN is not acknowledged.
    Closing,
    /// The peer closed, then we; our FIN is not acknowledged.
    LastAck,
    /// Both closed; delayed segments may still come.
    TimeWait,
}

impl TcpState {
    /// Whether the peer's SYN came and was answered, so that segments have sequence numbers that can be checked.
    pub(crate) fn is_synchronised(self) -> bool {
        !matches!(
            self,
            TcpState::Closed | TcpState::SynSent | TcpState::SynReceived
        )
    }

    /// Whether new data of the peer's are taken (RFC 9293 §3.10.7.4, seventh).
    pub(crate) fn takes_data(self) -> bool {
        matches!(
            self,
            TcpState::Established | TcpState::FinWait1 | TcpState::FinWait2
        )
    }

    /// Whether the owner may give more to send (RFC 9293 §3.10.2).
    pub(crate) fn may_send(self) -> bool {
        matches!(
            self,
            TcpState::SynSent | TcpState::SynReceived | TcpState::Established | TcpState::CloseWait
        )
    }

    /// Whether what was queued goes out now: data are only sent on an established connection.
    pub(crate) fn transmits(self) -> bool {
        matches!(
            self,
            TcpState::Established
                | TcpState::FinWait1
                | TcpState::CloseWait
                | TcpState::Closing
                | TcpState::LastAck
        )
    }

    /// Whether the diagram of RFC 9293 §3.3.2 (figure 5, with the notes), or an abort, leads from
    /// `self` to `next`.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn leads_to(self, next: TcpState) -> bool {
        use TcpState::{
            CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, SynReceived,
            SynSent, TimeWait,
        };
        // An abort, a reset or a time-out ends any of them.
        next == Closed
            || matches!(
                (self, next),
                (Closed, SynSent | SynReceived)
                    | (SynSent, SynReceived | Established)
                    | (SynReceived, Established | FinWait1 | CloseWait)
                    | (Established, FinWait1 | CloseWait)
                    | (FinWait1, FinWait2 | Closing | TimeWait)
                    | (FinWait2, TimeWait)
                    | (CloseWait, LastAck)
                    | (Closing, TimeWait)
            )
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TcpState::Closed => "CLOSED",
            TcpState::SynSent => "SYN-SENT",
            TcpState::SynReceived => "SYN-RECEIVED",
            TcpState::Established => "ESTABLISHED",
            TcpState::FinWait1 => "FIN-WAIT-1",
            TcpState::FinWait2 => "FIN-WAIT-2",
            TcpState::CloseWait => "CLOSE-WAIT",
            TcpState::Closing => "CLOSING",
            TcpState::LastAck => "LAST-ACK",
            TcpState::TimeWait => "TIME-WAIT",
        })
    }
}
