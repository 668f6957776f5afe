//! ARP: the neighbour cache (RFC 826) and address conflict detection (RFC 5227).

mod conflict;
mod neighbour;

pub use conflict::{AddressSlot, AddressState, ConflictConfig, Defence};
pub use neighbour::{NeighbourConfig, NeighbourCounters, NeighbourSlot, PendingSlot};

pub(crate) use conflict::{Claim, ConflictEvent, OwnAddress};
pub(crate) use neighbour::{NeighbourCache, Origin, Resolution};
