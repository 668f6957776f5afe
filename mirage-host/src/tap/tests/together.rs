//! Frames that go together, by one system call: io_uring.

use std::os::fd::FromRawFd;

use super::*;

/// A frame of `pieces` pages, each of which says `number`.
fn numbered(pool: &'static Pool, number: u32, pieces: usize) -> Frame {
    let mut frame = Frame::new();
    for _ in 0..pieces {
        let mut page = pool.alloc().expect("a page");
        page.extend_from_slice(&[0; 14]).expect("room");
        page.extend_from_slice(&number.to_be_bytes()).expect("room");
        frame.push(page).expect("room");
    }
    frame
}

/// The number of the next frame, behind a virtio header.
fn number_of(kernel: &UnixDatagram) -> Option<u32> {
    let mut bytes = [0; 2_000];
    let length = kernel.recv(&mut bytes).ok()?;
    let number = bytes[length - 4..length].try_into().expect("four bytes");
    Some(u32::from_be_bytes(number))
}

/// A tap on a socket, if this kernel offers io_uring to this process.
fn on_a_socket_with_ring(name: &str) -> Option<(Tap, UnixDatagram)> {
    let (tap, kernel) = on_a_socket(1500);
    if !tap.uses_io_uring() {
        eprintln!("SKIPPED: {name}: no io_uring here");
        return None;
    }
    Some((tap, kernel))
}

#[test]
fn frames_wait_for_the_flush_and_go_by_one_call_in_their_order() {
    let name = "frames_wait_for_the_flush_and_go_by_one_call_in_their_order";
    let Some((mut tap, kernel)) = on_a_socket_with_ring(name) else {
        return;
    };
    let pool = tap.reserve.pool();
    let free = pool.free();
    let mut together = 0;
    // Too few, and as many as go together.
    for count in [1, 3, 4, 15, 16] {
        for number in 0..count {
            // In one piece and in several.
            let pieces = 1 + number as usize % 2;
            tap.transmit(numbered(pool, number, pieces)).expect("taken");
        }
        assert_eq!(number_of(&kernel), None, "nothing before the flush");
        tap.flush().expect("flushed");
        assert_eq!(pool.free(), free, "no page is under way after it");
        for number in 0..count {
            assert_eq!(number_of(&kernel), Some(number));
        }
        assert_eq!(number_of(&kernel), None);
        together += if count < 4 { 0 } else { u64::from(count) };
        assert_eq!(tap.counters().transmitted_together, together);
    }
    assert!(tap.uses_io_uring());
}

#[test]
fn more_than_go_together_go_before_the_flush_and_in_order() {
    let name = "more_than_go_together_go_before_the_flush_and_in_order";
    // With a virtio header before each, with none, and where Linux merges what can be.
    for config in [
        config as fn() -> TapConfig,
        || verifying(false),
        || verifying(true),
    ] {
        in_own_network(name, move || a_thousand_frames(config()));
    }
}

fn a_thousand_frames(config: TapConfig) {
    let mut guest = open(config);
    let host = guest.ping_pong_arp();
    let request = guest.udp();
    let mut headers = [0; 42];
    guest.answer(&request, false).copy_to_slice(0, &mut headers);
    // No checksum of UDP's (RFC 768).
    headers[40..42].fill(0);
    let free = guest.pool.free();
    // Without asking whether there is room, and with.
    for asks in [false, true] {
        for number in 0..1_000u32 {
            if asks {
                assert!(guest.poll_ready().is_ready());
            }
            let frame = with_text(guest.pool, &headers, number);
            guest.netif.transmit(frame).expect("transmitted");
            // The socket of the host has room for this many.
            if number % 50 == 49 {
                guest.netif.flush().expect("flushed");
                assert_eq!(guest.pool.free(), free);
                for expected in number - 49..=number {
                    assert_eq!(receive_text(&host), expected.to_be_bytes());
                }
            }
        }
    }
    let counters = guest.netif.counters();
    assert_eq!(counters.transmitted, 2_001, "and the answer of ARP");
    if guest.netif.uses_io_uring() {
        // Of fifty, three times sixteen; two are too few.
        assert_eq!(counters.transmitted_together, 2 * 20 * 48);
    } else {
        assert_eq!(counters.transmitted_together, 0);
    }
}

/// A frame of these headers and a number, in one page or in two.
fn with_text(pool: &'static Pool, headers: &[u8], number: u32) -> Frame {
    let mut page = pool.alloc().expect("a page");
    page.extend_from_slice(headers).expect("room");
    let text = number.to_be_bytes();
    if number.is_multiple_of(2) {
        page.extend_from_slice(&text).expect("room");
        return page.into();
    }
    let mut payload = pool.alloc().expect("a page");
    payload.extend_from_slice(&text).expect("room");
    let mut frame = Frame::from(page);
    frame.push(payload.freeze()).expect("room");
    frame
}

#[test]
fn a_tap_that_goes_before_the_flush_takes_nothing_with_it() {
    let (mut tap, kernel) = on_a_socket(1500);
    let pool = tap.reserve.pool();
    let free = pool.free_in_all();
    let uses_io_uring = tap.uses_io_uring();
    for number in 0..8 {
        tap.transmit(numbered(pool, number, 2)).expect("taken");
    }
    drop(tap);
    assert!(pool.free_in_all() >= free, "all pages are back");
    assert_eq!(number_of(&kernel).is_none(), uses_io_uring);
}

/// What one of them meets is no other's: the next are tried, the first to fail is told of, and what is lost is counted.
#[test]
fn a_kernel_without_room_loses_the_last_and_says_so() {
    for io_uring in WAYS {
        IO_URING.set(io_uring);
        let (mut tap, kernel) = on_a_socket(1500);
        let pool = tap.reserve.pool();
        let free = pool.free();
        let mut refused = 0;
        let mut tried = 0;
        // Until the socket has no room; it has some for a few hundred.
        while refused == 0 && tried < 10_000 {
            tried += 5;
            for number in 0..5 {
                refused += u64::from(tap.transmit(numbered(pool, number, 1)).is_err());
            }
            if let Err(error) = tap.flush() {
                assert_eq!(error, NetifError::Os(Errno::AGAIN.raw_os_error()));
                refused += 1;
            }
        }
        let counters = tap.counters();
        assert!(refused > 0 && counters.transmit_full > 0);
        assert_eq!(counters.transmitted + counters.transmit_full, tried);
        assert_eq!(pool.free(), free);
        let mut arrived = 0;
        while let Some(number) = number_of(&kernel) {
            assert_eq!(u64::from(number), arrived % 5);
            arrived += 1;
        }
        assert_eq!(arrived, counters.transmitted);
        // There is room again.
        for number in 0..5 {
            tap.transmit(numbered(pool, number, 1)).expect("taken");
        }
        tap.flush().expect("flushed");
        assert_eq!(number_of(&kernel), Some(0));
    }
}

/// The error that is final is told, whatever else there was.
#[test]
fn frames_to_a_device_that_is_gone_are_an_error_and_their_pages_are_free() {
    let name = "frames_to_a_device_that_is_gone_are_an_error_and_their_pages_are_free";
    in_own_network(name, || {
        let mut guest = open(config());
        let free = guest.pool.free();
        let index = route().interface(NAME).expect("the interface").index;
        route().set_down(index).expect("down");
        for end in [NetifError::LinkDown, NetifError::Gone] {
            let mut first = None;
            for _ in 0..6 {
                let frame = guest.arp_frame();
                let refused = guest.netif.transmit(frame).err();
                first = first.or(refused.map(|error| error.reason));
            }
            let flushed = guest.netif.flush().err().map(TransmitReason::Netif);
            assert_eq!(first.or(flushed), Some(TransmitReason::Netif(end)));
            assert_eq!(guest.pool.free(), free);
            if end == NetifError::LinkDown {
                route().delete(index).expect("deleted");
            }
        }
        let counters = guest.netif.counters();
        assert_eq!(counters.transmitted, 0);
        assert_eq!(
            (counters.transmit_link_down, counters.transmit_refused),
            (6, 6)
        );
    });
}

#[test]
fn without_a_page_for_the_next_frame_those_that_wait_go() {
    let (mut tap, kernel) = on_a_socket(1500);
    let pool = tap.reserve.pool();
    tap.transmit(numbered(pool, 7, 1)).expect("taken");
    let hoard: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    let ready = tap.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert_eq!(ready, Poll::Ready(Ok(())));
    assert_eq!(number_of(&kernel), Some(7));
    assert_eq!(pool.free(), 1);
    drop(hoard);
}

/// As in a container that forbids it, or a kernel without it: nobody hears of it, and frames go.
#[test]
fn where_io_uring_is_refused_frames_go_one_by_one() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        let thread = std::thread::spawn(move || {
            refuse(libc::SYS_io_uring_setup, errno);
            let (mut tap, kernel) = on_a_socket(1500);
            assert!(!tap.uses_io_uring());
            let pool = tap.reserve.pool();
            for number in 0..5 {
                tap.transmit(numbered(pool, number, 1)).expect("taken");
                assert_eq!(number_of(&kernel), Some(number));
            }
            assert_eq!(tap.flush(), Ok(()));
            assert_eq!(tap.counters().transmitted, 5);
        });
        thread.join().expect("no panic");
    }
}

/// Without memory for a request the kernel takes nothing (`EAGAIN`): each frame goes all the same, once, and what lies in the ring is never
/// handed over, for their pages are others' by then.
#[test]
fn a_ring_of_which_nothing_is_taken_is_not_used_again() {
    let thread = std::thread::spawn(|| {
        let (mut tap, kernel) = on_a_socket(1500);
        if !tap.uses_io_uring() {
            eprintln!(
                "SKIPPED: a_ring_of_which_nothing_is_taken_is_not_used_again: no io_uring here"
            );
            return;
        }
        refuse(libc::SYS_io_uring_enter, libc::EAGAIN);
        let pool = tap.reserve.pool();
        for number in 0..5 {
            tap.transmit(numbered(pool, number, 1)).expect("taken");
        }
        assert_eq!(tap.flush(), Ok(()));
        for number in 0..5 {
            assert_eq!(number_of(&kernel), Some(number));
        }
        assert!(!tap.uses_io_uring());
        let counters = tap.counters();
        let counts = (counters.transmitted, counters.transmitted_together);
        assert_eq!(counts, (5, 0));
    });
    thread.join().expect("no panic");
}

/// Has the kernel answer `errno` to this system call of this thread (seccomp(2)).
fn refuse(call: libc::c_long, errno: i32) {
    let statement = |code: u32, k: u32| libc::sock_filter {
        // These are of 16 bits.
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let mut filter = [
        // The number of the system call is the first field of `struct seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            jf: 1,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32)
        },
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | errno as u32,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: PR_SET_NO_NEW_PRIVS reads nothing; PR_SET_SECCOMP reads the program and the filter that it points to, with so many
    // elements, and both outlive the call. They concern this thread alone, which ends with the test.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program),
            0
        );
    }
}

/// As with a tap of Linux before 6.4: what can't be asked not to wait is written to as without a ring, each frame once.
#[test]
fn a_device_that_can_t_be_told_not_to_wait_gets_each_frame_by_itself() {
    let (mut terminal, mut device) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: openpty(3) writes a descriptor to each of the first two, and does without the others where they are null.
    let opened =
        unsafe { libc::openpty(&mut terminal, &mut device, none, none.cast(), none.cast()) };
    assert_eq!(opened, 0);
    // SAFETY: both were opened just now, and nobody else has them.
    let (terminal, device) =
        unsafe { (OwnedFd::from_raw_fd(terminal), OwnedFd::from_raw_fd(device)) };
    let mut tap = on_a_descriptor(device, 1500);
    let had_ring = tap.uses_io_uring();
    let pool = tap.reserve.pool();
    for number in 0..5 {
        tap.transmit(numbered(pool, number, 1)).expect("taken");
    }
    assert_eq!(tap.flush(), Ok(()));
    assert!(!tap.uses_io_uring());
    let counters = tap.counters();
    assert_eq!(
        (counters.transmitted, counters.transmitted_together),
        (5, 0)
    );
    let expected: Vec<u8> = (0..5u32)
        .flat_map(|number| [&[0; 24][..], &number.to_be_bytes()].concat())
        .collect();
    let mut came = Vec::new();
    while came.len() < expected.len() {
        let mut bytes = [0; 200];
        let length = rustix::io::read(&terminal, &mut bytes).expect("bytes");
        came.extend_from_slice(&bytes[..length]);
    }
    assert_eq!(came, expected);
    if !had_ring {
        eprintln!(
            "SKIPPED: a_device_that_can_t_be_told_not_to_wait_gets_each_frame_by_itself: no io_uring here"
        );
    }
}
