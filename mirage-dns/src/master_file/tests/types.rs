//! Records of each type: text to wire to text, with the examples of the RFCs, and what each forbids.

use super::*;
use crate::record::{Rdata, RecordType};

/// The octets of the data of a line's record, in hexadecimal.
fn wire(line: &str) -> String {
    data(&format!("a {line}"))
        .split(' ')
        .nth(1)
        .unwrap()
        .to_string()
}

/// The text that the data of a line's record displays as.
fn text(line: &str) -> String {
    let text = data(&format!("a {line}"));
    let (mnemonic, digits) = text.split_once(' ').unwrap();
    let digits = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    let octets: Vec<u8> = digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect();
    let rdata = Rdata {
        record_type: RecordType::from_mnemonic(mnemonic).unwrap(),
        octets: &octets,
    };
    rdata.to_string()
}

/// What is wrong with a line's data: column and what was expected.
fn wrong(line: &str) -> String {
    let error = error(&format!("a 1 {line}"));
    error.strip_prefix("z:1:").unwrap().to_string()
}

/// A domain name in hexadecimal.
fn hex(name: &str) -> String {
    let name = crate::name::NameBuf::from_text(name).unwrap();
    name.as_name()
        .as_wire()
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

#[test]
fn service_bindings_of_rfc_9460_appendix_d() {
    let foo = hex("foo.example.com");
    let org = hex("foo.example.org");
    let cases = [
        ("HTTPS 0 foo.example.com.", format!("0000{foo}")),
        ("SVCB 1 .", "000100".into()),
        (
            "SVCB 16 foo.example.com. port=53",
            format!("0010{foo}000300020035"),
        ),
        (
            "SVCB 1 foo.example.com. key667=hello",
            format!("0001{foo}029b000568656c6c6f"),
        ),
        (
            r#"SVCB 1 foo.example.com. key667="hello\210qoo""#,
            format!("0001{foo}029b000968656c6c6fd2716f6f"),
        ),
        (
            r#"SVCB 1 foo.example.com. ipv6hint="2001:db8::1,2001:db8::53:1""#,
            format!(
                "0001{foo}0006002020010db800000000000000000000000120010db8000000000000000000530001"
            ),
        ),
        (
            "SVCB 1 example.com. ipv6hint=\"2001:db8:122:344::192.0.2.33\"",
            format!(
                "0001{}0006001020010db80122034400000000c0000221",
                hex("example.com")
            ),
        ),
        (
            "SVCB 16 foo.example.org. ( alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1 )",
            format!("0010{org}0000000400010004000100090268320568332d313900040004c0000201"),
        ),
        (
            r#"SVCB 16 foo.example.org. alpn="f\\\\oo\\,bar,h2""#,
            format!("0010{org}0001000c08665c6f6f2c626172026832"),
        ),
        (
            r"SVCB 16 foo.example.org. alpn=f\\\092oo\092,bar,h2",
            format!("0010{org}0001000c08665c6f6f2c626172026832"),
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(wire(line), expected, "{line}");
    }
    let parameter = "expected a value in the form that this key prescribes";
    for (line, expected) in [
        (
            "SVCB 1 foo.example.com. ( key123=abc key123=def )",
            "42: expected each key of a service parameter once",
        ),
        (
            "SVCB 1 foo.example.com. mandatory",
            "29: expected a list of other keys, each once",
        ),
        (
            "SVCB 1 foo.example.com. alpn",
            "29: expected a list of protocols",
        ),
        (
            "SVCB 1 foo.example.com. port",
            "29: expected a port from 0 to 65535",
        ),
        (
            "SVCB 1 foo.example.com. ipv4hint",
            "29: expected a list of IPv4 addresses",
        ),
        (
            "SVCB 1 foo.example.com. ipv6hint",
            "29: expected a list of IPv6 addresses",
        ),
        (
            "SVCB 1 foo.example.com. no-default-alpn=abc",
            "45: expected no value, as this key has none",
        ),
        (
            "SVCB 1 foo.example.com. mandatory=key123",
            "29: expected service parameters among which are all that are mandatory",
        ),
        (
            "SVCB 1 foo.example.com. mandatory=mandatory",
            "29: expected service parameters among which",
        ),
        (
            "SVCB 1 foo.example.com. mandatory=key123,key123 key123=abc",
            "39: expected a list of other keys, each once",
        ),
        (
            "SVCB 1 foo.example.com. no-default-alpn",
            "29: expected service parameters among which are all that are mandatory, and alpn",
        ),
        (
            "SVCB 1 . key065=x",
            "14: expected the key of a service parameter",
        ),
        ("SVCB 1 . key65536=x", "14: expected the key"),
        ("SVCB 1 . ALPN=h2", "14: expected the key"),
        ("SVCB 1 . \"alpn=h2\"", "14: expected the key"),
        ("SVCB 1 . alpn= \"h2\"", "14: expected a list of protocols"),
        ("SVCB 1 . alpn=h2\"h3\"", "21: expected the key"),
        ("SVCB 1 . alpn=h2,", "19: expected a list of protocols"),
        ("SVCB 1 . port=65536", "19: expected a port"),
        ("SVCB 1 . ipv4hint=1.2.3.4,", "23: expected a list of IPv4"),
        ("SVCB 1 . ech=", "14: "),
        ("SVCB 1 . key1=x", "14: "),
        ("SVCB 1 . key2=x", "14: "),
    ] {
        let found = wrong(line);
        assert!(
            found.starts_with(expected) || (expected.ends_with(": ") && found.contains(parameter)),
            "{line}: {found}"
        );
    }
    // A key by its number has its value as it is.
    assert_eq!(
        wire(r"SVCB 1 . key1=\002h2 key3=\0005"),
        "00010000010003026832000300020035"
    );
    assert_eq!(
        text(
            r#"HTTPS 1 . key65535 dohpath="/q{?dns}" key9="" ohttp ech=AEP+DQA/ port="0443" alpn="a\"b,c" mandatory=port,key9,alpn"#
        ),
        r#"1 . mandatory=alpn,port,key9 alpn="a\"b,c" port=443 ech=AEP+DQA/ dohpath="/q{?dns}" ohttp key9 key65535"#
    );
    assert_eq!(
        text(r#"SVCB 16 foo.example.org. alpn="f\\\\oo\\,bar,h2""#),
        r#"16 foo.example.org. alpn="f\\\\oo\\,bar,h2""#
    );
    // What text would refuse has the form of RFC 3597.
    assert_eq!(text(r"SVCB \# 7 0001 00 0002 0000"), r"\# 7 00010000020000");
}

#[test]
fn service_parameters_are_sorted_and_those_out_of_order_bounded() {
    let list = |keys: &mut dyn Iterator<Item = u16>| {
        keys.map(|key| format!(" key{key}")).collect::<String>()
    };
    let sorted = wire(&format!("SVCB 1 .{}", list(&mut (100..357))));
    assert_eq!(sorted.len(), 6 + 8 * 257);
    assert_eq!(
        wire(&format!("SVCB 1 .{}", list(&mut (100..357).rev()))),
        sorted
    );
    assert!(
        wrong(&format!("SVCB 1 .{}", list(&mut (100..358).rev())))
            .contains("at most 256 stand behind one with a greater key, found \"key100\"")
    );
    // In ascending order there may be as many as a record holds.
    let most = wire(&format!("SVCB 1 .{}", list(&mut (9..16_392))));
    assert_eq!(most.len(), 2 * (3 + 4 * 16_383));
    assert!(wrong(&format!("SVCB 1 .{}", list(&mut (9..16_393)))).contains("at most 65535 octets"));
}

#[test]
fn places_of_rfc_1876() {
    for (line, expected, shown) in [
        (
            "LOC 42 21 54 N 71 06 18 W -24m 30m",
            "0033161389172dd070be15f000988d20",
            "42 21 54.000 N 71 6 18.000 W -24.00m 30.00m 10000.00m 10.00m",
        ),
        (
            "LOC 42 21 43.952 N 71 5 6.344 W -24m 1m 200m",
            "001224138917069070bf2dd800988d20",
            "42 21 43.952 N 71 5 6.344 W -24.00m 1.00m 200.00m 10.00m",
        ),
        (
            "LOC 52 14 05 N 00 08 50 E 10m",
            "001216138b3556c88008165000989a68",
            "52 14 5.000 N 0 8 50.000 E 10.00m 1.00m 10000.00m 10.00m",
        ),
        (
            "LOC 32 7 19 s 116 2 25 e 10",
            "00121613791b7d2898e6486800989a68",
            "32 7 19.000 S 116 2 25.000 E 10.00m 1.00m 10000.00m 10.00m",
        ),
        (
            "LOC 90 N 180 W 42849672.95m 90000000m 0 0.01",
            "00990010934fd90059604e00ffffffff",
            "90 0 0.000 N 180 0 0.000 W 42849672.95m 90000000.00m 0.00m 0.01m",
        ),
        // The digits of a length behind the first are lost.
        (
            "LOC 0 1 S 0 0 0.001 E -100000m 129m",
            "001416137fff15a08000000100000000",
            "0 1 0.000 S 0 0 0.001 E -100000.00m 100.00m 10000.00m 10.00m",
        ),
    ] {
        assert_eq!(wire(line), expected, "{line}");
        assert_eq!(text(line), shown);
    }
    let latitude = "expected a latitude up to 90 degrees";
    let longitude = "expected a longitude up to 180 degrees";
    let metres = "expected a length in metres, up to 90000000.00";
    for (line, expected) in [
        ("LOC 91 N 0 E 0", format!("9: {latitude}")),
        ("LOC 90 0 0.001 N 0 E 0", format!("20: {latitude}")),
        ("LOC 1 60 N 0 E 0", format!("11: {latitude}")),
        ("LOC 1 1 60 N 0 E 0", format!("13: {latitude}")),
        ("LOC 1 1 1.0001 N 0 E 0", format!("13: {latitude}")),
        ("LOC 1 1 1. N 0 E 0", format!("13: {latitude}")),
        ("LOC 1.5 N 0 E 0", format!("9: {latitude}")),
        ("LOC 1 1 1 1 N 0 E 0", format!("15: {latitude}")),
        ("LOC 1 E 0 E 0", format!("11: {latitude}")),
        ("LOC 1 N 181 E 0", format!("13: {longitude}")),
        ("LOC 1 N 1 N 0", format!("15: {longitude}")),
        ("LOC 1 N 1 E", "16: expected an altitude".into()),
        ("LOC 1 N 1 E -100000.01", "17: expected an altitude".into()),
        ("LOC 1 N 1 E 42849672.96", "17: expected an altitude".into()),
        ("LOC 1 N 1 E 1.234m", "17: expected an altitude".into()),
        ("LOC 1 N 1 E 1m 100000000m", format!("20: {metres}")),
        ("LOC 1 N 1 E 1m -1m", format!("20: {metres}")),
        (
            "LOC 1 N 1 E 1m 1m 1m 1m 1m",
            "29: expected the end of the entry".into(),
        ),
    ] {
        assert!(
            wrong(line).starts_with(&expected),
            "{line}: {}",
            wrong(line)
        );
    }
    // No lengths that aren't digits, no latitude beyond the pole; another version is another matter.
    for bad in [
        "00 a2 16 13 80000000 80000000 00989680",
        "00 12 16 13 00000000 80000000 00989680",
        "00 12 16 13 80000000 80000000 009896",
    ] {
        let length = bad.replace(' ', "").len() / 2;
        assert!(
            wrong(&format!(r"LOC \# {length} {bad}"))
                .contains("data in the form that this type prescribes")
        );
    }
    assert_eq!(text(r"LOC \# 2 01ff"), r"\# 2 01ff");
    assert_eq!(
        text(r"LOC \# 16 00 05 16 13 80000000 80000000 00989680"),
        r"\# 16 00051613800000008000000000989680"
    );
}

#[test]
fn keys_digests_and_signatures_of_rfc_4034() {
    let key = "DNSKEY 256 3 5 ( AQOeiiR0GOMYkDshWoSKz9Xz fwJr1AYtsmx3TGkJaNXVbfi/ 2pHm822aJ5iI9BMzNXxeYCmZ \
               DRD99WYwYqUSdjMmmAphXdvx egXd/M5+X7OrzKBaMbCVdFLU Uh6DhweJBjEVv5f2wwjM9Xzc nOf+EPbtG9DMBmADjFDc2w/r ljwvFw== )";
    let octets = wire(key);
    // RFC 4034 §B: the key tag is 60485.
    let octets: Vec<u32> = (0..octets.len() / 2)
        .map(|at| u32::from_str_radix(&octets[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let sum: u32 = octets
        .iter()
        .enumerate()
        .map(|(at, octet)| if at % 2 == 0 { octet << 8 } else { *octet })
        .sum();
    assert_eq!((sum + (sum >> 16)) & 0xffff, 60_485);
    assert_eq!(
        text(key),
        format!(
            "256 3 5 {}",
            key.split("( ")
                .nth(1)
                .unwrap()
                .trim_end_matches(" )")
                .replace(' ', "")
        )
    );
    assert_eq!(
        wire("DS 60485 RSASHA1 1 ( 2BB183AF5F22588179A53B0A 98631FAD1A292118 )"),
        "ec4505012bb183af5f22588179a53b0a98631fad1a292118"
    );
    let signer = hex("example.com");
    let signature = "a090755ba58d1affa576f4375831b4310920e481218d18a9f164eb";
    for times in ["20030322173103 20030220173103", "1048354263 1045762263"] {
        let line = format!(
            "RRSIG A RSASHA1 3 1d {times} 2642 example.com. oJB1W6WNGv+ldvQ3WDG0 MQkg5IEhjRip8WTr"
        );
        assert_eq!(
            wire(&line),
            format!("00010503000151803e7c9dd73e5510d70a52{signer}{signature}")
        );
        assert_eq!(
            text(&line),
            "A 5 3 86400 20030322173103 20030220173103 2642 example.com. oJB1W6WNGv+ldvQ3WDG0MQkg5IEhjRip8WTr"
        );
    }
    let time = |time: &str| text(&format!("RRSIG TYPE0 0 0 0 {time} 0 0 . AA=="));
    assert_eq!(
        time("21060207062815"),
        "TYPE0 0 0 0 21060207062815 19700101000000 0 . AA=="
    );
    assert_eq!(time("4294967295"), time("21060207062815"));
    assert_eq!(
        time("20240229235959"),
        "TYPE0 0 0 0 20240229235959 19700101000000 0 . AA=="
    );
    for bad in [
        "21060207062816",
        "19691231235959",
        "20230229000000",
        "20000001000000",
        "20001301000000",
        "20000100000000",
        "20000101240000",
        "20000101006000",
        "20000101000060",
        "4294967296",
        "2000010100000",
        "2000010100000x",
    ] {
        let found = wrong(&format!("RRSIG A 0 0 0 {bad} 0 0 . AA=="));
        assert!(
            found.starts_with("19: expected a date and time"),
            "{bad}: {found}"
        );
    }
}

#[test]
fn types_that_exist_at_a_name_are_a_set() {
    let host = hex("host.example.com");
    let types = format!("0006400100000003041b{}20", "00".repeat(26));
    for list in [
        "A MX RRSIG NSEC TYPE1234",
        "TYPE1234 NSEC A TYPE15 RRSIG mx A",
    ] {
        let line = format!("NSEC host.example.com. ( {list} )");
        assert_eq!(wire(&line), format!("{host}{types}"), "RFC 4034 §4.3");
        assert_eq!(text(&line), "host.example.com. A MX RRSIG NSEC TYPE1234");
    }
    assert_eq!(wire("CSYNC 66 3 A NS AAAA"), "000000420003000460000008");
    assert_eq!(wire("CSYNC 66 3"), "000000420003");
    assert_eq!(
        wire("NSEC . TYPE65535 TYPE255 TYPE256 TYPE0"),
        format!(
            "000020{}01{}",
            "80".to_string() + &"00".repeat(30),
            "010180ff20".to_string() + &"00".repeat(31) + "01"
        )
    );
    assert!(wrong("NSEC . A X").starts_with("14: expected a record type, found \"X\""));
    // An empty window, one of 33 octets, zeroes at an end, a window twice, windows out of order, one cut short.
    for bad in [
        "00 0000",
        "00 0001 00",
        "00 0002 4000",
        "00 0001 40 0001 20",
        "00 0101 40 0001 40",
        "00 0002 40",
        "00 00",
    ] {
        let length = bad.replace(' ', "").len() / 2;
        let found = wrong(&format!(r"NSEC \# {length} {bad}"));
        assert!(
            found.contains("data in the form that this type prescribes"),
            "{bad}"
        );
    }
    let long = format!(r"NSEC \# 36 00 0021 {}01", "00".repeat(32));
    assert!(wrong(&long).contains("data in the form that this type prescribes"));
}

#[test]
fn hashed_names_of_rfc_5155() {
    let line = "NSEC3 1 1 12 aabbccdd ( 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX DNSKEY NS SOA NSEC3PARAM RRSIG )";
    assert_eq!(
        wire(line),
        "0101000c04aabbccdd14174eb2409fe28bcb4887a1836f957f0a8425e27b000722010000000290"
    );
    assert_eq!(
        text(line),
        "1 1 12 aabbccdd 2t7b4g4vsa5smi47k61mv5bv1a22bojr NS SOA MX RRSIG DNSKEY NSEC3PARAM"
    );
    assert_eq!(
        text("NSEC3 1 0 0 - 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR"),
        "1 0 0 - 2t7b4g4vsa5smi47k61mv5bv1a22bojr"
    );
    assert_eq!(wire("NSEC3PARAM 1 0 12 aabbccdd"), "0100000c04aabbccdd");
    assert_eq!(wire("NSEC3PARAM 1 0 65535 -"), "0100ffff00");
    for (line, expected) in [
        ("NSEC3PARAM 1 0 12 abc", "23: expected a salt"),
        ("NSEC3PARAM 1 0 12", "22: expected a salt"),
        ("NSEC3 1 0 0 - 2", "19: expected a hash"),
        ("NSEC3 1 0 0 - 01", "19: expected a hash"),
        ("NSEC3 1 0 0 - w0", "19: expected a hash"),
        ("NSEC3 1 0 0 - 000", "19: expected a hash"),
        ("NSEC3 1 0 0 -", "18: expected a hash"),
    ] {
        assert!(wrong(line).starts_with(expected), "{line}: {}", wrong(line));
    }
    let most = "ab".repeat(255);
    assert_eq!(
        wire(&format!("NSEC3PARAM 1 0 0 {most}")),
        format!("01000000ff{most}")
    );
    assert!(
        wrong(&format!("NSEC3PARAM 1 0 0 {most}ab"))
            .starts_with("22: expected a salt of at most 255")
    );
}

#[test]
fn prefixes_of_rfc_3123() {
    assert_eq!(
        wire("APL 1:192.168.32.0/21 !1:192.168.38.0/28"),
        "00011503c0a82000011c83c0a826"
    );
    assert_eq!(
        wire("APL 1:224.0.0.0/4 2:FF00:0:0:0:0:0:0:0/8"),
        "00010401e000020801ff"
    );
    assert_eq!(
        text("APL 1:0.0.0.0/0 !2:::/0 2:FF00:0:0:0:0:0:0:0/8"),
        "1:0.0.0.0/0 !2:::/0 2:ff00::/8"
    );
    assert_eq!(text(r"APL \# 0"), "");
    assert_eq!(data("a APL"), "APL ");
    for bad in [
        "1:1.2.3.4/33",
        "2:::/129",
        "3:ff/8",
        "1:1.2.3.4",
        "1.2.3.4/8",
        "!!1:1.2.3.4/8",
        "1:1.2.3/8",
        "\"1:1.2.3.4/8\"",
        "1:::/8",
    ] {
        assert!(
            wrong(&format!("APL {bad}")).starts_with("9: expected an address prefix"),
            "{bad}"
        );
    }
    // A zero at the end of an address, an address that is too long, a prefix that is, and one cut short.
    for bad in [
        "0001 08 02 0a00",
        "0001 08 05 0102030405",
        "0001 21 00",
        "0002 81 00",
        "0001 08 02 0a",
    ] {
        let length = bad.replace(' ', "").len() / 2;
        assert!(
            wrong(&format!(r"APL \# {length} {bad}")).contains("that this type prescribes"),
            "{bad}"
        );
    }
    // A family without a text.
    assert_eq!(text(r"APL \# 5 0003 ff 01 ab"), r"\# 5 0003ff01ab");
}

#[test]
fn gateways_of_rfc_4025() {
    let key = "AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==";
    let octets = "010351537986ed35533b6064478eeeb27b5bd74dae149b6e81ba3a0521af82ab7801";
    for (gateway, expected) in [
        ("1 2 192.0.2.38", "0102c0000226".to_string()),
        ("0 2 .", "0002".to_string()),
        (
            "3 2 mygateway.example.com.",
            format!("0302{}", hex("mygateway.example.com")),
        ),
        (
            "2 2 2001:db8:0:8002::2000:1",
            "020220010db8000080020000000020000001".to_string(),
        ),
    ] {
        let line = format!("IPSECKEY ( 10 {gateway} {key} )");
        assert_eq!(wire(&line), format!("0a{expected}{octets}"));
        assert_eq!(text(&line), format!("10 {gateway} {key}"));
    }
    assert_eq!(text("IPSECKEY 10 0 0 ."), "10 0 0 .");
    assert_eq!(wire("IPSECKEY 10 3 0 b"), "0a03000162016f00");
    for (line, expected) in [
        (
            "IPSECKEY 10 4 2 .",
            "17: expected a gateway type from 0 to 3",
        ),
        ("IPSECKEY 10 0 2 x", "21: expected a dot"),
        ("IPSECKEY 10 1 2 .", "21: expected an IPv4 address"),
        ("IPSECKEY 10 2 2 1.2.3.4", "21: expected an IPv6 address"),
        ("IPSECKEY 10 3 2", "20: expected a domain name"),
    ] {
        assert!(wrong(line).starts_with(expected), "{line}: {}", wrong(line));
    }
    // Nobody compresses the gateway, and there is no fifth kind.
    for bad in ["0a 03 02 c00c", "0a 04 02", "0a 01 02 010203", "0a 02"] {
        let length = bad.replace(' ', "").len() / 2;
        assert!(
            wrong(&format!(r"IPSECKEY \# {length} {bad}")).contains("that this type prescribes"),
            "{bad}"
        );
    }
}

#[test]
fn host_identities_of_rfc_8005() {
    let line = "HIP ( 2 200100107B1A74DF365639CC39F1D578 AQNRU3mG rvs1.example.com. rvs2 )";
    let servers = hex("rvs1.example.com") + &hex("rvs2.o");
    assert_eq!(
        wire(line),
        format!("10020006200100107b1a74df365639cc39f1d578010351537986{servers}")
    );
    assert_eq!(
        text(line),
        "2 200100107b1a74df365639cc39f1d578 AQNRU3mG rvs1.example.com. rvs2.o."
    );
    assert_eq!(text("HIP 2 20 AQ=="), "2 20 AQ==");
    for (line, expected) in [
        ("HIP 2 2 AQ==", "11: expected a host identity tag"),
        ("HIP 2 20", "13: expected a key"),
        ("HIP 2 20 AQ=", "14: expected a key"),
        ("HIP 2 20 AQ== a..", "21: expected a label"),
    ] {
        assert!(wrong(line).starts_with(expected), "{line}: {}", wrong(line));
    }
    for bad in [
        "00 02 0001 01",
        "01 02 0000 20",
        "01 02 0002 20 01",
        "01 02 0001 20 01 c00c",
    ] {
        let length = bad.replace(' ', "").len() / 2;
        assert!(
            wrong(&format!(r"HIP \# {length} {bad}")).contains("that this type prescribes"),
            "{bad}"
        );
    }
}

#[test]
fn authorizations_and_identifiers_of_rfc_8659_and_7553() {
    assert_eq!(
        wire(r#"CAA 0 issue "ca1.example.net""#),
        "000569737375656361312e6578616d706c652e6e6574"
    );
    assert_eq!(text("CAA 128 tbs Unknown"), r#"128 tbs "Unknown""#);
    assert_eq!(text(r#"CAA 0 issue """#), r#"0 issue """#);
    assert_eq!(
        text(r#"URI 10 1 "ftp://ftp1.example.com/public""#),
        r#"10 1 "ftp://ftp1.example.com/public""#
    );
    let long = "x".repeat(300);
    assert_eq!(text(&format!("URI 1 1 {long}")), format!("1 1 \"{long}\""));
    for (line, expected) in [
        ("CAA 0 is-sue x", "11: expected a tag of letters and digits"),
        ("CAA 0 \"issue\" x", "11: expected a tag"),
        ("CAA 0 issue", "16: expected a string"),
        ("CAA 0 issue x y", "19: expected the end of the entry"),
        ("CAA 256 issue x", "9: expected a number from 0 to 255"),
        ("URI 1 1 \"\"", "13: expected a string that isn't empty"),
    ] {
        assert!(wrong(line).starts_with(expected), "{line}: {}", wrong(line));
    }
    for bad in [
        "CAA \\# 2 0000",
        "CAA \\# 3 00012d",
        "CAA \\# 3 000261",
        "URI \\# 4 00010001",
    ] {
        assert!(wrong(bad).contains("that this type prescribes"), "{bad}");
    }
}

#[test]
fn digests_have_the_length_that_their_algorithm_gives_them() {
    for (line, octets) in [
        ("DS 1 8 1", 20),
        ("DS 1 8 2", 32),
        ("CDS 1 8 3", 32),
        ("CDS 1 8 4", 48),
        ("SSHFP 1 1", 20),
        ("SSHFP 4 2", 32),
        ("ZONEMD 1 1 1", 48),
        ("ZONEMD 1 1 2", 64),
    ] {
        let whole = format!("{line} {}", "a5".repeat(octets));
        assert!(text(&whole).ends_with(&"a5".repeat(octets)));
        for other in [1, octets - 1, octets + 1] {
            let found = wrong(&format!("{line} {}", "a5".repeat(other)));
            assert!(
                found.contains("expected a digest as long as those of its algorithm are"),
                "{line}: {found}"
            );
        }
        // On the wire it is nobody's business; such a record has the form of RFC 3597.
        let (record_type, _) = line.split_once(' ').unwrap();
        let start = wire(&whole).len() / 2 - octets;
        let short = format!(
            r"{record_type} \# {} {}",
            start + 1,
            &wire(&whole)[..2 * start + 2]
        );
        assert_eq!(text(&short), short.split_once(' ').unwrap().1);
    }
    assert_eq!(text("CDS 0 0 0 00"), "0 0 0 00");
    assert_eq!(text("TLSA 3 1 1 AB cd"), "3 1 1 abcd");
    assert!(
        wrong("TLSA 3 1 1 abc")
            .ends_with("expected pairs of hexadecimal digits, found the end of the line")
    );
    assert!(wrong("TLSA 3 1 1").starts_with("15: expected pairs of hexadecimal digits"));
    assert!(wrong("TLSA 3 1 1 \"ab\"").starts_with("16: expected pairs"));
    assert!(wrong("TLSA 3 1 1 ab xy").starts_with("19: expected pairs"));
}

#[test]
fn base64_has_its_padding_and_nothing_behind_it() {
    assert_eq!(wire("OPENPGPKEY AQ=="), "01");
    assert_eq!(wire("OPENPGPKEY A QI ="), "0102");
    assert_eq!(wire("OPENPGPKEY AQID"), "010203");
    assert_eq!(wire("OPENPGPKEY +/+/AA=="), "fbffbf00");
    assert_eq!(wire("CDNSKEY 0 3 0 AA=="), "0000030000");
    assert_eq!(text("KEY 512 3 0"), "512 3 0");
    for (bad, column) in [
        ("A", 17),
        ("AQ", 18),
        ("AQ=", 19),
        ("AQI", 19),
        ("AR==", 19),
        ("AQJ=", 19),
        ("AQ==AQ==", 20),
        ("AQ=A", 19),
        ("=AQ=", 16),
        ("A===", 17),
        ("AQ-_", 18),
        ("AQ== =", 21),
        ("\"AQ==\"", 16),
        ("", 16),
    ] {
        let found = wrong(&format!("OPENPGPKEY {bad}"));
        assert!(
            found.starts_with(&format!("{column}: expected Base64")),
            "{bad}: {found}"
        );
    }
}

#[test]
fn link_layer_addresses_of_rfc_7043() {
    assert_eq!(wire("EUI48 00-00-5e-00-53-2a"), "00005e00532a");
    assert_eq!(wire("EUI64 00-00-5E-EF-10-00-00-2A"), "00005eef1000002a");
    assert_eq!(
        text("EUI64 00-00-5E-EF-10-00-00-2A"),
        "00-00-5e-ef-10-00-00-2a"
    );
    for bad in [
        "00-00-5e-00-53",
        "00-00-5e-00-53-2a-00",
        "00:00:5e:00:53:2a",
        "0-00-5e-00-53-2a",
        "00-00-5e-00-53-2a-",
        "00005e00532a",
    ] {
        assert!(
            wrong(&format!("EUI48 {bad}")).starts_with("11: expected six octets"),
            "{bad}"
        );
    }
}

#[test]
fn older_types() {
    assert_eq!(wire("WKS 10.0.0.1 TCP SMTP"), "0a0000010600000040");
    assert_eq!(
        text("WKS 10.0.0.1 udp domain 0 65535 smtp")
            .split(' ')
            .count(),
        6
    );
    assert_eq!(text("WKS 10.0.0.1 6 25 smtp"), "10.0.0.1 6 25");
    assert_eq!(text(r"WKS \# 6 0a000001 06 00"), r"\# 6 0a0000010600");
    assert!(wrong("WKS 10.0.0.1 TCP 65536").starts_with("22: expected a port"));
    assert!(wrong("WKS 10.0.0.1 XYZ").starts_with("18: expected a protocol"));
    assert_eq!(wire("RP a b."), "0161016f00016200");
    assert_eq!(wire("AFSDB 1 b."), "0001016200");
    assert_eq!(wire("PX 50 a. b."), "0032016100016200");
    assert_eq!(
        text(r#"NAPTR 100 10 "" s "!^urn:cid:.+@([^\\.]+\\.)(.*)$!\\2!i" ."#),
        r#"100 10 "" "s" "!^urn:cid:.+@([^\\.]+\\.)(.*)$!\\2!i" ."#
    );
    assert_eq!(wire("CERT PGP 1 RSASHA256 AQ=="), "000300010801");
    assert_eq!(wire("CERT 65535 1 0 AQ=="), "ffff00010001");
    assert_eq!(text("SPF a \"b c\""), r#""a" "b c""#);
}
