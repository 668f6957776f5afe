//! A lab on the command line: the user's command in it, or waiting for its end.

use core::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::MIRAGE_LAB;
use crate::error::{Error, Fault};
use crate::lab::guest::{self, Guest, Place};
use crate::lab::network::Port;
use crate::lab::{Lab, Reason};
use crate::process::{self, Signals};
use crate::workspace;

/// How often what may happen is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How long a command of the user's may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(5);

/// A lab with its guests.
pub(super) struct Session {
    pub(super) lab: Lab,
    pub(super) guests: Vec<Known>,
}

/// What the user has been told of a guest.
pub(super) struct Known {
    name: String,
    place: Place,
    ports: Vec<Port>,
    ready: bool,
    ended: Option<Reason>,
}

impl Known {
    /// A guest that was created just now.
    pub(super) fn new(guest: &Guest, place: Place) -> Self {
        Self {
            name: guest.name.clone(),
            place,
            ports: guest.ports.clone(),
            ready: false,
            ended: None,
        }
    }
}

impl Session {
    /// The variables for commands of the user's.
    fn environment(&self) -> Vec<(String, String)> {
        let mut environment = vec![(
            MIRAGE_LAB.to_owned(),
            self.lab.control().display().to_string(),
        )];
        for guest in &self.guests {
            let address = if self.lab.has_tap() {
                guest.place.address
            } else {
                Ipv4Addr::LOCALHOST
            };
            let name = guest::variable(&guest.name);
            environment.push((format!("{name}_IP"), address.to_string()));
            for port in &guest.ports {
                let forward = self.lab.forwards().iter().find(|forward| {
                    forward.address == guest.place.address && forward.port == *port
                });
                let number = forward.map_or(port.number, |forward| forward.local);
                let port = port.to_string().to_ascii_uppercase().replace('/', "_");
                environment.push((format!("{name}_PORT_{port}"), number.to_string()));
            }
        }
        environment
    }

    /// Runs the user's command; its status.
    pub(super) fn execute(mut self, command: &str, signals: &Signals) -> Result<u8, Error> {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).envs(self.environment());
        workspace::clean_environment(&mut shell);
        let line = format!("$ {command}");
        self.lab.record().line("lab", &line);
        // In our process group: the terminal is its own, too.
        let mut child = shell.spawn().map_err(|source| Error::CannotStart {
            program: "sh".into(),
            source,
        })?;
        let mut told: Option<Instant> = None;
        loop {
            let ended = child.try_wait().map_err(|source| Error::CannotStart {
                program: "wait".into(),
                source,
            })?;
            if let Some(status) = ended {
                self.lab.record().line("lab", &format!("{line}: {status}"));
                return Ok(signals.received().map_or_else(
                    || process::exit_code(status),
                    |signal| u8::try_from(128 + signal).unwrap_or(1),
                ));
            }
            match (signals.received(), told) {
                (Some(signal), None) => {
                    pass_on(&child, signal);
                    told = Some(Instant::now());
                }
                (Some(_), Some(when)) if when.elapsed() > GRACE => {
                    let _ = child.kill();
                }
                _ => {}
            }
            for (name, reason) in self.news() {
                match reason {
                    Reason::Crash => eprintln!("{}", self.lab.guest_failed(&name, "has crashed")),
                    other => eprintln!("{name}: {other}"),
                }
            }
            if self.lab.is_gone() && told.is_none() {
                eprintln!("the lab has ended; the log: {}", self.log().display());
                told = Some(Instant::now());
            }
            self.lab.record().wait(LOOK);
        }
    }

    /// Waits until the user, or all guests, end it.
    pub(super) fn wait(mut self, signals: &Signals) -> Result<u8, Error> {
        for guest in &self.guests {
            println!("{}: {}", guest.name, guest.place.address);
            for forward in self.lab.forwards() {
                if forward.address == guest.place.address {
                    println!(
                        "{}: {} is {}:{} here",
                        guest.name,
                        forward.port,
                        Ipv4Addr::LOCALHOST,
                        forward.local
                    );
                }
            }
        }
        println!("Ctrl-C ends the lab; its log: {}", self.log().display());
        loop {
            for guest in &mut self.guests {
                if !guest.ready && self.lab.record().ready(&guest.name).is_some() {
                    guest.ready = true;
                    println!("{}: ready", guest.name);
                }
            }
            for (name, reason) in self.news() {
                if reason == Reason::Crash {
                    return Err(self.lab.guest_failed(&name, "has crashed"));
                }
                println!("{name}: {reason}");
            }
            if self.guests.iter().all(|guest| guest.ended.is_some()) {
                return Ok(0);
            }
            if let Some(signal) = signals.received() {
                // Ctrl-C is how it is meant to end.
                return Ok(if signal == signal_hook::consts::SIGINT {
                    0
                } else {
                    u8::try_from(128 + signal).unwrap_or(1)
                });
            }
            if self.lab.is_gone() {
                return Err(Error::Lab {
                    reason: "the lab's machine has ended".into(),
                    tail: self.lab.record().tail("xen", 10),
                    log: self.log(),
                    fault: Fault::Machine,
                });
            }
            self.lab.record().wait(LOOK);
        }
    }

    /// The guests that have ended since the last time.
    fn news(&mut self) -> Vec<(String, Reason)> {
        let mut news = Vec::new();
        for guest in &mut self.guests {
            let now = self.lab.ended(&guest.name);
            if now != guest.ended {
                guest.ended = now;
                news.extend(now.map(|reason| (guest.name.clone(), reason)));
            }
        }
        news
    }

    fn log(&self) -> PathBuf {
        self.lab.record().log().path().to_path_buf()
    }
}

fn pass_on(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
        // It has not been waited for: the number is its own still.
        let _ = kill_process(pid, signal);
    }
}
