//! The DNS server on any request, over both transports: what it answers is a response to that request, within the limits,
//! that the reader takes and that is the same each time. With cookies, NSID, keep-alive and a rate limiter it is that and no more
//! options than were asked for, its cookie is believed, and only UDP without a right cookie is limited.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mirage_dns::client::Query;
use mirage_dns::master_file::{NoFiles, Source};
use mirage_dns::message::{Edns, Flags, MessageReader};
use mirage_dns::name::Name;
use mirage_dns::record::{Rcode, RecordType};
use mirage_dns::server::{
    Client, CookieState, Cookies, Extensions, Ignored, Limits, RateBucket, RateLimiter, RateLimits,
    Transport, respond, respond_with,
};
use mirage_dns::zone_compiler::ZoneCompiler;
use mirage_dns::zone_set::ZoneSet;

/// More octets than any answer from the example zone has: the question and all records of a name or two.
const ROOM: usize = 8192;

const ZONE: &str = include_str!("../../appliances/dns/zones/example.org.zone");

/// Names that are elsewhere, for ever and ever longer.
const REDIRECTIONS: &str = "$ORIGIN redirect.test.
$TTL 60
@ SOA ns root 1 2 3 4 5
@ NS ns
ns A 192.0.2.1
dn DNAME www.example.org.
loop DNAME loop
grow DNAME a.grow2
grow2 DNAME grow
";

static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut compiler = ZoneCompiler::new();
    for (name, text) in [
        ("example.org.zone", ZONE),
        ("redirect.test.zone", REDIRECTIONS),
    ] {
        let text = text.as_bytes();
        compiler.add_zone(Source { name, text }, &NoFiles);
    }
    compiler.finish().expect("the example zones compile").image
});

fuzz_target!(|request: &[u8]| {
    let zones = ZoneSet::from_bytes(&IMAGE).expect("a compiled image is one");
    let limits = Limits::default();
    for (transport, most) in [
        (Transport::Udp, usize::from(limits.udp_payload_size)),
        (Transport::Tcp, ROOM),
    ] {
        let client = &Client {
            address: [192, 0, 2, 1].into(),
            transport,
            now: 0,
        };
        let mut out = [0xa5; ROOM];
        let answer = match respond(&zones, &limits, request, client, &mut out) {
            Ok(answer) => answer,
            Err(Ignored::TooShort) => {
                assert!(request.len() < 12);
                continue;
            }
            Err(Ignored::Response) => {
                assert!(request[2] & 0x80 != 0);
                continue;
            }
            Err(other) => panic!("there is room for every answer: {other:?}"),
        };
        assert!(
            answer.length <= most.max(512),
            "{} octets over {transport:?}",
            answer.length
        );
        assert!(
            untouched(client, &out, answer.length),
            "nothing is written behind the answer, nor behind where it may end"
        );
        let response = MessageReader::new(&out[..answer.length]).expect("a header");
        assert_eq!(response.end().expect("whole"), answer.length);
        assert_eq!(out[..2], request[..2], "the ID");
        assert!(response.header().flags.contains(Flags::QR));
        assert_eq!(response.header().opcode.0, (request[2] >> 3) & 15);
        for question in response.questions() {
            // As it was asked, case included: the octets themselves.
            let question = question.expect("a question that was repeated can be read");
            let length = question.name.as_name().len() + 4;
            assert_eq!(out[12..12 + length], request[12..12 + length]);
        }
        let mut rdata = [0; ROOM];
        for record in response.records() {
            let record = record.expect("a record can be read");
            record.owner().expect("an owner");
            record.rdata(&mut rdata).expect("data");
        }
        response.edns().expect("at most one OPT");
        // A smaller buffer changes what fits, never what is sent beyond it.
        let mut small = [0xa5; 600];
        if let Ok(cut) = respond(&zones, &limits, request, client, &mut small[..512]) {
            assert!(cut.length <= 512 && small[512..].iter().all(|octet| *octet == 0xa5));
        }
        let mut again = [0; ROOM];
        let second = respond(&zones, &limits, request, client, &mut again).expect("as before");
        assert_eq!(
            out[..answer.length],
            again[..second.length],
            "the same question, the same answer"
        );
        with_extensions(&zones, request, client);
    }
});

/// Whether a buffer of the same octets is as it was where no answer may be: over UDP beyond the payload size, for what does
/// not fit is taken back.
fn untouched(client: &Client, out: &[u8; ROOM], length: usize) -> bool {
    let end = match client.transport {
        Transport::Udp => usize::from(Limits::default().udp_payload_size),
        Transport::Tcp => length,
    };
    out[end..].iter().all(|octet| *octet == 0xa5)
}

/// The option codes of NSID, cookies and keep-alive.
const OPTIONS: [u16; 3] = [3, 10, 11];

fn with_extensions(zones: &ZoneSet<'_>, request: &[u8], client: &Client) {
    let limits = RateLimits {
        per_second: 2,
        slip: 2,
        ..RateLimits::default()
    };
    let mut buckets = [RateBucket::default(); 4];
    let limiter = RateLimiter::new(limits, [1; 16], &mut buckets, &[]);
    let cookies = Cookies::new(*b"sixteen octets!!");
    let extensions = Extensions::NONE
        .with_nsid(b"fuzzed")
        .expect("short")
        .with_tcp_keepalive(100)
        .with_cookies(&cookies)
        .with_rate_limiter(&limiter);
    let ask = |request: &[u8], out: &mut [u8; ROOM]| {
        respond_with(zones, &Limits::default(), &extensions, request, client, out)
    };
    // Two are sent whole, then one not, then one short.
    for number in 0..4 {
        let mut out = [0xa5; ROOM];
        let answer = match ask(request, &mut out) {
            Ok(answer) => answer,
            Err(Ignored::RateLimited) => {
                assert!(number >= 2 && client.transport == Transport::Udp);
                continue;
            }
            Err(other) => panic!("it was answered without extensions: {other:?}"),
        };
        assert!(untouched(client, &out, answer.length));
        let response = MessageReader::new(&out[..answer.length]).expect("a header");
        assert_eq!(response.end().expect("whole"), answer.length);
        if answer.is_limited {
            assert!(number >= 2 && client.transport == Transport::Udp);
            assert!(answer.cookie != CookieState::Right);
            let header = response.header();
            let records = header.answer_count | header.authority_count;
            assert!(records == 0 && answer.length <= request.len() + 160);
        }
        let edns = response.edns().expect("at most one OPT");
        let Some(edns) = edns else { continue };
        let mut seen = 0;
        for (code, data) in edns.options() {
            let known = OPTIONS.iter().position(|known| *known == code);
            let bit = 1 << known.expect("an option that is ours");
            assert!(seen & bit == 0, "an option twice");
            seen |= bit;
            if code == 10 {
                believed(zones, &extensions, client, data);
            }
        }
        assert!(answer.rcode != Rcode::BADCOOKIE || seen & 2 != 0);
    }
}

/// A cookie that was given is taken for right.
fn believed(zones: &ZoneSet<'_>, extensions: &Extensions<'_>, client: &Client, cookie: &[u8]) {
    let options = [&[0, 10, 0, 24], cookie].concat();
    let query = Query {
        edns: Some(Edns {
            options: &options,
            ..Edns::with_payload_size(1232)
        }),
        ..Query::new(7, Name::ROOT, RecordType::A)
    };
    let (mut request, mut out) = ([0; 512], [0; 512]);
    let length = query.write(&mut request).expect("it fits");
    let request = &request[..length];
    let answer = respond_with(
        zones,
        &Limits::default(),
        extensions,
        request,
        client,
        &mut out,
    );
    assert_eq!(answer.expect("never limited").cookie, CookieState::Right);
}
