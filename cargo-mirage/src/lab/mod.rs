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
pub mod dom0;
pub mod elf;
pub mod frame;
pub mod guest;
pub mod initramfs;
pub mod machine;
pub mod network;
pub mod packages;
pub mod record;
pub mod run_folder;
mod shutdown;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Fault};
use crate::lab::channel::{Channel, Event, Next, Output, Running};
use crate::lab::dom0::BootFiles;
use crate::lab::guest::{Guest, Place};
use crate::lab::machine::{Link, Machine};
use crate::lab::network::{Forward, Port, Reservation, Subnet};
use crate::lab::packages::{Packages, Source};
use crate::lab::record::Record;
use crate::lab::run_folder::RunFolder;
use crate::lab::shutdown::{Reason, Shutdown};
use crate::process::{Background, Task};

/// How long a machine may take from power-on until xl works.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// How long a command in dom0 may take, if it is one of ours or has no limit of its own.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// How long QEMU may take to make its tap.
const TAP_LIMIT: Duration = Duration::from_secs(20);

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
    /// The network; by default a free one.
    pub subnet: Option<Subnet>,
    /// Use QEMU's user network even where a tap could be made.
    pub user_network: bool,
    /// The ports that guests serve, by the guest's number: what is forwarded in a user network.
    pub ports: Vec<Vec<Port>>,
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
            subnet: None,
            user_network: false,
            ports: Vec::new(),
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

#[derive(Debug)]
struct Shared {
    channel: Arc<Channel>,
    record: Arc<Record>,
    guests: Mutex<Vec<State>>,
    gone: AtomicBool,
}

/// What is known of a guest.
#[derive(Debug)]
struct State {
    name: String,
    place: Place,
    shutdowns: Vec<Shutdown>,
}

impl Lab {
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
        let (packages, boot) = prepare(options, &home, &record, &mut on_line)?;
        on_line("starting Xen");
        let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
        let has_tap = !options.user_network && may_make_taps();
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
                forwards: forwards(subnet, &options.ports)?,
            }
        };
        let machine = Machine {
            memory: options.memory,
            dom0_memory: options.dom0_memory,
            cpu_features: options.cpu_features.clone(),
            subnet,
            link,
        };
        let socket = folder.path().join(machine::DOM0_SOCKET);
        let listener = control::short(&socket, "make", |path| UnixListener::bind(path))?;
        let command = machine.command(&packages, &boot, folder.path())?;
        let mut qemu = Background::start_guarded(&command, record.log())?;
        let lines = qemu.take_lines();
        let (said, hears) = mpsc::channel();
        let connection = Connection {
            record: Arc::clone(&record),
            said,
        };
        connection.accept(listener)?;
        if let Link::Tap { interface } = &machine.link {
            set_up_tap(interface, subnet, &packages, &record, &mut qemu, &lines)?;
        }
        let channel = wait_for_dom0(&record, &mut qemu, &lines, &hears)?;
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
        lab.set_up_dom0()?;
        Ok(lab)
    }

    fn set_up_dom0(&self) -> Result<(), Error> {
        let script = format!(
            "ip link add xenbr0 type bridge && ip address add {}/24 dev xenbr0 && ip link set xenbr0 up && \
             ip link set eth0 up && ip link set eth0 master xenbr0 && mkdir -p /lab/guests",
            self.subnet.dom0()
        );
        self.must(&script, b"")?;
        self.shared.watch()?;
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
        self.shared.channel.run(script, input, COMMAND_LIMIT)
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
    /// [`Error::Unsupported`] for a second guest of that name, one without an address, or words that xl can't be given;
    /// [`Error::File`] if its files can't be read; [`Error::Lab`] with xl's words if it does not create it.
    pub fn create(&self, guest: &Guest) -> Result<Place, Error> {
        let place = {
            let mut guests = self.shared.guests();
            if guests.iter().any(|other| other.name == guest.name) {
                return Err(Error::Unsupported {
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
            Some(seed) => format!(" && xenstore-write /local/domain/$id/data/seed {seed}"),
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

impl Shared {
    fn guests(&self) -> MutexGuard<'_, Vec<State>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records what the machine prints from now on, until it ends.
    fn pass_on(self: &Arc<Self>, lines: mpsc::Receiver<String>) {
        let shared = Arc::clone(self);
        thread::spawn(move || {
            for line in lines {
                shared.record.machine_line(&line);
            }
            shared.record.line("lab", "the machine has ended");
            shared.gone.store(true, Ordering::Relaxed);
        });
    }

    /// Records what a guest of that name says on its console from now on.
    ///
    /// xenconsoled writes it into what would be a log file: here a FIFO, so that each byte comes at once. During a
    /// migration to the same dom0 the new domain is called `NAME--incoming`.
    fn follow_console(self: &Arc<Self>, name: &str) -> Result<(), Error> {
        self.record.show(name);
        let script = format!(
            "cd /var/log/xen/console && mkfifo guest-{name}.log && ln -s guest-{name}.log guest-{name}--incoming.log && \
             exec cat <>guest-{name}.log"
        );
        let mut running = self.channel.start(&script, b"")?;
        let (record, name) = (Arc::clone(&self.record), name.to_owned());
        thread::spawn(move || {
            loop {
                match running.next(Duration::MAX) {
                    Next::Event(Event::Out(bytes) | Event::Err(bytes)) => {
                        record.bytes(&name, &bytes)
                    }
                    Next::Event(Event::End(_)) | Next::Gone => return,
                    Next::Nothing => {}
                }
            }
        });
        Ok(())
    }

    /// Notices when domains end, and reports crashes.
    fn watch(self: &Arc<Self>) -> Result<(), Error> {
        let mut running = self
            .channel
            .start("exec xenstore-watch @releaseDomain", b"")?;
        let shared = Arc::clone(self);
        thread::spawn(move || {
            // xl writes the reason into its log when it hears of the end, as we do: it may take a moment more.
            let mut looks = 0;
            loop {
                let wait = if looks > 0 {
                    Duration::from_millis(300)
                } else {
                    Duration::MAX
                };
                match running.next(wait) {
                    Next::Event(Event::Out(_)) => looks = 10,
                    Next::Nothing => looks -= 1,
                    Next::Event(_) => continue,
                    Next::Gone => return,
                }
                match shared.look() {
                    Ok(true) => looks = 0,
                    Ok(false) => {}
                    Err(error) => {
                        shared.record.line("lab", &format!("watching: {error}"));
                        return;
                    }
                }
            }
        });
        Ok(())
    }

    /// Looks into xl's logs for domains that ended; whether there is news.
    fn look(&self) -> Result<bool, Error> {
        let output = self.channel.run(shutdown::SCRIPT, b"", COMMAND_LIMIT)?;
        let mut news = false;
        for (name, shutdown) in shutdown::parse(&output.text()) {
            let mut guests = self.guests();
            let Some(guest) = guests.iter_mut().find(|guest| guest.name == name) else {
                continue;
            };
            if guest
                .shutdowns
                .iter()
                .any(|known| known.domain == shutdown.domain)
            {
                continue;
            }
            guest.shutdowns.push(shutdown);
            let address = guest.place.address;
            drop(guests);
            news = true;
            let line = format!(
                "{name} ({address}), domain {}: {}",
                shutdown.domain, shutdown.reason
            );
            self.record.line("lab", &line);
        }
        Ok(news)
    }
}

/// Fetches packages and makes the boot files; only one process does so at a time.
fn prepare(
    options: &Options,
    home: &Path,
    record: &Record,
    on_line: &mut dyn FnMut(&str),
) -> Result<(Packages, BootFiles), Error> {
    let path = home.join("lock");
    let lock = fs::File::create(&path).map_err(Error::file("make", &path))?;
    if lock.try_lock().is_err() {
        on_line("waiting for another lab that is fetching packages");
        lock.lock().map_err(Error::file("lock", &path))?;
    }
    let folder = home.join("packages");
    if options.refresh && folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::file("remove", &folder))?;
    }
    on_line("looking at the packages");
    let names = packages::needed_here();
    let packages = Packages::prepare(
        &options.source,
        &names,
        &folder,
        record.log(),
        &mut *on_line,
    )?;
    let boot = BootFiles::prepare(&packages, &home.join("boot"), on_line)?;
    Ok((packages, boot))
}

fn forwards(subnet: Subnet, ports: &[Vec<Port>]) -> Result<Vec<Forward>, Error> {
    let mut forwards = Vec::new();
    for (index, ports) in ports.iter().enumerate() {
        let place = Place::new(subnet, index)?;
        for port in ports {
            forwards.push(Forward::find(place.address, *port)?);
        }
    }
    Ok(forwards)
}

/// Whether we are root and there is a device for taps: QEMU will say if that is not enough.
fn may_make_taps() -> bool {
    rustix::process::geteuid().is_root()
        && fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .is_ok()
}

/// Waits for QEMU's tap, and gives it the host's address.
fn set_up_tap(
    interface: &str,
    subnet: Subnet,
    packages: &Packages,
    record: &Record,
    qemu: &mut Background,
    lines: &mpsc::Receiver<String>,
) -> Result<(), Error> {
    let begun = Instant::now();
    let prefix = format!("{interface}:");
    loop {
        let interfaces = fs::read_to_string("/proc/net/dev").unwrap_or_default();
        if interfaces
            .lines()
            .any(|line| line.trim_start().starts_with(&prefix))
        {
            break;
        }
        if begun.elapsed() > TAP_LIMIT || qemu.ended().is_some() {
            return Err(machine_failed("QEMU has not made its tap", record, lines));
        }
        thread::sleep(Duration::from_millis(5));
    }
    let address = format!("{}/24", subnet.host());
    for arguments in [
        &["address", "add", &address, "dev", interface][..],
        &["link", "set", interface, "up"],
    ] {
        let mut command = machine::ip(packages)?;
        command.args(arguments);
        let finished = Task::new(command, TAP_LIMIT).run(record.log(), |_| {})?;
        if !finished.success() {
            return Err(Error::ProgramFailed {
                command: format!("ip {}", arguments.join(" ")),
                status: finished.how(),
                output: finished.output,
                fault: Fault::Machine,
            });
        }
    }
    Ok(())
}

/// What is heard of the connection to dom0.
enum Said {
    Connected(Arc<Channel>),
    Hello(f64),
    Ended(Option<String>),
}

struct Connection {
    record: Arc<Record>,
    said: mpsc::Sender<Said>,
}

impl Connection {
    /// Takes QEMU's connection, in a thread, for it may never come.
    fn accept(self, listener: UnixListener) -> Result<(), Error> {
        thread::spawn(move || {
            let Ok((stream, _)) = listener.accept() else {
                return;
            };
            let (hello, end, record) = (self.said.clone(), self.said.clone(), self.record);
            // Whoever listened is gone, or was told before: nobody needs to hear.
            let channel = Channel::new(
                stream,
                move |uptime| drop(hello.send(Said::Hello(uptime))),
                move |reason| {
                    record.line(
                        "lab",
                        &format!(
                            "dom0's agent is gone: {}",
                            reason.clone().unwrap_or_default()
                        ),
                    );
                    drop(end.send(Said::Ended(reason)));
                },
            );
            if let Ok(channel) = channel {
                let _ = self.said.send(Said::Connected(channel));
            }
        });
        Ok(())
    }
}

fn wait_for_dom0(
    record: &Record,
    qemu: &mut Background,
    lines: &mpsc::Receiver<String>,
    hears: &mpsc::Receiver<Said>,
) -> Result<Arc<Channel>, Error> {
    let begun = Instant::now();
    let (mut channel, mut hello) = (None, None);
    loop {
        match hears.try_recv() {
            Ok(Said::Connected(connected)) => channel = Some(connected),
            Ok(Said::Hello(uptime)) => hello = Some(uptime),
            Ok(Said::Ended(reason)) => {
                let reason = reason.unwrap_or_else(|| "the connection was closed".into());
                return Err(machine_failed(
                    &format!("dom0 did not start: {reason}"),
                    record,
                    lines,
                ));
            }
            Err(_) => {}
        }
        if let (Some(channel), Some(uptime)) = (&channel, hello) {
            let line = format!("dom0 is there, {uptime} s after its kernel started");
            record.line("lab", &line);
            return Ok(Arc::clone(channel));
        }
        match lines.recv_timeout(Duration::from_millis(20)) {
            Ok(line) => record.machine_line(&line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(machine_failed(
                    "QEMU ended before dom0 was there",
                    record,
                    lines,
                ));
            }
        }
        if qemu.ended().is_some() {
            return Err(machine_failed(
                "QEMU ended before dom0 was there",
                record,
                lines,
            ));
        }
        if begun.elapsed() > BOOT_LIMIT {
            let reason = format!("dom0 was not there after {} s", BOOT_LIMIT.as_secs());
            return Err(machine_failed(&reason, record, lines));
        }
    }
}

fn machine_failed(reason: &str, record: &Record, lines: &mpsc::Receiver<String>) -> Error {
    // What it said last is on its way still.
    while let Ok(line) = lines.recv_timeout(Duration::from_millis(200)) {
        record.machine_line(&line);
    }
    record.line("lab", reason);
    Error::Lab {
        reason: reason.into(),
        tail: record.tail("xen", TAIL),
        log: record.log().path().to_path_buf(),
        fault: Fault::Machine,
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
