//! The program under test, its clients, and what they say.
#![allow(dead_code)] // Each test program uses a part.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::spawn;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

pub(crate) use web_browser::find;

/// More than anything here takes on any machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The program, with its arguments, and nothing of the environment that changes what it does.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_web-host"));
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
        Self::launch_within(program(arguments), LONG)
    }

    /// The same, of a prepared command. One that does not say so in time is ended.
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
        let tells = |line: &String| line.starts_with("try: ");
        while !server.said.last().is_some_and(tells) {
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

    /// Over the system's sockets on a free port.
    pub(crate) fn on_loopback(more: &[&str]) -> Self {
        Self::start(&[&["--listen", "127.0.0.1:0"], more].concat())
    }

    /// Where it serves.
    pub(crate) fn address(&self) -> SocketAddr {
        let line = self
            .said
            .iter()
            .find_map(|line| line.strip_prefix("serving on "));
        let address = line.expect("a line that says where");
        address.parse().expect("an address")
    }

    /// The address of one of its pages.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Sends it Ctrl-C, and gives what it said at last, and its status.
    pub(crate) fn interrupt(mut self) -> (String, ExitStatus) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("the system lets us");
        let mut text = String::new();
        self.out.read_to_string(&mut text).expect("text");
        (text, self.child.wait().expect("its end"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `curl`, without a time-out that a slow machine would meet.
pub(crate) fn curl(arguments: &[&str]) -> Output {
    let program = find("curl").unwrap_or_else(|| {
        panic!("`curl` is not on PATH: `cargo mirage test` fetches it by itself; else install it, or set MIRAGE_CURL")
    });
    let mut command = Command::new(program);
    command
        .args([
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--max-time",
            "60",
        ])
        .args(arguments)
        .stdin(Stdio::null());
    command.output().expect("curl runs")
}

/// What `curl` printed; it has to succeed.
pub(crate) fn curled(arguments: &[&str]) -> String {
    let output = curl(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A field of a head, the last where there are several heads.
pub(crate) fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let mut fields = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    fields.next_back().map(|(_, value)| value.trim_end())
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

/// Has `wrk` ask for a page on 32 connections for a second, kept or with one for each request, and gives how many answers it counted.
///
/// # Panics
/// If one connection failed, or one answer was none of 2xx or 3xx.
pub(crate) fn wrk(url: &str, kept: bool) -> u64 {
    let program = find("wrk").unwrap_or_else(|| {
        panic!("`wrk` is not on PATH: `cargo mirage test` fetches it by itself; else install it, or set MIRAGE_WRK")
    });
    let mut command = Command::new(program);
    command
        .args(["--threads", "1", "--connections", "32"])
        .args(["--duration", "1s", "--timeout", "60s"])
        .stdin(Stdio::null());
    if !kept {
        command.args(["--header", "Connection: close"]);
    }
    let output = command.arg(url).output().expect("wrk runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{output:?}");
    for trouble in ["Socket errors", "Non-2xx"] {
        assert!(!said.contains(trouble), "{said}");
    }
    let counted = said
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "));
    let (counted, _) = counted.unwrap_or_else(|| panic!("no count: {said}"));
    counted.parse().expect("a number")
}

/// Loads a server that serves there with `wrk`: all that it asks is answered, and counted, whether connections are kept or not.
pub(crate) fn answers_wrk(server: Server, url: &str) {
    // What is on its way when wrk ends, on each of its connections, is not in wrk's count.
    let counted = wrk(url, true) + wrk(url, false);
    assert!(counted > 100, "{counted}");
    let (said, status) = server.interrupt();
    assert!(status.success());
    let requests = counter(&said, "requests");
    assert!(
        (counted..=counted + 2 * 32).contains(&requests),
        "{counted} of {said}"
    );
    assert!(counter(&said, "connections") > 100, "{said}");
}

/// A connection to a server.
pub(crate) fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("a connection");
    stream.set_read_timeout(Some(LONG)).expect("a time-out");
    stream
}

/// Sends octets, and reads what comes until the server ends the connection.
pub(crate) fn exchange(server: &Server, octets: &[u8]) -> String {
    let mut stream = connect(server);
    stream.write_all(octets).expect("sent");
    read_to_end(&mut stream)
}

/// Reads until the other side ends the connection, in whatever way.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> String {
    let mut octets = Vec::new();
    let mut room = [0; 4_096];
    while let Ok(length @ 1..) = stream.read(&mut room) {
        octets.extend_from_slice(&room[..length]);
    }
    String::from_utf8_lossy(&octets).into_owned()
}

/// Reads until what came has `end` in it.
pub(crate) fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let (mut text, mut room) = (String::new(), [0; 4_096]);
    while !text.contains(end) {
        let length = stream.read(&mut room).expect("more");
        assert_ne!(length, 0, "it ended behind {text:?}");
        text.push_str(&String::from_utf8_lossy(&room[..length]));
    }
    text
}
