//! SYN cookies (RFC 4987 §3.6): our initial sequence number remembers for us.
//!
//! The number holds five bits of a clock of 64 seconds, three of the peer's MSS, and 24 of a keyed hash over both, the four-tuple
//! and the peer's initial sequence number. Where the peer does timestamps, the low six bits of the one in our SYN,ACK, which
//! comes back, hold the rest: its window scale, and whether it does SACK and ECN.
//!
//! A cookie is good for one to two minutes, and cookies are looked at only as long after one was sent: an acknowledgement out
//! of the blue has one chance in 2²³ then, and none otherwise.

use core::time::Duration;

use mirage_core::Instant;

use crate::random::{HashKey, Random};
use crate::tcp::SequenceNumber;
use crate::tcp::four_tuple::FourTuple;

/// Seconds of one tick of the cookies' clock.
const TICK: u64 = 64;

/// The MSSs that three bits tell apart; the largest one that is not larger than the peer's counts.
const SEGMENTS: [u16; 8] = [88, 216, 536, 1_220, 1_360, 1_440, 1_460, 8_960];

const HASH_BITS: u32 = 24;
const HASH_MASK: u32 = (1 << HASH_BITS) - 1;

/// Bits of the timestamp that hold options.
const OPTION_MASK: u32 = 0x3f;
const NO_SCALE: u32 = 0xf;
const SACK: u32 = 0x10;
const ECN: u32 = 0x20;

/// What a cookie remembers of a peer's SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) maximum_segment: u16,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack: bool,
    pub(crate) congestion_notification: bool,
}

/// Makes and reads cookies.
pub(crate) struct Cookies {
    key: HashKey,
    /// When the last one was sent.
    last: Option<Instant>,
}

impl Cookies {
    pub(crate) fn new(random: &mut Random) -> Self {
        Cookies {
            key: HashKey::new(random),
            last: None,
        }
    }

    /// The initial sequence number for a SYN with the number `peer`.
    pub(crate) fn make(
        &mut self,
        now: Instant,
        tuple: &FourTuple,
        peer: SequenceNumber,
        maximum_segment: u16,
    ) -> SequenceNumber {
        self.last = Some(now);
        let index = SEGMENTS
            .iter()
            .rposition(|segment| *segment <= maximum_segment)
            .unwrap_or(0) as u32;
        let tick = now.as_secs() / TICK;
        let hash = self.hash(tuple, peer, tick, index);
        SequenceNumber::new((tick as u32) << 27 | index << HASH_BITS | hash)
    }

    /// What the cookie `sequence`, which an acknowledgement brings back with `echo` of a timestamp, remembers; none if it is none
    /// of ours, or too old.
    pub(crate) fn read(
        &self,
        now: Instant,
        tuple: &FourTuple,
        peer: SequenceNumber,
        sequence: SequenceNumber,
        echo: Option<u32>,
    ) -> Option<Cookie> {
        let sent = self.last?;
        if now.saturating_duration_since(sent) > Duration::from_secs(2 * TICK) {
            return None;
        }
        let value = sequence.get();
        let index = value >> HASH_BITS & 7;
        let tick = now.as_secs() / TICK;
        let age = (tick as u32).wrapping_sub(value >> 27) & 0x1f;
        let made = tick.checked_sub(u64::from(age)).filter(|_| age <= 1)?;
        if self.hash(tuple, peer, made, index) != value & HASH_MASK {
            return None;
        }
        let maximum_segment = *SEGMENTS.get(index as usize)?;
        Some(match echo {
            Some(echo) => {
                let scale = echo & NO_SCALE;
                Cookie {
                    maximum_segment,
                    window_scale: (scale != NO_SCALE).then_some(scale as u8),
                    sack: echo & SACK != 0,
                    congestion_notification: echo & ECN != 0,
                }
            }
            None => Cookie {
                maximum_segment,
                window_scale: None,
                sack: false,
                congestion_notification: false,
            },
        })
    }

    fn hash(&self, tuple: &FourTuple, peer: SequenceNumber, tick: u64, index: u32) -> u32 {
        let word = u64::from(peer.get()) << 32 | (tick << 3 | u64::from(index)) & 0xffff_ffff;
        tuple.encoded(0, word, |bytes| self.key.hash(bytes)) as u32 & HASH_MASK
    }
}

impl Cookie {
    /// The timestamp of our SYN,ACK: at most 64 ms before `value`, with the options in its low bits.
    pub(crate) fn timestamp(&self, value: u32) -> u32 {
        let mut bits = u32::from(self.window_scale.unwrap_or(NO_SCALE as u8)) & NO_SCALE;
        if self.sack {
            bits |= SACK;
        }
        if self.congestion_notification {
            bits |= ECN;
        }
        let stamped = value & !OPTION_MASK | bits;
        // Never ahead of the clock: what is echoed then is not of the future.
        if stamped & OPTION_MASK > value & OPTION_MASK {
            stamped.wrapping_sub(OPTION_MASK + 1)
        } else {
            stamped
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::four_tuple::tests::tuple;
    use proptest::prelude::*;

    fn number(value: u32) -> SequenceNumber {
        SequenceNumber::new(value)
    }

    #[test]
    fn a_cookie_is_good_for_a_minute_and_not_for_three() {
        let mut cookies = Cookies::new(&mut Random::fixed(9));
        let (tuple, now) = (tuple(80, [10, 0, 0, 2], 7), Instant::from_secs(1_000));
        let cookie = cookies.make(now, &tuple, number(5), 1_460);
        let read = |after| {
            let now = now + Duration::from_secs(after);
            cookies.read(now, &tuple, number(5), cookie, None)
        };
        assert_eq!(read(0).map(|cookie| cookie.maximum_segment), Some(1_460));
        assert!(read(60).is_some());
        assert!(read(180).is_none());
    }

    #[test]
    fn without_a_cookie_sent_none_is_taken() {
        let mut cookies = Cookies::new(&mut Random::fixed(9));
        let tuple = tuple(80, [10, 0, 0, 2], 7);
        let cookie = cookies.make(Instant::ZERO, &tuple, number(5), 1_460);
        let other = Cookies {
            key: cookies.key,
            last: None,
        };
        assert!(
            cookies
                .read(Instant::ZERO, &tuple, number(5), cookie, None)
                .is_some()
        );
        assert!(
            other
                .read(Instant::ZERO, &tuple, number(5), cookie, None)
                .is_none()
        );
    }

    #[test]
    fn a_cookie_is_of_one_peer_and_one_syn() {
        let mut cookies = Cookies::new(&mut Random::fixed(9));
        let own = tuple(80, [10, 0, 0, 2], 7);
        let cookie = cookies.make(Instant::ZERO, &own, number(5), 536);
        let read = |tuple: &FourTuple, peer, cookie| {
            cookies.read(Instant::ZERO, tuple, peer, cookie, None)
        };
        assert!(read(&own, number(5), cookie).is_some());
        assert!(read(&own, number(6), cookie).is_none());
        assert!(read(&tuple(80, [10, 0, 0, 2], 8), number(5), cookie).is_none());
        // The MSS is under the seal too.
        assert!(read(&own, number(5), cookie + (1 << HASH_BITS)).is_none());
        assert!(read(&own, number(5), cookie + 1).is_none());
    }

    proptest! {
        #[test]
        fn options_come_back_in_the_timestamp(
            value: u32, scale in proptest::option::of(0u8..15), sack: bool, ecn: bool, mss: u16
        ) {
            let mut cookies = Cookies::new(&mut Random::fixed(9));
            let tuple = tuple(80, [10, 0, 0, 2], 7);
            let made = cookies.make(Instant::ZERO, &tuple, number(5), mss);
            let remembered = Cookie {
                maximum_segment: mss,
                window_scale: scale,
                sack,
                congestion_notification: ecn,
            };
            let echo = remembered.timestamp(value);
            prop_assert!(value.wrapping_sub(echo) <= OPTION_MASK + 1);
            let read = cookies.read(Instant::ZERO, &tuple, number(5), made, Some(echo)).unwrap();
            prop_assert_eq!(read.window_scale, scale);
            prop_assert_eq!((read.sack, read.congestion_notification), (sack, ecn));
            prop_assert!(read.maximum_segment <= mss.max(88));
        }
    }
}
