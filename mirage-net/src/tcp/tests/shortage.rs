//! Slots and pages that are short: what is kept for what is received, who gets the next one, and what one connection may hold.

use super::*;

/// When A has sent each FIN, counted from `start`, and from which port.
fn fins_since(pair: &Pair, start: Instant) -> Vec<(Duration, u16)> {
    let fins = pair
        .sent
        .iter()
        .filter(|(_, flying)| flying.from == A && flying.has(TcpFlags::FIN));
    fins.map(|(at, flying)| (*at - start, flying.repr.source_port))
        .collect()
}

/// So many connections, each of which has so many octets to send either way, as fast as its queue takes them: all arrive.
fn all_send_to_all(pair: &mut Pair, connections: usize, octets: usize) {
    let listener = pair.listen(ConnectionOptions::DEFAULT);
    let clients: Vec<_> = (0..connections)
        .map(|_| pair.open(A, ConnectionOptions::DEFAULT))
        .collect();
    pair.run(secs(5));
    let servers = std::iter::from_fn(|| pair.engine(B).accept(listener).unwrap());
    let ends: Vec<_> = clients
        .into_iter()
        .map(|client| (A, client))
        .chain(servers.map(|server| (B, server)))
        .collect();
    assert_eq!(ends.len(), 2 * connections);
    let bytes = pattern(octets);
    let mut sent = std::vec![0; ends.len()];
    let mut received = std::vec![Vec::new(); ends.len()];
    for _ in 0..6_000 {
        for (number, (host, handle)) in ends.iter().enumerate() {
            sent[number] += pair.write(*host, *handle, &bytes[sent[number]..]);
            received[number].extend(pair.read(*host, *handle));
        }
        if received
            .iter()
            .all(|received| received.len() == bytes.len())
        {
            break;
        }
        pair.run(ms(50));
    }
    for (number, received) in received.iter().enumerate() {
        assert!(*received == bytes, "{number}: {}", received.len());
    }
}

/// Both send all that they have slots for, cut small; each can take what it is to acknowledge all the same.
#[test]
fn two_that_send_all_they_can_leave_room_for_what_they_receive() {
    let pools = [
        Pool::leak(1_024, 2048).unwrap(),
        Pool::leak(1_024, 2048).unwrap(),
    ];
    let sizes = Sizes {
        segments: 128,
        connections: 16,
        half_open: 16,
        ..SIZES
    };
    let mut pair = Pair::on(pools, TcpConfig::default(), sizes);
    // A small MSS, and now and then a loss: what is lost keeps all that follows it.
    let mut count = 0;
    pair.link = Box::new(move |_, flying| {
        count += 1;
        if flying.has(TcpFlags::SYN) {
            flying.repr.options.maximum_segment_size = Some(216);
        } else if count % 97 == 0 {
            return Vec::new();
        }
        std::vec![DELAY]
    });
    all_send_to_all(&mut pair, 12, 40_000);
}

/// The same of pages: with fewer than eight for each connection what both have written could be all that there are, and neither could
/// take what it is to acknowledge.
#[test]
fn two_that_write_all_they_can_leave_pages_for_what_they_receive() {
    let pools = [Pool::leak(48, 2048).unwrap(), Pool::leak(48, 2048).unwrap()];
    let sizes = Sizes {
        connections: 20,
        half_open: 20,
        ..SIZES
    };
    let mut pair = Pair::on(pools, TcpConfig::default(), sizes);
    for host in &mut pair.hosts {
        host.ring = Some(host.pool.reserve(16).unwrap());
    }
    let mut count = 0;
    pair.link = Box::new(move |_, _| {
        count += 1;
        if count % 97 == 0 {
            Vec::new()
        } else {
            std::vec![DELAY]
        }
    });
    all_send_to_all(&mut pair, 16, 20_000);
    for host in &pair.hosts {
        assert!(host.engine.counters().kept_for_received > 0);
    }
}

/// Who fills pages by itself gets none of those that are kept for what is received, and hears when to ask again; what a write was cut
/// short for is counted where that was the reason, not where the pool was low by chance.
#[test]
fn pages_to_be_filled_leave_some_for_what_is_received() {
    let pools = [Pool::leak(48, 2048).unwrap(), Pool::leak(48, 2048).unwrap()];
    let mut pair = Pair::on(pools, TcpConfig::default(), SIZES);
    let few = ConnectionOptions {
        send_pages: 4,
        ..ConnectionOptions::DEFAULT
    };
    let (a, b) = pair.connect_with(few, ConnectionOptions::DEFAULT);
    let now = pair.now;
    let mut pages = Vec::new();
    while let Some(page) = pair.engine(A).page(now, a).unwrap() {
        pages.push(page);
    }
    assert_eq!((pages.len(), pair.hosts[A].pool.free()), (45, 3));
    assert_eq!(pair.hosts[A].engine.counters().kept_for_received, 1);
    assert_eq!(pair.write(A, a, &[1; 9_000]), 0);
    assert_eq!(pair.hosts[A].engine.counters().kept_for_received, 2);
    // All four that it may have were free, and no more than that: it is its own bound that cuts the write.
    pages.truncate(41);
    assert_eq!(pair.write(A, a, &[1; 9_000]), 4 * 2_048);
    assert_eq!(pair.hosts[A].pool.free(), 3);
    assert_eq!(pair.write(A, a, &[1; 9_000]), 0);
    assert_eq!(pair.engine(A).page(now, a).unwrap().map(|_| ()), None);
    assert_eq!(pair.hosts[A].engine.counters().kept_for_received, 2);
    pair.hosts[A].events.clear();
    pair.run(secs(1));
    assert_eq!(pair.read(B, b).len(), 4 * 2_048);
    // Without anything in the network: the time says when to ask again.
    let now = pair.now;
    while let Some(page) = pair.engine(A).page(now, a).unwrap() {
        pages.push(page);
    }
    pair.settle();
    pair.hosts[A].events.clear();
    pair.run(ms(20));
    let events = &pair.hosts[A].events;
    assert!(events.contains(&(a, TcpEvents::WRITABLE)), "{events:?}");
    pages.pop();
    let now = pair.now;
    let mut page = pair.engine(A).page(now, a).unwrap().unwrap();
    page.extend_from_slice(b"one page").unwrap();
    pair.engine(A).send(now, a, page.into()).unwrap();
    pair.run(secs(1));
    assert_eq!(pair.read(B, b), b"one page");
    pair.shutdown(A, a);
    let closing = pair.engine(A).page(now, a).map(|_| ());
    assert_eq!(closing, Err(TcpError::Closing));
}

/// A FIN that finds no slot goes out as soon as there is one, not when the connection happens to be looked at again; the one that came
/// first goes first.
#[test]
fn a_fin_without_a_slot_goes_when_there_is_one() {
    let mut pair = Pair::new();
    let listener = pair.listen(ConnectionOptions::DEFAULT);
    let clients = [0, 1, 2].map(|_| pair.open(A, ConnectionOptions::DEFAULT));
    pair.run(secs(1));
    let mut taken = pair.engine(A).take_segments();
    for client in clients {
        pair.shutdown(A, client);
    }
    pair.run(ms(1));
    pair.sent.clear();
    let start = pair.now;
    // The second one asks again in between, and loses its place to nobody.
    let forged = pair.forged(A, clients[1], TcpFlags::ACK);
    pair.inject(&forged);
    pair.settle();
    assert!(pair.sent.is_empty());
    assert_eq!(pair.hosts[A].engine.counters().slots_awaited, 3);
    let slot = taken.pop().unwrap();
    pair.engine(A).give_segment(slot);
    assert!(pair.engine(A).wants_transmit());
    pair.run(ms(100));
    // Each waits until the one before it is acknowledged, and its slot is free.
    let fins = fins_since(&pair, start);
    let expected = [0, 1, 2].map(|number| {
        let tuple = *pair.hosts[A].engine.get(clients[number]).unwrap().tuple();
        (2 * DELAY * number as u32, tuple.local_port)
    });
    assert_eq!(fins, expected);
    for slot in taken {
        pair.engine(A).give_segment(slot);
    }
    let _ = listener;
}

/// Who is first in line gets the slot, though another one has asked before it was looked at; and a connection that ended while it waited
/// takes nobody's turn.
#[test]
fn a_slot_is_for_the_first_that_waits_for_one_still() {
    let mut pair = Pair::new();
    let listener = pair.listen(ConnectionOptions::DEFAULT);
    let clients = [0, 1, 2, 3].map(|_| pair.open(A, ConnectionOptions::DEFAULT));
    pair.run(secs(1));
    let mut taken = pair.engine(A).take_segments();
    for client in clients {
        pair.shutdown(A, client);
    }
    pair.run(ms(1));
    assert_eq!(pair.hosts[A].engine.counters().slots_awaited, 4);
    pair.sent.clear();
    let start = pair.now;
    let ports = clients.map(|client| {
        let engine = &pair.hosts[A].engine;
        engine.get(client).unwrap().tuple().local_port
    });
    let forged = pair.forged(A, clients[2], TcpFlags::ACK);
    let reset = pair.forged(A, clients[0], TcpFlags::RST);
    let slot = taken.pop().unwrap();
    pair.engine(A).give_segment(slot);
    pair.inject(&reset);
    pair.inject(&forged);
    pair.run(ms(100));
    let fins = fins_since(&pair, start);
    let expected = [1, 2, 3].map(|number| (2 * DELAY * (number as u32 - 1), ports[number]));
    assert_eq!(fins, expected);
    for slot in taken {
        pair.engine(A).give_segment(slot);
    }
    let _ = listener;
}

/// While no segment may be cut, a FIN doesn't wait behind one that would have to be.
#[test]
fn a_fin_passes_what_can_t_be_cut_for_want_of_slots() {
    let mut pair = Pair::new();
    let narrow = ConnectionOptions {
        receive_window: 700,
        ..ConnectionOptions::DEFAULT
    };
    let (cutter, _) = pair.connect_with(ConnectionOptions::DEFAULT, narrow);
    let (closer, _) = pair.connect();
    // Its peer's window is smaller than the piece that it is given.
    assert_eq!(pair.write(A, cutter, &pattern(1_400)), 1_400);
    let mut taken = pair.engine(A).take_segments();
    pair.run(ms(1));
    pair.shutdown(A, closer);
    pair.run(ms(1));
    pair.sent.clear();
    let slot = taken.pop().unwrap();
    pair.engine(A).give_segment(slot);
    pair.run(ms(1));
    assert!(
        pair.sent
            .iter()
            .any(|(_, flying)| flying.from == A && flying.has(TcpFlags::FIN))
    );
    for slot in taken {
        pair.engine(A).give_segment(slot);
    }
}

/// Memory is bounded for each connection: what a peer sends without being read stays within the pages that the owner allowed.
#[test]
fn tiny_segments_do_not_hold_many_pages() {
    let mut pair = Pair::new();
    let frugal = ConnectionOptions {
        receive_pages: 8,
        ..ConnectionOptions::DEFAULT
    };
    let (_a, b) = pair.connect_with(ConnectionOptions::DEFAULT, frugal);
    pair.link = cut();
    let pool = pair.hosts[B].pool;
    let free = pool.free();
    let first = pair.numbers(B, b).2;
    // In order and out of it, an octet each.
    for number in 0..4_000u32 {
        let mut forged = pair.forged(B, b, TcpFlags::ACK);
        forged.repr.sequence = first + number * (1 + number % 2);
        forged.bytes = std::vec![7];
        pair.inject(&forged);
        pair.take(B);
        assert!(free - pool.free() <= 10, "{number}: {}", free - pool.free());
    }
}

/// "With fairness under pressure": one connection that takes all it may does not keep another from sending and receiving.
#[test]
fn a_greedy_connection_leaves_room_for_another() {
    let pools = [Pool::leak(64, 2048).unwrap(), Pool::leak(64, 2048).unwrap()];
    let mut pair = Pair::on(pools, TcpConfig::default(), SIZES);
    let greedy = ConnectionOptions {
        receive_window: 1 << 20,
        receive_pages: 1_000,
        send_octets: 1 << 20,
        send_pages: 1_000,
        ..ConnectionOptions::DEFAULT
    };
    let listener = pair.listen(greedy);
    let first = pair.open(A, greedy);
    let second = pair.open(A, greedy);
    pair.run(secs(1));
    let first_b = pair.engine(B).accept(listener).unwrap().unwrap();
    let second_b = pair.engine(B).accept(listener).unwrap().unwrap();
    // The first one sends and nobody reads.
    for _ in 0..100 {
        let bytes = pattern(100_000);
        pair.write(A, first, &bytes);
        pair.run(ms(100));
    }
    // Of the quarter that is for all next to nothing is taken, at either end.
    assert!(pair.hosts[A].pool.free() >= 11 && pair.hosts[B].pool.free() >= 11);
    let bytes = pattern(50_000);
    let read = pair.transfer((A, second), (B, second_b), &bytes, secs(300));
    assert_eq!(read, bytes);
    let _ = first_b;
}

/// A write that found no page is not forgotten, though no acknowledgement will come: the owner is told to try again.
#[test]
fn a_write_without_a_page_is_told_when_to_try_again() {
    let mut pair = Pair::new();
    let (a, _b) = pair.connect();
    pair.run(secs(1));
    let pool = pair.hosts[A].pool;
    let held: Vec<_> = core::iter::from_fn(|| pool.alloc()).collect();
    pair.hosts[A].events.clear();
    assert_eq!(pair.write(A, a, b"hello"), 0);
    pair.run(ms(11));
    assert!(pair.hosts[A].events.contains(&(a, TcpEvents::WRITABLE)));
    drop(held);
    assert_eq!(pair.write(A, a, b"hello"), 5);
}

/// "Fairness under pressure": strangers that leave gaps hold pages until they are given up, and with many of them four pages each
/// are more than there are. What comes in order goes on all the same.
#[test]
fn many_that_leave_gaps_do_not_keep_out_what_is_in_order() {
    let pools = [
        Pool::leak(512, 2048).unwrap(),
        Pool::leak(64, 2048).unwrap(),
    ];
    let sizes = Sizes {
        connections: 64,
        half_open: 64,
        ..SIZES
    };
    let mut pair = Pair::on(pools, TcpConfig::default(), sizes);
    let listener = pair.listen(ConnectionOptions::DEFAULT);
    let strangers: Vec<_> = (0..40)
        .map(|_| pair.open(A, ConnectionOptions::DEFAULT))
        .collect();
    pair.run(secs(9));
    let mut theirs = Vec::new();
    while let Some(handle) = pair.engine(B).accept(listener).unwrap() {
        theirs.push(handle);
    }
    let a = pair.open(A, ConnectionOptions::DEFAULT);
    pair.run(secs(1));
    let b = pair.engine(B).accept(listener).unwrap().unwrap();
    for piece in 0..10 {
        for stranger in &theirs {
            let mut forged = pair.forged(B, *stranger, TcpFlags::ACK);
            forged.repr.sequence += 3_000 + piece * 1_448;
            forged.bytes = pattern(1_448);
            pair.inject(&forged);
        }
    }
    let free = pair.hosts[B].pool.free();
    assert!(free >= 7, "{free}");
    let bytes = pattern(50_000);
    assert_eq!(pair.transfer((A, a), (B, b), &bytes, secs(60)), bytes);
    assert_eq!(pair.transfer((B, b), (A, a), &bytes, secs(60)), bytes);
    assert_eq!((strangers.len(), theirs.len()), (40, 40));
    assert!(pair.hosts[B].engine.counters().no_room > 0);
}
