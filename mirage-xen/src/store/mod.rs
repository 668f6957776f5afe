//! Xenstore's client: asynchronous, with many requests outstanding at a time.
//!
//! Xenstore is a small tree of keys and values that a domain and those who manage it speak through
//! (docs/misc/xenstore.txt). The [`Store`] is one for a domain; its task [`run`](Store::run) moves the ring.
//!
//! | | |
//! | --- | --- |
//! | [`read`](Store::read), [`write`](Store::write), [`directory`](Store::directory), … | each a future; what is polled together costs one round trip |
//! | [`carry_out`](Store::carry_out) | several [`Request`]s together, in one small future |
//! | [`join`], [`join2`] | poll several together |
//! | [`watch`](Store::watch) | a [`Watch`] is told of changes below a key |
//! | [`transaction`](Store::transaction), [`transact`](Store::transact) | all of it or nothing |
//! | [`quiesce`](Store::quiesce), [`restored`](Store::restored) | before and after the domain is suspended |
//!
//! A request has a place among those that can be outstanding from when it is first polled until it has given its
//! reply or is dropped, so whoever holds many polls all of them, as [`join`] does; further ones wait for a place,
//! first come first served.
//!
//! A request that was sent is owned by the store until it is answered: dropping its future loses nothing but the
//! reply. Replies are matched by their id. Whatever xenstored sends that was not asked for is dropped and counted
//! ([`StoreCounters`]); nothing that it sends can do more than to fail requests.
//!
//! Values are bytes; keys ([`Key`]) are checked before they are sent. Names in replies are an allegation as everything
//! is that comes from there.

mod counters;
mod directory;
mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod join;
mod key;
mod operations;
mod permissions;
mod places;
mod protocol;
mod request;
mod ring;
mod storage;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod text;
mod transaction;
mod watch;

use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};

use mirage_core::event::Event;

pub use counters::StoreCounters;
pub use directory::Names;
pub use error::{StoreError, StoreFault};
pub use join::{join, join2};
pub use key::{Key, KeyError};
pub use permissions::{Access, Permission, Permissions};
pub use request::Request;
pub use storage::{StoreMemory, StoreStorage};
pub use text::{Decimal, parse_decimal};
pub use transaction::Transaction;
pub use watch::{Watch, WatchEvent};

use self::places::Places;
use self::protocol::{Protocol, Tree};
use self::ring::Ring;
use crate::abi::parameter::Parameter;
use crate::abi::xs_wire::{ServerFeatures, XENSTORE_RING_SIZE};
use crate::connection::{self, ConnectError};
use crate::event_channel::{EventChannels, EventPort};
use crate::hypervisor::Hypervisor;
use crate::suspend::{Resume, ResumeError, Stage};

/// How many bytes go between the ring and the machine at a time.
const PIECE: usize = 256;
/// How many bytes one turn takes from the ring at most, before others run: all that xenstored can have put there.
const BUDGET: usize = 4 * XENSTORE_RING_SIZE;

/// The domain's connection to xenstored. One for a domain, for the life of the program.
///
/// ```no_run
/// # use mirage_xen::store::{Store, StoreError, join};
/// # async fn example<H: mirage_xen::Hypervisor>(store: &'static Store<H>) -> Result<(), StoreError> {
/// let mut buffer = [0; 64];
/// let name = store.read("name", &mut buffer).await?;
///
/// // Together: one round trip.
/// let [state, handle] = join([
///     store.read_decimal("device/vif/0/state"),
///     store.read_decimal("device/vif/0/handle"),
/// ]).await;
///
/// let mut watch = store.watch(("device/vif/0", "state")).await?;
/// loop {
///     watch.changed().await?; // once at the beginning, too
///     if store.read_decimal("device/vif/0/state").await? == 4 {
///         break;
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Store<H: Hypervisor> {
    channels: &'static EventChannels<H>,
    protocol: RefCell<Protocol<'static>>,
    ring: RefCell<Ring>,
    port: RefCell<EventPort<H>>,
    /// There is something to send, or the port is another.
    attention: Event,
    small_places: Places,
    large_place: Places,
    watch_places: Places,
    transaction_places: Places,
    epoch: Cell<u32>,
}

impl<H: Hypervisor> Store<H> {
    /// The connection that the toolstack has made for the domain. Sends nothing before [`run`](Self::run) runs.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], if there is none that could be used. `memory` is lost then.
    pub fn new(
        channels: &'static EventChannels<H>,
        memory: StoreMemory,
    ) -> Result<Self, ConnectError> {
        let ring = Ring::new(channels.hypervisor().store_page()?);
        let port = connection::adopt(channels, Parameter::StorePort)?;
        let store = Self {
            channels,
            small_places: Places::new(memory.0.requests.len()),
            large_place: Places::new(1),
            watch_places: Places::new(memory.0.watches.len()),
            transaction_places: Places::new(memory.0.transactions.len()),
            protocol: RefCell::new(Protocol::new(memory.0)),
            ring: RefCell::new(ring),
            port: RefCell::new(port),
            attention: Event::new(),
            epoch: Cell::new(0),
        };
        store.renew(Tree::New);
        Ok(store)
    }

    /// As [`new`](Self::new), with the default [`StoreStorage`] from the allocator, for the life of the program.
    ///
    /// # Errors
    ///
    /// As there.
    #[cfg(any(feature = "alloc", test))]
    #[inline(never)]
    pub fn leak(channels: &'static EventChannels<H>) -> Result<&'static Self, ConnectError> {
        let store = Self::new(channels, StoreMemory::leak())?;
        Ok(alloc::boxed::Box::leak(alloc::boxed::Box::new(store)))
    }

    /// Moves the ring, for ever: a task of its own. It is woken by events on the port, and by requests.
    pub async fn run(&self) -> ! {
        loop {
            let more = poll_fn(|context| self.poll_attention(context).map(|()| self.turn())).await;
            if more {
                // Others first.
                self.attention.set();
                mirage_core::executor::yield_now().await;
            }
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> StoreCounters {
        self.protocol.borrow().counters()
    }

    /// How often the domain was resumed: what was written to another epoch's tree isn't in this one's.
    pub fn epoch(&self) -> u32 {
        self.epoch.get()
    }

    /// What xenstored says that it can.
    pub fn features(&self) -> ServerFeatures {
        self.ring.borrow().features()
    }

    /// Before the domain is suspended: sends no further requests, and waits until all that were sent are answered.
    /// They are sent again from when what this returns is dropped; those that are made meanwhile wait.
    ///
    /// A xenstored that does not answer makes this wait for ever: bound it by a timeout. What is outstanding then is
    /// dealt with by [`restored`](Self::restored). Transactions may be open; they end in
    /// [`TryAgain`](crate::abi::XenError::TryAgain) if the domain is resumed, and go on if that was cancelled.
    pub async fn quiesce(&self) -> Quiet<'_, H> {
        self.protocol.borrow_mut().hold();
        let quiet = Quiet { store: self };
        poll_fn(|context| self.protocol.borrow_mut().poll_quiet(context)).await;
        quiet
    }

    /// After the domain was resumed as another one, not after a cancelled suspension: takes up the ring, whose page
    /// the toolstack has cleared, and its new port. [`Resume`] calls it.
    ///
    /// Watches are set again, and each fires once. Open transactions end in
    /// [`TryAgain`](crate::abi::XenError::TryAgain), with what was asked in them. All else that was outstanding is
    /// sent again: the domain's part of the tree is a new one, in which none of it was carried out.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]: there is no ring. What was asked waits for ever.
    pub fn restored(&self) -> Result<(), ConnectError> {
        let ring = Ring::new(self.channels.hypervisor().store_page()?);
        let port = connection::adopt(self.channels, Parameter::StorePort)?;
        self.ring.replace(ring);
        self.port.replace(port);
        self.epoch.set(self.epoch.get().wrapping_add(1));
        self.renew(Tree::New);
        // The task has to look at the new port's token.
        self.attention.set();
        Ok(())
    }

    /// Ready when there may be something to do.
    fn poll_attention(&self, context: &mut Context<'_>) -> Poll<()> {
        // Both, so that both know whom to wake. The events are taken before the ring is looked at.
        let attention = self.attention.poll_wait(context);
        let event = self.port.borrow().event().poll_wait(context);
        if attention.is_pending() && event.is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Takes what is in the ring, and sends what there is to send. Whether there may be more to take.
    fn turn(&self) -> bool {
        let reconnecting = self.protocol.borrow().reconnecting();
        if let Some(tree) = reconnecting {
            self.renew(tree);
        }
        let result = self
            .receive()
            .and_then(|received| Ok((received, self.transmit()?)));
        let (more, notify) = match result {
            Ok(((more, was_full), sent)) => (more, was_full || sent),
            Err(fault) => (false, self.fail(fault)),
        };
        if notify {
            self.notify();
        }
        more
    }

    /// Takes what is in the ring, up to the budget: whether there may be more, and whether xenstored waits for room.
    fn receive(&self) -> Result<(bool, bool), StoreFault> {
        let mut piece = [0; PIECE];
        let mut notify = false;
        let mut taken = 0;
        while self.protocol.borrow().is_up() {
            let ring = self.ring.borrow();
            let (length, was_full) = ring.take(&mut piece)?;
            notify |= was_full;
            if length == 0 {
                ring.ended()?;
                return Ok((false, notify));
            }
            drop(ring);
            let mut bytes = &piece[..length];
            while !bytes.is_empty() {
                let handled = self.protocol.borrow_mut().handle_bytes(bytes)?;
                bytes = bytes.get(handled..).unwrap_or_default();
                self.settle();
            }
            taken += length;
            if taken >= BUDGET {
                return Ok((true, notify));
            }
        }
        Ok((false, notify))
    }

    /// Puts into the ring what fits. Whether that was anything.
    fn transmit(&self) -> Result<bool, StoreFault> {
        let mut piece = [0; PIECE];
        let mut any = false;
        let ring = self.ring.borrow();
        let mut protocol = self.protocol.borrow_mut();
        while protocol.has_output() {
            let free = ring.free()? as usize;
            let length = protocol.poll_transmit(&mut piece[..free.min(PIECE)]);
            if length == 0 {
                break;
            }
            ring.put(&piece[..length]);
            any = true;
        }
        if any {
            ring.publish();
        }
        Ok(any)
    }

    /// Takes the ring up again, if it is set up.
    fn renew(&self, tree: Tree) {
        let attached = {
            let ring = self.ring.borrow();
            ring.is_connected().then(|| ring.attach())
        };
        let mut protocol = self.protocol.borrow_mut();
        match attached {
            None => protocol.handle_disconnection(tree),
            Some(Ok(stale)) => {
                protocol.counters_mut().stale_bytes += u64::from(stale);
                protocol.handle_renewal(tree);
            }
            Some(Err(fault)) => {
                drop(protocol);
                if self.fail(fault) {
                    self.notify();
                }
                return;
            }
        }
        drop(protocol);
        self.settle();
    }

    /// The ring can't be used. Whether xenstored has to be told.
    fn fail(&self, fault: StoreFault) -> bool {
        let ring = self.ring.borrow();
        let offered = ring.features().contains(ServerFeatures::RECONNECTION);
        let again = self.protocol.borrow_mut().handle_fault(fault, offered);
        if again {
            ring.reconnect();
        }
        drop(ring);
        self.settle();
        again
    }

    fn notify(&self) {
        let result = self.port.borrow().notify();
        let mut protocol = self.protocol.borrow_mut();
        let counters = protocol.counters_mut();
        match result {
            Ok(()) => counters.notifications += 1,
            Err(_) => counters.notify_errors += 1,
        }
    }

    /// Wakes those who have something to look at, and lets in those who wait for a place.
    fn settle(&self) {
        loop {
            // What is woken may come here: nothing is borrowed meanwhile.
            let waker = self.protocol.borrow_mut().poll_wake();
            let Some(waker) = waker else {
                break;
            };
            waker.wake();
        }
        let freed = self.protocol.borrow_mut().poll_freed();
        for _ in 0..freed.small {
            self.small_places.give_back();
        }
        for _ in 0..freed.large {
            self.large_place.give_back();
        }
        let (watches, transactions) = self.protocol.borrow().in_use();
        self.watch_places.keep(watches);
        self.transaction_places.keep(transactions);
    }
}

impl<H: Hypervisor> Resume for Store<H> {
    fn stage(&self) -> Stage {
        Stage::Store
    }

    fn resumed(&self) -> Result<(), ResumeError> {
        Ok(self.restored()?)
    }
}

impl<H: Hypervisor> fmt::Debug for Store<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

/// No request is outstanding, and none is sent, until this is dropped.
#[must_use = "requests are sent again when it is dropped"]
pub struct Quiet<'s, H: Hypervisor> {
    store: &'s Store<H>,
}

impl<H: Hypervisor> Drop for Quiet<'_, H> {
    fn drop(&mut self) {
        self.store.protocol.borrow_mut().release();
        self.store.attention.set();
    }
}

impl<H: Hypervisor> fmt::Debug for Quiet<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quiet").finish_non_exhaustive()
    }
}
