//! What the executor needs of the machine below it.

use core::marker::PhantomData;
use core::num::NonZeroUsize;
use core::ops::Range;

use crate::time::{Clock, Instant};

/// The machine below an executor: a clock, a way to wait, and devices to look at.
///
/// All methods are called on the thread that made the executor.
pub trait Platform: Clock {
    /// Waits until `until` (`None`: without a limit), or until something happened.
    ///
    /// Returns early if [`Unpark::unpark`] was called before or during the wait: a call before is remembered, so that
    /// it can't be lost between the executor's last look and the wait. Returns as well when a device became ready;
    /// returning for no reason is allowed. An instant that has passed means a look without a wait.
    fn park(&self, until: Option<Instant>);

    /// What other threads use to end [`park`](Platform::park).
    fn unparker(&self) -> &'static dyn Unpark;

    /// Looks at the devices once, without waiting, and wakes the tasks that wait for one that became ready.
    ///
    /// Called once a turn, so also under load: work per call should be bounded.
    fn poll_devices(&self) {}

    /// Hears of memory that the allocator gave for tasks, as addresses, before the first of them is written there.
    ///
    /// It will be filled from its beginning. A platform may ask its system for larger pages or the like; what the memory
    /// holds, and that it can be written, stays as it is. Doing nothing, the default, is always right. Not for making
    /// tasks: the executor is about to make one.
    fn advise_memory(&self, addresses: Range<usize>) {
        let _ = addresses;
    }
}

/// Ends a [`Platform::park`], from any thread.
pub trait Unpark: Send + Sync {
    /// Ends the current or the next [`Platform::park`].
    ///
    /// Called once for a batch of wake-ups, also while the executor is not parked, so an implementation in front of
    /// a system call remembers whether anyone waits.
    fn unpark(&self);

    /// The identity of the calling thread, where it is cheap to tell.
    ///
    /// With it, a wake-up on the executor's own thread goes to the local queue; without it (`None`, the default)
    /// every wake-up goes through the atomic list that other threads use, which is as correct and somewhat slower.
    fn current_thread(&self) -> Option<ThreadToken> {
        None
    }
}

/// Proof of which thread runs: two live threads never hold equal tokens, and a token does not leave its thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThreadToken {
    value: NonZeroUsize,
    /// Neither `Send` nor `Sync`: safe code can't show one thread's token to another.
    not_send: PhantomData<*const ()>,
}

impl ThreadToken {
    /// A token for the calling thread with an identity that the platform knows.
    ///
    /// # Safety
    ///
    /// No other thread that is alive at the same time (nor an interrupt or signal handler that wakes tasks) may ever
    /// get a token of equal `value`, and when a later thread gets it, the end of the earlier one happened before.
    pub const unsafe fn new(value: NonZeroUsize) -> Self {
        Self {
            value,
            not_send: PhantomData,
        }
    }

    /// The token of a program that has one thread and no interrupt handler that wakes tasks, such as an appliance on
    /// Xen.
    ///
    /// # Safety
    ///
    /// As told: no second thread, and no handler that interrupts this one, may ever wake a task.
    pub const unsafe fn only_thread() -> Self {
        // SAFETY: the caller promises that there is no other thread to hold an equal token.
        unsafe { Self::new(NonZeroUsize::MIN) }
    }

    /// The token of the calling thread: the address of a thread-local.
    #[cfg(all(feature = "std", not(loom)))]
    pub fn current() -> Option<Self> {
        std::thread_local! {
            static HERE: u8 = const { 0 };
        }
        // While the thread's locals are being destroyed there is no token; the slower list is used then.
        let address = HERE.try_with(|here| core::ptr::from_ref(here).addr());
        let value = NonZeroUsize::new(address.ok()?)?;
        // SAFETY: thread-locals of threads that are alive at the same time have different addresses, and the address
        // is used again only after the earlier thread's storage was released and acquired by the system.
        Some(unsafe { Self::new(value) })
    }

    pub(crate) fn value(self) -> usize {
        self.value.get()
    }
}
