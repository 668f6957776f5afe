//! What became of the signatures.

use super::{AnswerError, Reason, Rejected, Verified};

/// How many messages were verified, and what was wrong with the others. The numbers only grow, and wrap at 2⁶⁴.
///
/// Of each request, and of each answer that is counted, exactly one number grows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Counters {
    /// Requests without a signature.
    pub unsigned: u64,
    /// Requests that were verified.
    pub verified: u64,
    /// Requests rejected with FORMERR: the TSIG record is misplaced, repeated or malformed.
    pub malformed: u64,
    /// Requests rejected with BADKEY.
    pub bad_key: u64,
    /// Requests rejected with BADSIG.
    pub bad_signature: u64,
    /// Requests rejected with BADTIME.
    pub bad_time: u64,
    /// Requests rejected with BADTRUNC.
    pub bad_truncation: u64,
    /// Answers, or messages of a stream, that were verified or may be without signature.
    pub answers_verified: u64,
    /// Answers without a signature where there must be one.
    pub answers_unsigned: u64,
    /// Answers whose TSIG record is misplaced, repeated or malformed.
    pub answers_malformed: u64,
    /// Answers signed with another key, or under another algorithm.
    pub answers_other_key: u64,
    /// Answers whose MAC is not that of the message.
    pub answers_bad_signature: u64,
    /// Answers whose time is not ours.
    pub answers_bad_time: u64,
    /// Answers with a MAC that was cut.
    pub answers_bad_truncation: u64,
    /// Answers in which the server says, signed or not, what is wrong with our signature.
    pub answers_rejected: u64,
}

impl Counters {
    /// Nothing yet.
    pub const ZERO: Self = Self {
        unsigned: 0,
        verified: 0,
        malformed: 0,
        bad_key: 0,
        bad_signature: 0,
        bad_time: 0,
        bad_truncation: 0,
        answers_verified: 0,
        answers_unsigned: 0,
        answers_malformed: 0,
        answers_other_key: 0,
        answers_bad_signature: 0,
        answers_bad_time: 0,
        answers_bad_truncation: 0,
        answers_rejected: 0,
    };

    /// Counts what became of a request; a [`RequestVerifier`](super::RequestVerifier) does it itself.
    pub(super) fn count_request(&mut self, result: &Result<Option<Verified<'_>>, Rejected<'_>>) {
        grow(match result {
            Ok(None) => &mut self.unsigned,
            Ok(Some(_)) => &mut self.verified,
            Err(rejected) => match rejected.reason() {
                Reason::Malformed => &mut self.malformed,
                Reason::BadKey => &mut self.bad_key,
                Reason::BadSignature => &mut self.bad_signature,
                Reason::BadTime => &mut self.bad_time,
                Reason::BadTruncation => &mut self.bad_truncation,
            },
        });
    }

    /// Adds what became of answers that were counted apart.
    #[cfg(feature = "alloc")]
    pub(crate) fn add_answers(&mut self, answers: &Self) {
        for (own, other) in [
            (&mut self.answers_verified, answers.answers_verified),
            (&mut self.answers_unsigned, answers.answers_unsigned),
            (&mut self.answers_malformed, answers.answers_malformed),
            (&mut self.answers_other_key, answers.answers_other_key),
            (
                &mut self.answers_bad_signature,
                answers.answers_bad_signature,
            ),
            (&mut self.answers_bad_time, answers.answers_bad_time),
            (
                &mut self.answers_bad_truncation,
                answers.answers_bad_truncation,
            ),
            (&mut self.answers_rejected, answers.answers_rejected),
        ] {
            *own = own.wrapping_add(other);
        }
    }

    /// Counts what became of an answer, or of one message of a stream.
    pub fn count_answer(&mut self, result: &Result<usize, AnswerError>) {
        grow(match result {
            Ok(_) => &mut self.answers_verified,
            Err(error) => match error {
                AnswerError::Unsigned => &mut self.answers_unsigned,
                AnswerError::Malformed => &mut self.answers_malformed,
                AnswerError::OtherKey => &mut self.answers_other_key,
                AnswerError::BadSignature => &mut self.answers_bad_signature,
                AnswerError::BadTime => &mut self.answers_bad_time,
                AnswerError::BadTruncation => &mut self.answers_bad_truncation,
                AnswerError::Alleged(_) | AnswerError::ServerTime(_) | AnswerError::Rejected(_) => {
                    &mut self.answers_rejected
                }
            },
        });
    }
}

fn grow(counter: &mut u64) {
    *counter = counter.wrapping_add(1);
}
