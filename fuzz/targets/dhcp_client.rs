//! A DHCP client among servers that say anything at any time: no panic, no deadline that stays in the past, no lease that no host can
//! use, and an event for each lease's beginning and end.
//!
//! The input is a row of actions: a byte that says which, a byte of its argument, and for messages so many bytes.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mirage_core::{Instant, MacAddress};
use mirage_net::wire::dhcp::{DhcpPacket, MESSAGE_LEN};
use mirage_net::{DhcpClient, DhcpClientConfig, DhcpClientEvent, DhcpClientState};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 7]);

fuzz_target!(|input: &[u8]| {
    let Some((flags, mut rest)) = input.split_first() else {
        return;
    };
    let mut config = DhcpClientConfig::new(MAC);
    config.check = flags & 1 != 0;
    if flags & 2 != 0 {
        config.last_address = Some([10, 0, 0, 100].into());
    }
    if flags & 4 != 0 {
        config.offer_wait = Duration::ZERO;
    }
    let mut client = DhcpClient::new(config, &mut ChaCha8Rng::seed_from_u64(1));
    let mut now = Instant::ZERO;
    let mut transaction = [0; 4];
    let mut leased = false;
    client.start(now);
    while let [action, argument, after @ ..] = rest {
        rest = after;
        match action % 10 {
            0 | 1 => {
                let (message, after) = rest.split_at(rest.len().min(usize::from(*argument) * 2));
                rest = after;
                let mut message = message.to_vec();
                if action % 10 == 0 && message.len() >= 240 {
                    // As a reply to what was sent last.
                    message[..4].copy_from_slice(&[2, 1, 6, 0]);
                    message[4..8].copy_from_slice(&transaction);
                    message[28..34].copy_from_slice(&MAC.0);
                    message[236..240].copy_from_slice(&[99, 130, 83, 99]);
                }
                client.handle_message(now, &message);
            }
            2 => now += Duration::from_millis(u64::from(*argument) * 20),
            3 => now += Duration::from_secs(u64::from(*argument) * 97),
            4 => client.handle_address_acquired(),
            5 => client.handle_address_conflict(now),
            6 => client.handle_link(now, argument % 2 == 0),
            7 => client.release(now),
            8 => client.stop(),
            _ => client.start(now),
        }
        client.handle_timeout(now);
        let deadline = client.poll_timeout();
        assert!(
            deadline.is_none_or(|at| at > now),
            "a deadline that stays: {client:?}"
        );
        let mut buffer = [0; MESSAGE_LEN];
        let mut sent = 0;
        while let Some(transmit) = client.poll_transmit(&mut buffer) {
            let packet = DhcpPacket::new_checked(&buffer[..transmit.length]).expect("a message");
            transaction = packet.transaction().to_be_bytes();
            sent += 1;
        }
        assert!(sent <= 1);
        while let Some(event) = client.poll_event() {
            match event {
                DhcpClientEvent::Unanswered => {}
                DhcpClientEvent::Acquired => leased = true,
                DhcpClientEvent::Renewed { .. } => assert!(leased),
                _ => leased = false,
            }
        }
        assert_eq!(leased, client.lease().is_some());
        if let Some(lease) = client.lease() {
            let cidr = lease.cidr().expect("a prefix");
            assert!(
                cidr.network() != Some(lease.address) && cidr.broadcast() != Some(lease.address)
            );
            assert!(!lease.address.is_unspecified() && !lease.address.is_multicast());
            assert!(lease.parameters.routes().count() <= 8);
        }
        if client.state() == DhcpClientState::Stopped {
            assert!(deadline.is_none() && !leased);
        }
    }
});
