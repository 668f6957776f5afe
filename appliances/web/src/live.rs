//! What shows the appliance alive: events and metrics.

use core::fmt::{self, Write as _};
use core::time::Duration;

use mirage_http::Status;
use mirage_http::io::{Exchange, ServeError, Stream, Timer};
use mirage_http::server::{ContentLength, ResponseWriter};

use crate::application::{Brief, reply_briefly};
use crate::metric::{Exposition, Member};
use crate::service::Service;

/// Between two events of a stream.
const PERIOD: Duration = Duration::from_secs(1);
/// Text is gathered in so many octets; no sample's is longer.
const ROOM: usize = 1_024;

/// Enough others are streams of events.
const NO_STREAM: Brief = Brief {
    status: Status::SERVICE_UNAVAILABLE,
    fields: &[("retry-after", b"5")],
    text: b"",
};

/// All metrics as text (<https://prometheus.io/docs/instrumenting/exposition_formats/>, version 0.0.4).
pub(crate) async fn metrics<S: Stream, T: Timer>(
    service: &Service<'_>,
    exchange: &mut Exchange<'_, '_, S, T>,
) -> Result<(), ServeError<S::Error>> {
    let media_type = b"text/plain; version=0.0.4; charset=utf-8";
    begin(exchange, media_type).await?;
    if exchange.connection().wants_content() {
        let (now, mut text, mut last) = (exchange.timer().now(), Text::new(), "");
        for number in 0.. {
            let Some(sample) = service.sample(number, now) else {
                break;
            };
            let is_first = core::mem::replace(&mut last, sample.metric.name) != last;
            put(exchange, &mut text, &Exposition { sample, is_first }).await?;
        }
        exchange.send(text.as_bytes()).await?;
    }
    exchange.finish().await
}

/// A stream of events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>): all metrics, each second, as a JSON object.
pub(crate) async fn events<S: Stream, T: Timer>(
    service: &Service<'_>,
    exchange: &mut Exchange<'_, '_, S, T>,
) -> Result<(), ServeError<S::Error>> {
    let Some(_stream) = service.take_stream() else {
        return reply_briefly(exchange, &NO_STREAM).await;
    };
    begin(exchange, b"text/event-stream").await?;
    if !exchange.connection().wants_content() {
        return exchange.finish().await;
    }
    // A browser that loses the stream is to come back after two seconds.
    exchange.send(b"retry: 2000\n\n").await?;
    let mut next = exchange.timer().now();
    let end = next + service.limits().stream;
    while next < end {
        let mut text = Text::new();
        put(exchange, &mut text, &"data: {").await?;
        for number in 0.. {
            let Some(sample) = service.sample(number, next) else {
                break;
            };
            let is_first = number == 0;
            put(exchange, &mut text, &Member { sample, is_first }).await?;
        }
        put(exchange, &mut text, &"}\n\n").await?;
        exchange.send(text.as_bytes()).await?;
        exchange.flush().await?;
        // By the clock, so that a slow client's events don't come closer to each other later.
        next = exchange.timer().now() + PERIOD;
        let never = core::future::pending::<()>();
        exchange.timer().until(next, never).await;
        next = exchange.timer().now();
    }
    exchange.finish().await
}

async fn begin<S: Stream, T: Timer>(
    exchange: &mut Exchange<'_, '_, S, T>,
    media_type: &[u8],
) -> Result<(), ServeError<S::Error>> {
    let fields = |response: &mut ResponseWriter<'_, '_, '_>| {
        response
            .field("content-type", media_type)
            .field("cache-control", b"no-store")
            .field("x-content-type-options", b"nosniff");
    };
    let length = ContentLength::Unknown;
    exchange.begin(Status::OK, length, fields).await
}

/// Puts text behind what was gathered, which is sent first where the room is too small.
async fn put<S: Stream, T: Timer>(
    exchange: &mut Exchange<'_, '_, S, T>,
    text: &mut Text,
    more: &dyn fmt::Display,
) -> Result<(), ServeError<S::Error>> {
    if text.push(more) {
        return Ok(());
    }
    exchange.send(text.as_bytes()).await?;
    text.length = 0;
    // What is longer than the room is left out: nothing is, and a metric with such a name would show it in the tests.
    text.push(more);
    Ok(())
}

struct Text {
    room: [u8; ROOM],
    length: usize,
}

impl Text {
    fn new() -> Self {
        Self {
            room: [0; ROOM],
            length: 0,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.room[..self.length]
    }

    /// Whether there was room for all of it; else nothing is put.
    fn push(&mut self, text: &dyn fmt::Display) -> bool {
        let before = self.length;
        let put = write!(self, "{text}");
        if put.is_err() {
            self.length = before;
        }
        put.is_ok()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let place = self.room.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
