//! Ranges of frames, and lists of them.

use heapless::Vec;

use super::layout::PAGE;
use crate::abi::FrameNumber;

/// Frames from a first one up to, not including, another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameRange {
    start: u64,
    end: u64,
}

impl FrameRange {
    /// Empty, if `end` isn't above `start`.
    pub(crate) fn new(start: FrameNumber, end: FrameNumber) -> Self {
        Self {
            start: start.0,
            end: end.0.max(start.0),
        }
    }

    /// The frames that bytes from the physical address `start` up to `end` touch.
    pub(crate) fn touched(start: u64, end: u64) -> Self {
        let first = start / PAGE;
        Self {
            start: first,
            end: end.div_ceil(PAGE).max(first),
        }
    }

    /// The frames that lie between the physical addresses `start` and `end` with all their bytes.
    pub(crate) fn within(start: u64, end: u64) -> Self {
        let first = start.div_ceil(PAGE);
        Self {
            start: first,
            end: (end / PAGE).max(first),
        }
    }

    pub(crate) fn start(self) -> FrameNumber {
        FrameNumber(self.start)
    }

    pub(crate) fn end(self) -> FrameNumber {
        FrameNumber(self.end)
    }

    pub(crate) fn count(self) -> u64 {
        self.end - self.start
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = FrameNumber> {
        (self.start..self.end).map(FrameNumber)
    }

    pub(crate) fn contains(self, frame: FrameNumber) -> bool {
        self.start <= frame.0 && frame.0 < self.end
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        !self.intersection(other).is_empty()
    }

    pub(crate) fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    pub(crate) fn intersection(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self {
            start,
            end: self.end.min(other.end).max(start),
        }
    }

    /// What is left below and above `other`.
    pub(crate) fn without(self, other: Self) -> [Self; 2] {
        let below = Self {
            start: self.start,
            end: self.end.min(other.start).max(self.start),
        };
        let start = self.start.max(other.end).min(self.end);
        if other.is_empty() {
            return [
                self,
                Self {
                    start: self.end,
                    end: self.end,
                },
            ];
        }
        [
            below,
            Self {
                start,
                end: self.end,
            },
        ]
    }

    /// Cut `count` frames off the front. `None`: there are not so many.
    pub(crate) fn take_front(&mut self, count: u64) -> Option<Self> {
        if self.count() < count {
            return None;
        }
        let start = self.start;
        self.start += count;
        Some(Self {
            start,
            end: self.start,
        })
    }
}

/// How many ranges are kept apart.
pub(crate) const MAXIMUM_RANGES: usize = 16;

/// Ranges in ascending order, none of them empty, none touching another's frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<FrameRange, MAXIMUM_RANGES>);

/// More ranges than [`MAXIMUM_RANGES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyRanges;

impl Ranges {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = FrameRange> {
        self.0.iter().copied()
    }

    pub(crate) fn contains(&self, frame: FrameNumber) -> bool {
        self.iter().any(|range| range.contains(frame))
    }

    pub(crate) fn count(&self) -> u64 {
        self.iter().map(FrameRange::count).sum()
    }

    /// Adds `range`; where it meets or overlaps others, they become one.
    pub(crate) fn insert(&mut self, range: FrameRange) -> Result<(), TooManyRanges> {
        if range.is_empty() {
            return Ok(());
        }
        let mut joined = range;
        self.0.retain(|other| {
            let apart = other.end < joined.start || joined.end < other.start;
            if !apart {
                joined.start = joined.start.min(other.start);
                joined.end = joined.end.max(other.end);
            }
            apart
        });
        // In ascending order, the ranges before `joined` could only have met it in the pass above.
        let place = self
            .0
            .iter()
            .take_while(|other| other.start < joined.start)
            .count();
        self.0.insert(place, joined).map_err(|_| TooManyRanges)
    }

    /// Takes the frames of `range` out.
    pub(crate) fn remove(&mut self, range: FrameRange) -> Result<(), TooManyRanges> {
        let mut rest = Self::new();
        for old in self.iter() {
            for part in old.without(range) {
                rest.insert(part)?;
            }
        }
        *self = rest;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
