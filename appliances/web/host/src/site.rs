//! The site that is served: that of the command line, or the one that was compiled in.

use std::path::Path;

use mirage_core::Pool;
use mirage_core::kv::CompiledStore;
use mirage_core::pool::PoolError;
use mirage_http::site_compiler::SiteCompiler;
use web_appliance::SITE;
use web_appliance::tcp::register_values;

use crate::error::Failure;

/// Octets of all files of a site.
const MAX_OCTETS: u64 = 256 << 20;
/// How many files a site may have.
const MAX_FILES: usize = 100_000;

/// A site, and what to say of it.
pub(crate) struct Site {
    /// What is served.
    pub(crate) store: CompiledStore,
    /// Where its octets lie, if that is in one piece.
    octets: Option<&'static [u8]>,
    source: String,
}

impl Site {
    /// Compiles the folder's files, as a build does; without one, takes the compiled-in site.
    ///
    /// # Errors
    ///
    /// [`Failure::Site`]; and [`Failure::Shadowed`] with the live page, if the site has something in its place.
    pub(crate) fn load(folder: Option<&Path>, has_live_page: bool) -> Result<Self, Failure> {
        let Some(folder) = folder else {
            return Ok(Self {
                store: SITE,
                octets: None,
                source: "compiled in".into(),
            });
        };
        let compiler = SiteCompiler::new()
            .with_max_files(MAX_FILES)
            .with_max_octets(MAX_OCTETS);
        let site = compiler.compile(folder).map_err(Failure::Site)?;
        for name in site.left_out() {
            let name = name.display();
            log::warn!("{name}: not part of the site, for its name begins with a dot");
        }
        let (store, octets) = site.leak_in_one_piece().map_err(Failure::Site)?;
        if has_live_page && store.keys().any(|key| key.starts_with("_mirage/")) {
            return Err(Failure::Shadowed(folder.join("_mirage")));
        }
        Ok(Self {
            store,
            octets: Some(octets),
            source: folder.display().to_string(),
        })
    }

    /// Has a pool know where the site lies, so that it is sent from there. How many files and variants the pool has no room for.
    ///
    /// # Errors
    ///
    /// The site is too large.
    pub(crate) fn register(&self, pool: &'static Pool) -> Result<usize, PoolError> {
        if let Some(octets) = self.octets {
            pool.register_static(octets)?;
        }
        register_values(pool, &self.store, usize::MAX)
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
