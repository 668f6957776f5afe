//! Bounded channels between tasks of one executor: no lock, no allocation.
//!
//! | | |
//! |---|---|
//! | [`Channel`] | a queue of up to `N` values; any number of senders, and of receivers, of which each value reaches one |
//! | [`Channel::split`] | a [`Sender`] and a [`Receiver`] that close the channel when they go |
//! | [`Signal`] | room for one value, where a newer one takes the place of an older |
//!
//! A one-shot is a `Channel<T, 1>`, split.
//!
//! ```
//! use mirage_core::channel::{Channel, TryReceiveError};
//!
//! let channel = Channel::<u32, 2>::new();
//! let (sender, receiver) = Channel::split(&channel);
//! sender.try_send(1)?;
//! sender.try_send(2)?;
//! assert!(sender.try_send(3).is_err()); // full: refuses, and gives the value back
//! drop(sender);
//! assert_eq!(receiver.try_receive(), Ok(1));
//! assert_eq!(receiver.try_receive(), Ok(2)); // what was sent arrives
//! assert_eq!(receiver.try_receive(), Err(TryReceiveError::Closed));
//! # Ok::<(), mirage_core::channel::TrySendError<u32>>(())
//! ```

use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::poll_fn;
use core::marker::PhantomData;
use core::ops::Deref;
use core::pin::pin;

use heapless::Deque;

use crate::executor::WaitQueue;

/// A queue of up to `N` values between tasks of one thread.
///
/// Shared by reference: `&'static`, in an `Rc`, or borrowed inside one task. Full is the sender's to see:
/// [`send`](Self::send) waits, first come first served, [`try_send`](Self::try_send) refuses.
pub struct Channel<T, const N: usize> {
    values: RefCell<Deque<T, N>>,
    /// Free places that belong to senders that were notified and have not run yet.
    reserved: Cell<usize>,
    senders: WaitQueue,
    receivers: WaitQueue,
    closed: Cell<bool>,
    /// Live [`Sender`]s.
    handles: Cell<usize>,
}

impl<T, const N: usize> Channel<T, N> {
    /// An empty channel. `N` is at least 1: anything less doesn't compile.
    pub const fn new() -> Self {
        const { assert!(N > 0, "a channel needs room for a value") };
        Self {
            values: RefCell::new(Deque::new()),
            reserved: Cell::new(0),
            senders: WaitQueue::new(),
            receivers: WaitQueue::new(),
            closed: Cell::new(false),
            handles: Cell::new(0),
        }
    }

    /// Sends without waiting.
    ///
    /// # Errors
    ///
    /// Gives the value back when the channel is closed, or has no place that isn't promised to a sender who waits.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        if self.is_closed() {
            Err(TrySendError::Closed(value))
        } else if self.is_full() {
            Err(TrySendError::Full(value))
        } else {
            self.push(value).map_err(TrySendError::Full)
        }
    }

    /// Sends, waiting for a place if there is none. Dropping the future drops the value, if it was not sent yet.
    ///
    /// # Errors
    ///
    /// Gives the value back when the channel is closed.
    pub async fn send(&self, value: T) -> Result<(), Closed<T>> {
        if !self.is_closed() && self.is_full() {
            let lost = || {
                if !self.is_closed() {
                    self.reserved.set(self.reserved.get() - 1);
                    self.offer_place();
                }
            };
            let mut waiting = pin!(self.senders.wait(lost));
            poll_fn(|context| waiting.as_mut().poll(context.waker())).await;
            // Notified with a promise, or by `close`, after which promises are void.
            if !self.is_closed() {
                self.reserved.set(self.reserved.get() - 1);
            }
        }
        if self.is_closed() {
            return Err(Closed(value));
        }
        self.push(value).map_err(Closed)
    }

    /// Receives without waiting.
    ///
    /// # Errors
    ///
    /// Says whether the channel is empty for now or for ever.
    pub fn try_receive(&self) -> Result<T, TryReceiveError> {
        match self.pop() {
            Some(value) => Ok(value),
            None if self.is_closed() => Err(TryReceiveError::Closed),
            None => Err(TryReceiveError::Empty),
        }
    }

    /// Receives, waiting for a value if there is none; `None` when the channel is closed and empty. Dropping the future
    /// loses no value.
    pub async fn receive(&self) -> Option<T> {
        // A notification in vain is passed on, so that no value lies there while somebody waits.
        let lost = || {
            if !self.is_empty() {
                self.receivers.notify_first();
            }
        };
        let mut waiting = pin!(self.receivers.wait(lost));
        loop {
            match self.try_receive() {
                Ok(value) => return Some(value),
                Err(TryReceiveError::Closed) => return None,
                Err(TryReceiveError::Empty) => {}
            }
            poll_fn(|context| waiting.as_mut().poll(context.waker())).await;
        }
    }

    /// Refuses values from now on. Those in the channel can still be received.
    pub fn close(&self) {
        if !self.closed.replace(true) {
            self.senders.notify_all();
            self.receivers.notify_all();
        }
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// The number of values in the channel.
    pub fn len(&self) -> usize {
        self.values.borrow().len()
    }

    /// Whether no value is in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`try_send`](Self::try_send) has no place: the free ones, if any, are promised.
    pub fn is_full(&self) -> bool {
        self.len() + self.reserved.get() >= N
    }

    /// `N`.
    pub const fn capacity(&self) -> usize {
        N
    }

    /// Makes a sender, which can be cloned, and a receiver. The channel closes when the last sender or the receiver is
    /// dropped. `channel` is a reference, an `Rc`, or anything else that leads to the channel.
    pub fn split<C>(channel: C) -> (Sender<T, N, C>, Receiver<T, N, C>)
    where
        C: Deref<Target = Self> + Clone,
    {
        (
            Sender::new(channel.clone()),
            Receiver {
                channel,
                values: PhantomData,
            },
        )
    }

    fn push(&self, value: T) -> Result<(), T> {
        self.values.borrow_mut().push_back(value)?;
        self.receivers.notify_first();
        Ok(())
    }

    fn pop(&self) -> Option<T> {
        let value = self.values.borrow_mut().pop_front()?;
        self.offer_place();
        Some(value)
    }

    /// Promises a free place to the first sender that waits.
    fn offer_place(&self) {
        if !self.is_full() && !self.senders.is_empty() {
            self.reserved.set(self.reserved.get() + 1);
            self.senders.notify_first();
        }
    }
}

impl<T, const N: usize> Default for Channel<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> fmt::Debug for Channel<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("len", &self.len())
            .field("capacity", &N)
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// One of the sending ends that [`Channel::split`] made. Leads to the channel's own methods, too.
pub struct Sender<T, const N: usize, C: Deref<Target = Channel<T, N>>> {
    channel: C,
    values: PhantomData<fn(T)>,
}

impl<T, const N: usize, C: Deref<Target = Channel<T, N>>> Sender<T, N, C> {
    fn new(channel: C) -> Self {
        channel.handles.set(channel.handles.get() + 1);
        Self {
            channel,
            values: PhantomData,
        }
    }

    /// As [`Channel::try_send`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.channel.try_send(value)
    }

    /// As [`Channel::send`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn send(&self, value: T) -> Result<(), Closed<T>> {
        self.channel.send(value).await
    }

    /// The channel.
    pub fn channel(&self) -> &Channel<T, N> {
        &self.channel
    }
}

impl<T, const N: usize, C: Deref<Target = Channel<T, N>> + Clone> Clone for Sender<T, N, C> {
    fn clone(&self) -> Self {
        Self::new(self.channel.clone())
    }
}

impl<T, const N: usize, C: Deref<Target = Channel<T, N>>> Drop for Sender<T, N, C> {
    fn drop(&mut self) {
        let left = self.channel.handles.get() - 1;
        self.channel.handles.set(left);
        if left == 0 {
            self.channel.close();
        }
    }
}

impl<T, const N: usize, C: Deref<Target = Channel<T, N>>> fmt::Debug for Sender<T, N, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(self.channel()).finish()
    }
}

/// The receiving end that [`Channel::split`] made.
pub struct Receiver<T, const N: usize, C: Deref<Target = Channel<T, N>>> {
    channel: C,
    values: PhantomData<fn() -> T>,
}

impl<T, const N: usize, C: Deref<Target = Channel<T, N>>> Receiver<T, N, C> {
    /// As [`Channel::try_receive`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_receive(&self) -> Result<T, TryReceiveError> {
        self.channel.try_receive()
    }

    /// As [`Channel::receive`].
    pub async fn receive(&self) -> Option<T> {
        self.channel.receive().await
    }

    /// The channel.
    pub fn channel(&self) -> &Channel<T, N> {
        &self.channel
    }
}

/// Closes the channel, and drops what nobody will receive.
impl<T, const N: usize, C: Deref<Target = Channel<T, N>>> Drop for Receiver<T, N, C> {
    fn drop(&mut self) {
        self.channel.close();
        while self.channel.try_receive().is_ok() {}
    }
}

impl<T, const N: usize, C: Deref<Target = Channel<T, N>>> fmt::Debug for Receiver<T, N, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(self.channel()).finish()
    }
}

/// Room for one value between tasks of one thread: a new value takes the place of one that nobody took.
pub struct Signal<T> {
    value: Cell<Option<T>>,
    waiters: WaitQueue,
}

impl<T> Signal<T> {
    /// Without a value.
    pub const fn new() -> Self {
        Self {
            value: Cell::new(None),
            waiters: WaitQueue::new(),
        }
    }

    /// Puts a value there, wakes the first task that waits, and returns the value that nobody took.
    pub fn set(&self, value: T) -> Option<T> {
        let old = self.value.replace(Some(value));
        self.waiters.notify_first();
        old
    }

    /// Takes the value, if there is one.
    pub fn take(&self) -> Option<T> {
        self.value.take()
    }

    /// Takes the value, waiting for one if there is none. Dropping the future loses no value.
    pub async fn wait(&self) -> T {
        let lost = || {
            let value = self.value.take();
            let there = value.is_some();
            self.value.set(value);
            if there {
                self.waiters.notify_first();
            }
        };
        let mut waiting = pin!(self.waiters.wait(lost));
        loop {
            if let Some(value) = self.value.take() {
                return value;
            }
            poll_fn(|context| waiting.as_mut().poll(context.waker())).await;
        }
    }
}

impl<T> Default for Signal<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Signal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").finish_non_exhaustive()
    }
}

/// The channel is closed; the value that was to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed<T>(pub T);

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel is closed")
    }
}

impl<T: fmt::Debug> core::error::Error for Closed<T> {}

/// Why a value was not sent; the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrySendError<T> {
    /// No place that isn't promised to a sender who waits.
    Full(T),
    /// The channel is closed.
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The value.
    pub fn into_value(self) -> T {
        match self {
            TrySendError::Full(value) | TrySendError::Closed(value) => value,
        }
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "the channel is full",
            TrySendError::Closed(_) => "the channel is closed",
        })
    }
}

impl<T: fmt::Debug> core::error::Error for TrySendError<T> {}

/// Why no value was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryReceiveError {
    /// There is none now.
    Empty,
    /// There is none, and none will come.
    Closed,
}

impl fmt::Display for TryReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryReceiveError::Empty => "the channel is empty",
            TryReceiveError::Closed => "the channel is empty and closed",
        })
    }
}

impl core::error::Error for TryReceiveError {}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use core::future::Future;
    use core::pin::Pin;
    use core::task::{Context, Poll, Waker};
    use std::boxed::Box;
    use std::rc::Rc;

    fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn senders_that_wait_are_served_first_come_first_served() {
        let channel = Channel::<u32, 1>::new();
        channel.try_send(0).unwrap();
        let mut first = Box::pin(channel.send(1));
        let mut second = Box::pin(channel.send(2));
        assert!(poll(&mut first).is_pending());
        assert!(poll(&mut second).is_pending());
        assert_eq!(channel.try_receive(), Ok(0));
        // The free place is the first sender's, who hasn't run yet.
        assert_eq!(channel.try_send(9), Err(TrySendError::Full(9)));
        assert!(poll(&mut second).is_pending());
        assert_eq!(poll(&mut first), Poll::Ready(Ok(())));
        assert_eq!(channel.try_receive(), Ok(1));
        assert_eq!(poll(&mut second), Poll::Ready(Ok(())));
        assert_eq!(channel.try_receive(), Ok(2));
        channel.try_send(3).unwrap();
    }

    #[test]
    fn a_sender_that_gives_up_after_its_notification_passes_its_place_on() {
        let channel = Channel::<u32, 1>::new();
        channel.try_send(0).unwrap();
        let mut first = Box::pin(channel.send(1));
        let mut second = Box::pin(channel.send(2));
        let mut third = Box::pin(channel.send(3));
        assert!(poll(&mut first).is_pending());
        assert!(poll(&mut second).is_pending());
        assert!(poll(&mut third).is_pending());
        drop(second);
        assert_eq!(channel.try_receive(), Ok(0));
        drop(first);
        assert_eq!(poll(&mut third), Poll::Ready(Ok(())));
        assert_eq!(channel.len(), 1);
        assert_eq!(channel.reserved.get(), 0);
    }

    #[test]
    fn a_receiver_that_gives_up_after_its_notification_passes_the_value_on() {
        let channel = Channel::<u32, 2>::new();
        let mut first = Box::pin(channel.receive());
        let mut second = Box::pin(channel.receive());
        assert!(poll(&mut first).is_pending());
        assert!(poll(&mut second).is_pending());
        channel.try_send(1).unwrap();
        drop(first);
        assert_eq!(poll(&mut second), Poll::Ready(Some(1)));
        let mut third = Box::pin(channel.receive());
        assert!(poll(&mut third).is_pending());
        channel.close();
        assert_eq!(poll(&mut third), Poll::Ready(None));
    }

    #[test]
    fn closing_refuses_senders_and_lets_what_was_sent_arrive() {
        let channel = Channel::<u32, 1>::new();
        channel.try_send(1).unwrap();
        let mut waiting = Box::pin(channel.send(2));
        let mut promised = Box::pin(channel.send(3));
        assert!(poll(&mut waiting).is_pending());
        assert!(poll(&mut promised).is_pending());
        channel.close();
        channel.close();
        assert_eq!(poll(&mut waiting), Poll::Ready(Err(Closed(2))));
        drop(promised);
        assert_eq!(channel.try_send(4), Err(TrySendError::Closed(4)));
        assert_eq!(channel.try_receive(), Ok(1));
        assert_eq!(channel.try_receive(), Err(TryReceiveError::Closed));
    }

    #[test]
    fn a_channel_closes_with_its_last_sender_or_its_receiver() {
        let (sender, receiver) = Channel::split(Rc::new(Channel::<u32, 4>::new()));
        let another = sender.clone();
        drop(sender);
        another.try_send(1).unwrap();
        drop(another);
        assert_eq!(receiver.try_receive(), Ok(1));
        assert_eq!(receiver.try_receive(), Err(TryReceiveError::Closed));

        let value = Rc::new(());
        let (sender, receiver) = Channel::split(Rc::new(Channel::<Rc<()>, 4>::new()));
        sender.try_send(value.clone()).unwrap();
        drop(receiver);
        assert_eq!(Rc::strong_count(&value), 1);
        assert!(sender.try_send(value).is_err());
    }

    #[test]
    fn a_signal_keeps_the_newest_value() {
        let signal = Signal::new();
        assert_eq!(signal.set(1), None);
        assert_eq!(signal.set(2), Some(1));
        let mut wait = Box::pin(signal.wait());
        assert_eq!(poll(&mut wait), Poll::Ready(2));
        let mut first = Box::pin(signal.wait());
        let mut second = Box::pin(signal.wait());
        assert!(poll(&mut first).is_pending());
        assert!(poll(&mut second).is_pending());
        signal.set(3);
        drop(first);
        assert_eq!(poll(&mut second), Poll::Ready(3));
        assert_eq!(signal.take(), None);
    }
}
