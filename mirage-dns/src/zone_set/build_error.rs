//! Why records do not make a zone set.

use alloc::string::{String, ToString};
use core::error::Error;
use core::fmt;

use super::ImageError;
use super::format::NONE;
use crate::name::Name;
use crate::record::{RdataError, RecordType};

/// Why records do not make a zone set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BuildError {
    owner: String,
    record_type: Option<RecordType>,
    kind: BuildErrorKind,
}

impl BuildError {
    pub(super) fn at(
        owner: Name<'_>,
        record_type: Option<RecordType>,
        kind: BuildErrorKind,
    ) -> Self {
        Self {
            owner: owner.to_string(),
            record_type,
            kind,
        }
    }

    /// A change of this zone could not be stored.
    pub(crate) fn not_stored(apex: Name<'_>) -> Self {
        Self::at(apex, None, BuildErrorKind::NotStored)
    }

    /// The name that it is about, in text.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The type that it is about.
    pub fn record_type(&self) -> Option<RecordType> {
        self.record_type
    }

    /// What is wrong.
    pub fn kind(&self) -> BuildErrorKind {
        self.kind
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.owner)?;
        if let Some(record_type) = self.record_type {
            write!(f, " {record_type}")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl Error for BuildError {}

impl From<ImageError> for BuildError {
    fn from(error: ImageError) -> Self {
        Self::at(Name::ROOT, None, BuildErrorKind::Image(error))
    }
}

/// What is wrong with the records of a zone set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BuildErrorKind {
    /// A zone of that name was added before.
    DuplicateZone,
    /// The owner does not lie in the zone.
    OutOfZone,
    /// A type for questions or single messages, which no zone holds.
    MetaType,
    /// A TTL above 2³¹ − 1 (RFC 2181 §8).
    TtlTooLarge,
    /// A record is to be removed that the zone does not have.
    NoSuchRecord,
    /// A difference is from another version than the one that is there.
    OtherVersion,
    /// A change could not be stored, and so was not made.
    NotStored,
    /// The image that was laid out does not pass its check: a fault of this crate.
    Image(ImageError),
    /// The rdata is not what the type wants.
    Rdata(RdataError),
    /// More than 65,535 records in one RRset.
    TooManyRecords,
    /// The apex has no SOA.
    NoSoa,
    /// Several records of a type of which a name has one at most.
    SeveralRecords,
    /// A SOA that is not at the apex.
    SoaBelowApex,
    /// Something beside a CNAME (RFC 1034 §3.6.2).
    AliasWithOtherData,
    /// A DNSKEY at the apex: the zone is signed, and DNSSEC is not served yet.
    Signed,
    /// A DNAME beside the NS of a delegation (RFC 6672 §2.3).
    RedirectionAtCut,
    /// A name below a DNAME (RFC 6672 §2.4).
    BelowRedirection,
    /// The image would pass 4 GiB, or a name has more than 65,535 types.
    TooLarge,
    /// No seed that was tried spreads the names over the index: not to be met unless names were made to collide.
    IndexTooCrowded,
}

impl fmt::Display for BuildErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DuplicateZone => "the zone was added twice",
            Self::OutOfZone => "the owner is not in the zone",
            Self::MetaType => "no zone holds a record of this type",
            Self::TtlTooLarge => "the TTL is above 2147483647",
            Self::NoSuchRecord => "the zone has no such record to remove",
            Self::NotStored => "the change could not be stored",
            Self::Image(error) => return error.fmt(f),
            Self::OtherVersion => "the difference is from another version of the zone",
            Self::Rdata(error) => return error.fmt(f),
            Self::TooManyRecords => "the RRset has more than 65,535 records",
            Self::NoSoa => "the zone has no SOA at its apex",
            Self::SeveralRecords => "a name has one record of this type at most",
            Self::SoaBelowApex => "a SOA belongs at the apex of the zone alone",
            Self::AliasWithOtherData => "no other data may stand beside a CNAME",
            Self::Signed => "the zone is signed (DNSKEY at its apex), and DNSSEC is not served yet",
            Self::RedirectionAtCut => "a DNAME may not stand at a delegation",
            Self::BelowRedirection => "there may be no names below a DNAME",
            Self::TooLarge => "the image would be too large",
            Self::IndexTooCrowded => "the names collide in the index under every seed",
        })
    }
}

/// A count or offset as the image holds it.
pub(super) fn number(value: usize) -> Result<u32, BuildError> {
    u32::try_from(value)
        .ok()
        .filter(|&number| number != NONE)
        .ok_or_else(too_large)
}

pub(super) fn too_large() -> BuildError {
    BuildError::at(Name::ROOT, None, BuildErrorKind::TooLarge)
}
