//! Dynamic updates with others: the same ones to Knot DNS and to us, which must come to the same zone; and nsupdate, which
//! updates a zone of ours.
//!
//! Knot runs as a child process on loopback, without privileges. The updates come from a seed: `MIRAGE_SEED` sets another one,
//! `MIRAGE_UPDATES` how many there are, and each run prints them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mirage_dns::master_file::{NoFiles, Source};
use mirage_dns::message::{Flags, HEADER_LENGTH, Header, MessageReader};
use mirage_dns::name::NameBuf;
use mirage_dns::record::{Opcode, Rcode, RecordClass, RecordType};
use mirage_dns::server::{Client, Server, Transport};
use mirage_dns::tcp::length_prefix;
use mirage_dns::transfer::{IncomingTransfer, TransferLimits, TransferRequest, Transferred};
use mirage_dns::tsig::{Key, KeyRing, RequestVerifier, sign_request};
use mirage_dns::update::{PendingUpdates, UpdateLimits, UpdateRequest};
use mirage_dns::zone_compiler::ZoneCompiler;
use mirage_dns::zone_set::{OwnedZoneSet, ZoneSetBuilder};

const SECRET: &str = "c2VjcmV0IG9mIHRoaXMgZXhhbXBsZSwgMzIgb2N0ZXRz";

const ZONE: &str = "\
$ORIGIN example.org.
$TTL 1h
@ SOA ns root 10 2h 30m 4w 5m
@ NS ns
@ NS ns2
@ MX 10 mail
ns A 192.0.2.53
ns2 A 192.0.2.54
mail A 192.0.2.25
mail A 192.0.2.26
www TXT \"web\"
alias CNAME www
a.b.c A 192.0.2.1
cut NS ns.cut
ns.cut A 192.0.2.55
";

fn key() -> Key {
    Key::from_text(&format!("hmac-sha256:update.example:{SECRET}")).expect("a key")
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs()
}

fn apex() -> NameBuf {
    NameBuf::from_text("example.org").expect("a name")
}

/// A zone of ours, built anew after each update.
struct Ours {
    zones: OwnedZoneSet,
    pending: PendingUpdates,
}

impl Ours {
    fn new() -> Self {
        let (name, text) = ("example.org.zone", ZONE.as_bytes());
        let mut compiler = ZoneCompiler::new();
        compiler.add_zone(Source { name, text }, &NoFiles);
        let image = compiler.finish().expect("a zone").image;
        Self {
            zones: OwnedZoneSet::new(image).expect("an image"),
            pending: PendingUpdates::new(UpdateLimits::default()),
        }
    }

    /// Does an update that was verified.
    fn update(&mut self, message: &[u8]) -> Rcode {
        let reader = MessageReader::new(message).expect("a header");
        let set = self.zones.as_zone_set();
        let request = match UpdateRequest::parse(&reader) {
            Ok(request) => request,
            Err(error) => return error.rcode(),
        };
        let zone = request.zone(&set);
        match zone.and_then(|zone| self.pending.apply(zone, &request)) {
            Err(error) => error.rcode(),
            Ok(None) => Rcode::NOERROR,
            Ok(Some(difference)) => {
                let mut builder = ZoneSetBuilder::from_zone_set(&set).expect("the zone as it is");
                let zone = builder.zone(request.apex()).expect("the zone");
                builder.apply(zone, &difference).expect("its difference");
                let image = builder.build().expect("what was not refused");
                self.zones = OwnedZoneSet::new(image).expect("an image");
                self.pending.forget(self.pending.version());
                Rcode::NOERROR
            }
        }
    }

    /// Answers a request, as a server would.
    fn answer(
        &mut self,
        verifier: &RequestVerifier<'_>,
        request: &mut [u8],
        transport: Transport,
    ) -> Vec<u8> {
        let mut out = vec![0; 4_096];
        let verified = match verifier.verify(request, now()) {
            Ok(verified) => verified,
            Err(rejected) => {
                let length = rejected.write_reply(request, now(), &mut out);
                out.truncate(length.expect("room for a reply"));
                return out;
            }
        };
        let length = verified
            .as_ref()
            .map_or(request.len(), |verified| verified.length());
        let request = &request[..length];
        let mut header = *MessageReader::new(request).expect("a header").header();
        let mut length = if header.opcode == Opcode::UPDATE {
            header.flags |= Flags::QR;
            header.rcode = match &verified {
                Some(_) => self.update(request),
                None => Rcode::REFUSED,
            };
            // RFC 2136 §3.8: the sections may be left out.
            (header.question_count, header.answer_count) = (0, 0);
            (header.authority_count, header.additional_count) = (0, 0);
            out[..HEADER_LENGTH].copy_from_slice(&header.to_octets());
            HEADER_LENGTH
        } else {
            let client = Client {
                address: Ipv4Addr::LOCALHOST.into(),
                transport,
                now: now(),
            };
            let set = self.zones.as_zone_set();
            let length = Server::default().answer(&set, request, &client, &mut out[..400]);
            length.expect("an answer")
        };
        if let Some(verified) = &verified {
            let signed = verified.sign(&mut out, length, now());
            length = signed.expect("room for the signature").length;
        }
        out.truncate(length);
        out
    }

    fn records(&self) -> Vec<String> {
        let set = self.zones.as_zone_set();
        let zone = set.zones().next().expect("a zone");
        let line = |record: mirage_dns::zone_set::ZoneRecord<'_>| {
            line(
                &record.owner.to_string(),
                record.ttl,
                record.record_type,
                record.rdata,
            )
        };
        let mut lines: Vec<String> = zone.records().map(line).collect();
        lines.sort();
        lines
    }
}

fn line(owner: &str, ttl: u32, record_type: RecordType, rdata: &[u8]) -> String {
    format!("{} {ttl} {record_type} {rdata:?}", owner.to_lowercase())
}

/// Knot DNS with one zone, which who has the key may update and fetch; ended when dropped.
struct Knot {
    child: Child,
    stream: Option<TcpStream>,
    address: SocketAddr,
    log: PathBuf,
}

impl Knot {
    fn start(directory: &Path) -> Self {
        let program = find_program("knotd");
        fs::write(directory.join("example.org.zone"), ZONE).expect("a file");
        // Another program may take the port between our look and Knot's start.
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|socket| socket.local_addr())
                .expect("a port")
                .port();
            let mut knot = Self::spawn(&program, directory, port);
            if knot.wait_until_ready() {
                return knot;
            }
        }
        let log = fs::read_to_string(directory.join("knot.log")).unwrap_or_default();
        panic!("{} doesn't start; its log:\n{log}", program.display());
    }

    fn spawn(program: &Path, directory: &Path, port: u16) -> Self {
        let folder = directory.display();
        let configuration = format!(
            "server:\n  listen: 127.0.0.1@{port}\n  rundir: {folder}\n  udp-workers: 1\n  tcp-workers: 1\n  \
             background-workers: 1\nlog:\n  - target: stderr\n    any: info\ndatabase:\n  storage: {folder}/db\nkey:\n  \
             - id: update.example\n    algorithm: hmac-sha256\n    secret: {SECRET}\nacl:\n  - id: all\n    key: \
             update.example\n    action: [transfer, update]\nzone:\n  - domain: example.org\n    file: \
             {folder}/example.org.zone\n    acl: all\n    zonefile-sync: -1\n    journal-content: none\n"
        );
        let path = directory.join("knot.conf");
        fs::write(&path, configuration).expect("a file");
        let log = directory.join("knot.log");
        let output = fs::File::create(&log).expect("a file");
        let child = Command::new(program)
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle of the log"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{} doesn't start: {error}", program.display()));
        Self {
            child,
            stream: None,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            log,
        }
    }

    fn wait_until_ready(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return false;
            }
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if log.contains("loaded") && TcpStream::connect(self.address).is_ok() {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Sends an update, signed; its code.
    fn update(&mut self, message: &[u8]) -> Rcode {
        let key = key();
        let mut buffer = message.to_vec();
        buffer.resize(message.len() + key.record_length(), 0);
        let signed = sign_request(&key, &mut buffer, message.len(), now());
        let (length, signed) = signed.expect("room for the signature");
        // Knot closes a connection now and then.
        for _ in 0..3 {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => TcpStream::connect(self.address).expect("Knot on TCP"),
            };
            if !write_message(&mut stream, &buffer[..length]) {
                continue;
            }
            let Some(mut answer) = read_message(&mut stream) else {
                continue;
            };
            self.stream = Some(stream);
            let length = signed
                .verify_answer(&mut answer, now())
                .unwrap_or_else(|error| panic!("{error}: {answer:?}"));
            return MessageReader::new(&answer[..length])
                .expect("a header")
                .header()
                .rcode;
        }
        panic!("Knot gives no answer to {message:?}");
    }

    /// The zone that it has.
    fn records(&self) -> Vec<String> {
        let key = key();
        let mut request = [0; 1024];
        let length = TransferRequest::write(9, apex().as_name(), None, &mut request).expect("room");
        let signed = sign_request(&key, &mut request, length, now());
        let (length, signed) = signed.expect("room for the signature");
        let mut stream = TcpStream::connect(self.address).expect("Knot on TCP");
        assert!(write_message(&mut stream, &request[..length]));
        let mut verifier = signed.stream();
        let mut incoming = IncomingTransfer::new(9, apex(), None, TransferLimits::default());
        let whole = loop {
            let mut message = read_message(&mut stream).expect("the next message");
            let length = verifier.verify(&mut message, now()).expect("a signature");
            let came = incoming.handle_message(&message[..length]);
            match came.expect("a transfer") {
                Some(Transferred::Whole(records)) => break records,
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        };
        verifier.finish().expect("the last signature");
        let mut lines: Vec<String> = whole
            .iter()
            .map(|record| {
                let owner = record.owner().to_string();
                line(&owner, record.ttl(), record.record_type(), record.rdata())
            })
            .collect();
        lines.sort();
        lines
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        if let Some(process) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

fn write_message(stream: &mut TcpStream, message: &[u8]) -> bool {
    let prefix = length_prefix(message.len()).expect("a short message");
    stream.write_all(&[&prefix, message].concat()).is_ok()
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

/// SplitMix64, as Steele, Lea and Flood give it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

const OWNERS: &[&str] = &[
    "example.org",
    "mail.example.org",
    "www.example.org",
    "alias.example.org",
    "cut.example.org",
    "ns.cut.example.org",
    "c.example.org",
    "b.c.example.org",
    "a.b.c.example.org",
    "new.example.org",
    "*.new.example.org",
    "other.new.example.org",
];

/// A record of a message, and in words.
struct Wire {
    octets: Vec<u8>,
    words: String,
}

fn wire(owner: &str, record_type: RecordType, class: RecordClass, ttl: u32, rdata: &[u8]) -> Wire {
    let name = NameBuf::from_text(owner).expect("a name");
    let mut octets = name.as_name().as_wire().to_vec();
    octets.extend(record_type.0.to_be_bytes());
    octets.extend(class.0.to_be_bytes());
    octets.extend(ttl.to_be_bytes());
    octets.extend((rdata.len() as u16).to_be_bytes());
    octets.extend_from_slice(rdata);
    let words = format!("{owner} {ttl} {class} {record_type} {rdata:?}");
    Wire { octets, words }
}

/// A SOA record's data with a serial that is newer than that of the zone, or not.
fn soa(serial: u32) -> Vec<u8> {
    let mut rdata = b"\x02ns\x07example\x03org\0\x04root\x07example\x03org\0".to_vec();
    for number in [serial, 7_200, 1_800, 2_419_200, 300] {
        rdata.extend(number.to_be_bytes());
    }
    rdata
}

/// Data of a type, few of each. TTLs are always the zone's: where a record is there already, Knot keeps its TTL, and we
/// take the new one (RFC 2136 §3.4.2.2). DNAME is left out: Knot lets what it hides, or what hides it, stand.
fn data(random: &mut Random) -> (RecordType, Vec<u8>) {
    const TARGETS: &[&[u8]] = &[
        b"\x02ns\x07example\x03org\0",
        b"\x03ns2\x07example\x03org\0",
        b"\x03ns3\x07example\x03com\0",
    ];
    match random.below(10) {
        0..4 => (RecordType::A, vec![192, 0, 2, 24 + random.below(5) as u8]),
        4 => (
            RecordType::TXT,
            [&b"\x03web"[..], b"\x03Web"][random.below(2)].to_vec(),
        ),
        5 => (
            RecordType::MX,
            [&[0, 10][..], random.pick(TARGETS)].concat(),
        ),
        6 => (RecordType::CNAME, random.pick(TARGETS).to_vec()),
        7 => (RecordType::NS, random.pick(TARGETS).to_vec()),
        8 => (RecordType(731), vec![random.below(3) as u8]),
        _ => (RecordType::AAAA, vec![random.below(3) as u8; 16]),
    }
}

fn prerequisite(random: &mut Random) -> Wire {
    let owner = random.pick(OWNERS);
    let (record_type, rdata) = data(random);
    let whole = match random.below(3) {
        0 => RecordType::ANY,
        _ => record_type,
    };
    match random.below(3) {
        0 => wire(owner, record_type, RecordClass::IN, 0, &rdata),
        1 => wire(owner, whole, RecordClass::ANY, 0, &[]),
        _ => wire(owner, whole, RecordClass::NONE, 0, &[]),
    }
}

fn update(random: &mut Random) -> Wire {
    let owner = random.pick(OWNERS);
    let (record_type, rdata) = data(random);
    match random.below(20) {
        0..11 => wire(owner, record_type, RecordClass::IN, 3600, &rdata),
        11..15 => wire(owner, record_type, RecordClass::NONE, 0, &rdata),
        15..18 => wire(owner, record_type, RecordClass::ANY, 0, &[]),
        18 => wire(owner, RecordType::ANY, RecordClass::ANY, 0, &[]),
        19 if random.below(2) == 0 => {
            let serial = random.below(2_000) as u32;
            let owner = random.pick(&["example.org", "example.org", "www.example.org"]);
            wire(owner, RecordType::SOA, RecordClass::IN, 3600, &soa(serial))
        }
        _ => wire("example.net", record_type, RecordClass::IN, 3600, &rdata),
    }
}

fn message(prerequisites: &[Wire], updates: &[Wire], id: u16) -> Vec<u8> {
    let header = Header {
        id,
        opcode: Opcode::UPDATE,
        question_count: 1,
        answer_count: prerequisites.len() as u16,
        authority_count: updates.len() as u16,
        ..Header::default()
    };
    let mut octets = header.to_octets().to_vec();
    octets.extend_from_slice(apex().as_name().as_wire());
    octets.extend([0, 6, 0, 1]);
    for record in prerequisites.iter().chain(updates) {
        octets.extend_from_slice(&record.octets);
    }
    octets
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
    )
}

#[test]
fn knot_and_we_come_to_the_same_zone() {
    let seed = number("MIRAGE_SEED").unwrap_or(2136);
    let count = number("MIRAGE_UPDATES").unwrap_or(500);
    println!("MIRAGE_SEED={seed} MIRAGE_UPDATES={count}");
    let directory = tempfile::tempdir().expect("a folder");
    let mut knot = Knot::start(directory.path());
    let mut ours = Ours::new();
    let mut random = Random(seed);
    let mut codes = std::collections::BTreeMap::new();
    for turn in 0..count {
        let few = random.below(3);
        let prerequisites: Vec<Wire> = (0..few.saturating_sub(1))
            .map(|_| prerequisite(&mut random))
            .collect();
        let updates: Vec<Wire> = (0..random.below(6)).map(|_| update(&mut random)).collect();
        let octets = message(&prerequisites, &updates, turn as u16);
        let before = ours.records();
        let (theirs, own) = (knot.update(&octets), ours.update(&octets));
        *codes.entry(own.to_string()).or_insert(0) += 1;
        let words: Vec<&str> = prerequisites
            .iter()
            .chain(&updates)
            .map(|record| record.words.as_str())
            .collect();
        let context = || {
            format!(
                "update {turn}: {} prerequisites of\n  {}\non\n  {}",
                prerequisites.len(),
                words.join("\n  "),
                before.join("\n  "),
            )
        };
        assert_eq!(own, theirs, "{}", context());
        let (own, theirs) = (ours.records(), knot.records());
        assert_eq!(own, theirs, "{}", context());
    }
    println!("{codes:?}");
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

/// Serves a zone of ours over UDP and TCP as long as a program runs that updates it; the zone, and what was printed.
fn updated_by(program: &str, arguments: &[&str], script: &str) -> (Ours, String, bool) {
    let (tcp, udp) = bind_both();
    let port = udp.local_addr().expect("an address").port();
    udp.set_read_timeout(Some(Duration::from_millis(5)))
        .expect("a time-out");
    tcp.set_nonblocking(true).expect("a socket option");
    let mut child = Command::new(find_program(program))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let script = format!("server 127.0.0.1 {port}\n{script}");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(script.as_bytes()).expect("to write it");
    drop(input);

    let keys = [key()];
    let verifier = RequestVerifier::new(KeyRing::new(&keys));
    let mut ours = Ours::new();
    let mut request = [0; 4_096];
    while child.try_wait().expect("a state").is_none() {
        if let Ok((length, from)) = udp.recv_from(&mut request) {
            let answer = ours.answer(&verifier, &mut request[..length], Transport::Udp);
            udp.send_to(&answer, from).expect("to send an answer");
        }
        if let Ok((mut stream, _)) = tcp.accept() {
            stream.set_nonblocking(false).expect("a socket option");
            while let Some(mut request) = read_message(&mut stream) {
                let answer = ours.answer(&verifier, &mut request, Transport::Tcp);
                write_message(&mut stream, &answer);
            }
        }
    }
    let output = child.wait_with_output().expect("its output");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    (ours, printed, output.status.success())
}

#[test]
fn nsupdate_and_knsupdate_update_our_zone() {
    let key = format!("hmac-sha256:update.example:{SECRET}");
    let script = "\
zone example.org
prereq yxdomain mail.example.org
prereq nxdomain new.example.org
prereq yxrrset www.example.org TXT
prereq nxrrset www.example.org A
prereq yxrrset ns.example.org A 192.0.2.53
update add new.example.org 60 A 192.0.2.99
update add new.example.org 60 TXT \"a new one\"
update delete mail.example.org A 192.0.2.25
update delete www.example.org TXT
update delete a.b.c.example.org
send
";
    for program in ["nsupdate", "knsupdate"] {
        for way in [None, Some("-v")] {
            let arguments: Vec<&str> = ["-y", &key].into_iter().chain(way).collect();
            let (ours, printed, success) = updated_by(program, &arguments, script);
            assert!(success, "{program}: {printed}");
            assert_eq!(ours.pending.counters().changed, 1, "{program}: {printed}");
            let records = ours.records();
            let has = |start: &str| records.iter().any(|record| record.starts_with(start));
            for there in [
                "new.example.org. 60 A [192, 0, 2, 99]",
                "new.example.org. 60 TXT",
                "mail.example.org. 3600 A [192, 0, 2, 26]",
            ] {
                assert!(has(there), "{there} in {records:#?}");
            }
            for gone in ["mail.example.org. 3600 A [192, 0, 2, 25]", "www.", "a.b.c."] {
                assert!(!has(gone), "{gone} in {records:#?}");
            }
        }
    }
}

#[test]
fn nsupdate_is_told_why_not() {
    let key = format!("hmac-sha256:update.example:{SECRET}");
    let other = format!("hmac-sha256:other.example:{SECRET}");
    let add = "update add new.example.org 60 A 192.0.2.99\nsend\n";
    for (key, script, wanted) in [
        (Some(&key), "prereq nxdomain mail.example.org\n", "YXDOMAIN"),
        (Some(&key), "prereq yxdomain none.example.org\n", "NXDOMAIN"),
        (
            Some(&key),
            "prereq yxrrset mail.example.org TXT\n",
            "NXRRSET",
        ),
        (Some(&key), "prereq nxrrset mail.example.org A\n", "YXRRSET"),
        (
            Some(&key),
            "update add a.example.net 60 A 192.0.2.1\n",
            "NOTZONE",
        ),
        (
            Some(&key),
            "update add example.org 60 DNSKEY 257 3 13 AAAA\n",
            "REFUSED",
        ),
        (Some(&other), "", "BADKEY"),
        (None, "", "REFUSED"),
    ] {
        let arguments: Vec<&str> = key.into_iter().flat_map(|key| ["-y", key]).collect();
        let script = format!("zone example.org\n{script}{add}");
        let (ours, printed, success) = updated_by("nsupdate", &arguments, &script);
        assert!(!success, "{printed}");
        assert!(printed.contains(wanted), "{wanted}: {printed}");
        assert_eq!(ours.pending.counters().changed, 0);
    }
}
