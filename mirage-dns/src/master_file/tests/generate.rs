//! `$GENERATE`, with what BIND 9.18 makes of the same lines.

use super::*;

#[test]
fn the_examples_of_bind_s_manual() {
    assert_eq!(
        records(
            "$ORIGIN 0.0.192.IN-ADDR.ARPA.\n$GENERATE 1-2 @ NS SERVER$.EXAMPLE.\n$GENERATE 1-3 $ CNAME $.0\n$ORIGIN EXAMPLE.\n\
             $GENERATE 1-2 HOST-$ A 1.2.3.$\n$GENERATE 1-2 HOST-$ MX \"0 .\""
        ),
        [
            "0.0.192.IN-ADDR.ARPA. 60 IN NS 0753455256455231074558414d504c4500",
            "0.0.192.IN-ADDR.ARPA. 60 IN NS 0753455256455232074558414d504c4500",
            "1.0.0.192.IN-ADDR.ARPA. 60 IN CNAME 01310130013001300331393207494e2d41444452044152504100",
            "2.0.0.192.IN-ADDR.ARPA. 60 IN CNAME 01320130013001300331393207494e2d41444452044152504100",
            "3.0.0.192.IN-ADDR.ARPA. 60 IN CNAME 01330130013001300331393207494e2d41444452044152504100",
            "HOST-1.EXAMPLE. 60 IN A 01020301",
            "HOST-2.EXAMPLE. 60 IN A 01020302",
            "HOST-1.EXAMPLE. 60 IN MX 000000",
            "HOST-2.EXAMPLE. 60 IN MX 000000",
        ]
    );
}

/// The owners that one template makes, without the origin.
fn owners(range: &str, owner: &str) -> Vec<String> {
    let all = records(&format!("$GENERATE {range} {owner} A 0.0.0.1"));
    let first = |record: String| record.split(' ').next().unwrap().to_string();
    all.into_iter()
        .map(first)
        .map(|owner| owner.strip_suffix(".o.").unwrap().to_string())
        .collect()
}

#[test]
fn ranges_have_steps_and_include_their_ends() {
    assert_eq!(owners("0-3", "$"), ["0", "1", "2", "3"]);
    assert_eq!(owners("5-5", "$"), ["5"]);
    assert_eq!(owners("1-8/3", "$"), ["1", "4", "7"]);
    assert_eq!(owners("1-7/3", "$"), ["1", "4", "7"]);
    assert_eq!(
        owners("2147483646-2147483647", "$"),
        ["2147483646", "2147483647"]
    );
    assert_eq!(owners("0-2147483647/2147483647", "$"), ["0", "2147483647"]);
}

#[test]
fn modifiers_change_offset_width_and_base() {
    assert_eq!(owners("9-11", "h${0,3}"), ["h009", "h010", "h011"]);
    assert_eq!(owners("9-11", "h${0,3,d}"), ["h009", "h010", "h011"]);
    assert_eq!(owners("8-9", "${-8}x${+1,0,d}"), ["0x9", "1x10"]);
    assert_eq!(owners("8-9", "${0,2,o}"), ["10", "11"]);
    assert_eq!(
        owners("254-255", "${0,4,x}-${0,0,X}"),
        ["00fe-FE", "00ff-FF"]
    );
    // A width that is too small cuts nothing off.
    assert_eq!(owners("100-100", "${0,2,d}"), ["100"]);
    // The width of nibbles counts their dots.
    assert_eq!(owners("18-18", "a.${0,0,n}.b"), ["a.2.1.b"]);
    assert_eq!(owners("18-18", "${0,7,n}"), ["2.1.0.0"]);
    assert_eq!(owners("171-171", "${0,3,N}"), ["B.A"]);
    assert_eq!(owners("0-0", "${0,1,n}"), ["0"]);
    assert_eq!(owners("0-0", "${0,3,n}b"), ["0.0b"]);
}

#[test]
fn dollar_signs_are_escaped_in_two_ways() {
    assert_eq!(owners("1-2", "a\\$b$"), ["a\\$b1", "a\\$b2"]);
    assert_eq!(owners("1-1", "a$$b$"), ["a\\$b1"]);
    assert_eq!(owners("1-1", "a\\036$"), ["a\\$1"]);
    assert_eq!(
        records("$GENERATE 7-7 a TXT $ \\$ \"$ and \\$\" a"),
        ["a.o. 60 IN TXT 01370124073720616e6420240161"]
    );
}

#[test]
fn data_in_one_string_is_what_stands_in_it() {
    assert_eq!(
        records("$GENERATE 1-1 a SRV \"$ 2 3 h$\""),
        ["a.o. 60 IN SRV 000100020003026831016f00"]
    );
    assert_eq!(
        records("$GENERATE 1-1 a TXT \"\\\"x $\\\" y\""),
        ["a.o. 60 IN TXT 037820310179"]
    );
    // Of several words, each is what it is.
    assert_eq!(
        records("$GENERATE 1-1 a TXT \"x $\" \"y z\""),
        ["a.o. 60 IN TXT 037820310379207a"]
    );
}

#[test]
fn any_type_ttl_and_class_and_any_layout() {
    assert_eq!(
        records(
            "a 5 A 0.0.0.1\n$GENERATE 1-2 ( h${0,2} ; $ and ${\n IN 7 ; x\n AAAA\n 2001:db8::${0,4,x} )\nb A 0.0.0.2"
        ),
        [
            "a.o. 5 IN A 00000001",
            "h01.o. 7 IN AAAA 20010db8000000000000000000000001",
            "h02.o. 7 IN AAAA 20010db8000000000000000000000002",
            "b.o. 60 IN A 00000002",
        ]
    );
    assert_eq!(
        records("$generate 1-1 a CH TYPE731 \\# 2 abc$\nb TXT x"),
        ["a.o. 60 CH TYPE731 abc1", "b.o. 60 IN TXT 0178"]
    );
    assert_eq!(
        records("$GENERATE 1-2 s HTTPS $ . alpn=h$ port=8${0,2}"),
        [
            "s.o. 60 IN HTTPS 00010000010003026831000300020321",
            "s.o. 60 IN HTTPS 00020000010003026832000300020322",
        ]
    );
    // One that states a TTL says nothing of other lines.
    let text = b"a 5 A 0.0.0.1\n$GENERATE 1-1 b 7 A 0.0.0.1\nc A 0.0.0.1";
    let outcomes = read_with(text, Some("o"), &NoFiles, Limits::default());
    assert_eq!(outcomes[2], Ok("c.o. 5 IN A 00000001".to_string()));
}

#[test]
fn faults_point_into_the_template_and_say_the_number() {
    let cases = [
        (
            "$GENERATE",
            "z:1:10: expected a range of numbers up to 2147483647, such as 1-254 or 0-255/2, found the end of the line",
        ),
        (
            "$GENERATE 1 a A 0.0.0.1",
            "z:1:11: expected a range of numbers up to 2147483647, such as 1-254 or 0-255/2, found \"1\"",
        ),
        (
            "$GENERATE 2-1 a A 0.0.0.1",
            "z:1:11: expected a range of numbers up to 2147483647, such as 1-254 or 0-255/2, found \"2-1\"",
        ),
        (
            "$GENERATE 1-2/0 a A 0.0.0.1",
            "z:1:11: expected a range of numbers up to 2147483647, such as 1-254 or 0-255/2, found \"1-2/0\"",
        ),
        (
            "$GENERATE 1-2",
            "z:1:14: expected the name of an owner, with $ for the number, found the end of the line",
        ),
        (
            "$GENERATE 1-2 a 5",
            "z:1:18: expected a TTL, a class or a record type, found the end of the line",
        ),
        (
            "$GENERATE 1-2 a 5 FOO x",
            "z:1:19: expected a class or a record type, found \"FOO\", where $ is 1",
        ),
        (
            "$GENERATE 255-300 a$ 5 A 0.0.0.$",
            "z:1:26: expected an IPv4 address, found \"0.0.0.$\", where $ is 256",
        ),
        (
            "$GENERATE 1-2 a 5 MX 1",
            "z:1:23: expected a domain name, found the end of the line, where $ is 1",
        ),
        (
            "$GENERATE 1-2 a 5 MX \"1\"",
            "z:1:25: expected a domain name, found the end of the line, where $ is 1",
        ),
        (
            "$GENERATE 1-2 a..$ 5 A 0.0.0.1",
            "z:1:15: expected a label that isn't empty, found \"a..$\", where $ is 1",
        ),
        (
            "$GENERATE 1-2 a${0,1,q} 5 A 0.0.0.1",
            "z:1:16: expected ${offset,width,base} with a width up to 255 and a base of d, o, x, X, n or N, found \"a${0,1,q}\", where $ is 1",
        ),
        (
            "$GENERATE 1-2 a${0 5 A 0.0.0.1",
            "z:1:16: expected ${offset,width,base} with a width up to 255 and a base of d, o, x, X, n or N, found \"a${0\", where $ is 1",
        ),
        (
            "$GENERATE 1-2 a${0,256} 5 A 0.0.0.1",
            "z:1:16: expected ${offset,width,base} with a width up to 255 and a base of d, o, x, X, n or N, found \"a${0,256}\", where $ is 1",
        ),
        (
            "$GENERATE 1-2 ${-2} 5 A 0.0.0.1",
            "z:1:15: expected an offset with which each number is one from 0 to 4294967295, found \"${-2}\", where $ is 1",
        ),
        (
            "$GENERATE 1-2 a 5 ANY x",
            "z:1:19: expected the type of a record, not one of questions or messages (RFC 6895), found \"ANY\", where $ is 1",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(error(text), expected, "{text}");
    }
    let text = format!("$GENERATE 1-2 a 5 TXT ({})", " ${0,255}".repeat(9));
    assert!(
        error(&text).contains(
            "expected a $GENERATE whose template and lines have at most 2048 octets each"
        )
    );
    let text = format!("$GENERATE 1-2 a 5 A ({} 0.0.0.1)", " ;\n".repeat(800));
    assert!(error(&text).starts_with("z:1:1: expected a $GENERATE whose template"));
}

#[test]
fn a_template_costs_one_error() {
    assert_eq!(
        errors("$GENERATE 1-9 a A 0.0.0.$\nb 5 A 0.0.0.1\n$GENERATE 1-9 a 5 A 0.0.0.$.$\n"),
        [
            "z:1:1: expected a TTL, as there is no $TTL and no record before states one, found nothing, where $ is 1",
            "z:3:21: expected an IPv4 address, found \"0.0.0.$.$\", where $ is 1",
        ]
    );
}

#[test]
fn a_line_behind_states_its_owner() {
    assert!(
        error("a 5 A 0.0.0.1\n$GENERATE 1-1 b A 0.0.0.1\n A 0.0.0.2")
            .starts_with("z:3:2: expected an owner name")
    );
}

#[test]
fn how_many_records_are_made_is_bounded() {
    let limits = Limits {
        generate: 3,
        generated: 5,
        ..Limits::default()
    };
    let text = b"$TTL 1\n$GENERATE 1-4 a A 0.0.0.$\n$GENERATE 1-3 b A 0.0.0.$\n$GENERATE 1-3 c A 0.0.0.$\n$GENERATE 1-2 d A 0.0.0.$";
    let outcomes = read_with(text, Some("o"), &NoFiles, limits);
    let errors: Vec<_> = outcomes.iter().filter_map(|o| o.as_ref().err()).collect();
    assert_eq!(
        errors,
        [
            "z:2:1: expected a $GENERATE that makes fewer records, found \"$GENERATE\"",
            "z:4:1: expected no more $GENERATEs that make as many records, found \"$GENERATE\"",
        ]
    );
    assert_eq!(outcomes.len() - errors.len(), 5);
    let all = records("$GENERATE 0-65535 ${0,4,x} TXT x");
    assert_eq!(all.len(), 65_536);
    assert!(all[65_535].starts_with("ffff.o. "));
    assert!(error("$GENERATE 0-65536 $ TXT x").contains("fewer records"));
}
