//! NSD as a child process on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::peer::{Process, TestKey, soa, write};
use crate::common::{client, eventually};

/// A running NSD; ended when it is dropped.
pub(crate) struct Nsd {
    process: Process,
}

impl Nsd {
    /// Starts it with these keys, and `zones` as its configuration has them, and waits until it answers.
    pub(crate) fn start(folder: &Path, address: SocketAddr, keys: &[TestKey], zones: &str) -> Self {
        let port = address.port();
        let at = |name: &str| folder.join(name).display().to_string();
        let mut configuration = format!(
            "server:\n  ip-address: 127.0.0.1@{port}\n  port: {port}\n  server-count: 1\n  username: \"\"\n  chroot: \"\"\n  \
             database: \"\"\n  zonesdir: \"{}\"\n  xfrdir: \"{}\"\n  zonelistfile: \"{}\"\n  pidfile: \"{}\"\n  xfrdfile: \"{}\"\n  \
             rrl-ratelimit: 0\n  rrl-whitelist-ratelimit: 0\n  verbosity: 3\n  tcp-count: 50\n  xfrd-reload-timeout: 0\n\
             remote-control:\n  control-enable: no\n",
            folder.display(),
            folder.display(),
            at("nsd.list"),
            at("nsd.pid"),
            at("nsd.state"),
        );
        for key in keys {
            configuration += &format!(
                "key:\n  name: {}\n  algorithm: {}\n  secret: \"{}\"\n",
                key.name, key.algorithm, key.secret
            );
        }
        configuration += zones;
        let file = write(folder, "nsd.conf", &configuration);
        let mut command = Command::new(client("nsd", "nsd"));
        command.args(["-d", "-c", &file]);
        let process = Process::start(command, folder.join("nsd.log"));
        // Whatever it answers of the root: it answers.
        eventually("an answer of NSD", || soa(address, ".").map(|_| ()));
        Self { process }
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Has it read its zone files again.
    pub(crate) fn reload(&self) {
        self.process.signal(rustix::process::Signal::HUP);
    }
}
