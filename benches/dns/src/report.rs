//! What was measured, and what it comes to.

use bench_common::figure::{Bar, Figure, OURS, PARTS, PEER, Panel, number};
use bench_common::machine::Machine;
use bench_common::report::{Goal, Results};
use bench_common::statistics::Spread;
use serde::{Deserialize, Serialize};

use crate::systems::System;

/// What the figures are.
pub(crate) const DEFINITIONS: [&str; 5] = [
    "nanoseconds: from a request's octets to its answer's, both in memory, of one thread's processor time; all questions in turn, as often as it takes; the median of the rounds, in which the systems take turns",
    "positive: addresses of random hosts of the zone; mixed: a fifth each of addresses, missing names, names below delegations, names that a wildcard covers, and aliases; all with EDNS",
    "domain: its ZoneTree and Answer::to_message, as in its example of a server, with OPT added; it does not follow aliases, mirage-dns does",
    "memo: 16,384 places of 256 octets, for 50,000 different questions at the most",
    "instructions an answer: counted by valgrind's callgrind over up to 20,000 questions; with the memo when all have been asked once before",
];

/// One system on one zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) system: System,
    /// Names of the zone.
    pub(crate) names: u32,
    /// `positive` or `mixed`.
    pub(crate) mix: String,
    /// Nanoseconds an answer.
    pub(crate) nanoseconds: Spread,
    /// That of each round.
    pub(crate) runs: Vec<f64>,
}

/// Instructions of one system on one zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Instructions {
    pub(crate) system: System,
    pub(crate) names: u32,
    pub(crate) mix: String,
    pub(crate) per_answer: f64,
}

/// How many answers ours gives in the time of one of the peer's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ratio {
    pub(crate) system: System,
    pub(crate) names: u32,
    pub(crate) mix: String,
    pub(crate) times_as_fast: f64,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) definitions: Vec<String>,
    pub(crate) machine: Machine,
    pub(crate) rustc: String,
    /// The version of the crate `domain`.
    pub(crate) domain: String,
    pub(crate) seed: u64,
    pub(crate) questions: u32,
    pub(crate) rows: Vec<Row>,
    pub(crate) instructions: Vec<Instructions>,
    pub(crate) ratios: Vec<Ratio>,
    pub(crate) goals: Vec<Goal>,
}

impl Report {
    fn row(&self, system: System, names: u32, mix: &str) -> Option<&Row> {
        let mut rows = self.rows.iter();
        rows.find(|row| row.system == system && row.names == names && row.mix == mix)
    }

    fn instructions_of(&self, system: System, names: u32, mix: &str) -> Option<f64> {
        let mut all = self.instructions.iter();
        all.find(|i| i.system == system && i.names == names && i.mix == mix)
            .map(|i| i.per_answer)
    }

    fn sizes(&self) -> Vec<u32> {
        let mut sizes: Vec<u32> = self.rows.iter().map(|row| row.names).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// Says it all.
    pub(crate) fn print(&self) {
        println!(
            "{:>8} {:9} {:18} {:>28} {:>12}",
            "names", "questions", "", "ns an answer", "answers/s"
        );
        for row in &self.rows {
            let rate = 1e9 / row.nanoseconds.median;
            let shown = row.nanoseconds.to_string();
            println!(
                "{:>8} {:9} {:18} {shown:>28} {:>12}",
                row.names,
                row.mix,
                row.system.name(),
                number(rate.round())
            );
        }
        for ratio in &self.ratios {
            println!(
                "{:>8} {:9} {:18} {:.2} times domain's rate",
                ratio.names,
                ratio.mix,
                ratio.system.name(),
                ratio.times_as_fast
            );
        }
        for counted in &self.instructions {
            println!(
                "{:>8} {:9} {:18} {:.0} instructions",
                counted.names,
                counted.mix,
                counted.system.name(),
                counted.per_answer
            );
        }
        for goal in &self.goals {
            println!("{goal}");
        }
    }
}

const MIXES: [&str; 2] = ["positive", "mixed"];

impl Results for Report {
    const NAME: &'static str = "dns";

    fn conclude(&mut self) {
        let (mut ratios, mut goals) = (Vec::new(), Vec::new());
        for names in self.sizes() {
            for mix in MIXES {
                let median = |system| self.row(system, names, mix).map(|r| r.nanoseconds.median);
                for system in [System::Mirage, System::MirageMemo] {
                    if let (Some(ours), Some(theirs)) = (median(system), median(System::Domain)) {
                        let (mix, times_as_fast) = (mix.to_owned(), theirs / ours);
                        ratios.push(Ratio {
                            system,
                            names,
                            mix,
                            times_as_fast,
                        });
                    }
                }
                let share = median(System::Mirage).zip(median(System::Domain));
                let share = share.map(|(ours, theirs)| ours / theirs);
                let goal = format!(
                    "time of an answer without memo, as a part of domain's, {} names, {mix}",
                    number(names.into())
                );
                goals.push(Goal::at_most(goal, 0.5, share));
            }
        }
        let best = [System::Mirage, System::MirageMemo].into_iter();
        let best = best.filter_map(|s| self.row(s, 10_000, "positive"));
        let best = best
            .map(|row| row.nanoseconds.median)
            .min_by(f64::total_cmp);
        goals.push(Goal::at_most(
            "nanoseconds an answer at 10,000 names, positive (5 million a second)",
            200.0,
            best,
        ));
        for mix in MIXES {
            let of = |names| self.instructions_of(System::Mirage, names, mix);
            let grown = of(100_000).zip(of(100)).map(|(many, few)| many / few);
            let goal = format!(
                "instructions an answer without memo at 100,000 names, as a multiple of those at 100, {mix}"
            );
            goals.push(Goal::at_most(goal, 1.1, grown));
        }
        (self.ratios, self.goals) = (ratios, goals);
    }

    fn figure(&self) -> Figure {
        let color = |system| match system {
            System::Mirage => OURS,
            System::MirageMemo => PARTS[1],
            System::Domain => PEER,
        };
        let mut panels = Vec::new();
        for mix in MIXES {
            let rows = self.rows.iter().filter(|row| row.mix == mix);
            panels.push(Panel {
                title: format!("Answers in memory, {mix} questions"),
                unit: "nanoseconds an answer".into(),
                logarithmic: false,
                bars: rows
                    .map(|row| {
                        let label =
                            format!("{}, {} names", row.system.name(), number(row.names.into()));
                        Bar::measured(label, row.nanoseconds, color(row.system))
                    })
                    .collect(),
                goal: None,
            });
        }
        if !self.instructions.is_empty() {
            panels.push(Panel {
                title: "Instructions an answer".into(),
                unit: "instructions".into(),
                logarithmic: false,
                bars: self
                    .instructions
                    .iter()
                    .filter_map(|counted| {
                        let label = format!(
                            "{}, {} names, {}",
                            counted.system.name(),
                            number(counted.names.into()),
                            counted.mix
                        );
                        let value = Spread::of([counted.per_answer])?;
                        Some(Bar::measured(label, value, color(counted.system)))
                    })
                    .collect(),
                goal: None,
            });
        }
        Figure {
            title: "DNS: request octets to answer octets, in memory, one thread".into(),
            notes: vec![
                format!(
                    "{}, Linux {}, {}",
                    self.machine.processor, self.machine.kernel, self.rustc
                ),
                format!(
                    "domain {}; medians of {} rounds, with their spread",
                    self.domain,
                    self.rows.first().map_or(0, |row| row.runs.len())
                ),
            ],
            legend: System::ALL
                .map(|system| (system.name().to_owned(), color(system)))
                .to_vec(),
            panels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_results_come_to_what_is_written_there() {
        bench_common::report::published::<Report>(env!("CARGO_MANIFEST_DIR"));
    }
}
