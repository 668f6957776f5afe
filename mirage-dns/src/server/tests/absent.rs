//! Zones that are in the set and not there: secondary ones before their first transfer, or after they expired.

use super::*;
use crate::zone_set::ZoneSetBuilder;

/// `o.`, which delegates `sub.o.`, with `sub.o.` and `lone.` in the set but not there; `child.lone.`, which is.
fn image() -> Vec<u8> {
    let zones = compile(&[
        "
        $ORIGIN child.lone.
        $TTL 60
        @ SOA ns root 1 2 3 4 5
        @ NS ns.o.",
        "
        $ORIGIN o.
        $TTL 60
        @ SOA ns root 1 2 3 4 5
        @ NS ns
        ns A 192.0.2.1
        sub NS ns.sub
        sub DS \\# 36 00010d02 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        ns.sub A 192.0.2.2
        to.sub-alias CNAME x.sub",
    ]);
    let set = ZoneSet::from_bytes(&zones).unwrap();
    let mut builder = ZoneSetBuilder::from_zone_set(&set).unwrap();
    for absent in ["sub.o", "lone"] {
        let apex = NameBuf::from_text(absent).unwrap();
        builder.add_absent_zone(apex.as_name()).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn names_of_a_zone_that_is_not_there_are_servfail_and_not_nxdomain() {
    let image = image();
    for question in [
        "lone. SOA",
        "x.lone. A",
        "sub.o. NS",
        "a.b.sub.o. ANY",
        "lone. DS",
        // Whether it is delegated, and with which keys, the zone above knows.
        "child.lone. DS",
    ] {
        let reply = ask(&image, question);
        assert_eq!(reply.answer.rcode, Rcode::SERVFAIL, "{question}");
        assert!(!reply.answer.flags.contains(Flags::AA), "{question}");
        let header = *MessageReader::new(&reply.octets).unwrap().header();
        let counts = (header.answer_count, header.authority_count);
        assert_eq!((header.question_count, counts), (1, (0, 0)), "{question}");
    }
}

#[test]
fn zone_above_still_answers_for_its_own_data() {
    let image = image();
    assert_eq!(ask(&image, "ns.o. A").answer.rcode, Rcode::NOERROR);
    assert_eq!(ask(&image, "nothing.o. A").answer.rcode, Rcode::NXDOMAIN);
    let reply = ask(&image, "sub.o. DS");
    assert_eq!(reply.answer.rcode, Rcode::NOERROR);
    assert!(reply.answer.flags.contains(Flags::AA));
    let reply = ask(&image, "child.lone. NS");
    assert_eq!(reply.answer.rcode, Rcode::NOERROR);
    assert!(reply.answer.flags.contains(Flags::AA));
}

#[test]
fn alias_into_a_zone_that_is_not_there_gives_the_alias_with_servfail() {
    let reply = ask(&image(), "to.sub-alias.o. A");
    assert_eq!(reply.answer.rcode, Rcode::SERVFAIL);
    let header = *MessageReader::new(&reply.octets).unwrap().header();
    assert_eq!(header.answer_count, 1);
}
