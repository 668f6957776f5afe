//! Faults around any interface.

use alloc::rc::Rc;
use core::cell::RefCell;
use core::task::{Context, Poll, Waker};

use super::ethernet::{keep_waker, wake};
use super::faults::{FaultCounters, Faults, Line};
use super::packet::Packet;
use super::rng::SplitMix64;
use crate::frame::Frame;
use crate::mac::MacAddress;
use crate::netif::{Netif, NetifError, Offloads, TransmitError, TransmitReason};
use crate::pool::Reserve;
use crate::time::{Clock, Instant};

/// The most frames taken from the interface in one call of `poll_receive`, as in Linux's NAPI.
const BUDGET: usize = 64;

/// An interface with [`Faults`] in both directions, around any other: a tap without netem, for one.
///
/// Frames on their way are copied, so that the pages of the interface's ring are never held here; what arrives, and what
/// goes out, is in pages of the injector's own reserve. Checksums pass as they are; those of a damaged frame are completed
/// before the damage, as on a wire.
///
/// Time passes by the clock. Frames that were delayed move when the interface is polled or flushed after they fell due:
/// whoever runs the executor calls [`FaultControl::wake_due`] at [`FaultControl::next_event`], or every millisecond.
#[derive(Debug)]
pub struct FaultInjector<N, C> {
    netif: N,
    clock: C,
    reserve: Reserve,
    headroom: usize,
    state: Rc<RefCell<State>>,
}

#[derive(Debug)]
struct State {
    receive: Line,
    transmit: Line,
    /// Fell due when the interface was full.
    waiting: Option<Packet>,
    receive_waker: Option<Waker>,
    ready_waker: Option<Waker>,
    no_page: u64,
    refused: u64,
}

/// What a [`FaultInjector`] does.
#[derive(Clone, Copy, Debug)]
pub struct Injection {
    /// To received frames.
    pub receive: Faults,
    /// To transmitted frames.
    pub transmit: Faults,
    /// The most frames on their way in each direction. Full: the newest received is dropped, and none is taken to be
    /// transmitted. A duplicate takes a place too.
    pub line: usize,
    /// Bytes of headroom in each page of a received frame.
    pub headroom: usize,
}

impl Injection {
    /// Two perfect wires of 1,024 frames.
    pub const NONE: Self = Self {
        receive: Faults::NONE,
        transmit: Faults::NONE,
        line: 1_024,
        headroom: 0,
    };
}

/// What happened in a [`FaultInjector`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InjectorCounters {
    /// On the way in.
    pub receive: FaultCounters,
    /// On the way out.
    pub transmit: FaultCounters,
    /// Frames dropped since the injector's reserve had too few pages.
    pub no_page: u64,
    /// Frames that the interface refused when they fell due (one cut below an Ethernet header, or grown over the MTU).
    pub refused: u64,
}

impl<N: Netif, C: Clock> FaultInjector<N, C> {
    /// Puts faults around `netif`, drawn from `seed`.
    pub fn new(netif: N, clock: C, reserve: Reserve, injection: Injection, seed: u64) -> Self {
        let mut rng = SplitMix64::new(seed);
        let state = State {
            receive: Line::new(injection.receive, injection.line, rng.split()),
            transmit: Line::new(injection.transmit, injection.line, rng.split()),
            waiting: None,
            receive_waker: None,
            ready_waker: None,
            no_page: 0,
            refused: 0,
        };
        Self {
            netif,
            clock,
            reserve,
            headroom: injection.headroom,
            state: Rc::new(RefCell::new(state)),
        }
    }

    /// A hand on the injector, to change its faults and to wake its owner.
    pub fn control(&self) -> FaultControl {
        FaultControl {
            state: self.state.clone(),
        }
    }

    /// The interface.
    pub fn get_ref(&self) -> &N {
        &self.netif
    }

    /// Gives to the interface what has arrived at it.
    fn carry_out(&mut self) -> Result<(), NetifError> {
        let now = self.clock.now();
        let mut sent = false;
        let ready = {
            let state = &mut *self.state.borrow_mut();
            while let Some(packet) = state
                .waiting
                .take()
                .or_else(|| Some(state.transmit.leave(now)?.packet))
            {
                let Some(frame) = packet.into_frame(&self.reserve, 0, usize::MAX) else {
                    state.no_page += 1;
                    continue;
                };
                match self.netif.transmit(frame) {
                    Ok(()) => sent = true,
                    Err(TransmitError {
                        frame,
                        reason: TransmitReason::Full,
                    }) => {
                        state.waiting = Some(Packet::of(&frame));
                        break;
                    }
                    Err(_) => state.refused += 1,
                }
            }
            // There is room now, whoever it was that made it.
            if state.transmit.is_full() {
                None
            } else {
                state.ready_waker.take()
            }
        };
        wake(ready);
        if sent { self.netif.flush() } else { Ok(()) }
    }

    /// As [`carry_out`](Self::carry_out); a frame that the interface has no room for goes on when it has.
    fn poll_carry_out(&mut self, cx: &mut Context<'_>) -> Result<(), NetifError> {
        self.carry_out()?;
        while self.state.borrow().waiting.is_some() {
            match self.netif.poll_ready(cx)? {
                Poll::Ready(()) => self.carry_out()?,
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}

impl<N: Netif, C: Clock> Netif for FaultInjector<N, C> {
    fn mac(&self) -> MacAddress {
        self.netif.mac()
    }

    fn mtu(&self) -> u16 {
        self.netif.mtu()
    }

    fn offloads(&self) -> Offloads {
        self.netif.offloads()
    }

    fn link_up(&self) -> bool {
        self.netif.link_up()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, NetifError>> {
        self.poll_carry_out(cx)?;
        let now = self.clock.now();
        let state = &mut *self.state.borrow_mut();
        let mut more = true;
        for _ in 0..BUDGET {
            match self.netif.poll_receive(cx)? {
                Poll::Ready(frame) => state.receive.enter(now, Packet::of(&frame)),
                Poll::Pending => {
                    more = false;
                    break;
                }
            }
        }
        while let Some(arrival) = state.receive.leave(now) {
            match arrival
                .packet
                .into_frame(&self.reserve, self.headroom, usize::MAX)
            {
                Some(frame) => return Poll::Ready(Ok(frame)),
                None => state.no_page += 1,
            }
        }
        if more {
            cx.waker().wake_by_ref();
        }
        keep_waker(&mut state.receive_waker, cx);
        Poll::Pending
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetifError>> {
        self.poll_carry_out(cx)?;
        let state = &mut *self.state.borrow_mut();
        if !state.transmit.is_full() {
            return Poll::Ready(Ok(()));
        }
        keep_waker(&mut state.ready_waker, cx);
        Poll::Pending
    }

    /// Errors of the interface show when the frame has reached it: they are counted, the frame is lost.
    fn transmit(&mut self, frame: Frame) -> Result<(), TransmitError> {
        let state = &mut *self.state.borrow_mut();
        if state.transmit.is_full() {
            return Err(TransmitError {
                frame,
                reason: TransmitReason::Full,
            });
        }
        state.transmit.enter(self.clock.now(), Packet::of(&frame));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), NetifError> {
        self.carry_out()
    }
}

/// A hand on a [`FaultInjector`] that somebody else owns.
#[derive(Clone, Debug)]
pub struct FaultControl {
    state: Rc<RefCell<State>>,
}

impl FaultControl {
    /// When the next frame on its way arrives. `None`: there is none.
    pub fn next_event(&self) -> Option<Instant> {
        let state = self.state.borrow();
        [state.receive.next_arrival(), state.transmit.next_arrival()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Wakes the owner if a frame has arrived by `now`.
    pub fn wake_due(&self, now: Instant) {
        if self.next_event().is_some_and(|due| due <= now) {
            let wakers = {
                let mut state = self.state.borrow_mut();
                [state.receive_waker.take(), state.ready_waker.take()]
            };
            wake(wakers.into_iter().flatten());
        }
    }

    /// What happens to frames from now on.
    pub fn set_faults(&self, receive: Faults, transmit: Faults) {
        let mut state = self.state.borrow_mut();
        state.receive.faults = receive;
        state.transmit.faults = transmit;
    }

    /// What happened so far.
    pub fn counters(&self) -> InjectorCounters {
        let state = self.state.borrow();
        InjectorCounters {
            receive: state.receive.counters,
            transmit: state.transmit.counters,
            no_page: state.no_page,
            refused: state.refused,
        }
    }
}
