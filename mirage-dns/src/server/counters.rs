//! What became of the requests.

use super::{Answer, CookieState, Ignored, Transport};
use crate::message::Flags;
use crate::record::Rcode;

/// How many requests came by each transport, and what became of them. The numbers only grow, and wrap at 2⁶⁴.
///
/// Of each request exactly one of the codes or one of the reasons to ignore it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Counters {
    /// Requests in datagrams.
    pub udp: u64,
    /// Requests over streams.
    pub tcp: u64,
    /// Answered with NOERROR.
    pub noerror: u64,
    /// Answered with FORMERR.
    pub formerr: u64,
    /// Answered with NXDOMAIN.
    pub nxdomain: u64,
    /// Answered with NOTIMP.
    pub notimp: u64,
    /// Answered with REFUSED.
    pub refused: u64,
    /// Answered with BADVERS.
    pub badvers: u64,
    /// Answered with YXDOMAIN.
    pub yxdomain: u64,
    /// Answered with BADCOOKIE.
    pub badcookie: u64,
    /// Answered with another code.
    pub other_rcode: u64,
    /// Not answered: less than a header.
    pub ignored_too_short: u64,
    /// Not answered: a response.
    pub ignored_response: u64,
    /// Not answered: the caller's buffer was too small.
    pub ignored_no_room: u64,
    /// Not answered: held back by a rate limiter.
    pub ignored_rate_limited: u64,
    /// Answers with the TC bit; their code is counted too.
    pub truncated: u64,
    /// Answers without content for those that a rate limiter held back; their code is counted too.
    pub limited: u64,
    /// Answered requests with a client cookie alone.
    pub cookies_without_server: u64,
    /// Answered requests with a wrong server cookie.
    pub cookies_wrong: u64,
    /// Answered requests with a right server cookie.
    pub cookies_right: u64,
}

impl Counters {
    /// Nothing yet.
    pub(super) const ZERO: Self = Self {
        udp: 0,
        tcp: 0,
        noerror: 0,
        formerr: 0,
        nxdomain: 0,
        notimp: 0,
        refused: 0,
        badvers: 0,
        yxdomain: 0,
        badcookie: 0,
        other_rcode: 0,
        ignored_too_short: 0,
        ignored_response: 0,
        ignored_no_room: 0,
        ignored_rate_limited: 0,
        truncated: 0,
        limited: 0,
        cookies_without_server: 0,
        cookies_wrong: 0,
        cookies_right: 0,
    };

    pub(super) fn count(&mut self, transport: Transport, result: &Result<Answer, Ignored>) {
        let way = match transport {
            Transport::Udp => &mut self.udp,
            Transport::Tcp => &mut self.tcp,
        };
        *way = way.wrapping_add(1);
        let outcome = match result {
            Ok(answer) => match answer.rcode {
                Rcode::NOERROR => &mut self.noerror,
                Rcode::FORMERR => &mut self.formerr,
                Rcode::NXDOMAIN => &mut self.nxdomain,
                Rcode::NOTIMP => &mut self.notimp,
                Rcode::REFUSED => &mut self.refused,
                Rcode::BADVERS => &mut self.badvers,
                Rcode::YXDOMAIN => &mut self.yxdomain,
                Rcode::BADCOOKIE => &mut self.badcookie,
                _ => &mut self.other_rcode,
            },
            Err(Ignored::TooShort) => &mut self.ignored_too_short,
            Err(Ignored::Response) => &mut self.ignored_response,
            Err(Ignored::NoRoom) => &mut self.ignored_no_room,
            Err(Ignored::RateLimited) => &mut self.ignored_rate_limited,
        };
        *outcome = outcome.wrapping_add(1);
        let Ok(answer) = result else { return };
        if answer.flags.contains(Flags::TC) {
            self.truncated = self.truncated.wrapping_add(1);
        }
        if answer.is_limited {
            self.limited = self.limited.wrapping_add(1);
        }
        let cookies = match answer.cookie {
            CookieState::None => return,
            CookieState::Client => &mut self.cookies_without_server,
            CookieState::Wrong => &mut self.cookies_wrong,
            CookieState::Right => &mut self.cookies_right,
        };
        *cookies = cookies.wrapping_add(1);
    }
}
