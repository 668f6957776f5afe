//! The clock and the sleep of a Unix process.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use mirage_core::executor::{Platform, ThreadToken, Unpark};
use mirage_core::{Clock, Instant};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::mm::{Advice, madvise};
use rustix::time::{ClockId, clock_gettime};

use crate::edges::{EdgeSource, RegisterError};
use crate::reactor::{Reactor, Source, TooManySources};

/// How a [`HostPlatform`] sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostPlatformConfig {
    /// How many descriptors can be watched at once. By default 64.
    pub sources: usize,
    /// By how much the kernel may delay a wake-up of the thread that made the platform, to join it with others. By default
    /// the least, 1 ns; Linux's own default is 50 µs (prctl(2), `PR_SET_TIMERSLACK`).
    pub timer_slack: Duration,
    /// The end of a sleep that is spent reading the clock instead of sleeping: it buys the time that the kernel needs to
    /// schedule a thread in, some tens of microseconds, for as much processor time at each sleep with a deadline. By
    /// default zero.
    pub spin: Duration,
}

impl Default for HostPlatformConfig {
    fn default() -> Self {
        Self {
            sources: 64,
            timer_slack: Duration::from_nanos(1),
            spin: Duration::ZERO,
        }
    }
}

/// A Unix process as the platform of an executor: `CLOCK_MONOTONIC`, and a sleep in ppoll(2) over an eventfd and the
/// registered descriptors.
///
/// It belongs to the thread that made it; other threads wake it through its [`Unpark`].
///
/// ```
/// use mirage_core::executor::Platform;
/// use mirage_core::Clock;
/// use mirage_host::HostPlatform;
/// use std::time::Duration;
///
/// let platform = HostPlatform::leak()?;
/// let deadline = platform.now() + Duration::from_millis(1);
/// while platform.now() < deadline {
///     platform.park(Some(deadline)); // may return early: wake-ups may be spurious
/// }
/// # Ok::<(), mirage_host::PlatformError>(())
/// ```
pub struct HostPlatform {
    reactor: Reactor,
    unparker: &'static EventfdUnparker,
    spin: Duration,
    /// How many more turns the last sleep's look at the descriptors stands for.
    turns_covered: Cell<u32>,
    parks: Cell<u64>,
    looks: Cell<u64>,
    poll_errors: Cell<u64>,
}

/// How many turns after a sleep go without a look at the descriptors of their own.
///
/// The sleep was a look, and a turn that leaves nothing to do is followed by the next sleep: one more ppoll(2) between the
/// two would find what either finds. Two turns, since that is what it takes to fire a timer and to run the task that it
/// wakes. While tasks keep the executor from sleeping, each turn looks from the third on, so a descriptor that becomes
/// ready waits for three turns at most.
const TURNS_COVERED_BY_A_SLEEP: u32 = 2;

/// What a platform counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlatformCounters {
    /// Sleeps that entered the kernel.
    pub parks: u64,
    /// Looks at the descriptors without a sleep that entered the kernel.
    pub looks: u64,
    /// Times that poll(2) failed for another reason than a signal (it ran out of memory, say): the sleep was cut short.
    pub poll_errors: u64,
}

impl HostPlatform {
    /// A platform of the default configuration, for the rest of the process.
    ///
    /// # Errors
    ///
    /// As of [`HostPlatform::leak_with`].
    pub fn leak() -> Result<&'static Self, PlatformError> {
        Self::leak_with(HostPlatformConfig::default())
    }

    /// A platform, for the rest of the process: its memory and its eventfd are not given back.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left for an eventfd.
    pub fn leak_with(config: HostPlatformConfig) -> Result<&'static Self, PlatformError> {
        let event =
            eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(PlatformError)?;
        let unparker: &'static EventfdUnparker = Box::leak(Box::new(EventfdUnparker {
            state: AtomicU8::new(EMPTY),
            event,
        }));
        let slack = u64::try_from(config.timer_slack.as_nanos()).unwrap_or(u64::MAX);
        let slack = NonZeroU64::new(slack).unwrap_or(NonZeroU64::MIN);
        if let Err(error) = rustix::thread::set_current_timer_slack(Some(slack)) {
            log::debug!("the timer slack stays as it was: {error}");
        }
        Ok(Box::leak(Box::new(Self {
            reactor: Reactor::new(config.sources),
            unparker,
            spin: config.spin,
            turns_covered: Cell::new(0),
            parks: Cell::new(0),
            looks: Cell::new(0),
            poll_errors: Cell::new(0),
        })))
    }

    /// Registers a descriptor, to be watched while the process sleeps.
    ///
    /// # Errors
    ///
    /// As many as the configuration allows are registered.
    pub fn source(&'static self, descriptor: OwnedFd) -> Result<Source, TooManySources> {
        Source::new(&self.reactor, descriptor)
    }

    /// The same for one that is told of once for each change.
    pub(crate) fn edge_source(
        &'static self,
        descriptor: OwnedFd,
    ) -> Result<EdgeSource, RegisterError> {
        EdgeSource::new(&self.reactor, descriptor)
    }

    /// What was counted so far.
    pub fn counters(&self) -> PlatformCounters {
        PlatformCounters {
            parks: self.parks.get(),
            looks: self.looks.get(),
            poll_errors: self.poll_errors.get(),
        }
    }

    /// A look at the descriptors, if any is watched.
    fn look(&self) {
        if self.reactor.is_watching() {
            self.looks.set(self.looks.get().wrapping_add(1));
            self.sleep(Some(Instant::ZERO));
        }
    }

    fn park_until(&self, until: Option<Instant>) {
        let asleep = until.map(|until| until.saturating_sub(self.spin));
        if asleep.is_none_or(|asleep| self.now() < asleep) {
            if !self.unparker.begin_park() {
                self.look();
                return;
            }
            self.parks.set(self.parks.get().wrapping_add(1));
            if self.sleep(asleep) {
                self.turns_covered.set(TURNS_COVERED_BY_A_SLEEP);
            }
            if self.unparker.end_park() {
                return;
            }
            // A descriptor or a signal ended the sleep early: the caller looks who is ready.
            if asleep.is_none_or(|asleep| self.now() < asleep) {
                return;
            }
        }
        let Some(until) = until else { return };
        while self.now() < until {
            if self.unparker.take() {
                break;
            }
            std::hint::spin_loop();
        }
        self.look();
    }

    /// One ppoll(2), at most until `until`; without one, until a descriptor is ready or the eventfd is written.
    /// `false`: it ended without a look at the descriptors.
    fn sleep(&self, until: Option<Instant>) -> bool {
        let timeout = until.map(|until| timespec(until - self.now()));
        match self
            .reactor
            .poll(self.unparker.event.as_fd(), timeout.as_ref())
        {
            Ok(true) => self.unparker.drain(),
            Ok(false) => {}
            Err(Errno::INTR) => return false,
            Err(error) => {
                let before = self.poll_errors.get();
                self.poll_errors.set(before.saturating_add(1));
                if before == 0 {
                    log::warn!("poll(2) failed: {error}");
                }
                // It would be called again at once: leave the processor to whoever can help.
                std::thread::yield_now();
                return false;
            }
        }
        true
    }
}

impl Clock for HostPlatform {
    fn now(&self) -> Instant {
        let time = clock_gettime(ClockId::Monotonic);
        // Since the system's start: neither part is negative, and the sum is out of range after 584 years.
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    fn wall(&self) -> Option<Duration> {
        let time = clock_gettime(ClockId::Realtime);
        let seconds = u64::try_from(time.tv_sec).ok()?;
        let nanos = u32::try_from(time.tv_nsec).ok()?;
        Some(Duration::new(seconds, nanos))
    }
}

impl Platform for HostPlatform {
    fn park(&self, until: Option<Instant>) {
        self.park_until(self.reactor.earliest(until));
        self.reactor.release(|| self.now());
    }

    fn unparker(&self) -> &'static dyn Unpark {
        self.unparker
    }

    fn advise_memory(&self, addresses: Range<usize>) {
        ask_for_large_pages(addresses);
    }

    fn poll_devices(&self) {
        match self.turns_covered.get() {
            0 => self.look(),
            covered => self.turns_covered.set(covered - 1),
        }
    }
}

/// Asks Linux to back the whole large pages among these addresses as such: a million small pages are a million faults.
fn ask_for_large_pages(addresses: Range<usize>) {
    const LARGE_PAGE: usize = 2 << 20;
    let Some(start) = addresses.start.checked_next_multiple_of(LARGE_PAGE) else {
        return;
    };
    let size = addresses.end.saturating_sub(start) / LARGE_PAGE * LARGE_PAGE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if size > 0 {
        let start = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: this advice changes neither what memory holds nor how it can be used, whosever it is.
        let result = unsafe { madvise(start, size, Advice::LinuxHugepage) };
        if let Err(error) = result {
            log::debug!("no large pages: {error}");
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = size;
}

impl fmt::Debug for HostPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostPlatform")
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// Nobody sleeps and nobody was woken.
const EMPTY: u8 = 0;
/// The thread is about to sleep, or sleeps: a wake-up has to write the eventfd.
const PARKED: u8 = 1;
/// A wake-up came; the next sleep returns at once.
const NOTIFIED: u8 = 2;

/// Wakes a sleeping [`HostPlatform`] from any thread.
///
/// The state and the eventfd together can't lose a wake-up. `unpark` first puts `NOTIFIED`: before `begin_park`, that finds
/// it and does not sleep; after it, `unpark` saw `PARKED` and writes the eventfd, which ppoll(2) watches, so that it does not
/// matter whether the sleep has begun. The eventfd is written only for a sleeper, so waking a busy thread is one atomic
/// instruction. A write that comes late, after the sleep ended otherwise, ends the next one early, which is allowed.
struct EventfdUnparker {
    state: AtomicU8,
    event: OwnedFd,
}

impl EventfdUnparker {
    /// Before a sleep; `false`: don't, a wake-up came.
    fn begin_park(&self) -> bool {
        let exchange =
            self.state
                .compare_exchange(EMPTY, PARKED, Ordering::AcqRel, Ordering::Acquire);
        if exchange.is_err() {
            self.state.swap(EMPTY, Ordering::AcqRel);
            return false;
        }
        true
    }

    /// After a sleep; `true`: a wake-up came.
    fn end_park(&self) -> bool {
        self.take()
    }

    /// Takes the wake-up, if one came.
    fn take(&self) -> bool {
        // A look first: while spinning the cache line stays shared.
        self.state.load(Ordering::Acquire) != EMPTY
            && self.state.swap(EMPTY, Ordering::AcqRel) == NOTIFIED
    }

    fn drain(&self) {
        // The value doesn't matter; EAGAIN is a wake-up that was drained already.
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }
}

impl Unpark for EventfdUnparker {
    fn unpark(&self) {
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == PARKED {
            // Can only fail when the counter is at its maximum (EAGAIN), and then the descriptor is readable.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    fn current_thread(&self) -> Option<ThreadToken> {
        ThreadToken::current()
    }
}

/// The system has no descriptor left for a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformError(Errno);

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no eventfd to be woken by: {}", self.0)
    }
}

impl std::error::Error for PlatformError {}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags};
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::task::{Context, Wake, Waker};

    #[test]
    fn a_wake_up_before_the_sleep_is_not_lost() {
        let platform = HostPlatform::leak().expect("a platform");
        platform.unparker().unpark();
        platform.park(None); // would sleep for ever
        assert_eq!(platform.counters().parks, 0);
    }

    #[test]
    fn in_every_order_of_its_steps_a_wake_up_ends_the_sleep() {
        // The sleeper: begin, ppoll, end. The other thread: the state, then the eventfd if it saw a sleeper. Each bit of
        // `order` says whose step is next; a sleeper that ppoll holds leaves the other thread its steps.
        for order in 0..1u32 << 5 {
            let event = eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd");
            let unparker = EventfdUnparker {
                state: AtomicU8::new(EMPTY),
                event,
            };
            let (mut sleeper, mut other, mut saw) = (0, 0, EMPTY);
            for turn in 0.. {
                let readable = || {
                    let mut descriptors = [PollFd::new(&unparker.event, PollFlags::IN)];
                    rustix::event::poll(&mut descriptors, Some(&timespec(Duration::ZERO))) == Ok(1)
                };
                let held = sleeper == 1 && !readable();
                let sleepers_turn = order >> turn.min(31) & 1 == 0;
                if other < 2 && (held || !sleepers_turn || sleeper == 3) {
                    match other {
                        0 => saw = unparker.state.swap(NOTIFIED, Ordering::AcqRel),
                        _ if saw == PARKED => {
                            rustix::io::write(&unparker.event, &1u64.to_ne_bytes())
                                .expect("a write");
                        }
                        _ => {}
                    }
                    other += 1;
                } else {
                    assert!(!held, "order {order:05b}: the sleep never ends");
                    sleeper = match sleeper {
                        0 if unparker.begin_park() => 1,
                        1 => 2,
                        _ => {
                            unparker.end_park();
                            3
                        }
                    };
                }
                if sleeper == 3 && other == 2 {
                    break;
                }
            }
            // The wake-up was taken, or is there for the next sleep, which a late write of the eventfd ends at most early.
            let noticed = unparker.state.load(Ordering::Acquire);
            assert_ne!(noticed, PARKED, "order {order:05b}");
        }
    }

    #[test]
    fn no_wake_up_between_the_look_and_the_sleep_is_lost() {
        // Two threads hand a number to and fro: the platform's thread sleeps without a deadline each time it does not find
        // the other's answer, so that one lost wake-up would hang the test.
        const ROUNDS: u64 = 100_000;
        let platform = HostPlatform::leak().expect("a platform");
        let unparker = platform.unparker();
        let asked = AtomicU64::new(0);
        let answered = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                for round in 1..=ROUNDS {
                    while asked.load(Ordering::Acquire) < round {
                        std::thread::yield_now();
                    }
                    answered.store(round, Ordering::Release);
                    unparker.unpark();
                }
            });
            for round in 1..=ROUNDS {
                asked.store(round, Ordering::Release);
                while answered.load(Ordering::Acquire) < round {
                    platform.park(None);
                }
            }
            other.join().expect("the other thread");
        });
    }

    #[test]
    fn a_sleep_lasts_until_its_deadline_with_and_without_a_spin() {
        for spin in [
            Duration::ZERO,
            Duration::from_micros(100),
            Duration::from_secs(1),
        ] {
            let platform = HostPlatform::leak_with(HostPlatformConfig {
                spin,
                ..HostPlatformConfig::default()
            })
            .expect("a platform");
            let deadline = platform.now() + Duration::from_millis(2);
            while platform.now() < deadline {
                platform.park(Some(deadline));
            }
            // A deadline that has passed doesn't sleep.
            let parks = platform.counters().parks;
            platform.park(Some(Instant::ZERO));
            assert_eq!(platform.counters().parks, parks);
        }
    }

    #[test]
    fn a_wake_up_ends_the_spin() {
        let platform = HostPlatform::leak_with(HostPlatformConfig {
            spin: Duration::from_secs(3600),
            ..HostPlatformConfig::default()
        })
        .expect("a platform");
        platform.unparker().unpark();
        platform.park(Some(platform.now() + Duration::from_secs(3600)));
    }

    #[test]
    fn a_sleep_is_a_look_and_a_busy_executor_looks_all_the_same() {
        struct Count(AtomicU64);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let platform = HostPlatform::leak().expect("a platform");
        let event = eventfd(1, EventfdFlags::NONBLOCK).expect("an eventfd");
        let source = platform.source(event).expect("a slot");
        let count = Arc::new(Count(AtomicU64::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let woken = || count.0.load(Ordering::Relaxed);
        for round in 1..=3 {
            // The sleep finds it, and wakes.
            source.wake_when_readable(&mut Context::from_waker(&waker));
            platform.park(None);
            assert_eq!(woken(), 2 * round - 1);
            // The task reads, waits again; if nothing else is to be done the next sleep follows without another look.
            source.wake_when_readable(&mut Context::from_waker(&waker));
            platform.poll_devices();
            platform.poll_devices();
            assert_eq!(
                (woken(), platform.counters().looks),
                (2 * round - 1, round - 1)
            );
            // But there is: sleeps don't come, so turns look.
            platform.poll_devices();
            assert_eq!((woken(), platform.counters().looks), (2 * round, round));
        }
        // Every turn, from then on.
        source.wake_when_readable(&mut Context::from_waker(&waker));
        platform.poll_devices();
        assert_eq!(platform.counters().looks, 4);
        // Nothing is watched: nothing to look at.
        platform.poll_devices();
        assert_eq!(platform.counters().looks, 4);
    }

    #[test]
    fn the_wall_clock_is_after_2020() {
        let platform = HostPlatform::leak().expect("a platform");
        assert!(platform.wall().expect("a wall clock") > Duration::from_secs(1_577_836_800));
    }
}
