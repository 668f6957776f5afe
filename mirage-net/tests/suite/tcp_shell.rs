//! Connections and listeners of shared stacks, on the executor in virtual time.

use std::cell::Cell;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mirage_core::Pool;
use mirage_core::doubles::{
    Chance, Faults, PortConfig, SplitMix64, VirtualEthernet, VirtualPlatform,
};
use mirage_core::executor::Executor;
use mirage_net::tcp::*;
use mirage_net::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::common::{Memory, at, ip, mac, pattern};

const CONNECTIONS: usize = 32;
/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(60);

struct Machine {
    shared: &'static SharedStack<'static>,
    pool: &'static Pool,
}

struct World {
    executor: &'static Executor,
    client: Machine,
    server: Machine,
}

impl World {
    fn new() -> Self {
        Self::with(Faults::NONE, CONNECTIONS, 8)
    }

    /// With these faults on the way to each, and slots for so many connections and listeners.
    fn with(faults: Faults, streams: usize, listeners: usize) -> Self {
        let platform: &'static VirtualPlatform = Box::leak(Box::default());
        let executor = Executor::leak(platform);
        let ethernet = VirtualEthernet::new(1);
        platform.connect(&ethernet);
        let machine = |number: u8| {
            let pool = Pool::leak(1_024, 2_048).unwrap();
            let mut port = PortConfig::new(mac(number));
            port.faults = faults;
            let mut netif = ethernet.attach(port, pool.reserve(200).unwrap());
            let memory = Box::leak(Box::new(Memory::new()));
            let tcp = Box::leak(Box::new(TcpMemory::<CONNECTIONS, 1_024, 16, 64>::new()));
            let services = Box::leak(Box::new([const { ServiceSlot::EMPTY }; 1]));
            let storage = memory.storage(services).with_tcp(tcp.storage());
            let config = StackConfig::for_netif(&netif);
            let mut rng = ChaCha8Rng::seed_from_u64(number.into());
            let now = executor.now();
            let mut stack = Stack::new(config, storage, pool, now, &mut rng).unwrap();
            let cidr = Cidr::new(ip(number).into(), 24).unwrap();
            stack
                .add_address(now, cidr, ConflictConfig::assigned())
                .unwrap();
            let datagrams = Box::leak(Box::new([const { WakerSlot::EMPTY }; 8]));
            let streams: Vec<_> = (0..streams).map(|_| StreamWakerSlot::new()).collect();
            let listeners: Vec<_> = (0..listeners).map(|_| ListenerWakerSlot::new()).collect();
            let wakers = TcpWakers::new(streams.leak(), listeners.leak());
            let shared = SharedStack::new(stack, platform, &mut datagrams[..]).with_tcp(wakers);
            let shared: &'static SharedStack<'static> = Box::leak(Box::new(shared));
            let driver = async move { shared.run(&mut netif, executor).await };
            executor.spawn(driver).unwrap().detach();
            Machine { shared, pool }
        };
        World {
            executor,
            client: machine(1),
            server: machine(2),
        }
    }

    fn listen(&self, port: u16) -> TcpListener<'static, 'static> {
        let options = ListenOptions::bind(any(port));
        self.server.shared.tcp_listen(options).unwrap()
    }

    async fn connect(&self, port: u16) -> TcpStream<'static, 'static> {
        self.connect_with(port, ConnectionOptions::DEFAULT).await
    }

    async fn connect_with(
        &self,
        port: u16,
        options: ConnectionOptions,
    ) -> TcpStream<'static, 'static> {
        let connecting = self.client.shared.tcp_connect(any(0), at(2, port), options);
        connecting.await.unwrap()
    }

    /// A connection, as both see it.
    async fn pair(&self) -> (TcpStream<'static, 'static>, TcpStream<'static, 'static>) {
        let listener = self.listen(80);
        let client = self.connect(80).await;
        let (remote, server) = listener.accept().await.unwrap();
        assert_eq!(Some(remote), client.local());
        assert_eq!(server.local(), Some(at(2, 80)));
        (client, server)
    }

    async fn sleep(&self, duration: Duration) {
        self.executor.sleep(duration).await;
    }

    /// Everything times out; no connection and no page is left.
    fn end(self) {
        self.executor
            .run_until(self.executor.sleep(Duration::from_secs(600)));
        for machine in [&self.client, &self.server] {
            let population = machine.shared.with(|stack, _| stack.tcp_population());
            assert_eq!(population, (0, 0, 0));
            let pool = machine.pool;
            assert_eq!(pool.free_in_all(), pool.blocks());
        }
    }
}

fn any(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

/// Polls a future once.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Reads to the end.
async fn read_to_end(stream: &TcpStream<'_, '_>) -> Result<Vec<u8>, TcpError> {
    let mut all = Vec::new();
    let mut buffer = [0; 3_000];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

#[test]
fn pages_go_there_and_back_and_none_is_copied_by_the_shell() {
    let world = World::new();
    world.executor.run_until(async {
        let (client, server) = world.pair().await;
        let question = pattern(1_000, 1);
        let mut page = world.client.pool.alloc().unwrap();
        page.extend_from_slice(&question).unwrap();
        client.send(page).await.unwrap();
        let piece = server.receive().await.unwrap().unwrap();
        assert_eq!(*piece, *question);
        // The page that came in goes out again: no other is taken.
        let free = world.server.pool.free();
        server.send(piece).await.unwrap();
        assert_eq!(world.server.pool.free(), free);
        let answer = client.receive().await.unwrap().unwrap();
        assert_eq!(*answer, *question);
        drop(server);
        assert!(client.receive().await.unwrap().is_none(), "the end");
        assert!(client.receive().await.unwrap().is_none(), "and it stays");
    });
    world.end();
}

#[test]
fn a_page_that_is_sent_is_free_when_the_peer_has_it() {
    let world = World::new();
    world.executor.run_until(async {
        let (client, server) = world.pair().await;
        world.sleep(Duration::from_secs(10)).await;
        let free = world.client.pool.free();
        let mut page = world.client.pool.alloc().unwrap();
        page.extend_from_slice(b"one page").unwrap();
        client.send(page).await.unwrap();
        assert_eq!(world.client.pool.free(), free - 1);
        client.delivered().await.unwrap();
        assert_eq!(world.client.pool.free(), free);
        assert_eq!(&*server.receive().await.unwrap().unwrap(), b"one page");
    });
    world.end();
}

#[test]
fn one_task_reads_while_another_writes_through_one_reference() {
    let faults = Faults {
        loss: Chance::percent(2),
        reordering: Chance::percent(5),
        duplication: Chance::percent(2),
        delay: Duration::from_millis(3),
        reordering_delay: Duration::from_millis(4),
        ..Faults::NONE
    };
    let world = World::with(faults, CONNECTIONS, 8);
    let executor = world.executor;
    let there = pattern(700_000, 1);
    let back = pattern(500_000, 9);
    executor.run_until(async {
        let (client, server) = world.pair().await;
        let both = |stream: TcpStream<'static, 'static>, sent: Vec<u8>| async move {
            let stream: &'static TcpStream<'static, 'static> = Box::leak(Box::new(stream));
            let writing = executor.spawn(async move {
                stream.write_all(&sent).await.unwrap();
                stream.shutdown().unwrap();
                stream.delivered().await.unwrap();
                assert_eq!(stream.shutdown(), Err(TcpError::Closing));
            });
            let read = read_to_end(stream).await.unwrap();
            writing.unwrap().await.unwrap();
            read
        };
        let serving = executor.spawn(both(server, back.clone())).unwrap();
        let received = both(client, there.clone()).await;
        assert!(received == back);
        assert!(serving.await.unwrap() == there);
    });
}

#[test]
fn halves_are_two_tasks_own() {
    let world = World::new();
    world.executor.run_until(async {
        let (mut client, server) = world.pair().await;
        let sent = pattern(200_000, 3);
        let expected = sent.clone();
        let echo = async {
            while let Some(piece) = server.receive().await.unwrap() {
                server.send(piece).await.unwrap();
            }
            server.shutdown().unwrap();
        };
        let (mut reader, mut writer) = client.split();
        let write = async {
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let count = writer.write(rest).await.unwrap();
                rest = &rest[count..];
            }
            writer.delivered().await.unwrap();
        };
        let read = async {
            let mut received = Vec::new();
            let mut buffer = [0; 777];
            while received.len() < expected.len() {
                reader.readable().await;
                let count = reader.read(&mut buffer).await.unwrap();
                received.extend_from_slice(&buffer[..count]);
            }
            assert!(received == expected);
        };
        let (mut write, mut read) = (pin!(write), pin!(read));
        let (mut written, mut was_read) = (false, false);
        let both = std::future::poll_fn(|context| {
            written = written || write.as_mut().poll(context).is_ready();
            was_read = was_read || read.as_mut().poll(context).is_ready();
            match written && was_read {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        let mut echo = pin!(echo);
        let mut both = pin!(both);
        std::future::poll_fn(|context| {
            let _ = echo.as_mut().poll(context);
            both.as_mut().poll(context)
        })
        .await;
    });
}

#[test]
fn a_half_close_leaves_the_other_direction_open() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let (client, server) = world.pair().await;
        client.write_all(b"all of it").await.unwrap();
        client.shutdown().unwrap();
        client.delivered().await.unwrap();
        assert_eq!(client.state(), Some(TcpState::FinWait2));
        assert_eq!(client.write(b"more").await, Err(TcpError::Closing));
        assert_eq!(read_to_end(&server).await.unwrap(), b"all of it");
        let answer = pattern(150_000, 5);
        let sent = answer.clone();
        let answering = executor.spawn(async move {
            server.write_all(&sent).await.unwrap();
        });
        assert!(read_to_end(&client).await.unwrap() == answer);
        answering.unwrap().await.unwrap();
    });
    world.end();
}

#[test]
fn a_connection_that_nobody_wants_is_refused() {
    let world = World::new();
    world.executor.run_until(async {
        let options = ConnectionOptions::DEFAULT;
        let shared = world.client.shared;
        let refused = shared.tcp_connect(any(0), at(2, 81), options).await;
        assert_eq!(refused.err(), Some(TcpError::Refused));
        let nobody = shared.tcp_connect(any(0), at(99, 80), options).await;
        let error = nobody.err().unwrap();
        assert!(
            matches!(error, TcpError::Unreachable(_) | TcpError::TimedOut),
            "{error}"
        );
        let bad = shared.tcp_connect(any(0), at(2, 0), options).await;
        assert_eq!(bad.err(), Some(TcpError::BadAddress));
    });
    world.end();
}

#[test]
fn a_connect_that_is_dropped_leaves_nothing() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let shared = world.client.shared;
        // Nobody is there: it would be tried for three minutes.
        let connecting = shared.tcp_connect(any(0), at(99, 80), ConnectionOptions::DEFAULT);
        let result = executor
            .timeout(Duration::from_millis(500), connecting)
            .await;
        assert!(result.is_err());
        let population = shared.with(|stack, _| stack.tcp_population());
        assert_eq!(population, (0, 0, 0));
    });
    world.end();
}

#[test]
fn a_connection_that_is_opened_takes_data_before_it_is_there() {
    let world = World::new();
    let listener = world.listen(80);
    world.executor.run_until(async {
        let options = ConnectionOptions::DEFAULT;
        let client = world.client.shared.tcp_open(any(0), at(2, 80), options);
        let client = client.unwrap();
        assert_eq!(client.state(), Some(TcpState::SynSent));
        assert_eq!(client.write(b"early").await, Ok(5));
        let (_, server) = listener.accept().await.unwrap();
        assert_eq!(&*server.receive().await.unwrap().unwrap(), b"early");
        server.write_all(b"bird").await.unwrap();
        let mut buffer = [0; 9];
        assert_eq!(client.read(&mut buffer).await, Ok(4));
        assert_eq!(client.read(&mut []).await, Ok(0));
        assert_eq!(client.write(&[]).await, Ok(0));
    });
    drop(listener);
    world.end();
}

#[test]
fn many_wait_to_accept_and_each_connection_finds_one() {
    let world = World::new();
    let executor = world.executor;
    let listener: &'static _ = Box::leak(Box::new(world.listen(80)));
    let served = Rc::new(Cell::new([0; 5]));
    for number in 0..5 {
        let served = served.clone();
        let task = async move {
            loop {
                let (_, stream) = listener.accept().await.unwrap();
                let mut counts = served.get();
                counts[number] += 1;
                served.set(counts);
                let request = read_to_end(&stream).await.unwrap();
                executor.sleep(Duration::from_millis(100)).await;
                stream.write_all(&request).await.unwrap();
            }
        };
        executor.spawn(task).unwrap().detach();
    }
    executor.run_until(async {
        let mut clients = Vec::new();
        for number in 0..20 {
            clients.push((number, world.connect(80).await));
        }
        for (number, client) in &clients {
            client.write_all(&pattern(100, *number)).await.unwrap();
            client.shutdown().unwrap();
        }
        for (number, client) in &clients {
            let answer = executor.timeout(LONG, read_to_end(client)).await;
            assert_eq!(answer.unwrap().unwrap(), pattern(100, *number));
        }
    });
    // Nobody is left out, and nobody gets two before another gets one.
    assert_eq!(served.get(), [4; 5]);
}

#[test]
fn an_accept_that_is_dropped_after_it_was_woken_passes_the_connection_on() {
    let world = World::new();
    let executor = world.executor;
    let listener = world.listen(80);
    executor.run_until(async {
        let mut first = Box::pin(listener.accept());
        let mut second = Box::pin(listener.accept());
        let woken = Rc::new(Cell::new(false));
        std::future::poll_fn(|context| {
            assert!(first.as_mut().poll(context).is_pending());
            assert!(second.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        let client = world.connect(80).await;
        // The first was woken, and is dropped before it looks.
        drop(first);
        let other = woken.clone();
        let (remote, _server) = executor.timeout(LONG, second).await.unwrap().unwrap();
        other.set(true);
        assert_eq!(Some(remote), client.local());
        assert!(woken.get());
        // One that was never woken is dropped, too, and the next is none the worse.
        assert!(poll_once(listener.accept()).is_pending());
        let _client = world.connect(80).await;
        let accepted = executor.timeout(LONG, listener.accept()).await;
        accepted.unwrap().unwrap();
    });
    drop(listener);
    world.end();
}

#[test]
fn a_writer_waits_while_the_window_is_full_without_spinning() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let (client, server) = world.pair().await;
        let sent = pattern(400_000, 7);
        let expected = sent.clone();
        let writing = executor
            .spawn(async move {
                client.write_all(&sent).await.unwrap();
                client
            })
            .unwrap();
        world.sleep(Duration::from_secs(1)).await;
        let polls = executor.counters().polls;
        world.sleep(Duration::from_secs(100)).await;
        assert!(!writing.is_finished());
        let polls = executor.counters().polls - polls;
        assert!(polls < 200, "{polls} polls while nothing could happen");
        let mut received = Vec::new();
        let mut buffer = [0; 10_000];
        while received.len() < expected.len() {
            let count = server.read(&mut buffer).await.unwrap();
            received.extend_from_slice(&buffer[..count]);
        }
        assert!(received == expected);
        drop(writing.await.unwrap());
    });
    world.end();
}

#[test]
fn a_writer_that_is_dropped_while_it_waits_has_written_nothing_more() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let (client, server) = world.pair().await;
        let chunk = pattern(10_000, 2);
        let mut queued = 0;
        while let Ok(count) = executor
            .timeout(Duration::from_secs(1), client.write(&chunk))
            .await
        {
            queued += count.unwrap();
        }
        // A send that waits, dropped: its page is not sent.
        let page = world.client.pool.alloc().unwrap();
        let sending = executor.timeout(Duration::from_secs(1), client.send(page));
        assert!(sending.await.is_err());
        assert!(
            executor
                .timeout(Duration::from_secs(1), client.writable())
                .await
                .is_err()
        );
        client.shutdown().unwrap();
        let received = read_to_end(&server).await.unwrap();
        assert_eq!(received.len(), queued);
        client.delivered().await.unwrap();
    });
    world.end();
}

#[test]
fn a_read_that_is_dropped_loses_nothing() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let (client, server) = world.pair().await;
        let mut buffer = [0; 100];
        for _ in 0..3 {
            let reading = executor.timeout(Duration::from_millis(10), server.read(&mut buffer));
            assert!(reading.await.is_err());
            let receiving = executor.timeout(Duration::from_millis(10), server.receive());
            assert!(receiving.await.is_err());
            let readable = executor.timeout(Duration::from_millis(10), server.readable());
            assert!(readable.await.is_err());
        }
        client.write_all(b"still here").await.unwrap();
        server.readable().await;
        assert_eq!(server.read(&mut buffer).await, Ok(10));
        assert_eq!(&buffer[..10], b"still here");
        // A task that waits, ended from outside: another takes its place.
        let server: &'static _ = Box::leak(Box::new(server));
        let waiting = executor.spawn(async move { drop(server.receive().await) });
        world.sleep(Duration::from_millis(1)).await;
        drop(waiting.unwrap());
        client.write_all(b"again").await.unwrap();
        let piece = executor.timeout(LONG, server.receive()).await;
        assert_eq!(&*piece.unwrap().unwrap().unwrap(), b"again");
    });
}

#[test]
fn a_reset_wakes_who_reads_and_who_writes() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let (client, server) = world.pair().await;
        let client: &'static TcpStream<'_, '_> = Box::leak(Box::new(client));
        let reading = executor.spawn(client.receive()).unwrap();
        let writing = executor
            .spawn(async move { client.write_all(&pattern(1_000_000, 1)).await })
            .unwrap();
        let delivering = executor.spawn(async move {
            executor.sleep(Duration::from_secs(3)).await;
            client.delivered().await
        });
        world.sleep(Duration::from_secs(1)).await;
        assert!(!reading.is_finished() && !writing.is_finished());
        server.abort();
        assert_eq!(server.receive().await.err(), Some(TcpError::NotOpen));
        assert_eq!(server.write(b"!").await, Err(TcpError::NotOpen));
        assert_eq!(server.state(), None);
        let read = executor.timeout(LONG, reading).await.unwrap().unwrap();
        assert_eq!(read.err(), Some(TcpError::Reset));
        let written = executor.timeout(LONG, writing).await.unwrap().unwrap();
        assert_eq!(written, Err(TcpError::Reset));
        assert_eq!(delivering.unwrap().await.unwrap(), Err(TcpError::Reset));
        // These do not wait for ever either.
        client.readable().await;
        client.writable().await;
    });
}

#[test]
fn an_abort_wakes_the_other_task_and_touches_no_other_connection() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let listener = world.listen(80);
        let first = world.connect(80).await;
        let (_, server) = listener.accept().await.unwrap();
        let first: &'static TcpStream<'_, '_> = Box::leak(Box::new(first));
        let reading = executor.spawn(first.receive()).unwrap();
        world.sleep(Duration::from_secs(1)).await;
        first.abort();
        let read = executor.timeout(LONG, reading).await.unwrap().unwrap();
        assert_eq!(read.err(), Some(TcpError::NotOpen));
        assert_eq!(server.receive().await.err(), Some(TcpError::Reset));
        // Its slot is another's now.
        let second = world.connect(80).await;
        let (_, server) = listener.accept().await.unwrap();
        let second: &'static TcpStream<'_, '_> = Box::leak(Box::new(second));
        let reading = executor.spawn(second.receive()).unwrap();
        world.sleep(Duration::from_secs(1)).await;
        first.abort();
        first.readable().await;
        assert_eq!(first.shutdown(), Err(TcpError::NotOpen));
        server.write_all(b"for the second").await.unwrap();
        let read = executor.timeout(LONG, reading).await.unwrap().unwrap();
        assert_eq!(&*read.unwrap().unwrap(), b"for the second");
    });
}

#[test]
fn a_stream_dropped_with_unread_bytes_resets_its_peer() {
    let world = World::new();
    world.executor.run_until(async {
        let (client, server) = world.pair().await;
        client.write_all(b"never read").await.unwrap();
        server.readable().await;
        drop(server);
        assert_eq!(client.receive().await.err(), Some(TcpError::Reset));
    });
    world.end();
}

#[test]
fn a_dropped_listener_resets_who_waits_and_refuses_who_comes() {
    let world = World::new();
    world.executor.run_until(async {
        let listener = world.listen(80);
        assert_eq!(listener.local(), Some(any(80)));
        let twice = world.server.shared.tcp_listen(ListenOptions::bind(any(80)));
        assert_eq!(twice.err(), Some(BindError::AddressInUse));
        let accepted = world.connect(80).await;
        let (_, server) = listener.accept().await.unwrap();
        let waiting = world.connect(80).await;
        world.sleep(Duration::from_secs(1)).await;
        drop(listener);
        assert_eq!(waiting.receive().await.err(), Some(TcpError::Reset));
        let options = ConnectionOptions::DEFAULT;
        let refused = world.client.shared.tcp_connect(any(0), at(2, 80), options);
        assert_eq!(refused.await.err(), Some(TcpError::Refused));
        // What was accepted goes on.
        server.write_all(b"goes on").await.unwrap();
        assert_eq!(&*accepted.receive().await.unwrap().unwrap(), b"goes on");
        // A new one at the same place has nothing of the old one.
        let listener = world.listen(80);
        assert!(poll_once(listener.accept()).is_pending());
        assert!(listener.try_accept().unwrap().is_none());
    });
    world.end();
}

#[test]
fn more_connections_than_wakers_are_refused() {
    let world = World::with(Faults::NONE, 2, 1);
    world.executor.run_until(async {
        let listener = world.listen(80);
        let other = world.server.shared.tcp_listen(ListenOptions::bind(any(81)));
        assert_eq!(other.err(), Some(BindError::TableFull));
        let mut pairs = Vec::new();
        for _ in 0..2 {
            let client = world.connect(80).await;
            pairs.push((client, listener.accept().await.unwrap()));
        }
        let options = ConnectionOptions::DEFAULT;
        let third = world.client.shared.tcp_connect(any(0), at(2, 80), options);
        assert_eq!(third.await.err(), Some(TcpError::TableFull));
        // A peer with more room: the server's third is reset when it is accepted.
        let handle = world.client.shared.with(|stack, now| {
            let opened = stack.tcp_connect(now, any(0), at(2, 80), options);
            opened.unwrap()
        });
        assert_eq!(listener.accept().await.err(), Some(TcpError::TableFull));
        world.sleep(Duration::from_secs(1)).await;
        world.client.shared.with(|stack, now| {
            assert_eq!(stack.tcp_error(handle), Some(TcpError::Reset));
            stack.tcp_close(now, handle);
        });
        // The others are none the worse, and when one is gone there is room again.
        pairs.pop();
        world.sleep(Duration::from_secs(100)).await;
        let client = world.connect(80).await;
        let (_, server) = listener.accept().await.unwrap();
        server.write_all(b"room").await.unwrap();
        assert_eq!(&*client.receive().await.unwrap().unwrap(), b"room");
    });
    world.end();
}

#[test]
fn what_is_dropped_or_called_inside_of_a_call_is_done_after_it() {
    let world = World::new();
    world.executor.run_until(async {
        let listener = world.listen(80);
        let client = world.connect(80).await;
        let (_, server) = listener.accept().await.unwrap();
        let second = world.connect(80).await;
        let (_, other) = listener.accept().await.unwrap();
        let shared = world.server.shared;
        shared.with(|stack, _| {
            let options = ListenOptions::bind(any(81));
            assert_eq!(shared.tcp_listen(options).err(), Some(BindError::InUse));
            let opened = shared.tcp_open(any(0), at(1, 9), ConnectionOptions::DEFAULT);
            assert_eq!(opened.err(), Some(TcpError::Busy));
            assert_eq!(listener.local(), None);
            assert_eq!(listener.try_accept().err(), Some(TcpError::Busy));
            assert_eq!(
                (server.local(), server.remote(), server.state()),
                (None, None, None)
            );
            assert_eq!(server.shutdown(), Err(TcpError::Busy));
            assert!(poll_once(listener.accept()).is_pending());
            assert!(poll_once(server.receive()).is_pending());
            assert!(poll_once(server.read(&mut [0; 1])).is_pending());
            assert!(poll_once(server.readable()).is_pending());
            assert!(poll_once(server.write(b"?")).is_pending());
            assert!(poll_once(server.writable()).is_pending());
            assert!(poll_once(server.delivered()).is_pending());
            drop(server);
            other.abort();
            drop(listener);
            assert_eq!(stack.tcp_population().0, 2, "nothing was done yet");
        });
        assert!(client.receive().await.unwrap().is_none());
        assert_eq!(second.receive().await.err(), Some(TcpError::Reset));
        let options = ConnectionOptions::DEFAULT;
        let refused = world.client.shared.tcp_connect(any(0), at(2, 80), options);
        assert_eq!(refused.await.err(), Some(TcpError::Refused));
    });
    world.end();
}

#[test]
fn a_page_from_the_receive_ring_waits_while_there_is_none_to_exchange() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let (client, server) = world.pair().await;
        let mut options = UdpOptions::bind(any(53));
        options.broadcast = true;
        let socket = world.server.shared.udp_bind(options).unwrap();
        let asker = world.client.shared.udp_bind(UdpOptions::bind(any(0)));
        let asker = asker.unwrap();
        asker
            .send(Some(at(2, 53)), b"from a datagram")
            .await
            .unwrap();
        let datagram = socket.receive().await.unwrap();
        let piece = datagram.payload.into_single().unwrap();
        let hoard: Vec<_> = std::iter::from_fn(|| world.server.pool.alloc()).collect();
        let sending = executor
            .spawn(async move {
                server.send(piece).await.unwrap();
                server.delivered().await.unwrap();
            })
            .unwrap();
        world.sleep(Duration::from_secs(1)).await;
        drop(hoard);
        let received = executor.timeout(LONG, client.receive()).await.unwrap();
        assert_eq!(&*received.unwrap().unwrap(), b"from a datagram");
        sending.await.unwrap();
    });
    world.end();
}

/// Calls are dropped while they wait, again and again, on a bad line: what was read and written is whole all the same.
#[test]
fn whatever_is_dropped_while_it_waits_all_bytes_arrive_in_order() {
    let faults = Faults {
        loss: Chance::percent(2),
        reordering: Chance::percent(5),
        duplication: Chance::percent(2),
        delay: Duration::from_millis(2),
        reordering_delay: Duration::from_millis(3),
        ..Faults::NONE
    };
    for seed in 0..5 {
        let world = World::with(faults, CONNECTIONS, 8);
        let executor = world.executor;
        let mut rng = SplitMix64::new(seed);
        let sent = pattern(150_000, seed as usize);
        let expected = sent.clone();
        executor.run_until(async {
            let (client, server) = world.pair().await;
            let mut random = rng.split();
            let pool = world.client.pool;
            let writing = executor.spawn(async move {
                let mut at = 0;
                let mut dropped = 0;
                while at < sent.len() {
                    let patience = Duration::from_micros(random.below(3_000));
                    let end = sent.len().min(at + 1 + random.below(9_000) as usize);
                    match random.below(4) {
                        0 => {
                            let end = end.min(at + 2_000);
                            let Some(mut page) = pool.alloc() else {
                                continue;
                            };
                            page.extend_from_slice(&sent[at..end]).unwrap();
                            match executor.timeout(patience, client.send(page)).await {
                                Ok(result) => result.unwrap(),
                                Err(_) => {
                                    dropped += 1;
                                    continue;
                                }
                            }
                            at = end;
                        }
                        1 => drop(executor.timeout(patience, client.writable()).await),
                        _ => match executor
                            .timeout(patience, client.write(&sent[at..end]))
                            .await
                        {
                            Ok(result) => at += result.unwrap(),
                            Err(_) => dropped += 1,
                        },
                    }
                }
                client.shutdown().unwrap();
                client.delivered().await.unwrap();
                (client, dropped)
            });
            let mut random = rng.split();
            let mut received = Vec::new();
            let mut buffer = [0; 5_000];
            let mut dropped = 0;
            loop {
                let patience = Duration::from_micros(random.below(3_000));
                let pause = Duration::from_micros(random.below(200));
                executor.sleep(pause).await;
                match random.below(3) {
                    0 => drop(executor.timeout(patience, server.readable()).await),
                    1 => match executor.timeout(patience, server.receive()).await {
                        Ok(Ok(Some(piece))) => received.extend_from_slice(&piece),
                        Ok(Ok(None)) => break,
                        Ok(Err(error)) => panic!("{error}"),
                        Err(_) => dropped += 1,
                    },
                    _ => {
                        let length = 1 + random.below(buffer.len() as u64) as usize;
                        let reading = server.read(&mut buffer[..length]);
                        match executor.timeout(patience, reading).await {
                            Ok(Ok(0)) => break,
                            Ok(Ok(count)) => received.extend_from_slice(&buffer[..count]),
                            Ok(Err(error)) => panic!("{error}"),
                            Err(_) => dropped += 1,
                        }
                    }
                }
            }
            assert!(received == expected, "seed {seed}");
            let (client, writes_dropped) = writing.unwrap().await.unwrap();
            assert!(dropped > 0 && writes_dropped > 0, "nothing was dropped");
            drop((client, server));
        });
        world.end();
    }
}

/// Tasks wait to accept, give up, and come again: each connection is accepted once, and none waits while somebody would take it.
#[test]
fn whoever_gives_up_waiting_to_accept_no_connection_is_left() {
    let slow = Faults {
        delay: Duration::from_micros(20),
        jitter: Duration::from_micros(30),
        ..Faults::NONE
    };
    let world = World::with(slow, CONNECTIONS, 8);
    let executor = world.executor;
    let listener: &'static _ = Box::leak(Box::new(world.listen(80)));
    let (accepted, given_up) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let mut rng = SplitMix64::new(3);
    for _ in 0..6 {
        let (accepted, given_up) = (accepted.clone(), given_up.clone());
        let mut random = rng.split();
        let task = async move {
            loop {
                let patience = Duration::from_micros(1 + random.below(50));
                match executor.timeout(patience, listener.accept()).await {
                    Ok(result) => {
                        let (_, stream) = result.unwrap();
                        accepted.set(accepted.get() + 1);
                        stream.write_all(b"welcome").await.unwrap();
                    }
                    Err(_) => given_up.set(given_up.get() + 1),
                }
            }
        };
        executor.spawn(task).unwrap().detach();
    }
    executor.run_until(async {
        for number in 1..=200 {
            world.sleep(Duration::from_micros(rng.below(300))).await;
            let client = world.connect(80).await;
            let greeting = executor.timeout(Duration::from_millis(2), client.receive());
            let greeting = greeting.await.expect("somebody accepts at once");
            assert_eq!(&*greeting.unwrap().unwrap(), b"welcome");
            assert_eq!(accepted.get(), number);
        }
    });
    assert!(given_up.get() > 200, "{}", given_up.get());
}

#[cfg(feature = "io")]
mod io {
    use embedded_io_async::{BufRead, Error, ErrorKind, Read, Write};

    use super::*;

    #[test]
    fn lines_are_read_where_they_lie() {
        let world = World::new();
        let executor = world.executor;
        executor.run_until(async {
            let (mut client, mut server) = world.pair().await;
            let text = (0..5_000).map(|number| format!("{number}\n"));
            let text: String = text.collect();
            let sent = text.clone();
            let writing = executor.spawn(async move {
                Write::write_all(&mut client, sent.as_bytes())
                    .await
                    .unwrap();
                Write::flush(&mut client).await.unwrap();
                client.shutdown().unwrap();
                client
            });
            let mut received = Vec::new();
            let mut rounds = 0;
            loop {
                rounds += 1;
                // By the stream, by a half, and by reading, from one and the same place.
                let piece = server.fill_buf().await.unwrap();
                if piece.is_empty() {
                    break;
                }
                let count = piece.len().min(3);
                received.extend_from_slice(&piece[..count]);
                server.consume(count);
                if rounds % 5 == 0 {
                    let (mut reader, _) = server.split();
                    let piece = reader.fill_buf().await.unwrap();
                    let count = piece.len().div_ceil(2);
                    received.extend_from_slice(&piece[..count]);
                    reader.consume(count);
                }
                if rounds % 7 == 0 {
                    let mut buffer = [0; 5];
                    let count = Read::read(&mut &server, &mut buffer).await.unwrap();
                    received.extend_from_slice(&buffer[..count]);
                }
                if rounds % 11 == 0
                    && let Some(piece) = server.receive().await.unwrap()
                {
                    received.extend_from_slice(&piece);
                }
            }
            assert!(received == text.as_bytes());
            drop(writing.unwrap().await.unwrap());
        });
        world.end();
    }

    #[test]
    fn what_lies_in_a_buffer_unread_resets_the_peer_too() {
        let world = World::new();
        world.executor.run_until(async {
            let (client, mut server) = world.pair().await;
            client.write_all(b"half of it").await.unwrap();
            assert_eq!(server.fill_buf().await.unwrap(), b"half of it");
            server.consume(4);
            drop(server);
            assert_eq!(client.receive().await.err(), Some(TcpError::Reset));
            let error = Write::write(&mut &client, b"!").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let flushed = Write::flush(&mut &client).await;
            assert_eq!(flushed, Err(TcpError::Reset));
        });
        world.end();
    }
}

#[cfg(feature = "edge-nal")]
mod edge {
    use edge_nal::{Close, Readable, TcpAccept, TcpBind, TcpConnect, TcpShutdown, TcpSplit};
    use embedded_io_async::{Read, Write};

    use super::*;
    use std::net::IpAddr;

    /// Echoes one connection, by nothing but the traits.
    async fn echo<N: TcpBind>(stack: &N) {
        let acceptor = stack.bind(any(80)).await.unwrap();
        let (remote, mut socket) = acceptor.accept().await.unwrap();
        assert_eq!(remote.ip(), IpAddr::from(ip(1)));
        let mut buffer = [0; 1_000];
        loop {
            let (mut reader, mut writer) = socket.split();
            reader.readable().await.unwrap();
            let count = reader.read(&mut buffer).await.unwrap();
            if count == 0 {
                break;
            }
            writer.write_all(&buffer[..count]).await.unwrap();
            writer.flush().await.unwrap();
        }
        socket.close(Close::Both).await.unwrap();
    }

    #[test]
    fn a_server_that_knows_the_traits_alone_serves() {
        let world = World::new();
        let executor = world.executor;
        let server = world.server.shared;
        executor.spawn(echo(server)).unwrap().detach();
        executor.run_until(async {
            let mut socket = TcpConnect::connect(world.client.shared, at(2, 80))
                .await
                .unwrap();
            let sent = pattern(30_000, 4);
            socket.write_all(&sent).await.unwrap();
            let mut received = vec![0; sent.len()];
            socket.read_exact(&mut received).await.unwrap();
            assert!(received == sent);
            socket.close(Close::Write).await.unwrap();
            // Again is no error.
            socket.close(Close::Write).await.unwrap();
            assert_eq!(socket.read(&mut received).await.unwrap(), 0);
        });
        world.end();
    }

    #[test]
    fn close_throws_away_what_comes_and_waits_for_the_end() {
        let world = World::new();
        let executor = world.executor;
        executor.run_until(async {
            let (mut client, server) = world.pair().await;
            let writing = executor.spawn(async move {
                server.write_all(&pattern(300_000, 1)).await.unwrap();
                executor.sleep(Duration::from_secs(5)).await;
            });
            let began = executor.now();
            client.close(Close::Both).await.unwrap();
            assert!(executor.now() - began >= Duration::from_secs(5));
            writing.unwrap().await.unwrap();
        });
        world.end();
    }

    #[test]
    fn an_abort_resets() {
        let world = World::new();
        world.executor.run_until(async {
            let (client, mut server) = world.pair().await;
            TcpShutdown::abort(&mut server).await.unwrap();
            assert_eq!(client.receive().await.err(), Some(TcpError::Reset));
        });
        world.end();
    }
}

/// RFC 9293 §3.8.6.3, RFC 1122 §4.2.3.2: what is received is acknowledged by what its reader answers, from the first question on.
#[test]
fn an_answer_takes_the_acknowledgement_of_its_question_with_it() {
    let world = World::new();
    let executor = world.executor;
    let listener = world.listen(80);
    let accepting = async move {
        let (_, stream) = listener.accept().await.unwrap();
        // As a server does it: a task for each connection.
        let serving = async move {
            while let Some(question) = stream.receive().await.unwrap() {
                stream.send(question).await.unwrap();
            }
        };
        executor.spawn(serving).unwrap().detach();
    };
    executor.spawn(accepting).unwrap().detach();
    executor.run_until(async {
        let sent = || {
            let counters = world.server.shared.with(|stack, _| stack.counters());
            counters.tcp.sent
        };
        let client = world.connect(80).await;
        let mut buffer = [0; 100];
        for question in 0..20 {
            client.write_all(b"a question").await.unwrap();
            assert_eq!(client.read(&mut buffer).await, Ok(10));
            // The SYN's answer is the first.
            assert_eq!(sent(), question + 2);
        }
    });
    world.end();
}

/// What comes in one batch is acknowledged once, with the window that its reader has opened by then.
#[test]
fn a_batch_is_acknowledged_once_it_was_read() {
    let world = World::new();
    world.executor.run_until(async {
        let (client, server) = world.pair().await;
        let bytes = pattern(500_000, 7);
        let written = bytes.clone();
        let sending = async move {
            client.write_all(&written).await.unwrap();
            client.shutdown().unwrap();
            client.delivered().await.unwrap();
        };
        world.executor.spawn(sending).unwrap().detach();
        let received = read_to_end(&server).await;
        assert_eq!(received.unwrap(), bytes);
        let counters = world.server.shared.with(|stack, _| stack.counters()).tcp;
        // Every second segment would be half of them (RFC 5681 §4.2 allows more to be acknowledged together).
        assert!(counters.sent * 3 < counters.received, "{counters:?}");
    });
    world.end();
}
