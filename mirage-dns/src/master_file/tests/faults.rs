//! What is said about each kind of fault, and that parsing goes on behind it.

use super::*;

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
fn carriage_return_at_the_start_of_a_line_costs_one_error() {
    // The rest of its line is skipped, however many faults are in it.
    let text = "\r\r\rx\\\ra 1 A 0.0.0.1\nb 1 A 0.0.0.2\n\r";
    let expected = "expected a line feed after the carriage return, found \"\\r\"";
    assert_eq!(
        errors(text),
        [format!("z:1:1: {expected}"), format!("z:3:1: {expected}")]
    );
    let outcomes = read_with(text.as_bytes(), Some("o"), &NoFiles, Limits::default());
    let records: Vec<_> = outcomes.into_iter().flatten().collect();
    assert_eq!(records, ["b.o. 1 IN A 00000002"]);
}

#[test]
fn lines_that_end_in_quotes_behind_a_backslash_are_counted() {
    let fault = error("a 1 TXT \"x\\\ny\"\nb 1 A 1");
    assert!(fault.starts_with("z:3:7:"), "{fault}");
}

#[test]
fn record_behind_a_faulty_owner_is_not_given_to_the_one_before() {
    let text = b"a 1 A 0.0.0.1\nb..c 1 A 0.0.0.2\n 1 A 0.0.0.3\n";
    let outcomes = read_with(text, Some("o"), &NoFiles, Limits::default());
    let [Ok(first), Err(owner), Err(blank)] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert_eq!(first, "a.o. 1 IN A 00000001");
    assert!(owner.starts_with("z:2:3:"), "{owner}");
    assert!(
        blank.starts_with("z:3:2: expected an owner name"),
        "{blank}"
    );
}
