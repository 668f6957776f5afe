//! Answers that do not fit.

use super::*;

/// `count` addresses of `name`, as a master file's lines.
fn addresses(name: &str, count: usize) -> String {
    (0..count)
        .map(|i| format!("{name} A 10.0.{}.{}\n", i / 256, i % 256))
        .collect()
}

fn zone(lines: &str) -> Vec<u8> {
    let head =
        "$TTL 60\nexample. SOA ns.example. root.example. 1 2 3 4 5\nexample. NS ns.example.org.\n";
    compile(&[&format!("{head}{lines}")])
}

#[test]
fn answers_of_512_octets_fit_and_longer_are_truncated_to_the_question() {
    // Header 12, question 14, records of 16: thirty fill 506 octets.
    let image = zone(&(addresses("a.example.", 30) + &addresses("b.example.", 31)));
    let full = ask(&image, "a.example. A");
    assert_eq!(
        (full.status.as_str(), full.octets.len()),
        ("NOERROR aa", 12 + 15 + 30 * 16)
    );
    let cut = ask(&image, "b.example. A");
    cut.is("NOERROR aa tc", &[], &[], &[]);
    assert_eq!(cut.octets.len(), 12 + 15);
    assert_eq!(cut.reader().questions().count(), 1);
}

#[test]
fn records_with_names_that_do_not_fit_leave_nothing_behind() {
    // They are written name by name, so some of them stand there before one does not fit.
    let exchangers: String = (0..40)
        .map(|i| format!("b.example. MX 1 exchanger-number-{i}.example.org.\n"))
        .collect();
    let image = zone(&exchangers);
    let cut = ask(&image, "b.example. MX");
    cut.is("NOERROR aa tc", &[], &[], &[]);
    assert_eq!(cut.octets.len(), 12 + 15);
    let cut = Ask::new("b.example. MX").edns(512).of(&image);
    cut.is("NOERROR aa tc", &[], &[], &[]);
    assert_eq!(cut.octets.len(), 12 + 15 + 11);
}

#[test]
fn payload_size_is_what_the_client_takes_but_at_least_512_and_at_most_ours() {
    let image = zone(&addresses("a.example.", 60));
    let whole = 12 + 15 + 60 * 16 + 11;
    let status = |size| Ask::new("a.example. A").edns(size).of(&image).status;
    assert_eq!(status(whole as u16), "NOERROR aa");
    assert_eq!(status(whole as u16 - 1), "NOERROR aa tc");
    assert_eq!(status(u16::MAX), "NOERROR aa");
    let fitting = zone(&addresses("a.example.", 29));
    for size in [0, 1, 511, 512] {
        assert_eq!(
            Ask::new("a.example. A").edns(size).of(&fitting).status,
            "NOERROR aa",
            "{size}"
        );
    }
    let over = zone(&addresses("a.example.", 80));
    let reply = Ask::new("a.example. A").edns(u16::MAX).of(&over);
    assert_eq!(reply.status, "NOERROR aa tc");
    assert!(reply.octets.len() <= 1232);
    let mut generous = Ask::new("a.example. A").edns(u16::MAX);
    generous.limits.udp_payload_size = 4096;
    assert_eq!(generous.of(&over).status, "NOERROR aa");
    assert_eq!(
        generous
            .of(&over)
            .reader()
            .edns()
            .unwrap()
            .unwrap()
            .payload_size,
        4096
    );
    let mut mean = Ask::new("a.example. A");
    mean.limits.udp_payload_size = 0;
    assert_eq!(mean.of(&fitting).status, "NOERROR aa");
    let reply = mean.edns(4096).of(&fitting);
    assert_eq!(reply.status, "NOERROR aa");
    let edns = reply.reader().edns().unwrap().unwrap();
    assert_eq!(edns.payload_size, 512);
}

#[test]
fn tcp_carries_65535_octets_and_truncates_beyond() {
    let fits = (65_535 - 12 - 15) / 16;
    let image = zone(&(addresses("a.example.", fits) + &addresses("b.example.", fits + 1)));
    let reply = Ask::new("a.example. A").tcp().of(&image);
    assert_eq!(
        (reply.status.as_str(), reply.sections[0].len()),
        ("NOERROR aa", fits)
    );
    Ask::new("b.example. A")
        .tcp()
        .of(&image)
        .is("NOERROR aa tc", &[], &[], &[]);
}

#[test]
fn names_beyond_the_reach_of_pointers_are_written_whole() {
    // RFC 1035 §4.1.4: a pointer holds 14 bits.
    let mut lines = String::new();
    for index in 0..1200 {
        lines += &format!(
            "example. MX {index} mail{index}.example.\nmail{index}.example. A 192.0.2.1\n"
        );
    }
    let image = zone(&lines);
    let reply = Ask::new("example. MX").tcp().of(&image);
    assert_eq!(reply.status, "NOERROR aa");
    assert_eq!(
        (reply.sections[0].len(), reply.sections[2].len()),
        (1200, 1200)
    );
    assert_eq!(
        reply.sections[0][1199],
        "example. 60 MX 1199 mail1199.example."
    );
    assert_eq!(reply.sections[2][1199], "mail1199.example. 60 A 192.0.2.1");
    // With another case there is nothing near that the names could lean on.
    let reply = Ask::new("EXAMPLE. MX").tcp().of(&image);
    assert_eq!(
        reply.sections[0][1199],
        "EXAMPLE. 60 MX 1199 mail1199.example."
    );
}

#[test]
fn additional_data_that_does_not_fit_is_left_out_silently() {
    let lines = "m.example. MX 1 a.example.\nm.example. MX 2 b.example.\nb.example. A 192.0.2.2\n";
    let image = zone(&(addresses("a.example.", 40) + lines));
    ask(&image, "m.example. MX").is(
        "NOERROR aa",
        &[
            "m.example. 60 MX 1 a.example.",
            "m.example. 60 MX 2 b.example.",
        ],
        &[],
        &["b.example. 60 A 192.0.2.2"],
    );
}

#[test]
fn required_glue_that_does_not_fit_sets_tc_and_other_glue_does_not() {
    // RFC 9471 §3.1 and §3.2.
    let own = "in.example. NS ns.in.example.\n".to_string() + &addresses("ns.in.example.", 40);
    let sibling = "by.example. NS ns.in.example.\n";
    let image = zone(&(own + sibling));
    let reply = ask(&image, "x.in.example. A");
    reply.is(
        "NOERROR tc",
        &[],
        &["in.example. 60 NS ns.in.example."],
        &[],
    );
    let reply = ask(&image, "x.by.example. A");
    reply.is("NOERROR", &[], &["by.example. 60 NS ns.in.example."], &[]);
    assert_eq!(
        Ask::new("x.in.example. A").tcp().of(&image).sections[2].len(),
        40
    );
}

#[test]
fn opt_always_has_its_place() {
    let image = zone(&addresses("a.example.", 30));
    // Without OPT the answer has 507 octets; with it the records do not fit.
    let reply = Ask::new("a.example. A").edns(512).of(&image);
    assert_eq!(reply.status, "NOERROR aa tc");
    assert!(reply.reader().edns().unwrap().is_some());
}

#[test]
fn buffer_of_the_caller_is_a_limit_and_one_without_room_gives_no_answer() {
    let image = zone(&addresses("a.example.", 30));
    let zones = ZoneSet::from_bytes(&image).unwrap();
    let ask = Ask::new("a.example. A").edns(1232);
    let server = Server::new(ask.limits);
    for length in 0..600 {
        let mut out = std::vec![0; length];
        let written = server.answer(&zones, &ask.octets(), &client(Transport::Udp), &mut out);
        match written {
            Some(written) => assert!(written <= length),
            None => assert!(length < 12 + 15 + 11, "{length}"),
        }
    }
    assert_eq!(server.counters().ignored_no_room, 38);
}
