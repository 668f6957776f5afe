//! What it costs to answer a datagram in place: frame in, service, frame out, on one core without a device.
//!
//! ```sh
//! cargo run --release -p mirage-net --example service_cost            # nanoseconds of processor time
//! cargo build --release -p mirage-net --example service_cost
//! valgrind --tool=callgrind --toggle-collect='*answer_one*' target/release/examples/service_cost 10000
//! ```
//!
//! The argument is how many datagrams are answered in each of five rounds; the fastest round is the least disturbed. The
//! instructions that callgrind counts are divided by five rounds of that many.

use std::error::Error;
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant as HostInstant};

use mirage_core::{Frame, Instant, MacAddress, NetifError, Offloads, Pool, Reserve};
use mirage_net::wire::Checksum;
use mirage_net::{
    Cidr, ConflictConfig, ServiceOptions, ServiceSlot, Stack, StackConfig, StackMemory, UdpRequest,
    UdpService,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const ROUNDS: u32 = 5;
const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const PEER: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

/// Answers with the question's bytes.
struct Echo;

impl UdpService for Echo {
    fn respond(&mut self, request: &UdpRequest<'_>, answer: &mut [u8]) -> Option<usize> {
        let room = answer.get_mut(..request.payload.len())?;
        room.copy_from_slice(request.payload);
        Some(request.payload.len())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let count: u32 = match std::env::args().nth(1) {
        Some(count) => count.parse()?,
        None => 20_000,
    };
    let pool = Pool::leak(64, 2048)?;
    let ring = pool.reserve(16)?;
    let memory = Box::leak(Box::new(StackMemory::<16, 8, 32, 4, 32>::new()));
    let services = Box::leak(Box::new([const { ServiceSlot::EMPTY }; 1]));
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let config = StackConfig::new(OWN, 1500, Offloads::NONE);
    let now = Instant::ZERO;
    let mut stack = Stack::new(config, memory.storage(services), pool, now, &mut rng)?;
    let own = Cidr::new([10, 0, 0, 1].into(), 24)?;
    stack.add_address(now, own, ConflictConfig::assigned())?;
    stack.bind_service(ServiceOptions::port(7), Box::leak(Box::new(Echo)))?;
    for secs in 0..10 {
        let now = Instant::from_secs(secs);
        stack.handle_timeout(now);
        while stack.poll_transmit(now).is_some() {}
    }
    let now = Instant::from_secs(10);

    for payload in [32, 512, 1_200] {
        let datagram = datagram(payload);
        // The first answer asks for the neighbour.
        receive(&mut stack, &ring, now, &arp_request())?;
        while stack.poll_transmit(now).is_some() {}
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let start = spent();
            for _ in 0..count {
                let mut page = ring.alloc().ok_or("the ring is empty")?;
                page.extend_from_slice(&datagram)?;
                let answer = answer_one(&mut stack, now, page.into());
                black_box(answer.ok_or("no answer")?);
            }
            best = best.min((spent() - start).as_secs_f64() / f64::from(count));
        }
        println!("{payload:>5} bytes: {:.1} ns an answer", best * 1e9);
    }
    println!(
        "a frame is {} bytes, what a device gives {}",
        size_of::<Frame>(),
        size_of::<core::task::Poll<Result<Frame, NetifError>>>()
    );
    let counters = stack.counters();
    println!(
        "{} answered, {} failed",
        counters.udp.answered, counters.udp.answers_failed
    );
    Ok(())
}

/// Processor time of this process where Linux tells it, else time that passed.
fn spent() -> Duration {
    static START: LazyLock<HostInstant> = LazyLock::new(HostInstant::now);
    let on_processor = std::fs::read_to_string("/proc/self/schedstat").ok();
    let on_processor = on_processor.and_then(|text| text.split(' ').next()?.parse().ok());
    on_processor.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

/// The path that is measured, without the copy that a device makes.
#[inline(never)]
fn answer_one(stack: &mut Stack<'_>, now: Instant, frame: Frame) -> Option<Frame> {
    stack.handle_frame(now, frame);
    stack.poll_transmit(now)
}

fn receive(
    stack: &mut Stack<'_>,
    ring: &Reserve,
    now: Instant,
    bytes: &[u8],
) -> Result<(), Box<dyn Error>> {
    let mut page = ring.alloc().ok_or("the ring is empty")?;
    page.extend_from_slice(bytes)?;
    stack.handle_frame(now, page.into());
    Ok(())
}

/// RFC 826: the peer asks for our address, and so makes its own known.
fn arp_request() -> Vec<u8> {
    let mut frame = [&OWN.0[..], &PEER.0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    frame.extend([&PEER.0[..], &[10, 0, 0, 2], &[0; 6], &[10, 0, 0, 1]].concat());
    frame
}

/// A datagram from the peer's port 4,000 to our port 7, with its checksums.
fn datagram(payload: u16) -> Vec<u8> {
    let length = payload + 8;
    let mut udp = [4_000_u16, 7, length, 0].map(u16::to_be_bytes).concat();
    udp.extend((0..payload).map(|at| at as u8));
    let mut sum = Checksum::new();
    sum.add_bytes(&udp);
    if udp.len() % 2 == 1 {
        sum.add_bytes(&[0]);
    }
    sum.add_pseudo_header(
        [10, 0, 0, 2].into(),
        [10, 0, 0, 1].into(),
        17,
        length.into(),
    );
    udp[6..8].copy_from_slice(&sum.finish().to_be_bytes());

    let total = (length + 20).to_be_bytes();
    let mut ip = [0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 17, 0, 0].to_vec();
    ip.extend([10, 0, 0, 2, 10, 0, 0, 1]);
    let mut sum = Checksum::new();
    sum.add_bytes(&ip);
    ip[10..12].copy_from_slice(&sum.finish().to_be_bytes());
    [&OWN.0[..], &PEER.0, &[8, 0], &ip, &udp].concat()
}
