//! The domain's memory, as far as other domains can be given it.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::vec::Vec;

use mirage_core::Pool;
use mirage_core::doubles::SplitMix64;

use super::page::Page;
use crate::abi::PAGE_SIZE;
use crate::abi::grant::{ENTRIES_PER_FRAME, GrantEntry};
use crate::abi::shared_info::SharedInfo;

/// The pools that are the domain's RAM, the numbers of their frames, and the pages that Xen and the toolstack gave.
pub(super) struct Memory {
    pools: RefCell<Vec<&'static Pool>>,
    frames: RefCell<Frames>,
    pub(super) shared_info: &'static SharedInfo,
    pub(super) store_page: Page,
    pub(super) console_page: Page,
    entries: &'static [GrantEntry],
    mapped_frames: Cell<u32>,
}

#[derive(Default)]
struct Frames {
    /// The frame of each page of this process that was asked for, by the page's number.
    of_page: BTreeMap<usize, u32>,
    page_of: BTreeMap<u32, usize>,
    rng: Option<SplitMix64>,
}

/// Bytes of the domain's.
pub(super) enum Place {
    /// In a block of a pool. Valid for as many bytes as were asked for, for the rest of the program.
    Block(NonNull<u8>),
    /// In a registered static range: read-only.
    Constant(&'static [u8]),
}

impl Memory {
    pub(super) fn new(grant_frames: u32, rng: SplitMix64) -> Self {
        Self {
            pools: RefCell::default(),
            frames: RefCell::new(Frames {
                rng: Some(rng),
                ..Frames::default()
            }),
            shared_info: Box::leak(Box::new(SharedInfo::new())),
            store_page: Page::leak(),
            console_page: Page::leak(),
            entries: leak_entries(grant_frames as usize * ENTRIES_PER_FRAME),
            mapped_frames: Cell::new(1),
        }
    }

    /// Makes a pool's region, and its static ranges, the domain's.
    pub(super) fn add(&self, pool: &'static Pool) {
        let mut pools = self.pools.borrow_mut();
        if !pools.iter().any(|known| core::ptr::eq(*known, pool)) {
            pools.push(pool);
        }
    }

    /// The frame of an address of the domain's.
    pub(super) fn frame(&self, address: usize) -> Option<u32> {
        self.place(address, 1)?;
        Some(self.frames.borrow_mut().of(address / PAGE_SIZE))
    }

    /// Bytes in a frame. `None` where not all of them are the domain's.
    pub(super) fn bytes(&self, frame: u32, offset: usize, length: usize) -> Option<Place> {
        let page = *self.frames.borrow().page_of.get(&frame)?;
        self.place(page * PAGE_SIZE + offset, length)
    }

    /// Whether a frame is the domain's, in part at least.
    pub(super) fn is_frame(&self, frame: u32) -> bool {
        self.frames.borrow().page_of.contains_key(&frame)
    }

    fn place(&self, address: usize, length: usize) -> Option<Place> {
        let inside = |start: usize, size: usize| {
            let offset = address.checked_sub(start)?;
            (offset.checked_add(length)? <= size).then_some(offset)
        };
        for pool in &*self.pools.borrow() {
            let size = pool.blocks() * pool.block_size();
            if let Some(offset) = inside(pool.base().addr().get(), size) {
                // SAFETY: the pool's base is of `size` bytes of one allocation, and `offset` is at most that.
                return Some(Place::Block(unsafe { pool.base().add(offset) }));
            }
            let ranges = pool.static_ranges();
            let constant = ranges.map(|range| {
                let offset = inside(range.as_ptr().addr(), range.len())?;
                range.get(offset..offset + length)
            });
            if let Some(bytes) = constant.flatten().next() {
                return Some(Place::Constant(bytes));
            }
        }
        None
    }

    /// All entries that the grant table can have.
    pub(super) fn all_entries(&self) -> &'static [GrantEntry] {
        self.entries
    }

    /// The entries of at least so many frames, mapped from now on.
    pub(super) fn map_entries(&self, frames: u32) -> Option<&'static [GrantEntry]> {
        let mapped = self.mapped_frames.get().max(frames);
        let entries = self.entries.get(..mapped as usize * ENTRIES_PER_FRAME)?;
        self.mapped_frames.set(mapped);
        Some(entries)
    }
}

/// Entries that grant nothing, for the rest of the program.
fn leak_entries(count: usize) -> &'static [GrantEntry] {
    let layout = Layout::array::<GrantEntry>(count.max(1));
    let layout = layout.unwrap_or_else(|_| panic!("{count} grant entries"));
    // SAFETY: the layout's size isn't zero: there is one entry at least.
    let first = NonNull::new(unsafe { alloc_zeroed(layout) });
    let first = first.unwrap_or_else(|| handle_alloc_error(layout));
    // SAFETY: aligned and large enough for `count` entries, by the layout; zeros are an entry, which consists of atomic numbers;
    // never freed, and reached through this alone.
    unsafe { core::slice::from_raw_parts(first.cast().as_ptr(), count) }
}

impl Frames {
    /// A page's number: drawn, so that nothing can be guessed of it, nor that two pages lie side by side.
    fn of(&mut self, page: usize) -> u32 {
        if let Some(frame) = self.of_page.get(&page) {
            return *frame;
        }
        loop {
            let drawn = self.rng.as_mut().map_or(0, |rng| rng.below(1 << 24));
            // Real memory begins above the first megabyte.
            let frame = 0x100 + drawn as u32;
            if !self.page_of.contains_key(&frame) {
                self.of_page.insert(page, frame);
                self.page_of.insert(frame, page);
                return frame;
            }
        }
    }
}
