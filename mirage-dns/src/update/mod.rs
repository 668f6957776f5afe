//! Dynamic updates (RFC 2136): what a message wants of a zone, and what becomes of the zone (feature `alloc`).
//!
//! | item | what it is |
//! |------|------------|
//! | [`UpdateRequest`] | an UPDATE message that can be read |
//! | [`PendingUpdates`] | what was changed in a zone and is not built into its image yet |
//! | [`UpdateLimits`] | how much one may ask for, and how much may wait |
//! | [`UpdateError`], [`Refusal`] | why an update is not done, and the code that says so |
//! | [`Counters`] | how many of each |
//!
//! 1. [`UpdateRequest::parse`], and [`UpdateRequest::zone`] finds the zone (§3.1).
//! 2. Whether the sender may change the zone is for the caller to say: before anything is told of what is in it (§3.3).
//! 3. [`PendingUpdates::apply`] tests the prerequisites (§3.2), does the updates (§3.4) all or none, and gives the
//!    [`Difference`](crate::difference::Difference).
//! 4. The caller keeps the difference (§3.5), builds the zone's next image with it, and then
//!    [forgets](PendingUpdates::forget) it. Updates that come meanwhile see what the ones before them did.
//!
//! # Where RFC 2136 leaves a choice
//!
//! - **A record that is there already** takes the place of the old one, so that the case of its names and the TTL change
//!   (§3.4.2.2).
//! - **The TTL** of an added record becomes that of its whole RRset (RFC 2181 §5.2), and one above 2³¹ − 1 becomes 0
//!   (§8 there).
//! - **ZONEMD** at the apex, whose digest is that of the version before, goes with an update that changes anything, unless the
//!   update brings one for the new serial: by one of another serial no zone is verified (RFC 8976 §4), and a secondary that looks
//!   would refuse the zone.
//! - **Beside a CNAME** may stand what may stand there in a zone file: RRSIG, NSEC, KEY and SIG. Everything else that
//!   would is left out, as is a CNAME beside other records (§3.4.2.2). A DNAME is treated as a CNAME is: there is one,
//!   and a new one takes its place (RFC 6672 §5.2).
//! - **The last NS record** is kept at the zone's apex alone, as §3.4.2.4 says; the pseudocode says it of every name.
//! - **Any meta type** is malformed in an update, also those that §3.4.1.2 does not list (OPT, TSIG).
//! - **The serial** goes one up with each update that changes something and does not raise it itself (§3.6, (1)); one
//!   that changes nothing leaves it. 0 is left out.
//! - **Names below a zone cut** belong to the zone, as glue does, also where the zone below the cut is in the same set.
//! - **What could not be served** is refused, and all of the update with it: see [`Refusal`].
//! - **The additional section** is ignored (§2.6).
//!
//! ```
//! use mirage_dns::difference::RecordBuf;
//! use mirage_dns::message::{Header, MessageBuilder, MessageReader, Section};
//! use mirage_dns::name::NameBuf;
//! use mirage_dns::record::{Opcode, RecordClass, RecordType};
//! use mirage_dns::update::{PendingUpdates, UpdateLimits, UpdateRequest};
//! use mirage_dns::zone_set::{ZoneSet, ZoneSetBuilder};
//!
//! let (apex, www) = (NameBuf::from_text("example.org")?, NameBuf::from_text("www.example.org")?);
//! let mut builder = ZoneSetBuilder::new();
//! let zone = builder.add_zone(apex.as_name())?;
//! let soa = b"\x02ns\x07example\x03org\0\x04root\x07example\x03org\0\0\0\0\x01\0\0\x0e\x10\0\0\x02\x58\0\x01\x51\x80\0\0\0\x3c";
//! builder.add_record(zone, apex.as_name(), RecordType::SOA, 3600, soa)?;
//! let image = builder.build()?;
//! let zones = ZoneSet::from_bytes(&image)?;
//!
//! // What `nsupdate` sends for `add www.example.org 60 A 192.0.2.80`.
//! let mut buffer = [0; 512];
//! let header = Header { opcode: Opcode::UPDATE, ..Header::default() };
//! let mut message = MessageBuilder::new(&mut buffer, header)?;
//! message.push_question(apex.as_name(), RecordType::SOA, RecordClass::IN)?;
//! let update = Section::Authority;
//! message.push_record(update, www.as_name(), RecordType::A, RecordClass::IN, 60, &[192, 0, 2, 80])?;
//! let length = message.finish();
//!
//! let reader = MessageReader::new(&buffer[..length])?;
//! let request = UpdateRequest::parse(&reader)?;
//! let mut pending = PendingUpdates::new(UpdateLimits::default());
//! let difference = pending.apply(request.zone(&zones)?, &request)?.expect("something changed");
//! assert_eq!((difference.old_serial(), difference.new_serial()), (1, 2));
//! assert_eq!(difference.added, [RecordBuf::new(www.as_name(), RecordType::A, 60, &[192, 0, 2, 80])]);
//!
//! builder.apply(zone, &difference)?;
//! assert!(builder.build().is_ok());
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

use core::error::Error;
use core::fmt;

use crate::record::Rcode;

mod changes;
mod counters;
mod node;
mod pending;
mod prerequisites;
mod request;
#[cfg(test)]
mod tests;

pub use counters::Counters;
pub use pending::PendingUpdates;
pub use request::UpdateRequest;

/// How much an update may ask for, and how much may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpdateLimits {
    /// Records in one message, prerequisites and updates.
    pub records: usize,
    /// Octets of all records of the names that one update touches, and of the names that wait to be built: all records
    /// of such a name are kept, uncompressed, their data twice (with and without case), with 64 octets more for each.
    pub octets: usize,
}

impl Default for UpdateLimits {
    /// 6,000 records, as many as a message can have; 16 MiB.
    fn default() -> Self {
        Self {
            records: 6_000,
            octets: 16 << 20,
        }
    }
}

/// Why an update is not done. Nothing of it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum UpdateError {
    /// A section that is not what it must be, a record that cannot be read or whose class, type, TTL or data have no
    /// meaning there: FORMERR. The sender's fault.
    Malformed,
    /// A name outside the zone: NOTZONE. The sender's fault.
    NotInZone,
    /// The zone is not one of the set: NOTAUTH.
    NotAuthoritative,
    /// The zone is not there: SERVFAIL.
    NoData,
    /// A name that must be in use is not: NXDOMAIN.
    NameNotInUse,
    /// A name that must not be in use is: YXDOMAIN.
    NameInUse,
    /// An RRset that must be there is not, or is another: NXRRSET.
    NoRrset,
    /// An RRset that must not be there is: YXRRSET.
    Rrset,
    /// It is not done by policy: REFUSED.
    Refused(Refusal),
}

/// What this server does not do: the zone could not be built or served afterwards, or a bound would be passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// More than [`UpdateLimits::records`].
    TooManyRecords,
    /// More than [`UpdateLimits::octets`].
    TooManyOctets,
    /// More than 65,535 records in one RRset.
    RrsetTooLarge,
    /// DNSKEY at the apex: the zone would be a signed one.
    Signed,
    /// Records below a DNAME (RFC 6672 §2.4).
    BelowRedirection,
    /// DNAME beside NS, below the apex (RFC 6672 §2.3).
    RedirectionAtCut,
}

impl UpdateError {
    /// The response code that says so (RFC 2136 §2.2).
    pub const fn rcode(self) -> Rcode {
        match self {
            Self::Malformed => Rcode::FORMERR,
            Self::NotInZone => Rcode::NOTZONE,
            Self::NotAuthoritative => Rcode::NOTAUTH,
            Self::NoData => Rcode::SERVFAIL,
            Self::NameNotInUse => Rcode::NXDOMAIN,
            Self::NameInUse => Rcode::YXDOMAIN,
            Self::NoRrset => Rcode::NXRRSET,
            Self::Rrset => Rcode::YXRRSET,
            Self::Refused(_) => Rcode::REFUSED,
        }
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the update is malformed",
            Self::NotInZone => "a name lies outside the zone",
            Self::NotAuthoritative => "the zone is not one of this server's",
            Self::NoData => "the zone is not there",
            Self::NameNotInUse => "a name that must be in use is not",
            Self::NameInUse => "a name that must not be in use is",
            Self::NoRrset => "an RRset that must be there is not, or is another",
            Self::Rrset => "an RRset that must not be there is",
            Self::Refused(refusal) => return refusal.fmt(f),
        })
    }
}

impl Error for UpdateError {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooManyRecords => "the update has too many records",
            Self::TooManyOctets => "the update touches too much, or too much waits",
            Self::RrsetTooLarge => "the RRset would have more than 65,535 records",
            Self::Signed => "the zone would be a signed one, which is not served yet",
            Self::BelowRedirection => "there would be records below a DNAME",
            Self::RedirectionAtCut => "there would be a DNAME at a zone cut",
        })
    }
}
