//! The options that each benchmark on a real Xen takes.

use std::path::PathBuf;

use cargo_mirage::lab::packages::Source;
use clap::Args;

/// The options.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// How often each is measured, in turns; the medians are shown, all runs are in the JSON.
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// One short run, to see that it works. The figures mean nothing.
    #[arg(long)]
    pub quick: bool,
    /// Measures nothing: draws the figures again, from the results that are there.
    #[arg(long)]
    pub draw: bool,
    /// Where the results go [default: `results` in the benchmark's folder].
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Take Debian's packages from this folder of `.deb` files instead of fetching them.
    #[arg(long, value_name = "DIR")]
    pub packages: Option<PathBuf>,
    /// Forward ports through QEMU's user network even with root.
    #[arg(long)]
    pub user_network: bool,
}

impl Arguments {
    /// Where the results go, of the benchmark in that folder.
    pub fn output(&self, folder: &str) -> PathBuf {
        let results = || PathBuf::from(folder).join("results");
        self.output.clone().unwrap_or_else(results)
    }

    /// How often each is measured: at least once, and once in a quick run.
    pub fn runs(&self) -> usize {
        if self.quick { 1 } else { self.runs.max(1) }
    }

    /// Where packages come from.
    pub fn source(&self) -> Source {
        match &self.packages {
            Some(folder) => Source::Folder(folder.clone()),
            None => Source::Apt,
        }
    }
}
