//! The owner's calls (RFC 9293 §3.10.1 to §3.10.6).

use core::time::Duration;

use mirage_core::{Instant, PageMut, Segment};

use super::{Connection, Context, TcpEvents, TcpState};
use crate::tcp::CongestionControl;
use crate::tcp::error::TcpError;

/// How long an owner waits whose data found no page or no slot, though its own bounds had room for them.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Pages that a call to write may take of the quarter that is for all, as long as the queue is within its share, and as none of those is
/// taken that are kept for what is received.
const LEAST_PAGES: usize = 4;

/// What a call to receive gives.
#[derive(Debug)]
#[non_exhaustive]
pub enum Received {
    /// The next piece, in the page that it was received in.
    Data(Segment),
    /// Nothing, for now.
    Nothing,
    /// Nothing any more: the peer has closed its direction, and all of it was read.
    Finished,
}

impl<C: CongestionControl> Connection<C> {
    /// Octets that the owner may queue now (getter). Zero until a connection is there to send on, once a direction is closed,
    /// and while the queue is full.
    pub(crate) fn writable(&self) -> u32 {
        if !self.state.may_send() || self.close_pending {
            return 0;
        }
        let queue = self.sender.queue();
        if queue.pages() >= u32::from(self.options.send_pages) {
            return 0;
        }
        // What is queued is acknowledged one day; then there is room, and the owner is told.
        self.options.send_octets.saturating_sub(queue.octets())
    }

    /// Why nothing can be sent, unless it is only for now.
    fn refuses(&self) -> Option<TcpError> {
        if let Some(error) = self.error {
            return Some(error);
        }
        if self.state == TcpState::Closed {
            return Some(TcpError::NotOpen);
        }
        (!self.state.may_send() || self.close_pending).then_some(TcpError::Closing)
    }

    /// SEND (RFC 9293 §3.10.2): queues a segment, to be sent from where it lies (mutator). Before the connection is established it
    /// waits.
    ///
    /// # Errors
    /// Why not, with the segment; [`TcpError::Full`] when it does not fit now.
    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_, '_>,
        segment: Segment,
    ) -> Result<(), (TcpError, Segment)> {
        if let Some(error) = self.refuses() {
            return Err((error, segment));
        }
        // One segment always fits into an empty queue, however little the owner allowed.
        let empty = self.sender.queue().octets() == 0;
        let room = self.writable() as usize;
        let fair = self.sender.queue().pages() < u32::from(cx.fair_pages);
        if room == 0 || (segment.len() > room && !empty) {
            return Err((TcpError::Full, segment));
        }
        if !fair {
            self.try_again(cx);
            return Err((TcpError::Full, segment));
        }
        self.begin_waiting(cx);
        let result = self
            .sender
            .queue_mut()
            .push(cx.segments, segment)
            .map_err(|segment| (TcpError::Full, segment));
        if result.is_err() {
            self.try_again(cx);
        }
        self.watch(cx);
        result
    }

    /// As `send`, with a copy of `bytes`; says how many of them fitted (mutator).
    ///
    /// # Errors
    /// Why nothing can be sent.
    pub(crate) fn write(
        &mut self,
        cx: &mut Context<'_, '_>,
        bytes: &[u8],
    ) -> Result<usize, TcpError> {
        if let Some(error) = self.refuses() {
            return Err(error);
        }
        let room = self.writable() as usize;
        let bytes = bytes.get(..room).unwrap_or(bytes);
        self.begin_waiting(cx);
        let own = u32::from(self.options.send_pages.min(cx.fair_pages));
        // One call must not take the quarter of the pool that is for all.
        let (free, common, kept) = (cx.pool.free(), cx.pool.blocks() / 4, cx.kept_for_received());
        let least = free.saturating_sub(kept).min(LEAST_PAGES);
        let room = free.saturating_sub(common).max(least);
        let held = self.sender.queue().pages();
        let limit = held.saturating_add(u32::try_from(room).unwrap_or(u32::MAX));
        let pages = own.min(limit);
        let written = self
            .sender
            .queue_mut()
            .write(cx.segments, cx.pool, bytes, pages);
        if written < bytes.len() {
            // Not if there is no slot, or the queue has all that it may have anyhow.
            let kept = least < LEAST_PAGES && limit < own && self.sender.queue().pages() >= limit;
            cx.counters.kept_for_received += u64::from(kept);
            self.try_again(cx);
        }
        self.watch(cx);
        Ok(written)
    }

    /// A page to be filled and given to `send` (mutator): while the queue has room, and as long as none is taken that is kept for what
    /// is received. None: the owner is told when to try again.
    ///
    /// # Errors
    /// Why nothing can be sent.
    pub(crate) fn page(&mut self, cx: &mut Context<'_, '_>) -> Result<Option<PageMut>, TcpError> {
        if let Some(error) = self.refuses() {
            return Err(error);
        }
        if self.writable() == 0 {
            return Ok(None);
        }
        let page = if cx.pool.free() > cx.kept_for_received() {
            cx.pool.alloc()
        } else {
            None
        };
        if page.is_none() {
            cx.counters.kept_for_received += 1;
            self.try_again(cx);
        }
        Ok(page)
    }

    /// What is all connections' was short: nobody's acknowledgement says when there is more of it.
    pub(crate) fn try_again(&mut self, cx: &Context<'_, '_>) {
        self.try_again_at = cx.now.saturating_add(TRY_AGAIN);
    }

    /// The owner is told to try again.
    pub(super) fn handle_try_again(&mut self) {
        self.try_again_at = Instant::FAR_FUTURE;
        self.events |= TcpEvents::WRITABLE;
    }

    /// What is queued now waits from now on.
    fn begin_waiting(&mut self, cx: &Context<'_, '_>) {
        if self.outstanding() == 0 && !self.has_unsent() {
            self.stalled_since = cx.now;
        }
    }

    /// RECEIVE (RFC 9293 §3.10.3): the next piece (mutator).
    ///
    /// # Errors
    /// Why the connection ended, when there is nothing more to read.
    pub(crate) fn receive(&mut self, cx: &mut Context<'_, '_>) -> Result<Received, TcpError> {
        if let Some(segment) = self.receive.receive(cx.segments) {
            self.has_read();
            return Ok(Received::Data(segment));
        }
        self.at_end()
    }

    /// Copies what there is into `bytes`; says how much that was, and 0 of what is finished too (mutator).
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub(crate) fn read(
        &mut self,
        cx: &mut Context<'_, '_>,
        bytes: &mut [u8],
    ) -> Result<usize, TcpError> {
        let count = self.receive.copy_to_slice(cx.segments, bytes);
        if count > 0 {
            self.has_read();
            return Ok(count);
        }
        self.at_end().map(|_| 0)
    }

    /// The next bytes, in the page that they were received in (getter).
    pub(crate) fn peek<'t>(&self, segments: &'t crate::tcp::SegmentTable<'_>) -> &'t [u8] {
        self.receive.peek(segments)
    }

    /// The owner has read `count` of the bytes that `peek` gave (mutator).
    pub(crate) fn consume(&mut self, cx: &mut Context<'_, '_>, count: usize) {
        if self.receive.consume(cx.segments, count) > 0 {
            self.has_read();
        }
    }

    fn at_end(&self) -> Result<Received, TcpError> {
        match self.error {
            // With a reset went what was not read: that is no end of the stream.
            Some(error @ TcpError::Reset) => Err(error),
            _ if self.receive.is_finished() => Ok(Received::Finished),
            Some(error) => Err(error),
            None if self.state == TcpState::Closed => Err(TcpError::NotOpen),
            None => Ok(Received::Nothing),
        }
    }

    /// The peer is told when its window may move on by enough.
    fn has_read(&mut self) {
        if let Some(end) = self.urgent
            && self.oldest_unread().is_at_or_after(end)
        {
            self.urgent = None;
        }
        // A window that nobody may send into needs no update.
        if self.state.takes_data()
            && !self.receive.is_finished()
            && self.receive_window.is_worth_telling(
                self.receive.next(),
                self.receive.readable(),
                self.window_step(),
            )
        {
            self.acknowledging.soon();
        }
    }

    /// Whether what was read is to be told now (getter).
    pub(crate) fn owes_acknowledgement(&self, now: Instant) -> bool {
        self.acknowledging.is_due(now)
    }

    fn oldest_unread(&self) -> crate::tcp::SequenceNumber {
        let fin = u32::from(self.receive.is_finished());
        self.receive.next() - fin - self.receive.readable()
    }

    /// Octets up to the end of the peer's urgent data, that are still to be read or to come (getter; RFC 9293, MUST-32).
    pub(crate) fn urgent(&self) -> Option<u32> {
        let end = self.urgent?;
        let oldest = self.oldest_unread();
        oldest.is_before(end).then(|| end.distance_from(oldest))
    }

    /// Whether all that the peer sent was read, and there will be no more (getter).
    pub(crate) fn is_drained(&self) -> bool {
        self.receive.is_drained()
    }

    /// Whether all that was queued is acknowledged, and the FIN if there is to be one (getter).
    pub(crate) fn is_delivered(&self) -> bool {
        let queue = self.sender.queue();
        !self.close_pending && queue.end() == queue.unacknowledged()
    }

    /// CLOSE (RFC 9293 §3.10.4): no more is sent after what is queued; the owner goes on reading (mutator).
    ///
    /// # Errors
    /// [`TcpError::Closing`] when it was called before, [`TcpError::NotOpen`] when there is no connection.
    pub(crate) fn shutdown(&mut self, cx: &mut Context<'_, '_>) -> Result<(), TcpError> {
        match self.state {
            TcpState::Closed => return Err(self.error.unwrap_or(TcpError::NotOpen)),
            // "Delete the TCB and return "error: closing" responses to any queued SENDs."
            TcpState::SynSent if self.has_unsent() => self.fail(cx, TcpError::Closing),
            TcpState::SynSent => self.enter(cx, TcpState::Closed),
            TcpState::SynReceived if !self.close_pending => self.close_pending = true,
            TcpState::Established => self.finish_sending(cx, TcpState::FinWait1),
            TcpState::CloseWait => self.finish_sending(cx, TcpState::LastAck),
            _ => return Err(TcpError::Closing),
        }
        self.watch(cx);
        Ok(())
    }

    /// Queues the FIN.
    pub(super) fn finish_sending(&mut self, cx: &mut Context<'_, '_>, next: TcpState) {
        self.begin_waiting(cx);
        self.sender.queue_mut().finish();
        self.enter(cx, next);
    }

    /// The owner lets go: nobody will read what comes (mutator). What is queued to be sent still goes out. What was received and not
    /// read makes it an abort, so that the peer knows that it was not read (RFC 1122 §4.2.2.13, RFC 2525 §2.17).
    pub(crate) fn close(&mut self, cx: &mut Context<'_, '_>) {
        if self.orphaned_at.is_some() {
            return;
        }
        self.orphaned_at = Some(cx.now);
        let unread = self.receive.readable() > 0;
        self.receive.clear(cx.segments);
        if unread && self.state.is_synchronised() {
            self.abort(cx);
            return;
        }
        // A direction that is closed already stays so.
        let _ = self.shutdown(cx);
    }

    /// ABORT (RFC 9293 §3.10.5; mutator): all that is queued is dropped, and the peer is told.
    pub(crate) fn abort(&mut self, cx: &mut Context<'_, '_>) {
        match self.state {
            TcpState::SynReceived
            | TcpState::Established
            | TcpState::FinWait1
            | TcpState::FinWait2
            | TcpState::CloseWait => self.reset_due = Some(self.send_next()),
            // The peer knows that nothing more comes: nothing is owed to it.
            TcpState::Closed
            | TcpState::SynSent
            | TcpState::Closing
            | TcpState::LastAck
            | TcpState::TimeWait => {}
        }
        self.receive.clear(cx.segments);
        self.enter(cx, TcpState::Closed);
    }
}
