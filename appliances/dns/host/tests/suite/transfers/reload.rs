//! Zone files are read again while clients ask.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use super::ours::Ours;
use super::peer::{free_port, has_serial, serial, write};
use crate::common::{LONG, counter, dig, eventually, query};

/// How many questions of the client are under way.
const IN_FLIGHT: u16 = 8;

/// A version whose hosts all have addresses that say which it is.
fn version(serial: u32, hosts: u32) -> String {
    let mut text = format!(
        "$ORIGIN large.example.\n$TTL 1h\n@ SOA ns root {serial} 1h 10m 1w 60\n@ NS ns\nns A 192.0.2.53\n"
    );
    for host in 0..hosts {
        let [.., high, low] = host.to_be_bytes();
        text += &format!("host{host} A 10.{serial}.{high}.{low}\n");
    }
    text
}

#[test]
fn no_query_is_lost_while_a_zone_is_read_again_and_each_is_answered_from_one_version() {
    answered_all_along(20_000, &[]);
}

#[test]
fn answers_that_were_kept_in_memory_are_of_no_older_version() {
    // So few names that nearly all answers come from there.
    answered_all_along(50, &["--memo", "1000"]);
}

/// Asks for hosts of a zone of so many while it is read again ten times.
fn answered_all_along(hosts: u32, more: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(folder.path(), "large.zone", &version(1, hosts));
    let arguments = [&["--zone", &file][..], more].concat();
    let ours = Ours::start(folder.path(), free_port(), &arguments);
    let at = ours.address();
    let ended = Arc::new(AtomicBool::new(false));
    let [newest, seen] = [(); 2].map(|()| Arc::new(AtomicU32::new(1)));
    let client = {
        let (ended, newest, seen) = (ended.clone(), newest.clone(), seen.clone());
        thread::spawn(move || ask_on_and_on(at, hosts, &ended, &newest, &seen))
    };
    for serial in 2..=11 {
        write(folder.path(), "large.zone", &version(serial, hosts));
        // From here on answers may be of this version.
        newest.store(serial, Ordering::SeqCst);
        ours.reload();
        has_serial(at, "large.example", serial);
    }
    // The client sees the last one, too.
    eventually("the last version", || {
        (seen.load(Ordering::SeqCst) == 11).then_some(())
    });
    ended.store(true, Ordering::SeqCst);
    client.join().expect("each question was answered");
}

/// Asks until `ended`, and says in `seen` which is the last version that answered.
fn ask_on_and_on(
    at: SocketAddr,
    hosts: u32,
    ended: &AtomicBool,
    newest: &AtomicU32,
    seen: &AtomicU32,
) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(at).expect("an address");
    socket.set_read_timeout(Some(LONG)).expect("a time-out");
    // Of each question that is under way: its host, and the version that had answered before it was sent.
    let mut under_way = [None; IN_FLIGHT as usize];
    let (mut last, mut random) = (1_u32, 1_u32);
    let mut send = |id: u16, last: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let host = (random >> 8) % hosts;
        let question = query(id, &format!("host{host}.large.example"), 1);
        socket.send(&question).expect("sent");
        Some((host, last))
    };
    for id in 0..IN_FLIGHT {
        under_way[usize::from(id)] = send(id, last);
    }
    let mut waiting = IN_FLIGHT;
    let mut buffer = [0; 512];
    while waiting > 0 {
        let length = socket.recv(&mut buffer).expect("no answer is lost");
        let answer = &buffer[..length];
        let id = u16::from_be_bytes([answer[0], answer[1]]);
        let (host, before) = under_way[usize::from(id)]
            .take()
            .expect("one answer a question");
        assert_eq!((answer[3] & 0xf, answer[7]), (0, 1), "{answer:?}");
        // The address is the answer's last four octets: no authority or additional section with one address.
        let address = answer_address(answer);
        let version = u32::from(address[1]);
        let [.., high, low] = host.to_be_bytes();
        assert_eq!([address[0], address[2], address[3]], [10, high, low]);
        assert!(
            (before..=newest.load(Ordering::SeqCst)).contains(&version),
            "{version} after {before}"
        );
        last = last.max(version);
        seen.store(last, Ordering::SeqCst);
        waiting -= 1;
        if !ended.load(Ordering::SeqCst) {
            under_way[usize::from(id)] = send(id, last);
            waiting += 1;
        }
    }
}

/// The address in an answer to a question of one record: behind header and question, owner (a pointer), type, class, TTL, length.
fn answer_address(answer: &[u8]) -> [u8; 4] {
    let question_end = 12
        + answer[12..]
            .iter()
            .position(|octet| *octet == 0)
            .expect("a name")
        + 5;
    let record = &answer[question_end..];
    assert_eq!(
        (record[0] & 0xc0, &record[2..6], &record[10..12]),
        (0xc0, &[0, 1, 0, 1][..], &[0, 4][..])
    );
    [record[12], record[13], record[14], record[15]]
}

#[test]
fn bad_zone_file_is_told_with_file_and_line_and_the_zone_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = "$ORIGIN good.example.\n$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";
    let other = good.replace("good", "other");
    let files = [
        write(folder.path(), "good.zone", good),
        write(folder.path(), "other.zone", &other),
    ];
    let ours = Ours::start(
        folder.path(),
        free_port(),
        &["--zone", &files[0], "--zone", &files[1]],
    );
    let at = ours.address();

    write(
        folder.path(),
        "good.zone",
        &good
            .replace("192.0.2.1", "192.0.2.256")
            .replace("root 1", "root 2"),
    );
    write(
        folder.path(),
        "other.zone",
        &other
            .replace("192.0.2.1", "192.0.2.2")
            .replace("root 1", "root 2"),
    );
    ours.reload();
    ours.says(&format!("{}:5:6: error: ", files[0]));
    ours.says("the zones stay as they are");
    // All of them stay, the good ones as well: what belongs together changes together.
    for apex in ["good.example", "other.example"] {
        assert_eq!(serial(at, apex), Some(1));
        assert_eq!(dig(at, &["+short", &format!("ns.{apex}")]), "192.0.2.1\n");
    }

    write(
        folder.path(),
        "good.zone",
        &good
            .replace("192.0.2.1", "192.0.2.3")
            .replace("root 1", "root 2"),
    );
    ours.reload();
    for (apex, address) in [
        ("good.example", "192.0.2.3\n"),
        ("other.example", "192.0.2.2\n"),
    ] {
        has_serial(at, apex, 2);
        assert_eq!(dig(at, &["+short", &format!("ns.{apex}")]), address);
    }
    // Nothing changed: nothing is done.
    ours.reload();
    ours.says("0 of them changed");
}

#[test]
fn server_without_zone_files_is_not_ended_by_the_signal() {
    let folder = tempfile::tempdir().expect("a folder");
    // Of a zone that comes from elsewhere, and of those that were compiled in.
    let primary = format!("far.example={}", free_port());
    for arguments in [&["--secondary", &primary][..], &[]] {
        let ours = Ours::start(folder.path(), free_port(), arguments);
        for _ in 0..3 {
            ours.reload();
        }
        ours.says("no zone files to read again");
        dig(ours.address(), &["far.example", "SOA"]);
        let (counted, status) = ours.interrupt();
        assert!(
            status.success() && counter(&counted, "queries") >= 1,
            "{counted}"
        );
    }
}
