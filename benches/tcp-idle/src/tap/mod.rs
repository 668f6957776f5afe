//! Idle connections of this system's own TCP to our stack on a tap: what they are to a whole process.
//!
//! Parent, peer and guests are processes: the peer has a network namespace of its own, and one guest on a tap of its own for each
//! number of connections.

pub(crate) mod guest;
mod peer;

use std::process::Command;

use bench_common::report::Error;
use bench_common::statistics::Spread;
use clap::Args;
use serde::{Deserialize, Serialize};

/// So many idle connections, over a tap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TapRow {
    /// Connections, all established.
    pub(crate) connections: usize,
    /// Bytes of memory that the guest's process has with all of them there.
    pub(crate) resident: u64,
    /// Processor time of the guest's process for one question and its answer, in microseconds.
    pub(crate) microseconds: Spread,
    /// That of each round.
    pub(crate) runs: Vec<f64>,
}

/// What is measured over a tap.
#[derive(Args)]
pub(crate) struct Measure {
    /// How many connections there are, with commas between.
    #[arg(long, value_delimiter = ',')]
    connections: Vec<usize>,
    /// How often each is measured.
    #[arg(long)]
    rounds: usize,
    /// Questions of a round.
    #[arg(long)]
    questions: usize,
}

impl Measure {
    /// The inner one, in a network namespace of its own: prints the rows as JSON.
    pub(crate) fn run(&self) -> Result<(), Error> {
        let rows = peer::measure(&self.connections, self.rounds, self.questions)?;
        println!("{}", serde_json::to_string(&rows)?);
        Ok(())
    }
}

/// Measures, in a network namespace that ends with it.
///
/// # Errors
///
/// This is not run as root, Debian's `unshare` (util-linux) or `ip` (iproute2) is not there, or a connection is not.
pub(crate) fn measure(
    connections: &[usize],
    rounds: usize,
    questions: usize,
) -> Result<Vec<TapRow>, Error> {
    let list: Vec<String> = connections.iter().map(usize::to_string).collect();
    let output = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe()?)
        .args(["tap", "--connections", &list.join(",")])
        .args(["--rounds", &rounds.to_string()])
        .args(["--questions", &questions.to_string()])
        .output()
        .map_err(|error| format!("unshare (Debian's package util-linux): {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("over a tap (as root, or with --no-tap): {}", said.trim()).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
