//! Requests of all kinds to zones that change, signed or not: nothing panics, whatever is announced comes, and what changes is
//! built.

#![no_main]

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mirage_dns::authority::{
    AccessList, AccessRule, Authority, Bounds, Handled, Now, Peer, Task, ZoneConfig,
};
use mirage_dns::master_file::{NoFiles, Source};
use mirage_dns::name::NameBuf;
use mirage_dns::server::{Client, Limits, Server, Transport};
use mirage_dns::transfer::Transferred;
use mirage_dns::tsig::{Algorithm, Key, sign_request};
use mirage_dns::zone_compiler::ZoneCompiler;
use mirage_dns::zone_set::OwnedZoneSet;
use rand_chacha::rand_core::{TryCryptoRng, TryRng};

const PRIMARY: &[u8] = b"$ORIGIN o.\n$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\na.b A 192.0.2.2\n* TXT x\n";
const SECONDARY: &[u8] =
    b"$ORIGIN s.\n$TTL 60\n@ SOA ns root 1 2 3 400 5\n@ NS ns\nns A 192.0.2.1\n";

fuzz_target!(|input: &[u8]| {
    let keys = keys();
    let mut now = Now {
        elapsed: Duration::from_secs(1),
        unix: 1_700_000_000,
    };
    let mut rng = Counter(1);
    let bounds = Bounds {
        updates: 4,
        journal: 2_000,
        ..Bounds::default()
    };
    let authority = Authority::new(zones().clone(), configs(), keys, bounds, now, &mut rng);
    let mut authority = authority.expect("a right configuration");
    let server = Server::new(Limits::default());
    let mut announced = Vec::new();
    let mut out = vec![0; 65_535];
    let mut rest = input;
    // Each request: how it comes, its octets, and how long until the next.
    while let Some(([way, length], after)) = rest.split_first_chunk::<2>() {
        let (request, after) = after.split_at(after.len().min(usize::from(*length)));
        rest = after;
        let mut request = request.to_vec();
        if way & 1 != 0 {
            let whole = request.len();
            request.resize(whole + 512, 0);
            match sign_request(&keys[0], &mut request, whole, now.unix) {
                Ok((length, _)) => request.truncate(length),
                Err(_) => request.truncate(whole),
            }
        }
        let client = Client {
            address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, *way)),
            transport: if way & 2 != 0 {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            now: now.unix,
        };
        let is_plain = Authority::is_plain(&request);
        let handled = authority.handle_request(&server, &mut request, &client, now, &mut out);
        match handled {
            Handled::Ignored | Handled::Answer(_) => {}
            Handled::Transfer(mut transfer) => {
                assert!(!is_plain && client.transport == Transport::Tcp);
                while let Some(length) = transfer.poll_message(&mut out, now.unix).expect("room") {
                    assert!(length <= out.len());
                }
            }
            Handled::Later(ticket) => {
                assert!(!is_plain);
                announced.push(ticket);
            }
        }
        if way & 4 != 0 {
            now.elapsed += Duration::from_secs(u64::from(way >> 3));
            now.unix += u64::from(way >> 3);
        }
        if way & 0x80 != 0 {
            work(&mut authority, now, &mut rng);
        }
    }
    work(&mut authority, now, &mut rng);
    while let Some(reply) = authority.poll_reply() {
        let place = announced.iter().position(|ticket| *ticket == reply.ticket);
        announced.swap_remove(place.expect("each is announced, and comes once"));
    }
    assert!(announced.is_empty(), "what was announced comes");
});

/// Does everything that is to be done; nobody else is there.
fn work(authority: &mut Authority<'static>, now: Now, rng: &mut Counter) {
    for _ in 0..1_000 {
        match authority.poll_task(now, rng) {
            None => return,
            Some(Task::QuerySoa(query)) => authority.handle_soa(&query, None, now),
            Some(Task::Transfer(transfer)) => {
                authority.handle_transfer(&transfer, None::<Transferred>, now);
            }
            Some(Task::Notify(notice)) => authority.handle_notified(&notice, true),
            Some(Task::Build(job)) => drop(authority.handle_built(job.run(), now)),
        }
    }
    panic!("work without end");
}

fn name(text: &str) -> NameBuf {
    NameBuf::from_text(text).expect("a name")
}

fn keys() -> &'static [Key] {
    static KEYS: OnceLock<Vec<Key>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let name = name("k");
        vec![Key::new(name.as_name(), Algorithm::HmacSha256, b"secret").expect("a key")]
    })
}

fn zones() -> &'static OwnedZoneSet {
    static ZONES: OnceLock<OwnedZoneSet> = OnceLock::new();
    ZONES.get_or_init(|| {
        let mut compiler = ZoneCompiler::new();
        for text in [PRIMARY, SECONDARY] {
            let name = "zone";
            compiler.add_zone(Source { name, text }, &NoFiles);
        }
        OwnedZoneSet::new(compiler.finish().expect("zones").image).expect("an image")
    })
}

fn configs() -> Vec<ZoneConfig> {
    let anybody = || {
        AccessList(vec![AccessRule {
            network: "10.0.0.0/8".parse().expect("a network"),
            key: None,
        }])
    };
    let peer = || Peer {
        address: ([10, 0, 0, 1], 53).into(),
        key: None,
    };
    vec![
        ZoneConfig {
            transfer: anybody(),
            update: anybody(),
            notify: vec![peer()],
            ..ZoneConfig::new(name("o"))
        },
        ZoneConfig {
            transfer: anybody(),
            primaries: vec![peer()],
            hear: anybody(),
            ..ZoneConfig::new(name("s"))
        },
        ZoneConfig {
            primaries: vec![peer()],
            ..ZoneConfig::new(name("absent"))
        },
    ]
}

struct Counter(u64);

impl TryRng for Counter {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|number| number as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 += 1;
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(1);
        Ok(())
    }
}

impl TryCryptoRng for Counter {}
