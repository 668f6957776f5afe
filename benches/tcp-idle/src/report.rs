//! What was measured, and what it comes to.

use bench_common::figure::{Bar, Figure, OURS, PARTS, Panel, number, whole};
use bench_common::machine::Machine;
use bench_common::report::{Goal, Results};
use bench_common::statistics::Spread;
use serde::{Deserialize, Serialize};

use crate::tap::TapRow;

/// What the figures are.
pub(crate) const DEFINITIONS: [&str; 6] = [
    "a server's stack and the one of the machine that all its connections lead to, on a virtual Ethernet, in virtual time; all are established, and have nothing to say, but ten",
    "bytes each: what the tables of the server's stack allocate for more connections, by their number; all tables of connections, deadlines and chains are in it; pages that idle connections hold are counted apart",
    "a segment: one with a request of 100 octets arrives, is found to be its connection's, the application reads it and writes an answer of 100 octets, whose segment goes out, and the next deadline is asked for; ten of ten connections are timed together, of many some anywhere, and the median of the batches is a round's",
    "nanoseconds: with many connections most of what a segment touches lies in no cache",
    "over a tap: this system's own TCP has so many connections to a process with our stack, and asks on one after the other, somewhere among them; the processor time of that process, system calls and all, for a question and its answer; bytes each: memory that it has for more connections, tasks and all, by their number",
    "instructions: counted by valgrind's callgrind over a thousand segments; no cache and no other load changes them",
];

/// What the server has for so many connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    pub(crate) connections: usize,
    /// Bytes that the tables of its stack allocated, without the pool of pages.
    pub(crate) allocated: usize,
    /// Pages in use with all connections idle.
    pub(crate) pages: usize,
}

/// The cost of a segment among so many connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) connections: usize,
    /// Each of them has a deadline: it asks its peer after ten days if it is there.
    pub(crate) keep_alive: bool,
    pub(crate) nanoseconds: Spread,
    /// That of each round.
    pub(crate) runs: Vec<f64>,
    pub(crate) instructions: Option<f64>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) definitions: Vec<String>,
    pub(crate) machine: Machine,
    pub(crate) rustc: String,
    pub(crate) memory: Vec<Memory>,
    pub(crate) rows: Vec<Row>,
    pub(crate) bytes_each: Option<f64>,
    /// Over a tap; nothing where that was left out.
    #[serde(default)]
    pub(crate) tap: Vec<TapRow>,
    #[serde(default)]
    pub(crate) tap_bytes_each: Option<f64>,
    pub(crate) goals: Vec<Goal>,
}

fn keep_alives(row: &Row) -> &'static str {
    if row.keep_alive {
        "keep-alives"
    } else {
        "no keep-alives"
    }
}

impl Report {
    /// The rows with few and with most connections.
    fn ends(&self, keep_alive: bool) -> Option<(&Row, &Row)> {
        let rows = || self.rows.iter().filter(|row| row.keep_alive == keep_alive);
        let few = rows().min_by_key(|row| row.connections)?;
        let most = rows().max_by_key(|row| row.connections)?;
        Some((few, most))
    }

    /// Says it all.
    pub(crate) fn print(&self) {
        for memory in &self.memory {
            println!(
                "{:>9} connections: {:>13} bytes allocated, {} pages in use",
                whole(memory.connections as u64),
                whole(memory.allocated as u64),
                memory.pages
            );
        }
        if let Some(bytes) = self.bytes_each {
            println!("{bytes:.1} bytes each");
        }
        for row in &self.rows {
            let instructions = row
                .instructions
                .map(|count| format!("{count:.0} instructions"));
            println!(
                "{:>9} connections, {:14} {:>28} ns a segment {}",
                whole(row.connections as u64),
                keep_alives(row),
                row.nanoseconds.to_string(),
                instructions.unwrap_or_default()
            );
        }
        for row in &self.tap {
            println!(
                "{:>9} connections, over a tap     {:>28} us a question, {} bytes resident",
                whole(row.connections as u64),
                row.microseconds.to_string(),
                whole(row.resident)
            );
        }
        if let Some(bytes) = self.tap_bytes_each {
            println!("{bytes:.1} bytes of the process each");
        }
        for goal in &self.goals {
            println!("{goal}");
        }
    }
}

impl Results for Report {
    const NAME: &'static str = "tcp-idle";

    fn conclude(&mut self) {
        let few = self.memory.iter().min_by_key(|memory| memory.connections);
        let most = self.memory.iter().max_by_key(|memory| memory.connections);
        self.bytes_each = few.zip(most).and_then(|(few, most)| {
            let more = most.connections.checked_sub(few.connections)?;
            (more > 0).then(|| most.allocated.saturating_sub(few.allocated) as f64 / more as f64)
        });
        let few = self.tap.iter().min_by_key(|row| row.connections);
        let most = self.tap.iter().max_by_key(|row| row.connections);
        let tap = few.zip(most);
        self.tap_bytes_each = tap.and_then(|(few, most)| {
            let more = most.connections.checked_sub(few.connections)?;
            (more > 0).then(|| most.resident.saturating_sub(few.resident) as f64 / more as f64)
        });
        let memory_most = self.memory.iter().max_by_key(|memory| memory.connections);
        let mut goals = vec![
            Goal::at_most("bytes of an idle connection", 1_024.0, self.bytes_each),
            Goal::at_most(
                "pages that all idle connections hold",
                0.0,
                memory_most.map(|most| most.pages as f64),
            ),
        ];
        for keep_alive in [false, true] {
            let grown = self
                .ends(keep_alive)
                .and_then(|(few, most)| Some(most.instructions? / few.instructions?));
            let which = if keep_alive {
                ", each with a keep-alive"
            } else {
                ""
            };
            let goal = format!(
                "instructions of one more segment with most connections{which}, as a multiple of those with ten"
            );
            goals.push(Goal::at_most(goal, 1.1, grown));
        }
        self.goals = goals;
    }

    fn figure(&self) -> Figure {
        let color = |row: &Row| if row.keep_alive { PARTS[1] } else { OURS };
        let label = |row: &Row| format!("{} connections", number(row.connections as f64));
        let mut panels = vec![Panel {
            title: "One more segment, request to answer".into(),
            unit: "nanoseconds".into(),
            logarithmic: false,
            bars: (self.rows.iter())
                .map(|row| Bar::measured(label(row), row.nanoseconds, color(row)))
                .collect(),
            goal: None,
        }];
        let counted = self.rows.iter().filter_map(|row| {
            let value = Spread::of([row.instructions?])?;
            Some(Bar::measured(label(row), value, color(row)))
        });
        let bars: Vec<Bar> = counted.collect();
        if !bars.is_empty() {
            panels.push(Panel {
                title: "Instructions of one more segment".into(),
                unit: "instructions".into(),
                logarithmic: false,
                bars,
                goal: None,
            });
        }
        if !self.tap.is_empty() {
            panels.push(Panel {
                title: "One more question over a tap, the whole process".into(),
                unit: "microseconds".into(),
                logarithmic: false,
                bars: (self.tap.iter())
                    .map(|row| {
                        let label = format!("{} connections", number(row.connections as f64));
                        Bar::measured(label, row.microseconds, OURS)
                    })
                    .collect(),
                goal: None,
            });
        }
        let bytes = self.bytes_each.unwrap_or_default();
        Figure {
            title: format!("Idle TCP connections, {bytes:.0} bytes each"),
            notes: vec![
                format!(
                    "{}, Linux {}, {}",
                    self.machine.processor, self.machine.kernel, self.rustc
                ),
                format!(
                    "two stacks on a virtual Ethernet; medians of {} rounds, with their spread",
                    self.rows.first().map_or(0, |row| row.runs.len())
                ),
            ],
            legend: vec![
                ("no keep-alives".into(), OURS),
                ("each connection with a keep-alive".into(), PARTS[1]),
            ],
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
