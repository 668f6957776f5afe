//! Any sequence of operations on the page pool, against a model that knows what each handle's bytes are.

#![no_main]

use std::sync::atomic::{AtomicUsize, Ordering};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mirage_core::pool::{Access, BlockId, LendError, Lender, Lent, LentMut, StillInUse};
use mirage_core::{Page, PageMut, Pool, Reserve};

const BLOCKS: usize = 8;
const RESERVED: usize = 3;
const SIZE: usize = 512;

/// What one handle is, and what its bytes must be.
enum Held {
    Unique(PageMut, Vec<u8>),
    Frozen(Page, Vec<u8>),
    LentMut(LentMut),
    Lent(Lent, Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Alloc,
    AllocReserved,
    Reset { which: u8, headroom: u16 },
    Prepend { which: u8, count: u16, fill: u8 },
    Append { which: u8, count: u16, fill: u8 },
    Advance { which: u8, count: u16 },
    Truncate { which: u8, len: u16 },
    Write { which: u8, at: u16, value: u8 },
    Split { which: u8, mid: u16 },
    Join { which: u8, next: u8 },
    Widen { which: u8 },
    Freeze { which: u8 },
    Clone { which: u8 },
    Slice { which: u8, from: u16, to: u16 },
    TryUnique { which: u8 },
    Keep { which: u8 },
    Lend { which: u8 },
    End { which: u8, hold: bool },
    Drop { which: u8 },
}

/// A lender whose other side never touches a byte, and may hold on to a block.
struct Peer {
    lent: AtomicUsize,
    holds: AtomicUsize,
}

static PEER: Peer = Peer {
    lent: AtomicUsize::new(0),
    holds: AtomicUsize::new(0),
};

// SAFETY: nothing but the pool's own handles ever reaches a block.
unsafe impl Lender for Peer {
    unsafe fn lend(&self, _: BlockId, _: Access) -> Result<(), LendError> {
        self.lent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    unsafe fn end(&self, _: BlockId, _: Access) -> Result<(), StillInUse> {
        if self.holds.load(Ordering::Relaxed) != 0 {
            return Err(StillInUse);
        }
        self.lent.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}

thread_local! {
    // Pools live for ever: one serves all runs, and each run must give back all it took.
    static POOL: (&'static Pool, Reserve) = {
        let pool = Pool::leak(BLOCKS, SIZE).expect("a small pool");
        let reserve = pool.reserve(RESERVED).expect("room for the reserve");
        (pool, reserve)
    };
}

fuzz_target!(|operations: Vec<Operation>| {
    POOL.with(|(pool, reserve)| run(pool, reserve, operations));
});

fn run(pool: &'static Pool, reserve: &Reserve, operations: Vec<Operation>) {
    let mut held: Vec<Held> = Vec::new();
    for operation in operations {
        step(pool, reserve, &mut held, operation);
        check(pool, reserve, &held);
    }
    // The other side lets go; then all comes back.
    for handle in held.drain(..) {
        match handle {
            Held::LentMut(lent) => drop(lent.reclaim().expect("nothing holds on")),
            Held::Lent(lent, _) => drop(lent.end().expect("nothing holds on")),
            Held::Unique(..) | Held::Frozen(..) => {}
        }
    }
    assert_eq!(pool.free(), BLOCKS - RESERVED, "the general part is whole");
    assert_eq!(reserve.free(), RESERVED, "the reserve is whole");
    assert_eq!(PEER.lent.load(Ordering::Relaxed), 0);
    assert_eq!(pool.counters().quarantined, 0);
}

fn check(pool: &Pool, reserve: &Reserve, held: &[Held]) {
    let mut blocks = std::collections::BTreeSet::new();
    for handle in held {
        match handle {
            Held::Unique(page, bytes) => {
                assert_eq!(&page[..], &bytes[..]);
                assert!(page.headroom() + page.len() + page.tailroom() <= SIZE);
                blocks.insert(page.block().index());
            }
            Held::Frozen(page, bytes) => {
                assert_eq!(&page[..], &bytes[..]);
                blocks.insert(page.block().index());
            }
            Held::LentMut(lent) => {
                blocks.insert(lent.block().index());
            }
            Held::Lent(lent, bytes) => {
                assert_eq!(&lent.page()[..], &bytes[..]);
                blocks.insert(lent.block().index());
            }
        }
    }
    assert_eq!(pool.free_in_all(), BLOCKS - blocks.len());
    assert_eq!(pool.free() + reserve.free(), BLOCKS - blocks.len());
}

fn step(pool: &'static Pool, reserve: &Reserve, held: &mut Vec<Held>, operation: Operation) {
    use Operation::*;
    match operation {
        Alloc => held.extend(pool.alloc().map(|page| Held::Unique(page, Vec::new()))),
        AllocReserved => held.extend(reserve.alloc().map(|page| Held::Unique(page, Vec::new()))),
        Reset { which, headroom } => with_unique(held, which, |page, bytes| {
            if page.reset(usize::from(headroom)).is_ok() {
                bytes.clear();
            }
        }),
        Prepend { which, count, fill } => with_unique(held, which, |page, bytes| {
            let count = usize::from(count);
            let room = page.headroom();
            let window = page.prepend(count);
            assert_eq!(window.is_some(), count <= room);
            if let Some(window) = window {
                window.fill(fill);
                bytes.splice(0..0, std::iter::repeat_n(fill, count));
            }
        }),
        Append { which, count, fill } => with_unique(held, which, |page, bytes| {
            let count = usize::from(count);
            let room = page.tailroom();
            let window = page.append(count);
            assert_eq!(window.is_some(), count <= room);
            if let Some(window) = window {
                window.fill(fill);
                bytes.extend(std::iter::repeat_n(fill, count));
            }
        }),
        Advance { which, count } => {
            let count = usize::from(count);
            let (moved, bytes) = match pick(held, which) {
                Some(Held::Unique(page, bytes)) => (page.advance(count).is_ok(), bytes),
                Some(Held::Frozen(page, bytes)) => (page.advance(count).is_ok(), bytes),
                _ => return,
            };
            assert_eq!(moved, count <= bytes.len());
            if moved {
                bytes.drain(..count);
            }
        }
        Truncate { which, len } => {
            let len = usize::from(len);
            match pick(held, which) {
                Some(Held::Unique(page, bytes)) => {
                    page.truncate(len);
                    bytes.truncate(len);
                }
                Some(Held::Frozen(page, bytes)) => {
                    page.truncate(len);
                    bytes.truncate(len);
                }
                _ => {}
            }
        }
        Write { which, at, value } => with_unique(held, which, |page, bytes| {
            if let (Some(byte), Some(model)) = (
                page.get_mut(usize::from(at)),
                bytes.get_mut(usize::from(at)),
            ) {
                *byte = value;
                *model = value;
            }
        }),
        Split { which, mid } => replace(held, which, |handle, held| match handle {
            Held::Unique(page, bytes) => match page.split_at(usize::from(mid)) {
                Ok((front, back)) => {
                    let (front_bytes, back_bytes) =
                        bytes.split_at(usize::from(mid).min(bytes.len()));
                    assert_eq!(&front[..], front_bytes);
                    assert_eq!(&back[..], back_bytes);
                    held.push(Held::Unique(front, front_bytes.to_vec()));
                    held.push(Held::Unique(back, back_bytes.to_vec()));
                }
                Err(page) => held.push(Held::Unique(page, bytes)),
            },
            other => held.push(other),
        }),
        Join { which, next } => {
            if held.len() < 2 || usize::from(which) % held.len() == usize::from(next) % held.len() {
                return;
            }
            let (first, second) = (
                usize::from(which) % held.len(),
                usize::from(next) % held.len(),
            );
            let later = held.swap_remove(first.max(second));
            let sooner = held.swap_remove(first.min(second));
            let (first, second) = if first < second {
                (sooner, later)
            } else {
                (later, sooner)
            };
            match (first, second) {
                (Held::Unique(page, mut bytes), Held::Unique(next, more)) => {
                    match page.join(next) {
                        Ok(page) => {
                            bytes.extend(more);
                            held.push(Held::Unique(page, bytes));
                        }
                        Err((page, next)) => {
                            held.push(Held::Unique(page, bytes));
                            held.push(Held::Unique(next, more));
                        }
                    }
                }
                (first, second) => held.extend([first, second]),
            }
        }
        Widen { which } => with_unique(held, which, |page, _| {
            let sole = page.is_sole();
            assert_eq!(page.widen(), sole);
        }),
        Freeze { which } => replace(held, which, |handle, held| {
            held.push(match handle {
                Held::Unique(page, bytes) => Held::Frozen(page.freeze(), bytes),
                other => other,
            });
        }),
        Clone { which } => {
            if held.len() < 64
                && let Some(Held::Frozen(page, bytes)) = pick(held, which)
            {
                let copy = Held::Frozen(page.clone(), bytes.clone());
                held.push(copy);
            }
        }
        Slice { which, from, to } => {
            if held.len() < 64
                && let Some(Held::Frozen(page, bytes)) = pick(held, which)
            {
                let range = usize::from(from)..usize::from(to);
                let slice = page.slice(range.clone());
                let expected = bytes.get(range);
                assert_eq!(slice.as_deref(), expected);
                let copy = slice.zip(expected.map(<[u8]>::to_vec));
                held.extend(copy.map(|(slice, bytes)| Held::Frozen(slice, bytes)));
            }
        }
        TryUnique { which } => replace(held, which, |handle, held| {
            held.push(match handle {
                Held::Frozen(page, bytes) => {
                    let sole = page.is_sole();
                    match page.try_unique() {
                        Ok(page) => {
                            assert!(sole);
                            Held::Unique(page, bytes)
                        }
                        Err(page) => {
                            assert!(!sole);
                            Held::Frozen(page, bytes)
                        }
                    }
                }
                other => other,
            });
        }),
        Keep { which } => replace(held, which, |handle, held| {
            held.push(match handle {
                Held::Unique(page, bytes) => {
                    let (Ok(page) | Err(page)) = page.keep();
                    Held::Unique(page, bytes)
                }
                Held::Frozen(page, bytes) => {
                    let (Ok(page) | Err(page)) = page.keep();
                    Held::Frozen(page, bytes)
                }
                other => other,
            });
        }),
        Lend { which } => replace(held, which, |handle, held| match handle {
            Held::Unique(page, bytes) => {
                let sole = page.is_sole();
                match page.lend(&PEER) {
                    Ok(lent) => {
                        assert!(sole);
                        held.push(Held::LentMut(lent));
                    }
                    Err((page, _)) => {
                        assert!(!sole);
                        held.push(Held::Unique(page, bytes));
                    }
                }
            }
            Held::Frozen(page, bytes) => {
                if held.len() < 64
                    && let Ok(lent) = page.lend(&PEER)
                {
                    held.push(Held::Lent(lent, bytes.clone()));
                }
                held.push(Held::Frozen(page, bytes));
            }
            other => held.push(other),
        }),
        End { which, hold } => replace(held, which, |handle, held| {
            PEER.holds.store(usize::from(hold), Ordering::Relaxed);
            held.push(match handle {
                Held::LentMut(lent) => match lent.reclaim() {
                    Ok(page) => {
                        assert!(!hold);
                        let bytes = page.to_vec();
                        Held::Unique(page, bytes)
                    }
                    Err(lent) => {
                        assert!(hold);
                        Held::LentMut(lent)
                    }
                },
                Held::Lent(lent, bytes) => match lent.end() {
                    Ok(page) => {
                        assert!(!hold);
                        Held::Frozen(page, bytes)
                    }
                    Err(lent) => {
                        assert!(hold);
                        Held::Lent(lent, bytes)
                    }
                },
                other => other,
            });
            PEER.holds.store(0, Ordering::Relaxed);
        }),
        // What is lent must be ended, or its block is out of use for good: right, but then the pool does not last.
        Drop { which } => replace(held, which, |handle, held| match handle {
            Held::Unique(..) | Held::Frozen(..) => {}
            lent => held.push(lent),
        }),
    }
}

fn pick(held: &mut [Held], which: u8) -> Option<&mut Held> {
    let len = held.len();
    held.get_mut(usize::from(which).checked_rem(len)?)
}

fn with_unique(held: &mut [Held], which: u8, action: impl FnOnce(&mut PageMut, &mut Vec<u8>)) {
    if let Some(Held::Unique(page, bytes)) = pick(held, which) {
        action(page, bytes);
    }
}

fn replace(held: &mut Vec<Held>, which: u8, action: impl FnOnce(Held, &mut Vec<Held>)) {
    if held.is_empty() {
        return;
    }
    let handle = held.swap_remove(usize::from(which) % held.len());
    action(handle, held);
}
