//! The figure.

use bench_common::figure::{Bar, Figure, NEUTRAL, OURS, PEER, PUBLISHED, Panel, RGBColor, number};
use bench_common::statistics::Spread;

use super::{FigureRow, Kind, Report, SHARE};
use crate::generators::Generator;
use crate::servers::Peer;

/// The share of a steady load that counts as all of it: a run has a beginning and an end.
const KEPT: f64 = 0.98;

impl Report {
    pub(super) fn drawn(&self) -> Figure {
        let settings = &self.settings;
        let runs = match settings.runs {
            1 => "one run".to_owned(),
            runs => format!("medians of {runs} runs in turns (smallest to largest)"),
        };
        let mut panels = Vec::new();
        for &rate in &settings.rates {
            panels.push(self.busy(rate));
            panels.push(self.process(rate));
        }
        for &names in &settings.sizes {
            for generator in [Generator::Dnsperf, Generator::Kxdpgun] {
                panels.push(self.saturation(names, generator));
            }
        }
        panels.push(self.lost());
        panels.push(self.latency());
        Figure {
            title: "DNS over a veth pair".into(),
            notes: vec![
                format!(
                    "{runs}, all in one run on {} processors: {}",
                    self.machine.processors, self.machine.processor
                ),
                format!(
                    "one server process each, zone of {} names where no other is said; {}, {}",
                    number(settings.steady_size as f64),
                    self.versions.nsd,
                    self.versions.knot
                ),
                "outlines: the curves of the paper's Figure 10 (ASPLOS 2013), other hardware"
                    .into(),
            ],
            legend: [
                ("ours", OURS),
                ("peers", PEER),
                ("null responder", NEUTRAL),
                ("published, other hardware", PUBLISHED),
            ]
            .map(|(name, color)| (name.to_owned(), color))
            .to_vec(),
            panels,
        }
    }

    fn bars(
        &self,
        names: usize,
        kind: Kind,
        value: impl Fn(&FigureRow) -> Option<Spread>,
    ) -> Vec<Bar> {
        let peers = self.settings.peers.iter();
        peers
            .map(|&peer| {
                let row = self.find(names, kind, peer);
                match row.and_then(|row| Some((row, value(row)?))) {
                    Some((row, value)) => Bar::measured(label(row), value, color(peer)),
                    None => Bar::without(peer.name(), "not measured"),
                }
            })
            .collect()
    }

    fn busy(&self, rate: u32) -> Panel {
        let kind = Kind::Steady { rate };
        let names = self.settings.steady_size;
        let mut bars = self.bars(names, kind, |row| row.busy_us_less_null);
        // Nothing is left of the null responder itself.
        bars.retain(|bar| !bar.label.starts_with(Peer::Null.name()));
        let nsd = self.find(names, kind, Peer::Nsd);
        let goal = nsd.and_then(|row| row.busy_us_less_null);
        Panel {
            title: format!("The machine's busy time a query, less the null responder's, at {kind}"),
            unit: "us of all processors".into(),
            bars,
            goal: goal.map(|spread| (spread.median * SHARE, "goal: half of NSD's".into())),
            ..Panel::default()
        }
    }

    fn process(&self, rate: u32) -> Panel {
        let kind = Kind::Steady { rate };
        Panel {
            title: format!("The server's own CPU time a query, at {kind}"),
            unit: "us".into(),
            bars: self.bars(self.settings.steady_size, kind, |row| {
                Some(row.server_us_per_query)
            }),
            ..Panel::default()
        }
    }

    fn saturation(&self, names: usize, generator: Generator) -> Panel {
        let kind = Kind::Saturation { generator };
        let mut bars = self.bars(names, kind, |row| Some(row.queries_per_second));
        for curve in &self.published {
            if (curve.names.0..=curve.names.1).contains(&names) {
                let value = curve.queries_per_second;
                bars.push(Bar::published(
                    curve.published.system.as_ref(),
                    value,
                    "published",
                ));
            }
        }
        let nsd = self.find(names, kind, Peer::Nsd);
        Panel {
            title: format!(
                "Answers a second, {kind}, zone of {} names",
                number(names as f64)
            ),
            unit: "queries/s".into(),
            bars,
            goal: nsd.map(|row| (row.queries_per_second.median, "goal: more than NSD".into())),
            ..Panel::default()
        }
    }

    fn lost(&self) -> Panel {
        let mut bars = Vec::new();
        for &rate in &self.settings.rates {
            let kind = Kind::Steady { rate };
            for bar in self.bars(self.settings.steady_size, kind, |row| {
                Some(row.lost_percent)
            }) {
                let label = format!("{}, {}/s", bar.label, number(rate.into()));
                bars.push(Bar { label, ..bar });
            }
        }
        Panel {
            title: "Queries without an answer".into(),
            unit: "% of those sent".into(),
            bars,
            ..Panel::default()
        }
    }

    fn latency(&self) -> Panel {
        let mut bars = Vec::new();
        for &rate in &self.settings.rates {
            let kind = Kind::Steady { rate };
            for bar in self.bars(self.settings.steady_size, kind, |row| {
                row.latency_average_us
            }) {
                let label = format!("{}, {}/s", bar.label, number(rate.into()));
                bars.push(Bar { label, ..bar });
            }
        }
        Panel {
            title: "From a query to its answer, on average".into(),
            unit: "us, as dnsperf tells it".into(),
            bars,
            ..Panel::default()
        }
    }
}

/// The peer, and how many queries it answered where it did not keep up with a steady load.
fn label(row: &FigureRow) -> String {
    let answered = row.queries_per_second.median;
    match row.kind {
        Kind::Steady { rate } if answered < f64::from(rate) * KEPT => {
            format!("{}, {}/s answered", row.peer.name(), number(answered))
        }
        _ => row.peer.name().to_owned(),
    }
}

const fn color(peer: Peer) -> RGBColor {
    match peer {
        Peer::Null => NEUTRAL,
        Peer::Xdp | Peer::XdpMemo | Peer::Tap | Peer::Sockets => OURS,
        Peer::Nsd | Peer::NsdOffload | Peer::Knot => PEER,
    }
}
