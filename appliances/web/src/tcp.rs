//! Metrics of our own TCP (feature `tcp`).

use mirage_net::tcp::TcpCounters;

use crate::metric::{Metric, Sample};

macro_rules! counters {
    ($($field:ident $name:literal $help:literal,)*) => {
        const METRICS: &[Metric] = &[$(Metric::counter(concat!("mirage_tcp_", $name, "_total"), $help),)*];

        fn values(counters: &TcpCounters) -> [u64; METRICS.len()] {
            [$(counters.$field,)*]
        }
    };
}

counters! {
    received "received_segments" "Segments received.",
    sent "sent_segments" "Segments sent.",
    received_octets "received_bytes" "Octets of data taken in order.",
    sent_octets "sent_bytes" "Octets of data sent for the first time.",
    active_opens "active_opens" "Connections opened from here.",
    passive_opens "passive_opens" "Connections that a peer opened.",
    retransmitted "retransmitted_segments" "Segments sent again.",
    time_outs "retransmission_timeouts" "Retransmission time-outs.",
    spurious "spurious_retransmissions" "Time-outs and retransmissions that turned out needless.",
    duplicates "duplicate_segments" "Segments whose data had all come before.",
    out_of_order "out_of_order_segments" "Segments that came out of order and were kept.",
    out_of_window "out_of_window_segments" "Segments outside of the receive window.",
    malformed "malformed_segments" "Segments dropped: not whole, or contradicting themselves.",
    bad_checksum "bad_checksum_segments" "Segments dropped: the checksum is wrong.",
    no_connection "unexpected_segments" "Segments for no connection and no listener.",
    no_room "no_room_segments" "Segments dropped: queues or pool were full.",
    resets_sent "resets_sent" "Resets sent to segments that belong to no connection.",
    resets_received "resets_received" "Connections that a peer reset.",
    challenges_sent "challenges_sent" "Challenge acknowledgements sent.",
    backlog_full "backlog_full" "SYNs dropped: the listener's backlog was full.",
    accept_full "accept_full" "Handshakes not completed: backlog or connections were full.",
    table_full "table_full" "Connections refused: the table was full.",
    half_open_dropped "half_open_dropped" "Half-open connections given up.",
    cookies_sent "syn_cookies_sent" "SYN cookies sent.",
    cookies_taken "syn_cookies_taken" "Connections made of a SYN cookie.",
    cookies_bad "syn_cookies_bad" "Acknowledgements that carried no cookie of ours.",
    timed_out "timed_out" "Connections given up: the peer did not answer.",
    time_waits "time_waits" "Connections that entered TIME-WAIT.",
    congestion_marks "congestion_marks" "Segments that a router marked.",
}

/// The sample with this number, counted from zero; none behind the last.
pub fn sample(counters: &TcpCounters, number: usize) -> Option<Sample> {
    let metric = METRICS.get(number)?;
    Some(Sample::number(*metric, values(counters)[number]))
}
