//! The asynchronous shell: a driver task, sockets, services, on the executor in virtual time.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mirage_core::doubles::{PortConfig, PortControl, VirtualEthernet, VirtualPlatform};
use mirage_core::executor::Executor;
use mirage_core::{Frame, MacAddress, Netif, NetifError, Offloads, Pool, TransmitError};
use mirage_net::*;

use crate::common::{at, ip, lone_stack, mac, pattern};

struct Machine {
    shared: &'static SharedStack<'static>,
    control: PortControl,
    pool: &'static Pool,
}

struct World {
    executor: &'static Executor,
    machines: Vec<Machine>,
}

fn world(count: u8) -> World {
    let platform: &'static VirtualPlatform = Box::leak(Box::default());
    let executor = Executor::leak(platform);
    let ethernet = VirtualEthernet::new(1);
    platform.connect(&ethernet);
    let machines = (1..=count)
        .map(|number| {
            let pool = Pool::leak(1024, 2048).unwrap();
            let mut netif =
                ethernet.attach(PortConfig::new(mac(number)), pool.reserve(400).unwrap());
            let control = netif.control();
            let config = StackConfig::for_netif(&netif);
            let mut stack = crate::common::stack(config, pool, number.into());
            let cidr = Cidr::new(ip(number).into(), 24).unwrap();
            let now = executor.now();
            stack
                .add_address(now, cidr, ConflictConfig::assigned())
                .unwrap();
            let wakers = Box::leak(Box::new([const { WakerSlot::EMPTY }; 8]));
            let shared = SharedStack::new(stack, platform, &mut wakers[..]);
            let shared: &'static SharedStack<'static> = Box::leak(Box::new(shared));
            let driver = async move { shared.run(&mut netif, executor).await };
            executor.spawn(driver).unwrap().detach();
            Machine {
                shared,
                control,
                pool,
            }
        })
        .collect();
    World { executor, machines }
}

fn any(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

#[test]
fn a_socket_asks_and_another_answers_from_the_address_that_was_asked() {
    let world = world(2);
    let second = Cidr::new(ip(77).into(), 24).unwrap();
    world.machines[1].shared.with(|stack, now| {
        stack
            .add_address(now, second, ConflictConfig::assigned())
            .unwrap();
    });
    let server = world.machines[1].shared;
    let serve = async move {
        let socket = server.udp_bind(UdpOptions::bind(any(53))).unwrap();
        loop {
            let question = socket.receive().await.unwrap();
            let from = Some(question.destination.ip());
            // The answer is the question's own page: no copy either way.
            socket
                .try_send_frame(Some(question.source), from, question.payload)
                .unwrap();
        }
    };
    world.executor.spawn(serve).unwrap().detach();
    let client = world.machines[0].shared;
    world.executor.run_until(async {
        let socket = client.udp_bind(UdpOptions::bind(any(0))).unwrap();
        for (number, address) in [(2, at(2, 53)), (77, at(77, 53))] {
            let question = pattern(500, number);
            socket.send(Some(address), &question).await.unwrap();
            let answer = socket.receive().await.unwrap();
            assert_eq!(answer.source, address);
            assert_eq!(answer.payload.contiguous(), Some(&question[..]));
        }
    });
}

/// Lets the first machine resolve the second.
async fn acquaint(world: &World) {
    let client = world.machines[0].shared;
    client.with(|stack, now| stack.ping(now, ip(2).into(), 0).unwrap());
    world.executor.sleep(Duration::from_secs(1)).await;
}

#[test]
fn a_sender_waits_while_the_device_stalls_and_nothing_is_lost() {
    let world = world(2);
    let (client, server) = (world.machines[0].shared, world.machines[1].shared);
    let count = 150;
    let mut options = UdpOptions::bind(any(53));
    options.queue = 64;
    options.pages = 64;
    let receiver = server.udp_bind(options).unwrap();
    let executor = world.executor;
    let send = async move {
        let socket = client.udp_bind(UdpOptions::bind(any(0))).unwrap();
        for number in 0..count {
            let payload = pattern(100, number);
            socket.send(Some(at(2, 53)), &payload).await.unwrap();
        }
    };
    executor.run_until(async {
        acquaint(&world).await;
        world.machines[0].control.set_stalled(true);
        let sending = executor.spawn(send).unwrap();
        executor.sleep(Duration::from_secs(1)).await;
        assert!(!sending.is_finished());
        let receive = async move {
            for number in 0..count {
                let datagram = receiver.receive().await.unwrap();
                let expected = pattern(100, number);
                assert_eq!(datagram.payload.contiguous(), Some(&expected[..]));
            }
        };
        let receiving = executor.spawn(receive).unwrap();
        world.machines[0].control.set_stalled(false);
        sending.await.unwrap();
        receiving.await.unwrap();
    });
}

#[test]
fn a_sender_without_pages_waits_without_spinning() {
    let world = world(2);
    let client = &world.machines[0];
    let hoard: Vec<_> = std::iter::from_fn(|| client.pool.alloc()).collect();
    let shared = client.shared;
    let send = async move {
        let socket = shared.udp_bind(UdpOptions::bind(any(0))).unwrap();
        socket.send(Some(at(2, 53)), b"at last").await
    };
    let sending = world.executor.spawn(send).unwrap();
    let executor = world.executor;
    executor.run_until(executor.sleep(Duration::from_secs(1)));
    assert!(!sending.is_finished());
    // A look each 5 ms, a few turns each.
    let turns = world.executor.counters().polls;
    assert!(turns < 2_000, "{turns}");
    drop(hoard);
    assert_eq!(executor.run_until(sending).unwrap(), Ok(()));
}

#[test]
fn a_sender_is_woken_by_the_turn_that_brings_pages_back() {
    let world = world(2);
    let (client, server) = (&world.machines[0], world.machines[1].shared);
    let shared = client.shared;
    let executor = world.executor;
    executor.run_until(async {
        acquaint(&world).await;
        let hoard: Vec<_> = std::iter::from_fn(|| client.pool.alloc()).collect();
        let send = async move {
            let socket = shared.udp_bind(UdpOptions::bind(any(0))).unwrap();
            socket.send(Some(at(2, 53)), b"at once").await.unwrap();
            executor.now()
        };
        let sending = executor.spawn(send).unwrap();
        executor.sleep(Duration::from_millis(6)).await;
        assert!(!sending.is_finished());
        // The pages come back, and a frame makes the driver look, 1 ms after the last look.
        drop(hoard);
        let freed = executor.now();
        let mut options = UdpOptions::bind(any(0));
        options.broadcast = true;
        let other = server.udp_bind(options).unwrap();
        // Nobody answers it: nothing but the pages is new to the sender.
        other.send(Some(at(255, 9)), b"!").await.unwrap();
        let sent = sending.await.unwrap();
        assert!(
            sent - freed < Duration::from_millis(1),
            "{:?}",
            sent - freed
        );
    });
}

#[test]
fn a_call_inside_of_a_call_is_refused_and_a_socket_dropped_there_is_closed() {
    let world = world(1);
    let shared = world.machines[0].shared;
    let socket = shared.udp_bind(UdpOptions::bind(any(53))).unwrap();
    shared.with(|stack, _| {
        assert!(shared.try_with(|_, _| ()).is_none());
        let again = shared.udp_bind(UdpOptions::bind(any(54)));
        assert_eq!(again.err(), Some(BindError::InUse));
        assert_eq!(socket.local(), None);
        let sent = socket.try_send_frame(Some(at(2, 9)), None, mirage_core::Frame::new());
        assert_eq!(sent, Err(SendError::InUse));
        let context = &mut Context::from_waker(Waker::noop());
        assert!(pin!(socket.receive()).poll(context).is_pending());
        assert!(pin!(socket.readable()).poll(context).is_pending());
        assert!(
            pin!(socket.send(Some(at(2, 9)), b"?"))
                .poll(context)
                .is_pending()
        );
        assert!(pin!(shared.event()).poll(context).is_pending());
        drop(socket);
        assert!(
            stack
                .bind_service(ServiceOptions::port(53), leak(Silent))
                .is_err()
        );
    });
    let executor = world.executor;
    executor.run_until(executor.sleep(Duration::from_millis(1)));
    shared.with(|stack, _| {
        let bound = stack.bind_service(ServiceOptions::port(53), leak(Silent));
        assert_eq!(bound, Ok(()), "the driver has closed the socket");
    });
}

struct Silent;

impl UdpService for Silent {
    fn respond(&mut self, _: &UdpRequest<'_>, _: &mut [u8]) -> Option<usize> {
        None
    }
}

fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

#[test]
fn a_flood_does_not_keep_timers_from_running() {
    let world = world(2);
    let (client, server) = (world.machines[0].shared, world.machines[1].shared);
    let socket = server.udp_bind(UdpOptions::bind(any(53))).unwrap();
    let executor = world.executor;
    executor.run_until(async {
        acquaint(&world).await;
        let sender = client.udp_bind(UdpOptions::bind(any(0))).unwrap();
        for _ in 0..200 {
            sender.send(Some(at(2, 53)), b"flood").await.unwrap();
        }
        executor.sleep(Duration::from_millis(1)).await;
        socket.readable().await;
    });
    assert!(server.driver_counters().budget_spent > 0);
    assert!(client.driver_counters().flushes < 20);
}

#[test]
fn a_device_that_is_gone_ends_its_driver() {
    let platform: &'static VirtualPlatform = Box::leak(Box::default());
    let executor = Executor::leak(platform);
    let ethernet = VirtualEthernet::new(1);
    platform.connect(&ethernet);
    let pool = Pool::leak(64, 2048).unwrap();
    let mut netif = ethernet.attach(PortConfig::new(mac(1)), pool.reserve(8).unwrap());
    let control = netif.control();
    let wakers = Box::leak(Box::new([const { WakerSlot::EMPTY }; 8]));
    let shared = SharedStack::new(lone_stack(pool), platform, &mut wakers[..]);
    let shared: &'static SharedStack<'static> = Box::leak(Box::new(shared));
    let driver = executor
        .spawn(async move { shared.run(&mut netif, executor).await })
        .unwrap();
    executor.run_until(async {
        executor.sleep(Duration::from_secs(1)).await;
        control.set_link(false);
        executor.sleep(Duration::from_secs(1)).await;
        control.set_link(true);
        executor.sleep(Duration::from_secs(1)).await;
        control.remove();
        assert_eq!(driver.await.unwrap(), NetifError::Gone);
    });
}

#[test]
fn a_dropped_socket_is_closed() {
    let world = world(1);
    let shared = world.machines[0].shared;
    for _ in 0..100 {
        let socket = shared.udp_bind(UdpOptions::bind(any(53))).unwrap();
        assert_eq!(socket.local(), Some(any(53)));
        let again = shared.udp_bind(UdpOptions::bind(any(53)));
        assert_eq!(again.err(), Some(BindError::AddressInUse));
    }
}

#[cfg(feature = "edge-nal")]
#[test]
fn edge_nals_traits_move_datagrams_both_ways() {
    use edge_nal::{MulticastV4, Readable, UdpBind, UdpConnect, UdpReceive, UdpSend, UdpSplit};

    let world = world(2);
    let server = world.machines[1].shared;
    let serve = async move {
        let mut socket = UdpBind::bind(server, any(53)).await.unwrap();
        let (mut receive, mut send) = socket.split();
        let mut buffer = [0; 100];
        loop {
            let (length, from) = UdpReceive::receive(&mut receive, &mut buffer)
                .await
                .unwrap();
            // The full size is told even where the buffer was too short.
            let part = &buffer[..length.min(100)];
            UdpSend::send(&mut send, from, part).await.unwrap();
        }
    };
    world.executor.spawn(serve).unwrap().detach();
    let client = world.machines[0].shared;
    world.executor.run_until(async {
        let mut socket = UdpConnect::connect(client, any(0), at(2, 53))
            .await
            .unwrap();
        let mut buffer = [0; 1000];
        for (sent, received) in [(5, 5), (100, 100), (900, 100)] {
            let payload = pattern(sent, 0);
            UdpSend::send(&mut socket, any(0), &payload).await.unwrap();
            Readable::readable(&mut socket).await.unwrap();
            let (length, from) = UdpReceive::receive(&mut socket, &mut buffer).await.unwrap();
            assert_eq!((length, from), (received, at(2, 53)));
            assert_eq!(buffer[..length], payload[..length]);
        }
        let group = Ipv4Addr::new(224, 0, 0, 251);
        let joined = socket.join_v4(group, Ipv4Addr::UNSPECIFIED).await;
        assert_eq!(joined, Err(NalError::Multicast));
    });
}

/// Whoever receives and then answers through `edge-nal` answers from the address that was asked.
#[cfg(feature = "edge-nal")]
#[test]
fn edge_nals_answers_come_from_the_address_that_was_asked() {
    use edge_nal::{UdpBind, UdpReceive, UdpSend};

    let world = world(3);
    let server = world.machines[1].shared;
    let second = Cidr::new(ip(77).into(), 24).unwrap();
    server.with(|stack, now| {
        stack
            .add_address(now, second, ConflictConfig::assigned())
            .unwrap();
    });
    let (one, other) = (world.machines[0].shared, world.machines[2].shared);
    world.executor.run_until(async {
        let mut socket = UdpBind::bind(server, any(53)).await.unwrap();
        let mut first = UdpBind::bind(one, any(1000)).await.unwrap();
        let mut third = UdpBind::bind(other, any(1000)).await.unwrap();
        let mut buffer = [0; 100];
        let broadcast = SocketAddr::from((Ipv4Addr::BROADCAST, 53));
        for (asked, answered) in [
            (at(2, 53), at(2, 53)),
            (at(77, 53), at(77, 53)),
            (at(2, 53), at(2, 53)),
            // Nobody answers from a broadcast address.
            (broadcast, at(2, 53)),
        ] {
            UdpSend::send(&mut first, asked, b"question").await.unwrap();
            let (length, from) = UdpReceive::receive(&mut socket, &mut buffer).await.unwrap();
            assert_eq!((length, from), (8, at(1, 1000)));
            UdpSend::send(&mut socket, from, b"answer").await.unwrap();
            let received = UdpReceive::receive(&mut first, &mut buffer).await.unwrap();
            assert_eq!(received, (6, answered));
        }
        // It is remembered of the last one alone: whoever did not send that hears from the route's.
        UdpSend::send(&mut first, at(77, 53), b"question")
            .await
            .unwrap();
        UdpReceive::receive(&mut socket, &mut buffer).await.unwrap();
        UdpSend::send(&mut socket, at(3, 1000), b"news")
            .await
            .unwrap();
        let received = UdpReceive::receive(&mut third, &mut buffer).await.unwrap();
        assert_eq!(received, (4, at(2, 53)));
        UdpSend::send(&mut socket, at(1, 1000), b"answer")
            .await
            .unwrap();
        let received = UdpReceive::receive(&mut first, &mut buffer).await.unwrap();
        assert_eq!(received, (6, at(77, 53)));
        // The address is given up before the answer.
        server.with(|stack, _| assert!(stack.remove_address(ip(77).into())));
        UdpSend::send(&mut socket, at(1, 1000), b"answer")
            .await
            .unwrap();
        let received = UdpReceive::receive(&mut first, &mut buffer).await.unwrap();
        assert_eq!(received, (6, at(2, 53)));
        // Chosen by hand: ours is taken, another's is refused.
        let payload = b"by hand";
        let to = Some(at(1, 1000));
        let refused = socket.send_from(to, ip(77).into(), payload).await;
        assert_eq!(refused, Err(SendError::NoAddress));
        socket.send_from(to, ip(2).into(), payload).await.unwrap();
        let received = UdpReceive::receive(&mut first, &mut buffer).await.unwrap();
        assert_eq!(received, (7, at(2, 53)));
    });
}

#[test]
fn a_device_that_stalls_or_is_unplugged_while_arp_is_due_does_not_make_the_driver_spin() {
    for unplug in [false, true] {
        let world = world(2);
        let executor = world.executor;
        let machine = &world.machines[0];
        executor.run_until(async {
            executor.sleep(Duration::from_secs(20)).await;
            if unplug {
                machine.control.set_link(false);
            } else {
                machine.control.set_stalled(true);
            }
            let socket = machine.shared.udp_bind(UdpOptions::bind(any(0))).unwrap();
            // Nobody knows station 2 yet: it is to be asked for, and can't be.
            socket.send(Some(at(2, 53)), b"?").await.unwrap();
            let before = executor.counters().polls;
            executor.sleep(Duration::from_secs(1)).await;
            let polls = executor.counters().polls - before;
            assert!(polls < 100, "unplugged: {unplug}, {polls}");
        });
    }
}

/// A device that fails whenever it is asked for a frame.
struct Faulty<N>(N);

impl<N: Netif> Netif for Faulty<N> {
    fn mac(&self) -> MacAddress {
        self.0.mac()
    }
    fn mtu(&self) -> u16 {
        self.0.mtu()
    }
    fn offloads(&self) -> Offloads {
        self.0.offloads()
    }
    fn link_up(&self) -> bool {
        true
    }
    fn poll_receive(&mut self, _: &mut Context<'_>) -> Poll<Result<Frame, NetifError>> {
        Poll::Ready(Err(NetifError::DeviceFault))
    }
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NetifError>> {
        self.0.poll_ready(context)
    }
    fn transmit(&mut self, frame: Frame) -> Result<(), TransmitError> {
        self.0.transmit(frame)
    }
    fn flush(&mut self) -> Result<(), NetifError> {
        self.0.flush()
    }
}

#[test]
fn a_device_that_fails_again_and_again_does_not_make_the_driver_spin() {
    let platform: &'static VirtualPlatform = Box::leak(Box::default());
    let executor = Executor::leak(platform);
    let ethernet = VirtualEthernet::new(1);
    platform.connect(&ethernet);
    let pool = Pool::leak(64, 2048).unwrap();
    let netif = ethernet.attach(PortConfig::new(mac(1)), pool.reserve(8).unwrap());
    let wakers = Box::leak(Box::new([const { WakerSlot::EMPTY }; 8]));
    let shared = SharedStack::new(lone_stack(pool), platform, &mut wakers[..]);
    let shared: &'static SharedStack<'static> = Box::leak(Box::new(shared));
    let driver = async move { shared.run(&mut Faulty(netif), executor).await };
    executor.spawn(driver).unwrap().detach();
    executor.run_until(executor.sleep(Duration::from_secs(10)));
    // One try each 20 ms.
    let errors = shared.driver_counters().device_errors;
    assert!((400..=501).contains(&errors), "{errors}");
    let polls = executor.counters().polls;
    assert!(polls < 2_000, "{polls}");
}
