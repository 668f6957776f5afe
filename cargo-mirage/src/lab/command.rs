//! `cargo mirage lab`: runs appliances on a real Xen until they end, Ctrl-C, or the end of a command.

use core::net::Ipv4Addr;
use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Pid, Signal, kill_process};

use crate::build_command;
use crate::cli::LabArguments;
use crate::error::{Error, Fault};
use crate::lab::channel::Event;
use crate::lab::guest::{self, Guest, Place};
use crate::lab::network::Port;
use crate::lab::packages::{self, Source};
use crate::lab::shutdown::Reason;
use crate::lab::{Lab, Options, control, run_folder};
use crate::process::{self, Signals};
use crate::workspace::{self, Workspace};

/// The variable that names the control socket of the lab that runs.
const MIRAGE_LAB: &str = "MIRAGE_LAB";

/// How often what may happen is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How long a command of the user's may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the subcommand.
///
/// # Errors
///
/// [`Error::Lab`] if the lab does not come up, or an appliance crashes while nobody's command runs; and those of its
/// parts.
pub fn run(
    workspace: Result<Workspace, Error>,
    arguments: &LabArguments,
) -> Result<ExitCode, Error> {
    if arguments.list_packages {
        for name in packages::DOM0
            .iter()
            .chain(packages::QEMU)
            .chain(packages::NETWORK)
        {
            println!("{name}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(command) = &arguments.dom0 {
        return in_dom0(workspace, command);
    }
    let workspace = workspace?;
    let guests = match guests(&workspace, arguments)? {
        Guests::Built(guests) => guests,
        Guests::Failed(status) => return Ok(ExitCode::from(status)),
    };
    let signals = process::watch_signals()?;
    let mut options = Options::new(&workspace.target());
    options.refresh = arguments.refresh;
    options.memory = arguments.machine_memory;
    options.cpu_features.clone_from(&arguments.cpu_features);
    options.subnet = arguments.network;
    options.user_network = arguments.user_network;
    options.ports = guests.iter().map(|guest| guest.ports.clone()).collect();
    options.show_consoles = arguments.console;
    if let Some(folder) = &arguments.packages {
        options.source = Source::Folder(folder.clone());
    }
    let progress = progress_bar();
    let started = start(&options, &guests, arguments, &progress);
    progress.finish_and_clear();
    let session = started?;
    signals.take();
    let status = match &arguments.exec {
        Some(command) => session.execute(command, &signals)?,
        None => session.wait(&signals)?,
    };
    Ok(ExitCode::from(status))
}

/// Runs a command in the dom0 of a lab that runs.
fn in_dom0(workspace: Result<Workspace, Error>, command: &str) -> Result<ExitCode, Error> {
    let socket = match env::var_os(MIRAGE_LAB) {
        Some(path) => PathBuf::from(path),
        None => {
            let target = workspace?.target();
            let mut running = run_folder::running(&target.join("lab"));
            match (running.pop(), running.len()) {
                (Some(socket), 0) => socket,
                (None, _) => {
                    return Err(Error::Unsupported {
                        reason: format!(
                            "no lab runs below {}: start one with `cargo mirage lab APPLIANCE`",
                            target.display()
                        ),
                    });
                }
                (Some(last), _) => {
                    running.push(last);
                    let names: Vec<String> = running
                        .iter()
                        .map(|path| path.display().to_string())
                        .collect();
                    return Err(Error::Unsupported {
                        reason: format!(
                            "several labs run: say which by {MIRAGE_LAB}={}",
                            names.join(" or ")
                        ),
                    });
                }
            }
        }
    };
    let mut input = Vec::new();
    if !io::stdin().is_terminal() {
        let path = Path::new("the standard input");
        io::stdin()
            .read_to_end(&mut input)
            .map_err(Error::file("read", path))?;
    }
    let status = control::ask(&socket, command, &input, |event| match event {
        Event::Out(bytes) => {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()
        }
        Event::Err(bytes) => io::stderr().lock().write_all(bytes),
        Event::End(_) => Ok(()),
    })?;
    Ok(ExitCode::from(status))
}

/// What came of preparing the guests.
enum Guests {
    /// They are there.
    Built(Vec<Guest>),
    /// One does not build; cargo has said why, and this was its status.
    Failed(u8),
}

/// The guests that the command line asks for; images that are named by an appliance's name are built.
fn guests(workspace: &Workspace, arguments: &LabArguments) -> Result<Guests, Error> {
    let mut appliances: Vec<Appliance> = Vec::new();
    for word in &arguments.appliances {
        appliances.push(Appliance::parse(word)?);
    }
    if appliances.is_empty() {
        let own = workspace.own_appliance().ok_or_else(|| {
            wrong(format!(
                "which appliance? For example `cargo mirage lab dns`; there are: {}",
                workspace.appliances().join(", ")
            ))
        })?;
        appliances.push(Appliance::Name(own.to_owned()));
    }
    // All names are looked at before anything is built.
    let mut guests: Vec<Guest> = Vec::new();
    for appliance in &appliances {
        let mut guest = match appliance {
            Appliance::Name(name) => {
                workspace.xen_main(name)?;
                let mut guest = Guest::new(name, PathBuf::new())?;
                guest.ports = ports(workspace, name)?;
                guest
            }
            Appliance::Image(name, image) if image.is_file() => Guest::new(name, image.clone())?,
            Appliance::Image(_, image) => {
                return Err(wrong(format!("there is no file {}", image.display())));
            }
        };
        if guests.iter().any(|other| other.name == guest.name) {
            return Err(wrong(format!("two appliances are called `{}`", guest.name)));
        }
        if !arguments.no_seed {
            guest.seed = Some(seed()?);
        }
        guests.push(guest);
    }
    settings(&mut guests, arguments)?;
    for (appliance, guest) in appliances.iter().zip(&mut guests) {
        if let Appliance::Name(name) = appliance {
            match build_command::build(workspace, name, build_command::Options::default())? {
                build_command::Built::Image(product) => guest.image = product.elf,
                build_command::Built::Failed(status) => {
                    eprintln!("error: the image of `{name}` does not build; cargo says why above");
                    return Ok(Guests::Failed(status));
                }
            }
        }
    }
    Ok(Guests::Built(guests))
}

/// The ports that an appliance's library says it serves: `ports` of `[package.metadata.mirage]`.
fn ports(workspace: &Workspace, name: &str) -> Result<Vec<Port>, Error> {
    let manifest = workspace.appliance_folder(name)?.join("Cargo.toml");
    let package = workspace.package(&manifest)?;
    let problem = |problem: String| Error::Content {
        path: manifest.clone(),
        problem: format!("[package.metadata.mirage] ports: {problem}"),
    };
    let Some(list) = package.metadata.pointer("/mirage/ports") else {
        return Ok(Vec::new());
    };
    let list = list
        .as_array()
        .ok_or_else(|| problem("not a list".into()))?;
    list.iter()
        .map(|port| port.as_str().unwrap_or_default().parse().map_err(problem))
        .collect()
}

/// Memory and command lines.
fn settings(guests: &mut [Guest], arguments: &LabArguments) -> Result<(), Error> {
    // What is said of all comes before what is said of one.
    let (of_one, of_all): (Vec<&String>, Vec<&String>) =
        arguments.memory.iter().partition(|word| word.contains('='));
    for word in of_all.into_iter().chain(of_one) {
        let (name, size) = match word.split_once('=') {
            Some((name, size)) => (Some(name), size),
            None => (None, word.as_str()),
        };
        let size: u32 = size
            .parse()
            .ok()
            .filter(|size| (1..=65_536).contains(size))
            .ok_or_else(|| {
                wrong(format!(
                    "--memory {word}: `{size}` is not a number of MiB from 1 to 65536"
                ))
            })?;
        for guest in chosen(guests, name, "--memory", word)? {
            guest.memory = size;
        }
    }
    for word in &arguments.append {
        let (name, words) = word
            .split_once('=')
            .filter(|(name, _)| !name.contains(' '))
            .ok_or_else(|| wrong(format!("--append {word}: not NAME=WORDS")))?;
        for guest in chosen(guests, Some(name), "--append", word)? {
            if !guest.append.is_empty() {
                guest.append.push(' ');
            }
            guest.append.push_str(words);
        }
    }
    Ok(())
}

/// The guest of that name, or all.
fn chosen<'a>(
    guests: &'a mut [Guest],
    name: Option<&str>,
    option: &str,
    word: &str,
) -> Result<Vec<&'a mut Guest>, Error> {
    let chosen: Vec<&mut Guest> = guests
        .iter_mut()
        .filter(|guest| name.is_none_or(|name| guest.name == name))
        .collect();
    if chosen.is_empty() {
        return Err(wrong(format!(
            "{option} {word}: no appliance of this lab has that name"
        )));
    }
    Ok(chosen)
}

/// An appliance as the command line names it.
#[derive(Debug, PartialEq, Eq)]
enum Appliance {
    /// One of the checkout, to be built.
    Name(String),
    /// An image that is there, and the guest's name.
    Image(String, PathBuf),
}

impl Appliance {
    /// `NAME`, `NAME=FILE`, or a path to an image, whose name is then the guest's.
    fn parse(word: &str) -> Result<Self, Error> {
        if let Some((name, file)) = word.split_once('=') {
            return Ok(Self::Image(name.to_owned(), PathBuf::from(file)));
        }
        let path = PathBuf::from(word);
        if path.extension().is_none_or(|extension| extension != "elf") && !word.contains('/') {
            return Ok(Self::Name(word.to_owned()));
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = stem.to_ascii_lowercase().replace(['_', '.'], "-");
        Ok(Self::Image(name, path))
    }
}

/// 32 bytes from the kernel's random number generator, in hexadecimal.
fn seed() -> Result<String, Error> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 32];
    let mut file = File::open(path).map_err(Error::file("read", path))?;
    file.read_exact(&mut bytes)
        .map_err(Error::file("read", path))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn wrong(reason: String) -> Error {
    Error::Arguments { reason }
}

/// Starts the lab and its guests.
fn start(
    options: &Options,
    guests: &[Guest],
    arguments: &LabArguments,
    progress: &ProgressBar,
) -> Result<Session, Error> {
    let say = |line: &str| {
        log::info!("{line}");
        progress.set_message(line.trim().to_owned());
    };
    let lab = Lab::start(options, say)?;
    let mut session = Session {
        lab,
        guests: Vec::new(),
    };
    for guest in guests {
        say(&format!("creating {}", guest.name));
        let place = session.lab.create(guest)?;
        session.guests.push(Known {
            name: guest.name.clone(),
            place,
            ready: false,
            ended: None,
        });
    }
    if arguments.exec.is_some() && !arguments.no_wait {
        for guest in guests {
            say(&format!("waiting for {} to be ready", guest.name));
            let limit = Duration::from_secs(arguments.ready_within);
            session.lab.wait_until_ready(&guest.name, limit)?;
        }
    }
    Ok(session)
}

/// A lab with its guests.
struct Session {
    lab: Lab,
    guests: Vec<Known>,
}

/// What the user has been told of a guest.
struct Known {
    name: String,
    place: Place,
    ready: bool,
    ended: Option<Reason>,
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
            for forward in self.lab.forwards() {
                if forward.address == guest.place.address {
                    let port = forward
                        .port
                        .to_string()
                        .to_ascii_uppercase()
                        .replace('/', "_");
                    environment.push((format!("{name}_PORT_{port}"), forward.local.to_string()));
                }
            }
        }
        environment
    }

    /// Runs the user's command; its status.
    fn execute(mut self, command: &str, signals: &Signals) -> Result<u8, Error> {
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
    fn wait(mut self, signals: &Signals) -> Result<u8, Error> {
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

fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() || env::var_os("CI").is_some() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4}  {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
