//! Each problem in a zone that has it and in one that hasn't.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::master_file::NoFiles;
use crate::record::RecordType;
use crate::zone_set::ZoneSet;

const HEAD: &str = "$ORIGIN o.\n$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";
/// The lines of [`HEAD`].
const HEAD_LINES: u32 = 5;

fn compile_texts(texts: &[&str]) -> Result<Compiled, Diagnostics> {
    let mut compiler = ZoneCompiler::new();
    for text in texts {
        let source = Source {
            name: "z",
            text: text.as_bytes(),
        };
        compiler.add_zone(source, &NoFiles);
    }
    compiler.finish()
}

/// What is found in [`HEAD`] and `body`, whose lines count from 1: `line: severity: text`.
fn found(body: &str) -> Vec<String> {
    let all = match compile_texts(&[&format!("{HEAD}{body}")]) {
        Ok(compiled) => {
            ZoneSet::from_bytes(&compiled.image).expect("a valid image");
            assert_eq!(compiled.warnings.error_count(), 0);
            compiled.warnings
        }
        Err(errors) => {
            assert!(errors.error_count() > 0);
            errors
        }
    };
    all.iter()
        .map(|diagnostic| {
            let text = diagnostic.to_string();
            let text = text.splitn(4, ':').nth(3).unwrap().to_string();
            format!("{}:{text}", diagnostic.line - HEAD_LINES)
        })
        .collect()
}

fn whole(text: &str) -> String {
    compile_texts(&[text]).unwrap_err().to_string()
}

#[test]
fn clean_zone_has_no_diagnostics() {
    let body = "www A 192.0.2.2\n    A 192.0.2.3\n    AAAA 2001:db8::1\n* TXT x\nsub NS ns.sub\n NS ns.other.\n NS ns\n \
                DS \\# 5 0102030405\nns.sub A 192.0.2.4\nalias CNAME www\n@ MX 10 www\n_x._tcp SRV 1 2 3 www\n\
                here NS here\nhere A 192.0.2.9\n";
    assert!(found(body).is_empty(), "{:?}", found(body));
}

#[test]
fn records_of_the_zone_are_in_the_image() {
    let compiled = compile_texts(&[&format!("{HEAD}www A 192.0.2.2\nWWW A 192.0.2.3\n")]).unwrap();
    let set = ZoneSet::from_bytes(&compiled.image).unwrap();
    assert_eq!(set.zones().count(), 1);
    let zone = set.zones().next().unwrap();
    assert_eq!(zone.apex().to_string(), "o.");
    let all: Vec<String> = zone
        .records()
        .map(|r| format!("{} {} {} {:?}", r.owner, r.ttl, r.record_type, r.rdata))
        .collect();
    assert_eq!(all.len(), 5);
    assert!(
        all.contains(&"www.o. 60 A [192, 0, 2, 2]".to_string()),
        "{all:?}"
    );
    assert!(
        all.contains(&"www.o. 60 A [192, 0, 2, 3]".to_string()),
        "{all:?}"
    );
}

#[test]
fn zone_without_soa_or_with_two() {
    assert_eq!(
        whole("$TTL 1\na. NS b.\n"),
        "z: error: the zone has no SOA record (RFC 1035 §5.2)\n"
    );
    assert_eq!(
        whole(""),
        "z: error: the zone has no SOA record (RFC 1035 §5.2)\n"
    );
    assert_eq!(
        found("@ SOA ns root 2 2 3 4 5"),
        ["1: error: o.: a second SOA record (RFC 1035 §5.2: exactly one)"]
    );
    assert_eq!(
        found("sub SOA ns root 1 2 3 4 5"),
        ["1: error: sub.o.: a second SOA record (RFC 1035 §5.2: exactly one)"]
    );
    assert_eq!(
        found("@ SOA NS Root 1 2 3 4 5"),
        ["1: warning: o.: the same SOA record a second time, left out"]
    );
    assert_eq!(found("p. SOA a. b. 1 2 3 4 5").len(), 1);
}

#[test]
fn apex_without_ns() {
    assert_eq!(
        whole("$TTL 1\na. SOA b. c. 1 2 3 4 5\nsub.a. NS b.\n"),
        "z:2:1: error: a.: the zone has no NS record at its apex (RFC 1034 §4.2.1)\n"
    );
}

#[test]
fn data_outside_the_zone() {
    assert_eq!(
        found("p. A 192.0.2.1\nxo. A 192.0.2.1\na.O. A 192.0.2.1"),
        [
            "1: error: p.: outside the zone o.",
            "2: error: xo.: outside the zone o."
        ]
    );
}

#[test]
fn cname_and_other_data() {
    let error = |line: u32, other: &str| {
        format!("{line}: error: a.o.: CNAME and {other} at the same name (RFC 1034 §3.6.2)")
    };
    assert_eq!(
        found("a CNAME b\na A 192.0.2.1\na A 192.0.2.2"),
        [error(2, "A")]
    );
    assert_eq!(
        found("a TXT x\nb A 192.0.2.1\na CNAME b"),
        [error(3, "TXT")]
    );
    assert_eq!(
        found("a TXT x\na CNAME b\na MX 1 b.p."),
        [error(2, "TXT"), error(3, "MX")]
    );
    assert_eq!(
        found("a CNAME b\na CNAME c"),
        ["2: error: a.o.: more than one CNAME (RFC 2181 §10.1)"]
    );
    assert_eq!(
        found("a CNAME b\na CNAME B"),
        ["2: warning: a.o.: the same CNAME record a second time, left out"]
    );
    assert!(found("a CNAME b\na NSEC b CNAME\na RRSIG CNAME 8 2 5 1 1 1 o. AA==\na KEY 256 3 8\na SIG CNAME 8 2 5 1 1 1 o. AA==").is_empty());
    assert_eq!(found("@ CNAME b").len(), 2, "SOA and NS stand beside it");
}

#[test]
fn duplicates_are_left_out_with_a_warning() {
    assert_eq!(
        found("a A 192.0.2.1\nb MX 1 c.p.\na A 192.0.2.1\nB MX 1 C.P."),
        [
            "3: warning: a.o.: the same A record a second time, left out",
            "4: warning: B.o.: the same MX record a second time, left out",
        ]
    );
    // Text has case.
    assert!(found("a TXT x\na TXT X").is_empty());
    let compiled = compile_texts(&[&format!("{HEAD}a A 192.0.2.7\na A 192.0.2.7")]).unwrap();
    let set = ZoneSet::from_bytes(&compiled.image).unwrap();
    let copies = set.zones().next().unwrap().records();
    assert_eq!(copies.filter(|r| r.rdata == [192, 0, 2, 7]).count(), 1);
}

#[test]
fn different_ttls_in_an_rrset_become_the_lowest() {
    let body = "a 9 A 192.0.2.1\na 7 A 192.0.2.2\na 9 A 192.0.2.3\na 1 TXT x";
    assert_eq!(
        found(body),
        [
            "2: warning: a.o.: TTL 7 differs from the 9 of the A RRset; the lowest is served (RFC 2181 §5.2)"
        ]
    );
    let compiled = compile_texts(&[&format!("{HEAD}{body}")]).unwrap();
    let set = ZoneSet::from_bytes(&compiled.image).unwrap();
    let zone = set.zones().next().unwrap();
    let ttls: Vec<u32> = zone
        .records()
        .filter(|r| {
            r.record_type == RecordType::A && r.rdata[3] < 4 && r.owner.to_string() == "a.o."
        })
        .map(|r| r.ttl)
        .collect();
    assert_eq!(ttls, [7, 7, 7]);
}

#[test]
fn glue_that_is_missing() {
    assert_eq!(
        found(
            "sub NS ns.sub\nSUB NS a.b.sub\nsub NS ns.other.sub2\nsub2 NS ns.p.\nns.sub AAAA ::1"
        ),
        [
            "2: warning: SUB.o.: delegation to a.b.sub.o. without an address of it (glue)",
            "3: warning: sub.o.: delegation to ns.other.sub2.o. without an address of it (glue)",
        ]
    );
    // A wildcard is no glue.
    assert_eq!(found("sub NS ns.sub\n*.sub A 192.0.2.1").len(), 2);
}

#[test]
fn name_server_in_the_zone_without_address() {
    assert_eq!(
        found("@ NS ns2\nx NS ns3\nns3 TXT x"),
        [
            "1: warning: o.: the name server ns2.o. has no address",
            "2: warning: x.o.: the name server ns3.o. has no address",
        ]
    );
    assert!(found("@ NS ns2\n* A 192.0.2.1").is_empty());
    assert!(found("@ NS ns.w\n*.w A 192.0.2.1").is_empty());
    // The wildcard of a name further up, or a name that exists, is not answered from it.
    assert_eq!(found("@ NS ns2.w\n* A 192.0.2.1\nw TXT x").len(), 1);
    assert_eq!(found("@ NS ns2\n* A 192.0.2.1\na.ns2 TXT x").len(), 1);
}

#[test]
fn data_hidden_by_delegations() {
    assert_eq!(
        found(
            "sub NS ns.sub\nns.sub A 192.0.2.1\nns.sub TXT x\nsub A 192.0.2.1\nwww.sub A 192.0.2.1\nb.a.sub NS x.p.\n\
             sub MX 1 x.p.\nsub2 A 192.0.2.1"
        ),
        [
            "3: warning: ns.sub.o.: TXT is hidden by the delegation of sub.o.",
            "4: warning: sub.o.: A is hidden by the delegation of sub.o.",
            "5: warning: www.sub.o.: A is hidden by the delegation of sub.o.",
            "6: warning: b.a.sub.o.: NS is hidden by the delegation of sub.o.",
            "7: warning: sub.o.: MX is hidden by the delegation of sub.o.",
        ]
    );
}

#[test]
fn targets_that_are_aliases() {
    assert_eq!(
        found("a CNAME b.p.\n@ MX 1 A\n@ NS a\n_s SRV 0 0 0 a\nx CNAME a\ny PTR a"),
        [
            "2: warning: o.: MX points to A.o., which is a CNAME (RFC 2181 §10.3)",
            "3: warning: o.: NS points to a.o., which is a CNAME (RFC 2181 §10.3)",
            "4: warning: _s.o.: SRV points to a.o., which is a CNAME (RFC 2181 §10.3)",
        ]
    );
}

#[test]
fn what_is_not_served_is_refused_with_its_reason() {
    assert!(
        found("@ DNSKEY \\# 5 0100030801")[0]
            .starts_with("1: error: o.: DNSKEY at the apex: the zone is signed")
    );
    assert_eq!(
        found("a CH TXT x"),
        ["1: error: a.o.: class CH: only IN is served"]
    );
    assert_eq!(found("a CLASS77 TXT x").len(), 1);
}

#[test]
fn types_that_mean_nothing_where_they_stand() {
    assert_eq!(
        found(
            "@ DS 1 8 3 \\# 0\n@ DS \\# 5 0001080300\na DS \\# 5 0001080300\nb NS ns.p.\n DS \\# 5 0001080300\n\
             c NSEC3PARAM 1 0 1 -\nc CDS 0 0 0 00\nc CDNSKEY 0 3 0 AA==\nc CSYNC 1 1 A\nc ZONEMD 1 1 240 \
             000102030405060708090a0b\nc DNSKEY 256 3 8 AAAA\nc SVCB 0 x port=1\nc HTTPS 0 x\nc HTTPS 1 x port=1\n@ CDS 0 0 0 00\n\
             @ CDNSKEY 0 3 0 AA==\n@ NSEC3PARAM 1 0 1 -"
        ),
        [
            "1: error: expected pairs of hexadecimal digits, found \"\\#\"",
            "2: warning: o.: DS where there is no delegation (RFC 4035 §2.4)",
            "3: warning: a.o.: DS where there is no delegation (RFC 4035 §2.4)",
            "6: warning: c.o.: NSEC3PARAM elsewhere than at the zone's apex means nothing",
            "7: warning: c.o.: CDS elsewhere than at the zone's apex means nothing",
            "8: warning: c.o.: CDNSKEY elsewhere than at the zone's apex means nothing",
            "9: warning: c.o.: CSYNC elsewhere than at the zone's apex means nothing",
            "10: warning: c.o.: ZONEMD elsewhere than at the zone's apex means nothing",
            "12: warning: c.o.: SVCB with priority 0 is an alias, whose parameters are ignored (RFC 9460 §2.4.2)",
        ]
    );
}

#[test]
fn dname_stands_once_and_has_nothing_below_it() {
    assert_eq!(found("a DNAME x.p.\na DNAME X.p.").len(), 1, "a duplicate");
    assert_eq!(
        found(
            "a DNAME x.p.\na DNAME y.p.\nb.a A 192.0.2.1\nc.b.a TXT x\nd DNAME x.p.\nd NS ns.p.\n*.e DNAME x.p.\nf CNAME x.p.\n\
             f DNAME x.p."
        ),
        [
            "2: error: a.o.: more than one DNAME (RFC 6672 §2.4)",
            "3: error: b.a.o.: below a.o., which has a DNAME (RFC 6672 §2.4)",
            "4: error: c.b.a.o.: below a.o., which has a DNAME (RFC 6672 §2.4)",
            "5: error: d.o.: DNAME at a delegation (RFC 6672 §2.3)",
            "5: warning: d.o.: DNAME is hidden by the delegation of d.o.",
            "7: warning: *.e.o.: DNAME at a wildcard redirects nothing that the wildcard covers (RFC 4592 §4.4 discourages it)",
            "9: error: f.o.: CNAME and DNAME at the same name (RFC 1034 §3.6.2)",
        ]
    );
}

#[test]
fn ns_at_a_wildcard_delegates_nothing() {
    assert_eq!(
        found("*.a NS x.p.\n*.a TXT x\nb.*.a TXT y"),
        [
            "1: warning: *.a.o.: NS at a wildcard delegates nothing (RFC 4592 §4.2 leaves it undefined)"
        ]
    );
}

#[test]
fn rrset_that_no_message_holds() {
    let mut body = String::new();
    for n in 0..1_000 {
        body += &format!("a TXT {}{n}\n", "x".repeat(60));
    }
    assert_eq!(
        found(&body),
        ["1: warning: a.o.: the TXT RRset is too large for any message"]
    );
    // One that is there again and again is sent once.
    let again = format!("a TXT {}\n", "x".repeat(60)).repeat(1_000);
    let found = found(&again);
    assert!(!found.is_empty() && found.iter().all(|line| line.contains("a second time")));
}

#[test]
fn all_problems_at_once_in_the_order_of_their_lines() {
    let all = found(
        "p. A 192.0.2.1\na CNAME b\nx NOTYPE y\na A 192.0.2.1\nq. A 192.0.2.1\nb A 192.0.2\n",
    );
    let lines: Vec<&str> = all
        .iter()
        .map(|text| text.split(':').next().unwrap())
        .collect();
    assert_eq!(lines, ["1", "3", "4", "5", "6"]);
}

#[test]
fn syntax_errors_do_not_make_other_data_missing() {
    assert_eq!(
        whole("$ORIGIN o.\n$TTL 60\n@ SOA ns root 1 2 3 4\n@ NS ns\nns A 192.0.2.1\n")
            .lines()
            .count(),
        1
    );
    assert_eq!(
        whole("$ORIGIN o.\n$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NZ ns\n")
            .lines()
            .count(),
        1
    );
    assert_eq!(found("@ NS a\na A 192.0.2.\n").len(), 1);
}

#[test]
fn diagnostics_are_bounded_and_errors_come_before_warnings() {
    let mut text = String::from(HEAD);
    for n in 0..50 {
        text += &format!("a{n} NS a.a{n}\n");
    }
    for _ in 0..30 {
        text += "p. A 192.0.2.1\n";
    }
    let mut compiler = ZoneCompiler::new().with_diagnostics_bound(40);
    let source = Source {
        name: "z",
        text: text.as_bytes(),
    };
    compiler.add_zone(source, &NoFiles);
    let errors = compiler.finish().unwrap_err();
    assert_eq!(errors.iter().count(), 40);
    assert_eq!(errors.iter().filter(|d| d.is_error()).count(), 30);
    assert_eq!((errors.error_count(), errors.omitted()), (30, 40));
    assert!(errors.to_string().ends_with("and 40 more\n"));

    let mut compiler = ZoneCompiler::new().with_diagnostics_bound(3);
    compiler.add_zone(source, &NoFiles);
    compiler.add_zone(source, &NoFiles);
    let errors = compiler.finish().unwrap_err();
    assert_eq!((errors.error_count(), errors.omitted()), (60, 2 * 80 - 3));
}

#[test]
fn zones_of_a_set() {
    let parent = format!("{HEAD}sub NS ns.sub\nns.sub A 192.0.2.1\n");
    let child = HEAD.replace("$ORIGIN o.", "$ORIGIN sub.o.");
    let compiled = compile_texts(&[&parent, &child]).unwrap();
    assert_eq!(
        ZoneSet::from_bytes(&compiled.image)
            .unwrap()
            .zones()
            .count(),
        2
    );
    assert!(compiled.warnings.is_empty());
    let twice = compile_texts(&[&parent, &child, &parent]).unwrap_err();
    assert_eq!(twice.error_count(), 1);
    assert!(
        twice
            .to_string()
            .trim_end()
            .ends_with(": error: o.: the zone was added twice"),
        "{twice}"
    );
    assert!(ZoneSet::from_bytes(&compile_texts(&[]).unwrap().image).is_ok());
}

#[test]
fn root_zone_and_odd_octets() {
    let text = "$ORIGIN .\n$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n\\000 TXT x\n\\001.\\000 TXT x\n\
                a\\.b TXT x\n\\255 NS x.\\255\nx.\\255 A 192.0.2.1\n";
    let compiled = compile_texts(&[text]).unwrap();
    assert!(compiled.warnings.is_empty(), "{}", compiled.warnings);
    let set = ZoneSet::from_bytes(&compiled.image).unwrap();
    let zone = set.zones().next().unwrap();
    assert_eq!(zone.records().count(), 8);
    assert_eq!(zone.record_count(), 8);
}

#[cfg(feature = "std")]
#[test]
fn files_are_compiled_and_listed() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let main = write("main.zone", &format!("{HEAD}$INCLUDE more\n"));
    let more = write("more", "x TXT y\n");
    let none = directory.path().join("none");
    let compiled = compile_files(&[ZoneFile::new(&main)], 10_000);
    assert_eq!(compiled.files, [main.clone(), more.clone()]);
    assert!(ZoneSet::from_bytes(&compiled.result.unwrap().image).is_ok());

    write("more", "x A y\n");
    let compiled = compile_files(&[ZoneFile::new(&main), ZoneFile::new(&none)], 10_000);
    let errors = compiled.result.unwrap_err().to_string();
    assert_eq!(
        errors,
        format!(
            "{}:1:5: error: expected an IPv4 address, found \"y\", included from {}:6\n{}: error: no such file\n",
            more.display(),
            main.display(),
            none.display()
        )
    );
    assert_eq!(compiled.files, [main, more]);
}

/// What most people have: the origin stands in the server's configuration.
const WITHOUT_ORIGIN: &str = "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";

#[test]
fn a_file_without_an_origin_is_one_error_that_says_what_to_write() {
    // The line after it repeats the owner that could not be read: that is no second error.
    let text = WITHOUT_ORIGIN.replace("@ NS", " NS");
    assert_eq!(
        whole(&text),
        "z:2:1: error: expected an absolute name (ending in a dot), found \"@\": no $ORIGIN stands before it; begin the \
         file with one ($ORIGIN example.net.), or give the zone's name with the file (example.net=z)\n"
    );
    // The commonest slip, a last dot that is missing, points at the directive.
    let error = whole(&format!("$ORIGIN example.net\n{WITHOUT_ORIGIN}"));
    assert!(
        error.starts_with(
            "z:1:9: error: expected an absolute name (ending in a dot), found \"example.net\":"
        ),
        "{error}"
    );
}

#[test]
fn an_origin_that_is_given_is_the_zones_name() {
    let compile = |origin: &str, text: &str| {
        let mut compiler = ZoneCompiler::new();
        let origin = crate::name::NameBuf::from_text(origin).unwrap();
        let text = text.as_bytes();
        compiler.add_zone_at(origin.as_name(), Source { name: "z", text }, &NoFiles);
        compiler.finish()
    };
    let compiled = compile("Example.NET", WITHOUT_ORIGIN).unwrap();
    let set = ZoneSet::from_bytes(&compiled.image).unwrap();
    let apex = set.zones().next().unwrap().apex();
    assert_eq!(
        apex,
        crate::name::NameBuf::from_text("example.net")
            .unwrap()
            .as_name()
    );
    // A file that says itself what zone it is may repeat it, but not contradict.
    assert!(compile("o", HEAD).is_ok());
    assert_eq!(
        compile("example.net", HEAD).unwrap_err().to_string(),
        "z:3:1: error: o.: the SOA record is not at example.net., the zone's name that was given with the file\n"
    );
}
