//! TCP with Linux as the peer, over a tap: all bytes are compared, on lines good and bad.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{
    Ipv4Addr, Shutdown, SocketAddr, TcpListener as KernelListener, TcpStream as Kernel,
};
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mirage_core::doubles::{Chance, FaultControl, FaultInjector, Faults, Injection};
use mirage_core::executor::Executor;
use mirage_core::{Clock, Instant, MacAddress, Pool};
use mirage_host::{HostPlatform, SystemRng, Tap, TapConfig};
use mirage_net::tcp::{
    ConnectionOptions, KeepAlive, ListenOptions, TcpCapacities, TcpCounters, TcpError, TcpState,
    TcpStorage,
};
use mirage_net::{
    Capacities, Cidr, ConflictConfig, SharedStack, Stack, StackConfig, StackStorage, TcpListener,
    TcpStream, TcpWakers, WakerSlot,
};
use peer_tests::{LONG, in_own_network};
use rustix::net::sockopt;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);

/// A line that loses, reorders, duplicates and damages frames, each way.
const BAD: Faults = Faults {
    loss: Chance::percent(1),
    reordering: Chance::percent(3),
    duplication: Chance::percent(2),
    corruption: Chance::per_million(5_000),
    delay: Duration::from_millis(1),
    jitter: Duration::from_micros(300),
    reordering_delay: Duration::from_millis(2),
    ..Faults::NONE
};

/// Our stack with TCP, and a line with faults between it and the kernel's end of a tap.
struct Machine {
    executor: &'static Executor,
    shared: &'static SharedStack<'static>,
    line: FaultControl,
}

impl Machine {
    fn new(faults: Faults, seed: u64) -> Self {
        let platform = HostPlatform::leak().unwrap();
        let executor = Executor::leak(platform);
        let pool = Pool::leak(4_096, 2_048).unwrap();
        let mut config = TapConfig::new("tcp-tap0");
        config.host_address = Some((HOST, 24));
        config.mac = Some(MAC);
        let tap = Tap::open(platform, pool, config).unwrap();
        let injection = Injection {
            receive: faults,
            transmit: faults,
            ..Injection::NONE
        };
        let reserve = pool.reserve(1_024).unwrap();
        let mut netif = FaultInjector::new(tap, platform, reserve, injection, seed);
        let line = netif.control();
        let tcp = TcpCapacities {
            connections: 512,
            segments: 4_096,
            ..TcpCapacities::default()
        };
        let storage = StackStorage::allocate(&Capacities::default());
        let storage = storage.with_tcp(TcpStorage::allocate(&tcp));
        let now = platform.now();
        let mut rng = SystemRng::new().unwrap();
        let config = StackConfig::for_netif(&netif);
        let mut stack = Stack::new(config, storage, pool, now, &mut rng).unwrap();
        let address = Cidr::new(OURS.into(), 24).unwrap();
        let assigned = ConflictConfig::assigned();
        stack.add_address(now, address, assigned).unwrap();
        let streams = TcpWakers::allocate(&stack);
        let sockets: Vec<_> = (0..stack.udp_capacity())
            .map(|_| WakerSlot::EMPTY)
            .collect();
        let shared = SharedStack::new(stack, platform, sockets.leak()).with_tcp(streams);
        let shared: &'static SharedStack<'static> = Box::leak(Box::new(shared));
        let driving = async move { shared.run(&mut netif, executor).await };
        executor.spawn(driving).unwrap().detach();
        let due = line.clone();
        let waking = async move {
            loop {
                // Whoever transmits makes no event here: the line is looked at often enough.
                executor.sleep(Duration::from_micros(500)).await;
                due.wake_due(executor.now());
            }
        };
        if faults != Faults::NONE {
            executor.spawn(waking).unwrap().detach();
        }
        Self {
            executor,
            shared,
            line,
        }
    }

    fn listen(&self, connection: ConnectionOptions) -> TcpListener<'static, 'static> {
        self.listen_at(80, connection)
    }

    fn listen_at(&self, port: u16, connection: ConnectionOptions) -> TcpListener<'static, 'static> {
        let options = ListenOptions {
            backlog: 512,
            connection,
            ..ListenOptions::bind((Ipv4Addr::UNSPECIFIED, port).into())
        };
        self.shared.tcp_listen(options).unwrap()
    }

    async fn connect(
        &self,
        port: u16,
        options: ConnectionOptions,
    ) -> Result<TcpStream<'static, 'static>, TcpError> {
        let any = (Ipv4Addr::UNSPECIFIED, 0).into();
        let remote = (HOST, port).into();
        self.shared.tcp_connect(any, remote, options).await
    }

    /// Runs until it is done, or a minute is over.
    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let limited = self.executor.timeout(LONG, future);
        self.executor.run_until(limited).expect("within a minute")
    }

    fn counters(&self) -> TcpCounters {
        self.shared.with(|stack, _| stack.counters().tcp)
    }

    /// Every connection ends, but for those in TIME-WAIT.
    fn all_end(&self) {
        let end = self.executor.now() + LONG;
        loop {
            let (connections, half_open, _) = self.shared.with(|stack, _| stack.tcp_population());
            if (connections, half_open) == (0, 0) {
                return;
            }
            assert!(self.executor.now() < end, "{connections} {half_open} left");
            let pause = self.executor.sleep(Duration::from_millis(5));
            self.executor.run_until(pause);
        }
    }
}

/// Both windows and all bounds large enough for the path.
fn wide() -> ConnectionOptions {
    ConnectionOptions {
        receive_window: 1 << 18,
        receive_pages: 400,
        send_octets: 1 << 18,
        send_pages: 200,
        ..ConnectionOptions::DEFAULT
    }
}

/// Bytes that are different at each place, and from stream to stream.
fn fill(stream: u64, from: usize, bytes: &mut [u8]) {
    for (at, byte) in (from as u64..).zip(bytes) {
        *byte = ((at ^ stream << 17).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8;
    }
}

/// Where bytes are looked at that should be a stream's.
struct Check {
    stream: u64,
    at: usize,
}

impl Check {
    fn take(&mut self, bytes: &[u8]) {
        let mut expected = vec![0; bytes.len()];
        fill(self.stream, self.at, &mut expected);
        assert!(bytes == expected, "other bytes behind {}", self.at);
        self.at += bytes.len();
    }
}

async fn send(stream: &TcpStream<'_, '_>, number: u64, length: usize) {
    let mut chunk = [0; 5_000];
    let mut at = 0;
    while at < length {
        let count = chunk.len().min(length - at);
        fill(number, at, &mut chunk[..count]);
        stream.write_all(&chunk[..count]).await.unwrap();
        at += count;
    }
    stream.shutdown().unwrap();
    stream.delivered().await.unwrap();
}

async fn receive(stream: &TcpStream<'_, '_>, number: u64) -> usize {
    let mut check = Check {
        stream: number,
        at: 0,
    };
    while let Some(piece) = stream.receive().await.unwrap() {
        check.take(&piece);
    }
    check.at
}

fn kernel_sends(mut stream: Kernel, number: u64, length: usize) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut chunk = [0; 7_000];
        let mut at = 0;
        while at < length {
            let count = chunk.len().min(length - at);
            fill(number, at, &mut chunk[..count]);
            stream.write_all(&chunk[..count]).unwrap();
            at += count;
        }
        stream.shutdown(Shutdown::Write).unwrap();
    })
}

fn kernel_receives(mut stream: Kernel, number: u64) -> JoinHandle<usize> {
    thread::spawn(move || {
        let mut check = Check {
            stream: number,
            at: 0,
        };
        let mut buffer = [0; 9_000];
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => return check.at,
                count => check.take(&buffer[..count]),
            }
        }
    })
}

fn kernel_connects() -> Kernel {
    kernel_connects_to(80)
}

fn kernel_connects_to(port: u16) -> Kernel {
    let stream = Kernel::connect((OURS, port)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// Sends so many bytes both ways at once, on a connection that the kernel opened and on one that we opened.
fn both_ways(machine: &Machine, length: usize, options: ConnectionOptions) {
    let both = |ours: TcpStream<'static, 'static>| {
        let executor = machine.executor;
        async move {
            let ours: Rc<TcpStream<'_, '_>> = Rc::new(ours);
            let sender = ours.clone();
            let sending = executor.spawn(async move { send(&sender, 1, length).await });
            assert_eq!(receive(&ours, 2).await, length);
            sending.unwrap().await.unwrap();
        }
    };
    let talks = move |stream: Kernel| {
        let receiving = kernel_receives(stream.try_clone().unwrap(), 1);
        let sending = kernel_sends(stream, 2, length);
        sending.join().unwrap();
        assert_eq!(receiving.join().unwrap(), length);
    };
    let listener = machine.listen(options);
    let client = thread::spawn(move || talks(kernel_connects()));
    machine.run(async {
        let (remote, ours) = listener.accept().await.unwrap();
        assert_eq!(remote.ip(), HOST);
        both(ours).await;
    });
    drop(listener);
    // The last acknowledgement is ours to give.
    machine.all_end();
    client.join().unwrap();
    let listener = KernelListener::bind((HOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        talks(stream);
    });
    machine.run(async { both(machine.connect(port, options).await.unwrap()).await });
    machine.all_end();
    server.join().unwrap();
}

#[test]
fn megabytes_both_ways_on_a_good_line() {
    in_own_network("megabytes_both_ways_on_a_good_line", || {
        let machine = Machine::new(Faults::NONE, 1);
        both_ways(&machine, 4_000_000, wide());
        both_ways(&machine, 1_000_000, ConnectionOptions::DEFAULT);
        let counters = machine.counters();
        assert!(counters.received_octets >= 10_000_000, "{counters:?}");
        assert_eq!(
            counters.bad_checksum + counters.malformed,
            0,
            "{counters:?}"
        );
    });
}

#[test]
fn on_a_line_that_loses_reorders_duplicates_and_damages_all_bytes_arrive() {
    in_own_network(
        "on_a_line_that_loses_reorders_duplicates_and_damages_all_bytes_arrive",
        || {
            let machine = Machine::new(BAD, 7);
            both_ways(&machine, 1_500_000, wide());
            let counters = machine.counters();
            assert!(counters.retransmitted > 0, "{counters:?}");
            assert!(counters.out_of_order > 0, "{counters:?}");
            assert!(counters.bad_checksum > 0, "{counters:?}");
            let line = machine.line.counters();
            for faults in [line.receive, line.transmit] {
                let met = [faults.lost, faults.reordered, faults.duplicated];
                assert!(met.iter().all(|count| *count > 0), "{line:?}");
            }
            assert_eq!(line.no_page, 0, "{line:?}");
        },
    );
}

#[test]
fn a_reader_that_pauses_closes_the_window_and_loses_nothing() {
    in_own_network(
        "a_reader_that_pauses_closes_the_window_and_loses_nothing",
        || {
            let machine = Machine::new(Faults::NONE, 1);
            let listener = machine.listen(ConnectionOptions::DEFAULT);
            let length = 3_000_000;
            // The kernel pauses, then we do.
            let client = thread::spawn(move || {
                let stream = kernel_connects();
                // Far less than comes: by itself the kernel would take megabytes.
                sockopt::set_socket_recv_buffer_size(&stream, 100_000).unwrap();
                thread::sleep(Duration::from_millis(1_500));
                let received = kernel_receives(stream.try_clone().unwrap(), 1);
                assert_eq!(received.join().unwrap(), length);
                kernel_sends(stream, 2, length).join().unwrap();
            });
            machine.run(async {
                let (_, ours) = listener.accept().await.unwrap();
                send(&ours, 1, length).await;
                machine.executor.sleep(Duration::from_millis(1_500)).await;
                assert_eq!(receive(&ours, 2).await, length);
            });
            client.join().unwrap();
            let counters = machine.counters();
            assert!(counters.window_probes > 0, "{counters:?}");
            machine.all_end();
        },
    );
}

/// Serves connections for ever, each by what it is asked first: how many octets come, that then go back.
async fn echo(listener: &TcpListener<'static, 'static>, served: &Cell<usize>) {
    loop {
        let (_, stream) = listener.accept().await.unwrap();
        let mut buffer = [0; 2_000];
        loop {
            let count = match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            if stream.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        served.set(served.get() + 1);
    }
}

fn ask(stream: &mut Kernel, number: u64) {
    let mut question = [0; 300];
    fill(number, 0, &mut question);
    stream.write_all(&question).unwrap();
    let mut answer = [0; 300];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer == question, "connection {number}");
}

/// Starts so many tasks that echo.
fn serve(machine: &Machine, tasks: usize) -> Rc<Cell<usize>> {
    let listener: &'static _ = Box::leak(Box::new(machine.listen(ConnectionOptions::DEFAULT)));
    let served = Rc::new(Cell::new(0));
    for _ in 0..tasks {
        let served = served.clone();
        let serving = machine
            .executor
            .spawn(async move { echo(listener, &served).await });
        serving.unwrap().detach();
    }
    served
}

/// Runs the machine until a thread has ended.
fn run_beside<T>(machine: &Machine, thread: JoinHandle<T>) -> T {
    machine.run(async {
        while !thread.is_finished() {
            machine.executor.sleep(Duration::from_millis(2)).await;
        }
    });
    thread.join().unwrap()
}

#[test]
fn thousands_of_connections_one_after_another() {
    in_own_network("thousands_of_connections_one_after_another", || {
        const COUNT: usize = 3_000;
        let machine = Machine::new(Faults::NONE, 1);
        let served = serve(&machine, 4);
        let client = thread::spawn(|| {
            for number in 0..COUNT as u64 {
                ask(&mut kernel_connects(), number);
            }
        });
        run_beside(&machine, client);
        machine.run(async {
            while served.get() < COUNT {
                machine.executor.sleep(Duration::from_millis(2)).await;
            }
        });
        // The other way round: we open, and we close first, so that TIME-WAIT is ours.
        let listener = KernelListener::bind((HOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            for _ in 0..COUNT {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(LONG)).unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                stream.write_all(&all).unwrap();
            }
        });
        machine.run(async {
            for number in 0..COUNT {
                let stream = machine.connect(port, ConnectionOptions::DEFAULT).await;
                let stream = stream.unwrap_or_else(|error| panic!("{number}: {error}"));
                send(&stream, number as u64, 500).await;
                assert_eq!(receive(&stream, number as u64).await, 500);
            }
        });
        run_beside(&machine, server);
        machine.all_end();
        let counters = machine.counters();
        assert_eq!(counters.passive_opens, COUNT as u64, "{counters:?}");
        assert_eq!(counters.active_opens, COUNT as u64, "{counters:?}");
        assert_eq!(counters.failed_opens, 0, "{counters:?}");
    });
}

#[test]
fn hundreds_of_connections_at_once() {
    in_own_network("hundreds_of_connections_at_once", || {
        const COUNT: u64 = 400;
        let machine = Machine::new(Faults::NONE, 1);
        serve(&machine, COUNT as usize);
        let client = thread::spawn(|| {
            let mut all: Vec<Kernel> = (0..COUNT).map(|_| kernel_connects()).collect();
            for round in 0..3 {
                for (number, stream) in (0..).zip(&mut all) {
                    ask(stream, number + round * COUNT);
                }
            }
            // All questions before the first answer.
            for (number, stream) in (0..).zip(&mut all) {
                let mut question = [0; 300];
                fill(number, 0, &mut question);
                stream.write_all(&question).unwrap();
            }
            for (number, stream) in (0..).zip(&mut all) {
                let mut check = Check {
                    stream: number,
                    at: 0,
                };
                let mut answer = [0; 300];
                stream.read_exact(&mut answer).unwrap();
                check.take(&answer);
            }
        });
        run_beside(&machine, client);
        machine.all_end();
        let counters = machine.counters();
        assert_eq!(counters.passive_opens, COUNT, "{counters:?}");
    });
}

#[test]
fn half_closes_leave_the_other_direction_open() {
    in_own_network("half_closes_leave_the_other_direction_open", || {
        let machine = Machine::new(Faults::NONE, 1);
        let listener = machine.listen(ConnectionOptions::DEFAULT);
        // The kernel closes first, and then hears everything.
        let client = thread::spawn(|| {
            let stream = kernel_connects();
            kernel_sends(stream.try_clone().unwrap(), 1, 10_000)
                .join()
                .unwrap();
            assert_eq!(kernel_receives(stream, 2).join().unwrap(), 200_000);
            // We close first, and then it does as we did.
            let stream = kernel_connects();
            assert_eq!(
                kernel_receives(stream.try_clone().unwrap(), 3)
                    .join()
                    .unwrap(),
                10_000
            );
            kernel_sends(stream, 4, 200_000).join().unwrap();
        });
        machine.run(async {
            let (_, ours) = listener.accept().await.unwrap();
            assert_eq!(receive(&ours, 1).await, 10_000);
            send(&ours, 2, 200_000).await;
            let (_, ours) = listener.accept().await.unwrap();
            send(&ours, 3, 10_000).await;
            assert_eq!(receive(&ours, 4).await, 200_000);
        });
        run_beside(&machine, client);
        machine.all_end();
    });
}

/// Has the kernel reset the connection instead of closing it.
fn reset(stream: Kernel) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("an option of each socket");
}

#[test]
fn resets_are_told_both_ways_and_closed_ports_refuse() {
    in_own_network("resets_are_told_both_ways_and_closed_ports_refuse", || {
        let machine = Machine::new(Faults::NONE, 1);
        // Nobody listens, here or there.
        let refused = thread::spawn(|| Kernel::connect((OURS, 80)).map_err(|error| error.kind()));
        let refused = run_beside(&machine, refused);
        assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused));
        let options = ConnectionOptions::DEFAULT;
        let refused = machine.run(machine.connect(9, options));
        assert_eq!(refused.err(), Some(TcpError::Refused));
        let listener = machine.listen(options);
        // The kernel resets while we read, and while we write.
        let client = thread::spawn(|| {
            let stream = kernel_connects();
            thread::sleep(Duration::from_millis(50));
            reset(stream);
            let stream = kernel_connects();
            thread::sleep(Duration::from_millis(50));
            reset(stream);
            // We reset while it reads.
            let mut stream = kernel_connects();
            let read = stream.read(&mut [0; 1]).map_err(|error| error.kind());
            assert_eq!(read, Err(ErrorKind::ConnectionReset));
            // We drop the connection with something unread.
            let mut stream = kernel_connects();
            stream.write_all(b"never read").unwrap();
            let read = stream.read(&mut [0; 1]).map_err(|error| error.kind());
            assert_eq!(read, Err(ErrorKind::ConnectionReset));
        });
        machine.run(async {
            let (_, ours) = listener.accept().await.unwrap();
            assert_eq!(ours.receive().await.err(), Some(TcpError::Reset));
            let (_, ours) = listener.accept().await.unwrap();
            let writing = async {
                loop {
                    if let Err(error) = ours.write_all(&[7; 10_000]).await {
                        return error;
                    }
                }
            };
            assert_eq!(writing.await, TcpError::Reset);
            let (_, ours) = listener.accept().await.unwrap();
            machine.executor.sleep(Duration::from_millis(50)).await;
            ours.abort();
            let (_, ours) = listener.accept().await.unwrap();
            ours.readable().await;
            drop(ours);
        });
        run_beside(&machine, client);
        machine.all_end();
    });
}

#[test]
fn keep_alives_are_answered_and_their_lack_ends_a_connection() {
    in_own_network(
        "keep_alives_are_answered_and_their_lack_ends_a_connection",
        || {
            let machine = Machine::new(Faults::NONE, 1);
            let options = ConnectionOptions {
                keep_alive: Some(KeepAlive {
                    idle: Duration::from_millis(300),
                    interval: Duration::from_millis(100),
                    probes: 5,
                }),
                ..ConnectionOptions::DEFAULT
            };
            let asking = machine.listen(options);
            let asked = machine.listen_at(81, ConnectionOptions::DEFAULT);
            let client = thread::spawn(|| {
                let first = kernel_connects();
                // On this one the kernel asks: after a second, each second, and gives up after two.
                let second = kernel_connects_to(81);
                sockopt::set_socket_keepalive(&second, true).unwrap();
                sockopt::set_tcp_keepidle(&second, Duration::from_secs(1)).unwrap();
                sockopt::set_tcp_keepintvl(&second, Duration::from_secs(1)).unwrap();
                sockopt::set_tcp_keepcnt(&second, 2).unwrap();
                [first, second].map(|mut stream| {
                    let mut greeting = [0; 5];
                    stream.read_exact(&mut greeting).unwrap();
                    assert_eq!(&greeting, b"hello");
                    stream
                })
            });
            machine.run(async {
                let (_, first) = asking.accept().await.unwrap();
                let (_, second) = asked.accept().await.unwrap();
                // Nothing but questions for longer than it takes either to give up.
                machine.executor.sleep(Duration::from_millis(4_500)).await;
                for stream in [&first, &second] {
                    stream.write_all(b"hello").await.unwrap();
                    stream.delivered().await.unwrap();
                }
                while !client.is_finished() {
                    machine.executor.sleep(Duration::from_millis(2)).await;
                }
                let sent = machine.counters().keep_alives;
                assert!(sent > 1, "{sent}");
                // The line is cut.
                let dead = Faults {
                    loss: Chance::ALWAYS,
                    ..Faults::NONE
                };
                machine.line.set_faults(dead, dead);
                assert_eq!(first.receive().await.err(), Some(TcpError::TimedOut));
                // The other one has asked nothing, and knows nothing.
                assert_eq!(second.state(), Some(TcpState::Established));
                second.abort();
            });
            drop(client.join().unwrap());
            machine.all_end();
        },
    );
}

#[test]
fn a_peer_that_vanishes_ends_a_transfer_after_the_user_timeout() {
    in_own_network(
        "a_peer_that_vanishes_ends_a_transfer_after_the_user_timeout",
        || {
            let machine = Machine::new(Faults::NONE, 1);
            let options = ConnectionOptions {
                user_timeout: Duration::from_secs(2),
                ..ConnectionOptions::DEFAULT
            };
            let listener = machine.listen(options);
            let client = thread::spawn(kernel_connects);
            machine.run(async {
                let (_, ours) = listener.accept().await.unwrap();
                let dead = Faults {
                    loss: Chance::ALWAYS,
                    ..Faults::NONE
                };
                machine.line.set_faults(dead, dead);
                let cut: Instant = machine.executor.now();
                let error = loop {
                    if let Err(error) = ours.write_all(&[7; 10_000]).await {
                        break error;
                    }
                };
                assert_eq!(error, TcpError::TimedOut);
                let after = machine.executor.now().saturating_duration_since(cut);
                assert!(after >= Duration::from_secs(2), "{after:?}");
            });
            drop(client.join().unwrap());
            machine.all_end();
        },
    );
}

/// Addresses are as both see them.
#[test]
fn addresses_are_the_same_on_both_sides() {
    in_own_network("addresses_are_the_same_on_both_sides", || {
        let machine = Machine::new(Faults::NONE, 1);
        let listener = machine.listen(ConnectionOptions::DEFAULT);
        let client = thread::spawn(|| {
            let stream = kernel_connects();
            let addresses = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            thread::sleep(Duration::from_millis(20));
            addresses
        });
        machine.run(async {
            let (remote, ours) = listener.accept().await.unwrap();
            assert!(ours.receive().await.unwrap().is_none());
            let seen: (SocketAddr, SocketAddr) = client.join().unwrap();
            assert_eq!((remote, ours.local().unwrap()), seen);
        });
        machine.all_end();
    });
}
