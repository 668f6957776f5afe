//! What programs of other domains are to the machine.

use std::cell::{Cell, RefCell};
use std::vec::Vec;

use super::machine::Machine;

/// A backend's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BackendId(pub(super) usize);

/// A program of another domain, that serves the one under test. It runs a moment after it was told to, and does then all
/// that it can; what it reaches of the domain it reaches through the machine.
pub(super) trait Backend {
    /// Runs once.
    fn run(&self, machine: &'static Machine);

    /// The domain makes a hypercall, while this program does what it must not.
    fn meddle(&self, machine: &'static Machine) {
        let _ = machine;
    }

    /// The domain goes on in a new one: what is connected to the old is let go, while its memory is still there.
    fn reset(&self, machine: &'static Machine);

    /// The toolstack has made the new one's keys: those of devices are this program's to make.
    fn rebuild(&self, machine: &'static Machine) {
        let _ = machine;
    }
}

/// All backends, and when each runs next (nanoseconds since the simulation's start).
#[derive(Default)]
pub(super) struct Backends {
    all: RefCell<Vec<&'static dyn Backend>>,
    due: RefCell<Vec<Cell<Option<u64>>>>,
}

impl Backends {
    pub(super) fn add(&self, backend: &'static dyn Backend) -> BackendId {
        self.all.borrow_mut().push(backend);
        self.due.borrow_mut().push(Cell::new(None));
        BackendId(self.all.borrow().len() - 1)
    }

    /// It runs at `due` at the latest.
    pub(super) fn schedule(&self, id: BackendId, due: u64) {
        let at = &self.due.borrow()[id.0];
        at.set(Some(at.get().map_or(due, |before| before.min(due))));
    }

    /// Who runs next, and when.
    pub(super) fn next(&self) -> Option<(u64, BackendId)> {
        let due = self.due.borrow();
        let all = due.iter().enumerate();
        all.filter_map(|(index, at)| Some((at.get()?, BackendId(index))))
            .min()
    }

    /// The backend, which is not due any more.
    pub(super) fn take(&self, id: BackendId) -> &'static dyn Backend {
        self.due.borrow()[id.0].set(None);
        self.all.borrow()[id.0]
    }

    pub(super) fn reset(&self, machine: &'static Machine) {
        for due in &*self.due.borrow() {
            due.set(None);
        }
        self.for_each(|backend| backend.reset(machine));
    }

    pub(super) fn for_each(&self, act: impl Fn(&'static dyn Backend)) {
        // By number: what is done may add one.
        let mut index = 0;
        loop {
            let backend = self.all.borrow().get(index).copied();
            let Some(backend) = backend else {
                return;
            };
            act(backend);
            index += 1;
        }
    }
}
