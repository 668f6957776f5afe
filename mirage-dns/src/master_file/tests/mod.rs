//! The parser as a whole, over every rule of RFC 1035 §5 and the RFCs that add to it.

use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::*;

mod faults;
mod generate;
mod includes;
mod types;

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
    for directive in ["$GENERAT 1-2 a A 0.0.0.$", "$", "$TT 1", "$INCLUDED x"] {
        assert!(
            error(directive)
                .starts_with("z:1:1: expected $ORIGIN, $TTL, $INCLUDE or $GENERATE, found \"$"),
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
    assert_eq!(data("e CAA \\# 4 ab 01 61cd"), "CAA ab0161cd");
    // A quoted one is a string.
    assert_eq!(data("e TXT \"\\#\" 1"), "TXT 01230131");
    assert_eq!(data("e TXT \\# 2 0161"), "TXT 0161");
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

#[test]
fn parser_fits_on_a_small_stack() {
    // What its documentation says.
    assert!(size_of::<Parser<'_>>() <= 6 * 1_024);
}
