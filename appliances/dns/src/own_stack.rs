//! Our own network stack between an interface and the services that are bound to it: one task.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;

use mirage_core::executor::{Executor, Sleep};
use mirage_core::{Frame, Instant, Netif, NetifError, TransmitReason};
use mirage_net::{Event, Stack};

/// How many frames are handled before other tasks and timers get a turn.
const BUDGET: usize = 64;

/// After an error of the interface nothing is tried for this long.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Moves frames between an interface and a stack, until the interface is gone.
///
/// Services that are bound to the stack answer meanwhile, each where its query lies. `on_event` gets what the stack has to
/// tell. The link's going down and coming up is told to the stack; what is to be transmitted while it is down is dropped.
pub async fn drive<N: Netif + ?Sized>(
    netif: &mut N,
    stack: &mut Stack<'_>,
    executor: &'static Executor,
    on_event: impl FnMut(Event),
) -> NetifError {
    let mut sleep = pin!(executor.sleep_until(Instant::FAR_FUTURE));
    let link_up = netif.link_up();
    let mut driver = Driver {
        netif,
        stack,
        executor,
        on_event,
        unsent: None,
        link_up,
        paused_until: Instant::ZERO,
        blocked: false,
    };
    poll_fn(|cx| driver.poll(cx, sleep.as_mut())).await
}

struct Driver<'d, 's, N: ?Sized, E> {
    netif: &'d mut N,
    stack: &'d mut Stack<'s>,
    executor: &'static Executor,
    on_event: E,
    /// A frame that the interface said to have room for, and then had not.
    unsent: Option<Frame>,
    /// As the stack was told.
    link_up: bool,
    /// After an error.
    paused_until: Instant,
    /// The stack was not asked for all that it has to send.
    blocked: bool,
}

/// The interface is gone.
struct Gone(NetifError);

impl<N: Netif + ?Sized, E: FnMut(Event)> Driver<'_, '_, N, E> {
    fn poll(&mut self, cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<NetifError> {
        for _ in 0..BUDGET {
            let now = self.executor.now();
            match self.step(cx, now) {
                Ok(Poll::Ready(())) => {}
                Ok(Poll::Pending) => {
                    // The interface has nothing: what is left is time.
                    let deadline = self.next_deadline(now);
                    if sleep.deadline() != deadline || sleep.is_elapsed() {
                        sleep.as_mut().reset(deadline);
                    }
                    if sleep.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                Err(Gone(error)) => return Poll::Ready(error),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Time, then one frame in, then all that is to be sent. Pending: no frame was there.
    fn step(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<Poll<()>, Gone> {
        self.look_at_link(now);
        if self.stack.poll_timeout().is_some_and(|at| at <= now) {
            self.stack.handle_timeout(now);
        }
        let mut received = Poll::Pending;
        if now >= self.paused_until {
            match self.netif.poll_receive(cx) {
                Poll::Ready(Ok(frame)) => {
                    self.stack.handle_frame(now, frame);
                    received = Poll::Ready(());
                }
                Poll::Ready(Err(error)) => {
                    self.handle_error(now, error)?;
                    // Asked again, now or after the pause: only a pending poll leaves a waker behind.
                    received = Poll::Ready(());
                }
                Poll::Pending => {}
            }
        }
        self.transmit(cx, now)?;
        while let Some(event) = self.stack.poll_event() {
            (self.on_event)(event);
        }
        Ok(received)
    }

    fn transmit(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Gone> {
        let mut sent = false;
        self.blocked = true;
        while now >= self.paused_until {
            match self.netif.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.handle_error(now, error)?;
                    if error == NetifError::LinkDown {
                        // Asked again: only a pending poll leaves a waker behind.
                        continue;
                    }
                    break;
                }
                Poll::Pending => break,
            }
            self.look_at_link(now);
            let Some(frame) = self.unsent.take().or_else(|| self.stack.poll_transmit(now)) else {
                self.blocked = false;
                break;
            };
            match self.netif.transmit(frame) {
                Ok(()) => sent = true,
                Err(refused) => match refused.reason {
                    TransmitReason::Full => {
                        // It had said that there was room: ask again a little later.
                        self.unsent = Some(refused.frame);
                        self.paused_until = now + ERROR_PAUSE;
                    }
                    TransmitReason::Netif(error) => self.handle_error(now, error)?,
                    // The interface counts what it refuses; the stack keeps to what it was told of the interface.
                    reason => log::debug!("a frame was refused: {reason}"),
                },
            }
        }
        if !self.link_up {
            // Nothing of this would be of use to anybody when the link comes up.
            self.unsent = None;
            while self.stack.poll_transmit(now).is_some() {}
        }
        if sent && let Err(error) = self.netif.flush() {
            self.handle_error(now, error)?;
        }
        Ok(())
    }

    fn look_at_link(&mut self, now: Instant) {
        let up = self.netif.link_up();
        if up != self.link_up {
            self.link_up = up;
            self.stack.handle_link(now, up);
            log::info!("the link is {}", if up { "up" } else { "down" });
        }
    }

    fn handle_error(&mut self, now: Instant, error: NetifError) -> Result<(), Gone> {
        match error {
            NetifError::Gone => Err(Gone(error)),
            NetifError::LinkDown => {
                self.look_at_link(now);
                Ok(())
            }
            error => {
                log::debug!("the interface reports: {error}");
                self.paused_until = now + ERROR_PAUSE;
                Ok(())
            }
        }
    }

    /// When to come back if the interface has no news.
    fn next_deadline(&self, now: Instant) -> Instant {
        if self.paused_until > now {
            return self.paused_until;
        }
        let stack = self.stack.poll_timeout().unwrap_or(Instant::FAR_FUTURE);
        if self.blocked {
            // The stack may have frames that are due and the interface no room: it wakes us when it has. Until then a deadline
            // that has passed is no reason to spin.
            return stack.max(now + ERROR_PAUSE);
        }
        stack
    }
}
