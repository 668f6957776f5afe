//! What a device's task does: what the handshake asks for, with xenstore.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};

use heapless::{String, Vec};
use mirage_core::Instant;
use mirage_core::executor::Executor;

use super::Netfront;
use super::handshake::{Action, Effect, Found, Subject};
use super::keys::{
    BACKEND_KEYS, Backend, BackendFeatures, DEVICE_KEYS, Device, DeviceError, MAXIMUM_PATH,
    STATUS_KEYS, Value, parse_features,
};
use super::link::Offer;
use super::tree::{KEYS, Room, fits, is_missing, queue_directory, values};
use crate::abi::XenError;
use crate::hypervisor::Hypervisor;
use crate::store::{Request, Store, StoreError, Watch};
use crate::xenbus::XenbusState;

/// Attempts at a transaction that something else comes between.
const ATTEMPTS: u32 = 8;

/// The watches of a device, for as long as its task runs.
struct Watches<H: Hypervisor> {
    /// Of the key that says where the backend is.
    device: Option<Watch<'static, H>>,
    /// Of what a backend says of itself: its path, and its state and its carrier.
    backend: Option<(String<MAXIMUM_PATH>, Vec<Watch<'static, H>, 2>)>,
}

impl<H: Hypervisor> Watches<H> {
    const NONE: Self = Self {
        device: None,
        backend: None,
    };
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

/// The requests of an offer: one that finds the device, and what is written.
type Writes<'k, 'b> = Vec<Request<'k, 'b>, 10>;

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
        let mut connecting = pin!(self.keep_connected(store, executor));
        poll_fn(|context| {
            self.dispatch(context);
            connecting.as_mut().poll(context)
        })
        .await
    }

    /// Hands the port's events on to those who wait for frames or room.
    fn dispatch(&self, context: &mut Context<'_>) {
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
                return;
            }
        }
    }

    // What is done with xenstore waits in few places, and what is done with what it says in none: each place is code, for
    // each thing that lives across it.
    async fn keep_connected(&self, store: &'static Store<H>, executor: &'static Executor) -> ! {
        let mut watches = Watches::NONE;
        loop {
            self.look_at_link(executor.turn_time());
            let (action, epoch) = {
                let handshake = self.handshake.borrow();
                (handshake.action(), handshake.epoch())
            };
            let done = match action {
                Action::Wait(until) => {
                    let wake = self.wait(&mut watches, executor, until).await;
                    self.woken(&mut watches, executor.turn_time(), wake);
                    continue;
                }
                Action::Read(subject) => self.read(store, &mut watches, subject).await,
                Action::Offer => self.write(store, None).await,
                Action::Write(state) => self.write(store, Some(state)).await,
            };
            if self.handshake.borrow().epoch() == epoch {
                self.finish(executor.turn_time(), done);
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
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
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

    /// Waits until something happens that the handshake has to know.
    async fn wait(
        &self,
        watches: &mut Watches<H>,
        executor: &'static Executor,
        until: Option<Instant>,
    ) -> Wake {
        let deadline = until.unwrap_or(Instant::FAR_FUTURE);
        let mut sleep = pin!(executor.sleep_until(deadline));
        poll_fn(|context| {
            let mut wake = Wake::default();
            let mut fired = |watch: &mut Watch<'static, H>, context: &mut Context<'_>| match watch
                .poll_changed(context)
            {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(_)) => {
                    wake.lost = true;
                    false
                }
                Poll::Pending => false,
            };
            // Each, so that each knows whom to wake.
            let (mut device, mut backend) = (false, false);
            if let Some(watch) = &mut watches.device {
                device = fired(watch, context);
            }
            for watch in watches.backend.iter_mut().flat_map(|(_, set)| set) {
                backend |= fired(watch, context);
            }
            (wake.device, wake.backend) = (device, backend);
            wake.time = until.is_some() && sleep.as_mut().poll(context).is_ready();
            wake.news = self.news.poll_wait(context).is_ready();
            if wake.device || wake.backend || wake.lost || wake.time || wake.news {
                Poll::Ready(wake)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Tells the handshake what has happened.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    fn woken(&self, watches: &mut Watches<H>, now: Instant, wake: Wake) {
        let mut effect = Effect::None;
        let mut handshake = self.handshake.borrow_mut();
        if wake.device {
            handshake.handle_device_change();
        }
        if wake.backend {
            handshake.handle_change();
        }
        if wake.lost {
            handshake.handle_watch_lost(now);
        }
        if wake.time {
            effect = handshake.handle_timeout(now);
        }
        drop(handshake);
        if wake.lost {
            *watches = Watches::NONE;
        }
        self.apply(effect);
    }

    /// Reads what there is to know, all together, and sets the watches that there were not.
    async fn read(
        &self,
        store: &'static Store<H>,
        watches: &mut Watches<H>,
        subject: Subject,
    ) -> Result<Done, StoreError> {
        let mut directory = String::<MAXIMUM_PATH>::new();
        let (watched, keys) = self.asked(subject, watches, &mut directory);
        let mut room = Room::new();
        let mut requests = room.reads(&directory, keys);
        // The watches first: what changes after the look fires them.
        let mut set = Vec::new();
        for key in watched {
            let watch = store.begin_watch((&*directory, *key)).await?;
            // There is room for both.
            let _ = set.push(watch);
        }
        store.carry_out(&mut requests).await;
        for watch in &set {
            watch.established().await?;
        }
        let values = values(&requests);
        match subject {
            _ if set.is_empty() => {}
            Subject::Device => watches.device = set.pop(),
            Subject::Backend | Subject::Status => {
                watches.backend = Some((directory.clone(), set));
            }
        }
        Ok(self.understand(subject, values?))
    }

    /// Where it is to be read, which keys are to be watched, and which to be read.
    fn asked(
        &self,
        subject: Subject,
        watches: &Watches<H>,
        directory: &mut String<MAXIMUM_PATH>,
    ) -> (&'static [&'static str], &'static [&'static str]) {
        let device = self.device.borrow();
        let path = match (subject, &*device) {
            (Subject::Device, _) | (_, None) => &*self.directory,
            (_, Some(device)) => &*device.backend,
        };
        // Each is as long at most.
        let _ = directory.push_str(path);
        let (watching, watched): (_, &[_]) = match subject {
            Subject::Device => (watches.device.is_some(), &DEVICE_KEYS[..1]),
            Subject::Backend | Subject::Status => {
                let known = watches.backend.as_ref();
                (
                    known.is_some_and(|(known, _)| known == path),
                    &BACKEND_KEYS[..2],
                )
            }
        };
        let keys: &[_] = match subject {
            Subject::Device => &DEVICE_KEYS,
            Subject::Backend if self.config.segmentation_offload => &BACKEND_KEYS,
            // The last three are of use with segmentation alone.
            Subject::Backend => &BACKEND_KEYS[..BACKEND_KEYS.len() - 3],
            Subject::Status => &BACKEND_KEYS[..STATUS_KEYS],
        };
        (if watching { &[] } else { watched }, keys)
    }

    /// What was read says this.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    fn understand(&self, subject: Subject, values: [Value<'_>; KEYS]) -> Done {
        match (subject, values) {
            (Subject::Device, [backend, id, mac, mtu, ours, ..]) => {
                let device = Device::parse([backend, id, mac, mtu]);
                let ours = ours.and_then(XenbusState::parse);
                let forgotten =
                    self.handshake.borrow().has_offered() && ours != Some(XenbusState::Connected);
                Done::Device(match self.found(device) {
                    // The toolstack wrote another state in place of ours: what we offered is nobody's.
                    Found::Same if forgotten => Found::Anew,
                    found => found,
                })
            }
            (_, [state, carrier, online, features @ ..]) => {
                let backend = Backend::parse([state, carrier, online]);
                if subject == Subject::Status {
                    Done::Status(backend)
                } else {
                    Done::Backend(backend, parse_features(features))
                }
            }
        }
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

    /// Writes our state; without one, makes the rings, and writes where they are.
    async fn write(
        &self,
        store: &Store<H>,
        state: Option<XenbusState>,
    ) -> Result<Done, StoreError> {
        let mut queue = String::new();
        let mut path = [0; MAXIMUM_PATH];
        let mut requests = Vec::new();
        // There is room for all.
        let _ = requests.push(Request::read((&*self.directory, DEVICE_KEYS[0]), &mut path));
        let said = match state {
            Some(_) => state,
            None => self.make_offer().map(|offer| {
                queue = queue_directory(&self.directory, offer.queue);
                self.announce(&offer, &queue, &mut requests);
                XenbusState::Connected
            }),
        };
        let written = match said {
            None => false,
            Some(said) => {
                let key = (&*self.directory, "state");
                let _ = requests.push(Request::write_decimal(key, said as u64));
                self.write_all(store, &mut requests).await?
            }
        };
        Ok(match state {
            Some(_) => Done::Written(written),
            None => Done::Offered(written),
        })
    }

    /// Makes the rings, if that can be done.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    fn make_offer(&self) -> Option<Offer> {
        let (backend, mac, mtu) = {
            let device = self.device.borrow();
            let device = device.as_ref()?;
            (device.backend_id, device.mac, device.mtu)
        };
        let features = self.features.get();
        let mtu = mtu.min(features.largest_mtu());
        let offer = self.with_link(|link| link.connect(backend, mac, mtu, features));
        self.port_changed.set();
        offer
            .inspect_err(|error| {
                log::warn!("{}: {error}", self.directory);
                self.with_link(|link| link.counters.offers_failed += 1);
            })
            .ok()
    }

    /// Where the rings are, and what we take.
    fn announce<'k>(&'k self, offer: &Offer, queue: &'k str, requests: &mut Writes<'k, '_>) {
        let device = &*self.directory;
        let keys: [(_, _, u64, _); 8] = [
            (queue, "tx-ring-ref", offer.transmit_ring.0.into(), true),
            (queue, "rx-ring-ref", offer.receive_ring.0.into(), true),
            (queue, "event-channel", offer.port.0.into(), true),
            (device, "request-rx-copy", 1, true),
            (device, "feature-rx-notify", 1, true),
            (device, "feature-sg", 1, true),
            (
                device,
                "feature-no-csum-offload",
                1,
                !self.config.checksum_offload,
            ),
            (
                device,
                "feature-gso-tcpv4",
                1,
                self.config
                    .takes_segments(self.link.borrow().receive_pages()),
            ),
        ];
        for (directory, key, value, said) in keys {
            if said {
                // There is room for all.
                let _ = requests.push(Request::write_decimal((directory, key), value));
            }
        }
    }

    /// Writes, all or none: unless the device is not there any more, since a write would make its directory anew; and
    /// unless the domain is resumed meanwhile, since then the keys are another device's. Whether they were written. The
    /// first of the requests reads where the backend is.
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
