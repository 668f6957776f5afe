//! The server's side: verifies a request, signs its answer, says what is wrong with a signature.

use core::cell::Cell;

use super::key::SERVER_TIME_LENGTH;
use super::mac::Mac;
use super::record::{
    Digested, MAX_TIME, Malformed, Tsig, Variables, append, decrement_additional_count, sign,
    truncate,
};
use super::{Counters, FUDGE, Key, KeyRing, SignError, StreamSigner, TsigError};
use crate::message::{Edns, Flags, HEADER_LENGTH, Header, MIN_PAYLOAD_SIZE, MessageReader};
use crate::name::Name;
use crate::record::Rcode;

/// Tells whose a request is, and counts.
///
/// Not `Sync`: it belongs to one executor, whose tasks share it by reference.
///
/// - Getters: [`Self::keys`], [`Self::counters`].
/// - Input: [`Self::verify`]. There are no timers.
#[derive(Debug, Default)]
pub struct RequestVerifier<'k> {
    keys: KeyRing<'k>,
    counters: Cell<Counters>,
}

impl<'k> RequestVerifier<'k> {
    /// One that knows these keys and has counted nothing.
    pub const fn new(keys: KeyRing<'k>) -> Self {
        Self {
            keys,
            counters: Cell::new(Counters::ZERO),
        }
    }

    /// The keys.
    pub fn keys(&self) -> KeyRing<'k> {
        self.keys
    }

    /// What became of the requests so far.
    pub fn counters(&self) -> Counters {
        self.counters.get()
    }

    /// Counts what became of answers, as they were counted elsewhere.
    #[cfg(feature = "alloc")]
    pub(crate) fn count_answers(&self, answers: &Counters) {
        let mut counters = self.counters.get();
        counters.add_answers(answers);
        self.counters.set(counters);
    }

    /// Looks for a TSIG record at the end of a request, verifies it, and takes it off (RFC 8945 §5.2).
    ///
    /// `None` is an unsigned request, which is left as it is; a response and less than a header are also none. Of a
    /// verified one the first [`Verified::length`] octets of `request` are what was signed, its count of additional
    /// records one less. `now` is in seconds since 1970.
    ///
    /// The work is linear in the request's length and in the number of keys.
    ///
    /// # Errors
    /// [`Rejected`], with the request left as it is. It must not be answered but as [`Rejected::write_reply`] does.
    pub fn verify(
        &self,
        request: &mut [u8],
        now: u64,
    ) -> Result<Option<Verified<'k>>, Rejected<'k>> {
        let result = verify(self.keys, request, now);
        let mut counters = self.counters.get();
        counters.count_request(&result);
        self.counters.set(counters);
        result
    }
}

/// [`RequestVerifier::verify`], uncounted. The checks have the order of RFC 8945 §5.2: key, MAC, time, truncation.
fn verify<'k>(
    keys: KeyRing<'k>,
    request: &mut [u8],
    now: u64,
) -> Result<Option<Verified<'k>>, Rejected<'k>> {
    let is_request =
        MessageReader::new(request).is_ok_and(|reader| !reader.header().flags.contains(Flags::QR));
    if !is_request {
        return Ok(None);
    }
    let tsig = match Tsig::find(request) {
        Ok(None) => return Ok(None),
        Ok(Some(tsig)) => tsig,
        Err(Malformed) => return Err(Rejected::unsigned(Reason::Malformed)),
    };
    let algorithm = super::Algorithm::from_name(tsig.algorithm);
    let key = algorithm.and_then(|algorithm| keys.find(tsig.key_name.as_name(), algorithm));
    let key = key.ok_or(Rejected::unsigned(Reason::BadKey))?;
    if !tsig.has_possible_length(key.algorithm()) {
        return Err(Rejected::unsigned(Reason::Malformed));
    }
    let mut context = key.context();
    tsig.digest_message(&mut context, request);
    tsig.variables.digest(&mut context, key);
    if !context.matches(tsig.mac) {
        return Err(Rejected::unsigned(Reason::BadSignature));
    }
    let mac = tsig.mac.copied();
    let signed = |reason, mac| Rejected {
        reason,
        signer: Some((key, mac)),
    };
    if !tsig.variables.is_timely(now) {
        return Err(signed(Reason::BadTime, mac));
    }
    if tsig.mac.len() < key.algorithm().mac_length() {
        return Err(signed(Reason::BadTruncation, mac));
    }
    let length = tsig.start;
    decrement_additional_count(request);
    Ok(Some(Verified { key, mac, length }))
}

/// A request that was signed with a key that is known.
///
/// Holding one proves that who knows the key's secret signed the request, within its fudge of the `now` that was given.
/// It does not prove that it was not sent twice, nor what the key's owner may do: that is for the caller to look up by
/// [`Self::key`].
#[derive(Clone)]
pub struct Verified<'k> {
    key: &'k Key,
    mac: Mac,
    length: usize,
}

impl<'k> Verified<'k> {
    /// Whose request it is.
    pub fn key(&self) -> &'k Key {
        self.key
    }

    /// Octets of the request without its TSIG record.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The most octets that the answer's TSIG record takes: the answer's own limit is so much less.
    pub fn record_length(&self) -> usize {
        self.key.record_length()
    }

    /// Signs the answer in the first `length` octets of `answer`, whose length is the most that may be sent. `now` is in
    /// seconds since 1970.
    ///
    /// Where the record does not fit, the question alone goes out with TC, so that the client asks over TCP
    /// (RFC 8945 §5.3); a caller that left [`Self::record_length`] octets free does not meet it.
    ///
    /// # Errors
    /// [`SignError::NoRoom`] when not even that fits; [`SignError::NoMessage`].
    pub fn sign(&self, answer: &mut [u8], length: usize, now: u64) -> Result<Signed, SignError> {
        match self.sign_whole(answer, length, now) {
            Ok(length) => Ok(Signed {
                length,
                truncated: false,
            }),
            Err(SignError::NoRoom) => {
                let length = truncate(answer.get_mut(..length).ok_or(SignError::NoMessage)?)?;
                Ok(Signed {
                    length: self.sign_whole(answer, length, now)?,
                    truncated: true,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Signs the messages of an answer that has several (RFC 8945 §5.3.1).
    pub fn stream(&self) -> StreamSigner<'k> {
        StreamSigner::new(self.key, self.mac.clone())
    }

    fn sign_whole(&self, answer: &mut [u8], length: usize, now: u64) -> Result<usize, SignError> {
        let mut context = self.key.context();
        context.update_with_mac(&self.mac);
        let variables = Variables::at(now);
        sign(answer, length, self.key, context, &variables, Digested::All).map(|(length, _)| length)
    }
}

impl core::fmt::Debug for Verified<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Verified")
            .field("key", &self.key)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// An answer that was signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signed {
    /// Octets of it, the TSIG record included.
    pub length: usize,
    /// Whether the answer had to go, to make room for the record.
    pub truncated: bool,
}

impl Variables<'static> {
    /// What we sign with at this time.
    pub(super) fn at(now: u64) -> Self {
        Self {
            time_signed: now.min(MAX_TIME),
            fudge: FUDGE,
            error: TsigError::NOERROR,
            other: &[],
        }
    }
}

/// What is wrong with a request's signature.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// A TSIG record that is not the last, not the only one, or malformed, or a MAC of a length that no sender may use:
    /// FORMERR. The sender's fault.
    Malformed,
    /// The key is not known, or not under this algorithm: BADKEY. A configuration is wrong, ours or the sender's.
    BadKey,
    /// The MAC is not that of the message: BADSIG. The secrets differ, or the message was changed or forged.
    BadSignature,
    /// The sender's clock and ours differ by more than the fudge, or the request is an old one: BADTIME.
    BadTime,
    /// The MAC was cut: BADTRUNC. Our policy, which wants all of it.
    BadTruncation,
}

impl Reason {
    /// The code of the reply's header.
    pub const fn rcode(self) -> Rcode {
        match self {
            Self::Malformed => Rcode::FORMERR,
            _ => Rcode::NOTAUTH,
        }
    }

    /// The error in the reply's TSIG record; FORMERR has no such record.
    pub const fn error(self) -> Option<TsigError> {
        match self {
            Self::Malformed => None,
            Self::BadKey => Some(TsigError::BADKEY),
            Self::BadSignature => Some(TsigError::BADSIG),
            Self::BadTime => Some(TsigError::BADTIME),
            Self::BadTruncation => Some(TsigError::BADTRUNC),
        }
    }
}

/// A request whose signature does not count. Nothing that it asks may be done.
#[derive(Clone)]
pub struct Rejected<'k> {
    reason: Reason,
    /// The key and the request's MAC, where the reply is to be signed.
    signer: Option<(&'k Key, Mac)>,
}

impl<'k> Rejected<'k> {
    fn unsigned(reason: Reason) -> Self {
        Self {
            reason,
            signer: None,
        }
    }

    /// What is wrong.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Whose request it is, where that was proven: with BADTIME and BADTRUNC.
    pub fn key(&self) -> Option<&'k Key> {
        self.signer.as_ref().map(|(key, _)| *key)
    }

    /// Writes the reply that says so into `reply`, whose length is the most that may be sent; its length (RFC 8945
    /// §5.2, §5.3.2).
    ///
    /// It is the header for FORMERR. Else it has the question, if that can be read, an OPT record, if the request has one,
    /// and a TSIG record: without a MAC for BADKEY and BADSIG, signed for BADTIME, with our time, and BADTRUNC. It is hardly longer than
    /// the request. `request` must be the request that was rejected.
    ///
    /// # Errors
    /// [`SignError`]: nothing can be sent.
    pub fn write_reply(
        &self,
        request: &[u8],
        now: u64,
        reply: &mut [u8],
    ) -> Result<usize, SignError> {
        let reader = MessageReader::new(request).map_err(|_| SignError::NoMessage)?;
        let asked = *reader.header();
        let mut header = Header {
            id: asked.id,
            flags: Flags::QR | asked.flags & Flags::RD,
            opcode: asked.opcode,
            rcode: self.reason.rcode(),
            ..Header::default()
        };
        let Some(error) = self.reason.error() else {
            return write_message(reply, header, &[]);
        };
        let Ok(Some(tsig)) = Tsig::find(request) else {
            return Err(SignError::NoMessage);
        };
        // The name of the first question is not compressed, for there is nothing before it.
        let section = &request[HEADER_LENGTH..];
        let question = Name::split_from(section)
            .ok()
            .filter(|_| asked.question_count == 1)
            .and_then(|(name, _)| section.get(..name.len() + 4))
            .unwrap_or(&[]);
        header.question_count = u16::from(!question.is_empty());
        // RFC 6891 §6.1.1. How much the server takes is not known here; it is this much at least.
        let edns = reader.edns().ok().flatten().map(|edns| Edns {
            dnssec_ok: edns.dnssec_ok,
            ..Edns::with_payload_size(MIN_PAYLOAD_SIZE)
        });
        header.additional_count = u16::from(edns.is_some());
        let edns = edns.map(|edns| edns.fixed_octets());
        let edns = edns.as_ref().map_or(&[][..], |octets| octets);
        let length = write_message(reply, header, &[question, edns])?;

        let server_time = now.min(MAX_TIME).to_be_bytes();
        let mut variables = Variables {
            error,
            ..Variables::at(now)
        };
        if self.reason == Reason::BadTime {
            // So that the client's own check of the time does not fail on what it sent.
            variables.time_signed = tsig.variables.time_signed;
            variables.fudge = tsig.variables.fudge;
            variables.other = &server_time[server_time.len() - SERVER_TIME_LENGTH..];
        }
        match &self.signer {
            Some((key, mac)) => {
                let mut context = key.context();
                context.update_with_mac(mac);
                sign(reply, length, key, context, &variables, Digested::All)
                    .map(|(length, _)| length)
            }
            None => {
                let names = (tsig.key_name.as_name(), tsig.algorithm);
                append(reply, length, names, &variables, &Mac::EMPTY, asked.id)
            }
        }
    }
}

impl core::fmt::Debug for Rejected<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Rejected")
            .field("reason", &self.reason)
            .field("key", &self.key())
            .finish_non_exhaustive()
    }
}

fn write_message(out: &mut [u8], header: Header, parts: &[&[u8]]) -> Result<usize, SignError> {
    let mut end = 0;
    for part in core::iter::once(&&header.to_octets()[..]).chain(parts) {
        let room = out.get_mut(end..end + part.len());
        room.ok_or(SignError::NoRoom)?.copy_from_slice(part);
        end += part.len();
    }
    Ok(end)
}
