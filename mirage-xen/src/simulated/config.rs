//! What a simulated machine is like.

use std::time::Duration;

use super::faults::Faults;
use super::store::StoreQuota;
use crate::abi::DomainId;

/// What a [`Simulation`](super::Simulation) is like. Start from [`SimulationConfig::new`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SimulationConfig {
    /// What everything random is drawn from.
    pub seed: u64,
    /// The number of the domain under test: 5.
    pub domain: DomainId,
    /// The most frames that its grant table may have: 64, as of Xen.
    pub grant_frames: u32,
    /// The most event channel ports that it may have, counted from 0, which is none: 1,024.
    pub ports: u32,
    /// The lowest port that the toolstack gives the store's and the console's rings: 1.
    pub first_port: u32,
    /// Whether the toolstack gave it a console.
    pub console: bool,
    /// Whether xenstored sets the connection up again when the domain asks: no, as the one in C; oxenstored does.
    pub store_reconnection: bool,
    /// Where the indices of xenstore's and of the console's rings begin: 0. The domain must not rely on it.
    pub ring_start: u32,
    /// How much of xenstored's it may have: Xen's defaults.
    pub store_quota: StoreQuota,
    /// Whether the processor has random numbers.
    pub hardware_random: HardwareRandom,
    /// The system time at its start: 100 s.
    pub system_time: Duration,
    /// The frequency of the time stamp counter in Hz: 2,893,202,000.
    pub hertz: u64,
    /// The time of day at its start, since 1970: on 1 January 2026.
    pub wall_clock: Duration,
    /// How much time passes at each look at the time stamp counter, at most: 30 ns. With zero, time passes only while the
    /// domain sleeps.
    pub look: Duration,
    /// How long a backend takes to begin after it was told, at least and at most: 5 to 50 µs.
    pub latency: (Duration, Duration),
    /// What goes wrong: nothing.
    pub faults: Faults,
}

impl SimulationConfig {
    /// A domain on a machine without faults.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            domain: DomainId(5),
            grant_frames: 64,
            ports: 1_024,
            first_port: 1,
            console: true,
            store_reconnection: false,
            ring_start: 0,
            store_quota: StoreQuota::DEFAULT,
            hardware_random: HardwareRandom::Present,
            system_time: Duration::from_secs(100),
            hertz: 2_893_202_000,
            wall_clock: Duration::from_secs(1_767_225_600),
            look: Duration::from_nanos(30),
            latency: (Duration::from_micros(5), Duration::from_micros(50)),
            faults: Faults::NONE,
        }
    }
}

/// Whether a processor has RDSEED or RDRAND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HardwareRandom {
    /// It does.
    Present,
    /// It has neither.
    Absent,
    /// It says that it does, and gives all ones.
    Broken,
}
