use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::abi::FrameNumber;

/// Bytes at an address; everything else reads as ones.
struct Memory {
    start: u64,
    bytes: Vec<u8>,
}

impl PhysicalMemory for Memory {
    fn read(&mut self, address: u64, into: &mut [u8]) {
        for (offset, byte) in (0..).zip(into) {
            let place = address.wrapping_add(offset).checked_sub(self.start);
            let found = place.and_then(|place| self.bytes.get(usize::try_from(place).ok()?));
            *byte = found.copied().unwrap_or(0xFF);
        }
    }
}

/// Where the toolstack put it: behind the image.
const START: u64 = 0x13_5000;

/// What the toolstack of Xen 4.17 wrote for a domain of 64 MiB with a command line and a module: the header, the
/// command line padded to 8 bytes, two places for modules, and the memory map.
#[rustfmt::skip]
const GOLDEN: &[u8] = &[
    0x78, 0xC5, 0x6E, 0x33, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, // magic, version, flags, one module
    0x40, 0x50, 0x13, 0, 0, 0, 0, 0, // the list of modules
    0x38, 0x50, 0x13, 0, 0, 0, 0, 0, // the command line
    0x00, 0x80, 0x00, 0xFC, 0, 0, 0, 0, // ACPI's root pointer
    0x60, 0x50, 0x13, 0, 0, 0, 0, 0, // the memory map
    3, 0, 0, 0, 0, 0, 0, 0, // its entries
    b'a', b'=', b'1', b' ', b'b', 0, 0, 0, // at 0x38
    0x00, 0x60, 0x13, 0, 0, 0, 0, 0, // at 0x40: the module's address
    0x23, 0x01, 0, 0, 0, 0, 0, 0, // its size
    0, 0, 0, 0, 0, 0, 0, 0, // no command line
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, // at 0x60: RAM from zero
    0, 0, 0, 4, 0, 0, 0, 0, // 64 MiB
    1, 0, 0, 0, 0, 0, 0, 0,
    0x00, 0x80, 0xFF, 0xFE, 0, 0, 0, 0, // the toolstack's own pages
    0x00, 0x80, 0, 0, 0, 0, 0, 0,
    2, 0, 0, 0, 0, 0, 0, 0,
    0x00, 0x00, 0x00, 0xFC, 0, 0, 0, 0, // ACPI's tables
    0x00, 0x90, 0, 0, 0, 0, 0, 0,
    4, 0, 0, 0, 0, 0, 0, 0,
];

fn golden() -> Memory {
    Memory {
        start: START,
        bytes: GOLDEN.to_vec(),
    }
}

/// What is said of the golden bytes with others in a place.
fn changed(offset: usize, bytes: &[u8]) -> Result<StartInfo, StartInfoError> {
    let mut memory = golden();
    memory.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    parse(&mut memory, START)
}

fn ranges(list: &[(u64, u64)]) -> Ranges {
    let mut ranges = Ranges::new();
    for (start, end) in list {
        ranges
            .insert(FrameRange::new(FrameNumber(*start), FrameNumber(*end)))
            .unwrap();
    }
    ranges
}

#[test]
fn golden_bytes_are_read_as_the_toolstack_meant_them() {
    let info = parse(&mut golden(), START).unwrap();
    assert_eq!(info.ram, ranges(&[(0, 0x4000)]));
    assert_eq!(
        info.claimed,
        ranges(&[(0, 0x4000), (0xF_C000, 0xF_C009), (0xF_EFF8, 0xF_F000)])
    );
    let line = PhysicalBytes {
        address: START + 0x38,
        length: 5,
    };
    assert_eq!(info.command_line, Some(line));
    let module = PhysicalBytes {
        address: 0x13_6000,
        length: 0x123,
    };
    assert_eq!(info.modules, [module]);
    assert_eq!(
        module.frames(),
        FrameRange::new(FrameNumber(0x136), FrameNumber(0x137))
    );
}

#[test]
fn what_is_no_start_info_is_refused() {
    assert_eq!(
        parse(&mut golden(), START + 8),
        Err(StartInfoError::Magic(0))
    );
    assert_eq!(
        parse(&mut golden(), u64::MAX - 3),
        Err(StartInfoError::Magic(u32::MAX))
    );
    assert_eq!(changed(4, &[0]), Err(StartInfoError::Version(0)));
    // A later version only adds.
    assert_eq!(changed(4, &[9]), parse(&mut golden(), START));
}

#[test]
fn counts_are_checked_before_anything_is_read_by_them() {
    assert_eq!(changed(48, &[0]), Err(StartInfoError::NoMemoryMap));
    let many = u32::MAX.to_le_bytes();
    let error = StartInfoError::TooMany {
        what: "ranges of memory",
        said: u32::MAX,
    };
    assert_eq!(changed(48, &many), Err(error));
    let error = StartInfoError::TooMany {
        what: "modules",
        said: u32::MAX,
    };
    assert_eq!(changed(12, &many), Err(error));
}

#[test]
fn a_range_whose_end_wraps_is_refused() {
    let error = changed(0x60, &[0xFF; 16]);
    assert!(matches!(
        error,
        Err(StartInfoError::Outside {
            what: "a range of memory",
            ..
        })
    ));
}

#[test]
fn what_is_ram_and_something_else_is_not_ram() {
    // ACPI's tables move into RAM.
    let info = changed(0x90, &0x10_0800_u64.to_le_bytes()).unwrap();
    assert_eq!(info.ram, ranges(&[(0, 0x100), (0x10A, 0x4000)]));
}

#[test]
fn a_module_or_command_line_outside_ram_is_refused() {
    for (offset, what) in [
        (0x40, "a module"),
        (16, "the list of modules"),
        (24, "the command line"),
    ] {
        for address in [0x400_0000, 0x3FF_FFFF, u64::MAX - 1, 0xFEFF_8000] {
            if address == 0x3FF_FFFF && offset == 24 {
                // One byte of RAM: the line goes on behind it.
                continue;
            }
            let error = changed(offset, &u64::to_le_bytes(address)).unwrap_err();
            assert!(
                matches!(error, StartInfoError::Outside { what: of, .. } if of == what),
                "{error} at {address:#x}"
            );
        }
    }
    let error = changed(0x48, &u64::MAX.to_le_bytes()).unwrap_err();
    assert!(matches!(
        error,
        StartInfoError::Outside {
            what: "a module",
            ..
        }
    ));
}

#[test]
fn a_command_line_without_an_end_is_bounded() {
    let mut memory = golden();
    memory.bytes[24..32].copy_from_slice(&0x20_0001_u64.to_le_bytes());
    // Ones up to the end of memory.
    assert_eq!(
        parse(&mut memory, START),
        Err(StartInfoError::CommandLineTooLong)
    );
    // As long as is allowed, over the end of a page.
    let line = vec![b'x'; MAXIMUM_COMMAND_LINE as usize];
    let at = START + memory.bytes.len() as u64;
    memory.bytes.extend(&line);
    memory.bytes.push(0);
    memory.bytes[24..32].copy_from_slice(&at.to_le_bytes());
    let info = parse(&mut memory, START).unwrap();
    assert_eq!(
        info.command_line.map(|bytes| bytes.length),
        Some(MAXIMUM_COMMAND_LINE)
    );
    // One more.
    let end = memory.bytes.len() - 1;
    memory.bytes[end] = b'x';
    memory.bytes.push(0);
    assert_eq!(
        parse(&mut memory, START),
        Err(StartInfoError::CommandLineTooLong)
    );
}

#[test]
fn without_a_command_line_and_modules_there_are_none() {
    let mut memory = golden();
    memory.bytes[12] = 0;
    memory.bytes[24..32].fill(0);
    let info = parse(&mut memory, START).unwrap();
    assert_eq!((info.command_line, info.modules.len()), (None, 0));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
        changes in prop::collection::vec((0..GOLDEN.len(), any::<u8>()), 0..8),
        address in any::<u64>(),
    ) {
        let mut memory = golden();
        for (place, byte) in changes {
            memory.bytes[place] = byte;
        }
        if let Ok(info) = parse(&mut memory, START) {
            for bytes in info.modules.iter().chain(&info.command_line) {
                let frames = bytes.frames();
                prop_assert!(frames.is_empty() || info.ram.iter().any(|range| range.covers(frames)));
            }
        }
        let _ = parse(&mut memory, address);
        // Random bytes behind the right first ones.
        let head = GOLDEN[..8].len().min(bytes.len());
        bytes[..head].copy_from_slice(&GOLDEN[..head]);
        let _ = parse(&mut Memory { start: START, bytes }, START);
    }
}
