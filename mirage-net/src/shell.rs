//! The thin asynchronous shell: a stack that a driver task and sockets share.
//!
//! Nothing here decides anything about packets; it moves frames, wakes tasks and sleeps.

use core::cell::{Cell, RefCell, RefMut};
use core::fmt;
use core::future::{Future, poll_fn};
use core::net::{IpAddr, SocketAddr};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use managed::ManagedSlice;
use mirage_core::event::Event as Token;
use mirage_core::executor::Executor;
use mirage_core::{Clock, Frame, Instant, Netif, NetifError, TransmitReason};

use crate::{BindError, Datagram, Event, SendError, SocketError, Stack, UdpHandle, UdpOptions};

/// Frames that the driver takes from the device before timers and other tasks run (Linux: 64).
pub const RECEIVE_BUDGET: usize = 64;

/// How long a sender waits for a page at most before it looks again: no device tells of one.
const PAGE_WAIT: Duration = Duration::from_millis(5);

/// Storage for the wakers of one socket: one task that receives, one that sends.
#[derive(Debug, Default)]
pub struct WakerSlot {
    receive: Option<Waker>,
    send: Option<Waker>,
}

impl WakerSlot {
    /// An empty slot.
    pub const EMPTY: Self = WakerSlot {
        receive: None,
        send: None,
    };
}

/// What a driver has met at its device.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverCounters {
    /// Errors that the device reported when it received or transmitted.
    pub device_errors: u64,
    /// Frames that the device refused for good.
    pub transmit_refused: u64,
    /// Turns that ended because the receive budget was spent.
    pub budget_spent: u64,
    /// Notifications of the device, one for a batch of frames.
    pub flushes: u64,
}

/// A [`Stack`] that tasks of one thread share: one [driver](Self::run), and any number of
/// sockets.
pub struct SharedStack<'a> {
    stack: RefCell<Stack<'a>>,
    clock: &'a dyn Clock,
    wakers: RefCell<ManagedSlice<'a, WakerSlot>>,
    /// Somebody gave the stack something to transmit, or a new deadline.
    changed: Token,
    /// The stack has an event for its owner.
    events: Token,
    /// Senders wait for room or for a page; when they look again at the latest.
    senders_look: Cell<Option<Instant>>,
    counters: Cell<DriverCounters>,
}

impl fmt::Debug for SharedStack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStack").finish_non_exhaustive()
    }
}

impl<'a> SharedStack<'a> {
    /// Shares a stack; `wakers` has a slot for each of its sockets
    /// ([`Stack::udp_capacity`]), a socket beyond them is refused.
    pub fn new(
        stack: Stack<'a>,
        clock: &'a dyn Clock,
        wakers: impl Into<ManagedSlice<'a, WakerSlot>>,
    ) -> Self {
        SharedStack {
            stack: RefCell::new(stack),
            clock,
            wakers: RefCell::new(wakers.into()),
            changed: Token::new(),
            events: Token::new(),
            senders_look: Cell::new(None),
            counters: Cell::new(DriverCounters::default()),
        }
    }

    /// Calls a mutator of the stack, with the time, and lets the driver look at what came of it.
    pub fn with<R>(&self, call: impl FnOnce(&mut Stack<'a>, Instant) -> R) -> R {
        let result = call(&mut self.stack.borrow_mut(), self.clock.now());
        self.changed.set();
        result
    }

    /// What the driver met at its device.
    pub fn driver_counters(&self) -> DriverCounters {
        self.counters.get()
    }

    /// The next event of the stack; one task may wait for it.
    pub async fn event(&self) -> Event {
        loop {
            if let Some(event) = self.stack.borrow_mut().poll_event() {
                return event;
            }
            self.events.wait().await;
        }
    }

    /// Opens a UDP socket, which is closed when it is dropped.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn udp_bind(&self, options: UdpOptions) -> Result<UdpSocket<'_, 'a>, BindError> {
        let handle = self.stack.borrow_mut().udp_bind(options)?;
        if handle.index() >= self.wakers.borrow().len() {
            self.stack.borrow_mut().udp_close(handle);
            return Err(BindError::TableFull);
        }
        Ok(UdpSocket {
            shared: self,
            handle,
        })
    }

    /// Drives a device: receives, transmits, and keeps the stack's deadlines, until the device
    /// is gone. One task runs it.
    ///
    /// In one turn it takes at most [`RECEIVE_BUDGET`] frames, transmits while the device has
    /// room, and notifies the device once.
    pub async fn run<N: Netif + ?Sized>(
        &self,
        netif: &mut N,
        executor: &'static Executor,
    ) -> NetifError {
        let mut sleep = pin!(executor.sleep_until(Instant::FAR_FUTURE));
        let mut refused: Option<Frame> = None;
        poll_fn(|context| {
            loop {
                match self.turn(netif, &mut refused, context) {
                    Err(error) => return Poll::Ready(error),
                    Ok(Turn::Again) => {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Ok(Turn::Done) => {}
                }
                if self.changed.poll_wait(context).is_ready() {
                    continue;
                }
                let deadline = self.stack.borrow().poll_timeout();
                let deadline = deadline.into_iter().chain(self.senders_look.get()).min();
                let Some(deadline) = deadline else {
                    // No timer at all: one that never fires would still keep a platform awake.
                    sleep.as_mut().reset(Instant::FAR_FUTURE);
                    return Poll::Pending;
                };
                if sleep.deadline() != deadline || sleep.is_elapsed() {
                    sleep.as_mut().reset(deadline);
                }
                if sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    fn turn<N: Netif + ?Sized>(
        &self,
        netif: &mut N,
        refused: &mut Option<Frame>,
        context: &mut Context<'_>,
    ) -> Result<Turn, NetifError> {
        let now = self.clock.now();
        let mut counters = self.counters.get();
        let mut stack = self.stack.borrow_mut();
        let link_up = netif.link_up();
        if link_up != stack.link_up() {
            stack.handle_link(now, link_up);
        }
        let mut turn = Turn::Again;
        for _ in 0..RECEIVE_BUDGET {
            match netif.poll_receive(context) {
                Poll::Ready(Ok(frame)) => stack.handle_frame(now, frame),
                Poll::Ready(Err(NetifError::Gone)) => return Err(NetifError::Gone),
                Poll::Ready(Err(_)) => counters.device_errors += 1,
                Poll::Pending => {
                    turn = Turn::Done;
                    break;
                }
            }
        }
        counters.budget_spent += u64::from(matches!(turn, Turn::Again));
        stack.handle_timeout(now);
        let mut sent = false;
        while netif.link_up() {
            match netif.poll_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(NetifError::Gone)) => return Err(NetifError::Gone),
                Poll::Ready(Err(_)) => {
                    counters.device_errors += 1;
                    turn = Turn::Again;
                    break;
                }
                Poll::Pending => break,
            }
            let Some(frame) = refused.take().or_else(|| stack.poll_transmit(now)) else {
                break;
            };
            match netif.transmit(frame) {
                Ok(()) => sent = true,
                Err(error) => match error.reason {
                    TransmitReason::Full => {
                        *refused = Some(error.frame);
                        break;
                    }
                    TransmitReason::Netif(NetifError::Gone) => return Err(NetifError::Gone),
                    _ => counters.transmit_refused += 1,
                },
            }
        }
        if sent {
            counters.flushes += 1;
            match netif.flush() {
                Ok(()) => {}
                Err(NetifError::Gone) => return Err(NetifError::Gone),
                Err(_) => counters.device_errors += 1,
            }
        }
        self.counters.set(counters);
        self.wake(stack, now, sent);
        Ok(turn)
    }

    /// Wakes who waits for what a turn has brought.
    fn wake(&self, mut stack: RefMut<'_, Stack<'a>>, now: Instant, sent: bool) {
        let mut wakers = self.wakers.borrow_mut();
        while let Some(handle) = stack.poll_udp() {
            if let Some(waker) = wakers
                .get_mut(handle.index())
                .and_then(|slot| slot.receive.take())
            {
                waker.wake();
            }
        }
        if stack.has_event() {
            self.events.set();
        }
        // Without progress a sender that looks would only wake the driver, and that one it.
        let look = self.senders_look.get();
        if look.is_some_and(|look| sent || look <= now) {
            self.senders_look.set(None);
            for slot in wakers.iter_mut() {
                if let Some(waker) = slot.send.take() {
                    waker.wake();
                }
            }
        }
    }
}

enum Turn {
    /// The device has no more.
    Done,
    /// The budget is spent: others first, then another turn.
    Again,
}

/// A UDP socket of a [`SharedStack`]; dropped, it is closed.
///
/// One task may wait to receive and one to send at a time.
#[derive(Debug)]
pub struct UdpSocket<'s, 'a> {
    shared: &'s SharedStack<'a>,
    handle: UdpHandle,
}

impl UdpSocket<'_, '_> {
    /// Local address and port.
    pub fn local(&self) -> Option<SocketAddr> {
        self.shared.stack.borrow().udp_local(self.handle)
    }

    /// Receives a datagram in the pages that it came in: no copy.
    ///
    /// # Errors
    /// [`SocketError`], for a connected socket: what became of a datagram that it had sent.
    pub async fn receive(&self) -> Result<Datagram, SocketError> {
        poll_fn(|context| {
            let mut stack = self.shared.stack.borrow_mut();
            match stack.udp_receive(self.handle) {
                Ok(Some(datagram)) => Poll::Ready(Ok(datagram)),
                Ok(None) => {
                    self.wait(context, |slot| &mut slot.receive);
                    Poll::Pending
                }
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Waits until [`receive`](Self::receive) would give something at once.
    pub async fn readable(&self) {
        poll_fn(|context| {
            if self.shared.stack.borrow().udp_readable(self.handle) {
                return Poll::Ready(());
            }
            self.wait(context, |slot| &mut slot.receive);
            Poll::Pending
        })
        .await;
    }

    /// Sends a copy of `payload`, made in the pages that are sent; waits while the queue is full
    /// or pages are short.
    ///
    /// # Errors
    /// [`SendError`], but none that is [temporary](SendError::is_temporary).
    pub async fn send(&self, remote: Option<SocketAddr>, payload: &[u8]) -> Result<(), SendError> {
        poll_fn(|context| {
            let now = self.shared.clock.now();
            let mut stack = self.shared.stack.borrow_mut();
            match stack.udp_send(now, self.handle, remote, payload) {
                Err(error) if error.is_temporary() => {
                    let look = self.shared.senders_look.get();
                    let look = look.unwrap_or(now.saturating_add(PAGE_WAIT));
                    self.shared.senders_look.set(Some(look));
                    self.wait(context, |slot| &mut slot.send);
                    // The driver keeps the time after which a look is worth it.
                    self.shared.changed.set();
                    Poll::Pending
                }
                result => {
                    self.shared.changed.set();
                    Poll::Ready(result)
                }
            }
        })
        .await
    }

    /// Sends a chain of segments, from a chosen address of ours if one is given, without a copy
    /// where the device takes the chain. It does not wait.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn try_send_frame(
        &self,
        remote: Option<SocketAddr>,
        source: Option<IpAddr>,
        payload: Frame,
    ) -> Result<(), SendError> {
        self.shared
            .with(|stack, now| stack.udp_send_frame(now, self.handle, remote, source, payload))
    }

    fn wait(&self, context: &mut Context<'_>, which: fn(&mut WakerSlot) -> &mut Option<Waker>) {
        let mut wakers = self.shared.wakers.borrow_mut();
        if let Some(slot) = wakers.get_mut(self.handle.index()) {
            let waker = which(slot);
            match waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
        }
    }
}

impl Drop for UdpSocket<'_, '_> {
    fn drop(&mut self) {
        // A socket that is dropped while the stack is borrowed can't be: both are on one thread,
        // and no borrow is held across a call to its owner.
        if let Ok(mut stack) = self.shared.stack.try_borrow_mut() {
            stack.udp_close(self.handle);
        }
        if let Ok(mut wakers) = self.shared.wakers.try_borrow_mut()
            && let Some(slot) = wakers.get_mut(self.handle.index())
        {
            *slot = WakerSlot::EMPTY;
        }
    }
}
