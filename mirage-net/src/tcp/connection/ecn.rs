//! Explicit congestion notification (RFC 3168 §6.1).

use crate::wire::tcp::TcpFlags;

/// What a connection knows of marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Notification {
    /// Both ends do it.
    agreed: bool,
    /// A marked segment came: ECE goes with each acknowledgement until the peer says CWR.
    echo: bool,
    /// The window was reduced: CWR goes with the next new data.
    reduced: bool,
}

impl Notification {
    pub(crate) const OFF: Self = Notification {
        agreed: false,
        echo: false,
        reduced: false,
    };

    pub(crate) fn agreed(agreed: bool) -> Self {
        Notification {
            agreed,
            ..Self::OFF
        }
    }

    /// Whether both ends do it.
    pub(crate) fn is_agreed(&self) -> bool {
        self.agreed
    }

    /// A segment came (RFC 3168 §6.1.3). CWR comes first: a segment that is marked and says CWR begins a new round.
    pub(crate) fn received(&mut self, flags: TcpFlags, marked: bool) {
        if !self.agreed {
            return;
        }
        if flags.contains(TcpFlags::CWR) {
            self.echo = false;
        }
        if marked {
            self.echo = true;
        }
    }

    /// Whether an acknowledgement's ECE means that our segments were marked.
    pub(crate) fn is_echo(&self, flags: TcpFlags) -> bool {
        self.agreed && flags.contains(TcpFlags::ECE)
    }

    /// The congestion window was reduced (RFC 3168 §6.1.2).
    pub(crate) fn reduce(&mut self) {
        self.reduced = self.agreed;
    }

    /// Whether the next new data carry CWR: one segment does, and no other.
    pub(crate) fn is_reduced(&self) -> bool {
        self.reduced
    }

    /// The flags of a segment, and whether it may be marked: new data only, never a retransmission (§6.1.5), a pure
    /// acknowledgement (§6.1.4) or a probe (§6.1.6).
    pub(crate) fn flags(&mut self, new_data: bool) -> (TcpFlags, bool) {
        let mut flags = TcpFlags::empty();
        if self.echo {
            flags |= TcpFlags::ECE;
        }
        if new_data && core::mem::take(&mut self.reduced) {
            flags |= TcpFlags::CWR;
        }
        (flags, self.agreed && new_data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TcpFlags as F;

    #[test]
    fn rfc3168_6_1_3_the_echo_goes_on_until_cwr() {
        let mut notification = Notification::agreed(true);
        notification.received(F::ACK, true);
        for _ in 0..3 {
            assert_eq!(notification.flags(false), (F::ECE, false));
            notification.received(F::ACK, false);
        }
        notification.received(F::ACK | F::CWR, false);
        assert_eq!(notification.flags(false), (F::empty(), false));
        notification.received(F::ACK | F::CWR, true);
        assert_eq!(notification.flags(false), (F::ECE, false));
    }

    #[test]
    fn rfc3168_6_1_2_cwr_goes_once_with_new_data() {
        let mut notification = Notification::agreed(true);
        notification.reduce();
        assert_eq!(notification.flags(false), (F::empty(), false));
        assert_eq!(notification.flags(true), (F::CWR, true));
        assert_eq!(notification.flags(true), (F::empty(), true));
    }

    #[test]
    fn without_agreement_nothing_is_marked_or_echoed() {
        let mut notification = Notification::agreed(false);
        notification.received(F::ACK, true);
        notification.reduce();
        assert_eq!(notification.flags(true), (F::empty(), false));
        assert!(!notification.is_echo(F::ACK | F::ECE));
    }
}
