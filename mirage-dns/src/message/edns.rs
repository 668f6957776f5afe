//! EDNS(0): the OPT record (RFC 6891).

use byteorder::{BigEndian, ByteOrder};

use super::{MessageError, Record};
use crate::record::RecordType;

/// The least payload size that counts: smaller values mean this one (RFC 6891 §6.2.3).
pub const MIN_PAYLOAD_SIZE: u16 = 512;

/// Octets of UDP payload that we say we take: with IPv6's and UDP's headers they fit the least MTU of IPv6.
const ANSWERED_PAYLOAD_SIZE: u16 = 1_232;

/// What an OPT record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edns<'a> {
    /// The most octets of UDP payload that the sender can take, as it said; see [`Edns::payload_limit`].
    pub payload_size: u16,
    /// The upper eight bits of the response code.
    pub extended_rcode: u8,
    /// The version; 0 is the only one there is.
    pub version: u8,
    /// The DO bit: the sender wants DNSSEC's records (RFC 3225).
    pub dnssec_ok: bool,
    /// The options, encoded; [`Edns::options`] reads them.
    pub options: &'a [u8],
}

impl Edns<'static> {
    /// Octets of an OPT record without options.
    pub const RECORD_LENGTH: usize = 11;

    /// What one sends that wants answers of up to `payload_size` octets and nothing else.
    pub const fn with_payload_size(payload_size: u16) -> Self {
        Self {
            payload_size,
            extended_rcode: 0,
            version: 0,
            dnssec_ok: false,
            options: &[],
        }
    }
}

impl<'a> Edns<'a> {
    /// Reads an OPT record.
    ///
    /// # Errors
    /// [`MessageError::Opt`] when it is no OPT, its owner is not the root, or the options do not fill its rdata
    /// exactly.
    pub fn from_record(record: &Record<'a>) -> Result<Self, MessageError> {
        if record.record_type != RecordType::OPT || !record.owner_is_root() {
            return Err(MessageError::Opt);
        }
        let edns = Self {
            payload_size: record.class.0,
            extended_rcode: (record.ttl >> 24) as u8,
            version: (record.ttl >> 16) as u8,
            dnssec_ok: record.ttl & 0x8000 != 0,
            options: record.raw_rdata(),
        };
        let mut options = edns.options();
        for _ in &mut options {}
        if options.rest.is_empty() {
            Ok(edns)
        } else {
            Err(MessageError::Opt)
        }
    }

    /// The OPT record of an answer that has no options: with our own payload size, and DO as it was asked with (RFC 3225 §3).
    pub fn to_be_answered(&self) -> Edns<'static> {
        Edns {
            dnssec_ok: self.dnssec_ok,
            ..Edns::with_payload_size(ANSWERED_PAYLOAD_SIZE)
        }
    }

    /// The most octets of UDP payload that may be sent, 512 at least (RFC 6891 §6.2.3).
    pub fn payload_limit(&self) -> usize {
        usize::from(self.payload_size.max(MIN_PAYLOAD_SIZE))
    }

    /// The options: code and data.
    pub fn options(&self) -> EdnsOptions<'a> {
        EdnsOptions { rest: self.options }
    }

    /// The first eleven octets of the OPT record; the options follow.
    pub(crate) fn fixed_octets(&self) -> [u8; Edns::RECORD_LENGTH] {
        let mut octets = [0; Edns::RECORD_LENGTH];
        BigEndian::write_u16(&mut octets[1..3], RecordType::OPT.0);
        BigEndian::write_u16(&mut octets[3..5], self.payload_size);
        octets[5] = self.extended_rcode;
        octets[6] = self.version;
        octets[7] = u8::from(self.dnssec_ok) << 7;
        BigEndian::write_u16(&mut octets[9..11], self.options.len() as u16); // the builder has checked it
        octets
    }
}

/// The options of an OPT record; see [`Edns::options`].
#[derive(Clone, Debug)]
pub struct EdnsOptions<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for EdnsOptions<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (fixed, rest) = self.rest.split_first_chunk::<4>()?;
        let length = usize::from(BigEndian::read_u16(&fixed[2..4]));
        let (data, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some((BigEndian::read_u16(&fixed[0..2]), data))
    }
}
