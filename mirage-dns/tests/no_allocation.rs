//! Nothing is allocated to answer a query, to take an image, or to read a master file.

#![cfg(feature = "alloc")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use mirage_dns::client::Query;
use mirage_dns::master_file::{NoFiles, Parser, Source};
use mirage_dns::message::{Edns, Flags};
use mirage_dns::name::NameBuf;
use mirage_dns::record::{Rcode, RecordClass, RecordType};
use mirage_dns::server::{
    Client, Cookies, Extensions, Limits, Memo, MemoSlot, RateBucket, RateLimiter, RateLimits,
    Server, Transport,
};
use mirage_dns::tcp::{FrameReader, length_prefix};
use mirage_dns::tsig::{Key, KeyFile, KeyRing, RequestVerifier, sign_request};
use mirage_dns::zone_compiler::ZoneCompiler;
use mirage_dns::zone_set::ZoneSet;

/// The system's allocator, which counts what each thread asks it for.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    // Initialised at compile time and without a destructor: counting allocates nothing.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to `System` with the arguments that it came with, so `System` keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

/// How often this thread asks for memory in `work`.
fn allocations<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = ALLOCATIONS.with(Cell::get);
    let result = work();
    (ALLOCATIONS.with(Cell::get) - before, result)
}

const RICH: &[u8] = include_bytes!("zones/rich.example.zone");
const TYPES: &[u8] = include_bytes!("zones/types.example.zone");
const CHILD: &[u8] = include_bytes!("zones/child.rich.example.zone");

fn image() -> Vec<u8> {
    let mut compiler = ZoneCompiler::new();
    for (name, text) in [("rich", RICH), ("child", CHILD)] {
        compiler.add_zone(Source { name, text }, &NoFiles);
    }
    compiler.finish().expect("the zones are right").image
}

/// The names of the zones, names below each, and one outside.
fn names(zones: &ZoneSet<'_>) -> Vec<NameBuf> {
    let mut names = vec![
        NameBuf::from_text("www.example.net").unwrap(),
        NameBuf::new(),
    ];
    for zone in zones.zones() {
        for record in zone.records() {
            names.push(record.owner.to_owned());
            let mut below = NameBuf::from_text("xX").unwrap();
            if below.push_name(record.owner).is_ok() {
                names.push(below);
            }
        }
    }
    names.dedup();
    names
}

#[test]
fn allocations_are_seen() {
    assert_eq!(allocations(|| drop(Box::new([0u8; 100]))).0, 1);
    let (grown, _) = allocations(|| {
        let mut octets = vec![0u8; 1];
        octets.extend([1; 1000]);
        octets
    });
    assert_eq!(grown, 2);
}

#[test]
fn answering_allocates_nothing() {
    let image = image();
    let (taking, zones) = allocations(|| ZoneSet::from_bytes(&image));
    let zones = zones.expect("the image is right");
    assert_eq!(taking, 0, "allocations to take an image");

    let names = names(&zones);
    let server = Server::new(Limits::default());
    let types = [
        RecordType::A,
        RecordType::NS,
        RecordType::MX,
        RecordType::SRV,
        RecordType::DS,
        RecordType::CNAME,
        RecordType::TXT,
        RecordType::ANY,
        RecordType::AXFR,
        RecordType(731),
    ];
    let sizes = [None, Some(0), Some(1232), Some(65_535)];
    let mut request = [0; 512];
    let mut response = vec![0; 65_535];
    let (answering, answers) = allocations(|| {
        let mut answers = 0u32;
        let ways = sizes
            .into_iter()
            .flat_map(|size| [Transport::Udp, Transport::Tcp].map(|transport| (size, transport)));
        let mut ways = ways.cycle();
        for name in &names {
            for record_type in types {
                let (size, transport) = ways.next().expect("it begins again");
                let query = Query {
                    flags: Flags::RD,
                    edns: size.map(Edns::with_payload_size),
                    ..Query::new(7, name.as_name(), record_type)
                };
                let length = query.write(&mut request).expect("there is room");
                let length = server.answer(
                    &zones,
                    &request[..length],
                    &client(transport),
                    &mut response,
                );
                let reply = query.accept(&response[..length.expect("an answer")]);
                answers += u32::from(reply.is_ok());
                // What is cut, damaged or of another kind takes other ways.
                for damaged in [2, 5, 12, 20] {
                    let before = request[damaged];
                    request[damaged] ^= 0x1d;
                    server.answer(&zones, &request[..30], &client(transport), &mut response);
                    request[damaged] = before;
                }
            }
            // Types and ways meet in other pairs next time.
            ways.next();
        }
        answers
    });
    assert_eq!(answering, 0, "allocations to answer");
    let counters = server.counters();
    assert!(
        answers > 5_000 && counters.nxdomain > 500 && counters.refused > 100,
        "{counters:?}"
    );
    assert!(
        counters.truncated > 0 && counters.formerr > 100 && counters.notimp > 100,
        "{counters:?}"
    );
}

#[test]
fn cookies_limits_and_a_memo_allocate_nothing() {
    let image = image();
    let zones = ZoneSet::from_bytes(&image).expect("the image is right");
    let names = names(&zones);
    let cookies = Cookies::new([1; 16]);
    let mut buckets = [RateBucket::default(); 64];
    let limits = RateLimits {
        per_second: 1,
        ..RateLimits::default()
    };
    let limiter = RateLimiter::new(limits, [2; 16], &mut buckets, &[]);
    let extensions = Extensions::NONE
        .with_cookies(&cookies)
        .with_tcp_keepalive(100)
        .with_nsid(b"here")
        .expect("it is short");
    let limited =
        Server::with_extensions(Limits::default(), extensions.with_rate_limiter(&limiter));
    let server = Server::with_extensions(Limits::default(), extensions);
    let mut slots = vec![MemoSlot::EMPTY; 1024];
    let mut memo = Memo::new(&mut slots);
    let options: [&[u8]; 3] = [
        b"",
        b"\0\x0a\0\x08client's\0\x03\0\0\0\x0b\0\0",
        b"\0\x0a\0\x18client's\x01\0\0\0\0\0\0\0a server",
    ];
    let (mut request, mut response) = ([0; 512], [0; 1232]);
    let (asking, ()) = allocations(|| {
        for name in names.iter().chain(&names) {
            for options in options {
                let query = Query {
                    edns: Some(Edns {
                        options,
                        ..Edns::with_payload_size(1232)
                    }),
                    ..Query::new(7, name.as_name(), RecordType::A)
                };
                let length = query.write(&mut request).expect("there is room");
                let client = client(Transport::Udp);
                limited.answer(&zones, &request[..length], &client, &mut response);
                memo.answer(
                    &server,
                    &zones,
                    0,
                    &request[..length],
                    &client,
                    &mut response,
                );
            }
        }
    });
    assert_eq!(asking, 0);
    let counters = limited.counters();
    assert!(
        counters.badcookie > 0 && counters.ignored_rate_limited > 0,
        "{counters:?}"
    );
    assert!(memo.hits() > 0 && server.counters().cookies_wrong > 0);
}

#[test]
fn framing_allocates_nothing() {
    let image = image();
    let zones = ZoneSet::from_bytes(&image).expect("the image is right");
    let server = Server::new(Limits::default());
    let name = NameBuf::from_text("rich.example").unwrap();
    let query = Query {
        class: RecordClass::IN,
        ..Query::new(9, name.as_name(), RecordType::SOA)
    };
    let (mut request, mut response) = ([0; 512], [0; 4096]);
    let mut room = [0; 600];
    let (framing, answered) = allocations(|| {
        let length = query.write(&mut request).expect("there is room");
        let mut frames = FrameReader::new(&mut room);
        let mut answered = 0;
        for _ in 0..100 {
            frames.handle(&length_prefix(length).expect("short"));
            for octet in &request[..length] {
                frames.handle(&[*octet]);
            }
            while let Ok(Some(message)) = frames.message() {
                let length = server.answer(&zones, message, &client(Transport::Tcp), &mut response);
                let reply = query.accept(&response[..length.expect("an answer")]);
                answered += u32::from(reply.is_ok_and(|r| r.header().rcode == Rcode::NOERROR));
                frames.consume();
            }
        }
        answered
    });
    assert_eq!((framing, answered), (0, 100));
}

#[test]
fn reading_a_master_file_allocates_nothing() {
    let generated = b"$TTL 1\n$GENERATE 1-255 ${0,3}.example. SVCB \"1 . port=$ alpn=h2,h$\"\n";
    for text in [RICH, TYPES, generated] {
        let mut buffer = vec![0; 65_535];
        let (reading, records) = allocations(|| {
            let source = Source { name: "zone", text };
            let mut parser = Parser::new(source, &NoFiles);
            let mut records = 0;
            while parser.next_record(&mut buffer).expect("no error").is_some() {
                records += 1;
            }
            records
        });
        assert_eq!(reading, 0);
        assert!(records > 80, "{records}");
    }
}

fn client(transport: Transport) -> Client {
    Client {
        address: [192, 0, 2, 1].into(),
        transport,
        now: 1_780_000_000,
    }
}

#[test]
fn signing_and_verifying_allocate_nothing() {
    let text = "key \"a.example\" { algorithm hmac-sha512; secret \"c2VjcmV0\"; };";
    let name = NameBuf::from_text("rich.example").unwrap();
    let query = Query::new(9, name.as_name(), RecordType::SOA);
    let now = 1_700_000_000;
    let (mut message, mut answer) = ([0; 512], [0; 512]);
    let (signing, verified) = allocations(|| {
        let keys: [Key; 1] = [KeyFile::new(text).next().expect("a key").expect("no error")];
        let verifier = RequestVerifier::new(KeyRing::new(&keys));
        let mut verified = 0;
        for late in [0, 301] {
            let length = query.write(&mut message).expect("there is room");
            let signed = sign_request(&keys[0], &mut message, length, now);
            let (length, signed) = signed.expect("there is room");
            let request = &mut message[..length];
            let length = match verifier.verify(request, now + late) {
                Ok(proof) => {
                    let proof = proof.expect("a signature");
                    answer[..12].copy_from_slice(&request[..12]);
                    answer[2] = 0x80;
                    answer[4..12].fill(0);
                    let mut stream = proof.stream();
                    let length = stream.sign(&mut answer, 12, now).expect("there is room");
                    let mut messages = signed.stream();
                    verified += u32::from(messages.verify(&mut answer[..length], now).is_ok());
                    proof
                        .sign(&mut answer, 12, now)
                        .expect("there is room")
                        .length
                }
                Err(rejected) => {
                    let length = rejected.write_reply(request, now + late, &mut answer);
                    length.expect("there is room")
                }
            };
            verified += u32::from(signed.verify_answer(&mut answer[..length], now).is_ok());
        }
        verified
    });
    assert_eq!((signing, verified), (0, 2));
}
