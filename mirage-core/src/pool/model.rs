//! The pool against a simple model, under random operations.
//!
//! The model knows each block's bytes, the extent and window of each handle, who owns what and which account is charged,
//! in the plainest way. After every operation everything that can be seen of the pool is compared with it: so a byte that
//! changed without its owner, two windows that overlap, a page that returned too early, to the wrong account or never,
//! or a free list that disagrees with the accounts, each fail.

extern crate std;

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::doubles::{CheckedLender, Violation};

const BLOCKS: usize = 6;
const SIZE: usize = 64;
const RESERVES: usize = 3;
/// Fewer than blocks, so that the lender refuses now and then.
const LENDABLE: usize = 4;

#[derive(Clone, Debug)]
enum Op {
    Alloc(usize),
    Reset(usize, usize),
    Append(usize, usize, u8),
    Prepend(usize, usize, u8),
    SetLen(usize, usize),
    Truncate(usize, usize),
    Advance(usize, usize),
    Expand(usize),
    Widen(usize),
    Scrub(usize),
    Fill(usize, u8),
    Split(usize, usize),
    Join(usize, usize),
    Freeze(usize),
    Clone(usize),
    Slice(usize, usize, usize),
    TryUnique(usize),
    Keep(usize),
    Lend(usize),
    End(usize),
    Drop(usize),
    PeerWrite(usize, usize, u8),
    PeerRead(usize, usize),
    PeerHold(usize, bool),
    OpenReserve(usize, usize),
    CloseReserve(usize),
    Grow(usize, usize),
    Shrink(usize, usize),
    SetScrub(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let which = || 0..64usize;
    let len = || prop_oneof![8 => 0..=SIZE, 1 => SIZE..SIZE * 2, 1 => Just(usize::MAX)];
    prop_oneof![
        12 => (0..=RESERVES).prop_map(Op::Alloc),
        3 => (which(), len()).prop_map(|(i, n)| Op::Reset(i, n)),
        4 => (which(), len(), any::<u8>()).prop_map(|(i, n, b)| Op::Append(i, n, b)),
        4 => (which(), len(), any::<u8>()).prop_map(|(i, n, b)| Op::Prepend(i, n, b)),
        2 => (which(), len()).prop_map(|(i, n)| Op::SetLen(i, n)),
        2 => (which(), len()).prop_map(|(i, n)| Op::Truncate(i, n)),
        2 => (which(), len()).prop_map(|(i, n)| Op::Advance(i, n)),
        3 => which().prop_map(Op::Expand),
        2 => which().prop_map(Op::Widen),
        1 => which().prop_map(Op::Scrub),
        4 => (which(), any::<u8>()).prop_map(|(i, b)| Op::Fill(i, b)),
        8 => (which(), len()).prop_map(|(i, n)| Op::Split(i, n)),
        6 => (which(), which()).prop_map(|(i, j)| Op::Join(i, j)),
        4 => which().prop_map(Op::Freeze),
        4 => which().prop_map(Op::Clone),
        4 => (which(), len(), len()).prop_map(|(i, a, b)| Op::Slice(i, a, b)),
        4 => which().prop_map(Op::TryUnique),
        5 => which().prop_map(Op::Keep),
        8 => which().prop_map(Op::Lend),
        6 => which().prop_map(Op::End),
        10 => which().prop_map(Op::Drop),
        4 => (0..BLOCKS + 1, len(), any::<u8>()).prop_map(|(i, n, b)| Op::PeerWrite(i, n, b)),
        4 => (0..BLOCKS + 1, len()).prop_map(|(i, n)| Op::PeerRead(i, n)),
        2 => (0..BLOCKS + 1, any::<bool>()).prop_map(|(i, hold)| Op::PeerHold(i, hold)),
        3 => (0..RESERVES, 0..4usize).prop_map(|(i, n)| Op::OpenReserve(i, n)),
        1 => (0..RESERVES).prop_map(Op::CloseReserve),
        1 => (0..RESERVES, 0..4usize).prop_map(|(i, n)| Op::Grow(i, n)),
        1 => (0..RESERVES, 0..4usize).prop_map(|(i, n)| Op::Shrink(i, n)),
        1 => any::<bool>().prop_map(Op::SetScrub),
    ]
}

enum Handle {
    Unique(PageMut),
    Frozen(Page),
    LentMut(LentMut),
    Lent(Lent),
}

/// A handle and what the model knows of it.
struct Held {
    handle: Handle,
    block: usize,
    /// Of a unique one; a frozen one's is its window.
    extent: (usize, usize),
    window: (usize, usize),
}

#[derive(Clone)]
struct Block {
    bytes: [u8; SIZE],
    /// Zero: free.
    handles: usize,
    /// Which account it is charged to: `None` is the general part, else a reserve by its serial number.
    charged: Option<usize>,
    quarantined: bool,
    held_by_peer: bool,
}

/// A reserve that is open: (the reserve, its serial number, free pages).
type Open = (Reserve, usize, usize);

struct World {
    pool: &'static Pool,
    peer: &'static CheckedLender,
    held: Vec<Held>,
    blocks: Vec<Block>,
    general_free: usize,
    reserves: [Option<Open>; RESERVES],
    serial: usize,
    scrub: bool,
}

impl World {
    fn new() -> Self {
        let pool = Pool::leak(BLOCKS, SIZE).unwrap();
        let block = Block {
            bytes: [0; SIZE],
            handles: 0,
            charged: None,
            quarantined: false,
            held_by_peer: false,
        };
        Self {
            pool,
            peer: CheckedLender::leak(pool, LENDABLE),
            held: Vec::new(),
            blocks: std::vec![block; BLOCKS],
            general_free: BLOCKS,
            reserves: [const { None }; RESERVES],
            serial: 0,
            scrub: false,
        }
    }

    fn pick(&self, index: usize) -> Option<usize> {
        (!self.held.is_empty()).then(|| index % self.held.len())
    }

    /// The place of a unique handle, counted among these.
    fn pick_unique(&self, index: usize) -> Option<usize> {
        let unique: Vec<usize> = (0..self.held.len())
            .filter(|&i| matches!(self.held[i].handle, Handle::Unique(_)))
            .collect();
        (!unique.is_empty()).then(|| unique[index % unique.len()])
    }

    fn pick_frozen(&self, index: usize) -> Option<usize> {
        let frozen: Vec<usize> = (0..self.held.len())
            .filter(|&i| matches!(self.held[i].handle, Handle::Frozen(_)))
            .collect();
        (!frozen.is_empty()).then(|| frozen[index % frozen.len()])
    }

    fn sole(&self, block: usize) -> bool {
        self.blocks[block].handles == 1
    }

    fn has_unique(&self, block: usize) -> bool {
        let unique = |held: &Held| matches!(held.handle, Handle::Unique(_) | Handle::LentMut(_));
        self.held
            .iter()
            .any(|held| held.block == block && unique(held))
    }

    fn open_reserve_of(&mut self, serial: usize) -> Option<&mut Open> {
        self.reserves
            .iter_mut()
            .flatten()
            .find(|(_, number, _)| *number == serial)
    }

    /// The model's side of a handle that falls.
    fn fall(&mut self, block: usize) {
        self.blocks[block].handles -= 1;
        if self.blocks[block].handles > 0 {
            return;
        }
        if self.scrub {
            self.blocks[block].bytes = [0; SIZE];
        }
        let charged = self.blocks[block].charged;
        match charged.and_then(|serial| self.open_reserve_of(serial)) {
            Some((_, _, free)) => *free += 1,
            None => self.general_free += 1,
        }
    }

    fn unique(
        &mut self,
        at: usize,
    ) -> (
        &mut PageMut,
        &mut Block,
        &mut (usize, usize),
        &mut (usize, usize),
    ) {
        let held = &mut self.held[at];
        let Handle::Unique(page) = &mut held.handle else {
            panic!("not unique")
        };
        (
            page,
            &mut self.blocks[held.block],
            &mut held.extent,
            &mut held.window,
        )
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Alloc(account) => {
                let (page, charged, free) = match account
                    .checked_sub(1)
                    .map(|slot| &mut self.reserves[slot])
                {
                    None => (self.pool.alloc(), None, &mut self.general_free),
                    Some(Some((reserve, serial, free))) => (reserve.alloc(), Some(*serial), free),
                    Some(None) => return,
                };
                assert_eq!(page.is_some(), *free > 0);
                let Some(page) = page else { return };
                *free -= 1;
                let block = page.block().index();
                assert_eq!(
                    self.blocks[block].handles, 0,
                    "a block in use was given out"
                );
                (self.blocks[block].handles, self.blocks[block].charged) = (1, charged);
                self.held.push(Held {
                    handle: Handle::Unique(page),
                    block,
                    extent: (0, SIZE),
                    window: (0, 0),
                });
            }
            Op::Reset(at, headroom) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let (page, _, extent, window) = self.unique(at);
                let fits = headroom <= extent.1 - extent.0;
                assert_eq!(page.reset(headroom).is_ok(), fits);
                if fits {
                    *window = (extent.0 + headroom, extent.0 + headroom);
                }
            }
            Op::Append(at, count, byte) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let (page, block, extent, window) = self.unique(at);
                let fits = count <= extent.1 - window.1;
                let room = page.append(count);
                assert_eq!(room.is_some(), fits);
                if let Some(room) = room {
                    assert_eq!(room, &block.bytes[window.1..window.1 + count]);
                    room.fill(byte);
                    block.bytes[window.1..window.1 + count].fill(byte);
                    window.1 += count;
                }
            }
            Op::Prepend(at, count, byte) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let (page, block, extent, window) = self.unique(at);
                let fits = count <= window.0 - extent.0;
                let room = page.prepend(count);
                assert_eq!(room.is_some(), fits);
                if let Some(room) = room {
                    assert_eq!(room, &block.bytes[window.0 - count..window.0]);
                    room.fill(byte);
                    block.bytes[window.0 - count..window.0].fill(byte);
                    window.0 -= count;
                }
            }
            Op::SetLen(at, len) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let (page, _, extent, window) = self.unique(at);
                let fits = len <= extent.1 - window.0;
                assert_eq!(page.set_len(len).is_ok(), fits);
                if fits {
                    window.1 = window.0 + len;
                }
            }
            Op::Truncate(at, len) => {
                let Some(at) = self.pick(at) else { return };
                let held = &mut self.held[at];
                match &mut held.handle {
                    Handle::Unique(page) => page.truncate(len),
                    Handle::Frozen(page) => page.truncate(len),
                    _ => return,
                }
                held.window.1 = held.window.1.min(held.window.0.saturating_add(len));
            }
            Op::Advance(at, count) => {
                let Some(at) = self.pick(at) else { return };
                let held = &mut self.held[at];
                let done = match &mut held.handle {
                    Handle::Unique(page) => page.advance(count),
                    Handle::Frozen(page) => page.advance(count),
                    _ => return,
                };
                assert_eq!(done.is_ok(), count <= held.window.1 - held.window.0);
                if done.is_ok() {
                    held.window.0 += count;
                }
            }
            Op::Expand(at) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let (page, _, extent, window) = self.unique(at);
                page.expand();
                *window = *extent;
            }
            Op::Widen(at) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let sole = self.sole(self.held[at].block);
                let (page, _, extent, _) = self.unique(at);
                assert_eq!(page.widen(), sole);
                if sole {
                    *extent = (0, SIZE);
                }
            }
            Op::Scrub(at) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let (page, block, extent, window) = self.unique(at);
                page.scrub();
                block.bytes[extent.0..window.0].fill(0);
                block.bytes[window.1..extent.1].fill(0);
            }
            Op::Fill(at, byte) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let (page, block, _, window) = self.unique(at);
                page.fill(byte);
                block.bytes[window.0..window.1].fill(byte);
            }
            Op::Split(at, mid) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let Held {
                    handle,
                    block,
                    extent,
                    window,
                } = self.held.swap_remove(at);
                let Handle::Unique(page) = handle else { return };
                let fits = mid <= window.1 - window.0;
                match page.split_at(mid) {
                    Ok((front, back)) => {
                        assert!(fits);
                        let cut = window.0 + mid;
                        self.blocks[block].handles += 1;
                        let (extent, window) = (
                            ((extent.0, cut), (cut, extent.1)),
                            ((window.0, cut), (cut, window.1)),
                        );
                        self.held.push(Held {
                            handle: Handle::Unique(front),
                            block,
                            extent: extent.0,
                            window: window.0,
                        });
                        self.held.push(Held {
                            handle: Handle::Unique(back),
                            block,
                            extent: extent.1,
                            window: window.1,
                        });
                    }
                    Err(page) => {
                        assert!(!fits);
                        self.held.push(Held {
                            handle: Handle::Unique(page),
                            block,
                            extent,
                            window,
                        });
                    }
                }
            }
            Op::Join(first, second) => {
                let (Some(first), Some(second)) =
                    (self.pick_unique(first), self.pick_unique(second))
                else {
                    return;
                };
                if first == second {
                    return;
                }
                // The later one is removed first, so that the other's place stays.
                let (low, high) = (first.min(second), first.max(second));
                let (b, a) = (self.held.remove(high), self.held.remove(low));
                let (front, back) = if first < second { (a, b) } else { (b, a) };
                let (Handle::Unique(page), Handle::Unique(next)) = (front.handle, back.handle)
                else {
                    return;
                };
                let empty = |window: (usize, usize)| window.0 == window.1;
                let adjacent = front.block == back.block && front.extent.1 == back.extent.0;
                let touch =
                    front.window.1 == back.window.0 || empty(front.window) || empty(back.window);
                match page.join(next) {
                    Ok(page) => {
                        assert!(adjacent && touch);
                        let window = match (empty(front.window), empty(back.window)) {
                            (false, false) => (front.window.0, back.window.1),
                            (true, false) => back.window,
                            // Two empty ones: where the first is.
                            _ => front.window,
                        };
                        self.blocks[front.block].handles -= 1;
                        let extent = (front.extent.0, back.extent.1);
                        self.held.push(Held {
                            handle: Handle::Unique(page),
                            block: front.block,
                            extent,
                            window,
                        });
                    }
                    Err((page, next)) => {
                        assert!(!(adjacent && touch));
                        self.held.push(Held {
                            handle: Handle::Unique(page),
                            ..front
                        });
                        self.held.push(Held {
                            handle: Handle::Unique(next),
                            ..back
                        });
                    }
                }
            }
            Op::Freeze(at) => {
                let Some(at) = self.pick_unique(at) else {
                    return;
                };
                let Held {
                    handle,
                    block,
                    window,
                    ..
                } = self.held.swap_remove(at);
                let Handle::Unique(page) = handle else { return };
                self.held.push(Held {
                    handle: Handle::Frozen(page.freeze()),
                    block,
                    extent: window,
                    window,
                });
            }
            Op::Clone(at) => {
                let Some(at) = self.pick_frozen(at) else {
                    return;
                };
                let Held {
                    handle: Handle::Frozen(page),
                    block,
                    window,
                    ..
                } = &self.held[at]
                else {
                    return;
                };
                let (block, window) = (*block, *window);
                let clone = Held {
                    handle: Handle::Frozen(page.clone()),
                    block,
                    extent: window,
                    window,
                };
                self.blocks[block].handles += 1;
                self.held.push(clone);
            }
            Op::Slice(at, from, to) => {
                let Some(at) = self.pick_frozen(at) else {
                    return;
                };
                let Held {
                    handle: Handle::Frozen(page),
                    block,
                    window,
                    ..
                } = &self.held[at]
                else {
                    return;
                };
                let (block, window) = (*block, *window);
                let fits = from <= to && to <= window.1 - window.0;
                let slice = page.slice(from..to);
                assert_eq!(slice.is_some(), fits);
                let Some(slice) = slice else { return };
                let window = (window.0 + from, window.0 + to);
                self.blocks[block].handles += 1;
                self.held.push(Held {
                    handle: Handle::Frozen(slice),
                    block,
                    extent: window,
                    window,
                });
            }
            Op::TryUnique(at) => {
                let Some(at) = self.pick_frozen(at) else {
                    return;
                };
                let Held {
                    handle,
                    block,
                    window,
                    ..
                } = self.held.swap_remove(at);
                let Handle::Frozen(page) = handle else { return };
                let held = match page.try_unique() {
                    Ok(page) => {
                        assert!(self.sole(block) && !self.blocks[block].quarantined);
                        Held {
                            handle: Handle::Unique(page),
                            block,
                            extent: (0, SIZE),
                            window,
                        }
                    }
                    Err(page) => {
                        assert!(!self.sole(block));
                        Held {
                            handle: Handle::Frozen(page),
                            block,
                            extent: window,
                            window,
                        }
                    }
                };
                self.held.push(held);
            }
            Op::Keep(at) => {
                let Some(at) = self.pick(at) else { return };
                let Held {
                    handle,
                    block,
                    extent,
                    window,
                } = self.held.swap_remove(at);
                let (handle, kept) = match handle {
                    Handle::Unique(page) => match page.keep() {
                        Ok(page) => (Handle::Unique(page), true),
                        Err(page) => (Handle::Unique(page), false),
                    },
                    Handle::Frozen(page) => match page.keep() {
                        Ok(page) => (Handle::Frozen(page), true),
                        Err(page) => (Handle::Frozen(page), false),
                    },
                    other => (other, true),
                };
                let page = matches!(handle, Handle::Unique(_) | Handle::Frozen(_));
                self.held.push(Held {
                    handle,
                    block,
                    extent,
                    window,
                });
                let general = self.general_free;
                if let (true, Some(serial), false) = (
                    page,
                    self.blocks[block].charged,
                    self.blocks[block].quarantined,
                ) {
                    match self.open_reserve_of(serial) {
                        Some((_, _, free)) if general > 0 => {
                            *free += 1;
                            self.general_free -= 1;
                            self.blocks[block].charged = None;
                            assert!(kept);
                        }
                        Some(_) => assert!(!kept),
                        None => {
                            self.blocks[block].charged = None;
                            assert!(kept);
                        }
                    }
                } else {
                    assert!(kept);
                }
            }
            Op::Lend(at) => {
                let Some(at) = self.pick(at) else { return };
                let Held {
                    handle,
                    block,
                    extent,
                    window,
                } = self.held.swap_remove(at);
                let lent_already = self.peer.access(block).is_some();
                let room = lent_already || self.peer.lent() < LENDABLE;
                match handle {
                    Handle::Unique(page) => {
                        let sole = self.sole(block);
                        match page.lend(self.peer) {
                            Ok(lent) => {
                                assert!(sole && room && !lent_already);
                                self.held.push(Held {
                                    handle: Handle::LentMut(lent),
                                    block,
                                    extent: (0, SIZE),
                                    window,
                                });
                            }
                            Err((page, error)) => {
                                assert_eq!(
                                    error,
                                    if sole {
                                        LendError::Exhausted
                                    } else {
                                        LendError::Shared
                                    }
                                );
                                let extent = if sole { (0, SIZE) } else { extent };
                                self.held.push(Held {
                                    handle: Handle::Unique(page),
                                    block,
                                    extent,
                                    window,
                                });
                            }
                        }
                    }
                    Handle::Frozen(page) => {
                        let writable = self.has_unique(block);
                        match page.lend(self.peer) {
                            Ok(lent) => {
                                assert!(!writable && room);
                                self.blocks[block].handles += 1;
                                self.held.push(Held {
                                    handle: Handle::Lent(lent),
                                    block,
                                    extent: window,
                                    window,
                                });
                            }
                            Err(error) => {
                                let expected = if writable {
                                    LendError::Writable
                                } else {
                                    LendError::Exhausted
                                };
                                assert_eq!(error, expected);
                            }
                        }
                        self.held.push(Held {
                            handle: Handle::Frozen(page),
                            block,
                            extent,
                            window,
                        });
                    }
                    other => self.held.push(Held {
                        handle: other,
                        block,
                        extent,
                        window,
                    }),
                }
            }
            Op::End(at) => {
                let Some(at) = self.pick(at) else { return };
                let Held {
                    handle,
                    block,
                    extent,
                    window,
                } = self.held.swap_remove(at);
                let held_by_peer = self.blocks[block].held_by_peer;
                let handle = match handle {
                    Handle::LentMut(lent) => match lent.reclaim() {
                        Ok(page) => Handle::Unique(page),
                        Err(lent) => Handle::LentMut(lent),
                    },
                    Handle::Lent(lent) => match lent.end() {
                        Ok(page) => Handle::Frozen(page),
                        Err(lent) => Handle::Lent(lent),
                    },
                    other => {
                        self.held.push(Held {
                            handle: other,
                            block,
                            extent,
                            window,
                        });
                        return;
                    }
                };
                let ended = matches!(handle, Handle::Unique(_) | Handle::Frozen(_));
                assert_eq!(ended, !held_by_peer);
                self.held.push(Held {
                    handle,
                    block,
                    extent,
                    window,
                });
            }
            Op::Drop(at) => {
                let Some(at) = self.pick(at) else { return };
                let Held { handle, block, .. } = self.held.swap_remove(at);
                let lent = matches!(handle, Handle::LentMut(_) | Handle::Lent(_));
                drop(handle);
                if lent {
                    // The count that it had stays.
                    self.blocks[block].quarantined = true;
                } else {
                    self.fall(block);
                }
            }
            Op::PeerWrite(block, offset, byte) => {
                let lent = self.peer.access(block);
                let done = self.peer.write(block, offset, &[byte; 3]);
                let fits = offset.checked_add(3).is_some_and(|end| end <= SIZE);
                let expected = match (lent, fits) {
                    (None, _) => Err(Violation::NotLent),
                    (Some(_), false) => Err(Violation::OutOfBounds),
                    (Some(Access::Read), true) => Err(Violation::ReadOnly),
                    (Some(Access::Write), true) => Ok(()),
                };
                assert_eq!(done, expected);
                if done.is_ok() {
                    self.blocks[block].bytes[offset..offset + 3].fill(byte);
                }
            }
            Op::PeerRead(block, offset) => {
                let mut seen = [0; 3];
                let done = self.peer.read(block, offset, &mut seen);
                let fits = offset.checked_add(3).is_some_and(|end| end <= SIZE);
                assert_eq!(done.is_ok(), self.peer.access(block).is_some() && fits);
                if done.is_ok() {
                    assert_eq!(seen, self.blocks[block].bytes[offset..offset + 3]);
                }
            }
            Op::PeerHold(block, hold) => {
                if self.peer.hold(block, hold).is_ok() {
                    self.blocks[block].held_by_peer = hold;
                }
            }
            Op::OpenReserve(slot, pages) => {
                if self.reserves[slot].is_some() {
                    return;
                }
                let reserve = self.pool.reserve(pages);
                assert_eq!(reserve.is_ok(), pages <= self.general_free);
                if let Ok(reserve) = reserve {
                    self.general_free -= pages;
                    self.serial += 1;
                    self.reserves[slot] = Some((reserve, self.serial, pages));
                }
            }
            Op::CloseReserve(slot) => {
                if let Some((reserve, _, free)) = self.reserves[slot].take() {
                    drop(reserve);
                    self.general_free += free;
                }
            }
            Op::Grow(slot, pages) => {
                let Some((reserve, _, free)) = &mut self.reserves[slot] else {
                    return;
                };
                assert_eq!(reserve.grow(pages).is_ok(), pages <= self.general_free);
                if pages <= self.general_free {
                    self.general_free -= pages;
                    *free += pages;
                }
            }
            Op::Shrink(slot, pages) => {
                let Some((reserve, _, free)) = &mut self.reserves[slot] else {
                    return;
                };
                let fits = pages <= *free;
                assert_eq!(reserve.shrink(pages).is_ok(), fits);
                if fits {
                    *free -= pages;
                    self.general_free += pages;
                }
            }
            Op::SetScrub(scrub) => {
                self.scrub = scrub;
                self.pool.set_scrub(scrub);
            }
        }
    }

    /// Compares all that can be seen with the model.
    fn check(&self) {
        // Accounts.
        assert_eq!(self.pool.free(), self.general_free);
        for (reserve, serial, free) in self.reserves.iter().flatten() {
            assert_eq!(reserve.free(), *free);
            let charged = self.blocks.iter().filter(|block| {
                block.handles > 0 && !block.quarantined && block.charged == Some(*serial)
            });
            assert_eq!(reserve.in_use(), charged.count());
        }
        // The free list: as long as the accounts say, without a block in use, without a block twice.
        let mut listed = [false; BLOCKS];
        let mut next = self.pool.free_head.get();
        while next != NONE {
            assert!(
                !core::mem::replace(&mut listed[next as usize], true),
                "a block is free twice"
            );
            next = self.pool.state(next).next.get();
        }
        let length = listed.iter().filter(|&&listed| listed).count();
        assert_eq!(length, self.pool.free_in_all());
        let mut quarantined = 0;
        for (index, block) in self.blocks.iter().enumerate() {
            assert_eq!(listed[index], block.handles == 0);
            assert_eq!(
                self.pool.state(index as u32).handles.get() as usize,
                block.handles
            );
            quarantined += u64::from(block.quarantined);
        }
        assert_eq!(self.pool.counters().quarantined, quarantined);
        // Windows and bytes.
        for held in &self.held {
            let expected = &self.blocks[held.block].bytes[held.window.0..held.window.1];
            match &held.handle {
                Handle::Unique(page) => {
                    assert_eq!(&page[..], expected);
                    let headroom = held.window.0 - held.extent.0;
                    let tailroom = held.extent.1 - held.window.1;
                    assert_eq!(
                        (page.offset(), page.headroom(), page.tailroom()),
                        (held.window.0, headroom, tailroom)
                    );
                }
                Handle::Frozen(page) => {
                    assert_eq!(&page[..], expected);
                    assert_eq!(page.offset(), held.window.0);
                }
                Handle::Lent(lent) => {
                    assert_eq!(&lent.page()[..], expected);
                    assert!(!self.has_unique(held.block));
                    assert_eq!(self.peer.access(held.block), Some(Access::Read));
                }
                Handle::LentMut(lent) => {
                    assert_eq!(lent.offset(), held.window.0);
                    assert!(self.sole(held.block));
                    assert_eq!(self.peer.access(held.block), Some(Access::Write));
                }
            }
        }
        // Nobody else is in a unique extent.
        for (at, held) in self.held.iter().enumerate() {
            if let Handle::Unique(_) = held.handle {
                let apart = |other: &Held| {
                    other.block != held.block
                        || other.extent.1 <= held.extent.0
                        || held.extent.1 <= other.extent.0
                };
                assert!(
                    self.held
                        .iter()
                        .enumerate()
                        .all(|(i, other)| i == at || apart(other))
                );
            }
        }
    }

    /// Lets everything fall: all pages are back, save those in quarantine.
    fn finish(mut self) {
        while let Some(held) = self.held.pop() {
            let _ = self.peer.hold(held.block, false);
            match held.handle {
                Handle::LentMut(lent) => drop(lent.reclaim().unwrap()),
                Handle::Lent(lent) => drop(lent.end().unwrap()),
                Handle::Unique(page) => drop(page),
                Handle::Frozen(page) => drop(page),
            }
            self.fall(held.block);
            self.check();
        }
        self.reserves = [const { None }; RESERVES];
        let quarantined = self.blocks.iter().filter(|block| block.quarantined).count();
        assert_eq!(self.pool.free(), BLOCKS - quarantined);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_pool_does_what_the_model_says(ops in proptest::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
            world.check();
        }
        world.finish();
    }
}
