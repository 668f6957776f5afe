//! Network interfaces: the frontend of Xen's network devices (io/netif.h).
//!
//! | type | what it is |
//! | --- | --- |
//! | [`Netfront`] | a device: a [`Netif`], a task that keeps it connected, a part of [`suspend`](crate::suspend) |
//! | [`NetfrontStorage`] | the memory that it stands on |
//! | [`NetfrontConfig`] | what it may do |
//! | [`discover`] | which devices the toolstack made |
//!
//! Nothing is copied between the ring and the stack, and nothing allocated: the backend copies into the pages that it was
//! posted (`request-rx-copy`), and those go up; frames to transmit are lent from where they lie, in as many pieces as they
//! have, read-only ranges of the program among them.
//!
//! # Who wakes whom
//!
//! The backend is notified once for a batch ([`Netif::flush`]), and only if it asked to be. It notifies us of received
//! frames; of transmitted ones only when somebody waits for room, when the pool has few pages left, or when sixteen have
//! piled up: so up to fifteen pages that the backend is done with may lie in the ring until something else happens.
//!
//! # What a backend is trusted with
//!
//! It is another domain, and everything that it says is an allegation. It can keep frames from us or make them up; it
//! can't do more:
//!
//! - A received page's grant is ended before its bytes are looked at: they don't change afterwards. A page whose grant can't
//!   be ended is put out of use; after [`NetfrontConfig::quarantine_limit`] of them the device is given up.
//! - Responses are copied out once. One that names another request than its own, or bytes outside of the page, costs its
//!   frame. Frames in too many pieces, too long, too short, or with a checksum where there is none, are dropped and counted.
//! - An index that can't be, or many responses to requests that were never made, end the connection; the next one is made
//!   after a pause, which doubles.
//! - It sees the whole page that a frame lies in, not only the frame (XSA-403). What an earlier frame or an application left
//!   there is shown to it. Where the backend mustn't see that, let the pool [scrub](mirage_core::Pool::set_scrub) pages
//!   when they return.
//!
//! # Reconnection
//!
//! A backend that goes and comes back, and a suspension of the domain, look the same from above: the link was down for a
//! moment. The rings are made anew, once for each connection and by this end; what was posted is posted again, and frames that
//! no backend has answered for are sent again, in order. A peer may see such a frame twice, as on any network.
//!
//! A new backend that does less than the old one is made up for: frames in pieces are copied together, partial checksums
//! completed.

mod assembler;
mod chain;
mod config;
mod counters;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod handshake;
mod headers;
mod keys;
mod link;
mod pages;
mod receive;
mod run;
mod sum;
#[cfg(any(test, feature = "fuzzing"))]
mod testing;
#[cfg(all(test, feature = "simulated"))]
mod tests;
mod transmit;
mod tree;

use core::cell::{Cell, RefCell, RefMut};
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};

use heapless::String;
use mirage_core::event::Event;
use mirage_core::{Frame, MacAddress, Netif, NetifError, Offloads, Pool, TransmitError};

use crate::event_channel::EventChannels;
use crate::grant_table::{GrantLender, PoolGrants};
use crate::hypervisor::Hypervisor;
use crate::ring::RingPage;
use crate::suspend::{Resume, ResumeError, Stage};

pub use config::{NetfrontConfig, NetfrontError, NetfrontStorage};
pub use counters::{NetfrontCounters, ReceiveCounters, TransmitCounters};
pub use keys::{BackendFeatures, DeviceError, QueueNumber};
pub use tree::discover;

use handshake::{Effect, Handshake};
use keys::Device;
use link::Link;
use pages::GrantedPages;
use receive::{PostedPage, Receiver};
use transmit::{TransmitSlot, Transmitter};

/// Bytes of the longest `device/vif/N`.
const DIRECTORY_LENGTH: usize = "device/vif/".len() + 10;

/// A network device.
///
/// Made once; its task [`run`](Self::run) looks for the device in xenstore, connects, and connects again whenever it has
/// to. A `&'static` of it is the [`Netif`]; its address and MTU are known when [`ready`](Self::ready) is.
///
/// ```no_run
/// # use mirage_core::Pool;
/// # use mirage_core::executor::Executor;
/// # use mirage_xen::event_channel::EventChannels;
/// # use mirage_xen::grant_table::{GrantLender, PoolGrants};
/// # use mirage_xen::netfront::{Netfront, NetfrontConfig, NetfrontStorage};
/// # use mirage_xen::store::Store;
/// # use mirage_xen::suspend::Suspender;
/// # async fn example<H: mirage_xen::Hypervisor>(
/// #     executor: &'static Executor,
/// #     channels: &'static EventChannels<H>,
/// #     grants: &'static PoolGrants<H>,
/// #     lender: &'static GrantLender<H>,
/// #     storage: &'static mut NetfrontStorage,
/// #     store: &'static Store<H>,
/// #     suspender: &'static Suspender<H>,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let config = NetfrontConfig::new();
/// let netfront = Netfront::new(0, channels, grants, lender, storage, config)?;
/// let netfront: &'static Netfront<H> = Box::leak(Box::new(netfront));
/// suspender.add(netfront)?;
/// executor.spawn(netfront.run(store, executor))?.detach();
/// netfront.ready().await;
/// let mut netif = netfront; // to be given to a stack's driver
/// # let _: &mut dyn mirage_core::Netif = &mut netif;
/// # Ok(())
/// # }
/// ```
pub struct Netfront<H: Hypervisor> {
    /// `device/vif/N`.
    directory: String<DIRECTORY_LENGTH>,
    config: NetfrontConfig,
    link: RefCell<Link<H>>,
    handshake: RefCell<Handshake>,
    /// What is known of the device.
    device: RefCell<Option<Device>>,
    /// What its backend offers.
    features: Cell<BackendFeatures>,
    /// Something happened that the task is to look at.
    news: Event,
    /// The port may be another.
    port_changed: Event,
    connected: Event,
}

impl<H: Hypervisor> Netfront<H> {
    /// The device `device/vif/number`, whose pages are those of `grants`' pool. Nobody is told of it before
    /// [`run`](Self::run).
    ///
    /// Besides the storage's pages to receive into, and the configuration's to copy into, two pages of the pool are the
    /// rings'. `lender` is the device's own, of `grants`; whom it lends to is set when the backend is known.
    ///
    /// # Errors
    ///
    /// [`NetfrontError`].
    pub fn new<const RECEIVE: usize, const TRANSMIT: usize>(
        number: u32,
        channels: &'static EventChannels<H>,
        grants: &'static PoolGrants<H>,
        lender: &'static GrantLender<H>,
        storage: &'static mut NetfrontStorage<RECEIVE, TRANSMIT>,
        config: NetfrontConfig,
    ) -> Result<Self, NetfrontError> {
        let (posted, slots) = storage.parts();
        Self::with(number, channels, grants, lender, posted, slots, config)
    }

    // Once, whatever storage there is.
    fn with(
        number: u32,
        channels: &'static EventChannels<H>,
        grants: &'static PoolGrants<H>,
        lender: &'static GrantLender<H>,
        posted: &'static mut [Option<PostedPage>],
        slots: &'static mut [TransmitSlot],
        config: NetfrontConfig,
    ) -> Result<Self, NetfrontError> {
        let pool = grants.pool();
        let transmit_reserve = pool.reserve(config.transmit_pages)?;
        let receive_reserve = pool.reserve(posted.len())?;
        let receiver = Receiver::new(ring_page(pool, lender)?, receive_reserve, posted);
        let transmitter = Transmitter::new(ring_page(pool, lender)?, transmit_reserve, slots);
        let pages = GrantedPages { grants, lender };
        let link = Link::new(channels, pages, config, receiver, transmitter);
        let mut directory = String::new();
        // There is room for ten digits.
        let _ = fmt::Write::write_fmt(&mut directory, format_args!("device/vif/{number}"));
        Ok(Self {
            directory,
            config,
            link: RefCell::new(link),
            handshake: RefCell::new(Handshake::new()),
            device: RefCell::new(None),
            features: Cell::new(BackendFeatures::default()),
            news: Event::new(),
            port_changed: Event::new(),
            connected: Event::new(),
        })
    }

    /// As [`new`](Self::new), with a lender and memory from the global allocator, for the life of the program: for
    /// [`receive_pages`](NetfrontConfig::receive_pages), and 64 pieces of frames that are sent.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new).
    // Not inlined: what is built on the stack before it is moved to the heap isn't there any more when the program runs.
    #[cfg(any(feature = "alloc", test))]
    #[inline(never)]
    pub fn leak(
        number: u32,
        channels: &'static EventChannels<H>,
        grants: &'static PoolGrants<H>,
        config: NetfrontConfig,
    ) -> Result<&'static Self, NetfrontError> {
        use alloc::boxed::Box;
        use alloc::vec::Vec;

        use config::TRANSMIT_SLOTS;
        use transmit::MAXIMUM_SLOTS;

        let lender = grants.leak_lender(crate::abi::DomainId::DOM0)?;
        let mut posted = Vec::new();
        posted.resize_with(config.receive_pages.clamp(2, MAXIMUM_SLOTS), || None);
        let mut slots = Vec::new();
        slots.resize_with(TRANSMIT_SLOTS, || TransmitSlot::FREE);
        let (posted, slots) = (posted.leak(), slots.leak());
        let netfront = Self::with(number, channels, grants, lender, posted, slots, config)?;
        Ok(Box::leak(Box::new(netfront)))
    }

    /// Waits until a backend has connected, for the first time: then the address, the MTU and what is offloaded are known.
    /// For one task at a time.
    pub async fn ready(&self) {
        poll_fn(|context| {
            if self.link.borrow().was_up() {
                return Poll::Ready(());
            }
            self.connected.poll_wait(context)
        })
        .await;
    }

    /// The device's name in xenstore: `device/vif/N`.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// Pages that the backend has, to receive into.
    pub fn posted(&self) -> usize {
        self.link.borrow().posted()
    }

    /// Pieces of frames that the backend has, to transmit.
    pub fn in_flight(&self) -> usize {
        self.link.borrow().in_flight()
    }

    /// What happened so far.
    pub fn counters(&self) -> NetfrontCounters {
        self.link.borrow().counters()
    }

    /// Does something with the link; then, with nothing borrowed, lets those look whom it concerns.
    fn with_link<T>(&self, act: impl FnOnce(&mut Link<H>) -> T) -> T {
        let mut link = self.link.borrow_mut();
        let done = act(&mut link);
        self.release(link);
        done
    }

    /// The link was used: lets those look whom it concerns.
    // Once, not with each use.
    #[inline(never)]
    fn release(&self, mut link: RefMut<'_, Link<H>>) {
        let [receive, ready] = link.take_wakers();
        let fault = link.has_fault();
        drop(link);
        if let Some(waker) = receive {
            waker.wake();
        }
        if let Some(waker) = ready {
            waker.wake();
        }
        if fault {
            self.news.set();
        }
    }

    fn apply(&self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Up { carrier } => {
                self.with_link(|link| link.up(carrier));
                self.connected.set();
                let link = if carrier { "up" } else { "down" };
                log::debug!("{}: connected, link {link}", self.directory);
            }
            Effect::Down => {
                self.with_link(Link::disconnect);
                log::debug!("{}: not connected", self.directory);
            }
        }
    }
}

/// A page of the general part, as a ring's.
fn ring_page<H: Hypervisor>(
    pool: &'static Pool,
    lender: &'static GrantLender<H>,
) -> Result<RingPage, NetfrontError> {
    let page = pool.alloc().ok_or(NetfrontError::NoRingPage)?;
    RingPage::lend(page, lender).map_err(|(_, error)| error.into())
}

impl<H: Hypervisor> Netif for &'static Netfront<H> {
    fn mac(&self) -> MacAddress {
        self.link.borrow().mac()
    }

    fn mtu(&self) -> u16 {
        self.link.borrow().mtu()
    }

    fn offloads(&self) -> Offloads {
        self.link.borrow().offloads()
    }

    fn link_up(&self) -> bool {
        self.link.borrow().is_up()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, NetifError>> {
        self.with_link(|link| link.poll_receive(cx))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetifError>> {
        self.with_link(|link| link.poll_ready(cx))
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), TransmitError> {
        self.with_link(|link| link.transmit(frame))
    }

    fn flush(&mut self) -> Result<(), NetifError> {
        self.with_link(Link::flush)
    }
}

/// The toolstack has made the device anew, with another backend: it is looked for as at the start. What was posted and what was
/// in flight goes there.
impl<H: Hypervisor> Resume for Netfront<H> {
    fn stage(&self) -> Stage {
        Stage::Frontends
    }

    fn resumed(&self) -> Result<(), ResumeError> {
        let effect = self.handshake.borrow_mut().handle_resume();
        self.apply(effect);
        self.news.set();
        Ok(())
    }
}

impl<H: Hypervisor> fmt::Debug for Netfront<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Netfront")
            .field("directory", &self.directory)
            .field("device", &self.device.borrow())
            .field("handshake", &self.handshake.borrow())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
