//! A client over a shared stack.

use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::fmt::Write;
use core::future::{Future, poll_fn};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use heapless::{String, Vec};
use mirage_core::Instant;
use mirage_core::event::Event as Token;
use mirage_core::executor::Executor;
use mirage_core::kv::{Key, Kv, KvError, KvMut, KvMutError, Value};
use rand_core::CryptoRng;

use super::super::driver::rest;
use super::super::{SharedStack, UdpSocket, again_later};
use super::{LONGEST, message};
use crate::dhcp::{DhcpBinding, DhcpClient, DhcpClientEvent, DhcpLease};
use crate::stack::is_host;
use crate::wire::dhcp::{MESSAGE_LEN, SERVER_PORT};
use crate::{AddressError, BindError, ConflictConfig, Event, SendError};

/// Bytes of the longest address in text, with a line's end.
const REMEMBERED: usize = 16;

/// The address in what was written; none without the line's end, for it may be half of one then.
fn remembered(bytes: &[u8]) -> Option<Ipv4Addr> {
    let text = core::str::from_utf8(bytes).ok()?;
    let address: Ipv4Addr = text.strip_suffix('\n')?.parse().ok()?;
    is_host(address).then_some(address)
}

/// A DHCP client that tasks of one thread share: one [runs](Self::run) it, others wait for the lease, or give it back.
#[derive(Debug)]
pub struct SharedDhcpClient {
    client: RefCell<DhcpClient>,
    /// Somebody called a mutator.
    changed: Token,
    /// Whether there is a lease may have changed.
    configured: Token,
    /// The same, for the task that remembers.
    leased: Token,
    /// A reading of both clocks at the same time: by how much the wall's went ahead, a suspension is known.
    seen: Cell<Option<(Instant, Duration)>>,
}

/// What [`SharedDhcpClient::run`] tells its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DhcpNotice {
    /// The client has an event, and the stack is configured accordingly.
    Client(DhcpClientEvent),
    /// The stack has an event: the client takes them all, and hands them on.
    Stack(Event),
    /// The lease's address was not taken by the stack.
    Unconfigurable(AddressError),
    /// A message could not be sent; it will be repeated.
    NotSent(SendError),
}

impl SharedDhcpClient {
    /// A client that is started by [`run`](Self::run).
    pub fn new(client: DhcpClient) -> Self {
        SharedDhcpClient {
            client: RefCell::new(client),
            changed: Token::new(),
            configured: Token::new(),
            leased: Token::new(),
            seen: Cell::new(None),
        }
    }

    /// Calls a mutator or a getter of the client, and lets the task that runs it look at what came of it. None, and nothing is
    /// called, inside of another such call.
    pub fn with<R>(&self, call: impl FnOnce(&mut DhcpClient) -> R) -> Option<R> {
        let result = call(&mut *self.client.try_borrow_mut().ok()?);
        self.changed.set();
        Some(result)
    }

    /// The machine goes on after a suspension, or in another place: the client gets a new secret, its lease the time that went by
    /// where the stack's clock tells that of the wall, and the lease is asked for again (see
    /// [`DhcpClient::handle_resume`]). Not inside of [`with`](Self::with), where it does nothing and says so.
    pub fn resume(&self, shared: &SharedStack<'_>, rng: &mut (impl CryptoRng + ?Sized)) -> bool {
        let now = shared.clock.now();
        let away = match (self.seen.get(), shared.clock.wall()) {
            (Some((at, wall)), Some(later)) => {
                let passed = now.saturating_duration_since(at);
                Some(later.saturating_sub(wall).saturating_sub(passed))
            }
            _ => None,
        };
        self.with(|client| {
            client.reseed(rng);
            client.handle_resume(now, away);
        })
        .is_some()
    }

    /// Waits until the client is [configured](DhcpClient::is_configured), and gives the lease. One task may wait.
    pub async fn configured(&self) -> DhcpLease {
        loop {
            match self.client.try_borrow() {
                Ok(client) => {
                    if let Some(lease) = client.lease().filter(|_| client.is_configured()) {
                        return lease.clone();
                    }
                }
                Err(_) => {
                    again_later().await;
                    continue;
                }
            }
            self.configured.wait().await;
        }
    }

    /// Has the client ask for the address that [`remember`](Self::remember) wrote in an earlier life, if there is one: before
    /// [`run`](Self::run).
    ///
    /// # Errors
    /// The store's. A value that is no address is none.
    pub async fn recall<K: Kv>(&self, store: &K, key: Key<'_>) -> Result<(), KvError<K::Error>> {
        let value = match store.get_partial(key, 0, REMEMBERED + 1).await {
            Ok(value) => value,
            Err(KvError::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut bytes: Vec<u8, REMEMBERED> = Vec::new();
        let fits = value
            .pieces()
            .all(|piece| bytes.extend_from_slice(piece).is_ok());
        if let Some(address) = remembered(&bytes).filter(|_| fits) {
            self.with(|client| client.ask_for(address));
        }
        Ok(())
    }

    /// Writes each address that the client gets to a store, for ever, so that it is asked for again after a restart
    /// ([`recall`](Self::recall)): as text, with a line's end. `problem` hears why it can't be written; with the lease's next
    /// change that is tried again. One task may remember.
    pub async fn remember<K: KvMut>(
        &self,
        store: &K,
        key: Key<'_>,
        mut problem: impl FnMut(KvMutError<K::Error>),
    ) -> Infallible {
        let mut written = None;
        loop {
            let Ok(current) = self.client.try_borrow().map(|client| {
                let lease = client.lease().filter(|_| client.is_configured());
                lease.map(|lease| lease.address)
            }) else {
                again_later().await;
                continue;
            };
            if let Some(address) = current.filter(|_| current != written) {
                let mut text: String<REMEMBERED> = String::new();
                // It fits.
                let _ = writeln!(text, "{address}");
                match store.set(key, text.as_bytes()).await {
                    Ok(()) => written = current,
                    Err(error) => problem(error),
                }
            }
            self.leased.wait().await;
        }
    }

    /// Starts the client and runs it, for ever: it has the stack's address, routes and MTU be as its lease says, and nothing else
    /// of the stack (see [`DhcpBinding`]). `conflict` says how addresses are probed for and defended.
    ///
    /// All of the stack's events come through here, to `notify`: nobody else may wait for
    /// [`SharedStack::event`]. `notify` may use the stack and the client.
    ///
    /// # Errors
    /// The client's socket can't be opened.
    pub async fn run(
        &self,
        shared: &SharedStack<'_>,
        executor: &'static Executor,
        conflict: ConflictConfig,
        mut notify: impl FnMut(DhcpNotice),
    ) -> Result<Infallible, BindError> {
        let socket = shared.udp_bind(DhcpBinding::udp_options())?;
        let mut binding = DhcpBinding::new(conflict);
        let mut buffer = [0; LONGEST];
        let mut sleep = pin!(executor.sleep_until(Instant::FAR_FUTURE));
        while self
            .with(|client| client.start(shared.clock.now()))
            .is_none()
        {
            again_later().await;
        }
        loop {
            match self.step(shared, &socket, &mut binding, &mut buffer) {
                Some(Step::Notice(notice)) => {
                    notify(notice);
                    continue;
                }
                Some(Step::Again) => continue,
                Some(Step::Later) => {
                    again_later().await;
                    continue;
                }
                None => {
                    self.leased.set();
                    self.configured.set();
                }
            }
            let deadline = match self.client.try_borrow() {
                Ok(client) => client.poll_timeout(),
                Err(_) => Some(shared.clock.now()),
            };
            let mut readable = pin!(socket.readable());
            poll_fn(|context| {
                let woken = self.changed.poll_wait(context).is_ready()
                    | shared.events.poll_wait(context).is_ready()
                    | readable.as_mut().poll(context).is_ready();
                if woken {
                    return Poll::Ready(());
                }
                rest(sleep.as_mut(), deadline, context)
            })
            .await;
        }
    }

    /// The next thing that is to be done, if there is one.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    fn step(
        &self,
        shared: &SharedStack<'_>,
        socket: &UdpSocket<'_, '_>,
        binding: &mut DhcpBinding,
        buffer: &mut [u8; LONGEST],
    ) -> Option<Step> {
        let (Ok(mut client), Ok(mut stack)) =
            (self.client.try_borrow_mut(), shared.stack.try_borrow_mut())
        else {
            return Some(Step::Later);
        };
        let now = shared.clock.now();
        self.seen.set(shared.clock.wall().map(|wall| (now, wall)));
        client.handle_timeout(now);
        // Messages first: a lease is given back from the address that goes with it.
        if let Some(transmit) = buffer
            .first_chunk_mut::<MESSAGE_LEN>()
            .and_then(|buffer| client.poll_transmit(buffer))
        {
            let remote = SocketAddr::from((transmit.destination, SERVER_PORT));
            let message = buffer.get(..transmit.length).unwrap_or_default();
            let source = Some(IpAddr::V4(transmit.source));
            let sent = stack.udp_send_from(now, socket.handle, Some(remote), source, message);
            shared.changed.set();
            return Some(match sent {
                Ok(()) => Step::Again,
                Err(error) => Step::Notice(DhcpNotice::NotSent(error)),
            });
        }
        if let Some(event) = client.poll_event() {
            let done = binding.handle_client_event(now, &mut stack, &mut client, event);
            shared.changed.set();
            self.leased.set();
            self.configured.set();
            return Some(Step::Notice(match done {
                Ok(()) => DhcpNotice::Client(event),
                Err(error) => DhcpNotice::Unconfigurable(error),
            }));
        }
        if let Some(event) = stack.poll_event() {
            binding.handle_stack_event(now, &mut client, &event);
            if let Event::Link { up } = event {
                client.handle_link(now, up);
            }
            return Some(Step::Notice(DhcpNotice::Stack(event)));
        }
        match stack.udp_receive(socket.handle) {
            Ok(Some(datagram)) => {
                client.handle_message(now, message(&datagram.payload, buffer));
                Some(Step::Again)
            }
            // The socket has no peer, so no error is ever told.
            Err(_) => Some(Step::Again),
            Ok(None) => None,
        }
    }
}

enum Step {
    Notice(DhcpNotice),
    Again,
    /// Client or stack are in use.
    Later,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_address_is_none() {
        let whole = Some(Ipv4Addr::new(10, 0, 0, 15));
        assert_eq!(remembered(b"10.0.0.15\n"), whole);
        for length in 0..9 {
            assert_eq!(remembered(&b"10.0.0.15\n"[..length]), None);
        }
        for text in [
            "",
            "\n",
            "10.0.0.15 \n",
            "0.0.0.0\n",
            "255.255.255.255\n",
            "::1\n",
        ] {
            assert_eq!(remembered(text.as_bytes()), None, "{text}");
        }
        assert_eq!("255.255.255.255\n".len(), REMEMBERED);
    }
}
