//! The OPT record of answers that others than the server write.

use super::options::{MAX_OPTIONS_LENGTH, ReplyOptions, RequestOptions};
use super::{Client, CookieState, Extensions, Limits, length_limit, reply_options};
use crate::message::{Edns, MIN_PAYLOAD_SIZE, MessageError, MessageReader};
use crate::record::Rcode;

/// An OPT record, encoded.
pub(crate) type OptRecord = heapless::Vec<u8, { Edns::RECORD_LENGTH + MAX_OPTIONS_LENGTH }>;

/// What the OPT record of a request means for its answer.
pub(crate) struct Opt {
    verdict: Result<(), Rcode>,
    cookie: CookieState,
    length_limit: usize,
    /// The record of the answer, without code; empty for none.
    record: OptRecord,
}

impl Opt {
    pub(super) fn new(
        limits: &Limits,
        extensions: &Extensions<'_>,
        request: &MessageReader<'_>,
        client: &Client,
    ) -> Self {
        let (asked, mut verdict) = match request.edns() {
            Ok(asked) => (asked, Ok(())),
            // RFC 6891 §7: an answer has an OPT record also where the request's is malformed, or there are two.
            Err(MessageError::Opt) => {
                let least = Edns::with_payload_size(MIN_PAYLOAD_SIZE);
                (Some(least), Err(Rcode::FORMERR))
            }
            Err(_) => (None, Err(Rcode::FORMERR)),
        };
        let mut cookie = CookieState::None;
        let mut options = ReplyOptions::NONE;
        match asked {
            Some(asked) if asked.version != 0 => verdict = Err(Rcode::BADVERS),
            Some(asked) => match RequestOptions::parse(&asked, client.transport, &mut 0) {
                Some(asked) => (cookie, options) = reply_options(extensions, &asked, client),
                None => verdict = Err(Rcode::FORMERR),
            },
            None => {}
        }
        let mut record = OptRecord::new();
        if let Some(asked) = asked {
            let fixed = Edns {
                dnssec_ok: asked.dnssec_ok,
                ..Edns::with_payload_size(limits.udp_payload_size.max(MIN_PAYLOAD_SIZE))
            };
            let mut fixed = fixed.fixed_octets();
            fixed[9..11].copy_from_slice(&(options.length() as u16).to_be_bytes()); // at most 172
            let mut put = |octets: &[u8]| record.extend_from_slice(octets).ok();
            // It holds all options.
            let written = put(&fixed).and_then(|()| options.write(put));
            debug_assert!(written.is_some());
        }
        let asked_size = asked.map(|asked| asked.payload_size);
        Self {
            verdict,
            cookie,
            length_limit: length_limit(limits, client.transport, asked_size),
            record,
        }
    }

    /// Whether the record is in order; if not, with which code that is said (RFC 6891 §6.1.1, §6.1.3, RFC 7873 §5.2.2).
    pub(crate) fn verdict(&self) -> Result<(), Rcode> {
        self.verdict
    }

    /// What the request's cookies say of the client.
    pub(crate) fn cookie(&self) -> CookieState {
        self.cookie
    }

    /// How long the answer may be.
    pub(crate) fn length_limit(&self) -> usize {
        self.length_limit
    }

    /// The record that goes into an answer with this code; empty where the request has none.
    pub(crate) fn record(&self, rcode: Rcode) -> OptRecord {
        let mut record = self.record.clone();
        if let Some(high) = record.get_mut(5) {
            *high = (rcode.0 >> 4) as u8;
        }
        record
    }
}
