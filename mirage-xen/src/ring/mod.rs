//! The shared ring (io/ring.h): requests one way, responses the other, in one page.
//!
//! | type | what it is |
//! | --- | --- |
//! | [`FrontRing`] | the end that makes the page a ring, pushes requests and takes responses |
//! | [`BackRing`] | the end that takes requests and pushes responses |
//! | [`RingPage`] | the page, which is lent to the other end for as long as the ring is there |
//!
//! A ring has as many slots as fit into the page, rounded down to a power of two; a slot holds a request, and later a
//! response. Indices run on beyond that and wrap at 2³². Each end keeps its own indices to itself and writes them out: it
//! never reads back what the other one could have changed. The other end's producer is an allegation: it is
//! read once, checked against what can be in flight, and refused with [`RingError`] if it can't be. A slot is copied out once.
//!
//! ```
//! use mirage_core::Pool;
//! use mirage_core::doubles::CheckedLender;
//! use mirage_xen::ring::{FrontRing, RingPage};
//!
//! let pool = Pool::leak(1, 4096)?;
//! let lender = CheckedLender::leak(pool, 1);
//! let page = RingPage::lend(pool.alloc().ok_or("empty")?, lender).map_err(|(_, error)| error)?;
//!
//! let mut ring = FrontRing::<[u32; 3], [u16; 2]>::new(page);
//! assert_eq!(ring.free(), 256);
//! ring.push([1, 2, 3])?;
//! if ring.publish() {
//!     // notify the other end's port
//! }
//! while let Some(response) = ring.take_response()? {
//!     println!("{response:?}");
//! }
//! if ring.final_check() {
//!     // one came meanwhile: once more; else sleep until our port's event
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod back;
mod front;
mod page;
#[cfg(test)]
mod tests;

use core::fmt;

pub use back::{BackRing, NoRequest};
pub use front::{FrontRing, RingFull};
pub use page::{RingPage, RingPageError};

use crate::abi::PAGE_SIZE;

/// Where the slots begin in the page: `offsetof(struct __name##_sring, ring)`.
const SLOTS_OFFSET: usize = 64;

/// Bytes of a slot, which is a union of the two.
const fn slot_size<Request, Response>() -> usize {
    let size = larger(size_of::<Request>(), size_of::<Response>());
    let align = larger(align_of::<Request>(), align_of::<Response>());
    assert!(size > 0, "a slot holds something");
    assert!(align <= SLOTS_OFFSET, "slots are aligned");
    size.next_multiple_of(align)
}

/// How many slots a page has (`__RING_SIZE`).
const fn ring_size<Request, Response>() -> u32 {
    let slots = (PAGE_SIZE - SLOTS_OFFSET) / slot_size::<Request, Response>();
    assert!(slots > 0, "a slot fits into a page");
    // At most 4,032.
    1 << (slots as u32).ilog2()
}

const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// The other end's fault: its producer index can't be. The ring is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingError {
    /// What it claims to have produced.
    pub producer: u32,
    /// What we have consumed.
    pub consumer: u32,
    /// By how much the producer can be ahead at most.
    pub most: u32,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the peer's ring index is {}, which is not at most {} after {}",
            self.producer, self.most, self.consumer
        )
    }
}

impl core::error::Error for RingError {}

/// The other end's producer, if it is at most `most` ahead of our consumer.
fn check(producer: u32, consumer: u32, most: u32) -> Result<u32, RingError> {
    if producer.wrapping_sub(consumer) <= most {
        Ok(producer)
    } else {
        Err(RingError {
            producer,
            consumer,
            most,
        })
    }
}

/// Whether a publication of what is between `old` and `new` passes the index at which the other end wants to be woken.
fn passes(event: u32, old: u32, new: u32) -> bool {
    new.wrapping_sub(event) < new.wrapping_sub(old)
}
