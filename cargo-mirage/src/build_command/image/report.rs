//! What an image's bytes are.

use core::fmt;
use std::collections::BTreeMap;

use object::elf;
use serde::{Deserialize, Serialize};

use super::{Image, Section, Segment, crate_of};

/// How many of the largest symbols a report names.
const SYMBOLS: usize = 12;

/// Where what comes from no crate is counted: assembly, functions that are exported under a name of their own, and parts that the
/// compiler found alike in several functions and made one.
const UNMANGLED: &str = "(exported and assembly)";

/// Where what has no symbol is counted: mostly strings and other constants; stacks and tables that the link script makes; and what
/// lies between things.
const UNNAMED: &str = "(without a name)";

/// Bytes of an image, by section and by crate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Bytes of the file that is shipped.
    pub file_bytes: u64,
    /// Bytes of memory that it takes when it is loaded, from its first to its last.
    pub memory_bytes: u64,
    /// Each section that is loaded, in the order of addresses.
    pub sections: Vec<SectionBytes>,
    /// Each crate, the largest in the file first.
    pub crates: Vec<CrateBytes>,
    /// The largest symbols in the file, the largest first.
    pub symbols: Vec<SymbolBytes>,
}

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Code.
    Text,
    /// Constants.
    Rodata,
    /// Data with a value at the beginning.
    Data,
    /// Data that is zero at the beginning, and not in the file.
    Bss,
}

/// A section's size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionBytes {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// How long it is in memory, in bytes.
    pub bytes: u64,
}

/// What a crate takes, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrateBytes {
    /// The crate, or in parentheses what comes from none.
    pub name: String,
    /// Code.
    pub text: u64,
    /// Constants.
    pub rodata: u64,
    /// Data with a value.
    pub data: u64,
    /// Data that is zero, and not in the file.
    pub bss: u64,
}

/// A symbol's size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymbolBytes {
    /// Its name, demangled.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How long it is, in bytes.
    pub bytes: u64,
}

impl CrateBytes {
    /// What of it is in the file, in bytes.
    pub fn in_file(&self) -> u64 {
        self.text + self.rodata + self.data
    }

    fn add(&mut self, kind: Kind, bytes: u64) {
        match kind {
            Kind::Text => self.text += bytes,
            Kind::Rodata => self.rodata += bytes,
            Kind::Data => self.data += bytes,
            Kind::Bss => self.bss += bytes,
        }
    }
}

impl SectionBytes {
    /// What of it is in the file, in bytes.
    pub fn in_file(&self) -> u64 {
        if self.kind == Kind::Bss {
            0
        } else {
            self.bytes
        }
    }
}

impl Report {
    /// Counts the bytes of an image with its sections and symbols; the file that is shipped has `shipped_bytes`.
    ///
    /// Each byte of a section is counted once: under the crate of the symbol that it lies in, or if it is in none as
    /// without a name.
    pub fn of(image: &Image, shipped_bytes: u64) -> Self {
        let mut sections: Vec<&Section> = image
            .sections
            .iter()
            .filter(|section| section.loaded && section.bytes > 0)
            .collect();
        sections.sort_by_key(|section| section.address);
        let mut symbols: Vec<_> = image.symbols.iter().collect();
        // Of several names for one place the first that Rust mangled counts.
        symbols.sort_by_key(|symbol| {
            (
                symbol.address,
                crate_of(&symbol.name).is_none(),
                &symbol.name,
            )
        });

        let mut crates: BTreeMap<String, CrateBytes> = BTreeMap::new();
        let mut largest = Vec::new();
        for section in &sections {
            let kind = kind_of(image, section);
            let end = section.address.saturating_add(section.bytes);
            // Up to here bytes have been counted.
            let mut counted = section.address;
            let mut named = 0;
            for symbol in symbols
                .iter()
                .filter(|symbol| (section.address..end).contains(&symbol.address))
            {
                let symbol_end = symbol.address.saturating_add(symbol.bytes).min(end);
                let bytes = symbol_end.saturating_sub(counted.max(symbol.address));
                if bytes == 0 {
                    continue;
                }
                counted = symbol_end;
                named += bytes;
                let name = crate_of(&symbol.name).unwrap_or_else(|| UNMANGLED.into());
                crates.entry(name).or_default().add(kind, bytes);
                largest.push(SymbolBytes {
                    name: format!("{:#}", rustc_demangle::demangle(&symbol.name)),
                    kind,
                    bytes,
                });
            }
            crates
                .entry(UNNAMED.into())
                .or_default()
                .add(kind, section.bytes - named);
        }
        let mut crates: Vec<CrateBytes> = crates
            .into_iter()
            .map(|(name, bytes)| CrateBytes { name, ..bytes })
            .collect();
        crates.sort_by_key(|bytes| core::cmp::Reverse((bytes.in_file(), bytes.bss)));
        largest.retain(|symbol| symbol.kind != Kind::Bss);
        largest.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        largest.truncate(SYMBOLS);
        Self {
            file_bytes: shipped_bytes,
            memory_bytes: image.memory_bytes(),
            sections: sections
                .iter()
                .map(|section| SectionBytes {
                    name: section.name.clone(),
                    kind: kind_of(image, section),
                    bytes: section.bytes,
                })
                .collect(),
            crates,
            symbols: largest,
        }
    }

    /// Bytes of the file that are in no section: headers, and what aligns.
    pub fn headers_and_padding(&self) -> u64 {
        let in_sections: u64 = self.sections.iter().map(SectionBytes::in_file).sum();
        self.file_bytes.saturating_sub(in_sections)
    }
}

impl Image {
    /// Bytes of memory from the first to the last that is loaded.
    pub fn memory_bytes(&self) -> u64 {
        let loaded = || {
            self.segments.iter().filter(|segment| {
                segment.segment_type == elf::PT_LOAD.0 && segment.memory_bytes > 0
            })
        };
        let start = loaded().map(|segment| segment.physical_address).min();
        let end = loaded()
            .map(|segment| {
                segment
                    .physical_address
                    .saturating_add(segment.memory_bytes)
            })
            .max();
        end.unwrap_or(0) - start.unwrap_or(0)
    }
}

/// What a section holds. One that a linker calls writable is constant where it lies in a segment that isn't: addresses in
/// constants, which are known when an image is linked.
fn kind_of(image: &Image, section: &Section) -> Kind {
    let in_writable_segment = image.segments.iter().any(|segment| {
        segment.writable
            && segment.segment_type == elf::PT_LOAD.0
            && segment.holds(Segment::virtual_start, section.address)
    });
    if section.executable {
        Kind::Text
    } else if section.section_type == elf::SHT_NOBITS.0 {
        Kind::Bss
    } else if in_writable_segment {
        Kind::Data
    } else {
        Kind::Rodata
    }
}

/// Tables for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:28} {:>9} {:>9}", "section", "in file", "in memory")?;
        for section in &self.sections {
            writeln!(
                f,
                "  {:28} {:>9} {:>9}",
                section.name,
                section.in_file(),
                section.bytes
            )?;
        }
        writeln!(
            f,
            "  {:28} {:>9} {:>9}",
            "headers and padding",
            self.headers_and_padding(),
            ""
        )?;
        writeln!(
            f,
            "  {:28} {:>9} {:>9}",
            "all", self.file_bytes, self.memory_bytes
        )?;
        writeln!(f)?;
        writeln!(
            f,
            "  {:28} {:>9} {:>9} {:>9} {:>9}",
            "crate", "text", "rodata", "data", "bss"
        )?;
        for row in &self.crates {
            writeln!(
                f,
                "  {:28} {:>9} {:>9} {:>9} {:>9}",
                row.name, row.text, row.rodata, row.data, row.bss
            )?;
        }
        writeln!(f)?;
        writeln!(f, "  {:28} {:>9}", "largest in the file", "bytes")?;
        for symbol in &self.symbols {
            writeln!(f, "  {:28} {:>9}", symbol.name, symbol.bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Doctored;
    use super::*;

    fn report() -> Report {
        let image = Image::parse(&Doctored::good().file()).unwrap();
        Report::of(&image, 1000)
    }

    #[test]
    fn every_byte_is_counted_once() {
        let report = report();
        for kind in [Kind::Text, Kind::Rodata, Kind::Data, Kind::Bss] {
            let of_sections: u64 = report
                .sections
                .iter()
                .filter(|section| section.kind == kind)
                .map(|section| section.bytes)
                .sum();
            let of_crates: u64 = report
                .crates
                .iter()
                .map(|row| match kind {
                    Kind::Text => row.text,
                    Kind::Rodata => row.rodata,
                    Kind::Data => row.data,
                    Kind::Bss => row.bss,
                })
                .sum();
            assert_eq!(of_sections, of_crates, "{kind:?}");
        }
        assert_eq!(report.headers_and_padding(), 1000 - 64 - 300 - 100 - 40);
        assert_eq!(report.memory_bytes, 0x3000 + 40 + 4000);
    }

    #[test]
    fn two_names_for_one_place_and_overlaps_count_once() {
        let report = report();
        let row = |name: &str| report.crates.iter().find(|row| row.name == name).cloned();
        // `appliance::main` and `core::fmt::write` are one function; memcpy's first bytes were in a symbol before.
        let mangled =
            row("appliance").map_or(0, |row| row.text) + row("core").map_or(0, |row| row.text);
        assert_eq!(mangled, 200);
        assert_eq!(row(UNMANGLED).unwrap().text, 50);
        assert_eq!(row(UNNAMED).unwrap().text, 64 + 300 - 250);
        let appliance = row("appliance").unwrap();
        assert_eq!((appliance.rodata, appliance.bss), (60, 3000));
    }

    #[test]
    fn the_largest_symbols_are_named_and_zero_memory_is_not_in_the_file() {
        let report = report();
        assert!(
            report
                .symbols
                .windows(2)
                .all(|pair| pair[0].bytes >= pair[1].bytes)
        );
        assert!(
            report
                .symbols
                .iter()
                .any(|symbol| symbol.name == "appliance::ZONES" && symbol.bytes == 60)
        );
        assert!(!report.symbols.iter().any(|symbol| symbol.kind == Kind::Bss));
        let said = report.to_string();
        assert!(
            said.contains("appliance::ZONES") && said.contains(".rodata"),
            "{said}"
        );
    }

    #[test]
    fn addresses_in_constants_are_constants() {
        let mut doctored = Doctored::good();
        doctored.sections[2].flags |= 1;
        let report = Report::of(&Image::parse(&doctored.file()).unwrap(), 1000);
        assert_eq!(report.sections[2].kind, Kind::Rodata);
        assert_eq!(report.sections[3].kind, Kind::Data);
    }

    #[test]
    fn a_report_survives_json() {
        let report = report();
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        assert!(json.contains(r#""kind":"rodata""#), "{json}");
    }
}
