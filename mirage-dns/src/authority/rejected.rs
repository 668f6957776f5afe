//! Requests that were turned away, for whoever runs the server to hear of.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use crate::message::MessageReader;
use crate::name::NameBuf;
use crate::record::Opcode;
use crate::tsig::Reason;

/// Of each kind one is told in so long; the others are counted.
const PAUSE: Duration = Duration::from_secs(10);

/// A request that was turned away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// Where it came from: over UDP an allegation.
    pub from: IpAddr,
    /// What was asked.
    pub opcode: Opcode,
    /// The name in its question; `None` if it could not be read.
    pub name: Option<NameBuf>,
    /// Why.
    pub why: Why,
    /// How many of this kind were not told since the last that was.
    pub untold: u64,
}

/// Why a request was turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Why {
    /// Its signature does not count: clocks or keys differ, or somebody tries.
    Signature(Reason),
    /// A notice from who is no primary of the zone, or not signed as that would sign it.
    NoPrimary,
    /// A notice of a zone that is not fetched from anybody.
    NotSecondary,
    /// Who asks may not fetch or change the zone.
    NotAllowed,
    /// As many transfers go out as may at once ([`Bounds::transfers`](super::Bounds::transfers)).
    TooManyTransfers,
}

impl Why {
    /// Kinds that are told apart from each other.
    const KINDS: usize = 5;

    const fn kind(self) -> usize {
        match self {
            Self::Signature(_) => 0,
            Self::NoPrimary => 1,
            Self::NotSecondary => 2,
            Self::NotAllowed => 3,
            Self::TooManyTransfers => 4,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature(reason) => match reason.error() {
                Some(error) => write!(f, "its signature does not count: {error}"),
                None => f.write_str("its TSIG record is malformed"),
            },
            Self::NoPrimary => f.write_str("it is not from a primary, signed as agreed"),
            Self::NotSecondary => f.write_str("the zone is not fetched from anybody"),
            Self::NotAllowed => f.write_str("who asks may not"),
            Self::TooManyTransfers => f.write_str("too many transfers go out already"),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.opcode)?;
        if let Some(name) = &self.name {
            write!(f, "for {name} ")?;
        }
        write!(f, "from {} was turned away: {}", self.from, self.why)?;
        match self.untold {
            0 => Ok(()),
            untold => write!(f, " (so were {untold} before)"),
        }
    }
}

/// The last rejection of each kind that waits to be told.
#[derive(Debug, Default)]
pub(super) struct Rejections([Kind; Why::KINDS]);

#[derive(Debug, Default)]
struct Kind {
    waiting: Option<Rejection>,
    /// When the next one may be told.
    next: Duration,
    untold: u64,
}

impl Rejections {
    pub(super) fn note(&mut self, request: &[u8], from: IpAddr, why: Why, now: Duration) {
        let Some(kind) = self.0.get_mut(why.kind()) else {
            return;
        };
        if now < kind.next {
            kind.untold = kind.untold.saturating_add(1);
            return;
        }
        let Ok(reader) = MessageReader::new(request) else {
            return;
        };
        let question = reader.questions().next().and_then(Result::ok);
        kind.next = now.saturating_add(PAUSE);
        kind.waiting = Some(Rejection {
            from,
            opcode: reader.header().opcode,
            name: question.map(|question| question.name),
            why,
            untold: core::mem::take(&mut kind.untold),
        });
    }

    pub(super) fn next(&mut self) -> Option<Rejection> {
        self.0.iter_mut().find_map(|kind| kind.waiting.take())
    }
}
