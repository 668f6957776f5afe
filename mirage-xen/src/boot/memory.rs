//! What becomes of the memory: which frames are heap, which hold page tables, and where foreign pages appear.

use core::fmt;

use super::frames::{FrameRange, Ranges, TooManyRanges};
use super::layout::{MAXIMUM_FRAME, WINDOW_PAGES};
use super::start_info::{PhysicalBytes, StartInfo};
use super::tables::tables_for;
use crate::abi::FrameNumber;

/// Tables of the window of foreign pages: one of each level.
const WINDOW_TABLES: u64 = 3;
/// Below it, and above RAM, nothing is: ACPI's tables, the local APIC and the toolstack's own pages are above
/// (`ACPI_INFO_PHYSICAL_ADDRESS`, `LAPIC_BASE_ADDRESS`, `X86_HVM_END_SPECIAL_REGION`).
const QUIET_END: FrameNumber = FrameNumber(0xF_0000);
/// The first frame above 4 GiB.
const HIGH: FrameNumber = FrameNumber(1 << 20);
/// Frames of 2 MiB.
const LARGE: u64 = 512;

/// Who gets which frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Mapped for reading and writing.
    pub(crate) heap: Ranges,
    /// Mapped for reading.
    pub(crate) kept: Ranges,
    /// For page tables.
    pub(crate) tables: FrameRange,
    /// Frames that nothing is at: Xen's pages and other domains' appear there.
    pub(crate) window: FrameRange,
    /// RAM that lies too high to be used.
    pub(crate) unused: u64,
}

/// Why the memory can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryError {
    /// The image doesn't lie in RAM.
    ImageOutside,
    /// A module or the command line lies where the image does.
    InImage(PhysicalBytes),
    /// More ranges than are kept apart.
    TooManyRanges,
    /// Not enough for the page tables.
    TooLittle,
    /// No frames are free for foreign pages.
    NoWindow,
}

impl From<TooManyRanges> for MemoryError {
    fn from(_: TooManyRanges) -> Self {
        Self::TooManyRanges
    }
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImageOutside => f.write_str("memory: the image is not in RAM"),
            Self::InImage(bytes) => write!(
                f,
                "memory: {} bytes at {:#x} that the start info names lie in the image",
                bytes.length, bytes.address
            ),
            Self::TooManyRanges => f.write_str("memory: too many ranges"),
            Self::TooLittle => f.write_str("memory: too little for the page tables"),
            Self::NoWindow => f.write_str("memory: no frames are free for foreign pages"),
        }
    }
}

impl core::error::Error for MemoryError {}

/// Decides. `image` are the image's frames, `spare` tables are there already, and physical addresses have
/// `address_bits` bits.
///
/// # Errors
///
/// See [`MemoryError`].
// Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
#[inline(never)]
pub(crate) fn plan(
    info: &StartInfo,
    image: FrameRange,
    spare: u64,
    address_bits: u32,
) -> Result<Plan, MemoryError> {
    if !info.ram.iter().any(|range| range.covers(image)) {
        return Err(MemoryError::ImageOutside);
    }
    let mut kept = Ranges::new();
    for bytes in info.modules.iter().chain(&info.command_line) {
        if bytes.frames().overlaps(image) {
            return Err(MemoryError::InImage(*bytes));
        }
        kept.insert(bytes.frames())?;
    }
    let mut heap = info.ram.clone();
    // The first frame: a physical address of zero stands for none in Xen's structures.
    heap.remove(FrameRange::new(FrameNumber(0), FrameNumber(1)))?;
    heap.remove(image)?;
    for range in kept.iter() {
        heap.remove(range)?;
    }
    let high = FrameRange::new(MAXIMUM_FRAME, FrameNumber(u64::MAX));
    let unused = heap
        .iter()
        .map(|range| range.intersection(high).count())
        .sum();
    heap.remove(high)?;
    if kept.iter().any(|range| range.overlaps(high)) {
        return Err(MemoryError::TooLittle);
    }
    let (heap, tables) = carve_tables(&heap, &kept, spare)?;
    Ok(Plan {
        window: window(&info.claimed, address_bits).ok_or(MemoryError::NoWindow)?,
        heap,
        kept,
        tables,
        unused,
    })
}

/// Cuts the frames for page tables off the heap.
fn carve_tables(
    heap: &Ranges,
    kept: &Ranges,
    spare: u64,
) -> Result<(Ranges, FrameRange), MemoryError> {
    let mut count = 0;
    loop {
        let mut rest = heap.clone();
        // The lowest range that is long enough: it ends at the image, so it is mapped by small pages anyway.
        let mut place = heap
            .iter()
            .find(|range| range.count() >= count)
            .ok_or(MemoryError::TooLittle)?;
        let tables = place.take_front(count).ok_or(MemoryError::TooLittle)?;
        rest.remove(tables)?;
        let needed = (tables_for(&rest, kept) + WINDOW_TABLES).saturating_sub(spare);
        if needed <= count {
            return Ok((rest, tables));
        }
        // Cutting may have broken up a large page, which takes one table more.
        count = needed;
    }
}

/// A run of frames that the memory map says nothing of, as low as there is one.
///
/// Xen takes any frame for what it maps, and gives back what was there (`xenmem_add_to_physmap_one`): where nothing
/// was, nothing is lost. After a restore the toolstack has made RAM of these frames, which is given back when the pages
/// are mapped again.
fn window(claimed: &Ranges, address_bits: u32) -> Option<FrameRange> {
    let end = FrameNumber(1 << (address_bits.clamp(32, 52) - 12));
    let after = |range: FrameRange| range.end().0.next_multiple_of(LARGE);
    let low = claimed.iter().map(after).map(|start| (start, QUIET_END));
    let high = claimed
        .iter()
        .map(|range| (after(range).max(HIGH.0), end))
        .chain([(HIGH.0, end)]);
    low.chain(high).find_map(|(start, end)| {
        let run = FrameRange::new(FrameNumber(start), FrameNumber(start + WINDOW_PAGES));
        let free = run.end().0 <= end.0 && !claimed.iter().any(|range| range.overlaps(run));
        free.then_some(run)
    })
}

#[cfg(test)]
mod tests;
