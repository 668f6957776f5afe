//! Millions of segments between whole stacks over a virtual Ethernet with every fault at once: connections that come and go, data
//! both ways on each, every octet compared where it is read.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use mirage_core::doubles::{Chance, Faults};
use mirage_core::{OffloadFlags, Offloads, Pool};
use mirage_net::tcp::*;

use crate::common::tcp::*;
use crate::common::*;

/// TCP segments that both machines take, in all worlds together.
const SEGMENTS: u64 = 2_000_000;

/// Connections at once.
const CONNECTIONS: usize = 24;

/// A prime, so that no two offsets of a window's reach have the same neighbourhood.
const PERIOD: usize = 65_521;

const PORT: u16 = 80;

/// What is sent, by offset: the same octets again after [`PERIOD`] of them. Twice as long, so that pieces of it lie in one place.
struct Pattern(Vec<u8>);

impl Pattern {
    fn new() -> Self {
        // Multiplicative congruence: neighbours are far from each other, and so are those of each 256.
        let octet = |place: usize| ((place % PERIOD).wrapping_mul(2_654_435_761) >> 13) as u8;
        Pattern((0..2 * PERIOD).map(octet).collect())
    }

    /// At most so many octets from an offset of a stream on.
    fn at(&self, salt: u64, offset: u64, most: u64) -> &[u8] {
        let start = ((offset + salt * 977) % PERIOD as u64) as usize;
        &self.0[start..start + (most as usize).min(PERIOD)]
    }
}

/// One end of a connection: what it sends and what it expects.
struct End {
    number: u64,
    node: usize,
    handle: TcpHandle,
    /// Salt and length of what it sends, and how much of that is queued.
    sends: (u64, u64),
    written: u64,
    is_shut: bool,
    /// The same of what it receives.
    receives: (u64, u64),
    read: u64,
    is_drained: bool,
}

impl End {
    fn new(node: usize, handle: TcpHandle, number: u64) -> Self {
        // Some short, some longer than any window; the directions differ.
        let stream = |direction: u64| {
            let salt = 2 * number + direction;
            (salt, 1 + salt * 7_919 % 150_000)
        };
        let (sends, receives) = match node {
            0 => (stream(0), stream(1)),
            _ => (stream(1), stream(0)),
        };
        End {
            number,
            node,
            handle,
            sends,
            written: 0,
            is_shut: false,
            receives,
            read: 0,
            is_drained: false,
        }
    }

    /// Queues what there is room for, reads what there is.
    fn work(&mut self, net: &mut Net, pattern: &Pattern) {
        let now = net.now;
        let stack = &mut net.nodes[self.node].stack;
        let (salt, length) = self.sends;
        while self.written < length {
            let bytes = pattern.at(salt, self.written, length - self.written);
            match stack.tcp_write(now, self.handle, bytes).unwrap() {
                0 => break,
                count => self.written += count as u64,
            }
        }
        // Before it is established that would be its end (RFC 9293 §3.10.4, CLOSE in SYN-SENT).
        let is_there = stack.tcp_state(self.handle) != Some(TcpState::SynSent);
        if self.written == length && !self.is_shut && is_there {
            stack.tcp_shutdown(now, self.handle).unwrap();
            self.is_shut = true;
        }
        let (salt, length) = self.receives;
        loop {
            let octets = stack.tcp_peek(self.handle);
            let count = octets.len();
            if count == 0 {
                break;
            }
            assert!(self.read + count as u64 <= length, "more than was sent");
            let expected = pattern.at(salt, self.read, count as u64);
            assert!(octets == expected, "stream {salt} at {}", self.read);
            stack.tcp_consume(now, self.handle, count);
            self.read += count as u64;
        }
        self.is_drained = stack.tcp_is_drained(self.handle);
        assert!(!self.is_drained || self.read == length, "{}", self.read);
    }

    /// Whether it was reset.
    fn is_reset(&self, net: &Net) -> bool {
        match net.nodes[self.node].stack.tcp_error(self.handle) {
            None => false,
            Some(TcpError::Reset) => true,
            Some(error) => panic!("connection {} on {}: {error}", self.number, self.node),
        }
    }

    /// Its direction is acknowledged to its end, and the other one was read to its end.
    fn is_done(&self, net: &Net) -> bool {
        self.is_drained && self.is_shut && net.nodes[self.node].stack.tcp_is_delivered(self.handle)
    }
}

/// Both machines, and the connections between them.
struct World {
    net: Net,
    pattern: Pattern,
    listener: ListenerHandle,
    ends: Vec<End>,
    /// The number of a connection that was opened and not accepted yet, by the client's address.
    opened: HashMap<SocketAddr, u64>,
    next: u64,
    /// Connections of which one end is done.
    half_done: HashSet<u64>,
    /// Those whose other end heard of it by a reset: the last acknowledgement was lost, and of so many connections that came to their
    /// ends the time-wait table had forgotten this one.
    forgotten: u64,
    /// Ends that are done.
    done: u64,
}

impl World {
    fn new(seed: u64, faults: Faults, mtu: u16, offloads: Offloads) -> Self {
        let change = |_: u8, config: &mut _| {
            let config: &mut mirage_core::doubles::PortConfig = config;
            config.faults = faults;
            config.mtu = mtu;
            config.offloads = offloads;
        };
        let mut net = net_of(seed, change, 256, || Pool::leak(2_048, 2_048).unwrap());
        let listen = ListenOptions::bind(([0, 0, 0, 0], PORT).into());
        let listener = net.nodes[1].stack.tcp_listen(listen).unwrap();
        World {
            net,
            pattern: Pattern::new(),
            listener,
            ends: Vec::new(),
            opened: HashMap::new(),
            next: 0,
            half_done: HashSet::new(),
            forgotten: 0,
            done: 0,
        }
    }

    fn open(&mut self) {
        let stack = &mut self.net.nodes[0].stack;
        let (any, server) = (([0, 0, 0, 0], 0).into(), at(2, PORT));
        let client = stack
            .tcp_connect(self.net.now, any, server, ConnectionOptions::DEFAULT)
            .unwrap();
        let local = stack.tcp_local(client).unwrap();
        assert!(self.opened.insert(local, self.next).is_none());
        self.ends.push(End::new(0, client, self.next));
        self.next += 1;
    }

    fn accept(&mut self) {
        let stack = &mut self.net.nodes[1].stack;
        while stack.poll_tcp_listener().is_some() {}
        while let Some(server) = stack.tcp_accept(self.listener).unwrap() {
            let remote = stack.tcp_remote(server).unwrap();
            let number = self.opened.remove(&remote).expect("nobody opened that");
            self.ends.push(End::new(1, server, number));
        }
    }

    /// All that the applications can do now.
    fn work(&mut self) {
        self.accept();
        for node in &mut self.net.nodes {
            while node.stack.poll_tcp().is_some() {}
        }
        for end in &mut self.ends {
            end.work(&mut self.net, &self.pattern);
        }
        let mut number = 0;
        while number < self.ends.len() {
            let end = &self.ends[number];
            if !end.is_done(&self.net) {
                number += 1;
                continue;
            }
            let is_last = !self.half_done.insert(end.number);
            if end.is_reset(&self.net) {
                assert!(is_last, "connection {} was reset", end.number);
                self.forgotten += 1;
            }
            let now = self.net.now;
            self.net.nodes[end.node].stack.tcp_close(now, end.handle);
            self.ends.swap_remove(number);
            self.done += 1;
        }
    }

    fn received(&self) -> u64 {
        let received = |node: &Node| node.stack.counters().tcp.received;
        self.net.nodes.iter().map(received).sum()
    }

    /// Until both have taken so many segments, and every connection that was opened has come to its end.
    fn run(mut self, segments: u64) -> Vec<TcpCounters> {
        // Long enough for every time-out in a row, and an end for a connection that hangs.
        let mut patience = self.net.now + Duration::from_secs(3_600);
        let mut done = 0;
        loop {
            let is_enough = self.received() >= segments;
            let at_once = self.ends.iter().filter(|end| end.node == 0).count();
            if !is_enough && at_once < CONNECTIONS && self.next - self.done / 2 < 60 {
                self.open();
            }
            let more = self.net.step(patience);
            self.work();
            if self.done > done {
                done = self.done;
                patience = self.net.now + Duration::from_secs(3_600);
            }
            if is_enough && self.ends.is_empty() && self.opened.is_empty() {
                break;
            }
            assert!(more, "{} ends hang, {done} are done", self.ends.len());
        }
        assert_eq!(self.done, 2 * self.next);
        assert!(self.forgotten <= self.next / 10, "{}", self.forgotten);
        let counters = self.net.nodes.iter();
        let counters = counters.map(|node| node.stack.counters().tcp).collect();
        self.net.run(Duration::from_secs(700));
        let now = self.net.now;
        self.net.nodes[1]
            .stack
            .tcp_close_listener(now, self.listener);
        for node in &self.net.nodes {
            assert_eq!(node.stack.tcp_population(), (0, 0, 0));
        }
        self.net.assert_whole();
        counters
    }
}

fn faults(per_million: u32, jitter: Duration) -> Faults {
    Faults {
        loss: Chance::per_million(per_million),
        duplication: Chance::per_million(per_million),
        reordering: Chance::per_million(2 * per_million),
        corruption: Chance::per_million(per_million),
        truncation: Chance::per_million(per_million / 4),
        trailing: Chance::per_million(per_million / 4),
        delay: Duration::from_millis(2),
        jitter,
        reordering_delay: Duration::from_millis(3),
        ..Faults::NONE
    }
}

#[test]
fn millions_of_segments_over_every_fault_bring_every_octet() {
    let verified = Offloads {
        fragments: 18,
        ..Offloads::NONE
    };
    let partial = Offloads {
        flags: OffloadFlags::TRANSMIT_PARTIAL_V4,
        fragments: 18,
    };
    // With the seeds of the second and the third a connection stood still for want of slots, before some were set aside for what is
    // received.
    let worlds = [
        (11, faults(1_000, Duration::ZERO), 1_500, verified),
        (42, faults(5_000, Duration::from_micros(500)), 576, verified),
        (43, faults(10_000, Duration::from_micros(200)), 296, partial),
        (14, faults(30_000, Duration::from_millis(1)), 1_500, partial),
    ];
    let share = SEGMENTS.div_ceil(worlds.len() as u64);
    let all: Vec<TcpCounters> = std::thread::scope(|scope| {
        let threads = worlds.map(|(seed, faults, mtu, offloads)| {
            scope.spawn(move || World::new(seed, faults, mtu, offloads).run(share))
        });
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.flatten().collect()
    });
    let sum = |counter: fn(&TcpCounters) -> u64| all.iter().map(counter).sum::<u64>();
    assert!(sum(|tcp| tcp.received) >= SEGMENTS);
    // Every way out of trouble was taken.
    for (what, count) in [
        ("bad checksums", sum(|tcp| tcp.bad_checksum)),
        ("retransmitted", sum(|tcp| tcp.retransmitted)),
        ("time-outs", sum(|tcp| tcp.time_outs)),
    ] {
        assert!(count > 0, "{what}");
        eprintln!("{what}: {count}");
    }
    eprintln!("{} segments", sum(|tcp| tcp.received));
}
