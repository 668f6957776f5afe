//! What moves frames between a device and a stack: the one driver, for stacks that are shared and for those that are not.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;

use mirage_core::executor::{Executor, Sleep};
use mirage_core::{Frame, Instant, Netif, NetifError, TransmitReason};

use crate::{Event, Stack};

/// Frames that the driver takes from the device before timers and other tasks run (Linux: 64).
pub const RECEIVE_BUDGET: usize = 64;

/// Turns for which TCP's segments may wait, while the device has more frames and until the tasks that received ones wake have run: for
/// one acknowledgement then says all of it, with the window that is open by then, and goes with what those tasks send (RFC 9293
/// §3.8.6.3, RFC 1122 §4.2.3.2). What TCP may not say later is sent at once nevertheless.
const HOLD: u8 = 4;

/// How long the driver leaves a device alone after an error, and, while it can't transmit what is
/// due, waits before it looks again.
const DEVICE_PAUSE: Duration = Duration::from_millis(20);

/// What a driver has met at its device.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverCounters {
    /// Errors that the device reported when it received or transmitted.
    pub device_errors: u64,
    /// Frames that were to be sent while the link was down: dropped.
    pub link_down: u64,
    /// Frames that the device refused for good.
    pub transmit_refused: u64,
    /// Turns that ended because the receive budget was spent.
    pub budget_spent: u64,
    /// Notifications of the device: one for the frames of a turn, and one more where a peer that had sent half of its window was told
    /// first of the window that is open now.
    pub flushes: u64,
}

/// Moves frames between a device and a stack that nobody shares, until the device is gone: for services that answer where
/// their question lies ([`UdpService`](crate::UdpService)). `on_event` gets what the stack has to tell.
///
/// In one turn it takes at most [`RECEIVE_BUDGET`] frames, transmits answers after each while the device has room, and TCP's segments
/// after all, keeps the stack's deadlines, and notifies the device, as a rule once; then other tasks run. A peer that has sent half of
/// its window ends the turn before that. An error of the device pauses it for a moment, and no more.
/// The link's going down and coming up is told to the stack; what is to be sent while it is down is dropped and counted.
pub async fn drive<N: Netif + ?Sized>(
    netif: &mut N,
    stack: &mut Stack<'_>,
    executor: &'static Executor,
    mut on_event: impl FnMut(Event),
) -> NetifError {
    let mut sleep = pin!(executor.sleep_until(Instant::FAR_FUTURE));
    let mut driver = Driver::new(DriverCounters::default(), false);
    poll_fn(|context| {
        let now = executor.turn_time();
        let turn = driver.turn(netif, stack, now, context);
        while let Some(event) = stack.poll_event() {
            on_event(event);
        }
        let again = match turn {
            Err(error) => return Poll::Ready(error),
            Ok(turn) => turn.again,
        };
        // What is due stays due within this turn of the executor: in the next.
        if again
            || rest(
                sleep.as_mut(),
                driver.deadline(stack.poll_timeout(), now),
                context,
            )
            .is_ready()
        {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await
}

/// Waits for the deadline, if there is one. Ready: it has come.
pub(super) fn rest(
    mut sleep: Pin<&mut Sleep>,
    deadline: Option<Instant>,
    context: &mut Context<'_>,
) -> Poll<()> {
    let Some(deadline) = deadline else {
        // No timer at all: one that never fires would still keep a platform awake.
        sleep.reset(Instant::FAR_FUTURE);
        return Poll::Pending;
    };
    if sleep.deadline() != deadline || sleep.is_elapsed() {
        sleep.as_mut().reset(deadline);
    }
    sleep.poll(context)
}

/// What lies between a device and a stack from one turn to the next.
pub(super) struct Driver {
    /// A frame that the device said to have room for, and then had not.
    refused: Option<Frame>,
    /// The device is left alone until then.
    paused: Option<Instant>,
    /// The device did not take all that there was to transmit.
    blocked: bool,
    /// Tasks have connections of the stack, and are woken after each turn.
    has_owners: bool,
    /// Turns since TCP's segments went out.
    held: u8,
    /// Turns that it takes until the tasks that were woken have run.
    owners_run: u8,
    counters: DriverCounters,
}

/// How a turn ended.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    /// The budget is spent: others first, then another turn.
    pub(super) again: bool,
    /// Frames were given to the device.
    pub(super) sent: bool,
}

impl Driver {
    pub(super) const fn new(counters: DriverCounters, has_owners: bool) -> Self {
        Driver {
            refused: None,
            paused: None,
            blocked: false,
            has_owners,
            held: 0,
            owners_run: 0,
            counters,
        }
    }

    pub(super) const fn counters(&self) -> DriverCounters {
        self.counters
    }

    /// When the next turn is due if the device has no news, given the stack's deadline.
    pub(super) fn deadline(&self, stack: Option<Instant>, now: Instant) -> Option<Instant> {
        // What is due and can't be sent stays due: that is no reason to look at once.
        let again = now.saturating_add(DEVICE_PAUSE);
        let due = |at: Instant| if self.blocked { at.max(again) } else { at };
        stack.map(due).into_iter().chain(self.paused).min()
    }

    /// Receives, keeps the stack's deadlines and transmits, all at `now`.
    ///
    /// # Errors
    /// [`NetifError::Gone`], and no other.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub(super) fn turn<N: Netif + ?Sized>(
        &mut self,
        netif: &mut N,
        stack: &mut Stack<'_>,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Result<Turn, NetifError> {
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
        }
        look_at_link(netif, stack, now);
        let mut turn = Turn {
            again: true,
            sent: false,
        };
        // Owners have run since then: what they have read, those may send who have sent half of what they may.
        if stack.is_pressing() && self.owners_run <= 1 {
            self.held = 0;
            turn.sent = self.transmit(netif, stack, now, context)?;
            if turn.sent {
                self.flush(netif, now)?;
            }
        }
        let mut unflushed = false;
        let mut received = 0;
        while received < RECEIVE_BUDGET {
            if self.paused.is_some() {
                turn.again = false;
                break;
            }
            match netif.poll_receive(context) {
                Poll::Ready(Ok(frame)) => {
                    received += 1;
                    stack.handle_frame(now, frame);
                    // Segments of TCP wait for the others that have come: they are acknowledged together, as where a device or a
                    // system merges them before anybody sees them.
                    if stack.is_urgent() {
                        unflushed |= self.transmit(netif, stack, now, context)?;
                    }
                    // But who has sent half of what it may hears of it before the other half is looked at, with the window that is open
                    // once its half was read: else it stands still until all is done, and then we do until more comes. Where the device
                    // had no room nobody would hear of it sooner.
                    if stack.is_pressing() && !self.blocked {
                        break;
                    }
                }
                Poll::Ready(Err(error)) => {
                    received += 1;
                    self.failed(error, now)?;
                }
                Poll::Pending => {
                    turn.again = false;
                    break;
                }
            }
        }
        self.counters.budget_spent += u64::from(received == RECEIVE_BUDGET);
        look_at_link(netif, stack, now);
        stack.handle_timeout(now);
        if self.holds(stack, turn.again) {
            turn.again = true;
        } else {
            unflushed |= self.transmit(netif, stack, now, context)?;
        }
        if unflushed {
            turn.sent = true;
            self.flush(netif, now)?;
        }
        Ok(turn)
    }

    /// Notifies the device of what it was given.
    fn flush<N: Netif + ?Sized>(&mut self, netif: &mut N, now: Instant) -> Result<(), NetifError> {
        self.counters.flushes += 1;
        match netif.flush() {
            Ok(()) => Ok(()),
            Err(error) => self.failed(error, now),
        }
    }

    /// Whether TCP's segments wait for the next turn, which is to come at once; `more`: the device may have more frames.
    fn holds(&mut self, stack: &Stack<'_>, more: bool) -> bool {
        let owners_run = self.owners_run.saturating_sub(1);
        self.owners_run = owners_run.max(stack.tcp_owners_run());
        let worth_it = more || self.owners_run > 0;
        let holds = self.has_owners
            && worth_it
            && self.held < HOLD
            && self.paused.is_none()
            && !stack.is_urgent();
        self.held = if holds { self.held + 1 } else { 0 };
        holds
    }

    /// Gives the device what the stack has, while it has room. Returns whether it took any.
    fn transmit<N: Netif + ?Sized>(
        &mut self,
        netif: &mut N,
        stack: &mut Stack<'_>,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Result<bool, NetifError> {
        let mut sent = false;
        self.blocked = true;
        while netif.link_up() && self.paused.is_none() {
            match netif.poll_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.failed(error, now)?;
                    break;
                }
                Poll::Pending => break,
            }
            let Some(frame) = self.refused.take().or_else(|| stack.poll_transmit(now)) else {
                self.blocked = false;
                break;
            };
            match netif.transmit(frame) {
                Ok(()) => sent = true,
                Err(error) => match error.reason {
                    TransmitReason::Full => {
                        // It had said that there was room: ask again a little later.
                        self.refused = Some(error.frame);
                        self.paused = Some(now.saturating_add(DEVICE_PAUSE));
                    }
                    TransmitReason::Netif(error) => self.failed(error, now)?,
                    // The device counts why; the stack keeps to what it was told of the device.
                    _ => self.counters.transmit_refused += 1,
                },
            }
        }
        if !netif.link_up() {
            // Nothing of this would be of use to anybody when the link comes up.
            self.counters.link_down += u64::from(self.refused.take().is_some());
            while stack.poll_transmit(now).is_some() {
                self.counters.link_down += 1;
            }
        }
        Ok(sent)
    }

    fn failed(&mut self, error: NetifError, now: Instant) -> Result<(), NetifError> {
        if error == NetifError::Gone {
            return Err(error);
        }
        self.counters.device_errors += 1;
        self.paused = Some(now.saturating_add(DEVICE_PAUSE));
        Ok(())
    }
}

fn look_at_link<N: Netif + ?Sized>(netif: &N, stack: &mut Stack<'_>, now: Instant) {
    let up = netif.link_up();
    let offloads = netif.offloads();
    if offloads != stack.offloads() {
        stack.set_offloads(offloads);
    }
    if up != stack.link_up() {
        stack.handle_link(now, up);
    }
}
