//! What was counted of zones that change, for the end.

use mirage_dns::authority::Counters;

/// A line for each counter that is not zero.
pub(crate) fn describe(counters: &Counters) -> Vec<String> {
    [
        ("transfers-whole", counters.whole_transfers_out),
        ("transfers-incremental", counters.incremental_transfers_out),
        ("transfers-refused", counters.transfers_refused),
        ("transfers-failed", counters.transfers_failed),
        ("notices-sent", counters.notices_sent),
        ("notices-heard", counters.notices_heard),
        ("notices-refused", counters.notices_refused),
        ("updates-done", counters.updates_done),
        ("updates-refused", counters.updates_refused),
        ("updates-failed", counters.updates_failed),
        ("replies-rate-limited", counters.rate_limited),
        ("zone-versions", counters.versions),
        ("zone-changes-failed", counters.changes_failed),
        ("zones-expired", counters.zones_expired),
        ("signatures-good", counters.tsig.verified),
        ("signatures-bad", counters.tsig.bad_signature),
        ("signatures-bad-key", counters.tsig.bad_key),
        ("signatures-bad-time", counters.tsig.bad_time),
    ]
    .into_iter()
    .filter(|(_, value)| *value != 0)
    .map(|(name, value)| format!("{name:<22}{value:>12}"))
    .collect()
}
