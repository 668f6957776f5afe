//! NSD or Knot as a child process on loopback, and a client that asks it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mirage_dns::client::Query;
use mirage_dns::name::NameBuf;
use mirage_dns::record::RecordType;
use rustix::process::{Pid, Signal, kill_process_group};

use super::response::{Record, Response};
use super::zones::{self, ZoneFile};

/// The most octets that an oracle puts into a datagram, whatever the question's EDNS says; given to our server, too.
pub(crate) const MAX_UDP_PAYLOAD: u16 = 4_096;

/// How fast an oracle is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// For questions that are answered from the zones.
    Fast,
    /// For questions that may be answered with an error: NSD 4.6 gives at most 100 of these a second, and says
    /// nothing to the others (ERROR_RATELIMIT in its query.c; no setting turns it off).
    Patient,
}

impl Pace {
    /// How many questions are in flight at once over UDP: few enough for the socket buffers.
    fn window(self) -> usize {
        match self {
            Self::Fast => 64,
            Self::Patient => 512,
        }
    }

    /// How often a question is sent before it counts as unanswered, and how long each wait is.
    fn tries(self) -> (u32, Duration) {
        match self {
            Self::Fast => (4, Duration::from_millis(250)),
            Self::Patient => (40, Duration::from_millis(300)),
        }
    }
}

/// Which server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Nsd,
    Knot,
}

impl Kind {
    /// The program, the variable that may name another, and Debian's package.
    const fn program(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Nsd => ("nsd", "MIRAGE_NSD", "nsd"),
            Self::Knot => ("knotd", "MIRAGE_KNOTD", "knot"),
        }
    }
}

/// A running server; ended when dropped.
pub(crate) struct Oracle {
    kind: Kind,
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Oracle {
    /// Starts a server on the zones, with all its files in `directory`, and waits until it answers from all of them.
    ///
    /// # Panics
    /// With what to do, when the program isn't there or doesn't start.
    pub(crate) fn start(kind: Kind, directory: &Path, zones: &[ZoneFile]) -> Self {
        let program = find_program(kind);
        // Another program may take the port between our look and the start.
        for _ in 0..5 {
            let mut oracle = Self::spawn(kind, &program, directory, zones, free_port());
            if zones.iter().all(|zone| oracle.wait_until_ready(&zone.apex)) {
                return oracle;
            }
        }
        let log = fs::read_to_string(directory.join("oracle.log")).unwrap_or_default();
        panic!("{} doesn't start; its log:\n{log}", program.display());
    }

    fn spawn(kind: Kind, program: &Path, directory: &Path, zones: &[ZoneFile], port: u16) -> Self {
        let configuration = match kind {
            Kind::Nsd => nsd_configuration(directory, zones, port),
            Kind::Knot => knot_configuration(directory, zones, port),
        };
        let configuration_file = directory.join("oracle.conf");
        fs::write(&configuration_file, configuration).expect("a file in the temporary directory");
        let log_path = directory.join("oracle.log");
        let log = fs::File::create(&log_path).expect("a file in the temporary directory");
        let mut command = Command::new(program);
        if kind == Kind::Nsd {
            command.arg("-d");
        }
        let child = command
            .arg("-c")
            .arg(&configuration_file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            // A group of its own, so that its own children can be ended with it.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{} doesn't start: {error}", program.display()));
        Self {
            kind,
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            log: log_path,
        }
    }

    /// Whether a zone is served within ten seconds; `false` as soon as the program has ended.
    fn wait_until_ready(&mut self, apex: &str) -> bool {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.connect(self.address).expect("an address");
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a time-out");
        let apex = NameBuf::from_text(apex).expect("a name");
        let question = Query::new(0x1234, apex.as_name(), RecordType::SOA);
        let mut octets = [0; 512];
        let length = question.write(&mut octets).expect("a question fits");
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return false;
            }
            let mut answer = [0; 512];
            if socket.send(&octets[..length]).is_ok()
                && socket.recv(&mut answer).is_ok()
                && answer[3] & 0xf == 0
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// What it wrote to its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks all questions over UDP. `None` where no answer came, however often it was asked.
    ///
    /// Each question goes under its own ID (its index), whatever its first two octets are; they are put back in the
    /// answer.
    pub(crate) fn ask_udp(&self, questions: &[Vec<u8>], pace: Pace) -> Vec<Option<Vec<u8>>> {
        let mut answers = vec![None; questions.len()];
        for (batch, questions) in questions.chunks(usize::from(u16::MAX)).enumerate() {
            let first = batch * usize::from(u16::MAX);
            self.ask_batch(
                questions,
                pace,
                &mut answers[first..first + questions.len()],
            );
        }
        answers
    }

    fn ask_batch(&self, questions: &[Vec<u8>], pace: Pace, answers: &mut [Option<Vec<u8>>]) {
        let (tries_allowed, wait) = pace.tries();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.connect(self.address).expect("an address");
        socket
            .set_read_timeout(Some(Duration::from_millis(10)))
            .expect("a time-out");
        let send = |index: usize| {
            let mut question = questions[index].clone();
            question[..2].copy_from_slice(&(index as u16).to_be_bytes());
            // What is lost is sent again.
            let _ = socket.send(&question);
        };
        let mut in_flight: HashMap<usize, (u32, Instant)> = HashMap::new();
        let mut next = 0;
        let mut buffer = vec![0; 65_535];
        while next < questions.len() || !in_flight.is_empty() {
            while in_flight.len() < pace.window() && next < questions.len() {
                send(next);
                in_flight.insert(next, (1, Instant::now() + wait));
                next += 1;
            }
            match socket.recv(&mut buffer) {
                Ok(length) if length >= 2 => {
                    let index = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
                    if in_flight.remove(&index).is_some() {
                        let mut answer = buffer[..length].to_vec();
                        answer[..2].copy_from_slice(&questions[index][..2]);
                        answers[index] = Some(answer);
                    }
                }
                Ok(_) => {}
                Err(error) if is_time_out(&error) => {}
                Err(error) => panic!("asking {:?}: {error}\n{}", self.kind, self.log()),
            }
            let now = Instant::now();
            in_flight.retain(|&index, (tries, deadline)| {
                if now < *deadline {
                    return true;
                }
                if *tries == tries_allowed {
                    return false;
                }
                *tries += 1;
                *deadline = now + wait;
                send(index);
                true
            });
        }
    }

    /// Asks all questions over one TCP connection after the other, one at a time. `None` where the connection was
    /// closed instead.
    pub(crate) fn ask_tcp(&self, questions: &[Vec<u8>], pace: Pace) -> Vec<Option<Vec<u8>>> {
        let mut connection = None;
        questions
            .iter()
            .map(|question| {
                // NSD closes the connection where it would say nothing over UDP.
                for _ in 0..if pace == Pace::Patient { 4 } else { 1 } {
                    let mut stream = connection.take().unwrap_or_else(|| self.connect());
                    if let Ok(answer) = exchange(&mut stream, question) {
                        connection = Some(stream);
                        return Some(answer);
                    }
                    if pace == Pace::Patient {
                        std::thread::sleep(Duration::from_millis(500));
                    }
                }
                None
            })
            .collect()
    }

    /// All records of a zone by AXFR (RFC 5936), whose question this is.
    pub(crate) fn transfer(&self, question: &[u8]) -> BTreeSet<Record> {
        let mut stream = self.connect();
        let mut message = exchange(&mut stream, question).expect("an answer");
        let mut records = BTreeSet::new();
        loop {
            let response = Response::parse(&message).expect("a message that can be read");
            assert_eq!(response.rcode, 0, "{}", self.log());
            // The SOA record comes first and last.
            let is_soa = |record: &Record| record.record_type == RecordType::SOA.0;
            let is_last =
                response.repeats || !records.is_empty() && response.answer.iter().any(is_soa);
            records.extend(response.answer);
            if is_last {
                return records;
            }
            message = receive(&mut stream).expect("another message");
        }
    }

    fn connect(&self) -> TcpStream {
        let wait = Duration::from_secs(5);
        let stream =
            TcpStream::connect_timeout(&self.address, wait).expect("a connection to the oracle");
        stream.set_read_timeout(Some(wait)).expect("a time-out");
        stream.set_nodelay(true).expect("a socket option");
        stream
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let Some(group) = group else { return };
        // The main process ends its children when asked to.
        let _ = kill_process_group(group, Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

fn is_time_out(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// RFC 1035 §4.2.2: two octets of length before each message.
fn exchange(stream: &mut TcpStream, question: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(question.len()).expect("a short question");
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    receive(stream)
}

fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// A port of loopback that is free for UDP and TCP.
fn free_port() -> u16 {
    for _ in 0..100 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let port = tcp.local_addr().expect("an address").port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port of loopback is free for both UDP and TCP");
}

fn nsd_configuration(directory: &Path, zones: &[ZoneFile], port: u16) -> String {
    let at = |name: &str| directory.join(name).display().to_string();
    let mut configuration = format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  port: {port}\n  server-count: 1\n  username: \"\"\n  chroot: \"\"\n  \
         database: \"\"\n  zonesdir: \"{}\"\n  zonelistfile: \"{}\"\n  pidfile: \"{}\"\n  xfrdfile: \"{}\"\n  \
         rrl-ratelimit: 0\n  rrl-whitelist-ratelimit: 0\n  ipv4-edns-size: {MAX_UDP_PAYLOAD}\n  \
         minimal-responses: yes\n  round-robin: no\n  refuse-any: no\n  tcp-count: 50\n  tcp-timeout: 60\n\
         remote-control:\n  control-enable: no\n",
        // Where NSD looks for included files.
        zones::by_hand().display(),
        at("zone.list"),
        at("nsd.pid"),
        at("xfrd.state"),
    );
    for zone in zones {
        configuration += &format!(
            "zone:\n  name: \"{}\"\n  zonefile: \"{}\"\n  provide-xfr: 127.0.0.1 NOKEY\n",
            zone.apex,
            zone.path.display()
        );
    }
    configuration
}

fn knot_configuration(directory: &Path, zones: &[ZoneFile], port: u16) -> String {
    let mut configuration = format!(
        "server:\n  rundir: \"{0}\"\n  listen: 127.0.0.1@{port}\n  udp-max-payload: {MAX_UDP_PAYLOAD}\n  \
         udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n  tcp-idle-timeout: 60\n\
         log:\n  - target: stderr\n    any: info\n\
         database:\n  storage: \"{0}\"\n  journal-db-max-size: 16M\n\
         acl:\n  - id: all\n    address: 127.0.0.1\n    action: transfer\n\
         zone:\n",
        directory.display(),
    );
    for zone in zones {
        configuration += &format!(
            "  - domain: \"{}\"\n    file: \"{}\"\n    zonefile-sync: -1\n    journal-content: none\n    acl: all\n",
            zone.apex,
            zone.path.display()
        );
    }
    configuration
}

/// The program that a variable names, else the one on the search path or where Debian has it.
fn find_program(kind: Kind) -> PathBuf {
    let (name, variable, package) = kind.program();
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!(
                "this test asks {kind:?} the same questions as our server, and there is no {name}: `cargo mirage test` fetches it; \
                 else install it (Debian: apt-get install {package}) or set {variable} to its path"
            )
        })
}
