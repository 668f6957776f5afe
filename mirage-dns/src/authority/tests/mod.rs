//! Several servers and a clock that jumps from one event to the next.

mod following;
mod limits;
mod notices;
mod transfers;
mod updates;
mod versions;

use core::convert::Infallible;
use core::net::{Ipv4Addr, SocketAddr};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use rand_core::{Rng, TryCryptoRng, TryRng};

use super::*;
use crate::client::Query;
use crate::difference::RecordBuf;
use crate::master_file::{NoFiles, Source};
use crate::message::{Header, MessageBuilder, MessageReader, Section};
use crate::name::NameBuf;
use crate::notify::Notify;
use crate::record::{Opcode, Rcode, RecordClass, RecordType};
use crate::server::{Limits, Transport};
use crate::transfer::TransferRequest;
use crate::tsig::sign_request;
use crate::zone_compiler::ZoneCompiler;

const KEY: &str = "hmac-sha256:k.example:c2VjcmV0IG9mIHRoaXMgdGVzdCwgMzIgb2N0ZXRzIGxvbmc=";
const OTHER_KEY: &str = "hmac-sha512:other.example:YW5vdGhlciBzZWNyZXQ=";

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text).unwrap()
}

fn keys() -> &'static [Key] {
    let keys = [KEY, OTHER_KEY].map(|text| Key::from_text(text).unwrap());
    Vec::leak(keys.into())
}

/// A zone `o.` of this serial, with refresh 100 s, retry 10 s, expire 1,000 s, and these further lines.
fn zones(serial: u32, lines: &str) -> OwnedZoneSet {
    zones_with("ns root", serial, lines)
}

/// The same with these names in its SOA.
fn zones_with(names: &str, serial: u32, lines: &str) -> OwnedZoneSet {
    let head = "$ORIGIN o.\n$TTL 60\n@ NS ns\nns A 192.0.2.1\n";
    // Enough that differences are shorter than the whole.
    let filling: String = (0..20).map(|n| format!("n{n} A 192.0.2.1\n")).collect();
    let text = format!("{head}@ SOA {names} {serial} 100 10 1000 5\n{filling}{lines}");
    let mut compiler = ZoneCompiler::new();
    compiler.add_zone(
        Source {
            name: "o",
            text: text.as_bytes(),
        },
        &NoFiles,
    );
    OwnedZoneSet::new(compiler.finish().unwrap().image).unwrap()
}

fn no_zones() -> OwnedZoneSet {
    OwnedZoneSet::new(ZoneSetBuilder::new().build().unwrap()).unwrap()
}

/// Numbers that differ, and are the same in each run.
struct Numbers(u64);

impl TryRng for Numbers {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|number| (number >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            *byte = self.try_next_u32()? as u8;
        }
        Ok(())
    }
}

impl TryCryptoRng for Numbers {}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, host), 53))
}

fn peer(host: u8, key: Option<&str>) -> Peer {
    Peer {
        address: address(host),
        key: key.map(name),
    }
}

fn anybody(key: Option<&str>) -> AccessList {
    AccessList(alloc::vec![AccessRule {
        network: "10.0.0.0/8".parse().unwrap(),
        key: key.map(name),
    }])
}

/// Hosts 10.0.0.0, 10.0.0.1 and so on, by their place.
struct World {
    hosts: Vec<Authority<'static>>,
    now: Now,
    rng: Numbers,
    server: Server<'static>,
    /// Hosts that nothing reaches and that reach nobody.
    cut_off: Vec<bool>,
    /// Of a hundred datagrams so many are lost.
    loss: u32,
    /// What happened.
    log: Vec<String>,
}

impl World {
    fn new() -> Self {
        Self {
            hosts: Vec::new(),
            now: Now {
                elapsed: Duration::from_secs(1),
                unix: 1_700_000_000,
            },
            rng: Numbers(1),
            server: Server::new(Limits::default()),
            cut_off: Vec::new(),
            loss: 0,
            log: Vec::new(),
        }
    }

    fn add(&mut self, zones: OwnedZoneSet, config: ZoneConfig) -> usize {
        let (configs, keys) = (alloc::vec![config], keys());
        let bounds = Bounds::default();
        let host = Authority::new(zones, configs, keys, bounds, self.now, &mut self.rng);
        self.hosts.push(host.unwrap());
        self.cut_off.push(false);
        self.hosts.len() - 1
    }

    fn reload(&mut self, host: usize, zones: OwnedZoneSet) {
        let reload = Reload::new(zones, self.hosts[host].zones());
        self.hosts[host].reload(reload);
    }

    fn serial(&self, host: usize) -> Option<u32> {
        let set = self.hosts[host].zones.as_zone_set();
        let zone = set.zone_at(name("o").as_name())?;
        zone.is_present().then(|| zone.serial())
    }

    /// Sends a request; the answer's messages.
    fn ask(
        &mut self,
        from: usize,
        to: SocketAddr,
        transport: Transport,
        request: &[u8],
    ) -> Vec<Vec<u8>> {
        let SocketAddr::V4(v4) = to else { panic!() };
        let to = usize::from(v4.ip().octets()[3]);
        let lost = transport == Transport::Udp && self.rng.next_u32() % 100 < self.loss;
        if to >= self.hosts.len() || self.cut_off[from] || self.cut_off[to] || lost {
            return Vec::new();
        }
        let client = Client {
            address: address(from as u8).ip(),
            transport,
            now: self.now.unix,
        };
        let mut request = request.to_vec();
        let mut out = std::vec![0; 65_535];
        let handled =
            self.hosts[to].handle_request(&self.server, &mut request, &client, self.now, &mut out);
        match handled {
            Handled::Ignored | Handled::Later(_) => Vec::new(),
            Handled::Answer(length) => std::vec![out[..length].to_vec()],
            Handled::Transfer(mut transfer) => {
                let kind = if transfer.is_incremental() {
                    "IXFR"
                } else {
                    "AXFR"
                };
                self.log.push(format!("{to} gives {from} {kind}"));
                let mut messages = Vec::new();
                while let Some(length) = transfer.poll_message(&mut out, self.now.unix).unwrap() {
                    messages.push(out[..length].to_vec());
                }
                messages
            }
        }
    }

    /// Does what the hosts want done now.
    fn settle(&mut self) {
        let mut steps = 0;
        'again: loop {
            steps += 1;
            assert!(steps < 10_000, "no end");
            for host in 0..self.hosts.len() {
                let Some(task) = self.hosts[host].poll_task(self.now, &mut self.rng) else {
                    continue;
                };
                self.work(host, task);
                continue 'again;
            }
            return;
        }
    }

    fn work(&mut self, host: usize, task: Task<'static>) {
        let (now, unix) = (self.now, self.now.unix);
        match task {
            Task::QuerySoa(query) => {
                let (server, message) = (query.server(), query.message().to_vec());
                let mut first = |transport| {
                    let answers = self.ask(host, server, transport, &message);
                    let mut accepted = answers
                        .into_iter()
                        .map(|mut answer| query.accept(&mut answer, unix));
                    accepted.find_map(Result::ok)
                };
                let mut answer = first(Transport::Udp);
                if answer == Some(SoaAnswer::Truncated) {
                    answer = first(Transport::Tcp);
                }
                let serial = match answer {
                    Some(SoaAnswer::Serial(serial)) => Some(serial),
                    Some(other) => {
                        self.log.push(format!("{host} hears: {other}"));
                        None
                    }
                    None => None,
                };
                self.hosts[host].handle_soa(&query, serial, now);
            }
            Task::Transfer(mut transfer) => {
                let (server, message) = (transfer.server(), transfer.message().to_vec());
                let mut result = None;
                for mut message in self.ask(host, server, Transport::Tcp, &message) {
                    match transfer.handle_message(&mut message, unix) {
                        Ok(None) => {}
                        Ok(Some(transferred)) => result = Some(transferred),
                        Err(error) => {
                            self.log.push(format!("{host}: {error}"));
                            break;
                        }
                    }
                }
                self.hosts[host].handle_transfer(&transfer, result, now);
            }
            Task::Notify(notice) => {
                let answers = self.ask(host, notice.server(), Transport::Udp, notice.message());
                let is_answered = answers
                    .into_iter()
                    .any(|mut answer| notice.is_answered_by(&mut answer, unix));
                self.hosts[host].handle_notified(&notice, is_answered);
            }
            Task::Build(job) => {
                let built = job.run();
                drop(self.hosts[host].handle_built(built, now));
            }
        }
    }

    /// Lets time pass, from event to event.
    fn run(&mut self, seconds: u64) {
        let end = self.now.elapsed + Duration::from_secs(seconds);
        loop {
            self.settle();
            let next = self
                .hosts
                .iter()
                .filter_map(|host| host.poll_timeout())
                .min();
            let next = next.filter(|next| *next <= end).unwrap_or(end);
            let passed = next.saturating_sub(self.now.elapsed);
            self.now.unix += (self.now.elapsed + passed).as_secs() - self.now.elapsed.as_secs();
            self.now.elapsed += passed;
            if self.now.elapsed >= end {
                self.settle();
                return;
            }
        }
    }

    /// The answer of a host to a plain query: its code and how many answer records it has.
    fn query(&mut self, host: usize, question: &str) -> (Rcode, u16) {
        let mut request = [0; 512];
        let name = name(question);
        let query = Query::new(9, name.as_name(), RecordType::A);
        let length = query.write(&mut request).unwrap();
        let answers = self.ask(
            host,
            address(host as u8),
            Transport::Udp,
            &request[..length],
        );
        let header = *MessageReader::new(&answers[0]).unwrap().header();
        (header.rcode, header.answer_count)
    }
}

fn primary(key: Option<&str>, secondaries: &[u8]) -> ZoneConfig {
    ZoneConfig {
        transfer: anybody(key),
        notify: secondaries.iter().map(|host| peer(*host, key)).collect(),
        ..ZoneConfig::new(name("o"))
    }
}

fn secondary(key: Option<&str>, primaries: &[u8]) -> ZoneConfig {
    ZoneConfig {
        primaries: primaries.iter().map(|host| peer(*host, key)).collect(),
        ..ZoneConfig::new(name("o"))
    }
}

fn rcode(messages: &[Vec<u8>]) -> Rcode {
    MessageReader::new(&messages[0]).unwrap().header().rcode
}

/// An UPDATE that adds an address, as `nsupdate` writes it.
fn addition(owner: &str, octet: u8) -> Vec<u8> {
    let mut buffer = std::vec![0; 512];
    let header = Header {
        id: 77,
        opcode: Opcode::UPDATE,
        ..Header::default()
    };
    let mut message = MessageBuilder::new(&mut buffer, header).unwrap();
    let (zone, class) = (name("o"), RecordClass::IN);
    message
        .push_question(zone.as_name(), RecordType::SOA, class)
        .unwrap();
    let (owner, rdata) = (name(owner), [192, 0, 2, octet]);
    let (section, record_type) = (Section::Authority, RecordType::A);
    message
        .push_record(section, owner.as_name(), record_type, class, 60, &rdata)
        .unwrap();
    let length = message.finish();
    buffer.truncate(length);
    buffer
}

fn updatable(key: &str) -> ZoneConfig {
    ZoneConfig {
        update: anybody(Some(key)),
        ..primary(None, &[1])
    }
}

impl World {
    /// Sends an update to host 0 that is signed with a key; what became of it.
    fn update(&mut self, message: &[u8], key: Option<&str>) -> Handled<'static> {
        let mut request = message.to_vec();
        if let Some(key) = key {
            let key = Key::from_text(key).unwrap();
            let length = request.len();
            request.resize(1_024, 0);
            let (length, _) = sign_request(&key, &mut request, length, self.now.unix).unwrap();
            request.truncate(length);
        }
        let client = Client {
            address: address(9).ip(),
            transport: Transport::Udp,
            now: self.now.unix,
        };
        let mut out = std::vec![0; 1_232];
        let handled =
            self.hosts[0].handle_request(&self.server, &mut request, &client, self.now, &mut out);
        if let Handled::Answer(length) = handled {
            self.log.push(rcode(&[out[..length].to_vec()]).to_string());
        }
        handled
    }

    fn later(&mut self, message: &[u8]) -> Ticket {
        match self.update(message, Some(KEY)) {
            Handled::Later(ticket) => ticket,
            other => panic!("{other:?} {:?}", self.log),
        }
    }

    /// The codes of the answers that have come to updates.
    fn replies(&mut self) -> Vec<(Ticket, Rcode)> {
        let host = &mut self.hosts[0];
        core::iter::from_fn(|| host.poll_reply())
            .map(|reply| (reply.ticket, rcode(&[reply.octets])))
            .collect()
    }
}
