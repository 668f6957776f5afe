//! DNAME (RFC 6672).

use super::*;

fn image() -> Vec<u8> {
    compile(&[
        "$ORIGIN d.test.
        $TTL 60
        @ SOA ns root 1 2 3 4 5
        @ NS ns
        ns A 192.0.2.1
        dn 77 DNAME target
        dn A 192.0.2.2
        x.target A 192.0.2.3
        c.target CNAME y.dn
        y.target A 192.0.2.4
        e.target MX 1 x.target
        back.target CNAME dn
        loop DNAME loop
        grow DNAME a.grow2
        grow2 DNAME grow
        al CNAME x.dn
        *.wc CNAME x.dn
        *.w DNAME target
        out DNAME elsewhere.
        root DNAME .
        todel DNAME del
        del NS ns.del
        ns.del A 192.0.2.9
        to-other DNAME o.test.
        long DNAME aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.\
         aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.\
         aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test.
        swc DNAME wild
        *.wild A 192.0.2.5",
        "$ORIGIN o.test.
        $TTL 60
        @ SOA ns.d.test. root 1 2 3 4 5
        @ NS ns.d.test.
        @ DNAME target.d.test.
        @ MX 1 ns.d.test.",
        "$ORIGIN below.dn.d.test.
        $TTL 60
        @ SOA ns.d.test. root 1 2 3 4 5
        @ NS ns.d.test.
        a A 192.0.2.6",
    ])
}

const SOA: &str = "d.test. 5 SOA ns.d.test. root.d.test. 1 2 3 4 5";
const DNAME: &str = "dn.d.test. 77 DNAME target.d.test.";

#[test]
fn names_below_a_dname_are_answered_with_it_and_the_alias_that_it_makes() {
    let image = image();
    let x = [
        DNAME,
        "x.dn.d.test. 77 CNAME x.target.d.test.",
        "x.target.d.test. 60 A 192.0.2.3",
    ];
    ask(&image, "x.dn.d.test A").is("NOERROR aa", &x, &[], &[]);
    let nothing = [DNAME, "nx.dn.d.test. 77 CNAME nx.target.d.test."];
    ask(&image, "nx.dn.d.test A").is("NXDOMAIN aa", &nothing, &[SOA], &[]);
    ask(&image, "x.dn.d.test MX").is("NOERROR aa", &x[..2], &[SOA], &[]);
    ask(&image, "x.dn.d.test DS").is("NOERROR aa", &x[..2], &[SOA], &[]);
    let deep = [
        DNAME,
        "a.b.c.dn.d.test. 77 CNAME a.b.c.target.d.test.",
        "c.target.d.test. 60 CNAME y.dn.d.test.",
    ];
    ask(&image, "a.b.c.dn.d.test A").is("NXDOMAIN aa", &deep[..2], &[SOA], &[]);
}

#[test]
fn name_of_a_dname_has_its_own_data() {
    let image = image();
    ask(&image, "dn.d.test A").is("NOERROR aa", &["dn.d.test. 60 A 192.0.2.2"], &[], &[]);
    ask(&image, "dn.d.test DNAME").is("NOERROR aa", &[DNAME], &[], &[]);
    ask(&image, "dn.d.test MX").is("NOERROR aa", &[], &[SOA], &[]);
    let all = ["dn.d.test. 60 A 192.0.2.2", DNAME];
    let ask = Ask::new("dn.d.test ANY");
    ask.clone()
        .tcp()
        .of(&image)
        .is("NOERROR aa", &all, &[], &[]);
    ask.of(&image).is("NOERROR aa", &all[..1], &[], &[]);
}

#[test]
fn question_for_cname_ends_at_the_made_one_and_one_for_any_or_dname_follows_it() {
    let image = image();
    let x = [DNAME, "x.dn.d.test. 77 CNAME x.target.d.test."];
    ask(&image, "x.dn.d.test CNAME").is("NOERROR aa", &x, &[], &[]);
    ask(&image, "x.dn.d.test DNAME").is("NOERROR aa", &x, &[SOA], &[]);
    let any = [x[0], x[1], "x.target.d.test. 60 A 192.0.2.3"];
    ask(&image, "x.dn.d.test ANY").is("NOERROR aa", &any, &[], &[]);
}

#[test]
fn dname_stands_once_however_often_it_is_gone_through() {
    let image = image();
    let chain = [
        DNAME,
        "c.dn.d.test. 77 CNAME c.target.d.test.",
        "c.target.d.test. 60 CNAME y.dn.d.test.",
        "y.dn.d.test. 77 CNAME y.target.d.test.",
        "y.target.d.test. 60 A 192.0.2.4",
    ];
    ask(&image, "c.dn.d.test A").is("NOERROR aa", &chain, &[], &[]);
    // Asked for by its type, at the end of a chain that went through it.
    let back = [
        DNAME,
        "back.dn.d.test. 77 CNAME back.target.d.test.",
        "back.target.d.test. 60 CNAME dn.d.test.",
    ];
    ask(&image, "back.dn.d.test DNAME").is("NOERROR aa", &back, &[], &[]);
}

#[test]
fn chains_of_aliases_go_through_dnames_zones_cuts_and_wildcards() {
    let image = image();
    let x = [
        DNAME,
        "x.dn.d.test. 77 CNAME x.target.d.test.",
        "x.target.d.test. 60 A 192.0.2.3",
    ];
    for (asked, alias) in [
        ("al.d.test A", "al.d.test. 60 CNAME x.dn.d.test."),
        ("q.wc.d.test A", "q.wc.d.test. 60 CNAME x.dn.d.test."),
    ] {
        ask(&image, asked).is("NOERROR aa", &[alias, x[0], x[1], x[2]], &[], &[]);
    }
    let wild = [
        "swc.d.test. 60 DNAME wild.d.test.",
        "zz.swc.d.test. 60 CNAME zz.wild.d.test.",
        "zz.wild.d.test. 60 A 192.0.2.5",
    ];
    ask(&image, "zz.swc.d.test A").is("NOERROR aa", &wild, &[], &[]);
    let cut = [
        "todel.d.test. 60 DNAME del.d.test.",
        "x.todel.d.test. 60 CNAME x.del.d.test.",
    ];
    ask(&image, "x.todel.d.test A").is(
        "NOERROR aa",
        &cut,
        &["del.d.test. 60 NS ns.del.d.test."],
        &["ns.del.d.test. 60 A 192.0.2.9"],
    );
    let two = [
        "to-other.d.test. 60 DNAME o.test.",
        "x.to-other.d.test. 60 CNAME x.o.test.",
        "o.test. 60 DNAME target.d.test.",
        "x.o.test. 60 CNAME x.target.d.test.",
        "x.target.d.test. 60 A 192.0.2.3",
    ];
    ask(&image, "x.to-other.d.test A").is("NOERROR aa", &two, &[], &[]);
    for (zone, target) in [("out", "elsewhere."), ("root", ".")] {
        let dname = format!("{zone}.d.test. 60 DNAME {target}");
        let target = format!("x.{target}").replace("..", ".");
        let alias = format!("x.{zone}.d.test. 60 CNAME {target}");
        ask(&image, &format!("x.{zone}.d.test A")).is("NOERROR aa", &[&dname, &alias], &[], &[]);
    }
}

#[test]
fn dname_at_an_apex_redirects_all_but_the_apex() {
    let image = image();
    let mx = "o.test. 60 MX 1 ns.d.test.";
    ask(&image, "o.test MX").is("NOERROR aa", &[mx], &[], &[]);
    let dname = "o.test. 60 DNAME target.d.test.";
    let alias = "e.o.test. 60 CNAME e.target.d.test.";
    let far = "e.target.d.test. 60 MX 1 x.target.d.test.";
    let address = "x.target.d.test. 60 A 192.0.2.3";
    ask(&image, "e.o.test MX").is("NOERROR aa", &[dname, alias, far], &[], &[address]);
}

#[test]
fn zone_below_a_dname_of_another_zone_answers_for_itself() {
    // RFC 6672 §2.4 wants such a zone not to be loaded; NSD and Knot load it.
    let image = image();
    ask(&image, "a.below.dn.d.test A").is(
        "NOERROR aa",
        &["a.below.dn.d.test. 60 A 192.0.2.6"],
        &[],
        &[],
    );
    let x = [DNAME, "below.dn.d.test. 77 CNAME below.target.d.test."];
    ask(&image, "below.dn.d.test DS").is("NXDOMAIN aa", &x, &[SOA], &[]);
}

#[test]
fn dname_at_a_wildcard_is_data_for_the_names_that_it_covers() {
    // RFC 4592 §4.4; as NSD and Knot.
    let image = image();
    ask(&image, "q.w.d.test A").is("NOERROR aa", &[], &[SOA], &[]);
    let covered = "q.w.d.test. 60 DNAME target.d.test.";
    ask(&image, "q.w.d.test DNAME").is("NOERROR aa", &[covered], &[], &[]);
    let below = [
        "*.w.d.test. 60 DNAME target.d.test.",
        "x.*.w.d.test. 60 CNAME x.target.d.test.",
        "x.target.d.test. 60 A 192.0.2.3",
    ];
    ask(&image, "x.*.w.d.test A").is("NOERROR aa", &below, &[], &[]);
}

#[test]
fn target_that_is_too_long_is_yxdomain_with_the_dname() {
    let image = image();
    let label = "b".repeat(40);
    let reply = ask(&image, &format!("{label}.long.d.test A"));
    assert_eq!(reply.status, "YXDOMAIN aa");
    assert_eq!(reply.sections[0].len(), 1, "{reply:?}");
    assert!(reply.sections[1].is_empty());
    // One that fits by the octet: 255 in all.
    let most = "b".repeat(255 - (4 * 58 + 6) - 1);
    let reply = Ask::new(&format!("{most}.long.d.test A"))
        .edns(1232)
        .of(&image);
    assert_eq!(reply.status, "NOERROR aa");
    let reply = ask(&image, &format!("{most}b.long.d.test A"));
    assert_eq!(reply.status, "YXDOMAIN aa");
}

#[test]
fn dnames_that_loop_or_grow_end_after_so_many_steps() {
    let image = image();
    let dname = "loop.d.test. 60 DNAME loop.d.test.";
    let alias = "a.loop.d.test. 60 CNAME a.loop.d.test.";
    ask(&image, "a.loop.d.test A").is("NOERROR aa", &[dname, alias], &[], &[]);
    let reply = Ask::new("a.grow.d.test A").tcp().of(&image);
    assert_eq!(reply.status, "NOERROR aa");
    // Two DNAMEs, and an alias for each step.
    assert_eq!(reply.sections[0].len(), 2 + MAX_ALIASES + 1, "{reply:?}");
    let names = reply.answer.lookups.names;
    assert!(names as usize <= (MAX_ALIASES + 1) * 7, "{names}");
}

#[test]
fn alias_that_does_not_fit_sets_tc_and_leaves_no_half_of_it() {
    let image = image();
    let whole = Ask::new("c.dn.d.test A").of(&image);
    for room in 12 + 17..whole.octets.len() {
        let mut out = std::vec![0; room];
        let zones = ZoneSet::from_bytes(&image).unwrap();
        let ask = Ask::new("c.dn.d.test A");
        let client = client(Transport::Udp);
        let answer = respond(&zones, &ask.limits, &ask.octets(), &client, &mut out).unwrap();
        let reply = Reply::read(&out[..answer.length], answer);
        assert_eq!(reply.status, "NOERROR aa tc");
        let kept = reply.sections[0].len();
        assert_eq!(reply.sections[0], whole.sections[0][..kept]);
        assert!(kept < 5 && reply.sections[1].is_empty());
    }
}

#[test]
fn owner_of_a_dname_and_prefix_keep_the_case_of_the_question() {
    let reply = ask(&image(), "X.Dn.D.test A");
    let x = [
        "Dn.D.test. 77 DNAME target.d.test.",
        "X.Dn.D.test. 77 CNAME X.target.d.test.",
        "x.target.d.test. 60 A 192.0.2.3",
    ];
    let shown: Vec<String> = reply.sections[0].clone();
    assert_eq!(shown[..2], x[..2]);
    assert!(shown[2].eq_ignore_ascii_case(x[2]));
}
