//! What was measured, and what it comes to.

use bench_common::figure::{Bar, Figure, NEUTRAL, OURS, PEER, Panel, number};
use bench_common::machine::Machine;
use bench_common::report::{Goal, Results};
use bench_common::statistics::Spread;
use serde::{Deserialize, Serialize};

use crate::servers::System;
use crate::wrk::{Asked, Load};

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) settings: Settings,
    pub(crate) machine: Machine,
    /// What the peer and the client say of their versions.
    pub(crate) versions: Vec<String>,
    pub(crate) runs: Vec<Run>,
    pub(crate) rows: Vec<Row>,
    pub(crate) goals: Vec<Goal>,
}

/// How it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) connections: usize,
}

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    pub(crate) system: System,
    pub(crate) load: Load,
    pub(crate) asked: Asked,
}

/// The runs of one system under one load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) system: System,
    pub(crate) load: Load,
    pub(crate) per_second: Spread,
    pub(crate) server_us: Spread,
    pub(crate) client_us: Spread,
    /// In all runs together.
    pub(crate) errors: u64,
}

impl Report {
    fn row(&self, system: System, load: Load) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.system == system && row.load == load)
    }

    fn make_row(&self, system: System, load: Load) -> Option<Row> {
        let runs = || {
            let of_both = move |run: &&Run| run.system == system && run.load == load;
            self.runs.iter().filter(of_both).map(|run| run.asked)
        };
        Some(Row {
            system,
            load,
            per_second: Spread::of(runs().map(|asked| asked.per_second))?,
            server_us: Spread::of(runs().map(|asked| asked.server_us))?,
            client_us: Spread::of(runs().map(|asked| asked.client_us))?,
            errors: runs().map(|asked| asked.errors).sum(),
        })
    }

    /// Prints the rows and the goals.
    pub(crate) fn print(&self) {
        for row in &self.rows {
            println!(
                "{:<26} {:<30} {:>9}/s, server {} us, client {} us, {} errors",
                row.system.name(),
                row.load.name(),
                number(row.per_second.median),
                number(row.server_us.median),
                number(row.client_us.median),
                row.errors
            );
        }
        for goal in &self.goals {
            println!("{goal}");
        }
    }

    fn panel(&self, load: Load, what: &str, unit: &str, value: fn(&Row) -> Spread) -> Panel {
        let bar = |system: System| {
            let color = match system {
                System::Nginx => PEER,
                System::Sockets => OURS,
                System::Tap => NEUTRAL,
            };
            match self.row(system, load) {
                Some(row) => Bar::measured(system.name(), value(row), color),
                None => Bar::without(system.name(), "not measured"),
            }
        };
        Panel {
            title: format!("{what}, {}", load.name()),
            unit: unit.into(),
            bars: System::ALL.map(bar).to_vec(),
            ..Panel::default()
        }
    }
}

impl Results for Report {
    const NAME: &'static str = "web";

    fn conclude(&mut self) {
        let pairs = Load::ALL
            .into_iter()
            .flat_map(|load| System::ALL.map(|system| (system, load)));
        self.rows = pairs
            .filter_map(|(system, load)| self.make_row(system, load))
            .collect();
        self.goals.clear();
        for load in Load::ALL {
            let peer = self.row(System::Nginx, load).copied();
            for system in [System::Sockets, System::Tap] {
                let own = self.row(system, load).copied();
                let (own, peer) = (own.as_ref(), peer.as_ref());
                let ratio = |of: fn(&Row) -> f64, to: fn(&Row) -> f64| Some(of(peer?) / to(own?));
                let rate = ratio(|row| row.per_second.median, |row| row.per_second.median);
                let time = ratio(|row| row.server_us.median, |row| row.server_us.median);
                let (name, load) = (system.name(), load.name());
                self.goals.push(Goal::at_most(
                    format!("{load}: nginx's requests a second to those of {name}"),
                    1.0,
                    rate,
                ));
                self.goals.push(Goal::at_most(
                    format!("{load}: processor time a request of {name} to nginx's"),
                    1.0,
                    time.map(|time| 1.0 / time),
                ));
            }
        }
    }

    fn figure(&self) -> Figure {
        let Settings {
            rounds,
            seconds,
            connections,
        } = self.settings;
        let runs = match rounds {
            1 => "one run".to_owned(),
            rounds => format!("medians of {rounds} runs in turns (smallest to largest)"),
        };
        let rate: fn(&Row) -> Spread = |row| row.per_second;
        let time: fn(&Row) -> Spread = |row| row.server_us;
        Figure {
            title: "A page of 1 kB".into(),
            notes: vec![
                format!(
                    "{runs} of {seconds} s; wrk with {connections} connections and one thread, on the same machine"
                ),
                self.versions.join("; "),
                format!(
                    "{}, {} processors",
                    self.machine.processor, self.machine.processors
                ),
            ],
            legend: System::ALL
                .map(|system| {
                    let color = match system {
                        System::Nginx => PEER,
                        System::Sockets => OURS,
                        System::Tap => NEUTRAL,
                    };
                    (system.name().to_owned(), color)
                })
                .to_vec(),
            panels: Load::ALL
                .into_iter()
                .flat_map(|load| {
                    [
                        self.panel(load, "Requests a second", "requests/s", rate),
                        self.panel(load, "The server's processor time a request", "us", time),
                    ]
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(system: System, per_second: f64, server_us: f64) -> Run {
        Run {
            system,
            load: Load::Kept,
            asked: Asked {
                requests: 10,
                per_second,
                server_us,
                client_us: 1.0,
                errors: 0,
            },
        }
    }

    #[test]
    fn goals_compare_with_nginx() {
        let mut report = Report {
            settings: Settings {
                rounds: 1,
                seconds: 1,
                connections: 1,
            },
            machine: Machine::before(),
            versions: Vec::new(),
            runs: vec![
                run(System::Sockets, 200.0, 10.0),
                run(System::Tap, 50.0, 40.0),
                run(System::Nginx, 100.0, 20.0),
            ],
            rows: Vec::new(),
            goals: Vec::new(),
        };
        report.conclude();
        assert_eq!(report.rows.len(), 3);
        let told: Vec<_> = report
            .goals
            .iter()
            .map(|goal| (goal.measured, goal.reached))
            .collect();
        assert_eq!(
            told[..4],
            [
                (Some(0.5), true),
                (Some(0.5), true),
                (Some(2.0), false),
                (Some(2.0), false)
            ]
        );
        // What was not measured is not reached.
        assert!(told[4..].iter().all(|goal| *goal == (None, false)) && told.len() == 8);
        let folder = tempfile::tempdir().unwrap();
        report.write(folder.path()).unwrap();
        assert_eq!(Report::read(folder.path()).unwrap(), report);
    }

    #[test]
    fn what_is_published_comes_to_what_is_written() {
        let _ = bench_common::report::published::<Report>(env!("CARGO_MANIFEST_DIR"));
    }
}
