//! The console: what the domain says, and what is typed to it (io/console.h).
//!
//! | type | what it is |
//! | --- | --- |
//! | [`Console`] | the domain's end of the console's ring |
//! | [`EmergencyConsole`] | Xen's own log, which works before the console and after a fault |
//! | [`LineSink`] | either of them: where lines go |
//! | [`logger`] | the crate `log`'s macros, to one of them |
//!
//! Nothing waits for the console: a line goes into a bounded buffer and from there into the ring, as far as there is
//! room. **When the buffer is full, the newest line is dropped**, as a whole, and counted: what led to it stays, and
//! no line is torn. The next one that fits is told how many are missing. A console that nobody serves so costs its
//! buffer, and nothing else.
//!
//! A line may hold what came from a wire or another domain. Control characters in it are escaped, line ends among
//! them: nobody's text can move the cursor, or look like a line of its own.

mod emergency;
mod input;
mod line;
pub mod logger;
mod output;
#[cfg(test)]
mod tests;

use core::cell::{Cell, RefCell};
use core::fmt::{self, Write};
use core::future::poll_fn;
use core::task::{Context, Poll};

use mirage_core::event::Event;

pub use emergency::EmergencyConsole;
pub use input::LineError;
pub use line::LineSink;

use self::input::{InputLine, Typed};
use self::line::Escape;
use self::output::OutputQueue;
use crate::abi::console::{ConsoleInterface, INPUT_SIZE};
use crate::abi::parameter::Parameter;
use crate::byte_ring::{Consumer, IndexFault, Producer};
use crate::connection::{self, ConnectError};
use crate::event_channel::{EventChannels, EventPort};
use crate::hypervisor::{Hypervisor, SharedPage};
use crate::static_cell::StaticValue;
use crate::suspend::{Resume, ResumeError, Stage};

/// How many bytes go from the buffer into the ring at a time.
const PIECE: usize = 128;

/// The domain's end of the console. One for a domain, for the life of the program.
///
/// Lines go out at once while there is room in the ring; [`run`](Self::run), a task of its own, sends the rest when
/// there is.
pub struct Console<H: Hypervisor> {
    channels: &'static EventChannels<H>,
    ring: RefCell<Ring>,
    port: RefCell<EventPort<H>>,
    output: RefCell<OutputQueue<'static>>,
    input: RefCell<InputLine<'static>>,
    /// The port is another.
    attention: Event,
    /// There may be something to read.
    readable: Event,
    /// The console may have taken something.
    taken: Event,
    /// Bytes that the console had not taken before the domain was suspended.
    at_risk: Cell<u32>,
    /// The ring is not ours to touch: a suspension has begun, and it isn't known yet how it ended. What is said waits.
    held: Cell<bool>,
    counters: Tally,
}

struct Ring {
    output: Producer,
    input: Consumer,
}

/// What the console counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsoleCounters {
    /// Lines taken.
    pub lines: u64,
    /// Lines dropped: the buffer was full.
    pub dropped_full: u64,
    /// Lines dropped: they were said while another was being said, by what that one shows.
    pub dropped_nested: u64,
    /// Lines dropped: what they show failed to show itself.
    pub dropped_format: u64,
    /// Bytes put into the ring.
    pub bytes: u64,
    /// Bytes that the console had not taken when the domain was resumed elsewhere.
    pub lost_bytes: u64,
    /// How often an index of the console's could not be. Nothing was moved then.
    pub faults: u64,
    /// Notifications that could not be sent.
    pub notify_errors: u64,
    /// Lines read.
    pub input_lines: u64,
    /// Lines read that were too long, or no text.
    pub input_errors: u64,
    /// Bytes dropped: there was something in the ring before us.
    pub stale_bytes: u64,
}

#[derive(Default)]
struct Tally {
    lines: Cell<u64>,
    dropped_full: Cell<u64>,
    dropped_nested: Cell<u64>,
    dropped_format: Cell<u64>,
    bytes: Cell<u64>,
    lost_bytes: Cell<u64>,
    faults: Cell<u64>,
    notify_errors: Cell<u64>,
    input_lines: Cell<u64>,
    input_errors: Cell<u64>,
    stale_bytes: Cell<u64>,
}

fn add(counter: &Cell<u64>, count: u64) {
    counter.set(counter.get().wrapping_add(count));
}

impl Ring {
    fn new(page: SharedPage) -> Self {
        // SAFETY: `ConsoleInterface` consists of atomics, for which every bit pattern is valid.
        let interface: &'static ConsoleInterface = unsafe { page.cast() };
        Self {
            output: Producer::new(
                &interface.output,
                &interface.output_producer,
                &interface.output_consumer,
            ),
            input: Consumer::new(
                &interface.input,
                &interface.input_producer,
                &interface.input_consumer,
            ),
        }
    }

    /// Takes up the indices, and drops what was typed to somebody before.
    fn attach(&self) -> Result<u32, IndexFault> {
        // Both, whatever is wrong with one of them: a fault may be over at the next look.
        let output = self.output.attach();
        self.input.attach()?;
        let stale = self.input.drop_all()?;
        output.map(|()| stale)
    }
}

impl<H: Hypervisor> Console<H> {
    /// The console that the toolstack has made for the domain.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], if there is none that could be used. `memory` is lost then.
    pub fn new(
        channels: &'static EventChannels<H>,
        memory: ConsoleMemory,
    ) -> Result<Self, ConnectError> {
        let ring = Ring::new(channels.hypervisor().console_page()?);
        let port = connection::adopt(channels, Parameter::ConsolePort)?;
        let console = Self {
            channels,
            ring: RefCell::new(ring),
            port: RefCell::new(port),
            output: RefCell::new(OutputQueue::new(memory.output)),
            input: RefCell::new(InputLine::new(memory.line)),
            attention: Event::new(),
            readable: Event::new(),
            taken: Event::new(),
            at_risk: Cell::new(0),
            held: Cell::new(false),
            counters: Tally::default(),
        };
        console.attach();
        Ok(console)
    }

    /// As [`new`](Self::new), with the default [`ConsoleStorage`] from the allocator, for the life of the program.
    ///
    /// # Errors
    ///
    /// As there.
    #[cfg(any(feature = "alloc", test))]
    #[inline(never)]
    pub fn leak(channels: &'static EventChannels<H>) -> Result<&'static Self, ConnectError> {
        let console = Self::new(channels, ConsoleMemory::leak())?;
        Ok(alloc::boxed::Box::leak(alloc::boxed::Box::new(console)))
    }

    /// Moves what waits when the console has taken something, for ever: a task of its own.
    pub async fn run(&self) -> ! {
        loop {
            poll_fn(|context| self.poll_attention(context)).await;
            self.flush();
            self.readable.set();
            self.taken.set();
        }
    }

    /// Waits until the console has taken all that was said before. One that nobody serves makes this wait for ever:
    /// bound it by a timeout. One task at a time.
    pub async fn drain(&self) {
        loop {
            self.flush();
            let waiting = !self.output.borrow().is_empty();
            // A fault is not the end: the next look may find none.
            if !waiting && self.ring.borrow().output.used() == Ok(0) {
                return;
            }
            self.taken.wait().await;
        }
    }

    /// Waits for a line that is typed, and puts it into `buffer` without its end. A backspace takes back the last
    /// character; other control characters are ignored. Nothing is echoed. Dropping the future loses nothing. One
    /// task at a time.
    ///
    /// # Errors
    ///
    /// [`LineError`]: the line is dropped.
    pub async fn read_line<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b str, LineError> {
        loop {
            // Taken before the look: what comes during it leads to another one.
            self.readable.take();
            if let Some(typed) = self.look_for_line() {
                let result = typed.and_then(|length| {
                    let mut input = self.input.borrow_mut();
                    let line = input.take(length);
                    let room = buffer.get_mut(..length).ok_or(LineError::TooLong)?;
                    room.copy_from_slice(line);
                    Ok(length)
                });
                let line = result.and_then(|length| {
                    core::str::from_utf8(&buffer[..length]).map_err(|_| LineError::NotText)
                });
                let counter = match line {
                    Ok(_) => &self.counters.input_lines,
                    Err(_) => &self.counters.input_errors,
                };
                add(counter, 1);
                return line;
            }
            self.readable.wait().await;
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> ConsoleCounters {
        let counters = &self.counters;
        ConsoleCounters {
            lines: counters.lines.get(),
            dropped_full: counters.dropped_full.get(),
            dropped_nested: counters.dropped_nested.get(),
            dropped_format: counters.dropped_format.get(),
            bytes: counters.bytes.get(),
            lost_bytes: counters.lost_bytes.get(),
            faults: counters.faults.get(),
            notify_errors: counters.notify_errors.get(),
            input_lines: counters.input_lines.get(),
            input_errors: counters.input_errors.get(),
            stale_bytes: counters.stale_bytes.get(),
        }
    }

    /// After the domain was resumed as another one: takes up the ring, whose page the toolstack has cleared, and its
    /// new port. [`Resume`] calls it. What waits in the buffer is said there.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]: there is no console any more. Lines are dropped when the buffer is full.
    pub fn restored(&self) -> Result<(), ConnectError> {
        let ring = Ring::new(self.channels.hypervisor().console_page()?);
        let port = connection::adopt(self.channels, Parameter::ConsolePort)?;
        self.ring.replace(ring);
        self.port.replace(port);
        self.held.set(false);
        add(&self.counters.lost_bytes, self.at_risk.take().into());
        self.attach();
        self.flush();
        // The task has to look at the new port's token.
        self.attention.set();
        Ok(())
    }

    fn attach(&self) {
        match self.ring.borrow().attach() {
            Ok(stale) => add(&self.counters.stale_bytes, stale.into()),
            Err(_) => add(&self.counters.faults, 1),
        }
    }

    fn poll_attention(&self, context: &mut Context<'_>) -> Poll<()> {
        // Both, so that both know whom to wake. The events are taken before the ring is looked at.
        let attention = self.attention.poll_wait(context);
        let event = self.port.borrow().event().poll_wait(context);
        if attention.is_pending() && event.is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Moves from the buffer into the ring what fits.
    fn flush(&self) {
        if self.held.get() {
            return;
        }
        // Somebody who is saying a line flushes when it is whole.
        let Ok(mut output) = self.output.try_borrow_mut() else {
            return;
        };
        let ring = self.ring.borrow();
        let mut piece = [0; PIECE];
        let mut moved = 0;
        loop {
            let Ok(free) = ring.output.free() else {
                add(&self.counters.faults, 1);
                break;
            };
            let length = output.pop(&mut piece[..PIECE.min(free as usize)]);
            if length == 0 {
                break;
            }
            ring.output.put(&piece[..length]);
            moved += length;
        }
        if moved != 0 {
            ring.output.publish();
            add(&self.counters.bytes, moved as u64);
            self.notify();
        }
    }

    fn notify(&self) {
        if self.port.borrow().notify().is_err() {
            add(&self.counters.notify_errors, 1);
        }
    }

    /// Takes from the ring up to the end of a line, whose length it is, or what is wrong with it. As much as the ring holds
    /// at most: where more comes as fast as it is taken, another look follows.
    fn look_for_line(&self) -> Option<Result<usize, LineError>> {
        let mut input = self.input.borrow_mut();
        let ring = self.ring.borrow();
        let mut waits = false;
        let mut left = INPUT_SIZE;
        let typed = loop {
            if left == 0 {
                self.readable.set();
                break None;
            }
            left -= 1;
            let mut byte = [0];
            match ring.input.take(&mut byte) {
                Ok((0, _)) => break None,
                Ok((_, was_full)) => waits |= was_full,
                Err(_) => {
                    add(&self.counters.faults, 1);
                    break None;
                }
            }
            match input.push(byte[0]) {
                Typed::More => {}
                Typed::Line(length) => break Some(Ok(length)),
                Typed::Wrong(error) => break Some(Err(error)),
            }
        };
        if waits {
            self.notify();
        }
        typed
    }
}

impl<H: Hypervisor> LineSink for Console<H> {
    fn line(&self, line: fmt::Arguments<'_>) {
        {
            let Ok(mut output) = self.output.try_borrow_mut() else {
                add(&self.counters.dropped_nested, 1);
                return;
            };
            output.begin();
            let ended = output
                .say_dropped()
                .and_then(|()| Escape(&mut *output).write_fmt(line))
                .and_then(|()| output.write_str("\r\n"));
            if ended.is_ok() {
                output.commit();
                add(&self.counters.lines, 1);
            } else if output.is_overrun() {
                output.drop_line();
                add(&self.counters.dropped_full, 1);
            } else {
                output.drop_line();
                add(&self.counters.dropped_format, 1);
            }
        }
        self.flush();
    }
}

impl<H: Hypervisor> Resume for Console<H> {
    fn stage(&self) -> Stage {
        Stage::Console
    }

    fn prepare(&self) {
        self.flush();
        self.at_risk
            .set(self.ring.borrow().output.used().unwrap_or(0));
        // What other parts say between the resume and our turn would go behind an index of the old ring.
        self.held.set(true);
    }

    fn cancelled(&self) {
        self.held.set(false);
        self.flush();
    }

    fn resumed(&self) -> Result<(), ResumeError> {
        Ok(self.restored()?)
    }
}

impl<H: Hypervisor> fmt::Debug for Console<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

/// Room for a [`Console`], in a `static`: `OUTPUT` bytes of lines that wait, and `LINE` bytes of the line that is
/// being typed.
pub struct ConsoleStorage<const OUTPUT: usize = 4_096, const LINE: usize = 128>(
    StaticValue<([u8; OUTPUT], [u8; LINE])>,
);

/// What was taken from a [`ConsoleStorage`], to make a [`Console`] of.
#[derive(Debug)]
pub struct ConsoleMemory {
    output: &'static mut [u8],
    line: &'static mut [u8],
}

impl<const OUTPUT: usize, const LINE: usize> ConsoleStorage<OUTPUT, LINE> {
    /// Room that nobody has taken.
    pub const fn new() -> Self {
        Self(StaticValue::new(([0; OUTPUT], [0; LINE])))
    }

    /// Takes the room, for the one console that it is for. `None` from the second call on.
    pub fn take(&'static self) -> Option<ConsoleMemory> {
        let (output, line) = self.0.take()?;
        Some(ConsoleMemory { output, line })
    }
}

impl<const OUTPUT: usize, const LINE: usize> Default for ConsoleStorage<OUTPUT, LINE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const OUTPUT: usize, const LINE: usize> fmt::Debug for ConsoleStorage<OUTPUT, LINE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleStorage").finish_non_exhaustive()
    }
}

#[cfg(any(feature = "alloc", test))]
impl ConsoleMemory {
    /// The room of the default numbers, from the global allocator, for the life of the program.
    pub fn leak() -> Self {
        use alloc::vec;
        Self {
            output: vec![0; 4_096].leak(),
            line: vec![0; 128].leak(),
        }
    }
}
