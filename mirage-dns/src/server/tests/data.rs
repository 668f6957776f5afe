//! Positive and negative answers: RFC 1034 §6.2, RFC 2308, aliases, additional data.

use super::*;

/// RFC 1034 §6.1: the root zone as it stands there.
const ROOT: &str = "$TTL 86400
.       IN      SOA     SRI-NIC.ARPA. HOSTMASTER.SRI-NIC.ARPA. 870611 1800 300 604800 86400
                NS      A.ISI.EDU.
                NS      C.ISI.EDU.
                NS      SRI-NIC.ARPA.
MIL.    86400   NS      SRI-NIC.ARPA.
          86400 NS      A.ISI.EDU.
EDU.    86400   NS      SRI-NIC.ARPA.
          86400 NS      C.ISI.EDU.
SRI-NIC.ARPA.   A       26.0.0.73
                A       10.0.0.51
                MX      0 SRI-NIC.ARPA.
                HINFO   DEC-2060 TOPS20
ACC.ARPA.       A       26.6.0.65
                HINFO   PDP-11/70 UNIX
                MX      10 ACC.ARPA.
USC-ISIC.ARPA.  CNAME   C.ISI.EDU.
73.0.0.26.IN-ADDR.ARPA.  PTR    SRI-NIC.ARPA.
A.ISI.EDU. 86400 A      26.3.0.103
C.ISI.EDU. 86400 A      10.0.0.52
";

/// RFC 1034 §6.1: a part of the EDU zone.
const EDU: &str = "$TTL 86400
$ORIGIN EDU.
EDU.  IN SOA SRI-NIC.ARPA. HOSTMASTER.SRI-NIC.ARPA. 870729 1800 300 604800 86400
         NS SRI-NIC.ARPA.
         NS C.ISI.EDU.
ISI      172800 NS VAXA.ISI
         172800 NS A.ISI
VAXA.ISI 172800 A 10.2.0.27
         172800 A 128.9.0.33
A.ISI    172800 A 26.3.0.103
C.ISI    172800 A 10.0.0.52
";

const ROOT_SOA: &str =
    ". 86400 SOA SRI-NIC.ARPA. HOSTMASTER.SRI-NIC.ARPA. 870611 1800 300 604800 86400";

#[test]
fn rfc_1034_section_6_2_1_addresses() {
    let image = compile(&[ROOT, EDU]);
    let addresses = [
        "SRI-NIC.ARPA. 86400 A 26.0.0.73",
        "SRI-NIC.ARPA. 86400 A 10.0.0.51",
    ];
    ask(&image, "SRI-NIC.ARPA. A").is("NOERROR aa", &addresses, &[], &[]);
}

#[test]
fn rfc_1034_section_6_2_2_all_types() {
    let image = compile(&[ROOT, EDU]);
    let all = [
        "SRI-NIC.ARPA. 86400 A 26.0.0.73",
        "SRI-NIC.ARPA. 86400 A 10.0.0.51",
        "SRI-NIC.ARPA. 86400 HINFO DEC-2060 TOPS20",
        "SRI-NIC.ARPA. 86400 MX 0 SRI-NIC.ARPA.",
    ];
    Ask::new("SRI-NIC.ARPA. ANY")
        .tcp()
        .of(&image)
        .is("NOERROR aa", &all, &[], &[]);
    // RFC 8482 §4.1: one RRset over UDP.
    ask(&image, "SRI-NIC.ARPA. ANY").is("NOERROR aa", &all[..2], &[], &[]);
    ask(&image, "ARPA. ANY").is("NOERROR aa", &[], &[ROOT_SOA], &[]);
}

#[test]
fn rfc_1034_section_6_2_3_mail_exchange_with_addresses() {
    let image = compile(&[ROOT, EDU]);
    ask(&image, "SRI-NIC.ARPA. MX").is(
        "NOERROR aa",
        &["SRI-NIC.ARPA. 86400 MX 0 SRI-NIC.ARPA."],
        &[],
        &[
            "SRI-NIC.ARPA. 86400 A 26.0.0.73",
            "SRI-NIC.ARPA. 86400 A 10.0.0.51",
        ],
    );
}

#[test]
fn rfc_1034_section_6_2_4_no_such_type() {
    let image = compile(&[ROOT, EDU]);
    ask(&image, "SRI-NIC.ARPA. NS").is("NOERROR aa", &[], &[ROOT_SOA], &[]);
}

#[test]
fn rfc_1034_section_6_2_5_no_such_name() {
    let image = compile(&[ROOT, EDU]);
    ask(&image, "SIR-NIC.ARPA. A").is("NXDOMAIN aa", &[], &[ROOT_SOA], &[]);
}

#[test]
fn rfc_1034_section_6_2_6_referral() {
    let image = compile(&[ROOT, EDU]);
    ask(&image, "BRL.MIL. A").is(
        "NOERROR",
        &[],
        &["MIL. 86400 NS SRI-NIC.ARPA.", "MIL. 86400 NS A.ISI.EDU."],
        &[
            "SRI-NIC.ARPA. 86400 A 26.0.0.73",
            "SRI-NIC.ARPA. 86400 A 10.0.0.51",
            "A.ISI.EDU. 86400 A 26.3.0.103",
        ],
    );
}

#[test]
fn rfc_1034_section_6_2_7_alias_into_another_zone() {
    // Both zones are served, and the second has cut ISI.EDU off: the chain ends in a referral.
    let image = compile(&[ROOT, EDU]);
    let reply = ask(&image, "USC-ISIC.ARPA. A");
    reply.is(
        "NOERROR aa",
        &["USC-ISIC.ARPA. 86400 CNAME C.ISI.EDU."],
        &[
            "ISI.EDU. 172800 NS VAXA.ISI.EDU.",
            "ISI.EDU. 172800 NS A.ISI.EDU.",
        ],
        &[
            "VAXA.ISI.EDU. 172800 A 10.2.0.27",
            "VAXA.ISI.EDU. 172800 A 128.9.0.33",
            "A.ISI.EDU. 172800 A 26.3.0.103",
        ],
    );
}

#[test]
fn rfc_1034_section_6_2_8_the_alias_itself() {
    let image = compile(&[ROOT, EDU]);
    let alias = ["USC-ISIC.ARPA. 86400 CNAME C.ISI.EDU."];
    ask(&image, "USC-ISIC.ARPA. CNAME").is("NOERROR aa", &alias, &[], &[]);
}

#[test]
fn negative_ttl_is_the_lesser_of_the_soa_ttl_and_its_minimum() {
    // RFC 2308 §3; the SOA itself keeps its TTL when it is asked for.
    for (ttl, minimum, expected) in [(3600, 300, 300), (60, 300, 60)] {
        let text = format!(
            "example. {ttl} SOA ns.example. root.example. 1 2 3 4 {minimum}\nexample. 5 NS ns.example.org."
        );
        let image = compile(&[&text]);
        let numbers = format!("SOA ns.example. root.example. 1 2 3 4 {minimum}");
        let soa = format!("example. {expected} {numbers}");
        ask(&image, "x.example. A").is("NXDOMAIN aa", &[], &[&soa], &[]);
        ask(&image, "example. A").is("NOERROR aa", &[], &[&soa], &[]);
        let own = format!("example. {ttl} {numbers}");
        ask(&image, "example. SOA").is("NOERROR aa", &[&own], &[], &[]);
    }
}

const ALIASES: &str = "$TTL 60
example. SOA ns root 1 2 3 4 5
example. NS ns.example.org.
www.example. CNAME host.example.
host.example. A 192.0.2.1
gone.example. CNAME nothing.example.
nodata.example. CNAME host.example.
out.example. CNAME www.example.org.
one.example. CNAME two.example.
two.example. CNAME one.example.
self.example. CNAME self.example.
below.example. CNAME a.b.sub.example.
sub.example. NS ns.sub.example.
ns.sub.example. A 192.0.2.53
";

const ALIASES_SOA: &str = "example. 5 SOA ns.example. root.example. 1 2 3 4 5";

#[test]
fn code_after_an_alias_is_that_of_the_last_name() {
    // RFC 2308 §2.1 and RFC 6604 §3.
    let image = compile(&[&ALIASES.replace(" ns root", " ns.example. root.example.")]);
    ask(&image, "www.example. A").is(
        "NOERROR aa",
        &[
            "www.example. 60 CNAME host.example.",
            "host.example. 60 A 192.0.2.1",
        ],
        &[],
        &[],
    );
    let gone = ["gone.example. 60 CNAME nothing.example."];
    ask(&image, "gone.example. A").is("NXDOMAIN aa", &gone, &[ALIASES_SOA], &[]);
    let nodata = ["nodata.example. 60 CNAME host.example."];
    ask(&image, "nodata.example. AAAA").is("NOERROR aa", &nodata, &[ALIASES_SOA], &[]);
    let out = ["out.example. 60 CNAME www.example.org."];
    ask(&image, "out.example. A").is("NOERROR aa", &out, &[], &[]);
    ask(&image, "below.example. A").is(
        "NOERROR aa",
        &["below.example. 60 CNAME a.b.sub.example."],
        &["sub.example. 60 NS ns.sub.example."],
        &["ns.sub.example. 60 A 192.0.2.53"],
    );
}

#[test]
fn aliases_that_loop_are_given_once() {
    let image = compile(&[&ALIASES.replace(" ns root", " ns.example. root.example.")]);
    let both = [
        "one.example. 60 CNAME two.example.",
        "two.example. 60 CNAME one.example.",
    ];
    ask(&image, "one.example. A").is("NOERROR aa", &both, &[], &[]);
    let own = ["self.example. 60 CNAME self.example."];
    ask(&image, "self.example. A").is("NOERROR aa", &own, &[], &[]);
}

#[test]
fn chain_of_aliases_is_followed_so_far_and_no_further() {
    let mut text = String::from(
        "$TTL 60\nexample. SOA ns.example. root.example. 1 2 3 4 5\nexample. NS ns.example.org.\n",
    );
    for index in 0..100 {
        text += &format!("a{index}.example. CNAME a{}.example.\n", index + 1);
    }
    let image = compile(&[&text]);
    let reply = Ask::new("a0.example. A").tcp().of(&image);
    assert_eq!(reply.status, "NOERROR aa");
    assert_eq!(reply.sections[0].len(), MAX_ALIASES + 1);
    assert_eq!(reply.answer.lookups.names as usize, MAX_ALIASES + 1);
}

#[test]
fn addresses_go_with_ns_mx_and_srv_but_glue_with_ns_alone() {
    let image = compile(&["$TTL 60
        example. SOA ns.example. root.example. 1 2 3 4 5
        example. NS ns.example.
        example. NS ns.sub.example.
        example. MX 1 ns.example.
        example. MX 2 ns.example.
        example. MX 3 ns.sub.example.
        _s._tcp.example. SRV 1 2 3 ns.example.
        ns.example. A 192.0.2.1
        ns.example. AAAA 2001:db8::1
        sub.example. NS ns.sub.example.
        ns.sub.example. A 192.0.2.2"]);
    let both = [
        "ns.example. 60 A 192.0.2.1",
        "ns.example. 60 AAAA 2001:db8::1",
    ];
    let glue = "ns.sub.example. 60 A 192.0.2.2";
    assert_eq!(
        ask(&image, "example. NS").sections[2],
        [both[0], both[1], glue]
    );
    // An address is given once, however many records name it.
    assert_eq!(ask(&image, "example. MX").sections[2], both);
    assert_eq!(ask(&image, "_s._tcp.example. SRV").sections[2], both);
    assert!(ask(&image, "ns.example. A").sections[2].is_empty());
}

#[test]
fn case_of_the_question_is_kept_in_owners_and_of_the_zone_in_rdata() {
    let image = compile(&["$TTL 60
        Example. SOA ns.Example. root.example. 1 2 3 4 5
        Example. NS ns1.Example.
        Example. NS ns2.Example.
        Example. NS ns3.eXample.
        Example. MX 1 ns1.example."]);
    let reply = ask(&image, "eXAMPLE. NS");
    let expected = [
        "eXAMPLE. 60 NS ns1.Example.",
        "eXAMPLE. 60 NS ns2.Example.",
        "eXAMPLE. 60 NS ns3.eXample.",
    ];
    reply.is("NOERROR aa", &expected, &[], &[]);
    assert_eq!(&reply.octets[12..21], b"\x07eXAMPLE\0");
    // The second name leans on the first, the third has another case than both.
    let lengths: Vec<_> = reader_lengths(&reply);
    assert_eq!(lengths, [13, 6, 13]);
    let same_case = ask(&image, "Example. NS");
    assert_eq!(reader_lengths(&same_case), [6, 6, 13]);
    assert_eq!(
        ask(&image, "EXAMPLE. MX").sections[0],
        ["EXAMPLE. 60 MX 1 ns1.example."]
    );
}

fn reader_lengths(reply: &Reply) -> Vec<usize> {
    let records = reply.reader().section(Section::Answer).map(Result::unwrap);
    records.map(|record| record.raw_rdata().len()).collect()
}

#[test]
fn unknown_types_are_served_as_they_are() {
    // RFC 3597: octets that look like a name are none.
    let image = compile(&["$TTL 60
        example. SOA ns.example. root.example. 1 2 3 4 5
        example. NS ns.example.org.
        example. TYPE731 \\# 6 abcdef01c00c"]);
    ask(&image, "example. TYPE731").is(
        "NOERROR aa",
        &["example. 60 TYPE731 \\# 6 abcdef01c00c"],
        &[],
        &[],
    );
    assert_eq!(ask(&image, "example. TYPE732").status, "NOERROR aa");
}

/// A question, how many names it looks for, the code and flags, and how many records the sections of its answer have.
type Cost = (&'static str, u32, &'static str, [usize; 3]);

#[test]
fn cost_of_a_query_does_not_grow_with_the_zone() {
    // No name of the zone has more labels than three, so that no question looks for more names.
    const COSTS: [Cost; 7] = [
        ("host{}.example. A", 1, "NOERROR aa", [1, 0, 0]),
        ("host{}.example. TXT", 1, "NOERROR aa", [0, 1, 0]),
        ("x.y.nohost{}.example. A", 3, "NXDOMAIN aa", [0, 1, 0]),
        // Wildcards and additional addresses need no look-up of their own: the compiler stored where they are.
        ("{}.any.example. A", 2, "NOERROR aa", [1, 0, 0]),
        ("x.y.{}.any.example. A", 2, "NOERROR aa", [1, 0, 0]),
        ("x.sub{}.example. A", 2, "NOERROR", [0, 1, 1]),
        ("mail{}.example. MX", 1, "NOERROR aa", [1, 0, 1]),
    ];
    for families in [2, 5_000] {
        let mut text = String::from(
            "$TTL 60\nexample. SOA ns.example. root.example. 1 2 3 4 5\nexample. NS ns.example.org.\n\
             *.any.example. A 192.0.2.1\n",
        );
        for index in 0..families {
            text += &format!(
                "host{index}.example. A 192.0.2.1\nmail{index}.example. MX 1 host{index}.example.\n\
                 sub{index}.example. NS ns.sub{index}.example.\nns.sub{index}.example. A 192.0.2.1\n"
            );
        }
        let image = compile(&[&text]);
        let zones = ZoneSet::from_bytes(&image).unwrap();
        // Four names a family; the apex, the wildcard and the name between them.
        assert_eq!(zones.name_count(), 4 * families + 3);
        for (pattern, names, status, records) in COSTS {
            for index in (0..families).step_by(families.div_ceil(100)) {
                let question = pattern.replace("{}", &index.to_string());
                let reply = Ask::new(&question).of_zones(&zones);
                assert_eq!(reply.status, status, "{question}");
                let counts = reply.sections.each_ref().map(Vec::len);
                assert_eq!(counts, records, "{question}");
                let lookups = reply.answer.lookups;
                assert_eq!(lookups.names, names, "{question}, {families} families");
                assert!(
                    lookups.probes <= names * crate::zone_set::MAX_PROBES,
                    "{question}, {families} families: {} probes",
                    lookups.probes
                );
            }
        }
    }
}
