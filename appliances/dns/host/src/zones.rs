//! The zones that are served: those of the command line, or those that were compiled in.

use mirage_dns::name::{Name, NameBuf};
use mirage_dns::zone_compiler::{ZoneFile, compile_files};
use mirage_dns::zone_set::ZoneSet;

use crate::error::Failure;

/// How many octets all files of a zone set together may have.
const MAX_BYTES: u64 = 1 << 30;

/// Zones, and what to say of them.
pub(crate) struct Zones {
    /// What is served.
    pub(crate) set: ZoneSet<'static>,
    files: Vec<ZoneFile>,
}

impl Zones {
    /// Compiles the files, or takes the compiled-in zones if there are none. Warnings go to the log.
    pub(crate) fn load(files: &[ZoneFile]) -> Result<Self, Failure> {
        let image: &'static [u8] = if files.is_empty() {
            dns_appliance::ZONES_IMAGE
        } else {
            let compiled = compile_files(files, MAX_BYTES)
                .result
                .map_err(Failure::Zones)?;
            for warning in compiled.warnings.iter() {
                log::warn!("{warning}");
            }
            // For the rest of the process: the tasks that answer from it live as long.
            compiled.image.leak()
        };
        Ok(Self {
            set: ZoneSet::from_bytes(image).map_err(Failure::Image)?,
            files: files.to_vec(),
        })
    }

    /// A line for each zone.
    pub(crate) fn describe(&self) -> Vec<String> {
        let zones = self.set.zones().enumerate();
        zones
            .map(|(index, zone)| {
                let source = match self.files.get(index) {
                    Some(file) => file.path().display().to_string(),
                    None => "compiled in".to_string(),
                };
                format!(
                    "zone {}: {} records, serial {} ({source})",
                    zone.apex(),
                    zone.record_count(),
                    zone.serial()
                )
            })
            .collect()
    }

    /// A name to try: `www` of the first zone if it is there, else the zone's own.
    pub(crate) fn name_to_try(&self) -> Option<String> {
        let apex = self.set.zones().next()?.apex();
        let www = NameBuf::from_text(&format!("www.{}", text(apex)));
        match www {
            Ok(www) if self.set.contains(www.as_name()) => Some(text(www.as_name())),
            _ => Some(text(apex)),
        }
    }
}

/// A name without the dot at its end, as people write it; the root keeps it.
fn text(name: Name<'_>) -> String {
    let text = name.to_string();
    match text.strip_suffix('.') {
        Some(short) if !short.is_empty() => short.to_string(),
        _ => text,
    }
}
