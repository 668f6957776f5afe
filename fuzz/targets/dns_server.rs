//! The DNS server on any request, over both transports: what it answers is a response to that request, within the limits,
//! that the reader takes and that is the same each time.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mirage_dns::master_file::{NoFiles, Source};
use mirage_dns::message::{Flags, MessageReader};
use mirage_dns::server::{Client, Ignored, Limits, Transport, respond};
use mirage_dns::zone_compiler::ZoneCompiler;
use mirage_dns::zone_set::ZoneSet;

/// More octets than any answer from the example zone has: the question and all records of a name or two.
const ROOM: usize = 8192;

const ZONE: &str = include_str!("../../appliances/dns/zones/example.org.zone");

static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut compiler = ZoneCompiler::new();
    compiler.add_zone(
        Source {
            name: "example.org.zone",
            text: ZONE.as_bytes(),
        },
        &NoFiles,
    );
    compiler.finish().expect("the example zone compiles").image
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
            out[answer.length..].iter().all(|octet| *octet == 0xa5),
            "nothing is written behind the answer"
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
    }
});
