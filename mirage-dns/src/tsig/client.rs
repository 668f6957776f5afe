//! The client's side: signs a request, and verifies what answers it.

use core::error::Error;
use core::fmt;

use byteorder::{BigEndian, ByteOrder};

use super::mac::{Context, Mac};
use super::record::{
    Digested, MAX_TIME, Malformed, Tsig, Variables, decrement_additional_count, sign,
};
use super::{Algorithm, Key, SignError, StreamVerifier, TsigError};
use crate::message::MessageReader;
use crate::record::Rcode;

/// Signs the request in the first `length` octets of `buffer`; its new length, and what verifies the answer. `now` is in
/// seconds since 1970.
///
/// # Errors
/// [`SignError`]; the request is then as it was.
pub fn sign_request<'k>(
    key: &'k Key,
    buffer: &mut [u8],
    length: usize,
    now: u64,
) -> Result<(usize, SignedRequest<'k>), SignError> {
    let variables = Variables::at(now);
    let (length, mac) = sign(
        buffer,
        length,
        key,
        key.context(),
        &variables,
        Digested::All,
    )?;
    Ok((length, SignedRequest { key, mac }))
}

/// A request that was signed, and may be answered.
#[derive(Clone)]
pub struct SignedRequest<'k> {
    key: &'k Key,
    mac: Mac,
}

impl<'k> SignedRequest<'k> {
    #[cfg(test)]
    pub(super) fn new(key: &'k Key, mac: Mac) -> Self {
        Self { key, mac }
    }

    /// The key that it was signed with.
    pub fn key(&self) -> &'k Key {
        self.key
    }

    /// Verifies the signature of an answer of one message, and takes it off; the answer's length without it, its count
    /// of additional records one less (RFC 8945 §5.4). `now` is in seconds since 1970.
    ///
    /// The ID is not covered: [`Query::accept`](crate::client::Query::accept) comes next.
    ///
    /// # Errors
    /// [`AnswerError`], with the answer left as it is.
    pub fn verify_answer(&self, answer: &mut [u8], now: u64) -> Result<usize, AnswerError> {
        let tsig = find(answer)?.ok_or(AnswerError::Unsigned)?;
        let mut context = self.context();
        check(&tsig, answer, self.key, &mut context, Digested::All, now)?;
        let length = tsig.start;
        decrement_additional_count(answer);
        Ok(length)
    }

    /// Verifies an answer of several messages (RFC 8945 §5.3.1).
    pub fn stream(&self) -> StreamVerifier<'k> {
        StreamVerifier::new(self.key, self.context())
    }

    /// What the digest of the answer begins with.
    fn context(&self) -> Context {
        let mut context = self.key.context();
        context.update_with_mac(&self.mac);
        context
    }
}

impl fmt::Debug for SignedRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequest")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

pub(super) fn find(answer: &[u8]) -> Result<Option<Tsig<'_>>, AnswerError> {
    Tsig::find(answer).map_err(|Malformed| AnswerError::Malformed)
}

/// Checks the record of an answer, in the order in which a server checks a request's. `context` has what goes before the
/// message, and is left with the message and variables in it.
pub(super) fn check(
    tsig: &Tsig<'_>,
    answer: &[u8],
    key: &Key,
    context: &mut Context,
    digested: Digested,
    now: u64,
) -> Result<(), AnswerError> {
    let error = tsig.variables.error;
    if tsig.mac.len() == 0 {
        let rcode = MessageReader::new(answer).map(|reader| reader.header().rcode);
        let is_error = rcode == Ok(Rcode::NOTAUTH) && error != TsigError::NOERROR;
        return Err(match is_error {
            true => AnswerError::Alleged(error),
            false => AnswerError::Unsigned,
        });
    }
    let algorithm = Algorithm::from_name(tsig.algorithm);
    if algorithm != Some(key.algorithm()) || tsig.key_name.as_name() != key.name() {
        return Err(AnswerError::OtherKey);
    }
    if !tsig.has_possible_length(key.algorithm()) {
        return Err(AnswerError::Malformed);
    }
    tsig.digest_message(context, answer);
    match digested {
        Digested::All => tsig.variables.digest(context, key),
        Digested::Timers => tsig.variables.digest_timers(context),
    }
    if !context.clone().matches(tsig.mac) {
        return Err(AnswerError::BadSignature);
    }
    if !tsig.variables.is_timely(now) {
        return Err(AnswerError::BadTime);
    }
    if tsig.mac.len() < key.algorithm().mac_length() {
        return Err(AnswerError::BadTruncation);
    }
    match (error, tsig.variables.other) {
        (TsigError::NOERROR, _) => Ok(()),
        (TsigError::BADTIME, other @ [_, _, _, _, _, _]) => Err(AnswerError::ServerTime(
            BigEndian::read_u48(other).min(MAX_TIME),
        )),
        (error, _) => Err(AnswerError::Rejected(error)),
    }
}

/// Why an answer is not to be used, and whose fault it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AnswerError {
    /// It is not signed. Whoever sent it need not be the server: wait on. In a stream also the hundredth message in
    /// sequence that is not signed, or a last one: the server's fault.
    Unsigned,
    /// Its TSIG record is misplaced, repeated or malformed: the sender's fault. Wait on.
    Malformed,
    /// It is signed with another key, or under another algorithm: wait on.
    OtherKey,
    /// The MAC is not that of the message: it was changed or forged, or the secrets differ. Wait on.
    BadSignature,
    /// The server signed it, at a time that is not ours by more than its fudge: one of the clocks is wrong, or the
    /// answer is an old one.
    BadTime,
    /// The server signed it, with a MAC that it cut: our policy wants all of it.
    BadTruncation,
    /// Somebody says that our signature does not count, with BADKEY or BADSIG: the configurations differ, if it is the
    /// server that says so, which nothing proves (RFC 8945 §5.3.2). Wait on, and report it when the time is over.
    Alleged(TsigError),
    /// The server signed it and says BADTIME; its clock shows this, in seconds since 1970. One of the clocks is wrong.
    ServerTime(u64),
    /// The server signed it and refuses our signature, with BADTRUNC or a code that has no meaning here.
    Rejected(TsigError),
}

impl AnswerError {
    /// Whether the server itself sent the answer, which was proven: there will be no other one. Of all other errors
    /// somebody else may be the cause, and a client waits for another answer until its time is over (RFC 8945 §5.4).
    pub const fn is_from_server(self) -> bool {
        matches!(
            self,
            Self::BadTime | Self::BadTruncation | Self::ServerTime(_) | Self::Rejected(_)
        )
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsigned => "the answer is not signed",
            Self::Malformed => "the answer's TSIG record is misplaced, repeated or malformed",
            Self::OtherKey => "the answer is signed with another key",
            Self::BadSignature => "the answer's signature is wrong",
            Self::BadTime => "the answer was signed at a time that is not ours",
            Self::BadTruncation => "the answer's signature was cut",
            Self::Alleged(error) => {
                return write!(f, "an answer without signature says {error}");
            }
            Self::ServerTime(time) => {
                return write!(
                    f,
                    "the server says BADTIME, and that its clock shows {time}"
                );
            }
            Self::Rejected(error) => return write!(f, "the server says {error}"),
        })
    }
}

impl Error for AnswerError {}
