//! Several servers and a clock that jumps from one event to the next.

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
use crate::server::Limits;
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
    let head = "$ORIGIN o.\n$TTL 60\n@ NS ns\nns A 192.0.2.1\n";
    // Enough that differences are shorter than the whole.
    let filling: String = (0..20).map(|n| format!("n{n} A 192.0.2.1\n")).collect();
    let text = format!("{head}@ SOA ns root {serial} 100 10 1000 5\n{filling}{lines}");
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
                let answers = self.ask(host, query.server(), Transport::Udp, query.message());
                let serial = answers
                    .into_iter()
                    .find_map(|mut answer| query.accept(&mut answer, unix))
                    .and_then(Result::ok);
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
                self.hosts[host].handle_built(built, now);
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

#[test]
fn secondary_fetches_the_zone_and_follows_it_by_notices() {
    for key in [None, Some("k.example")] {
        let mut world = World::new();
        world.add(zones(1, "a A 192.0.2.2"), primary(key, &[1]));
        world.add(no_zones(), secondary(key, &[0]));
        assert_eq!(world.query(1, "a.o").0, Rcode::SERVFAIL);
        world.settle();
        assert_eq!(world.serial(1), Some(1));
        assert_eq!(world.query(1, "a.o"), (Rcode::NOERROR, 1));
        world.reload(0, zones(2, "b A 192.0.2.3"));
        world.run(1);
        assert_eq!(world.serial(1), Some(2), "{:?}", world.log);
        assert_eq!(world.query(1, "a.o").0, Rcode::NXDOMAIN);
        assert_eq!(world.query(1, "b.o"), (Rcode::NOERROR, 1));
        assert_eq!(world.log, ["0 gives 1 AXFR", "0 gives 1 IXFR"]);
    }
}

#[test]
fn secondary_of_a_secondary_gets_differences_too() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[1]));
    let middle = ZoneConfig {
        primaries: std::vec![peer(0, None)],
        ..primary(None, &[2])
    };
    world.add(no_zones(), middle);
    world.add(no_zones(), secondary(None, &[1]));
    world.run(10);
    assert_eq!(world.serial(2), Some(1));
    world.reload(0, zones(2, "b A 192.0.2.3"));
    world.run(1);
    assert_eq!(world.serial(2), Some(2));
    assert_eq!(world.log.last().unwrap(), "1 gives 2 IXFR");
}

#[test]
fn lost_notices_are_sent_again_and_lost_for_good_are_made_up_for_by_the_refresh() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[1]));
    world.add(no_zones(), secondary(None, &[0]));
    world.run(200);
    world.loss = 60;
    world.reload(0, zones(2, ""));
    world.run(60);
    assert_eq!(world.serial(1), Some(2));
    assert!(world.hosts[0].counters().notices_sent > 2);
    world.cut_off[1] = true;
    world.reload(0, zones(3, ""));
    world.run(150);
    assert_eq!(world.serial(1), Some(2));
    (world.cut_off[1], world.loss) = (false, 0);
    world.run(110);
    assert_eq!(world.serial(1), Some(3));
}

#[test]
fn secondary_goes_to_its_other_primary() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    world.add(zones(1, ""), primary(None, &[]));
    world.add(no_zones(), secondary(None, &[0, 1]));
    world.cut_off[0] = true;
    world.run(5);
    assert_eq!(world.serial(2), Some(1));
    assert_eq!(world.log, ["1 gives 2 AXFR"]);
}

#[test]
fn zone_expires_and_comes_back() {
    let mut world = World::new();
    world.add(zones(1, "a A 192.0.2.2"), primary(None, &[]));
    world.add(no_zones(), secondary(None, &[0]));
    world.run(50);
    world.cut_off[0] = true;
    world.run(900);
    assert_eq!(world.query(1, "a.o"), (Rcode::NOERROR, 1));
    world.run(200);
    assert_eq!(world.query(1, "a.o").0, Rcode::SERVFAIL);
    assert_eq!(world.hosts[1].counters().zones_expired, 1);
    world.cut_off[0] = false;
    world.run(600);
    assert_eq!(world.query(1, "a.o"), (Rcode::NOERROR, 1));
}

#[test]
fn primary_that_gives_whole_zones_alone_is_asked_for_one() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[1]));
    world.add(no_zones(), secondary(None, &[0]));
    world.run(1);
    // A journal that reaches nowhere.
    world.hosts[0].states[0].journal = Journal::new(0);
    world.reload(0, zones(2, "b A 192.0.2.3"));
    world.run(1);
    assert_eq!(world.serial(1), Some(2));
    assert_eq!(world.log, ["0 gives 1 AXFR", "0 gives 1 AXFR"]);
}

/// What host 0, whose zone may be fetched with the key `k.example` alone, answers to a request for it.
fn transfer_with(key: Option<&str>, transport: Transport, serial: Option<u32>) -> Vec<Vec<u8>> {
    let mut world = World::new();
    world.add(zones(1, ""), primary(Some("k.example"), &[]));
    world.add(no_zones(), secondary(None, &[0]));
    let soa = serial.map(|serial| {
        let set = zones(serial, "");
        RecordBuf::from(set.as_zone_set().zones().next().unwrap().soa().unwrap())
    });
    let mut request = std::vec![0; 1_024];
    let apex = name("o");
    let length = TransferRequest::write(7, apex.as_name(), soa.as_ref(), &mut request).unwrap();
    let mut length = length;
    if let Some(key) = key {
        let key = Key::from_text(key).unwrap();
        (length, _) = sign_request(&key, &mut request, length, world.now.unix).unwrap();
    }
    world.ask(1, address(0), transport, &request[..length])
}

fn rcode(messages: &[Vec<u8>]) -> Rcode {
    MessageReader::new(&messages[0]).unwrap().header().rcode
}

#[test]
fn transfer_is_refused_to_who_has_not_the_key() {
    let wrong = "hmac-sha256:k.example:d3Jvbmcgc2VjcmV0";
    let unknown = "hmac-sha256:unknown.example:d3Jvbmcgc2VjcmV0";
    for (key, expected) in [
        (None, Rcode::REFUSED),
        (Some(OTHER_KEY), Rcode::REFUSED),
        (Some(wrong), Rcode::NOTAUTH),
        (Some(unknown), Rcode::NOTAUTH),
        (Some(KEY), Rcode::NOERROR),
    ] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let messages = transfer_with(key, transport, Some(0));
            assert_eq!(rcode(&messages), expected, "{key:?} {transport:?}");
        }
        assert_eq!(rcode(&transfer_with(key, Transport::Tcp, None)), expected);
    }
}

#[test]
fn whole_zone_does_not_go_over_datagrams() {
    let messages = transfer_with(Some(KEY), Transport::Udp, None);
    assert_eq!(rcode(&messages), Rcode::REFUSED);
}

#[test]
fn transfer_is_refused_to_other_addresses_and_for_other_zones() {
    let mut world = World::new();
    let config = ZoneConfig {
        transfer: AccessList(alloc::vec![AccessRule {
            network: "192.0.2.0/24".parse().unwrap(),
            key: None,
        }]),
        ..ZoneConfig::new(name("o"))
    };
    world.add(zones(1, "a A 192.0.2.2"), config);
    world.add(no_zones(), secondary(None, &[0]));
    for apex in ["o", "a.o", "p"] {
        let mut request = [0; 512];
        let length = TransferRequest::write(7, name(apex).as_name(), None, &mut request).unwrap();
        let messages = world.ask(1, address(0), Transport::Tcp, &request[..length]);
        assert_eq!(rcode(&messages), Rcode::REFUSED, "{apex}");
    }
    assert_eq!(world.hosts[0].counters().transfers_refused, 3);
}

#[test]
fn notices_of_strangers_are_refused() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    world.add(no_zones(), secondary(Some("k.example"), &[0]));
    world.add(no_zones(), secondary(None, &[0]));
    let soa = {
        let set = zones(9, "");
        RecordBuf::from(set.as_zone_set().zones().next().unwrap().soa().unwrap())
    };
    let notice = |world: &mut World, from, to: u8, apex: &str, key: Option<&str>| {
        let mut request = std::vec![0; 1_024];
        let length = Notify::write(5, name(apex).as_name(), &soa, &mut request).unwrap();
        let mut length = length;
        if let Some(key) = key {
            let key = Key::from_text(key).unwrap();
            (length, _) = sign_request(&key, &mut request, length, world.now.unix).unwrap();
        }
        rcode(&world.ask(from, address(to), Transport::Udp, &request[..length]))
    };
    // Its primary, but not signed; then signed.
    assert_eq!(notice(&mut world, 0, 1, "o", None), Rcode::REFUSED);
    assert_eq!(notice(&mut world, 0, 1, "o", Some(KEY)), Rcode::NOERROR);
    // No primary.
    assert_eq!(notice(&mut world, 1, 2, "o", None), Rcode::REFUSED);
    assert_eq!(notice(&mut world, 0, 2, "o", None), Rcode::NOERROR);
    // Not a secondary zone, or none at all.
    assert_eq!(notice(&mut world, 1, 0, "o", None), Rcode::NOTAUTH);
    assert_eq!(notice(&mut world, 0, 2, "p", None), Rcode::NOTAUTH);
    let counters = world.hosts[1].counters();
    assert_eq!((counters.notices_heard, counters.notices_refused), (1, 1));
}

#[test]
fn answers_that_are_not_signed_as_they_must_be_are_not_used() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    world.add(no_zones(), secondary(Some("k.example"), &[0]));
    // The primary does not know the key: it answers, and says so.
    world.hosts[0].verifier = RequestVerifier::new(KeyRing::EMPTY);
    world.run(30);
    assert_eq!(world.serial(1), None);
    assert!(world.hosts[1].counters().transfers_failed > 1);
}

#[test]
fn signed_query_is_answered_and_the_answer_signed() {
    let mut world = World::new();
    world.add(zones(1, "a A 192.0.2.2"), primary(None, &[]));
    let key = Key::from_text(KEY).unwrap();
    let mut request = std::vec![0; 1_024];
    let name = name("a.o");
    let query = Query::new(9, name.as_name(), RecordType::A);
    let length = query.write(&mut request).unwrap();
    assert!(Authority::is_plain(&request[..length]));
    let (length, signed) = sign_request(&key, &mut request, length, world.now.unix).unwrap();
    assert!(!Authority::is_plain(&request[..length]));
    let mut answer = world
        .ask(0, address(0), Transport::Udp, &request[..length])
        .remove(0);
    let length = signed.verify_answer(&mut answer, world.now.unix).unwrap();
    let reader = query.accept(&answer[..length]).unwrap();
    assert_eq!(reader.section(Section::Answer).count(), 1);
}

#[test]
fn what_only_the_server_has_to_see_is_told_at_once() {
    let octets = |record_type: RecordType, edns: bool| {
        let mut request = [0; 512];
        let name = name("a.o");
        let mut query = Query::new(9, name.as_name(), record_type);
        if !edns {
            query.edns = None;
        }
        let length = query.write(&mut request).unwrap();
        request[..length].to_vec()
    };
    for edns in [false, true] {
        assert!(Authority::is_plain(&octets(RecordType::A, edns)));
        assert!(!Authority::is_plain(&octets(RecordType::AXFR, edns)));
        assert!(!Authority::is_plain(&octets(RecordType::IXFR, edns)));
    }
    let mut notify = octets(RecordType::SOA, false);
    notify[2] |= Opcode::NOTIFY.0 << 3;
    assert!(!Authority::is_plain(&notify));
    assert!(Authority::is_plain(b"short"));
}

#[test]
fn reload_of_the_same_zone_changes_nothing_and_a_change_without_a_new_serial_is_seen() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    world.reload(0, zones(1, ""));
    world.settle();
    assert_eq!(world.hosts[0].generation(), 0);
    world.reload(0, zones(1, "a A 192.0.2.2"));
    world.settle();
    assert_eq!(world.hosts[0].generation(), 1);
    assert_eq!(world.query(0, "a.o"), (Rcode::NOERROR, 1));
    assert!(world.hosts[0].states[0].journal.is_empty());
}

#[test]
fn reload_leaves_secondary_zones_alone() {
    let mut world = World::new();
    world.add(zones(5, "a A 192.0.2.2"), primary(None, &[]));
    world.add(no_zones(), secondary(None, &[0]));
    world.run(1);
    world.reload(1, zones(9, ""));
    world.settle();
    assert_eq!(world.serial(1), Some(5));
}

#[test]
fn change_that_cannot_be_made_fails_alone() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    let host = &mut world.hosts[0];
    let broken = Change::Replace(Arc::new(std::vec![RecordBuf::new(
        name("a.o").as_name(),
        RecordType::A,
        60,
        &[1, 2, 3],
    )]));
    host.change(name("o"), broken);
    host.change(name("o"), Change::ReplaceFrom(Arc::new(zones(2, ""))));
    world.settle();
    assert_eq!(world.serial(0), Some(2));
    assert_eq!(world.hosts[0].counters().changes_failed, 1);
}

#[test]
fn version_that_could_not_be_stored_is_not_seen() {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[]));
    world.reload(0, zones(2, ""));
    let task = loop {
        match world.hosts[0].poll_task(world.now, &mut world.rng) {
            Some(Task::Build(job)) => break job,
            Some(_) => {}
            None => panic!("nothing to build"),
        }
    };
    let mut built = task.run();
    assert_eq!(built.changes().len(), 1);
    built.discard(&world.hosts[0].zones().clone());
    world.hosts[0].handle_built(built, world.now);
    assert_eq!((world.serial(0), world.hosts[0].generation()), (Some(1), 0));
    assert_eq!(world.hosts[0].counters().changes_failed, 1);
}

#[test]
fn configuration_that_cannot_be_meant_is_refused() {
    let mut rng = Numbers(1);
    let now = World::new().now;
    let mut new = |configs: Vec<ZoneConfig>| {
        let bounds = Bounds::default();
        Authority::new(zones(1, ""), configs, keys(), bounds, now, &mut rng).map(drop)
    };
    let o = || ZoneConfig::new(name("o"));
    assert_eq!(new(std::vec![o()]), Ok(()));
    let unknown = ZoneConfig::new(name("p"));
    assert_eq!(
        new(std::vec![unknown]),
        Err(ConfigError::UnknownZone(Box::new(name("p"))))
    );
    assert_eq!(
        new(std::vec![o(), o()]),
        Err(ConfigError::RepeatedZone(Box::new(name("o"))))
    );
    let config = primary(Some("nobody.example"), &[]);
    let error = ConfigError::UnknownKey(Box::new(name("nobody.example")));
    assert_eq!(new(std::vec![config]), Err(error));
    let twice = std::vec![
        ZoneConfig {
            apex: name("p"),
            ..secondary(None, &[0])
        },
        ZoneConfig {
            apex: name("p"),
            ..secondary(None, &[0])
        },
    ];
    assert_eq!(
        new(twice),
        Err(ConfigError::RepeatedZone(Box::new(name("p"))))
    );
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

#[test]
fn update_is_answered_when_it_is_seen_and_reaches_the_secondary() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    world.add(no_zones(), secondary(None, &[0]));
    world.run(1);
    let ticket = world.later(&addition("new.o", 9));
    assert_eq!(world.replies(), []);
    assert_eq!(world.query(0, "new.o").0, Rcode::NXDOMAIN);
    world.settle();
    assert_eq!(world.replies(), [(ticket, Rcode::NOERROR)]);
    for host in [0, 1] {
        assert_eq!(world.query(host, "new.o"), (Rcode::NOERROR, 1));
        assert_eq!(world.serial(host), Some(2));
    }
    assert_eq!(world.log.last().unwrap(), "0 gives 1 IXFR");
}

#[test]
fn answer_to_an_update_is_signed_with_its_key() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    let key = Key::from_text(KEY).unwrap();
    let mut request = addition("new.o", 9);
    let length = request.len();
    request.resize(1_024, 0);
    let (length, signed) = sign_request(&key, &mut request, length, world.now.unix).unwrap();
    let answers = world.ask(0, address(0), Transport::Udp, &request[..length]);
    assert!(answers.is_empty());
    world.settle();
    let mut reply = world.hosts[0].poll_reply().unwrap().octets;
    let length = signed.verify_answer(&mut reply, world.now.unix).unwrap();
    assert_eq!(rcode(&[reply[..length].to_vec()]), Rcode::NOERROR);
}

#[test]
fn updates_that_come_together_are_built_together_and_see_each_other() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    let tickets: Vec<_> = (0..20)
        .map(|n| world.later(&addition(&format!("new{n}.o"), n)))
        .collect();
    // The same again changes nothing, and is answered when what it rests on is there.
    let again = world.later(&addition("new3.o", 3));
    world.settle();
    let replies = world.replies();
    assert_eq!(replies.len(), 21);
    assert!(replies.iter().all(|(_, rcode)| *rcode == Rcode::NOERROR));
    assert_eq!(replies.last().unwrap().0, again);
    assert_eq!(replies[0].0, tickets[0]);
    assert_eq!(
        (world.serial(0), world.hosts[0].generation()),
        (Some(21), 1)
    );
    assert_eq!(world.query(0, "new19.o"), (Rcode::NOERROR, 1));
}

#[test]
fn update_that_changes_nothing_is_answered_at_once() {
    let mut world = World::new();
    world.add(zones(1, "a A 192.0.2.9"), updatable("k.example"));
    let handled = world.update(&addition("a.o", 9), Some(KEY));
    assert!(matches!(handled, Handled::Answer(_)), "{handled:?}");
    assert_eq!(world.log, ["NOERROR"]);
}

#[test]
fn updates_of_who_may_not_are_refused_and_nothing_is_told() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    world.update(&addition("new.o", 9), None);
    world.update(&addition("new.o", 9), Some(OTHER_KEY));
    let wrong = "hmac-sha256:k.example:d3Jvbmcgc2VjcmV0";
    world.update(&addition("new.o", 9), Some(wrong));
    assert_eq!(world.log, ["REFUSED", "REFUSED", "NOTAUTH"]);
    world.settle();
    assert_eq!(world.serial(0), Some(1));
}

#[test]
fn update_of_a_secondary_zone_is_not_implemented() {
    let mut world = World::new();
    let config = ZoneConfig {
        primaries: std::vec![peer(1, None)],
        ..updatable("k.example")
    };
    world.add(zones(1, ""), config);
    world.update(&addition("new.o", 9), Some(KEY));
    assert_eq!(world.log, ["NOTIMP"]);
}

#[test]
fn updates_that_were_not_stored_fail_and_later_ones_start_anew() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    let first = world.later(&addition("first.o", 1));
    let job = loop {
        match world.hosts[0].poll_task(world.now, &mut world.rng) {
            Some(Task::Build(job)) => break job,
            Some(_) => {}
            None => panic!("nothing to build"),
        }
    };
    let second = world.later(&addition("second.o", 2));
    let base = job.base().clone();
    let mut built = job.run();
    built.discard(&base);
    world.hosts[0].handle_built(built, world.now);
    world.settle();
    let failed = [(first, Rcode::SERVFAIL), (second, Rcode::SERVFAIL)];
    assert_eq!(world.replies(), failed);
    let third = world.later(&addition("third.o", 3));
    world.settle();
    assert_eq!(world.replies(), [(third, Rcode::NOERROR)]);
    assert_eq!(world.serial(0), Some(2));
    assert_eq!(world.query(0, "second.o").0, Rcode::NXDOMAIN);
}

#[test]
fn more_updates_than_may_wait_are_turned_away() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    world.hosts[0].bounds.updates = 2;
    world.later(&addition("a.o", 1));
    world.later(&addition("b.o", 1));
    world.update(&addition("c.o", 1), Some(KEY));
    assert_eq!(world.log, ["SERVFAIL"]);
}

#[test]
fn file_of_an_updated_zone_counts_when_it_is_newer() {
    let mut world = World::new();
    world.add(zones(5, ""), updatable("k.example"));
    world.later(&addition("new.o", 9));
    world.settle();
    assert_eq!(world.serial(0), Some(6));
    for serial in [5, 6] {
        world.reload(0, zones(serial, "file A 192.0.2.1"));
        world.settle();
        assert_eq!(world.query(0, "new.o"), (Rcode::NOERROR, 1));
    }
    world.reload(0, zones(7, "file A 192.0.2.1"));
    // As long as it is not built, nobody can say what an update would change.
    world.update(&addition("late.o", 9), Some(KEY));
    assert_eq!(world.log.last().unwrap(), "SERVFAIL");
    world.settle();
    assert_eq!(world.query(0, "file.o"), (Rcode::NOERROR, 1));
    assert_eq!(world.query(0, "new.o").0, Rcode::NXDOMAIN);
    world.later(&addition("late.o", 9));
}

/// A request with OPT records of these versions, all with DO.
fn with_edns(request: &[u8], versions: &[u8]) -> Vec<u8> {
    let mut request = request.to_vec();
    for version in versions {
        request.extend([0, 0, 41, 4, 208, 0, *version, 0x80, 0, 0, 0]);
        request[11] += 1;
    }
    request
}

#[test]
fn requests_that_change_or_fetch_zones_have_one_opt_record_of_version_0_or_are_not_done() {
    let transfer = {
        let mut request = [0; 512];
        let apex = name("o");
        let length = TransferRequest::write(7, apex.as_name(), None, &mut request).unwrap();
        request[..length].to_vec()
    };
    let notice = {
        let mut request = [0; 512];
        let set = zones(2, "");
        let soa = RecordBuf::from(set.as_zone_set().zones().next().unwrap().soa().unwrap());
        let apex = name("o");
        let length = Notify::write(7, apex.as_name(), &soa, &mut request).unwrap();
        request[..length].to_vec()
    };
    let mut world = World::new();
    let config = ZoneConfig {
        update: anybody(None),
        ..primary(None, &[])
    };
    world.add(zones(1, ""), config);
    world.add(zones(1, ""), secondary(None, &[0]));
    for (to, request) in [(0, transfer), (1, notice), (0, addition("new.o", 7))] {
        for (versions, rcode) in [
            (&[1][..], Rcode::BADVERS),
            (&[0, 0], Rcode::FORMERR),
            (&[0, 1], Rcode::FORMERR),
        ] {
            let request = with_edns(&request, versions);
            let answers = world.ask(0, address(to), Transport::Tcp, &request);
            let [answer] = &answers[..] else {
                panic!("one answer was expected: {answers:?}");
            };
            let reader = MessageReader::new(answer).unwrap();
            let edns = reader.edns().unwrap();
            let edns = edns.expect("an OPT record");
            let high = edns.extended_rcode;
            let found = u16::from(high) << 4 | reader.header().rcode.0;
            assert_eq!(Rcode(found), rcode, "{request:?}");
            assert_eq!(edns.version, 0);
            assert!(edns.dnssec_ok || rcode == Rcode::FORMERR);
        }
    }
    assert!(world.log.is_empty(), "{:?}", world.log);
    assert_eq!(world.hosts[1].counters().notices_heard, 0);
    world.settle();
    assert_eq!(world.hosts[0].counters().versions, 0);
}

#[test]
fn first_message_of_a_transfer_alone_has_the_opt_record_that_was_asked_with() {
    let filling: String = (0..2_000).map(|n| format!("m{n} A 192.0.2.1\n")).collect();
    let mut world = World::new();
    world.add(zones(1, &filling), primary(None, &[]));
    let mut request = [0; 512];
    let apex = name("o");
    let length = TransferRequest::write(7, apex.as_name(), None, &mut request).unwrap();
    for versions in [&[][..], &[0]] {
        let request = with_edns(&request[..length], versions);
        let messages = world.ask(0, address(0), Transport::Tcp, &request);
        assert!(messages.len() > 1);
        for (index, message) in messages.iter().enumerate() {
            let reader = MessageReader::new(message).unwrap();
            assert_eq!(reader.end(), Ok(message.len()));
            let edns = reader.edns().unwrap();
            assert_eq!(edns.is_some(), index == 0 && !versions.is_empty());
            assert!(edns.is_none_or(|edns| edns.dnssec_ok));
        }
    }
}

/// A secondary with version 1 of the zone, whose primary is cut off until it expires.
fn expiring() -> World {
    let mut world = World::new();
    world.add(zones(1, ""), primary(None, &[1]));
    world.add(no_zones(), secondary(None, &[0]));
    world.settle();
    assert_eq!(world.serial(1), Some(1));
    world
}

/// The next version that a host wants to be made, the other tasks done.
fn build_job(world: &mut World, host: usize) -> BuildJob {
    loop {
        match world.hosts[host].poll_task(world.now, &mut world.rng) {
            Some(Task::Build(job)) => return job,
            Some(task) => world.work(host, task),
            None => panic!("nothing is to be built"),
        }
    }
}

#[test]
fn zone_that_expires_while_its_next_version_is_built_stays() {
    let mut world = expiring();
    world.reload(0, zones(2, ""));
    let job = build_job(&mut world, 0);
    world.hosts[0].handle_built(job.run(), world.now);
    // The notice, the question, the transfer; and then the build takes until the zone has expired.
    while world.hosts[1].states[0].installing.is_none() {
        for host in [0, 1] {
            if let Some(task) = world.hosts[host].poll_task(world.now, &mut world.rng) {
                assert!(!matches!(task, Task::Build(_)));
                world.work(host, task);
            }
        }
        world.now.elapsed += Duration::from_secs(1);
    }
    let job = build_job(&mut world, 1);
    world.now.elapsed += Duration::from_secs(2_000);
    assert!(
        world.hosts[1]
            .poll_task(world.now, &mut world.rng)
            .is_none()
    );
    assert_eq!(world.hosts[1].counters().zones_expired, 1);
    world.hosts[1].handle_built(job.run(), world.now);
    world.settle();
    assert_eq!(world.serial(1), Some(2));
}

#[test]
fn zone_that_expired_goes_although_the_first_attempt_to_take_it_away_failed() {
    let mut world = expiring();
    world.cut_off[0] = true;
    // Not to its end: the zone expires 1,000 seconds after it came.
    world.run(990);
    world.now.elapsed += Duration::from_secs(20);
    let job = build_job(&mut world, 1);
    world.hosts[1].handle_built(job.abandoned(), world.now);
    assert_eq!(world.serial(1), Some(1));
    world.run(60);
    assert_eq!(world.serial(1), None);
}

#[test]
fn file_that_is_read_while_updates_wait_must_be_newer_than_what_they_make() {
    let mut world = World::new();
    world.add(zones(1, ""), updatable("k.example"));
    let ticket = world.later(&addition("new.o", 7));
    world.reload(0, zones(2, "other A 192.0.2.9"));
    world.settle();
    assert_eq!(world.replies(), [(ticket, Rcode::NOERROR)]);
    assert_eq!(world.query(0, "new.o").0, Rcode::NOERROR);
    assert_eq!(world.query(0, "other.o").0, Rcode::NXDOMAIN);
    // One that is newer counts.
    let ticket = world.later(&addition("more.o", 7));
    world.reload(0, zones(4, "other A 192.0.2.9"));
    world.settle();
    assert_eq!(world.replies(), [(ticket, Rcode::NOERROR)]);
    assert_eq!(world.serial(0), Some(4));
}

/// An authority for many secondary zones, `z0.` and so on, of which no primary answers.
fn many_zones(count: usize, conversations: usize) -> Authority<'static> {
    let configs = (0..count).map(|number| ZoneConfig {
        primaries: alloc::vec![peer(1, None)],
        ..ZoneConfig::new(name(&format!("z{number}")))
    });
    let bounds = Bounds {
        conversations,
        ..Bounds::default()
    };
    let (configs, world) = (configs.collect(), World::new());
    let (now, mut rng) = (world.now, world.rng);
    Authority::new(no_zones(), configs, &[], bounds, now, &mut rng).unwrap()
}

#[test]
fn zones_whose_primaries_are_silent_wait_for_each_other_and_all_have_their_turn() {
    let mut world = World::new();
    let mut authority = many_zones(10, 3);
    let mut asked = Vec::new();
    for _ in 0..4 {
        let mut transfers = Vec::new();
        while let Some(task) = authority.poll_task(world.now, &mut world.rng) {
            match task {
                Task::Transfer(transfer) => transfers.push(transfer),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(transfers.len(), 3);
        // Nothing is due before one of them ends: who waits for this time does not turn round and round.
        assert_eq!(authority.poll_timeout(), None);
        world.now.elapsed += Duration::from_secs(20);
        for transfer in transfers {
            asked.push(transfer.apex().to_string());
            authority.handle_transfer(&transfer, None, world.now);
        }
    }
    asked.truncate(10);
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 10, "{asked:?}");
}

#[test]
fn notices_that_are_not_answered_keep_others_waiting_until_their_time_is_over() {
    let mut world = World::new();
    let config = primary(None, &[1, 2, 3, 4, 5]);
    let bounds = Bounds {
        conversations: 2,
        ..Bounds::default()
    };
    let configs = alloc::vec![config];
    let zones = zones(1, "");
    let authority = Authority::new(zones, configs, &[], bounds, world.now, &mut world.rng);
    let mut authority = authority.unwrap();
    let mut notice = || match authority.poll_task(world.now, &mut world.rng) {
        Some(Task::Notify(notice)) => Some(notice),
        None => None,
        Some(other) => panic!("{other:?}"),
    };
    let (first, second) = (notice().unwrap(), notice().unwrap());
    assert!(notice().is_none());
    assert_ne!(first.server(), second.server());
    authority.handle_notified(&first, false);
    let third = match authority.poll_task(world.now, &mut world.rng) {
        Some(Task::Notify(notice)) => notice,
        other => panic!("{other:?}"),
    };
    assert!(third.server() != first.server() && third.server() != second.server());
    assert!(authority.poll_task(world.now, &mut world.rng).is_none());
    assert_eq!(authority.poll_timeout(), None);
}

#[test]
fn refusals_to_an_address_that_anybody_may_write_are_limited_and_signed_requests_are_not() {
    use crate::server::{Extensions, RateBucket, RateLimiter, RateLimits};
    let limits = RateLimits {
        per_second: 5,
        slip: 0,
        ..RateLimits::default()
    };
    let mut buckets = [RateBucket::default(); 64];
    let limiter = RateLimiter::new(limits, [1; 16], &mut buckets, &[]);
    let extensions = Extensions::NONE.with_rate_limiter(&limiter);
    let server = Server::with_extensions(Limits::default(), extensions);
    let mut world = World::new();
    world.add(zones(1, ""), primary(Some("k.example"), &[]));
    let mut request = [0; 512];
    let length = TransferRequest::write(7, name("o").as_name(), None, &mut request).unwrap();
    let ask = |world: &mut World, transport, key: Option<&str>| {
        let mut request = request[..length].to_vec();
        if let Some(key) = key {
            let key = Key::from_text(key).unwrap();
            request.resize(1_024, 0);
            let (length, _) = sign_request(&key, &mut request, length, world.now.unix).unwrap();
            request.truncate(length);
        }
        let client = Client {
            address: address(9).ip(),
            transport,
            now: world.now.unix,
        };
        let mut out = [0; 1_232];
        let host = &mut world.hosts[0];
        let handled = host.handle_request(&server, &mut request, &client, world.now, &mut out);
        !matches!(handled, Handled::Ignored)
    };
    for (transport, key, expected) in [
        (Transport::Udp, None, 5),
        // Of a key that is not known, and so another code.
        (
            Transport::Udp,
            Some("hmac-sha256:unknown.example:d3Jvbmc="),
            5,
        ),
        (Transport::Udp, Some(KEY), 50),
        (Transport::Tcp, None, 50),
    ] {
        let answered = (0..50).filter(|_| ask(&mut world, transport, key)).count();
        assert_eq!(answered, expected, "{transport:?} {key:?}");
    }
    assert_eq!(world.hosts[0].counters().rate_limited, 90);
}
