//! The site that is served: that of the command line, or the one that was compiled in.

use std::path::Path;

use mirage_core::kv::CompiledStore;
use mirage_http::site_compiler::{SiteCompiler, SiteError};
use web_appliance::SITE;

/// Octets of all files of a site.
const MAX_OCTETS: u64 = 256 << 20;
/// How many files a site may have.
const MAX_FILES: usize = 100_000;

/// A site, and what to say of it.
pub(crate) struct Site {
    /// What is served.
    pub(crate) store: CompiledStore,
    source: String,
}

impl Site {
    /// Compiles the folder's files, as a build does; without one, takes the compiled-in site.
    pub(crate) fn load(folder: Option<&Path>) -> Result<Self, SiteError> {
        let Some(folder) = folder else {
            return Ok(Self {
                store: SITE,
                source: "compiled in".into(),
            });
        };
        let compiler = SiteCompiler::new()
            .with_max_files(MAX_FILES)
            .with_max_octets(MAX_OCTETS);
        let site = compiler.compile(folder)?;
        for name in site.left_out() {
            let name = name.display();
            log::warn!("{name}: not part of the site, for its name begins with a dot");
        }
        Ok(Self {
            store: site.leak()?,
            source: folder.display().to_string(),
        })
    }

    /// What is served, on a line.
    pub(crate) fn describe(&self) -> String {
        let keys = self.store.keys();
        let variants = keys
            .clone()
            .filter(|key| key.ends_with(".br") || key.ends_with(".gz"))
            .count();
        let files = keys.len() - variants;
        format!(
            "site: {files} files, {variants} compressed variants ({})",
            self.source
        )
    }
}
