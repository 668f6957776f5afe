//! The service over streams in memory, in virtual time: clients of every kind, many at once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::pending;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use edge_nal::{Close, Readable, TcpAccept, TcpShutdown, TcpSplit};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use mirage_core::Instant;
use mirage_core::doubles::VirtualPlatform;
use mirage_core::executor::Executor;
use proptest::prelude::*;
use web_appliance::{AnyTcp, Buffers, SITE, Service, ServiceLimits, serve_slot, turn_away};

const SLOTS: usize = 4;
const GET: &str = "GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n";

/// What a client does.
#[derive(Clone, Debug, Default)]
struct Client {
    /// When it comes.
    at: Duration,
    input: Vec<u8>,
    /// Octets that one read gets at most; 0 is as many as there is room for.
    segment: usize,
    before_each: Duration,
    /// After its input the client ends its side; else it says nothing more.
    then_ends: bool,
    /// Octets that it takes each time it takes any; 0: it takes nothing at all.
    takes: usize,
    between_takes: Duration,
}

/// What became of a client.
#[derive(Clone, Debug, Default)]
struct Seen {
    output: Vec<u8>,
    accepted: Option<Duration>,
    /// When its stream was dropped by the server.
    dropped: Option<Duration>,
    /// It was told the end before that, and read further.
    is_lingered_for: bool,
}

impl Seen {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }
}

/// Runs the service with all of these for an hour: what became of each, in the order in which they came.
fn serve(mut clients: Vec<Client>) -> (Vec<Seen>, &'static Service<'static>) {
    clients.sort_by_key(|client| client.at);
    let executor = Executor::leak(Box::leak(Box::new(VirtualPlatform::new())));
    let service: &'static Service<'static> =
        Box::leak(Box::new(Service::new(SITE, ServiceLimits::new(SLOTS))));
    let seen: Vec<Rc<RefCell<Seen>>> = clients.iter().map(|_| Rc::default()).collect();
    let queue = clients.into_iter().zip(seen.iter().cloned()).collect();
    let acceptor: &'static AnyTcp<Acceptor> = Box::leak(Box::new(AnyTcp(Acceptor {
        executor,
        queue: RefCell::new(queue),
    })));
    for slot in 0..=SLOTS {
        let serving = executor.spawn(async move {
            let buffers = &mut Buffers::<9_000, 2_048, 32>::new();
            match slot {
                SLOTS => turn_away(acceptor, service, executor, buffers).await,
                _ => serve_slot(acceptor, service, executor, buffers).await,
            }
        });
        serving.expect("a task").detach();
    }
    executor.run_until(executor.sleep(Duration::from_secs(3_600)));
    (
        seen.iter().map(|seen| seen.borrow().clone()).collect(),
        service,
    )
}

/// How long a connection may last in all: its own time, the last response at the least rate, and what closing takes.
fn longest() -> Duration {
    let limits = ServiceLimits::new(SLOTS);
    limits.connection.connection + limits.stream + Duration::from_secs(120)
}

/// Reads responses one after the other; the statuses, and whether the last is whole.
fn statuses(seen: &Seen, are_heads: &[bool]) -> (Vec<u16>, bool) {
    let (mut rest, mut statuses) = (&seen.output[..], Vec::new());
    while !rest.is_empty() {
        let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") else {
            return (statuses, false);
        };
        let head = std::str::from_utf8(&rest[..end]).expect("a head is text");
        assert!(head.starts_with("HTTP/1.1 "), "{head}");
        let status: u16 = head[9..12].parse().expect("a status");
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")
                .map(str::to_owned)
        });
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        let is_head = are_heads.get(statuses.len()).copied().unwrap_or_default();
        let content = if is_head || status == 304 { 0 } else { length };
        statuses.push(status);
        match rest.get(end + 4 + content..) {
            Some(behind) => rest = behind,
            None => return (statuses, false),
        }
    }
    (statuses, true)
}

fn good(at: Duration) -> Client {
    Client {
        at,
        input: GET.into(),
        then_ends: true,
        takes: usize::MAX,
        ..Client::default()
    }
}

#[test]
fn clients_that_say_nothing_or_take_nothing_keep_nobody_out_for_long() {
    let mute = Client {
        takes: usize::MAX,
        ..Client::default()
    };
    let deaf = Client {
        input: GET.repeat(200).into(),
        ..Client::default()
    };
    let dripping = Client {
        input: GET.into(),
        segment: 1,
        before_each: Duration::from_secs(1),
        takes: usize::MAX,
        ..Client::default()
    };
    for bad in [mute, deaf, dripping] {
        let mut clients = vec![bad; SLOTS];
        clients.push(good(Duration::from_millis(100)));
        clients.push(good(Duration::from_secs(40)));
        let (seen, service) = serve(clients);
        // While all places are taken it is told so, and at once.
        let early = &seen[SLOTS];
        assert!(early.text().starts_with("HTTP/1.1 503 "), "{early:?}");
        assert!(early.accepted.expect("taken") < Duration::from_secs(1));
        // Soon after, they are free again.
        assert!(seen[SLOTS + 1].text().starts_with("HTTP/1.1 200 "));
        assert_eq!((service.taken(), service.turned_away()), (0, 1));
    }
}

#[test]
fn a_flood_of_connections_is_served_or_told() {
    let clients = (0..300).map(|_| good(Duration::ZERO)).collect();
    let (seen, service) = serve(clients);
    for seen in &seen {
        let (statuses, is_whole) = statuses(seen, &[]);
        assert!(
            is_whole && [[200], [503]].contains(&[statuses[0]]),
            "{seen:?}"
        );
        assert_eq!(statuses.len(), 1);
    }
    assert_eq!(service.taken(), 0);
    assert_eq!(service.counters().connections, 300);
}

#[test]
fn requests_that_were_sent_ahead_are_answered_in_order_and_together() {
    let page = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let missing = "HEAD /none HTTP/1.1\r\nHost: x\r\n\r\n";
    let client = Client {
        input: [GET, missing, page, GET].concat().into(),
        ..good(Duration::ZERO)
    };
    let (seen, _) = serve(vec![client]);
    let (statuses, is_whole) = statuses(&seen[0], &[false, true]);
    assert_eq!((statuses, is_whole), (vec![200, 404, 200, 200], true));
}

#[test]
fn behind_a_last_request_a_connection_is_closed_at_once_unless_more_is_there() {
    let head = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let last = format!("GET /robots.txt {head}\r\n");
    let body = format!("POST / {head}Content-Length: 9000\r\n\r\n");
    for (input, lingers) in [
        (last.clone(), false),
        ("GET /robots.txt HTTP/1.0\r\n\r\n".into(), false),
        // It sends more than it said, at once and later.
        (last.repeat(2), true),
        (last + &"x".repeat(20_000), true),
        // A body that nobody reads.
        (body.clone() + &"x".repeat(9_000), true),
        (body, true),
        // What is wrong is not read on.
        ("GET\r\n\r\n".into(), true),
    ] {
        let client = Client {
            input: input.clone().into(),
            takes: usize::MAX,
            ..Client::default()
        };
        let (seen, _) = serve(vec![client]);
        let (statuses, is_whole) = statuses(&seen[0], &[]);
        assert!(statuses.len() == 1 && is_whole, "{seen:?}");
        assert_eq!(seen[0].is_lingered_for, lingers, "{input:.80}");
        if !lingers {
            // The place is free, though the client never ends its side.
            assert_eq!(seen[0].dropped, seen[0].accepted);
        }
    }
}

/// A piece of what a client may send.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(GET.as_bytes().to_vec()),
        2 => Just(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        1 => Just(b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        1 => Just(b"GET /_mirage/metrics HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        1 => Just(b"GET /_mirage/events HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        1 => Just(b"GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=0-0,5-9\r\n\r\n".to_vec()),
        1 => Just(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde".to_vec()),
        1 => Just(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n".to_vec()),
        1 => Just(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()),
        1 => Just(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n".to_vec()),
        1 => Just(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc".to_vec()),
        1 => Just(b"ffffffffffffffff1\r\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..64),
        1 => (0_usize..12_000).prop_map(|length| [b"GET /", &vec![b'a'; length][..]].concat()),
        1 => (0_usize..100).prop_map(|count| [&b"GET / HTTP/1.1\r\n"[..], &b"A: b\r\n".repeat(count)].concat()),
    ]
}

fn client() -> impl Strategy<Value = Client> {
    let pieces = prop::collection::vec(piece(), 0..6).prop_map(|pieces| pieces.concat());
    let pause = prop_oneof![
        4 => Just(Duration::ZERO),
        1 => (0_u64..3_000).prop_map(Duration::from_millis),
    ];
    let takes = prop_oneof![1 => Just(0), 2 => 1_usize..600, 5 => Just(usize::MAX)];
    let times = (0_u64..30_000, pause.clone(), pause);
    (times, pieces, 0_usize..40, any::<bool>(), takes).prop_map(
        |((at, before_each, between_takes), input, segment, then_ends, takes)| Client {
            at: Duration::from_millis(at),
            input,
            segment,
            before_each,
            then_ends,
            takes,
            between_takes,
        },
    )
}

/// RFC 9110 §9.3.7: OPTIONS may ask of the server as a whole; that is no mistake of the client's.
#[test]
fn what_the_server_can_do_at_all_may_be_asked() {
    let client = Client {
        input: b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ..good(Duration::ZERO)
    };
    let text = serve(vec![client]).0[0].text();
    assert!(text.starts_with("HTTP/1.1 405 "), "{text}");
    assert!(text.contains("\r\nallow: GET, HEAD\r\n"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever clients do, each is let go of in time, what it got are responses, and who behaves is served.
    #[test]
    fn whatever_clients_do_all_are_let_go_of_and_others_are_served(
        clients in prop::collection::vec(client(), 1..24)
    ) {
        let late = Duration::from_secs(2_000);
        let mut clients = clients;
        clients.push(good(late));
        let (seen, service) = serve(clients);
        for seen in &seen {
            let accepted = seen.accepted.expect("taken or told");
            let dropped = seen.dropped.expect("let go of");
            prop_assert!(dropped - accepted <= longest(), "{seen:?}");
            let text = seen.text();
            // Who takes it octet by octet may be let go of in the middle of that.
            let begins = "HTTP/1.1 ";
            let common = text.len().min(begins.len());
            prop_assert_eq!(text.get(..common), begins.get(..common));
        }
        prop_assert_eq!(service.taken(), 0);
        let last = seen.last().expect("the good one");
        prop_assert!(last.text().starts_with("HTTP/1.1 200 "), "{last:?}");
    }
}

/// Gives the clients, each when its time has come, to whoever accepts.
struct Acceptor {
    executor: &'static Executor,
    queue: RefCell<VecDeque<(Client, Rc<RefCell<Seen>>)>>,
}

impl TcpAccept for Acceptor {
    type Error = ErrorKind;
    type Socket<'a> = Socket;

    async fn accept(&self) -> Result<(SocketAddr, Socket), ErrorKind> {
        loop {
            let now = self.executor.now();
            let next = self.queue.borrow().front().map(|(client, _)| client.at);
            match next {
                None => return pending().await,
                Some(at) if Instant::ZERO + at <= now => break,
                Some(at) => self.executor.sleep_until(Instant::ZERO + at).await,
            }
        }
        let front = self.queue.borrow_mut().pop_front();
        let Some((client, seen)) = front else {
            return Err(ErrorKind::Other);
        };
        let since_start = self.executor.now() - Instant::ZERO;
        seen.borrow_mut().accepted = Some(since_start);
        let socket = Socket {
            executor: self.executor,
            input: client.input.clone().into(),
            client,
            seen,
            is_closed: Cell::new(false),
        };
        Ok((SocketAddr::from(([192, 0, 2, 1], 1_234)), socket))
    }
}

struct Socket {
    executor: &'static Executor,
    client: Client,
    input: VecDeque<u8>,
    seen: Rc<RefCell<Seen>>,
    is_closed: Cell<bool>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let at = self.executor.now() - Instant::ZERO;
        self.seen.borrow_mut().dropped = Some(at);
    }
}

impl ErrorType for Socket {
    type Error = ErrorKind;
}

impl Read for Socket {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        assert!(!buffer.is_empty(), "a read that can give nothing");
        if self.input.is_empty() {
            // A client that hears that it is over goes, too.
            return match self.client.then_ends || self.is_closed.get() {
                true => Ok(0),
                false => pending().await,
            };
        }
        self.executor.sleep(self.client.before_each).await;
        let most = match self.client.segment {
            0 => usize::MAX,
            segment => segment,
        };
        let length = most.min(self.input.len()).min(buffer.len());
        for (place, octet) in buffer.iter_mut().zip(self.input.drain(..length)) {
            *place = octet;
        }
        Ok(length)
    }
}

impl Write for Socket {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, ErrorKind> {
        assert!(!self.is_closed.get(), "written behind the end");
        if self.client.takes == 0 {
            return pending().await;
        }
        self.executor.sleep(self.client.between_takes).await;
        let taken = octets.len().min(self.client.takes);
        self.seen
            .borrow_mut()
            .output
            .extend_from_slice(&octets[..taken]);
        Ok(taken)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Readable for Socket {
    async fn readable(&mut self) -> Result<(), ErrorKind> {
        match self.input.is_empty() && !self.client.then_ends {
            true => pending().await,
            false => Ok(()),
        }
    }
}

impl TcpSplit for Socket {
    type Read<'a> = Self;
    type Write<'a> = Self;

    fn split(&mut self) -> (Self, Self) {
        unreachable!("the shell reads and writes in turns")
    }
}

impl TcpShutdown for Socket {
    async fn close(&mut self, _: Close) -> Result<(), ErrorKind> {
        self.is_closed.set(true);
        self.seen.borrow_mut().is_lingered_for = true;
        Ok(())
    }

    async fn abort(&mut self) -> Result<(), ErrorKind> {
        self.is_closed.set(true);
        Ok(())
    }
}
