//! Messages signed with a shared secret (TSIG, RFC 8945), on both sides.
//!
//! | item | what it is |
//! |------|------------|
//! | [`Key`], [`Algorithm`], [`KeyRing`] | secrets with their names |
//! | [`KeyFile`], [`Key::from_text`] | their text: what `tsig-keygen` writes, what `dig -y` takes |
//! | [`RequestVerifier`] | a server's side: whose request is it |
//! | [`Verified`] | the proof, which signs the answer; [`Verified::stream`] signs a stream of them |
//! | [`Rejected`], [`Reason`] | a signature that does not count, and the reply that says so |
//! | [`sign_request`], [`SignedRequest`] | a client's side: signs a request, verifies its answer |
//! | [`StreamSigner`], [`StreamVerifier`] | answers of many messages: transfers |
//! | [`Counters`] | how many of each |
//!
//! Nothing here allocates, reads a clock or keeps a message: `now` is an argument, in seconds since 1970, of which 48
//! bits count. MACs are compared in constant time, and the types leave no other way.
//!
//! # Where RFC 8945 leaves a choice
//!
//! - **A message that cannot be read** up to a TSIG record is unsigned: the one who answers it finds the same fault.
//! - **Octets behind the record** are covered by no digest, so a message with a TSIG record and octets behind it is
//!   malformed.
//! - **MACs that were cut** are verified and then refused with BADTRUNC, however long they are (§5.2.2.1, §5.2.4): our
//!   policy wants all of them.
//! - **The ID** of a message is not protected: the original ID is, so that a forwarder may change the other (§5.2). A
//!   client compares the answer's ID with its own, as [`crate::client`] does.
//! - **Times of earlier requests** are not remembered (§5.2.3 would like it): a request may be repeated by who saw it,
//!   for as long as its fudge says. Prerequisites of an update keep the second one from doing anything
//!   (RFC 2136 §2.4).
//!
//! ```
//! use mirage_dns::client::Query;
//! use mirage_dns::name::NameBuf;
//! use mirage_dns::record::RecordType;
//! use mirage_dns::server::{Client, Server, Transport};
//! use mirage_dns::tsig::{Key, KeyRing, RequestVerifier, sign_request};
//! use mirage_dns::zone_set::ZoneSet;
//!
//! let key = Key::from_text("hmac-sha256:transfer.example:c2VjcmV0IG9mIHRoaXMgZXhhbXBsZSwgMzIgb2N0ZXRz")?;
//! let now = 1_700_000_000;
//!
//! // The client.
//! let name = NameBuf::from_text("example.org")?;
//! let query = Query::new(7, name.as_name(), RecordType::SOA);
//! let mut message = [0; 512];
//! let length = query.write(&mut message)?;
//! let (length, signed) = sign_request(&key, &mut message, length, now)?;
//!
//! // The server, which leaves room for the signature.
//! let keys = [key.clone()];
//! let verifier = RequestVerifier::new(KeyRing::new(&keys));
//! let request = &mut message[..length];
//! let verified = verifier.verify(request, now).expect("a good signature").expect("a signature");
//! let mut answer = [0; 512];
//! let room = answer.len() - verified.record_length();
//! let request = &request[..verified.length()];
//! let client = Client { address: [192, 0, 2, 1].into(), transport: Transport::Tcp, now };
//! let length = Server::default().answer(&ZoneSet::EMPTY, request, &client, &mut answer[..room]);
//! let answered = verified.sign(&mut answer, length.expect("a query is answered"), now)?;
//! assert!(!answered.truncated);
//!
//! // The client again.
//! let length = signed.verify_answer(&mut answer[..answered.length], now)?;
//! assert!(query.accept(&answer[..length]).is_ok());
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

use core::error::Error;
use core::fmt;

mod client;
mod counters;
mod key;
mod mac;
mod record;
mod server;
mod stream;
#[cfg(test)]
mod tests;
mod text;

pub use client::{AnswerError, SignedRequest, sign_request};
pub use counters::Counters;
pub use key::{Algorithm, Key, KeyError, KeyRing, MAX_RECORD_LENGTH};
pub use server::{Reason, Rejected, RequestVerifier, Signed, Verified};
pub use stream::{MAX_UNSIGNED_MESSAGES, StreamSigner, StreamVerifier};
pub use text::{KeyFile, KeyTextError, MAX_SECRET_LENGTH};

/// By how many seconds the clocks of two hosts may differ, as we sign (RFC 8945 §10 recommends it).
pub const FUDGE: u16 = 300;

/// The error field of a TSIG record (RFC 8945 §3): another number than the response code, though they share a registry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TsigError(pub u16);

impl TsigError {
    /// None.
    pub const NOERROR: Self = Self(0);
    /// The MAC is not that of the message.
    pub const BADSIG: Self = Self(16);
    /// The key is not known, or not under this algorithm.
    pub const BADKEY: Self = Self(17);
    /// The clocks differ by more than the fudge.
    pub const BADTIME: Self = Self(18);
    /// The MAC was cut shorter than the server's policy allows.
    pub const BADTRUNC: Self = Self(22);
}

impl fmt::Display for TsigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match *self {
            Self::NOERROR => "NOERROR",
            Self::BADSIG => "BADSIG",
            Self::BADKEY => "BADKEY",
            Self::BADTIME => "BADTIME",
            Self::BADTRUNC => "BADTRUNC",
            Self(other) => return write!(f, "RCODE{other}"),
        })
    }
}

impl fmt::Debug for TsigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a message was not signed: the caller's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SignError {
    /// The buffer has no message of that length, or none that can be read as far as is needed.
    NoMessage,
    /// The TSIG record does not fit behind the message, or another 65,535 additional records are there:
    /// [`Key::record_length`] octets must be left free.
    NoRoom,
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMessage => "there is no message to sign",
            Self::NoRoom => "there is no room for the signature",
        })
    }
}

impl Error for SignError {}
