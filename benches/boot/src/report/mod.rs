//! The results: as JSON, as text.

use bench_common::figure::Figure;
use bench_common::machine::Machine;
use bench_common::report::{Goal, Published, Results};
use bench_common::statistics::Spread;
use bench_lab::laboratory::{System, Versions};
use bench_lab::meter::Boot;
use serde::{Deserialize, Serialize};

use crate::search::Try;

mod figure;
#[cfg(test)]
mod tests;

/// All that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    /// What the numbers mean.
    pub(crate) definitions: Vec<String>,
    pub(crate) machine: Machine,
    pub(crate) versions: Versions,
    pub(crate) settings: Settings,
    /// How the least memory was found; none in a quick run.
    pub(crate) searches: Vec<SearchRow>,
    pub(crate) skipped: Vec<Skipped>,
    /// Every boot.
    pub(crate) boots: Vec<BootRow>,
    /// What they come to.
    pub(crate) figures: Vec<FigureRow>,
    pub(crate) goals: Vec<Goal>,
    pub(crate) published: Vec<Published>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) runs: usize,
    pub(crate) sizes_mib: Vec<u32>,
    pub(crate) queries_after_the_first: u32,
    /// Of the appliance's image.
    pub(crate) seed: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchRow {
    pub(crate) system: System,
    pub(crate) step_mib: u32,
    pub(crate) least_mib: u32,
    pub(crate) tried: Vec<Try>,
}

impl SearchRow {
    /// Why a size below the least fails: as the largest that was tried up to it did.
    pub(crate) fn reason(&self, memory: u32) -> String {
        let failed = self
            .tried
            .iter()
            .filter(|tried| tried.memory_mib <= self.least_mib && tried.failure.is_some());
        // Closest from above, for one that has less memory does no better.
        let nearest = failed
            .filter(|tried| tried.memory_mib >= memory)
            .min_by_key(|tried| tried.memory_mib);
        match nearest {
            Some(tried) => format!(
                "with {} MiB: {}",
                tried.memory_mib,
                tried.failure.as_deref().unwrap_or_default()
            ),
            None => format!("less than {} MiB, the least that works", self.least_mib),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Skipped {
    pub(crate) system: System,
    pub(crate) memory_mib: u32,
    pub(crate) reason: String,
}

/// One boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BootRow {
    pub(crate) system: System,
    pub(crate) memory_mib: u32,
    pub(crate) run: usize,
    /// As the guest said; absent if it did not.
    pub(crate) network_up_us: Option<u64>,
    /// As the appliance said; nobody counts Linux's.
    pub(crate) xenstore_round_trips: Option<u64>,
    /// As seen from dom0.
    pub(crate) boot: Boot,
}

/// What the boots of one system with one size come to, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FigureRow {
    pub(crate) system: System,
    pub(crate) memory_mib: u32,
    pub(crate) create_to_answer_ms: Spread,
    pub(crate) toolstack_ms: Spread,
    pub(crate) guest_to_answer_ms: Spread,
    pub(crate) guest_to_network_ms: Spread,
    pub(crate) cpu_to_network_ms: Spread,
    pub(crate) cpu_to_answer_ms: Spread,
    pub(crate) entry_to_network_up_ms: Option<Spread>,
    pub(crate) xenstore_round_trips: Option<Spread>,
}

pub(crate) const DEFINITIONS: [&str; 12] = [
    "mirage is a PVH guest, linux_nsd a PV guest (Debian's kernel does not start as PVH under QEMU's TCG). QEMU emulates the processor for both.",
    "boots: nanoseconds since dom0 called `xl create`, on dom0's clock. dom0 asks for an echo, then for a DNS answer, each 1 % of the time that the guest has run, at least 5 ms.",
    "create_to_answer: from the call of `xl create` to the first UDP answer. It has two parts:",
    "toolstack: from the call to the moment in which the toolstack lets the domain run (its pause ends).",
    "guest_to_answer: from there to the first UDP answer; guest_to_network: from there to the first answer to an ICMP echo request.",
    "cpu_to_network, cpu_to_answer: the guest's processor time then, by Xen's accounting (XEN_SYSCTL_getdomaininfolist).",
    "entry_to_network_up: on the guest's own clock, from its first instruction (Linux: from when its kernel's clock starts) until its network is up.",
    "xenstore_round_trips: how often the appliance waited for an answer from xenstore until its network was up.",
    "searches: the least memory that works, by halving; it works if it answers, and then 20 more queries, one after the other.",
    "figures: the median of the runs, with the smallest and the largest. Systems and sizes take turns, every other round backwards.",
    "linux_nsd has nothing but NSD and busybox in its initramfs, and serves the same zone.",
    "published: MirageOS's paper, from the start to the first packet on the network.",
];

/// What MirageOS's paper tells: system, figure, milliseconds.
const PUBLISHED: [(&str, &str, f64); 2] = [
    ("MirageOS, first packet", "37 ms", 37.0),
    ("Linux, first packet", "432 ms", 432.0),
];

pub(crate) fn published() -> Vec<Published> {
    PUBLISHED
        .map(|(system, figure, _)| Published::of_paper(system, figure))
        .to_vec()
}

/// What is not to be exceeded.
const LEAST_MIB: f64 = 4.0;
const ROUND_TRIPS: f64 = 15.0;
const SHARE_OF_CPU: f64 = 0.01;
const SLOPE: f64 = 1.1;

impl Results for Report {
    const NAME: &'static str = "boot";

    fn conclude(&mut self) {
        self.figures = self.figures_of_boots();
        self.goals = self.goals_of_figures();
    }

    fn figure(&self) -> Figure {
        self.drawn()
    }
}

impl Report {
    fn figures_of_boots(&self) -> Vec<FigureRow> {
        let mut kinds: Vec<(u32, System)> = self
            .boots
            .iter()
            .map(|row| (row.memory_mib, row.system))
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        let row_of = |(memory_mib, system): (u32, System)| {
            let rows = || {
                let same =
                    move |row: &&BootRow| row.memory_mib == memory_mib && row.system == system;
                self.boots.iter().filter(same)
            };
            // One that lacks a value is not counted for that value; without any there is no figure.
            let ms = |value: fn(&Boot) -> Option<u64>| {
                Spread::of(rows().filter_map(|row| Some(value(&row.boot)? as f64 / 1e6)))
            };
            Some(FigureRow {
                system,
                memory_mib,
                create_to_answer_ms: ms(|boot| boot.answer_ns)?,
                toolstack_ms: ms(|boot| boot.unpaused_ns)?,
                guest_to_answer_ms: ms(|boot| boot.answer_ns?.checked_sub(boot.unpaused_ns?))?,
                guest_to_network_ms: ms(|boot| boot.network_ns?.checked_sub(boot.unpaused_ns?))?,
                cpu_to_network_ms: ms(|boot| boot.network_cpu_ns)?,
                cpu_to_answer_ms: ms(|boot| boot.answer_cpu_ns)?,
                entry_to_network_up_ms: Spread::of(
                    rows().filter_map(|row| Some(row.network_up_us? as f64 / 1e3)),
                ),
                xenstore_round_trips: Spread::of(
                    rows().filter_map(|row| Some(row.xenstore_round_trips? as f64)),
                ),
            })
        };
        kinds.into_iter().filter_map(row_of).collect()
    }

    fn of(&self, system: System) -> impl Iterator<Item = &FigureRow> {
        self.figures.iter().filter(move |row| row.system == system)
    }

    /// The least memory of a system, in MiB.
    fn least(&self, system: System) -> Option<u32> {
        let row = self.searches.iter().find(|row| row.system == system)?;
        Some(row.least_mib)
    }

    /// A hundredth of the least processor time that Linux took, in ms.
    fn cpu_goal_ms(&self) -> Option<f64> {
        let linux = self
            .of(System::LinuxNsd)
            .map(|row| row.cpu_to_network_ms.median);
        Some(linux.min_by(f64::total_cmp)? * SHARE_OF_CPU)
    }

    fn goals_of_figures(&self) -> Vec<Goal> {
        let largest = |values: &mut dyn Iterator<Item = f64>| values.max_by(f64::total_cmp);
        let smallest = |values: &mut dyn Iterator<Item = f64>| values.min_by(f64::total_cmp);
        let cpu = |system| self.of(system).map(|row| row.cpu_to_network_ms.median);
        let linux_cpu = smallest(&mut cpu(System::LinuxNsd));
        let mirage_cpu = largest(&mut cpu(System::Mirage));
        let up = || {
            let rows = self.of(System::Mirage);
            rows.filter_map(|row| Some(row.entry_to_network_up_ms?.median))
        };
        // One size says nothing about a slope.
        let slope = match (up().count(), largest(&mut up()), smallest(&mut up())) {
            (2.., Some(largest), Some(smallest)) => Some(largest / smallest),
            _ => None,
        };
        let trips = self
            .of(System::Mirage)
            .filter_map(|row| Some(row.xenstore_round_trips?.maximum));
        vec![
            Goal::at_most(
                "least memory that works, MiB",
                LEAST_MIB,
                self.least(System::Mirage).map(f64::from),
            ),
            Goal::at_most(
                "xenstore round trips to network up, in any run",
                ROUND_TRIPS,
                trips.max_by(f64::total_cmp),
            ),
            Goal::at_most(
                "guest CPU time to network up: our largest median as a share of Linux's smallest",
                SHARE_OF_CPU,
                mirage_cpu.zip(linux_cpu).map(|(ours, linux)| ours / linux),
            ),
            Goal::at_most(
                "entry to network up: the largest median of all memory sizes as a multiple of the smallest",
                SLOPE,
                slope,
            ),
        ]
    }

    /// The summary for a terminal.
    pub(crate) fn print(&self) {
        println!("medians, in brackets the smallest and the largest, in ms");
        for row in &self.figures {
            println!("{}, {} MiB", row.system.name(), row.memory_mib);
            for (name, value) in [
                (
                    "xl create to first UDP answer",
                    Some(row.create_to_answer_ms),
                ),
                ("  the toolstack's part", Some(row.toolstack_ms)),
                ("  the guest's part", Some(row.guest_to_answer_ms)),
                ("running to network up", Some(row.guest_to_network_ms)),
                (
                    "entry to network up, on its clock",
                    row.entry_to_network_up_ms,
                ),
                ("CPU time to network up", Some(row.cpu_to_network_ms)),
                ("CPU time to first UDP answer", Some(row.cpu_to_answer_ms)),
                ("xenstore round trips", row.xenstore_round_trips),
            ] {
                if let Some(value) = value {
                    println!("  {name:36} {value:.1}");
                }
            }
        }
        for row in &self.searches {
            println!("{}: least memory {} MiB", row.system.name(), row.least_mib);
        }
        for row in &self.skipped {
            println!(
                "{}, {} MiB: skipped, {}",
                row.system.name(),
                row.memory_mib,
                row.reason
            );
        }
        for row in &self.published {
            println!("{}: {} ({})", row.system, row.figure, row.remark);
        }
        for goal in &self.goals {
            println!("{goal}");
        }
    }
}
