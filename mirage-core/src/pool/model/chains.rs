//! Frames in the model: handles in a row, in the frame or in one of the pool's chains.

use super::*;
use crate::frame::Checksum;

impl World {
    fn long_frames(&self) -> usize {
        let long = |(_, segments): &&(Frame, Vec<Framed>)| segments.len() > Frame::INLINE_SEGMENTS;
        self.frames.iter().filter(long).count()
    }

    pub(super) fn check_frames(&self) {
        for (frame, segments) in &self.frames {
            assert_eq!(frame.segments().len(), segments.len());
            for (segment, known) in frame.segments().iter().zip(segments) {
                let expected = &self.blocks[known.block].bytes[known.window.0..known.window.1];
                assert_eq!(&segment[..], expected);
                let (block, offset, unique) = match segment {
                    Segment::Unique(page) => {
                        let rooms = (page.headroom(), page.tailroom());
                        let headroom = known.window.0 - known.extent.0;
                        assert_eq!(rooms, (headroom, known.extent.1 - known.window.1));
                        (page.block(), page.offset(), true)
                    }
                    Segment::Frozen(page) => (page.block(), page.offset(), false),
                    Segment::Static(_) => panic!("never pushed"),
                };
                assert_eq!(
                    (block.index(), offset, unique),
                    (known.block, known.window.0, known.unique)
                );
            }
        }
        // The free chains: as many as no long frame has, and none twice.
        let mut listed = [false; CHAINS];
        let mut next = self.pool.chain_head.get();
        while next != NONE {
            let before = core::mem::replace(&mut listed[next as usize], true);
            assert!(!before, "a chain is free twice");
            next = self.pool.chains[next as usize].next_for_test();
        }
        let free = listed.iter().filter(|&&listed| listed).count();
        assert_eq!(free + self.long_frames(), CHAINS);
        assert_eq!(self.pool.counters().chains_exhausted, self.chains_exhausted);
    }

    pub(super) fn push(&mut self, slot: usize, at: usize, front: bool) {
        let Some(at) = self.pick(at) else { return };
        let Held {
            handle,
            block,
            extent,
            window,
        } = self.held.swap_remove(at);
        let segment = match handle {
            Handle::Unique(page) => Segment::Unique(page),
            Handle::Frozen(page) => Segment::Frozen(page),
            handle @ (Handle::LentMut(_) | Handle::Lent(_)) => {
                self.held.push(Held {
                    handle,
                    block,
                    extent,
                    window,
                });
                return;
            }
        };
        let known = Framed {
            unique: matches!(segment, Segment::Unique(_)),
            block,
            extent,
            window,
        };
        let needs_chain = self.frames[slot].1.len() == Frame::INLINE_SEGMENTS;
        let no_chain = needs_chain && self.long_frames() == CHAINS;
        let full = self.frames[slot].1.len() == Frame::MAX_SEGMENTS;
        let (frame, segments) = &mut self.frames[slot];
        let result = if front {
            frame.push_front(segment)
        } else {
            frame.push(segment)
        };
        self.chains_exhausted += u64::from(no_chain);
        match result {
            Ok(()) => {
                assert!(!full && !no_chain);
                segments.insert(if front { 0 } else { segments.len() }, known);
            }
            Err(segment) => {
                assert!(full || no_chain);
                self.hold(segment, known);
            }
        }
    }

    fn hold(&mut self, segment: Segment, known: Framed) {
        let handle = match segment {
            Segment::Unique(page) => Handle::Unique(page),
            Segment::Frozen(page) => Handle::Frozen(page),
            Segment::Static(_) => panic!("never pushed"),
        };
        self.held.push(Held {
            handle,
            block: known.block,
            extent: known.extent,
            window: known.window,
        });
    }

    pub(super) fn frame_advance(&mut self, slot: usize, count: usize) {
        let (frame, segments) = &mut self.frames[slot];
        let length: usize = segments.iter().map(Framed::len).sum();
        assert_eq!(frame.len(), length);
        assert_eq!(frame.advance(count).is_ok(), count <= length);
        if count > length {
            return;
        }
        let mut rest = count;
        let mut fallen = Vec::new();
        while segments.len() > 1 && segments[0].len() <= rest {
            rest -= segments[0].len();
            fallen.push(segments.remove(0).block);
        }
        if let Some(first) = segments.first_mut() {
            first.window.0 += rest;
            first.narrow();
        }
        fallen.into_iter().for_each(|block| self.fall(block));
    }

    pub(super) fn frame_truncate(&mut self, slot: usize, len: usize) {
        let (frame, segments) = &mut self.frames[slot];
        frame.truncate(len);
        let mut rest = len;
        let mut kept = 0;
        for segment in segments.iter_mut() {
            if rest == 0 && kept > 0 {
                break;
            }
            segment.window.1 = segment.window.1.min(segment.window.0.saturating_add(rest));
            segment.narrow();
            rest -= segment.len();
            kept += 1;
        }
        let fallen = segments.split_off(kept);
        fallen
            .into_iter()
            .for_each(|segment| self.fall(segment.block));
    }

    pub(super) fn frame_keep(&mut self, slot: usize) {
        let (mut frame, segments) = core::mem::take(&mut self.frames[slot]);
        frame.metadata.checksum = Checksum::Verified;
        let result = frame.keep();
        let refused = segments.iter().any(|segment| !self.keep(segment.block));
        assert_eq!(result.is_err(), refused);
        let frame = result.unwrap_or_else(|frame| frame);
        assert_eq!(frame.metadata.checksum, Checksum::Verified);
        self.frames[slot] = (frame, segments);
    }

    /// The model's side of a page that is to be kept; whether it is.
    pub(super) fn keep(&mut self, block: usize) -> bool {
        let Some(serial) = self.blocks[block].charged else {
            return true;
        };
        if self.blocks[block].quarantined {
            return true;
        }
        let general = self.general_free;
        if let Some((_, _, free)) = self.open_reserve_of(serial) {
            if general == 0 {
                return false;
            }
            *free += 1;
            self.general_free -= 1;
        }
        self.blocks[block].charged = None;
        true
    }

    pub(super) fn take_apart(&mut self, slot: usize) {
        let (frame, segments) = core::mem::take(&mut self.frames[slot]);
        let parts = frame.into_segments();
        assert_eq!(parts.len(), segments.len());
        for (segment, known) in parts.zip(segments) {
            self.hold(segment, known);
        }
    }

    pub(super) fn drop_frame(&mut self, slot: usize) {
        let (frame, segments) = core::mem::take(&mut self.frames[slot]);
        drop(frame);
        segments
            .into_iter()
            .for_each(|segment| self.fall(segment.block));
    }
}

impl Framed {
    fn len(&self) -> usize {
        self.window.1 - self.window.0
    }

    /// A frozen segment's extent is its window.
    fn narrow(&mut self) {
        if !self.unique {
            self.extent = self.window;
        }
    }
}
