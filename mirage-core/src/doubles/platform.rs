//! A platform in virtual time.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use super::clock::VirtualClock;
use super::ethernet::VirtualEthernet;
use crate::executor::{Platform, Unpark};
use crate::time::{Clock, Instant};

/// A platform for the executor, on which waiting takes no time: to park is to jump to the next timer or to the next frame
/// that arrives on one of its Ethernets, whichever is earlier. So a whole network of stacks runs in one test, exactly and
/// at once.
///
/// ```
/// use core::time::Duration;
/// use mirage_core::doubles::VirtualPlatform;
/// use mirage_core::executor::Executor;
///
/// let platform: &'static VirtualPlatform = Box::leak(Box::new(VirtualPlatform::new()));
/// let executor: &'static Executor = Executor::leak(platform);
/// executor.run_until(executor.sleep(Duration::from_secs(3_600)));
/// assert_eq!(executor.now().as_secs(), 3_600); // at once
/// ```
pub struct VirtualPlatform {
    clock: VirtualClock,
    ethernets: RefCell<Vec<VirtualEthernet>>,
    unparker: &'static Unparker,
}

struct Unparker(AtomicBool);

impl VirtualPlatform {
    /// A platform at time zero, without Ethernets.
    pub fn new() -> Self {
        Self {
            clock: VirtualClock::new(),
            ethernets: RefCell::new(Vec::new()),
            unparker: Box::leak(Box::new(Unparker(AtomicBool::new(false)))),
        }
    }

    /// Delivers what arrives on `ethernet`, too.
    pub fn connect(&self, ethernet: &VirtualEthernet) {
        self.ethernets.borrow_mut().push(ethernet.clone());
    }

    /// The clock.
    pub fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    fn next_arrival(&self) -> Option<Instant> {
        self.ethernets
            .borrow()
            .iter()
            .filter_map(VirtualEthernet::next_event)
            .min()
    }
}

impl Default for VirtualPlatform {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for VirtualPlatform {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn wall(&self) -> Option<Duration> {
        self.clock.wall()
    }
}

impl Platform for VirtualPlatform {
    /// Jumps to what happens next.
    ///
    /// # Panics
    ///
    /// When nothing ever will: no timer runs, nothing is on its way. A test that hangs so says it instead.
    fn park(&self, until: Option<Instant>) {
        if self.unparker.0.swap(false, Ordering::Acquire) {
            return;
        }
        match [until, self.next_arrival()].into_iter().flatten().min() {
            Some(next) => self.clock.advance_to(next),
            None => panic!(
                "every task waits, and nothing will happen: no timer runs, no frame is on its way"
            ),
        }
    }

    fn unparker(&self) -> &'static dyn Unpark {
        self.unparker
    }

    fn poll_devices(&self) {
        // Those who are woken may connect another: the list isn't borrowed meanwhile.
        let ethernets = self.ethernets.borrow().clone();
        for ethernet in ethernets {
            ethernet.deliver(self.clock.now());
        }
    }
}

impl fmt::Debug for VirtualPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualPlatform")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl Unpark for Unparker {
    fn unpark(&self) {
        self.0.store(true, Ordering::Release);
    }
}
