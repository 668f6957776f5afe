//! Virtual time, and how a domain sees it.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::abi::shared_info::SharedInfo;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The clock of the simulation, and the domain's: nanoseconds that pass at once when everybody sleeps.
pub(super) struct Time {
    /// Nanoseconds since the simulation's start.
    now: Cell<u64>,
    /// The time of day at that start, since 1970.
    wall: Cell<Duration>,
    line: Cell<Line>,
}

/// How the machine that the domain runs on counts: at `origin` its system time was `system` and its counter `ticks`.
#[derive(Clone, Copy)]
struct Line {
    origin: u64,
    system: u64,
    ticks: u64,
    hertz: u64,
}

impl Time {
    /// At zero, on a machine whose counter has this frequency.
    pub(super) fn new(hertz: u64, system: Duration, wall: Duration) -> Self {
        let line = Line {
            origin: 0,
            system: nanoseconds(system),
            ticks: 0x0123_4567_89AB,
            hertz,
        };
        Self {
            now: Cell::new(0),
            wall: Cell::new(wall),
            line: Cell::new(line),
        }
    }

    /// Nanoseconds since the simulation's start.
    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    /// The domain's system time.
    pub(super) fn system(&self) -> u64 {
        let line = self.line.get();
        line.system.wrapping_add(self.now() - line.origin)
    }

    /// The domain's system time in nanoseconds since the simulation's start; the past is now.
    pub(super) fn of_system(&self, system: u64) -> u64 {
        self.now()
            .saturating_add(system.saturating_sub(self.system()))
    }

    /// The time of day.
    pub(super) fn wall(&self) -> Duration {
        self.wall.get() + Duration::from_nanos(self.now())
    }

    pub(super) fn advance_to(&self, nanos: u64) {
        self.now.set(self.now.get().max(nanos));
    }

    /// The time stamp counter.
    pub(super) fn ticks(&self) -> u64 {
        let line = self.line.get();
        let passed = u128::from(self.now() - line.origin);
        let ticks = passed * u128::from(line.hertz) / u128::from(NANOS_PER_SECOND);
        line.ticks.wrapping_add(ticks as u64)
    }

    /// The domain goes on, on another machine.
    pub(super) fn migrate(&self, hertz: u64, system: Duration, ticks: u64, wall: Duration) {
        let now = self.now();
        self.line.set(Line {
            origin: now,
            system: nanoseconds(system),
            ticks,
            hertz,
        });
        self.wall
            .set(wall.saturating_sub(Duration::from_nanos(now)));
    }

    /// Writes the domain's time, as Xen does whenever it lets the virtual processor run, set back by so many nanoseconds.
    pub(super) fn write(&self, page: &SharedInfo, back: u64) {
        let (multiplier, shift) = scale(self.line.get().hertz);
        let time = &page.vcpu_info[0].time;
        let version = time.version.load(Ordering::Relaxed);
        time.version
            .store(version.wrapping_add(1) | 1, Ordering::Release);
        time.tsc_timestamp.store(self.ticks(), Ordering::Release);
        time.system_time
            .store(self.system().saturating_sub(back), Ordering::Release);
        time.tsc_to_system_multiplier
            .store(multiplier, Ordering::Release);
        time.tsc_shift.store(shift, Ordering::Release);
        time.version.store(
            (version.wrapping_add(1) | 1).wrapping_add(1),
            Ordering::Release,
        );
    }

    /// Writes the time of day at the system time zero.
    pub(super) fn write_wall(&self, page: &SharedInfo) {
        let at_zero = self
            .wall()
            .saturating_sub(Duration::from_nanos(self.system()));
        let version = page.wall_clock_version.load(Ordering::Relaxed);
        page.wall_clock_version
            .store(version.wrapping_add(1) | 1, Ordering::Release);
        let seconds = at_zero.as_secs();
        page.wall_clock_seconds
            .store(seconds as u32, Ordering::Release);
        page.wall_clock_seconds_high
            .store((seconds >> 32) as u32, Ordering::Release);
        page.wall_clock_nanoseconds
            .store(at_zero.subsec_nanos(), Ordering::Release);
        page.wall_clock_version.store(
            (version.wrapping_add(1) | 1).wrapping_add(1),
            Ordering::Release,
        );
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The multiplier and the shift of a counter of this frequency: the number of ticks, shifted, is one of a frequency between
/// 10⁹ and 2·10⁹ Hz, so that the multiplier uses all of its bits.
fn scale(hertz: u64) -> (u32, i8) {
    let (mut shifted, mut shift) = (hertz.max(1), 0);
    while shifted > 2 * NANOS_PER_SECOND {
        shifted >>= 1;
        shift -= 1;
    }
    while shifted <= NANOS_PER_SECOND {
        shifted <<= 1;
        shift += 1;
    }
    // Of the whole frequency: what the shift loses of it would make the clock too fast.
    let ticks = if shift < 0 {
        (u128::from(NANOS_PER_SECOND) << (32 - shift)) / u128::from(hertz)
    } else {
        (u128::from(NANOS_PER_SECOND) << 32) / (u128::from(hertz.max(1)) << shift)
    };
    (ticks as u32, shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a domain computes (xen.h, at `struct vcpu_time_info`).
    fn seen(page: &SharedInfo, ticks: u64) -> u64 {
        let time = &page.vcpu_info[0].time;
        let shift = time.tsc_shift.load(Ordering::Relaxed);
        let passed = ticks.wrapping_sub(time.tsc_timestamp.load(Ordering::Relaxed));
        let passed = if shift < 0 {
            passed >> -shift
        } else {
            passed << shift
        };
        let multiplier = time.tsc_to_system_multiplier.load(Ordering::Relaxed);
        let nanos = (u128::from(passed) * u128::from(multiplier)) >> 32;
        time.system_time.load(Ordering::Relaxed) + nanos as u64
    }

    #[test]
    fn the_counter_and_the_page_tell_the_same_time() {
        for hertz in [700_000_000, 1_000_000_000, 2_893_202_000, 4_999_999_999] {
            let time = Time::new(hertz, Duration::from_secs(77), Duration::from_secs(1 << 33));
            let page = SharedInfo::new();
            time.advance_to(1_234);
            time.write(&page, 0);
            for passed in [0, 1, 999, 1_000_000, 60 * NANOS_PER_SECOND] {
                time.advance_to(1_234 + passed);
                let (seen, is) = (seen(&page, time.ticks()), time.system());
                // A tick, and what the shift and the multiplier's last bit lose: never ahead, so never back either.
                assert!(seen <= is, "{hertz} Hz: {seen} is ahead of {is}");
                assert!(
                    is - seen <= 4 + passed / 1_000_000_000 * 4,
                    "{hertz}: {}",
                    is - seen
                );
            }
            assert_eq!(
                page.vcpu_info[0].time.version.load(Ordering::Relaxed) % 2,
                0
            );
        }
    }

    #[test]
    fn scales_use_all_bits_and_go_both_ways() {
        assert_eq!(scale(2_000_000_000), (0x8000_0000, 0));
        assert_eq!(scale(4_000_000_000), (0x8000_0000, -1));
        assert_eq!(scale(1_000_000_000), (0x8000_0000, 1));
        assert_eq!(scale(500_000_000), (0x8000_0000, 2));
    }

    #[test]
    fn the_time_of_day_goes_on_over_a_migration() {
        let time = Time::new(2_000_000_000, Duration::ZERO, Duration::from_secs(1_000));
        time.advance_to(5 * NANOS_PER_SECOND);
        assert_eq!(time.wall(), Duration::from_secs(1_005));
        time.migrate(
            700_000_000,
            Duration::from_secs(3),
            9,
            Duration::from_secs(2_000),
        );
        assert_eq!((time.system(), time.ticks()), (3 * NANOS_PER_SECOND, 9));
        assert_eq!(time.wall(), Duration::from_secs(2_000));
        let page = SharedInfo::new();
        time.write_wall(&page);
        assert_eq!(page.wall_clock_seconds.load(Ordering::Relaxed), 1_997);
        assert_eq!(time.of_system(4 * NANOS_PER_SECOND), 6 * NANOS_PER_SECOND);
        assert_eq!(time.of_system(1), time.now());
    }
}
