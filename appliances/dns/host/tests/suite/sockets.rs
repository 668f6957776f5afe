//! The process over the system's sockets: clients of others, and clients that behave badly.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::process::Stdio;

use crate::common::*;

#[test]
fn dig_is_answered_over_udp_and_tcp() {
    let server = Server::on_loopback(&[]);
    let at = server.address();
    for transport in [
        &["+notcp"][..],
        &["+tcp"],
        &["+noedns"],
        &["+tcp", "+noedns"],
        &["+bufsize=4096"],
    ] {
        let ask = |more: &[&str]| dig(at, &[transport, more].concat());
        let www = ask(&["www.test.example", "A"]);
        assert!(
            www.contains("status: NOERROR") && www.contains("flags: qr aa rd;"),
            "{www}"
        );
        assert!(www.contains("192.0.2.1"), "{www}");
        let alias = ask(&["+short", "alias.test.example", "AAAA"]);
        assert_eq!(alias, "www.test.example.\n2001:db8::1\n");
        let wild = ask(&["+short", "a.b.wild.test.example", "TXT"]);
        assert_eq!(wild, "\"wild\"\n");
        let missing = ask(&["no.test.example", "A"]);
        assert!(
            missing.contains("status: NXDOMAIN") && missing.contains("SOA"),
            "{missing}"
        );
        let elsewhere = ask(&["example.com", "A"]);
        assert!(elsewhere.contains("status: REFUSED"), "{elsewhere}");
    }
}

#[test]
fn nsid_cookies_and_keepalive_are_what_dig_and_kdig_take_them_for() {
    let server = Server::on_loopback(&["--nsid", "ns1.here"]);
    let at = server.address();
    let www = "www.test.example";
    let shown = dig(at, &["+nsid", "+tcp", "+keepalive", "+cookie", www, "A"]);
    for part in ["NSID: ", "ns1.here", "TCP KEEPALIVE: 10.0 secs", "(good)"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let cookie = shown
        .split_once("COOKIE: ")
        .and_then(|(_, rest)| rest.split_whitespace().next());
    let cookie = cookie.expect("a cookie");
    // Half of one client's with a server's for it is taken again, and stays as it is.
    let again = dig(at, &[&format!("+cookie={cookie}"), www, "A"]);
    assert!(
        again.contains(cookie) && again.contains("(good)"),
        "{again}"
    );
    let shown = kdig(at, &["+nsid", "+cookie", "+padding=64", www, "A"]);
    assert!(
        shown.contains("192.0.2.1") && shown.contains("ns1.here"),
        "{shown}"
    );
    let (counted, _) = server.interrupt();
    assert!(counted.contains("cookies-right"), "{counted}");

    let server = Server::on_loopback(&["--no-cookies"]);
    let shown = dig(server.address(), &["+nsid", "+cookie", www, "A"]);
    assert!(
        !shown.contains("(good)") && !shown.contains("NSID: "),
        "{shown}"
    );
}

#[test]
fn what_is_kept_in_a_memo_is_answered_alike() {
    let servers = [&[][..], &["--memo", "64"]].map(Server::on_loopback);
    let questions: [&[&str]; 5] = [
        &["www.test.example", "A"],
        &["WWW.test.example", "A", "+norecurse"],
        &["alias.test.example", "AAAA", "+noedns"],
        &["no.test.example", "A", "+tcp"],
        &["large.test.example", "TXT", "+ignore"],
    ];
    for question in questions {
        let [plain, memo] = [0, 1].map(|index| {
            let at = servers[index].address();
            let ask = || {
                let shown = dig(
                    at,
                    &[&["+nocookie", "+nostats", "+qid=7"], question].concat(),
                );
                // The first lines say whom dig asked and what it was told to.
                shown
                    .lines()
                    .filter(|line| !line.starts_with("; <<>>"))
                    .collect::<String>()
            };
            let first = ask();
            assert_eq!(first, ask(), "{question:?}");
            first
        });
        assert_eq!(plain, memo, "{question:?}");
    }
    let [plain, memo] = servers.map(|server| server.interrupt().0);
    assert!(!plain.contains("memo-hits"), "{plain}");
    let hits = memo.lines().find_map(|line| line.strip_prefix("memo-hits"));
    let hits: u64 = hits.expect("a line").trim().parse().expect("a number");
    assert!(hits > 0, "{memo}");
}

#[test]
fn rate_limit_spares_those_whom_it_knows_by_a_cookie() {
    let limits = ["--rate-limit", "5", "--rate-limit-slip", "1"];
    let server = Server::on_loopback(&limits);
    let at = server.address();
    let ask = |more: &[&str]| dig(at, &[&["+ignore", "www.test.example", "A"], more].concat());
    // Others may need more than a second for twenty questions: the limit is passed at the latest when they are fast.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for id in 0..200 {
        let query = query(id, "www.test.example", 1);
        socket.send_to(&query, at).expect("the server is there");
    }
    eventually("truncated", || {
        ask(&["+nocookie"]).contains("tc rd").then_some(())
    });
    // Without +ignore dig asks again over TCP, or with the cookie that BADCOOKIE gave it.
    let over_tcp = dig(at, &["+nocookie", "www.test.example", "A"]);
    assert!(over_tcp.contains("192.0.2.1"), "{over_tcp}");
    let with_cookie = dig(at, &["+badcookie", "www.test.example", "A"]);
    assert!(with_cookie.contains("192.0.2.1"), "{with_cookie}");
    let (counted, _) = server.interrupt();
    assert!(counted.contains("limited"), "{counted}");

    let server =
        Server::on_loopback(&[&limits[..], &["--rate-limit-exempt", "127.0.0.0/8"]].concat());
    for _ in 0..12 {
        let shown = dig(
            server.address(),
            &["+ignore", "+nocookie", "www.test.example", "A"],
        );
        assert!(shown.contains("192.0.2.1"), "{shown}");
    }
}

#[test]
fn an_answer_too_large_for_udp_is_truncated_and_whole_over_tcp() {
    let server = Server::on_loopback(&[]);
    let at = server.address();
    for size in ["+noedns", "+bufsize=512", "+bufsize=1232"] {
        let truncated = dig(at, &[size, "+ignore", "large.test.example", "TXT"]);
        assert!(truncated.contains("flags: qr aa tc rd;"), "{truncated}");
        // Without +ignore dig asks again over TCP.
        let whole = dig(at, &[size, "large.test.example", "TXT"]);
        assert!(whole.contains("Truncated, retrying in TCP mode"), "{whole}");
        assert!(
            whole.contains("ANSWER: 1,") && whole.contains("\"11xxx"),
            "{whole}"
        );
    }
    let (counted, _) = server.interrupt();
    assert!(counted.contains("truncated"), "{counted}");
}

#[test]
fn kdig_is_answered_over_udp_and_over_one_tcp_connection() {
    let server = Server::on_loopback(&[]);
    let at = server.address();
    let udp = kdig(at, &["www.test.example", "A", "+bufsize=1400"]);
    assert!(
        udp.contains("status: NOERROR") && udp.contains("192.0.2.1") && udp.contains("(UDP)"),
        "{udp}"
    );
    let names = ["www.test.example", "ns.test.example", "x.wild.test.example"];
    let tcp = kdig(at, &[&["+tcp", "+keepopen"], &names[..]].concat());
    assert_eq!(tcp.matches("status: NOERROR").count(), 3, "{tcp}");
    let (counted, _) = server.interrupt();
    assert_eq!(counter(&counted, "tcp-connections"), 1, "{counted}");
    assert_eq!(counter(&counted, "tcp-queries"), 3, "{counted}");
}

#[test]
fn the_question_comes_back_in_the_case_that_it_was_asked_in() {
    let server = Server::on_loopback(&[]);
    let text = dig(server.address(), &["wWw.TeSt.eXaMpLe", "A"]);
    assert!(text.contains(";wWw.TeSt.eXaMpLe."), "{text}");
    assert!(text.contains("192.0.2.1"), "{text}");
}

#[test]
fn one_octet_a_segment_is_a_message_in_the_end() {
    let server = Server::on_loopback(&[]);
    let mut stream = connect(&server);
    stream.set_nodelay(true).expect("TCP_NODELAY");
    for octet in framed(&query(7, "www.test.example", 1)) {
        stream.write_all(&[octet]).expect("written");
    }
    assert_eq!(
        answer(&read_message(&mut stream)),
        Answer {
            id: 7,
            rcode: 0,
            answers: 1
        }
    );
}

#[test]
fn messages_that_come_together_are_each_answered() {
    let server = Server::on_loopback(&[]);
    let mut stream = connect(&server);
    // Two whole ones, and the beginning of a third.
    let mut octets = framed(&query(1, "www.test.example", 1));
    octets.extend(framed(&query(2, "none.test.example", 1)));
    let third = framed(&query(3, "ns.test.example", 1));
    octets.extend(&third[..9]);
    stream.write_all(&octets).expect("written");
    assert_eq!(
        answer(&read_message(&mut stream)),
        Answer {
            id: 1,
            rcode: 0,
            answers: 1
        }
    );
    assert_eq!(
        answer(&read_message(&mut stream)),
        Answer {
            id: 2,
            rcode: 3,
            answers: 0
        }
    );
    stream.write_all(&third[9..]).expect("written");
    assert_eq!(
        answer(&read_message(&mut stream)),
        Answer {
            id: 3,
            rcode: 0,
            answers: 1
        }
    );
}

#[test]
fn a_client_that_says_it_has_no_more_still_gets_its_answers() {
    let server = Server::on_loopback(&[]);
    let mut stream = connect(&server);
    let count = 200;
    for id in 0..count {
        stream
            .write_all(&framed(&query(id, "large.test.example", 16)))
            .expect("written");
    }
    stream.shutdown(Shutdown::Write).expect("half a close");
    for id in 0..count {
        assert_eq!(
            answer(&read_message(&mut stream)),
            Answer {
                id,
                rcode: 0,
                answers: 1
            }
        );
    }
    assert_eq!(stream.read(&mut [0]).expect("the end of the stream"), 0);
}

#[test]
fn clients_that_stall_are_ended_and_keep_nobody_out() {
    // One connection at a time: each of these has to be ended for the next one to be served.
    let limits = [
        "--tcp-connections",
        "1",
        "--tcp-idle-ms",
        "100",
        "--tcp-message-ms",
        "100",
    ];
    let server = Server::on_loopback(&limits);
    let message = framed(&query(9, "large.test.example", 16));
    let mut idle = connect(&server);
    let mut beginning = connect(&server);
    beginning.write_all(&message[..1]).expect("written");
    let mut middle = connect(&server);
    middle.write_all(&message[..20]).expect("written");
    // It asks and asks and takes no answer: at last neither side's buffers hold more.
    let deaf = connect(&server);
    deaf.set_nonblocking(true).expect("non-blocking");
    let mut last = connect(&server);
    last.write_all(&message).expect("written");
    let mut done = false;
    let deaf_end = eventually("the deaf client is ended", || {
        for _ in 0..1000 {
            match (&deaf).write(&message) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Some(error),
            }
        }
        // UDP is answered all the while.
        if !done {
            assert!(dig(server.address(), &["+short", "www.test.example"]).contains("192.0.2.1"));
            done = true;
        }
        None
    });
    assert!(
        matches!(
            deaf_end.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{deaf_end}"
    );
    assert_eq!(
        answer(&read_message(&mut last)),
        Answer {
            id: 9,
            rcode: 0,
            answers: 1
        }
    );
    for stalled in [&mut idle, &mut beginning, &mut middle] {
        assert!(is_ended(stalled));
    }
    drop(last);
    let (counted, status) = server.interrupt();
    assert!(status.success());
    assert_eq!(counter(&counted, "tcp-closed-stalled"), 3, "{counted}");
    assert!(counter(&counted, "tcp-closed-idle") >= 1, "{counted}");
}

#[test]
fn a_client_that_goes_on_for_ever_is_ended_too() {
    let server = Server::on_loopback(&["--tcp-connection-ms", "200"]);
    let mut stream = connect(&server);
    let message = framed(&query(5, "www.test.example", 1));
    eventually("the connection is ended", || {
        if stream.write_all(&message).is_err() {
            return Some(());
        }
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            return Some(());
        }
        let mut rest = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut rest).err().map(drop)
    });
    let (counted, _) = server.interrupt();
    assert_eq!(counter(&counted, "tcp-closed-stalled"), 1, "{counted}");
}

#[test]
fn rubbish_gets_formerr_or_nothing_and_the_server_goes_on() {
    let server = Server::on_loopback(&[]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(LONG)).expect("a time-out");
    socket.connect(server.address()).expect("connected");
    let mut is_answer = query(1, "www.test.example", 1);
    is_answer[2] |= 0x80;
    for rubbish in [&[][..], &[0; 5], &[255; 11], &is_answer] {
        socket.send(rubbish).expect("sent");
    }
    // A question that the message promises and does not have.
    socket
        .send(&[0, 77, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0])
        .expect("sent");
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).expect("an answer");
    assert_eq!(
        answer(&buffer[..length]),
        Answer {
            id: 77,
            rcode: 1,
            answers: 0
        }
    );
    socket
        .send(&query(78, "www.test.example", 1))
        .expect("sent");
    let length = socket.recv(&mut buffer).expect("an answer");
    assert_eq!(
        answer(&buffer[..length]),
        Answer {
            id: 78,
            rcode: 0,
            answers: 1
        }
    );
    let (counted, _) = server.interrupt();
    assert_eq!(counter(&counted, "ignored-too-short"), 3, "{counted}");
    assert_eq!(counter(&counted, "ignored-response"), 1, "{counted}");
    assert_eq!(counter(&counted, "formerr"), 1, "{counted}");
}

#[test]
fn a_server_at_every_address_answers_from_the_one_that_was_asked() {
    let zone = zone("test.example.zone");
    let server = Server::start(&["--listen", "0.0.0.0:0", "--zone", &zone]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(LONG)).expect("a time-out");
    for last in [1, 2, 53] {
        let asked = ([127, 0, 0, last], server.address().port());
        socket
            .send_to(
                &query(1, "www.test.example", 1),
                std::net::SocketAddr::from(asked),
            )
            .expect("sent");
        let (_, from) = socket.recv_from(&mut [0; 512]).expect("an answer");
        assert_eq!(from, asked.into());
    }
}

#[test]
fn what_it_serves_and_how_to_ask_is_said_at_the_start() {
    let server = Server::on_loopback(&[]);
    let port = server.address().port();
    let zone = zone("test.example.zone");
    assert_eq!(
        server.said,
        [
            format!("zone test.example.: 8 records, serial 7 ({zone})"),
            format!("serving on 127.0.0.1:{port}, UDP and TCP"),
            format!("try: dig @127.0.0.1 -p {port} www.test.example"),
        ]
    );
}

#[test]
fn without_a_zone_the_one_that_was_compiled_in_is_served() {
    let server = Server::start(&["--listen", "127.0.0.1:0"]);
    assert!(
        server.said[0].starts_with("zone ") && server.said[0].ends_with("(compiled in)"),
        "{:?}",
        server.said
    );
    let name = server
        .said
        .last()
        .and_then(|line| line.rsplit(' ').next())
        .expect("a name to try");
    let text = dig(server.address(), &[name, "SOA"]);
    assert!(
        text.contains("status: NOERROR") && text.contains("flags: qr aa rd;"),
        "{text}"
    );
}

#[test]
fn several_zones_are_served_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = folder.path().join("other.zone");
    let text =
        "$ORIGIN other.example.\n$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.9\n";
    std::fs::write(&other, text).expect("written");
    let server = Server::on_loopback(&["--zone", other.to_str().expect("UTF-8")]);
    assert_eq!(
        dig(server.address(), &["+short", "ns.other.example"]),
        "192.0.2.9\n"
    );
    assert_eq!(
        dig(server.address(), &["+short", "www.test.example"]),
        "192.0.2.1\n"
    );
}

#[test]
fn ctrl_c_and_sigterm_end_it_with_its_counters_and_success() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let server = Server::on_loopback(&[]);
        dig(server.address(), &["www.test.example"]);
        dig(server.address(), &["+tcp", "none.test.example"]);
        let (text, status) = server.end_by(signal);
        assert!(status.success(), "{status}");
        assert!(text.starts_with("ended; counted:\n"), "{text}");
        for (name, value) in [
            ("queries", 2),
            ("udp-queries", 1),
            ("tcp-queries", 1),
            ("noerror", 1),
            ("nxdomain", 1),
        ] {
            assert_eq!(counter(&text, name), value, "{name} in {text}");
        }
    }
}

#[test]
fn ipv6_is_served_over_the_system_s_sockets() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED: ipv6_is_served_over_the_system_s_sockets: no IPv6 on this system");
        return;
    }
    let zone = zone("test.example.zone");
    for listen in ["[::1]:0", "[::]:0"] {
        let server = Server::start(&["--listen", listen, "--zone", &zone]);
        let hint = server.said.last().expect("what to try");
        assert!(hint.starts_with("try: dig @::1 -p "), "{hint}");
        let at = ([0, 0, 0, 0, 0, 0, 0, 1], server.address().port()).into();
        assert_eq!(dig(at, &["+short", "www.test.example"]), "192.0.2.1\n");
        assert_eq!(
            dig(at, &["+short", "+tcp", "www.test.example"]),
            "192.0.2.1\n"
        );
    }
}

#[test]
fn a_zone_file_without_origin_is_served_under_the_name_that_is_given_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("my.zone");
    let text = "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";
    std::fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("UTF-8");

    let (status, error) = fails(&["--zone", file]);
    assert_eq!(status, Some(2));
    assert!(
        error.contains("my.zone:2:1: error: ") && error.contains(&format!("(example.net={file})")),
        "{error}"
    );

    let zones = [
        format!("example.net={file}"),
        format!("2.0.192.in-addr.arpa={file}"),
    ];
    let server = Server::on_loopback(&["--zone", &zones[0], "--zone", &zones[1]]);
    for name in ["ns.example.net", "ns.2.0.192.in-addr.arpa"] {
        assert_eq!(dig(server.address(), &["+short", name]).trim(), "192.0.2.1");
    }
}

#[test]
fn a_bad_zone_is_told_with_file_line_and_column() {
    let zone = zone("bad.zone");
    let (status, error) = fails(&["--zone", &zone]);
    assert_eq!(status, Some(2), "{error}");
    assert!(error.contains(&format!("{zone}:5:6: error: ")), "{error}");
    assert!(error.contains("192.0.2.256"), "{error}");
}

#[test]
fn a_missing_zone_is_told_with_its_name() {
    let (status, error) = fails(&["--zone", "/nonexistent/no.zone"]);
    assert_eq!(status, Some(2), "{error}");
    assert!(error.contains("/nonexistent/no.zone"), "{error}");
}

#[test]
fn a_port_in_use_is_told_with_what_to_do() {
    let server = Server::on_loopback(&[]);
    let address = server.address().to_string();
    let (status, error) = fails(&["--listen", &address]);
    assert_eq!(status, Some(1), "{error}");
    assert!(
        error.contains("is in use by another process") && error.contains("--listen 127.0.0.1:"),
        "{error}"
    );
}

#[test]
fn an_address_of_another_machine_is_told_with_what_to_do() {
    let (status, error) = fails(&["--listen", "192.0.2.1:5300"]);
    assert_eq!(status, Some(1), "{error}");
    assert!(
        error.contains("does not have the address 192.0.2.1"),
        "{error}"
    );
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for arguments in [
        &["--net", "tap=x"][..],
        &["--net", "eth0", "--ip", "10.0.0.2/24"],
        &["--net", "tap=x", "--ip", "10.0.0.0/24"],
        &["--ip", "10.0.0.2/24"],
        &["--listen", "localhost"],
        &["--tcp-connections", "0"],
        // What is fetched is updated at its primary; and without a place to keep them updates would be lost.
        &[
            "--secondary",
            "o=192.0.2.1",
            "--update",
            "o=192.0.2.1@k",
            "--state",
            "/nonexistent/x",
        ],
        &["--update", "192.0.2.1@k"],
        &["--update", "192.0.2.1", "--state", "/nonexistent/x"],
        &["--transfer", "192.0.2.1@no-such-key"],
        &["--notify", "no.such.zone=192.0.2.1"],
        // Each would have no effect.
        &["--memo", "100", "--rate-limit", "5"],
        &[
            "--net",
            "tap=x",
            "--ip",
            "10.0.0.2/24",
            "--xdp-gather-us",
            "50",
        ],
        &[
            "--net",
            "tap=x",
            "--ip",
            "10.0.0.2/24",
            "--xdp-mode",
            "native",
        ],
    ] {
        let (status, error) = fails(arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {error}");
    }
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("connected");
    stream.set_read_timeout(Some(LONG)).expect("a time-out");
    stream
}

/// Waits for the end of a stream, clean or not.
fn is_ended(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// Runs the program, which has to end by itself: its status and what it said on the standard error.
fn fails(arguments: &[&str]) -> (Option<i32>, String) {
    let output = program(arguments)
        .stdout(Stdio::null())
        .output()
        .expect("the program");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
#[should_panic(expected = "it ended before it served")]
fn a_server_that_never_comes_up_is_not_waited_for_for_ever() {
    let mut command = std::process::Command::new("sleep");
    command.arg("600");
    Server::launch_within(command, std::time::Duration::from_millis(50));
}
