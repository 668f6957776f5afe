//! The results: as JSON, as text, as a figure.

use std::fmt;

use bench_common::figure::{Bar, Figure, OURS, PEER, Panel, number};
use bench_common::machine::Machine;
use bench_common::report::{Goal, Results};
use bench_common::statistics::Spread;
use serde::{Deserialize, Serialize};

use crate::guest::Stack;
use crate::load::Load;
use crate::peer::Outcome;

/// What smoltcp's throughput may be of ours.
const SHARE: f64 = 0.5;

/// What the numbers mean.
pub(crate) const DEFINITIONS: [&str; 6] = [
    "in: Linux sends to the stack; out: the stack sends to Linux; octets that the calls of Linux's side took, by the standard library's \
     sockets, a thread a connection",
    "no stack's application touches an octet: ours gives pages back as they come and sends pages as they are; smoltcp's closures take and \
     leave its buffers whole",
    "everything verified: the tap without offloads, so that both sides make and verify each checksum, and no frame is longer than the MTU \
     of 1,500; smoltcp's device is such a one too",
    "offloads: the tap's checksums and segmentation of TCP over IPv4, both ways: checksums are not made, and frames are not cut, as no \
     wire is crossed",
    "ping-pong: 64 octets and 64 back, one after the other on one connection; connections: four threads that open one, ask once, and end it \
     by a reset, so that no TIME-WAIT limits either side",
    "processor time: what the stack's process ran, by the scheduler's account, with what the kernel did on its time",
];

/// All that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) definitions: Vec<String>,
    pub(crate) machine: Machine,
    pub(crate) versions: Versions,
    pub(crate) settings: Settings,
    /// Every run.
    pub(crate) rows: Vec<Row>,
    /// What they come to.
    pub(crate) figures: Vec<FigureRow>,
    pub(crate) goals: Vec<Goal>,
}

/// What was measured, in versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Versions {
    pub(crate) mirage: String,
    pub(crate) smoltcp: String,
    pub(crate) rustc: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) runs: usize,
    /// That each load lasts.
    pub(crate) seconds: f64,
    /// That it runs before.
    pub(crate) warm_up: f64,
    /// Octets of each direction's buffer of a connection, of all stacks.
    pub(crate) buffer: u32,
    pub(crate) stacks: Vec<Stack>,
}

/// One run of a load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) stack: Stack,
    pub(crate) load: Load,
    pub(crate) run: usize,
    pub(crate) outcome: Outcome,
}

impl Row {
    /// Megabits a second, or answers or connections a second.
    fn rate(&self) -> f64 {
        let rate = self.outcome.count as f64 / self.outcome.seconds;
        if self.load.is_bulk() {
            rate * 8.0 / 1e6
        } else {
            rate
        }
    }

    /// Processor time of the stack's process: nanoseconds a kilobyte, or microseconds an answer or a connection.
    fn cost(&self) -> f64 {
        let cost = self.outcome.guest_seconds * 1e6 / (self.outcome.count as f64).max(1.0);
        if self.load.is_bulk() {
            cost * 1e6
        } else {
            cost
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {}: {} {}, {} {} of the stack's processor time",
            self.stack.name(),
            self.load,
            number(self.rate().round()),
            unit(self.load),
            number(self.cost()),
            cost_unit(self.load),
        )?;
        if let Some(latency) = self.outcome.latency_us {
            write!(f, ", {} us to an answer", number(latency))?;
        }
        Ok(())
    }
}

const fn unit(load: Load) -> &'static str {
    match load {
        Load::In { .. } | Load::Out { .. } => "Mbit/s",
        Load::PingPong => "answers/s",
        Load::Connections => "connections/s",
    }
}

const fn cost_unit(load: Load) -> &'static str {
    match load {
        Load::In { .. } | Load::Out { .. } => "ns a kilobyte",
        Load::PingPong => "us an answer",
        Load::Connections => "us a connection",
    }
}

/// What the runs of one stack under one load come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FigureRow {
    pub(crate) stack: Stack,
    pub(crate) load: Load,
    /// Megabits, answers or connections a second.
    pub(crate) rate: Spread,
    /// The stack's processor time: nanoseconds a kilobyte, microseconds an answer or a connection.
    pub(crate) cost: Spread,
    /// Microseconds, where that was measured.
    pub(crate) latency_us: Option<Spread>,
    /// That which 99 of 100 are below.
    pub(crate) latency_99_us: Option<Spread>,
}

impl Results for Report {
    const NAME: &'static str = "tcp";

    fn conclude(&mut self) {
        let mut keys: Vec<(Load, Stack)> =
            self.rows.iter().map(|row| (row.load, row.stack)).collect();
        keys.sort_unstable();
        keys.dedup();
        self.figures = keys
            .into_iter()
            .filter_map(|(load, stack)| self.figure_of(load, stack))
            .collect();
        self.goals = self.concluded_goals();
    }

    fn figure(&self) -> Figure {
        let runs = match self.settings.runs {
            1 => "one run".to_owned(),
            runs => format!("medians of {runs} runs in turns (smallest to largest)"),
        };
        let mut panels = Vec::new();
        for load in Load::ALL {
            panels.push(self.panel(load, title(load), unit(load), |row| Some(row.rate)));
        }
        let latency = |row: &FigureRow| row.latency_us;
        panels.push(self.panel(
            Load::PingPong,
            "From a question to its answer, 64 octets each, median".into(),
            "us",
            latency,
        ));
        for load in [Load::In { flows: 1 }, Load::Out { flows: 1 }] {
            let title = format!("The stack's processor time, {load}");
            panels.push(self.panel(load, title, cost_unit(load), |row| Some(row.cost)));
        }
        Figure {
            title: "TCP over a tap, against Linux".into(),
            notes: vec![
                format!(
                    "{runs}, all in one run on {} processors: {}",
                    self.machine.processors, self.machine.processor
                ),
                format!(
                    "buffers of {} octets a direction, MTU 1,500; smoltcp {}",
                    number(f64::from(self.settings.buffer)),
                    self.versions.smoltcp
                ),
            ],
            legend: [("ours", OURS), ("smoltcp", PEER)]
                .map(|(name, color)| (name.to_owned(), color))
                .to_vec(),
            panels,
        }
    }
}

fn title(load: Load) -> String {
    match load {
        Load::In { flows } => format!("Linux sends, {flows} at once"),
        Load::Out { flows } => format!("Linux receives, {flows} at once"),
        Load::PingPong => "Questions and answers, one after the other".into(),
        Load::Connections => "Connections with one question each".into(),
    }
}

impl Report {
    fn figure_of(&self, load: Load, stack: Stack) -> Option<FigureRow> {
        let rows: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| (row.load, row.stack) == (load, stack))
            .collect();
        let of = |value: fn(&Outcome) -> Option<f64>| {
            Spread::of(rows.iter().filter_map(|row| value(&row.outcome)))
        };
        Some(FigureRow {
            stack,
            load,
            rate: Spread::of(rows.iter().map(|row| row.rate()))?,
            cost: Spread::of(rows.iter().map(|row| row.cost()))?,
            latency_us: of(|outcome| outcome.latency_us),
            latency_99_us: of(|outcome| outcome.latency_99_us),
        })
    }

    fn find(&self, load: Load, stack: Stack) -> Option<&FigureRow> {
        self.figures
            .iter()
            .find(|row| (row.load, row.stack) == (load, stack))
    }

    fn concluded_goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for load in Load::ALL.into_iter().filter(|load| load.is_bulk()) {
            for stack in Stack::ALL.into_iter().filter(|stack| stack.is_ours()) {
                let rate = |stack| Some(self.find(load, stack)?.rate.median);
                let share = rate(Stack::Smoltcp)
                    .zip(rate(stack))
                    .map(|(theirs, ours)| theirs / ours);
                let goal = format!(
                    "smoltcp's throughput as a share of that of {}, {load}",
                    stack.name()
                );
                goals.push(Goal::at_most(goal, SHARE, share));
            }
        }
        goals
    }

    fn panel(
        &self,
        load: Load,
        title: String,
        unit: &str,
        value: impl Fn(&FigureRow) -> Option<Spread>,
    ) -> Panel {
        let bars = Stack::ALL.map(|stack| {
            let color = if stack.is_ours() { OURS } else { PEER };
            match self.find(load, stack).and_then(&value) {
                Some(value) => Bar::measured(stack.name(), value, color),
                None => Bar::without(stack.name(), "not measured"),
            }
        });
        Panel {
            title,
            unit: unit.into(),
            bars: bars.to_vec(),
            ..Panel::default()
        }
    }

    /// The summary for a terminal.
    pub(crate) fn print(&self) {
        println!("medians, in brackets the smallest and the largest");
        for row in &self.figures {
            let Spread {
                median,
                minimum,
                maximum,
                ..
            } = row.rate;
            println!(
                "{:<28} {:<18} {:>9} [{} to {}] {}, {} {}",
                row.stack.name(),
                row.load.to_string(),
                number(median.round()),
                number(minimum.round()),
                number(maximum.round()),
                unit(row.load),
                number(row.cost.median),
                cost_unit(row.load),
            );
        }
        for goal in &self.goals {
            println!("{goal}");
        }
    }
}

#[cfg(test)]
mod tests {
    use bench_common::report::published;

    use super::*;

    fn report(ours: u64, theirs: u64) -> Report {
        let mut rows = Vec::new();
        for run in 0..3 {
            for stack in Stack::ALL {
                for load in Load::ALL {
                    let count = if stack.is_ours() { ours } else { theirs };
                    rows.push(Row {
                        stack,
                        load,
                        run: run as usize,
                        outcome: Outcome {
                            seconds: 2.0,
                            count: count + run,
                            latency_us: (load == Load::PingPong).then_some(20.0),
                            latency_99_us: (load == Load::PingPong).then_some(40.0),
                            guest_seconds: 1.0,
                            stolen_seconds: 0.0,
                        },
                    });
                }
            }
        }
        let mut report = Report {
            definitions: DEFINITIONS.map(str::to_owned).to_vec(),
            machine: Machine::before(),
            versions: Versions {
                mirage: "1".into(),
                smoltcp: "2".into(),
                rustc: "3".into(),
            },
            settings: Settings {
                runs: 3,
                seconds: 2.0,
                warm_up: 1.0,
                buffer: 65_536,
                stacks: Stack::ALL.to_vec(),
            },
            rows,
            figures: Vec::new(),
            goals: Vec::new(),
        };
        report.conclude();
        report
    }

    #[test]
    fn rates_are_of_the_median_run_and_goals_of_their_shares() {
        let report = report(250_000_000, 100_000_000);
        let row = report.find(Load::In { flows: 1 }, Stack::Mirage).unwrap();
        // 250 megabytes in two seconds.
        assert!((row.rate.median - 1_000.0).abs() < 0.001, "{row:?}");
        // A second for 250,000 kilobytes.
        assert!((row.cost.median - 4_000.0).abs() < 0.001, "{row:?}");
        assert_eq!(report.goals.len(), 8);
        assert!(report.goals.iter().all(|goal| goal.reached));
        let missed = self::report(199_000_000, 100_000_000);
        assert!(missed.goals.iter().all(|goal| !goal.reached));
        assert_eq!(report.figure().panels.len(), Load::ALL.len() + 3);
    }

    #[test]
    fn without_a_peer_no_goal_is_reached() {
        let mut report = report(2, 1);
        report.rows.retain(|row| row.stack.is_ours());
        report.conclude();
        assert!(report.goals.iter().all(|goal| goal.measured.is_none()));
    }

    #[test]
    fn what_is_published_comes_to_what_it_says() {
        let _ = published::<Report>(env!("CARGO_MANIFEST_DIR"));
    }
}
