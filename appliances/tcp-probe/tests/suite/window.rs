//! What a peer that sends without end hears of its window.

use crate::world::{SINK, WHILE, WINDOW, World};

/// Octets of an Ethernet header and of IPv4's.
const HEADERS: usize = 14 + 20;
/// The shift with which 256 KiB can be stated.
const SCALE: u32 = 3;

/// The acknowledgement and the window of a segment, in octets.
fn acknowledgement(frame: &[u8]) -> (u32, u32) {
    let tcp = &frame[HEADERS..];
    let number = u32::from_be_bytes(tcp[8..12].try_into().unwrap());
    let window = u16::from_be_bytes(tcp[14..16].try_into().unwrap());
    (number, u32::from(window) << SCALE)
}

/// Where a whole window comes at once, half of it is acknowledged when it was read, with a window that lets the peer go on. An
/// acknowledgement from before the reader had run would move nothing on: the peer would stand still until all is done, and then the domain
/// until more comes.
#[test]
fn a_peer_that_has_sent_all_it_may_goes_on_when_half_of_it_was_read() {
    let mut world = World::new(1);
    let stream = world.connect(SINK);
    let octets = vec![0; WINDOW as usize];
    let mut before = 0;
    // The congestion window grows until all of the receive window is sent at once.
    for round in 0..12 {
        let now = world.now();
        assert_eq!(
            world.client.tcp_write(now, stream, &octets),
            Ok(octets.len())
        );
        if round < 11 {
            for _ in 0..6 {
                if let Some(last) = world.exchange(WHILE).last() {
                    before = acknowledgement(last).0;
                }
            }
        }
    }
    let sent = world.exchange(WHILE);
    let told: Vec<_> = sent.iter().map(|frame| acknowledgement(frame)).collect();
    let edge = before.wrapping_add(WINDOW);
    let all = |&(number, _): &(u32, u32)| number.wrapping_sub(before);
    // But for the end of it, which is short and may wait.
    let last = told.last().map(all).expect("an acknowledgement");
    assert!(last > WINDOW * 7 / 8, "all came at once: {told:?}");
    let half = told
        .iter()
        .find(|told| all(told) < last)
        .expect("half of it");
    // In frames of hardly 64 KiB.
    let about_half = WINDOW * 3 / 8..=WINDOW * 5 / 8;
    assert!(about_half.contains(&all(half)), "{told:?}");
    let moved = half.0.wrapping_add(half.1).wrapping_sub(edge);
    assert!(about_half.contains(&moved), "{moved}: {told:?}");
}
