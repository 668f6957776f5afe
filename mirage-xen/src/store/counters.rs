//! What the store counted.

/// Since the start: one counter for each reason to drop, and what the traffic was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCounters {
    /// Messages sent.
    pub requests: u64,
    /// Replies that were asked for, errors among them.
    pub replies: u64,
    /// Of these, errors.
    pub errors: u64,
    /// The longest chain of requests each of which was sent when the one before had been answered: how often the
    /// store's user waited for xenstored, if it waited for all that it asked at a time.
    pub round_trips: u64,
    /// Notifications sent to xenstored.
    pub notifications: u64,
    /// Notifications that could not be sent.
    pub notify_errors: u64,
    /// Watch events that reached their watch.
    pub watch_events: u64,
    /// Watch events that said nothing new: the same as the one before, which was not taken yet, or while the watcher
    /// was to look at everything anyway.
    pub watch_events_coalesced: u64,
    /// How often a watch's queue was full, or its path too long for it: the watcher is told to look at everything.
    pub watch_overflows: u64,
    /// Watch events dropped: of a watch that is gone, or never was.
    pub unknown_tokens: u64,
    /// Watch events dropped: not a path and a token.
    pub malformed_events: u64,
    /// Replies dropped: nobody waits for that id.
    pub unknown_replies: u64,
    /// Replies dropped: that id was answered before.
    pub duplicate_replies: u64,
    /// Replies of another type than was asked for. The request has failed.
    pub wrong_type: u64,
    /// Replies of the right type, but not what the protocol says. The request has failed.
    pub malformed_replies: u64,
    /// Replies longer than the one who asked had room for. The request has failed.
    pub too_long_replies: u64,
    /// Replies dropped: whoever asked does not wait any more.
    pub abandoned_replies: u64,
    /// How often the connection broke through a fault of xenstored's.
    pub faults: u64,
    /// How often the connection was set up again at our wish.
    pub reconnections: u64,
    /// Bytes in the ring that were there before us, and dropped.
    pub stale_bytes: u64,
}
