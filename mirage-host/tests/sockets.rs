//! Sockets and signals under a real executor: who wakes us is another thread.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use edge_nal::{TcpAccept, UdpReceive, UdpSend};
use mirage_core::executor::Executor;
use mirage_host::{EndSignals, HostPlatform, Sockets};

const LONG: Duration = Duration::from_secs(60);

fn executor() -> (&'static HostPlatform, &'static Executor) {
    let platform = HostPlatform::leak().expect("a platform");
    (platform, Executor::leak(platform))
}

#[test]
fn the_reactor_s_thread_wakes_a_task_for_every_datagram() {
    const ROUNDS: u32 = 2_000;
    let (platform, executor) = executor();
    let local: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let (mut socket, _acceptor, bound) = executor
        .run_until(Sockets.bind_udp_and_tcp(local))
        .expect("a free port");
    // Each datagram is sent after the answer to the one before: every one finds the task asleep or on its way there.
    let client = std::thread::spawn(move || {
        let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        client.set_read_timeout(Some(LONG)).expect("a time-out");
        client.connect(bound).expect("connected");
        for round in 0..ROUNDS {
            client.send(&round.to_be_bytes()).expect("sent");
            let mut answer = [0; 4];
            client.recv(&mut answer).expect("an answer");
            assert_eq!(answer, round.to_be_bytes());
        }
    });
    executor.run_until(async {
        for _ in 0..ROUNDS {
            let mut buffer = [0; 16];
            let received = executor.timeout(LONG, socket.receive(&mut buffer)).await;
            let (length, remote) = received.expect("no wake-up is lost").expect("received");
            socket.send(remote, &buffer[..length]).await.expect("sent");
        }
    });
    client.join().expect("the client");
    assert!(platform.counters().parks > 0, "the task slept in between");
}

#[test]
fn tcp_and_udp_share_a_port_that_the_system_chose() {
    let (_, executor) = executor();
    let local: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let (udp, acceptor, bound) = executor
        .run_until(Sockets.bind_udp_and_tcp(local))
        .expect("a free port");
    assert_eq!(udp.local_address().expect("its address"), bound);
    assert_ne!(bound.port(), 0);
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(bound).expect("connected");
        stream.set_read_timeout(Some(LONG)).expect("a time-out");
        stream.write_all(b"hello").expect("written");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).expect("an answer");
        answer
    });
    executor.run_until(async {
        use embedded_io_async::{Read, Write};
        let (_, mut stream) = acceptor.accept().await.expect("a connection");
        let mut buffer = [0; 5];
        stream.read_exact(&mut buffer).await.expect("five octets");
        stream.write_all(&buffer).await.expect("written");
    });
    assert_eq!(&client.join().expect("the client"), b"hello");
    let again = executor.run_until(Sockets.bind_udp_and_tcp(bound));
    assert_eq!(
        again.err().map(|error| error.kind()),
        Some(std::io::ErrorKind::AddrInUse)
    );
}

#[test]
fn a_signal_ends_a_wait_and_only_once() {
    let (platform, executor) = executor();
    let mut end = EndSignals::new(platform).expect("signals");
    let raiser = std::thread::spawn(|| {
        signal_hook::low_level::raise(signal_hook::consts::SIGTERM).expect("raised");
    });
    executor
        .run_until(executor.timeout(LONG, end.wait()))
        .expect("the signal wakes the task");
    raiser.join().expect("the other thread");
    let next = executor.run_until(executor.timeout(Duration::from_millis(1), end.wait()));
    assert!(next.is_err(), "one signal is one end");
}
