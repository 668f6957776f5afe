//! A frame's segments, in the frame or in a chain of the pool.

use heapless::Vec;

use super::Segment;
use crate::pool::{Chain, Pool};

/// A list of segments. Up to [`INLINE`](Self::INLINE) lie in it, more in a [`Chain`] of the pool of one of them: all of
/// them then, so that they are one slice.
#[derive(Debug)]
pub(super) enum Segments {
    Few(Vec<Segment, { Segments::INLINE }, u8>),
    /// More than `INLINE`.
    Many(Chain),
}

impl Segments {
    /// How many lie in the list itself.
    pub(super) const INLINE: usize = 3;

    pub(super) const fn new() -> Self {
        Self::Few(Vec::new())
    }

    #[inline]
    pub(super) fn of(segment: Segment) -> Self {
        Self::Few(Vec::from_array([segment]))
    }

    #[inline(always)]
    pub(super) fn as_slice(&self) -> &[Segment] {
        match self {
            Self::Few(segments) => segments,
            Self::Many(chain) => chain,
        }
    }

    #[inline(always)]
    pub(super) fn as_mut_slice(&mut self) -> &mut [Segment] {
        match self {
            Self::Few(segments) => segments,
            Self::Many(chain) => chain,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, segment: Segment) -> Result<(), Segment> {
        match self {
            Self::Few(segments) => match segments.push(segment) {
                Ok(()) => Ok(()),
                Err(segment) => self.spill(segment, End::Back),
            },
            Self::Many(chain) => chain.push(segment),
        }
    }

    #[inline]
    pub(super) fn push_front(&mut self, segment: Segment) -> Result<(), Segment> {
        match self {
            Self::Few(segments) => match segments.insert(0, segment) {
                Ok(()) => Ok(()),
                Err(segment) => self.spill(segment, End::Front),
            },
            Self::Many(chain) => chain.insert(0, segment),
        }
    }

    /// Moves a full list and one segment more into a chain.
    #[cold]
    fn spill(&mut self, segment: Segment, end: End) -> Result<(), Segment> {
        let Self::Few(segments) = self else {
            return Err(segment);
        };
        let pool = segments.iter().chain([&segment]).find_map(Segment::pool);
        let Some(mut chain) = pool.and_then(Chain::take) else {
            return Err(segment);
        };
        // A chain is empty when it is taken, and has room for 18.
        chain.extend(core::mem::take(segments));
        let result = match end {
            End::Front => chain.insert(0, segment),
            End::Back => chain.push(segment),
        };
        *self = Self::Many(chain);
        result
    }

    #[inline]
    pub(super) fn remove_first(&mut self) -> Option<Segment> {
        let first = match self {
            Self::Few(segments) if segments.is_empty() => return None,
            Self::Few(segments) => return Some(segments.remove(0)),
            // Not empty: more than three.
            Self::Many(chain) => chain.remove(0),
        };
        self.unspill();
        Some(first)
    }

    #[inline]
    pub(super) fn truncate(&mut self, len: usize) {
        match self {
            Self::Few(segments) => segments.truncate(len),
            Self::Many(chain) => {
                chain.truncate(len);
                self.unspill();
            }
        }
    }

    /// Gives the chain back when its segments fit into the list again.
    fn unspill(&mut self) {
        if let Self::Many(chain) = self
            && chain.len() <= Self::INLINE
        {
            let few = core::mem::take(&mut **chain).into_iter().collect();
            *self = Self::Few(few);
        }
    }
}

impl Default for Segments {
    fn default() -> Self {
        Self::new()
    }
}

enum End {
    Front,
    Back,
}

/// The segments of a frame, one by one.
pub(super) struct IntoSegments(pub(super) Segments);

impl Iterator for IntoSegments {
    type Item = Segment;

    #[inline(always)]
    fn next(&mut self) -> Option<Segment> {
        self.0.remove_first()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.0.as_slice().len();
        (len, Some(len))
    }
}

impl ExactSizeIterator for IntoSegments {}

impl Segment {
    /// The pool that it is of.
    fn pool(&self) -> Option<&'static Pool> {
        match self {
            Self::Unique(page) => Some(page.pool()),
            Self::Frozen(page) => Some(page.pool()),
            Self::Static(bytes) => bytes.pool(),
        }
    }
}
