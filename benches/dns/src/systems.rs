//! What answers: octets in, octets out.

use bytes::Bytes;
use domain::base::iana::Rcode;
use domain::base::message_builder::MessageBuilder;
use domain::base::{Message, StreamTarget};
use domain::zonefile::inplace;
use domain::zonetree::{Answer, Zone, ZoneTree};
use mirage_dns::server::{Client, Limits, Memo, MemoSlot, Server, Transport};
use mirage_dns::zone_set::ZoneSet;
use serde::{Deserialize, Serialize};

use bench_common::report::Error;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    /// `mirage-dns`.
    Mirage,
    /// `mirage-dns` with a memo.
    MirageMemo,
    /// The crate `domain`, its tree of zones in memory.
    Domain,
}

impl System {
    pub(crate) const ALL: [Self; 3] = [Self::Mirage, Self::MirageMemo, Self::Domain];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mirage => "mirage-dns",
            Self::MirageMemo => "mirage-dns, memo",
            Self::Domain => "domain",
        }
    }
}

/// Places of the memo: 4 MiB.
pub(crate) const MEMO_SLOTS: usize = 16_384;

/// One that answers.
pub(crate) trait Answering {
    /// Answers one request into `out`; the octets of the answer.
    fn answer(&mut self, request: &[u8], out: &mut [u8]) -> usize;
}

/// `mirage-dns`, over a compiled image.
pub(crate) struct Mirage<'z> {
    zones: ZoneSet<'z>,
    server: Server<'z>,
}

impl<'z> Mirage<'z> {
    pub(crate) fn new(image: &'z [u8]) -> Result<Self, Error> {
        Ok(Self {
            zones: ZoneSet::from_bytes(image)?,
            server: Server::new(Limits::default()),
        })
    }
}

/// Who asks.
const CLIENT: Client = Client {
    address: core::net::IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1)),
    transport: Transport::Udp,
    now: 0,
};

impl Answering for Mirage<'_> {
    fn answer(&mut self, request: &[u8], out: &mut [u8]) -> usize {
        let length = self.server.answer(&self.zones, request, &CLIENT, out);
        length.unwrap_or_default()
    }
}

/// The same behind a memo.
pub(crate) struct MirageMemo<'z> {
    inner: Mirage<'z>,
    memo: Memo<'z>,
}

impl<'z> MirageMemo<'z> {
    pub(crate) fn new(image: &'z [u8], slots: &'z mut [MemoSlot]) -> Result<Self, Error> {
        Ok(Self {
            inner: Mirage::new(image)?,
            memo: Memo::new(slots),
        })
    }
}

impl Answering for MirageMemo<'_> {
    fn answer(&mut self, request: &[u8], out: &mut [u8]) -> usize {
        let Mirage { zones, server } = &self.inner;
        let length = self.memo.answer(server, zones, 0, request, &CLIENT, out);
        length.unwrap_or_default()
    }
}

/// The crate `domain`: its tree of zones, asked and answered from as in its own example of a server (`serve-zone.rs`): a
/// message is made in a vector of its own. OPT is added where the question has it, as its EDNS middleware does.
pub(crate) struct Domain(ZoneTree);

impl Domain {
    pub(crate) fn new(zone: &str) -> Result<Self, Error> {
        let reader = inplace::Zonefile::load(&mut zone.as_bytes())?;
        let zone = Zone::try_from(reader).map_err(|errors| format!("domain: {errors}"))?;
        let mut zones = ZoneTree::new();
        zones
            .insert_zone(zone)
            .map_err(|error| format!("domain: {error:?}"))?;
        Ok(Self(zones))
    }

    fn reply(&self, request: &[u8]) -> Option<StreamTarget<Vec<u8>>> {
        let request = Message::from_octets(request).ok()?;
        let question = request.sole_question().ok()?;
        let answer = match self.0.find_zone(question.qname(), question.qclass()) {
            Some(zone) => {
                let name = domain::base::ToName::to_name::<Bytes>(&question.qname());
                zone.read().query(name, question.qtype()).ok()?
            }
            None => Answer::new(Rcode::REFUSED),
        };
        let target = StreamTarget::new(Vec::new()).ok()?;
        let builder = MessageBuilder::from_target(target).ok()?;
        let mut additional = answer.to_message(&request, builder);
        if let Some(opt) = request.opt() {
            let dnssec_ok = opt.dnssec_ok();
            let set = additional.opt(|opt| {
                opt.set_udp_payload_size(1232);
                opt.set_dnssec_ok(dnssec_ok);
                Ok(())
            });
            set.ok()?;
        }
        Some(additional.finish())
    }
}

impl Answering for Domain {
    fn answer(&mut self, request: &[u8], out: &mut [u8]) -> usize {
        let Some(reply) = self.reply(request) else {
            return 0;
        };
        let octets = reply.as_dgram_slice();
        out[..octets.len()].copy_from_slice(octets);
        octets.len()
    }
}
