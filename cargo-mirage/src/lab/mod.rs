//! A laboratory: a real Xen with a real dom0 and its toolstack, in a machine that QEMU emulates.
//!
//! No virtualisation hardware is needed, and none is used: the emulated processor has AMD's, so that Xen runs appliances
//! as PVH guests. A lab is one network; see [`network`] for its addresses.
//!
//! | type | what it is |
//! | --- | --- |
//! | [`Lab`] | a lab that runs; guests are created in it, commands are run in its dom0; it ends when dropped |
//! | [`Options`] | what is to be known before one starts |
//! | [`guest::Guest`] | a guest to be created |
//! | [`packages::Packages`] | the unpacked Debian packages that Xen, dom0, and QEMU if need be, are taken from |
//! | [`initramfs::Builder`] | a root file system of what is in the packages: dom0's, or a Linux guest's to compare with |
//! | [`record::Record`] | the log: all that Xen, dom0 and the guests print |
//!
//! ```no_run
//! use cargo_mirage::lab::{Lab, Options, guest::Guest};
//!
//! # fn main() -> Result<(), cargo_mirage::error::Error> {
//! let lab = Lab::start(&Options::new("target".as_ref()), |line| eprintln!("{line}"))?;
//! let dns = lab.create(&Guest::new("dns", "target/appliances/dns.elf".into())?)?;
//! lab.wait_until_ready("dns", std::time::Duration::from_secs(60))?;
//! println!("{} answers; {}", dns.address, lab.dom0("xl list", b"")?.text());
//! # Ok(())
//! # }
//! ```

mod archive;
pub mod channel;
pub mod command;
pub mod control;
pub mod cpio;
pub mod dhcp;
pub mod dom0;
pub mod elf;
pub mod frame;
pub mod guest;
pub mod initramfs;
pub mod machine;
pub mod monitor;
pub mod network;
pub mod packages;
mod power;
pub mod record;
pub mod run_folder;
mod shutdown;
pub mod snapshot;
mod start;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Fault};
use crate::lab::channel::{Output, Running};
use crate::lab::guest::{Guest, Place};
use crate::lab::machine::{Emulation, Link, Machine};
use crate::lab::network::{Forward, Port, Reservation, Subnet};
use crate::lab::packages::{Packages, Source};
use crate::lab::power::Power;
use crate::lab::record::Record;
use crate::lab::run_folder::RunFolder;
use crate::lab::watch::{Shared, State};
use crate::process::Background;

pub use crate::lab::shutdown::Reason;

/// How long a command in dom0 may take, if it is one of ours or has no limit of its own.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// How many lines of a console are shown in a report.
const TAIL: usize = 25;

/// What is to be known before a lab starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder for what is fetched and made; the lab's own are below `lab` in it.
    pub target: PathBuf,
    /// Where packages come from.
    pub source: Source,
    /// Whether to look for newer packages than those that are there.
    pub refresh: bool,
    /// The memory of the whole machine, in MiB.
    pub memory: u32,
    /// dom0's part of it, in MiB.
    pub dom0_memory: u32,
    /// Features added to the processor, as QEMU spells them: `+rdrand,+rdseed`.
    pub cpu_features: String,
    /// How its processors are emulated.
    pub emulation: Emulation,
    /// The network; by default a free one.
    pub subnet: Option<Subnet>,
    /// Use QEMU's user network even where a tap could be made.
    pub user_network: bool,
    /// The ports that guests serve, by the guest's number: what is forwarded in a user network.
    pub ports: Vec<Vec<Port>>,
    /// Start from the saved state of a machine whose dom0 has just come up, or save one.
    pub snapshot: bool,
    /// Give each domain that appears random bytes, in `data/mirage-seed` of its home in xenstore.
    pub seeds: bool,
    /// Show the guests' consoles on the standard error.
    pub show_consoles: bool,
}

impl Options {
    /// A machine with 2 GiB, a quarter of it dom0's, from the machine's own apt sources.
    pub fn new(target: &Path) -> Self {
        Self {
            target: target.to_path_buf(),
            source: Source::Apt,
            refresh: false,
            memory: 2048,
            dom0_memory: 512,
            cpu_features: String::new(),
            emulation: Emulation::default(),
            subnet: None,
            user_network: false,
            ports: Vec::new(),
            snapshot: true,
            seeds: true,
            show_consoles: false,
        }
    }
}

/// A lab that runs. Dropping it ends QEMU and all in it; the log stays.
#[derive(Debug)]
pub struct Lab {
    shared: Arc<Shared>,
    packages: Packages,
    subnet: Subnet,
    forwards: Vec<Forward>,
    has_tap: bool,
    // Ended in this order.
    qemu: Mutex<Background>,
    _reservation: Reservation,
    folder: RunFolder,
}

impl Lab {
    /// Fetches what is missing and makes what a machine starts from, and starts none: what needs the host's own network, before a
    /// lab starts in a network namespace.
    ///
    /// # Errors
    ///
    /// Those of [`Packages::prepare`].
    pub fn prepare(options: &Options, mut on_line: impl FnMut(&str)) -> Result<(), Error> {
        let home = options.target.join("lab");
        let home = std::path::absolute(&home).map_err(Error::file("find", &home))?;
        let folder = RunFolder::create(&home)?;
        let record = Record::create(&folder.log(), false)?;
        start::prepare(options, &home, &record, &mut on_line)?;
        Ok(())
    }

    /// Fetches what is missing, starts the machine, and waits until xl works in it. `on_line` is told what is done.
    ///
    /// # Errors
    ///
    /// Those of [`Packages::prepare`] and [`network::choose`]; [`Error::Lab`] if the machine does not come up.
    pub fn start(options: &Options, mut on_line: impl FnMut(&str)) -> Result<Self, Error> {
        let home = options.target.join("lab");
        let home = std::path::absolute(&home).map_err(Error::file("find", &home))?;
        let folder = RunFolder::create(&home)?;
        let record = Arc::new(Record::create(&folder.log(), options.show_consoles)?);
        let (packages, boot) = start::prepare(options, &home, &record, &mut on_line)?;
        on_line("starting Xen");
        let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
        let has_tap = !options.user_network && start::may_make_taps();
        let (reservation, subnet) = if has_tap {
            network::choose(options.subnet, &network::parse_routes(&routes))?
        } else {
            // Nothing of the user network is seen outside QEMU.
            network::choose(options.subnet, &[])?
        };
        let link = if has_tap {
            Link::Tap {
                interface: reservation.interface(),
            }
        } else {
            Link::User {
                forwards: start::forwards(subnet, &options.ports)?,
            }
        };
        let machine = Machine {
            memory: options.memory,
            dom0_memory: options.dom0_memory,
            cpu_features: options.cpu_features.clone(),
            emulation: options.emulation,
            subnet,
            link,
        };
        let power = Power {
            machine: &machine,
            packages: &packages,
            boot: &boot,
            folder: folder.path(),
            record: &record,
        };
        let power::Running {
            qemu,
            lines,
            channel,
        } = power.on(&home, options.snapshot)?;
        let shared = Arc::new(Shared {
            channel,
            record,
            guests: Mutex::default(),
            gone: AtomicBool::new(false),
        });
        shared.pass_on(lines);
        let lab = Self {
            shared,
            packages,
            subnet,
            forwards: match machine.link {
                Link::Tap { .. } => Vec::new(),
                Link::User { forwards } => forwards,
            },
            has_tap,
            qemu: Mutex::new(qemu),
            _reservation: reservation,
            folder,
        };
        lab.set_up_dom0(options.seeds)?;
        Ok(lab)
    }

    fn set_up_dom0(&self, seeds: bool) -> Result<(), Error> {
        let script = format!(
            "ip link add xenbr0 type bridge && ip address add {}/24 dev xenbr0 && ip link set xenbr0 up && \
             ip link set eth0 up && ip link set eth0 master xenbr0 && mkdir -p /lab/guests",
            self.subnet.dom0()
        );
        self.must(&script, b"")?;
        self.shared.watch()?;
        self.shared.name_domains(seeds)?;
        control::serve(&self.folder.control(), &self.shared.channel)
    }

    /// The log.
    pub fn record(&self) -> &Arc<Record> {
        &self.shared.record
    }

    /// The packages that it was made of.
    pub fn packages(&self) -> &Packages {
        &self.packages
    }

    /// The socket on which it takes commands for its dom0: what `MIRAGE_LAB` is set to.
    pub fn control(&self) -> PathBuf {
        self.folder.control()
    }

    /// Whether the host is on the lab's network; else [`Lab::forwards`] says how to reach it.
    pub fn has_tap(&self) -> bool {
        self.has_tap
    }

    /// The network.
    pub fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// The ports of the loopback address that lead to guests; none with a tap.
    pub fn forwards(&self) -> &[Forward] {
        &self.forwards
    }

    /// Runs a script in dom0 with that input, and gives its output and status, whatever that is.
    ///
    /// # Errors
    ///
    /// [`Error::ProgramFailed`] if dom0 is gone, or the script takes longer than [`COMMAND_LIMIT`].
    pub fn dom0(&self, script: &str, input: &[u8]) -> Result<Output, Error> {
        self.dom0_within(script, input, COMMAND_LIMIT)
    }

    /// The same, with another limit.
    ///
    /// # Errors
    ///
    /// [`Error::ProgramFailed`] if dom0 is gone, or the script takes longer.
    pub fn dom0_within(
        &self,
        script: &str,
        input: &[u8],
        limit: Duration,
    ) -> Result<Output, Error> {
        self.shared.channel.run(script, input, limit)
    }

    /// Starts a script in dom0 whose output is wanted as it comes, or that takes longer.
    ///
    /// # Errors
    ///
    /// [`Error::ProgramFailed`] if dom0 is gone.
    pub fn start_in_dom0(&self, script: &str, input: &[u8]) -> Result<Running, Error> {
        self.shared.channel.start(script, input)
    }

    /// Writes a file in dom0. Its folder is made.
    ///
    /// # Errors
    ///
    /// [`Error::ProgramFailed`].
    pub fn put(&self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = crate::process::quoted(path);
        self.must(
            &format!("mkdir -p \"$(dirname {path})\" && cat >{path}"),
            bytes,
        )?;
        Ok(())
    }

    /// Reads a file in dom0.
    ///
    /// # Errors
    ///
    /// [`Error::ProgramFailed`] if there is none.
    pub fn get(&self, path: &str) -> Result<Vec<u8>, Error> {
        let script = format!("cat <{}", crate::process::quoted(path));
        Ok(self.must(&script, b"")?.out)
    }

    /// Runs a script of ours, which must succeed.
    fn must(&self, script: &str, input: &[u8]) -> Result<Output, Error> {
        let output = self.dom0(script, input)?;
        if output.status == 0 {
            return Ok(output);
        }
        Err(Error::Lab {
            reason: format!("dom0: `{script}` ended with status {}", output.status),
            tail: last_lines(&[&output.out[..], &output.err[..]].concat()),
            log: self.record().log().path().to_path_buf(),
            fault: Fault::Machine,
        })
    }

    /// Puts a guest's files into dom0 and creates its domain, which runs when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Arguments`] for a second guest of that name or words that xl can't be given, [`Error::Unsupported`] for one without
    /// an address, or one that is to get it by DHCP in a lab without a tap; [`Error::File`] if its files can't be read; [`Error::Lab`] with xl's words if it does not create it.
    pub fn create(&self, guest: &Guest) -> Result<Place, Error> {
        if guest.dhcp {
            self.serve_dhcp()?;
        }
        let place = {
            let mut guests = self.shared.guests();
            if guests.iter().any(|other| other.name == guest.name) {
                return Err(Error::Arguments {
                    reason: format!("there is a guest `{}` in this lab already", guest.name),
                });
            }
            let place = Place::new(self.subnet, guests.len())?;
            guests.push(State {
                name: guest.name.clone(),
                place,
                shutdowns: Vec::new(),
            });
            place
        };
        let name = &guest.name;
        let folder = format!("/lab/guests/{name}");
        let configuration = guest.configuration(&place, &folder)?;
        for (what, path) in [
            ("image", Some(&guest.image)),
            ("ramdisk", guest.ramdisk.as_ref()),
        ] {
            if let Some(path) = path {
                let bytes = fs::read(path).map_err(Error::file("read", path))?;
                self.put(&format!("{folder}/{what}"), &bytes)?;
            }
        }
        self.put(&format!("{folder}/configuration"), configuration.as_bytes())?;
        self.shared.follow_console(name)?;
        let seed = match &guest.seed {
            Some(seed) => format!(" && xenstore-write /local/domain/$id/data/mirage-seed {seed}"),
            None => String::new(),
        };
        let created = self.dom0(
            &format!(
                "xl create -q -p {folder}/configuration && id=$(xl domid {name}){seed} && echo $id"
            ),
            b"",
        )?;
        let id = created.text().lines().last().and_then(|id| id.parse().ok());
        let (0, Some(id)) = (created.status, id) else {
            return Err(self.failed(
                format!(
                    "xl could not create the guest `{name}` (status {})",
                    created.status
                ),
                last_lines(&[&created.out[..], &created.err[..]].concat()),
            ));
        };
        self.shared.record.domain(id, name);
        self.must(&format!("xl unpause {id}"), b"")?;
        Ok(place)
    }

    /// Starts the lab's DHCP server, unless it runs.
    fn serve_dhcp(&self) -> Result<(), Error> {
        if !self.has_tap {
            // It has a DHCP server of its own, which can't be kept from answering.
            return Err(Error::Unsupported {
                reason: "an address by DHCP needs a tap: without root the lab's network is QEMU's user network".into(),
            });
        }
        let configuration = dhcp::configuration(self.subnet);
        self.must(dhcp::START, configuration.as_bytes())?;
        Ok(())
    }

    /// Waits until a guest says that its network is up.
    ///
    /// # Errors
    ///
    /// [`Error::Lab`] with the end of its console if it ends before, or says nothing for that long.
    pub fn wait_until_ready(&self, name: &str, limit: Duration) -> Result<Duration, Error> {
        let begun = Instant::now();
        loop {
            if let Some(when) = self.record().ready(name) {
                return Ok(when);
            }
            if let Some(reason) = self.ended(name) {
                return Err(
                    self.guest_failed(name, &format!("ended ({reason}) before it was ready"))
                );
            }
            if self.is_gone() {
                return Err(self.failed(
                    "the lab's machine has ended".into(),
                    self.record().tail("xen", TAIL),
                ));
            }
            if begun.elapsed() > limit {
                let reason = format!(
                    "has not said `{}` after {} s",
                    record::READY,
                    limit.as_secs()
                );
                return Err(self.guest_failed(name, &reason));
            }
            self.record().wait(Duration::from_millis(100));
        }
    }

    /// How a guest's domain ended, if it did for good: one that was saved has not.
    pub fn ended(&self, name: &str) -> Option<Reason> {
        let guests = self.shared.guests();
        let guest = guests.iter().find(|guest| guest.name == name)?;
        let last = guest.shutdowns.last()?;
        last.reason.is_final().then_some(last.reason)
    }

    /// Whether the machine has ended, with all in it.
    pub fn is_gone(&self) -> bool {
        self.shared.gone.load(Ordering::Relaxed)
    }

    /// An error about a guest, with the end of its console and the name of the log.
    pub fn guest_failed(&self, name: &str, what: &str) -> Error {
        let mut tail = self.record().tail(name, TAIL);
        if tail.is_empty() {
            tail.push("(it has said nothing)".into());
        }
        Error::Lab {
            reason: format!("the appliance `{name}` {what}; the end of its console:"),
            tail,
            log: self.record().log().path().to_path_buf(),
            fault: Fault::Project,
        }
    }

    fn failed(&self, reason: String, tail: Vec<String>) -> Error {
        Error::Lab {
            reason,
            tail,
            log: self.record().log().path().to_path_buf(),
            fault: Fault::Machine,
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.shared.record.line("lab", "ended");
        // The rest is QEMU's end, which takes the tap and the network along.
        let mut qemu = self.qemu.lock().unwrap_or_else(PoisonError::into_inner);
        qemu.kill();
    }
}

fn last_lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}
