//! The store on a disk that forgets what was not flushed, and on this machine's.

mod crashes;
mod real;
mod simulated;
