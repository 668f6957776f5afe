//! The service on our own TCP: what lies in the program is sent from there, whole, to whoever takes it, in whatever way.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use mirage_core::doubles::{
    Chance, Faults, PortConfig, VirtualEthernet, VirtualNetif, VirtualPlatform,
};
use mirage_core::executor::{Executor, Platform, TurnClock, Unpark};
use mirage_core::kv::{CompiledEntry, CompiledStore};
use mirage_core::{
    Clock, Frame, Instant, MacAddress, Netif, NetifError, Offloads, Pool, Segment, TransmitError,
};
use mirage_net::tcp::{ConnectionOptions, ListenOptions, TcpCapacities, TcpStorage};
use mirage_net::{
    Capacities, Cidr, ConflictConfig, SharedStack, Stack, StackConfig, StackStorage, TcpStream,
    TcpWakers, WakerSlot,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use web_appliance::tcp::{OwnTcp, register_values};
use web_appliance::{Buffers, Service, ServiceLimits, serve_slot};

const SLOTS: usize = 4;

static PAGE: [u8; 1_024] = pattern(1);
static LONG: [u8; 300_000] = pattern(2);
static PACKED: [u8; 50_000] = pattern(3);

const fn pattern<const LENGTH: usize>(seed: usize) -> [u8; LENGTH] {
    let mut octets = [0; LENGTH];
    let mut at = 0;
    while at < LENGTH {
        octets[at] = (at * (at / 251 + seed) % 253) as u8;
        at += 1;
    }
    octets
}

static SITE: CompiledStore = CompiledStore::new_const(&[
    CompiledEntry::new("index.html", &PAGE),
    CompiledEntry::new("long.bin", &LONG),
    CompiledEntry::new("packed.txt", &LONG),
    CompiledEntry::new("packed.txt.gz", &PACKED),
]);

/// Counts the octets of data that go out from where a file of the site lies, and those that go out from elsewhere, headers among them.
struct Watched {
    netif: VirtualNetif,
    counts: Rc<Counts>,
}

#[derive(Default)]
struct Counts {
    in_place: Cell<u64>,
    copied: Cell<u64>,
    frames: Cell<u64>,
    flushes: Cell<u64>,
}

/// Counts the looks at the clocks.
#[derive(Default)]
struct Looked {
    platform: VirtualPlatform,
    now: Cell<u64>,
    wall: Cell<u64>,
}

impl Clock for Looked {
    fn now(&self) -> Instant {
        self.now.set(self.now.get() + 1);
        self.platform.now()
    }

    fn wall(&self) -> Option<Duration> {
        self.wall.set(self.wall.get() + 1);
        self.platform.wall()
    }
}

impl Platform for Looked {
    fn park(&self, until: Option<Instant>) {
        self.platform.park(until);
    }

    fn unparker(&self) -> &'static dyn Unpark {
        self.platform.unparker()
    }

    fn poll_devices(&self) {
        self.platform.poll_devices();
    }
}

impl Netif for Watched {
    fn mac(&self) -> MacAddress {
        self.netif.mac()
    }

    fn mtu(&self) -> u16 {
        self.netif.mtu()
    }

    fn offloads(&self) -> Offloads {
        self.netif.offloads()
    }

    fn link_up(&self) -> bool {
        self.netif.link_up()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, NetifError>> {
        self.netif.poll_receive(cx)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetifError>> {
        self.netif.poll_ready(cx)
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), TransmitError> {
        self.counts.frames.set(self.counts.frames.get() + 1);
        let places = [&PAGE[..], &LONG, &PACKED].map(<[u8]>::as_ptr_range);
        for segment in frame.segments() {
            let lies = segment.as_ptr_range();
            let is_within =
                |place: &Range<*const u8>| place.start <= lies.start && lies.end <= place.end;
            let in_place = matches!(segment, Segment::Static(_)) && places.iter().any(is_within);
            let count = match in_place {
                true => &self.counts.in_place,
                false => &self.counts.copied,
            };
            count.set(count.get() + segment.len() as u64);
        }
        self.netif.transmit(frame)
    }

    fn flush(&mut self) -> Result<(), NetifError> {
        self.counts.flushes.set(self.counts.flushes.get() + 1);
        self.netif.flush()
    }
}

struct World {
    executor: &'static Executor,
    platform: &'static Looked,
    client: &'static SharedStack<'static>,
    pool: &'static Pool,
    counts: Rc<Counts>,
    service: &'static Service<'static>,
}

impl World {
    /// A server and a client, with these faults on the way to each.
    fn new(faults: Faults) -> Self {
        let platform: &'static Looked = Box::leak(Box::default());
        let executor = Executor::leak(platform);
        let clock: &'static TurnClock = Box::leak(Box::new(TurnClock::new(executor)));
        let ethernet = VirtualEthernet::new(1);
        platform.platform.connect(&ethernet);
        let counts: Rc<Counts> = Rc::default();
        let machine = |number: u8, counts: Rc<Counts>| {
            let pool = Pool::leak(1_024, 2_048).unwrap();
            let mut port = PortConfig::new(MacAddress([2, 0, 0, 0, 0, number]));
            port.faults = faults;
            let netif = ethernet.attach(port, pool.reserve(256).unwrap());
            let tcp = TcpCapacities::default();
            let storage =
                StackStorage::allocate(&Capacities::default()).with_tcp(TcpStorage::allocate(&tcp));
            let mut rng = ChaCha8Rng::seed_from_u64(number.into());
            let config = StackConfig::for_netif(&netif);
            let now = executor.now();
            let mut stack = Stack::new(config, storage, pool, now, &mut rng).unwrap();
            let address = Cidr::new(IpAddr::V4(ip(number)), 24).unwrap();
            let conflicts = ConflictConfig::assigned();
            stack.add_address(now, address, conflicts).unwrap();
            let wakers: Vec<_> = (0..stack.udp_capacity())
                .map(|_| WakerSlot::default())
                .collect();
            let streams = TcpWakers::allocate(&stack);
            let shared = SharedStack::new(stack, clock, wakers.leak()).with_tcp(streams);
            let shared: &'static SharedStack<'static> = Box::leak(Box::new(shared));
            let mut netif = Watched { netif, counts };
            let driver = async move { shared.run(&mut netif, executor).await };
            executor.spawn(driver).unwrap().detach();
            (shared, pool)
        };
        let (client, _) = machine(1, Rc::default());
        let (server, pool) = machine(2, counts.clone());
        assert_eq!(register_values(pool, &SITE, usize::MAX), Ok(0));
        let service: &'static Service<'static> =
            Box::leak(Box::new(Service::new(SITE, ServiceLimits::new(SLOTS))));
        let options = ListenOptions {
            connection: ConnectionOptions {
                no_delay: true,
                ..ConnectionOptions::DEFAULT
            },
            ..ListenOptions::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80)))
        };
        let listener = OwnTcp::new(server.tcp_listen(options).unwrap(), pool);
        let listener: &'static _ = Box::leak(Box::new(listener));
        for _ in 0..SLOTS {
            let serving = executor.spawn(async move {
                let buffers = &mut Buffers::<9_000, 2_048, 32>::new();
                serve_slot(listener, service, executor, buffers).await
            });
            serving.unwrap().detach();
        }
        Self {
            executor,
            platform,
            client,
            pool,
            counts,
            service,
        }
    }

    async fn connect(&self) -> TcpStream<'static, 'static> {
        let options = ConnectionOptions::DEFAULT;
        let (any, server) = ((Ipv4Addr::UNSPECIFIED, 0), (ip(2), 80));
        let connecting = self.client.tcp_connect(any.into(), server.into(), options);
        connecting.await.unwrap()
    }

    /// Asks over a connection of its own, and reads to the end, so many octets at a time and with such pauses: the head and the content.
    fn get_slowly(&self, request: &str, room: usize, pause: Duration) -> (String, Vec<u8>) {
        self.executor.run_until(async {
            let stream = self.connect().await;
            stream.write_all(request.as_bytes()).await.unwrap();
            let (mut all, mut buffer) = (Vec::new(), vec![0; room]);
            loop {
                let length = stream.read(&mut buffer).await.unwrap();
                if length == 0 {
                    break;
                }
                all.extend_from_slice(&buffer[..length]);
                self.executor.sleep(pause).await;
            }
            let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            let content = all.split_off(end + 4);
            (String::from_utf8(all).unwrap(), content)
        })
    }

    fn get(&self, method: &str, path: &str, field: &str) -> (String, Vec<u8>) {
        let head = "HTTP/1.1\r\nHost: x\r\nConnection: close";
        let request = format!("{method} {path} {head}\r\n{field}\r\n\r\n");
        self.get_slowly(&request, 4_096, Duration::ZERO)
    }

    /// The octets that went out in place since the last call, and those that didn't.
    fn sent(&self) -> (u64, u64) {
        (self.counts.in_place.take(), self.counts.copied.take())
    }

    /// After some time no connection has a place, and the pool has all of its pages again.
    fn end(self) {
        let long = Duration::from_secs(900);
        self.executor.run_until(self.executor.sleep(long));
        assert_eq!(self.service.taken(), 0);
        assert_eq!(self.pool.free_in_all(), self.pool.blocks());
    }
}

fn ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

/// The payload of a segment that the stack copies behind its header, for that is cheaper than a second piece: a response's last one.
const SHORT: u64 = 256;
/// Content of so many octets goes with the head, which is cheaper than a piece of its own.
const SMALL: usize = 1_024;

#[test]
fn no_octet_but_a_short_segment_s_or_of_a_small_content_is_copied_whatever_is_asked_for() {
    let world = World::new(Faults::NONE);
    let gzip = "Accept-Encoding: gzip";
    let cases: [(&str, &str, &str, u16, &[u8]); 8] = [
        ("GET", "/", "A: b", 200, &PAGE),
        ("GET", "/long.bin", "A: b", 200, &LONG),
        ("GET", "/packed.txt", "A: b", 200, &LONG),
        ("GET", "/packed.txt", gzip, 200, &PACKED),
        ("GET", "/", "Range: bytes=0-0", 206, &PAGE[..1]),
        (
            "GET",
            "/long.bin",
            "Range: bytes=777-70776",
            206,
            &LONG[777..70_777],
        ),
        (
            "GET",
            "/packed.txt",
            "Accept-Encoding: gzip\r\nRange: bytes=-9",
            206,
            &PACKED[49_991..],
        ),
        ("HEAD", "/long.bin", "A: b", 200, &[]),
    ];
    for (method, path, field, status, expected) in cases {
        world.sent();
        let (head, content) = world.get(method, path, field);
        let name = format!("{method} {path} {field}");
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{name}: {head}"
        );
        assert!(content == expected, "{name}: other octets");
        let (in_place, copied) = world.sent();
        let (small, long) = match expected.len() {
            small @ ..=SMALL => (small as u64, 0),
            long => (0, long as u64),
        };
        assert!(
            (long.saturating_sub(SHORT)..=long).contains(&in_place),
            "{name}: {in_place}"
        );
        // Heads alone: of the response, and of each of some frames.
        let frames = expected.len() as u64 / 1_000 + 8;
        assert!(copied < small + 512 + 80 * frames, "{name}: {copied}");
    }
    world.end();
}

#[test]
fn values_on_more_pages_than_can_be_made_known_are_copied() {
    let pages = |octets: &[u8]| {
        let offset = octets.as_ptr().addr() % Pool::PAGE_SIZE;
        (offset + octets.len()).div_ceil(Pool::PAGE_SIZE)
    };
    // The long file, which has two names, needs all but what is left for the page.
    let all = pages(&LONG) + pages(&PAGE);
    for (limit, copied, known) in [
        (usize::MAX, 0, [true, true, true]),
        (all, 1, [true, true, false]),
        (pages(&LONG) - 1, 2, [false, true, true]),
        (0, 4, [false; 3]),
    ] {
        let pool = Pool::leak(8, 2_048).unwrap();
        assert_eq!(register_values(pool, &SITE, limit), Ok(copied), "{limit}");
        let is_known = |octets: &'static [u8]| pool.static_segment(octets).is_some();
        assert_eq!([is_known(&LONG), is_known(&PAGE), is_known(&PACKED)], known);
    }
}

#[test]
fn parts_are_sent_from_the_file_and_what_stands_between_them_is_written() {
    let world = World::new(Faults::NONE);
    let (head, content) = world.get("GET", "/long.bin", "Range: bytes=5-5004,100000-139999");
    assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
    for part in [&LONG[5..5_005], &LONG[100_000..140_000]] {
        assert!(content.windows(part.len()).any(|window| window == part));
    }
    // A frame of more pieces than have a place in it is made one copy by the stack: around the text between the parts.
    let in_place = world.sent().0;
    assert!(
        (45_000 - 2 * 1_460..=45_000).contains(&in_place),
        "{in_place}"
    );
    // What is no file's: nothing of the program's goes out.
    let known = head.lines().find_map(|line| line.strip_prefix("etag: "));
    let known = format!("If-None-Match: {}", known.unwrap());
    for (path, field) in [("/none", "A: b"), ("/long.bin", &known[..])] {
        let (head, _) = world.get("GET", path, field);
        assert!(head.starts_with("HTTP/1.1 404 ") || head.starts_with("HTTP/1.1 304 "));
        assert_eq!(world.sent().0, 0, "{path}");
    }
    world.end();
}

/// What a request costs beside its instructions. Each of these is a system call on a host, or an exit to a hypervisor.
#[test]
fn a_request_on_a_kept_connection_is_one_frame_and_no_look_at_the_clock_beside_its_turns() {
    const REQUESTS: u64 = 100;
    let world = World::new(Faults::NONE);
    world.executor.run_until(async {
        let stream = world.connect().await;
        let mut room = [0; 2_048];
        let mut ask = async || {
            let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let (mut length, mut whole) = (0, 0);
            while length == 0 || length < whole {
                length += stream.read(&mut room[length..]).await.unwrap();
                let head = room.windows(4).position(|four| four == b"\r\n\r\n");
                whole = head.expect("the head comes in one piece") + 4 + PAGE.len();
            }
            assert!(length == whole && room[..length].ends_with(&PAGE));
        };
        ask().await;
        let (counts, platform) = (&world.counts, world.platform);
        let numbers = || {
            [
                counts.frames.get(),
                counts.flushes.get(),
                platform.wall.get(),
                platform.now.get(),
                world.executor.counters().polls,
            ]
        };
        let before = numbers();
        for _ in 0..REQUESTS {
            ask().await;
        }
        let after = numbers();
        let each: Vec<u64> = std::iter::zip(after, before)
            .map(|(after, before)| (after - before) / REQUESTS)
            .collect();
        // The response, which acknowledges the request; one look at the wall clock, for its date. And of all that is on this machine, the
        // client too: the turns, each of which looks at the clock once, and the tasks that run in them. Of those the server's driver is two,
        // when the request comes and when the response goes, and the slot one.
        assert_eq!(each, [1, 1, 1, 3, 6]);
    });
    world.end();
}

#[test]
fn answers_to_requests_sent_ahead_stay_in_order() {
    let world = World::new(Faults::NONE);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut ahead = (get("/") + &get("/long.bin") + &get("/none")).repeat(3);
    ahead += "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (_, mut rest) = world.get_slowly(&ahead, 4_096, Duration::ZERO);
    for expected in [&PAGE[..], &LONG, b"404 Not Found\n"].repeat(3) {
        assert!(rest.starts_with(expected), "content of {}", expected.len());
        rest.drain(..expected.len());
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n");
        rest.drain(..end.unwrap() + 4);
    }
    assert_eq!(rest, PAGE);
    world.end();
}

#[test]
fn a_slow_reader_gets_all_of_it_and_a_network_that_loses_and_reorders_changes_nothing() {
    let request = "GET /long.bin HTTP/1.0\r\n\r\n";
    let world = World::new(Faults::NONE);
    let (_, content) = world.get_slowly(request, 1_000, Duration::from_millis(20));
    assert!(content == LONG);
    assert_eq!(world.sent().0, LONG.len() as u64);
    world.end();
    let world = World::new(Faults {
        loss: Chance::percent(2),
        reordering: Chance::percent(5),
        duplication: Chance::percent(2),
        delay: Duration::from_millis(2),
        ..Faults::NONE
    });
    for _ in 0..5 {
        let (_, content) = world.get_slowly(request, 4_096, Duration::ZERO);
        assert!(content == LONG);
        // What is sent again is sent from there, too.
        assert!(world.sent().0 >= LONG.len() as u64);
    }
    world.end();
}

#[test]
fn who_takes_nothing_or_resets_in_the_middle_is_let_go_of() {
    let world = World::new(Faults::NONE);
    let request = b"GET /long.bin HTTP/1.1\r\nHost: x\r\n\r\n";
    world.executor.run_until(async {
        // As many as there are places, and all of them read nothing.
        let mut deaf = Vec::new();
        for _ in 0..SLOTS {
            let stream = world.connect().await;
            stream.write_all(request).await.unwrap();
            deaf.push(stream);
        }
        world.executor.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.service.taken(), SLOTS);
        // However long the file is: what a piece of it may take at the least rate, and the grace.
        world.executor.sleep(Duration::from_secs(30)).await;
        assert_eq!(world.service.taken(), 0, "too slow");
        for stream in deaf {
            stream.abort();
        }
        for _ in 0..SLOTS {
            let stream = world.connect().await;
            stream.write_all(request).await.unwrap();
            let mut some = [0; 5_000];
            assert_ne!(stream.read(&mut some).await.unwrap(), 0);
            stream.abort();
        }
        world.executor.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.service.taken(), 0, "reset");
    });
    let (_, content) = world.get("GET", "/long.bin", "A: b");
    assert!(content == LONG);
    world.end();
}
