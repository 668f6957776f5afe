//! The window of foreign pages: addresses that are mapped for good to frames where nothing is, so that Xen's own pages
//! and other domains' can appear there without a change to a page table.

use core::ptr::{self, NonNull};

use crate::abi::{FrameNumber, PAGE_SIZE};
use crate::boot::WINDOW_PAGES;
use crate::hypervisor::SharedPage;

/// A page of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowPage {
    SharedInfo,
    /// A frame of the grant table.
    Grant(u32),
    /// Xenstore's ring, in the toolstack's frame.
    Store,
    /// The console's ring, in the toolstack's frame.
    Console,
}

/// Where the window lies.
#[derive(Debug)]
pub(crate) struct Window {
    address: u64,
    /// As many frames as it has pages. Those of the two rings' pages are not used.
    first: FrameNumber,
    store: Option<FrameNumber>,
    console: Option<FrameNumber>,
}

impl Window {
    /// Frames of the grant table that there is room for: 32,768 entries, what Xen allows by default.
    pub(crate) const GRANT_FRAMES: u32 = 64;
    /// The first page that has no purpose of its own.
    const FREE: u64 = Self::place(WindowPage::Console) + 1;

    /// The window at `address`, to the frames from `first` on. The rings are in the toolstack's own frames, if there
    /// are any.
    pub(crate) fn new(
        address: u64,
        first: FrameNumber,
        store: Option<FrameNumber>,
        console: Option<FrameNumber>,
    ) -> Self {
        Self {
            address,
            first,
            store,
            console,
        }
    }

    const fn place(page: WindowPage) -> u64 {
        match page {
            WindowPage::SharedInfo => 0,
            WindowPage::Grant(frame) => 1 + frame as u64,
            WindowPage::Store => 1 + Self::GRANT_FRAMES as u64,
            WindowPage::Console => 2 + Self::GRANT_FRAMES as u64,
        }
    }

    /// The frame that each page is mapped to, in order. `None`: to none.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Option<FrameNumber>> {
        (0..WINDOW_PAGES).map(|place| {
            if place == Self::place(WindowPage::Store) {
                self.store
            } else if place == Self::place(WindowPage::Console) {
                self.console
            } else {
                Some(FrameNumber(self.first.0 + place))
            }
        })
    }

    pub(crate) fn frame(&self, page: WindowPage) -> FrameNumber {
        FrameNumber(self.first.0 + Self::place(page))
    }

    pub(crate) fn toolstack_frame(&self, page: WindowPage) -> Option<FrameNumber> {
        match page {
            WindowPage::Store => self.store,
            WindowPage::Console => self.console,
            WindowPage::SharedInfo | WindowPage::Grant(_) => None,
        }
    }

    pub(crate) fn address(&self, page: WindowPage) -> NonNull<u8> {
        self.address_of(Self::place(page))
    }

    fn address_of(&self, place: u64) -> NonNull<u8> {
        let address = self.address + place * PAGE_SIZE as u64;
        let pointer = ptr::with_exposed_provenance_mut(address as usize);
        NonNull::new(pointer).expect("the window isn't at address zero")
    }

    /// The pages that have no purpose of their own.
    pub(crate) fn free_pages(&'static self) -> ForeignPages {
        ForeignPages {
            window: self,
            next: Self::FREE,
        }
    }
}

/// Addresses at which pages of other domains can be made to appear: each is mapped to a frame of this domain where
/// nothing is, until a grant is mapped there (`GNTTABOP_map_grant_ref` takes the frame's physical address).
#[derive(Debug)]
pub struct ForeignPages {
    window: &'static Window,
    next: u64,
}

/// One of them.
#[derive(Debug)]
pub struct ForeignPage {
    /// Where it is in the address space. Until something was mapped at its frame, its bytes read as ones and writing
    /// has no effect.
    pub page: SharedPage,
    /// Where it is in the domain's physical memory.
    pub frame: FrameNumber,
}

impl Iterator for ForeignPages {
    type Item = ForeignPage;

    fn next(&mut self) -> Option<ForeignPage> {
        if self.next == WINDOW_PAGES {
            return None;
        }
        let place = self.next;
        self.next += 1;
        Some(ForeignPage {
            // SAFETY: the page is mapped in the window for the rest of the program, and given out once; it is reached
            // as a `SharedPage` alone.
            page: unsafe { SharedPage::new(self.window.address_of(place)) },
            frame: FrameNumber(self.window.first.0 + place),
        })
    }
}
