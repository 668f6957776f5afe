//! The server's side of a connection.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Server`] | what all connections of a server share: limits and counters |
//! | [`ServerConnection`] | one connection, a pure state machine |
//! | [`ServerEvent`] | what is in its input |
//! | [`ResponseWriter`] | writes a response's head |
//! | [`Rejection`] | why a request is not even asked of the application |
//! | [`Ending`] | why a connection is over |

mod connection;
mod counters;
mod ending;
mod limits;
mod response;

#[cfg(test)]
mod tests;

use core::cell::Cell;

use mirage_core::Instant;

pub use connection::{CONTINUE, ServerConnection, ServerEvent, WrongLength};
pub use counters::Counters;
pub use ending::{Ending, Rejection};
pub use limits::Limits;
pub use response::{ContentLength, ResponseWriter};

use counters::{COUNTERS, Counter};

use crate::date::HttpDate;

/// What all connections of a server share: their limits, and counters of what became of them.
#[derive(Debug)]
pub struct Server {
    limits: Limits,
    counters: [Cell<u64>; COUNTERS],
    /// What was written last as a date: the next is mostly of the same second.
    date: Cell<(HttpDate, [u8; HttpDate::LENGTH])>,
}

impl Server {
    /// A server with these limits for each connection.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            counters: [const { Cell::new(0) }; COUNTERS],
            date: Cell::new((HttpDate::from_unix(0), *HttpDate::EPOCH)),
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What became of connections and requests so far.
    pub fn counters(&self) -> Counters {
        Counters::new(&self.counters)
    }

    /// A connection that was accepted at `now`.
    pub fn connect(&self, now: Instant) -> ServerConnection<'_> {
        self.count(Counter::Connections);
        ServerConnection::new(self, now)
    }

    /// A date's text.
    fn date(&self, date: HttpDate) -> [u8; HttpDate::LENGTH] {
        let (last, text) = self.date.get();
        if last == date {
            return text;
        }
        let text = date.format();
        self.date.set((date, text));
        text
    }

    fn count(&self, counter: Counter) {
        let cell = &self.counters[counter as usize];
        cell.set(cell.get().wrapping_add(1));
    }
}
