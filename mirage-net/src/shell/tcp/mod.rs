//! Connections and listeners of a shared stack.
//!
//! A connection's tasks wait in its slot of [`TcpWakers`]: one that reads, one that writes. However many wait to accept from
//! one listener: they wait in line, in their own futures.

#[cfg(feature = "io")]
mod io;
mod listener;
mod stream;
mod wakers;

pub use self::listener::TcpListener;
pub use self::stream::{TcpReader, TcpStream, TcpWriter};
pub use self::wakers::{ListenerWakerSlot, StreamWakerSlot, TcpWakers};
