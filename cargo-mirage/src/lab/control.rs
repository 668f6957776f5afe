//! The socket on which a lab that runs takes commands for its dom0 from other processes.
//!
//! It speaks the frames of [`crate::lab::frame`], one command a connection: `in` frames, then one `run`; the answers are
//! `out`, `err` and `end`. The command's number is not looked at. Whoever closes the connection before the end has the
//! command killed.

use std::io::{self, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::lab::channel::{Channel, Event, Next};
use crate::lab::frame::{self, Frame, Verb};

/// How many connections may be open at once; more are closed at once.
const MAXIMUM_CONNECTIONS: usize = 32;

/// The most input that a command may be given this way, in bytes: it is kept in memory, here and in dom0.
const MAXIMUM_INPUT: usize = 256 << 20;

/// How often a command without output is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Calls `with` with a name for `path` that is short enough for a socket's address, however long the path is.
///
/// # Errors
///
/// [`Error::File`] if the folder can't be opened, or the call fails.
pub(crate) fn short<T>(
    path: &Path,
    action: &'static str,
    with: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<T, Error> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return with(path).map_err(Error::file(action, path));
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let folder = std::fs::File::open(folder).map_err(Error::file("open", folder))?;
    let short = Path::new("/proc/self/fd")
        .join(folder.as_raw_fd().to_string())
        .join(name);
    with(&short).map_err(Error::file(action, path))
}

/// Serves the socket until the process ends, or the lab does.
///
/// # Errors
///
/// [`Error::File`] if it can't be made.
pub fn serve(path: &Path, channel: &Arc<Channel>) -> Result<(), Error> {
    let listener = short(path, "make", |path| UnixListener::bind(path))?;
    let channel = Arc::downgrade(channel);
    thread::spawn(move || {
        let open = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming() {
            let (Ok(stream), Some(channel)) = (stream, channel.upgrade()) else {
                return;
            };
            if open.load(Ordering::Relaxed) >= MAXIMUM_CONNECTIONS {
                continue;
            }
            open.fetch_add(1, Ordering::Relaxed);
            let open = Arc::clone(&open);
            thread::spawn(move || {
                // Whoever asked is told by the end of the connection.
                if let Err(error) = answer(stream, &channel) {
                    log::debug!("control: {error}");
                }
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    Ok(())
}

fn answer(stream: UnixStream, channel: &Arc<Channel>) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut input = Vec::new();
    let script = loop {
        match Frame::read(&mut reader)? {
            Some(frame) if frame.verb == Verb::Run => break frame.payload,
            Some(frame) if frame.verb == Verb::In => {
                if input.len() + frame.payload.len() > MAXIMUM_INPUT {
                    let text = format!("lab: an input of more than {MAXIMUM_INPUT} bytes\n");
                    frame::write(&mut writer, Verb::Err, 0, text.as_bytes())?;
                    return frame::write(&mut writer, Verb::End, 0, b"255");
                }
                input.extend(frame.payload);
            }
            _ => return Ok(()),
        }
    };
    let script = String::from_utf8_lossy(&script).into_owned();
    let mut running = match channel.start(&script, &input) {
        Ok(running) => running,
        Err(error) => {
            frame::write(&mut writer, Verb::Err, 0, format!("{error}\n").as_bytes())?;
            return frame::write(&mut writer, Verb::End, 0, b"255");
        }
    };
    // Nothing more is to be said on the connection: what can be read is its end.
    let left = Arc::new(AtomicBool::new(false));
    let leaves = Arc::clone(&left);
    thread::spawn(move || {
        let _ = Frame::read(&mut reader);
        leaves.store(true, Ordering::Relaxed);
    });
    while !left.load(Ordering::Relaxed) {
        match running.next(LOOK) {
            Next::Event(Event::Out(bytes)) => frame::write(&mut writer, Verb::Out, 0, &bytes)?,
            Next::Event(Event::Err(bytes)) => frame::write(&mut writer, Verb::Err, 0, &bytes)?,
            Next::Event(Event::End(status)) => {
                frame::write(&mut writer, Verb::End, 0, status.to_string().as_bytes())?;
                break;
            }
            Next::Nothing => {}
            Next::Gone => break,
        }
    }
    writer.shutdown(std::net::Shutdown::Both)
}

/// Runs a command in the dom0 of the lab with that socket. What it prints is handed on as it comes; gives its status.
///
/// # Errors
///
/// [`Error::File`] if nobody listens there, or the lab ends before the command does.
pub fn ask(
    path: &Path,
    script: &str,
    input: &[u8],
    mut on_event: impl FnMut(&Event) -> io::Result<()>,
) -> Result<u8, Error> {
    let mut stream = short(path, "connect to", |path| UnixStream::connect(path))?;
    let failed = |error| Error::file("talk to", path)(error);
    if !input.is_empty() {
        frame::write(&mut stream, Verb::In, 0, input).map_err(failed)?;
    }
    if script.len() > frame::MAXIMUM_LENGTH {
        return Err(Error::Unsupported {
            reason: format!(
                "a command of {} bytes; at most {} go through",
                script.len(),
                frame::MAXIMUM_LENGTH
            ),
        });
    }
    frame::write(&mut stream, Verb::Run, 0, script.as_bytes()).map_err(failed)?;
    let mut reader = BufReader::new(stream);
    while let Some(frame) = Frame::read(&mut reader).map_err(failed)? {
        let event = match frame.verb {
            Verb::Out => Event::Out(frame.payload),
            Verb::Err => Event::Err(frame.payload),
            Verb::End => {
                let text = String::from_utf8_lossy(&frame.payload).into_owned();
                return Ok(text.parse().unwrap_or(255));
            }
            _ => continue,
        };
        on_event(&event).map_err(failed)?;
    }
    let ended = io::Error::new(io::ErrorKind::UnexpectedEof, "the lab has ended");
    Err(failed(ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lab whose dom0 answers each command with its script, its input on the standard error, and status 3.
    fn lab(path: &Path) -> Arc<Channel> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let channel = Channel::new(ours, |_| {}, |_| {}).unwrap();
        serve(path, &channel).unwrap();
        thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            let mut reader = BufReader::new(theirs);
            let mut input = Vec::new();
            while let Ok(Some(frame)) = Frame::read(&mut reader) {
                match frame.verb {
                    Verb::In => input.extend(frame.payload),
                    Verb::Run => {
                        let command = frame.command;
                        frame::write(&mut writer, Verb::Out, command, &frame.payload).unwrap();
                        frame::write(&mut writer, Verb::Err, command, &input).unwrap();
                        frame::write(&mut writer, Verb::End, command, b"3").unwrap();
                        input.clear();
                    }
                    _ => {}
                }
            }
        });
        channel
    }

    #[test]
    fn a_command_goes_through_with_input_output_and_status() {
        let folder = tempfile::tempdir().unwrap();
        // Longer than a socket's address may be.
        let folder = folder.path().join("long".repeat(40));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("control");
        let _channel = lab(&path);
        let input: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let (mut out, mut err) = (Vec::<u8>::new(), Vec::<u8>::new());
        let status = ask(&path, "xl list", &input, |event| {
            match event {
                Event::Out(bytes) => out.extend(bytes),
                Event::Err(bytes) => err.extend(bytes),
                Event::End(_) => {}
            }
            Ok(())
        })
        .unwrap();
        assert_eq!((status, out.as_slice()), (3, &b"xl list"[..]));
        assert_eq!(err, input);
    }

    #[test]
    fn without_a_lab_the_socket_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let error = ask(&path, "true", b"", |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("control"), "{error}");
    }
}
