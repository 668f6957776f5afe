//! Signals as a future.

use std::ffi::c_int;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll};

use rustix::io::Errno;
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};

use crate::platform::HostPlatform;
use crate::reactor::{Source, TooManySources};

/// The signals that ask a process to end, Ctrl-C (`SIGINT`) and `SIGTERM`, as a future.
///
/// From its making on, and also after it is dropped, they don't end the process. Several that come before anyone looks are
/// one.
///
/// ```no_run
/// # async fn f(platform: &'static mirage_host::HostPlatform) -> Result<(), mirage_host::SignalError> {
/// let mut end = mirage_host::EndSignals::new(platform)?;
/// end.wait().await;
/// println!("good-bye");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EndSignals {
    source: Source,
    registrations: [SigId; 2],
}

impl EndSignals {
    /// Takes over the handling of both signals.
    ///
    /// # Errors
    ///
    /// The system refuses a handler or a socket pair, or the platform watches as many descriptors as it can.
    pub fn new(platform: &'static HostPlatform) -> Result<Self, SignalError> {
        let (reader, writer) = UnixStream::pair().map_err(SignalError::System)?;
        reader.set_nonblocking(true).map_err(SignalError::System)?;
        let source = platform
            .source(OwnedFd::from(reader))
            .map_err(SignalError::Sources)?;
        let second = writer.try_clone().map_err(SignalError::System)?;
        let interrupt = register(SIGINT, writer)?;
        let terminate = register(SIGTERM, second).inspect_err(|_| {
            unregister(interrupt);
        })?;
        Ok(Self {
            source,
            registrations: [interrupt, terminate],
        })
    }

    /// Waits for one of the signals. Dropping the future loses none.
    pub async fn wait(&mut self) {
        poll_fn(|cx| self.poll_signal(cx)).await;
    }

    fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        poll_signal(&self.source, cx)
    }
}

fn poll_signal(source: &Source, cx: &mut Context<'_>) -> Poll<()> {
    if source.is_waited_for() {
        // Nothing has come since the last look. Often somebody looks who was woken for something else: no system call for that.
        source.wake_when_readable(cx);
        return Poll::Pending;
    }
    let mut bytes = [0; 64];
    loop {
        match rustix::io::read(source, &mut bytes) {
            Ok(_) => return Poll::Ready(()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                source.wake_when_readable(cx);
                return Poll::Pending;
            }
            // A socket pair of our own can't fail in another way; if it did, ending is what was asked for.
            Err(_) => return Poll::Ready(()),
        }
    }
}

/// The signal that asks a daemon to read its configuration again, `SIGHUP`, as a future.
///
/// From its making on, and also after it is dropped, the signal doesn't end the process. Several that come before anyone
/// looks are one.
#[derive(Debug)]
pub struct HangupSignal {
    source: Source,
    registration: SigId,
}

impl HangupSignal {
    /// Takes over the handling of the signal.
    ///
    /// # Errors
    ///
    /// The system refuses a handler or a socket pair, or the platform watches as many descriptors as it can.
    pub fn new(platform: &'static HostPlatform) -> Result<Self, SignalError> {
        let (reader, writer) = UnixStream::pair().map_err(SignalError::System)?;
        reader.set_nonblocking(true).map_err(SignalError::System)?;
        let source = platform
            .source(OwnedFd::from(reader))
            .map_err(SignalError::Sources)?;
        Ok(Self {
            source,
            registration: register(SIGHUP, writer)?,
        })
    }

    /// Waits for the signal. Dropping the future loses none.
    pub async fn wait(&mut self) {
        poll_fn(|cx| poll_signal(&self.source, cx)).await;
    }
}

impl Drop for HangupSignal {
    fn drop(&mut self) {
        unregister(self.registration);
    }
}

impl Drop for EndSignals {
    fn drop(&mut self) {
        for registration in self.registrations {
            unregister(registration);
        }
    }
}

fn register(signal: c_int, writer: UnixStream) -> Result<SigId, SignalError> {
    pipe::register(signal, writer).map_err(SignalError::System)
}

/// Signals can't be taken over.
#[derive(Debug)]
#[non_exhaustive]
pub enum SignalError {
    /// The system refused.
    System(io::Error),
    /// The platform watches as many descriptors as it can.
    Sources(TooManySources),
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => write!(f, "signals can't be handled: {error}"),
            Self::Sources(error) => write!(f, "signals can't be handled: {error}"),
        }
    }
}

impl std::error::Error for SignalError {}
