//! Descriptors that epoll(7) tells of once for each change: connections, and the listeners that they come from.
//!
//! A look at many descriptors by ppoll(2) costs in proportion to all of them, a look by epoll in proportion to those that are ready. Who
//! waits need not be said to the kernel anew each time, either: a descriptor is registered once, and what is known of it is kept
//! here, so that nothing is read that is known not to be there. It is registered at the first look behind the first wait: a connection
//! whose request is there when it is accepted, and that ends with the answer, is never.

use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Waker};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::reactor::{Reactor, TooManySources};

/// How many events are taken from the kernel at once; what is left comes with the next look.
const EVENTS: usize = 256;

/// The epoll instance, made with the first descriptor, and what is known of each.
pub(crate) struct Edges {
    epoll: OnceCell<OwnedFd>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    taken: Cell<usize>,
    /// Slots whose descriptors the next look registers, if they are waited for then: each once at most.
    unwatched: RefCell<Vec<usize>>,
    /// Counts the looks.
    looks: Cell<u64>,
    /// What epoll_wait(2) gave, empty between calls: kept for its allocation alone.
    events: Cell<Vec<Event>>,
    /// The platform's own descriptor is registered.
    has_platform: Cell<bool>,
}

/// What is known of a descriptor, and who waits for it.
#[derive(Default)]
struct Slot {
    /// Counts who had this slot before: their events are nobody's.
    generation: u32,
    descriptor: Option<Rc<OwnedFd>>,
    watch: Watch,
    /// It is among [`Edges::unwatched`], for this descriptor or one before.
    listed: bool,
    readable: bool,
    writable: bool,
    /// epoll tells of writes: not before one had to wait.
    watches_writes: bool,
    /// The look before the last read that took all.
    taken_at: u64,
    /// Why epoll does not take it.
    failed: Option<Errno>,
    /// A read that fills its room in part has not taken all: the peer has ended its side, or there is urgent data, before which a read stops.
    may_have_more: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Whether epoll knows of a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Watch {
    /// Nobody has waited for it yet.
    #[default]
    Never,
    /// The next look registers it.
    Soon,
    /// It is registered.
    On,
}

/// Whose an event is: the platform's, a level-triggered source's ([`Reactor`]), or a slot's with its generation.
const PLATFORM: u64 = u64::MAX;
const LEVEL: u64 = 1 << 63;

fn token(slot: usize, generation: u32) -> u64 {
    (u64::from(generation) & 0x7FFF_FFFF) << 32 | slot as u64
}

impl Edges {
    pub(crate) fn new() -> Self {
        Self {
            epoll: OnceCell::new(),
            slots: RefCell::default(),
            free: RefCell::default(),
            taken: Cell::new(0),
            unwatched: RefCell::default(),
            looks: Cell::new(0),
            events: Cell::default(),
            has_platform: Cell::new(false),
        }
    }

    /// How many descriptors are registered.
    pub(crate) fn taken(&self) -> usize {
        self.taken.get()
    }

    /// The epoll instance, once there was a descriptor for it.
    pub(crate) fn epoll(&self) -> Option<&OwnedFd> {
        self.epoll.get()
    }

    fn open(&self) -> Result<(), Errno> {
        if self.epoll.get().is_none() {
            let epoll = epoll::create(CreateFlags::CLOEXEC)?;
            self.events.set(Vec::with_capacity(EVENTS));
            self.epoll.get_or_init(|| epoll);
        }
        Ok(())
    }

    fn register(&self, descriptor: Rc<OwnedFd>) -> Result<usize, Errno> {
        self.open()?;
        let free = self.free.borrow_mut().pop();
        let mut slots = self.slots.borrow_mut();
        let number = free.unwrap_or_else(|| {
            slots.push(Slot::default());
            slots.len() - 1
        });
        let slot = &mut slots[number];
        let generation = slot.generation.wrapping_add(1);
        // Something may have come already, and a new connection takes what is written: who tries sees.
        *slot = Slot {
            generation,
            descriptor: Some(descriptor),
            listed: slot.listed,
            readable: true,
            writable: true,
            ..Slot::default()
        };
        self.taken.set(self.taken.get() + 1);
        Ok(number)
    }

    fn deregister(&self, number: usize) {
        let slot = {
            let slot = &mut self.slots.borrow_mut()[number];
            let left = Slot {
                generation: slot.generation,
                listed: slot.listed,
                ..Slot::default()
            };
            std::mem::replace(slot, left)
        };
        self.free.borrow_mut().push(number);
        self.taken.set(self.taken.get() - 1);
        // After the borrows ended: a waker that goes may run the executor's code.
        drop(slot);
    }

    /// Registers those who are waited for since the last look.
    fn watch_all(&self, epoll: &OwnedFd, woken: &mut Vec<Waker>) {
        let mut slots = self.slots.borrow_mut();
        for number in self.unwatched.borrow_mut().drain(..) {
            let Some(slot) = slots.get_mut(number) else {
                continue;
            };
            slot.listed = false;
            // Who waited may have gone meanwhile.
            if slot.watch == Watch::Soon
                && let Err(error) = slot.register(epoll, number)
            {
                slot.fail(error, woken);
            }
        }
    }
}

impl Slot {
    /// Has epoll tell of it. What is there already is told at once.
    fn register(&mut self, epoll: &OwnedFd, number: usize) -> Result<(), Errno> {
        let Some(descriptor) = &self.descriptor else {
            return Ok(());
        };
        let data = EventData::new_u64(token(number, self.generation));
        let flags = match self.watches_writes {
            true => READS | EventFlags::OUT,
            false => READS,
        };
        epoll::add(epoll, descriptor, data, flags)?;
        self.watch = Watch::On;
        Ok(())
    }

    /// Who waits is to be told, and may try.
    fn fail(&mut self, error: Errno, woken: &mut Vec<Waker>) {
        self.watch = Watch::Never;
        self.failed = Some(error);
        (self.readable, self.writable) = (true, true);
        woken.extend(self.reader.take());
        woken.extend(self.writer.take());
    }
}

/// Of reads alone; an error and a hang-up are always told.
const READS: EventFlags = EventFlags::IN
    .union(EventFlags::PRI)
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);

impl Reactor {
    /// As [`poll`](Self::poll), where there is an epoll instance: the level-triggered sources are watched by it, too.
    pub(crate) fn poll_edges(
        &self,
        epoll: &OwnedFd,
        platform: BorrowedFd<'_>,
        timeout: Option<&Timespec>,
        woken: &mut Vec<Waker>,
    ) -> Result<bool, Errno> {
        if !self.edges.has_platform.get() {
            epoll::add(
                epoll,
                platform,
                EventData::new_u64(PLATFORM),
                EventFlags::IN,
            )?;
            self.edges.has_platform.set(true);
        }
        self.arm(epoll, woken);
        self.edges.watch_all(epoll, woken);
        self.edges.looks.set(self.edges.looks.get().wrapping_add(1));
        let timeout = match woken.is_empty() {
            true => timeout,
            false => Some(&NOW),
        };
        let mut events = self.edges.events.take();
        let result = wait(epoll, &mut events, timeout);
        let mut platform_readable = false;
        for event in &events {
            match event.data.u64() {
                PLATFORM => platform_readable = true,
                token if token & LEVEL != 0 => {
                    self.handle_level((token & !LEVEL) as usize, event.flags, woken);
                }
                token => self.edges.handle(token, event.flags, woken),
            }
        }
        events.clear();
        self.edges.events.set(events);
        result.map(|()| platform_readable)
    }

    /// The event's flags, in ppoll(2)'s words.
    fn handle_level(&self, slot: usize, flags: EventFlags, woken: &mut Vec<Waker>) {
        let mut answer = PollFlags::empty();
        answer.set(PollFlags::IN, flags.contains(EventFlags::IN));
        answer.set(PollFlags::OUT, flags.contains(EventFlags::OUT));
        answer.set(PollFlags::ERR, flags.contains(EventFlags::ERR));
        answer.set(PollFlags::HUP, flags.contains(EventFlags::HUP));
        self.answer_level(slot, answer, woken);
    }
}

/// What a level-triggered source that somebody waits for is registered with: told once, and then asked for anew.
pub(crate) fn watch_level(
    epoll: &OwnedFd,
    descriptor: BorrowedFd<'_>,
    slot: usize,
    events: PollFlags,
    is_added: bool,
) -> Result<(), Errno> {
    let mut flags = EventFlags::ONESHOT;
    flags.set(EventFlags::IN, events.contains(PollFlags::IN));
    flags.set(EventFlags::OUT, events.contains(PollFlags::OUT));
    let data = EventData::new_u64(LEVEL | slot as u64);
    match is_added {
        true => epoll::modify(epoll, descriptor, data, flags),
        false => epoll::add(epoll, descriptor, data, flags),
    }
}

/// No longer: its slot may become another's.
pub(crate) fn forget_level(epoll: &OwnedFd, descriptor: BorrowedFd<'_>) {
    // It fails where the descriptor is gone from the instance, and then nothing is left to do.
    let _ = epoll::delete(epoll, descriptor);
}

/// epoll_wait(2) counts in milliseconds: the whole ones are slept by it, and what is left, by whoever comes again, to the nanosecond by
/// ppoll(2), which watches the instance.
fn wait(epoll: &OwnedFd, events: &mut Vec<Event>, timeout: Option<&Timespec>) -> Result<(), Errno> {
    const LEAST: i64 = 2_000_000;
    /// epoll_wait(2) takes an `int`: whoever sleeps longer comes again.
    const MOST: i64 = 1_000_000;
    let timeout = timeout.map(|timeout| match timeout.tv_sec {
        0 => (0, timeout.tv_nsec),
        seconds => (seconds.min(MOST), timeout.tv_nsec),
    });
    let whole = match timeout {
        None => None,
        Some((0, 0)) => Some(NOW),
        Some((0, nanoseconds)) if nanoseconds < LEAST => {
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: nanoseconds,
            };
            let mut instance = [PollFd::new(epoll, PollFlags::IN)];
            if poll(&mut instance, Some(&timeout))? == 0 {
                return Ok(());
            }
            Some(NOW)
        }
        Some((seconds, nanoseconds)) => Some(Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds - nanoseconds % 1_000_000,
        }),
    };
    epoll::wait(epoll, spare_capacity(events), whole.as_ref()).map(drop)
}

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

impl Edges {
    fn handle(&self, token_: u64, flags: EventFlags, woken: &mut Vec<Waker>) {
        let number = (token_ & 0xFFFF_FFFF) as usize;
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(number) else {
            return;
        };
        if token(number, slot.generation) != token_ {
            return;
        }
        let both = EventFlags::ERR | EventFlags::HUP;
        if flags.intersects(both | EventFlags::RDHUP | EventFlags::PRI) {
            slot.may_have_more = true;
        }
        // An error or a hang-up concerns both directions: their next operation says what it is.
        if flags.intersects(both | EventFlags::IN | EventFlags::RDHUP | EventFlags::PRI) {
            slot.readable = true;
            woken.extend(slot.reader.take());
        }
        if flags.intersects(both | EventFlags::OUT) {
            slot.writable = true;
            woken.extend(slot.writer.take());
        }
    }
}

/// A descriptor that the platform is told of once for each change. It is non-blocking, and of a kind that epoll(7) knows; nobody
/// else reads or writes it.
pub(crate) struct EdgeSource {
    reactor: &'static Reactor,
    descriptor: Rc<OwnedFd>,
    slot: usize,
}

impl EdgeSource {
    /// Takes a place for it among the platform's sources.
    ///
    /// # Errors
    ///
    /// As many sources as the configuration allows are registered; or the system's.
    pub(crate) fn new(
        reactor: &'static Reactor,
        descriptor: OwnedFd,
    ) -> Result<Self, RegisterError> {
        if reactor.is_full() {
            return Err(RegisterError::TooMany(TooManySources));
        }
        let descriptor = Rc::new(descriptor);
        let slot = reactor.edges.register(Rc::clone(&descriptor));
        Ok(Self {
            slot: slot.map_err(RegisterError::System)?,
            reactor,
            descriptor,
        })
    }

    /// Registers it at once: for one that is waited for as long as it is there.
    ///
    /// # Errors
    ///
    /// epoll(7) doesn't take it.
    pub(crate) fn watch(&self) -> Result<(), Errno> {
        match self.reactor.edges.epoll() {
            Some(epoll) => self.with(|slot| match slot.watch {
                Watch::On => Ok(()),
                _ => slot.register(epoll, self.slot),
            }),
            None => Ok(()),
        }
    }

    fn with<R>(&self, look: impl FnOnce(&mut Slot) -> R) -> R {
        look(&mut self.reactor.edges.slots.borrow_mut()[self.slot])
    }

    /// Reads, where something may be there. `None`: nothing is, wait.
    pub(crate) fn try_read<T>(
        &self,
        mut read: impl FnMut(&OwnedFd) -> Result<T, Errno>,
    ) -> Result<Option<T>, Errno> {
        let looks = self.reactor.edges.looks.get();
        let may_read = self.with(|slot| match slot.failed.take() {
            Some(error) => Err(error),
            // Nobody tells of what has come since to one that isn't watched.
            None => Ok(slot.readable || (slot.watch == Watch::Never && slot.taken_at != looks)),
        })?;
        if !may_read {
            return Ok(None);
        }
        loop {
            return match read(&self.descriptor) {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    self.with(|slot| {
                        slot.readable = false;
                        slot.taken_at = looks;
                    });
                    Ok(None)
                }
                result => result.map(Some),
            };
        }
    }

    /// Says that a read of a stream took less than it had room for: then nothing more is there, and what comes is told.
    pub(crate) fn took_all(&self) {
        let looks = self.reactor.edges.looks.get();
        self.with(|slot| {
            slot.readable = slot.may_have_more;
            slot.taken_at = looks;
        });
    }

    /// Writes, where something may be taken. `None`: nothing is, wait.
    pub(crate) fn try_write<T>(
        &self,
        mut write: impl FnMut(&OwnedFd) -> Result<T, Errno>,
    ) -> Result<Option<T>, Errno> {
        let may_write = self.with(|slot| match slot.failed.take() {
            Some(error) => Err(error),
            None => Ok(slot.writable),
        })?;
        if !may_write {
            return Ok(None);
        }
        loop {
            return match write(&self.descriptor) {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    self.watch_writes()?;
                    Ok(None)
                }
                result => result.map(Some),
            };
        }
    }

    /// From the first write that has to wait on, writes are told of; if one became possible meanwhile, at once.
    fn watch_writes(&self) -> Result<(), Errno> {
        let (watches, watch, generation) = self.with(|slot| {
            slot.writable = false;
            let watches = std::mem::replace(&mut slot.watches_writes, true);
            (watches, slot.watch, slot.generation)
        });
        // Else it will be told when it is registered.
        let epoll = self.reactor.edges.epoll();
        let (false, Watch::On, Some(epoll)) = (watches, watch, epoll) else {
            return Ok(());
        };
        let data = EventData::new_u64(token(self.slot, generation));
        epoll::modify(epoll, &self.descriptor, data, READS | EventFlags::OUT)
    }

    /// Has the task of `cx` woken when a read may succeed; at once, where one may now. One task: a later one replaces it.
    pub(crate) fn wake_when_readable(&self, cx: &mut Context<'_>) {
        self.wake_when(cx, |slot| (slot.readable, &mut slot.reader));
    }

    /// The same of a write.
    pub(crate) fn wake_when_writable(&self, cx: &mut Context<'_>) {
        self.wake_when(cx, |slot| (slot.writable, &mut slot.writer));
    }

    fn wake_when(
        &self,
        cx: &mut Context<'_>,
        place: impl FnOnce(&mut Slot) -> (bool, &mut Option<Waker>),
    ) {
        let waker = cx.waker();
        let (ready, replaced, unlisted) = self.with(|slot| {
            let (ready, replaced) = match place(slot) {
                (true, _) => (true, None),
                (false, Some(old)) if old.will_wake(waker) => (false, None),
                (false, place) => (false, place.replace(waker.clone())),
            };
            let mut unlisted = false;
            if !ready && slot.watch == Watch::Never {
                slot.watch = Watch::Soon;
                unlisted = !std::mem::replace(&mut slot.listed, true);
            }
            (ready, replaced, unlisted)
        });
        drop(replaced);
        if unlisted {
            self.reactor.edges.unwatched.borrow_mut().push(self.slot);
        }
        if ready {
            waker.wake_by_ref();
        }
    }
}

impl AsFd for EdgeSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl std::fmt::Debug for EdgeSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EdgeSource")
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}

impl Drop for EdgeSource {
    /// The descriptor is closed next, and with it its registration is gone.
    fn drop(&mut self) {
        self.reactor.edges.deregister(self.slot);
    }
}

/// Why a descriptor can't be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegisterError {
    TooMany(TooManySources),
    System(Errno),
}

impl From<RegisterError> for std::io::Error {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::TooMany(error) => Self::other(error),
            RegisterError::System(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
    };
    use std::os::fd::AsRawFd;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use crate::reactor::Source;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    struct Waits(Arc<Count>);

    impl Waits {
        fn new() -> Self {
            Self(Arc::default())
        }

        fn waker(&self) -> Waker {
            Waker::from(Arc::clone(&self.0))
        }

        fn woken(&self) -> usize {
            self.0.0.load(Ordering::SeqCst)
        }
    }

    fn event() -> OwnedFd {
        eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()
    }

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
    }

    fn reactor(capacity: usize) -> &'static Reactor {
        Box::leak(Box::new(Reactor::new(capacity)))
    }

    fn look(reactor: &Reactor, platform: &OwnedFd) -> bool {
        reactor.poll(platform.as_fd(), Some(&NOW)).unwrap()
    }

    fn read(source: &EdgeSource, room: usize) -> Option<usize> {
        let mut buffer = vec![0; room];
        let read = source
            .try_read(|fd| recv(fd, &mut buffer[..], RecvFlags::empty()).map(|(length, _)| length));
        read.unwrap()
    }

    fn put(peer: &OwnedFd, octets: &[u8]) {
        assert_eq!(
            send(peer, octets, SendFlags::NOSIGNAL).unwrap(),
            octets.len()
        );
    }

    /// A source that epoll watches: somebody waited for it.
    fn watched(reactor: &'static Reactor, platform: &OwnedFd, ours: OwnedFd) -> EdgeSource {
        let source = EdgeSource::new(reactor, ours).unwrap();
        assert_eq!(read(&source, 16), None);
        source.wake_when_readable(&mut Context::from_waker(Waker::noop()));
        look(reactor, platform);
        source
    }

    /// How many descriptors the epoll instance has, as the kernel says.
    fn registered(reactor: &Reactor) -> usize {
        let epoll = reactor.edges.epoll().unwrap().as_raw_fd();
        let said = std::fs::read_to_string(format!("/proc/self/fdinfo/{epoll}")).unwrap();
        said.lines().filter(|line| line.starts_with("tfd:")).count()
    }

    #[test]
    fn what_came_before_the_registration_is_read_without_it() {
        let (reactor, platform) = (reactor(4), event());
        let (ours, peer) = pair();
        put(&peer, b"early");
        let source = EdgeSource::new(reactor, ours).unwrap();
        assert_eq!(read(&source, 16), Some(5));
        source.took_all();
        assert_eq!(read(&source, 16), None);
        // Someone who looks whether there is more, and goes.
        source.wake_when_readable(&mut Context::from_waker(Waker::noop()));
        drop(source);
        assert!(!look(reactor, &platform));
        // The platform's.
        assert_eq!(registered(reactor), 1);
    }

    #[test]
    fn what_came_between_a_look_and_the_registration_is_told() {
        let (reactor, platform) = (reactor(4), event());
        let (ours, peer) = pair();
        let source = EdgeSource::new(reactor, ours).unwrap();
        let waits = Waits::new();
        assert_eq!(read(&source, 16), None);
        put(&peer, b"early");
        source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
        assert_eq!(waits.woken(), 0);
        assert!(!look(reactor, &platform));
        assert_eq!((waits.woken(), registered(reactor)), (1, 2));
        assert_eq!(read(&source, 16), Some(5));
    }

    #[test]
    fn one_that_is_not_registered_is_read_again_after_each_look() {
        let (reactor, platform) = (reactor(4), event());
        let (ours, peer) = pair();
        let source = EdgeSource::new(reactor, ours).unwrap();
        put(&peer, b"a");
        assert_eq!(read(&source, 16), Some(1));
        source.took_all();
        put(&peer, b"b");
        assert_eq!(read(&source, 16), None, "it is not asked for");
        look(reactor, &platform);
        assert_eq!(read(&source, 16), Some(1), "nobody could have told");
        assert_eq!(read(&source, 16), None);
        put(&peer, b"c");
        look(reactor, &platform);
        assert_eq!(read(&source, 16), Some(1));
    }

    #[test]
    fn who_waits_for_what_epoll_does_not_take_is_told_why() {
        let (reactor, platform) = (reactor(4), event());
        // Of a file epoll tells nothing.
        let file = tempfile::tempfile().unwrap();
        let source = EdgeSource::new(reactor, file.into()).unwrap();
        let again = || source.try_read(|_| Err::<(), _>(Errno::AGAIN));
        let full = || source.try_write(|_| Err::<(), _>(Errno::AGAIN));
        let waits = [Waits::new(), Waits::new()];
        for time in 1..=2 {
            assert_eq!((again(), full()), (Ok(None), Ok(None)));
            source.wake_when_readable(&mut Context::from_waker(&waits[0].waker()));
            source.wake_when_writable(&mut Context::from_waker(&waits[1].waker()));
            look(reactor, &platform);
            assert_eq!([waits[0].woken(), waits[1].woken()], [time, time]);
            assert_eq!(again(), Err(Errno::PERM));
        }
        assert_eq!(full(), Ok(None));
        source.wake_when_writable(&mut Context::from_waker(&waits[1].waker()));
        look(reactor, &platform);
        assert_eq!(full(), Err(Errno::PERM));
    }

    #[test]
    fn a_wait_of_who_had_the_slot_before_registers_nobody() {
        let (reactor, platform) = (reactor(1), event());
        let source = EdgeSource::new(reactor, pair().0).unwrap();
        assert_eq!(read(&source, 16), Some(0), "its peer is gone");
        source.took_all();
        source.wake_when_readable(&mut Context::from_waker(Waker::noop()));
        drop(source);
        let (ours, _peer) = pair();
        let next = EdgeSource::new(reactor, ours).unwrap();
        look(reactor, &platform);
        assert_eq!((next.slot, registered(reactor)), (0, 1));
    }

    #[test]
    fn slots_that_are_waited_for_and_given_back_are_listed_once() {
        let (reactor, platform) = (reactor(1), event());
        for _ in 0..3 {
            let (ours, _peer) = pair();
            let source = EdgeSource::new(reactor, ours).unwrap();
            assert_eq!(read(&source, 16), None);
            source.wake_when_readable(&mut Context::from_waker(Waker::noop()));
            assert_eq!(reactor.edges.unwatched.borrow().as_slice(), [0]);
        }
        // The last who waits has the place of those before.
        let (ours, peer) = pair();
        let source = EdgeSource::new(reactor, ours).unwrap();
        assert_eq!(read(&source, 16), None);
        let waits = Waits::new();
        source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
        put(&peer, b"to the last");
        look(reactor, &platform);
        assert_eq!((waits.woken(), read(&source, 16)), (1, Some(11)));
        assert!(reactor.edges.unwatched.borrow().is_empty());
    }

    #[test]
    fn one_that_is_registered_at_once_is_refused_at_once() {
        let (reactor, platform) = (reactor(4), event());
        let file = tempfile::tempfile().unwrap();
        let source = EdgeSource::new(reactor, file.into()).unwrap();
        assert_eq!(source.watch(), Err(Errno::PERM));
        let (ours, peer) = pair();
        let source = EdgeSource::new(reactor, ours).unwrap();
        assert_eq!((source.watch(), source.watch()), (Ok(()), Ok(())));
        assert_eq!((registered(reactor), read(&source, 16)), (1, None));
        put(&peer, b"told");
        look(reactor, &platform);
        assert_eq!(read(&source, 16), Some(4));
    }

    #[test]
    fn what_came_while_nobody_waited_is_not_forgotten() {
        let (reactor, platform) = (reactor(4), event());
        let (ours, peer) = pair();
        let source = EdgeSource::new(reactor, ours).unwrap();
        put(&peer, b"abcd");
        // Told, and nobody waits.
        look(reactor, &platform);
        let waits = Waits::new();
        source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
        assert_eq!(waits.woken(), 1, "at once");
        // A part is left: it fills the room, so there may be more, and it is not told again.
        assert_eq!(read(&source, 2), Some(2));
        look(reactor, &platform);
        source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
        assert_eq!(waits.woken(), 2);
        assert_eq!(read(&source, 2), Some(2));
        assert_eq!(read(&source, 2), None);
        source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
        look(reactor, &platform);
        assert_eq!(waits.woken(), 2);
        put(&peer, b"e");
        look(reactor, &platform);
        assert_eq!(waits.woken(), 3);
    }

    #[test]
    fn what_comes_between_a_read_that_took_all_and_the_wait_is_told() {
        let (reactor, platform) = (reactor(4), event());
        let (ours, peer) = pair();
        let source = EdgeSource::new(reactor, ours).unwrap();
        put(&peer, b"abc");
        look(reactor, &platform);
        assert_eq!(read(&source, 16), Some(3));
        put(&peer, b"d");
        source.took_all();
        assert_eq!(read(&source, 16), None, "it is not asked for");
        let waits = Waits::new();
        source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
        assert_eq!(waits.woken(), 0);
        look(reactor, &platform);
        assert_eq!((waits.woken(), read(&source, 16)), (1, Some(1)));
    }

    #[test]
    fn an_end_that_was_told_with_the_last_octets_is_read_behind_them() {
        let (reactor, platform) = (reactor(4), event());
        let (ours, peer) = pair();
        let source = watched(reactor, &platform, ours);
        put(&peer, b"last");
        drop(peer);
        look(reactor, &platform);
        assert_eq!(read(&source, 16), Some(4));
        source.took_all();
        assert_eq!(read(&source, 16), Some(0), "no further event would come");
    }

    #[test]
    fn an_end_behind_the_last_octets_is_told_to_who_waits_first_then() {
        let (reactor, platform) = (reactor(4), event());
        let (ours, peer) = pair();
        let source = EdgeSource::new(reactor, ours).unwrap();
        put(&peer, b"last");
        drop(peer);
        assert_eq!(read(&source, 16), Some(4));
        source.took_all();
        assert_eq!(read(&source, 16), None);
        let waits = Waits::new();
        source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
        look(reactor, &platform);
        assert_eq!((waits.woken(), read(&source, 16)), (1, Some(0)));
    }

    #[test]
    fn a_writer_is_woken_when_there_is_room_again() {
        let (reactor, platform) = (reactor(4), event());
        let (ours, peer) = pair();
        let source = EdgeSource::new(reactor, ours).unwrap();
        let waits = Waits::new();
        let octets = vec![0; 1 << 16];
        let write = || {
            let written = source.try_write(|fd| send(fd, &octets, SendFlags::NOSIGNAL));
            written.unwrap()
        };
        for _ in 0..2 {
            while write().is_some() {}
            source.wake_when_writable(&mut Context::from_waker(&waits.waker()));
            let before = waits.woken();
            look(reactor, &platform);
            assert_eq!(waits.woken(), before);
            let mut room = vec![0; 1 << 16];
            while recv(&peer, &mut room[..], RecvFlags::empty()).is_ok_and(|(read, _)| read > 0) {}
            look(reactor, &platform);
            assert_eq!(waits.woken(), before + 1);
        }
    }

    #[test]
    fn a_slot_that_was_given_back_has_no_events_of_who_had_it() {
        let (reactor, platform) = (reactor(1), event());
        let (ours, peer) = pair();
        // The same connection under a second descriptor, which keeps it registered.
        let kept = rustix::io::dup(&ours).unwrap();
        drop(watched(reactor, &platform, ours));
        // The platform's, and that one.
        assert_eq!(registered(reactor), 2);
        let (next, _next_peer) = pair();
        let source = watched(reactor, &platform, next);
        assert_eq!(source.slot, 0);
        put(&peer, b"to whom?");
        let waits = Waits::new();
        source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
        look(reactor, &platform);
        assert_eq!((waits.woken(), read(&source, 16)), (0, None));
        drop(kept);
    }

    #[test]
    fn full_is_refused_and_counts_both_kinds() {
        let reactor = reactor(2);
        let (ours, peer) = pair();
        let source = EdgeSource::new(reactor, ours).unwrap();
        let level = Source::new(reactor, event()).unwrap();
        let full = RegisterError::TooMany(TooManySources);
        let refused = EdgeSource::new(reactor, peer).err();
        assert_eq!(refused, Some(full));
        assert_eq!(Source::new(reactor, event()).err(), Some(TooManySources));
        drop(source);
        assert!(EdgeSource::new(reactor, pair().0).is_ok());
        drop(level);
    }

    #[test]
    fn sources_of_both_kinds_and_the_platform_are_watched_together() {
        let (reactor, platform) = (reactor(4), event());
        let before = Source::new(reactor, event()).unwrap();
        let waits = Waits::new();
        before.wake_when_readable(&mut Context::from_waker(&waits.waker()));
        assert!(!look(reactor, &platform));
        // From now on by epoll.
        let (ours, _peer) = pair();
        let edge = EdgeSource::new(reactor, ours).unwrap();
        let after = Source::new(reactor, event()).unwrap();
        after.wake_when_readable(&mut Context::from_waker(&waits.waker()));
        assert!(reactor.is_watching());
        assert!(!look(reactor, &platform));
        assert_eq!(waits.woken(), 0);
        for (number, source) in [&before, &after].into_iter().enumerate() {
            rustix::io::write(source, &1_u64.to_ne_bytes()).unwrap();
            look(reactor, &platform);
            assert_eq!(waits.woken(), number + 1);
            // Told once, and not again without being asked.
            look(reactor, &platform);
            assert_eq!(waits.woken(), number + 1);
        }
        // Asked again, while it is readable still: a level.
        before.wake_when_readable(&mut Context::from_waker(&waits.waker()));
        look(reactor, &platform);
        assert_eq!(waits.woken(), 3);
        after.wake_when_writable(&mut Context::from_waker(&waits.waker()));
        look(reactor, &platform);
        assert_eq!(waits.woken(), 4);
        rustix::io::write(&platform, &1_u64.to_ne_bytes()).unwrap();
        assert!(look(reactor, &platform));
        // A source that goes leaves nothing, and its slot is another's.
        drop(before);
        let next = Source::new(reactor, event()).unwrap();
        next.wake_when_readable(&mut Context::from_waker(&waits.waker()));
        look(reactor, &platform);
        assert_eq!(waits.woken(), 4);
        drop(edge);
    }

    #[test]
    fn a_sleep_by_epoll_ends_no_later_than_it_should() {
        let (reactor, platform) = (reactor(1), event());
        let (ours, _peer) = pair();
        let _source = EdgeSource::new(reactor, ours).unwrap();
        for (nanoseconds, least) in [(300_000, 300_000), (2_700_000, 2_000_000)] {
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: nanoseconds,
            };
            let started = std::time::Instant::now();
            reactor.poll(platform.as_fd(), Some(&timeout)).unwrap();
            assert!(started.elapsed().as_nanos() >= least);
        }
        // What the peer's sleep is cut to is what the caller asks for again.
        let mut events = Vec::with_capacity(1);
        let epoll = reactor.edges.epoll().unwrap();
        let far = Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 999_999_999,
        };
        rustix::io::write(&platform, &1_u64.to_ne_bytes()).unwrap();
        wait(epoll, &mut events, Some(&far)).unwrap();
        assert_eq!(events.len(), 1);
    }
}
