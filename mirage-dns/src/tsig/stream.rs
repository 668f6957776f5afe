//! Answers of several messages (RFC 8945 §5.3.1): each signature covers what was sent since the last one.

use super::client::{AnswerError, check, find};
use super::mac::{Context, Mac};
use super::record::{Digested, Variables, decrement_additional_count, sign};
use super::{Key, SignError};

/// The most messages without a signature that a client takes one after the other (RFC 8945 §5.3.1).
pub const MAX_UNSIGNED_MESSAGES: u8 = 99;

/// Signs the messages of one answer, each of them.
pub struct StreamSigner<'k> {
    key: &'k Key,
    /// The MAC of the request, then of the message before.
    prior: Mac,
    digested: Digested,
}

impl<'k> StreamSigner<'k> {
    pub(super) fn new(key: &'k Key, request: Mac) -> Self {
        Self {
            key,
            prior: request,
            digested: Digested::All,
        }
    }

    /// The most octets that a message's TSIG record takes.
    pub fn record_length(&self) -> usize {
        self.key.record_length()
    }

    /// Signs the next message, in the first `length` octets of `message`; its new length. `now` is in seconds since
    /// 1970.
    ///
    /// # Errors
    /// [`SignError`]; the message and the stream are as before.
    pub fn sign(
        &mut self,
        message: &mut [u8],
        length: usize,
        now: u64,
    ) -> Result<usize, SignError> {
        let mut context = self.key.context();
        context.update_with_mac(&self.prior);
        let variables = Variables::at(now);
        let (length, mac) = sign(
            message,
            length,
            self.key,
            context,
            &variables,
            self.digested,
        )?;
        self.prior = mac;
        self.digested = Digested::Timers;
        Ok(length)
    }
}

impl core::fmt::Debug for StreamSigner<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("StreamSigner")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Verifies the messages of one answer in their order.
///
/// The first and the last message are signed, and of a hundred in sequence at least one. What came in unsigned messages
/// is proven by the next signature alone: nothing of the answer may be used before [`Self::finish`].
pub struct StreamVerifier<'k> {
    key: &'k Key,
    /// The MAC of the last signed message and all unsigned ones since.
    context: Context,
    digested: Digested,
    unsigned: u8,
    /// What ended the stream.
    failed: Option<AnswerError>,
}

impl<'k> StreamVerifier<'k> {
    pub(super) fn new(key: &'k Key, context: Context) -> Self {
        Self {
            key,
            context,
            digested: Digested::All,
            unsigned: 0,
            failed: None,
        }
    }

    /// Verifies the next message, and takes its TSIG record off, if it has one; the message's length without it, its
    /// count of additional records one less. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`AnswerError`]. It ends the stream: the same error comes again.
    pub fn verify(&mut self, message: &mut [u8], now: u64) -> Result<usize, AnswerError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.verify_next(message, now);
        self.failed = result.err();
        result
    }

    /// Says that the last message was verified before: only now the answer is proven.
    ///
    /// # Errors
    /// [`AnswerError::Unsigned`] when there was none or it was not signed, or the error that ended the stream.
    pub fn finish(self) -> Result<(), AnswerError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.digested == Digested::All || self.unsigned > 0 => {
                Err(AnswerError::Unsigned)
            }
            None => Ok(()),
        }
    }

    fn verify_next(&mut self, message: &mut [u8], now: u64) -> Result<usize, AnswerError> {
        let Some(tsig) = find(message)? else {
            if self.digested == Digested::All || self.unsigned == MAX_UNSIGNED_MESSAGES {
                return Err(AnswerError::Unsigned);
            }
            self.unsigned += 1;
            self.context.update(message);
            return Ok(message.len());
        };
        check(
            &tsig,
            message,
            self.key,
            &mut self.context,
            self.digested,
            now,
        )?;
        let (length, mac) = (tsig.start, tsig.mac.copied());
        decrement_additional_count(message);
        self.context = self.key.context();
        self.context.update_with_mac(&mac);
        self.digested = Digested::Timers;
        self.unsigned = 0;
        Ok(length)
    }
}

impl core::fmt::Debug for StreamVerifier<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("StreamVerifier")
            .field("key", &self.key)
            .field("unsigned", &self.unsigned)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
