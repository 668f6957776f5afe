//! From power-on, or from a saved state, to a machine whose dom0 takes commands.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Fault};
use crate::lab::channel::Channel;
use crate::lab::dom0::BootFiles;
use crate::lab::machine::{self, Link, Machine};
use crate::lab::monitor::Monitor;
use crate::lab::packages::Packages;
use crate::lab::record::Record;
use crate::lab::snapshot::{self, Snapshot};
use crate::lab::{TAIL, control};
use crate::process::{Background, Task};

/// How long QEMU may take to start: to connect to us, to make its tap.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a machine may take from power-on until xl works.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// How long dom0 may take for a first answer after its state was loaded.
const RESUME_LIMIT: Duration = Duration::from_secs(30);

/// What a machine is started with.
#[derive(Debug)]
pub(super) struct Power<'a> {
    pub(super) machine: &'a Machine,
    pub(super) packages: &'a Packages,
    pub(super) boot: &'a BootFiles,
    /// The lab's folder.
    pub(super) folder: &'a Path,
    pub(super) record: &'a Arc<Record>,
}

/// A machine whose dom0 takes commands.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) qemu: Background,
    /// What it prints from now on.
    pub(super) lines: mpsc::Receiver<String>,
    pub(super) channel: Arc<Channel>,
}

/// A machine that QEMU has just begun to emulate.
struct Started {
    qemu: Background,
    lines: mpsc::Receiver<String>,
    monitor: Monitor,
    dom0: UnixStream,
}

/// What is heard from dom0.
enum Said {
    Hello(f64),
    Ended(Option<String>),
}

impl Power<'_> {
    /// Starts the machine from the saved state, if there is one; else from nothing, and saves its state.
    pub(super) fn on(&self, home: &Path, use_snapshot: bool) -> Result<Running, Error> {
        if !use_snapshot {
            return self.cold(None);
        }
        let snapshot = Snapshot::new(home, self.stamp()?);
        let Some(state) = snapshot.state() else {
            return self.cold(Some(&snapshot));
        };
        match self.warm(&state, &snapshot) {
            Ok(running) => Ok(running),
            Err(error) => {
                let error = error.to_string();
                let reason = error.lines().next().unwrap_or_default();
                let line = format!("the saved state could not be used: {reason}; starting anew");
                self.record.line("lab", &line);
                snapshot.forget();
                self.cold(Some(&snapshot))
            }
        }
    }

    /// All that a saved state depends on.
    fn stamp(&self) -> Result<String, Error> {
        let mut version = machine::qemu(self.packages)?;
        version.arg("--version");
        let version = Task::new(version, START_LIMIT).run(self.record.log(), |_| {})?;
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        // The emulated time stamp counter is the host's.
        let model = processor
            .lines()
            .find(|line| line.starts_with("model name"));
        Ok(format!(
            "{}\n{}\n{}\n{}",
            self.boot.made_from,
            version.output,
            model.unwrap_or_default(),
            self.machine.description()
        ))
    }

    fn warm(&self, state: &Path, snapshot: &Snapshot) -> Result<Running, Error> {
        let link = self.folder.join(snapshot::LINK);
        symlink(state, &link).map_err(Error::file("make", &link))?;
        let mut started = self.start(Some(snapshot::LINK))?;
        self.record.line(
            "lab",
            "from a saved state; until it was saved, the machine had printed:",
        );
        for line in snapshot.printed().lines() {
            self.record.machine_line(line);
        }
        let refused = |problem| self.failed(&format!("QEMU: {problem}"), &started.lines);
        started.monitor.resume().map_err(refused)?;
        let channel = Channel::new(started.dom0, |_| {}, self.on_end(None))?;
        // Its clock has stood still, and its random numbers would be those of the other labs.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let script = format!(
            "perl /lab/resume.pl {} {}",
            now.as_secs(),
            now.subsec_micros()
        );
        let output = channel.run(&script, &random()?, RESUME_LIMIT)?;
        if output.status != 0 {
            let text = String::from_utf8_lossy(&output.err).into_owned();
            return Err(self.failed(&format!("dom0 could not go on: {text}"), &started.lines));
        }
        self.record.line("lab", "dom0 is there");
        Ok(Running {
            qemu: started.qemu,
            lines: started.lines,
            channel,
        })
    }

    fn cold(&self, snapshot: Option<&Snapshot>) -> Result<Running, Error> {
        let mut started = self.start(None)?;
        let (said, hears) = mpsc::channel();
        let hello = said.clone();
        let channel = Channel::new(
            started.dom0,
            // Whoever listened was told before.
            move |uptime| drop(hello.send(Said::Hello(uptime))),
            self.on_end(Some(said)),
        )?;
        let printed = self.wait_for_dom0(&mut started.qemu, &started.lines, &hears)?;
        if let Some(snapshot) = snapshot {
            let new = self.folder.join(snapshot::NEW);
            let saved = started.monitor.save(&format!("cat >{}", snapshot::NEW));
            let kept = match saved {
                Ok(()) => snapshot
                    .keep(&new, &printed)
                    .map_err(|error| error.to_string()),
                Err(problem) => Err(problem),
            };
            let line = match kept {
                Ok(()) => "its state is saved, for the next lab".to_owned(),
                Err(problem) => format!("its state could not be saved for the next lab: {problem}"),
            };
            self.record.line("lab", &line);
            let _ = fs::remove_file(new);
        }
        Ok(Running {
            qemu: started.qemu,
            lines: started.lines,
            channel,
        })
    }

    /// Starts QEMU, and waits until both its connections and its tap are there.
    fn start(&self, state: Option<&str>) -> Result<Started, Error> {
        let monitor = self.listen(machine::MONITOR_SOCKET)?;
        let dom0 = self.listen(machine::DOM0_SOCKET)?;
        let command = self
            .machine
            .command(self.packages, self.boot, self.folder, state)?;
        let mut qemu = Background::start_guarded(&command, self.record.log())?;
        let lines = qemu.take_lines();
        let monitor = self.accept(&monitor, &mut qemu, &lines)?;
        let dom0 = self.accept(&dom0, &mut qemu, &lines)?;
        let monitor = Monitor::new(monitor)
            .map_err(|problem| self.failed(&format!("QEMU's monitor: {problem}"), &lines))?;
        if let Link::Tap { interface } = &self.machine.link {
            self.set_up_tap(interface, &mut qemu, &lines)?;
        }
        Ok(Started {
            qemu,
            lines,
            monitor,
            dom0,
        })
    }

    fn listen(&self, name: &str) -> Result<UnixListener, Error> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &path)(error));
            }
            _ => {}
        }
        let listener = control::short(&path, "make", |path| UnixListener::bind(path))?;
        listener
            .set_nonblocking(true)
            .map_err(Error::file("make", &path))?;
        Ok(listener)
    }

    /// Takes QEMU's connection, or notices that it has ended.
    fn accept(
        &self,
        listener: &UnixListener,
        qemu: &mut Background,
        lines: &mpsc::Receiver<String>,
    ) -> Result<UnixStream, Error> {
        let begun = Instant::now();
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream
                        .set_nonblocking(false)
                        .map_err(|error| self.failed(&format!("a connection: {error}"), lines))?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.failed(&format!("a connection: {error}"), lines)),
            }
            if qemu.ended().is_some() {
                return Err(self.failed("QEMU could not start", lines));
            }
            if begun.elapsed() > START_LIMIT {
                return Err(self.failed("QEMU has not connected", lines));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for QEMU's tap, and gives it the host's address.
    fn set_up_tap(
        &self,
        interface: &str,
        qemu: &mut Background,
        lines: &mpsc::Receiver<String>,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        let prefix = format!("{interface}:");
        let is_there = || {
            let interfaces = fs::read_to_string("/proc/net/dev").unwrap_or_default();
            interfaces
                .lines()
                .any(|line| line.trim_start().starts_with(&prefix))
        };
        while !is_there() {
            if begun.elapsed() > START_LIMIT || qemu.ended().is_some() {
                return Err(self.failed("QEMU has not made its tap", lines));
            }
            thread::sleep(Duration::from_millis(5));
        }
        let address = format!("{}/24", self.machine.subnet.host());
        for arguments in [
            &["address", "add", &address, "dev", interface][..],
            &["link", "set", interface, "up"],
        ] {
            let mut command = machine::ip(self.packages)?;
            command.args(arguments);
            let finished = Task::new(command, START_LIMIT).run(self.record.log(), |_| {})?;
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

    /// Waits for the agent's first word; what the machine has printed until then.
    fn wait_for_dom0(
        &self,
        qemu: &mut Background,
        lines: &mpsc::Receiver<String>,
        hears: &mpsc::Receiver<Said>,
    ) -> Result<String, Error> {
        let begun = Instant::now();
        let mut printed = String::new();
        loop {
            match hears.try_recv() {
                Ok(Said::Hello(uptime)) => {
                    let line = format!("dom0 is there, {uptime} s after its kernel started");
                    self.record.line("lab", &line);
                    return Ok(printed);
                }
                Ok(Said::Ended(reason)) => {
                    let reason = reason.unwrap_or_else(|| "the connection was closed".into());
                    return Err(self.failed(&format!("dom0 did not start: {reason}"), lines));
                }
                Err(_) => {}
            }
            match lines.recv_timeout(Duration::from_millis(20)) {
                Ok(line) => {
                    self.record.machine_line(&line);
                    printed.push_str(&line);
                    printed.push('\n');
                    continue;
                }
                Err(RecvTimeoutError::Timeout) if qemu.ended().is_none() => {}
                Err(_) => return Err(self.failed("QEMU ended before dom0 was there", lines)),
            }
            if begun.elapsed() > BOOT_LIMIT {
                let reason = format!("dom0 was not there after {} s", BOOT_LIMIT.as_secs());
                return Err(self.failed(&reason, lines));
            }
        }
    }

    /// What is done when the line to dom0 ends.
    fn on_end(
        &self,
        said: Option<mpsc::Sender<Said>>,
    ) -> impl FnOnce(Option<String>) + Send + 'static {
        let record = Arc::clone(self.record);
        move |reason| {
            let text = reason.clone().unwrap_or_default();
            record.line("lab", &format!("the line to dom0 has ended {text}"));
            if let Some(said) = said {
                // Whoever listened was told before.
                let _ = said.send(Said::Ended(reason));
            }
        }
    }

    fn failed(&self, reason: &str, lines: &mpsc::Receiver<String>) -> Error {
        // What it said last is on its way still.
        while let Ok(line) = lines.recv_timeout(Duration::from_millis(200)) {
            self.record.machine_line(&line);
        }
        self.record.line("lab", reason);
        Error::Lab {
            reason: reason.into(),
            tail: self.record.tail("xen", TAIL),
            log: self.record.log().path().to_path_buf(),
            fault: Fault::Machine,
        }
    }
}

/// Random bytes, for dom0's pool.
fn random() -> Result<[u8; 32], Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::Unsupported {
        reason: format!("no random numbers: {error}"),
    })?;
    Ok(bytes)
}
