//! Frames of several segments, both ways, between our TCP and the kernel's.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use mirage_core::{Clock, MacAddress, Pool};
use mirage_host::TapConfig;
use mirage_net::tcp::{ConnectionOptions, TcpCounters, TcpState};
use mirage_net::{Cidr, ConflictConfig};
use peer_tests::{LONG, Machine, in_own_network};

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const OCTETS: usize = 8 << 20;

fn pattern() -> Vec<u8> {
    (0..OCTETS).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn both_ways_with_the_kernel_cutting_and_merging_and_without() {
    in_own_network(
        "both_ways_with_the_kernel_cutting_and_merging_and_without",
        || {
            // All offloads, what blocks of 2,048 bytes have room for, and none: everything is verified then.
            let all = echo(0, 4_096, true, true);
            assert!(all.sent_uncut > 0 && all.received_merged > 0, "{all:?}");
            let half = echo(1, 2_048, true, true);
            assert!(half.sent_uncut > 0 && half.received_merged == 0, "{half:?}");
            let none = echo(2, 4_096, false, false);
            assert_eq!(
                (none.sent_uncut, none.received_merged, none.partial),
                (0, 0, 0)
            );
            assert_eq!(none.verified_here, none.received);
            // Each frame is one segment on the tap, and is verified; what follows each other is put together behind it, on either side.
            let merged = echo(3, 2_048, false, true);
            assert!(merged.received_merged > 0, "{merged:?}");
            assert_eq!((merged.sent_uncut, merged.partial), (0, 0));
            let verified = merged.verified_here + merged.verified_by_device;
            assert_eq!(verified, merged.received);
            for counters in [all, half, none, merged] {
                assert_eq!(counters.bad_checksum + counters.malformed, 0);
                assert_eq!(counters.received_octets, OCTETS as u64);
                assert_eq!(counters.sent_octets, OCTETS as u64);
            }
        },
    );
}

/// The kernel sends back what we send it; the bytes are compared.
fn echo(number: u8, block_size: usize, offloads: bool, merge: bool) -> TcpCounters {
    let name = format!("seg-tap{number}");
    let host = Ipv4Addr::new(10, 78, number, 1);
    let guest = Ipv4Addr::new(10, 78, number, 2);
    let mut config = TapConfig::new(&*name);
    config.host_address = Some((host, 24));
    config.mac = Some(MAC);
    config.checksum_offload = offloads;
    config.merge_received = merge;
    config.merge_transmitted = merge;
    config.receive_pages = 64;
    let pool = Pool::leak(2_048, block_size).unwrap();
    let machine = Machine::with(config, pool);
    let listener = TcpListener::bind((host, 0)).unwrap();
    let remote = listener.local_addr().unwrap();
    let peer = thread::spawn(move || mirror(&listener));
    let options = ConnectionOptions {
        receive_window: 1 << 18,
        receive_pages: 256,
        send_octets: 1 << 18,
        send_pages: 256,
        ..ConnectionOptions::DEFAULT
    };
    let handle = machine.shared.with(|stack, now| {
        let cidr = Cidr::new(guest.into(), 24).unwrap();
        stack
            .add_address(now, cidr, ConflictConfig::assigned())
            .unwrap();
        let local = (Ipv4Addr::UNSPECIFIED, 0).into();
        stack.tcp_connect(now, local, remote, options).unwrap()
    });
    let bytes = pattern();
    let (mut written, mut read) = (0, Vec::with_capacity(OCTETS));
    let mut buffer = vec![0; 1 << 16];
    let end = machine.platform.now() + LONG;
    let mut shut = false;
    while read.len() < OCTETS {
        let now = machine.platform.now();
        assert!(now < end, "{name}: {written} written, {} read", read.len());
        machine.shared.with(|stack, now| {
            if !shut && stack.tcp_state(handle) != Some(TcpState::SynSent) {
                written += stack.tcp_write(now, handle, &bytes[written..]).unwrap();
            }
            if written == OCTETS && !shut {
                stack.tcp_shutdown(now, handle).unwrap();
                shut = true;
            }
            loop {
                let count = stack.tcp_read(now, handle, &mut buffer).unwrap();
                read.extend_from_slice(&buffer[..count]);
                if count == 0 {
                    break;
                }
            }
        });
        let moment = machine
            .executor
            .sleep(std::time::Duration::from_micros(200));
        machine.executor.run_until(moment);
    }
    assert!(read == bytes, "{name}: the bytes are others");
    peer.join().unwrap();
    machine.shared.with(|stack, _| stack.counters().tcp)
}

/// Sends back what comes, from a thread of its own, so that neither direction waits for the other.
fn mirror(listener: &TcpListener) {
    let (mut from, _) = listener.accept().unwrap();
    let mut to: TcpStream = from.try_clone().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel::<Vec<u8>>();
    let writing = thread::spawn(move || {
        for bytes in receiver {
            to.write_all(&bytes).unwrap();
        }
        to.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut buffer = vec![0; 1 << 17];
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => break,
            count => sender.send(buffer[..count].to_vec()).unwrap(),
        }
    }
    drop(sender);
    writing.join().unwrap();
}
