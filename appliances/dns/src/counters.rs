//! What a service counted.

use core::cell::Cell;
use core::fmt;

use mirage_dns::server;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// One thing that a service counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Counter {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Counter {
            /// All of them, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name: words in lower case, joined by hyphens.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        const COUNT: usize = Counter::ALL.len();
    };
}

counters! {
    /// Datagrams dropped: longer than the buffer.
    UdpTooLong => "udp-too-long",
    /// Datagrams dropped: from port 0, to which no answer goes.
    UdpNoPort => "udp-no-port",
    /// Failures to receive a datagram.
    UdpReceiveErrors => "udp-receive-errors",
    /// Answers that the stack did not take.
    UdpSendErrors => "udp-send-errors",
    /// Connections that were taken.
    TcpConnections => "tcp-connections",
    /// Failures to take a connection.
    TcpAcceptErrors => "tcp-accept-errors",
    /// Connections that the client ended, between two messages.
    TcpClosedByClient => "tcp-closed-by-client",
    /// Connections ended here: no message came for too long.
    TcpClosedIdle => "tcp-closed-idle",
    /// Connections ended here: a message or the taking of an answer took too long, or the connection in all.
    TcpClosedStalled => "tcp-closed-stalled",
    /// Connections ended here: a message longer than the buffer, or of length zero.
    TcpClosedBadFrame => "tcp-closed-bad-frame",
    /// Connections that failed, or that the client ended within a message.
    TcpClosedFailed => "tcp-closed-failed",
}

/// The counters of the shells: what the pure server does not see.
#[derive(Debug, Default)]
pub(crate) struct Tally([Cell<u64>; COUNT]);

impl Tally {
    pub(crate) fn count(&self, counter: Counter) {
        let cell = &self.0[counter as usize];
        cell.set(cell.get().wrapping_add(1));
    }

    pub(crate) fn snapshot(&self, server: server::Counters) -> Counters {
        Counters {
            server,
            shells: core::array::from_fn(|index| self.0[index].get()),
        }
    }
}

/// What a service counted, at one moment. Its Display has a line for the queries, and one for each other counter that is not
/// zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// What became of the messages.
    pub server: server::Counters,
    shells: [u64; COUNT],
}

impl Counters {
    /// How often something happened around the messages.
    pub fn get(&self, counter: Counter) -> u64 {
        self.shells[counter as usize]
    }

    /// All messages received.
    pub fn queries(&self) -> u64 {
        self.server.udp.saturating_add(self.server.tcp)
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = &self.server;
        write!(f, "{:<22}{:>12}", "queries", self.queries())?;
        let mut line = |name: &str, value: u64| match value {
            0 => Ok(()),
            value => write!(f, "\n{name:<22}{value:>12}"),
        };
        line("udp-queries", server.udp)?;
        line("tcp-queries", server.tcp)?;
        line("noerror", server.noerror)?;
        line("formerr", server.formerr)?;
        line("nxdomain", server.nxdomain)?;
        line("notimp", server.notimp)?;
        line("refused", server.refused)?;
        line("badvers", server.badvers)?;
        line("yxdomain", server.yxdomain)?;
        line("badcookie", server.badcookie)?;
        line("other-rcode", server.other_rcode)?;
        line("truncated", server.truncated)?;
        line("limited", server.limited)?;
        line("cookies-first", server.cookies_without_server)?;
        line("cookies-wrong", server.cookies_wrong)?;
        line("cookies-right", server.cookies_right)?;
        line("ignored-too-short", server.ignored_too_short)?;
        line("ignored-response", server.ignored_response)?;
        line("ignored-no-room", server.ignored_no_room)?;
        line("ignored-rate-limited", server.ignored_rate_limited)?;
        for counter in Counter::ALL {
            line(counter.name(), self.get(*counter))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn each_counter_has_its_own_place_and_is_shown_if_it_is_not_zero() {
        let tally = Tally::default();
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
        }
        tally.count(Counter::TcpConnections);
        tally.count(Counter::TcpConnections);
        tally.count(Counter::UdpTooLong);
        let mut server = server::Counters::default();
        server.tcp = 3;
        server.noerror = 3;
        let text = tally.snapshot(server).to_string();
        let words: std::vec::Vec<_> = text.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "queries",
                "3",
                "tcp-queries",
                "3",
                "noerror",
                "3",
                "udp-too-long",
                "1",
                "tcp-connections",
                "2"
            ]
        );
    }
}
