//! One end of a ring, whose other end writes the page as it likes.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use mirage_core::Pool;
use mirage_core::doubles::CheckedLender;

use super::Input;
use crate::hypervisor::SharedPage;
use crate::ring::{BackRing, FrontRing, RingPage};

/// As netif's: 12 and 4 bytes, 256 slots.
type Request = [u32; 3];
type Response = [u16; 2];
const SIZE: u32 = 256;
const SLOT: usize = 12;

/// A page for a ring.
pub struct RingPlace {
    pool: &'static Pool,
    lender: &'static CheckedLender,
}

/// The page's words, as the other end sees them.
#[derive(Clone, Copy)]
struct Words(&'static [AtomicU32; 1_024]);

impl RingPlace {
    /// A place, whose memory is never given back.
    ///
    /// # Panics
    ///
    /// When there is no memory.
    #[expect(clippy::new_without_default, reason = "it leaks")]
    pub fn new() -> Self {
        let pool = Pool::leak(1, 4_096).expect("one page");
        let lender = CheckedLender::leak(pool, 1);
        Self { pool, lender }
    }

    /// Drives a front end. The input is the index at which the ring begins (four bytes, big-endian), then steps of five bytes: what
    /// happens, and a number.
    ///
    /// # Panics
    ///
    /// When more responses are taken than requests were published, or others than the slots held; when the page doesn't come
    /// back.
    pub fn front(&self, input: &[u8]) {
        let mut input = Input(input);
        let start = input.number().unwrap_or(0);
        let mut ring = FrontRing::<Request, Response>::new_at(self.page(), start);
        let words = Words::of(ring.page());
        let (mut pushed, mut published, mut taken) = (0u64, 0u64, 0u64);
        while let (Some(step), Some(number)) = (input.byte(), input.number()) {
            match step % 8 {
                0 => {
                    for _ in 0..number % 300 {
                        pushed += u64::from(ring.push([number, 2, 3]).is_ok());
                    }
                }
                1 => {
                    let _ = ring.publish();
                    published = pushed;
                }
                2 => {
                    for _ in 0..number % 300 {
                        let slot = words.slot(start.wrapping_add(taken as u32));
                        let Ok(Some(response)) = ring.take_response() else {
                            break;
                        };
                        assert_eq!(response, [slot as u16, (slot >> 16) as u16]);
                        taken += 1;
                    }
                }
                3 => {
                    let _ = ring.final_check();
                }
                4 => {
                    let _ = ring.final_check_after(number);
                }
                5 => words.set(usize::from(step / 8), number),
                6 => words.set(number as usize, number.rotate_left(u32::from(step))),
                _ => {
                    // Near to what could be.
                    let producer = start
                        .wrapping_add(taken as u32)
                        .wrapping_add(number % 600)
                        .wrapping_sub(40);
                    words.set(2, producer);
                }
            }
            assert!(taken <= published && published <= pushed);
            assert!(pushed - taken <= u64::from(SIZE));
            assert_eq!(u64::from(ring.in_flight()), pushed - taken);
            assert_eq!(u64::from(ring.free()), u64::from(SIZE) - (pushed - taken));
            assert!(
                ring.unconsumed()
                    .is_ok_and(|count| u64::from(count) <= published - taken)
                    || ring.unconsumed().is_err()
            );
        }
        let page = ring.into_page().reclaim();
        drop(page.expect("nobody holds it"));
        assert_eq!(self.pool.free(), 1, "the page is missing");
    }

    /// Drives a back end. The input is as of [`front`](Self::front).
    ///
    /// # Panics
    ///
    /// When more requests are taken than there are slots, or others than the slots held; when there are more responses than
    /// requests; when the page doesn't come back.
    pub fn back(&self, input: &[u8]) {
        let mut input = Input(input);
        let start = input.number().unwrap_or(0);
        let front = FrontRing::<Request, Response>::new_at(self.page(), start);
        let words = Words::of(front.page());
        let mut ring = BackRing::<Request, Response>::attach(words.page().into());
        let (mut pushed, mut taken) = (0u64, 0u64);
        while let (Some(step), Some(number)) = (input.byte(), input.number()) {
            match step % 8 {
                0 => {
                    for _ in 0..number % 300 {
                        pushed += u64::from(ring.push([number as u16, 2]).is_ok());
                    }
                }
                1 => {
                    let _ = ring.publish();
                }
                2 => {
                    for _ in 0..number % 300 {
                        let slot = words.slot(start.wrapping_add(taken as u32));
                        let Ok(Some(request)) = ring.take_request() else {
                            break;
                        };
                        assert_eq!(request[0], slot);
                        taken += 1;
                    }
                }
                3 | 4 => {
                    let _ = ring.final_check();
                }
                5 => words.set(usize::from(step / 8), number),
                6 => words.set(number as usize, number.rotate_left(u32::from(step))),
                _ => {
                    let producer = start
                        .wrapping_add(taken as u32)
                        .wrapping_add(number % 600)
                        .wrapping_sub(40);
                    words.set(0, producer);
                }
            }
            assert!(pushed <= taken && taken - pushed <= u64::from(SIZE));
            assert_eq!(u64::from(ring.in_hand()), taken - pushed);
        }
        drop(ring);
        let page = front.into_page().reclaim();
        drop(page.expect("nobody holds it"));
        assert_eq!(self.pool.free(), 1, "the page is missing");
    }

    fn page(&self) -> RingPage {
        let page = self.pool.alloc().expect("the last run gave it back");
        RingPage::lend(page, self.lender).expect("it is whole, and nobody has it")
    }
}

impl Words {
    fn of(page: &RingPage) -> Self {
        let block = page.block().expect("it is lent");
        // SAFETY: the block is a page of a pool that is never freed, aligned to its size. While the ring is there the page is
        // lent, so that nothing refers to its bytes; `Words` are not used after the ring has given the page back (both
        // functions end there). Atomics are what all of it is reached by here.
        let words = unsafe { SharedPage::new(block.address()).cast() };
        Self(words)
    }

    fn page(self) -> SharedPage {
        // SAFETY: as of `of`.
        unsafe { SharedPage::new(core::ptr::NonNull::from(self.0).cast()) }
    }

    /// Writes a word, anywhere in the page.
    fn set(self, word: usize, value: u32) {
        self.0[word % self.0.len()].store(value, Ordering::Relaxed);
    }

    /// The first word of a slot.
    fn slot(self, index: u32) -> u32 {
        let offset = 64 + (index % SIZE) as usize * SLOT;
        self.0[offset / 4].load(Ordering::Relaxed)
    }
}

impl fmt::Debug for RingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingPlace").finish_non_exhaustive()
    }
}
