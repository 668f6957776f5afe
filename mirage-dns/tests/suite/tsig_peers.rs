//! Signatures between us and others: dig and kdig ask a server of ours, we transfer a zone from NSD.
//!
//! Everything runs on loopback, on ports that the system chose, without privileges.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mirage_dns::journal::Journal;
use mirage_dns::master_file::{NoFiles, Source};
use mirage_dns::message::MessageReader;
use mirage_dns::name::NameBuf;
use mirage_dns::server::{Client, Server, Transport};
use mirage_dns::tcp::length_prefix;
use mirage_dns::transfer::{
    IncomingTransfer, OutgoingTransfer, TransferLimits, TransferRequest, Transferred,
};
use mirage_dns::tsig::{Counters, Key, KeyRing, RequestVerifier, sign_request};
use mirage_dns::zone_compiler::ZoneCompiler;
use mirage_dns::zone_set::OwnedZoneSet;

const SECRET: &str = "c2VjcmV0IG9mIHRoaXMgZXhhbXBsZSwgMzIgb2N0ZXRz";

/// For each algorithm a key in the form of `dig -y`.
fn key_texts() -> [String; 3] {
    ["sha256", "sha384", "sha512"].map(|hash| format!("hmac-{hash}:{hash}.example:{SECRET}"))
}

fn keys() -> Vec<Key> {
    let key = |text: &String| Key::from_text(text).expect("a key");
    key_texts().iter().map(key).collect()
}

fn zone_text(records: usize) -> String {
    let mut text =
        "$ORIGIN example.org.\n$TTL 1h\n@ SOA ns root 1 2h 30m 4w 5m\n@ NS ns\nns A 192.0.2.53\n"
            .to_owned();
    for number in 0..records {
        text += &format!("host{number} A 192.0.2.1\n");
    }
    text
}

fn zones(records: usize) -> Arc<OwnedZoneSet> {
    let text = zone_text(records);
    let (name, text) = ("example.org.zone", text.as_bytes());
    let mut compiler = ZoneCompiler::new();
    compiler.add_zone(Source { name, text }, &NoFiles);
    let image = compiler.finish().expect("a zone").image;
    Arc::new(OwnedZoneSet::new(image).expect("an image"))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs()
}

/// What is done to each answer after it was signed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Damage {
    None,
    /// One bit of it is flipped, behind header and question.
    Flip,
}

/// A server of ours on loopback, in threads that end with it.
struct Ours {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Counters>>,
}

impl Ours {
    fn start(records: usize, damage: Damage) -> Self {
        let (tcp, udp) = bind_both();
        let address = tcp.local_addr().expect("an address");
        udp.set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a time-out");
        tcp.set_nonblocking(true).expect("a socket option");
        let zones = zones(records);
        let ended = Arc::new(AtomicBool::new(false));
        let over_udp = {
            let (zones, ended) = (zones.clone(), ended.clone());
            move || {
                let keys = keys();
                let verifier = RequestVerifier::new(KeyRing::new(&keys));
                let mut request = [0; 4096];
                while !ended.load(Ordering::Relaxed) {
                    let Ok((length, from)) = udp.recv_from(&mut request) else {
                        continue;
                    };
                    let request = &mut request[..length];
                    for answer in answer(&zones, &verifier, request, Transport::Udp, damage) {
                        udp.send_to(&answer, from).expect("to send an answer");
                    }
                }
                verifier.counters()
            }
        };
        let over_tcp = {
            let ended = ended.clone();
            move || {
                let keys = keys();
                let verifier = RequestVerifier::new(KeyRing::new(&keys));
                while !ended.load(Ordering::Relaxed) {
                    let Ok((mut stream, _)) = tcp.accept() else {
                        thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    stream.set_nonblocking(false).expect("a socket option");
                    while let Some(mut request) = read_message(&mut stream) {
                        let transport = Transport::Tcp;
                        for answer in answer(&zones, &verifier, &mut request, transport, damage) {
                            write_message(&mut stream, &answer);
                        }
                    }
                }
                verifier.counters()
            }
        };
        Self {
            address,
            ended,
            threads: vec![thread::spawn(over_udp), thread::spawn(over_tcp)],
        }
    }

    /// Ends it; what it counted over UDP and over TCP.
    fn end(self) -> Vec<Counters> {
        self.ended.store(true, Ordering::Relaxed);
        let join = |thread: JoinHandle<_>| thread.join().expect("a server that doesn't panic");
        self.threads.into_iter().map(join).collect()
    }

    /// What `dig` or `kdig` prints that is asked to ask it.
    fn asked_by(&self, program: &str, arguments: &[&str]) -> String {
        let address = format!("@{}", self.address.ip());
        let port = self.address.port().to_string();
        let output = Command::new(find_program(program))
            .args([&address, "-p", &port])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let printed = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&printed).into_owned()
    }
}

/// A port of loopback, for TCP and for UDP.
fn bind_both() -> (TcpListener, UdpSocket) {
    for _ in 0..100 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let address = tcp.local_addr().expect("an address");
        if let Ok(udp) = UdpSocket::bind(address) {
            return (tcp, udp);
        }
    }
    panic!("no port of loopback is free for both UDP and TCP");
}

/// The messages that answer a request.
fn answer(
    zones: &Arc<OwnedZoneSet>,
    verifier: &RequestVerifier<'_>,
    request: &mut [u8],
    transport: Transport,
    damage: Damage,
) -> Vec<Vec<u8>> {
    let mut out = vec![0; 65_535];
    let verified = match verifier.verify(request, now()) {
        Ok(verified) => verified,
        Err(rejected) => {
            let length = rejected.write_reply(request, now(), &mut out);
            out.truncate(length.expect("room for a reply"));
            return vec![out];
        }
    };
    let length = verified
        .as_ref()
        .map_or(request.len(), |verified| verified.length());
    let request = &request[..length];
    let mut answers = Vec::new();
    let reader = MessageReader::new(request).expect("a request");
    if let (Some(verified), Ok(Some(transfer))) = (&verified, TransferRequest::parse(&reader)) {
        let mut outgoing =
            OutgoingTransfer::new(&transfer, zones, &Journal::new(0)).expect("a zone");
        let mut stream = verified.stream();
        // Short messages, so that there are many.
        let room = 512 - stream.record_length();
        while let Some(length) = outgoing.poll_message(&mut out[..room]).expect("room") {
            let length = stream.sign(&mut out[..512], length, now()).expect("room");
            answers.push(out[..length].to_vec());
        }
    } else {
        let client = Client {
            address: Ipv4Addr::LOCALHOST.into(),
            transport,
            now: now(),
        };
        let server = Server::default();
        let length = server.answer(&zones.as_zone_set(), request, &client, &mut out[..1000]);
        let mut length = length.expect("an answer");
        if let Some(verified) = &verified {
            let signed = verified.sign(&mut out[..1232], length, now());
            length = signed.expect("room for the signature").length;
        }
        answers.push(out[..length].to_vec());
    }
    if let (Damage::Flip, Some(last)) = (damage, answers.last_mut()) {
        last[40] ^= 1;
    }
    answers
}

fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

fn write_message(stream: &mut TcpStream, message: &[u8]) {
    let prefix = length_prefix(message.len()).expect("a short message");
    let octets = [&prefix, message].concat();
    // Who asked may have gone.
    let _ = stream.write_all(&octets);
}

/// A program on the search path or where Debian has servers.
fn find_program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!("there is no {name}: `cargo mirage test` fetches it; else install it")
        })
}

const UNVERIFIED: [&str; 3] = [
    "Couldn't verify signature",
    "could not be validated",
    "reply verification",
];

fn is_verified(printed: &str) -> bool {
    !UNVERIFIED.iter().any(|words| printed.contains(words))
}

#[test]
fn dig_and_kdig_verify_what_we_sign() {
    let ours = Ours::start(0, Damage::None);
    for program in ["dig", "kdig"] {
        for key in key_texts() {
            for way in ["+notcp", "+tcp"] {
                let printed = ours.asked_by(program, &["-y", &key, way, "ns.example.org", "A"]);
                assert!(is_verified(&printed), "{printed}");
                assert!(printed.contains("192.0.2.53"), "{printed}");
                assert!(printed.contains("TSIG PSEUDOSECTION"), "{printed}");
            }
        }
    }
    for counters in ours.end() {
        assert_eq!((counters.verified, counters.unsigned), (6, 0));
    }
}

#[test]
fn dig_and_kdig_notice_what_was_changed_behind_our_signature() {
    let ours = Ours::start(0, Damage::Flip);
    let key = &key_texts()[0];
    for program in ["dig", "kdig"] {
        let printed = ours.asked_by(program, &["-y", key, "+notcp", "ns.example.org", "A"]);
        assert!(!is_verified(&printed), "{printed}");
    }
    ours.end();
}

#[test]
fn dig_understands_why_we_reject_its_signature() {
    let ours = Ours::start(0, Damage::None);
    let good = &key_texts()[0];
    let unknown = format!("hmac-sha256:unknown.example:{SECRET}");
    let other_algorithm = format!("hmac-sha512:sha256.example:{SECRET}");
    let old_algorithm = format!("hmac-sha1:sha256.example:{SECRET}");
    let other_secret = "hmac-sha256:sha256.example:YW5vdGhlciBzZWNyZXQ=".to_owned();
    for (key, more, wanted) in [
        (&unknown, "+notcp", "BADKEY"),
        (&other_algorithm, "+notcp", "BADKEY"),
        (&old_algorithm, "+notcp", "BADKEY"),
        (&other_secret, "+notcp", "BADSIG"),
        // Signed in 2001.
        (good, "+fuzztime=1000000000", "BADTIME"),
    ] {
        let printed = ours.asked_by("dig", &["-y", key, more, "example.org", "SOA"]);
        assert!(printed.contains("NOTAUTH"), "{printed}");
        assert!(printed.contains(wanted), "{printed}");
    }
    let counters = ours.end()[0];
    assert_eq!(
        (counters.bad_key, counters.bad_signature, counters.bad_time),
        (3, 1, 1)
    );
}

#[test]
fn dig_and_kdig_verify_each_message_of_a_transfer() {
    let ours = Ours::start(2_000, Damage::None);
    for (program, key) in [("dig", 0), ("kdig", 1), ("dig", 2)] {
        let key = &key_texts()[key];
        let printed = ours.asked_by(program, &["-y", key, "example.org", "AXFR"]);
        assert!(is_verified(&printed), "{printed}");
        let hosts = printed.lines().filter(|line| line.starts_with("host"));
        assert_eq!(hosts.count(), 2_000, "{printed}");
        // More than a hundred messages, as each of the two says it.
        let many = ["(messages 1", "B (1"]
            .iter()
            .any(|words| printed.contains(words));
        assert!(many, "{printed}");
    }
    ours.end();
    let damaged = Ours::start(2_000, Damage::Flip);
    let printed = damaged.asked_by("dig", &["-y", &key_texts()[0], "example.org", "AXFR"]);
    assert!(!is_verified(&printed), "{printed}");
    damaged.end();
}

/// NSD with one zone, which it gives to who has a key; ended when dropped.
struct Nsd {
    child: Child,
    address: SocketAddr,
}

impl Nsd {
    fn start(directory: &Path, records: usize) -> Self {
        let program = find_program("nsd");
        fs::write(directory.join("example.org.zone"), zone_text(records)).expect("a file");
        // Another program may take the port between our look and NSD's start.
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|socket| socket.local_addr())
                .expect("a port")
                .port();
            let mut nsd = Self::spawn(&program, directory, port);
            if nsd.wait_until_ready() {
                return nsd;
            }
        }
        let log = fs::read_to_string(directory.join("nsd.log")).unwrap_or_default();
        panic!("{} doesn't start; its log:\n{log}", program.display());
    }

    fn spawn(program: &Path, directory: &Path, port: u16) -> Self {
        let at = |name: &str| directory.join(name).display().to_string();
        let mut configuration = format!(
            "server:\n  ip-address: 127.0.0.1@{port}\n  port: {port}\n  server-count: 1\n  username: \"\"\n  chroot: \"\"\n  \
             database: \"\"\n  zonesdir: \"{}\"\n  zonelistfile: \"{}\"\n  pidfile: \"{}\"\n  xfrdfile: \"{}\"\n\
             remote-control:\n  control-enable: no\n",
            directory.display(),
            at("zone.list"),
            at("nsd.pid"),
            at("xfrd.state"),
        );
        for hash in ["sha256", "sha384", "sha512"] {
            configuration += &format!(
                "key:\n  name: {hash}.example\n  algorithm: hmac-{hash}\n  secret: \"{SECRET}\"\n"
            );
        }
        configuration += "zone:\n  name: example.org\n  zonefile: example.org.zone\n";
        for hash in ["sha256", "sha384", "sha512"] {
            configuration += &format!("  provide-xfr: 127.0.0.1 {hash}.example\n");
        }
        let path = directory.join("nsd.conf");
        fs::write(&path, configuration).expect("a file");
        let log = fs::File::create(directory.join("nsd.log")).expect("a file");
        let child = Command::new(program)
            .arg("-d")
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{} doesn't start: {error}", program.display()));
        Self {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        }
    }

    fn wait_until_ready(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return false;
            }
            if TcpStream::connect(self.address).is_ok() {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        // The main process ends its children when asked to.
        if let Some(process) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

#[test]
fn we_verify_each_message_of_a_transfer_from_nsd() {
    let directory = tempfile::tempdir().expect("a folder");
    let records = 20_000;
    let nsd = Nsd::start(directory.path(), records);
    let apex = NameBuf::from_text("example.org").expect("a name");
    for key in &keys() {
        let mut request = [0; 1024];
        let length = TransferRequest::write(7, apex.as_name(), None, &mut request).expect("room");
        let (length, signed) =
            sign_request(key, &mut request, length, now()).expect("room for the signature");
        let mut stream = TcpStream::connect(nsd.address).expect("NSD on TCP");
        write_message(&mut stream, &request[..length]);

        let mut verifier = signed.stream();
        let mut incoming = IncomingTransfer::new(7, apex.clone(), None, TransferLimits::default());
        let mut messages = 0;
        let came = loop {
            let mut message = read_message(&mut stream).expect("the next message");
            messages += 1;
            let length = verifier
                .verify(&mut message, now())
                .unwrap_or_else(|error| panic!("message {messages}: {error}"));
            if let Some(came) = incoming
                .handle_message(&message[..length])
                .expect("a transfer")
            {
                break came;
            }
        };
        verifier.finish().expect("a last message with a signature");
        let Transferred::Whole(zone) = came else {
            panic!("{came:?}");
        };
        assert_eq!(zone.len(), records + 3);
        assert!(messages > 10, "{messages}");
    }
}
