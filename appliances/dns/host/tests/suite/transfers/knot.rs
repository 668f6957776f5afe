//! Knot as a child process on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::peer::{Process, TestKey, soa, write};
use crate::common::{client, eventually};

/// A running Knot; ended when it is dropped.
pub(crate) struct Knot {
    process: Process,
    configuration: PathBuf,
}

impl Knot {
    /// Starts it with these keys, and `sections` of its configuration (remotes, access lists, zones), and waits until it
    /// answers.
    pub(crate) fn start(
        folder: &Path,
        address: SocketAddr,
        keys: &[TestKey],
        sections: &str,
    ) -> Self {
        let mut configuration = format!(
            "server:\n  rundir: \"{0}\"\n  listen: 127.0.0.1@{1}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             log:\n  - target: stderr\n    any: info\n\
             database:\n  storage: \"{0}\"\n  journal-db-max-size: 64M\n",
            folder.display(),
            address.port(),
        );
        if !keys.is_empty() {
            configuration += "key:\n";
        }
        for key in keys {
            configuration += &format!(
                "  - id: {}\n    algorithm: {}\n    secret: \"{}\"\n",
                key.name, key.algorithm, key.secret
            );
        }
        configuration += sections;
        let file = write(folder, "knot.conf", &configuration);
        let mut command = Command::new(client("knotd", "knot"));
        command.args(["-c", &file]);
        let process = Process::start(command, folder.join("knot.log"));
        eventually("an answer of Knot", || soa(address, ".").map(|_| ()));
        Self {
            process,
            configuration: file.into(),
        }
    }

    /// Waits until it says this.
    pub(crate) fn says(&self, text: &str) {
        self.process.says(text);
    }

    /// Has it read its zone files again.
    pub(crate) fn reload(&self) {
        let mut command = Command::new(client("knotc", "knot"));
        command.arg("-c").arg(&self.configuration);
        // Waits until it is done.
        let output = command.args(["-b", "zone-reload"]).output().expect("knotc");
        assert!(output.status.success(), "{output:?}");
    }
}
