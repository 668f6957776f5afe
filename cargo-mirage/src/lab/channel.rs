//! The tool's end of the line to dom0: commands, several at once, with their input, output and exit status.

use std::collections::HashMap;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Fault};
use crate::lab::frame::{self, Frame, Verb};

/// How much of a command's output may wait to be read, in bytes. A command that goes beyond is killed: else it would
/// hold up all others, or fill the memory.
const UNREAD: usize = 64 << 20;

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It wrote to its standard output.
    Out(Vec<u8>),
    /// It wrote to its standard error.
    Err(Vec<u8>),
    /// It ended with this status, 128 and the signal if one ended it. Nothing follows.
    End(u8),
}

/// What a command that ended has printed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Its exit status.
    pub status: u8,
    /// Its standard output.
    pub out: Vec<u8>,
    /// Its standard error.
    pub err: Vec<u8>,
}

impl Output {
    /// Its standard output as text, without white space at the ends.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).trim().to_owned()
    }
}

#[derive(Debug)]
struct Listener {
    events: mpsc::Sender<Event>,
    unread: Arc<AtomicUsize>,
}

/// The line to dom0.
#[derive(Debug)]
pub struct Channel {
    writer: Mutex<UnixStream>,
    listeners: Mutex<HashMap<u32, Listener>>,
    next: AtomicU32,
}

impl Channel {
    /// Takes a connection on which the agent has not spoken yet. `on_hello` is called when it does, with dom0's uptime
    /// in seconds; `on_end` when the line ends, with the reason if it is not just the end.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if the connection can't be used from two threads.
    pub fn new(
        stream: UnixStream,
        on_hello: impl FnOnce(f64) + Send + 'static,
        on_end: impl FnOnce(Option<String>) + Send + 'static,
    ) -> Result<Arc<Self>, Error> {
        let reader = stream.try_clone().map_err(|error| Error::Unsupported {
            reason: format!("the connection to dom0: {error}"),
        })?;
        let channel = Arc::new(Self {
            writer: Mutex::new(stream),
            listeners: Mutex::default(),
            next: AtomicU32::new(1),
        });
        let weak = Arc::downgrade(&channel);
        thread::spawn(move || {
            let mut reader = BufReader::with_capacity(1 << 17, reader);
            let mut on_hello = Some(on_hello);
            let reason = loop {
                match Frame::read(&mut reader) {
                    Ok(Some(frame)) if frame.verb == Verb::Hello => {
                        let text = String::from_utf8_lossy(&frame.payload).into_owned();
                        if let Some(on_hello) = on_hello.take() {
                            on_hello(text.trim().parse().unwrap_or(0.0));
                        }
                    }
                    Ok(Some(frame)) => match weak.upgrade() {
                        Some(channel) => channel.deliver(frame),
                        None => break None,
                    },
                    Ok(None) => break None,
                    Err(error) => break Some(error.to_string()),
                }
            };
            if let Some(channel) = weak.upgrade() {
                // Whoever waits is told by the end of its events.
                channel.listeners().clear();
            }
            on_end(reason);
        });
        Ok(channel)
    }

    /// Starts a command: a script for `sh -c`, and its whole input.
    ///
    /// # Errors
    ///
    /// [`Error::ProgramFailed`] if dom0 is gone.
    pub fn start(self: &Arc<Self>, script: &str, input: &[u8]) -> Result<Running, Error> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (events, receiver) = mpsc::channel();
        let unread = Arc::new(AtomicUsize::new(0));
        let listener = Listener {
            events,
            unread: Arc::clone(&unread),
        };
        self.listeners().insert(number, listener);
        let running = Running {
            channel: Arc::clone(self),
            number,
            events: receiver,
            unread,
            ended: false,
        };
        if !input.is_empty() {
            self.send(Verb::In, number, input)
                .map_err(|error| gone(script, &error))?;
        }
        if script.len() > frame::MAXIMUM_LENGTH {
            return Err(gone(
                "a script",
                &format!("longer than {} bytes", frame::MAXIMUM_LENGTH),
            ));
        }
        self.send(Verb::Run, number, script.as_bytes())
            .map_err(|error| gone(script, &error))?;
        Ok(running)
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    ///
    /// [`Error::ProgramFailed`] if dom0 is gone, or the command has not ended after `limit`.
    pub fn run(
        self: &Arc<Self>,
        script: &str,
        input: &[u8],
        limit: Duration,
    ) -> Result<Output, Error> {
        let mut running = self.start(script, input)?;
        let until = Instant::now() + limit;
        let mut output = Output::default();
        loop {
            match running.next(until.saturating_duration_since(Instant::now())) {
                Next::Event(Event::Out(bytes)) => output.out.extend(bytes),
                Next::Event(Event::Err(bytes)) => output.err.extend(bytes),
                Next::Event(Event::End(status)) => {
                    output.status = status;
                    return Ok(output);
                }
                Next::Nothing => {
                    return Err(gone(
                        script,
                        &format!("not done after {} s", limit.as_secs()),
                    ));
                }
                Next::Gone => return Err(gone(script, &"dom0 is gone")),
            }
        }
    }

    fn send(&self, verb: Verb, number: u32, payload: &[u8]) -> std::io::Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        frame::write(&mut *writer, verb, number, payload)
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<u32, Listener>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Frames of commands that nobody listens to any more are dropped: they were killed.
    fn deliver(&self, frame: Frame) {
        let mut listeners = self.listeners();
        let Some(listener) = listeners.get(&frame.command) else {
            return;
        };
        let event = match frame.verb {
            Verb::Out => Event::Out(frame.payload),
            Verb::Err => Event::Err(frame.payload),
            Verb::End => {
                let text = String::from_utf8_lossy(&frame.payload).into_owned();
                Event::End(text.parse().unwrap_or(255))
            }
            _ => return,
        };
        let (length, end) = match &event {
            Event::Out(bytes) | Event::Err(bytes) => (bytes.len(), false),
            Event::End(_) => (0, true),
        };
        let unread = listener.unread.fetch_add(length, Ordering::Relaxed) + length;
        let heard = listener.events.send(event).is_ok();
        if end || !heard {
            listeners.remove(&frame.command);
        } else if unread > UNREAD {
            let text = b"lab: killed: too much output that nobody reads\n".to_vec();
            let _ = listener.events.send(Event::Err(text));
            let _ = listener.events.send(Event::End(137));
            listeners.remove(&frame.command);
            drop(listeners);
            let _ = self.send(Verb::Kill, frame.command, &[]);
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // The thread that reads has a handle of its own. If the other end is gone already, so much the better.
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = writer.shutdown(std::net::Shutdown::Both);
    }
}

/// A command that runs in dom0; it is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    channel: Arc<Channel>,
    number: u32,
    events: mpsc::Receiver<Event>,
    unread: Arc<AtomicUsize>,
    ended: bool,
}

/// What came of waiting for a command's next event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Something happened.
    Event(Event),
    /// Nothing, for so long.
    Nothing,
    /// dom0 is gone, or the command has ended before.
    Gone,
}

impl Running {
    /// Waits for what it does next, at most that long.
    pub fn next(&mut self, limit: Duration) -> Next {
        match self.events.recv_timeout(limit) {
            Ok(event) => {
                match &event {
                    Event::Out(bytes) | Event::Err(bytes) => {
                        self.unread.fetch_sub(bytes.len(), Ordering::Relaxed);
                    }
                    Event::End(_) => self.ended = true,
                }
                Next::Event(event)
            }
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => {
                self.ended = true;
                Next::Gone
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.channel.listeners().remove(&self.number);
            // If dom0 is gone, so is the command.
            let _ = self.channel.send(Verb::Kill, self.number, &[]);
        }
    }
}

fn gone(script: &str, reason: &dyn core::fmt::Display) -> Error {
    Error::ProgramFailed {
        command: format!("dom0: {}", script.lines().next().unwrap_or("")),
        status: reason.to_string(),
        output: String::new(),
        fault: Fault::Machine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LONG: Duration = Duration::from_secs(60);

    /// A channel, and dom0's end of it.
    fn pair() -> (Arc<Channel>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let channel = Channel::new(ours, |_| {}, |_| {}).unwrap();
        (channel, theirs)
    }

    fn read(stream: &UnixStream, count: usize) -> Vec<Frame> {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        (0..count)
            .map(|_| Frame::read(&mut reader).unwrap().unwrap())
            .collect()
    }

    #[test]
    fn two_commands_at_once_keep_their_output_apart() {
        let (channel, mut dom0) = pair();
        let mut one = channel.start("one", b"").unwrap();
        let mut two = channel.start("two", b"input").unwrap();
        let frames = read(&dom0, 3);
        assert_eq!(frames[0].payload, b"one");
        assert_eq!(
            (frames[1].verb, frames[1].payload.as_slice()),
            (Verb::In, &b"input"[..])
        );
        assert_eq!(
            (frames[2].verb, frames[2].payload.as_slice()),
            (Verb::Run, &b"two"[..])
        );
        let (a, b) = (frames[0].command, frames[2].command);
        assert_ne!(a, b);
        for (verb, command, payload) in [
            (Verb::Out, b, "2"),
            (Verb::Out, a, "1"),
            (Verb::Err, b, "e"),
            (Verb::End, b, "3"),
            (Verb::Out, a, "1"),
            (Verb::End, a, "0"),
        ] {
            frame::write(&mut dom0, verb, command, payload.as_bytes()).unwrap();
        }
        assert_eq!(two.next(LONG), Next::Event(Event::Out(b"2".to_vec())));
        assert_eq!(two.next(LONG), Next::Event(Event::Err(b"e".to_vec())));
        assert_eq!(two.next(LONG), Next::Event(Event::End(3)));
        assert_eq!(two.next(LONG), Next::Gone);
        assert_eq!(one.next(LONG), Next::Event(Event::Out(b"1".to_vec())));
        assert_eq!(one.next(LONG), Next::Event(Event::Out(b"1".to_vec())));
        assert_eq!(one.next(LONG), Next::Event(Event::End(0)));
    }

    #[test]
    fn a_dropped_command_is_killed_and_one_that_ended_is_not() {
        let (channel, mut dom0) = pair();
        let mut ended = channel.start("ended", b"").unwrap();
        let number = read(&dom0, 1)[0].command;
        frame::write(&mut dom0, Verb::End, number, b"0").unwrap();
        assert_eq!(ended.next(LONG), Next::Event(Event::End(0)));
        drop(ended);
        drop(channel.start("dropped", b"").unwrap());
        let frames = read(&dom0, 2);
        assert_eq!(frames[0].payload, b"dropped");
        assert_eq!(
            (frames[1].verb, frames[1].command),
            (Verb::Kill, frames[0].command)
        );
    }

    #[test]
    fn whoever_waits_is_told_that_dom0_is_gone() {
        let (channel, dom0) = pair();
        let mut running = channel.start("x", b"").unwrap();
        drop(dom0);
        assert_eq!(running.next(LONG), Next::Gone);
        assert!(channel.run("y", b"", LONG).is_err());
    }

    #[test]
    fn nonsense_ends_the_line_with_a_reason() {
        let (ours, mut dom0) = UnixStream::pair().unwrap();
        let (sender, receiver) = mpsc::channel();
        let channel =
            Channel::new(ours, |_| {}, move |reason| sender.send(reason).unwrap()).unwrap();
        let mut running = channel.start("x", b"").unwrap();
        dom0.write_all(b"Kernel panic - not syncing\n").unwrap();
        let reason = receiver.recv_timeout(LONG).unwrap().unwrap();
        assert!(reason.contains("Kernel panic"), "{reason}");
        assert_eq!(running.next(LONG), Next::Gone);
    }

    #[test]
    fn a_script_that_no_frame_holds_is_refused() {
        let (channel, _dom0) = pair();
        let script = "#".repeat(frame::MAXIMUM_LENGTH + 1);
        assert!(channel.start(&script, b"").is_err());
    }
}
