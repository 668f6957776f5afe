//! What was counted of zones that change, for the end.

use mirage_dns::authority::Counters;
use mirage_dns::tsig;

/// Answers that are not signed as they must be.
fn bad_answers(counters: &tsig::Counters) -> u64 {
    [
        counters.answers_unsigned,
        counters.answers_malformed,
        counters.answers_other_key,
        counters.answers_bad_signature,
        counters.answers_bad_time,
        counters.answers_bad_truncation,
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}

/// A line for each counter that is not zero.
pub(crate) fn describe(counters: &Counters) -> Vec<String> {
    [
        ("transfers-whole", counters.whole_transfers_out),
        ("transfers-incremental", counters.incremental_transfers_out),
        ("transfers-refused", counters.transfers_refused),
        ("transfers-put-off", counters.transfers_put_off),
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
        ("answers-signed", counters.tsig.answers_verified),
        ("answers-not-signed", bad_answers(&counters.tsig)),
        ("answers-rejecting", counters.tsig.answers_rejected),
    ]
    .into_iter()
    .filter(|(_, value)| *value != 0)
    .map(|(name, value)| format!("{name:<22}{value:>12}"))
    .collect()
}
