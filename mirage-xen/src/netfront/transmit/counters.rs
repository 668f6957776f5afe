//! What the transmit ring counts.

/// What happened on the transmit ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransmitCounters {
    /// Frames that the backend was given.
    pub frames: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Slots of the ring that they took.
    pub slots: u64,
    /// Of the frames, those whose checksum the backend completes.
    pub partial: u64,
    /// Of the frames, those whose partial checksum was completed here, since the backend doesn't do it any more.
    pub completed: u64,
    /// Of the frames, those that the backend cuts into segments.
    pub segmented: u64,
    /// Of the frames, those that were copied: too many pieces, a first piece without the Ethernet header, or bytes that
    /// can't be lent.
    pub coalesced: u64,
    /// Of the frames, those that were given to another backend too, since the first one had not answered.
    pub replayed: u64,
    /// Frames that a backend which went had answered in part: not given to the next.
    pub partly_answered: u64,
    /// Frames that were in flight and don't fit the next backend or its ring: dropped.
    pub dropped_replay: u64,
    /// Frames that the backend dropped, by its word.
    pub backend_dropped: u64,
    /// Frames that the backend could not make sense of, by its word.
    pub backend_errors: u64,
    /// Responses to requests that were never made, or answered before.
    pub bad_responses: u64,
    /// Pages put out of use for good, since the backend may still read them.
    pub quarantined: u64,
    /// Frames refused: no slots, or no page to copy into.
    pub refused_full: u64,
    /// Frames refused: too short, too long, or asking for what the backend doesn't do.
    pub refused: u64,
}
