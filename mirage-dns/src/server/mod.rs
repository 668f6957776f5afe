//! An authoritative server as a pure function: request and zones in, answer out.
//!
//! | item | what it is |
//! |------|------------|
//! | [`respond`] | the function |
//! | [`Server`] | the function with its limits, extensions and counters |
//! | [`Client`], [`Transport`] | who asks, how, and when |
//! | [`Limits`] | how long an answer may be |
//! | [`Extensions`] | what a server does beside: NSID, TCP keep-alive, [`Cookies`], a [`RateLimiter`] |
//! | [`Answer`], [`Ignored`], [`CookieState`] | what became of a request |
//! | [`Memo`] | answers that were encoded before, in front of a server |
//! | [`Counters`] | how many of each |
//!
//! The algorithm is that of RFC 1034 §4.3.2 as RFC 2181, 2308, 4592, 6604, 6891 and 9471 refined it. Where they leave a
//! choice:
//!
//! - **No answer** to a response or to less than a header: a server that answers those can be made to talk to another
//!   for ever.
//! - **NOTIMP** for every opcode but QUERY: the header, since what follows it has a form that we do not know; and OPT where the
//!   request can be read as other messages are, and has it (RFC 6891 §6.1.1).
//! - **FORMERR**, the header alone, when the question cannot be read, is compressed, or is not the only one (RFC 9619);
//!   when there are records in the answer section, or in the authority section of anything but IXFR; when a promised
//!   record is missing or OPT is misplaced (as NSD).
//! - **TC in a request** says nothing about a question that is there whole, and is ignored (as NSD).
//! - **Octets after the message** are ignored, as NSD and BIND do.
//! - **REFUSED** outside the zones, for classes other than IN and ANY, and for AXFR and IXFR. A response to class ANY
//!   is never authoritative.
//! - **Positive answers are minimal**: no NS in the authority section. Addresses go with NS, MX and SRV when there is
//!   room.
//! - **EDNS options** that are not known are ignored; a cookie of a wrong length, and a keep-alive over TCP that is not
//!   empty, are FORMERR. Padding is ignored: without encryption it would hide nothing.
//! - **A wrong server cookie** does no harm but under rate limiting: the answer comes with a right one. BADCOOKIE is said to
//!   those whose answer was one too many, and in answer to a message without question (RFC 7873 §5.4).
//! - **ANY** gets all RRsets of the name over TCP, over UDP the first of them (RFC 8482 §4.1).
//! - **Other meta types** are types that no zone holds: NODATA or NXDOMAIN.
//! - **An alias** is followed through all zones of the set, at most [`MAX_ALIASES`] times and never to a name twice;
//!   the response code is that of the last name (RFC 6604), and NOERROR where the chain leaves the zones or loops.
//! - **DNAME** (RFC 6672) stands once in an answer, with an alias of the same TTL for each name that it redirects, and is
//!   followed as aliases are; where the new name would be too long, with YXDOMAIN. A zone with names below a DNAME is
//!   refused when it is compiled (as by NSD and Knot); another zone of the set may lie there, and answers for its own names.
//!   At a wildcard it is data like other for the names that the wildcard covers.
//! - **A delegation** names the servers with the addresses of those below the cut; where one of these does not fit, TC
//!   is set (RFC 9471 §3.1). Other addresses, which the zone also has, go along when there is room.
//! - **NS at a wildcard**, which the zone compiler warns of, is data like other for the names that the wildcard covers,
//!   and a delegation for the wildcard's own name and those below it (RFC 4592 §4.2 leaves it open; as NSD).
//! - **DS** at a cut is answered by the zone above, if the set has it (RFC 4035 §3.1.4.1).
//! - **Case**: the question is repeated octet by octet, and a name in rdata keeps the case that the zone has: it is
//!   compressed against equal octets only.
//! - **Truncation** leaves out whole RRsets: the first that belongs to the answer and does not fit, and all after it.

use core::cell::RefCell;
use core::net::IpAddr;

#[cfg(feature = "alloc")]
use crate::message::MessageReader;
use crate::message::{Edns, Flags, HEADER_LENGTH, MAX_MESSAGE_LENGTH, MIN_PAYLOAD_SIZE};
use crate::record::{Opcode, Rcode};
use crate::zone_set::{LookupStatistics, ZoneSet};
use options::{
    CLIENT_COOKIE_LENGTH, MAX_OPTIONS_LENGTH, ReplyOptions, RequestOptions, SERVER_COOKIE_LENGTH,
};
use rate_limit::{Class, Kind, Ruling};
use request::Request;
use resolve::{Outcome, Resolver};
use writer::Writer;

mod cookies;
mod counters;
mod extensions;
mod memo;
#[cfg(feature = "alloc")]
mod opt;
mod options;
pub mod rate_limit;
mod request;
mod resolve;
#[cfg(all(test, feature = "alloc"))]
mod tests;
mod writer;

#[cfg(feature = "alloc")]
pub(crate) use opt::{Opt, OptRecord};

pub use cookies::{CookieState, Cookies, SERVER_SECRET_LENGTH};
pub use counters::Counters;
pub use extensions::Extensions;
pub use memo::{MAX_MEMO_LENGTH, Memo, MemoSlot};
pub use options::MAX_NSID_LENGTH;
pub use rate_limit::{RateBucket, RateLimiter, RateLimits};
pub use resolve::MAX_ALIASES;

/// Who asks, how, and when.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Client {
    /// The address that the request came from, as the network says: over UDP it is an allegation.
    pub address: IpAddr,
    /// How it came.
    pub transport: Transport,
    /// When it came: seconds since 1970-01-01T00:00:00Z, for what lasts longer than a request.
    ///
    /// Where no wall clock is known, any clock that counts seconds will do, as the time since the start: nothing here
    /// compares it with the outside world. What is signed or made with it is then good for this server alone, so its
    /// secrets are to be new with each start. A clock that goes back is endured.
    pub now: u64,
}

/// How a request came, which says how long its answer may be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transport {
    /// A datagram: 512 octets, or what EDNS allows up to [`Limits::udp_payload_size`].
    Udp,
    /// A stream, where a message has at most 65,535 octets; [`crate::tcp`] has the framing.
    Tcp,
}

/// How long answers may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most octets of UDP payload that the server sends, and says in EDNS that it takes. Less than 512 counts as
    /// 512.
    pub udp_payload_size: u16,
}

impl Default for Limits {
    /// 1,232 octets: with IPv6's and UDP's headers they fit the least MTU of IPv6, so that nothing is fragmented.
    fn default() -> Self {
        Self {
            udp_payload_size: 1232,
        }
    }
}

/// An answer that was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Octets of it, at the start of the buffer.
    pub length: usize,
    /// Its response code, the bits that EDNS carries included.
    pub rcode: Rcode,
    /// Its flags.
    pub flags: Flags,
    /// What finding it cost.
    pub lookups: LookupStatistics,
    /// Records and EDNS options of the request that were looked at.
    pub steps: u32,
    /// What the request's cookies say of the client.
    pub cookie: CookieState,
    /// Whether it stands, without content, for one that a rate limiter held back.
    pub is_limited: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Ignored {
    /// Less than a header: there is no one to answer.
    TooShort,
    /// A response (QR set).
    Response,
    /// The caller's buffer cannot hold header, question and OPT: [`MIN_BUFFER_LENGTH`] octets suffice.
    NoRoom,
    /// A rate limiter has held it back.
    RateLimited,
}

/// The least buffer that no request is too large for: header, the longest question, OPT with all options. One of 512 holds all that
/// plain UDP may carry, one of [`MAX_MESSAGE_LENGTH`] everything.
pub const MIN_BUFFER_LENGTH: usize =
    HEADER_LENGTH + 255 + 4 + Edns::RECORD_LENGTH + MAX_OPTIONS_LENGTH;

/// Answers one request from `zones`, into the start of `out`.
///
/// `request` is a message as UDP carries it, or TCP behind its length. The answer has at most as many octets as the
/// transport, EDNS, `limits` and `out` allow. The same arguments give the same answer. Nothing is allocated, and the
/// work is bounded by the request's length, the answer's length, and [`MAX_ALIASES`] times what a look-up costs
/// ([`crate::zone_set`]).
///
/// # Errors
/// [`Ignored`] when nothing may be sent, or nothing fits.
pub fn respond(
    zones: &ZoneSet<'_>,
    limits: &Limits,
    request: &[u8],
    client: &Client,
    out: &mut [u8],
) -> Result<Answer, Ignored> {
    respond_with(zones, limits, &Extensions::NONE, request, client, out)
}

/// [`respond`] with more than answers.
///
/// Where a rate limiter is among the [`Extensions`], the same arguments need not give the same answer: that counts.
///
/// # Errors
/// As [`respond`], and [`Ignored::RateLimited`].
// Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
#[inline(never)]
pub fn respond_with(
    zones: &ZoneSet<'_>,
    limits: &Limits,
    extensions: &Extensions<'_>,
    request: &[u8],
    client: &Client,
    out: &mut [u8],
) -> Result<Answer, Ignored> {
    let request = Request::parse(request, client.transport)?;
    let server_size = limits.udp_payload_size.max(512);
    let asked_size = request.edns.as_ref().map(|edns| edns.payload_size);
    let length_limit = length_limit(limits, client.transport, asked_size).min(out.len());
    let out = &mut out[..length_limit];
    let (cookie, options) = reply_options(extensions, &request.options, client);
    let edns = request
        .edns
        .map(|edns| (server_size, edns.dnssec_ok, options));
    let mut writer = Writer::new(out, edns).ok_or(Ignored::NoRoom)?;
    let mut lookups = LookupStatistics::default();

    let (outcome, kind) = match (&request.verdict, &request.question) {
        (Err(rcode), question) => {
            // RFC 6891 §7: where there is an OPT record, whatever is wrong with it, the question is repeated.
            if let (Some(_), Some(question)) = (&request.edns, question) {
                writer.question(question.octets).ok_or(Ignored::NoRoom)?;
            }
            (cookie_query(&request, cookie, extensions, *rcode), None)
        }
        // What is to be answered has a question.
        (Ok(()), None) => return Err(Ignored::NoRoom),
        (Ok(()), Some(question)) => {
            writer.question(question.octets).ok_or(Ignored::NoRoom)?;
            let mut resolver = Resolver::new(zones, question, client.transport, &mut writer);
            let outcome = resolver.run();
            lookups = resolver.lookups();
            (outcome, resolver.kind())
        }
    };
    let mut answer = Answer {
        length: 0,
        rcode: outcome.rcode,
        flags: Flags::QR | request.header.flags & Flags::RD,
        lookups,
        steps: request.steps,
        cookie,
        is_limited: false,
    };
    answer.flags.set(Flags::AA, outcome.authoritative);
    answer.flags.set(Flags::TC, writer.is_truncated());
    answer.length = writer.finish(request.reply_header(&answer));

    let limiter = extensions.rate_limiter;
    if let (Transport::Udp, Some(limiter)) = (client.transport, limiter)
        && cookie != CookieState::Right
    {
        let kind = kind
            .filter(|_| matches!(outcome.rcode, Rcode::NOERROR | Rcode::NXDOMAIN))
            .unwrap_or(Kind {
                class: Class::Error,
                subject: outcome.rcode.0.into(),
            });
        match limiter.rule(client.address, kind, client.now) {
            Ruling::Send => {}
            Ruling::Hold => return Err(Ignored::RateLimited),
            Ruling::Slip => {
                let writer = Writer::new(out, edns).ok_or(Ignored::NoRoom)?;
                let slipped = limiter.slip(&request, writer, &mut answer);
                slipped.ok_or(Ignored::NoRoom)?;
            }
        }
    }
    Ok(answer)
}

/// The most octets of an answer by transport, and over UDP by the size that EDNS states, if it was there.
fn length_limit(limits: &Limits, transport: Transport, asked_size: Option<u16>) -> usize {
    match (transport, asked_size) {
        (Transport::Tcp, _) => MAX_MESSAGE_LENGTH,
        (Transport::Udp, Some(size)) => {
            usize::from(size.min(limits.udp_payload_size).max(MIN_PAYLOAD_SIZE))
        }
        (Transport::Udp, None) => usize::from(MIN_PAYLOAD_SIZE),
    }
}

/// What the cookie of a request says, and the options that go with the answer.
fn reply_options<'a>(
    extensions: &Extensions<'a>,
    asked: &RequestOptions<'_>,
    client: &Client,
) -> (CookieState, ReplyOptions<'a>) {
    let mut options = ReplyOptions::NONE;
    let mut state = CookieState::None;
    if let (Some(cookies), Some(cookie)) = (extensions.cookies, &asked.cookie) {
        let server;
        (state, server) = cookies.judge(cookie, client);
        let mut both = [0; CLIENT_COOKIE_LENGTH + SERVER_COOKIE_LENGTH];
        both[..CLIENT_COOKIE_LENGTH].copy_from_slice(cookie.client);
        both[CLIENT_COOKIE_LENGTH..].copy_from_slice(&server);
        options.cookie = Some(both);
    }
    if asked.wants_nsid {
        options.nsid = extensions.nsid;
    }
    if asked.wants_keepalive {
        options.keepalive = extensions.keepalive;
    }
    (state, options)
}

/// RFC 7873 §5.4: a message without question that has a cookie asks for a server cookie, or whether it is right.
fn cookie_query(
    request: &Request<'_>,
    cookie: CookieState,
    extensions: &Extensions<'_>,
    rcode: Rcode,
) -> Outcome {
    let rcode = match cookie {
        _ if !request.has_no_question || extensions.cookies.is_none() => rcode,
        CookieState::None => rcode,
        CookieState::Client | CookieState::Right => Rcode::NOERROR,
        CookieState::Wrong => Rcode::BADCOOKIE,
    };
    Outcome {
        rcode,
        authoritative: false,
    }
}

/// [`respond_with`] with its limits and extensions, and counters of what became of the requests.
///
/// Not `Sync`: a server belongs to one executor. Its tasks share it by reference, for a call never lasts beyond its
/// return.
///
/// - Getters: [`Server::limits`], [`Server::counters`].
/// - Input and output in one: [`Server::answer`]. There are no timers.
#[derive(Debug, Default)]
pub struct Server<'a> {
    limits: Limits,
    extensions: Extensions<'a>,
    counters: RefCell<Counters>,
}

impl<'a> Server<'a> {
    /// Counts an answer with this code that others than the server write, and says whether it is one too many for its client: as
    /// all answers without records of a name, by their code. Who has a right cookie is not limited.
    #[cfg(feature = "alloc")]
    pub(crate) fn holds_back(&self, client: &Client, cookie: CookieState, rcode: Rcode) -> bool {
        let (Transport::Udp, Some(limiter)) = (client.transport, self.extensions.rate_limiter)
        else {
            return false;
        };
        if cookie == CookieState::Right {
            return false;
        }
        let kind = Kind {
            class: Class::Error,
            subject: rcode.0.into(),
        };
        limiter.rule(client.address, kind, client.now) == Ruling::Hold
    }

    /// What the OPT record of a request means for an answer that others than the server write.
    #[cfg(feature = "alloc")]
    pub(crate) fn opt(&self, request: &MessageReader<'_>, client: &Client) -> Opt {
        Opt::new(&self.limits, &self.extensions, request, client)
    }

    /// A server with these limits that has counted nothing.
    pub const fn new(limits: Limits) -> Self {
        Self::with_extensions(limits, Extensions::NONE)
    }

    /// One that does more than answering.
    pub const fn with_extensions(limits: Limits, extensions: Extensions<'a>) -> Self {
        Self {
            limits,
            extensions,
            counters: RefCell::new(Counters::ZERO),
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What became of the requests so far.
    pub fn counters(&self) -> Counters {
        *self.counters.borrow()
    }

    /// Answers one request and counts it; the answer's octets in `out`, or `None` when nothing is to be sent. See
    /// [`respond_with`].
    pub fn answer(
        &self,
        zones: &ZoneSet<'_>,
        request: &[u8],
        client: &Client,
        out: &mut [u8],
    ) -> Option<usize> {
        let answer = self.answer_whole(zones, request, client, out);
        answer.map(|answer| answer.length)
    }

    /// [`Self::answer`] with what is known of the answer.
    #[inline]
    fn answer_whole(
        &self,
        zones: &ZoneSet<'_>,
        request: &[u8],
        client: &Client,
        out: &mut [u8],
    ) -> Option<Answer> {
        let (limits, extensions) = (&self.limits, &self.extensions);
        let result = respond_with(zones, limits, extensions, request, client, out);
        self.counters.borrow_mut().count(client.transport, &result);
        result.ok()
    }

    /// Counts an answer that was given without looking for it.
    fn count_plain(&self, transport: Transport, rcode: Rcode, flags: Flags) {
        let answer = Answer {
            length: 0,
            rcode,
            flags,
            lookups: LookupStatistics::default(),
            steps: 0,
            cookie: CookieState::None,
            is_limited: false,
        };
        self.counters.borrow_mut().count(transport, &Ok(answer));
    }
}

/// Whether this server implements an opcode.
const fn is_implemented(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::QUERY)
}
