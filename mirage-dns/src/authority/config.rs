//! What an authority is told of its zones.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use super::access::AccessList;
use crate::difference::Difference;
use crate::name::NameBuf;
use crate::notify::Schedule;
use crate::secondary::Intervals;
use crate::transfer::TransferLimits;
use crate::update::UpdateLimits;
use crate::zone_set::BuildError;

/// Another server, and the key that is shared with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    /// The name of the key that messages to and from it are signed with, if they are.
    pub key: Option<NameBuf>,
}

/// What is done with one zone, beyond answering from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZoneConfig {
    /// The zone.
    pub apex: NameBuf,
    /// Who may fetch it: AXFR and IXFR.
    pub transfer: AccessList,
    /// Who may change it: dynamic updates. Of a rule without key the sender's address alone decides, which over UDP anybody
    /// may write: one with a key is what one wants.
    pub update: AccessList,
    /// Who is told when it changes; the first [`MAX_NOTIFIED`](crate::notify::MAX_NOTIFIED).
    pub notify: Vec<Peer>,
    /// Where it is fetched from; with any, it is a secondary zone.
    pub primaries: Vec<Peer>,
    /// Whose notices are heard besides those of the primaries.
    pub hear: AccessList,
    /// For a secondary zone whose data is there from the beginning: how long ago it was known to be current.
    pub age: Duration,
    /// The differences that led to the data which is there from the beginning, the oldest first, as far as they are known.
    pub history: Vec<Arc<Difference>>,
}

impl ZoneConfig {
    /// A zone that is answered from, and nothing else.
    pub fn new(apex: NameBuf) -> Self {
        Self {
            apex,
            transfer: AccessList::default(),
            update: AccessList::default(),
            notify: Vec::new(),
            primaries: Vec::new(),
            hear: AccessList::default(),
            age: Duration::ZERO,
            history: Vec::new(),
        }
    }
}

/// Bounds of what an authority keeps and takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Octets of each zone's journal.
    pub journal: usize,
    /// How much one transfer may bring.
    pub transfer: TransferLimits,
    /// How many updates of one zone may wait for its next version; more are answered with SERVFAIL.
    pub updates: usize,
    /// How much an update may ask for, and how much of one zone may wait.
    pub update: UpdateLimits,
    /// How many questions, transfers and notices to other servers are under way at once; further ones wait. Each takes a
    /// socket, and as long as the other server is silent.
    pub conversations: usize,
    /// How many transfers go out at once; further ones are answered with SERVFAIL. Each takes a connection, and as long as its
    /// reader takes, which is not to keep those waiting who ask questions.
    pub transfers: usize,
    /// When secondary zones ask.
    pub intervals: Intervals,
    /// How often secondaries are told.
    pub schedule: Schedule,
}

impl Default for Bounds {
    /// 4 MiB of journal a zone, 256 waiting updates, 64 conversations, 16 transfers that go out, otherwise the parts' own defaults.
    fn default() -> Self {
        Self {
            journal: 4 << 20,
            transfer: TransferLimits::default(),
            updates: 256,
            update: UpdateLimits::default(),
            conversations: 64,
            transfers: 16,
            intervals: Intervals::default(),
            schedule: Schedule::default(),
        }
    }
}

/// What is wrong with the configuration of an authority: the fault of who wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// A key of this name is used and not there.
    UnknownKey(Box<NameBuf>),
    /// A zone of this name is not in the set, and has no primaries that it could be fetched from.
    UnknownZone(Box<NameBuf>),
    /// A zone of this name is configured twice.
    RepeatedZone(Box<NameBuf>),
    /// The zones can't be laid out.
    Build(BuildError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey(name) => write!(f, "there is no key {name}"),
            Self::UnknownZone(name) => write!(
                f,
                "the zone {name} is neither served nor fetched from a primary"
            ),
            Self::RepeatedZone(name) => write!(f, "the zone {name} is configured twice"),
            Self::Build(error) => error.fmt(f),
        }
    }
}

impl Error for ConfigError {}
