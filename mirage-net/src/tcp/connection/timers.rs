//! What happens when nothing arrives: every deadline of a connection, derived from what it waits for.

use core::time::Duration;

use mirage_core::Instant;

use super::{Connection, Context, TcpState};
use crate::tcp::config::TcpConfig;
use crate::tcp::error::TcpError;
use crate::tcp::{CongestionControl, LossTimeout};

/// The SYN, or the SYN,ACK, until it is acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handshake {
    /// It is to be sent.
    pub(super) due: bool,
    /// When it is to be sent again.
    again: Option<Instant>,
    /// When the attempt is given up (RFC 9293, MUST-23).
    give_up: Instant,
    /// When it was sent the first time.
    pub(super) sent_at: Instant,
    /// It was sent more than once, so its acknowledgement measures nothing (Karn).
    pub(super) repeated: bool,
}

impl Handshake {
    pub(crate) fn new(now: Instant, patience: Duration) -> Self {
        Handshake {
            due: true,
            again: None,
            give_up: now.saturating_add(patience),
            sent_at: now,
            repeated: false,
        }
    }

    /// One that was sent, and whose answer came.
    pub(crate) fn sent(sent_at: Instant, patience: Duration) -> Self {
        Handshake {
            due: false,
            ..Self::new(sent_at, patience)
        }
    }

    /// It goes out, and again after `time_out`.
    pub(super) fn transmitted(&mut self, now: Instant, time_out: Duration) {
        if self.again.is_none() && !self.repeated {
            self.sent_at = now;
        }
        self.due = false;
        self.again = Some(now.saturating_add(time_out));
    }
}

/// The persist timer (RFC 9293 §3.8.6.1): runs while the peer's window lets nothing out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Persist {
    deadline: Option<Instant>,
    /// How often it ran out since the window was open.
    times: u8,
    /// A probe is to be sent.
    pub(super) probe_due: bool,
    /// A segment smaller than the sender would like may go (RFC 9293 §3.8.6.2.1, condition 4).
    pub(super) small_due: bool,
}

impl Persist {
    pub(crate) fn new() -> Self {
        Persist {
            deadline: None,
            times: 0,
            probe_due: false,
            small_due: false,
        }
    }

    /// The window lets something out.
    pub(super) fn stop(&mut self) {
        *self = Self::new();
    }

    fn start(&mut self, now: Instant, time_out: Duration, ceiling: Duration) {
        let wait = time_out
            .saturating_mul(1 << self.times.min(16))
            .min(ceiling);
        self.deadline = Some(now.saturating_add(wait));
    }
}

impl<C: CongestionControl> Connection<C> {
    /// The peer's window is closed, and something waits for it to open.
    #[inline(always)]
    fn is_shut_out(&self) -> bool {
        self.send_window.window() == 0 && (self.has_unsent() || self.outstanding() > 0)
    }

    /// The peer's window is open, nothing is under way whose acknowledgement could move things on, and something was never
    /// sent: either it goes at once, and this ends, or the window is too small to be worth a segment, or slots or pages are
    /// short. In any case it is tried again.
    #[inline(always)]
    fn is_held_back(&self) -> bool {
        self.send_window.window() > 0 && self.outstanding() == 0 && self.has_unsent()
    }

    /// Whether it has something to send, and nothing in the network whose acknowledgement would have it try again (getter).
    pub(crate) fn is_stuck(&self) -> bool {
        self.state.transmits() && self.is_held_back()
    }

    /// Whether data were never sent, not only a FIN (getter).
    pub(crate) fn has_unsent_data(&self) -> bool {
        self.sender.queue().unsent_octets() > 0
    }

    /// Sees to it that whatever the connection waits for has a deadline.
    pub(super) fn watch(&mut self, cx: &Context<'_, '_>) {
        if !self.state.transmits() || !(self.is_shut_out() || self.is_held_back()) {
            self.persist.stop();
        } else if self.persist.deadline.is_none()
            && !self.persist.probe_due
            && !self.persist.small_due
        {
            let time_out = self.sender.round_trip().timeout();
            self.persist
                .start(cx.now, time_out, cx.config.retransmission_ceiling);
        }
    }

    /// When `handle_timeout` is to be called at the latest (output, the last).
    pub(crate) fn poll_timeout(&self, config: &TcpConfig) -> Option<Instant> {
        let mut earliest: Option<Instant> = None;
        let mut consider = |at: Option<Instant>| {
            if let Some(at) = at {
                earliest = Some(earliest.map_or(at, |earlier| earlier.min(at)));
            }
        };
        if matches!(self.state, TcpState::Closed | TcpState::TimeWait) {
            return None;
        }
        if let Some(handshake) = &self.handshake {
            consider(handshake.again);
            consider(Some(handshake.give_up));
        }
        if self.state.transmits() {
            if self.send_window.window() > 0 {
                consider(self.sender.poll_timeout());
            }
            consider(self.persist.deadline);
            consider(self.stalled_deadline());
        }
        consider((self.try_again_at != Instant::FAR_FUTURE).then_some(self.try_again_at));
        consider(self.acknowledging.deadline());
        consider(self.keep_alive_deadline());
        consider(self.linger_deadline(config));
        earliest
    }

    /// Time has passed (input).
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_, '_>) {
        let now = cx.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if matches!(self.state, TcpState::Closed | TcpState::TimeWait) {
            return;
        }
        if let Some(handshake) = &mut self.handshake {
            if handshake.give_up <= cx.now {
                self.give_up(cx);
                return;
            }
            if due(handshake.again) {
                handshake.again = None;
                handshake.due = true;
                handshake.repeated = true;
                cx.counters.time_outs += 1;
                self.sender.round_trip_mut().back_off();
            }
        }
        if self.state.transmits() {
            if due(self.stalled_deadline()) {
                self.give_up(cx);
                return;
            }
            if self.send_window.window() > 0 && due(self.sender.poll_timeout()) {
                let room = self.room_in_window();
                match self.sender.handle_timeout(cx.now, cx.segments, room) {
                    LossTimeout::Retransmission { consecutive } => {
                        cx.counters.time_outs += 1;
                        self.suspect_path(cx, consecutive);
                    }
                    LossTimeout::None | LossTimeout::Reordering { .. } | LossTimeout::TailProbe => {
                    }
                }
            }
            if due(self.persist.deadline) {
                self.handle_persist_timeout(cx);
            }
        }
        if self.try_again_at <= now {
            self.handle_try_again();
        }
        self.acknowledging.expire(cx.now);
        if due(self.keep_alive_deadline()) {
            self.handle_keep_alive_timeout(cx);
        }
        if due(self.linger_deadline(cx.config)) {
            // The peer was told that we are done, and never finished: nobody waits for it.
            self.enter(cx, TcpState::Closed);
        }
        self.watch(cx);
    }

    fn handle_persist_timeout(&mut self, cx: &mut Context<'_, '_>) {
        self.persist.deadline = None;
        if self.is_shut_out() {
            self.persist.probe_due = true;
        } else if self.is_held_back() {
            self.persist.small_due = true;
        }
        self.persist.times = self.persist.times.saturating_add(1);
        let time_out = self.sender.round_trip().timeout();
        self.persist
            .start(cx.now, time_out, cx.config.retransmission_ceiling);
    }

    /// RFC 9293 §3.8.3, R2, and the user time-out. A peer that answers probes with a closed window is there (MUST-37); but
    /// not even that holds a connection open that nobody owns.
    fn stalled_deadline(&self) -> Option<Instant> {
        if self.outstanding() == 0 && !self.is_shut_out() {
            return None;
        }
        let since = match self.orphaned_at {
            Some(orphaned_at) => orphaned_at.max(self.stalled_since),
            None if self.send_window.window() == 0 => self.heard_at.max(self.stalled_since),
            None => self.stalled_since,
        };
        Some(since.saturating_add(self.options.user_timeout))
    }

    #[inline(always)]
    fn linger_deadline(&self, config: &TcpConfig) -> Option<Instant> {
        let orphaned_at = self.orphaned_at?;
        (self.state == TcpState::FinWait2).then(|| {
            orphaned_at
                .max(self.entered_at)
                .saturating_add(config.fin_wait_2)
        })
    }

    /// The peer does not answer.
    fn give_up(&mut self, cx: &mut Context<'_, '_>) {
        cx.counters.timed_out += 1;
        if self.state.is_synchronised() {
            self.reset_due = Some(self.send_next());
        }
        let error = match self.soft_error {
            Some(code) => TcpError::Unreachable(code),
            None => TcpError::TimedOut,
        };
        self.fail(cx, error);
    }
}
