//! A domain put together: what each appliance's main function needs before its own business.
//!
//! | type | what it is |
//! | --- | --- |
//! | [`Machine`] | event channels, clock, executor, pool and grants, xenstore, randomness, the toolstack's commands |
//! | [`News`] | what the toolstack did or wants |
//! | [`MachineError`] | why there is none |
//!
//! Nothing is decided here that one of the modules below doesn't offer by itself: whoever wants another arrangement takes the
//! parts. Its memory comes from the global allocator, once, at the start.
//!
//! ```no_run
//! # use mirage_core::Netif;
//! # use mirage_xen::{Hypervisor, abi::shutdown::ShutdownReason};
//! # use mirage_xen::machine::{Machine, MachineError, News};
//! async fn appliance<H: Hypervisor>(machine: &'static Machine<H>) -> Result<ShutdownReason, MachineError> {
//!     let netfront = machine.network().await?; // connected
//!     let rng = machine.rng().await?;
//!     log::info!("{} with an MTU of {}", netfront.mac(), netfront.mtu());
//!     // … a stack on the netfront, seeded by the rng, driven until there is news:
//!     loop {
//!         match machine.news().await {
//!             News::End(reason) => return Ok(reason),
//!             News::Resumed => {
//!                 machine.rng().await?; // again: waits until it was reseeded
//!             }
//!         }
//!     }
//! }
//! ```

#[cfg(feature = "boot")]
mod native;

#[cfg(feature = "boot")]
pub use native::{MAXIMUM_IO_PAGES, MINIMUM_IO_PAGES, StartError, start_logging};

use alloc::boxed::Box;
use core::cell::{Cell, OnceCell};
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;

use mirage_core::event::Event;
use mirage_core::executor::{Executor, SpawnError};
use mirage_core::{Clock, Instant, Pool};

use crate::abi::grant::RESERVED_ENTRIES;
use crate::abi::shutdown::{ShutdownReason, Suspended};
use crate::clock::XenClock;
use crate::connection::ConnectError;
use crate::console::Console;
use crate::control::{Control, ShutdownRequest};
use crate::entropy::{EntropyError, SEED_KEY, SEED_LENGTH, XenRng};
use crate::event_channel::EventChannels;
use crate::grant_table::{GrantError, GrantTable, PoolGrants};
use crate::hypervisor::Hypervisor;
use crate::netfront::{self, Netfront, NetfrontConfig, NetfrontError};
use crate::platform::{XenPlatform, XenUnparker};
use crate::store::{Store, StoreError};
use crate::suspend::{SuspendError, Suspender, TooManyParts};

/// How long xenstored gets to answer what was asked before a suspension. What isn't answered then is asked again afterwards.
const QUIESCE_LIMIT: Duration = Duration::from_secs(2);

/// How long the console gets to take what the domain says at its end.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// Bytes that are read of a seed: it may be the hexadecimal digits of as many as are wanted, or twice that.
const SEED_BUFFER: usize = 4 * SEED_LENGTH;

/// Grant references besides those of the pool's pages: what the toolstack reserved, and pages of static ranges.
const FURTHER_REFERENCES: u32 = RESERVED_ENTRIES + 128;

/// Pages of a network device to receive into, in a pool of so many.
fn receive_pages(blocks: usize) -> usize {
    (blocks / 4).clamp(64, 256)
}

/// A domain's parts, put together. One for a domain.
pub struct Machine<H: Hypervisor> {
    hypervisor: &'static H,
    clock: &'static XenClock<H>,
    executor: &'static Executor,
    channels: &'static EventChannels<H>,
    grants: &'static PoolGrants<H>,
    store: &'static Store<H>,
    console: Option<&'static Console<H>>,
    suspender: &'static Suspender<H>,
    rng: OnceCell<&'static XenRng<H>>,
    network: OnceCell<&'static Netfront<H>>,
    /// The domain was resumed, and nobody was told yet.
    resumed: Event,
    /// The toolstack wants the domain to end.
    end: Event,
    end_reason: Cell<ShutdownReason>,
    started: Instant,
}

/// What the toolstack did, or wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The domain was suspended, and this is another one, perhaps on another machine. Before anything is sent, whatever was
    /// seeded from the [`rng`](Machine::rng) has to be seeded anew.
    Resumed,
    /// The domain should end, with this reason.
    End(ShutdownReason),
}

impl<H: Hypervisor> Machine<H> {
    /// Puts a domain together, for the life of the program: `pool` is its I/O pages, blocks of 4,096 bytes; `entered` is what the
    /// time stamp counter was when it started, if that is known. Spawns the tasks that move xenstore's ring and hear the
    /// toolstack; nothing runs before the [`executor`](Self::executor) does.
    ///
    /// # Errors
    ///
    /// [`MachineError`].
    // Not inlined: what is built on the stack before it is moved to the heap isn't there any more when the program runs.
    #[inline(never)]
    pub fn leak(
        hypervisor: &'static H,
        pool: &'static Pool,
        unparker: &'static XenUnparker,
        entered: Option<u64>,
    ) -> Result<&'static Self, MachineError> {
        let channels = EventChannels::leak(hypervisor);
        let clock = XenClock::leak(hypervisor);
        let age = entered.and_then(|ticks| clock.since(ticks));
        let platform: &'static XenPlatform<H> =
            Box::leak(Box::new(XenPlatform::new(channels, clock, unparker)));
        let executor = Executor::leak(platform);
        let blocks = u32::try_from(pool.blocks()).unwrap_or(u32::MAX);
        let table = GrantTable::leak(hypervisor, blocks.saturating_add(FURTHER_REFERENCES))?;
        let grants = table.leak_pool(pool)?;
        let store = Store::leak(channels)?;
        // A domain whose console can't be used is silent, and works.
        let console = Console::leak(channels).ok();
        let suspender = Suspender::leak(hypervisor);
        suspender.add(channels)?;
        suspender.add(clock)?;
        suspender.add(table)?;
        suspender.add(store)?;
        let machine: &'static Self = Box::leak(Box::new(Self {
            hypervisor,
            clock,
            executor,
            channels,
            grants,
            store,
            console,
            suspender,
            rng: OnceCell::new(),
            network: OnceCell::new(),
            resumed: Event::new(),
            end: Event::new(),
            end_reason: Cell::new(ShutdownReason::PowerOff),
            started: clock.now().saturating_sub(age.unwrap_or_default()),
        }));
        if let Some(console) = console {
            suspender.add(console)?;
            executor.spawn(console.run())?.detach();
        }
        executor.spawn(store.run())?.detach();
        executor.spawn(machine.obey())?.detach();
        Ok(machine)
    }

    /// The hypervisor.
    pub fn hypervisor(&self) -> &'static H {
        self.hypervisor
    }

    /// What tasks run on.
    pub fn executor(&self) -> &'static Executor {
        self.executor
    }

    /// The clock.
    pub fn clock(&self) -> &'static XenClock<H> {
        self.clock
    }

    /// The event channels.
    pub fn channels(&self) -> &'static EventChannels<H> {
        self.channels
    }

    /// The I/O pages.
    pub fn pool(&self) -> &'static Pool {
        self.grants.pool()
    }

    /// The I/O pages' grants.
    pub fn grants(&self) -> &'static PoolGrants<H> {
        self.grants
    }

    /// Xenstore.
    pub fn store(&self) -> &'static Store<H> {
        self.store
    }

    /// The console, if the toolstack made one.
    pub fn console(&self) -> Option<&'static Console<H>> {
        self.console
    }

    /// Waits until the console has taken what was said, but not for long: before the domain ends.
    pub async fn drain_console(&self) {
        if let Some(console) = self.console {
            // If nobody reads it, it is lost.
            let _ = self.executor.timeout(DRAIN_LIMIT, console.drain()).await;
        }
    }

    /// What takes the domain through suspensions: for parts of the program that have to know.
    pub fn suspender(&self) -> &'static Suspender<H> {
        self.suspender
    }

    /// How long the domain has run: since the image's first instruction, where that is known; without what it was suspended.
    pub fn uptime(&self) -> Duration {
        self.clock.now().saturating_duration_since(self.started)
    }

    /// The random source: seeded at the first call, from the processor and from the toolstack's seed. After a resume, it waits
    /// until there is new entropy.
    ///
    /// # Errors
    ///
    /// [`MachineError::Entropy`]: there is none. [`MachineError::Store`].
    pub async fn rng(&self) -> Result<&'static XenRng<H>, MachineError> {
        let mut buffer = [0; SEED_BUFFER];
        let mut watch = None;
        loop {
            if let Some(rng) = self.rng.get() {
                if rng.is_ready() {
                    return Ok(rng);
                }
                // The processor has given nothing: the toolstack has to.
                let watch = match &mut watch {
                    Some(watch) => watch,
                    None => watch.insert(self.store.begin_watch(SEED_KEY).await?),
                };
                watch.changed().await?;
            }
            let seed = self.take_seed(&mut buffer).await?;
            self.seed(seed)?;
        }
    }

    /// Makes the random source, or seeds it anew if it has to be.
    fn seed(&self, seed: Option<&[u8]>) -> Result<(), MachineError> {
        match self.rng.get() {
            None => {
                let rng = XenRng::leak(self.hypervisor, seed)?;
                self.suspender.add(*self.rng.get_or_init(|| rng))?;
            }
            // Another task was first.
            Some(rng) if rng.is_ready() => {}
            Some(rng) => {
                if let (Err(error), Some(_)) = (rng.reseed(seed), seed) {
                    log::warn!("the toolstack's seed is none: {error}");
                }
            }
        }
        Ok(())
    }

    /// Reads the toolstack's seed, and removes it: it is for this domain, once.
    async fn take_seed<'b>(
        &self,
        buffer: &'b mut [u8; SEED_BUFFER],
    ) -> Result<Option<&'b [u8]>, MachineError> {
        match self.store.read(SEED_KEY, buffer).await {
            Ok(seed) => {
                match self.store.remove(SEED_KEY).await {
                    Err(error) if !error.is_not_found() => {
                        log::warn!("the seed stays in xenstore: {error}");
                    }
                    _ => {}
                }
                Ok(Some(seed))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The first network device that the toolstack made, connected; the same at each call. A quarter of the pool's pages is there to
    /// receive into, and 64 at least; with 256, of a pool of 1,024 pages or more, the backend has room for fifteen frames of 64 KiB.
    ///
    /// # Errors
    ///
    /// [`MachineError::NoNetwork`], [`MachineError::Network`], [`MachineError::Store`].
    pub async fn network(&self) -> Result<&'static Netfront<H>, MachineError> {
        let netfront = match self.network.get() {
            Some(netfront) => netfront,
            None => {
                let devices = netfront::discover::<H, 1>(self.store).await?;
                let number = *devices.first().ok_or(MachineError::NoNetwork)?;
                match self.network.get() {
                    // Another task was first.
                    Some(netfront) => netfront,
                    None => {
                        let mut config = NetfrontConfig::new();
                        config.receive_pages = receive_pages(self.pool().blocks());
                        let netfront = self.connect(number, config)?;
                        self.network.get_or_init(|| netfront)
                    }
                }
            }
        };
        netfront.ready().await;
        Ok(netfront)
    }

    /// Makes the network device of that number known to all that have to know it, and lets its task connect it.
    ///
    /// # Errors
    ///
    /// [`MachineError::Network`], [`MachineError::Spawn`], [`MachineError::Parts`].
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub fn connect(
        &self,
        number: u32,
        config: NetfrontConfig,
    ) -> Result<&'static Netfront<H>, MachineError> {
        let netfront = Netfront::leak(number, self.channels, self.grants, config)?;
        self.suspender.add(netfront)?;
        self.executor
            .spawn(netfront.run(self.store, self.executor))?
            .detach();
        Ok(netfront)
    }

    /// Waits for what the toolstack did or wants. For one task.
    pub async fn news(&self) -> News {
        poll_fn(|context| self.poll_news(context)).await
    }

    /// As [`news`](Self::news). Looked at before anything else that is waited for, a resume is known of before
    /// anything is sent in the new domain.
    pub fn poll_news(&self, context: &mut Context<'_>) -> Poll<News> {
        if self.resumed.poll_wait(context).is_ready() {
            return Poll::Ready(News::Resumed);
        }
        self.end
            .poll_wait(context)
            .map(|()| News::End(self.end_reason.get()))
    }

    /// Does what the toolstack says, for ever.
    async fn obey(&'static self) {
        let mut control = None;
        loop {
            let heard = match &mut control {
                Some(control) => Control::next(control).await.map(Some),
                None => Control::new(self.store).await.map(|new| {
                    control = Some(new);
                    None
                }),
            };
            match heard {
                Ok(None) => {}
                Ok(Some(ShutdownRequest::Suspend)) => self.suspend().await,
                Ok(Some(request)) => self.end_as(&request),
                Err(error) => {
                    log::error!("the toolstack can't be heard: {error}");
                    self.executor.sleep(QUIESCE_LIMIT).await;
                }
            }
        }
    }

    /// Ends the domain, if that is what the toolstack asks for.
    fn end_as(&self, request: &ShutdownRequest) {
        match request {
            ShutdownRequest::PowerOff | ShutdownRequest::Halt => {
                self.finish(ShutdownReason::PowerOff);
            }
            ShutdownRequest::Reboot => self.finish(ShutdownReason::Reboot),
            ShutdownRequest::Crash => {
                log::error!("the toolstack asks for a crash");
                self.hypervisor.shutdown(ShutdownReason::Crash);
            }
            request => log::warn!("the toolstack asks for {request}, which is not known"),
        }
    }

    fn finish(&self, reason: ShutdownReason) {
        self.end_reason.set(reason);
        self.end.set();
    }

    async fn suspend(&self) {
        let quiet = self
            .executor
            .timeout(QUIESCE_LIMIT, self.store.quiesce())
            .await;
        self.suspend_now(quiet.is_ok());
        // Requests are sent again from here on.
        drop(quiet);
    }

    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    fn suspend_now(&self, quiet: bool) {
        if !quiet {
            log::warn!("xenstored is slow: suspended with requests outstanding");
        }
        match self.suspender.suspend() {
            Ok(Suspended::Resumed) => {
                self.resumed.set();
                log::info!("resumed");
            }
            Ok(Suspended::Cancelled) => log::info!("the suspension was cancelled"),
            Err(error) => {
                log::error!("{error}");
                if !matches!(error, SuspendError::Refused(_)) {
                    // What is left of the domain is of no use to anybody, and the toolstack should know. The console may
                    // not have been set up again: then nobody has seen the line.
                    let said = alloc::format!("mirage: {error}\r\n");
                    self.hypervisor.write_emergency_console(said.as_bytes());
                    self.hypervisor.shutdown(ShutdownReason::Crash);
                }
            }
        }
    }
}

impl<H: Hypervisor> fmt::Debug for Machine<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("uptime", &self.uptime())
            .field("store", &self.store.counters())
            .field("suspender", self.suspender)
            .finish_non_exhaustive()
    }
}

/// Why a domain can't be put together, or lacks what was asked for. Says whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MachineError {
    /// The toolstack's: no xenstore.
    Connect(ConnectError),
    /// Xen's, or the configuration's: pages can't be granted.
    Grant(GrantError),
    /// The configuration's: there is no entropy.
    Entropy(EntropyError),
    /// Xenstored's.
    Store(StoreError),
    /// The toolstack's configuration: it made no network device.
    NoNetwork,
    /// The configuration's: the network device can't be made.
    Network(NetfrontError),
    /// The program's: there is no memory for another task.
    Spawn(SpawnError),
    /// The program's: too many parts.
    Parts(TooManyParts),
}

macro_rules! from {
    ($($error:ident => $variant:ident,)*) => {
        $(impl From<$error> for MachineError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

from! {
    ConnectError => Connect,
    GrantError => Grant,
    EntropyError => Entropy,
    StoreError => Store,
    NetfrontError => Network,
    SpawnError => Spawn,
    TooManyParts => Parts,
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "no xenstore: {error}"),
            Self::Grant(error) => error.fmt(f),
            Self::Entropy(error) => error.fmt(f),
            Self::Store(error) => write!(f, "xenstore: {error}"),
            Self::NoNetwork => {
                f.write_str("the domain has no network device: its configuration has no `vif`")
            }
            Self::Network(error) => write!(f, "no network device can be made: {error}"),
            Self::Spawn(error) => error.fmt(f),
            Self::Parts(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MachineError {}
