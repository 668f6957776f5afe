//! What a connection over TCP costs a server: from its SYN to TIME-WAIT, with one request and its answer, or with many; on one core
//! without a device.
//!
//! ```sh
//! cargo build --release -p mirage-net --example connection_cost
//! valgrind --tool=callgrind --toggle-collect='*server_turn*' target/release/examples/connection_cost connections 2000
//! valgrind --tool=callgrind --toggle-collect='*server_turn*' target/release/examples/connection_cost requests 2000
//! ```
//!
//! The instructions that callgrind counts are divided by as many as were asked for. The client is another stack, and is not counted;
//! neither is the copy that a device makes of each frame.

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use mirage_core::{Frame, Instant, MacAddress, Offloads, Pool, Reserve};
use mirage_net::tcp::{
    ConnectionOptions, ListenOptions, ListenerHandle, TcpEvents, TcpHandle, TcpMemory,
};
use mirage_net::{Cidr, ConflictConfig, ServiceSlot, Stack, StackConfig, StackMemory};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const PORT: u16 = 80;
/// Octets of a request.
const REQUEST: [u8; 80] = [b'G'; 80];
/// Octets of an answer: a head and a page of 1 kB.
const ANSWER: [u8; 1_200] = [b'A'; 1_200];

/// One machine, and the frames that a device would have for it.
struct Machine {
    stack: Stack<'static>,
    ring: Reserve,
}

impl Machine {
    fn new(number: u8) -> Result<Self, Box<dyn Error>> {
        let pool = Pool::leak(512, 2048)?;
        let ring = pool.reserve(64)?;
        let memory = Box::leak(Box::new(StackMemory::<16, 8, 32, 4, 32>::new()));
        let tcp = Box::leak(Box::new(TcpMemory::<64, 512, 64, 512>::new()));
        let services = Box::leak(Box::new([const { ServiceSlot::EMPTY }; 1]));
        let config = StackConfig::new(MacAddress([2, 0, 0, 0, 0, number]), 1_500, Offloads::NONE);
        let storage = memory.storage(services).with_tcp(tcp.storage());
        let mut rng = ChaCha8Rng::seed_from_u64(number.into());
        let mut stack = Stack::new(config, storage, pool, Instant::ZERO, &mut rng)?;
        let own = Cidr::new([10, 0, 0, number].into(), 24)?;
        stack.add_address(Instant::ZERO, own, ConflictConfig::assigned())?;
        Ok(Machine { stack, ring })
    }

    /// What another machine has sent, as this one's device gives it.
    fn arrived(&self, sent: &mut Vec<Frame>) -> Result<Vec<Frame>, Box<dyn Error>> {
        let mut frames = Vec::new();
        for frame in sent.drain(..) {
            let mut page = self.ring.alloc().ok_or("the ring is empty")?;
            frame.copy_into(&mut page)?;
            frames.push(page.into());
        }
        Ok(frames)
    }
}

/// What the server does in one turn of its driver, with an application that answers each request, and closes if it is to.
#[inline(never)]
fn server_turn(
    stack: &mut Stack<'_>,
    now: Instant,
    frames: Vec<Frame>,
    listener: ListenerHandle,
    closes: bool,
    sent: &mut Vec<Frame>,
) {
    for frame in frames {
        stack.handle_frame(now, frame);
    }
    stack.handle_timeout(now);
    while let Some(listener) = stack.poll_tcp_listener() {
        black_box(listener);
    }
    while let Ok(Some(handle)) = stack.tcp_accept(listener) {
        serve(stack, now, handle, closes);
    }
    while let Some((handle, events)) = stack.poll_tcp() {
        if events.contains(TcpEvents::READABLE) {
            serve(stack, now, handle, closes);
        }
    }
    while let Some(frame) = stack.poll_transmit(now) {
        sent.push(frame);
    }
    black_box(stack.poll_timeout());
}

fn serve(stack: &mut Stack<'_>, now: Instant, handle: TcpHandle, closes: bool) {
    let mut request = [0; 256];
    if let Ok(count) = stack.tcp_read(now, handle, &mut request)
        && count > 0
    {
        let _ = black_box(stack.tcp_write(now, handle, &ANSWER));
        if closes {
            stack.tcp_close(now, handle);
        }
    }
}

/// Both machines, and what is under way.
struct World {
    now: Instant,
    server: Machine,
    client: Machine,
    listener: ListenerHandle,
    closes: bool,
    to_client: Vec<Frame>,
    to_server: Vec<Frame>,
    /// Octets of answers that the client has read.
    read: usize,
}

impl World {
    fn new(closes: bool) -> Result<Self, Box<dyn Error>> {
        let (mut server, client) = (Machine::new(1)?, Machine::new(2)?);
        let listener = server
            .stack
            .tcp_listen(ListenOptions::bind(([0, 0, 0, 0], PORT).into()))?;
        let mut world = World {
            now: Instant::from_secs(1),
            server,
            client,
            listener,
            closes,
            to_client: Vec::new(),
            to_server: Vec::new(),
            read: 0,
        };
        // Until the announcements of the addresses are over.
        for _ in 0..20 {
            world.now += Duration::from_secs(1);
            world.settle()?;
        }
        Ok(world)
    }

    /// Until both are silent.
    fn settle(&mut self) -> Result<(), Box<dyn Error>> {
        loop {
            self.now += Duration::from_micros(20);
            let frames = self.client.arrived(&mut self.to_client)?;
            let stack = &mut self.client.stack;
            for frame in frames {
                stack.handle_frame(self.now, frame);
            }
            stack.handle_timeout(self.now);
            while let Some((handle, events)) = stack.poll_tcp() {
                let mut octets = [0; 2_048];
                while let Ok(count @ 1..) = stack.tcp_read(self.now, handle, &mut octets) {
                    self.read += count;
                }
                if events.contains(TcpEvents::FINISHED) {
                    stack.tcp_close(self.now, handle);
                }
            }
            while let Some(frame) = stack.poll_transmit(self.now) {
                self.to_server.push(frame);
            }
            let frames = self.server.arrived(&mut self.to_server)?;
            let idle = frames.is_empty();
            server_turn(
                &mut self.server.stack,
                self.now,
                frames,
                self.listener,
                self.closes,
                &mut self.to_client,
            );
            if idle && self.to_client.is_empty() {
                return Ok(());
            }
        }
    }

    fn connect(&mut self) -> Result<TcpHandle, Box<dyn Error>> {
        let local = ([0, 0, 0, 0], 0).into();
        let remote = ([10, 0, 0, 1], PORT).into();
        let options = ConnectionOptions::DEFAULT;
        let stack = &mut self.client.stack;
        let handle = stack.tcp_connect(self.now, local, remote, options)?;
        Ok(handle)
    }

    fn ask(&mut self, handle: TcpHandle) -> Result<(), Box<dyn Error>> {
        let written = self.client.stack.tcp_write(self.now, handle, &REQUEST)?;
        if written != REQUEST.len() {
            return Err("a request found no room".into());
        }
        self.settle()?;
        self.now += Duration::from_millis(1);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_else(|| "connections".into());
    let count: usize = match arguments.next() {
        Some(count) => count.parse()?,
        None => 100,
    };
    let mut world = World::new(what == "connections")?;
    match what.as_str() {
        "connections" => {
            for _ in 0..count {
                let handle = world.connect()?;
                world.settle()?;
                world.ask(handle)?;
            }
        }
        "requests" => {
            let handle = world.connect()?;
            world.settle()?;
            for _ in 0..count {
                world.ask(handle)?;
            }
        }
        _ => return Err("connections or requests".into()),
    }
    let counters = world.server.stack.counters().tcp;
    println!(
        "{count} {what}: {} segments received, {} sent, {} octets of answers, {:?} connections",
        counters.received,
        counters.sent,
        world.read,
        world.server.stack.tcp_population(),
    );
    if world.read != count * ANSWER.len() {
        return Err("not each request was answered".into());
    }
    Ok(())
}
