//! Badly behaved TCP clients, in virtual time: when each is ended, to the nanosecond.

use std::cell::{Cell, RefCell};

use std::future::pending;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use dns_appliance::{Counter, Service, TcpLimits, serve_tcp};
use edge_nal::{Close, Readable, TcpAccept, TcpShutdown, TcpSplit};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use mirage_core::Instant;
use mirage_core::executor::Executor;
use mirage_dns::zone_set::ZoneSet;

use crate::common::executor;

const LIMITS: TcpLimits = TcpLimits {
    idle: Duration::from_secs(10),
    message: Duration::from_secs(5),
    connection: Duration::from_secs(60),
    crowd: 2,
    crowded: Duration::from_millis(500),
};

/// A query that the empty zone set refuses.
const QUERY: &[u8] = b"\x00\x11\x12\x34\0\0\0\x01\0\0\0\0\0\0\0\0\x06\0\x01";

#[test]
fn a_client_that_says_nothing_is_ended_after_the_idle_time() {
    let ended = serve(Client::default());
    assert_eq!(ended.at, LIMITS.idle);
    assert_eq!(ended.counter, Counter::TcpClosedIdle);
}

#[test]
fn a_client_that_was_answered_may_be_idle_as_long_as_at_first() {
    // Not as long as a message may take: nothing of the next one has come.
    let ended = serve(Client {
        input: QUERY.to_vec(),
        segment: QUERY.len(),
        before_each: Duration::from_secs(1),
        ..Client::default()
    });
    assert_eq!(ended.at, Duration::from_secs(1) + LIMITS.idle);
    assert_eq!(ended.counter, Counter::TcpClosedIdle);
    assert_eq!(ended.answers, 1);
}

#[test]
fn a_client_that_drips_octets_is_ended_after_the_message_time() {
    // Each octet comes well before the idle time is over, so that would never end it.
    let ended = serve(Client {
        input: QUERY.to_vec(),
        segment: 1,
        before_each: Duration::from_secs(1),
        ..Client::default()
    });
    assert_eq!(ended.at, Duration::from_secs(1) + LIMITS.message);
    assert_eq!(ended.counter, Counter::TcpClosedStalled);
    assert_eq!(ended.answers, 0);
}

#[test]
fn a_client_that_is_slow_and_in_time_is_answered() {
    let ended = serve(Client {
        input: [QUERY, QUERY].concat(),
        segment: 1,
        before_each: Duration::from_millis(200),
        then_ends: true,
        ..Client::default()
    });
    assert_eq!(ended.answers, 2);
    assert_eq!(ended.counter, Counter::TcpClosedByClient);
}

#[test]
fn a_client_that_takes_no_answer_is_ended_after_the_message_time() {
    let ended = serve(Client {
        input: QUERY.to_vec(),
        segment: QUERY.len(),
        deaf: true,
        ..Client::default()
    });
    assert_eq!(ended.at, LIMITS.message);
    assert_eq!(ended.counter, Counter::TcpClosedStalled);
}

#[test]
fn a_client_that_asks_and_asks_is_ended_after_the_connection_s_time() {
    let ended = serve(Client {
        input: QUERY.repeat(1000),
        segment: QUERY.len(),
        before_each: Duration::from_secs(2),
        ..Client::default()
    });
    assert_eq!(ended.at, LIMITS.connection);
    assert_eq!(ended.counter, Counter::TcpClosedStalled);
    // At 2 s, 4 s, … 60 s: what comes at the very end is in time.
    assert_eq!(ended.answers, 30);
}

#[test]
fn clients_that_say_nothing_have_less_time_where_there_are_many() {
    let executor = executor();
    let service = service();
    let quiet = || Acceptor::new(executor, Client::default());
    let acceptors: Vec<&'static Acceptor> =
        (0..4).map(|_| &*Box::leak(Box::new(quiet()))).collect();
    let traces: Vec<_> = acceptors.iter().map(|acceptor| &acceptor.trace).collect();
    for acceptor in acceptors.iter().copied() {
        let serving = executor.spawn(async move {
            let (mut request, mut response) = ([0; 512], [0; 512]);
            serve_tcp(
                acceptor,
                service,
                executor,
                LIMITS,
                &mut request,
                &mut response,
            )
            .await
        });
        serving.expect("a task").detach();
    }
    executor.run_until(executor.sleep(Duration::from_secs(20)));
    let ended: Vec<_> = traces.iter().map(|trace| trace.borrow().closed).collect();
    let (long, short) = (Some(LIMITS.idle), Some(LIMITS.crowded));
    assert_eq!(ended, [long, long, short, short]);
}

#[test]
fn a_client_whose_octets_never_end_does_not_keep_other_tasks_from_running() {
    let executor = executor();
    let service = service();
    let acceptor = Acceptor::new(
        executor,
        Client {
            input: QUERY.repeat(100),
            segment: 1,
            ..Client::default()
        },
    );
    let seen = Rc::new(RefCell::new(Vec::new()));
    let seeing = Rc::clone(&seen);
    let other = executor.spawn(async move {
        while service.counters().server.refused < 100 {
            seeing.borrow_mut().push(service.counters().server.refused);
            mirage_core::executor::yield_now().await;
        }
    });
    executor.run_until(async move {
        let (mut request, mut response) = ([0; 512], [0; 512]);
        let serving = serve_tcp(
            &acceptor,
            service,
            executor,
            LIMITS,
            &mut request,
            &mut response,
        );
        let _ = executor.timeout(Duration::from_secs(1), serving).await;
    });
    executor.run_until(other.expect("a task")).expect("its end");
    assert_eq!(service.counters().server.refused, 100);
    let seen = seen.borrow();
    assert!(
        seen.iter().any(|answered| (1..100).contains(answered)),
        "nobody else got a turn meanwhile"
    );
}

#[test]
fn a_listener_that_can_not_accept_is_tried_again_after_a_pause() {
    let executor = executor();
    let service = service();
    let acceptor = Exhausted(Cell::new(0));
    let (mut request, mut response) = ([0; 512], [0; 512]);
    executor.run_until(async {
        let serving = serve_tcp(
            &acceptor,
            service,
            executor,
            LIMITS,
            &mut request,
            &mut response,
        );
        let _ = executor.timeout(Duration::from_secs(1), serving).await;
    });
    let tries = acceptor.0.get();
    assert!((50..=101).contains(&tries), "{tries} in a second");
    assert_eq!(service.counters().get(Counter::TcpAcceptErrors), tries);
}

/// A listener without descriptors.
struct Exhausted(Cell<u64>);

impl TcpAccept for Exhausted {
    type Error = ErrorKind;
    type Socket<'a> = Socket;

    async fn accept(&self) -> Result<(SocketAddr, Socket), Self::Error> {
        self.0.set(self.0.get() + 1);
        assert!(self.0.get() < 10_000, "tried without a pause");
        Err(ErrorKind::OutOfMemory)
    }
}

#[test]
fn a_message_longer_than_the_buffer_ends_the_connection_at_once() {
    let ended = serve(Client {
        input: vec![0xff; 4],
        segment: 4,
        ..Client::default()
    });
    assert_eq!((ended.at, ended.answers), (Duration::ZERO, 0));
    assert_eq!(ended.counter, Counter::TcpClosedBadFrame);
}

#[test]
fn an_end_within_a_message_is_a_failure() {
    let ended = serve(Client {
        input: QUERY[..5].to_vec(),
        segment: 5,
        then_ends: true,
        ..Client::default()
    });
    assert_eq!(ended.counter, Counter::TcpClosedFailed);
}

/// What a client does.
#[derive(Clone, Default)]
struct Client {
    input: Vec<u8>,
    /// Octets that one read gets at most.
    segment: usize,
    before_each: Duration,
    /// After its input the client ends its side; else it says nothing more.
    then_ends: bool,
    /// It takes nothing.
    deaf: bool,
}

#[derive(Debug)]
struct Ended {
    /// After the connection was taken.
    at: Duration,
    counter: Counter,
    answers: usize,
}

/// Serves one client until its connection is ended.
fn serve(client: Client) -> Ended {
    let executor = executor();
    let service = service();
    let acceptor = Acceptor::new(executor, client);
    let trace = Rc::clone(&acceptor.trace);
    executor.run_until(async move {
        let (mut request, mut response) = ([0; 512], [0; 512]);
        let serving = serve_tcp(
            &acceptor,
            service,
            executor,
            LIMITS,
            &mut request,
            &mut response,
        );
        let _ = executor.timeout(Duration::from_secs(1000), serving).await;
    });
    let counters = service.counters();
    assert_eq!(counters.get(Counter::TcpConnections), 1);
    let ends: Vec<Counter> = Counter::ALL
        .iter()
        .copied()
        .filter(|counter| counter.name().starts_with("tcp-closed") && counters.get(*counter) > 0)
        .collect();
    let [counter] = ends[..] else {
        panic!("a connection ends once, for one reason: {ends:?}");
    };
    let trace = trace.borrow();
    Ended {
        at: trace.closed.expect("a connection that was ended"),
        counter,
        answers: trace.answers,
    }
}

fn service() -> &'static Service<'static> {
    Box::leak(Box::new(Service::new(ZoneSet::EMPTY)))
}

#[derive(Default)]
struct Trace {
    closed: Option<Duration>,
    answers: usize,
}

/// Gives one connection, and no second one.
struct Acceptor {
    executor: &'static Executor,
    client: RefCell<Option<Client>>,
    trace: Rc<RefCell<Trace>>,
}

impl Acceptor {
    fn new(executor: &'static Executor, client: Client) -> Self {
        Self {
            executor,
            client: RefCell::new(Some(client)),
            trace: Rc::default(),
        }
    }
}

impl TcpAccept for Acceptor {
    type Error = ErrorKind;
    type Socket<'a> = Socket;

    async fn accept(&self) -> Result<(SocketAddr, Socket), ErrorKind> {
        let client = self.client.borrow_mut().take();
        let Some(client) = client else {
            return pending().await;
        };
        let socket = Socket {
            executor: self.executor,
            began: self.executor.now(),
            client,
            trace: Rc::clone(&self.trace),
        };
        Ok((SocketAddr::from(([192, 0, 2, 1], 1234)), socket))
    }
}

struct Socket {
    executor: &'static Executor,
    began: Instant,
    client: Client,
    trace: Rc<RefCell<Trace>>,
}

impl Socket {
    fn ended(&self) {
        let at = self.executor.now() - self.began;
        self.trace.borrow_mut().closed.get_or_insert(at);
    }
}

impl ErrorType for Socket {
    type Error = ErrorKind;
}

impl Read for Socket {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        if self.client.input.is_empty() {
            return if self.client.then_ends {
                Ok(0)
            } else {
                pending().await
            };
        }
        self.executor.sleep(self.client.before_each).await;
        let length = self
            .client
            .segment
            .min(self.client.input.len())
            .min(buffer.len());
        for (place, octet) in buffer.iter_mut().zip(self.client.input.drain(..length)) {
            *place = octet;
        }
        Ok(length)
    }
}

impl Write for Socket {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, ErrorKind> {
        if self.client.deaf {
            return pending().await;
        }
        let (prefix, message) = octets.split_at(2);
        assert_eq!(
            prefix,
            (message.len() as u16).to_be_bytes(),
            "a length and its message in one write"
        );
        self.trace.borrow_mut().answers += 1;
        Ok(octets.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Readable for Socket {
    async fn readable(&mut self) -> Result<(), ErrorKind> {
        Ok(())
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
        self.ended();
        Ok(())
    }

    async fn abort(&mut self) -> Result<(), ErrorKind> {
        self.ended();
        Ok(())
    }
}
