//! The pool against a simple model, under random operations.
//!
//! The model knows each block's bytes, the extent and window of each handle, who owns what and which account is charged,
//! in the plainest way. After every operation everything that can be seen of the pool is compared with it: so a byte that
//! changed without its owner, two windows that overlap, a page that returned too early, to the wrong account or never,
//! or a free list that disagrees with the accounts, each fail.

extern crate std;

mod apply;
mod chains;

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::doubles::{CheckedLender, Violation};
use crate::frame::Frame;

const BLOCKS: usize = 6;
const SIZE: usize = 64;
const RESERVES: usize = 3;
/// More than there are chains, so that some long frame is refused.
const FRAMES: usize = 4;
/// A quarter as many as blocks: see `Pool::leak`.
const CHAINS: usize = 2;
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
    /// Puts a handle into a frame, in front or behind.
    Push(usize, usize, bool),
    FrameAdvance(usize, usize),
    FrameTruncate(usize, usize),
    FrameKeep(usize),
    /// Takes a frame apart, into handles again.
    TakeApart(usize),
    DropFrame(usize),
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
        16 => (0..FRAMES, which(), any::<bool>()).prop_map(|(f, i, front)| Op::Push(f, i, front)),
        2 => (0..FRAMES, len()).prop_map(|(f, n)| Op::FrameAdvance(f, n)),
        1 => (0..FRAMES, len()).prop_map(|(f, n)| Op::FrameTruncate(f, n)),
        2 => (0..FRAMES).prop_map(Op::FrameKeep),
        1 => (0..FRAMES).prop_map(Op::TakeApart),
        1 => (0..FRAMES).prop_map(Op::DropFrame),
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

/// What the model knows of a frame's segment.
#[derive(Clone, Copy)]
struct Framed {
    unique: bool,
    block: usize,
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
    frames: [(Frame, Vec<Framed>); FRAMES],
    /// How often a frame found no chain.
    chains_exhausted: u64,
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
            frames: [const { (Frame::new(), Vec::new()) }; FRAMES],
            chains_exhausted: 0,
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
        let mut framed = self.frames.iter().flat_map(|(_, segments)| segments);
        framed.any(|segment| segment.block == block && segment.unique)
            || self
                .held
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
        self.check_frames();
        // Nobody else is in a unique extent.
        let held = self.held.iter().map(|held| Framed {
            unique: matches!(held.handle, Handle::Unique(_)),
            block: held.block,
            extent: held.extent,
            window: held.window,
        });
        let framed = self.frames.iter().flat_map(|(_, segments)| segments);
        let all: Vec<Framed> = held.chain(framed.copied()).collect();
        for (at, one) in all.iter().enumerate().filter(|(_, one)| one.unique) {
            let apart = |other: &Framed| {
                // An extent without bytes overlaps nothing, wherever it lies.
                other.block != one.block
                    || other.extent.0 == other.extent.1
                    || one.extent.0 == one.extent.1
                    || other.extent.1 <= one.extent.0
                    || one.extent.1 <= other.extent.0
            };
            assert!(
                all.iter()
                    .enumerate()
                    .all(|(i, other)| i == at || apart(other))
            );
        }
    }

    /// Lets everything fall: all pages are back, save those in quarantine.
    fn finish(mut self) {
        for slot in 0..FRAMES {
            self.drop_frame(slot);
            self.check();
        }
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
