//! The thin asynchronous shell: a stack that a driver task and sockets share.
//!
//! Nothing here decides anything about packets; it moves frames, wakes tasks and sleeps.

mod dhcp;
mod driver;
mod tcp;

pub use self::dhcp::{
    DhcpInformError, DhcpNotice, DhcpServerNotice, ServeDhcpError, SharedDhcpClient, dhcp_inform,
    serve_dhcp,
};
pub use self::driver::{DriverCounters, RECEIVE_BUDGET, drive};
pub use self::tcp::{
    ListenerWakerSlot, StreamWakerSlot, TcpListener, TcpReader, TcpStream, TcpWakers, TcpWriter,
};

use core::cell::{Cell, RefCell, RefMut};
use core::fmt;
use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use managed::ManagedSlice;
use mirage_core::event::Event as Token;
use mirage_core::executor::Executor;
use mirage_core::{Clock, Frame, Instant, Netif, NetifError};

use self::driver::{Driver, Turn, rest};
use crate::{BindError, Datagram, Event, SendError, SocketError, Stack, UdpHandle, UdpOptions};

/// How long a sender waits for a page at most before it looks again. The driver wakes it earlier,
/// at the end of a turn after which there is more room; but a page that the application itself
/// gives back makes no turn.
const PAGE_WAIT: Duration = Duration::from_millis(5);

/// Storage for the wakers of one UDP socket: one task that receives, one that sends.
#[derive(Debug, Default)]
pub struct WakerSlot {
    receive: Option<Waker>,
    send: Option<Waker>,
    /// A socket that was dropped, and could not be closed then.
    dropped: Option<UdpHandle>,
}

impl WakerSlot {
    /// An empty slot.
    pub const EMPTY: Self = WakerSlot {
        receive: None,
        send: None,
        dropped: None,
    };
}

/// A [`Stack`] that tasks of one thread share: one [driver](Self::run), and any number of
/// sockets.
pub struct SharedStack<'a> {
    stack: RefCell<Stack<'a>>,
    clock: &'a dyn Clock,
    wakers: RefCell<ManagedSlice<'a, WakerSlot>>,
    tcp: TcpWakers<'a>,
    /// Somebody gave the stack something to transmit, or a new deadline.
    changed: Token,
    /// The stack has an event for its owner.
    events: Token,
    /// Senders wait for room or for a page.
    waiting: Cell<Option<Waiting>>,
    /// Some socket could not be closed when it was dropped.
    dropped: Cell<bool>,
    counters: Cell<DriverCounters>,
    /// When the driver's last turn was.
    turned: Cell<Instant>,
}

/// What senders wait for.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// When they look again at the latest.
    look: Instant,
    /// Free pages when they looked last.
    free: usize,
    /// Datagrams that waited for neighbours when they looked last.
    pending: usize,
}

impl Waiting {
    /// Whether there is more room than when they looked.
    fn has_room(&self, stack: &Stack<'_>) -> bool {
        stack.pool().free() > self.free || stack.pending() < self.pending
    }
}

impl fmt::Debug for SharedStack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStack").finish_non_exhaustive()
    }
}

impl<'a> SharedStack<'a> {
    /// Shares a stack; `wakers` has a slot for each of its UDP sockets
    /// ([`Stack::udp_capacity`]), a socket beyond them is refused. For TCP's see [`with_tcp`](Self::with_tcp).
    pub fn new(
        stack: Stack<'a>,
        clock: &'a dyn Clock,
        wakers: impl Into<ManagedSlice<'a, WakerSlot>>,
    ) -> Self {
        SharedStack {
            stack: RefCell::new(stack),
            clock,
            wakers: RefCell::new(wakers.into()),
            tcp: TcpWakers::none(),
            changed: Token::new(),
            events: Token::new(),
            waiting: Cell::new(None),
            dropped: Cell::new(false),
            counters: Cell::new(DriverCounters::default()),
            turned: Cell::new(Instant::ZERO),
        }
    }

    /// The same with TCP: `wakers` has slots for the stack's connections and listeners.
    pub fn with_tcp(mut self, wakers: TcpWakers<'a>) -> Self {
        self.tcp = wakers;
        self
    }

    /// Calls a mutator of the stack, with the time, and lets the driver look at what came of it.
    ///
    /// # Panics
    /// When it is called inside of such a call, or by a service that the stack has called: both
    /// have the stack already. [`try_with`](Self::try_with) says so instead, and so does
    /// everything else here.
    pub fn with<R>(&self, call: impl FnOnce(&mut Stack<'a>, Instant) -> R) -> R {
        match self.try_with(call) {
            Some(result) => result,
            None => panic!("SharedStack::with was called while the stack was in use"),
        }
    }

    /// As [`with`](Self::with), but none, and nothing is called, while the stack is in use: inside
    /// of another call, or in a service.
    pub fn try_with<R>(&self, call: impl FnOnce(&mut Stack<'a>, Instant) -> R) -> Option<R> {
        let result = call(&mut *self.stack.try_borrow_mut().ok()?, self.clock.now());
        self.changed.set();
        Some(result)
    }

    /// What the driver met at its device.
    pub fn driver_counters(&self) -> DriverCounters {
        self.counters.get()
    }

    /// The next event of the stack; one task may wait for it.
    pub async fn event(&self) -> Event {
        loop {
            match self
                .stack
                .try_borrow_mut()
                .map(|mut stack| stack.poll_event())
            {
                Ok(Some(event)) => return event,
                Ok(None) => {}
                Err(_) => {
                    again_later().await;
                    continue;
                }
            }
            self.events.wait().await;
        }
    }

    /// Opens a UDP socket, which is closed when it is dropped.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn udp_bind(&self, options: UdpOptions) -> Result<UdpSocket<'_, 'a>, BindError> {
        let mut stack = self.stack.try_borrow_mut().map_err(|_| BindError::InUse)?;
        self.close_dropped(&mut stack, self.clock.now());
        let handle = stack.udp_bind(options)?;
        if handle.index() >= self.wakers.borrow().len() {
            stack.udp_close(handle);
            return Err(BindError::TableFull);
        }
        Ok(UdpSocket {
            shared: self,
            handle,
            #[cfg(feature = "edge-nal")]
            asked: Cell::new(None),
        })
    }

    /// Drives a device as [`drive`] does, and wakes who waits at the stack's sockets. One task runs it, until the device is
    /// gone.
    pub async fn run<N: Netif + ?Sized>(
        &self,
        netif: &mut N,
        executor: &'static Executor,
    ) -> NetifError {
        let mut sleep = pin!(executor.sleep_until(Instant::FAR_FUTURE));
        let mut driver = Driver::new(self.counters.get(), true);
        poll_fn(|context| {
            loop {
                // What has changed until now is looked at in this turn.
                self.changed.take();
                match self.turn(netif, &mut driver, context) {
                    Err(error) => return Poll::Ready(error),
                    Ok(Turn { again: true, .. }) => {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Ok(_) => {}
                }
                if self.changed.poll_wait(context).is_ready() {
                    continue;
                }
                let deadline = self.stack.borrow().poll_timeout();
                let look = self.waiting.get().map(|waiting| waiting.look);
                let deadline = driver.deadline(deadline, self.clock.now());
                let deadline = deadline.into_iter().chain(look).min();
                if rest(sleep.as_mut(), deadline, context).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    fn turn<N: Netif + ?Sized>(
        &self,
        netif: &mut N,
        driver: &mut Driver,
        context: &mut Context<'_>,
    ) -> Result<Turn, NetifError> {
        let now = self.clock.now();
        let Ok(mut stack) = self.stack.try_borrow_mut() else {
            return Ok(Turn {
                again: true,
                sent: false,
            });
        };
        self.turned.set(now);
        self.close_dropped(&mut stack, now);
        let turn = driver.turn(netif, &mut stack, now, context)?;
        self.counters.set(driver.counters());
        self.wake(stack, now, turn.sent);
        Ok(turn)
    }

    /// Closes the sockets that were dropped while the stack was in use.
    fn close_dropped(&self, stack: &mut Stack<'a>, now: Instant) {
        if !self.dropped.replace(false) {
            return;
        }
        for slot in self.wakers.borrow_mut().iter_mut() {
            if let Some(handle) = slot.dropped.take() {
                stack.udp_close(handle);
            }
        }
        self.tcp.close_dropped(stack, now);
    }

    /// Wakes who waits for what a turn has brought. A waker may drop a task and its sockets: no
    /// slot is borrowed meanwhile.
    fn wake(&self, mut stack: RefMut<'_, Stack<'a>>, now: Instant, sent: bool) {
        while let Some(handle) = stack.poll_udp() {
            let waker = self.take_waker(handle.index(), |slot| &mut slot.receive);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        self.tcp.wake(&mut stack);
        if stack.has_event() {
            self.events.set();
        }
        // Without progress a sender that looks would only wake the driver, and that one it.
        let progress = |waiting: Waiting| sent || waiting.look <= now || waiting.has_room(&stack);
        if self.waiting.get().is_some_and(progress) {
            self.waiting.set(None);
            for index in 0..stack.udp_capacity() {
                if let Some(waker) = self.take_waker(index, |slot| &mut slot.send) {
                    waker.wake();
                }
            }
        }
    }

    fn take_waker(
        &self,
        index: usize,
        which: fn(&mut WakerSlot) -> &mut Option<Waker>,
    ) -> Option<Waker> {
        which(self.wakers.borrow_mut().get_mut(index)?).take()
    }
}

/// A UDP socket of a [`SharedStack`]; dropped, it is closed.
///
/// One task may wait to receive and one to send at a time.
#[derive(Debug)]
pub struct UdpSocket<'s, 'a> {
    shared: &'s SharedStack<'a>,
    handle: UdpHandle,
    /// Who sent the last datagram that `edge-nal`'s trait received, and to which address: its
    /// traits have no place for the latter.
    #[cfg(feature = "edge-nal")]
    pub(crate) asked: Cell<Option<(SocketAddr, IpAddr)>>,
}

impl UdpSocket<'_, '_> {
    /// Local address and port; none while the stack is in use (see [`SharedStack::with`]).
    pub fn local(&self) -> Option<SocketAddr> {
        let stack = self.shared.stack.try_borrow().ok()?;
        stack.udp_local(self.handle)
    }

    /// Receives a datagram in the pages that it came in: no copy.
    ///
    /// # Errors
    /// [`SocketError`], for a connected socket: what became of a datagram that it had sent.
    pub async fn receive(&self) -> Result<Datagram, SocketError> {
        poll_fn(|context| {
            let Ok(mut stack) = self.shared.stack.try_borrow_mut() else {
                return later(context);
            };
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
            let Ok(stack) = self.shared.stack.try_borrow() else {
                return later(context);
            };
            if stack.udp_readable(self.handle) {
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
        self.send_chosen(remote, payload, |_| None).await
    }

    /// As [`send`](Self::send), from a chosen address of ours: an answer comes from the address
    /// that was asked, [`Datagram::destination`].
    ///
    /// # Errors
    /// As [`send`](Self::send); [`SendError::NoAddress`] if `source` is not ours.
    pub async fn send_from(
        &self,
        remote: Option<SocketAddr>,
        source: IpAddr,
        payload: &[u8],
    ) -> Result<(), SendError> {
        self.send_chosen(remote, payload, |_| Some(source)).await
    }

    /// Sends from the address that `source` chooses at each attempt; without one, from the
    /// socket's or the route's.
    pub(crate) async fn send_chosen(
        &self,
        remote: Option<SocketAddr>,
        payload: &[u8],
        source: impl Fn(&Stack<'_>) -> Option<IpAddr>,
    ) -> Result<(), SendError> {
        poll_fn(|context| {
            let now = self.shared.clock.now();
            let Ok(mut stack) = self.shared.stack.try_borrow_mut() else {
                return later(context);
            };
            let source = source(&stack);
            match stack.udp_send_from(now, self.handle, remote, source, payload) {
                Err(error) if error.is_temporary() => {
                    let others = self.shared.waiting.get();
                    let (free, pending) = (stack.pool().free(), stack.pending());
                    self.shared.waiting.set(Some(Waiting {
                        look: others.map_or(now.saturating_add(PAGE_WAIT), |w| w.look),
                        free: others.map_or(free, |w| w.free.min(free)),
                        pending: others.map_or(pending, |w| w.pending.max(pending)),
                    }));
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
            .try_with(|stack, now| stack.udp_send_frame(now, self.handle, remote, source, payload))
            .unwrap_or(Err(SendError::InUse))
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
        let closed = match self.shared.stack.try_borrow_mut() {
            Ok(mut stack) => stack.udp_close(self.handle),
            Err(_) => false,
        };
        if let Some(slot) = self.shared.wakers.borrow_mut().get_mut(self.handle.index()) {
            *slot = WakerSlot::EMPTY;
            // Dropped inside of `with`: the next turn closes it.
            if !closed {
                slot.dropped = Some(self.handle);
                self.shared.dropped.set(true);
                self.shared.changed.set();
            }
        }
    }
}

/// The stack is in use: whoever polls inside of [`SharedStack::with`] is polled again after it.
fn later<T>(context: &mut Context<'_>) -> Poll<T> {
    context.waker().wake_by_ref();
    Poll::Pending
}

/// Waits until it is polled once more.
async fn again_later() {
    let mut polled = false;
    poll_fn(|context| {
        if core::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        later(context)
    })
    .await;
}
