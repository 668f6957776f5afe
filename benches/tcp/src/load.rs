//! What is asked of a stack.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Octets of a question, and of its answer.
pub(crate) const QUESTION: usize = 64;

/// Threads that open connections, one after the other.
pub(crate) const OPENERS: usize = 4;

/// The ports of a guest.
pub(crate) mod port {
    /// Reads all that comes.
    pub(crate) const SINK: u16 = 7_001;
    /// Sends without end.
    pub(crate) const SOURCE: u16 = 7_002;
    /// Sends back what comes.
    pub(crate) const ECHO: u16 = 7_003;
}

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Load {
    /// Linux sends, as fast as it is taken.
    In {
        /// Connections at once.
        flows: usize,
    },
    /// Linux receives.
    Out {
        /// Connections at once.
        flows: usize,
    },
    /// A question and its answer, one after the other, on one connection.
    PingPong,
    /// Connections, each with one question and its answer.
    Connections,
}

impl Load {
    pub(crate) const ALL: [Self; 6] = [
        Self::In { flows: 1 },
        Self::In { flows: 10 },
        Self::Out { flows: 1 },
        Self::Out { flows: 10 },
        Self::PingPong,
        Self::Connections,
    ];

    /// Whether octets a second are what is measured.
    pub(crate) const fn is_bulk(self) -> bool {
        matches!(self, Self::In { .. } | Self::Out { .. })
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |flows: &usize| if *flows == 1 { "" } else { "s" };
        match self {
            Self::In { flows } => write!(f, "in, {flows} flow{}", plural(flows)),
            Self::Out { flows } => write!(f, "out, {flows} flow{}", plural(flows)),
            Self::PingPong => f.write_str("ping-pong"),
            Self::Connections => f.write_str("connections"),
        }
    }
}
