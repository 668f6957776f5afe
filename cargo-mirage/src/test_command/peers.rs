//! The programs of others that tests talk to.

use std::env;
use std::process::Command;
use std::time::Duration;

use super::{Context, Failure, Outcome};
use crate::debian::{self, Base, Cache};
use crate::error::Error;
use crate::process::{Log, Task};

/// A program, the Debian package that has it, and how it tells its version.
struct Peer {
    program: &'static str,
    package: &'static str,
    version: &'static [&'static str],
}

const PEERS: &[Peer] = &[
    Peer {
        program: "dig",
        package: "bind9-dnsutils",
        version: &["-v"],
    },
    Peer {
        program: "nsupdate",
        package: "bind9-dnsutils",
        version: &["-V"],
    },
    Peer {
        program: "kdig",
        package: "knot-dnsutils",
        version: &["-V"],
    },
    Peer {
        program: "knsupdate",
        package: "knot-dnsutils",
        version: &["-V"],
    },
    Peer {
        program: "kxdpgun",
        package: "knot-dnsutils",
        version: &["-V"],
    },
    Peer {
        program: "nsd",
        package: "nsd",
        version: &["-v"],
    },
    Peer {
        program: "nsd-checkzone",
        package: "nsd",
        version: &["-h"],
    },
    Peer {
        program: "knotd",
        package: "knot",
        version: &["-V"],
    },
    Peer {
        program: "knotc",
        package: "knot",
        version: &["-V"],
    },
    Peer {
        program: "drill",
        package: "ldnsutils",
        version: &["-v"],
    },
    Peer {
        program: "dnsperf",
        package: "dnsperf",
        version: &["-h"],
    },
    Peer {
        program: "dnsmasq",
        package: "dnsmasq-base",
        version: &["--version"],
    },
    Peer {
        program: "dhcrelay",
        package: "isc-dhcp-relay",
        version: &["--version"],
    },
    Peer {
        program: "busybox",
        package: "busybox",
        version: &["--help"],
    },
    Peer {
        program: "curl",
        package: "curl",
        version: &["--version"],
    },
    Peer {
        program: "chromium",
        package: "chromium",
        version: &["--version"],
    },
    Peer {
        program: "wrk",
        package: "wrk",
        version: &["-v"],
    },
    Peer {
        program: "nginx",
        package: "nginx",
        version: &["-v"],
    },
    Peer {
        program: "ip",
        package: "iproute2",
        version: &["-V"],
    },
    Peer {
        program: "ping",
        package: "iputils-ping",
        version: &["-V"],
    },
];

/// Finds the programs; those that are missing are fetched from Debian into the target folder. Sets the search path.
pub(super) fn fetch(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let mut notes = Vec::new();
    let mut missing = Vec::new();
    for peer in PEERS {
        match debian::find_program(peer.program) {
            Some(path) if !context.fetch => {
                notes.push(format!(
                    "{} ({})",
                    version(&path.display().to_string(), peer, log),
                    path.display()
                ));
            }
            _ => missing.push(peer),
        }
    }
    // The folders for administration are not on every user's path.
    let mut folders: Vec<_> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(Into::into));
    let mut failure = None;
    if !missing.is_empty() {
        match fetch_missing(context, log, &missing) {
            Ok((cache, fetched)) => {
                folders.insert(0, cache.programs());
                for peer in &missing {
                    let script = cache.programs().join(peer.program);
                    notes.push(format!(
                        "{} (fetched)",
                        version(&script.display().to_string(), peer, log)
                    ));
                }
                notes.push(format!(
                    "{fetched} packages fetched and unpacked; see {}",
                    cache.versions().display()
                ));
            }
            Err(error) => {
                let names: Vec<&str> = missing.iter().map(|peer| peer.program).collect();
                failure = Some((names.join(", "), error));
            }
        }
    }
    if let Ok(path) = env::join_paths(folders) {
        // Set once: this step runs once.
        let _ = context.path.set(path);
    }
    match failure {
        None => Outcome::passed(format!("{} programs\n{}", PEERS.len(), notes.join("\n"))),
        // Where there is no apt, the tests that need these programs say so themselves.
        Some((names, error @ Error::Unsupported { .. })) => Outcome::skipped(format!(
            "{names} missing, and {error}: tests that need them will not pass"
        )),
        Some((names, error)) => Err(Failure(format!(
            "{names} missing, and not to be fetched: {error}"
        ))),
    }
}

fn fetch_missing(
    context: &Context<'_>,
    log: &Log,
    missing: &[&Peer],
) -> Result<(Cache, usize), Error> {
    let cache = Cache::new(&context.target("debian"), Base::Installed)?;
    let mut packages: Vec<&str> = missing.iter().map(|peer| peer.package).collect();
    packages.sort_unstable();
    packages.dedup();
    let fetched = cache.fetch(&packages, log, |line| {
        context.progress.set_message(line.to_owned())
    })?;
    for peer in missing {
        cache.wrap(peer.program)?;
    }
    Ok((cache, fetched.len()))
}

/// What the program says of its version: the first line with a number like 1.2, or else the first.
fn version(path: &str, peer: &Peer, log: &Log) -> String {
    let mut command = Command::new(path);
    command.args(peer.version);
    let finished = Task::new(command, Duration::from_secs(10)).run(log, |_| {});
    let line = finished.ok().and_then(|finished| {
        let is_number = |three: &[u8]| matches!(three, [b'0'..=b'9', b'.', b'0'..=b'9']);
        let mut lines = finished.output.lines();
        let line = lines.find(|line| line.as_bytes().windows(3).any(is_number));
        let line = line.or_else(|| finished.output.lines().next());
        line.map(str::to_owned)
    });
    match line {
        Some(line) if peer.program != "nsd-checkzone" => line,
        _ => peer.program.to_owned(),
    }
}
