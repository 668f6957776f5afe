//! What the servers of others have in common: ports, keys, child processes, and asking any server.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use mirage_dns::client::Query;
use mirage_dns::message::Section;
use mirage_dns::name::NameBuf;
use mirage_dns::record::{Rcode, RecordType};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::common::eventually;

/// A port of loopback that is free for UDP and TCP, and that nobody else in this process gets.
///
/// It is below those that systems give to clients: one must not take it between a server's end and its next start.
pub(crate) fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    // Other processes that run these tests begin elsewhere.
    let begin = (std::process::id() % 200) as u16 * 100;
    for _ in 0..COUNT {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + begin.wrapping_add(number) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port of loopback is free for both UDP and TCP");
}

/// A key of TSIG that both sides have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TestKey {
    pub(crate) name: &'static str,
    pub(crate) algorithm: &'static str,
    pub(crate) secret: &'static str,
}

pub(crate) const SHA256: TestKey = TestKey {
    name: "sha256.key.example",
    algorithm: "hmac-sha256",
    secret: "c2VjcmV0IG9mIHRoaXMgZXhhbXBsZSwgMzIgb2N0ZXRz",
};

pub(crate) const SHA512: TestKey = TestKey {
    name: "sha512.key.example",
    algorithm: "hmac-sha512",
    secret: "YW5vdGhlciBzZWNyZXQsIG9mIHNpeHR5LWZvdXIgb2N0ZXRzLCB3aGljaCBpcyB3aGF0IFNIQS01MTIgd2FudHM=",
};

impl TestKey {
    /// As `tsig-keygen` writes it.
    pub(crate) fn file(&self, folder: &Path) -> String {
        let text = format!(
            "key \"{}\" {{\n\talgorithm {};\n\tsecret \"{}\";\n}};\n",
            self.name, self.algorithm, self.secret
        );
        write(folder, &format!("{}.conf", self.name), &text)
    }

    /// As `-y` of dig, kdig and nsupdate has it.
    pub(crate) fn argument(&self) -> String {
        format!("{}:{}:{}", self.algorithm, self.name, self.secret)
    }
}

/// Writes a file, in the place of the one that is there, and gives its path.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("a file in the temporary folder");
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// A server as a child process, in a process group of its own, which ends with it.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says goes to `log`.
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Self {
        let file = File::create(&log).expect("a file in the temporary folder");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle of the log"))
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it says this.
    pub(crate) fn says(&self, text: &str) {
        eventually(text, || self.log().contains(text).then_some(()));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the system lets us");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = |child: &mut Child| matches!(child.try_wait(), Ok(Some(_)));
        if !ended(&mut self.child) {
            // Asked to, a server ends the processes that it started.
            self.signal(Signal::TERM);
            for _ in 0..300 {
                if ended(&mut self.child) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        // The group is the child's own, and empty if all went well.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.log.display(), self.log());
        }
    }
}

/// What a server says of a zone's SOA over UDP: its code, and the serial if there is one. `None` without an answer.
pub(crate) fn soa(server: SocketAddr, apex: &str) -> Option<(Rcode, Option<u32>)> {
    let socket = UdpSocket::bind((server.ip(), 0)).expect("a socket");
    socket.connect(server).expect("an address");
    let wait = Duration::from_millis(500);
    socket.set_read_timeout(Some(wait)).expect("a time-out");
    let name = NameBuf::from_text(apex).expect("a name");
    let query = Query::new(7, name.as_name(), RecordType::SOA);
    let mut buffer = [0; 1_500];
    let length = query.write(&mut buffer).expect("it fits");
    socket.send(&buffer[..length]).ok()?;
    let length = socket.recv(&mut buffer).ok()?;
    let answer = query.accept(&buffer[..length]).expect("an answer");
    let mut serial = None;
    for record in answer.section(Section::Answer) {
        let record = record.expect("a record");
        let mut data = [0; 1_000];
        let data = record.rdata(&mut data).expect("its data");
        let (_, numbers) = data.split_at(data.len() - 20);
        serial = Some(u32::from_be_bytes([
            numbers[0], numbers[1], numbers[2], numbers[3],
        ]));
    }
    Some((answer.header().rcode, serial))
}

/// The serial of a zone; `None` where it is not answered for.
pub(crate) fn serial(server: SocketAddr, apex: &str) -> Option<u32> {
    soa(server, apex).and_then(|(_, serial)| serial)
}

/// Waits until a server has this version of a zone.
pub(crate) fn has_serial(server: SocketAddr, apex: &str, wanted: u32) {
    let mut last = None;
    let what = format!("serial {wanted} of {apex} at {server}");
    eventually(&what, || {
        last = serial(server, apex);
        (last == Some(wanted)).then_some(())
    });
}
