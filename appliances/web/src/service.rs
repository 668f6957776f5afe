//! What all connections share.

use core::cell::Cell;
use core::time::Duration;

use mirage_core::Instant;
use mirage_core::event::Event;
use mirage_core::kv::CompiledStore;
use mirage_http::server::{Counters, Limits, Server};

use crate::metric::{Instruments, Metric, Sample, Value};

/// What clients may take of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// What one connection may take.
    pub connection: Limits,
    /// What one may take that is accepted while most slots are taken: it has to be brief, else few clients that say nothing keep all
    /// others out.
    pub crowded: Limits,
    /// What one may take that is turned away.
    pub turned_away: Limits,
    /// How many connections are served at once: as many slots run.
    pub slots: usize,
    /// How many of them may be streams of events, which last.
    pub streams: usize,
    /// How long a stream of events lasts at most; a browser then begins another.
    pub stream: Duration,
    /// How long all slots have to be taken before further connections are turned away.
    pub patience: Duration,
}

impl ServiceLimits {
    /// For so many slots: [`Limits::DEFAULT`], and 1 s idle, 2 s a head and 16 requests while more than three quarters of them are taken; a
    /// quarter of them may be streams, of 5 minutes; connections are turned away when all were taken for 200 ms.
    pub const fn new(slots: usize) -> Self {
        Self {
            connection: Limits::DEFAULT,
            crowded: Limits {
                idle: Duration::from_secs(1),
                head_time: Duration::from_secs(2),
                requests: 16,
                ..Limits::DEFAULT
            },
            turned_away: Limits {
                idle: Duration::from_millis(500),
                head_time: Duration::from_millis(500),
                linger: Duration::from_millis(200),
                requests: 1,
                ..Limits::DEFAULT
            },
            slots,
            streams: slots / 4,
            stream: Duration::from_secs(300),
            patience: Duration::from_millis(200),
        }
    }

    /// Whether so many taken slots are a crowd.
    const fn is_crowd(&self, taken: usize) -> bool {
        // Three quarters, rounded up.
        taken > self.slots - self.slots / 4
    }
}

/// A site, and what all its connections share.
pub struct Service<'s> {
    site: CompiledStore,
    instruments: &'s dyn Instruments,
    limits: ServiceLimits,
    calm: Server,
    crowded: Server,
    full_up: Server,
    started: Cell<Option<Instant>>,
    has_live_page: bool,
    taken: Cell<usize>,
    streams: Cell<usize>,
    turned_away: Cell<u64>,
    accept_errors: Cell<u64>,
    /// The last slot was taken.
    pub(crate) full: Event,
}

impl core::fmt::Debug for Service<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Service")
            .field("limits", &self.limits)
            .field("taken", &self.taken)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

impl<'s> Service<'s> {
    /// Of a site, within limits, without a platform's instruments.
    pub const fn new(site: CompiledStore, limits: ServiceLimits) -> Self {
        Self {
            site,
            instruments: &(),
            calm: Server::new(limits.connection),
            crowded: Server::new(limits.crowded),
            full_up: Server::new(limits.turned_away),
            limits,
            started: Cell::new(None),
            has_live_page: true,
            taken: Cell::new(0),
            streams: Cell::new(0),
            turned_away: Cell::new(0),
            accept_errors: Cell::new(0),
            full: Event::new(),
        }
    }

    /// With a platform's instruments.
    pub fn with_instruments(self, instruments: &'s dyn Instruments) -> Self {
        Self {
            instruments,
            ..self
        }
    }

    /// Without anything below `/_mirage/`: for a site that all the world sees, whose owner has other means to look at it.
    pub fn without_live_page(self) -> Self {
        Self {
            has_live_page: false,
            ..self
        }
    }

    /// Says when the appliance started, from which its uptime counts; without it, the first connection's time is taken.
    pub fn set_started(&self, at: Instant) {
        self.started.set(Some(at));
    }

    /// The site.
    pub fn site(&self) -> &CompiledStore {
        &self.site
    }

    /// What clients may take.
    pub fn limits(&self) -> &ServiceLimits {
        &self.limits
    }

    /// How many slots are taken now.
    pub fn taken(&self) -> usize {
        self.taken.get()
    }

    /// What became of connections and requests so far, those that were turned away among them.
    pub fn counters(&self) -> Counters {
        let served = self.calm.counters().plus(&self.crowded.counters());
        served.plus(&self.full_up.counters())
    }

    /// Connections that were turned away, for all slots were taken.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.get()
    }

    /// Failures to accept a connection.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.get()
    }

    pub(crate) fn has_live_page(&self) -> bool {
        self.has_live_page
    }

    pub(crate) fn count_turned_away(&self) {
        self.turned_away.set(self.turned_away.get().wrapping_add(1));
    }

    pub(crate) fn count_accept_error(&self) {
        let errors = self.accept_errors.get();
        self.accept_errors.set(errors.wrapping_add(1));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.taken.get() >= self.limits.slots
    }

    /// Takes a slot until what it gives is dropped: with the server that says what its connection may take.
    pub(crate) fn take_slot(&self) -> (Taken<'_>, &Server) {
        let slot = Taken::new(&self.taken);
        if self.is_full() {
            self.full.set();
        }
        let server = match self.limits.is_crowd(self.taken.get()) {
            true => &self.crowded,
            false => &self.calm,
        };
        (slot, server)
    }

    /// Takes the place of a stream until what it gives is dropped; none where all are taken.
    pub(crate) fn take_stream(&self) -> Option<Taken<'_>> {
        (self.streams.get() < self.limits.streams).then(|| Taken::new(&self.streams))
    }

    /// The server for those who are turned away.
    pub(crate) fn full_up(&self) -> &Server {
        &self.full_up
    }

    /// The sample with this number: the service's, then those of its platform. None behind the last.
    pub(crate) fn sample(&self, number: usize, now: Instant) -> Option<Sample> {
        match self.own_sample(number, now) {
            Ok(sample) => Some(sample),
            Err(own) => self.instruments.sample(number - own),
        }
    }

    /// The service's own samples; behind them, how many they are.
    fn own_sample(&self, number: usize, now: Instant) -> Result<Sample, usize> {
        let first = match self.started.get() {
            Some(first) => first,
            None => {
                self.started.set(Some(now));
                now
            }
        };
        let gauges: [(Metric, Value); 6] = [
            (UPTIME, Value::Time(now.saturating_duration_since(first))),
            (CONNECTIONS, Value::Number(self.taken.get() as u64)),
            (SLOTS, Value::Number(self.limits.slots as u64)),
            (STREAMS, Value::Number(self.streams.get() as u64)),
            (TURNED_AWAY, Value::Number(self.turned_away.get())),
            (ACCEPT_ERRORS, Value::Number(self.accept_errors.get())),
        ];
        if let Some((metric, value)) = gauges.get(number) {
            return Ok(Sample::new(*metric, *value));
        }
        let index = number - gauges.len();
        let Some(metric) = COUNTED.get(index) else {
            return Err(gauges.len() + COUNTED.len());
        };
        let counters = self.counters();
        let values = [
            counters.connections,
            counters.requests,
            counters.responses_2xx,
            counters.responses_3xx,
            counters.responses_4xx,
            counters.responses_5xx,
            counters.rejected_head,
            counters.rejected_framing,
            counters.rejected_host,
            counters.rejected_target,
            counters.rejected_tunnel,
            counters.rejected_expectation,
            counters.rejected_body,
            counters.rejected_timeout,
            counters.ended_by_client,
            counters.ended_idle,
            counters.ended_too_slow,
            counters.ended_truncated,
            counters.ended_rejected,
            counters.ended_complete,
            counters.ended_broken,
        ];
        // As many as there are metrics, which the compiler sees: `COUNTED` has their length.
        let values: &[u64; COUNTED.len()] = &values;
        Ok(Sample::number(*metric, values[index]))
    }
}

const UPTIME: Metric = Metric::gauge(
    "mirage_uptime_seconds",
    "How long the appliance has been there.",
);
const CONNECTIONS: Metric = Metric::gauge(
    "mirage_http_connections",
    "Connections that are being served.",
);
const SLOTS: Metric = Metric::gauge(
    "mirage_http_connections_limit",
    "Connections that may be served at once.",
);
const STREAMS: Metric = Metric::gauge(
    "mirage_http_event_streams",
    "Connections that are streams of events.",
);
const TURNED_AWAY: Metric = Metric::counter(
    "mirage_http_connections_turned_away_total",
    "Connections that were turned away, for all places were taken.",
);
const ACCEPT_ERRORS: Metric = Metric::counter(
    "mirage_http_accept_errors_total",
    "Failures to accept a connection.",
);

const fn responses(class: &'static str) -> Metric {
    Metric::counter("mirage_http_responses_total", "Responses sent, by class.")
        .with_label("class", class)
}

const fn rejected(reason: &'static str) -> Metric {
    Metric::counter(
        "mirage_http_requests_rejected_total",
        "Requests that were refused before the application saw them, by what was wrong.",
    )
    .with_label("reason", reason)
}

const fn ended(reason: &'static str) -> Metric {
    Metric::counter(
        "mirage_http_connections_ended_total",
        "Connections that are over, by why.",
    )
    .with_label("reason", reason)
}

const COUNTED: [Metric; 21] = [
    Metric::counter("mirage_http_connections_total", "Connections accepted."),
    Metric::counter(
        "mirage_http_requests_total",
        "Requests that the application was given.",
    ),
    responses("2xx"),
    responses("3xx"),
    responses("4xx"),
    responses("5xx"),
    rejected("head"),
    rejected("framing"),
    rejected("host"),
    rejected("target"),
    rejected("tunnel"),
    rejected("expectation"),
    rejected("body"),
    rejected("timeout"),
    ended("by_client"),
    ended("idle"),
    ended("too_slow"),
    ended("truncated"),
    ended("rejected"),
    ended("complete"),
    ended("broken"),
];

/// A place that is taken.
pub(crate) struct Taken<'c>(&'c Cell<usize>);

impl<'c> Taken<'c> {
    fn new(places: &'c Cell<usize>) -> Self {
        places.set(places.get() + 1);
        Self(places)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
