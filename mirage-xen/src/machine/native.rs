//! The domain of an image.

use alloc::boxed::Box;
use core::fmt;

use mirage_core::pool::PoolMetadata;
use mirage_core::{Pool, PoolError};

use super::{Machine, MachineError};
use crate::abi::PAGE_SIZE;
use crate::boot::{Boot, TakeError};
use crate::console::EmergencyConsole;
use crate::console::logger::{self, Logging};
use crate::native::NativeHypervisor;
use crate::platform::XenUnparker;
use crate::static_cell::StaticValue;

/// I/O pages at most: there is room for what the pool knows of each.
pub const MAXIMUM_IO_PAGES: usize = 1_024;
/// I/O pages at least: a network device's and what a stack holds besides.
pub const MINIMUM_IO_PAGES: usize = 160;

type Metadata = PoolMetadata<MAXIMUM_IO_PAGES, 8, 8, 64>;

// Too large for the stack.
static METADATA: StaticValue<Metadata> = StaticValue::new(PoolMetadata::new());

// SAFETY: an image has one virtual processor and one thread; IF is never set, so no handler of an interrupt runs, and those of
// exceptions never return, nor do they wake a task.
static UNPARKER: XenUnparker = unsafe { XenUnparker::only_thread() };

/// Lets the crate `log` speak, to Xen's own log until [`Machine::start`] has found the console. The first thing in an image's
/// main function. `None` from the second call on.
pub fn start_logging(boot: &Boot) -> Option<Logging> {
    let emergency = Box::leak(Box::new(EmergencyConsole::new(boot.hypervisor())));
    // SAFETY: an image has one thread, and no handler of an interrupt; whoever has a `Boot` is it.
    unsafe { logger::install(emergency) }.ok()
}

impl Machine<NativeHypervisor> {
    /// Puts together the domain that an image was started as: takes a sixteenth of its memory for I/O pages (within
    /// [`MINIMUM_IO_PAGES`] and [`MAXIMUM_IO_PAGES`]), [seals](Boot::seal) the page tables, does as
    /// [`Machine::leak`] does, and has what is logged go to the console. Once in a program.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    #[inline(never)]
    pub fn start(mut boot: Boot, logging: Option<Logging>) -> Result<&'static Self, StartError> {
        let memory = usize::try_from(boot.memory_sizes().heap).unwrap_or(usize::MAX);
        let pages = (memory / 16 / PAGE_SIZE).clamp(MINIMUM_IO_PAGES, MAXIMUM_IO_PAGES);
        let region = boot.take_io_pages(pages)?;
        let metadata = METADATA
            .take()
            .ok_or(StartError::Pool(PoolError::AlreadyInitialised))?;
        let pool = Pool::new(region, metadata, PAGE_SIZE)?;
        boot.seal();
        let entered = Some(boot.time_stamp_at_entry());
        let machine = Self::leak(boot.hypervisor(), pool, &UNPARKER, entered)?;
        if let (Some(logging), Some(console)) = (logging, machine.console()) {
            logging.redirect(console);
            logging.set_clock(machine.clock);
        }
        Ok(machine)
    }
}

/// Why an image can't go on from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// The toolstack's configuration: the domain has too little memory for I/O pages.
    Memory(TakeError),
    /// The program's: there is a pool already.
    Pool(PoolError),
    /// See there.
    Machine(MachineError),
}

impl From<TakeError> for StartError {
    fn from(error: TakeError) -> Self {
        Self::Memory(error)
    }
}

impl From<PoolError> for StartError {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<MachineError> for StartError {
    fn from(error: MachineError) -> Self {
        Self::Machine(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(error) => error.fmt(f),
            Self::Pool(error) => error.fmt(f),
            Self::Machine(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StartError {}
