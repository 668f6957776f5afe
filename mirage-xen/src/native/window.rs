//! The window of foreign pages: addresses that are mapped for good to frames where nothing is, so that Xen's own pages
//! and other domains' can appear there without a change to a page table.

use core::ptr::{self, NonNull};

use crate::abi::{FrameNumber, PAGE_SIZE};
use crate::boot::{FrameRange, WINDOW_PAGES};
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

    /// The frames that its pages are mapped to: runs of them, each with the address that it begins at. A ring's page
    /// that there is no frame for is mapped to none.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u64, FrameRange)> {
        let run = |start: u64, end: u64| {
            let frame = |place| FrameNumber(self.first.0 + place);
            Some((start, FrameRange::new(frame(start), frame(end))))
        };
        let ring = |page| {
            let frame = self.toolstack_frame(page)?;
            let frames = FrameRange::new(frame, FrameNumber(frame.0 + 1));
            Some((Self::place(page), frames))
        };
        [
            run(0, Self::place(WindowPage::Store)),
            ring(WindowPage::Store),
            ring(WindowPage::Console),
            run(Self::FREE, WINDOW_PAGES),
        ]
        .into_iter()
        .flatten()
        .map(|(place, frames)| (self.address + place * PAGE_SIZE as u64, frames))
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

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const ADDRESS: u64 = 193 << 39;
    const FIRST: u64 = 0x4000;

    fn window(store: Option<u64>) -> Window {
        let console = Some(FrameNumber(0xF_EFFF));
        Window::new(ADDRESS, FrameNumber(FIRST), store.map(FrameNumber), console)
    }

    /// The frame of each page of the window.
    fn frames(window: &Window) -> Vec<Option<u64>> {
        let mut pages = std::vec![None; WINDOW_PAGES as usize];
        for (address, run) in window.runs() {
            let place = (address - ADDRESS) / PAGE_SIZE as u64;
            for (page, frame) in (place..).zip(run.iter()) {
                assert_eq!(
                    pages[page as usize].replace(frame.0),
                    None,
                    "page {page} twice"
                );
            }
        }
        pages
    }

    #[test]
    fn each_page_is_mapped_to_its_frame_and_only_the_rings_to_the_toolstack_s() {
        let window = window(Some(0xF_EFFC));
        let frames = frames(&window);
        for (place, frame) in (0..).zip(&frames) {
            let expected = match place {
                65 => 0xF_EFFC,
                66 => 0xF_EFFF,
                place => FIRST + place,
            };
            assert_eq!(*frame, Some(expected));
        }
        let at = |page: WindowPage| (window.address(page).addr().get() as u64 - ADDRESS) / 4096;
        for page in [
            WindowPage::SharedInfo,
            WindowPage::Grant(0),
            WindowPage::Grant(Window::GRANT_FRAMES - 1),
        ] {
            assert_eq!(frames[at(page) as usize], Some(window.frame(page).0));
        }
        assert_eq!(at(WindowPage::Store), 65);
        assert_eq!(
            window.toolstack_frame(WindowPage::Console),
            Some(FrameNumber(0xF_EFFF))
        );
    }

    #[test]
    fn a_ring_that_the_toolstack_did_not_make_is_not_mapped() {
        let frames = frames(&window(None));
        assert_eq!((frames[64], frames[65]), (Some(FIRST + 64), None));
    }

    #[test]
    fn pages_without_a_purpose_are_given_out_once_each_with_their_frames() {
        let window = std::boxed::Box::leak(std::boxed::Box::new(window(Some(1))));
        let pages: Vec<_> = window.free_pages().collect();
        assert_eq!(pages.len(), 256 - 67);
        for (place, page) in (67..).zip(pages) {
            assert_eq!(page.frame, FrameNumber(FIRST + place));
            let address = page.page.address().addr().get() as u64;
            assert_eq!(address, ADDRESS + place * 4096);
        }
    }
}
