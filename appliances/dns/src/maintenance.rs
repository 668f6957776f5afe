//! Does what an authority wants done: asks primaries, tells secondaries, has the next version of the zones made.

use alloc::boxed::Box;
use alloc::vec;
use core::fmt::{self, Display};
use core::future::Future;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use edge_nal::{TcpConnect, TcpShutdown, UdpBind, UdpReceive, UdpSend};
use embedded_io_async::{Read, Write};
use mirage_core::Instant;
use mirage_core::executor::{Executor, yield_now};
use mirage_dns::authority::{
    BuildJob, Built, Leftovers, NotifyRequest, SoaAnswer, SoaQuery, Task, ZoneTransfer,
    ZoneTransferError,
};
use mirage_dns::name::Name;
use mirage_dns::tcp::{FrameReader, length_prefix};
use mirage_dns::transfer::Transferred;
use rand_core::CryptoRng;

use crate::service::Service;

/// What a main provides.
pub trait Surroundings {
    /// Makes the next version of the zones ([`BuildJob::run`]) where it keeps no query waiting, and stores what changed, if
    /// anything is stored; what could not be is [discarded](Built::discard).
    fn build(&self, job: BuildJob) -> impl Future<Output = Built>;

    /// Drops what nobody needs any more: where it is large, so that it keeps no query waiting.
    fn abandon(&self, left: Leftovers) {
        drop(left);
    }

    /// A primary said that this secondary zone is current.
    fn is_current(&self, apex: Name<'_>) {
        let _ = apex;
    }
}

/// How long a primary may take for the answer to a question over UDP; it is asked [`SOA_ATTEMPTS`] times.
const SOA_TIMEOUT: Duration = Duration::from_secs(2);
const SOA_ATTEMPTS: usize = 3;

/// How long a secondary may take to answer a notice, before the authority tries again by itself.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a primary may take to accept a connection, and to send something on it.
const TCP_SILENCE: Duration = Duration::from_secs(20);

/// How long a transfer may last.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Octets of the longest message with its length (RFC 1035 §4.2.2).
const TCP_BUFFER: usize = 65_537;

/// Octets of the longest datagram that is awaited.
const UDP_BUFFER: usize = 4_096;

/// Does what the service's authority wants done, for ever. Each question, notice and transfer is a task of its own.
///
/// Where the zones of the service are fixed, it waits for ever.
pub async fn maintain<N, S>(
    service: &'static Service<'static>,
    executor: &'static Executor,
    network: &'static N,
    surroundings: &'static S,
    rng: &mut impl CryptoRng,
) -> !
where
    N: UdpBind + TcpConnect,
    S: Surroundings,
{
    let Some(changing) = service.changing() else {
        never().await
    };
    loop {
        service.set_time(executor.now(), executor.wall());
        let now = service.now(executor.now());
        let next = service
            .authority(|authority| (authority.poll_task(now, rng), authority.poll_timeout()));
        service.deliver(changing);
        // What was just looked at is no news.
        changing.asked.take();
        let Some((task, timeout)) = next else {
            never().await
        };
        let Some(task) = task else {
            let deadline = timeout.and_then(|at| Instant::ZERO.checked_add(at));
            let asked = changing.asked.wait();
            match deadline {
                Some(deadline) => drop(executor.timeout_at(deadline, asked).await),
                None => asked.await,
            }
            continue;
        };
        let working = work(service, executor, network, surroundings, task);
        match executor.spawn(working) {
            Ok(task) => task.detach(),
            // The task is dropped, and with it what it was about; the authority waits for its outcome for ever. That is said,
            // as it means that the executor has a bound which is too low for this service.
            Err(error) => log::error!("a task can't be started: {error}"),
        }
    }
}

/// What never comes.
async fn never() -> ! {
    match core::future::pending::<core::convert::Infallible>().await {}
}

async fn work<N, S>(
    service: &'static Service<'static>,
    executor: &'static Executor,
    network: &'static N,
    surroundings: &'static S,
    task: Task<'static>,
) where
    N: UdpBind + TcpConnect,
    S: Surroundings,
{
    let time = || service.now(executor.now());
    match task {
        Task::QuerySoa(query) => {
            let serial = query_soa(service, executor, network, &query).await;
            if let Some(serial) = serial {
                log::debug!("{} has serial {serial} at {}", query.apex(), query.server());
            }
            let generation = service.authority(|authority| {
                authority.handle_soa(&query, serial, time());
                let zones = authority.zones().as_zone_set();
                zones.zone_at(query.apex()).map(|zone| zone.serial())
            });
            if serial.is_some() && serial == generation.flatten() {
                surroundings.is_current(query.apex());
            }
        }
        Task::Transfer(mut transfer) => {
            let fetching = fetch(service, executor, network, &mut transfer);
            let result = match executor.timeout(TRANSFER_TIMEOUT, fetching).await {
                Ok(result) => result,
                Err(_) => Err(TcpError::Silent),
            };
            match &result {
                Ok(Transferred::UpToDate) => {
                    surroundings.is_current(transfer.apex());
                }
                Ok(Transferred::Whole(records)) => log::info!(
                    "{}: the whole zone came from {}, {} records",
                    transfer.apex(),
                    transfer.server(),
                    records.len()
                ),
                Ok(Transferred::Differences(versions)) => log::info!(
                    "{}: what changed came from {}, {} versions",
                    transfer.apex(),
                    transfer.server(),
                    versions.len()
                ),
                Ok(Transferred::AskOverTcp) => {}
                Err(error) => log::warn!(
                    "{}: not transferred from {}: {error}",
                    transfer.apex(),
                    transfer.server()
                ),
            }
            service.authority(|authority| {
                authority.handle_transfer(&transfer, result.ok(), time());
            });
        }
        Task::Notify(notice) => {
            let is_answered = tell(service, executor, network, &notice).await;
            service.authority(|authority| authority.handle_notified(&notice, is_answered));
        }
        Task::Build(job) => {
            let built = surroundings.build(job).await;
            for change in built.changes() {
                match change.differences() {
                    Ok(_) => log::info!("{}: a new version", change.apex()),
                    Err(error) => log::error!("{}: no new version: {error}", change.apex()),
                }
            }
            let left = service.authority(|authority| authority.handle_built(built, time()));
            if let Some(left) = left {
                surroundings.abandon(left);
            }
        }
    }
}

/// The primary's serial, if it gives one in time.
async fn query_soa<N: UdpBind + TcpConnect>(
    service: &Service<'_>,
    executor: &'static Executor,
    network: &N,
    query: &SoaQuery<'_>,
) -> Option<u32> {
    let (apex, server) = (query.apex(), query.server());
    let mut answer = query_soa_over_udp(service, executor, network, query).await?;
    if answer == SoaAnswer::Truncated {
        let accept = |message: &mut [u8]| {
            let answer = query.accept(message, service.unix_time(executor.now()));
            answer.map(Some)
        };
        answer = match ask_over_tcp(executor, network, server, query.message(), accept).await {
            Ok(answer) => answer,
            Err(error) => {
                log::warn!(
                    "{apex}: {server} was asked over TCP, as its answer is truncated: {error}"
                );
                return None;
            }
        };
    }
    match answer {
        SoaAnswer::Serial(serial) => Some(serial),
        other => {
            log::warn!("{apex}: {server} answers {other}");
            None
        }
    }
}

/// What the primary answers, if it does so in time.
async fn query_soa_over_udp<N: UdpBind>(
    service: &Service<'_>,
    executor: &'static Executor,
    network: &N,
    query: &SoaQuery<'_>,
) -> Option<SoaAnswer> {
    let (apex, server) = (query.apex(), query.server());
    // The last message that came from its address and was no answer to use.
    let mut unused = None;
    for attempt in 0..SOA_ATTEMPTS {
        // A port of its own for each attempt: an answer can't be forged without a guess at it.
        let Ok(mut socket) = network.bind(any_port(server)).await else {
            log::error!("{apex}: there is no socket to ask {server} with");
            return None;
        };
        if socket.send(server, query.message()).await.is_err() {
            continue;
        }
        let accept = |answer: &mut [u8]| {
            let answer = query.accept(answer, service.unix_time(executor.now()));
            answer.map_err(|reason| unused = Some(reason)).ok()
        };
        let answer = receive(&mut socket, server, accept);
        if let Ok(Some(answer)) = executor.timeout(SOA_TIMEOUT, answer).await {
            return Some(answer);
        }
        log::debug!("{apex}: {server} is silent, attempt {attempt}");
    }
    match unused {
        // Anybody may have written its address on it.
        Some(reason) => log::warn!("{apex}: no answer of {server} can be used: {reason}"),
        None => log::warn!("{apex}: {server} is silent"),
    }
    None
}

/// Whether the secondary answered in time.
async fn tell<N: UdpBind>(
    service: &Service<'_>,
    executor: &'static Executor,
    network: &N,
    notice: &NotifyRequest<'_>,
) -> bool {
    let server = notice.server();
    let Ok(mut socket) = network.bind(any_port(server)).await else {
        return false;
    };
    if socket.send(server, notice.message()).await.is_err() {
        return false;
    }
    let accept = |answer: &mut [u8]| {
        let unix = service.unix_time(executor.now());
        notice.is_answered_by(answer, unix).then_some(())
    };
    let answer = receive(&mut socket, server, accept);
    matches!(executor.timeout(NOTIFY_TIMEOUT, answer).await, Ok(Some(())))
}

/// The first datagram from `server` that is accepted; `None` if the socket fails.
async fn receive<T>(
    socket: &mut impl UdpReceive,
    server: SocketAddr,
    mut accept: impl FnMut(&mut [u8]) -> Option<T>,
) -> Option<T> {
    let mut buffer = vec![0; UDP_BUFFER];
    loop {
        let (length, from) = socket.receive(&mut buffer).await.ok()?;
        let is_from_server =
            from.ip().to_canonical() == server.ip().to_canonical() && from.port() == server.port();
        if let Some(answer) = buffer.get_mut(..length).filter(|_| is_from_server)
            && let Some(accepted) = accept(answer)
        {
            return Some(accepted);
        }
        // A flood of forged answers must not keep other tasks, and our own timeout, from running.
        yield_now().await;
    }
}

/// Where an answer of this server is awaited; from which address, the stack chooses. That the server is at a loopback address is said
/// by one, as it can be asked from there alone.
fn any_port(server: SocketAddr) -> SocketAddr {
    let address = match server.ip() {
        IpAddr::V4(address) if address.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_loopback() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ if server.is_ipv4() => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(address, 0)
}

/// Why a question over TCP came to nothing.
enum TcpError<E> {
    /// No connection.
    Connect,
    /// The connection failed, or ended too early.
    Broken,
    /// Nothing came for too long.
    Silent,
    /// What came is no answer.
    Answer(E),
}

impl<E: Display> Display for TcpError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "it can't be connected to",
            Self::Broken => "the connection ended before the answer did",
            Self::Silent => "it was silent for too long",
            Self::Answer(error) => return error.fmt(f),
        })
    }
}

async fn fetch<N: TcpConnect>(
    service: &Service<'_>,
    executor: &'static Executor,
    network: &N,
    transfer: &mut ZoneTransfer<'_>,
) -> Result<Transferred, TcpError<ZoneTransferError>> {
    let (server, request) = (transfer.server(), transfer.message().to_vec());
    let handle =
        |message: &mut [u8]| transfer.handle_message(message, service.unix_time(executor.now()));
    ask_over_tcp(executor, network, server, &request, handle).await
}

/// Asks on a connection of its own; each message that comes is handled, until that gives something.
async fn ask_over_tcp<N: TcpConnect, T, E>(
    executor: &'static Executor,
    network: &N,
    server: SocketAddr,
    request: &[u8],
    handle: impl FnMut(&mut [u8]) -> Result<Option<T>, E>,
) -> Result<T, TcpError<E>> {
    let connecting = network.connect(server);
    let mut socket = match executor.timeout(TCP_SILENCE, connecting).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(_)) => return Err(TcpError::Connect),
        Err(_) => return Err(TcpError::Silent),
    };
    let result = converse(executor, &mut socket, request, handle).await;
    // Whatever came of it: nothing more is wanted on this connection.
    let _ = executor.timeout(TCP_SILENCE, socket.abort()).await;
    result
}

async fn converse<T, E>(
    executor: &'static Executor,
    socket: &mut (impl Read + Write),
    request: &[u8],
    mut handle: impl FnMut(&mut [u8]) -> Result<Option<T>, E>,
) -> Result<T, TcpError<E>> {
    let prefix = length_prefix(request.len()).ok_or(TcpError::Broken)?;
    let whole: Box<[u8]> = [&prefix[..], request].concat().into();
    let writing = async {
        socket.write_all(&whole).await?;
        socket.flush().await
    };
    match executor.timeout(TCP_SILENCE, writing).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Err(TcpError::Broken),
        Err(_) => return Err(TcpError::Silent),
    }
    let mut buffer = vec![0; TCP_BUFFER];
    let mut frames = FrameReader::new(&mut buffer);
    loop {
        while let Some(message) = frames.message().map_err(|_| TcpError::Broken)? {
            let mut message = message.to_vec();
            if let Some(result) = handle(&mut message).map_err(TcpError::Answer)? {
                return Ok(result);
            }
            frames.consume();
            // A primary whose messages are always there must not keep queries waiting.
            yield_now().await;
        }
        let reading = socket.read(frames.space());
        let read = match executor.timeout(TCP_SILENCE, reading).await {
            Ok(Ok(0)) | Ok(Err(_)) => return Err(TcpError::Broken),
            Ok(Ok(read)) => read,
            Err(_) => return Err(TcpError::Silent),
        };
        frames.handle_received(read);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    use alloc::boxed::Box;
    use alloc::rc::Rc;
    use alloc::vec::Vec;
    use core::cell::Cell;
    use core::convert::Infallible;
    use core::task::{Context, Poll, Waker};

    use embedded_io_async::ErrorType;
    use mirage_core::doubles::VirtualPlatform;
    use mirage_dns::authority::{Authority, Bounds, Now, Peer, ZoneConfig};
    use mirage_dns::message::{Flags, Header, MessageBuilder, Section};
    use mirage_dns::name::NameBuf;
    use mirage_dns::record::{RecordClass, RecordType};
    use mirage_dns::zone_set::{OwnedZoneSet, ZoneSetBuilder};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    /// How often one asks for more before it lets others run, at the most.
    const PATIENCE: u32 = 1_000;

    /// What is always there, and counts.
    struct Flood {
        taken: Rc<Cell<u32>>,
        octets: Vec<u8>,
    }

    impl Flood {
        fn take(&mut self, buffer: &mut [u8]) -> usize {
            self.taken.set(self.taken.get() + 1);
            assert!(self.taken.get() < PATIENCE, "nobody else gets a turn");
            let length = buffer.len().min(self.octets.len());
            buffer[..length].copy_from_slice(&self.octets[..length]);
            self.octets.rotate_left(length);
            length
        }
    }

    impl ErrorType for Flood {
        type Error = Infallible;
    }

    impl UdpReceive for Flood {
        async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), Infallible> {
            Ok((self.take(buffer), address(9)))
        }
    }

    impl Read for Flood {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
            Ok(self.take(buffer))
        }
    }

    impl Write for Flood {
        async fn write(&mut self, octets: &[u8]) -> Result<usize, Infallible> {
            Ok(octets.len())
        }

        async fn flush(&mut self) -> Result<(), Infallible> {
            Ok(())
        }
    }

    fn address(host: u8) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(192, 0, 2, host), 53))
    }

    fn poll_once(future: impl Future) -> bool {
        let mut future = core::pin::pin!(future);
        let polled = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        matches!(polled, Poll::Ready(_))
    }

    #[test]
    fn flood_of_forged_answers_lets_others_run() {
        let taken = Rc::new(Cell::new(0));
        let mut socket = Flood {
            taken: Rc::clone(&taken),
            octets: alloc::vec![0; 12],
        };
        let receiving = receive(&mut socket, address(1), |_| Some(()));
        assert!(!poll_once(receiving));
        assert!(taken.get() > 0);
    }

    /// A message of a transfer that never ends.
    fn endless(id: [u8; 2], first: bool) -> Vec<u8> {
        let mut message = alloc::vec![0; 512];
        let header = Header {
            id: u16::from_be_bytes(id),
            flags: Flags::QR | Flags::AA,
            ..Header::default()
        };
        let mut builder = MessageBuilder::new(&mut message, header).expect("room");
        let apex = NameBuf::from_text("z").expect("a name");
        let (record_type, rdata) = match first {
            true => (RecordType::SOA, &[0; 22][..]),
            false => (RecordType::A, &[192, 0, 2, 1][..]),
        };
        let (section, class) = (Section::Answer, RecordClass::IN);
        builder
            .push_record(section, apex.as_name(), record_type, class, 60, rdata)
            .expect("room");
        let length = builder.finish();
        let prefix = length_prefix(length).expect("a short one");
        [&prefix[..], &message[..length]].concat()
    }

    #[test]
    fn transfer_whose_messages_are_always_there_lets_others_run() {
        let now = Now {
            elapsed: Duration::ZERO,
            unix: 1_700_000_000,
        };
        let peer = Peer {
            address: address(1),
            key: None,
        };
        let config = ZoneConfig {
            primaries: alloc::vec![peer],
            ..ZoneConfig::new(NameBuf::from_text("z").expect("a name"))
        };
        let image = ZoneSetBuilder::new().build().expect("no zones");
        let zones = OwnedZoneSet::new(image).expect("an image");
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (configs, bounds) = (alloc::vec![config], Bounds::default());
        let authority = Authority::new(zones, configs, &[], bounds, now, &mut rng);
        let mut authority = authority.expect("an authority");
        let Some(Task::Transfer(mut transfer)) = authority.poll_task(now, &mut rng) else {
            panic!("a transfer was expected");
        };
        let executor = Executor::leak(Box::leak(Box::new(VirtualPlatform::new())));
        let id = [transfer.message()[0], transfer.message()[1]];
        let taken = Rc::new(Cell::new(0));
        let mut octets = endless(id, true);
        for _ in 0..100 {
            octets.extend(endless(id, false));
        }
        let mut socket = Flood {
            taken: Rc::clone(&taken),
            octets,
        };
        let request = transfer.message().to_vec();
        let handle = |message: &mut [u8]| transfer.handle_message(message, now.unix);
        let conversing = converse(executor, &mut socket, &request, handle);
        assert!(!poll_once(conversing));
        assert!(taken.get() > 0);
    }
}
