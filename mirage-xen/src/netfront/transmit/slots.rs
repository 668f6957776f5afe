//! The requests that the backend has, by their identifiers.

use core::fmt;

use heapless::Vec;
use mirage_core::pool::Lent;

use super::super::keys::BackendFeatures;
use super::MAXIMUM_SLOTS;
use crate::abi::netif::{ExtraInfo, TransmitRequest};
use crate::sort::sort_few;

/// A place for one request, and for the page that it is of. What a device's storage is made of.
///
/// The request's identifier is the place's number and, above that, how often the place was used: a second response to a
/// request is not taken for one to the next request in its place.
pub(in crate::netfront) struct TransmitSlot {
    place: Place,
    generation: u8,
}

/// A place's number takes the identifier's lower half.
const _: () = assert!(MAXIMUM_SLOTS <= 1 << 8);

enum Place {
    /// The next free one; [`NONE`] at the end.
    Free(u16),
    Used(InFlight),
}

/// The end of the free list: no ring has so many slots.
const NONE: u16 = u16::MAX;

/// A piece of a frame that the backend has.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) request: TransmitRequest,
    pub(super) bytes: Bytes,
    /// Its frame's place in the order of all, which wraps.
    pub(super) frame: u32,
    /// Which of its frame's pieces it is.
    pub(super) index: u8,
    /// How many there are, if this is the first. Else zero.
    pub(super) pieces: u8,
    /// Extra information on the frame, if this is its first piece.
    pub(super) extra: Option<ExtraInfo>,
    /// What the frame needs of a backend, if this is its first piece.
    pub(super) needs: BackendFeatures,
}

/// What keeps a piece's bytes where they are.
#[derive(Debug)]
pub(super) enum Bytes {
    /// A page that is lent for it.
    Page(Lent),
    /// Nothing has to: they are the program's.
    Static,
}

impl TransmitSlot {
    /// A free place, of no list yet.
    pub(in crate::netfront) const FREE: Self = Self {
        place: Place::Free(NONE),
        generation: 0,
    };
}

impl TransmitSlot {
    /// Of the request that is here now, or will be next.
    fn id(&self, index: u16) -> u16 {
        u16::from(self.generation) << 8 | index
    }
}

impl fmt::Debug for TransmitSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Free(_) => f.write_str("free"),
            Place::Used(piece) => piece.fmt(f),
        }
    }
}

/// All places, with the list of the free ones.
pub(super) struct Slots {
    places: &'static mut [TransmitSlot],
    free: u16,
    used: usize,
}

impl Slots {
    /// At most [`MAXIMUM_SLOTS`] of the places are used.
    pub(super) fn new(places: &'static mut [TransmitSlot]) -> Self {
        let used = places.len().min(MAXIMUM_SLOTS);
        let places = &mut places[..used];
        let mut free = NONE;
        for (place, id) in places.iter_mut().zip(0..NONE).rev() {
            place.place = Place::Free(free);
            free = id;
        }
        Self {
            places,
            free,
            used: 0,
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn free(&self) -> usize {
        self.places.len() - self.used
    }

    /// Puts a piece into a free place: its identifier, which is written into its request.
    pub(super) fn put(&mut self, mut piece: InFlight) -> Result<u16, InFlight> {
        let index = self.free;
        let Some(slot) = self.places.get_mut(usize::from(index)) else {
            return Err(piece);
        };
        let Place::Free(next) = slot.place else {
            return Err(piece);
        };
        let id = slot.id(index);
        piece.request.id = id;
        slot.place = Place::Used(piece);
        self.free = next;
        self.used += 1;
        Ok(id)
    }

    /// Takes a piece out. `None`: no request has this identifier.
    pub(super) fn take(&mut self, id: u16) -> Option<InFlight> {
        let index = id & 0xff;
        let slot = self.places.get_mut(usize::from(index))?;
        if slot.id(index) != id || !matches!(slot.place, Place::Used(_)) {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        let taken = core::mem::replace(&mut slot.place, Place::Free(self.free));
        self.free = index;
        self.used -= 1;
        match taken {
            Place::Used(piece) => Some(piece),
            Place::Free(_) => None,
        }
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, id: u16) -> Option<&mut InFlight> {
        let index = id & 0xff;
        let slot = self.places.get_mut(usize::from(index))?;
        if slot.id(index) != id {
            return None;
        }
        match &mut slot.place {
            Place::Used(piece) => Some(piece),
            Place::Free(_) => None,
        }
    }

    /// All pieces in their order, with their identifiers; `next` is the next frame's place in it.
    pub(super) fn by_age(&self, next: u32) -> Vec<(Age, u16), MAXIMUM_SLOTS> {
        let used = (0..NONE)
            .zip(self.places.iter())
            .filter_map(|(index, slot)| match &slot.place {
                Place::Used(piece) => {
                    let age = Age {
                        frame: core::cmp::Reverse(next.wrapping_sub(piece.frame)),
                        index: piece.index,
                    };
                    Some((age, slot.id(index)))
                }
                Place::Free(_) => None,
            });
        let mut ages: Vec<_, MAXIMUM_SLOTS> = used.take(MAXIMUM_SLOTS).collect();
        sort_few(&mut ages, |(age, _)| *age);
        ages
    }
}

/// When a piece was queued: the older, the less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    /// How many frames ago.
    pub(super) frame: core::cmp::Reverse<u32>,
    index: u8,
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("places", &self.places.len())
            .field("used", &self.used)
            .finish()
    }
}
