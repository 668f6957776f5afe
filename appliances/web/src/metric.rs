//! What can be read of an appliance.

use core::fmt;
use core::time::Duration;

/// Something that can be measured, by the conventions of Prometheus (<https://prometheus.io/docs/practices/naming/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name: words in lower case, joined by underscores; the unit at the end, `_total` behind a counter's.
    pub name: &'static str,
    /// What it is, on one line.
    pub help: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Which of several of the same name it is: a label's name and its value.
    pub label: Option<(&'static str, &'static str)>,
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It grows and shrinks.
    Gauge,
}

impl Metric {
    /// A counter.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            kind: Kind::Counter,
            label: None,
        }
    }

    /// A gauge.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self {
            kind: Kind::Gauge,
            ..Self::counter(name, help)
        }
    }

    /// One of several of the same name.
    pub const fn with_label(self, name: &'static str, value: &'static str) -> Self {
        Self {
            label: Some((name, value)),
            ..self
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        })
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// So many.
    Number(u64),
    /// So long, shown in seconds with three places.
    Time(Duration),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Time(time) => write!(f, "{}.{:03}", time.as_secs(), time.subsec_millis()),
        }
    }
}

/// A metric, and what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Of what.
    pub metric: Metric,
    /// How much.
    pub value: Value,
}

impl Sample {
    /// A metric's value.
    pub const fn new(metric: Metric, value: Value) -> Self {
        Self { metric, value }
    }

    /// So many of a metric.
    pub const fn number(metric: Metric, value: u64) -> Self {
        Self::new(metric, Value::Number(value))
    }
}

/// What can be read of a platform: its stack, its pool, its memory. What a platform doesn't have isn't there, rather than zero.
pub trait Instruments {
    /// The sample with this number, counted from zero without a gap; none behind the last. Those of one name follow each other.
    fn sample(&self, number: usize) -> Option<Sample>;
}

/// Nothing.
impl Instruments for () {
    fn sample(&self, _: usize) -> Option<Sample> {
        None
    }
}

/// Samples in the exposition format of Prometheus, version 0.0.4: the text of one, with what goes before it if it is the first of its
/// name.
pub(crate) struct Exposition {
    pub(crate) sample: Sample,
    pub(crate) is_first: bool,
}

impl fmt::Display for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Metric {
            name,
            help,
            kind,
            label,
        } = self.sample.metric;
        if self.is_first {
            write!(f, "# HELP {name} {help}\n# TYPE {name} {kind}\n")?;
        }
        f.write_str(name)?;
        if let Some((label, value)) = label {
            write!(f, "{{{label}=\"{value}\"}}")?;
        }
        writeln!(f, " {}", self.sample.value)
    }
}

/// A sample as a member of a JSON object: its name, with its label's value behind a dot, and its value.
pub(crate) struct Member {
    pub(crate) sample: Sample,
    pub(crate) is_first: bool,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comma = if self.is_first { "" } else { "," };
        let Metric { name, label, .. } = self.sample.metric;
        write!(f, "{comma}\"{name}")?;
        if let Some((_, value)) = label {
            write!(f, ".{value}")?;
        }
        write!(f, "\":{}", self.sample.value)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn exposition_has_help_and_type_once_a_name() {
        let metric = Metric::counter("a_total", "What it is.").with_label("kind", "x");
        let sample = Sample::number(metric, 7);
        let first = Exposition {
            sample,
            is_first: true,
        };
        assert_eq!(
            first.to_string(),
            "# HELP a_total What it is.\n# TYPE a_total counter\na_total{kind=\"x\"} 7\n"
        );
        let next = Exposition {
            sample,
            is_first: false,
        };
        assert_eq!(next.to_string(), "a_total{kind=\"x\"} 7\n");
    }

    #[test]
    fn times_are_in_seconds() {
        let time = Value::Time(Duration::from_millis(61_005));
        assert_eq!(time.to_string(), "61.005");
        let member = Member {
            sample: Sample::new(Metric::gauge("up_seconds", "Up."), time),
            is_first: true,
        };
        assert_eq!(member.to_string(), "\"up_seconds\":61.005");
    }
}
