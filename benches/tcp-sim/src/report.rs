//! What was simulated, and what it comes to.

use bench_common::figure::{Bar, Figure, NEUTRAL, OURS, PARTS, PEER, Panel, RGBColor, number};
use bench_common::report::{Goal, Results};
use bench_common::statistics::Spread;
use serde::{Deserialize, Serialize};

use crate::simulation::System;

/// What the figures are.
pub(crate) const DEFINITIONS: [&str; 8] = [
    "time is virtual: what is simulated does not depend on the machine, nor on what else it does, and the same seeds give the same figures",
    "the link is that of smoltcp's tests/netsim.rs: Ethernet with 1,500 octets of IP, 100 ms from one end to the other and back, each direction loses each frame with the same chance; both stacks meet the same losses, frame by frame",
    "goodput: octets a second that the receiving application has read, from the first packet on, address resolution and handshake included; all octets are compared with those sent",
    "checksums: all are computed and verified, by both",
    "buffers: of each socket, both ways; ours counts octets, whatever pages they are in",
    "smoltcp: release 0.14 as it is published, with the defaults of its socket, its CUBIC, its Reno, or without congestion control, which is its default",
    "many flows: each has two machines of its own; the bottleneck is 100 Mbit/s with a queue of 625,000 octets that drops at its tail, or, in the row with marks, marks what comes behind 125,000; equal round trips of 100 ms, or random ones from 50 to 150 ms",
    "response functions: RFC 9438, section 5, for round trips of 100 ms: CUBIC's average window is 1.054 (RTT/p)^(3/4) segments, Reno's (1.5/p)^(1/2), times the octets of data in a segment",
];

/// Buffers, in KiB.
pub(crate) const BUFFERS: [usize; 5] = [32, 64, 128, 256, 1_024];
/// Frames lost of a hundred.
pub(crate) const LOSSES: [f64; 8] = [0.0, 0.1, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0];
/// Flows that share a bottleneck.
pub(crate) const FLOWS: [usize; 3] = [2, 10, 50];

/// The row of 32 KiB in `tests/snapshots/netsim__netsim.snap` of smoltcp 0.14: octets a second without congestion control.
pub(crate) const PUBLISHED: [(f64, f64); 8] = [
    (0.0, 322_944.88),
    (0.1, 314_779.73),
    (1.0, 219_670.76),
    (2.0, 166_587.86),
    (5.0, 76_626.48),
    (10.0, 37_774.62),
    (20.0, 6_079.34),
    (30.0, 1_156.40),
];

/// Octets of data in a full-sized segment of ours, which has timestamps.
const SEGMENT: f64 = 1_448.0;
/// Octets a second of the bottleneck.
const LINK: f64 = 12_500_000.0;

/// A figure that smoltcp publishes, and the same by this simulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reference {
    pub(crate) loss_percent: f64,
    pub(crate) published: f64,
    pub(crate) here: f64,
}

/// One stack with one buffer at one loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cell {
    pub(crate) system: System,
    /// KiB of each buffer.
    pub(crate) kib: usize,
    pub(crate) loss_percent: f64,
    /// Octets a second.
    pub(crate) goodput: Spread,
    /// That of each seed.
    pub(crate) runs: Vec<f64>,
}

/// One stack in the long run, with 1 MiB and a loss of 0.1 %.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Response {
    pub(crate) system: System,
    /// Octets a second.
    pub(crate) goodput: Spread,
    /// That of each seed.
    pub(crate) runs: Vec<f64>,
}

/// One flow of one stack alone on the bottleneck.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    pub(crate) system: System,
    /// Octets a second, from the first packet on.
    pub(crate) goodput: f64,
    /// Of the frames with data, by the queue.
    pub(crate) dropped_percent: f64,
}

/// Whether flows are at the same distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RoundTrips {
    Equal,
    Spread,
}

impl RoundTrips {
    const fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal round trips",
            Self::Spread => "50 to 150 ms",
        }
    }
}

/// Flows of one stack that share the bottleneck.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Many {
    pub(crate) system: System,
    pub(crate) flows: usize,
    pub(crate) round_trips: RoundTrips,
    /// Jain's index.
    pub(crate) fairness: Spread,
    /// Octets a second of all.
    pub(crate) goodput: Spread,
    /// Of the frames with data, by the queue.
    pub(crate) dropped_percent: Spread,
    /// Of the same.
    pub(crate) marked_percent: Spread,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) definitions: Vec<String>,
    pub(crate) rustc: String,
    /// The version of the crate.
    pub(crate) smoltcp: String,
    /// Of each transfer of the cells.
    pub(crate) octets: u64,
    /// Simulated seconds of each run of many flows; the response has ten times as many.
    pub(crate) seconds: u64,
    pub(crate) references: Vec<Reference>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) responses: Vec<Response>,
    pub(crate) links: Vec<Link>,
    pub(crate) many: Vec<Many>,
    pub(crate) goals: Vec<Goal>,
}

/// Octets a second that RFC 9438 gives for a chance of loss: the larger of CUBIC's and Reno's.
pub(crate) fn response_function(loss: f64, round_trip: f64) -> f64 {
    let cubic =
        (0.4 * (3.0 + 0.7) / (4.0 * (1.0 - 0.7f64))).powf(0.25) * (round_trip / loss).powf(0.75);
    let reno = (1.5 / loss).sqrt();
    cubic.max(reno) * SEGMENT / round_trip
}

impl Report {
    fn median(&self, system: System, kib: usize, loss_percent: f64) -> Option<f64> {
        let mut cells = self.cells.iter();
        let cell = cells.find(|cell| {
            cell.system == system && cell.kib == kib && cell.loss_percent == loss_percent
        });
        cell.map(|cell| cell.goodput.median)
    }

    /// The largest part that a peer has of ours, of the cells whose loss `which` says, and the cell.
    fn worst(&self, peer: System, which: impl Fn(f64) -> bool) -> Option<(f64, usize, f64)> {
        let cells = self.cells.iter();
        let cells = cells.filter(|cell| cell.system == peer && which(cell.loss_percent));
        let ratio = |cell: &Cell| {
            let ours = self.median(System::Mirage, cell.kib, cell.loss_percent)?;
            Some((cell.goodput.median / ours, cell.kib, cell.loss_percent))
        };
        cells
            .filter_map(ratio)
            .max_by(|one, other| one.0.total_cmp(&other.0))
    }

    fn ahead_of(&self, peer: System, what: &str, which: impl Fn(f64) -> bool) -> Goal {
        let worst = self.worst(peer, which);
        let place = worst.map_or(String::new(), |(_, kib, loss)| {
            format!(
                ", the most of {what}: at {} KiB and {loss} %",
                number(kib as f64)
            )
        });
        let goal = format!("goodput of {} as a part of ours{place}", peer.name());
        Goal::at_most(goal, 1.0, worst.map(|worst| worst.0))
    }

    /// Says it all.
    pub(crate) fn print(&self) {
        for reference in &self.references {
            println!(
                "smoltcp without control, 32 KiB, {:>4} %: published {:>10.2}, here {:>10.2}",
                reference.loss_percent, reference.published, reference.here
            );
        }
        println!("\ngoodput in octets a second");
        for cell in &self.cells {
            println!(
                "{:>5} KiB {:>4} % {:20} {:>12} ({} to {})",
                cell.kib,
                cell.loss_percent,
                cell.system.name(),
                number(cell.goodput.median.round()),
                number(cell.goodput.minimum.round()),
                number(cell.goodput.maximum.round())
            );
        }
        let response = response_function(0.001, 0.1);
        println!(
            "\n0.1 % in the long run; the response function: {}",
            number(response.round())
        );
        for row in &self.responses {
            println!(
                "{:20} {:>12}",
                row.system.name(),
                number(row.goodput.median.round())
            );
        }
        println!("\none flow at 100 Mbit/s, {} s", self.seconds);
        for row in &self.links {
            println!(
                "{:20} {:>12} {:.2} % dropped",
                row.system.name(),
                number(row.goodput.round()),
                row.dropped_percent
            );
        }
        println!("\nmany flows at 100 Mbit/s");
        for row in &self.many {
            println!(
                "{:>3} flows, {:18} {:20} Jain {:.3} {:>12} {:>6.2} % dropped {:>6.2} % marked",
                row.flows,
                row.round_trips.name(),
                row.system.name(),
                row.fairness.median,
                number(row.goodput.median.round()),
                row.dropped_percent.median,
                row.marked_percent.median
            );
        }
        println!();
        for goal in &self.goals {
            println!("{goal}");
        }
    }
}

impl Results for Report {
    const NAME: &'static str = "tcp-sim";

    fn conclude(&mut self) {
        let mut goals = Vec::new();
        let reference = self.references.iter().find(|row| row.loss_percent == 1.0);
        goals.push(Goal::at_most(
            "the simulation is smoltcp's: goodput of smoltcp without control at 32 KiB and 1 %, distance from the published one in percent",
            1.0,
            reference.map(|row| 100.0 * (row.here / row.published - 1.0).abs()),
        ));
        for peer in [System::SmoltcpCubic, System::SmoltcpReno] {
            goals.push(self.ahead_of(peer, "all cells", |_| true));
        }
        for loss in LOSSES.into_iter().filter(|loss| *loss >= 5.0) {
            let what = format!("those with a loss of {loss} %");
            goals.push(self.ahead_of(System::SmoltcpNone, &what, |percent| percent == loss));
        }
        let ours = (self.responses.iter()).find(|row| row.system == System::Mirage);
        goals.push(Goal::at_most(
            "the larger of RFC 9438's response functions at 0.1 % as a multiple of our goodput with 1 MiB (nine tenths of it: 1.11)",
            10.0 / 9.0,
            ours.map(|row| response_function(0.001, 0.1) / row.goodput.median),
        ));
        let ours = self.links.iter().find(|row| row.system == System::Mirage);
        goals.push(Goal::at_most(
            "the rate of a bottleneck of 100 Mbit/s as a multiple of our goodput over it (nine tenths of it: 1.11)",
            10.0 / 9.0,
            ours.map(|row| LINK / row.goodput),
        ));
        self.goals = goals;
    }

    fn figure(&self) -> Figure {
        let mut panels = Vec::new();
        for kib in [BUFFERS[0], BUFFERS[4]] {
            let cells = self.cells.iter().filter(|cell| cell.kib == kib);
            let bars: Vec<Bar> = cells
                .map(|cell| {
                    let label = format!("{} %, {}", cell.loss_percent, cell.system.name());
                    Bar::measured(label, cell.goodput, color(cell.system))
                })
                .collect();
            if !bars.is_empty() {
                panels.push(Panel {
                    title: format!(
                        "Goodput with buffers of {} KiB, by loss",
                        number(kib as f64)
                    ),
                    unit: "octets a second".into(),
                    logarithmic: true,
                    bars,
                    goal: None,
                });
            }
        }
        panels.push(Panel {
            title: "Goodput with 1 MiB and a loss of 0.1 %, in the long run".into(),
            unit: "octets a second".into(),
            logarithmic: false,
            bars: (self.responses.iter())
                .map(|row| Bar::measured(row.system.name(), row.goodput, color(row.system)))
                .collect(),
            goal: Some((
                0.9 * response_function(0.001, 0.1),
                "nine tenths of the response function".into(),
            )),
        });
        panels.push(Panel {
            title: "Goodput of one flow through a bottleneck of 100 Mbit/s".into(),
            unit: "octets a second".into(),
            logarithmic: false,
            bars: (self.links.iter())
                .filter_map(|row| {
                    let value = Spread::of([row.goodput])?;
                    Some(Bar::measured(row.system.name(), value, color(row.system)))
                })
                .collect(),
            goal: Some((0.9 * LINK, "nine tenths of the link".into())),
        });
        let many = |title: &str, unit: &str, of: fn(&Many) -> Spread| Panel {
            title: title.into(),
            unit: unit.into(),
            logarithmic: false,
            bars: (self.many.iter())
                .filter(|row| row.round_trips == RoundTrips::Equal)
                .map(|row| {
                    let label = format!("{} flows, {}", row.flows, row.system.name());
                    Bar::measured(label, of(row), color(row.system))
                })
                .collect(),
            goal: None,
        };
        let fairness = "Fairness of flows that share 100 Mbit/s, with equal round trips";
        panels.push(many(fairness, "Jain's index", |row| row.fairness));
        let dropped = "Frames that the bottleneck's queue drops of the same flows";
        panels.push(many(dropped, "percent", |row| row.dropped_percent));
        Figure {
            title: "TCP over a deterministic link with a round trip of 100 ms, in virtual time".into(),
            notes: vec![
                format!(
                    "smoltcp {}; checksums computed and verified by both; medians of {} seeds, with their spread",
                    self.smoltcp,
                    self.cells.first().map_or(0, |cell| cell.runs.len())
                ),
                "goodput from the first packet to the last of 10 MiB; the scale of the first two panels is logarithmic".into(),
            ],
            legend: System::MANY
                .map(|system| (system.name().to_owned(), color(system)))
                .to_vec(),
            panels,
        }
    }
}

const fn color(system: System) -> RGBColor {
    match system {
        System::Mirage => OURS,
        System::MirageReno => PARTS[1],
        System::MirageEcn => RGBColor(90, 170, 230),
        System::SmoltcpCubic => PEER,
        System::SmoltcpReno => PARTS[2],
        System::SmoltcpNone => NEUTRAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_results_come_to_what_is_written_there() {
        bench_common::report::published::<Report>(env!("CARGO_MANIFEST_DIR"));
    }

    /// RFC 9438, table 1 has 38 segments for Reno at 10⁻³; CUBIC's formula has 33 for a round trip of 100 ms.
    #[test]
    fn rfc9438_5_the_response_function_is_the_larger_one() {
        let segments = |loss| response_function(loss, 0.1) * 0.1 / SEGMENT;
        assert!((38.0..39.0).contains(&segments(0.001)));
        // Where losses are rare it is CUBIC's: 1.054 (0.1/10⁻⁵)^(3/4).
        assert!((1_050.0..1_060.0).contains(&segments(0.000_01)));
    }

    #[test]
    fn the_worst_cell_decides() {
        let cell = |system, kib, median: f64| Cell {
            system,
            kib,
            loss_percent: 5.0,
            goodput: Spread::of([median]).unwrap(),
            runs: vec![median],
        };
        let mut report = Report {
            definitions: vec![],
            rustc: String::new(),
            smoltcp: String::new(),
            octets: 1,
            seconds: 1,
            references: vec![],
            cells: vec![
                cell(System::Mirage, 32, 100.0),
                cell(System::SmoltcpCubic, 32, 50.0),
                cell(System::Mirage, 64, 100.0),
                cell(System::SmoltcpCubic, 64, 101.0),
                cell(System::SmoltcpReno, 64, 99.0),
            ],
            responses: vec![],
            links: vec![],
            many: vec![],
            goals: vec![],
        };
        report.conclude();
        let goal = |name: &str| {
            report
                .goals
                .iter()
                .find(|goal| goal.goal.contains(name))
                .unwrap()
        };
        let cubic = goal("smoltcp, CUBIC");
        assert_eq!((cubic.measured, cubic.reached), (Some(1.01), false));
        assert!(cubic.goal.contains("64 KiB"), "{}", cubic.goal);
        assert!(goal("smoltcp, Reno").reached);
        // What was not simulated is not reached.
        assert!(!goal("bottleneck").reached);
    }
}
