//! The results: as JSON, as a figure, as text.

use bench_common::figure::{Bar, Figure, NEUTRAL, OURS, PARTS, PEER, Panel, RGBColor, whole};
use bench_common::machine::Machine;
use bench_common::report::{Goal, Published, Results};
use bench_lab::linux_guest::Sizes;
use cargo_mirage::build_command::image::{CrateBytes, Kind, Report as Image};
use serde::{Deserialize, Serialize};

/// All that was counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    /// What the numbers mean.
    pub(crate) definitions: Vec<String>,
    pub(crate) machine: Machine,
    pub(crate) rustc: String,
    pub(crate) goals: Vec<Goal>,
    pub(crate) images: Vec<ImageRow>,
    /// Absent in a quick run.
    pub(crate) linux: Option<LinuxRow>,
    pub(crate) published: Vec<Published>,
}

/// One appliance's image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageRow {
    pub(crate) appliance: String,
    /// `cargo mirage build --seed` makes the same image with it.
    pub(crate) seed: String,
    pub(crate) target: String,
    pub(crate) headers_and_padding: u64,
    pub(crate) report: Image,
}

/// The Linux guest that the other benchmarks compare with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinuxRow {
    pub(crate) kernel_package: String,
    pub(crate) nsd_package: String,
    pub(crate) sizes: Sizes,
}

pub(crate) const DEFINITIONS: [&str; 6] = [
    "file_bytes: of the ELF file that Xen boots, without symbols, with everything in: drivers, network, service, zone.",
    "memory_bytes: from the first byte of memory that it is loaded to, to the last.",
    "sections, crates: what is loaded. Each byte is counted once, under the crate of the symbol that it lies in.",
    "The file does not vary by run: there is one build each. The seed changes addresses and no size.",
    "linux.sizes: kernel as Debian ships it (compressed) and as it is loaded; initramfs not compressed; NSD without libraries.",
    "published: MirageOS's DNS appliance, before and after dead-code elimination.",
];

/// What MirageOS's paper tells: system, figure, bytes.
const PUBLISHED: [(&str, &str, f64); 2] = [
    ("MirageOS DNS", "449 kB", 449_000.0),
    ("MirageOS DNS, dead code eliminated", "184 kB", 184_000.0),
];

/// What the DNS appliance's image is not to exceed, in bytes.
const DNS_BYTES: f64 = 120_000.0;

/// How many crates have a bar of their own.
const CRATES: usize = 14;

pub(crate) fn published() -> Vec<Published> {
    PUBLISHED
        .map(|(system, figure, _)| Published {
            remark: "published".into(),
            ..Published::of_paper(system, figure)
        })
        .to_vec()
}

pub(crate) fn goals(images: &[ImageRow]) -> Vec<Goal> {
    let dns = images.iter().find(|row| row.appliance == "dns");
    vec![Goal::at_most(
        "bytes of the DNS appliance's image, with the example zone",
        DNS_BYTES,
        dns.map(|row| row.report.file_bytes as f64),
    )]
}

impl Results for Report {
    const NAME: &'static str = "image";

    fn conclude(&mut self) {
        self.goals = goals(&self.images);
    }

    fn figure(&self) -> Figure {
        let mut panels = vec![self.files()];
        panels.extend(
            self.images
                .iter()
                .flat_map(|row| [row.crates(), row.sections()]),
        );
        panels.extend(self.linux.as_ref().map(|linux| self.beside_linux(linux)));
        Figure {
            title: "What an appliance's image weighs".into(),
            notes: vec![
                "the ELF file that Xen boots (PVH), everything in; outlined bars: published for MirageOS".into(),
            ],
            legend: ["code", "constants", "data with a value"]
                .into_iter()
                .zip(PARTS)
                .map(|(name, color)| (name.to_owned(), color))
                .collect(),
            panels,
        }
    }
}

impl Report {
    fn files(&self) -> Panel {
        let mut bars: Vec<Bar> = self
            .images
            .iter()
            .map(|row| {
                let bytes = row.report.file_bytes;
                bar(
                    format!("{}, this project", row.appliance),
                    vec![(bytes as f64 / 1e3, OURS)],
                    format!("{} bytes", whole(bytes)),
                )
            })
            .collect();
        bars.extend(
            PUBLISHED
                .iter()
                .map(|(system, _, bytes)| Bar::published(*system, bytes / 1e3, "published")),
        );
        Panel {
            title: "File, by appliance".into(),
            unit: "kB (1,000 bytes)".into(),
            logarithmic: false,
            bars,
            goal: Some((DNS_BYTES / 1e3, "goal for dns: below 120 kB".into())),
        }
    }

    fn beside_linux(&self, linux: &LinuxRow) -> Panel {
        let mut bars: Vec<Bar> = self
            .images
            .iter()
            .map(|row| {
                let label = format!("{}, all of it", row.appliance);
                megabytes(&label, row.report.file_bytes, OURS)
            })
            .collect();
        let sizes = linux.sizes;
        bars.extend([
            megabytes("NSD's program alone", sizes.program, PEER),
            megabytes(
                "Linux guest: kernel, compressed",
                sizes.compressed_kernel,
                PEER,
            ),
            megabytes("Linux guest: kernel", sizes.kernel, PEER),
            megabytes("Linux guest: initramfs with NSD", sizes.initramfs, PEER),
        ]);
        Panel {
            title: "Beside the Linux guest that the other benchmarks compare with".into(),
            unit: "MB (1,000,000 bytes), logarithmic".into(),
            logarithmic: true,
            bars,
            goal: None,
        }
    }

    /// The summary for a terminal.
    pub(crate) fn print(&self) {
        for row in &self.images {
            println!("{} ({}, seed {})", row.appliance, row.target, row.seed);
            print!("{}", row.report);
        }
        if let Some(linux) = &self.linux {
            println!(
                "Linux guest: {} + {}: {:?}",
                linux.kernel_package, linux.nsd_package, linux.sizes
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

fn bar(label: String, parts: Vec<(f64, RGBColor)>, text: String) -> Bar {
    Bar {
        label,
        parts,
        spread: None,
        text,
        outline: false,
    }
}

fn megabytes(label: &str, bytes: u64, color: RGBColor) -> Bar {
    let text = format!("{} bytes", whole(bytes));
    bar(label.into(), vec![(bytes as f64 / 1e6, color)], text)
}

impl ImageRow {
    fn text(&self, bytes: u64) -> String {
        let share = 100.0 * bytes as f64 / self.report.file_bytes.max(1) as f64;
        format!("{} bytes ({share:.1} %)", whole(bytes))
    }

    fn headers(&self) -> Bar {
        let bytes = self.headers_and_padding;
        let parts = vec![(bytes as f64 / 1e3, NEUTRAL)];
        bar("headers and padding".into(), parts, self.text(bytes))
    }

    /// Its crates, the largest first; what is left of the file is headers and what aligns.
    fn crates(&self) -> Panel {
        let in_file = |bytes: &&CrateBytes| bytes.in_file() > 0;
        let row = |name: &str, text: u64, rodata: u64, data: u64| {
            let values = [text, rodata, data].map(|bytes| bytes as f64 / 1e3);
            let parts = values.into_iter().zip(PARTS).collect();
            bar(name.into(), parts, self.text(text + rodata + data))
        };
        let crates = || self.report.crates.iter().filter(in_file);
        let mut bars: Vec<Bar> = crates()
            .take(CRATES)
            .map(|bytes| row(&bytes.name, bytes.text, bytes.rodata, bytes.data))
            .collect();
        let sum = |part: fn(&CrateBytes) -> u64| crates().skip(CRATES).map(part).sum();
        if crates().count() > CRATES {
            bars.push(row(
                "other crates",
                sum(|bytes| bytes.text),
                sum(|bytes| bytes.rodata),
                sum(|bytes| bytes.data),
            ));
        }
        bars.push(self.headers());
        Panel {
            title: format!("{}, by crate", self.appliance),
            unit: "kB of the file".into(),
            bars,
            ..Panel::default()
        }
    }

    /// Its sections, in the order of addresses.
    fn sections(&self) -> Panel {
        let sections = self.report.sections.iter();
        let mut bars: Vec<Bar> = sections
            .filter(|section| section.in_file() > 0)
            .map(|section| {
                let bytes = section.in_file();
                let color = match section.kind {
                    Kind::Text => PARTS[0],
                    Kind::Rodata => PARTS[1],
                    Kind::Data | Kind::Bss => PARTS[2],
                };
                let parts = vec![(bytes as f64 / 1e3, color)];
                bar(section.name.clone(), parts, self.text(bytes))
            })
            .collect();
        bars.push(self.headers());
        Panel {
            title: format!("{}, by section", self.appliance),
            unit: "kB of the file".into(),
            bars,
            ..Panel::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use bench_common::report::published as published_results;

    use super::*;
    use cargo_mirage::build_command::image::SectionBytes;

    fn row(bytes: u64) -> ImageRow {
        let crates = |count: usize| {
            (0..count)
                .map(|index| CrateBytes {
                    name: format!("crate-{index}"),
                    text: 100,
                    rodata: 10,
                    data: 1,
                    bss: 5,
                })
                .collect()
        };
        ImageRow {
            appliance: "dns".into(),
            seed: "00ff".into(),
            target: "x86_64-unknown-none".into(),
            headers_and_padding: 512,
            report: Image {
                file_bytes: bytes,
                memory_bytes: 300_000,
                sections: vec![SectionBytes {
                    name: ".text".into(),
                    kind: Kind::Text,
                    bytes: 60_000,
                }],
                crates: crates(CRATES + 5),
                symbols: Vec::new(),
            },
        }
    }

    fn results(bytes: u64) -> Report {
        let images = vec![row(bytes)];
        Report {
            definitions: DEFINITIONS.map(str::to_owned).to_vec(),
            machine: Machine::before(),
            rustc: String::new(),
            goals: goals(&images),
            images,
            linux: Some(LinuxRow {
                kernel_package: "linux-image 6.1".into(),
                nsd_package: "4.6".into(),
                sizes: Sizes {
                    compressed_kernel: 8_000_000,
                    kernel: 60_000_000,
                    initramfs: 14_000_000,
                    program: 650_000,
                },
            }),
            published: published(),
        }
    }

    #[test]
    fn results_are_written_read_and_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let results = results(119_000);
        results.write(folder.path()).unwrap();
        assert_eq!(Report::read(folder.path()).unwrap(), results);
        let svg = std::fs::read_to_string(folder.path().join("image.svg")).unwrap();
        for text in [
            "119,000 bytes",
            "below 120 kB",
            "MirageOS DNS",
            "other crates",
            "by section",
        ] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn the_goal_is_missed_by_one_byte_too_many_and_without_an_image() {
        assert!(goals(&[row(120_000)])[0].reached);
        assert!(!goals(&[row(120_001)])[0].reached);
        assert!(!goals(&[])[0].reached);
    }

    /// What is published in the repository is what this program writes.
    #[test]
    fn published_results_are_whole() {
        let Some(results) = published_results::<Report>(env!("CARGO_MANIFEST_DIR")) else {
            return;
        };
        for row in &results.images {
            let crates: u64 = row.report.crates.iter().map(CrateBytes::in_file).sum();
            assert_eq!(crates + row.headers_and_padding, row.report.file_bytes);
        }
    }
}
