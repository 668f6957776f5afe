//! The results: as JSON, as figures, as text.

use std::borrow::Cow;
use std::error::Error;
use std::path::Path;

use bench_common::machine::Machine;
use bench_common::report::{self, Published};
use bench_common::statistics::median;
use plotters::coord::Shift;
use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use crate::engines::{Creation, Engine};
use crate::memory::Pages;
use crate::statistics::Lateness;

/// All that was measured.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    /// What the numbers mean.
    pub(crate) definitions: Vec<Cow<'static, str>>,
    pub(crate) machine: Machine,
    pub(crate) versions: Versions,
    pub(crate) settings: Settings,
    pub(crate) creations: Vec<CreationRow>,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) wakes: Vec<WakeRow>,
    pub(crate) virtual_time: Option<VirtualRow>,
    pub(crate) published: Vec<Published>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Versions {
    pub(crate) bench_threads: Cow<'static, str>,
    pub(crate) tokio: String,
    /// Of the compiler that is called `rustc` here; empty where there is none.
    pub(crate) rustc: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) sizes: Vec<usize>,
    pub(crate) runs: usize,
    /// Of the sleeps whose wake-ups are measured. Those that are only made have a fixed one.
    pub(crate) seed: u64,
    /// The end of each of our waits that is spent on the clock, in the measurement of wake-ups.
    pub(crate) spin_ns: u64,
    pub(crate) wakes: usize,
    /// Written to beforehand for each task where pages are touched.
    pub(crate) touched_bytes_per_task: [(Engine, usize); 3],
    /// The kernel's setting for large pages; ours are asked for by madvise(2), the peer's allocator asks for none. Memory that was touched before was
    /// asked to be in large ones for each engine.
    pub(crate) large_pages: String,
}

/// One process that made tasks.
#[derive(Serialize, Deserialize)]
pub(crate) struct CreationRow {
    pub(crate) engine: Engine,
    pub(crate) tasks: usize,
    pub(crate) pages: Pages,
    pub(crate) run: usize,
    #[serde(flatten)]
    pub(crate) creation: Creation,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Skipped {
    pub(crate) engine: Engine,
    pub(crate) tasks: usize,
    pub(crate) reason: String,
}

/// One process whose tasks woke.
#[derive(Serialize, Deserialize)]
pub(crate) struct WakeRow {
    pub(crate) engine: Engine,
    pub(crate) run: usize,
    pub(crate) seed: u64,
    pub(crate) lateness: Lateness,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct VirtualRow {
    pub(crate) tasks: usize,
    pub(crate) max_late_ns: u64,
}

pub(crate) const DEFINITIONS: [&str; 8] = [
    "spawned_ns: from the first to the last call of spawn, tasks not yet run (mirage_start: run up to their sleep).",
    "asleep_ns: from the first call of spawn until every task was polled once and its timer is registered.",
    "asleep_cpu_ns: the same in processor time, which other load on the machine disturbs less.",
    "heap_bytes: what malloc handed out meanwhile; resident_bytes: by how much the process grew in memory.",
    "pages touched: the heap's memory was written to before; untouched: the kernel supplies it inside the timed part.",
    "Each run is a process of its own; engines take turns. Join handles are dropped at once.",
    "lateness: the clock read by the woken task, minus its deadline; each sleeps 1 + U(0, 2) s from its spawn.",
    "clock_loop: the same deadlines, sorted, in a loop that only reads the clock: what the machine allows.",
];

/// What MirageOS's paper tells.
pub(crate) const fn published() -> [Published; 2] {
    [
        Published::of_paper("MirageOS", "82 ns a thread"),
        Published::of_paper("MirageOS", "99.7 % of wake-ups within 56 us"),
    ]
}

const MIRAGEOS_NS: f64 = 82.0;

impl Report {
    /// Median nanoseconds a task until asleep; `None` where nothing was measured.
    fn ns_per_task(&self, engine: Engine, tasks: usize, pages: Pages) -> Option<f64> {
        self.per_task(engine, tasks, pages, |creation| creation.asleep_ns)
    }

    fn per_task(
        &self,
        engine: Engine,
        tasks: usize,
        pages: Pages,
        nanos: impl Fn(&Creation) -> u64,
    ) -> Option<f64> {
        let runs: Vec<f64> = self
            .creations
            .iter()
            .filter(|row| row.engine == engine && row.tasks == tasks && row.pages == pages)
            .map(|row| nanos(&row.creation) as f64 / tasks.max(1) as f64)
            .collect();
        (!runs.is_empty()).then(|| median(runs))
    }

    fn sizes(&self) -> Vec<usize> {
        let mut sizes: Vec<usize> = self.creations.iter().map(|row| row.tasks).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// What [`write`](Self::write) wrote.
    pub(crate) fn read(directory: &Path) -> Result<Self, Box<dyn Error>> {
        report::read(&directory.join("threads.json"))
    }

    /// Writes `threads.json`, `threads-create.svg` and `threads-wake.svg`.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), Box<dyn Error>> {
        report::write(&directory.join("threads.json"), self)?;
        self.draw(directory)
    }

    /// Writes the figures alone.
    pub(crate) fn draw(&self, directory: &Path) -> Result<(), Box<dyn Error>> {
        if !self.creations.is_empty() {
            let path = directory.join("threads-create.svg");
            self.draw_creation(SVGBackend::new(&path, (900, 560)).into_drawing_area())?;
        }
        if !self.wakes.is_empty() {
            let path = directory.join("threads-wake.svg");
            self.draw_wakes(SVGBackend::new(&path, (900, 560)).into_drawing_area())?;
        }
        Ok(())
    }

    fn draw_creation(
        &self,
        area: DrawingArea<SVGBackend<'_>, Shift>,
    ) -> Result<(), Box<dyn Error>> {
        type Line = (Engine, Pages, Vec<(f64, f64)>);
        let lines: Vec<Line> = CREATORS
            .iter()
            .flat_map(|&engine| PAGES.map(|pages| (engine, pages)))
            .map(|(engine, pages)| {
                let points = self.sizes().into_iter().filter_map(|tasks| {
                    let ns = self.ns_per_task(engine, tasks, pages)?;
                    Some((tasks as f64 / 1e6, ns))
                });
                (engine, pages, points.collect())
            })
            .collect();
        let points = || lines.iter().flat_map(|(_, _, points)| points);
        let right = points().map(|point| point.0).fold(0.0, f64::max);
        let top = points().map(|point| point.1).fold(MIRAGEOS_NS, f64::max);
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("Making sleeping tasks", ("sans-serif", 22))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..right * 1.05, (10.0..top * 1.5).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("tasks, millions")
            .y_desc("ns a task, until asleep")
            .draw()?;
        for (engine, pages, points) in &lines {
            let color = color(*engine);
            let style = match pages {
                Pages::Touched => color.stroke_width(3),
                Pages::Untouched => color.mix(0.45).stroke_width(1),
            };
            let label = match pages {
                Pages::Touched => format!("{}, memory touched", name(*engine)),
                Pages::Untouched => format!("{}, memory untouched", name(*engine)),
            };
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style).point_size(3))?
                .label(label)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
        }
        let style = BLACK.stroke_width(1);
        chart
            .draw_series(LineSeries::new(
                [(0.0, MIRAGEOS_NS), (right * 1.05, MIRAGEOS_NS)],
                style,
            ))?
            .label("MirageOS, 82 ns (published, other hardware)")
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
        chart
            .configure_series_labels()
            // Between ours and the peer's.
            .position(SeriesLabelPosition::Coordinate(515, 112))
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
        Ok(())
    }

    fn draw_wakes(&self, area: DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Box<dyn Error>> {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("How late sleeping tasks wake", ("sans-serif", 22))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d((0.01..1e5).log_scale(), 0.0..100.0)?;
        chart
            .configure_mesh()
            .x_desc("at most so many us late")
            .y_desc("% of tasks")
            .draw()?;
        for engine in WAKERS {
            let style = color(engine).stroke_width(2);
            let rows = self.wakes.iter().filter(|row| row.engine == engine);
            for (run, row) in rows.enumerate() {
                let points = row
                    .lateness
                    .quantiles
                    .iter()
                    .map(|&(share, late)| ((late as f64 / 1e3).max(0.01), share * 100.0));
                let series = chart.draw_series(LineSeries::new(points, style))?;
                if run == 0 {
                    series
                        .label(name(engine))
                        .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
                }
            }
        }
        chart
            .draw_series([Cross::new((56.0, 99.7), 6, BLACK.stroke_width(2))])?
            .label("MirageOS, 99.7 % within 56 us (published, other hardware)")
            .legend(|(x, y)| Cross::new((x + 12, y), 5, BLACK.stroke_width(2)));
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
        Ok(())
    }

    /// The summary for a terminal.
    pub(crate) fn print(&self) {
        println!(
            "ns a task until asleep (median), bytes a task in memory where pages were untouched"
        );
        for tasks in self.sizes() {
            for pages in PAGES {
                let peer = self.ns_per_task(Engine::Tokio, tasks, pages);
                for engine in CREATORS {
                    let Some(ns) = self.ns_per_task(engine, tasks, pages) else {
                        continue;
                    };
                    let cpu = self
                        .per_task(engine, tasks, pages, |creation| creation.asleep_cpu_ns)
                        .unwrap_or(0.0);
                    let ratio =
                        peer.map_or(String::new(), |peer| format!("{:6.2} of tokio", ns / peer));
                    let bytes = self
                        .creations
                        .iter()
                        .find(|row| {
                            row.engine == engine
                                && row.tasks == tasks
                                && row.pages == Pages::Untouched
                        })
                        .map_or(0, |row| row.creation.resident_bytes / tasks.max(1));
                    println!(
                        "{tasks:>9} {pages:<9?} {:<24} {ns:8.1} ns (processor time {cpu:8.1} ns) {bytes:5} B {ratio}",
                        name(engine)
                    );
                }
            }
        }
        for skipped in &self.skipped {
            println!(
                "{:>9} {}: skipped, {}",
                skipped.tasks,
                name(skipped.engine),
                skipped.reason
            );
        }
        if !self.wakes.is_empty() {
            println!("lateness of wake-ups, us");
        }
        for row in &self.wakes {
            let us = |share| row.lateness.quantile(share) as f64 / 1e3;
            println!(
                "{:<24} 50 % {:9.2}  99 % {:9.2}  99.7 % {:9.2}  99.9 % {:9.2}  within 10 us {:.2} %, 56 us {:.2} %",
                name(row.engine),
                us(0.5),
                us(0.99),
                us(0.997),
                us(0.999),
                row.lateness.percent_within_10_us,
                row.lateness.percent_within_56_us,
            );
        }
        if let Some(row) = &self.virtual_time {
            println!(
                "virtual time: {} tasks, at most {} ns late",
                row.tasks, row.max_late_ns
            );
        }
        for row in &self.published {
            println!("{}: {} ({})", row.system, row.figure, row.remark);
        }
    }
}

pub(crate) const CREATORS: [Engine; 3] = [Engine::Mirage, Engine::MirageStart, Engine::Tokio];
pub(crate) const WAKERS: [Engine; 3] = [Engine::ClockLoop, Engine::Mirage, Engine::Tokio];
pub(crate) const PAGES: [Pages; 2] = [Pages::Touched, Pages::Untouched];

pub(crate) fn name(engine: Engine) -> &'static str {
    match engine {
        Engine::Mirage => "mirage, spawn",
        Engine::MirageStart => "mirage, start",
        Engine::Tokio => "tokio LocalSet",
        Engine::ClockLoop => "loop that reads the clock",
    }
}

fn color(engine: Engine) -> RGBColor {
    match engine {
        Engine::Mirage => RGBColor(0, 90, 180),
        Engine::MirageStart => RGBColor(0, 150, 90),
        Engine::Tokio => RGBColor(200, 80, 0),
        Engine::ClockLoop => RGBColor(110, 110, 110),
    }
}
