//! Which descriptors are watched while the process sleeps, and whom to wake.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Waker};

use mirage_core::Instant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::edges::{Edges, forget_level, watch_level};

/// The table of the descriptors that tasks wait for.
///
/// Readiness is level-triggered and asked for anew each time: a task tries its operation, and only when the system says
/// `EAGAIN` it registers its waker. What becomes ready between the two is seen by the next poll(2), so that no wake-up is
/// lost. Where there are connections, they and all else are watched by epoll(7) instead ([`Edges`]).
pub(crate) struct Reactor {
    /// The registered descriptors; a slot that was given back is `None`.
    descriptors: RefCell<Vec<Option<Rc<OwnedFd>>>>,
    /// Who waits for the descriptor of the same slot.
    waiting: RefCell<Vec<Waiting>>,
    /// What poll(2) is given, empty between calls: kept for its allocation alone.
    asked: Cell<Vec<PollFd<'static>>>,
    /// Who is to be woken after a poll(2), kept for its allocation alone.
    woken: Cell<Vec<Waker>>,
    /// How many are held.
    held: Cell<usize>,
    /// Those that are told of once for each change.
    pub(crate) edges: Edges,
    capacity: usize,
}

#[derive(Default)]
struct Waiting {
    readable: Option<Waker>,
    writable: Option<Waker>,
    /// Who looks again at a time, and is not watched for until then.
    held: Option<(Waker, Instant)>,
    /// What epoll(7) tells of, where it watches this; `None` where it never did.
    armed: Option<PollFlags>,
}

impl Waiting {
    fn events(&self) -> PollFlags {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, self.readable.is_some());
        events.set(PollFlags::OUT, self.writable.is_some());
        events
    }

    /// Those who wait for what the system answers. An error, a hang-up or a closed descriptor concerns both directions: their next
    /// operation says what it is.
    fn take_woken(&mut self, answer: PollFlags, woken: &mut Vec<Waker>) {
        let both = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        if answer.intersects(both | PollFlags::IN) {
            woken.extend(self.readable.take());
        }
        if answer.intersects(both | PollFlags::OUT) {
            woken.extend(self.writable.take());
        }
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
            descriptors: RefCell::new(Vec::with_capacity(capacity)),
            waiting: RefCell::new(Vec::with_capacity(capacity)),
            asked: Cell::new(Vec::with_capacity(capacity.saturating_add(1))),
            woken: Cell::new(Vec::with_capacity(capacity.saturating_mul(2))),
            held: Cell::new(0),
            edges: Edges::new(),
            capacity,
        }
    }

    /// Whether no further source is taken.
    pub(crate) fn is_full(&self) -> bool {
        let descriptors = self.descriptors.borrow();
        let level = descriptors.iter().flatten().count();
        level + self.edges.taken() >= self.capacity
    }

    fn register(&self, descriptor: Rc<OwnedFd>) -> Result<usize, TooManySources> {
        if self.is_full() {
            return Err(TooManySources);
        }
        let mut descriptors = self.descriptors.borrow_mut();
        if let Some(free) = descriptors.iter().position(Option::is_none) {
            descriptors[free] = Some(descriptor);
            return Ok(free);
        }
        descriptors.push(Some(descriptor));
        self.waiting.borrow_mut().push(Waiting::default());
        Ok(descriptors.len() - 1)
    }

    fn deregister(&self, slot: usize) {
        let descriptor = self.descriptors.borrow_mut()[slot].take();
        let waiting = std::mem::take(&mut self.waiting.borrow_mut()[slot]);
        if waiting.held.is_some() {
            self.held.set(self.held.get() - 1);
        }
        if let (Some(epoll), Some(_), Some(descriptor)) =
            (self.edges.epoll(), waiting.armed, &descriptor)
        {
            forget_level(epoll, descriptor.as_fd());
        }
        // After the borrows ended: a waker that goes may run the executor's code.
        drop((descriptor, waiting));
    }

    /// One waker for each direction: a later one replaces it.
    fn wake_when(
        &self,
        slot: usize,
        place: impl FnOnce(&mut Waiting) -> &mut Option<Waker>,
        waker: &Waker,
    ) {
        let replaced = match place(&mut self.waiting.borrow_mut()[slot]) {
            Some(old) if old.will_wake(waker) => None,
            place => place.replace(waker.clone()),
        };
        drop(replaced);
    }

    fn wake_at(&self, slot: usize, waker: &Waker, at: Instant) {
        let held = (waker.clone(), at);
        let replaced = self.waiting.borrow_mut()[slot].held.replace(held);
        if replaced.is_none() {
            self.held.set(self.held.get() + 1);
        }
    }

    /// When the first of those who are held is to be woken; `until` where that is earlier.
    pub(crate) fn earliest(&self, until: Option<Instant>) -> Option<Instant> {
        if self.held.get() == 0 {
            return until;
        }
        let waiting = self.waiting.borrow();
        let held = waiting.iter().filter_map(|waiting| waiting.held.as_ref());
        held.map(|(_, at)| *at).chain(until).min()
    }

    /// Wakes those who are held no longer.
    pub(crate) fn release(&self, now: impl FnOnce() -> Instant) {
        if self.held.get() == 0 {
            return;
        }
        let now = now();
        let mut woken = self.woken.take();
        for waiting in self.waiting.borrow_mut().iter_mut() {
            if let Some((waker, _)) = waiting.held.take_if(|(_, at)| *at <= now) {
                woken.push(waker);
            }
        }
        self.held.set(self.held.get() - woken.len());
        for waker in woken.drain(..) {
            waker.wake();
        }
        self.woken.set(woken);
    }

    /// Whether a task waits until the descriptor of the slot is readable, and was not woken yet.
    fn is_waited_for(&self, slot: usize) -> bool {
        self.waiting.borrow()[slot].readable.is_some()
    }

    /// Whether any task waits for a descriptor.
    pub(crate) fn is_watching(&self) -> bool {
        if self.edges.taken() > 0 {
            return true;
        }
        let waiting = self.waiting.borrow();
        waiting.iter().any(|waiting| !waiting.events().is_empty())
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
        let result = match self.edges.epoll() {
            Some(epoll) => self.poll_edges(epoll, platform, timeout, &mut woken),
            None => self.poll_into(platform, timeout, &mut woken),
        };
        for waker in woken.drain(..) {
            waker.wake();
        }
        self.woken.set(woken);
        result
    }

    fn poll_into(
        &self,
        platform: BorrowedFd<'_>,
        timeout: Option<&Timespec>,
        woken: &mut Vec<Waker>,
    ) -> Result<bool, Errno> {
        // Nothing else runs while the borrows are held: wakers are called by the caller, after them.
        let descriptors = self.descriptors.borrow();
        let mut waiting = self.waiting.borrow_mut();
        let mut asked: Vec<PollFd<'_>> = self.asked.take();
        asked.push(PollFd::from_borrowed_fd(platform, PollFlags::IN));
        for (descriptor, waiting) in descriptors.iter().zip(waiting.iter()) {
            let events = waiting.events();
            if let (Some(descriptor), false) = (descriptor, events.is_empty()) {
                asked.push(PollFd::from_borrowed_fd(descriptor.as_fd(), events));
            }
        }
        let result = poll(&mut asked, timeout);
        let mut answers = asked.iter().map(PollFd::revents);
        let platform_readable = answers.next().is_some_and(|answer| !answer.is_empty());
        if result.is_ok() {
            let watched = waiting
                .iter_mut()
                .filter(|waiting| !waiting.events().is_empty());
            for (waiting, answer) in watched.zip(answers) {
                waiting.take_woken(answer, woken);
            }
        }
        self.asked.set(emptied(asked));
        result.map(|_| platform_readable)
    }

    /// Tells epoll(7) what is waited for, where it doesn't know.
    pub(crate) fn arm(&self, epoll: &OwnedFd, woken: &mut Vec<Waker>) {
        let descriptors = self.descriptors.borrow();
        let mut waiting = self.waiting.borrow_mut();
        for (slot, (descriptor, waiting)) in descriptors.iter().zip(waiting.iter_mut()).enumerate()
        {
            let (Some(descriptor), events) = (descriptor, waiting.events()) else {
                continue;
            };
            let armed = waiting.armed;
            if events.is_empty() || armed.is_some_and(|armed| armed.contains(events)) {
                continue;
            }
            let watched = watch_level(epoll, descriptor.as_fd(), slot, events, armed.is_some());
            match watched {
                Ok(()) => waiting.armed = Some(events),
                // Of a file it tells nothing, for that is always ready: who waits tries, and sees.
                Err(_) => waiting.take_woken(PollFlags::NVAL, woken),
            }
        }
    }

    /// What epoll(7) says of a source that was armed: it says it once.
    pub(crate) fn answer_level(&self, slot: usize, answer: PollFlags, woken: &mut Vec<Waker>) {
        if let Some(waiting) = self.waiting.borrow_mut().get_mut(slot) {
            waiting.armed = Some(PollFlags::empty());
            waiting.take_woken(answer, woken);
        }
    }
}

/// The same vector without its elements, free of the lifetime that they borrowed. The standard library collects in place
/// where it can, so the allocation stays (a test looks).
fn emptied(mut asked: Vec<PollFd<'_>>) -> Vec<PollFd<'static>> {
    asked.clear();
    asked.into_iter().map_while(|_| None).collect()
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
            .wake_when(self.slot, |waiting| &mut waiting.readable, cx.waker());
    }

    /// Has the task of `cx` woken at a time, whatever becomes readable: for who would rather look at much that has come than be
    /// woken for each. One task: a later one replaces it.
    pub(crate) fn wake_at(&self, cx: &mut Context<'_>, at: Instant) {
        self.reactor.wake_at(self.slot, cx.waker(), at);
    }

    /// Whether a task waits for a read to succeed and was not woken: then nothing was to read at the last look.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.reactor.is_waited_for(self.slot)
    }

    /// Has the task of `cx` woken when a write may succeed. One task a direction: a later one replaces it.
    pub fn wake_when_writable(&self, cx: &mut Context<'_>) {
        self.reactor
            .wake_when(self.slot, |waiting| &mut waiting.writable, cx.waker());
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
    fn who_is_held_is_woken_at_its_time_and_forgotten_with_its_source() {
        let reactor = reactor(2);
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let woken = || count.0.load(Ordering::SeqCst);
        let at = |nanoseconds| Instant::ZERO + std::time::Duration::from_nanos(nanoseconds);
        let source = Source::new(reactor, event()).expect("a free slot");
        assert_eq!(reactor.earliest(Some(at(7))), Some(at(7)));
        source.wake_at(&mut Context::from_waker(&waker), at(5));
        assert_eq!(reactor.earliest(None), Some(at(5)));
        assert_eq!(reactor.earliest(Some(at(3))), Some(at(3)));
        reactor.release(|| at(4));
        assert_eq!(woken(), 0);
        reactor.release(|| at(5));
        assert_eq!(woken(), 1);
        assert_eq!(reactor.earliest(None), None);
        source.wake_at(&mut Context::from_waker(&waker), at(9));
        drop(source);
        assert_eq!(reactor.earliest(None), None);
        reactor.release(|| panic!("nobody is held"));
        assert_eq!(woken(), 1);
    }

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
    fn a_look_allocates_nothing() {
        let reactor = reactor(8);
        let platform = event();
        let waker = Waker::from(Arc::new(Count(AtomicUsize::new(0))));
        let sources: Vec<Source> = (0..8)
            .map(|_| Source::new(reactor, event()).expect("a slot"))
            .collect();
        let kept = || {
            let (asked, woken) = (reactor.asked.take(), reactor.woken.take());
            assert!(asked.is_empty() && woken.is_empty());
            let places = (asked.as_ptr(), asked.capacity(), woken.as_ptr());
            reactor.asked.set(asked);
            reactor.woken.set(woken);
            places
        };
        let before = kept();
        assert!(before.1 >= 9, "room for all, and the platform's own");
        for _ in 0..2 {
            for source in &sources {
                source.wake_when_writable(&mut Context::from_waker(&waker));
            }
            assert_eq!(reactor.poll(platform.as_fd(), Some(&NOW)), Ok(false));
            assert_eq!(kept(), before);
        }
    }

    #[test]
    fn an_answer_reaches_who_asked_past_slots_that_are_free_or_unwatched() {
        let reactor = reactor(4);
        let platform = event();
        let counts: Vec<_> = (0..4)
            .map(|_| Arc::new(Count(AtomicUsize::new(0))))
            .collect();
        let mut sources: Vec<Option<Source>> = (0..4)
            .map(|_| Some(Source::new(reactor, event()).expect("a slot")))
            .collect();
        sources[0] = None; // free
        for (source, count) in sources.iter().zip(&counts).skip(2) {
            let waker = Waker::from(Arc::clone(count));
            let source = source.as_ref().expect("kept"); // slot 1 is not watched
            source.wake_when_readable(&mut Context::from_waker(&waker));
        }
        for readable in [1, 3] {
            let source = sources[readable].as_ref().expect("kept");
            rustix::io::write(source, &1u64.to_ne_bytes()).expect("a write to an eventfd");
        }
        assert_eq!(reactor.poll(platform.as_fd(), Some(&NOW)), Ok(false));
        let woken: Vec<usize> = counts.iter().map(|c| c.0.load(Ordering::SeqCst)).collect();
        assert_eq!(woken, [0, 0, 0, 1]);
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
