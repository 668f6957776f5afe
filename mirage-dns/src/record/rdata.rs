//! Rdata taken apart and checked as the table says.

use core::error::Error;
use core::fmt;

use crate::name::{Name, NameError};

use super::{RdataField, RecordType};

/// Iterates over the fields of uncompressed rdata: each field's kind and octets. An unknown type's has none.
///
/// The iteration ends at the first octets that are not what the table says; [`check_rdata`] says whether there are any.
pub fn rdata_fields(
    record_type: RecordType,
    rdata: &[u8],
) -> impl Iterator<Item = (RdataField, &[u8])> {
    let fields = record_type.rdata_fields().unwrap_or(&[]);
    let mut rest = rdata;
    fields.iter().map_while(move |&field| {
        let (octets, after) = field.split_from(rest).ok()?;
        rest = after;
        Some((field, octets))
    })
}

/// The names that are fields of their own in uncompressed rdata, in order; none for an unknown type.
///
/// An IPSECKEY record's gateway and a HIP record's servers are not among them.
pub fn rdata_names(record_type: RecordType, rdata: &[u8]) -> impl Iterator<Item = Name<'_>> {
    rdata_fields(record_type, rdata)
        .filter(|(field, _)| field.is_name())
        .filter_map(|(_, octets)| Name::from_wire(octets).ok())
}

/// Checks that `rdata`, uncompressed, is what its type's table says, with nothing left over; any octets for an unknown
/// type.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_rdata(record_type: RecordType, rdata: &[u8]) -> Result<(), RdataError> {
    if rdata.len() > usize::from(u16::MAX) {
        return Err(RdataError::TooLong);
    }
    let Some(fields) = record_type.rdata_fields() else {
        return Ok(());
    };
    let mut rest = rdata;
    for field in fields {
        (_, rest) = field.split_from(rest)?;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(RdataError::TrailingOctets)
    }
}

/// Why octets are not the rdata of a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RdataError {
    /// The rdata ends inside a field, or before one.
    TooShort,
    /// Octets after the last field.
    TrailingOctets,
    /// More than 65,535 octets.
    TooLong,
    /// A name in it is none.
    Name(NameError),
    /// This field has octets that its RFC forbids.
    Malformed(RdataField),
}

impl fmt::Display for RdataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => f.write_str("the rdata is too short for its type"),
            Self::TrailingOctets => f.write_str("octets follow the last field of the rdata"),
            Self::TooLong => f.write_str("the rdata is longer than 65,535 octets"),
            Self::Name(error) => write!(f, "in the rdata: {error}"),
            Self::Malformed(field) => write!(f, "in the rdata: malformed {field:?}"),
        }
    }
}

impl Error for RdataError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Name(error) => Some(error),
            _ => None,
        }
    }
}
