//! The figure.

use bench_common::figure::{Bar, Figure, NEUTRAL, OURS, PEER, Panel, RGBColor, number};
use bench_common::statistics::Spread;
use bench_lab::laboratory::System;

use super::{FigureRow, LoadKind, Report, SHARE};

/// The share of a steady load that counts as all of it: a run has a beginning and an end.
const KEPT: f64 = 0.98;

impl Report {
    pub(super) fn drawn(&self) -> Figure {
        let settings = &self.settings;
        let runs = match settings.runs {
            1 => "one run".to_owned(),
            runs => format!("medians of {runs} runs in turns (smallest to largest)"),
        };
        let rate = settings.steady.queries_per_second.unwrap_or(0);
        let way = if self.has_tap {
            "a tap"
        } else {
            "ports that QEMU forwards"
        };
        let steady = format!("at {rate} queries/s for {} s", settings.steady.seconds);
        let saturation = format!(
            "at saturation ({} queries outstanding, {} s)",
            settings.saturation.outstanding, settings.saturation.seconds
        );
        Figure {
            title: "Processor time a DNS query".into(),
            notes: vec![
                format!(
                    "{runs}, in one lab: {} in QEMU, whose TCG emulates the processor for both",
                    self.versions.xen
                ),
                format!(
                    "mirage is a PVH guest; Linux a PV guest with NSD {}; asked by dnsperf on the host, through {way}",
                    self.versions.nsd
                ),
            ],
            legend: [
                (System::Mirage.name(), OURS),
                (System::LinuxNsd.name(), PEER),
                ("the client alone", NEUTRAL),
            ]
            .map(|(name, color)| (name.to_owned(), color))
            .to_vec(),
            panels: vec![
                self.cpu(LoadKind::Steady, &steady),
                self.cpu(LoadKind::Saturation, &saturation),
                self.throughput(&saturation),
                self.busy(&saturation),
                self.dom0(&steady),
                self.lost(&steady, &saturation),
            ],
        }
    }

    fn bars(&self, kind: LoadKind, value: impl Fn(&FigureRow) -> Spread) -> Vec<Bar> {
        [System::Mirage, System::LinuxNsd]
            .into_iter()
            .map(|system| match self.find(system, kind) {
                Some(row) => Bar::measured(self.label(row), value(row), color(system)),
                None => Bar::without(system.name(), "not measured"),
            })
            .collect()
    }

    /// The system, and how many queries it answered where it did not keep up with a steady load.
    fn label(&self, row: &FigureRow) -> String {
        let name = row.system.name();
        let answered = row.queries_per_second.median;
        match self.settings.steady.queries_per_second {
            Some(rate) if row.kind == LoadKind::Steady && answered < f64::from(rate) * KEPT => {
                format!("{name}, {}/s answered", number(answered))
            }
            _ => name.to_owned(),
        }
    }

    fn cpu(&self, kind: LoadKind, load: &str) -> Panel {
        Panel {
            title: format!("The guest's CPU time a query, idle subtracted, {load}"),
            unit: "us by Xen's accounting, logarithmic".into(),
            logarithmic: true,
            bars: self.bars(kind, |row| row.cpu_us_per_query),
            goal: self.find(System::LinuxNsd, kind).map(|row| {
                let goal = row.cpu_us_per_query.median * SHARE;
                (goal, "goal: a tenth of NSD's".into())
            }),
        }
    }

    fn throughput(&self, load: &str) -> Panel {
        let mut bars = self.bars(LoadKind::Saturation, |row| row.queries_per_second);
        if let Some(client) = self.client() {
            bars.push(Bar::measured(
                "the client alone, against this host",
                client,
                NEUTRAL,
            ));
        }
        Panel {
            title: format!("Answers a second {load}"),
            unit: "queries/s, logarithmic".into(),
            logarithmic: true,
            bars,
            goal: None,
        }
    }

    /// What limits the answers a second.
    fn busy(&self, load: &str) -> Panel {
        let mut bars = Vec::new();
        for (who, value) in [
            (
                "guest",
                (|row| row.guest_percent) as fn(&FigureRow) -> Spread,
            ),
            ("dom0", |row| row.dom0_percent),
        ] {
            for bar in self.bars(LoadKind::Saturation, value) {
                let label = format!("{}: {who}", bar.label);
                bars.push(Bar { label, ..bar });
            }
        }
        Panel {
            title: format!("How busy the one virtual processor of the guest and of dom0 is {load}"),
            unit: "% of the time".into(),
            bars,
            ..Panel::default()
        }
    }

    fn dom0(&self, load: &str) -> Panel {
        Panel {
            title: format!("dom0's CPU time a query (netback, bridge, virtio), {load}"),
            unit: "us by Xen's accounting".into(),
            bars: self.bars(LoadKind::Steady, |row| row.dom0_cpu_us_per_query),
            ..Panel::default()
        }
    }

    fn lost(&self, steady: &str, saturation: &str) -> Panel {
        let mut bars = Vec::new();
        for (kind, load) in [
            (LoadKind::Steady, steady),
            (LoadKind::Saturation, saturation),
        ] {
            let load = load.split(" (").next().unwrap_or(load);
            for bar in self.bars(kind, |row| row.lost_percent) {
                let label = format!("{}, {load}", bar.label);
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
}

const fn color(system: System) -> RGBColor {
    match system {
        System::Mirage => OURS,
        System::LinuxNsd => PEER,
    }
}
