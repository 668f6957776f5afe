//! From a folder to a machine in which xl works: packages, boot files, the tap, and the connection to dom0.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Fault};
use crate::lab::channel::Channel;
use crate::lab::dom0::BootFiles;
use crate::lab::guest::Place;
use crate::lab::network::{Forward, Port, Subnet};
use crate::lab::packages::{self, Packages};
use crate::lab::record::Record;
use crate::lab::{Options, TAIL, machine};
use crate::process::{Background, Task};

/// How long QEMU may take to make its tap.
const TAP_LIMIT: Duration = Duration::from_secs(20);

/// How long a machine may take from power-on until xl works.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// Fetches packages and makes the boot files; only one process does so at a time.
pub(super) fn prepare(
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

pub(super) fn forwards(subnet: Subnet, ports: &[Vec<Port>]) -> Result<Vec<Forward>, Error> {
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
pub(super) fn may_make_taps() -> bool {
    rustix::process::geteuid().is_root()
        && fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .is_ok()
}

/// Waits for QEMU's tap, and gives it the host's address.
pub(super) fn set_up_tap(
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
pub(super) enum Said {
    Connected(Arc<Channel>),
    Hello(f64),
    Ended(Option<String>),
}

pub(super) struct Connection {
    pub(super) record: Arc<Record>,
    pub(super) said: mpsc::Sender<Said>,
}

impl Connection {
    /// Takes QEMU's connection, in a thread, for it may never come.
    pub(super) fn accept(self, listener: UnixListener) -> Result<(), Error> {
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

pub(super) fn wait_for_dom0(
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
