//! What a client may take.

use core::time::Duration;

use crate::body::BodyLimits;
use crate::head::HeadLimits;

/// What a client may take of a server: octets, time, requests. Nothing is without a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The size of a request's head. How many fields it may have is how many slots the owner gives.
    pub head: HeadLimits,
    /// The size of a request's body.
    pub body: BodyLimits,
    /// How many requests one connection may have. The response to the last says that the connection closes.
    pub requests: u32,
    /// How long a connection may go on to new requests. One that is being answered then is answered.
    pub connection: Duration,
    /// From the connection's beginning, or from a response, to the first octet of the next head.
    pub idle: Duration,
    /// From the first octet of a head to its last.
    pub head_time: Duration,
    /// How long a body, or what is written of a response at a time, may take beyond the time that it needs at the least rate.
    pub grace: Duration,
    /// The least rate at which a client must send a body and take a response, in octets a second; 0 counts as 1.
    pub rate: u32,
    /// Octets of a body that the application did not read and that are read for the sake of the connection. Where more are to come,
    /// it closes.
    pub drain: u64,
    /// How long what a client sends is still read when the server has said that the connection closes, so that the answer is
    /// not lost to a reset (RFC 9112 §9.6).
    pub linger: Duration,
}

impl Limits {
    /// Heads of 8 KiB, bodies of 1 MiB; 1,000 requests in 5 minutes; 15 s idle, 5 s a head; a body and a response may take 5 s and a
    /// second for each 1,000 octets; 64 KiB are read for the sake of the connection, and 2 s at its end.
    pub const DEFAULT: Self = Self {
        head: HeadLimits::DEFAULT,
        body: BodyLimits::DEFAULT,
        requests: 1_000,
        connection: Duration::from_secs(300),
        idle: Duration::from_secs(15),
        head_time: Duration::from_secs(5),
        grace: Duration::from_secs(5),
        rate: 1_000,
        drain: 64 << 10,
        linger: Duration::from_secs(2),
    };

    /// How long so many octets may take.
    pub(super) fn time_for(&self, octets: u64) -> Duration {
        let rate = u64::from(self.rate.max(1));
        // In milliseconds a rate of an octet a second and 2⁵⁴ octets are still told.
        let millis = octets.saturating_mul(1_000) / rate;
        self.grace.saturating_add(Duration::from_millis(millis))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
