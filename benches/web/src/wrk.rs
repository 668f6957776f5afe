//! wrk, and what it and the scheduler say.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bench_common::processes::{children_time, process_time};
use bench_common::report::Error;
use bench_common::wrk::{Summary, parse};
use serde::{Deserialize, Serialize};

use crate::servers::Server;

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Load {
    /// Many requests over each connection.
    Kept,
    /// A connection for each request.
    Each,
}

impl Load {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Kept, Self::Each];

    /// What it is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kept => "connections kept",
            Self::Each => "a connection for each request",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// Requests that were answered.
    pub(crate) requests: u64,
    /// The same a second.
    pub(crate) per_second: f64,
    /// The server's processor time for each, in microseconds.
    pub(crate) server_us: f64,
    /// The client's.
    pub(crate) client_us: f64,
    /// Connections that failed, and answers that were none.
    pub(crate) errors: u64,
}

/// Asks a server for the page, as long as `window`.
pub(crate) fn ask(
    wrk: &Path,
    server: &Server,
    load: Load,
    connections: usize,
    window: Duration,
) -> Result<Asked, Error> {
    let mut command = Command::new(wrk);
    command
        .args(["--threads", "1", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{}s", window.as_secs())]);
    if load == Load::Each {
        command.args(["--header", "Connection: close"]);
    }
    command
        .arg(format!("http://{}/", server.system.address()))
        .stdin(Stdio::null());
    let before = process_time(server.process())?;
    let children = children_time()?;
    let output = command.output()?;
    let server_seconds = process_time(server.process())? - before;
    let client_seconds = children_time()? - children;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("wrk: {}: {said}{error}", output.status).into());
    }
    let Summary {
        requests,
        per_second,
        errors,
    } = parse(&said)?;
    let each = |seconds: f64| seconds * 1e6 / requests as f64;
    Ok(Asked {
        requests,
        per_second,
        server_us: each(server_seconds),
        client_us: each(client_seconds),
        errors,
    })
}
