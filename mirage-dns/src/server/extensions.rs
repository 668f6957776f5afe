//! What a server does beside answering.

use super::cookies::{Bakery, Cookies};
use super::options::MAX_NSID_LENGTH;
use super::rate_limit::{RateLimiter, Referee};

/// What a server does beside answering: nothing, unless it is told to.
///
/// What nobody asks for costs nothing, and is not in a program that is linked without what is unused.
#[derive(Clone, Copy, Default, Debug)]
pub struct Extensions<'a> {
    pub(super) nsid: &'a [u8],
    pub(super) keepalive: Option<u16>,
    pub(super) cookies: Option<&'a dyn Bakery>,
    pub(super) rate_limiter: Option<&'a dyn Referee>,
}

impl<'a> Extensions<'a> {
    /// Nothing.
    pub const NONE: Self = Self {
        nsid: &[],
        keepalive: None,
        cookies: None,
        rate_limiter: None,
    };

    /// Tells those who ask for it which server this is (NSID, RFC 5001): any octets, mostly text. `None` when it is
    /// longer than [`MAX_NSID_LENGTH`]; an empty one is none.
    #[must_use]
    pub fn with_nsid(self, nsid: &'a [u8]) -> Option<Self> {
        (nsid.len() <= MAX_NSID_LENGTH).then_some(Self { nsid, ..self })
    }

    /// Tells those who ask for it over TCP for how long their connection may be idle, in units of 100 milliseconds
    /// (RFC 7828).
    #[must_use]
    pub fn with_tcp_keepalive(self, timeout: u16) -> Self {
        let keepalive = Some(timeout);
        Self { keepalive, ..self }
    }

    /// Gives clients cookies, and knows them again by these (RFC 7873, RFC 9018).
    #[must_use]
    pub fn with_cookies(self, cookies: &'a Cookies) -> Self {
        let cookies = Some(cookies as &dyn Bakery);
        Self { cookies, ..self }
    }

    /// Limits answers over UDP; not those to clients with a right server cookie.
    #[must_use]
    pub fn with_rate_limiter(self, limiter: &'a RateLimiter<'a>) -> Self {
        let rate_limiter = Some(limiter as &dyn Referee);
        Self {
            rate_limiter,
            ..self
        }
    }
}
