//! DHCP over a shared stack: what moves a client's and a server's messages, and sleeps.

use core::cell::RefCell;
use core::convert::Infallible;
use core::error::Error;
use core::fmt::{self, Write};
use core::future::{Future, poll_fn};
use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use core::ops::ControlFlow;
use core::pin::pin;
use core::task::Poll;

use heapless::{String, Vec};
use mirage_core::event::Event as Token;
use mirage_core::executor::Executor;
use mirage_core::kv::{Key, Kv, KvError, KvMut, KvMutError, Value};
use mirage_core::{Frame, Instant};

use super::driver::rest;
use super::{SharedStack, UdpSocket, again_later};
use crate::dhcp::{
    DhcpBinding, DhcpClient, DhcpClientEvent, DhcpLease, DhcpRecord, DhcpReply, DhcpServer,
};
use crate::wire::dhcp::{CLIENT_PORT, MESSAGE_LEN, SERVER_PORT};
use crate::{AddressError, BindError, ConflictConfig, Event, SendError, UdpOptions};

/// Bytes of the longest message that is read: an Ethernet frame's.
const LONGEST: usize = 1_472;

/// A DHCP client that tasks of one thread share: one [runs](Self::run) it, others wait for the lease, or give it back.
#[derive(Debug)]
pub struct SharedDhcpClient {
    client: RefCell<DhcpClient>,
    /// Somebody called a mutator.
    changed: Token,
    /// Whether there is a lease may have changed.
    configured: Token,
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
        }
    }

    /// Calls a mutator or a getter of the client, and lets the task that runs it look at what came of it. None, and nothing is
    /// called, inside of another such call.
    pub fn with<R>(&self, call: impl FnOnce(&mut DhcpClient) -> R) -> Option<R> {
        let result = call(&mut *self.client.try_borrow_mut().ok()?);
        self.changed.set();
        Some(result)
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
                None => self.configured.set(),
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

/// A datagram's payload in one piece; one that is longer than any that is read is cut, and found to be malformed.
fn message<'m>(payload: &'m Frame, buffer: &'m mut [u8; LONGEST]) -> &'m [u8] {
    match payload.contiguous() {
        Some(message) => message,
        None => {
            let length = payload.copy_to_slice(0, buffer);
            buffer.get(..length).unwrap_or_default()
        }
    }
}

/// Runs a DHCP server over a stack, for ever, with its leases in a store: below `dictionary`, one value an address.
///
/// First all records are given back to the server. Then each change is written before the reply is sent; if it can't be written
/// there is no reply, and `problem` hears why. `wall` tells the time since the Unix epoch, where it is known: without it leases
/// begin anew with each restart.
///
/// The stack must have the server's address, and no other socket on port 67. A stack sends no datagram to a station that doesn't
/// answer ARP: clients without an address are answered by broadcast, whatever
/// [`link_unicast`](crate::DhcpServerConfig::link_unicast) says.
///
/// # Errors
/// [`ServeDhcpError`], before the first message.
pub async fn serve_dhcp<K: KvMut>(
    shared: &SharedStack<'_>,
    server: &RefCell<DhcpServer<'_>>,
    store: &K,
    dictionary: Key<'_>,
    mut problem: impl FnMut(KvMutError<K::Error>),
) -> Result<Infallible, ServeDhcpError<K::Error>> {
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT);
    let mut options = UdpOptions::bind(SocketAddr::V4(any));
    options.queue = 32;
    options.broadcast = true;
    let socket = shared.udp_bind(options).map_err(ServeDhcpError::Bind)?;
    restore(shared, server, store, dictionary).await?;
    let mut buffer = [0; LONGEST];
    let mut scratch = [0; LONGEST];
    loop {
        // The socket has no peer, so no error is ever told.
        let Ok(datagram) = socket.receive().await else {
            continue;
        };
        let (now, wall) = (shared.clock.now(), shared.clock.wall());
        let request = message(&datagram.payload, &mut scratch);
        let Some((reply, source)) = answer(server, now, request, &mut buffer) else {
            // Somebody looks at the server, and does so in this very thread: it can't be.
            continue;
        };
        drop(datagram);
        let mut saved = true;
        loop {
            let change = server
                .try_borrow_mut()
                .map(|mut server| server.poll_change(now, wall));
            let Ok(change) = change else {
                again_later().await;
                continue;
            };
            let Some(record) = change else {
                break;
            };
            let path = path(dictionary, record.address).ok_or(ServeDhcpError::DictionaryTooLong)?;
            let key = Key::new(&path).map_err(|_| ServeDhcpError::DictionaryTooLong)?;
            if let Err(error) = store.set(key, &record.to_bytes()).await {
                problem(error);
                while server
                    .try_borrow_mut()
                    .map(|mut server| server.not_saved(record.address))
                    .is_err()
                {
                    again_later().await;
                }
                saved = false;
                break;
            }
        }
        let Some(reply) = reply.filter(|_| saved) else {
            continue;
        };
        let to = match reply.link {
            None => reply.destination,
            Some(_) => SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT),
        };
        let message = buffer.get(..reply.length).unwrap_or_default();
        // One that can't be sent is lost as on the wire: the client asks again.
        let _ = socket
            .send_from(Some(SocketAddr::V4(to)), IpAddr::V4(source), message)
            .await;
    }
}

/// The reply to a message, and the address that it is sent from.
// Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
#[inline(never)]
fn answer(
    server: &RefCell<DhcpServer<'_>>,
    now: Instant,
    request: &[u8],
    buffer: &mut [u8],
) -> Option<(Option<DhcpReply>, Ipv4Addr)> {
    let mut server = server.try_borrow_mut().ok()?;
    let reply = server.handle_message(now, request, buffer);
    Some((reply, server.config().address))
}

/// Why a server doesn't begin to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServeDhcpError<E> {
    /// The socket can't be opened.
    Bind(BindError),
    /// The dictionary's key is above 100 bytes.
    DictionaryTooLong,
    /// The store's leases can't be read: to serve without them would give addresses twice.
    Store(KvError<E>),
}

impl<E: fmt::Display> fmt::Display for ServeDhcpError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeDhcpError::Bind(error) => write!(f, "no socket for the DHCP server: {error}"),
            ServeDhcpError::DictionaryTooLong => f.write_str("the leases' key is above 100 bytes"),
            ServeDhcpError::Store(error) => write!(f, "the leases can't be read: {error}"),
        }
    }
}

impl<E: Error> Error for ServeDhcpError<E> {}

/// The key of an address's record.
fn path(dictionary: Key<'_>, address: Ipv4Addr) -> Option<String<116>> {
    let mut path = String::new();
    if !dictionary.is_root() {
        write!(path, "{}/", dictionary.as_str()).ok()?;
    }
    write!(path, "{address}").ok()?;
    Some(path)
}

/// Records that are looked up after one list of the store.
const BATCH: usize = 64;

/// Gives all records back to the server: in batches, by address, for a list can be longer than any memory here.
async fn restore<K: Kv>(
    shared: &SharedStack<'_>,
    server: &RefCell<DhcpServer<'_>>,
    store: &K,
    dictionary: Key<'_>,
) -> Result<(), ServeDhcpError<K::Error>> {
    let mut from = Some(Ipv4Addr::UNSPECIFIED);
    while let Some(first) = from {
        let mut batch: Vec<Ipv4Addr, BATCH> = Vec::new();
        let listed = store.list(dictionary, |entry| {
            if let Ok(address) = entry.name.parse::<Ipv4Addr>()
                && address >= first
            {
                keep_smallest(&mut batch, address);
            }
            ControlFlow::Continue(())
        });
        match listed.await {
            // No lease was ever given.
            Ok(()) | Err(KvError::NotFound) => {}
            Err(error) => return Err(ServeDhcpError::Store(error)),
        }
        for address in &batch {
            let path = path(dictionary, *address).ok_or(ServeDhcpError::DictionaryTooLong)?;
            let key = Key::new(&path).map_err(|_| ServeDhcpError::DictionaryTooLong)?;
            let value = match store.get_partial(key, 0, DhcpRecord::LEN + 1).await {
                Ok(value) => value,
                Err(KvError::NotFound | KvError::IsDictionary) => continue,
                Err(error) => return Err(ServeDhcpError::Store(error)),
            };
            let mut bytes: Vec<u8, { DhcpRecord::LEN + 1 }> = Vec::new();
            // A value that is too long is no record.
            let whole = value
                .pieces()
                .all(|piece| bytes.extend_from_slice(piece).is_ok());
            // Nor is one that lies under another's key.
            let record = DhcpRecord::from_bytes(&bytes)
                .ok()
                .filter(|record| whole && record.address == *address);
            let (now, wall) = (shared.clock.now(), shared.clock.wall());
            if let (Some(record), Ok(mut server)) = (record, server.try_borrow_mut()) {
                server.restore(now, wall, &record);
            }
        }
        let next = |last: &Ipv4Addr| last.to_bits().checked_add(1).map(Ipv4Addr::from_bits);
        from = batch.last().filter(|_| batch.is_full()).and_then(next);
    }
    Ok(())
}

/// Puts an address into a sorted row, from which the largest falls out at its end.
fn keep_smallest(batch: &mut Vec<Ipv4Addr, BATCH>, address: Ipv4Addr) {
    let Err(at) = batch.binary_search(&address) else {
        return;
    };
    if batch.is_full() {
        if at == BATCH {
            return;
        }
        batch.pop();
    }
    // There is room now.
    let _ = batch.insert(at, address);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_are_kept_in_order() {
        let mut batch = Vec::new();
        for number in 0..1_000u32 {
            // 7 has no divisor in common with 1,009: every number once, in no order.
            keep_smallest(&mut batch, Ipv4Addr::from_bits(number * 7 % 1_009));
        }
        let mut all: std::vec::Vec<u32> = (0..1_000).map(|number| number * 7 % 1_009).collect();
        all.sort_unstable();
        let kept: std::vec::Vec<u32> = batch.iter().map(|address| address.to_bits()).collect();
        assert_eq!(kept, all[..BATCH]);
    }
}
