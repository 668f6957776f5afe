//! What is decided at the start, from memory of any content.

use super::frames::FrameRange;
use super::layout::MAXIMUM_FRAME;
use super::memory;
use super::start_info::{self, PhysicalMemory};
use crate::abi::FrameNumber;

/// Where the input lies in physical memory.
const START: u64 = 0x13_5000;
/// The image's frames.
const IMAGE: [FrameNumber; 2] = [FrameNumber(0x101), FrameNumber(0x135)];

/// Bytes at [`START`]; everything else reads as ones.
struct Memory<'a>(&'a [u8]);

impl PhysicalMemory for Memory<'_> {
    fn read(&mut self, address: u64, into: &mut [u8]) {
        for (offset, byte) in (0..).zip(into) {
            let place = address.wrapping_add(offset).checked_sub(START);
            let found = place.and_then(|place| self.0.get(usize::try_from(place).ok()?));
            *byte = found.copied().unwrap_or(0xFF);
        }
    }
}

/// Takes the bytes for the start info and all that it points to, and plans the memory by it.
///
/// # Panics
///
/// If what is planned breaks a rule: a frame that isn't RAM, or that two purposes share.
pub fn start(bytes: &[u8]) {
    let Ok(info) = start_info::parse(&mut Memory(bytes), START) else {
        return;
    };
    for bytes in info.modules.iter().chain(&info.command_line) {
        let frames = bytes.frames();
        let inside = frames.is_empty() || info.ram.iter().any(|range| range.covers(frames));
        assert!(inside, "{bytes:?} is not in RAM");
    }
    let image = FrameRange::new(IMAGE[0], IMAGE[1]);
    let Ok(plan) = memory::plan(&info, image, 5, 40) else {
        return;
    };
    let mut all = [image, plan.tables, plan.window]
        .into_iter()
        .filter(|range| !range.is_empty())
        .collect::<heapless::Vec<_, 64>>();
    for range in plan.heap.iter().chain(plan.kept.iter()) {
        assert!(range.end().0 <= MAXIMUM_FRAME.0, "{range:?} lies too high");
        assert!(all.push(range).is_ok());
    }
    for (number, range) in all.iter().enumerate() {
        let window = *range == plan.window;
        let in_ram = info.ram.iter().any(|ram| ram.covers(*range));
        assert!(window != in_ram, "{range:?} is where it should not be");
        let shared = all[number + 1..].iter().any(|other| other.overlaps(*range));
        assert!(!shared, "{range:?} has two purposes");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_start_info_of_any_content_is_planned_or_refused(
            head in prop::collection::vec((0_usize..56, any::<u8>()), 0..6),
            ranges in prop::collection::vec((0_u64..0x120, 0_u64..0x8000, 1_u32..4), 1..8),
        ) {
            // A right header in front of some memory map: low addresses first, so that the image is in RAM often.
            let mut bytes = std::vec![0; 56];
            bytes[..8].copy_from_slice(&[0x78, 0xC5, 0x6E, 0x33, 1, 0, 0, 0]);
            bytes[40..48].copy_from_slice(&(super::START + 56).to_le_bytes());
            bytes[48] = ranges.len() as u8;
            for (start, pages, kind) in ranges {
                bytes.extend((start * 4096).to_le_bytes());
                bytes.extend((pages * 4096).to_le_bytes());
                bytes.extend(u64::from(kind).to_le_bytes());
            }
            for (place, byte) in head {
                bytes[place] = byte;
            }
            super::start(&bytes);
        }
    }
}
