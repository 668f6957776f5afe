//! What lies between two machines: a bottleneck that flows share, and a wire of each direction of each flow.

use std::collections::VecDeque;
use std::time::Duration;

use mirage_core::Instant;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The output of a router: so many octets a second, and a queue before it that drops at its tail.
#[derive(Clone, Debug)]
pub(crate) struct Bottleneck {
    /// Octets a second; `None`: no limit.
    rate: Option<u64>,
    /// Octets that fit into the queue.
    capacity: usize,
    /// Packets of transports that understand it are marked when this many octets are before them (RFC 3168).
    mark_above: Option<usize>,
    /// When all that is in the queue has left.
    free_at: Instant,
    /// Frames that came.
    pub(crate) offered: u64,
    /// Frames that were dropped.
    pub(crate) dropped: u64,
    /// Frames that were marked.
    pub(crate) marked: u64,
}

impl Bottleneck {
    /// None: frames pass at once.
    pub(crate) const NONE: Self = Self::new(None, usize::MAX, None);

    pub(crate) const fn new(rate: Option<u64>, capacity: usize, mark_above: Option<usize>) -> Self {
        Bottleneck {
            rate,
            capacity,
            mark_above,
            free_at: Instant::ZERO,
            offered: 0,
            dropped: 0,
            marked: 0,
        }
    }

    /// When the last octet of a frame has left; `None` when it was dropped.
    fn pass(&mut self, now: Instant, frame: &mut [u8]) -> Option<Instant> {
        self.offered += 1;
        let Some(rate) = self.rate else {
            return Some(now);
        };
        let waits = (self.free_at.saturating_duration_since(now)).as_nanos();
        let queued =
            usize::try_from(waits * u128::from(rate) / 1_000_000_000).unwrap_or(usize::MAX);
        if queued.saturating_add(frame.len()) > self.capacity {
            self.dropped += 1;
            return None;
        }
        if self.mark_above.is_some_and(|above| queued > above) {
            self.marked += u64::from(mark(frame));
        }
        let nanoseconds = frame.len() as u64 * 1_000_000_000 / rate;
        self.free_at = self.free_at.max(now) + Duration::from_nanos(nanoseconds);
        Some(self.free_at)
    }
}

/// RFC 3168 §5: Congestion Experienced, in an IPv4 packet whose sender understands it. Says whether it did.
fn mark(frame: &mut [u8]) -> bool {
    let Some(packet) = frame.get_mut(14..34) else {
        return false;
    };
    if packet[0] >> 4 != 4 || packet[1] & 3 == 0 {
        return false;
    }
    packet[1] |= 3;
    packet[10..12].fill(0);
    let words = packet.chunks_exact(2);
    let sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    true
}

/// One direction of one flow behind the bottleneck: it loses frames at random, and delays the others.
pub(crate) struct Wire {
    delay: Duration,
    /// The part of frames that is lost.
    loss: f64,
    rng: ChaCha20Rng,
    /// Frames with the times at which they arrive, in order.
    flying: VecDeque<(Instant, Vec<u8>)>,
}

impl Wire {
    pub(crate) fn new(delay: Duration, loss: f64, seed: u64) -> Self {
        Wire {
            delay,
            loss,
            rng: ChaCha20Rng::seed_from_u64(seed),
            flying: VecDeque::new(),
        }
    }

    /// A number in [0, 1) of this wire's generator.
    pub(crate) fn random(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A frame is sent, through the bottleneck.
    pub(crate) fn send(&mut self, now: Instant, bottleneck: &mut Bottleneck, mut frame: Vec<u8>) {
        let Some(left) = bottleneck.pass(now, &mut frame) else {
            return;
        };
        if self.random() >= self.loss {
            self.flying.push_back((left + self.delay, frame));
        }
    }

    /// The next frame that has arrived by now.
    pub(crate) fn receive(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.flying.pop_front_if(|(at, _)| *at <= now).map(|f| f.1)
    }

    /// When a frame arrives next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.flying.front().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_secs(1);

    #[test]
    fn a_frame_takes_its_length_at_the_bottleneck_and_then_the_delay() {
        let mut bottleneck = Bottleneck::new(Some(1_000), 2_000, None);
        let mut wire = Wire::new(Duration::from_millis(50), 0.0, 1);
        wire.send(NOW, &mut bottleneck, vec![0; 500]);
        wire.send(NOW, &mut bottleneck, vec![1; 100]);
        let first = NOW + Duration::from_millis(550);
        assert_eq!(wire.next(), Some(first));
        assert_eq!(wire.receive(first - Duration::from_nanos(1)), None);
        assert_eq!(wire.receive(first), Some(vec![0; 500]));
        assert_eq!(wire.receive(first), None);
        let second = first + Duration::from_millis(100);
        assert_eq!(wire.receive(second), Some(vec![1; 100]));
    }

    #[test]
    fn what_does_not_fit_into_the_queue_is_dropped() {
        let mut bottleneck = Bottleneck::new(Some(1_000), 1_000, None);
        let mut wire = Wire::new(Duration::ZERO, 0.0, 1);
        for _ in 0..3 {
            wire.send(NOW, &mut bottleneck, vec![0; 500]);
        }
        assert_eq!((bottleneck.offered, bottleneck.dropped), (3, 1));
        // Half of one has left.
        let later = NOW + Duration::from_millis(500);
        wire.send(later, &mut bottleneck, vec![0; 500]);
        assert_eq!((bottleneck.offered, bottleneck.dropped), (4, 1));
    }

    #[test]
    fn the_loss_is_the_part_that_was_asked_for_and_the_same_each_time() {
        let lost = |seed| {
            let mut wire = Wire::new(Duration::ZERO, 0.1, seed);
            let arrived = (0..100_000u32).filter(|number| {
                wire.send(
                    NOW,
                    &mut Bottleneck::NONE.clone(),
                    number.to_be_bytes().into(),
                );
                wire.receive(NOW).is_some()
            });
            arrived.collect::<Vec<_>>()
        };
        let arrived = lost(3);
        assert!(
            (89_500..90_500).contains(&arrived.len()),
            "{}",
            arrived.len()
        );
        assert_eq!(arrived, lost(3));
        assert_ne!(arrived, lost(4));
    }

    #[test]
    fn a_mark_leaves_the_header_checksum_right_and_is_for_those_that_understand_it() {
        let mut frame = vec![0; 54];
        frame[14] = 0x45;
        let plain = frame.clone();
        assert!(!mark(&mut frame));
        assert_eq!(frame, plain);
        frame[15] = 2;
        assert!(mark(&mut frame));
        assert_eq!(frame[15], 3);
        let words = frame[14..34].chunks_exact(2);
        let sum: u32 = words
            .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        // ARP, and what is too short.
        assert!(!mark(&mut [0xff; 30]));
        frame[14] = 0;
        assert!(!mark(&mut frame));
    }
}
