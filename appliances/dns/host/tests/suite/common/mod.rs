//! What the tests of the process share: starting it, asking it, ending it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::spawn;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// More than anything here takes on any machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The path of a zone of the tests.
pub(crate) fn zone(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/zones")
        .join(name);
    path.to_str().expect("a path in UTF-8").to_string()
}

/// The program, with its arguments, and nothing of the environment that changes what it does.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dns-host"));
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// A running server, ended when it is dropped.
pub(crate) struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it said before it served.
    pub(crate) said: Vec<String>,
}

impl Server {
    /// Starts it, and waits until it says what to try.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::launch(program(arguments))
    }

    /// The same, of a prepared command.
    pub(crate) fn launch(command: Command) -> Self {
        Self::launch_within(command, LONG)
    }

    /// The same. One that does not say so in time is ended.
    ///
    /// # Panics
    /// If it ended, or was ended, before.
    pub(crate) fn launch_within(mut command: Command, patience: Duration) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program");
        let process = Pid::from_child(&child);
        let (serves, watched) = channel::<()>();
        let watching = spawn(move || {
            if watched.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                // It is our child, which nobody waits for before this is over.
                let _ = kill_process(process, Signal::KILL);
            }
        });
        let out = BufReader::new(child.stdout.take().expect("its output"));
        let mut server = Self {
            child,
            out,
            said: Vec::new(),
        };
        while !server
            .said
            .last()
            .is_some_and(|line| line.starts_with("try: "))
        {
            let mut line = String::new();
            // The end of its output is the end of the process: it has said why on our standard error.
            let length = server.out.read_line(&mut line).expect("text");
            assert_ne!(length, 0, "it ended before it served: {:?}", server.said);
            server.said.push(line.trim_end().to_string());
        }
        drop(serves);
        watching.join().expect("the watch");
        server
    }

    /// Over the system's sockets on a free port, with the zone of the tests.
    pub(crate) fn on_loopback(more: &[&str]) -> Self {
        let zone = zone("test.example.zone");
        let mut arguments = vec!["--listen", "127.0.0.1:0", "--zone", &zone];
        arguments.extend(more);
        Self::start(&arguments)
    }

    /// Where it serves.
    pub(crate) fn address(&self) -> SocketAddr {
        let line = self
            .said
            .iter()
            .find_map(|line| line.strip_prefix("serving on "));
        let address = line
            .and_then(|line| line.split(',').next())
            .expect("a line that says where");
        address.parse().expect("an address")
    }

    /// Sends it Ctrl-C, and gives what it said at last, and its status.
    pub(crate) fn interrupt(self) -> (String, ExitStatus) {
        self.end_by(Signal::INT)
    }

    /// Sends it a signal that ends it, and gives what it said at last, and its status.
    pub(crate) fn end_by(self, signal: Signal) -> (String, ExitStatus) {
        self.signal(signal);
        self.ended()
    }

    /// Waits until it ends by itself, and gives what it said at last, and its status.
    pub(crate) fn ended(mut self) -> (String, ExitStatus) {
        let mut text = String::new();
        self.out.read_to_string(&mut text).expect("text");
        (text, self.child.wait().expect("its end"))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the system lets us");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client program: the environment's, or the one on PATH.
pub(crate) fn client(name: &str, package: &str) -> PathBuf {
    let variable = format!("MIRAGE_{}", name.to_uppercase());
    if let Some(path) = std::env::var_os(&variable) {
        return path.into();
    }
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    // Servers are in the folders for administration, which are not on every user's path.
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "`{name}` is not on PATH: `cargo mirage test` fetches it by itself; else install Debian's package {package}, \
             or set {variable} to the program"
        )
    })
}

/// Runs `dig` against a server; its time-outs are long, so that a slow machine is no failure.
pub(crate) fn dig(server: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new(client("dig", "bind9-dnsutils"));
    command
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string()]);
    command.args(["+time=20", "+tries=3"]).args(arguments);
    answered(command)
}

/// Runs `kdig` against a server.
pub(crate) fn kdig(server: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new(client("kdig", "knot-dnsutils"));
    command
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string()]);
    command.args(["+time=20", "+retry=3"]).args(arguments);
    answered(command)
}

fn answered(mut command: Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .expect("the client runs");
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(
        status.success(),
        "{command:?}: {status}\n{text}{}",
        String::from_utf8_lossy(&stderr)
    );
    text
}

/// Tries until it succeeds, for at most a minute.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The message of a query: one question of class IN, recursion not desired, no EDNS.
pub(crate) fn query(id: u16, name: &str, record_type: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).expect("a short label"));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(record_type.to_be_bytes());
    message.extend([0, 1]);
    message
}

/// With its length in front, as over TCP.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = u16::try_from(message.len())
        .expect("a short message")
        .to_be_bytes()
        .to_vec();
    framed.extend(message);
    framed
}

/// What a test looks at in an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its ID.
    pub(crate) id: u16,
    /// Its RCODE, without EDNS.
    pub(crate) rcode: u8,
    /// How many records its answer section promises.
    pub(crate) answers: u16,
}

/// Reads an answer's header.
pub(crate) fn answer(message: &[u8]) -> Answer {
    assert!(
        message.len() >= 12 && message[2] & 0x80 != 0,
        "no answer: {message:?}"
    );
    Answer {
        id: u16::from_be_bytes([message[0], message[1]]),
        rcode: message[3] & 0xf,
        answers: u16::from_be_bytes([message[6], message[7]]),
    }
}

/// A counter in what was printed at the end; 0 where it is not named.
pub(crate) fn counter(text: &str, name: &str) -> u64 {
    let words = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = words
        .filter(|words| words.len() == 2)
        .find(|words| words[0] == name);
    line.map_or(0, |words| words[1].parse().expect("a number"))
}

/// Reads one message of a stream.
pub(crate) fn read_message(stream: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("a length");
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).expect("a message");
    message
}

/// Runs a program that has to succeed, and gives what it printed.
pub(crate) fn run(name: &str, package: &str, arguments: &[&str]) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = output(name, package, arguments);
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(
        status.success(),
        "{name} {arguments:?}: {status}\n{text}{}",
        String::from_utf8_lossy(&stderr)
    );
    text
}

/// Runs a program, and gives what became of it.
pub(crate) fn output(name: &str, package: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(client(name, package));
    command.args(arguments).stdin(Stdio::null());
    command.output().expect("the program runs")
}
