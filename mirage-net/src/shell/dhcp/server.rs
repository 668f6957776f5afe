//! A server over a shared stack, with its leases in a store.

use core::cell::RefCell;
use core::convert::Infallible;
use core::error::Error;
use core::fmt::{self, Write};
use core::future::{Future, poll_fn};
use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use core::ops::ControlFlow;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use heapless::{String, Vec};
use mirage_core::Instant;
use mirage_core::executor::Executor;
use mirage_core::kv::{Key, Kv, KvError, KvMut, KvMutError, Value};

use super::super::driver::rest;
use super::super::{SharedStack, UdpSocket, again_later};
use super::{LONGEST, message};
use crate::dhcp::{DhcpRecord, DhcpReply, DhcpServer};
use crate::wire::dhcp::{CLIENT_PORT, SERVER_PORT};
use crate::{BindError, Event, UdpOptions};

/// Bytes of data in an echo request for an address that is to be offered.
const PROBE_LEN: usize = 8;

/// What [`serve_dhcp`] tells its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DhcpServerNotice<E> {
    /// The stack has an event: the server takes them all, and hands them on.
    Stack(Event),
    /// A lease can't be written: its client gets no answer, and will ask again.
    NotSaved(KvMutError<E>),
}

/// Runs a DHCP server over a stack, for ever, with its leases in a store: below `dictionary`, one value an address.
///
/// First all records are given back to the server. Then each change is written before the reply is sent; if it can't be written
/// there is no reply. The stack's clock tells the time since the Unix epoch, where it is known: without it leases begin anew with
/// each restart. Addresses that the server wants to have looked at ([`DhcpServer::with_probes`]) are pinged.
///
/// All of the stack's events come through here, to `notify`: nobody else may wait for [`SharedStack::event`].
///
/// The stack must have the server's address, and no other socket on port 67. A stack sends no datagram to a station that doesn't
/// answer ARP: clients without an address are answered by broadcast, whatever
/// [`link_unicast`](crate::DhcpServerConfig::link_unicast) says.
///
/// # Errors
/// [`ServeDhcpError`], before the first message.
pub async fn serve_dhcp<K: KvMut>(
    shared: &SharedStack<'_>,
    executor: &'static Executor,
    server: &RefCell<DhcpServer<'_>>,
    store: &K,
    dictionary: Key<'_>,
    mut notify: impl FnMut(DhcpServerNotice<K::Error>),
) -> Result<Infallible, ServeDhcpError<K::Error>> {
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT);
    let mut options = UdpOptions::bind(SocketAddr::V4(any));
    options.queue = 32;
    options.broadcast = true;
    let socket = shared.udp_bind(options).map_err(ServeDhcpError::Bind)?;
    restore(shared, server, store, dictionary).await?;
    let mut buffer = [0; LONGEST];
    let mut scratch = [0; LONGEST];
    let mut sleep = pin!(executor.sleep_until(Instant::FAR_FUTURE));
    loop {
        let (now, wall) = (shared.clock.now(), shared.clock.wall());
        let (reply, source) = match step(shared, server, &socket, now, &mut buffer, &mut scratch) {
            Step::Heard { reply, source } => (reply, source),
            Step::Event(event) => {
                notify(DhcpServerNotice::Stack(event));
                continue;
            }
            Step::Later => {
                again_later().await;
                continue;
            }
            Step::Rest(deadline) => {
                let mut readable = pin!(socket.readable());
                poll_fn(|context| {
                    let woken = shared.events.poll_wait(context).is_ready()
                        | readable.as_mut().poll(context).is_ready();
                    if woken {
                        return Poll::Ready(());
                    }
                    rest(sleep.as_mut(), deadline, context)
                })
                .await;
                continue;
            }
        };
        let mut saved = true;
        while let Some(record) = change(server, now, wall).await {
            let path = path(dictionary, record.address).ok_or(ServeDhcpError::DictionaryTooLong)?;
            let key = Key::new(&path).map_err(|_| ServeDhcpError::DictionaryTooLong)?;
            if let Err(error) = store.set(key, &record.to_bytes()).await {
                notify(DhcpServerNotice::NotSaved(error));
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

enum Step {
    /// A message was handled, or one that waited: there may be changes and a reply, to be sent from this address.
    Heard {
        reply: Option<DhcpReply>,
        source: Ipv4Addr,
    },
    Event(Event),
    /// Server or stack are in use.
    Later,
    /// There is nothing to do until then.
    Rest(Option<Instant>),
}

/// The next thing that is to be done.
// Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
#[inline(never)]
fn step(
    shared: &SharedStack<'_>,
    server: &RefCell<DhcpServer<'_>>,
    socket: &UdpSocket<'_, '_>,
    now: Instant,
    buffer: &mut [u8; LONGEST],
    scratch: &mut [u8; LONGEST],
) -> Step {
    let (Ok(mut server), Ok(mut stack)) = (server.try_borrow_mut(), shared.stack.try_borrow_mut())
    else {
        return Step::Later;
    };
    if let Some(event) = stack.poll_event() {
        if let Event::EchoReply {
            source: IpAddr::V4(source),
            ..
        } = event
        {
            server.handle_address_in_use(now, source);
        }
        return Step::Event(event);
    }
    let source = server.config().address;
    let mut reply = server.poll_reply(now, buffer);
    if reply.is_none() {
        match stack.udp_receive(socket.handle) {
            Ok(Some(datagram)) => {
                reply = server.handle_message(now, message(&datagram.payload, scratch), buffer);
            }
            // The socket has no peer, so no error is ever told.
            Err(_) => {}
            Ok(None) => return Step::Rest(server.poll_timeout()),
        }
    }
    while let Some(address) = server.poll_probe() {
        // One that can't be sent is as one that nobody answers: the client looks for itself.
        let _ = stack.ping(now, address.into(), PROBE_LEN);
        shared.changed.set();
    }
    Step::Heard { reply, source }
}

/// The next record that is to be written.
async fn change(
    server: &RefCell<DhcpServer<'_>>,
    now: Instant,
    wall: Option<Duration>,
) -> Option<DhcpRecord> {
    loop {
        match server.try_borrow_mut() {
            Ok(mut server) => return server.poll_change(now, wall),
            Err(_) => again_later().await,
        }
    }
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
