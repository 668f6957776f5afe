use super::*;

#[test]
fn the_injector_delays_in_both_directions_and_holds_no_pages() {
    let net = Net::new();
    let (a, mut b) = (net.attach(1, |_| ()), net.attach(2, |_| ()));
    let late = Faults {
        delay: Duration::from_millis(2),
        ..Faults::NONE
    };
    let injection = Injection {
        receive: late,
        transmit: late,
        headroom: 20,
        ..Injection::NONE
    };
    let mut a = FaultInjector::new(a, &net.clock, net.pool.reserve(4).unwrap(), injection, 1);
    let control = a.control();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());

    send(&mut a, net.frame(2, 1, b"out"));
    send(&mut b, net.frame(1, 2, b"in"));
    net.ethernet.deliver(net.clock.now());
    assert!(
        a.poll_receive(&mut Context::from_waker(&waker))
            .is_pending()
    );
    assert_eq!(net.pool.free_in_all(), 64);
    assert_eq!(control.next_event(), Some(Instant::from_millis(2)));

    net.clock.advance(Duration::from_millis(1));
    control.wake_due(net.clock.now());
    assert_eq!(count.get(), 0);
    net.clock.advance(Duration::from_millis(1));
    control.wake_due(net.clock.now());
    assert_eq!(count.get(), 1);
    let Poll::Ready(Ok(mut frame)) = receive(&mut a) else {
        panic!("nothing received")
    };
    assert_eq!(&bytes(&frame)[14..], b"in");
    assert_eq!(
        frame.first_mut().unwrap().as_page_mut().unwrap().headroom(),
        20
    );
    settle(&net.ethernet, &net.clock);
    assert_eq!(&received(&mut b).unwrap()[14..], b"out");
}

#[test]
fn the_injector_waits_for_room_and_counts_what_the_interface_refuses() {
    let net = Net::new();
    let (a, mut b) = (
        net.attach(1, |config| config.transmit_queue = 1),
        net.attach(2, |config| config.promiscuous = true),
    );
    let plug = a.control();
    let mut a = FaultInjector::new(
        a,
        &net.clock,
        net.pool.reserve(4).unwrap(),
        Injection::NONE,
        1,
    );
    plug.set_stalled(true);
    for number in 0..3u8 {
        send(&mut a, net.frame(2, 1, &[number]));
    }
    plug.set_stalled(false);
    for _ in 0..3 {
        a.flush().unwrap();
    }
    settle(&net.ethernet, &net.clock);
    let numbers: Vec<u8> = core::iter::from_fn(|| received(&mut b))
        .map(|bytes| bytes[14])
        .collect();
    assert_eq!(numbers, [0, 1, 2]);
    let cut = Faults {
        truncation: Chance::ALWAYS,
        ..Faults::NONE
    };
    a.control().set_faults(Faults::NONE, cut);
    for number in 0..20u8 {
        send(&mut a, net.frame(2, 1, &[number]));
    }
    let counters = a.control().counters();
    assert!(counters.refused > 0 && counters.transmit.truncated == 20);
    assert_eq!(counters.no_page, 0);
}

#[test]
fn the_injector_loses_no_wake_up_of_a_sender() {
    let net = Net::new();
    let (a, mut b) = (
        net.attach(1, |config| config.transmit_queue = 1),
        net.attach(2, |_| ()),
    );
    let plug = a.control();
    let injection = Injection {
        line: 1,
        ..Injection::NONE
    };
    let mut a = FaultInjector::new(a, &net.clock, net.pool.reserve(4).unwrap(), injection, 1);
    plug.set_stalled(true);
    // One in the device, one waiting for it, one on the line.
    for number in 0..3u8 {
        send(&mut a, net.frame(2, 1, &[number]));
    }
    let (receiving, sending) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let wakers = (Waker::from(receiving.clone()), Waker::from(sending.clone()));
    assert!(
        a.poll_ready(&mut Context::from_waker(&wakers.1))
            .is_pending()
    );
    assert!(
        a.poll_receive(&mut Context::from_waker(&wakers.0))
            .is_pending()
    );
    // The device has room: who asked last is woken, and wakes the other when there is room on the line.
    plug.set_stalled(false);
    assert!(receiving.get() >= 1);
    assert!(
        a.poll_receive(&mut Context::from_waker(&wakers.0))
            .is_pending()
    );
    assert_eq!(sending.get(), 1);
    assert!(a.poll_ready(&mut Context::from_waker(&wakers.1)).is_ready());
    settle(&net.ethernet, &net.clock);
    let numbers: Vec<u8> = core::iter::from_fn(|| received(&mut b))
        .map(|bytes| bytes[14])
        .collect();
    assert_eq!(numbers, [0, 1, 2]);
}
