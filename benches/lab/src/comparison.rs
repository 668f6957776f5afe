//! What loads on an appliance and on a Linux guest come to: as JSON, as a figure, as text.

use std::marker::PhantomData;

use bench_common::figure::{Bar, Figure, OURS, PEER, Panel, RGBColor};
use bench_common::machine::Machine;
use bench_common::report::{Goal, Results};
use bench_common::statistics::Spread;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::meter::Interval;
use crate::pair::Side;

/// What is compared: one benchmark.
pub trait Subject: Clone + PartialEq + Serialize + DeserializeOwned {
    /// What its results are called.
    const NAME: &'static str;
    /// The figure's title.
    const TITLE: &'static str;
    /// What is counted: one of them.
    const UNIT: &'static str;
    /// What it means, besides the definitions of all comparisons.
    const DEFINITIONS: &'static [&'static str];
    /// What a second's [`UNIT`](Self::UNIT)s of the peer may be to ours, if that is a goal.
    const RATE: Option<f64>;
    /// What our processor time a [`UNIT`](Self::UNIT) may be to the peer's, if that is a goal.
    const TIME: Option<f64>;

    /// What a side is called in figures.
    fn name_of(side: Side) -> &'static str;

    /// A line of the figure's notes: how the load was made.
    fn note(settings: &Settings) -> String;
}

/// All that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound = "")]
pub struct Report<S> {
    /// What the numbers mean.
    pub definitions: Vec<String>,
    /// The machine.
    pub machine: Machine,
    /// What was compared, and on what.
    pub versions: Vec<String>,
    /// How it was measured.
    pub settings: Settings,
    /// Whether the host was on the lab's network; else ports were forwarded by QEMU, which takes more time.
    pub has_tap: bool,
    /// Whiles in which nobody asked.
    pub idle: Vec<IdleRow>,
    /// Every load.
    pub loads: Vec<LoadRow>,
    /// What they come to.
    pub figures: Vec<FigureRow>,
    /// What was to be reached.
    pub goals: Vec<Goal>,
    #[serde(skip)]
    subject: PhantomData<S>,
}

/// How it was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How often.
    pub runs: usize,
    /// How long each load lasts.
    pub seconds: u32,
    /// How long nobody asks.
    pub idle_seconds: u32,
    /// Of either guest.
    pub memory_mib: u32,
    /// The loads, by name.
    pub loads: Vec<String>,
    /// Connections at a time, where the loads don't say it.
    pub connections: Option<usize>,
}

/// A while in which nobody asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdleRow {
    /// Who was not asked.
    pub side: Side,
    /// In which round.
    pub run: usize,
    /// What it took.
    pub interval: Interval,
}

/// What came of a load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// Units: requests, or MiB.
    pub count: f64,
    /// How long that took.
    pub seconds: f64,
    /// What failed.
    pub errors: u64,
}

/// One load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadRow {
    /// On whom.
    pub side: Side,
    /// Which.
    pub load: String,
    /// In which round.
    pub run: usize,
    /// What came of it.
    pub counted: Counted,
    /// What the guest took meanwhile.
    pub guest: Interval,
    /// What dom0 took meanwhile: netback, the bridge, the way to the host.
    pub dom0: Interval,
}

/// What the runs of one side under one load come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FigureRow {
    /// Who.
    pub side: Side,
    /// Under which.
    pub load: String,
    /// Units a second.
    pub per_second: Spread,
    /// Microseconds of the guest's processor time a unit, less what it takes while nobody asks.
    pub guest_us: Spread,
    /// Microseconds of dom0's.
    pub dom0_us: Spread,
    /// Processor time while the load lasted, in percent of that time.
    pub guest_percent: Spread,
    /// As before.
    pub dom0_percent: Spread,
    /// Processor time while nobody asks, in percent of the time.
    pub idle_percent: Spread,
    /// In all runs together.
    pub errors: u64,
}

/// What the numbers mean, in each of these benchmarks.
const DEFINITIONS: [&str; 5] = [
    "mirage is a PVH guest, linux a PV guest (Debian's kernel does not start as PVH under QEMU's TCG). QEMU emulates the processor for both. Both run all the time, one of them is asked.",
    "guest, dom0: processor time by Xen's accounting (XEN_SYSCTL_getdomaininfolist, nanoseconds), read before and after a load; window_ns on dom0's clock.",
    "guest_us: the guest's processor time a unit, less what it takes in such a window while nobody asks (idle, of the same round). dom0_us: dom0's, nothing subtracted.",
    "guest_percent, dom0_percent: processor time while the load lasted, in percent of that time. Each has one virtual processor: what is near 100 limits the rate.",
    "figures: the median of the runs, with the smallest and the largest. Sides take turns, every other round backwards.",
];

impl LoadRow {
    fn guest_us(&self, idle: Interval) -> f64 {
        let idle_ns = idle.share() * self.guest.window_ns as f64;
        (self.guest.cpu_ns as f64 - idle_ns) / 1e3 / self.count()
    }

    fn percent(&self, took: Interval) -> f64 {
        100.0 * took.cpu_ns as f64 / 1e9 / self.counted.seconds.max(1e-3)
    }

    fn count(&self) -> f64 {
        self.counted.count.max(1e-9)
    }
}

impl<S: Subject> Results for Report<S> {
    const NAME: &'static str = S::NAME;

    fn conclude(&mut self) {
        let loads = self.settings.loads.iter();
        let pairs = loads.flat_map(|load| Side::ALL.map(|side| (side, load)));
        self.figures = pairs
            .filter_map(|(side, load)| self.figure_of(side, load))
            .collect();
        let mut goals = Vec::new();
        for load in &self.settings.loads {
            let both = |value: fn(&FigureRow) -> f64| {
                let of = |side| self.find(side, load).map(value);
                of(Side::Mirage).zip(of(Side::Linux))
            };
            let peer = S::name_of(Side::Linux);
            let unit = S::UNIT;
            if let Some(limit) = S::RATE {
                let rates = both(|row| row.per_second.median);
                goals.push(Goal::at_most(
                    format!("{load}: {unit} a second of {peer}, to ours"),
                    limit,
                    rates.map(|(ours, theirs)| theirs / ours),
                ));
            }
            if let Some(limit) = S::TIME {
                let times = both(|row| row.guest_us.median);
                goals.push(Goal::at_most(
                    format!("{load}: our guest's processor time a {unit}, to that of {peer}"),
                    limit,
                    times.map(|(ours, theirs)| ours / theirs),
                ));
            }
        }
        self.goals = goals;
    }

    fn figure(&self) -> Figure {
        let runs = match self.settings.runs {
            1 => "one run".to_owned(),
            runs => format!("medians of {runs} runs in turns (smallest to largest)"),
        };
        let way = match self.has_tap {
            true => "a tap",
            false => "ports that QEMU forwards",
        };
        let seconds = self.settings.seconds;
        let mut panels = Vec::new();
        for load in &self.settings.loads {
            let (rate, time) = self.panels(load);
            panels.extend([rate, time]);
        }
        panels.push(self.busy());
        Figure {
            title: S::TITLE.into(),
            notes: vec![
                format!(
                    "{runs} of {seconds} s, in one lab of Xen in QEMU, whose TCG emulates the processor for both"
                ),
                format!(
                    "mirage is a PVH guest, Linux a PV guest; asked from the host, through {way}"
                ),
                S::note(&self.settings),
                self.versions.join("; "),
            ],
            legend: Side::ALL
                .map(|side| (S::name_of(side).to_owned(), color(side)))
                .to_vec(),
            panels,
        }
    }
}

impl<S: Subject> Report<S> {
    /// An empty one.
    pub fn new(settings: Settings, machine: Machine, versions: Vec<String>, has_tap: bool) -> Self {
        let definitions = DEFINITIONS.iter().chain(S::DEFINITIONS);
        Self {
            definitions: definitions.map(|&text| text.to_owned()).collect(),
            machine,
            versions,
            settings,
            has_tap,
            idle: Vec::new(),
            loads: Vec::new(),
            figures: Vec::new(),
            goals: Vec::new(),
            subject: PhantomData,
        }
    }

    /// What one side's runs under a load came to.
    pub fn find(&self, side: Side, load: &str) -> Option<&FigureRow> {
        let mut rows = self.figures.iter();
        rows.find(|row| row.side == side && row.load == load)
    }

    fn figure_of(&self, side: Side, load: &str) -> Option<FigureRow> {
        let rows = || {
            let same = move |row: &&LoadRow| row.side == side && row.load == load;
            self.loads.iter().filter(same)
        };
        let idle_of = |run| {
            let mut rows = self.idle.iter();
            let row = rows.find(|row: &&IdleRow| row.side == side && row.run == run)?;
            Some(row.interval)
        };
        let spread = |value: &dyn Fn(&LoadRow) -> f64| Spread::of(rows().map(value));
        Some(FigureRow {
            side,
            load: load.to_owned(),
            per_second: spread(&|row| row.counted.count / row.counted.seconds.max(1e-9))?,
            guest_us: Spread::of(rows().filter_map(|row| Some(row.guest_us(idle_of(row.run)?))))?,
            dom0_us: spread(&|row| row.dom0.cpu_ns as f64 / 1e3 / row.count())?,
            guest_percent: spread(&|row| row.percent(row.guest))?,
            dom0_percent: spread(&|row| row.percent(row.dom0))?,
            idle_percent: Spread::of(
                rows().filter_map(|row| Some(100.0 * idle_of(row.run)?.share())),
            )?,
            errors: rows().map(|row| row.counted.errors).sum(),
        })
    }

    fn bars(&self, load: &str, value: impl Fn(&FigureRow) -> Spread) -> Vec<Bar> {
        let bar = |side| match self.find(side, load) {
            Some(row) => Bar::measured(S::name_of(side), value(row), color(side)),
            None => Bar::without(S::name_of(side), "not measured"),
        };
        Side::ALL.map(bar).to_vec()
    }

    fn panels(&self, load: &str) -> (Panel, Panel) {
        let unit = S::UNIT;
        let peer = self.find(Side::Linux, load);
        let goal = |limit: Option<f64>, value: fn(&FigureRow) -> f64, what: &str| {
            let (limit, row) = limit.zip(peer)?;
            Some((value(row) * limit, format!("goal: {what}")))
        };
        let share = S::TIME.map_or(1.0, |limit| limit);
        let rate = Panel {
            title: format!("{load}: {unit} a second"),
            unit: format!("{unit}/s"),
            bars: self.bars(load, |row| row.per_second),
            goal: goal(
                S::RATE.map(|limit| 1.0 / limit),
                |row| row.per_second.median,
                "the peer's at least",
            ),
            ..Panel::default()
        };
        let time = Panel {
            title: format!("{load}: the guest's CPU time a {unit}, idle subtracted"),
            unit: "us by Xen's accounting".into(),
            bars: self.bars(load, |row| row.guest_us),
            goal: goal(
                S::TIME,
                |row| row.guest_us.median,
                &format!("{share} of the peer's"),
            ),
            ..Panel::default()
        };
        (rate, time)
    }

    /// What limits the rates.
    fn busy(&self) -> Panel {
        let mut bars = Vec::new();
        for load in &self.settings.loads {
            for (who, value) in [
                (
                    "guest",
                    (|row| row.guest_percent) as fn(&FigureRow) -> Spread,
                ),
                ("dom0", |row| row.dom0_percent),
            ] {
                for bar in self.bars(load, value) {
                    let label = format!("{load}, {}: {who}", bar.label);
                    bars.push(Bar { label, ..bar });
                }
            }
        }
        Panel {
            title: "How busy the one virtual processor of the guest and of dom0 is".into(),
            unit: "% of the time".into(),
            bars,
            ..Panel::default()
        }
    }

    /// The summary for a terminal.
    pub fn print(&self) {
        println!("medians, in brackets the smallest and the largest");
        for row in &self.figures {
            println!("{}, {}", S::name_of(row.side), row.load);
            for (name, value) in [
                (format!("{}/s", S::UNIT), row.per_second),
                (format!("guest CPU time a {}, us", S::UNIT), row.guest_us),
                (format!("dom0 CPU time a {}, us", S::UNIT), row.dom0_us),
                ("guest's processor, %".into(), row.guest_percent),
                ("dom0's processor, %".into(), row.dom0_percent),
                ("guest CPU while nobody asks, %".into(), row.idle_percent),
            ] {
                println!("  {name:32} {value:.2}");
            }
            if row.errors > 0 {
                println!("  {:32} {}", "errors", row.errors);
            }
        }
        for goal in &self.goals {
            println!("{goal}");
        }
    }
}

const fn color(side: Side) -> RGBColor {
    match side {
        Side::Mirage => OURS,
        Side::Linux => PEER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A subject of the tests.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Pages;

    impl Subject for Pages {
        const NAME: &'static str = "pages";
        const TITLE: &'static str = "Pages";
        const UNIT: &'static str = "page";
        const DEFINITIONS: &'static [&'static str] = &["page: a page."];
        const RATE: Option<f64> = Some(1.0);
        const TIME: Option<f64> = Some(0.2);

        fn name_of(side: Side) -> &'static str {
            match side {
                Side::Mirage => "ours",
                Side::Linux => "theirs",
            }
        }

        fn note(settings: &Settings) -> String {
            format!("{} loads", settings.loads.len())
        }
    }

    /// Three runs in which a page takes the guests so many microseconds, and each takes 1 % while nobody asks.
    fn report(ours: u64, theirs: u64) -> Report<Pages> {
        let settings = Settings {
            runs: 3,
            seconds: 10,
            idle_seconds: 10,
            memory_mib: 64,
            loads: vec!["many".into()],
            connections: Some(16),
        };
        let mut report = Report::new(settings, Machine::before(), vec!["x 1".into()], true);
        for run in 0..3 {
            for (side, us) in [(Side::Mirage, ours), (Side::Linux, theirs)] {
                let interval = Interval {
                    window_ns: 10 * SECOND,
                    cpu_ns: SECOND / 10,
                };
                report.idle.push(IdleRow {
                    side,
                    run,
                    interval,
                });
                let pages = 10_000;
                report.loads.push(LoadRow {
                    side,
                    load: "many".into(),
                    run,
                    counted: Counted {
                        count: pages as f64,
                        seconds: 10.0,
                        errors: 1,
                    },
                    guest: Interval {
                        window_ns: 20 * SECOND,
                        cpu_ns: SECOND / 5 + pages * (us + run as u64) * 1_000,
                    },
                    dom0: Interval {
                        window_ns: 20 * SECOND,
                        cpu_ns: pages * 300_000,
                    },
                });
            }
        }
        report.conclude();
        report
    }

    #[test]
    fn what_a_guest_takes_while_nobody_asks_is_subtracted() {
        let report = report(49, 299);
        let row = report.find(Side::Mirage, "many").unwrap();
        assert!((row.guest_us.median - 50.0).abs() < 1e-6, "{row:?}");
        assert!((row.guest_us.maximum - 51.0).abs() < 1e-6, "{row:?}");
        assert!((row.per_second.median - 1_000.0).abs() < 1e-6);
        assert!((row.dom0_us.median - 300.0).abs() < 1e-6);
        assert!((row.dom0_percent.median - 30.0).abs() < 1e-6);
        assert!((row.idle_percent.median - 1.0).abs() < 1e-9);
        assert_eq!(row.errors, 3);
    }

    #[test]
    fn goals_compare_the_sides() {
        let reached = |ours, theirs| {
            report(ours, theirs)
                .goals
                .iter()
                .map(|goal| goal.reached)
                .collect::<Vec<_>>()
        };
        // The medians are a microsecond more; the rates are the same.
        assert_eq!(reached(59, 299), [true, true]);
        assert_eq!(reached(60, 299), [true, false]);
        let mut slower = report(59, 299);
        for row in &mut slower.loads {
            if row.side == Side::Mirage {
                row.counted.count -= 1.0;
            }
        }
        slower.conclude();
        assert!(!slower.goals[0].reached);
    }

    #[test]
    fn without_a_peer_no_goal_is_reached() {
        let mut report = report(1, 1_000);
        report.loads.retain(|row| row.side == Side::Mirage);
        report.conclude();
        assert_eq!(report.goals.len(), 2);
        assert!(report.goals.iter().all(|goal| !goal.reached));
        let folder = tempfile::tempdir().unwrap();
        report.write(folder.path()).unwrap();
    }

    #[test]
    fn results_are_written_read_and_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let report = report(49, 299);
        report.write(folder.path()).unwrap();
        assert_eq!(Report::read(folder.path()).unwrap(), report);
        let svg = std::fs::read_to_string(folder.path().join("pages.svg")).unwrap();
        for text in [
            "many: page a second",
            "goal: 0.2 of",
            "PVH",
            "TCG",
            "1 loads",
            "50 (49 to 51)",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(
            report
                .definitions
                .iter()
                .any(|text| text == "page: a page.")
        );
    }
}
