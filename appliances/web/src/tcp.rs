//! Our own TCP: its metrics, and the site sent from where it lies (feature `tcp`).

use mirage_core::Pool;
use mirage_core::kv::{CompiledStore, Key};
use mirage_core::pool::PoolError;
use mirage_net::tcp::{TcpCounters, TcpError};
use mirage_net::{TcpListener, TcpStream};

use crate::metric::{Metric, Sample};
use crate::streams::{Listener, Sent, Way};

/// Octets that are given to a connection at once: fewer than it may hold, so that there is room for them soon.
const PIECE: usize = 16_384;

/// Has a pool know a store's values, so that they are sent from where they lie: the largest that are not in ranges it knows, as many as it has
/// room for, on `pages` pages of memory at most: a device may have to make each of them known to its other end. Others are copied. How
/// many values those are.
///
/// # Errors
///
/// [`PoolError::StaticTooLong`].
pub fn register_values(
    pool: &'static Pool,
    store: &CompiledStore,
    mut pages: usize,
) -> Result<usize, PoolError> {
    let values = || {
        let keys = store.keys().filter_map(|key| Key::new(key).ok());
        keys.filter_map(|key| store.value(key))
            .filter(|value| !value.is_empty() && pool.static_segment(value).is_none())
    };
    let fits = |value: &&[u8], pages| pages_of(value) <= pages;
    while let Some(value) = values()
        .filter(|value| fits(value, pages))
        .max_by_key(|value| value.len())
    {
        match pool.register_static(value) {
            Ok(_) => pages -= pages_of(value),
            Err(PoolError::OutOfStaticRanges) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(values().count())
}

/// On how many pages of memory octets lie.
fn pages_of(octets: &[u8]) -> usize {
    let offset = octets.as_ptr().addr() % Pool::PAGE_SIZE;
    (offset + octets.len()).div_ceil(Pool::PAGE_SIZE)
}

/// A listener of our own TCP, whose connections send what lies in a range that the pool knows from there, and copy all else.
#[derive(Debug)]
pub struct OwnTcp<'s, 'a> {
    listener: TcpListener<'s, 'a>,
    pool: &'static Pool,
}

impl<'s, 'a> OwnTcp<'s, 'a> {
    /// Of a listener whose stack has this pool.
    pub const fn new(listener: TcpListener<'s, 'a>, pool: &'static Pool) -> Self {
        Self { listener, pool }
    }
}

impl<'s, 'a> Listener for OwnTcp<'s, 'a> {
    type Error = TcpError;
    type Stream<'l>
        = Sent<TcpStream<'s, 'a>, FromWhereItLies>
    where
        Self: 'l;

    async fn accept(&self) -> Result<Self::Stream<'_>, TcpError> {
        let (_, stream) = self.listener.accept().await?;
        Ok(Sent::new(stream, FromWhereItLies(self.pool)))
    }
}

/// What lies in a range that the pool knows is sent from there. What is last goes with the end by itself: a stream's owner ends it
/// before the stack has its turn.
#[derive(Clone, Copy, Debug)]
pub struct FromWhereItLies(&'static Pool);

impl Way<TcpStream<'_, '_>> for FromWhereItLies {
    fn sends_static(&self) -> bool {
        self.0.static_ranges().next().is_some()
    }

    async fn write_static(
        &self,
        stream: &mut TcpStream<'_, '_>,
        octets: &'static [u8],
    ) -> Result<usize, TcpError> {
        let piece = octets.get(..PIECE).unwrap_or(octets);
        match self.0.static_segment(piece) {
            Some(segment) => {
                stream.send(segment).await?;
                Ok(piece.len())
            }
            None => stream.write(octets).await,
        }
    }
}

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
