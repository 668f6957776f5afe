//! TCP (RFC 9293), in parts: mechanisms that are each a state machine of their own, the connection that is made of them, and what finds
//! the connection that a segment is for.
//!
//! | | |
//! |---|---|
//! | [`SequenceNumber`] | arithmetic on the circle |
//! | [`SegmentTable`], [`SegmentSlot`] | the queued data of all connections, in one table that the caller hands in |
//! | [`SendQueue`] | what the application gave, until it is acknowledged |
//! | [`ReceiveQueue`] | what was received, in order and out of it, until it is read |
//! | [`RoundTrip`] | the round-trip time and the retransmission time-out |
//! | [`CongestionControl`], [`Cubic`], [`NewReno`] | how much may be in the network |
//! | [`Sender`] | the send queue with loss recovery: SACK, RACK-TLP, PRR, undoing |
//! | [`TcpState`], [`TcpEvents`], [`TcpError`] | what an owner sees of a connection |
//! | [`ListenOptions`], [`ConnectionOptions`], [`KeepAlive`], [`TcpConfig`] | bounds, times and rates |
//! | [`TcpStorage`], [`TcpMemory`] | the memory, which the caller hands in: each length is a bound |
//! | [`TcpCounters`] | one number for each reason to drop |
//!
//! The calls are [`Stack`](crate::Stack)'s: `tcp_listen`, `tcp_accept`, `tcp_connect`, `tcp_write`, `tcp_receive`, `tcp_close` …
//!
//! # An example
//!
//! ```
//! # use mirage_core::{Instant, MacAddress, Offloads, Pool};
//! use mirage_net::tcp::{ListenOptions, TcpMemory};
//! use mirage_net::*;
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # let mut rng = ChaCha20Rng::seed_from_u64(1);
//! # let pool = Pool::leak(128, 2048).unwrap();
//! # let mut services = [const { ServiceSlot::EMPTY }; 1];
//! let mut memory = StackMemory::<16, 16, 64, 4, 32>::new();
//! let mut tcp = TcpMemory::<16, 256, 32, 64>::new();
//! let storage = memory.storage(&mut services).with_tcp(tcp.storage());
//! # let config = StackConfig::new(MacAddress([2, 0, 0, 0, 0, 1]), 1_500, Offloads::NONE);
//! let mut stack = Stack::new(config, storage, pool, Instant::ZERO, &mut rng).unwrap();
//! let listener = stack.tcp_listen(ListenOptions::bind(([0, 0, 0, 0], 80).into())).unwrap();
//! // … frames come and go, as for UDP; then, when `poll_tcp_listener` names the listener:
//! assert!(stack.tcp_accept(listener).unwrap().is_none());
//! ```

mod aged;
mod config;
pub mod congestion;
mod connection;
mod counters;
pub(crate) mod engine;
mod error;
pub(crate) mod four_tuple;
mod initial_sequence;
mod listen;
mod port;
pub mod receive_queue;
pub mod recovery;
pub mod round_trip;
mod schedule;
mod segments;
pub mod send_queue;
mod sequence;
mod storage;
mod table;
#[cfg(test)]
mod testing;
mod time_wait;

pub use config::{CongestionAlgorithm, ConnectionOptions, KeepAlive, TcpConfig};
pub use congestion::{AnyCongestion, CongestionControl, Cubic, NewReno};
pub use connection::{Received, TcpEvents, TcpState};
pub use counters::TcpCounters;
pub use engine::{TcpHandle, TcpSlot};
pub use error::TcpError;
pub use listen::{ListenOptions, ListenerHandle, ListenerSlot, SynSlot};
pub use receive_queue::{Arrival, ReceiveLimits, ReceiveQueue, Refused};
pub use recovery::{Acknowledgement, AcknowledgementOutcome, LossTimeout, Sender};
pub use round_trip::{RoundTrip, RoundTripConfig};
pub use schedule::TimerSlot;
pub use segments::{SegmentSlot, SegmentTable};
pub use send_queue::{SendQueue, Transmission};
pub use sequence::SequenceNumber;
#[cfg(feature = "alloc")]
pub use storage::TcpCapacities;
pub use storage::{TcpMemory, TcpStorage};
pub use table::TcpBucket;
pub use time_wait::TimeWaitSlot;

pub(crate) use connection::{Cutting, Incoming, Outgoing};

#[cfg(test)]
mod tests;
