use super::super::testing::{BASE, Doctored};
use super::*;

fn check(doctored: &Doctored) -> Result<(), Violation> {
    Image::parse(&doctored.file()).unwrap().check(BASE)
}

fn doctored(change: impl FnOnce(&mut Doctored)) -> Violation {
    let mut doctored = Doctored::good();
    change(&mut doctored);
    check(&doctored).unwrap_err()
}

#[test]
fn a_good_image_is_accepted_with_sections_and_without() {
    assert_eq!(check(&Doctored::good()), Ok(()));
    let stripped = super::super::strip(&Doctored::good().file()).unwrap();
    assert_eq!(Image::parse(&stripped).unwrap().check(BASE), Ok(()));
}

#[test]
fn a_segment_both_writable_and_executable_is_named() {
    for index in 0..4 {
        let violation = doctored(|image| image.segments[index].flags = 7);
        let Violation::WritableAndExecutable { segment } = &violation else {
            panic!("{violation}");
        };
        assert_eq!((segment.index, segment.rights.as_str()), (index, "rwx"));
    }
    let said = doctored(|image| image.segments[3].flags = 7).to_string();
    assert!(
        said.starts_with("segment 3 (rwx, virtual 0x20000002000") && said.contains(".data"),
        "{said}"
    );
}

#[test]
fn code_and_constants_in_the_wrong_segment_are_named() {
    for (index, flags, kind, allows) in [
        (1, 6, "code", "writable"),
        (2, 6, "constants", "writable"),
        (2, 5, "constants", "executable"),
        (3, 5, "data", "executable"),
    ] {
        let violation = doctored(|image| image.segments[index].flags = flags);
        assert!(
            matches!(&violation, Violation::Rights { kind: k, allows: a, segment, .. }
                if (*k, *a, segment.index) == (kind, allows, index)),
            "{violation}"
        );
    }
}

#[test]
fn segments_that_share_a_page_or_overlap_are_named() {
    // Constants begin in the last page of text.
    let violation = doctored(|image| {
        image.segments[2].virtual_address -= 8;
        image.segments[2].physical_address -= 8;
        image.sections[2].address -= 8;
        image.segments[1].memory_bytes = 0x1000 - 8;
    });
    assert!(
        matches!(&violation, Violation::SharedPage { lower, higher } if (lower.index, higher.index) == (1, 2)),
        "{violation}"
    );
    let violation = doctored(|image| image.segments[1].memory_bytes = 0x1001);
    assert!(
        matches!(violation, Violation::SharedPage { .. }),
        "{violation}"
    );
    let violation = doctored(|image| image.segments[2].memory_bytes = u64::MAX);
    assert!(
        matches!(
            violation,
            Violation::SharedPage { .. } | Violation::Rights { .. }
        ),
        "{violation}"
    );
}

#[test]
fn another_physical_or_virtual_address_is_named() {
    let violation = doctored(|image| {
        for segment in &mut image.segments {
            segment.physical_address += 0x1000;
        }
    });
    assert!(
        matches!(violation, Violation::PhysicalAddress { .. }),
        "{violation}"
    );
    let image = Image::parse(&Doctored::good().file()).unwrap();
    let violation = image.check(BASE + 0x1000).unwrap_err();
    assert!(
        matches!(&violation, Violation::VirtualAddress { segment, expected }
            if segment.index == 1 && *expected == BASE + 0x1000),
        "{violation}"
    );
}

#[test]
fn what_is_left_for_the_run_time_is_refused() {
    for (segment_type, what) in [(2, "PT_DYNAMIC"), (3, "PT_INTERP"), (7, "PT_TLS")] {
        assert_eq!(
            doctored(|image| image.segments[4].segment_type = segment_type),
            Violation::Unsupported { what }
        );
    }
    for section_type in [4, 9, 19] {
        assert!(matches!(
            doctored(|image| image.sections[3].section_type = section_type),
            Violation::Relocations { section } if section == ".data"
        ));
    }
    // ET_DYN.
    assert_eq!(doctored(|image| image.file_type = 3), Violation::NotFixed);
}

#[test]
fn an_entry_that_is_missing_or_no_code_is_refused() {
    assert_eq!(
        doctored(|image| image.note_type = 17),
        Violation::NoEntryNote
    );
    for entry in [
        0,
        PHYSICAL_ADDRESS - 1,
        PHYSICAL_ADDRESS + 0x2000,
        BASE,
        u64::MAX,
    ] {
        let violation = doctored(|image| {
            image.entry = entry;
            image.note_entry = entry;
        });
        assert_eq!(
            violation,
            Violation::Entry {
                note: entry,
                header: entry
            }
        );
    }
    assert!(matches!(
        doctored(|image| image.entry += 1),
        Violation::Entry { .. }
    ));
}

#[test]
fn a_section_outside_every_segment_is_named() {
    assert_eq!(
        doctored(|image| image.sections[2].address = 0x5000),
        Violation::NotLoaded {
            section: ".rodata".into()
        }
    );
}

#[test]
fn a_file_that_loads_nothing_is_refused() {
    assert_eq!(doctored(|image| image.segments.clear()), Violation::Empty);
}
