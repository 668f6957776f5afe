//! Who answers: ours, the peers, and the null responder; each a process, at the other end of a pair of interfaces of its own.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bench_common::report::Error;
use cargo_mirage::debian;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::network::Pair;
use crate::zone;
use network_namespace::Namespace;

/// What the memo may hold, as `dns-host` takes it.
const MEMO: &str = "16384";

/// How long a server may take to read its zone and to answer.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Peer {
    /// The null responder, by AF_XDP.
    Null,
    /// Ours by AF_XDP.
    Xdp,
    /// Ours by AF_XDP, with a memo of encoded answers.
    XdpMemo,
    /// Ours on a tap.
    Tap,
    /// Ours with the system's sockets.
    Sockets,
    /// NSD.
    Nsd,
    /// NSD where the kernel leaves checksums out, as it does by itself on a veth pair.
    NsdOffload,
    /// Knot.
    Knot,
}

impl Peer {
    /// All, in the order of their rows.
    pub(crate) const ALL: [Self; 8] = [
        Self::Null,
        Self::Xdp,
        Self::XdpMemo,
        Self::Tap,
        Self::Sockets,
        Self::Nsd,
        Self::NsdOffload,
        Self::Knot,
    ];

    /// What it is called in figures.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Null => "null responder, AF_XDP",
            Self::Xdp => "mirage, AF_XDP",
            Self::XdpMemo => "mirage, AF_XDP, memo",
            Self::Tap => "mirage, tap",
            Self::Sockets => "mirage, sockets",
            Self::Nsd => "NSD, sockets",
            Self::NsdOffload => "NSD, sockets, no checksums",
            Self::Knot => "Knot, sockets",
        }
    }

    /// Its network: all are there at once.
    pub(crate) const fn pair(self) -> Pair {
        Pair::new(self as u8)
    }
}

/// The programs that answer, where they are.
pub(crate) struct Programs {
    /// This one, as the null responder.
    pub(crate) this: PathBuf,
    pub(crate) mirage: PathBuf,
    pub(crate) nsd: PathBuf,
    pub(crate) knot: PathBuf,
}

/// A program of Debian's.
pub(crate) fn debian_program(name: &str, package: &str) -> Result<PathBuf, Error> {
    debian::find_program(name).ok_or_else(|| {
        format!("`{name}` is not on PATH: install Debian's package {package}").into()
    })
}

/// A running server; ended when it is dropped.
pub(crate) struct Server {
    pub(crate) peer: Peer,
    child: Child,
}

impl Server {
    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Makes its interfaces, starts it with the zone of that file, and waits until it answers. Its files go to `folder`.
    pub(crate) fn start(
        peer: Peer,
        programs: &Programs,
        zone_file: &Path,
        folder: &Path,
        namespace: &Namespace,
    ) -> Result<Self, Error> {
        fs::create_dir_all(folder)?;
        let pair = peer.pair();
        let command = command(peer, programs, zone_file, folder)?;
        let child = if peer == Peer::Tap {
            // It makes the client's interface by itself.
            spawn(command)?
        } else {
            let kernel = !matches!(peer, Peer::Null | Peer::Xdp | Peer::XdpMemo);
            pair.make(namespace, kernel, peer == Peer::NsdOffload)?;
            namespace.run(move || spawn(command).map_err(|error| error.to_string()))??
        };
        let mut server = Self { peer, child };
        server.wait(folder)?;
        Ok(server)
    }

    fn wait(&mut self, folder: &Path) -> Result<(), Error> {
        let name = self.peer.name();
        let log = folder.join("log");
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let end = Instant::now() + START_LIMIT;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{name} ended with {status}:\n{}", said()).into());
            }
            if asks(&self.peer.pair().server()) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(format!("{name} does not answer:\n{}", said()).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        // A tap went with its owner.
        if self.peer != Peer::Tap
            && let Err(error) = self.peer.pair().take_away()
        {
            eprintln!("{error}");
        }
    }
}

impl Server {
    fn end(&mut self) {
        bench_common::processes::end(&mut self.child);
    }
}

fn spawn(mut command: Command) -> Result<Child, Error> {
    command.spawn().map_err(|error| {
        let program = command.get_program().display();
        format!("{program}: {error}").into()
    })
}

/// Whether a question about the zone is answered.
fn asks(server: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.connect((server, 53))?;
        let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in zone::ORIGIN.split('.') {
            query.push(label.len() as u8);
            query.extend(label.as_bytes());
        }
        query.extend([0, 0, 6, 0, 1]);
        socket.send(&query)?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        // NOERROR: a server that has not read its zone yet refuses.
        Ok(length >= 12
            && answer[..2] == query[..2]
            && answer[2] & 0x80 != 0
            && answer[3] & 0xf == 0)
    };
    ask().unwrap_or(false)
}

fn command(
    peer: Peer,
    programs: &Programs,
    zone_file: &Path,
    folder: &Path,
) -> Result<Command, Error> {
    let pair = peer.pair();
    let log = File::create(folder.join("log"))?;
    let mirage = |arguments: &[&str]| {
        let mut zone = std::ffi::OsString::from(format!("{}=", zone::ORIGIN));
        zone.push(zone_file);
        let mut command = Command::new(&programs.mirage);
        command.args(arguments).arg("--zone").arg(zone);
        command
    };
    let mut command = match peer {
        Peer::Null => {
            let mut command = Command::new(&programs.this);
            command.args(["null-responder", &pair.server_interface()]);
            command
        }
        Peer::Xdp | Peer::XdpMemo => {
            let net = format!("xdp={}", pair.server_interface());
            let mut command = mirage(&["--net", &net, "--ip", &format!("{}/24", pair.server())]);
            if peer == Peer::XdpMemo {
                command.args(["--memo", MEMO]);
            }
            command
        }
        Peer::Tap => {
            let net = format!("tap={}", pair.client_interface());
            mirage(&["--net", &net, "--ip", &format!("{}/24", pair.server())])
        }
        Peer::Sockets => mirage(&["--listen", &format!("{}:53", pair.server())]),
        Peer::Nsd | Peer::NsdOffload => {
            let file = folder.join("nsd.conf");
            fs::write(&file, nsd_configuration(&pair.server(), zone_file, folder))?;
            let mut command = Command::new(&programs.nsd);
            command.arg("-d").arg("-c").arg(file);
            command
        }
        Peer::Knot => {
            let file = folder.join("knot.conf");
            fs::write(&file, knot_configuration(&pair.server(), zone_file, folder))?;
            let mut command = Command::new(&programs.knot);
            command.arg("-c").arg(file);
            command
        }
    };
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

/// One server process, no rate limit, nothing that the others don't do.
fn nsd_configuration(address: &str, zone_file: &Path, folder: &Path) -> String {
    let (zone, folder, origin) = (zone_file.display(), folder.display(), zone::ORIGIN);
    format!(
        "server:\n  server-count: 1\n  ip-address: {address}\n  port: 53\n  username: \"\"\n  database: \"\"\n  \
         zonesdir: \"{folder}\"\n  pidfile: \"{folder}/nsd.pid\"\n  xfrdfile: \"{folder}/xfrd.state\"\n  \
         zonelistfile: \"{folder}/zone.list\"\n  xfrdir: \"{folder}\"\n  rrl-ratelimit: 0\n  \
         rrl-whitelist-ratelimit: 0\nremote-control:\n  control-enable: no\n\
         zone:\n  name: \"{origin}\"\n  zonefile: \"{zone}\"\n"
    )
}

/// One UDP worker; what else it has stays idle.
fn knot_configuration(address: &str, zone_file: &Path, folder: &Path) -> String {
    let (zone, folder, origin) = (zone_file.display(), folder.display(), zone::ORIGIN);
    format!(
        "server:\n    rundir: \"{folder}\"\n    listen: {address}@53\n    udp-workers: 1\n    tcp-workers: 1\n    \
         background-workers: 1\nlog:\n  - target: stderr\n    any: notice\n\
         database:\n    storage: \"{folder}\"\n\
         zone:\n  - domain: {origin}\n    file: \"{zone}\"\n    zonefile-sync: -1\n"
    )
}
