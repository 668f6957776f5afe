//! The crate `log`'s macros, to a [`LineSink`].
//!
//! ```no_run
//! # use mirage_xen::console::{Console, EmergencyConsole, logger};
//! # use mirage_xen::Hypervisor;
//! # fn example<H: Hypervisor>(emergency: &'static EmergencyConsole<H>, console: &'static Console<H>) {
//! let level = logger::level("ip=10.0.0.2/24 log=debug").unwrap_or(None);
//! // SAFETY: an appliance has one processor, takes no interrupt, and starts no thread.
//! let logging = unsafe { logger::install(emergency) }.unwrap();
//! logging.set_level(level.unwrap_or(log::LevelFilter::Info));
//! log::info!("Xen's own log has this");
//! logging.redirect(console);
//! log::info!("and the console this");
//! # }
//! ```

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;

use log::{LevelFilter, Log, Metadata, Record, SetLoggerError};
use mirage_core::Clock;

use super::line::LineSink;

/// Where records go, and what time it is.
struct Logger {
    sink: Cell<Option<&'static dyn LineSink>>,
    clock: Cell<Option<&'static dyn Clock>>,
}

// SAFETY: the cells, and what they lead to, are touched by `Logging`, which does not leave its thread, and by `log`,
// once this was given to the crate `log`. That is done by `install` alone, whose caller says that the thread which
// called it is the only one.
unsafe impl Sync for Logger {}
// SAFETY: `Log` wants it; nobody moves a static.
unsafe impl Send for Logger {}

static LOGGER: Logger = Logger {
    sink: Cell::new(None),
    clock: Cell::new(None),
};

/// Makes the crate `log`'s macros speak to `sink`, once, at the level [`LevelFilter::Info`].
///
/// # Safety
///
/// The calling thread is the only one, from now to the program's end, that uses the macros of the crate `log`, or its
/// logger in another way: the sink and the clock are used without a lock, and by whoever logs. No interrupt's handler
/// does so, either.
///
/// # Errors
///
/// There is a logger already.
pub unsafe fn install(sink: &'static dyn LineSink) -> Result<Logging, SetLoggerError> {
    // First, since it succeeds once: nobody else touches the cells then.
    log::set_logger(&LOGGER)?;
    LOGGER.sink.set(Some(sink));
    log::set_max_level(LevelFilter::Info);
    Ok(Logging {
        not_send: PhantomData,
    })
}

/// Proof that [`install`] has succeeded, on this thread: the logger's settings.
#[derive(Clone, Copy, Debug)]
pub struct Logging {
    /// Neither `Send` nor `Sync`.
    not_send: PhantomData<*const ()>,
}

impl Logging {
    /// Has records go elsewhere from now on.
    pub fn redirect(self, sink: &'static dyn LineSink) {
        LOGGER.sink.set(Some(sink));
    }

    /// Has records begin with the time of a clock, in seconds since its start.
    pub fn set_clock(self, clock: &'static dyn Clock) {
        LOGGER.clock.set(Some(clock));
    }

    /// Has records dropped that are more detailed than this.
    pub fn set_level(self, level: LevelFilter) {
        log::set_max_level(level);
    }

    /// Says a line that is no record, as it is: what somebody waits for.
    pub fn line(self, line: fmt::Arguments<'_>) {
        if let Some(sink) = LOGGER.sink.get() {
            sink.line(line);
        }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(sink) = self.sink.get()
            && self.enabled(record.metadata())
        {
            write_record(sink, self.clock.get(), record);
        }
    }

    fn flush(&self) {}
}

/// A record, as a line.
fn write_record(sink: &dyn LineSink, clock: Option<&dyn Clock>, record: &Record<'_>) {
    let (level, target, message) = (record.level(), record.target(), record.args());
    match clock {
        Some(clock) => {
            let now = clock.now();
            let (seconds, rest) = (
                now.as_nanos() / 1_000_000_000,
                now.as_nanos() % 1_000_000_000,
            );
            let microseconds = rest / 1_000;
            sink.line(format_args!(
                "[{seconds:5}.{microseconds:06}] {level:5} {target}: {message}"
            ));
        }
        None => sink.line(format_args!("{level:5} {target}: {message}")),
    }
}

/// The level that a command line asks for: the last `log=off`, `log=error`, `log=warn`, `log=info`, `log=debug` or
/// `log=trace` among its words. `None` if there is no such word.
///
/// # Errors
///
/// The word that is no level.
pub fn level(command_line: &str) -> Result<Option<LevelFilter>, UnknownLevel<'_>> {
    let words = command_line.split_ascii_whitespace().rev();
    let Some(word) = words.filter_map(|word| word.strip_prefix("log=")).next() else {
        return Ok(None);
    };
    word.parse().map(Some).map_err(|_| UnknownLevel(word))
}

/// The command line asks for a level that there is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLevel<'a>(pub &'a str);

impl fmt::Display for UnknownLevel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the command line has log={}, which is none of off, error, warn, info, debug, trace",
            self.0
        )
    }
}

impl core::error::Error for UnknownLevel<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use log::Level;
    use mirage_core::doubles::VirtualClock;
    use mirage_core::time::Instant;
    use std::string::{String, ToString};

    struct Lines(RefCell<String>);

    impl LineSink for Lines {
        fn line(&self, line: fmt::Arguments<'_>) {
            *self.0.borrow_mut() += &(line.to_string() + "\n");
        }
    }

    #[test]
    fn a_record_is_a_line_with_time_level_and_target() {
        let lines = Lines(RefCell::default());
        let clock = VirtualClock::new();
        clock.advance_to(Instant::from_nanos(12_345_678_999));
        let say = |clock: Option<&dyn Clock>| {
            let mut record = Record::builder();
            record.level(Level::Warn).target("net");
            write_record(&lines, clock, &record.args(format_args!("gone")).build());
        };
        say(None);
        say(Some(&clock));
        let expected = "WARN  net: gone\n[   12.345678] WARN  net: gone\n";
        assert_eq!(*lines.0.borrow(), expected);
    }

    #[test]
    fn the_command_line_has_the_level() {
        assert_eq!(
            level("ip=10.0.0.2/24 log=debug"),
            Ok(Some(LevelFilter::Debug))
        );
        assert_eq!(level("log=debug log=off"), Ok(Some(LevelFilter::Off)));
        assert_eq!(level("log=INFO"), Ok(Some(LevelFilter::Info)));
        assert_eq!(level("xlog=debug logs=info"), Ok(None));
        assert_eq!(level(""), Ok(None));
        let unknown = level("log=loud").unwrap_err();
        assert_eq!(unknown, UnknownLevel("loud"));
        assert!(unknown.to_string().contains("log=loud"));
        assert_eq!(level("log="), Err(UnknownLevel("")));
    }
}
