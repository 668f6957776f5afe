//! The process on its own network stack, over a tap, with Linux at the other end: ARP, ping, dig.
//!
//! Each test has a network namespace of its own: its interfaces and addresses are nobody else's, and go with it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::{
    LONG, Server, answer, client, counter, dig, eventually, framed, kdig, output, program, query,
    read_message, run, zone,
};

const US: &str = "10.0.0.2";
const MAC: &str = "02:00:00:00:00:02";
const NAME: &str = "mirage0";

#[test]
fn the_host_resolves_our_address_and_pings_us_with_every_size() {
    in_own_network(
        "the_host_resolves_our_address_and_pings_us_with_every_size",
        || {
            let server = on_tap(&[]);
            // Up to the MTU, 1 beyond it, and many fragments: 28 octets are headers.
            for size in [
                "0", "1", "56", "1471", "1472", "1473", "2953", "8000", "20000", "65507",
            ] {
                let text = run(
                    "ping",
                    "iputils-ping",
                    &["-c", "2", "-i", "0.2", "-W", "20", "-s", size, US],
                );
                assert!(
                    text.contains("2 received") && text.contains(" 0% packet loss"),
                    "{size}: {text}"
                );
            }
            let neighbours = run("ip", "iproute2", &["neigh", "show", "to", US, "dev", NAME]);
            assert!(
                neighbours.contains(&format!("lladdr {MAC}")),
                "{neighbours}"
            );
            // Once more from nothing, several times.
            for _ in 0..3 {
                run("ip", "iproute2", &["neigh", "flush", "to", US, "dev", NAME]);
                let text = run("ping", "iputils-ping", &["-c", "1", "-W", "20", US]);
                assert!(text.contains("1 received"), "{text}");
            }
            server.interrupt();
        },
    );
}

#[test]
fn dig_and_kdig_are_answered_over_the_tap() {
    in_own_network("dig_and_kdig_are_answered_over_the_tap", || {
        let server = on_tap(&[]);
        let at = SocketAddr::from(([10, 0, 0, 2], 53));
        assert_eq!(dig(at, &["+short", "www.test.example"]), "192.0.2.1\n");
        assert_eq!(
            dig(at, &["+short", "+noedns", "alias.test.example"]),
            "www.test.example.\n192.0.2.1\n"
        );
        let missing = dig(at, &["none.test.example"]);
        assert!(missing.contains("status: NXDOMAIN"), "{missing}");
        let truncated = dig(at, &["+ignore", "large.test.example", "TXT"]);
        assert!(truncated.contains("flags: qr aa tc rd;"), "{truncated}");
        let kdig = kdig(at, &["www.test.example", "AAAA"]);
        assert!(
            kdig.contains("2001:db8::1") && kdig.contains("(UDP)"),
            "{kdig}"
        );
        let (text, status) = server.interrupt();
        assert!(status.success(), "{status}");
        assert!(
            text.contains("udp-queries") && text.contains("nxdomain"),
            "{text}"
        );
    });
}

#[test]
fn dig_and_kdig_are_answered_over_tcp() {
    in_own_network("dig_and_kdig_are_answered_over_tcp", || {
        let server = on_tap(&[]);
        let at = SocketAddr::from(([10, 0, 0, 2], 53));
        assert_eq!(
            dig(at, &["+tcp", "+short", "www.test.example"]),
            "192.0.2.1\n"
        );
        // What is truncated over UDP is asked for again.
        let whole = dig(at, &["large.test.example", "TXT"]);
        assert!(
            whole.contains("(TCP)") && !whole.contains(" tc "),
            "{whole}"
        );
        // Several over one connection.
        let twice = [
            "+tcp",
            "+keepopen",
            "www.test.example",
            "AAAA",
            "alias.test.example",
        ];
        let kdig = kdig(at, &twice);
        assert!(
            kdig.contains("2001:db8::1") && kdig.contains("(TCP)"),
            "{kdig}"
        );
        let (text, status) = server.interrupt();
        assert!(status.success(), "{status}");
        assert_eq!(counter(&text, "tcp-accept-errors"), 0, "{text}");
        assert!(counter(&text, "tcp-connections") >= 3, "{text}");
    });
}

#[test]
fn tcp_clients_of_every_kind_are_served() {
    in_own_network("tcp_clients_of_every_kind_are_served", || {
        let server = on_tap(&["--tcp-connections", "8", "--tcp-idle-ms", "2000"]);
        let connect = || {
            let stream = TcpStream::connect(("10.0.0.2", 53)).expect("connected");
            stream.set_read_timeout(Some(LONG)).expect("a time-out");
            stream
        };
        let question = |id: u16| framed(&query(id, "www.test.example", 1));
        let is_answered = |message: &[u8], id: u16| {
            let answer = answer(message);
            assert_eq!((answer.id, answer.rcode, answer.answers), (id, 0, 1));
        };
        // A thousand questions at once, then the end of them; then all answers, and their end.
        let mut stream = connect();
        let all: Vec<u8> = (0..1_000).flat_map(question).collect();
        let mut writer = stream.try_clone().expect("a descriptor");
        let writing = std::thread::spawn(move || {
            writer.write_all(&all).expect("written");
            writer.shutdown(Shutdown::Write).expect("shut down");
        });
        for id in 0..1_000 {
            is_answered(&read_message(&mut stream), id);
        }
        assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
        writing.join().expect("the writer");
        // Octet by octet.
        let mut stream = connect();
        stream.set_nodelay(true).expect("an option");
        for octet in question(7) {
            stream.write_all(&[octet]).expect("written");
            std::thread::sleep(Duration::from_millis(1));
        }
        is_answered(&read_message(&mut stream), 7);
        // Then nothing: the server ends it after the idle time.
        assert_eq!(stream.read(&mut [0]).map_or(0, |count| count), 0);
        // Connections one after the other, and more of them at once than are served at once.
        for id in 0..300 {
            let mut stream = connect();
            stream.write_all(&question(id)).expect("written");
            is_answered(&read_message(&mut stream), id);
        }
        let ask = |id| {
            let mut stream = connect();
            stream.write_all(&question(id)).expect("written");
            stream
        };
        let many: Vec<TcpStream> = (0..24).map(ask).collect();
        for (id, mut stream) in (0..).zip(many) {
            is_answered(&read_message(&mut stream), id);
        }
        // What is no message ends its connection alone.
        let mut stream = connect();
        stream.write_all(&[0, 0]).expect("written");
        assert_eq!(stream.read(&mut [0]).map_or(0, |count| count), 0);
        let (text, status) = server.interrupt();
        assert!(status.success(), "{status}");
        assert!(counter(&text, "tcp-connections") >= 327, "{text}");
        assert_eq!(counter(&text, "tcp-accept-errors"), 0, "{text}");
    });
}

/// A zone of so many hosts, and its records.
fn large_zone(folder: &Path, hosts: u32) -> (String, usize) {
    let mut text = String::from(
        "$ORIGIN moving.example.\n$TTL 1h\n@ SOA ns root 1 1h 10m 1w 60\n@ NS ns\nns A 192.0.2.53\n",
    );
    for host in 0..hosts {
        let [.., high, low] = host.to_be_bytes();
        text += &format!("host{host} A 10.9.{high}.{low}\n");
    }
    let file = folder.join("moving.zone");
    fs::write(&file, text).expect("a file");
    let path = file.to_str().expect("UTF-8").to_owned();
    (path, hosts as usize + 3)
}

/// The records of a zone, by AXFR.
fn transferred(server: SocketAddr, apex: &str) -> Vec<String> {
    let text = dig(
        server,
        &["+noall", "+answer", "+nosplit", "+onesoa", apex, "AXFR"],
    );
    let records = text
        .lines()
        .filter(|line| !line.starts_with(';') && !line.trim().is_empty());
    records.map(str::to_owned).collect()
}

#[test]
fn a_zone_of_20_000_hosts_is_transferred_to_dig() {
    in_own_network("a_zone_of_20_000_hosts_is_transferred_to_dig", || {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, count) = large_zone(folder.path(), 20_000);
        let server = on_tap(&["--zone", &file, "--transfer", "10.0.0.0/24"]);
        let at = SocketAddr::from(([10, 0, 0, 2], 53));
        for _ in 0..2 {
            let records = transferred(at, "moving.example");
            assert_eq!(records.len(), count);
            assert!(records.iter().any(|record| record.ends_with("10.9.78.31")));
        }
        // UDP goes on, from the address that was asked.
        assert_eq!(dig(at, &["+short", "www.test.example"]), "192.0.2.1\n");
        let (_, status) = server.interrupt();
        assert!(status.success(), "{status}");
    });
}

#[test]
fn a_zone_is_fetched_over_our_own_stack_and_follows_its_primary() {
    in_own_network(
        "a_zone_is_fetched_over_our_own_stack_and_follows_its_primary",
        || {
            let folder = tempfile::tempdir().expect("a folder");
            let (file, count) = large_zone(folder.path(), 3_000);
            let ours = on_tap(&[
                "--secondary",
                "moving.example=10.0.0.1:5301",
                "--transfer",
                "10.0.0.0/24",
            ]);
            let at = SocketAddr::from(([10, 0, 0, 2], 53));
            let arguments = [
                "--listen",
                "10.0.0.1:5301",
                "--zone",
                &file,
                "--transfer",
                "10.0.0.0/24",
                "--notify",
                "10.0.0.2",
            ];
            let primary = Server::start(&arguments);
            let serial = || dig(at, &["+short", "moving.example", "SOA"]);
            eventually("the zone", || serial().contains(" 1 3600 ").then_some(()));
            assert_eq!(transferred(at, "moving.example").len(), count);
            // The next version: told by NOTIFY, fetched by IXFR.
            let text = fs::read_to_string(&file).expect("the zone");
            let text = text.replace("root 1 1h", "root 2 1h") + "new A 192.0.2.99\n";
            fs::write(&file, text).expect("a file");
            primary.signal(rustix::process::Signal::HUP);
            eventually("the next version", || {
                serial().contains(" 2 3600 ").then_some(())
            });
            assert_eq!(dig(at, &["+short", "new.moving.example"]), "192.0.2.99\n");
            assert_eq!(transferred(at, "moving.example").len(), count + 1);
            for server in [primary, ours] {
                let (text, status) = server.interrupt();
                assert!(status.success(), "{status}: {text}");
            }
        },
    );
}

#[test]
fn updates_are_taken_over_udp_and_tcp() {
    in_own_network("updates_are_taken_over_udp_and_tcp", || {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = "bm90IG11Y2ggb2YgYSBzZWNyZXQsIGJ1dCBsb25nIGVub3VnaA==";
        let keys = folder.path().join("keys");
        let key =
            format!("key \"tap.example\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n");
        fs::write(&keys, key).expect("a file");
        let (keys, state) = (keys.to_str().expect("UTF-8"), folder.path().join("state"));
        let server = on_tap(&[
            "--keys",
            keys,
            "--update",
            "test.example=10.0.0.1@tap.example",
            "--state",
            state.to_str().expect("UTF-8"),
        ]);
        let at = SocketAddr::from(([10, 0, 0, 2], 53));
        for (name, more) in [("by-udp", None), ("by-tcp", Some("-v"))] {
            let script = folder.path().join(name);
            let text = format!(
                "server 10.0.0.2\nzone test.example\nupdate add {name}.test.example. 60 A 192.0.2.77\nsend\n"
            );
            fs::write(&script, text).expect("a file");
            let mut command = Command::new(client("nsupdate", "bind9-dnsutils"));
            let signed = format!("hmac-sha256:tap.example:{secret}");
            command.args(["-t", "60", "-u", "20", "-y", &signed]);
            let done = command.args(more).arg(&script).output().expect("nsupdate");
            assert!(
                done.status.success(),
                "{name}: {}",
                String::from_utf8_lossy(&done.stderr)
            );
            let asked = format!("{name}.test.example");
            assert_eq!(dig(at, &["+short", &asked]), "192.0.2.77\n");
            assert_eq!(dig(at, &["+short", "+tcp", &asked]), "192.0.2.77\n");
        }
        let (_, status) = server.interrupt();
        assert!(status.success(), "{status}");
    });
}

#[test]
fn what_it_does_is_said_and_the_tap_goes_with_it() {
    in_own_network("what_it_does_is_said_and_the_tap_goes_with_it", || {
        let server = on_tap(&[]);
        let said = server.said.join("\n");
        assert!(
            said.contains("serving on 10.0.0.2:53, UDP and TCP"),
            "{said}"
        );
        assert!(said.contains(NAME) && said.contains("10.0.0.1"), "{said}");
        assert!(
            said.ends_with("try: dig @10.0.0.2 www.test.example"),
            "{said}"
        );
        let link = run(
            "ip",
            "iproute2",
            &["-brief", "address", "show", "dev", NAME],
        );
        assert!(link.contains("10.0.0.1/24"), "{link}");
        let (_, status) = server.interrupt();
        assert!(status.success(), "{status}");
        let gone = output("ip", "iproute2", &["link", "show", "dev", NAME]);
        assert!(!gone.status.success(), "the tap is still there");
    });
}

#[test]
fn an_interface_that_goes_down_and_up_under_it_is_served_again() {
    in_own_network(
        "an_interface_that_goes_down_and_up_under_it_is_served_again",
        || {
            let server = on_tap(&[]);
            let at = SocketAddr::from(([10, 0, 0, 2], 53));
            assert_eq!(dig(at, &["+short", "www.test.example"]), "192.0.2.1\n");
            for _ in 0..3 {
                run("ip", "iproute2", &["link", "set", NAME, "down"]);
                run("ip", "iproute2", &["link", "set", NAME, "up"]);
                assert_eq!(dig(at, &["+short", "www.test.example"]), "192.0.2.1\n");
            }
            let (_, status) = server.interrupt();
            assert!(status.success(), "{status}");
        },
    );
}

#[test]
fn an_interface_that_is_deleted_under_it_ends_it_with_an_error() {
    in_own_network(
        "an_interface_that_is_deleted_under_it_ends_it_with_an_error",
        || {
            let server = on_tap(&[]);
            run("ip", "iproute2", &["link", "del", NAME]);
            let (text, status) = server.ended();
            assert_eq!(status.code(), Some(1), "{text}");
        },
    );
}

#[test]
fn a_capture_holds_what_passed() {
    in_own_network("a_capture_holds_what_passed", || {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("frames.pcap");
        let server = on_tap(&["--capture", file.to_str().expect("UTF-8")]);
        dig(SocketAddr::from(([10, 0, 0, 2], 53)), &["www.test.example"]);
        server.interrupt();
        let bytes = std::fs::read(&file).expect("the capture");
        assert_eq!(
            bytes[..4],
            0xa1b2_3c4d_u32.to_le_bytes(),
            "pcap with nanoseconds"
        );
        let question = b"\x03www\x04test\x07example\0";
        let count = bytes
            .windows(question.len())
            .filter(|window| window == question)
            .count();
        assert_eq!(count, 2, "the question in the query and in the answer");
    });
}

#[test]
fn a_tap_in_use_is_told_with_what_to_do() {
    in_own_network("a_tap_in_use_is_told_with_what_to_do", || {
        let _server = on_tap(&[]);
        let net = format!("tap={NAME}");
        let second = program(&["--net", &net, "--ip", "10.0.0.3/24"])
            .output()
            .expect("the program");
        let error = String::from_utf8_lossy(&second.stderr);
        assert_eq!(second.status.code(), Some(1), "{error}");
        assert!(error.contains("in use by another process"), "{error}");
    });
}

#[test]
fn an_address_that_another_station_has_is_not_taken() {
    in_own_network("an_address_that_another_station_has_is_not_taken", || {
        // The host itself has the address that we are told to take, on the same tap: it objects to our ARP probe.
        run(
            "ip",
            "iproute2",
            &["tuntap", "add", "dev", NAME, "mode", "tap"],
        );
        let other = format!("{US}/24");
        run("ip", "iproute2", &["address", "add", &other, "dev", NAME]);
        let net = format!("tap={NAME}");
        let refused = program(&["--net", &net, "--ip", &other, "--mac", MAC])
            .output()
            .expect("the program");
        let error = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{error}");
        assert!(
            error.contains("10.0.0.2 is in use by another station, "),
            "{error}"
        );
        // It was prepared by somebody, so it stays.
        run("ip", "iproute2", &["link", "show", "dev", NAME]);
    });
}

#[test]
fn a_station_that_takes_our_address_later_is_told_that_it_is_ours() {
    in_own_network(
        "a_station_that_takes_our_address_later_is_told_that_it_is_ours",
        || {
            let folder = tempfile::tempdir().expect("a folder");
            let log = folder.path().join("log");
            let mut command = command_on_tap(&[]);
            command.stderr(std::fs::File::create(&log).expect("a file"));
            let server = Server::launch(command);
            let at = SocketAddr::from(([10, 0, 0, 2], 53));
            // Another station announces our address as its own.
            let socket = raw_socket(NAME);
            let theirs = [2, 0, 0, 0, 0, 9];
            let mut claim = [
                &[255; 6][..],
                &theirs,
                &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
                &theirs,
            ]
            .concat();
            claim.extend([10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
            socket.send(&claim);
            eventually("the address is defended", || {
                let log = std::fs::read_to_string(&log).expect("the log");
                log.contains("02:00:00:00:00:09 uses our address 10.0.0.2")
                    .then_some(())
            });
            // Our answer to the claim (RFC 5227 §2.4): an announcement, among whatever else passes.
            let ours = [2, 0, 0, 0, 0, 2];
            eventually("our announcement", || {
                let frame = socket.receive()?;
                let is_ours = frame.len() >= 42 && frame[6..12] == ours && frame[12..14] == [8, 6];
                (is_ours && frame[28..32] == [10, 0, 0, 2] && frame[38..42] == [10, 0, 0, 2])
                    .then_some(())
            });
            assert_eq!(dig(at, &["+short", "www.test.example"]), "192.0.2.1\n");
            server.interrupt();
        },
    );
}

fn on_tap(more: &[&str]) -> Server {
    Server::launch(command_on_tap(more))
}

fn command_on_tap(more: &[&str]) -> Command {
    let (net, ip, zone) = (
        format!("tap={NAME}"),
        format!("{US}/24"),
        zone("test.example.zone"),
    );
    let mut arguments = vec!["--net", &net, "--ip", &ip, "--mac", MAC, "--zone", &zone];
    arguments.extend(more);
    program(&arguments)
}

/// Runs `test` in a network of its own, where there are taps.
fn in_own_network(name: &str, test: impl FnOnce() + Send + 'static) {
    network_namespace::run_test(name, network_namespace::what_a_tap_lacks, test);
}

/// A socket for whole frames on an interface.
struct RawSocket(std::os::fd::OwnedFd);

fn raw_socket(interface: &str) -> RawSocket {
    use std::os::fd::FromRawFd;
    let name = std::ffi::CString::new(interface).expect("a name");
    // SAFETY: if_nametoindex(3) reads a C string, which lives across the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert_ne!(index, 0);
    let all = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: socket(2) takes three integers.
    let socket = unsafe {
        libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_NONBLOCK,
            i32::from(all),
        )
    };
    assert!(socket >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor was made just now, and nobody else has it.
    let socket = unsafe { std::os::fd::OwnedFd::from_raw_fd(socket) };
    // SAFETY: a sockaddr_ll is integers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = all;
    address.sll_ifindex = index as i32;
    // SAFETY: bind(2) reads an address of the length given, which lives across the call.
    let bound = unsafe {
        libc::bind(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
    RawSocket(socket)
}

impl RawSocket {
    fn send(&self, frame: &[u8]) {
        let mut file = std::fs::File::from(self.0.try_clone().expect("a descriptor"));
        std::io::Write::write_all(&mut file, frame).expect("sent");
    }

    /// A frame, if one is there.
    fn receive(&self) -> Option<Vec<u8>> {
        let mut file = std::fs::File::from(self.0.try_clone().expect("a descriptor"));
        let mut frame = vec![0; 2048];
        let length = std::io::Read::read(&mut file, &mut frame).ok()?;
        frame.truncate(length);
        Some(frame)
    }
}
