//! An appliance and a Linux guest side by side in one lab, under loads over TCP, in turns.

use core::net::{Ipv4Addr, SocketAddr};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use bench_common::machine::Machine;
use bench_common::report::{Error, Results};
use bench_common::rounds;
use cargo_mirage::lab::Lab;
use cargo_mirage::lab::guest::Guest;
use cargo_mirage::lab::network::{Port, Protocol};
use cargo_mirage::process::Log;
use serde::{Deserialize, Serialize};

use crate::arguments::Arguments;
use crate::comparison::{Counted, IdleRow, LoadRow, Report, Settings, Subject};
use crate::laboratory::{Prepared, Progress, versions};
use crate::linux_guest::LinuxGuest;
use crate::meter::Meter;

/// How long a guest may take until it takes connections.
const BOOT_LIMIT: Duration = Duration::from_secs(240);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The appliance: a PVH guest.
    Mirage,
    /// Linux: a PV guest.
    Linux,
}

impl Side {
    /// Both, in the order of their places.
    pub const ALL: [Self; 2] = [Self::Mirage, Self::Linux];
}

/// The two, before they run.
#[derive(Debug)]
pub struct Pair<'a> {
    /// The appliance's image.
    pub prepared: &'a Prepared,
    /// The peer.
    pub linux: &'a LinuxGuest,
    /// The ports that both serve; the first takes a connection when all do.
    pub ports: &'a [u16],
    /// The packages whose versions are told besides.
    pub packages: &'a [&'a str],
}

/// A guest that takes connections.
#[derive(Clone, Copy, Debug)]
struct Running {
    side: Side,
    domain: u32,
    address: Ipv4Addr,
}

/// Where a guest's ports are reached from the host.
#[derive(Debug)]
pub struct Ports<'a> {
    lab: &'a Lab,
    address: Ipv4Addr,
}

impl Ports<'_> {
    /// One of them.
    ///
    /// # Errors
    ///
    /// Says so if the lab forwards none to it, where there is no tap.
    pub fn at(&self, port: u16) -> Result<SocketAddr, Error> {
        if self.lab.has_tap() {
            return Ok(SocketAddr::from((self.address, port)));
        }
        let mut forwards = self.lab.forwards().iter();
        let forward = forwards
            .find(|forward| forward.address == self.address && forward.port.number == port)
            .ok_or("the lab forwards no port to a guest")?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, forward.local)))
    }
}

impl Pair<'_> {
    /// Starts a lab with both, puts the loads on them in turns, and gives the report. `load` puts the load of that number in
    /// [`Settings::loads`] on a guest, and says what came of it.
    ///
    /// # Errors
    ///
    /// Those of the lab; what `load` says.
    pub fn measure<S: Subject>(
        &self,
        arguments: &Arguments,
        settings: Settings,
        log: &Log,
        progress: Progress,
        mut load: impl FnMut(&Ports<'_>, usize) -> Result<Counted, Error>,
    ) -> Result<Report<S>, Error> {
        let machine = Machine::before();
        let tcp = |&number: &u16| Port {
            protocol: Protocol::Tcp,
            number,
        };
        let ports: Vec<Port> = self.ports.iter().map(tcp).collect();
        let lab = self
            .prepared
            .start(arguments, vec![ports; Side::ALL.len()], progress)?;
        let meter = Meter::install(&lab)?;
        let mut guests = Vec::new();
        for side in Side::ALL {
            progress.say(format!("starting {}", S::name_of(side)));
            guests.push(self.start(&lab, side, settings.memory_mib)?);
        }
        let versions = versions(&lab, self.linux, self.packages, log)?;
        let mut report = Report::new(settings, machine, versions, lab.has_tap());
        let settings = report.settings.clone();
        let mut last = None;
        for (run, guest) in rounds::alternate(settings.runs, &guests) {
            let say = |what: &str| {
                progress.say(format!("round {} of {}: {what}", run + 1, settings.runs));
            };
            if last != Some(run) {
                last = Some(run);
                say("nobody asks");
                let before = meter.read()?;
                thread::sleep(Duration::from_secs(settings.idle_seconds.into()));
                let after = meter.read()?;
                for guest in &guests {
                    report.idle.push(IdleRow {
                        side: guest.side,
                        run,
                        interval: after.since(&before, guest.domain)?,
                    });
                }
            }
            for (number, name) in settings.loads.iter().enumerate() {
                say(&format!("{}, {name}", S::name_of(guest.side)));
                let ports = Ports {
                    lab: &lab,
                    address: guest.address,
                };
                let before = meter.read()?;
                let counted = load(&ports, number)
                    .map_err(|error| format!("{}, {name}: {error}", S::name_of(guest.side)))?;
                let after = meter.read()?;
                report.loads.push(LoadRow {
                    side: guest.side,
                    load: name.clone(),
                    run,
                    counted,
                    guest: after.since(&before, guest.domain)?,
                    dom0: after.since(&before, 0)?,
                });
            }
        }
        drop(lab);
        report.machine = report.machine.after();
        report.conclude();
        Ok(report)
    }

    fn start(&self, lab: &Lab, side: Side, memory: u32) -> Result<Running, Error> {
        let guest = match side {
            Side::Mirage => {
                let mut guest = Guest::new("mirage", self.prepared.image.elf.clone())?;
                guest.memory = memory;
                guest
            }
            Side::Linux => self.linux.guest("linux", memory)?,
        };
        let address = lab.create(&guest)?.address;
        let domain = lab.dom0(&format!("xl domid {}", guest.name), b"")?.text();
        let domain = domain.trim().parse()?;
        let first = self.ports.first().ok_or("no port to ask")?;
        let at = Ports { lab, address }.at(*first)?;
        let end = Instant::now() + BOOT_LIMIT;
        while let Err(error) = TcpStream::connect_timeout(&at, Duration::from_secs(1)) {
            if Instant::now() > end {
                let said = lab.record().tail(&guest.name, 15).join("\n");
                return Err(format!(
                    "the guest `{}` takes no connection: {error}; the end of its console:\n{said}\n(all: {})",
                    guest.name,
                    lab.record().log().path().display()
                )
                .into());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(Running {
            side,
            domain,
            address,
        })
    }
}
