//! The figure.

use bench_common::figure::{Bar, Figure, NEUTRAL, OURS, PEER, Panel, RGBColor, with_spread};
use bench_common::statistics::Spread;
use bench_lab::laboratory::System;

use super::{FigureRow, LEAST_MIB, PUBLISHED, ROUND_TRIPS, Report};

impl Report {
    pub(super) fn drawn(&self) -> Figure {
        let versions = &self.versions;
        let runs = self.settings.runs;
        let runs = match runs {
            1 => "one run".to_owned(),
            _ => format!("medians of {runs} runs in turns (smallest to largest)"),
        };
        Figure {
            title: "From xl create to the first answer".into(),
            notes: vec![
                format!("{runs}, in one lab: {} in QEMU, whose TCG emulates the processor for both", versions.xen),
                "mirage is a PVH guest, Linux a PV guest with NSD and nothing else; outlined: published, on other hardware".into(),
            ],
            legend: [
                (System::Mirage.name(), OURS),
                (System::LinuxNsd.name(), PEER),
                ("toolstack", NEUTRAL),
            ]
            .map(|(name, color)| (name.to_owned(), color))
            .to_vec(),
            panels: [
                self.create_to_answer(),
                self.guest_to_answer(),
                self.entry_to_network_up(),
                self.cpu_to_network(),
                self.xenstore(),
                self.memory(),
            ]
            .into_iter()
            // A quick run searches no memory.
            .filter(|panel| !panel.bars.is_empty())
            .collect(),
        }
    }

    /// A bar for each system and size, and a row for each that could not be.
    fn bars(&self, value: impl Fn(&FigureRow) -> Option<Spread>) -> Vec<Bar> {
        let mut bars: Vec<(u32, System, Bar)> = Vec::new();
        for row in &self.figures {
            let label = label(row.system, row.memory_mib);
            let bar = match value(row) {
                Some(value) => Bar::measured(label, value, color(row.system)),
                None => Bar::without(label, "not told"),
            };
            bars.push((row.memory_mib, row.system, bar));
        }
        for row in &self.skipped {
            let bar = Bar::without(label(row.system, row.memory_mib), "too little memory");
            bars.push((row.memory_mib, row.system, bar));
        }
        bars.sort_by_key(|(memory, system, _)| (*memory, *system));
        bars.into_iter().map(|(_, _, bar)| bar).collect()
    }

    fn create_to_answer(&self) -> Panel {
        let mut bars = self.bars(|row| Some(row.create_to_answer_ms.times(1e-3)));
        for row in &self.figures {
            let label = label(row.system, row.memory_mib);
            let Some(bar) = bars.iter_mut().find(|bar| bar.label == label) else {
                continue;
            };
            // The parts are medians of their own: their sum may differ a little from the median of the sums.
            let total = row.create_to_answer_ms.median / 1e3;
            let toolstack = (row.toolstack_ms.median / 1e3).min(total);
            bar.parts = vec![(toolstack, NEUTRAL), (total - toolstack, color(row.system))];
        }
        Panel {
            title: "xl create to first UDP answer".into(),
            unit: "s".into(),
            bars,
            ..Panel::default()
        }
    }

    fn guest_to_answer(&self) -> Panel {
        let mut bars = self.bars(|row| Some(row.guest_to_answer_ms));
        bars.extend(
            PUBLISHED
                .iter()
                .map(|(system, _, ms)| Bar::published(*system, *ms, "published")),
        );
        Panel {
            title: "The guest's part: from when the toolstack lets it run to its first UDP answer"
                .into(),
            unit: "ms, logarithmic".into(),
            logarithmic: true,
            bars,
            goal: None,
        }
    }

    fn entry_to_network_up(&self) -> Panel {
        Panel {
            title: "Entry to network up, on the guest's own clock (goal: the same within 10 % in all sizes)".into(),
            unit: "ms, logarithmic".into(),
            logarithmic: true,
            bars: self.bars(|row| row.entry_to_network_up_ms),
            goal: None,
        }
    }

    fn cpu_to_network(&self) -> Panel {
        Panel {
            title: "The guest's CPU time to network up, by Xen's accounting".into(),
            unit: "ms, logarithmic".into(),
            logarithmic: true,
            bars: self.bars(|row| Some(row.cpu_to_network_ms)),
            goal: self
                .cpu_goal_ms()
                .map(|goal| (goal, "goal: a hundredth of Linux's".into())),
        }
    }

    fn xenstore(&self) -> Panel {
        let bars = self
            .of(System::Mirage)
            .map(|row| {
                let label = label(row.system, row.memory_mib);
                match row.xenstore_round_trips {
                    Some(value) => Bar::measured(label, value, OURS),
                    None => Bar::without(label, "not told"),
                }
            })
            .collect();
        Panel {
            title: "xenstore round trips to network up".into(),
            unit: "round trips".into(),
            bars,
            goal: Some((ROUND_TRIPS, "goal: at most 15".into())),
            ..Panel::default()
        }
    }

    fn memory(&self) -> Panel {
        let bars = self
            .searches
            .iter()
            .map(|row| {
                let value = Spread::of([f64::from(row.least_mib)]);
                let label = row.system.name();
                match value {
                    Some(value) => Bar {
                        text: format!("{} MiB, in steps of {}", with_spread(value), row.step_mib),
                        ..Bar::measured(label, value, color(row.system))
                    },
                    None => Bar::without(label, "none"),
                }
            })
            .collect();
        Panel {
            title: "Least memory that works".into(),
            unit: "MiB, logarithmic".into(),
            logarithmic: true,
            bars,
            goal: Some((LEAST_MIB, "goal: 4 MiB".into())),
        }
    }
}

fn label(system: System, memory: u32) -> String {
    format!("{}, {memory} MiB", system.name())
}

const fn color(system: System) -> RGBColor {
    match system {
        System::Mirage => OURS,
        System::LinuxNsd => PEER,
    }
}
