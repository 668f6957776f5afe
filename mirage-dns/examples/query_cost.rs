//! What one query costs in memory, octets to octets, for zones of 100 to 100,000 names.
//!
//! ```text
//! cargo run --release -p mirage-dns --features std --example query_cost [QUERIES [NAMES]]
//! ```
//!
//! Without `--release` it asks less: the time means nothing then, the counts mean the same.
//!
//! Each row is the best of five passes over the same pseudo-random questions; `names` and `probes` are means per query
//! of what the look-up did, and do not depend on the machine.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use mirage_dns::client::Query;
use mirage_dns::name::{Name, NameBuf};
use mirage_dns::record::RecordType;
use mirage_dns::server::{Client, Limits, Transport, respond};
use mirage_dns::zone_set::{ZoneSet, ZoneSetBuilder};

const APEX: &str = "example.org";
const PASSES: usize = 5;

/// Makes a name of a random number.
type NameOf<'a> = dyn Fn(u64) -> String + 'a;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (queries, zones) = if cfg!(debug_assertions) {
        (1_000, vec![100, 1_000])
    } else {
        (100_000, vec![100, 1_000, 10_000, 100_000])
    };
    let count = arguments.next().map_or(Ok(queries), |text| text.parse())?;
    let sizes = match arguments.next() {
        Some(names) => vec![names.parse()?],
        None => zones,
    };
    println!(
        "{:>8} {:>9} {:>8} {:>7} {:>7}  question",
        "names", "ns/query", "octets", "names", "probes"
    );
    for names in sizes {
        let image = image_of(names)?;
        let zones = ZoneSet::from_bytes(&image)?;
        let questions: [(&str, &NameOf<'_>, RecordType); 4] = [
            (
                "address",
                &|i| format!("host{}.{APEX}", i % names),
                RecordType::A,
            ),
            ("mail with addresses", &|_| APEX.into(), RecordType::MX),
            (
                "no such name",
                &|i| format!("nohost{i}.{APEX}"),
                RecordType::A,
            ),
            (
                "referral",
                &|i| format!("www.sub{}.{APEX}", i % 10),
                RecordType::A,
            ),
        ];
        for (title, name, record_type) in questions {
            let requests = requests(count, name, record_type)?;
            measure(&zones, names, title, &requests);
        }
    }
    Ok(())
}

/// Answers all requests some times over and prints a row.
fn measure(zones: &ZoneSet<'_>, names: u64, title: &str, requests: &[Vec<u8>]) {
    let limits = Limits::default();
    let client = Client {
        address: [192, 0, 2, 1].into(),
        transport: Transport::Udp,
        now: 0,
    };
    let mut out = [0; 1232];
    let mut best = f64::INFINITY;
    let (mut octets, mut looked, mut probed) = (0, 0, 0);
    for _ in 0..PASSES {
        (octets, looked, probed) = (0, 0, 0);
        let start = Instant::now();
        for request in requests {
            let answer = respond(zones, &limits, black_box(request), &client, &mut out);
            if let Ok(answer) = black_box(answer) {
                octets += answer.length;
                looked += u64::from(answer.lookups.names);
                probed += u64::from(answer.lookups.probes);
            }
        }
        best = best.min(start.elapsed().as_nanos() as f64 / requests.len() as f64);
    }
    let count = requests.len();
    let mean = |sum: u64| sum as f64 / count as f64;
    let octets = octets / count;
    println!(
        "{names:>8} {best:>9.1} {octets:>8} {:>7.2} {:>7.2}  {title}",
        mean(looked),
        mean(probed)
    );
}

fn requests(
    count: usize,
    name: &NameOf<'_>,
    record_type: RecordType,
) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut requests = Vec::with_capacity(count);
    for _ in 0..count {
        // Marsaglia's xorshift: the same questions in every run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let name = NameBuf::from_text(&name(random))?;
        let mut buffer = [0; 512];
        let query = Query::new(random as u16, name.as_name(), record_type);
        let length = query.write(&mut buffer)?;
        requests.push(buffer[..length].to_vec());
    }
    Ok(requests)
}

/// A zone with so many hosts, two mail exchangers and ten delegations.
fn image_of(names: u64) -> Result<Vec<u8>, Box<dyn Error>> {
    let apex = NameBuf::from_text(APEX)?;
    let mut builder = ZoneSetBuilder::new();
    let zone = builder.add_zone(apex.as_name())?;
    let mut add = |owner: &str, record_type, rdata: &[u8]| -> Result<(), Box<dyn Error>> {
        let owner = NameBuf::from_text(owner)?;
        Ok(builder.add_record(zone, owner.as_name(), record_type, 3600, rdata)?)
    };
    let wire = |text: &str| NameBuf::from_text(text).map(|n| n.as_name().as_wire().to_vec());
    let server = wire("host0.example.org")?;
    let soa = [&server[..], Name::ROOT.as_wire(), &[0; 20]].concat();
    add(APEX, RecordType::SOA, &soa)?;
    add(APEX, RecordType::NS, &server)?;
    for host in ["host0", "host1"] {
        let host = wire(&format!("{host}.{APEX}"))?;
        add(APEX, RecordType::MX, &[&[0, 10], &host[..]].concat())?;
    }
    for index in 0..names {
        let address = [10, (index >> 16) as u8, (index >> 8) as u8, index as u8];
        add(&format!("host{index}.{APEX}"), RecordType::A, &address)?;
    }
    for index in 0..10 {
        let sub = format!("sub{index}.{APEX}");
        add(&sub, RecordType::NS, &wire(&format!("ns.{sub}"))?)?;
        add(&format!("ns.{sub}"), RecordType::A, &[192, 0, 2, index])?;
    }
    Ok(builder.build()?)
}
