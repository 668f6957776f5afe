//! An authoritative server as a pure function: request and zones in, answer out.
//!
//! | item | what it is |
//! |------|------------|
//! | [`respond`] | the function |
//! | [`Server`] | the function with its limits and counters |
//! | [`Client`], [`Transport`] | who asks, how, and when |
//! | [`Limits`] | how long an answer may be |
//! | [`Answer`], [`Ignored`] | what became of a request |
//! | [`Counters`] | how many of each |
//!
//! The algorithm is that of RFC 1034 §4.3.2 as RFC 2181, 2308, 4592, 6604, 6891 and 9471 refined it. Where they leave a
//! choice:
//!
//! - **No answer** to a response or to less than a header: a server that answers those can be made to talk to another
//!   for ever.
//! - **NOTIMP** for every opcode but QUERY: the header alone, since what follows it has a form that we do not know.
//! - **FORMERR**, the header alone, when the question cannot be read, is compressed, or is not the only one (RFC 9619);
//!   when there are records in the answer section, or in the authority section of anything but IXFR; when a promised
//!   record is missing or OPT is misplaced (as NSD).
//! - **TC in a request** says nothing about a question that is there whole, and is ignored (as NSD).
//! - **Octets after the message** are ignored, as NSD and BIND do.
//! - **REFUSED** outside the zones, for classes other than IN and ANY, and for AXFR and IXFR. A response to class ANY
//!   is never authoritative.
//! - **Positive answers are minimal**: no NS in the authority section. Addresses go with NS, MX and SRV when there is
//!   room.
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

use core::cell::Cell;
use core::net::IpAddr;

use crate::message::{Flags, HEADER_LENGTH, Header, MAX_MESSAGE_LENGTH};
use crate::record::{Opcode, Rcode};
use crate::zone_set::{LookupStatistics, ZoneSet};
use request::Request;
use resolve::Resolver;
use writer::Writer;

mod counters;
mod request;
mod resolve;
#[cfg(all(test, feature = "alloc"))]
mod tests;
mod writer;

pub use counters::Counters;
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
}

/// The least buffer that no request is too large for: header, the longest question, OPT. One of 512 holds all that
/// plain UDP may carry, one of [`MAX_MESSAGE_LENGTH`] everything.
pub const MIN_BUFFER_LENGTH: usize = HEADER_LENGTH + 255 + 4 + 11;

/// Answers one request from `zones`, into the start of `out`.
///
/// `request` is a message as UDP carries it, or TCP behind its length. The answer has at most as many octets as the
/// transport, EDNS, `limits` and `out` allow. The same arguments give the same answer. Nothing is allocated, and the
/// work is bounded by the request's length, the answer's length, and [`MAX_ALIASES`] times what a look-up costs
/// ([`crate::zone_set`]).
///
/// # Errors
/// [`Ignored`] when nothing may be sent, or nothing fits.
// Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
#[inline(never)]
pub fn respond(
    zones: &ZoneSet<'_>,
    limits: &Limits,
    request: &[u8],
    client: &Client,
    out: &mut [u8],
) -> Result<Answer, Ignored> {
    let request = Request::parse(request)?;
    let server_size = limits.udp_payload_size.max(512);
    let length_limit = match (client.transport, &request.edns) {
        (Transport::Tcp, _) => MAX_MESSAGE_LENGTH,
        (Transport::Udp, Some(edns)) => edns.payload_limit().min(usize::from(server_size)),
        (Transport::Udp, None) => 512,
    };
    let length_limit = length_limit.min(out.len());
    let edns = request.edns.map(|edns| (server_size, edns.dnssec_ok));
    let mut writer = Writer::new(&mut out[..length_limit], edns).ok_or(Ignored::NoRoom)?;
    let mut lookups = LookupStatistics::default();

    let (rcode, authoritative) = match &request.verdict {
        Err(rcode) => {
            // The question was read, so it is repeated, where the version is all that is wrong.
            if let (Rcode::BADVERS, Some(question)) = (*rcode, &request.question) {
                writer.question(question.octets).ok_or(Ignored::NoRoom)?;
            }
            (*rcode, false)
        }
        Ok(question) => {
            writer.question(question.octets).ok_or(Ignored::NoRoom)?;
            let mut resolver = Resolver::new(zones, question, client.transport, &mut writer);
            let outcome = resolver.run();
            lookups = resolver.lookups();
            (outcome.rcode, outcome.authoritative)
        }
    };
    let mut flags = Flags::QR | request.header.flags & Flags::RD;
    flags.set(Flags::AA, authoritative);
    flags.set(Flags::TC, writer.is_truncated());
    let header = Header {
        id: request.header.id,
        flags,
        opcode: request.header.opcode,
        rcode,
        ..Header::default()
    };
    Ok(Answer {
        length: writer.finish(header),
        rcode,
        flags,
        lookups,
    })
}

/// [`respond`] with its limits, and counters of what became of the requests.
///
/// Not `Sync`: a server belongs to one executor. Its tasks share it by reference, for a call never lasts beyond its
/// return.
///
/// - Getters: [`Server::limits`], [`Server::counters`].
/// - Input and output in one: [`Server::answer`]. There are no timers.
#[derive(Debug, Default)]
pub struct Server {
    limits: Limits,
    counters: Cell<Counters>,
}

impl Server {
    /// A server with these limits that has counted nothing.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            counters: Cell::new(Counters::ZERO),
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What became of the requests so far.
    pub fn counters(&self) -> Counters {
        self.counters.get()
    }

    /// Answers one request and counts it; the answer's octets in `out`, or `None` when nothing is to be sent. See
    /// [`respond`].
    pub fn answer(
        &self,
        zones: &ZoneSet<'_>,
        request: &[u8],
        client: &Client,
        out: &mut [u8],
    ) -> Option<usize> {
        let result = respond(zones, &self.limits, request, client, out);
        let mut counters = self.counters.get();
        counters.count(client.transport, &result);
        self.counters.set(counters);
        result.ok().map(|answer| answer.length)
    }
}

/// Whether this server implements an opcode.
const fn is_implemented(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::QUERY)
}
