use super::*;

const BASE: u64 = 0x1234_5678_9000;

fn span(start: u64, pages: u64) -> Span {
    Span {
        start: BASE + start * PAGE,
        end: BASE + (start + pages) * PAGE,
    }
}

/// An image of ten pages of text, five of constants, ten of data, of which one is sealed, and stacks.
pub(crate) fn space() -> AddressSpace {
    let mut heap = Ranges::new();
    let mut kept = Ranges::new();
    let frames = |start, end| FrameRange::new(FrameNumber(start), FrameNumber(end));
    heap.insert(frames(0x200, 0x400)).unwrap();
    kept.insert(frames(0x180, 0x181)).unwrap();
    AddressSpace {
        layout: Layout {
            image_offset: BASE - 0x10_1000,
            text: span(0, 10),
            constants: span(10, 5),
            data: span(15, 10),
            sealed: span(16, 1),
            stack: span(26, 16),
            exception_stack: span(43, 2),
            double_fault_stack: span(46, 2),
            first_tables: span(48, 13),
            memory: 129 << 39,
            io_pages: 193 << 39,
            io_window: (193 << 39) + (1 << 38),
            tables: 225 << 39,
        },
        heap,
        kept,
        io: Cell::new(frames(0x3F0, 0x400)),
        taken: Cell::new(frames(0x3EC, 0x400)),
    }
}

#[test]
fn each_address_is_what_it_is() {
    let space = space();
    let at = |page: u64| BASE + page * PAGE;
    let memory = |frame: u64| (129_u64 << 39) + frame * PAGE;
    let io = 193_u64 << 39;
    let rows = [
        (0, Region::PageZero),
        (4095, Region::PageZero),
        (4096, Region::Nothing),
        (0x10_0000, Region::Nothing),
        (at(0) - 1, Region::Nothing),
        (at(0), Region::Text),
        (at(10) - 1, Region::Text),
        (at(10), Region::Constants),
        (at(15), Region::Data),
        (at(16), Region::Sealed),
        (at(17), Region::Data),
        (at(25) - 1, Region::Data),
        (at(25), Region::StackGuard),
        (at(26), Region::Stack),
        (at(42), Region::ExceptionStackGuard),
        (at(43), Region::ExceptionStack),
        (at(45), Region::ExceptionStackGuard),
        (at(46), Region::ExceptionStack),
        (at(48), Region::Nothing),
        (memory(0x200), Region::Heap),
        (memory(0x3EB), Region::Heap),
        (memory(0x3EC), Region::UnusedMemory),
        (memory(0x180), Region::Module),
        (memory(0x101), Region::UnusedMemory),
        (memory(0), Region::UnusedMemory),
        (io, Region::IoPage),
        (io + 16 * PAGE - 1, Region::IoPage),
        (io + 16 * PAGE, Region::UnusedIo),
        (io - 1, Region::Nothing),
        (io + (1 << 38), Region::ForeignPage),
        (io + (1 << 38) + WINDOW_PAGES * PAGE, Region::Nothing),
        (225 << 39, Region::PageTable),
        (1 << 47, Region::NonCanonical),
        (u64::MAX - (1 << 47), Region::NonCanonical),
        (u64::MAX - (1 << 47) + 1, Region::Nothing),
        (u64::MAX, Region::Nothing),
    ];
    for (address, region) in rows {
        assert_eq!(space.region(address), region, "{address:#x}");
    }
}

#[test]
fn only_frames_that_may_be_granted_have_a_number() {
    let space = space();
    let at = |page: u64| BASE + page * PAGE;
    let memory = |frame: u64| (129_u64 << 39) + frame * PAGE;
    // Text and constants, data, the stack: 1 MiB and a page is where the image begins.
    for page in [0, 12, 15, 17, 30] {
        assert_eq!(
            space.frame_number(at(page) + 5),
            Some(FrameNumber(0x101 + page))
        );
    }
    assert_eq!(
        space.frame_number(memory(0x234) + 9),
        Some(FrameNumber(0x234))
    );
    assert_eq!(space.frame_number(memory(0x180)), Some(FrameNumber(0x180)));
    assert_eq!(
        space.frame_number((193 << 39) + 3 * PAGE),
        Some(FrameNumber(0x3F3))
    );
    // Never what guards the rest: descriptors, tables, the exceptions' stacks.
    for address in [at(16), at(43), at(46), at(48), 225 << 39] {
        assert_eq!(space.frame_number(address), None, "{address:#x}");
    }
    // Nor another domain's page, nor what isn't mapped.
    for address in [0, (193 << 39) + (1 << 38), memory(0x3F0), at(25), u64::MAX] {
        assert_eq!(space.frame_number(address), None, "{address:#x}");
    }
}

#[test]
fn the_image_s_frames_begin_behind_the_trampoline() {
    let layout = space().layout;
    let range = |start, end| FrameRange::new(FrameNumber(start), FrameNumber(end));
    assert_eq!(layout.image_frames(), range(0x101, 0x101 + 61));
    assert_eq!(layout.first_table_frames(), range(0x101 + 48, 0x101 + 61));
}
