//! What a device's task does: what the handshake asks for, with xenstore.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use heapless::String;
use mirage_core::Instant;
use mirage_core::executor::Executor;

use super::Netfront;
use super::handshake::{Action, Effect, Found};
use super::keys::{
    Backend, BackendFeatures, DEVICE_KEYS, Device, DeviceError, FEATURE_KEYS, MAXIMUM_PATH,
    parse_features,
};
use super::link::Offer;
use super::tree::{
    VALUE, fits, is_missing, queue_directory, read, read_if, read_status, watch, watch_backend,
    write,
};
use crate::abi::XenError;
use crate::hypervisor::Hypervisor;
use crate::store::{Store, StoreError, Watch, join, join2};
use crate::xenbus::XenbusState;

/// Attempts at a transaction that something else comes between.
const ATTEMPTS: u32 = 8;

/// The watches of a device, for as long as its task runs.
struct Watches<H: Hypervisor> {
    /// Of the key that says where the backend is.
    device: Option<Watch<'static, H>>,
    /// Of what the backend says of itself: its path, and its state and its carrier.
    backend: Option<(String<MAXIMUM_PATH>, [Watch<'static, H>; 2])>,
}

/// What came of an action.
enum Done {
    Device(Found),
    /// How the backend is, if that made sense, and what it offers, if that did.
    Backend(Option<Backend>, Result<BackendFeatures, DeviceError>),
    Status(Option<Backend>),
    Offered(bool),
    Written(bool),
}

/// What was waited for.
#[derive(Default)]
struct Wake {
    device: bool,
    backend: bool,
    lost: bool,
    time: bool,
    news: bool,
}

impl<H: Hypervisor> Netfront<H> {
    /// Keeps the device connected, for ever: a task of its own. It wakes whoever polls the [`Netif`](mirage_core::Netif), too.
    pub async fn run(&'static self, store: &'static Store<H>, executor: &'static Executor) -> ! {
        join2(self.dispatch(), self.keep_connected(store, executor)).await;
        // Neither ends.
        core::future::pending().await
    }

    /// Hands the port's events on to those who wait for frames or room.
    async fn dispatch(&self) {
        poll_fn(|context| {
            loop {
                let mut fired = self.port_changed.poll_wait(context).is_ready();
                fired |= self.with_link(|link| {
                    let port = link.port();
                    let fired = port.is_some_and(|port| port.event().poll_wait(context).is_ready());
                    if fired {
                        link.wake();
                    }
                    fired
                });
                if !fired {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    async fn keep_connected(&self, store: &'static Store<H>, executor: &'static Executor) {
        let mut watches = Watches {
            device: None,
            backend: None,
        };
        loop {
            self.look_at_link(executor.now());
            let (action, epoch) = {
                let handshake = self.handshake.borrow();
                (handshake.action(), handshake.epoch())
            };
            let done = match action {
                Action::Wait(until) => {
                    self.wait(&mut watches, executor, until).await;
                    continue;
                }
                Action::ReadDevice => self
                    .read_device(store, &mut watches)
                    .await
                    .map(Done::Device),
                Action::ReadBackend => self.read_backend(store, &mut watches).await,
                Action::ReadStatus => {
                    let status = self.read_backend_status(store, &mut watches).await;
                    status.map(Done::Status)
                }
                Action::Offer => self.offer(store).await.map(Done::Offered),
                Action::Write(state) => {
                    let entry = (&*self.directory, "state", Some(state as u64));
                    self.write_all(store, [entry]).await.map(Done::Written)
                }
            };
            if self.handshake.borrow().epoch() == epoch {
                self.finish(executor.now(), done);
            }
        }
    }

    /// Tells the handshake what the link has met.
    fn look_at_link(&self, now: Instant) {
        let (fault, gone) = self.with_link(|link| (link.take_fault(), link.is_gone()));
        let mut handshake = self.handshake.borrow_mut();
        let effect = if gone {
            handshake.handle_death()
        } else if fault {
            log::warn!("{}: the backend broke the rings' protocol", self.directory);
            handshake.handle_fault(now)
        } else {
            Effect::None
        };
        drop(handshake);
        self.apply(effect);
    }

    /// Tells the handshake what came of what it asked for.
    fn finish(&self, now: Instant, done: Result<Done, StoreError>) {
        let mut handshake = self.handshake.borrow_mut();
        let mut unusable = None;
        let effect = match done {
            Ok(Done::Device(found)) => handshake.handle_device(now, found),
            Ok(Done::Backend(Some(backend), features)) => {
                match features {
                    Ok(features) => self.features.set(features),
                    Err(error) => unusable = backend.has_offered().then_some(error),
                }
                handshake.handle_backend(now, backend, features.is_ok())
            }
            Ok(Done::Status(Some(backend))) => handshake.handle_status(now, backend),
            Ok(Done::Offered(made)) => handshake.handle_offered(now, made),
            Ok(Done::Written(there)) => handshake.handle_written(now, there),
            Ok(Done::Backend(None, _) | Done::Status(None)) => {
                handshake.handle_failed(now);
                Effect::None
            }
            Err(_) => {
                handshake.handle_failed(now);
                self.with_link(|link| link.counters.store_errors += 1);
                Effect::None
            }
        };
        drop(handshake);
        if let Some(error) = unusable {
            self.report(error);
        }
        self.apply(effect);
    }

    async fn wait(
        &self,
        watches: &mut Watches<H>,
        executor: &'static Executor,
        until: Option<Instant>,
    ) {
        let wake = {
            let deadline = until.unwrap_or(Instant::FAR_FUTURE);
            let mut sleep = pin!(executor.sleep_until(deadline));
            let mut device = pin!(changed(watches.device.as_mut()));
            let backend = watches.backend.as_mut().map(|(_, watches)| watches);
            let (state, carrier) = match backend {
                Some([state, carrier]) => (Some(state), Some(carrier)),
                None => (None, None),
            };
            let mut state = pin!(changed(state));
            let mut carrier = pin!(changed(carrier));
            poll_fn(|context| {
                let mut wake = Wake::default();
                let mut look = |poll: Poll<Result<(), StoreError>>, fired: &mut bool| match poll {
                    Poll::Ready(Ok(())) => *fired = true,
                    Poll::Ready(Err(_)) => wake.lost = true,
                    Poll::Pending => {}
                };
                let (mut on_device, mut on_backend) = (false, false);
                look(device.as_mut().poll(context), &mut on_device);
                look(state.as_mut().poll(context), &mut on_backend);
                look(carrier.as_mut().poll(context), &mut on_backend);
                (wake.device, wake.backend) = (on_device, on_backend);
                wake.time = until.is_some() && sleep.as_mut().poll(context).is_ready();
                wake.news = self.news.poll_wait(context).is_ready();
                if wake.device || wake.backend || wake.lost || wake.time || wake.news {
                    Poll::Ready(wake)
                } else {
                    Poll::Pending
                }
            })
            .await
        };
        let now = executor.now();
        let effect = {
            let mut handshake = self.handshake.borrow_mut();
            if wake.device {
                handshake.handle_device_change();
            }
            if wake.backend {
                handshake.handle_change();
            }
            if wake.lost {
                *watches = Watches {
                    device: None,
                    backend: None,
                };
                handshake.handle_watch_lost(now);
            }
            if wake.time {
                handshake.handle_timeout(now)
            } else {
                Effect::None
            }
        };
        self.apply(effect);
    }

    /// Reads what the toolstack wrote for us.
    async fn read_device(
        &self,
        store: &'static Store<H>,
        watches: &mut Watches<H>,
    ) -> Result<Found, StoreError> {
        let mut path = [0; MAXIMUM_PATH];
        let mut values = [[0; VALUE]; DEVICE_KEYS.len() - 1];
        let [backend, others @ ..] = DEVICE_KEYS;
        let [id, mac, mtu] = &mut values;
        let [id_key, mac_key, mtu_key] = others;
        let mut ours = [0; VALUE];
        let directory = &*self.directory;
        // The watch first: what changes after the look fires it.
        let (watch, (backend, rest)) = join2(
            watch(store, (directory, backend), watches.device.is_none()),
            join2(
                read(store, directory, backend, &mut path),
                join([
                    read(store, directory, id_key, id),
                    read(store, directory, mac_key, mac),
                    read(store, directory, mtu_key, mtu),
                    read(store, directory, "state", &mut ours),
                ]),
            ),
        )
        .await;
        if let Some(watch) = watch? {
            watches.device = Some(watch);
        }
        let [id, mac, mtu, ours] = rest;
        let device = Device::parse([backend?, id?, mac?, mtu?]);
        let ours = ours?.and_then(XenbusState::parse);
        let forgotten =
            self.handshake.borrow().has_offered() && ours != Some(XenbusState::Connected);
        Ok(match self.found(device) {
            // The toolstack wrote another state in place of ours: what we offered is nobody's.
            Found::Same if forgotten => Found::Anew,
            found => found,
        })
    }

    /// Remembers the device, and says what it is compared with the one that we knew.
    fn found(&self, device: Result<Option<Device>, DeviceError>) -> Found {
        let pages = self.link.borrow().receive_pages();
        let device = device.and_then(|device| match device {
            Some(device) if !fits(device.mtu, pages) => Err(DeviceError::ReserveTooSmall),
            device => Ok(device),
        });
        let mut known = self.device.borrow_mut();
        match device {
            Ok(None) => {
                *known = None;
                Found::Missing
            }
            Ok(Some(device)) if known.as_ref() == Some(&device) => Found::Same,
            Ok(Some(device)) => {
                *known = Some(device);
                Found::Other
            }
            Err(error) => {
                *known = None;
                drop(known);
                self.report(error);
                Found::Unusable
            }
        }
    }

    /// Watches the backend and reads what it says of itself.
    async fn read_backend(
        &self,
        store: &'static Store<H>,
        watches: &mut Watches<H>,
    ) -> Result<Done, StoreError> {
        let mut path = String::<MAXIMUM_PATH>::new();
        if let Some(device) = &*self.device.borrow() {
            path = device.backend.clone();
        }
        let mut values = [[0; VALUE]; FEATURE_KEYS.len()];
        let [copy, scatter, checksum, v6, gso4, gso6] = &mut values;
        let [
            copy_key,
            scatter_key,
            checksum_key,
            v6_key,
            gso4_key,
            gso6_key,
        ] = FEATURE_KEYS;
        let new = watches
            .backend
            .as_ref()
            .is_none_or(|(known, _)| *known != path);
        let directory = &*path;
        let more = self.config.segmentation_offload;
        let (set, (status, features)) = join2(
            watch_backend(store, directory, new),
            join2(
                read_status(store, directory),
                join([
                    read_if(true, store, directory, copy_key, copy),
                    read_if(true, store, directory, scatter_key, scatter),
                    read_if(true, store, directory, checksum_key, checksum),
                    read_if(more, store, directory, v6_key, v6),
                    read_if(more, store, directory, gso4_key, gso4),
                    read_if(more, store, directory, gso6_key, gso6),
                ]),
            ),
        )
        .await;
        if let Some(set) = set? {
            watches.backend = Some((path.clone(), set));
        }
        let [copy, scatter, checksum, v6, gso4, gso6] = features;
        let features = parse_features([copy?, scatter?, checksum?, v6?, gso4?, gso6?]);
        Ok(Done::Backend(status?, features))
    }

    /// Reads the backend's state.
    async fn read_backend_status(
        &self,
        store: &'static Store<H>,
        watches: &mut Watches<H>,
    ) -> Result<Option<Backend>, StoreError> {
        let mut path = String::<MAXIMUM_PATH>::new();
        if let Some(device) = &*self.device.borrow() {
            path = device.backend.clone();
        }
        let lost = watches.backend.is_none();
        let (set, status) =
            join2(watch_backend(store, &path, lost), read_status(store, &path)).await;
        if let Some(set) = set? {
            watches.backend = Some((path.clone(), set));
        }
        status
    }

    /// Makes the rings, and tells the backend where they are. Whether that could be done.
    async fn offer(&self, store: &'static Store<H>) -> Result<bool, StoreError> {
        let device = self.device.borrow().clone();
        let Some(device) = device else {
            return Ok(false);
        };
        let features = self.features.get();
        let mtu = device.mtu.min(features.largest_mtu());
        let offer =
            self.with_link(|link| link.connect(device.backend_id, device.mac, mtu, features));
        self.port_changed.set();
        match offer {
            Ok(offer) => self.write_offer(store, offer).await,
            Err(error) => {
                log::warn!("{}: {error}", self.directory);
                self.with_link(|link| link.counters.offers_failed += 1);
                Ok(false)
            }
        }
    }

    /// Writes where the rings are, what we take, and our state, all at once.
    async fn write_offer(&self, store: &Store<H>, offer: Offer) -> Result<bool, StoreError> {
        let device = &*self.directory;
        let queue = queue_directory(device, offer.queue);
        let on = Some(1);
        let flag = |is_on: bool| is_on.then_some(1);
        let connected = XenbusState::Connected as u64;
        let no_checksums = flag(!self.config.checksum_offload);
        let segments = flag(self.config.takes_segments());
        let entries = [
            (&*queue, "tx-ring-ref", Some(offer.transmit_ring.0.into())),
            (&*queue, "rx-ring-ref", Some(offer.receive_ring.0.into())),
            (&*queue, "event-channel", Some(offer.port.0.into())),
            (device, "request-rx-copy", on),
            (device, "feature-rx-notify", on),
            (device, "feature-sg", on),
            (device, "feature-no-csum-offload", no_checksums),
            (device, "feature-gso-tcpv4", segments),
            (device, "state", Some(connected)),
        ];
        self.write_all(store, entries).await
    }

    /// Writes numbers, all or none: unless the device is not there any more, since a write would make its directory anew; and
    /// unless the domain is resumed meanwhile, since then the keys are another device's. Whether they were written.
    async fn write_all<const N: usize>(
        &self,
        store: &Store<H>,
        entries: [(&str, &str, Option<u64>); N],
    ) -> Result<bool, StoreError> {
        let [backend, ..] = DEVICE_KEYS;
        let epoch = self.handshake.borrow().epoch();
        let is_current = || self.handshake.borrow().epoch() == epoch;
        for _ in 0..ATTEMPTS {
            let transaction = store.transaction().await?;
            // Begun before the resume, it would fail by itself; but perhaps it was only asked for then.
            if !is_current() {
                return Ok(false);
            }
            let mut path = [0; MAXIMUM_PATH];
            let (found, written) = join2(
                transaction.read((&*self.directory, backend), &mut path),
                join(entries.map(|entry| write(&transaction, entry))),
            )
            .await;
            let done = match found {
                Ok(_) | Err(StoreError::ReplyTooLong { .. }) => written.into_iter().collect(),
                // The transaction isn't committed then.
                Err(error) if is_missing(error) => return Ok(false),
                Err(error) => Err(error),
            };
            let committed = match done {
                Ok(()) => transaction.commit().await,
                Err(error) => Err(error),
            };
            match committed {
                Ok(()) => return Ok(true),
                Err(error) if error.is_try_again() && is_current() => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Refused(XenError::TryAgain))
    }

    fn report(&self, error: DeviceError) {
        log::warn!("{}: {error}", self.directory);
        self.with_link(|link| link.counters.unusable += 1);
    }
}

/// The next event of a watch, if there is one.
async fn changed<H: Hypervisor>(watch: Option<&mut Watch<'static, H>>) -> Result<(), StoreError> {
    match watch {
        Some(watch) => watch.changed().await,
        None => core::future::pending().await,
    }
}
