//! What an authority wants done: messages to other servers, and the next version of the zones.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::net::SocketAddr;

use super::build::BuildJob;
use crate::client::{Query, ReplyError};
use crate::difference::{RecordBuf, soa_serial};
use crate::message::{Flags, Section, WriteError};
use crate::name::{Name, NameBuf};
use crate::notify::{Notice, Notify};
use crate::record::{Rcode, RecordType};
use crate::transfer::{
    IncomingTransfer, OutgoingTransfer, TransferError, TransferLimits, TransferRequest, Transferred,
};
use crate::tsig::{
    self, AnswerError, Key, SignedRequest, StreamSigner, StreamVerifier, sign_request,
};

/// The most octets of a request that is written here: two names, a SOA, a signature.
const REQUEST_LENGTH: usize = 2_048;

/// Something to do. Each says with which method of the authority its outcome is told; until then nothing more is asked for in
/// that matter.
#[derive(Debug)]
pub enum Task<'k> {
    /// Ask a primary over UDP: [`Authority::handle_soa`](super::Authority::handle_soa).
    QuerySoa(SoaQuery<'k>),
    /// Fetch a zone over TCP: [`Authority::handle_transfer`](super::Authority::handle_transfer).
    Transfer(Box<ZoneTransfer<'k>>),
    /// Tell a secondary over UDP, once: [`Authority::handle_notified`](super::Authority::handle_notified).
    Notify(NotifyRequest<'k>),
    /// Make the next version: [`Authority::handle_built`](super::Authority::handle_built).
    Build(BuildJob),
}

/// A request to another server, and what verifies its answer.
#[derive(Clone)]
struct Request<'k> {
    server: SocketAddr,
    octets: Vec<u8>,
    signed: Option<SignedRequest<'k>>,
    /// What became of the signatures of what answers it.
    answers: Cell<tsig::Counters>,
}

impl<'k> Request<'k> {
    /// `None` when it cannot be written, which for names that exist is no possibility.
    fn write(
        server: SocketAddr,
        key: Option<&'k Key>,
        unix: u64,
        write: impl FnOnce(&mut [u8]) -> Result<usize, WriteError>,
    ) -> Option<Self> {
        let mut octets = alloc::vec![0; REQUEST_LENGTH];
        let mut length = write(&mut octets).ok()?;
        let mut signed = None;
        if let Some(key) = key {
            let (whole, request) = sign_request(key, &mut octets, length, unix).ok()?;
            length = whole;
            signed = Some(request);
        }
        octets.truncate(length);
        Some(Self {
            server,
            octets,
            signed,
            answers: Cell::new(tsig::Counters::ZERO),
        })
    }

    /// Takes the signature off an answer of one message; the octets before it.
    fn verify<'m>(&self, answer: &'m mut [u8], unix: u64) -> Result<&'m [u8], AnswerError> {
        match &self.signed {
            None => Ok(answer),
            Some(signed) => {
                let length = self.count(signed.verify_answer(answer, unix))?;
                Ok(&answer[..length])
            }
        }
    }

    fn count(&self, result: Result<usize, AnswerError>) -> Result<usize, AnswerError> {
        let mut answers = self.answers.get();
        answers.count_answer(&result);
        self.answers.set(answers);
        result
    }
}

/// A question for the SOA of a secondary zone.
pub struct SoaQuery<'k> {
    pub(super) zone: usize,
    apex: NameBuf,
    id: u16,
    request: Request<'k>,
}

impl<'k> SoaQuery<'k> {
    pub(super) fn new(
        zone: usize,
        apex: Name<'_>,
        server: SocketAddr,
        key: Option<&'k Key>,
        id: u16,
        unix: u64,
    ) -> Option<Self> {
        let query = Query {
            edns: None,
            ..Query::new(id, apex, RecordType::SOA)
        };
        let request = Request::write(server, key, unix, |buffer| query.write(buffer))?;
        Some(Self {
            zone,
            apex: apex.to_owned(),
            id,
            request,
        })
    }

    /// What became of the signatures of what came so far.
    pub(super) fn answers(&self) -> tsig::Counters {
        self.request.answers.get()
    }

    /// The zone.
    pub fn apex(&self) -> Name<'_> {
        self.apex.as_name()
    }

    /// Whom to ask.
    pub fn server(&self) -> SocketAddr {
        self.request.server
    }

    /// What to send, from a port that was drawn at random.
    pub fn message(&self) -> &[u8] {
        &self.request.octets
    }

    /// What a message says that came from [`Self::server`].
    ///
    /// # Errors
    /// [`NoAnswer`]: the message is not the answer, or nobody knows that it is. Wait for another one until the time is over.
    pub fn accept(&self, answer: &mut [u8], unix: u64) -> Result<SoaAnswer, NoAnswer> {
        let answer = match self.request.verify(answer, unix) {
            Ok(answer) => answer,
            Err(error) if error.is_from_server() => return Ok(SoaAnswer::Rejected(error)),
            Err(error) => return Err(NoAnswer::Signature(error)),
        };
        let query = Query {
            edns: None,
            ..Query::new(self.id, self.apex.as_name(), RecordType::SOA)
        };
        let reader = match query.accept(answer) {
            Ok(reader) => reader,
            Err(ReplyError::Truncated) => return Ok(SoaAnswer::Truncated),
            Err(error) => return Err(NoAnswer::Reply(error)),
        };
        let header = reader.header();
        if header.rcode != Rcode::NOERROR {
            return Ok(SoaAnswer::Refused(header.rcode));
        }
        // What a cache says is no sign of life of the zone (RFC 1034 §4.3.5 wants it of the primary).
        if !header.flags.contains(Flags::AA) {
            return Ok(SoaAnswer::NotAuthoritative);
        }
        let malformed = |error| NoAnswer::Reply(ReplyError::Malformed(error));
        for record in reader.section(Section::Answer) {
            let record = record.map_err(malformed)?;
            let owner = record.owner().map_err(malformed)?;
            if record.record_type != RecordType::SOA || owner.as_name() != self.apex.as_name() {
                continue;
            }
            let mut buffer = [0; 2 * 255 + 20];
            let rdata = record.rdata(&mut buffer).map_err(malformed)?;
            if let Some(serial) = soa_serial(RecordType::SOA, rdata) {
                return Ok(SoaAnswer::Serial(serial));
            }
        }
        Ok(SoaAnswer::NotAuthoritative)
    }
}

/// What the server of a [`SoaQuery`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SoaAnswer {
    /// The serial of its version.
    Serial(u32),
    /// Not all of its answer: it is to be asked over TCP (RFC 7766 §5).
    Truncated,
    /// That it has no answer for us.
    Refused(Rcode),
    /// Nothing with authority, or no SOA record of the zone: it does not serve the zone.
    NotAuthoritative,
    /// That our signature does not count, or it signed in a way that does not: which is proven, so there will be no other answer.
    Rejected(AnswerError),
}

impl fmt::Display for SoaAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(serial) => write!(f, "serial {serial}"),
            Self::Truncated => f.write_str("a truncated answer"),
            Self::Refused(rcode) => rcode.fmt(f),
            Self::NotAuthoritative => f.write_str("without authority for the zone"),
            Self::Rejected(error) => error.fmt(f),
        }
    }
}

/// Why a message is not the answer to a [`SoaQuery`]: to be reported where no better one comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NoAnswer {
    /// It is not signed as it must be, which somebody else than the server may be the cause of.
    Signature(AnswerError),
    /// It is no reply, or not to this question.
    Reply(ReplyError),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature(error) => error.fmt(f),
            Self::Reply(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for NoAnswer {}

impl fmt::Debug for SoaQuery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoaQuery")
            .field("apex", &self.apex)
            .field("server", &self.request.server)
            .finish_non_exhaustive()
    }
}

/// A transfer of a secondary zone.
pub struct ZoneTransfer<'k> {
    pub(super) zone: usize,
    apex: NameBuf,
    request: Request<'k>,
    incoming: IncomingTransfer,
    verifier: Option<StreamVerifier<'k>>,
}

impl<'k> ZoneTransfer<'k> {
    #[allow(clippy::too_many_arguments)] // what a transfer is
    pub(super) fn new(
        zone: usize,
        apex: Name<'_>,
        server: SocketAddr,
        key: Option<&'k Key>,
        id: u16,
        soa: Option<&RecordBuf>,
        limits: TransferLimits,
        unix: u64,
    ) -> Option<Self> {
        let request = Request::write(server, key, unix, |buffer| {
            TransferRequest::write(id, apex, soa, buffer)
        })?;
        let serial = soa.and_then(RecordBuf::serial);
        let verifier = request.signed.as_ref().map(SignedRequest::stream);
        Some(Self {
            zone,
            apex: apex.to_owned(),
            request,
            incoming: IncomingTransfer::new(id, apex.to_owned(), serial, limits),
            verifier,
        })
    }

    /// What became of the signatures of what came so far.
    pub(super) fn answers(&self) -> tsig::Counters {
        self.request.answers.get()
    }

    /// The zone.
    pub fn apex(&self) -> Name<'_> {
        self.apex.as_name()
    }

    /// From where.
    pub fn server(&self) -> SocketAddr {
        self.request.server
    }

    /// What to send.
    pub fn message(&self) -> &[u8] {
        &self.request.octets
    }

    /// Takes the next message of the answer: what the transfer came to, or `None` as long as more is to come.
    ///
    /// # Errors
    /// Why it failed.
    pub fn handle_message(
        &mut self,
        message: &mut [u8],
        unix: u64,
    ) -> Result<Option<Transferred>, ZoneTransferError> {
        let length = match &mut self.verifier {
            None => message.len(),
            Some(verifier) => {
                let verified = self.request.count(verifier.verify(message, unix));
                verified.map_err(ZoneTransferError::Signature)?
            }
        };
        let message = message.get(..length).unwrap_or(&[]);
        let result = self.incoming.handle_message(message);
        let transferred = result.map_err(ZoneTransferError::Transfer)?;
        // What came in unsigned messages is proven by the last signature (RFC 8945 §5.3.1).
        if transferred.is_some()
            && let Some(verifier) = self.verifier.take()
        {
            verifier.finish().map_err(ZoneTransferError::Signature)?;
        }
        Ok(transferred)
    }
}

impl fmt::Debug for ZoneTransfer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZoneTransfer")
            .field("apex", &self.apex)
            .field("server", &self.request.server)
            .finish_non_exhaustive()
    }
}

/// Why a zone was not transferred.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ZoneTransferError {
    /// The messages are no transfer, or the primary refused.
    Transfer(TransferError),
    /// A message is not signed as it must be.
    Signature(AnswerError),
}

impl fmt::Display for ZoneTransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transfer(error) => error.fmt(f),
            Self::Signature(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ZoneTransferError {}

/// A notice to a secondary.
pub struct NotifyRequest<'k> {
    pub(super) zone: usize,
    pub(super) notice: Notice,
    apex: NameBuf,
    id: u16,
    request: Request<'k>,
}

impl<'k> NotifyRequest<'k> {
    #[allow(clippy::too_many_arguments)] // what a notice is
    pub(super) fn new(
        zone: usize,
        notice: Notice,
        apex: Name<'_>,
        server: SocketAddr,
        key: Option<&'k Key>,
        id: u16,
        soa: &RecordBuf,
        unix: u64,
    ) -> Option<Self> {
        let request = Request::write(server, key, unix, |buffer| {
            Notify::write(id, apex, soa, buffer)
        })?;
        Some(Self {
            zone,
            notice,
            apex: apex.to_owned(),
            id,
            request,
        })
    }

    /// What became of the signatures of what came so far.
    pub(super) fn answers(&self) -> tsig::Counters {
        self.request.answers.get()
    }

    /// Whom to tell.
    pub fn server(&self) -> SocketAddr {
        self.request.server
    }

    /// What to send.
    pub fn message(&self) -> &[u8] {
        &self.request.octets
    }

    /// Whether a message that came from [`Self::server`] answers it.
    pub fn is_answered_by(&self, answer: &mut [u8], unix: u64) -> bool {
        match self.request.verify(answer, unix) {
            Ok(answer) => Notify::is_answered_by(self.id, self.apex.as_name(), answer),
            Err(_) => false,
        }
    }
}

impl fmt::Debug for NotifyRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotifyRequest")
            .field("apex", &self.apex)
            .field("server", &self.request.server)
            .finish_non_exhaustive()
    }
}

/// A transfer that answers a request, signed if the request was. As long as it is there, it counts among those that go out
/// ([`Bounds::transfers`](super::Bounds::transfers)).
#[derive(Debug)]
pub struct SignedTransfer<'k> {
    transfer: OutgoingTransfer,
    signer: Option<StreamSigner<'k>>,
    /// Its place among those that go out.
    _place: Arc<()>,
}

impl<'k> SignedTransfer<'k> {
    pub(super) fn new(
        transfer: OutgoingTransfer,
        signer: Option<StreamSigner<'k>>,
        place: Arc<()>,
    ) -> Self {
        Self {
            transfer,
            signer,
            _place: place,
        }
    }

    /// The zone.
    pub fn apex(&self) -> Name<'_> {
        self.transfer.apex()
    }

    /// Whether it is incremental.
    pub fn is_incremental(&self) -> bool {
        self.transfer.is_incremental()
    }

    /// Writes the next message into `out`; its length, or `None` when all were written. 65,535 octets hold any.
    ///
    /// # Errors
    /// [`WriteError::Full`] when the next record or the signature does not fit: the stream can then only be ended.
    pub fn poll_message(&mut self, out: &mut [u8], unix: u64) -> Result<Option<usize>, WriteError> {
        let Some(signer) = &mut self.signer else {
            return self.transfer.poll_message(out);
        };
        let room = out.len().saturating_sub(signer.record_length());
        let Some(length) = self.transfer.poll_message(&mut out[..room])? else {
            return Ok(None);
        };
        let signed = signer.sign(out, length, unix);
        signed.map(Some).map_err(|_| WriteError::Full)
    }
}
