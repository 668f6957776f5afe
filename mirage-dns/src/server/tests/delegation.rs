//! Zone cuts, glue, and zones inside zones.

use super::*;

const PARENT: &str = "$TTL 60
$ORIGIN example.
@ SOA ns root 1 2 3 4 5
@ NS ns
ns A 192.0.2.1
child NS ns.child
child NS ns
child TYPE43 \\# 5 0001080100
ns.child A 192.0.2.2
ns.child AAAA 2001:db8::2
other NS ns.child
occluded.child TXT hidden
deep.a.b NS ns.child
*.wild A 192.0.2.9
cut.wild NS ns
";

const CHILD: &str = "$TTL 60
$ORIGIN child.example.
@ SOA ns root 9 2 3 4 5
@ NS ns
ns A 192.0.2.2
www A 192.0.2.3
";

const CHILD_NS: [&str; 2] = [
    "child.example. 60 NS ns.child.example.",
    "child.example. 60 NS ns.example.",
];
const CHILD_GLUE: [&str; 3] = [
    "ns.child.example. 60 A 192.0.2.2",
    "ns.child.example. 60 AAAA 2001:db8::2",
    "ns.example. 60 A 192.0.2.1",
];

#[test]
fn names_at_and_below_a_cut_are_referred_with_glue_first() {
    let image = compile(&[PARENT]);
    for question in [
        "child.example. A",
        "child.example. NS",
        "child.example. ANY",
        "www.child.example. A",
        "ns.child.example. A",
        "occluded.child.example. TXT",
        "a.b.c.child.example. A",
    ] {
        ask(&image, question).is("NOERROR", &[], &CHILD_NS, &CHILD_GLUE);
    }
}

#[test]
fn glue_below_another_cut_goes_along() {
    let image = compile(&[PARENT]);
    ask(&image, "x.other.example. A").is(
        "NOERROR",
        &[],
        &["other.example. 60 NS ns.child.example."],
        &CHILD_GLUE[..2],
    );
}

#[test]
fn empty_non_terminals_above_a_cut_exist() {
    let image = compile(&[PARENT]);
    for name in ["a.b.example.", "b.example."] {
        let reply = ask(&image, &format!("{name} A"));
        assert_eq!(reply.status, "NOERROR aa");
        assert_eq!(reply.sections[1].len(), 1);
    }
    assert_eq!(ask(&image, "deep.a.b.example. A").status, "NOERROR");
    assert_eq!(ask(&image, "c.b.example. A").status, "NXDOMAIN aa");
}

#[test]
fn wildcard_covers_no_name_below_a_cut_beside_it() {
    let image = compile(&[PARENT]);
    assert_eq!(ask(&image, "x.wild.example. A").status, "NOERROR aa");
    assert_eq!(ask(&image, "x.cut.wild.example. A").status, "NOERROR");
    assert_eq!(ask(&image, "x.cut.wild.example. A").sections[0].len(), 0);
}

#[test]
fn ds_at_a_cut_is_the_parents() {
    let image = compile(&[PARENT]);
    let ds = ["child.example. 60 DS \\# 5 0001080100"];
    ask(&image, "child.example. DS").is("NOERROR aa", &ds, &[], &[]);
    let soa = ["example. 5 SOA ns.example. root.example. 1 2 3 4 5"];
    ask(&image, "other.example. DS").is("NOERROR aa", &[], &soa, &[]);
    ask(&image, "x.child.example. DS").is("NOERROR", &[], &CHILD_NS, &CHILD_GLUE);
    // With both zones it is still the parent's; with the child alone it has none.
    let both = compile(&[PARENT, CHILD]);
    ask(&both, "child.example. DS").is("NOERROR aa", &ds, &[], &[]);
    let child = compile(&[CHILD]);
    let child_soa = ["child.example. 5 SOA ns.child.example. root.child.example. 9 2 3 4 5"];
    ask(&child, "child.example. DS").is("NOERROR aa", &[], &child_soa, &[]);
}

#[test]
fn the_most_specific_zone_answers() {
    for zones in [[PARENT, CHILD], [CHILD, PARENT]] {
        let image = compile(&zones);
        ask(&image, "www.child.example. A").is(
            "NOERROR aa",
            &["www.child.example. 60 A 192.0.2.3"],
            &[],
            &[],
        );
        ask(&image, "child.example. NS").is(
            "NOERROR aa",
            &["child.example. 60 NS ns.child.example."],
            &[],
            &["ns.child.example. 60 A 192.0.2.2"],
        );
        // What the parent has below the cut is not the child's.
        assert_eq!(
            ask(&image, "occluded.child.example. TXT").status,
            "NXDOMAIN aa"
        );
        assert_eq!(ask(&image, "ns.child.example. AAAA").sections[0].len(), 0);
        assert_eq!(ask(&image, "ns.example. A").status, "NOERROR aa");
    }
}

#[test]
fn ds_of_a_child_that_its_parent_does_not_know_has_no_data() {
    let parent =
        "$TTL 60\nexample. SOA ns.example. r.example. 1 2 3 4 5\nexample. NS ns.example.org.";
    let image = compile(&[parent, CHILD]);
    ask(&image, "child.example. DS").is(
        "NOERROR aa",
        &[],
        &["example. 5 SOA ns.example. r.example. 1 2 3 4 5"],
        &[],
    );
}

#[test]
fn ds_of_a_grandchild_is_referred_to_the_zone_between() {
    let grandchild = CHILD.replace("child.example.", "g.child.example.");
    let image = compile(&[PARENT, &grandchild]);
    ask(&image, "g.child.example. DS").is("NOERROR", &[], &CHILD_NS, &CHILD_GLUE);
    assert_eq!(ask(&image, "www.g.child.example. A").status, "NOERROR aa");
}

#[test]
fn names_outside_the_zones_are_refused() {
    let image = compile(&[PARENT, CHILD]);
    for question in ["example.org. A", ". NS", "notexample. A", "org. DS"] {
        ask(&image, question).is("REFUSED", &[], &[], &[]);
    }
    let empty = compile(&[]);
    ask(&empty, "example. A").is("REFUSED", &[], &[], &[]);
}
