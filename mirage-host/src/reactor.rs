//! Which descriptors are watched while the process sleeps, and whom to wake.

use std::cell::RefCell;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Waker};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// The table of the descriptors that tasks wait for.
///
/// Readiness is level-triggered and asked for anew each time: a task tries its operation, and only when the system says
/// `EAGAIN` it registers its waker. What becomes ready between the two is seen by the next poll(2), so that no wake-up is
/// lost.
pub(crate) struct Reactor {
    /// The registered descriptors; a slot that was given back is `None`.
    entries: RefCell<Vec<Option<Entry>>>,
    /// Who is to be woken after a poll(2), kept for its allocation alone.
    woken: RefCell<Vec<Waker>>,
    capacity: usize,
}

struct Entry {
    descriptor: Rc<OwnedFd>,
    readable: Option<Waker>,
    writable: Option<Waker>,
}

impl Entry {
    fn events(&self) -> PollFlags {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, self.readable.is_some());
        events.set(PollFlags::OUT, self.writable.is_some());
        events
    }
}

/// Every source is in use: the platform watches as many descriptors as it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySources;

impl fmt::Display for TooManySources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the platform watches as many descriptors as it was made for")
    }
}

impl std::error::Error for TooManySources {}

impl Reactor {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            entries: RefCell::new(Vec::with_capacity(capacity)),
            woken: RefCell::new(Vec::with_capacity(capacity.saturating_mul(2))),
            capacity,
        }
    }

    fn register(&self, descriptor: Rc<OwnedFd>) -> Result<usize, TooManySources> {
        let mut entries = self.entries.borrow_mut();
        let entry = Some(Entry {
            descriptor,
            readable: None,
            writable: None,
        });
        if let Some(free) = entries.iter().position(Option::is_none) {
            entries[free] = entry;
            return Ok(free);
        }
        if entries.len() >= self.capacity {
            return Err(TooManySources);
        }
        entries.push(entry);
        Ok(entries.len() - 1)
    }

    fn deregister(&self, slot: usize) {
        let entry = self.entries.borrow_mut()[slot].take();
        // After the borrow ended: a waker that goes may run the executor's code.
        drop(entry);
    }

    /// One waker for each direction: a later one replaces it.
    fn wake_when(
        &self,
        slot: usize,
        place: impl FnOnce(&mut Entry) -> &mut Option<Waker>,
        waker: &Waker,
    ) {
        let replaced = match self.entries.borrow_mut()[slot].as_mut().map(place) {
            Some(Some(old)) if old.will_wake(waker) => None,
            Some(place) => place.replace(waker.clone()),
            None => None,
        };
        drop(replaced);
    }

    /// Whether any task waits for a descriptor.
    pub(crate) fn is_watching(&self) -> bool {
        let entries = self.entries.borrow();
        entries
            .iter()
            .flatten()
            .any(|entry| !entry.events().is_empty())
    }

    /// Sleeps until a descriptor is ready, `platform` is readable, or the time is over; wakes who waited.
    ///
    /// `None` sleeps without end. A signal ends the sleep, as `EINTR`. Returns whether `platform` is readable.
    pub(crate) fn poll(
        &self,
        platform: BorrowedFd<'_>,
        timeout: Option<&Timespec>,
    ) -> Result<bool, Errno> {
        let mut woken = self.woken.take();
        let result = self.poll_into(platform, timeout, &mut woken);
        for waker in woken.drain(..) {
            waker.wake();
        }
        self.woken.replace(woken);
        result
    }

    fn poll_into(
        &self,
        platform: BorrowedFd<'_>,
        timeout: Option<&Timespec>,
        woken: &mut Vec<Waker>,
    ) -> Result<bool, Errno> {
        // Nothing else runs while the borrow is held: wakers are called by the caller, after it.
        let mut entries = self.entries.borrow_mut();
        let mut descriptors = Vec::with_capacity(1 + entries.len());
        descriptors.push(PollFd::from_borrowed_fd(platform, PollFlags::IN));
        for entry in entries.iter().flatten() {
            let events = entry.events();
            if !events.is_empty() {
                descriptors.push(PollFd::from_borrowed_fd(entry.descriptor.as_fd(), events));
            }
        }
        poll(&mut descriptors, timeout)?;
        let mut results = descriptors.iter().map(PollFd::revents);
        let platform_readable = !results.next().unwrap_or(PollFlags::empty()).is_empty();
        let results: Vec<PollFlags> = results.collect();
        let watched = entries
            .iter_mut()
            .flatten()
            .filter(|entry| !entry.events().is_empty());
        for (entry, result) in watched.zip(results) {
            // An error, a hang-up or a closed descriptor concerns both directions: their next operation says what it is.
            let both = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
            if result.intersects(both | PollFlags::IN) {
                woken.extend(entry.readable.take());
            }
            if result.intersects(both | PollFlags::OUT) {
                woken.extend(entry.writable.take());
            }
        }
        Ok(platform_readable)
    }
}

/// A descriptor that a platform watches.
///
/// Made by [`HostPlatform::source`](crate::HostPlatform::source). The descriptor should be non-blocking. Try the operation
/// first; where the system answers `EAGAIN`, ask to be woken and return [`Pending`](core::task::Poll::Pending):
///
/// ```
/// use std::os::fd::{AsFd, OwnedFd};
/// use std::task::{Context, Poll};
/// # use mirage_host::Source;
///
/// fn poll_byte(source: &Source, cx: &mut Context<'_>) -> Poll<std::io::Result<u8>> {
///     let mut byte = [0];
///     match rustix::io::read(source, &mut byte) {
///         Ok(_) => Poll::Ready(Ok(byte[0])),
///         Err(rustix::io::Errno::AGAIN) => {
///             source.wake_when_readable(cx);
///             Poll::Pending
///         }
///         Err(error) => Poll::Ready(Err(error.into())),
///     }
/// }
/// ```
pub struct Source {
    reactor: &'static Reactor,
    descriptor: Rc<OwnedFd>,
    slot: usize,
}

impl Source {
    pub(crate) fn new(
        reactor: &'static Reactor,
        descriptor: OwnedFd,
    ) -> Result<Self, TooManySources> {
        let descriptor = Rc::new(descriptor);
        let slot = reactor.register(Rc::clone(&descriptor))?;
        Ok(Self {
            reactor,
            descriptor,
            slot,
        })
    }

    /// Has the task of `cx` woken when a read may succeed. One task a direction: a later one replaces it.
    pub fn wake_when_readable(&self, cx: &mut Context<'_>) {
        self.reactor
            .wake_when(self.slot, |entry| &mut entry.readable, cx.waker());
    }

    /// Has the task of `cx` woken when a write may succeed. One task a direction: a later one replaces it.
    pub fn wake_when_writable(&self, cx: &mut Context<'_>) {
        self.reactor
            .wake_when(self.slot, |entry| &mut entry.writable, cx.waker());
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.reactor.deregister(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn event() -> OwnedFd {
        eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("an eventfd")
    }

    fn reactor(capacity: usize) -> &'static Reactor {
        Box::leak(Box::new(Reactor::new(capacity)))
    }

    const NOW: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };

    #[test]
    fn an_event_between_the_look_and_the_registration_is_not_lost() {
        let reactor = reactor(1);
        let platform = event();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let source = Source::new(reactor, event()).expect("a slot");
        // The task looked and found nothing; the event comes; then only it registers.
        rustix::io::write(&source, &1u64.to_ne_bytes()).expect("a write to an eventfd");
        source.wake_when_readable(&mut Context::from_waker(&waker));
        assert_eq!(reactor.poll(platform.as_fd(), Some(&NOW)), Ok(false));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        // It was told once, and is not told again without asking again.
        assert_eq!(reactor.poll(platform.as_fd(), Some(&NOW)), Ok(false));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(!reactor.is_watching());
    }

    #[test]
    fn full_is_refused_and_a_source_that_goes_makes_room() {
        let reactor = reactor(1);
        let source = Source::new(reactor, event()).expect("a slot");
        assert_eq!(Source::new(reactor, event()).err(), Some(TooManySources));
        drop(source);
        assert!(Source::new(reactor, event()).is_ok());
    }

    #[test]
    fn directions_are_told_apart() {
        let reactor = reactor(2);
        let platform = event();
        let reader = Arc::new(Count(AtomicUsize::new(0)));
        let writer = Arc::new(Count(AtomicUsize::new(0)));
        let source = Source::new(reactor, event()).expect("a slot");
        let other = Source::new(reactor, event()).expect("a slot");
        source.wake_when_readable(&mut Context::from_waker(&Waker::from(Arc::clone(&reader))));
        other.wake_when_writable(&mut Context::from_waker(&Waker::from(Arc::clone(&writer))));
        rustix::io::write(&platform, &1u64.to_ne_bytes()).expect("a write to an eventfd");
        assert_eq!(reactor.poll(platform.as_fd(), Some(&NOW)), Ok(true));
        assert_eq!(reader.0.load(Ordering::SeqCst), 0);
        assert_eq!(writer.0.load(Ordering::SeqCst), 1);
    }
}
