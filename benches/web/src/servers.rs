//! Who answers: ours and nginx, each a process.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bench_common::report::Error;
use cargo_mirage::debian;
use serde::{Deserialize, Serialize};

/// The page: 1,024 octets.
pub(crate) const PAGE: &str = {
    const OCTETS: [u8; 1_024] = {
        let mut octets = [b'.'; 1_024];
        let (head, tail) = (*b"<!DOCTYPE html><title>1 kB</title><p>", *b"</p>\n");
        let mut at = 0;
        while at < head.len() {
            octets[at] = head[at];
            at += 1;
        }
        let mut at = 0;
        while at < tail.len() {
            octets[1_024 - tail.len() + at] = tail[at];
            at += 1;
        }
        octets
    };
    match core::str::from_utf8(&OCTETS) {
        Ok(page) => page,
        Err(_) => panic!("the page is ASCII"),
    }
};

/// How long a server may take to answer.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum System {
    /// Ours with the system's sockets.
    Sockets,
    /// Ours on its own stack, over a tap.
    Tap,
    /// nginx with one worker.
    Nginx,
}

impl System {
    /// All, in the order of their rows.
    pub(crate) const ALL: [Self; 3] = [Self::Sockets, Self::Tap, Self::Nginx];

    /// What it is called in figures.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sockets => "mirage, sockets",
            Self::Tap => "mirage, own TCP on a tap",
            Self::Nginx => "nginx, one worker",
        }
    }

    /// Where it serves.
    pub(crate) const fn address(self) -> &'static str {
        match self {
            Self::Sockets => "127.0.0.1:8080",
            Self::Tap => "10.97.0.2:80",
            Self::Nginx => "127.0.0.1:8081",
        }
    }
}

/// The programs, where they are.
pub(crate) struct Programs {
    mirage: PathBuf,
    nginx: PathBuf,
    pub(crate) wrk: PathBuf,
}

impl Programs {
    /// Debian's, and ours, which was built.
    pub(crate) fn find(mirage: PathBuf) -> Result<Self, Error> {
        let find = |name: &str, package: &str| {
            debian::find_program(name).ok_or_else(|| {
                format!("`{name}` is not on PATH: install Debian's package {package}")
            })
        };
        Ok(Self {
            mirage,
            nginx: find("nginx", "nginx")?,
            wrk: find("wrk", "wrk")?,
        })
    }

    /// What they say of their versions.
    pub(crate) fn versions(&self) -> Result<Vec<String>, Error> {
        [&self.nginx, &self.wrk]
            .map(|program| {
                let output = Command::new(program).arg("-v").output()?;
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said).into_owned();
                Ok(said.lines().next().unwrap_or_default().to_owned())
            })
            .into_iter()
            .collect()
    }
}

/// A running server; ended when it is dropped.
pub(crate) struct Server {
    pub(crate) system: System,
    child: Child,
}

impl Server {
    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Starts it with the site, and waits until it answers with the page.
    pub(crate) fn start(
        system: System,
        programs: &Programs,
        site: &Path,
        folder: &Path,
        connections: usize,
    ) -> Result<Self, Error> {
        let log_path = folder.join("log");
        let log = File::create(&log_path)?;
        let mut command = command(system, programs, site, folder, connections)?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn()?;
        let mut server = Self { system, child };
        let said = || fs::read_to_string(&log_path).unwrap_or_default();
        let (end, name) = (Instant::now() + START_LIMIT, system.name());
        while Instant::now() < end {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{name} ended with {status}:\n{}", said()).into());
            }
            if answers(system.address()).unwrap_or(false) {
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(format!("{name} does not answer:\n{}", said()).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        bench_common::processes::end(&mut self.child);
    }
}

fn answers(address: &str) -> std::io::Result<bool> {
    let address = address.parse().map_err(std::io::Error::other)?;
    let limit = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(PAGE))
}

fn command(
    system: System,
    programs: &Programs,
    site: &Path,
    folder: &Path,
    connections: usize,
) -> Result<Command, Error> {
    let mirage = |arguments: &[&str]| {
        let mut command = Command::new(&programs.mirage);
        // Room for those of the load before that are being closed.
        let places = (4 * connections).clamp(64, 4_096).to_string();
        command
            .args(["--connections", &places])
            .args(arguments)
            .arg("--site")
            .arg(site);
        command
    };
    Ok(match system {
        System::Sockets => mirage(&["--listen", system.address()]),
        System::Tap => mirage(&["--net", "tap=bench-web", "--ip", "10.97.0.2/24"]),
        System::Nginx => {
            let file = folder.join("nginx.conf");
            fs::write(&file, nginx_configuration(system.address(), site, folder))?;
            let mut command = Command::new(&programs.nginx);
            command.arg("-c").arg(file).arg("-p").arg(folder);
            command
        }
    })
}

/// One worker, no log, files kept open, who is silent not accepted yet: as fast as it can be with what the others do, too.
fn nginx_configuration(address: &str, site: &Path, folder: &Path) -> String {
    let (site, folder) = (site.display(), folder.display());
    format!(
        "daemon off;\nmaster_process on;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr error;\n\
         user root;\nevents {{ worker_connections 1024; }}\nhttp {{\n  types {{ text/html html; }}\n  access_log off;\n  \
         sendfile on;\n  tcp_nopush on;\n  open_file_cache max=100 inactive=60s;\n  keepalive_requests 1000;\n  \
         client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  fastcgi_temp_path {folder}/fastcgi;\n  \
         uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n  \
         server {{ listen {address} backlog=1024 deferred; root {site}; }}\n}}\n"
    )
}
