//! RFC 4592: the example zone of §2.2.1 with each answer that it lists, and what later sections add.

use super::*;
use crate::zone_set::ZoneSetBuilder;

const SOA: &str = "example. 300 SOA ns.example.com. root.example. 1 3600 600 86400 300";

/// RFC 4592 §2.2.1, with rdata where the RFC leaves it out.
fn zone() -> Vec<u8> {
    compile(&["$ORIGIN example.
        example.                 3600 IN  SOA   ns.example.com. root 1 3600 600 86400 300
        example.                 3600     NS    ns.example.com.
        example.                 3600     NS    ns.example.net.
        *.example.               3600     TXT   \"this is a wildcard\"
        *.example.               3600     MX    10 host1.example.
        sub.*.example.           3600     TXT   \"this is not a wildcard\"
        host1.example.           3600     A     192.0.2.1
        _ssh._tcp.host1.example. 3600     SRV   0 0 22 host1.example.
        _ssh._tcp.host2.example. 3600     SRV   0 0 22 host1.example.
        subdel.example.          3600     NS    ns.example.com.
        subdel.example.          3600     NS    ns.example.net.
    "])
}

#[test]
fn rfc_4592_section_2_2_1_host3_mx_is_synthesized() {
    ask(&zone(), "host3.example. MX").is(
        "NOERROR aa",
        &["host3.example. 3600 MX 10 host1.example."],
        &[],
        &["host1.example. 3600 A 192.0.2.1"],
    );
}

#[test]
fn rfc_4592_section_2_2_1_host3_a_has_no_data() {
    ask(&zone(), "host3.example. A").is("NOERROR aa", &[], &[SOA], &[]);
}

#[test]
fn rfc_4592_section_2_2_1_foo_bar_txt_is_synthesized() {
    ask(&zone(), "foo.bar.example. TXT").is(
        "NOERROR aa",
        &["foo.bar.example. 3600 TXT this is a wildcard"],
        &[],
        &[],
    );
}

#[test]
fn rfc_4592_section_2_2_1_host1_mx_is_not_synthesized_because_host1_exists() {
    ask(&zone(), "host1.example. MX").is("NOERROR aa", &[], &[SOA], &[]);
}

#[test]
fn rfc_4592_section_2_2_1_sub_below_the_asterisk_mx_is_not_synthesized_because_it_exists() {
    ask(&zone(), "sub.*.example. MX").is("NOERROR aa", &[], &[SOA], &[]);
}

#[test]
fn rfc_4592_section_2_2_1_telnet_srv_is_not_synthesized_because_tcp_host1_exists() {
    ask(&zone(), "_telnet._tcp.host1.example. SRV").is("NXDOMAIN aa", &[], &[SOA], &[]);
}

#[test]
fn rfc_4592_section_2_2_1_host_below_subdel_is_referred() {
    ask(&zone(), "host.subdel.example. A").is(
        "NOERROR",
        &[],
        &[
            "subdel.example. 3600 NS ns.example.com.",
            "subdel.example. 3600 NS ns.example.net.",
        ],
        &[],
    );
}

#[test]
fn rfc_4592_section_2_2_1_ghost_below_the_asterisk_does_not_exist() {
    ask(&zone(), "ghost.*.example. MX").is("NXDOMAIN aa", &[], &[SOA], &[]);
}

#[test]
fn rfc_4592_section_2_2_2_empty_non_terminals_exist() {
    for name in [
        "_tcp.host1.example.",
        "_tcp.host2.example.",
        "host2.example.",
    ] {
        ask(&zone(), &format!("{name} MX")).is("NOERROR aa", &[], &[SOA], &[]);
    }
    ask(&zone(), "x.host2.example. MX").is("NXDOMAIN aa", &[], &[SOA], &[]);
}

#[test]
fn asterisk_in_the_question_is_a_name_like_any_other() {
    ask(&zone(), "*.example. TXT").is(
        "NOERROR aa",
        &["*.example. 3600 TXT this is a wildcard"],
        &[],
        &[],
    );
    ask(&zone(), "*.*.example. TXT").is("NXDOMAIN aa", &[], &[SOA], &[]);
    ask(&zone(), "*.foo.example. TXT").is(
        "NOERROR aa",
        &["*.foo.example. 3600 TXT this is a wildcard"],
        &[],
        &[],
    );
}

#[test]
fn empty_wildcard_makes_names_exist_without_data() {
    // RFC 4592 §4.9: sub.* gives the asterisk no data of its own.
    let image = compile(&["$TTL 60
        example. SOA ns.example. root.example. 1 3600 600 86400 300
        example. NS ns.example.com.
        sub.*.example. TXT here"]);
    let reply = ask(&image, "nothing.example. TXT");
    assert_eq!(reply.status, "NOERROR aa");
    assert!(reply.sections[0].is_empty());
}

#[test]
fn wildcard_cname_is_followed_and_ends_where_it_covers_itself() {
    // RFC 4592 §4.4.
    let image = compile(&["$TTL 60
        example. SOA ns.example. root.example. 1 3600 600 86400 300
        example. NS ns.example.com.
        *.example. CNAME host.real.example.
        host.real.example. A 192.0.2.7
        *.loop.example. CNAME x.y.loop.example."]);
    ask(&image, "a.b.example. A").is(
        "NOERROR aa",
        &[
            "a.b.example. 60 CNAME host.real.example.",
            "host.real.example. 60 A 192.0.2.7",
        ],
        &[],
        &[],
    );
    ask(&image, "a.example. CNAME").is(
        "NOERROR aa",
        &["a.example. 60 CNAME host.real.example."],
        &[],
        &[],
    );
    ask(&image, "a.loop.example. A").is(
        "NOERROR aa",
        &[
            "a.loop.example. 60 CNAME x.y.loop.example.",
            "x.y.loop.example. 60 CNAME x.y.loop.example.",
        ],
        &[],
        &[],
    );
}

#[test]
fn ns_at_a_wildcard_is_data_for_covered_names_and_a_cut_for_its_own() {
    // The zone compiler warns of it.
    let wire = |text: &str| {
        NameBuf::from_text(text)
            .unwrap()
            .as_name()
            .as_wire()
            .to_vec()
    };
    let apex = NameBuf::from_text("example.").unwrap();
    let asterisk = NameBuf::from_text("*.example.").unwrap();
    let soa = [wire("ns.example."), wire("root.example."), std::vec![0; 20]].concat();
    let mut builder = ZoneSetBuilder::new();
    let zone = builder.add_zone(apex.as_name()).unwrap();
    let mut add = |owner: &NameBuf, record_type, rdata: &[u8]| {
        builder
            .add_record(zone, owner.as_name(), record_type, 60, rdata)
            .unwrap();
    };
    add(&apex, RecordType::SOA, &soa);
    add(&asterisk, RecordType::NS, &wire("ns.example.net."));
    let image = builder.build().unwrap();
    ask(&image, "a.example. NS").is(
        "NOERROR aa",
        &["a.example. 60 NS ns.example.net."],
        &[],
        &[],
    );
    assert_eq!(ask(&image, "a.example. A").status, "NOERROR aa");
    ask(&image, "*.example. A").is("NOERROR", &[], &["*.example. 60 NS ns.example.net."], &[]);
    ask(&image, "b.*.example. A").is("NOERROR", &[], &["*.example. 60 NS ns.example.net."], &[]);
}
