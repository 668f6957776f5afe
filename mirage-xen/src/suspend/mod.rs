//! Suspend, resume, migration: what has to be done, and in which order.
//!
//! | type | what it is |
//! | --- | --- |
//! | [`Resume`] | a part of the program that has to know: event channels, clock, drivers |
//! | [`Suspender`] | knows the parts, and takes the domain through a suspension |
//! | [`Suspension`] | one suspension, step by step |
//! | [`Stage`] | when a part's turn is |
//!
//! A domain asks to be suspended, and the call returns twice: once where it was, if the toolstack cancelled
//! (`xl save -c`), when nothing is set up again; once in a new domain, perhaps on another machine, days later, when
//! nothing that Xen held for the old one is there any more. There, in this order:
//!
//! 1. [`Hypervisor::restore`]: the shared info page and the grant table's frames at the same frames, what hypercalls need.
//! 2. The parts, by their [`Stage`]: event channels (all mask bits, a new generation of ports), the clock (the time that the
//!    new domain shows is checked, and its offset set), randomness, xenstore (its port from the domain's parameters, its
//!    page comes back cleared), the console, the grant entries, the frontends, and what tells the network that we are here.
//!
//! The clock and the randomness come before all that could read the time or draw a number. Everything up to here is one act:
//! no task runs in between. What takes round trips (watches, reconnection) a part begins in its turn, by waking its task.

#[cfg(test)]
mod tests;

use core::cell::Cell;
use core::fmt;

use crate::abi::XenError;
use crate::abi::shutdown::Suspended;
use crate::event_channel::{EventChannels, EventError};
use crate::grant_table::{GrantError, GrantTable};
use crate::hypervisor::Hypervisor;

/// Parts that a [`Suspender`] knows at most.
pub const MAXIMUM_PARTS: usize = 32;

/// A part of the program that has to know of a suspension.
///
/// The methods are called with no task in between, so they don't wait. Nothing of the old domain is used in
/// [`resumed`](Self::resumed): a port or an event that a part still holds is of an old generation.
pub trait Resume {
    /// When the part's turn is.
    fn stage(&self) -> Stage;

    /// The domain is about to be suspended; the parts of later stages have heard of it already. What the part finds now is
    /// what the resumed domain's memory holds.
    fn prepare(&self) {}

    /// It was not suspended: everything is as it was. For a part that has changed something in
    /// [`prepare`](Self::prepare).
    fn cancelled(&self) {}

    /// This is a new domain. The parts of earlier stages work again.
    ///
    /// # Errors
    ///
    /// Why this part doesn't. The others get their turn all the same.
    fn resumed(&self) -> Result<(), ResumeError>;
}

/// The order in which parts hear that the domain was resumed; the other way round, that it is about to be suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Mask bits, and a new generation of ports.
    EventChannels,
    /// The clock's offset.
    Clock,
    /// Randomness.
    Entropy,
    /// Xenstore's port and ring; open transactions, requests in flight, watches.
    Store,
    /// The console's port and ring.
    Console,
    /// Grant entries.
    Grants,
    /// Drivers.
    Frontends,
    /// What the drivers' users do when they are back: announce an address.
    Announcement,
}

/// Why a part doesn't work in the new domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResumeError {
    /// A call of Xen failed.
    Xen(XenError),
    /// A port couldn't be bound.
    Event(EventError),
    /// Something couldn't be granted.
    Grant(GrantError),
    /// Something else, in words.
    Other(&'static str),
}

impl From<XenError> for ResumeError {
    fn from(error: XenError) -> Self {
        Self::Xen(error)
    }
}

impl From<EventError> for ResumeError {
    fn from(error: EventError) -> Self {
        Self::Event(error)
    }
}

impl From<GrantError> for ResumeError {
    fn from(error: GrantError) -> Self {
        Self::Grant(error)
    }
}

impl fmt::Display for ResumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xen(error) => error.fmt(f),
            Self::Event(error) => error.fmt(f),
            Self::Grant(error) => error.fmt(f),
            Self::Other(words) => f.write_str(words),
        }
    }
}

impl core::error::Error for ResumeError {}

/// Takes the domain through suspensions. One for a domain.
pub struct Suspender<H: Hypervisor> {
    hypervisor: &'static H,
    /// By stage, and within a stage in the order in which they were added. The first `count`.
    parts: [Cell<Option<&'static dyn Resume>>; MAXIMUM_PARTS],
    count: Cell<usize>,
    counters: Tally,
}

impl<H: Hypervisor> Suspender<H> {
    /// One that knows no part yet.
    pub fn new(hypervisor: &'static H) -> Self {
        Self {
            hypervisor,
            parts: [const { Cell::new(None) }; MAXIMUM_PARTS],
            count: Cell::new(0),
            counters: Tally::default(),
        }
    }

    /// As [`new`](Self::new), for the life of the program.
    #[cfg(any(feature = "alloc", test))]
    pub fn leak(hypervisor: &'static H) -> &'static Self {
        alloc::boxed::Box::leak(alloc::boxed::Box::new(Self::new(hypervisor)))
    }

    /// Makes a part known, for good. Not from one of a part's methods.
    ///
    /// # Errors
    ///
    /// [`TooManyParts`]: [`MAXIMUM_PARTS`] are known.
    pub fn add(&self, part: &'static dyn Resume) -> Result<(), TooManyParts> {
        let count = self.count.get();
        let mut place = self.parts.get(count).ok_or(TooManyParts)?;
        for before in self.parts[..count].iter().rev() {
            if before
                .get()
                .is_none_or(|before| before.stage() <= part.stage())
            {
                break;
            }
            place.set(before.get());
            place = before;
        }
        place.set(Some(part));
        self.count.set(count + 1);
        Ok(())
    }

    /// Suspends the domain, and does what is to be done when it goes on.
    ///
    /// # Errors
    ///
    /// As of [`Suspension::step`].
    pub fn suspend(&self) -> Result<Suspended, SuspendError> {
        let mut suspension = self.begin();
        loop {
            if let Step::Over(suspended) = suspension.step()? {
                return Ok(suspended);
            }
        }
    }

    /// A suspension that has not begun yet.
    pub fn begin(&self) -> Suspension<'_, H> {
        Suspension {
            suspender: self,
            next: Next::Prepare(self.count.get()),
            refused: None,
            failed: None,
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> SuspendCounters {
        SuspendCounters {
            resumed: self.counters.resumed.get(),
            cancelled: self.counters.cancelled.get(),
            refused: self.counters.refused.get(),
            failed_parts: self.counters.failed_parts.get(),
        }
    }

    fn part(&self, index: usize) -> Option<&'static dyn Resume> {
        self.parts.get(index)?.get()
    }
}

impl<H: Hypervisor> fmt::Debug for Suspender<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspender")
            .field("parts", &self.count.get())
            .field("counters", &self.counters())
            .finish()
    }
}

/// One suspension, step by step: for tests, which look at what is between the steps.
#[must_use = "a suspension goes on by its steps"]
pub struct Suspension<'a, H: Hypervisor> {
    suspender: &'a Suspender<H>,
    next: Next,
    refused: Option<XenError>,
    failed: Option<(Stage, ResumeError)>,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    /// So many parts are still to be prepared, from the end.
    Prepare(usize),
    Restore,
    /// The part with this number.
    Resume(usize),
    Cancel(usize),
}

impl<H: Hypervisor> Suspension<'_, H> {
    /// Does the next thing. After [`Step::Over`] or an error there is none.
    ///
    /// # Errors
    ///
    /// [`SuspendError::Refused`]: the domain was not suspended, and its parts know. [`SuspendError::Restore`] and
    /// [`SuspendError::Part`]: it was, and can't go on, or not with all of its parts.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub fn step(&mut self) -> Result<Step, SuspendError> {
        let suspender = self.suspender;
        let counters = &suspender.counters;
        match self.next {
            Next::Prepare(left) => {
                let Some(part) = left.checked_sub(1).and_then(|index| suspender.part(index)) else {
                    return Ok(self.suspend());
                };
                self.next = Next::Prepare(left - 1);
                part.prepare();
                Ok(Step::Prepared(part.stage()))
            }
            Next::Restore => {
                let restored = suspender.hypervisor.restore();
                restored.map_err(SuspendError::Restore)?;
                self.next = Next::Resume(0);
                Ok(Step::Restored)
            }
            Next::Resume(index) => {
                let Some(part) = suspender.part(index) else {
                    add(&counters.resumed);
                    let failed = self.failed.take();
                    return failed.map_or(Ok(Step::Over(Suspended::Resumed)), |(stage, error)| {
                        Err(SuspendError::Part { stage, error })
                    });
                };
                self.next = Next::Resume(index + 1);
                let stage = part.stage();
                if let Err(error) = part.resumed() {
                    add(&counters.failed_parts);
                    self.failed = self.failed.or(Some((stage, error)));
                }
                Ok(Step::Resumed(stage))
            }
            Next::Cancel(index) => {
                let Some(part) = suspender.part(index) else {
                    let refused = self.refused.take();
                    return refused.map_or(Ok(Step::Over(Suspended::Cancelled)), |error| {
                        Err(SuspendError::Refused(error))
                    });
                };
                self.next = Next::Cancel(index + 1);
                part.cancelled();
                Ok(Step::Cancelled(part.stage()))
            }
        }
    }

    fn suspend(&mut self) -> Step {
        let counters = &self.suspender.counters;
        match self.suspender.hypervisor.suspend() {
            Ok(Suspended::Resumed) => self.next = Next::Restore,
            Ok(Suspended::Cancelled) => {
                add(&counters.cancelled);
                self.next = Next::Cancel(0);
            }
            Err(error) => {
                add(&counters.refused);
                self.refused = Some(error);
                self.next = Next::Cancel(0);
            }
        }
        Step::Suspended
    }
}

impl<H: Hypervisor> fmt::Debug for Suspension<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspension")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// What a step of a suspension did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// A part of this stage was told what is to come.
    Prepared(Stage),
    /// The domain was suspended, or was not, and goes on.
    Suspended,
    /// The pages that Xen and the domain share are there again.
    Restored,
    /// A part of this stage was told that it is in a new domain.
    Resumed(Stage),
    /// A part of this stage was told that it is where it was.
    Cancelled(Stage),
    /// All is done.
    Over(Suspended),
}

/// How a suspension failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SuspendError {
    /// Xen refused. The domain goes on as it was.
    Refused(XenError),
    /// The new domain lacks what it shares with Xen. It can't go on.
    Restore(XenError),
    /// A part doesn't work in the new domain, the first of them. The others were told.
    Part {
        /// Its stage.
        stage: Stage,
        /// Why.
        error: ResumeError,
    },
}

impl fmt::Display for SuspendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "Xen refused to suspend the domain: {error}"),
            Self::Restore(error) => {
                write!(
                    f,
                    "the resumed domain can't share its pages with Xen: {error}"
                )
            }
            Self::Part { stage, error } => {
                write!(f, "the resumed domain's stage {stage:?} failed: {error}")
            }
        }
    }
}

impl core::error::Error for SuspendError {}

/// [`MAXIMUM_PARTS`] are known already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyParts;

impl fmt::Display for TooManyParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MAXIMUM_PARTS} parts hear of suspensions already")
    }
}

impl core::error::Error for TooManyParts {}

/// How suspensions ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SuspendCounters {
    /// In a new domain.
    pub resumed: u64,
    /// Cancelled by the toolstack.
    pub cancelled: u64,
    /// Refused by Xen.
    pub refused: u64,
    /// Parts that didn't work in a new domain.
    pub failed_parts: u64,
}

#[derive(Default)]
struct Tally {
    resumed: Cell<u64>,
    cancelled: Cell<u64>,
    refused: Cell<u64>,
    failed_parts: Cell<u64>,
}

fn add(counter: &Cell<u64>) {
    counter.set(counter.get().wrapping_add(1));
}

impl<H: Hypervisor> Resume for EventChannels<H> {
    fn stage(&self) -> Stage {
        Stage::EventChannels
    }

    fn resumed(&self) -> Result<(), ResumeError> {
        self.restored();
        Ok(())
    }
}

impl<H: Hypervisor> Resume for GrantTable<H> {
    fn stage(&self) -> Stage {
        Stage::Grants
    }

    fn resumed(&self) -> Result<(), ResumeError> {
        self.restored();
        Ok(())
    }
}
