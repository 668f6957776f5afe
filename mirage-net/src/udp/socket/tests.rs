use super::*;
use std::collections::HashSet;

struct Memory {
    slots: [UdpSlot; 4],
    datagrams: [DatagramSlot; 8],
    buckets: [PortBucket; 2],
}

impl Memory {
    fn new() -> Self {
        Memory {
            slots: [const { UdpSlot::EMPTY }; 4],
            datagrams: [const { DatagramSlot::EMPTY }; 8],
            buckets: [const { PortBucket::EMPTY }; 2],
        }
    }

    fn sockets(&mut self) -> Sockets<'_> {
        self.sockets_of(Pool::leak(8, 512).unwrap())
    }

    fn sockets_of(&mut self, pool: &'static Pool) -> Sockets<'_> {
        Sockets::new(
            (&mut self.slots[..]).into(),
            (&mut self.datagrams[..]).into(),
            (&mut self.buckets[..]).into(),
            pool,
        )
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn bind(sockets: &mut Sockets<'_>, options: UdpOptions) -> Result<UdpHandle, BindError> {
    sockets.bind(options, &mut Random::fixed(1), |_| false)
}

fn small(local: &str) -> UdpOptions {
    UdpOptions {
        queue: 2,
        pages: 4,
        ..UdpOptions::bind(address(local))
    }
}

#[test]
fn the_most_particular_socket_gets_the_datagram() {
    let mut memory = Memory::new();
    let mut sockets = memory.sockets();
    let any = bind(&mut sockets, small("0.0.0.0:53")).unwrap();
    let mut options = small("10.0.0.1:53");
    options.remote = Some(address("10.0.0.9:1000"));
    let connected = bind(&mut sockets, options).unwrap();
    let find = |sockets: &Sockets<'_>, from, to| sockets.find(address(from), address(to));
    assert_eq!(
        find(&sockets, "10.0.0.9:1000", "10.0.0.1:53"),
        Some(connected)
    );
    assert_eq!(find(&sockets, "10.0.0.9:1001", "10.0.0.1:53"), Some(any));
    assert_eq!(find(&sockets, "10.0.0.9:1000", "10.0.0.1:54"), None);
    assert_eq!(find(&sockets, "10.0.0.9:1000", "10.0.0.1:55"), None);
    let taken = bind(&mut sockets, small("10.0.0.2:53"));
    assert_eq!(taken, Err(BindError::AddressInUse));
    assert!(sockets.close(any));
    assert!(!sockets.close(any));
    assert_eq!(find(&sockets, "10.0.0.9:1001", "10.0.0.1:53"), None);
    let second = bind(&mut sockets, small("10.0.0.2:53")).unwrap();
    assert_eq!(find(&sockets, "10.0.0.9:1001", "10.0.0.2:53"), Some(second));
}

#[test]
fn queues_are_set_aside_and_bounded() {
    let pool = Pool::leak(8, 512).unwrap();
    let mut memory = Memory::new();
    let mut sockets = memory.sockets_of(pool);
    let handle = bind(&mut sockets, small("0.0.0.0:53")).unwrap();
    let mut greedy = small("0.0.0.0:54");
    greedy.queue = 7;
    assert_eq!(bind(&mut sockets, greedy), Err(BindError::NoQueue));
    greedy.queue = 6;
    let other = bind(&mut sockets, greedy).unwrap();
    let (from, to) = (address("10.0.0.9:1"), address("10.0.0.1:53"));
    let send = |sockets: &mut Sockets<'_>, byte: u8| {
        let mut page = pool.alloc().unwrap();
        page.extend_from_slice(&[byte]).unwrap();
        sockets.deliver(handle, from, to, page.into())
    };
    assert_eq!(send(&mut sockets, 1), Deliver::Queued);
    assert_eq!(send(&mut sockets, 2), Deliver::Queued);
    assert_eq!(send(&mut sockets, 3), Deliver::QueueFull);
    assert_eq!(sockets.poll_signal(), Some(handle));
    assert_eq!(sockets.poll_signal(), None);
    for expected in [1, 2] {
        let datagram = sockets.receive(handle).unwrap();
        assert_eq!(datagram.payload.contiguous(), Some(&[expected][..]));
    }
    assert!(sockets.receive(handle).is_none());
    // The queue goes on after it was empty, and closing gives its pages back.
    for byte in 0..20 {
        send(&mut sockets, byte);
        if byte % 3 == 0 {
            sockets.receive(handle);
        }
    }
    assert!(pool.free() < 8);
    assert!(sockets.close(handle) && sockets.close(other));
    assert_eq!(pool.free(), 8);
    assert_eq!(sockets.poll_signal(), None);
    let mut all = small("0.0.0.0:54");
    all.queue = 8;
    assert!(bind(&mut sockets, all).is_ok());
}

#[test]
fn a_queue_does_not_keep_a_page_of_the_ring_for_nothing() {
    let pool = Pool::leak(4, 512).unwrap();
    let ring = pool.reserve(3).unwrap();
    let mut memory = Memory::new();
    let mut sockets = memory.sockets_of(pool);
    let handle = bind(&mut sockets, small("0.0.0.0:53")).unwrap();
    let (from, to) = (address("10.0.0.9:1"), address("10.0.0.1:53"));
    let mut first = ring.alloc().unwrap();
    let mut second = ring.alloc().unwrap();
    first.extend_from_slice(b"first").unwrap();
    second.extend_from_slice(b"second").unwrap();
    assert_eq!(
        sockets.deliver(handle, from, to, first.into()),
        Deliver::Queued
    );
    assert_eq!(ring.free(), 2);
    assert_eq!(
        sockets.deliver(handle, from, to, second.into()),
        Deliver::NoPages
    );
    assert_eq!(ring.free(), 3);
}

/// Delivers `length` bytes, all `byte`, in a page of the ring.
fn deliver(
    sockets: &mut Sockets<'_>,
    handle: UdpHandle,
    ring: &mirage_core::Reserve,
    byte: u8,
    length: usize,
) -> Deliver {
    let mut page = ring.alloc().expect("the ring ran dry");
    page.append(length).unwrap().fill(byte);
    let (from, to) = (address("10.0.0.9:1"), address("10.0.0.1:53"));
    sockets.deliver(handle, from, to, page.into())
}

#[test]
fn small_datagrams_of_a_crowded_queue_share_a_page() {
    let pool = Pool::leak(64, 512).unwrap();
    let ring = pool.reserve(1).unwrap();
    let mut memory = Memory::new();
    let mut sockets = memory.sockets_of(pool);
    let options = UdpOptions {
        queue: 8,
        pages: 4,
        ..UdpOptions::bind(address("0.0.0.0:53"))
    };
    let handle = bind(&mut sockets, options).unwrap();
    let lengths = [100, 100, 100, 100, 300, 0, 255, 57];
    use Deliver::{Coalesced, Queued};
    let (q, c) = (Queued, Coalesced);
    // 100, 100 and, behind the whole page of 300, 255 and 57 fill one page to its last byte.
    for (index, (length, expected)) in lengths
        .into_iter()
        .zip([q, q, c, c, q, q, c, c])
        .enumerate()
    {
        let given = deliver(&mut sockets, handle, &ring, index as u8, length);
        assert_eq!(given, expected, "{index}");
        assert_eq!(ring.free(), 1, "the device's page went back at once");
    }
    assert_eq!(pool.free(), 63 - 4);
    // What is left behind is freed by the last one, even while others are still held.
    let mut held = std::vec::Vec::new();
    for (index, length) in lengths.into_iter().enumerate() {
        let datagram = sockets.receive(handle).unwrap();
        let expected = std::vec![index as u8; length];
        let bytes = datagram.payload.contiguous().unwrap_or_default();
        assert_eq!(bytes, expected);
        held.push(datagram);
    }
    assert_eq!(pool.free(), 63 - 4);
    held.truncate(7);
    assert_eq!(pool.free(), 63 - 4);
    held.clear();
    assert_eq!(pool.free(), 63);
    // An uncrowded queue copies nothing again.
    let again = deliver(&mut sockets, handle, &ring, 1, 1);
    assert_eq!(again, Queued);
    assert!(sockets.close(handle));
    assert_eq!(pool.free(), 63);
}

#[test]
fn a_queue_that_shares_pages_keeps_its_bound() {
    let pool = Pool::leak(64, 512).unwrap();
    let ring = pool.reserve(1).unwrap();
    let mut memory = Memory::new();
    let mut sockets = memory.sockets_of(pool);
    let options = UdpOptions {
        queue: 8,
        pages: 2,
        ..UdpOptions::bind(address("0.0.0.0:53"))
    };
    let handle = bind(&mut sockets, options).unwrap();
    let mut state = 1u32;
    let mut queued = std::collections::VecDeque::new();
    let mut seen = [0; 4];
    for round in 0..5_000u32 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = (state >> 16) as usize % 300;
        if state >> 30 == 0 {
            let datagram = sockets.receive(handle);
            let bytes = datagram.map(|d| d.payload.contiguous().unwrap_or_default().to_vec());
            assert_eq!(bytes, queued.pop_front());
        } else {
            let given = deliver(&mut sockets, handle, &ring, round as u8, length);
            seen[given as usize] += 1;
            if matches!(given, Deliver::Queued | Deliver::Coalesced) {
                queued.push_back(std::vec![round as u8; length]);
            }
        }
        assert!(pool.free() >= 63 - 2, "round {round}");
        let charged: u16 = sockets.datagrams.iter().map(|slot| slot.pages).sum();
        let socket = sockets.get(handle).unwrap();
        assert_eq!(usize::from(socket.pages), 63 - pool.free(), "round {round}");
        assert!(charged >= socket.pages);
    }
    assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
}

#[test]
fn an_exhausted_general_part_still_takes_small_datagrams() {
    let pool = Pool::leak(4, 512).unwrap();
    let ring = pool.reserve(2).unwrap();
    let mut memory = Memory::new();
    let mut sockets = memory.sockets_of(pool);
    let options = UdpOptions {
        queue: 8,
        pages: 8,
        ..UdpOptions::bind(address("0.0.0.0:53"))
    };
    let handle = bind(&mut sockets, options).unwrap();
    let mut send = |length| deliver(&mut sockets, handle, &ring, 1, length);
    assert_eq!(send(300), Deliver::Queued);
    assert_eq!(send(60), Deliver::Queued);
    assert_eq!(pool.free(), 0);
    assert_eq!((send(300), send(60)), (Deliver::NoPages, Deliver::NoPages));
    sockets.receive(handle);
    let mut send = |length| deliver(&mut sockets, handle, &ring, 1, length);
    let one_more = pool.alloc();
    assert_eq!(send(60), Deliver::NoPages);
    drop(one_more);
    for _ in 0..6 {
        send(60);
    }
    assert_eq!((pool.free(), ring.free()), (0, 2));
}

#[test]
fn a_signal_survives_the_closing_of_another_socket() {
    let mut memory = Memory::new();
    let mut sockets = memory.sockets();
    let handles: std::vec::Vec<_> = (1..=3)
        .map(|port| bind(&mut sockets, small(&std::format!("0.0.0.0:{port}"))).unwrap())
        .collect();
    for handle in &handles {
        sockets.fail(*handle, SocketError::Refused);
    }
    sockets.close(handles[1]);
    assert_eq!(sockets.poll_signal(), Some(handles[2]));
    assert_eq!(sockets.poll_signal(), Some(handles[0]));
    assert_eq!(sockets.poll_signal(), None);
    assert_eq!(sockets.take_error(handles[0]), Some(SocketError::Refused));
    assert_eq!(sockets.take_error(handles[0]), None);
    assert_eq!(sockets.take_error(handles[1]), None);
}

#[test]
fn ephemeral_ports_are_random_and_distinct() {
    let mut seen = HashSet::new();
    let mut random = Random::fixed(9);
    for _ in 0..50 {
        let mut memory = Memory::new();
        let mut sockets = memory.sockets();
        let mut ports = HashSet::new();
        for _ in 0..4 {
            let handle = sockets
                .bind(small("0.0.0.0:0"), &mut random, |port| port % 2 == 0)
                .unwrap();
            let port = sockets.options(handle).unwrap().local.port();
            assert!(port >= 49_152 && port % 2 == 1);
            assert!(ports.insert(port));
            seen.insert(port);
        }
    }
    assert!(seen.len() > 150);
    let mut memory = Memory::new();
    let mut sockets = memory.sockets();
    let none = sockets.bind(small("0.0.0.0:0"), &mut random, |_| true);
    assert_eq!(none, Err(BindError::NoPort));
}
