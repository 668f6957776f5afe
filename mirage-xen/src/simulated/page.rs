//! A page that both sides reach.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::ptr::NonNull;

use crate::abi::PAGE_SIZE;
use crate::hypervisor::SharedPage;

/// A page that the toolstack gave the domain, reached by both sides for the rest of the program. The other side's hand on
/// it: numbers and bytes at offsets, copied.
///
/// # Panics
///
/// All methods: beyond the page. Offsets are the backends' own, never something that the domain said.
#[derive(Clone, Copy)]
pub(super) struct Page(SharedPage);

impl Page {
    /// A new one, all zeros, which is never given back.
    pub(super) fn leak() -> Self {
        const LAYOUT: Layout = match Layout::from_size_align(PAGE_SIZE, PAGE_SIZE) {
            Ok(layout) => layout,
            Err(_) => panic!("a page is a page"),
        };
        // SAFETY: the layout's size isn't zero.
        let address = unsafe { alloc_zeroed(LAYOUT) };
        let Some(address) = NonNull::new(address) else {
            handle_alloc_error(LAYOUT)
        };
        // SAFETY: aligned to a page, of a page's bytes, which are initialised and never freed; this type reaches them by raw
        // copies alone, and hands on nothing but the `SharedPage`.
        Self(unsafe { SharedPage::new(address) })
    }

    /// The other side's hand on a page that is shared already.
    #[cfg(test)]
    pub(super) fn of(page: SharedPage) -> Self {
        Self(page)
    }

    pub(super) fn shared(self) -> SharedPage {
        self.0
    }

    pub(super) fn read(self, offset: usize, to: &mut [u8]) {
        assert!(offset <= PAGE_SIZE && to.len() <= PAGE_SIZE - offset);
        // SAFETY: in the page, as asserted, which is valid for reads and initialised; `to` is borrowed mutably and
        // nothing refers to the page's bytes but through atomics and cells, so they don't overlap.
        unsafe {
            self.0
                .address()
                .as_ptr()
                .add(offset)
                .copy_to_nonoverlapping(to.as_mut_ptr(), to.len());
        }
    }

    pub(super) fn write(self, offset: usize, from: &[u8]) {
        assert!(offset <= PAGE_SIZE && from.len() <= PAGE_SIZE - offset);
        // SAFETY: as in `read`; the page is valid for writes, and everybody expects it to change (`SharedPage`).
        unsafe {
            self.0
                .address()
                .as_ptr()
                .add(offset)
                .copy_from_nonoverlapping(from.as_ptr(), from.len());
        }
    }

    pub(super) fn read_u32(self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    pub(super) fn write_u32(self, offset: usize, value: u32) {
        self.write(offset, &value.to_le_bytes());
    }

    pub(super) fn clear(self) {
        self.write(0, &[0; PAGE_SIZE]);
    }

    /// Copies out of a ring of bytes: `ring` long, at `base`, from the (free-running) `index` on.
    pub(super) fn read_ring(self, base: usize, ring: usize, index: u32, to: &mut [u8]) {
        let start = index as usize % ring;
        let first = to.len().min(ring - start);
        let (before, after) = to.split_at_mut(first);
        self.read(base + start, before);
        self.read(base, after);
    }

    /// Copies into a ring of bytes.
    pub(super) fn write_ring(self, base: usize, ring: usize, index: u32, from: &[u8]) {
        let start = index as usize % ring;
        let first = from.len().min(ring - start);
        let (before, after) = from.split_at(first);
        self.write(base + start, before);
        self.write(base, after);
    }
}
