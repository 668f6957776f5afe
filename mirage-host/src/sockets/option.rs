//! Options of sockets that rustix doesn't have.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Sets an option whose value is one `int`.
///
/// # Errors
///
/// The system's, as from setsockopt(2).
pub(crate) fn set(socket: impl AsFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let socket = socket.as_fd();
    // SAFETY: the descriptor is open for the duration of the borrow; setsockopt(2) reads as many bytes of `value` as it is told, and
    // that lives across the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
