//! The results: as JSON, as text.

use std::borrow::Cow;
use std::fmt;

use bench_common::figure::{Figure, number};
use bench_common::machine::Machine;
use bench_common::report::{Error, Goal, Published, Results};
use bench_common::statistics::Spread;
use serde::{Deserialize, Serialize};

use crate::generators::{Generator, Load, Outcome};
use crate::servers::Peer;

mod figure;
#[cfg(test)]
mod tests;

/// What our busy time a query, less the null responder's, may be of NSD's.
pub(crate) const SHARE: f64 = 0.5;

/// What the host may take away of all processors' time while a load is measured: more, and the load is made again.
const MOST_STOLEN: f64 = 0.01;

/// What the numbers mean.
pub(crate) const DEFINITIONS: [&str; 8] = [
    "busy time a query: time in which any processor of the machine was not idle (/proc/stat, stolen time apart) in a window within the \
     load, divided by the queries answered in it; client, kernel and server together",
    "less the null responder's: the same minus that of the null responder in the same round at the same load, whose work is the \
     client's, the wire's and AF_XDP's",
    "server's and client's CPU a query: what the scheduler says that their processes ran (schedstat), which is also what the kernel did \
     on their time; the two together are nearly all of the busy time, and hardly change with other load",
    "saturation by dnsperf: as many queries as are answered, 100 outstanding; by kxdpgun: the most answers a second of the offered \
     rates",
    "without an answer: sent and not answered, in percent; at saturation by kxdpgun that is what was offered too much",
    "checksums: every UDP checksum is computed and verified, on all pairs, but for the row that says otherwise, where Linux leaves \
     them out between the ends of a pair",
    "stolen time: what the host took away of this machine's processors; a load is made again, up to four times, while that is more \
     than a hundredth of their time; rounds in which it is so all the same are in the loads and not in the figures",
    "published curves: of the paper's Figure 10, on other hardware; the plateaus that its text tells",
];

/// All that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) definitions: Vec<String>,
    pub(crate) machine: Machine,
    /// As it was for the steady loads, where they were measured again by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) steady_machine: Option<Machine>,
    pub(crate) versions: Versions,
    pub(crate) settings: Settings,
    pub(crate) published: Vec<Curve>,
    /// Every run of a generator.
    pub(crate) loads: Vec<LoadRow>,
    /// What they come to.
    pub(crate) figures: Vec<FigureRow>,
    pub(crate) goals: Vec<Goal>,
}

/// What was measured, in versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Versions {
    pub(crate) mirage: String,
    pub(crate) rustc: String,
    pub(crate) nsd: String,
    pub(crate) knot: String,
    pub(crate) dnsperf: String,
    pub(crate) kxdpgun: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) runs: usize,
    /// Names in the zone.
    pub(crate) sizes: Vec<usize>,
    pub(crate) steady_size: usize,
    /// Queries a second of the steady loads.
    pub(crate) rates: Vec<u32>,
    /// Queries a second that kxdpgun offers to saturate.
    pub(crate) offers: Vec<u32>,
    pub(crate) steady_seconds: u32,
    pub(crate) saturation_seconds: u32,
    pub(crate) outstanding: u32,
    /// In the generators' files.
    pub(crate) queries: usize,
    pub(crate) seed: u64,
    pub(crate) peers: Vec<Peer>,
}

/// A curve that was published: answers a second over names in the zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Curve {
    pub(crate) published: Published,
    /// The smallest and the largest zone that it was measured with.
    pub(crate) names: (usize, usize),
    /// Answers a second on its plateau.
    pub(crate) queries_per_second: f64,
}

/// The curves of MirageOS's paper.
pub(crate) fn published() -> Vec<Curve> {
    [
        ("BIND 9, Linux", "55,000 queries/s", 55_000.0),
        ("NSD, Linux", "70,000 queries/s", 70_000.0),
        ("MirageOS, no memo", "40,000 queries/s", 40_000.0),
        ("MirageOS, memo", "75,000 to 80,000 queries/s", 77_500.0),
    ]
    .map(|(system, figure, queries_per_second)| Curve {
        published: Published {
            remark: Cow::Borrowed(
                "published, other hardware: Figure 10, its plateau as the text tells it",
            ),
            ..Published::of_paper(system, figure)
        },
        names: (100, 10_000),
        queries_per_second,
    })
    .to_vec()
}

/// One run of a generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoadRow {
    pub(crate) peer: Peer,
    /// Names in the zone.
    pub(crate) names: usize,
    pub(crate) run: usize,
    pub(crate) load: Load,
    pub(crate) outcome: Outcome,
    /// The window in which processor time was measured.
    pub(crate) window_seconds: f64,
    /// All processors in it.
    pub(crate) busy_seconds: f64,
    /// What the host took away in it.
    pub(crate) stolen_seconds: f64,
    /// What the server's processes ran in it.
    pub(crate) server_seconds: f64,
    /// What the client's ran in it.
    pub(crate) client_seconds: f64,
    /// How often it was made before, in vain, as the host took too much away.
    #[serde(default)]
    pub(crate) repeated: u32,
}

impl LoadRow {
    /// Whether the host took away so much that the machine's busy time tells more of the host than of the server.
    pub(crate) fn is_disturbed(&self, processors: usize) -> bool {
        self.stolen_seconds > MOST_STOLEN * self.window_seconds * processors as f64
    }

    fn is_steady(&self) -> bool {
        matches!(self.kind(), Kind::Steady { .. })
    }

    fn kind(&self) -> Kind {
        match (self.load.generator, self.load.queries_per_second) {
            (Generator::Dnsperf, Some(rate)) => Kind::Steady { rate },
            (generator, _) => Kind::Saturation { generator },
        }
    }

    fn us_per_query(&self, seconds: f64) -> f64 {
        seconds * 1e6 / (self.outcome.queries_per_second * self.window_seconds).max(1.0)
    }

    fn busy_us(&self) -> f64 {
        self.us_per_query(self.busy_seconds)
    }

    fn server_us(&self) -> f64 {
        self.us_per_query(self.server_seconds)
    }

    fn client_us(&self) -> f64 {
        self.us_per_query(self.client_seconds)
    }

    fn lost_percent(&self) -> f64 {
        let lost = self.outcome.sent.saturating_sub(self.outcome.answered);
        100.0 * lost as f64 / (self.outcome.sent as f64).max(1.0)
    }
}

impl fmt::Display for LoadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = self.load;
        write!(f, "{}, {}", self.peer.name(), load.generator)?;
        if let Some(rate) = load.queries_per_second {
            write!(f, " at {}/s", number(rate.into()))?;
        }
        write!(
            f,
            ": {} answers/s, busy {:.2} us, server {:.2} us, client {:.2} us, lost {:.2} %",
            number(self.outcome.queries_per_second.round()),
            self.busy_us(),
            self.server_us(),
            self.client_us(),
            self.lost_percent()
        )
    }
}

/// What a load is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Kind {
    /// So many queries a second, by dnsperf.
    Steady {
        /// How many.
        rate: u32,
    },
    /// As many as are answered.
    Saturation {
        /// Who asks.
        generator: Generator,
    },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steady { rate } => write!(f, "{} queries/s", number(f64::from(*rate))),
            Self::Saturation { generator } => write!(f, "saturation by {generator}"),
        }
    }
}

/// What the runs of one peer at one load come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FigureRow {
    pub(crate) peer: Peer,
    pub(crate) names: usize,
    pub(crate) kind: Kind,
    pub(crate) queries_per_second: Spread,
    pub(crate) busy_us_per_query: Spread,
    /// The same, less the null responder's of the same round; nothing where that was not measured.
    pub(crate) busy_us_less_null: Option<Spread>,
    pub(crate) server_us_per_query: Spread,
    pub(crate) client_us_per_query: Spread,
    pub(crate) lost_percent: Spread,
    pub(crate) latency_average_us: Option<Spread>,
    pub(crate) latency_maximum_us: Option<Spread>,
}

impl Results for Report {
    const NAME: &'static str = "dns-wire";

    fn conclude(&mut self) {
        let mut keys: Vec<(usize, Kind, Peer)> = self
            .loads
            .iter()
            .map(|row| (row.names, row.kind(), row.peer))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        self.figures = keys
            .into_iter()
            .filter_map(|(names, kind, peer)| self.figure_of(names, kind, peer))
            .collect();
        self.goals = self.concluded_goals();
    }

    fn figure(&self) -> Figure {
        self.drawn()
    }
}

impl Report {
    /// The same with the steady loads of another run, of the same programs.
    pub(crate) fn with_steady_of(mut self, other: Self) -> Result<Self, Error> {
        if self.versions != other.versions {
            return Err(format!(
                "the results that are there are of other versions: {:?}, now {:?}",
                self.versions, other.versions
            )
            .into());
        }
        self.loads.retain(|row| !row.is_steady());
        self.loads
            .extend(other.loads.into_iter().filter(LoadRow::is_steady));
        self.steady_machine = Some(other.machine);
        Ok(self)
    }

    /// The runs of one peer at one load; of those of kxdpgun in a round the one that was answered most. Rounds in which the host
    /// disturbed one of them are left out, unless it disturbed all.
    fn rows(&self, names: usize, kind: Kind, peer: Peer) -> Vec<&LoadRow> {
        let all = || {
            let rows = self.loads.iter();
            rows.filter(move |row| (row.names, row.kind(), row.peer) == (names, kind, peer))
        };
        let processors = self.machine.processors;
        let is_disturbed = |run| all().any(|row| row.run == run && row.is_disturbed(processors));
        let keeps_all = all().all(|row| is_disturbed(row.run));
        let mut best: Vec<&LoadRow> = Vec::new();
        for row in all().filter(|row| keeps_all || !is_disturbed(row.run)) {
            match best.iter_mut().find(|other| other.run == row.run) {
                Some(other) => {
                    if other.outcome.queries_per_second < row.outcome.queries_per_second {
                        *other = row;
                    }
                }
                None => best.push(row),
            }
        }
        best
    }

    fn figure_of(&self, names: usize, kind: Kind, peer: Peer) -> Option<FigureRow> {
        let rows = self.rows(names, kind, peer);
        let null = self.rows(names, kind, Peer::Null);
        let null_of = |run| null.iter().find(|row| row.run == run);
        let spread =
            |value: &dyn Fn(&LoadRow) -> f64| Spread::of(rows.iter().map(|row| value(row)));
        Some(FigureRow {
            peer,
            names,
            kind,
            queries_per_second: spread(&|row| row.outcome.queries_per_second)?,
            busy_us_per_query: spread(&LoadRow::busy_us)?,
            busy_us_less_null: Spread::of(
                rows.iter()
                    .filter_map(|row| Some(row.busy_us() - null_of(row.run)?.busy_us())),
            ),
            server_us_per_query: spread(&LoadRow::server_us)?,
            client_us_per_query: spread(&LoadRow::client_us)?,
            lost_percent: spread(&LoadRow::lost_percent)?,
            latency_average_us: Spread::of(
                rows.iter().filter_map(|row| row.outcome.latency_average_us),
            ),
            latency_maximum_us: Spread::of(
                rows.iter().filter_map(|row| row.outcome.latency_maximum_us),
            ),
        })
    }

    fn find(&self, names: usize, kind: Kind, peer: Peer) -> Option<&FigureRow> {
        self.figures
            .iter()
            .find(|row| (row.names, row.kind, row.peer) == (names, kind, peer))
    }

    fn concluded_goals(&self) -> Vec<Goal> {
        let settings = &self.settings;
        let mut goals = Vec::new();
        for &rate in &settings.rates {
            let less = |peer| {
                let row = self.find(settings.steady_size, Kind::Steady { rate }, peer)?;
                Some(row.busy_us_less_null?.median)
            };
            let ratio = less(Peer::Xdp)
                .zip(less(Peer::Nsd))
                .and_then(|(ours, theirs)| (theirs > 0.0).then_some(ours / theirs));
            let goal = format!(
                "busy time a query less the null responder's, ours by AF_XDP as a share of NSD's, {} queries/s",
                number(rate.into())
            );
            goals.push(Goal::at_most(goal, SHARE, ratio));
        }
        for generator in [Generator::Dnsperf, Generator::Kxdpgun] {
            for &names in &settings.sizes {
                let kind = Kind::Saturation { generator };
                let rate = |peer| Some(self.find(names, kind, peer)?.queries_per_second.median);
                let ratio = rate(Peer::Nsd)
                    .zip(rate(Peer::Xdp))
                    .map(|(theirs, ours)| theirs / ours);
                let goal = format!(
                    "answers a second at {kind}, NSD's as a share of ours by AF_XDP, {} names",
                    number(names as f64)
                );
                goals.push(Goal::at_most(goal, 1.0, ratio));
            }
        }
        goals
    }

    /// The summary for a terminal.
    pub(crate) fn print(&self) {
        println!("medians, in brackets the smallest and the largest");
        let mut last = None;
        for row in &self.figures {
            if last != Some((row.names, row.kind)) {
                last = Some((row.names, row.kind));
                println!("zone of {} names, {}", number(row.names as f64), row.kind);
            }
            let less = row.busy_us_less_null.map_or_else(String::new, |less| {
                format!(", {less:.2} less the null responder's")
            });
            println!(
                "  {:28} {:.0} answers/s; busy {:.2} us a query{less}; server's CPU {:.2} us, client's {:.2} us; lost {:.2} %",
                row.peer.name(),
                row.queries_per_second,
                row.busy_us_per_query,
                row.server_us_per_query,
                row.client_us_per_query,
                row.lost_percent
            );
        }
        for goal in &self.goals {
            println!("{goal}");
        }
    }
}
