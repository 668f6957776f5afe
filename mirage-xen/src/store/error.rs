//! What goes wrong between a caller, xenstored and the ring.

use core::fmt;

use super::key::KeyError;
use crate::abi::XenError;

/// Why a request did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// The caller's fault: xenstore can't have a key of that name.
    Key(KeyError),
    /// The caller's fault: name and value (or permissions) are longer than a message may be (`XENSTORE_PAYLOAD_MAX`,
    /// 4,096 bytes).
    RequestTooLong {
        /// Bytes of the payload.
        length: usize,
    },
    /// The reply is longer than the caller's buffer; for a list, than what is left of it.
    ReplyTooLong {
        /// Bytes of the reply.
        length: usize,
    },
    /// The caller's fault: all watches that the storage has room for are in use.
    TooManyWatches,
    /// The caller's fault: the path does not fit the room that the storage has for a watch.
    WatchTooLong {
        /// Bytes of the path.
        length: usize,
    },
    /// The caller's fault: all transactions that the storage has room for are open.
    TooManyTransactions,
    /// Xenstored refused: the key does not exist ([`XenError::NotFound`]), may not be reached
    /// ([`XenError::AccessDenied`]), … [`XenError::TryAgain`] of a transaction: something came between, or the domain
    /// was resumed meanwhile; do all of it again.
    Refused(XenError),
    /// Xenstored refused with an error that io/xs_wire.h does not have.
    RefusedOtherwise,
    /// The key's value isn't a number, or text, as it should be. The fault of whoever wrote it.
    Value,
    /// Xenstored's fault: its reply isn't what the protocol says.
    Malformed,
    /// The connection was set up again while the request was with xenstored: it may have been carried out, or not.
    Interrupted,
    /// There is no connection.
    Broken(StoreFault),
}

impl StoreError {
    /// Whether a transaction has to be done again, from its start.
    pub fn is_try_again(self) -> bool {
        self == Self::Refused(XenError::TryAgain)
    }

    /// Whether there is no such key.
    pub fn is_not_found(self) -> bool {
        self == Self::Refused(XenError::NotFound)
    }
}

impl From<KeyError> for StoreError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => error.fmt(f),
            Self::RequestTooLong { length } => write!(
                f,
                "the request has {length} bytes, more than xenstore takes in one message"
            ),
            Self::ReplyTooLong { length } => write!(
                f,
                "xenstored's reply has {length} bytes, more than the caller has room for"
            ),
            Self::TooManyWatches => f.write_str("there is no room for another watch"),
            Self::WatchTooLong { length } => {
                write!(
                    f,
                    "there is no room for a watch of a path of {length} bytes"
                )
            }
            Self::TooManyTransactions => f.write_str("there is no room for another transaction"),
            Self::Refused(error) => write!(f, "xenstored refused: {error}"),
            Self::RefusedOtherwise => f.write_str("xenstored refused with an unknown error"),
            Self::Value => f.write_str("the key's value isn't of the kind that it should be"),
            Self::Malformed => f.write_str("xenstored's reply isn't what the protocol says"),
            Self::Interrupted => {
                f.write_str("the connection to xenstored was set up again during the request")
            }
            Self::Broken(fault) => write!(f, "no connection to xenstored: {fault}"),
        }
    }
}

impl core::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Key(error) => Some(error),
            Self::Refused(error) => Some(error),
            Self::Broken(fault) => Some(fault),
            _ => None,
        }
    }
}

/// Why the connection to xenstored ended. Xenstored's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreFault {
    /// It says that it put more bytes into the ring than fit.
    ResponseProducer {
        /// Its index.
        producer: u32,
        /// Ours.
        consumer: u32,
    },
    /// It says that it took bytes that are not in the ring.
    RequestConsumer {
        /// Its index.
        consumer: u32,
        /// Ours.
        producer: u32,
    },
    /// A header announces more than `XENSTORE_PAYLOAD_MAX` bytes.
    PayloadTooLong {
        /// How many.
        length: u32,
    },
    /// It ended the connection itself, and gave this reason (`XENSTORE_ERROR_*`).
    Ended(u32),
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ResponseProducer { producer, consumer } => write!(
                f,
                "xenstored's producer index {producer:#x} can't be, at our consumer index {consumer:#x}"
            ),
            Self::RequestConsumer { consumer, producer } => write!(
                f,
                "xenstored's consumer index {consumer:#x} can't be, at our producer index {producer:#x}"
            ),
            Self::PayloadTooLong { length } => {
                write!(f, "xenstored announced a payload of {length} bytes")
            }
            Self::Ended(reason) => write!(f, "xenstored ended it, with reason {reason}"),
        }
    }
}

impl core::error::Error for StoreFault {}
