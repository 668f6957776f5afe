//! What happened to the zones.

use crate::tsig;

/// What happened to the zones of an [`Authority`](super::Authority). The numbers only grow.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Counters {
    /// Transfers of whole zones that were allowed.
    pub whole_transfers_out: u64,
    /// Transfers of differences, or of nothing as there were none, that were allowed.
    pub incremental_transfers_out: u64,
    /// Transfers that were asked for and not given.
    pub transfers_refused: u64,
    /// Of these, the ones that were not given as too many went out already.
    pub transfers_put_off: u64,
    /// Transfers from primaries that failed.
    pub transfers_failed: u64,
    /// Notices sent, each attempt.
    pub notices_sent: u64,
    /// Notices from primaries.
    pub notices_heard: u64,
    /// Notices that were refused.
    pub notices_refused: u64,
    /// Versions of zones that were installed, by whatever way.
    pub versions: u64,
    /// Changes of zones that could not be made, or not stored.
    pub changes_failed: u64,
    /// Secondary zones that expired.
    pub zones_expired: u64,
    /// Updates that changed something, or rested on one that did, and are seen.
    pub updates_done: u64,
    /// Updates that were answered with an error.
    pub updates_refused: u64,
    /// Updates that were decided and then could not be built or stored.
    pub updates_failed: u64,
    /// Answers over UDP to these requests that a rate limiter held back.
    pub rate_limited: u64,
    /// What became of signatures, those of the answers to our own requests included.
    pub tsig: tsig::Counters,
}
