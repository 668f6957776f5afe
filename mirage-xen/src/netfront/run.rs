//! What a device's task does: what the handshake asks for, with xenstore.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use heapless::{String, Vec};
use mirage_core::Instant;
use mirage_core::executor::Executor;

use super::Netfront;
use super::handshake::{Action, Effect, Found};
use super::keys::{
    Backend, BackendFeatures, DEVICE_KEYS, Device, DeviceError, FEATURE_KEYS, MAXIMUM_PATH,
    STATUS_KEYS, parse_features,
};
use super::link::Offer;
use super::tree::{
    VALUE, established, fits, is_missing, queue_directory, reads, values, watch_backend,
};
use crate::abi::XenError;
use crate::hypervisor::Hypervisor;
use crate::store::{Request, Store, StoreError, Watch, join2};
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
                    let mut path = [0; MAXIMUM_PATH];
                    let mut requests = [
                        self.find(&mut path),
                        Request::write_decimal((&*self.directory, "state"), state as u64),
                    ];
                    let written = self.write_all(store, &mut requests).await;
                    written.map(Done::Written)
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
        let mut rooms = [[0; VALUE]; DEVICE_KEYS.len() - 1];
        let mut state_room = [[0; VALUE]];
        let directory = &*self.directory;
        let [backend_key, others @ ..] = DEVICE_KEYS;
        // The watch first: what changes after the look fires it.
        let watch = if watches.device.is_none() {
            Some(store.begin_watch((directory, backend_key)).await?)
        } else {
            None
        };
        let [id, mac, mtu] = reads(directory, others, &mut rooms);
        let [ours] = reads(directory, ["state"], &mut state_room);
        let mut requests = [self.find(&mut path), id, mac, mtu, ours];
        store.carry_out(&mut requests).await;
        if let Some(watch) = watch {
            watch.established().await?;
            watches.device = Some(watch);
        }
        let [device @ .., ours] = values(&requests, requests.len())?;
        let device = Device::parse(device);
        let ours = ours.and_then(XenbusState::parse);
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
        let mut rooms = [[0; VALUE]; FEATURE_KEYS.len()];
        let mut status_rooms = [[0; VALUE]; STATUS_KEYS.len()];
        let known = watches.backend.as_ref();
        let new = known.is_none_or(|(known, _)| *known != path);
        let directory = &*path;
        let set = watch_backend(store, directory, new).await?;
        let [state, carrier, online] = reads(directory, STATUS_KEYS, &mut status_rooms);
        let [copy, scatter, checksum, v6, gso4, gso6] = reads(directory, FEATURE_KEYS, &mut rooms);
        let mut requests = [
            state, carrier, online, copy, scatter, checksum, v6, gso4, gso6,
        ];
        // The last three are of use with segmentation alone.
        let asked = if self.config.segmentation_offload {
            requests.len()
        } else {
            requests.len() - 3
        };
        store.carry_out(&mut requests[..asked]).await;
        if let Some(set) = set {
            established(&set).await?;
            watches.backend = Some((path.clone(), set));
        }
        let [state, carrier, online, features @ ..] = values(&requests, asked)?;
        let status = Backend::parse([state, carrier, online]);
        let features = parse_features(features);
        Ok(Done::Backend(status, features))
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
        let mut rooms = [[0; VALUE]; STATUS_KEYS.len()];
        let set = watch_backend(store, &path, watches.backend.is_none()).await?;
        let mut requests = reads(&path, STATUS_KEYS, &mut rooms);
        store.carry_out(&mut requests).await;
        if let Some(set) = set {
            established(&set).await?;
            watches.backend = Some((path.clone(), set));
        }
        Ok(Backend::parse(values(&requests, requests.len())?))
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
        let mut path = [0; MAXIMUM_PATH];
        let mut requests = Vec::<_, 10>::new();
        // There is room for all.
        let _ = requests.push(self.find(&mut path));
        let mut write = |directory, key, value| {
            let _ = requests.push(Request::write_decimal((directory, key), value));
        };
        write(&*queue, "tx-ring-ref", offer.transmit_ring.0.into());
        write(&*queue, "rx-ring-ref", offer.receive_ring.0.into());
        write(&*queue, "event-channel", offer.port.0.into());
        write(device, "request-rx-copy", 1);
        write(device, "feature-rx-notify", 1);
        write(device, "feature-sg", 1);
        if !self.config.checksum_offload {
            write(device, "feature-no-csum-offload", 1);
        }
        if self.config.takes_segments() {
            write(device, "feature-gso-tcpv4", 1);
        }
        write(device, "state", XenbusState::Connected as u64);
        self.write_all(store, &mut requests).await
    }

    /// Reads where the backend is: whether the device is there.
    fn find<'k, 'b>(&'k self, path: &'b mut [u8]) -> Request<'k, 'b> {
        let [backend, ..] = DEVICE_KEYS;
        Request::read((&*self.directory, backend), path)
    }

    /// Writes, all or none: unless the device is not there any more, since a write would make its directory anew; and
    /// unless the domain is resumed meanwhile, since then the keys are another device's. Whether they were written. The
    /// first of the requests [finds](Self::find) the device.
    async fn write_all(
        &self,
        store: &Store<H>,
        requests: &mut [Request<'_, '_>],
    ) -> Result<bool, StoreError> {
        let epoch = self.handshake.borrow().epoch();
        let is_current = || self.handshake.borrow().epoch() == epoch;
        for _ in 0..ATTEMPTS {
            let transaction = store.transaction().await?;
            // Begun before the resume, it would fail by itself; but perhaps it was only asked for then.
            if !is_current() {
                return Ok(false);
            }
            transaction.carry_out(requests).await;
            let mut results = requests.iter().map(Request::result);
            let done = match results.next() {
                Some(Err(error)) if is_missing(error) => return Ok(false),
                Some(Ok(_) | Err(StoreError::ReplyTooLong { .. })) | None => {
                    results.try_for_each(|result| result.map(|_| ()))
                }
                Some(Err(error)) => Err(error),
            };
            let committed = match done {
                Ok(()) => transaction.commit().await,
                // The transaction isn't committed then.
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
