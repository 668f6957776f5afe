//! Frames that come in quick succession are looked at together.

use std::time::Duration;

use mirage_core::Instant;

/// How frames are let gather; see [`XdpConfig::gather`](super::XdpConfig::gather).
pub(super) struct Gathering {
    time: Duration,
    /// When nothing more was there at the last look that found something, and how many frames had come by then.
    since: Instant,
    received: u64,
    /// Until when nobody looks.
    until: Instant,
}

impl Gathering {
    pub(super) fn new(time: Duration) -> Self {
        Self {
            time,
            since: Instant::ZERO,
            received: 0,
            until: Instant::ZERO,
        }
    }

    /// Nothing more is there, of the frames that were received in all: when to look again, if not as soon as the next comes.
    pub(super) fn look_again(
        &mut self,
        received: u64,
        now: impl FnOnce() -> Instant,
    ) -> Option<Instant> {
        if self.time.is_zero() {
            return None;
        }
        let now = now();
        let came = received.saturating_sub(self.received);
        if came == 0 {
            return Some(self.until).filter(|until| now < *until);
        }
        let passed = now.saturating_duration_since(self.since);
        self.received = received;
        self.since = now;
        let expected = self
            .time
            .saturating_mul(u32::try_from(came).unwrap_or(u32::MAX));
        if passed > expected {
            return None;
        }
        self.until = now + self.time;
        Some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_micros(100);

    const fn at(microseconds: u64) -> Instant {
        Instant::ZERO.saturating_add(Duration::from_micros(microseconds))
    }

    #[test]
    fn frames_that_come_often_gather_and_rare_ones_are_looked_at_at_once() {
        let mut gathering = Gathering::new(TIME);
        // The first in a long while.
        assert_eq!(gathering.look_again(1, || at(10_000)), None);
        // One more 50 us later: they come often.
        assert_eq!(gathering.look_again(2, || at(10_050)), Some(at(10_150)));
        // Two in 100 us, then one after 300 us.
        assert_eq!(gathering.look_again(4, || at(10_150)), Some(at(10_250)));
        assert_eq!(gathering.look_again(5, || at(10_450)), None);
    }

    #[test]
    fn look_before_the_time_finds_nothing_new_and_waits_on() {
        let mut gathering = Gathering::new(TIME);
        gathering.look_again(1, || at(10_000));
        assert_eq!(gathering.look_again(2, || at(10_050)), Some(at(10_150)));
        assert_eq!(gathering.look_again(2, || at(10_100)), Some(at(10_150)));
        // Nothing came: the next is looked at as soon as it comes.
        assert_eq!(gathering.look_again(2, || at(10_150)), None);
    }

    #[test]
    fn without_a_time_nothing_gathers_and_no_clock_is_read() {
        let mut gathering = Gathering::new(Duration::ZERO);
        let never = || -> Instant { panic!("the clock was read") };
        assert_eq!(gathering.look_again(5, never), None);
    }
}
