//! A connection: the state machine of RFC 9293 §3.10, one file a concern.
//!
//! | | |
//! |---|---|
//! | `state` | the states, and which follows which |
//! | `options` | what the SYNs agree on; timestamps and PAWS (RFC 7323) |
//! | `window` | both windows, their scales, the silly window of the receiver |
//! | `user` | the owner's calls: send, receive, close, abort (RFC 9293 §3.10.1 to §3.10.6) |
//! | `arrival` | a segment arrives (§3.10.7), in the order of the specification |
//! | `transmit` | what goes out: retransmissions, data (Nagle, the sender's silly window), probes, ACKs |
//! | `acknowledgement` | delayed acknowledgements (RFC 5681 §4.2) |
//! | `challenge` | challenge acknowledgements and their rate (RFC 5961) |
//! | `ecn` | explicit congestion notification (RFC 3168) |
//! | `keep_alive`, `timers` | what happens when nothing does |
//! | `path_mtu` | the size of segments, and what routers say of it (RFC 1191, 4821, 5927) |
//!
//! Its methods are of four kinds: *getters*; *inputs* (`handle_segment`, `handle_timeout`,
//! `handle_path_mtu`, `handle_unreachable`); *mutators* that the owner calls (`send`, `receive`,
//! `shutdown`, `close`, `abort` …); *outputs* (`poll_transmit`, and last `poll_timeout`). After
//! an input or a mutator, call `poll_transmit` until it gives nothing, then sleep until `poll_timeout`.
//!
//! **Deadlines are derived.** `poll_timeout` looks at what the connection waits for (octets in flight,
//! a closed window with data behind it, …) instead of at what was armed and disarmed on the way, and `watch`
//! mends after each input what such a condition needs; so no path through the code can lose a timer.

mod acknowledgement;
mod arrival;
mod challenge;
mod ecn;
mod keep_alive;
pub(super) mod options;
mod path_mtu;
mod state;
mod timers;
mod transmit;
mod user;
mod window;

pub(crate) use acknowledgement::Acknowledging;
pub(crate) use arrival::{Answer, Incoming, segment_length};
pub(crate) use path_mtu::{announced_segment, ip_header_len};
pub use state::TcpState;
pub(crate) use transmit::Outgoing;
pub use user::Received;

use core::fmt;

use bitflags::bitflags;
use mirage_core::{Instant, Pool};

use self::ecn::Notification;
use self::keep_alive::KeepAliveState;
use self::options::{Offer, TimestampClock, TimestampState, fixed_options_len};
use self::path_mtu::SegmentSize;
use self::timers::{Handshake, Persist};
use self::window::{ReceiveWindow, SendWindow};
use super::config::{ConnectionOptions, TcpConfig};
use super::counters::TcpCounters;
use super::error::TcpError;
use super::four_tuple::FourTuple;
use super::{
    AnyCongestion, CongestionControl, ReceiveQueue, RoundTripConfig, SegmentTable, Sender,
    SequenceNumber,
};
use crate::limit::Pace;

/// What a connection borrows of the stack for the time of a call.
pub(crate) struct Context<'c, 's> {
    pub(crate) now: Instant,
    /// The queued data of all connections.
    pub(crate) segments: &'c mut SegmentTable<'s>,
    pub(crate) pool: &'static Pool,
    pub(crate) config: &'c TcpConfig,
    pub(crate) counters: &'c mut TcpCounters,
    /// Pages that each queue of a connection may hold while the pool or the slots run low; no limit else.
    pub(crate) fair_pages: u16,
    /// So few pages or slots are left that they are kept for what comes in order, and for what is sent: whoever leaves gaps could
    /// hold all of them, be it with the few that each connection may always have.
    pub(crate) is_short: bool,
    /// What the device cuts into segments, if it does.
    pub(crate) cutting: Option<Cutting>,
}

impl Context<'_, '_> {
    /// Pages that are kept for what is received in order, against what is written: one of sixteen of those that no reserve has, one at
    /// least. Two machines that write all that they have pages for would else wait for each other's acknowledgements for ever: neither
    /// could take what it is to acknowledge. What comes out of order leaves twice as many, so that neither that shuts out the other.
    fn kept_for_received(&self) -> usize {
        (self.pool.general() / 16).max(1)
    }
}

/// What a device takes that cuts a frame into segments of TCP itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cutting {
    /// Octets of payload of one frame.
    pub(crate) octets: u32,
    /// Pieces that those may lie in.
    pub(crate) pieces: usize,
}

bitflags! {
    /// What happened to a connection since its owner was told last.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
    pub struct TcpEvents: u8 {
        /// It is established.
        const CONNECTED = 1;
        /// There is more to read.
        const READABLE = 1 << 1;
        /// The peer acknowledged data: there is room to send.
        const WRITABLE = 1 << 2;
        /// The peer closed its direction: what is queued is the last.
        const FINISHED = 1 << 3;
        /// It ended: with an error, or because both directions are closed.
        const CLOSED = 1 << 4;
    }
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// We did.
    Active,
    /// A listener's peer did.
    Passive,
}

/// A handshake of which the peer's last acknowledgement is about to come: what the SYNs said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HalfOpen {
    pub(crate) tuple: FourTuple,
    /// Our initial sequence number.
    pub(crate) sequence: SequenceNumber,
    /// The peer's SYN, as far as we agreed: an option that our answer did not have is none.
    pub(crate) offer: Offer,
    /// The window that our SYN,ACK stated.
    pub(crate) window: u16,
    pub(crate) clock: TimestampClock,
    /// Our SYN,ACK was sent more than once: its acknowledgement measures nothing.
    pub(crate) repeated: bool,
    /// When our SYN,ACK was sent the first time.
    pub(crate) sent_at: Instant,
}

/// A connection's state machine. See the [module](self).
pub(crate) struct Connection<C: CongestionControl = AnyCongestion> {
    tuple: FourTuple,
    options: ConnectionOptions,
    state: TcpState,
    role: Role,
    /// ISS.
    initial_sequence: SequenceNumber,
    /// IRS.
    peer_sequence: SequenceNumber,
    sender: Sender<C>,
    send_window: SendWindow,
    receive: ReceiveQueue,
    receive_window: ReceiveWindow,
    timestamps: Option<TimestampState>,
    clock: TimestampClock,
    sack: bool,
    /// The peer's SYN had a window scale, so ours has one too.
    peer_scales: bool,
    acknowledging: Acknowledging,
    notification: Notification,
    size: SegmentSize,
    handshake: Option<Handshake>,
    persist: Persist,
    keep_alive: KeepAliveState,
    /// End of the last segment below the MSS that is in the network (Nagle).
    small: Option<SequenceNumber>,
    /// RCV.UP: the end of the peer's urgent data (RFC 9293 §3.8.5), until it was read.
    urgent: Option<SequenceNumber>,
    /// Since when nothing new has been acknowledged while something is outstanding.
    stalled_since: Instant,
    /// When the last segment was acceptable.
    heard_at: Instant,
    /// Not before this is an out-of-window segment without data answered again.
    challenge_after: Instant,
    /// Challenge acknowledgements (RFC 5961 §7).
    challenges: Pace,
    /// Pages or slots, not the owner's own bounds, kept data out: when the owner is to try again; else far
    /// in the future.
    try_again_at: Instant,
    /// When the owner let go of the connection.
    orphaned_at: Option<Instant>,
    /// The owner closed before the connection was established.
    close_pending: bool,
    /// A reset with this sequence number is to be sent before the end.
    reset_due: Option<SequenceNumber>,
    /// SND.NXT when the send queue was given back.
    last_next: SequenceNumber,
    /// When it came into the state that it is in.
    entered_at: Instant,
    /// What the network said of the path, for want of a better reason (RFC 5927 §5.2).
    soft_error: Option<u8>,
    error: Option<TcpError>,
    events: TcpEvents,
}

impl<C: CongestionControl> fmt::Debug for Connection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("tuple", &self.tuple)
            .field("state", &self.state)
            .field("una", &self.unacknowledged())
            .field("nxt", &self.send_next())
            .field("rcv_nxt", &self.receive.next())
            .finish_non_exhaustive()
    }
}

/// How a connection begins.
pub(crate) struct Opening {
    pub(crate) tuple: FourTuple,
    pub(crate) options: ConnectionOptions,
    pub(crate) sequence: SequenceNumber,
    pub(crate) clock: TimestampClock,
    /// Bytes that the path takes, IP header included.
    pub(crate) path_mtu: u16,
    /// Bytes that the interface takes, IP header included.
    pub(crate) interface_mtu: u16,
}

impl<C: CongestionControl> Connection<C> {
    /// OPEN, active (RFC 9293 §3.10.1): in SYN-SENT, with a SYN to be sent.
    pub(crate) fn active(cx: &Context<'_, '_>, opening: &Opening, congestion: C) -> Self {
        let mut connection = Self::new(
            cx,
            opening,
            Role::Active,
            SequenceNumber::default(),
            congestion,
        );
        connection.state = TcpState::SynSent;
        connection.handshake = Some(Handshake::new(cx.now, cx.config.connect));
        connection
    }

    /// A connection of a listener, in SYN-RECEIVED: the segment that acknowledges our SYN is to be
    /// given to it next.
    pub(crate) fn passive(
        cx: &Context<'_, '_>,
        opening: &Opening,
        half_open: &HalfOpen,
        congestion: C,
    ) -> Self {
        let offer = &half_open.offer;
        let mut connection = Self::new(cx, opening, Role::Passive, offer.sequence, congestion);
        connection.state = TcpState::SynReceived;
        let mut handshake = Handshake::sent(half_open.sent_at, cx.config.connect);
        handshake.repeated = half_open.repeated;
        connection.handshake = Some(handshake);
        connection.agree(cx, offer, half_open.window);
        connection
    }

    fn new(
        cx: &Context<'_, '_>,
        opening: &Opening,
        role: Role,
        peer_sequence: SequenceNumber,
        congestion: C,
    ) -> Self {
        let options = opening.options;
        let first = opening.sequence + 1;
        let size = SegmentSize::new(
            cx.now,
            &opening.tuple,
            opening.path_mtu,
            opening.interface_mtu,
        );
        let round_trip = RoundTripConfig {
            floor: cx.config.retransmission_floor,
            ceiling: cx.config.retransmission_ceiling,
            ..RoundTripConfig::default()
        };
        let segment = u32::from(size.payload(0));
        Connection {
            tuple: opening.tuple,
            options,
            state: TcpState::Closed,
            role,
            initial_sequence: opening.sequence,
            peer_sequence,
            sender: Sender::new(first, segment, congestion, round_trip),
            send_window: SendWindow::of_syn(0, 0, peer_sequence, opening.sequence),
            receive: ReceiveQueue::new(peer_sequence + 1),
            receive_window: ReceiveWindow::new(peer_sequence + 1, 0, options.window(), 0),
            timestamps: None,
            clock: opening.clock,
            sack: false,
            peer_scales: false,
            acknowledging: Acknowledging::new(peer_sequence + 1),
            notification: Notification::OFF,
            size,
            handshake: None,
            persist: Persist::new(),
            keep_alive: KeepAliveState::new(),
            small: None,
            urgent: None,
            stalled_since: cx.now,
            heard_at: cx.now,
            challenge_after: Instant::ZERO,
            challenges: Pace::NEW,
            try_again_at: Instant::FAR_FUTURE,
            orphaned_at: None,
            close_pending: false,
            reset_due: None,
            last_next: first,
            entered_at: cx.now,
            soft_error: None,
            error: None,
            events: TcpEvents::empty(),
        }
    }

    /// Takes what the peer's SYN offers; `field` is the window that our SYN stated.
    fn agree(&mut self, cx: &Context<'_, '_>, offer: &Offer, field: u16) {
        let next = offer.sequence + 1;
        self.peer_sequence = offer.sequence;
        self.receive = ReceiveQueue::new(next);
        // RFC 7323 §2.2: both scale, or none does.
        let ours = offer
            .window_scale
            .map_or(0, |_| self.options.window_scale());
        // Without a scale no more than 65,535 can be stated, and so no more is ever lent.
        let limit = match offer.window_scale {
            Some(_) => self.options.window(),
            None => self.options.window().min(65_535),
        };
        self.receive_window = ReceiveWindow::new(next, field, limit, ours);
        self.send_window = SendWindow::of_syn(
            offer.window,
            offer.window_scale.unwrap_or(0),
            offer.sequence,
            self.initial_sequence,
        );
        self.timestamps = offer
            .timestamp
            .map(|value| TimestampState::new(self.clock, value, cx.now));
        self.sack = offer.sack;
        self.peer_scales = offer.window_scale.is_some();
        self.acknowledging = Acknowledging::new(next);
        self.notification = Notification::agreed(
            offer.congestion_notification && self.options.congestion_notification,
        );
        self.size.set_peer(offer.maximum_segment);
        self.sender.set_sack(offer.sack);
        self.sender.set_maximum_segment(self.segment_size());
    }

    /// The four-tuple (getter).
    pub(crate) fn tuple(&self) -> &FourTuple {
        &self.tuple
    }

    /// The state (getter).
    pub(crate) fn state(&self) -> TcpState {
        self.state
    }

    /// Why it ended, if that was not in order (getter).
    pub(crate) fn error(&self) -> Option<TcpError> {
        self.error
    }

    /// Octets in order that nobody has read (getter).
    pub(crate) fn readable(&self) -> u32 {
        self.receive.readable()
    }

    /// Whether the owner let go of it (getter).
    pub(crate) fn is_orphan(&self) -> bool {
        self.orphaned_at.is_some()
    }

    /// Whether nothing is left of it that the wire could ask for: its four-tuple is free, or TIME-WAIT's (getter).
    pub(crate) fn is_over(&self) -> bool {
        match self.state {
            TcpState::Closed => self.reset_due.is_none(),
            // The acknowledgement of the peer's FIN goes out before.
            TcpState::TimeWait => !self.acknowledging.is_owed(),
            _ => false,
        }
    }

    /// What happened since this was asked last (output).
    pub(crate) fn take_events(&mut self) -> TcpEvents {
        core::mem::take(&mut self.events)
    }

    /// SND.UNA.
    pub(crate) fn unacknowledged(&self) -> SequenceNumber {
        match self.state {
            TcpState::SynSent | TcpState::SynReceived => self.initial_sequence,
            _ => self.sender.queue().unacknowledged(),
        }
    }

    /// SND.NXT, which no time-out takes back.
    pub(crate) fn send_next(&self) -> SequenceNumber {
        match self.state {
            TcpState::Closed | TcpState::TimeWait => self.last_next,
            _ => self.sender.queue().next(),
        }
    }

    /// RCV.NXT.
    pub(crate) fn receive_next(&self) -> SequenceNumber {
        self.receive.next()
    }

    /// Timestamps, as TIME-WAIT goes on with them.
    pub(crate) fn timestamps(&self) -> Option<TimestampState> {
        self.timestamps
    }

    /// Octets of payload in a full-sized segment, options taken off (RFC 9293 §3.7.1, Eff.snd.MSS).
    fn segment_size(&self) -> u32 {
        u32::from(self.size.payload(self.fixed_options()))
    }

    /// Bytes of the options that each segment has.
    fn fixed_options(&self) -> u16 {
        fixed_options_len(self.timestamps.is_some())
    }

    /// Octets that are sent and not acknowledged.
    fn outstanding(&self) -> u32 {
        self.sender.queue().outstanding()
    }

    /// Whether something is queued that was never sent, the FIN included.
    fn has_unsent(&self) -> bool {
        self.sender.queue().has_unsent()
    }

    /// Goes into a state.
    fn enter(&mut self, cx: &mut Context<'_, '_>, next: TcpState) {
        #[cfg(any(test, debug_assertions))]
        debug_assert!(
            self.state == next || self.state.leads_to(next),
            "{} does not lead to {next}",
            self.state
        );
        if matches!(next, TcpState::TimeWait | TcpState::Closed) {
            self.last_next = self.send_next();
        }
        self.state = next;
        self.entered_at = cx.now;
        match next {
            TcpState::Established => self.events |= TcpEvents::CONNECTED | TcpEvents::WRITABLE,
            TcpState::TimeWait => {
                cx.counters.time_waits += 1;
                self.events |= TcpEvents::CLOSED;
                self.sender.clear(cx.segments);
            }
            TcpState::Closed => {
                self.events |= TcpEvents::CLOSED;
                self.handshake = None;
                self.sender.clear(cx.segments);
            }
            _ => {}
        }
    }

    /// Ends it, and tells the owner why. What was received and not read is lost with a reset, and with
    /// nothing else (RFC 9293 §3.10.7.4, second: "all segment queues should be flushed").
    fn fail(&mut self, cx: &mut Context<'_, '_>, error: TcpError) {
        if self.error.is_none() {
            self.error = Some(error);
        }
        if error == TcpError::Reset {
            self.receive.clear(cx.segments);
        }
        if matches!(self.state, TcpState::SynSent | TcpState::SynReceived) {
            cx.counters.failed_opens += 1;
        }
        self.enter(cx, TcpState::Closed);
    }

    /// Gives all slots and pages back: before the connection is dropped.
    pub(crate) fn clear(&mut self, segments: &mut SegmentTable<'_>) {
        self.sender.clear(segments);
        self.receive.clear(segments);
    }
}

#[cfg(test)]
impl<C: CongestionControl> Connection<C> {
    /// Whether it waits for something that comes by a timer if not by the peer.
    pub(crate) fn waits_for_peer(&self) -> bool {
        self.handshake.is_some()
            || (self.state.transmits() && (self.outstanding() > 0 || self.has_unsent()))
    }

    pub(crate) fn smoothed(&self) -> core::time::Duration {
        self.sender.round_trip().smoothed().unwrap_or_default()
    }

    pub(crate) fn segment_octets(&self) -> u32 {
        self.segment_size()
    }

    pub(crate) fn notifies_congestion(&self) -> bool {
        self.notification.is_agreed()
    }

    pub(crate) fn peer_window(&self) -> u32 {
        self.send_window.window()
    }

    pub(crate) fn offered_window(&self) -> u32 {
        self.receive_window.offered(self.receive.next())
    }
}
