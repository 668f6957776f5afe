//! An executor in virtual time.

use std::cell::Cell;
use std::time::Duration;

use mirage_core::executor::{Executor, Platform, Unpark};
use mirage_core::{Clock, Instant};

/// An executor whose clock jumps to the next deadline instead of sleeping.
pub(crate) fn executor() -> &'static Executor {
    Executor::leak(Box::leak(Box::new(Virtual(Cell::new(Instant::ZERO)))))
}

struct Virtual(Cell<Instant>);

impl Clock for Virtual {
    fn now(&self) -> Instant {
        self.0.get()
    }

    fn wall(&self) -> Option<Duration> {
        None
    }
}

struct Nobody;

impl Unpark for Nobody {
    fn unpark(&self) {}
}

impl Platform for Virtual {
    fn park(&self, until: Option<Instant>) {
        self.0
            .set(until.expect("something that will happen").max(self.0.get()));
    }

    fn unparker(&self) -> &'static dyn Unpark {
        &Nobody
    }
}
