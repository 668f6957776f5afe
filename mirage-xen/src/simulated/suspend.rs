//! How a suspension goes.

use std::time::Duration;

use crate::abi::DomainId;

/// How the next call of [`suspend`](crate::Hypervisor::suspend) ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SuspendScript {
    /// The toolstack lets the domain go on, as `xl save -c` does.
    Cancelled,
    /// The domain goes on in a new one.
    Resumed(Resumption),
    /// Xen refuses: `EINVAL`.
    Refused,
}

/// What a domain finds that goes on in a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resumption {
    /// The new domain's number.
    pub domain: DomainId,
    /// The domain of the devices' backends from now on.
    pub backend: DomainId,
    /// How long it was nowhere.
    pub pause: Duration,
    /// The new machine's system time.
    pub system_time: Duration,
    /// The new machine's time stamp counter.
    pub time_stamp_counter: u64,
    /// Its frequency in Hz.
    pub hertz: u64,
    /// By how much the new machine's time of day is ahead of the old one's.
    pub wall_clock_ahead: Duration,
    /// The lowest port that the toolstack gives the store's and the console's rings.
    pub first_port: u32,
}

impl Resumption {
    /// On another machine, as domain `domain`, with backends in dom0: its system time and its counter begin again (they jump
    /// back), the counter is slower, the time of day is 3 s ahead; the pause took a second.
    pub const fn elsewhere(domain: DomainId) -> Self {
        Self {
            domain,
            backend: DomainId::DOM0,
            pause: Duration::from_secs(1),
            system_time: Duration::from_millis(12_345),
            time_stamp_counter: 987_654_321,
            hertz: 933_271_000,
            wall_clock_ahead: Duration::from_secs(3),
            first_port: 17,
        }
    }
}
