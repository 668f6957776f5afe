//! Zones of the tests, and what a server gives of one.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use mirage_dns::difference::RecordBuf;
use mirage_dns::name::NameBuf;
use mirage_dns::transfer::{IncomingTransfer, TransferLimits, TransferRequest, Transferred};

use super::peer::TestKey;
use crate::common::{LONG, dig, eventually, framed, read_message};

/// The zone of most tests.
pub(crate) const APEX: &str = "moving.example";

/// A version of [`APEX`] with so many hosts: from one version to the next a host goes, one comes, all else of the serial's
/// records changes, and most stays.
pub(crate) fn version(serial: u32, hosts: u32) -> String {
    version_with_timers(serial, hosts, "1h 10m 1w")
}

/// The same, with other times of refresh, retry and expire.
pub(crate) fn version_with_timers(serial: u32, hosts: u32, timers: &str) -> String {
    let mut text = format!(
        "$ORIGIN {APEX}.\n$TTL 1h\n@ SOA ns.{APEX}. root.{APEX}. {serial} {timers} 60\n@ NS ns\nns A 192.0.2.53\n\
         version TXT \"{serial}\"\nttl {} A 192.0.2.7\n@ MX {} mail.elsewhere.example.\n",
        60 + serial,
        serial % 60_000
    );
    for host in serial..serial + hosts {
        let [.., high, low] = host.to_be_bytes();
        text += &format!("host{host} A 10.0.{high}.{low}\n");
    }
    text
}

/// The path of one of the zones that the library's tests have.
pub(crate) fn of_library(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../mirage-dns/tests/zones")
        .join(name);
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// All records of a zone as a server gives them to dig (AXFR). Names are in small letters: NSD keeps no others.
pub(crate) fn records(server: SocketAddr, apex: &str, key: Option<TestKey>) -> BTreeSet<String> {
    eventually("a transfer", || records_or_none(server, apex, key))
}

/// The same; `None` where there is no transfer.
fn records_or_none(
    server: SocketAddr,
    apex: &str,
    key: Option<TestKey>,
) -> Option<BTreeSet<String>> {
    let text = transfer(server, &[apex, "AXFR", "+onesoa"], key);
    if text.contains("Transfer failed") {
        return None;
    }
    assert!(
        !text.contains("could not be validated") && !text.contains("bad packet"),
        "{text}"
    );
    let lines = text.lines().filter(|line| !line.starts_with(';'));
    let records: BTreeSet<String> = lines
        .filter(|line| !line.trim().is_empty())
        .map(normal)
        .collect();
    assert!(!records.is_empty(), "{text}");
    Some(records)
}

/// Owner, type, TTL and data of a record.
pub(crate) type Octets = (String, u16, u32, Vec<u8>);

/// All records of a zone as a server gives them (AXFR, unsigned), octet by octet but for the case of their owners;
/// `None` where it gives none.
pub(crate) fn octets(server: SocketAddr, apex: &str) -> Option<BTreeSet<Octets>> {
    let apex = NameBuf::from_text(apex).expect("a name");
    let mut request = [0; 512];
    let length = TransferRequest::write(7, apex.as_name(), None, &mut request).expect("it fits");
    let mut stream = TcpStream::connect(server).expect("the server");
    stream.set_read_timeout(Some(LONG)).expect("a time-out");
    stream
        .write_all(&framed(&request[..length]))
        .expect("written");
    let mut incoming = IncomingTransfer::new(7, apex, None, TransferLimits::default());
    let transferred = loop {
        let message = read_message(&mut stream);
        if let Some(transferred) = incoming.handle_message(&message).ok()? {
            break transferred;
        }
    };
    let Transferred::Whole(records) = transferred else {
        panic!("not the whole zone");
    };
    let record = |record: &RecordBuf| {
        (
            record.owner().to_string().to_ascii_lowercase(),
            record.record_type().0,
            record.ttl(),
            record.rdata().to_vec(),
        )
    };
    Some(records.iter().map(record).collect())
}

/// Runs dig for a transfer, and gives what it prints.
pub(crate) fn transfer(server: SocketAddr, arguments: &[&str], key: Option<TestKey>) -> String {
    let argument = key.map(|key| key.argument());
    let mut all = vec!["+noall", "+answer", "+nosplit"];
    if let Some(argument) = &argument {
        all.extend(["-y", argument]);
    }
    all.extend(arguments);
    dig(server, &all)
}

/// A line of dig, with one space between fields and names in small letters; what is text stays as it is.
fn normal(line: &str) -> String {
    let mut fields = line.split_whitespace();
    let mut head = String::new();
    let mut record_type = "";
    for field in fields.by_ref().take(4) {
        record_type = field;
        head += &field.to_ascii_lowercase();
        head.push(' ');
    }
    let data = fields.collect::<Vec<_>>().join(" ");
    match record_type {
        "TXT" | "HINFO" | "SPF" | "CAA" | "NAPTR" | "URI" => head + &data,
        _ => head + &data.to_ascii_lowercase(),
    }
}

/// A zone as a server gives it to who signs with this key.
pub(crate) type Source<'a> = (SocketAddr, &'a str, Option<TestKey>);

/// That two servers come to give the same records.
///
/// That a server said it has a version does not mean that it gives it from then on: when NSD has a new one, its processes of
/// the old one answer for a while beside the new ones.
pub(crate) fn assert_agree(ours: Source<'_>, theirs: Source<'_>) {
    let give = |(server, apex, key): Source<'_>| records_or_none(server, apex, key);
    agree(&mut || Some((give(ours)?, give(theirs)?)));
}

/// That a server comes to give these records.
pub(crate) fn assert_becomes((server, apex, key): Source<'_>, records: &BTreeSet<String>) {
    agree(&mut || Some((records_or_none(server, apex, key)?, records.clone())));
}

/// Looks until both are the same; says what differs if that takes too long.
fn agree(look: &mut dyn FnMut() -> Option<(BTreeSet<String>, BTreeSet<String>)>) {
    let end = Instant::now() + LONG / 2;
    loop {
        let looked = look();
        if looked.as_ref().is_some_and(|(ours, theirs)| ours == theirs) {
            return;
        }
        if Instant::now() > end {
            let (ours, theirs) = looked.expect("both give the zone");
            let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
                a.difference(b).take(20).cloned().collect::<Vec<_>>()
            };
            let (ours, theirs) = (only(&ours, &theirs), only(&theirs, &ours));
            panic!("only here: {ours:#?}\nonly there: {theirs:#?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
