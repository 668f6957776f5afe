//! Keep-alives (RFC 9293 §3.8.4): off unless the owner wants them.

use mirage_core::Instant;

use super::{Connection, Context, TcpState};
use crate::tcp::CongestionControl;
use crate::tcp::config::KeepAlive;
use crate::tcp::error::TcpError;

/// Odd, with its bits all over the place: the upper bits of a product with it depend on all of the other factor's.
const SPREAD: u32 = 0x9e37_79b1;

/// Questions that the peer has not answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeepAliveState {
    /// Questions since the peer was last heard.
    asked: u8,
    /// When the last one was asked.
    asked_at: Instant,
    /// One is to be sent.
    pub(super) due: bool,
}

impl KeepAliveState {
    pub(crate) fn new() -> Self {
        KeepAliveState {
            asked: 0,
            asked_at: Instant::ZERO,
            due: false,
        }
    }

    /// The peer was heard.
    pub(super) fn heard(&mut self) {
        self.asked = 0;
        self.due = false;
    }
}

impl<C: CongestionControl> Connection<C> {
    /// MUST-26: only while nothing is outstanding, for what is outstanding asks too.
    fn asks_peer(&self) -> Option<KeepAlive> {
        // First what most connections don't have.
        let settings = self.options.keep_alive?;
        let idle = matches!(
            self.state,
            TcpState::Established | TcpState::CloseWait | TcpState::FinWait2
        );
        (idle && self.outstanding() == 0 && !self.has_unsent()).then_some(settings)
    }

    pub(super) fn keep_alive_deadline(&self) -> Option<Instant> {
        let settings = self.asks_peer()?;
        Some(if self.keep_alive.asked == 0 {
            // Up to a sixteenth later, another part of it for each connection: of many that fell silent together, as when a
            // link was cut, not all ask at once.
            let part = self.initial_sequence.get().wrapping_mul(SPREAD) >> 24;
            let later = settings.idle / (16 << 8) * part;
            self.heard_at
                .saturating_add(settings.idle)
                .saturating_add(later)
        } else {
            self.keep_alive.asked_at.saturating_add(settings.interval)
        })
    }

    pub(super) fn handle_keep_alive_timeout(&mut self, cx: &mut Context<'_, '_>) {
        let Some(settings) = self.asks_peer() else {
            return;
        };
        if self.keep_alive.asked >= settings.probes {
            // The peer may be there after all: it shall know.
            cx.counters.timed_out += 1;
            self.reset_due = Some(self.send_next());
            self.fail(cx, TcpError::TimedOut);
            return;
        }
        self.keep_alive.asked += 1;
        self.keep_alive.asked_at = cx.now;
        self.keep_alive.due = true;
    }
}
