//! The parser as a whole, over every rule of RFC 1035 §5 and the RFCs that add to it.

use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::*;

/// A record as `owner ttl class type data`, with the data in hexadecimal, or an error as it displays.
type Outcome = Result<String, String>;

fn read_with(
    text: &[u8],
    origin: Option<&str>,
    loader: &dyn Loader,
    limits: Limits,
) -> Vec<Outcome> {
    let source = Source { name: "z", text };
    let mut parser = Parser::new(source, loader).with_limits(limits);
    if let Some(origin) = origin {
        parser = parser.with_origin(crate::name::NameBuf::from_text(origin).unwrap().as_name());
    }
    let mut buffer = vec![0; 65_535];
    let mut all = Vec::new();
    loop {
        match parser.next_record(&mut buffer) {
            Ok(Some(record)) => {
                let data: String = record.data.iter().map(|b| format!("{b:02x}")).collect();
                all.push(Ok(format!(
                    "{} {} {} {} {data}",
                    record.owner, record.ttl, record.class, record.record_type
                )));
            }
            Ok(None) => return all,
            Err(error) => all.push(Err(error.to_string())),
        }
    }
}

/// The records of a text without faults, the origin `o.` and the TTL 60 given.
fn records(text: &str) -> Vec<String> {
    let text = format!("$TTL 60\n{text}");
    read_with(text.as_bytes(), Some("o"), &NoFiles, Limits::default())
        .into_iter()
        .map(|outcome| outcome.expect("no error"))
        .collect()
}

/// The only record of a line, without its owner and TTL.
fn data(line: &str) -> String {
    let all = records(line);
    assert_eq!(all.len(), 1, "{line}");
    all[0].splitn(4, ' ').nth(3).unwrap().to_string()
}

/// The errors of a text, the origin `o.` given.
fn errors(text: &str) -> Vec<String> {
    let mut source = Parser::new(
        Source {
            name: "z",
            text: text.as_bytes(),
        },
        &NoFiles,
    )
    .with_origin(crate::name::NameBuf::from_text("o").unwrap().as_name());
    let mut buffer = vec![0; 65_535];
    let mut all = Vec::new();
    loop {
        match source.next_record(&mut buffer) {
            Ok(Some(_)) => {}
            Ok(None) => return all,
            Err(error) => all.push(error.to_string()),
        }
    }
}

fn error(text: &str) -> String {
    let mut all = errors(text);
    assert_eq!(all.len(), 1, "{text:?}: {all:?}");
    all.remove(0)
}

#[test]
fn the_example_of_rfc_1035_section_5_3() {
    let isi = r"
@   IN  SOA     VENERA      Action\.domains (
                                 20     ; SERIAL
                                 7200   ; REFRESH
                                 600    ; RETRY
                                 3600000; EXPIRE
                                 60)    ; MINIMUM

        NS      A.ISI.EDU.
        NS      VENERA
        NS      VAXA
        MX      10      VENERA
        MX      20      VAXA

A       A       26.3.0.103

VENERA  A       10.1.0.52
        A       128.9.0.32

VAXA    A       10.2.0.27
        A       128.9.0.33


$INCLUDE <SUBSYS>ISI-MAILBOXES.TXT
";
    let mailboxes = r"
MOE     MB      A.ISI.EDU.
LARRY   MB      A.ISI.EDU.
CURLEY  MB      A.ISI.EDU.
STOOGES MG      MOE
        MG      LARRY
        MG      CURLEY
";
    let files = [Source {
        name: "<SUBSYS>ISI-MAILBOXES.TXT",
        text: mailboxes.as_bytes(),
    }];
    let all: Vec<String> = read_with(isi.as_bytes(), Some("ISI.EDU"), &files, Limits::default())
        .into_iter()
        .map(|outcome| outcome.unwrap())
        .collect();
    assert_eq!(all.len(), 17);
    assert_eq!(
        all[0],
        "ISI.EDU. 60 IN SOA 0656454e4552410349534903454455000e416374696f6e2e646f6d61696e7303495349034544550000000014\
         00001c20000002580036ee800000003c"
    );
    assert_eq!(all[1], "ISI.EDU. 60 IN NS 0141034953490345445500");
    assert_eq!(all[8], "VENERA.ISI.EDU. 60 IN A 80090020");
    assert_eq!(
        all[16],
        "STOOGES.ISI.EDU. 60 IN MG 064355524c4559034953490345445500"
    );
}

#[test]
fn omitted_owner_ttl_and_class_in_either_order() {
    assert_eq!(
        records(
            "a 5 IN A 0.0.0.1\na IN 6 A 0.0.0.2\na 7 A 0.0.0.3\na IN A 0.0.0.4\na A 0.0.0.5\n\
             \t1m A 0.0.0.6\n IN\tA 0.0.0.7\n   A 0.0.0.8\n ; only a comment\n\n A 0.0.0.9"
        ),
        [
            "a.o. 5 IN A 00000001",
            "a.o. 6 IN A 00000002",
            "a.o. 7 IN A 00000003",
            "a.o. 60 IN A 00000004",
            "a.o. 60 IN A 00000005",
            "a.o. 60 IN A 00000006",
            "a.o. 60 IN A 00000007",
            "a.o. 60 IN A 00000008",
            "a.o. 60 IN A 00000009",
        ]
    );
}

#[test]
fn names_that_look_like_types_classes_and_numbers_are_owners_at_the_start_of_a_line() {
    assert_eq!(
        records("IN IN A 0.0.0.1\nA A 0.0.0.2\n3600 A 0.0.0.3\n\\# TXT x\n\\$TTL A 0.0.0.4"),
        [
            "IN.o. 60 IN A 00000001",
            "A.o. 60 IN A 00000002",
            "3600.o. 60 IN A 00000003",
            "#.o. 60 IN TXT 0178",
            "\\$TTL.o. 60 IN A 00000004",
        ]
    );
}

#[test]
fn class_stays_until_another_is_stated() {
    assert_eq!(
        records("a A 0.0.0.1\na CH TXT x\na TXT x\na CLASS1 A 0.0.0.2\na CLASS731 TXT x"),
        [
            "a.o. 60 IN A 00000001",
            "a.o. 60 CH TXT 0178",
            "a.o. 60 CH TXT 0178",
            "a.o. 60 IN A 00000002",
            "a.o. 60 CLASS731 TXT 0178",
        ]
    );
    assert!(error("a ANY A 0.0.0.1").contains("not one of questions"));
    assert!(
        error("a 1 NONE A 0.0.0.1").contains("expected a class or a record type, found \"NONE\"")
    );
}

#[test]
fn ttl_of_the_directive_wins_over_the_one_stated_last() {
    let outcome = |text: &str| -> Vec<u32> {
        read_with(text.as_bytes(), Some("o"), &NoFiles, Limits::default())
            .into_iter()
            .map(|r| r.unwrap().split(' ').nth(1).unwrap().parse().unwrap())
            .collect()
    };
    // RFC 1035 §5.1: the last explicitly stated value.
    assert_eq!(
        outcome("a 5 A 0.0.0.1\na A 0.0.0.2\na 6 A 0.0.0.1\na A 0.0.0.1"),
        [5, 5, 6, 6]
    );
    // RFC 2308 §4: that of $TTL, from there on.
    assert_eq!(
        outcome(
            "a 5 A 0.0.0.1\n$TTL 1h\na A 0.0.0.2\na 6 A 0.0.0.3\na A 0.0.0.4\n$ttl 0\na A 0.0.0.4"
        ),
        [5, 3600, 6, 3600, 0]
    );
    // RFC 1035 §3.3.13: the SOA's MINIMUM, until another is stated.
    assert_eq!(
        outcome("@ SOA a b 1 2 3 4 77\n@ NS a\n@ 5 NS b\n@ NS c"),
        [77, 77, 5, 5]
    );
    assert_eq!(
        errors("a A 0.0.0.1"),
        [
            "z:1:1: expected a TTL, as there is no $TTL and no record before states one, found nothing"
        ]
    );
}

#[test]
fn ttl_over_31_bits_is_refused() {
    assert!(records("a 2147483647 A 0.0.0.1")[0].contains(" 2147483647 "));
    assert!(
        error("a 2147483648 A 0.0.0.1")
            .starts_with("z:1:3: expected a TTL, a class or a record type")
    );
    assert!(
        error("$TTL 2147483648").starts_with("z:1:6: expected a TTL: seconds up to 2147483647")
    );
    assert!(error("$TTL -1").starts_with("z:1:6: expected a TTL"));
    assert!(error("$TTL").ends_with("found the end of the line"));
    assert!(error("$TTL 1 2").starts_with("z:1:8: expected the end of the entry, found \"2\""));
}

#[test]
fn origin_directives_are_relative_to_the_one_before() {
    assert_eq!(
        records(
            "$ORIGIN b\na A 0.0.0.1\n$ORIGIN c.\na A 0.0.0.2\n$origin .\na A 0.0.0.3\n@ A 0.0.0.4"
        ),
        [
            "a.b.o. 60 IN A 00000001",
            "a.c. 60 IN A 00000002",
            "a. 60 IN A 00000003",
            ". 60 IN A 00000004",
        ]
    );
    assert!(error("$ORIGIN").contains("expected a domain name, found the end of the line"));
}

#[test]
fn unknown_directives_are_errors() {
    for directive in ["$GENERATE 1-2 a A 0.0.0.$", "$", "$TT 1", "$INCLUDED x"] {
        assert!(
            error(directive).starts_with("z:1:1: expected $ORIGIN, $TTL or $INCLUDE, found \"$"),
            "{directive}"
        );
    }
}

#[test]
fn parentheses_may_stand_anywhere_behind_the_owner() {
    assert_eq!(
        records("a ( 5 ; c\n IN\n A\n 0.0.0.1 )\na(A(0.0.0.2))\n ( TXT a\nb\n)\n(c A\n0.0.0.3)"),
        [
            "a.o. 5 IN A 00000001",
            "a.o. 60 IN A 00000002",
            "a.o. 60 IN TXT 01610162",
            "c.o. 60 IN A 00000003",
        ]
    );
}

#[test]
fn unclosed_parenthesis_points_at_the_opening_one() {
    assert_eq!(
        errors("a A 0.0.0.1 (\nb A 0.0.0.2\n"),
        ["z:2:1: expected the end of the entry, found \"b\""]
    );
    assert_eq!(
        errors("a 1 TXT x (\n\n; y\n"),
        ["z:1:11: expected a closing parenthesis for this one, found the end of the file"]
    );
}

#[test]
fn lines_end_in_crlf_or_lf_or_not_at_all() {
    let expected = ["a.o. 60 IN A 00000001", "a.o. 60 IN TXT 0162"];
    assert_eq!(records("a A 0.0.0.1\r\n TXT b\r\n"), expected);
    assert_eq!(records("a A 0.0.0.1\n\tTXT\tb"), expected);
    assert_eq!(records("a A 0.0.0.1;\r\n TXT ( b\r\n)\r\n"), expected);
}

#[test]
fn fields_of_each_known_type() {
    assert_eq!(data("a A 192.0.2.1"), "A c0000201");
    assert_eq!(
        data("a AAAA 2001:db8::1"),
        "AAAA 20010db8000000000000000000000001"
    );
    assert_eq!(
        data("a AAAA ::ffff:192.0.2.1"),
        "AAAA 00000000000000000000ffffc0000201"
    );
    for (record_type, name) in [
        ("NS", "b"),
        ("CNAME", "b.o."),
        ("PTR", "b"),
        ("MB", "b"),
        ("MG", "b"),
        ("MR", "b"),
    ] {
        assert_eq!(
            data(&format!("a {record_type} {name}")),
            format!("{record_type} 0162016f00")
        );
    }
    assert_eq!(data("a MX 10 @"), "MX 000a016f00");
    assert_eq!(data("a MX 65535 ."), "MX ffff00");
    assert_eq!(data("_a._tcp SRV 1 2 65535 b."), "SRV 00010002ffff016200");
    assert_eq!(
        data("@ SOA a b 4294967295 1h 15m 1w 1d"),
        "SOA 0161016f000162016f00ffffffff00000e100000038400093a8000015180"
    );
    assert_eq!(data("a HINFO \"a b\" c"), "HINFO 036120620163");
    assert_eq!(data("a MINFO a b"), "MINFO 0161016f000162016f00");
    assert_eq!(
        data("a TXT \"\" b \"c;d\" e\\ f \"g\\\"\""),
        "TXT 00016203633b6403652066026722"
    );
    assert_eq!(data("a TXT \\065\\\\ \"\\000\\255\""), "TXT 02415c0200ff");
}

#[test]
fn strings_have_at_most_255_octets() {
    let long = "x".repeat(255);
    assert_eq!(data(&format!("a TXT {long}")).len(), 4 + 2 * 256);
    assert_eq!(
        error(&format!("a 1 TXT y \"{long}\\120\""))
            .split(", found")
            .next()
            .unwrap(),
        "z:1:11: expected a string of at most 255 octets"
    );
    // 256 times 256 octets are one too many for a record.
    let many = format!(" {long}").repeat(256);
    assert!(error(&format!("a 1 TXT {many}")).contains("at most 65535 octets"));
    let most = format!(" {long}").repeat(255) + " " + &long[1..];
    assert_eq!(data(&format!("a TXT {most}")).len(), 4 + 2 * 65_535);
}

#[test]
fn unknown_types_and_generic_data_of_rfc_3597() {
    // Its own examples (§5), the last with the TYPE1 that is A.
    assert_eq!(
        data("a TYPE731 \\# 6 abcd ( ef 01 23 45 )"),
        "TYPE731 abcdef012345"
    );
    assert_eq!(data("b HS TYPE62347 \\# 0"), "TYPE62347 ");
    assert_eq!(data("e IN A \\# 4 0A000001"), "A 0a000001");
    assert_eq!(data("e IN A \\# 4 0 A0 00 001"), "A 0a000001");
    assert_eq!(data("e CLASS1 TYPE1 10.0.0.2"), "A 0a000002");
    assert_eq!(data("e CAA \\# 2 ab cd"), "CAA abcd");
    // A quoted one is a string.
    assert_eq!(data("e TXT \"\\#\" 1"), "TXT 01230131");
    assert_eq!(data("e TXT \\# 2 0161"), "TXT 0161");
}

#[test]
fn faults_of_generic_data() {
    let cases = [
        ("a 1 TYPE731 abcd", "z:1:13: expected \\# and the length"),
        ("a 1 TYPE731", "z:1:12: expected \\# and the length"),
        ("a 1 TYPE731 \\#", "z:1:15: expected the length of the data"),
        (
            "a 1 TYPE731 \\# x",
            "z:1:16: expected the length of the data",
        ),
        (
            "a 1 TYPE731 \\# 65536",
            "z:1:16: expected the length of the data",
        ),
        (
            "a 1 TYPE731 \\# 2 abc",
            "z:1:21: expected pairs of hexadecimal digits",
        ),
        (
            "a 1 TYPE731 \\# 2 ab",
            "z:1:20: expected pairs of hexadecimal digits",
        ),
        (
            "a 1 TYPE731 \\# 1 abcd",
            "z:1:20: expected pairs of hexadecimal digits",
        ),
        (
            "a 1 TYPE731 \\# 0 00",
            "z:1:18: expected pairs of hexadecimal digits",
        ),
        (
            "a 1 TYPE731 \\# 2 abxd",
            "z:1:20: expected pairs of hexadecimal digits",
        ),
        (
            "a 1 TYPE731 \\# 1 \"ab\"",
            "z:1:18: expected pairs of hexadecimal digits",
        ),
        (
            "a 1 A \\# 3 0a0000",
            "z:1:7: expected data in the form that this type prescribes",
        ),
        (
            "a 1 NS \\# 2 c00c",
            "z:1:8: expected data in the form that this type prescribes",
        ),
        (
            "a 1 MX \\# 2 000a",
            "z:1:8: expected data in the form that this type prescribes",
        ),
    ];
    for (text, expected) in cases {
        let error = error(text);
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn faults_of_fields_say_where_and_what() {
    let cases = [
        (
            "a 1 A 10.0.0.256",
            "z:1:7: expected an IPv4 address, found \"10.0.0.256\"",
        ),
        (
            "a 1 A \"10.0.0.1\"",
            "z:1:7: expected an IPv4 address, found \"10.0.0.1\"",
        ),
        (
            "a 1 A",
            "z:1:6: expected an IPv4 address, found the end of the line",
        ),
        (
            "a 1 A ; 1.2.3.4",
            "z:1:16: expected an IPv4 address, found the end of the line",
        ),
        (
            "a 1 A 1.2.3.4 5",
            "z:1:15: expected the end of the entry, found \"5\"",
        ),
        (
            "a 1 AAAA 1.2.3.4",
            "z:1:10: expected an IPv6 address, found \"1.2.3.4\"",
        ),
        (
            "a 1 AAAA fe80::1%1",
            "z:1:10: expected an IPv6 address, found \"fe80::1%1\"",
        ),
        (
            "a 1 MX mail",
            "z:1:8: expected a number from 0 to 65535, found \"mail\"",
        ),
        (
            "a 1 MX 65536 mail",
            "z:1:8: expected a number from 0 to 65535, found \"65536\"",
        ),
        (
            "a 1 MX 10 ma..il",
            "z:1:14: expected a label that isn't empty, found \"ma..il\"",
        ),
        (
            "a 1 SOA a b 1 2 3 4",
            "z:1:20: expected a time: seconds up to 4294967295, or with units such as 1h30m, found the end of the line",
        ),
        (
            "a 1 SOA a b 1h 2 3 4 5",
            "z:1:13: expected a number from 0 to 4294967295, found \"1h\"",
        ),
        (
            "a 1 TXT",
            "z:1:8: expected a string of at most 255 octets, found the end of the line",
        ),
        (
            "a 1 TXT \"a\\300\"",
            "z:1:11: expected a character or three digits from 000 to 255 after the backslash, found \"a\\300\"",
        ),
        (
            "a 1 FOO x",
            "z:1:5: expected a class or a record type, found \"FOO\"",
        ),
        (
            "a 1 2 A 1.2.3.4",
            "z:1:5: expected a class or a record type, found \"2\"",
        ),
        (
            "a IN IN A 1.2.3.4",
            "z:1:6: expected a TTL or a record type, found \"IN\"",
        ),
        (
            "a",
            "z:1:2: expected a TTL, a class or a record type, found the end of the line",
        ),
        (
            "a 1 IN",
            "z:1:7: expected a record type, found the end of the line",
        ),
        (
            "a 1 OPT \\# 0",
            "z:1:5: expected the type of a record, not one of questions or messages (RFC 6895), found \"OPT\"",
        ),
        (
            "  1 A 1.2.3.4",
            "z:1:3: expected an owner name at the start of the line, as no record before gives one, found \"1\"",
        ),
        (
            "a\x01\u{e9} 1 A 1.2.3.4 x",
            "z:1:18: expected the end of the entry, found \"x\"",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn all_errors_of_a_file_are_found_and_the_good_records_too() {
    let outcomes = read_with(
        b"$TTL 1\na A 1.2.3\nb A 1.2.3.4\nc MX (\n x\n y )\n TXT z\n$FOO\nd A 1.2.3.4 )\n e TXT \"f",
        Some("o"),
        &NoFiles,
        Limits::default(),
    );
    let shown: Vec<&str> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(record) => record.as_str(),
            Err(error) => error.split(" expected").next().unwrap(),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "z:2:5:",
            "b.o. 1 IN A 01020304",
            "z:5:2:",
            "c.o. 1 IN TXT 017a",
            "z:8:1:",
            "z:9:13:",
            "z:10:2:",
        ]
    );
}

#[test]
fn record_that_does_not_fit_into_the_buffer_is_an_error() {
    let source = Source {
        name: "z",
        text: b"a. 1 TXT abcd\na. 1 TXT abc\n",
    };
    let mut parser = Parser::new(source, &NoFiles);
    let mut buffer = [0; 4];
    let error = parser.next_record(&mut buffer).unwrap_err();
    assert!(
        error.to_string().contains("fits into the buffer"),
        "{error}"
    );
    assert_eq!(
        parser.next_record(&mut buffer).unwrap().unwrap().data,
        b"\x03abc"
    );
}

/// Reads `text` with these files to include, the origin `o.` and the TTL 60 given.
fn include<const N: usize>(text: &str, files: [(&str, &str); N], limits: Limits) -> Vec<Outcome> {
    let files = files.map(|(name, text)| Source {
        name,
        text: text.as_bytes(),
    });
    let text = format!("$TTL 60\n{text}");
    read_with(text.as_bytes(), Some("o"), &files, limits)
}

fn ok(outcomes: Vec<Outcome>) -> Vec<String> {
    outcomes.into_iter().map(|o| o.expect("no error")).collect()
}

#[test]
fn include_restores_origin_and_owner() {
    let files = [
        ("a b", "x A 0.0.0.1\n$ORIGIN c.\nx A 0.0.0.2\n"),
        ("d", "x A 0.0.0.3"),
    ];
    assert_eq!(
        ok(include(
            "own A 0.0.0.0\n$INCLUDE \"a b\" sub ; comment\n A 0.0.0.9\ny A 0.0.0.8\n$INCLUDE d\n$INCLUDE a\\ b\nz A 0.0.0.7",
            files,
            Limits::default()
        )),
        [
            "own.o. 60 IN A 00000000",
            "x.sub.o. 60 IN A 00000001",
            "x.c. 60 IN A 00000002",
            "own.o. 60 IN A 00000009",
            "y.o. 60 IN A 00000008",
            "x.o. 60 IN A 00000003",
            "x.o. 60 IN A 00000001",
            "x.c. 60 IN A 00000002",
            "z.o. 60 IN A 00000007",
        ]
    );
}

#[test]
fn included_file_takes_no_owner_over_and_hands_none_back() {
    let outcomes = include(
        "$INCLUDE f\n A 0.0.0.2",
        [("f", " A 0.0.0.1\nx A 0.0.0.3\n")],
        Limits::default(),
    );
    assert!(
        outcomes[0]
            .as_ref()
            .unwrap_err()
            .starts_with("f:1:2: expected an owner name")
    );
    assert!(
        outcomes[0]
            .as_ref()
            .unwrap_err()
            .ends_with(", included from z:2")
    );
    assert!(outcomes[1].is_ok());
    assert!(
        outcomes[2]
            .as_ref()
            .unwrap_err()
            .starts_with("z:3:2: expected an owner name")
    );
}

#[test]
fn errors_in_included_files_name_the_chain() {
    let outcomes = include(
        "$INCLUDE f",
        [("f", "\n\n$INCLUDE g"), ("g", "x A 1.2.3.4\nx A 1")],
        Limits::default(),
    );
    assert_eq!(
        outcomes[1].as_ref().unwrap_err(),
        "g:2:5: expected an IPv4 address, found \"1\", included from f:3, included from z:2"
    );
}

#[test]
fn include_that_loops_is_refused() {
    let outcomes = include(
        "$INCLUDE f",
        [("f", "$INCLUDE g"), ("g", "$INCLUDE f")],
        Limits::default(),
    );
    assert_eq!(outcomes.len(), 1);
    let error = outcomes[0].as_ref().unwrap_err();
    assert!(
        error.starts_with("g:1:10: expected a file that isn't being read already"),
        "{error}"
    );
    assert!(include("$INCLUDE z", [("z", "")], Limits::default())[0].is_err());
}

#[test]
fn include_depth_and_number_are_bounded() {
    struct Endless;
    impl Loader for Endless {
        fn load<'s>(&'s self, includer: &str, _name: &str) -> Result<Source<'s>, LoadError> {
            let name = String::from(includer) + "x";
            Ok(Source {
                name: name.leak(),
                text: b"$INCLUDE a\n$INCLUDE b\n",
            })
        }
    }
    let limits = Limits {
        include_depth: 5,
        includes: 1_000,
    };
    let outcomes = read_with(b"$INCLUDE a", Some("o"), &Endless, limits);
    // A binary tree of five levels: all of its 16 leaves try twice.
    assert_eq!(outcomes.len(), 32);
    assert!(
        outcomes[0]
            .as_ref()
            .unwrap_err()
            .contains("expected no more files one inside another")
    );
    let limits = Limits {
        include_depth: usize::MAX,
        includes: 100,
    };
    let outcomes = read_with(b"$INCLUDE a", Some("o"), &Endless, limits);
    assert!(outcomes.iter().any(|o| {
        o.as_ref()
            .unwrap_err()
            .contains("expected no more $INCLUDEs")
    }));
    // Each file that was included holds two directives.
    assert_eq!(outcomes.len(), 2 * 100 + 1 - 100);
}

#[test]
fn faults_of_include_itself() {
    let first = |text: &str| {
        let mut all = include(text, [("f", "")], Limits::default());
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0).unwrap_err()
    };
    assert!(first("$INCLUDE").contains("expected the name of a file, found the end of the line"));
    assert!(first("$INCLUDE g").contains("expected the name of a file that exists, found \"g\""));
    assert!(first("$INCLUDE f a b").contains("expected the end of the entry, found \"b\""));
    assert!(first("$INCLUDE f a..").contains("expected a label"));
    assert!(first("$INCLUDE \\255").contains("expected the name of a file in UTF-8"));
    assert!(error("$INCLUDE f").contains("no files to include here"));
    let long = "x".repeat(1_025);
    assert!(first(&format!("$INCLUDE {long}")).contains("at most 1,024 octets"));
}

#[cfg(feature = "std")]
#[test]
fn files_are_relative_to_the_one_that_includes_them() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "main.zone",
        "$TTL 1\n$INCLUDE sub/a.zone a.\n$INCLUDE b.zone b.\n",
    );
    write("sub/a.zone", "$INCLUDE b.zone\n");
    write("sub/b.zone", "inner.a. TXT x\n");
    write("b.zone", "@ TXT y\n$INCLUDE none.zone\n$INCLUDE .\n");
    let loader = FileSystemLoader::new(1_000);
    let main = loader.open(&directory.path().join("main.zone")).unwrap();
    let mut parser = Parser::new(main, &loader);
    let mut buffer = [0; 100];
    let mut all = Vec::new();
    loop {
        match parser.next_record(&mut buffer) {
            Ok(Some(record)) => all.push(record.owner.to_string()),
            Ok(None) => break,
            Err(error) => all.push(error.expected.to_string()),
        }
    }
    assert_eq!(
        all,
        [
            "inner.a.",
            "b.",
            "the name of a file that exists",
            "the name of a file that can be read"
        ]
    );
    let names: Vec<_> = loader
        .paths()
        .map(|path| {
            path.strip_prefix(directory.path())
                .unwrap()
                .to_str()
                .unwrap()
                .to_string()
        })
        .collect();
    assert_eq!(names, ["main.zone", "sub/a.zone", "sub/b.zone", "b.zone"]);

    let small = FileSystemLoader::new(40);
    assert_eq!(
        small.open(&directory.path().join("main.zone")).unwrap_err(),
        LoadError::TooLarge
    );
    assert!(small.open(&directory.path().join("sub/b.zone")).is_ok());
    assert!(
        small.open(&directory.path().join("sub/b.zone")).is_ok(),
        "the bound counts each file once"
    );
}
