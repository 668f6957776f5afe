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

    /// How many descriptors have a slot.
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

    /// Gives a descriptor a slot; epoll is told of it once somebody waits.
    fn take_slot(&self, descriptor: Rc<OwnedFd>) -> Result<usize, Errno> {
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

    fn give_slot_back(&self, number: usize) {
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
        let slot = reactor.edges.take_slot(Rc::clone(&descriptor));
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
        self.reactor.edges.give_slot_back(self.slot);
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
mod tests;
