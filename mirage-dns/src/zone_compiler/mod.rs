//! From master files to a compiled zone set, with every problem found on the way (feature `alloc`).
//!
//! | item | what it is |
//! |------|------------|
//! | [`ZoneCompiler`] | takes zones one by one, then gives the image that [`ZoneSet::from_bytes`] takes |
//! | [`compile_files`] | the same for files of a file system, each a [`ZoneFile`] (feature `std`) |
//! | [`Diagnostics`], [`Diagnostic`] | what was found: errors keep a zone set from being made, warnings don't |
//! | [`Problem`] | each kind of them, with the RFC that it comes from |
//!
//! A zone's apex is the owner of its SOA record. Errors are what no server could answer for, or this one does not yet;
//! warnings what a careful author wants to hear. All are collected, in the order of their lines, up to a bound; as
//! long as a file has syntax errors, nothing is said about what it lacks.
//!
//! Where TTLs differ inside an RRset, RFC 2181 §5.2 calls that an error, and has receivers take the lowest. NSD warns
//! and goes on; so does this compiler, and the lowest is served.
//!
//! ```
//! use mirage_dns::master_file::{NoFiles, Source};
//! use mirage_dns::zone_compiler::ZoneCompiler;
//! use mirage_dns::zone_set::ZoneSet;
//!
//! let text = b"$ORIGIN example.org.\n$TTL 1h\n@ SOA ns root 1 2h 30m 4w 1h\n@ NS ns\nns A 192.0.2.53\n";
//! let mut compiler = ZoneCompiler::new();
//! compiler.add_zone(Source { name: "example.zone", text }, &NoFiles);
//! let compiled = compiler.finish().unwrap();
//! assert!(compiled.warnings.is_empty());
//! assert!(ZoneSet::from_bytes(&compiled.image).is_ok());
//!
//! let mut compiler = ZoneCompiler::new();
//! compiler.add_zone(Source { name: "example.zone", text: b"$TTL 5\na. SOA b. c. 1 2 3 4 5\nb. NS d." }, &NoFiles);
//! let errors = compiler.finish().unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "example.zone:2:1: error: a.: the zone has no NS record at its apex (RFC 1034 \u{a7}4.2.1)\n\
//!      example.zone:3:1: error: b.: outside the zone a.\n"
//! );
//! ```
//!
//! [`ZoneSet::from_bytes`]: crate::zone_set::ZoneSet::from_bytes

mod check;
mod diagnostics;
#[cfg(feature = "std")]
mod files;
mod records;

pub use diagnostics::{Diagnostic, Diagnostics, Problem, Severity};
#[cfg(feature = "std")]
pub use files::{CompiledFiles, ZoneFile, ZoneFileError, compile_files};

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use crate::master_file::{Limits, Loader, Parser, Source};
use crate::name::Name;
use crate::zone_set::{BuildError, ZoneSetBuilder};

use check::Zone;
use records::{Place, Records};

/// Compiles zones into a zone set.
///
/// Mutators: [`add_zone`](Self::add_zone) or [`add_zone_at`](Self::add_zone_at) for each zone, then
/// [`finish`](Self::finish).
#[derive(Debug, Default)]
pub struct ZoneCompiler {
    builder: ZoneSetBuilder,
    diagnostics: Diagnostics,
    limits: Limits,
}

/// A zone set, ready to be served.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// What [`ZoneSet::from_bytes`](crate::zone_set::ZoneSet::from_bytes) takes.
    pub image: Vec<u8>,
    /// What an author wants to hear; no errors among them.
    pub warnings: Diagnostics,
}

impl ZoneCompiler {
    /// A compiler without zones, with the default [`Limits`] and the default bound on diagnostics.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with other limits on `$INCLUDE`.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same that keeps at most `bound` diagnostics and counts the others. By default
    /// [`Diagnostics::DEFAULT_BOUND`].
    #[must_use]
    pub fn with_diagnostics_bound(mut self, bound: usize) -> Self {
        self.diagnostics.set_bound(bound);
        self
    }

    /// Reads, checks and adds the zone in `source`, which states its origin or has absolute names.
    pub fn add_zone(&mut self, source: Source<'_>, loader: &dyn Loader) {
        self.add(None, source, loader);
    }

    /// Reads, checks and adds the zone `origin`, whose master file is `source`: relative names are relative to `origin`
    /// until a `$ORIGIN`, and the SOA record must stand there.
    pub fn add_zone_at(&mut self, origin: Name<'_>, source: Source<'_>, loader: &dyn Loader) {
        self.add(Some(origin), source, loader);
    }

    fn add(&mut self, origin: Option<Name<'_>>, source: Source<'_>, loader: &dyn Loader) {
        let mut found = self.diagnostics.another();
        let (records, complete) = self.read(origin, source, loader, &mut found);
        let zone = Zone::new(&records, complete, source.name, &mut found);
        if let Some(zone) = zone {
            if let Some(origin) = origin.filter(|&origin| origin != zone.apex()) {
                let problem = Problem::OtherApex(origin.to_string());
                found.push(records.diagnostic(zone.soa_place(), problem));
            }
            zone.check(&mut found);
            if found.error_count() == 0
                && let Err((error, place)) = self.build(&zone)
            {
                // The owner is that of the place.
                let problem = Problem::Unservable(error.kind().to_string());
                found.push(records.diagnostic(place, problem));
            }
        }
        self.diagnostics.append(found);
    }

    /// Says that a source could not be had at all.
    #[cfg(feature = "std")]
    pub(crate) fn add_unreadable(&mut self, file: &str, error: crate::master_file::LoadError) {
        self.diagnostics.push(Diagnostic {
            file: file.to_string(),
            line: 0,
            column: 0,
            owner: None,
            problem: Problem::Unreadable(error),
        });
    }

    /// The compiled zone set and the warnings.
    ///
    /// # Errors
    /// All diagnostics, when one of them is an error.
    pub fn finish(mut self) -> Result<Compiled, Diagnostics> {
        if self.diagnostics.error_count() > 0 {
            return Err(self.diagnostics);
        }
        match self.builder.build() {
            Ok(image) => Ok(Compiled {
                image,
                warnings: self.diagnostics,
            }),
            Err(error) => {
                self.diagnostics.push(Diagnostic {
                    file: "zone set".to_string(),
                    line: 0,
                    column: 0,
                    owner: None,
                    problem: Problem::Unservable(error.to_string()),
                });
                Err(self.diagnostics)
            }
        }
    }

    /// All records of a source, and whether they are all: no entry was faulty.
    fn read(
        &self,
        origin: Option<Name<'_>>,
        source: Source<'_>,
        loader: &dyn Loader,
        found: &mut Diagnostics,
    ) -> (Records, bool) {
        let mut parser = Parser::new(source, loader).with_limits(self.limits);
        if let Some(origin) = origin {
            parser = parser.with_origin(origin);
        }
        let mut buffer = vec![0; usize::from(u16::MAX)];
        let mut records = Records::default();
        let mut complete = true;
        loop {
            match parser.next_record(&mut buffer) {
                Ok(Some(record)) => {
                    if records.push(&record).is_err() {
                        found.push(Diagnostic::at(&record, Problem::TooLarge));
                        return (records, false);
                    }
                }
                Ok(None) => return (records, complete),
                Err(error) => {
                    if error.is_without_origin() {
                        // All further relative names, and entries that repeat their owner, would be called wrong for it.
                        found.push(Diagnostic::without_origin(&error, source.name));
                        return (records, false);
                    }
                    found.push(Diagnostic::syntax(&error));
                    complete = false;
                }
            }
        }
    }

    fn build(&mut self, zone: &Zone<'_>) -> Result<(), (BuildError, Place)> {
        let apex: Name<'_> = zone.apex();
        let at = |place| move |error| (error, place);
        let handle = self.builder.add_zone(apex).map_err(at(zone.soa_place()))?;
        for record in zone.records_to_serve() {
            self.builder
                .add_record(
                    handle,
                    record.owner,
                    record.record_type,
                    record.ttl,
                    record.data,
                )
                .map_err(at(record.place))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
