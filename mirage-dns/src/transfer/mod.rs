//! Zone transfers: whole (AXFR, RFC 5936) and incremental (IXFR, RFC 1995), both ways (feature `alloc`).
//!
//! | type | what it is |
//! |------|------------|
//! | [`TransferRequest`] | what a secondary asks for |
//! | [`OutgoingTransfer`] | writes the messages that give it |
//! | [`IncomingTransfer`] | takes the messages, and tells what they come to: a [`Transferred`] |
//! | [`TransferLimits`] | how much one may bring |
//! | [`TransferError`] | why one failed |
//!
//! Pure state machines over messages: the framing on a stream is [`crate::tcp`]'s, signatures are put on and taken off
//! around them (`tsig`), who may ask is the owner's to decide.

mod incoming;
mod outgoing;
mod request;
#[cfg(test)]
mod tests;

pub use incoming::{IncomingTransfer, TransferError, TransferLimits, Transferred};
pub use outgoing::OutgoingTransfer;
pub use request::TransferRequest;
