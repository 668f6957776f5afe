//! The logger is one for a program: it has a test of its own.

use std::cell::RefCell;
use std::fmt;

use mirage_xen::console::{LineSink, logger};

#[derive(Default)]
struct Lines(RefCell<Vec<String>>);

impl LineSink for Lines {
    fn line(&self, line: fmt::Arguments<'_>) {
        self.0.borrow_mut().push(line.to_string());
    }
}

#[test]
fn records_go_to_one_sink_and_then_to_another() {
    let (first, second): (&Lines, &Lines) = (Box::leak(Box::default()), Box::leak(Box::default()));
    // SAFETY: this test is the only one of its program, and its thread the only one that logs.
    let logging = unsafe { logger::install(first) }.unwrap();
    log::info!(target: "test", "one");
    log::debug!(target: "test", "too detailed");
    logging.redirect(second);
    logging.set_level(log::LevelFilter::Debug);
    log::debug!(target: "test", "two");
    logging.line(format_args!("three"));
    assert_eq!(*first.0.borrow(), ["INFO  test: one"]);
    assert_eq!(*second.0.borrow(), ["DEBUG test: two", "three"]);
    // SAFETY: as above.
    assert!(unsafe { logger::install(first) }.is_err());
    log::info!(target: "test", "four");
    assert_eq!(second.0.borrow().len(), 3);
}
