//! Time: the monotonic clock, the wall clock, and the system time that deadlines are told in.
//!
//! Xen keeps in the shared info page what makes nanoseconds of the processor's time stamp counter (`struct
//! vcpu_time_info`, xen.h), so that reading the time takes no call. While it writes there a version is odd.
//!
//! # Over a suspension
//!
//! The system time of the machine where the domain goes on has nothing to do with the one before; nor has its counter.
//! The monotonic clock goes on from its last reading before the suspension: the pause doesn't count, as in Linux's
//! `CLOCK_MONOTONIC`, and no timer that had time left is due at once. What has to do with time outside (a lease, say) asks the wall
//! clock, which is the new machine's from the first reading on, or hears of the resume.

mod scale;
#[cfg(test)]
mod tests;

use core::cell::Cell;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering, fence};
use core::time::Duration;

use mirage_core::{Clock, Instant};

use crate::hypervisor::Hypervisor;
use crate::suspend::{Resume, ResumeError, Stage};

pub use scale::TimeScale;

/// How often a reading begins again since Xen was writing. A write takes Xen some nanoseconds, and the next comes a
/// millisecond later at the earliest, so the second reading is good; more are a Xen that doesn't work.
const MAXIMUM_TRIES: u32 = 1_000;

/// The domain's clock: a [`Clock`] that is monotonic over suspensions, too.
pub struct XenClock<H: Hypervisor> {
    hypervisor: &'static H,
    /// The latest instant that was read, in nanoseconds.
    last: Cell<u64>,
    /// What is added to the system time (wrapping).
    offset: Cell<u64>,
    unreadable: Cell<u64>,
    set_back: Cell<u64>,
}

impl<H: Hypervisor> XenClock<H> {
    /// A clock whose instants are the system time, until the domain is suspended.
    pub fn new(hypervisor: &'static H) -> Self {
        Self {
            hypervisor,
            last: Cell::new(0),
            offset: Cell::new(0),
            unreadable: Cell::new(0),
            set_back: Cell::new(0),
        }
    }

    /// As [`new`](Self::new), for the life of the program.
    #[cfg(any(feature = "alloc", test))]
    pub fn leak(hypervisor: &'static H) -> &'static Self {
        alloc::boxed::Box::leak(alloc::boxed::Box::new(Self::new(hypervisor)))
    }

    /// The system time, in nanoseconds: Xen's own, which another machine's has nothing to do with.
    ///
    /// `None` where Xen shows no time: the multiplier is zero, or the version stays odd.
    pub fn system_time(&self) -> Option<u64> {
        let (scale, ticks) = self.look()?;
        Some(scale.system_time_at(ticks))
    }

    /// How long ago the time stamp counter was at `ticks`: zero, if it wasn't yet. For a value of this domain's own, since it
    /// was resumed.
    ///
    /// `None` as of [`system_time`](Self::system_time).
    pub fn since(&self, ticks: u64) -> Option<Duration> {
        let (scale, now) = self.look()?;
        let from_there = TimeScale {
            tsc_timestamp: ticks,
            system_time: 0,
            ..scale
        };
        Some(Duration::from_nanos(from_there.system_time_at(now)))
    }

    fn look(&self) -> Option<(TimeScale, u64)> {
        let time = &self.hypervisor.shared_info().vcpu_info.first()?.time;
        let (scale, ticks) = read(&time.version, || {
            let scale = TimeScale {
                tsc_timestamp: time.tsc_timestamp.load(Ordering::Relaxed),
                system_time: time.system_time.load(Ordering::Relaxed),
                tsc_to_system_multiplier: time.tsc_to_system_multiplier.load(Ordering::Relaxed),
                tsc_shift: time.tsc_shift.load(Ordering::Relaxed),
            };
            (scale, self.hypervisor.time_stamp_counter())
        })?;
        (scale.tsc_to_system_multiplier != 0).then_some((scale, ticks))
    }

    /// The system time at an instant, as `SCHEDOP_poll` takes it: at least 1, for 0 would be no limit, and less than 2⁶³,
    /// for Xen takes more to be past.
    pub fn deadline(&self, instant: Instant) -> u64 {
        // The offset is a difference of two times below 2⁶³.
        let offset = i128::from(self.offset.get() as i64);
        let system = i128::from(instant.as_nanos()) - offset;
        system.clamp(1, i128::from(i64::MAX)) as u64
    }

    /// What happened so far.
    pub fn counters(&self) -> ClockCounters {
        ClockCounters {
            unreadable: self.unreadable.get(),
            set_back: self.set_back.get(),
        }
    }
}

impl<H: Hypervisor> Clock for XenClock<H> {
    /// Where Xen shows no time, which is counted, the last reading again.
    fn now(&self) -> Instant {
        let last = self.last.get();
        let Some(system) = self.system_time() else {
            add(&self.unreadable);
            return Instant::from_nanos(last);
        };
        let now = system.wrapping_add(self.offset.get());
        if now < last {
            // The counter may be read ahead of the page, or Xen may correct itself: by a little.
            add(&self.set_back);
            return Instant::from_nanos(last);
        }
        self.last.set(now);
        Instant::from_nanos(now)
    }

    fn wall(&self) -> Option<Duration> {
        let page = self.hypervisor.shared_info();
        let at_zero = read(&page.wall_clock_version, || {
            let low = page.wall_clock_seconds.load(Ordering::Relaxed);
            let high = page.wall_clock_seconds_high.load(Ordering::Relaxed);
            let seconds = u64::from(high) << 32 | u64::from(low);
            let nanoseconds = page.wall_clock_nanoseconds.load(Ordering::Relaxed);
            Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanoseconds.into()))
        })??;
        if at_zero.is_zero() {
            return None;
        }
        at_zero.checked_add(Duration::from_nanos(self.system_time()?))
    }
}

impl<H: Hypervisor> Resume for XenClock<H> {
    fn stage(&self) -> Stage {
        Stage::Clock
    }

    fn prepare(&self) {
        // The last reading is what the resumed domain goes on from.
        let _ = self.now();
    }

    /// Goes on from the last reading.
    fn resumed(&self) -> Result<(), ResumeError> {
        let system = self.system_time();
        let system = system.ok_or(ResumeError::Other("Xen shows the new domain no time"))?;
        self.offset.set(self.last.get().wrapping_sub(system));
        Ok(())
    }
}

impl<H: Hypervisor> fmt::Debug for XenClock<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XenClock")
            .field("last", &Instant::from_nanos(self.last.get()))
            .field("offset", &(self.offset.get() as i64))
            .field("counters", &self.counters())
            .finish()
    }
}

/// What happened to a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClockCounters {
    /// Readings that gave the last one again, since Xen showed no time.
    pub unreadable: u64,
    /// Readings that gave the last one again, since Xen's time was before it.
    pub set_back: u64,
}

fn add(counter: &Cell<u64>) {
    counter.set(counter.get().wrapping_add(1));
}

/// What `look` finds while the version is even and stays so. `None`, if that doesn't come to pass.
fn read<T>(version: &AtomicU32, look: impl Fn() -> T) -> Option<T> {
    for _ in 0..MAXIMUM_TRIES {
        let before = version.load(Ordering::Acquire);
        if before.is_multiple_of(2) {
            let found = look();
            // What was looked at comes before the second look at the version.
            fence(Ordering::Acquire);
            if version.load(Ordering::Relaxed) == before {
                return Some(found);
            }
        }
        core::hint::spin_loop();
    }
    None
}
