//! The results: as JSON, as text.

use bench_common::figure::Figure;
use bench_common::machine::Machine;
use bench_common::report::{Goal, Results};
use bench_common::statistics::Spread;
use bench_lab::dnsperf::{Load, Outcome};
use bench_lab::laboratory::{System, Versions};
use bench_lab::meter::Interval;
use serde::{Deserialize, Serialize};

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
    /// Whether the host was on the lab's network; else ports were forwarded by QEMU, which takes more time.
    pub(crate) has_tap: bool,
    pub(crate) idle: Vec<IdleRow>,
    /// Every run of dnsperf.
    pub(crate) loads: Vec<LoadRow>,
    /// The saturating load with this host answering.
    pub(crate) client: Vec<ClientRow>,
    /// What they come to.
    pub(crate) figures: Vec<FigureRow>,
    pub(crate) goals: Vec<Goal>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) runs: usize,
    pub(crate) steady: Load,
    pub(crate) saturation: Load,
    pub(crate) idle_seconds: u32,
    /// Of either guest.
    pub(crate) memory_mib: u32,
    /// What is asked, over and over.
    pub(crate) queries: Vec<String>,
    /// Of the appliance's image.
    pub(crate) seed: String,
}

/// The two loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LoadKind {
    /// So many queries a second.
    Steady,
    /// As many as are answered.
    Saturation,
}

impl LoadKind {
    pub(crate) const ALL: [Self; 2] = [Self::Steady, Self::Saturation];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady load",
            Self::Saturation => "saturation",
        }
    }
}

/// A while in which nobody asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdleRow {
    pub(crate) system: System,
    pub(crate) run: usize,
    pub(crate) interval: Interval,
}

/// One run of dnsperf.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoadRow {
    pub(crate) system: System,
    pub(crate) run: usize,
    pub(crate) kind: LoadKind,
    pub(crate) outcome: Outcome,
    /// What the guest took meanwhile.
    pub(crate) guest: Interval,
    /// What dom0 took meanwhile: netback, the bridge, the way to the host.
    pub(crate) dom0: Interval,
}

/// One run of dnsperf against a program on this host that sends each query back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientRow {
    pub(crate) run: usize,
    pub(crate) outcome: Outcome,
}

/// What the runs of one system under one load come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FigureRow {
    pub(crate) system: System,
    pub(crate) kind: LoadKind,
    pub(crate) cpu_us_per_query: Spread,
    pub(crate) dom0_cpu_us_per_query: Spread,
    pub(crate) queries_per_second: Spread,
    pub(crate) latency_average_us: Spread,
    /// Share of queries without an answer, in percent.
    pub(crate) lost_percent: Spread,
    /// Processor time while the load lasted, in percent of that time.
    pub(crate) guest_percent: Spread,
    /// As before.
    pub(crate) dom0_percent: Spread,
    /// Processor time while nobody asks, in percent of the time.
    pub(crate) idle_percent: Spread,
}

pub(crate) const DEFINITIONS: [&str; 10] = [
    "mirage is a PVH guest, linux_nsd a PV guest (Debian's kernel does not start as PVH under QEMU's TCG). QEMU emulates the processor for both.",
    "loads: dnsperf on the host asks one guest; both run all the time. steady: so many queries a second; saturation: as many as are answered, with so many outstanding.",
    "guest, dom0: processor time by Xen's accounting (XEN_SYSCTL_getdomaininfolist, nanoseconds), read before and after; window_ns on dom0's clock.",
    "cpu_us_per_query: the guest's processor time, less what it takes in such a window while nobody asks (idle, of the same round), by answered query.",
    "dom0_cpu_us_per_query: dom0's, nothing subtracted: netback, bridge, virtio, and whatever else runs there.",
    "lost: queries without an answer within the timeout, which at the end of a run may be those that were still outstanding.",
    "guest_percent, dom0_percent: processor time while the load lasted, in percent of that time. Each has one virtual processor: what is near 100 limits the answers a second.",
    "client: the saturating load on a program on this host that sends each query back, through no lab: what the client itself can do.",
    "linux_nsd: NSD with one server process and no rate limit, the same zone, nothing else in the guest.",
    "figures: the median of the runs, with the smallest and the largest. Systems take turns, every other round backwards.",
];

/// What the appliance's processor time is not to exceed, as a share of NSD's.
const SHARE: f64 = 0.1;

impl LoadRow {
    /// Microseconds of the guest's processor time by answered query, less what it takes while nobody asks.
    fn cpu_us_per_query(&self, idle: Interval) -> f64 {
        let idle_ns = idle.share() * self.guest.window_ns as f64;
        let busy_ns = self.guest.cpu_ns as f64 - idle_ns;
        busy_ns / 1e3 / self.completed()
    }

    fn dom0_cpu_us_per_query(&self) -> f64 {
        self.dom0.cpu_ns as f64 / 1e3 / self.completed()
    }

    fn percent(&self, took: Interval) -> f64 {
        100.0 * took.cpu_ns as f64 / 1e9 / self.outcome.seconds.max(1e-3)
    }

    fn completed(&self) -> f64 {
        (self.outcome.completed as f64).max(1.0)
    }
}

impl Results for Report {
    const NAME: &'static str = "dns-xen";

    fn conclude(&mut self) {
        let systems = [System::Mirage, System::LinuxNsd];
        let kinds = LoadKind::ALL.into_iter();
        let kinds = kinds.flat_map(|kind| systems.map(|system| (system, kind)));
        self.figures = kinds
            .filter_map(|(system, kind)| self.figure_of(system, kind))
            .collect();
        self.goals = LoadKind::ALL
            .into_iter()
            .map(|kind| {
                let cpu = |system| Some(self.find(system, kind)?.cpu_us_per_query.median);
                let ratio = cpu(System::Mirage)
                    .zip(cpu(System::LinuxNsd))
                    .map(|(ours, peer)| ours / peer);
                let goal = format!(
                    "guest CPU time a query as a share of NSD's, {}",
                    kind.name()
                );
                Goal::at_most(goal, SHARE, ratio)
            })
            .collect();
    }

    fn figure(&self) -> Figure {
        self.drawn()
    }
}

impl Report {
    fn figure_of(&self, system: System, kind: LoadKind) -> Option<FigureRow> {
        let rows = || {
            let same = move |row: &&LoadRow| row.system == system && row.kind == kind;
            self.loads.iter().filter(same)
        };
        let idle_of = |run| {
            let mut rows = self.idle.iter();
            let row = rows.find(|row: &&IdleRow| row.system == system && row.run == run)?;
            Some(row.interval)
        };
        let spread = |value: &dyn Fn(&LoadRow) -> f64| Spread::of(rows().map(value));
        Some(FigureRow {
            system,
            kind,
            cpu_us_per_query: Spread::of(
                rows().filter_map(|row| Some(row.cpu_us_per_query(idle_of(row.run)?))),
            )?,
            dom0_cpu_us_per_query: spread(&LoadRow::dom0_cpu_us_per_query)?,
            queries_per_second: spread(&|row| row.outcome.queries_per_second)?,
            latency_average_us: spread(&|row| row.outcome.latency_average_us)?,
            lost_percent: spread(&|row| {
                100.0 * row.outcome.lost as f64 / (row.outcome.sent as f64).max(1.0)
            })?,
            guest_percent: spread(&|row| row.percent(row.guest))?,
            dom0_percent: spread(&|row| row.percent(row.dom0))?,
            idle_percent: Spread::of(
                rows().filter_map(|row| Some(100.0 * idle_of(row.run)?.share())),
            )?,
        })
    }

    fn find(&self, system: System, kind: LoadKind) -> Option<&FigureRow> {
        let mut rows = self.figures.iter();
        rows.find(|row| row.system == system && row.kind == kind)
    }

    /// Answers a second where this host sends each query back.
    fn client(&self) -> Option<Spread> {
        Spread::of(self.client.iter().map(|row| row.outcome.queries_per_second))
    }

    /// The summary for a terminal.
    pub(crate) fn print(&self) {
        println!("medians, in brackets the smallest and the largest");
        for row in &self.figures {
            println!("{}, {}", row.system.name(), row.kind.name());
            for (name, value) in [
                ("guest CPU time a query, us", row.cpu_us_per_query),
                ("dom0 CPU time a query, us", row.dom0_cpu_us_per_query),
                ("queries/s", row.queries_per_second),
                ("average latency, us", row.latency_average_us),
                ("lost, %", row.lost_percent),
                ("guest's processor, %", row.guest_percent),
                ("dom0's processor, %", row.dom0_percent),
                ("guest CPU while nobody asks, %", row.idle_percent),
            ] {
                println!("  {name:32} {value:.2}");
            }
        }
        if let Some(client) = self.client() {
            println!("the client alone, against this host: {client:.0} queries/s");
        }
        for goal in &self.goals {
            println!("{goal}");
        }
    }
}
