//! Our server, which says on a log what it does.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::common::{Server, eventually, program};

/// A running server of ours; killed when it is dropped.
pub(crate) struct Ours {
    server: Server,
    address: SocketAddr,
    log: PathBuf,
}

impl Ours {
    /// Starts it, and waits until it serves. Its log in `folder` goes on where an earlier one's ended.
    pub(crate) fn start(folder: &Path, address: SocketAddr, arguments: &[&str]) -> Self {
        let log = folder.join("ours.log");
        let file = OpenOptions::new().create(true).append(true).open(&log);
        let listen = address.to_string();
        let mut command = program(&["--listen", &listen, "-v"]);
        command
            .args(arguments)
            .stderr(file.expect("a file in the temporary folder"));
        let server = Server::launch(command);
        Self {
            server,
            address,
            log,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How often it has said this.
    pub(crate) fn times(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// Waits until it says this.
    pub(crate) fn says(&self, text: &str) {
        eventually(text, || self.log().contains(text).then_some(()));
    }

    /// Has it read its zone files again.
    pub(crate) fn reload(&self) {
        self.server.signal(rustix::process::Signal::HUP);
    }

    /// Ends it, and gives what it counted.
    pub(crate) fn interrupt(self) -> (String, ExitStatus) {
        let Self { server, .. } = self;
        server.interrupt()
    }
}
