//! What can go wrong on the other side.

use std::cell::{Cell, RefCell};
use std::fmt;

use mirage_core::doubles::{Chance, SplitMix64};

macro_rules! faults {
    ($(#[$about:meta])* pub enum Fault { $($(#[$what:meta])* $name:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[$what])* $name,)*
        }

        impl Fault {
            /// Every fault that there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

faults! {
    /// Something that a hostile, broken or merely unlucky other side does.
    ///
    /// Each is drawn where it can happen, with the [`Chance`] that [`Faults`] give it, and can be
    /// [forced](super::Simulation::force) to happen the next time it can.
    pub enum Fault {
        /// An event for the domain comes late, up to a millisecond. (Xen never loses one.)
        LateEvent,
        /// An event comes for which there is no reason.
        SpuriousEvent,
        /// A backend runs in the middle of the domain's turn, at one of its hypercalls, instead of when the domain sleeps.
        Race,
        /// The domain's time is written anew between the two looks of a read.
        ClockUpdate,
        /// The domain's time is set back by up to a microsecond, as real processors' are when they are synchronised.
        ClockBack,
        /// The processor's random number generator gives nothing this time.
        NoRandomNow,
        /// Xen has no port left, this time: `EVTCHNOP_alloc_unbound` answers `ENOSPC`.
        NoPort,

        /// Xenstored moves only a few bytes of the ring at a time.
        StoreFragments,
        /// Xenstored answers requests in another order than they came in.
        StoreReordered,
        /// A reply has the id of no request.
        StoreUnknownId,
        /// A reply has another type than its request.
        StoreWrongType,
        /// A reply says that it is longer than `XENSTORE_PAYLOAD_MAX`. Nothing sensible follows; the next request is answered
        /// in the middle of what was promised.
        StoreWrongLength,
        /// A reply comes twice.
        StoreRepeated,
        /// A watch fires before the request that set it is answered.
        StoreEarlyWatch,
        /// A transaction fails with `EAGAIN` though nobody else wrote.
        StoreConflict,
        /// A watch fires without a change.
        StoreSpuriousWatch,
        /// A watch fires a hundred times.
        StoreStorm,
        /// A watch fires with a token that nobody gave.
        StoreUnknownToken,
        /// A value that should be a number is read as something that isn't: too large, negative, not decimal, not text, empty.
        StoreNotANumber,
        /// A request is refused with `EIO`, or with an error that has no name.
        StoreError,
        /// Xenstored's indices on the ring are impossible, for a moment.
        StoreIndices,

        /// The console's indices are impossible, for a moment.
        ConsoleIndices,
        /// The console takes nothing, for a while.
        ConsoleStalled,

        /// A ring's producer index runs away, further than the ring has slots.
        RingIndex,
        /// A response has an id that was never asked for.
        RingUnknownId,
        /// A response comes twice.
        RingRepeated,
        /// Requests to transmit are answered in another order than they came in, as a backend may.
        RingReordered,
        /// A response has random bits in its other fields.
        RingGarbage,
        /// Slots change after they were read, or once they can have been: those of requests when the backend has taken them,
        /// those of responses when the domain has.
        RingSlotChanged,
        /// The ring is reset to zero by the backend, which is not its business. It closes a moment later, and comes back.
        RingReset,
        /// The event threshold for the other side is a random number: notifications come that aren't needed, or late.
        RingThreshold,
        /// A request is answered with an error.
        RingError,
        /// A frame's bytes change after the response, for as long as the grant lasts.
        BytesChanged,
        /// The backend reads a transmitted frame once more after its response.
        LateRead,
        /// A grant that the backend mapped stays mapped for good.
        GrantKept,
        /// A backend stops: it answers nothing for a while.
        BackendStops,
        /// A backend closes, and comes back.
        BackendCloses,
        /// A backend vanishes, keys and all, and comes back.
        BackendVanishes,
        /// A backend says that it is in a state that there isn't, or that makes no sense now.
        BackendState,
    }
}

const COUNT: usize = Fault::ALL.len();

/// How likely each [`Fault`] is. The default is a world without any.
///
/// ```
/// use mirage_core::doubles::Chance;
/// use mirage_xen::simulated::{Fault, Faults};
///
/// let bad = Faults::NONE
///     .with(Fault::LateEvent, Chance::percent(10))
///     .with(Fault::RingUnknownId, Chance::percent(1));
/// assert_eq!(bad.chance(Fault::LateEvent), Chance::percent(10));
/// assert_eq!(bad.chance(Fault::RingIndex), Chance::NEVER);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Faults([Chance; COUNT]);

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self([Chance::NEVER; COUNT]);

    /// The same, with this fault as likely as that.
    #[must_use]
    pub const fn with(mut self, fault: Fault, chance: Chance) -> Self {
        self.0[fault as usize] = chance;
        self
    }

    /// How likely a fault is.
    pub const fn chance(&self, fault: Fault) -> Chance {
        self.0[fault as usize]
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::NONE
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let likely = Fault::ALL.iter().map(|&fault| (fault, self.chance(fault)));
        f.debug_map()
            .entries(likely.filter(|(_, chance)| *chance != Chance::NEVER))
            .finish()
    }
}

/// Where faults are drawn.
pub(super) struct FaultPlan {
    faults: Cell<Faults>,
    forced: RefCell<[u32; COUNT]>,
    happened: RefCell<[u64; COUNT]>,
    rng: RefCell<SplitMix64>,
}

impl FaultPlan {
    pub(super) fn new(rng: SplitMix64) -> Self {
        Self {
            faults: Cell::new(Faults::NONE),
            forced: RefCell::new([0; COUNT]),
            happened: RefCell::new([0; COUNT]),
            rng: RefCell::new(rng),
        }
    }

    pub(super) fn set(&self, faults: Faults) {
        self.faults.set(faults);
    }

    pub(super) fn force(&self, fault: Fault) {
        let forced = &mut self.forced.borrow_mut()[fault as usize];
        *forced = forced.saturating_add(1);
    }

    pub(super) fn happened(&self, fault: Fault) -> u64 {
        self.happened.borrow()[fault as usize]
    }

    /// Whether it happens now. Asked only where it can.
    pub(super) fn happens(&self, fault: Fault) -> bool {
        let forced = &mut self.forced.borrow_mut()[fault as usize];
        let happens = if *forced > 0 {
            *forced -= 1;
            true
        } else {
            // Nothing is drawn for what never happens, so that a fault more doesn't change the run of the others.
            let chance = self.faults.get().chance(fault);
            chance != Chance::NEVER && chance.happens(&mut self.rng.borrow_mut())
        };
        self.happened.borrow_mut()[fault as usize] += u64::from(happens);
        happens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forced_fault_happens_once_and_is_counted() {
        let plan = FaultPlan::new(SplitMix64::new(1));
        assert!(!plan.happens(Fault::Race));
        plan.force(Fault::Race);
        assert!(!plan.happens(Fault::LateEvent));
        assert!(plan.happens(Fault::Race));
        assert!(!plan.happens(Fault::Race));
        assert_eq!(
            (plan.happened(Fault::Race), plan.happened(Fault::LateEvent)),
            (1, 0)
        );
    }

    #[test]
    fn each_fault_has_a_chance_of_its_own() {
        let plan = FaultPlan::new(SplitMix64::new(2));
        for &fault in Fault::ALL {
            plan.set(Faults::NONE.with(fault, Chance::ALWAYS));
            for &other in Fault::ALL {
                assert_eq!(
                    plan.happens(other),
                    other == fault,
                    "{fault:?} and {other:?}"
                );
            }
        }
    }
}
