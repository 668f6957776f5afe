//! Why a request is rejected, and why a connection is over.

use core::fmt;

use super::Counter;
use crate::body::BodyError;
use crate::framing::FramingError;
use crate::head::HeadError;
use crate::status::Status;
use crate::target::TargetError;

/// Why a request is not given to the application: the client's fault, or more than the server takes. It is answered with
/// [`status`](Self::status), and the connection ends, for where the next request begins is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// The head is wrong, or too large.
    Head(HeadError),
    /// How long the body is can't be told beyond doubt.
    Framing(FramingError),
    /// No Host in HTTP/1.1, several, or one that is none (RFC 9112 §3.2).
    Host,
    /// The target has not the form that goes with the method.
    Target(TargetError),
    /// CONNECT: there are no tunnels here.
    Tunnel,
    /// Another expectation than 100-continue (RFC 9110 §10.1.1).
    Expectation,
    /// The body is wrong, or too large.
    Body(BodyError),
    /// The head or the body did not come in time.
    Timeout,
}

impl Rejection {
    /// What to answer.
    pub const fn status(self) -> Status {
        match self {
            Self::Head(error) => error.status(),
            Self::Framing(error) => error.status(),
            Self::Host | Self::Target(_) => Status::BAD_REQUEST,
            Self::Tunnel => Status::NOT_IMPLEMENTED,
            Self::Expectation => Status::EXPECTATION_FAILED,
            Self::Body(error) => error.status(),
            Self::Timeout => Status::REQUEST_TIMEOUT,
        }
    }

    pub(super) const fn counter(self) -> Counter {
        match self {
            Self::Head(_) => Counter::RejectedHead,
            Self::Framing(_) => Counter::RejectedFraming,
            Self::Host => Counter::RejectedHost,
            Self::Target(_) => Counter::RejectedTarget,
            Self::Tunnel => Counter::RejectedTunnel,
            Self::Expectation => Counter::RejectedExpectation,
            Self::Body(_) => Counter::RejectedBody,
            Self::Timeout => Counter::RejectedTimeout,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Framing(error) => error.fmt(f),
            Self::Host => f.write_str("no Host, or no proper one"),
            Self::Target(error) => error.fmt(f),
            Self::Tunnel => f.write_str("no tunnels here"),
            Self::Expectation => f.write_str("an expectation that can't be met"),
            Self::Body(error) => error.fmt(f),
            Self::Timeout => f.write_str("request did not come in time"),
        }
    }
}

impl core::error::Error for Rejection {}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The client ended it, between two requests.
    ByClient,
    /// Nothing came for too long.
    Idle,
    /// The client sent, or took, too little for too long.
    TooSlow,
    /// The client ended its side within a request. Requests before it were answered: the stream is closed, for by a reset their answers
    /// could be lost.
    Incomplete,
    /// The stream failed, or the client reset it.
    Truncated,
    /// A request was rejected, and that answered.
    Rejected,
    /// Behind a response, as it said. The client may have sent more before it knew.
    Complete,
    /// Behind the response to a request that was the last one, as the client itself said (`Connection: close`, or HTTP/1.0), and that came
    /// whole: it must send nothing more (RFC 9112 §9.6), so the stream can be closed at once, unless something is there all the same.
    AsAsked,
    /// Within a response: what was sent must not look whole, so the stream is reset, not closed.
    Broken,
}

impl Ending {
    /// Whether the client may still be sending, so that an owner should half-close the stream, and read what comes for
    /// [`Limits::linger`](super::Limits::linger) before he lets go of it: else the last response may be lost (RFC 9112 §9.6).
    pub const fn lingers(self) -> bool {
        matches!(self, Self::Rejected | Self::Complete)
    }

    /// Whether the stream is to be reset.
    pub const fn aborts(self) -> bool {
        matches!(self, Self::TooSlow | Self::Truncated | Self::Broken)
    }

    pub(super) const fn counter(self) -> Counter {
        match self {
            Self::ByClient => Counter::EndedByClient,
            Self::Idle => Counter::EndedIdle,
            Self::TooSlow => Counter::EndedTooSlow,
            Self::Incomplete | Self::Truncated => Counter::EndedTruncated,
            Self::Rejected => Counter::EndedRejected,
            Self::Complete | Self::AsAsked => Counter::EndedComplete,
            Self::Broken => Counter::EndedBroken,
        }
    }
}
