//! The service on our own stack, over a virtual Ethernet, in virtual time: as it is served over a tap.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dns_appliance::{Service, ZONES_IMAGE};
use mirage_core::doubles::{
    Chance, Faults, PortConfig, PortControl, VirtualEthernet, VirtualNetif, VirtualPlatform,
};
use mirage_core::executor::{Executor, JoinHandle};
use mirage_core::{Clock, MacAddress, NetifError, Pool};
use mirage_dns::client::Query;
use mirage_dns::message::{Flags, Section};
use mirage_dns::name::NameBuf;
use mirage_dns::record::{Rcode, RecordType};
use mirage_dns::zone_set::ZoneSet;
use mirage_net::{
    Capacities, Cidr, ConflictConfig, Counters, ServiceOptions, SharedStack, Stack, StackConfig,
    StackStorage, UdpOptions, UdpSocket, WakerSlot, drive,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const SERVER: u8 = 1;
const CLIENT: u8 = 2;
/// Of 4,096 bytes, for each of the two.
const PAGES: usize = 256;
/// How long a reply is waited for before its question is sent again.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a question is sent at most.
const TRIES: usize = 100;

#[test]
fn a_name_and_the_lack_of_one_are_answered_with_authority_and_no_page_is_lost() {
    let world = World::new(1, Faults::NONE);
    assert_eq!(world.client.neighbour(), None);
    world.executor.run_until(async {
        let socket = world.client.socket();
        let www = ask(&world, &socket, 7, "www.example.org").await;
        assert_eq!(www, (1, Reply::address([192, 0, 2, 80])));
        let nobody = ask(&world, &socket, 8, "nobody.example.org").await;
        assert_eq!(nobody, (1, Reply::no_such_name()));
    });
    assert_eq!(world.client.neighbour(), Some(mac(SERVER)));
    let service = world.service;
    let server = world.end();
    assert!(server.arp.requests_for_us > 0);
    assert_eq!(server.udp.answered, 2);
    assert_eq!(server.udp.service_copied, 0);
    let answered = service.counters().server;
    assert_eq!((answered.udp, answered.nxdomain), (2, 1));
}

#[test]
fn on_a_bad_line_each_question_is_answered_after_retries_and_no_page_is_lost() {
    let bad = Faults {
        loss: Chance::percent(15),
        duplication: Chance::percent(15),
        reordering: Chance::percent(15),
        corruption: Chance::percent(15),
        delay: Duration::from_millis(5),
        reordering_delay: Duration::from_millis(20),
        ..Faults::NONE
    };
    let world = World::new(2, bad);
    let questions = 100;
    let mut sent = 0;
    world.executor.run_until(async {
        let socket = world.client.socket();
        for id in 0..questions {
            let (name, expected) = match id % 2 {
                0 => ("www.example.org", Reply::address([192, 0, 2, 80])),
                _ => ("nobody.example.org", Reply::no_such_name()),
            };
            let (tries, reply) = ask(&world, &socket, id, name).await;
            assert_eq!(reply, expected, "question {id}");
            sent += tries;
        }
    });
    assert!(sent > usize::from(questions), "nothing was asked again");
    for machine in [&world.client.control, &world.server_control] {
        let faults = machine.counters().faults;
        let met = [
            faults.lost,
            faults.duplicated,
            faults.reordered,
            faults.corrupted,
        ];
        assert!(met.iter().all(|&count| count > 0), "{faults:?}");
    }
    let service = world.service;
    let server = world.end();
    assert_eq!(server.udp.answered, service.counters().queries());
    assert!(server.udp.answered >= questions.into());
}

/// What a reply says.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    rcode: Rcode,
    authoritative: bool,
    /// The data of the records of the answer.
    answers: Vec<Vec<u8>>,
}

impl Reply {
    fn address(octets: [u8; 4]) -> Self {
        Self {
            rcode: Rcode::NOERROR,
            authoritative: true,
            answers: vec![octets.to_vec()],
        }
    }

    fn no_such_name() -> Self {
        Self {
            rcode: Rcode::NXDOMAIN,
            authoritative: true,
            answers: vec![],
        }
    }
}

/// Asks for the address of `name` until there is a reply; how often that took, and the reply.
async fn ask(
    world: &World,
    socket: &UdpSocket<'_, 'static>,
    id: u16,
    name: &str,
) -> (usize, Reply) {
    let name = NameBuf::from_text(name).expect("a name");
    let query = Query::new(id, name.as_name(), RecordType::A);
    let mut buffer = [0; 512];
    let length = query.write(&mut buffer).expect("room");
    for number in 1..=TRIES {
        socket
            .send(Some(address(SERVER, 53)), &buffer[..length])
            .await
            .expect("a datagram that is sent");
        let waiting = world.executor.timeout(PATIENCE, reply(socket, &query));
        if let Ok(reply) = waiting.await {
            return (number, reply);
        }
    }
    panic!("no reply to question {id} after {TRIES} tries");
}

/// The reply to this query; whatever else comes is thrown away.
async fn reply(socket: &UdpSocket<'_, 'static>, query: &Query<'_>) -> Reply {
    loop {
        let datagram = socket.receive().await.expect("a datagram");
        assert_eq!(datagram.source, address(SERVER, 53));
        let mut message = vec![0; datagram.payload.len()];
        datagram.payload.copy_to_slice(0, &mut message);
        let Ok(reader) = query.accept(&message) else {
            continue;
        };
        let header = reader.header();
        let answers = reader.section(Section::Answer).map(|record| {
            let record = record.expect("a record");
            record.raw_rdata().to_vec()
        });
        return Reply {
            rcode: header.rcode,
            authoritative: header.flags.contains(Flags::AA),
            answers: answers.collect(),
        };
    }
}

/// A server and a client on one Ethernet.
struct World {
    executor: &'static Executor,
    service: &'static Service<'static>,
    server: JoinHandle<Counters>,
    server_pool: &'static Pool,
    server_control: PortControl,
    client: Client,
}

struct Client {
    shared: &'static SharedStack<'static>,
    driver: JoinHandle<NetifError>,
    pool: &'static Pool,
    control: PortControl,
}

impl World {
    /// Both receive with these faults.
    fn new(seed: u64, faults: Faults) -> Self {
        let platform: &'static VirtualPlatform = Box::leak(Box::default());
        let executor = Executor::leak(platform);
        let ethernet = VirtualEthernet::new(seed);
        platform.connect(&ethernet);

        let zones = ZoneSet::from_bytes(ZONES_IMAGE).expect("the image that was built");
        let service: &'static Service<'static> = Box::leak(Box::new(Service::new(zones)));
        let (server_pool, mut netif, mut stack) = machine(platform, &ethernet, SERVER, faults);
        let server_control = netif.control();
        let bound: &'static mut &'static Service<'static> = Box::leak(Box::new(service));
        let options = ServiceOptions::port(53);
        stack.bind_service(options, bound).expect("a free port");
        let server = executor.spawn(async move {
            let error = drive(&mut netif, &mut stack, executor, |_| {}).await;
            assert_eq!(error, NetifError::Gone);
            stack.counters()
        });

        let (pool, mut netif, stack) = machine(platform, &ethernet, CLIENT, faults);
        let control = netif.control();
        let wakers = vec![WakerSlot::EMPTY];
        let shared: &'static SharedStack<'static> =
            Box::leak(Box::new(SharedStack::new(stack, platform, wakers)));
        let driver = executor.spawn(async move { shared.run(&mut netif, executor).await });
        Self {
            executor,
            service,
            server: server.expect("a task"),
            server_pool,
            server_control,
            client: Client {
                shared,
                driver: driver.expect("a task"),
                pool,
                control,
            },
        }
    }

    /// Lets everything time out and takes the devices away; every page must be back. What the server's stack counted.
    fn end(self) -> Counters {
        let executor = self.executor;
        let client = self.client;
        let counters = executor.run_until(async {
            executor.sleep(Duration::from_secs(600)).await;
            self.server_control.remove();
            client.control.remove();
            assert_eq!(client.driver.await.expect("its end"), NetifError::Gone);
            self.server.await.expect("its end")
        });
        for pool in [self.server_pool, client.pool] {
            assert_eq!(pool.free_in_all(), pool.blocks());
        }
        counters
    }
}

impl Client {
    fn socket(&self) -> UdpSocket<'_, 'static> {
        let any = (Ipv4Addr::UNSPECIFIED, 0).into();
        let bound = self.shared.udp_bind(UdpOptions::bind(any));
        bound.expect("a socket")
    }

    /// The server's MAC, if the client's stack knows it.
    fn neighbour(&self) -> Option<MacAddress> {
        let server = address(SERVER, 0).ip();
        self.shared.with(|stack, _| stack.neighbour(server))
    }
}

/// A device, and a stack whose address is assigned.
fn machine(
    platform: &'static VirtualPlatform,
    ethernet: &VirtualEthernet,
    number: u8,
    faults: Faults,
) -> (&'static Pool, VirtualNetif, Stack<'static>) {
    let pool = Pool::leak(PAGES, 4_096).expect("a pool");
    let mut port = PortConfig::new(mac(number));
    port.faults = faults;
    let netif = ethernet.attach(port, pool.reserve(PAGES / 4).expect("pages"));
    let storage = StackStorage::allocate(&Capacities::default());
    let config = StackConfig::for_netif(&netif);
    let mut rng = ChaCha8Rng::seed_from_u64(number.into());
    let now = platform.now();
    let mut stack = Stack::new(config, storage, pool, now, &mut rng).expect("a stack");
    let cidr = Cidr::new(address(number, 0).ip(), 24).expect("a prefix");
    stack
        .add_address(now, cidr, ConflictConfig::assigned())
        .expect("an address");
    (pool, netif, stack)
}

fn address(number: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, number), port).into()
}

fn mac(number: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, number])
}
