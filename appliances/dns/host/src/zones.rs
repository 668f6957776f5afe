//! The zones that are served: those of the command line, or those that were compiled in.

use mirage_dns::name::{Name, NameBuf};
use mirage_dns::zone_compiler::{ZoneFile, compile_files};
use mirage_dns::zone_set::{OwnedZoneSet, Zone, ZoneSetBuilder};

use crate::error::Failure;

/// How many octets all files of a zone set together may have.
const MAX_BYTES: u64 = 1 << 30;

/// Zones, and what to say of them.
pub(crate) struct Zones {
    /// What is served.
    pub(crate) set: OwnedZoneSet,
    files: Vec<ZoneFile>,
}

impl Zones {
    /// Compiles the files; without any, takes the compiled-in zones, unless all that is served is fetched. Warnings go to the
    /// log.
    pub(crate) fn load(files: &[ZoneFile], fetched_alone: bool) -> Result<Self, Failure> {
        let set = if !files.is_empty() {
            compile(files)?
        } else if fetched_alone {
            let none = ZoneSetBuilder::new().build();
            let image = none.map_err(|error| Failure::Arguments(error.to_string()))?;
            OwnedZoneSet::new(image).map_err(Failure::Image)?
        } else {
            OwnedZoneSet::new(dns_appliance::ZONES_IMAGE).map_err(Failure::Image)?
        };
        Ok(Self {
            set,
            files: files.to_vec(),
        })
    }

    /// A line for each zone that is served.
    pub(crate) fn describe(&self, served: &OwnedZoneSet) -> Vec<String> {
        let describe = |zone: Zone<'_>| {
            let apex = zone.apex();
            if !zone.is_present() {
                return format!("zone {apex}: to be fetched");
            }
            let set = self.set.as_zone_set();
            // One file has one zone.
            let file = set.zones().position(|own| own.apex() == apex);
            let source = match file {
                Some(index) => match self.files.get(index) {
                    Some(file) => file.path().display().to_string(),
                    None => "compiled in".to_string(),
                },
                None => "fetched before".to_string(),
            };
            let (records, serial) = (zone.record_count(), zone.serial());
            format!("zone {apex}: {records} records, serial {serial} ({source})")
        };
        served.as_zone_set().zones().map(describe).collect()
    }
}

/// A name to try: `www` of the first zone if it is there, else the zone's own.
pub(crate) fn name_to_try(served: &OwnedZoneSet) -> Option<String> {
    let set = served.as_zone_set();
    let apex = set.zones().next()?.apex();
    let www = NameBuf::from_text(&format!("www.{}", text(apex)));
    match www {
        Ok(www) if set.contains(www.as_name()) => Some(text(www.as_name())),
        _ => Some(text(apex)),
    }
}

/// Compiles zone files. Warnings go to the log.
pub(crate) fn compile(files: &[ZoneFile]) -> Result<OwnedZoneSet, Failure> {
    let compiled = compile_files(files, MAX_BYTES);
    let compiled = compiled.result.map_err(Failure::Zones)?;
    for warning in compiled.warnings.iter() {
        log::warn!("{warning}");
    }
    OwnedZoneSet::new(compiled.image).map_err(Failure::Image)
}

/// A name without the dot at its end, as people write it; the root keeps it.
fn text(name: Name<'_>) -> String {
    let text = name.to_string();
    match text.strip_suffix('.') {
        Some(short) if !short.is_empty() => short.to_string(),
        _ => text,
    }
}
