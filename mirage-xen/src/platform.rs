//! The machine below an executor: the clock, the sleep in `SCHEDOP_poll`, the look at the event channels.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use mirage_core::executor::{Platform, ThreadToken, Unpark};
use mirage_core::{Clock, Instant};

use crate::clock::XenClock;
use crate::event_channel::EventChannels;
use crate::hypervisor::Hypervisor;

/// A domain with one virtual processor as the platform of an executor.
///
/// A sleep ends at its deadline, with an event on a bound port, or for no reason; after it, and once in each turn, all
/// bound ports are looked at: at most 128 tokens fire.
///
/// ```
/// use mirage_core::executor::Executor;
/// use mirage_xen::Hypervisor;
/// use mirage_xen::clock::XenClock;
/// use mirage_xen::event_channel::EventChannels;
/// use mirage_xen::platform::{XenPlatform, XenUnparker};
///
/// static UNPARKER: XenUnparker = XenUnparker::new(); // an image's is `only_thread`
///
/// fn executor<H: Hypervisor>(hypervisor: &'static H) -> &'static Executor {
///     let channels = Box::leak(Box::new(EventChannels::new(hypervisor)));
///     let clock = Box::leak(Box::new(XenClock::new(hypervisor)));
///     let platform = Box::leak(Box::new(XenPlatform::new(channels, clock, &UNPARKER)));
///     Executor::leak(platform)
/// }
/// ```
pub struct XenPlatform<H: Hypervisor> {
    channels: &'static EventChannels<H>,
    clock: &'static XenClock<H>,
    unparker: &'static XenUnparker,
}

impl<H: Hypervisor> XenPlatform<H> {
    /// A platform on these. Each has an unparker of its own.
    pub fn new(
        channels: &'static EventChannels<H>,
        clock: &'static XenClock<H>,
        unparker: &'static XenUnparker,
    ) -> Self {
        Self {
            channels,
            clock,
            unparker,
        }
    }

    /// The event channels.
    pub fn channels(&self) -> &'static EventChannels<H> {
        self.channels
    }

    /// The clock.
    pub fn clock(&self) -> &'static XenClock<H> {
        self.clock
    }
}

impl<H: Hypervisor> Clock for XenPlatform<H> {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn wall(&self) -> Option<Duration> {
        self.clock.wall()
    }
}

impl<H: Hypervisor> Platform for XenPlatform<H> {
    fn park(&self, until: Option<Instant>) {
        let woken = self.unparker.woken.swap(false, Ordering::Acquire);
        // A look costs nothing. An event that comes before the call is pending then, and ends it at once; so does a
        // deadline that has passed, and to ask the clock for that would cost about as much.
        if !woken && self.channels.scan() == 0 {
            self.channels
                .wait(until.map(|until| self.clock.deadline(until)));
            self.channels.scan();
        }
    }

    fn unparker(&self) -> &'static dyn Unpark {
        self.unparker
    }

    fn poll_devices(&self) {
        self.channels.scan();
    }
}

impl<H: Hypervisor> fmt::Debug for XenPlatform<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XenPlatform")
            .field("channels", &self.channels)
            .field("clock", &self.clock)
            .finish()
    }
}

/// What ends, or rather prevents, a [`XenPlatform`]'s sleep: a wake-up that came before it. During the sleep none comes:
/// the one processor that could send it sleeps.
#[derive(Debug)]
pub struct XenUnparker {
    /// A task was woken since the last sleep, by other ways than the executor's own queue.
    woken: AtomicBool,
    /// Nothing but the executor's thread ever runs.
    only_thread: bool,
}

impl XenUnparker {
    /// One that makes no assumption about threads, for a simulated hypervisor: each wake-up takes the executor's slower
    /// way. A wake-up from another thread does not end a sleep that has begun.
    pub const fn new() -> Self {
        Self {
            woken: AtomicBool::new(false),
            only_thread: false,
        }
    }

    /// One for an image: each wake-up takes the executor's own queue.
    ///
    /// # Safety
    ///
    /// As of [`ThreadToken::only_thread`]: the program has one thread, on one virtual processor, and no interrupt or
    /// exception handler that wakes a task. That is so where `IF` is never set and exceptions never return.
    pub const unsafe fn only_thread() -> Self {
        Self {
            woken: AtomicBool::new(false),
            only_thread: true,
        }
    }
}

impl Default for XenUnparker {
    fn default() -> Self {
        Self::new()
    }
}

impl Unpark for XenUnparker {
    fn unpark(&self) {
        self.woken.store(true, Ordering::Release);
    }

    fn current_thread(&self) -> Option<ThreadToken> {
        // SAFETY: `only_thread` is set by the function of that name alone, whose caller promises what this one asks.
        self.only_thread
            .then(|| unsafe { ThreadToken::only_thread() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DomainId;
    use crate::testing::{Call, TestHypervisor};
    use mirage_core::event::Event;
    use mirage_core::executor::Executor;
    use std::boxed::Box;
    use std::vec::Vec;

    /// A counter of 1 GHz that moves by 10 at each look.
    fn platform() -> (
        &'static TestHypervisor,
        &'static XenPlatform<TestHypervisor>,
    ) {
        platform_with(XenUnparker::new())
    }

    fn platform_with(
        unparker: XenUnparker,
    ) -> (
        &'static TestHypervisor,
        &'static XenPlatform<TestHypervisor>,
    ) {
        let hypervisor = TestHypervisor::leak();
        let time = &hypervisor.shared_info().vcpu_info[0].time;
        time.tsc_to_system_multiplier
            .store(1 << 31, Ordering::Relaxed);
        time.tsc_shift.store(1, Ordering::Relaxed);
        hypervisor.tsc_step.set(10);
        let platform = XenPlatform::new(
            EventChannels::leak(hypervisor),
            XenClock::leak(hypervisor),
            Box::leak(Box::new(unparker)),
        );
        (hypervisor, Box::leak(Box::new(platform)))
    }

    fn polls(hypervisor: &TestHypervisor) -> Vec<Call> {
        let mut calls = hypervisor.take_calls();
        calls.retain(|call| matches!(call, Call::Poll(..)));
        calls
    }

    #[test]
    fn a_sleep_ends_at_its_deadline_in_system_time() {
        let (hypervisor, platform) = platform();
        platform.park(Some(Instant::from_nanos(7_000)));
        platform.park(None);
        let expected = [Some(7_000), None].map(|until| Call::Poll([].into(), until));
        assert_eq!(polls(hypervisor), expected);
    }

    #[test]
    fn an_event_that_is_there_is_a_look_without_a_sleep() {
        let (hypervisor, platform) = platform();
        let port = platform.channels().offer(DomainId::DOM0).unwrap();
        hypervisor.raise(port.number().0);
        platform.park(None);
        assert!(port.event().take());
        hypervisor.raise(port.number().0);
        platform.poll_devices();
        assert!(port.event().take());
        assert_eq!(polls(hypervisor), []);
    }

    #[test]
    fn an_instant_that_has_passed_is_xens_to_see() {
        let (hypervisor, platform) = platform();
        hypervisor.tsc.set(5_000);
        platform.park(Some(Instant::from_nanos(5_000)));
        platform.park(Some(Instant::ZERO));
        // Zero would be no limit.
        let expected = [5_000, 1].map(|until| Call::Poll([].into(), Some(until)));
        assert_eq!(polls(hypervisor), expected);
        // The clock was not read for it.
        assert_eq!(hypervisor.tsc.get(), 5_000);
    }

    /// Where Xen emulates the counter, each reading is an exit to it.
    #[test]
    fn a_wake_up_reads_the_clock_once() {
        // SAFETY: nothing of this executor leaves the test's thread.
        let (hypervisor, platform) = platform_with(unsafe { XenUnparker::only_thread() });
        let executor = Executor::leak(platform);
        let port = platform.channels().offer(DomainId::DOM0).unwrap();
        let number = port.number().0;
        let passed_on: &Event = Box::leak(Box::new(Event::new()));
        let readings = || hypervisor.tsc.get() / hypervisor.tsc_step.get();
        // As netfront does: a task takes the event, and wakes the main one, which looks at the time and sets a timer.
        let _task = executor.spawn(async move {
            loop {
                port.event().wait().await;
                passed_on.set();
            }
        });
        let mut seen = Vec::new();
        hypervisor.raise(number);
        executor.run_until(async {
            for _ in 0..5 {
                let deadline = executor.turn_time() + Duration::from_secs(1);
                let _ = executor.timeout_at(deadline, passed_on.wait()).await;
                seen.push(readings());
                // The next comes during the sleep.
                hypervisor.raised_in_poll.set(Some(number));
            }
        });
        let each: Vec<u64> = seen.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(each[1..], [1; 3], "{seen:?}");
    }

    #[test]
    fn a_wake_up_before_the_sleep_is_not_lost() {
        let (hypervisor, platform) = platform();
        platform.unparker().unpark();
        platform.park(None);
        assert_eq!(polls(hypervisor), []);
        platform.park(None);
        assert_eq!(polls(hypervisor), [Call::Poll([].into(), None)]);
    }

    #[test]
    fn a_task_waits_for_a_port_and_for_a_timer() {
        let (hypervisor, platform) = platform();
        let executor = Executor::leak(platform);
        let port = platform.channels().offer(DomainId::DOM0).unwrap();
        let number = port.number().0;
        let task = executor
            .spawn(async move {
                port.event().wait().await;
                executor.sleep(Duration::from_micros(3)).await;
                executor.now()
            })
            .unwrap();
        executor.run_until_idle();
        assert!(!task.is_finished());
        hypervisor.raise(number);
        // The test's hypervisor doesn't sleep, but its counter goes on.
        let woken = executor.run_until(task).unwrap();
        assert!(woken >= Instant::from_nanos(3_000));
        assert!(!polls(hypervisor).is_empty());
    }
}
