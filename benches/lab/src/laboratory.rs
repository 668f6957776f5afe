//! A lab with what is measured in it.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bench_common::report::Error;
use cargo_mirage::build_command::{self, Product};
use cargo_mirage::lab::guest::{Guest, Place};
use cargo_mirage::lab::machine::Emulation;
use cargo_mirage::lab::network::Port;
use cargo_mirage::lab::{Lab, Options};
use cargo_mirage::process::{self, Log};
use cargo_mirage::workspace::Workspace;
use serde::{Deserialize, Serialize};

use crate::arguments::Arguments;
use crate::linux_guest::{LinuxGuest, version_in};
use crate::meter::{Boot, Meter, Watch};

/// What the processor of the lab is given besides: a random number generator, for the appliance needs one.
const PROCESSOR: &str = "+rdrand,+rdseed";

/// The two systems that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// The DNS appliance: a PVH guest.
    Mirage,
    /// Linux with NSD: a PV guest.
    LinuxNsd,
}

impl System {
    /// Its name in figures, with the kind of guest that it is.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mirage => "mirage dns (PVH)",
            Self::LinuxNsd => "Linux with NSD (PV)",
        }
    }

    /// The beginning of its guests' names.
    pub const fn guest_name(self) -> &'static str {
        match self {
            Self::Mirage => "dns",
            Self::LinuxNsd => "linux-nsd",
        }
    }
}

/// Says what goes on, with the seconds since the start, on the standard error.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    begun: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
        }
    }
}

impl Progress {
    /// Says it.
    pub fn say(&self, line: impl AsRef<str>) {
        eprintln!("{:5} s  {}", self.begun.elapsed().as_secs(), line.as_ref());
    }
}

/// The folder for what is fetched and made for benchmarks, below the target folder.
pub fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("bench-lab")
}

/// What is there before a lab starts: the checkout, and an appliance's image.
#[derive(Debug)]
pub struct Prepared {
    /// The checkout.
    pub workspace: Workspace,
    /// The appliance.
    pub image: Product,
}

impl Prepared {
    /// Finds the checkout and builds the DNS appliance; in a quick run the image of the build before will do.
    ///
    /// # Errors
    ///
    /// Those of finding and building.
    pub fn new(arguments: &Arguments, progress: Progress) -> Result<Self, Error> {
        let workspace = Workspace::find(None)?;
        let options = build_command::Options {
            again: arguments.quick,
            ..build_command::Options::default()
        };
        Self::with_image(workspace, "dns", options, progress)
    }

    /// Builds an appliance.
    ///
    /// # Errors
    ///
    /// Those of building.
    pub fn with_image(
        workspace: Workspace,
        appliance: &str,
        options: build_command::Options<'_>,
        progress: Progress,
    ) -> Result<Self, Error> {
        progress.say(format!("building the image of {appliance}"));
        let image = build_command::build(&workspace, appliance, options)?.into_product()?;
        Ok(Self { workspace, image })
    }

    /// A log for what is done outside of the lab.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn log(&self, name: &str) -> Result<Log, Error> {
        Ok(Log::create(
            &folder(&self.workspace).join(format!("{name}.log")),
        )?)
    }

    /// Starts a lab. `ports` are those that guests serve, by the guest's number.
    ///
    /// # Errors
    ///
    /// Those of the lab.
    pub fn start(
        &self,
        arguments: &Arguments,
        ports: Vec<Vec<Port>>,
        progress: Progress,
    ) -> Result<Lab, Error> {
        // What ends us ends the lab.
        process::pass_signals_on()?;
        let mut options = Options::new(&self.workspace.target());
        options.source = arguments.source();
        options.user_network = arguments.user_network;
        options.cpu_features = PROCESSOR.into();
        options.emulation = match arguments.quick {
            // Other things may go on beside it.
            true => Emulation::InTurns,
            false => Emulation::AtOnce,
        };
        options.ports = ports;
        Ok(Lab::start(&options, |line| progress.say(line))?)
    }
}

/// The folder of a guest's files in dom0.
fn folder_in_dom0(guest: &str) -> String {
    format!("/bench/{guest}")
}

/// A guest whose files are in dom0, to be created over and over.
#[derive(Debug)]
pub struct Installed<'a> {
    lab: &'a Lab,
    meter: Meter<'a>,
    guest: Guest,
    place: Place,
    boots: Cell<u32>,
}

/// One boot: what was seen from dom0, and what the guest said on its console.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was seen.
    pub boot: Boot,
    /// What it said.
    pub console: String,
}

impl<'a> Installed<'a> {
    /// Puts a guest's files into dom0. `index` is its place in the lab's network.
    ///
    /// # Errors
    ///
    /// Those of the lab, and of files that can't be read.
    pub fn new(lab: &'a Lab, meter: Meter<'a>, guest: Guest, index: usize) -> Result<Self, Error> {
        let folder = folder_in_dom0(&guest.name);
        for (name, path) in [
            ("image", Some(&guest.image)),
            ("ramdisk", guest.ramdisk.as_ref()),
        ] {
            if let Some(path) = path {
                let bytes =
                    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
                lab.put(&format!("{folder}/{name}"), &bytes)?;
            }
        }
        let place = Place::new(lab.subnet(), index)?;
        Ok(Self {
            lab,
            meter,
            guest,
            place,
            boots: Cell::new(0),
        })
    }

    /// Where it is in the network.
    pub fn place(&self) -> Place {
        self.place
    }

    /// How it is to be watched: for how long at most, and with how many queries after its first answer.
    pub fn watch(&self, limit: Duration, queries: u32) -> Watch {
        Watch {
            place: self.place,
            limit,
            queries,
        }
    }

    /// Boots it with that memory in MiB, and takes away its domain if `keep` is not set.
    ///
    /// # Errors
    ///
    /// Those of the lab. A guest that does not come up is no error.
    pub fn boot(&self, memory: u32, watch: Watch, keep: bool) -> Result<Run, Error> {
        let folder = folder_in_dom0(&self.guest.name);
        let mut guest = self.guest.clone();
        guest.memory = memory;
        // Each domain has a name of its own, and with it a console log of its own.
        self.boots.set(self.boots.get() + 1);
        guest.name = format!("{}-{}", guest.name, self.boots.get());
        let name = &guest.name;
        let configuration = guest.configuration(&self.place, &folder)?;
        let path = format!("{folder}/configuration");
        self.lab.put(&path, configuration.as_bytes())?;
        let boot = self.meter.boot(watch, &format!("xl create -q {path}"))?;
        let console = self.lab.dom0(
            &format!("cat /var/log/xen/console/guest-{name}.log 2>/dev/null"),
            b"",
        )?;
        let console = console.text();
        for line in console.lines() {
            self.lab.record().line(name, line);
        }
        if !keep {
            // Where xl failed to create it, there is none any more.
            self.lab
                .dom0(&format!("xl destroy {name} 2>/dev/null"), b"")?;
        }
        Ok(Run { boot, console })
    }

    /// Boots it, with its failure if it does not come up.
    ///
    /// # Errors
    ///
    /// Those of the lab; else why it did not come up, with the end of its console and the name of the lab's log.
    pub fn must_boot(&self, memory: u32, watch: Watch, keep: bool) -> Result<Run, Error> {
        let run = self.boot(memory, watch, keep)?;
        let Some(failure) = run.boot.failure(watch) else {
            return Ok(run);
        };
        let lines: Vec<&str> = run.console.lines().collect();
        let end = lines[lines.len().saturating_sub(15)..].join("\n");
        Err(format!(
            "the guest `{}` with {memory} MiB: {failure}; the end of its console:\n{end}\n(all: {})",
            self.guest.name,
            self.lab.record().log().path().display()
        )
        .into())
    }
}

/// What was compared on, for the JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// This project's, by the version of its tool.
    pub mirage: String,
    /// The compiler.
    pub rustc: String,
    /// Xen's package.
    pub xen: String,
    /// QEMU, as it says itself; it emulates the processor (TCG) for both.
    pub qemu: String,
    /// The Linux guest's kernel; empty where there was none.
    pub linux: String,
    /// NSD's package; empty where there was none.
    pub nsd: String,
    /// dnsperf; empty where it was not used.
    pub dnsperf: String,
}

impl Versions {
    /// Those of a lab and of its Linux guest.
    ///
    /// # Errors
    ///
    /// Those of calling QEMU.
    pub fn of(lab: &Lab, linux: Option<&LinuxGuest>, log: &Log) -> Result<Self, Error> {
        let versions = lab.packages().versions();
        let xen = versions
            .lines()
            .find(|line| line.starts_with("xen-hypervisor-"))
            .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "));
        Ok(Self {
            mirage: env!("CARGO_PKG_VERSION").into(),
            rustc: bench_common::machine::rustc_version(),
            xen: xen.unwrap_or_default(),
            qemu: qemu_version(lab, log)?,
            linux: linux.map(LinuxGuest::kernel_version).unwrap_or_default(),
            nsd: linux.map(|linux| linux.version("nsd")).unwrap_or_default(),
            dnsperf: String::new(),
        })
    }
}

/// What was compared on, a line each; and what is in those packages of the Linux guest's or the load's.
///
/// # Errors
///
/// Those of calling QEMU.
pub fn versions(
    lab: &Lab,
    linux: &LinuxGuest,
    packages: &[&str],
    log: &Log,
) -> Result<Vec<String>, Error> {
    let Versions {
        mirage,
        rustc,
        xen,
        qemu,
        linux: kernel,
        ..
    } = Versions::of(lab, Some(linux), log)?;
    let mut versions = vec![format!("mirage {mirage}"), rustc, xen, qemu, kernel];
    for package in packages {
        versions.push(format!("{package} {}", linux.version(package)));
    }
    Ok(versions)
}

fn qemu_version(lab: &Lab, log: &Log) -> Result<String, Error> {
    let unpacked = version_in(lab.packages().versions(), "qemu-system-x86");
    if !unpacked.is_empty() {
        return Ok(unpacked);
    }
    let mut command = std::process::Command::new("qemu-system-x86_64");
    command.arg("--version");
    let finished = process::Task::new(command, Duration::from_secs(20)).run(log, |_| {})?;
    Ok(finished
        .output
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned())
}
