//! The TSIG record (RFC 8945 §4.2): found in a message, put into the digest, written behind a message.

use byteorder::{BigEndian, ByteOrder};

use super::key::FIXED_LENGTH;
use super::mac::{Context, Mac, ReceivedMac};
use super::{Algorithm, Key, SignError, TsigError};
use crate::message::{Flags, HEADER_LENGTH, Header, MAX_MESSAGE_LENGTH, MessageReader, Section};
use crate::name::{Name, NameBuf};
use crate::record::{RecordClass, RecordType};

/// The largest time that the record's 48 bits hold, in seconds since 1970.
pub(super) const MAX_TIME: u64 = (1 << 48) - 1;

/// Octets of rdata before the MAC, its algorithm's name not counted: time signed, fudge, MAC size.
const BEFORE_MAC: usize = 10;

/// A TSIG record that was received in its place.
pub(super) struct Tsig<'m> {
    /// Where it begins: the message that was signed ends here.
    pub(super) start: usize,
    pub(super) key_name: NameBuf,
    pub(super) algorithm: Name<'m>,
    pub(super) mac: ReceivedMac<'m>,
    pub(super) original_id: u16,
    pub(super) variables: Variables<'m>,
}

/// What is digested of a record besides its names (RFC 8945 §4.3.3).
#[derive(Clone, Copy)]
pub(super) struct Variables<'a> {
    /// Seconds since 1970, 48 bits.
    pub(super) time_signed: u64,
    /// Seconds by which the clocks may differ.
    pub(super) fudge: u16,
    pub(super) error: TsigError,
    pub(super) other: &'a [u8],
}

/// A TSIG record that is not where, or not what, it must be: FORMERR.
#[derive(Debug)]
pub(super) struct Malformed;

impl<'m> Tsig<'m> {
    /// Looks for a TSIG record. There may be one, as the last of the additional section, with nothing behind it
    /// (RFC 8945 §5.2). A message that cannot be read up to one has none.
    pub(super) fn find(message: &'m [u8]) -> Result<Option<Self>, Malformed> {
        let Ok(reader) = MessageReader::new(message) else {
            return Ok(None);
        };
        let mut records = reader.records();
        while let Some(Ok(record)) = records.next() {
            if record.record_type != RecordType::TSIG {
                continue;
            }
            let is_last = record.section == Section::Additional && records.next().is_none();
            let is_plain = record.class == RecordClass::ANY && record.ttl == 0;
            if !is_last || !is_plain || reader.end().map_err(|_| Malformed)? != message.len() {
                return Err(Malformed);
            }
            let key_name = record.owner().map_err(|_| Malformed)?;
            let tsig = Self::parse(record.offset(), key_name, record.raw_rdata());
            return tsig.ok_or(Malformed).map(Some);
        }
        Ok(None)
    }

    fn parse(start: usize, key_name: NameBuf, rdata: &'m [u8]) -> Option<Self> {
        let (algorithm, rest) = Name::split_from(rdata).ok()?;
        let (fixed, rest) = rest.split_at_checked(BEFORE_MAC)?;
        let (mac, rest) = rest.split_at_checked(usize::from(BigEndian::read_u16(&fixed[8..10])))?;
        let (after_mac, other) = rest.split_at_checked(6)?;
        if other.len() != usize::from(BigEndian::read_u16(&after_mac[4..6])) {
            return None;
        }
        Some(Self {
            start,
            key_name,
            algorithm,
            mac: ReceivedMac::new(mac),
            original_id: BigEndian::read_u16(&after_mac[0..2]),
            variables: Variables {
                time_signed: BigEndian::read_u48(&fixed[0..6]),
                fudge: BigEndian::read_u16(&fixed[6..8]),
                error: TsigError(BigEndian::read_u16(&after_mac[2..4])),
                other,
            },
        })
    }

    /// Whether the MAC's length is one that may be sent with this algorithm (RFC 8945 §5.2.2.1).
    pub(super) fn has_possible_length(&self, algorithm: Algorithm) -> bool {
        (algorithm.least_mac_length()..=algorithm.mac_length()).contains(&self.mac.len())
    }

    /// Puts the message into the digest as it was before it was signed: without this record, under the ID that it had
    /// (RFC 8945 §4.3.2).
    pub(super) fn digest_message(&self, context: &mut Context, message: &[u8]) {
        let Some((header, rest)) = message[..self.start].split_first_chunk::<HEADER_LENGTH>()
        else {
            return;
        };
        let mut header = *header;
        BigEndian::write_u16(&mut header[0..2], self.original_id);
        decrement_additional_count(&mut header);
        context.update(&header);
        context.update(rest);
    }
}

impl Variables<'_> {
    /// All of them, and the key's names (RFC 8945 §4.3.3).
    pub(super) fn digest(&self, context: &mut Context, key: &Key) {
        context.update(key.name().as_wire());
        context.update(&RecordClass::ANY.0.to_be_bytes());
        context.update(&0u32.to_be_bytes()); // the TTL
        context.update(key.algorithm().name().as_wire());
        self.digest_timers(context);
        context.update(&self.error.0.to_be_bytes());
        context.update(&(self.other.len() as u16).to_be_bytes()); // it came in a record, or is the server's time
        context.update(self.other);
    }

    /// The time alone: what later messages of a stream digest (RFC 8945 §5.3.1).
    pub(super) fn digest_timers(&self, context: &mut Context) {
        context.update(&self.time_signed.to_be_bytes()[2..]);
        context.update(&self.fudge.to_be_bytes());
    }

    /// Whether `now` lies within the fudge of the time signed (RFC 8945 §5.2.3).
    pub(super) fn is_timely(&self, now: u64) -> bool {
        now.min(MAX_TIME).abs_diff(self.time_signed) <= u64::from(self.fudge)
    }
}

/// Which of the variables a message's digest has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Digested {
    All,
    Timers,
}

/// Signs the message in the first `length` octets of `buffer` and writes the record behind it; the length with it, and
/// the MAC. `context` has what goes before the message.
pub(super) fn sign(
    buffer: &mut [u8],
    length: usize,
    key: &Key,
    mut context: Context,
    variables: &Variables<'_>,
    digested: Digested,
) -> Result<(usize, Mac), SignError> {
    let message = buffer.get(..length).ok_or(SignError::NoMessage)?;
    let header: &[u8; HEADER_LENGTH] = message.first_chunk().ok_or(SignError::NoMessage)?;
    let id = Header::from_octets(header).id;
    context.update(message);
    match digested {
        Digested::All => variables.digest(&mut context, key),
        Digested::Timers => variables.digest_timers(&mut context),
    }
    let mac = context.finish();
    let names = (key.name(), key.algorithm().name());
    let length = append(buffer, length, names, variables, &mac, id)?;
    Ok((length, mac))
}

/// Writes a TSIG record behind the message in the first `length` octets of `buffer`, and counts it; the new length.
/// Nothing is changed when it does not fit.
pub(super) fn append(
    buffer: &mut [u8],
    length: usize,
    (key_name, algorithm): (Name<'_>, Name<'_>),
    variables: &Variables<'_>,
    mac: &Mac,
    original_id: u16,
) -> Result<usize, SignError> {
    let rdata_length = algorithm.len() + 16 + mac.octets().len() + variables.other.len();
    let record_length = key_name.len() + 10 + rdata_length;
    debug_assert_eq!(
        record_length
            - key_name.len()
            - algorithm.len()
            - mac.octets().len()
            - variables.other.len(),
        FIXED_LENGTH
    );
    let end = length + record_length;
    let count = additional_count(buffer).ok_or(SignError::NoMessage)?;
    if end > buffer.len().min(MAX_MESSAGE_LENGTH) || count == u16::MAX {
        return Err(SignError::NoRoom);
    }
    let mut rest = &mut buffer[length..end];
    let mut put = |octets: &[u8]| {
        // The room was measured above.
        if let Some((room, after)) = core::mem::take(&mut rest).split_at_mut_checked(octets.len()) {
            room.copy_from_slice(octets);
            rest = after;
        }
    };
    put(key_name.as_wire());
    put(&RecordType::TSIG.0.to_be_bytes());
    put(&RecordClass::ANY.0.to_be_bytes());
    put(&0u32.to_be_bytes()); // the TTL
    put(&(rdata_length as u16).to_be_bytes()); // of a record that ends within 65,535 octets
    put(algorithm.as_wire());
    put(&variables.time_signed.to_be_bytes()[2..]);
    put(&variables.fudge.to_be_bytes());
    put(&(mac.octets().len() as u16).to_be_bytes()); // at most 64
    put(mac.octets());
    put(&original_id.to_be_bytes());
    put(&variables.error.0.to_be_bytes());
    put(&(variables.other.len() as u16).to_be_bytes());
    put(variables.other);
    BigEndian::write_u16(&mut buffer[10..12], count + 1);
    Ok(end)
}

/// Leaves of a message that has no room for its signature what RFC 8945 §5.3 says: the question, TC, NOERROR. The new
/// length.
pub(super) fn truncate(message: &mut [u8]) -> Result<usize, SignError> {
    let reader = MessageReader::new(message).map_err(|_| SignError::NoMessage)?;
    let end = reader.questions_end().map_err(|_| SignError::NoMessage)?;
    let mut header = *reader.header();
    header.flags |= Flags::TC;
    header.rcode = crate::record::Rcode::NOERROR;
    (
        header.answer_count,
        header.authority_count,
        header.additional_count,
    ) = (0, 0, 0);
    message[..HEADER_LENGTH].copy_from_slice(&header.to_octets());
    Ok(end)
}

/// Takes the record that was cut off out of the count.
pub(super) fn decrement_additional_count(header: &mut [u8]) {
    if let Some(count) = additional_count(header) {
        BigEndian::write_u16(&mut header[10..12], count.saturating_sub(1));
    }
}

fn additional_count(message: &[u8]) -> Option<u16> {
    message.get(10..12).map(BigEndian::read_u16)
}
