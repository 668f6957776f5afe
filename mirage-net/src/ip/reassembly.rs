//! Reassembly of fragments (RFC 791 §3.2, RFC 1122 §3.3.2), bounded in datagrams, bytes and time.
//!
//! Fragments are copied into pages of the pool's general part as they arrive, so the page that a
//! fragment came in goes back to its ring at once, and a datagram of many small fragments takes
//! no more pages than its bytes need. This is the one copy that a fragmented datagram costs.
//!
//! Policy: an exact repetition is ignored; a fragment that overlaps another condemns its
//! datagram (as RFC 5722 §4 demands for IPv6: no honest sender makes one). When there are more
//! datagrams, or pages, than the bound, the oldest makes room, so that a stray fragment can't
//! keep others out.

use core::net::Ipv4Addr;
use core::time::Duration;

use heapless::Vec;
use managed::ManagedSlice;
use mirage_core::{Frame, Instant, PageMut, Pool};

use crate::wire::ipv4::{HEADER_LEN, MAX_DATAGRAM_LEN, MAX_HEADER_LEN};

/// Separate runs of bytes that a datagram may have while it is incomplete.
const MAX_RANGES: usize = 64;
/// What an ICMP error quotes: the longest header and 8 bytes.
const QUOTE_LEN: usize = MAX_HEADER_LEN + 8;

/// Bounds of reassembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReassemblyConfig {
    /// Largest payload of a reassembled datagram in bytes (RFC 1122 §3.3.2 wants at least what
    /// the interface's MTU carries). It never exceeds 65,515, nor
    /// 17 pages of the pool.
    pub max_payload: usize,
    /// Pages that all incomplete datagrams hold at most.
    pub pages: usize,
    /// How long fragments wait for the others (RFC 1122 §3.3.2: between 60 and 120 s; Linux: 30 s).
    pub timeout: Duration,
}

impl Default for ReassemblyConfig {
    fn default() -> Self {
        ReassemblyConfig {
            max_payload: 65_515,
            pages: 32,
            timeout: Duration::from_secs(30),
        }
    }
}

/// Storage for one incomplete datagram.
#[derive(Debug, Default)]
pub struct ReassemblySlot(Option<Partial>);

impl ReassemblySlot {
    /// An empty slot.
    pub const EMPTY: Self = ReassemblySlot(None);
}

/// What the fragments of one datagram have in common (RFC 791 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FragmentKey {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: u8,
    pub(crate) identification: u16,
}

/// A fragment whose header is valid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragment {
    pub(crate) key: FragmentKey,
    /// Bytes of the IP header in front.
    pub(crate) header_len: usize,
    /// In bytes.
    pub(crate) offset: usize,
    pub(crate) payload_len: usize,
    pub(crate) more: bool,
}

#[derive(Debug)]
struct Partial {
    key: FragmentKey,
    deadline: Instant,
    /// Sorted, disjoint, not adjacent: start and end of the bytes that are here.
    ranges: Vec<(u16, u16), MAX_RANGES>,
    /// End of the payload, known from the last fragment.
    total: Option<u16>,
    /// Page k holds the bytes from k blocks on.
    pages: Vec<Option<PageMut>, { Frame::MAX_SEGMENTS }>,
    /// The first fragment's header and 8 bytes, once it was seen.
    quote: Option<(u8, [u8; QUOTE_LEN])>,
    /// Overlapped: what still comes of it is dropped.
    condemned: bool,
}

/// What became of a fragment.
#[derive(Debug)]
pub(crate) enum Reassembled {
    /// Others are missing, or the fragment was dropped and counted.
    Incomplete,
    /// The payload of the whole datagram.
    Complete(Frame),
}

/// A datagram that was given up.
#[derive(Debug)]
pub(crate) struct TimedOut {
    bytes: [u8; QUOTE_LEN],
    length: u8,
}

impl TimedOut {
    /// Header and first bytes of the first fragment.
    pub(crate) fn quote(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// What happened in reassembly.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReassemblyCounters {
    /// Fragments received.
    pub fragments: u64,
    /// Datagrams completed.
    pub completed: u64,
    /// Fragments that said nothing new, ignored.
    pub duplicates: u64,
    /// Datagrams dropped because two fragments overlapped or contradicted each other.
    pub overlaps: u64,
    /// Fragments of datagrams that had been condemned before.
    pub condemned: u64,
    /// Fragments without payload, or with one that is no multiple of 8 before the last.
    pub malformed: u64,
    /// Fragments that end beyond 65,535 bytes, or beyond the caller's bound.
    pub too_large: u64,
    /// Fragments that would have made more than 64 separate runs of bytes.
    pub too_scattered: u64,
    /// Datagrams dropped to make room for a newer one.
    pub evicted: u64,
    /// Fragments dropped because no page was left for them, and datagrams because the pool had no room for another long
    /// frame.
    pub no_pages: u64,
    /// Datagrams that timed out incomplete.
    pub timed_out: u64,
}

pub(crate) struct Reassembly<'a> {
    slots: ManagedSlice<'a, ReassemblySlot>,
    config: ReassemblyConfig,
    pool: &'static Pool,
    pages: usize,
    deadline: Instant,
    pub(crate) counters: ReassemblyCounters,
}

impl<'a> Reassembly<'a> {
    pub(crate) fn new(
        slots: ManagedSlice<'a, ReassemblySlot>,
        config: ReassemblyConfig,
        pool: &'static Pool,
    ) -> Self {
        // One segment is left for the headers of an answer.
        let most = (Frame::MAX_SEGMENTS - 1) * pool.block_size();
        let most = most.min(MAX_DATAGRAM_LEN - HEADER_LEN);
        Reassembly {
            slots,
            config: ReassemblyConfig {
                max_payload: config.max_payload.min(most),
                ..config
            },
            pool,
            pages: 0,
            deadline: Instant::FAR_FUTURE,
            counters: ReassemblyCounters::default(),
        }
    }

    /// A fragment came; `frame` starts at its IP header and ends with its payload (input).
    pub(crate) fn handle_fragment(
        &mut self,
        now: Instant,
        fragment: Fragment,
        frame: &Frame,
    ) -> Reassembled {
        self.counters.fragments += 1;
        let Fragment {
            offset,
            payload_len,
            more,
            ..
        } = fragment;
        if payload_len == 0 || (more && payload_len % 8 != 0) {
            self.counters.malformed += 1;
            return Reassembled::Incomplete;
        }
        let end = offset + payload_len;
        if fragment.header_len + end > MAX_DATAGRAM_LEN || end > self.config.max_payload {
            self.counters.too_large += 1;
            return Reassembled::Incomplete;
        }
        let Some(index) = self.slot_for(now, fragment.key) else {
            self.counters.no_pages += 1;
            return Reassembled::Incomplete;
        };
        let Some(partial) = self.slots[index].0.as_mut() else {
            return Reassembled::Incomplete;
        };
        if partial.condemned {
            self.counters.condemned += 1;
            return Reassembled::Incomplete;
        }
        let (start, end) = (offset as u16, end as u16);
        match partial.place(start, end, more) {
            Place::Overlap => {
                let same = partial.ranges.iter().any(|r| r.0 <= start && end <= r.1)
                    && partial.fits_total(end, more)
                    && partial.holds_same(
                        offset,
                        payload_len,
                        fragment.header_len,
                        frame,
                        self.pool,
                    );
                if same {
                    self.counters.duplicates += 1;
                } else {
                    self.counters.overlaps += 1;
                    partial.condemned = true;
                    self.pages -= partial.drop_pages();
                }
                return Reassembled::Incomplete;
            }
            Place::Scattered => {
                self.counters.too_scattered += 1;
                return Reassembled::Incomplete;
            }
            Place::Free => {}
        }
        if !self.make_pages(index, offset, payload_len) {
            self.counters.no_pages += 1;
            return Reassembled::Incomplete;
        }
        let Some(partial) = self.slots[index].0.as_mut() else {
            return Reassembled::Incomplete;
        };
        partial.write(offset, payload_len, fragment.header_len, frame, self.pool);
        partial.insert(start, end);
        if !more {
            partial.total = Some(end);
        }
        if offset == 0 {
            let mut quote = [0; QUOTE_LEN];
            let length = QUOTE_LEN.min(fragment.header_len + 8);
            let length = frame.copy_to_slice(0, &mut quote[..length]);
            partial.quote = Some((length as u8, quote));
        }
        let complete = partial
            .total
            .is_some_and(|total| partial.ranges.as_slice() == [(0, total)]);
        if !complete {
            return Reassembled::Incomplete;
        }
        match self.slots[index].0.take() {
            Some(partial) => {
                self.pages -= partial.page_count();
                let Some(frame) = partial.into_frame(self.pool.block_size()) else {
                    self.counters.no_pages += 1;
                    return Reassembled::Incomplete;
                };
                self.counters.completed += 1;
                Reassembled::Complete(frame)
            }
            None => Reassembled::Incomplete,
        }
    }

    /// A datagram that waited for too long; only ones whose first fragment was seen are told of
    /// (output; RFC 1122 §3.3.2).
    pub(crate) fn poll_timed_out(&mut self, now: Instant) -> Option<TimedOut> {
        if now < self.deadline {
            return None;
        }
        for slot in self.slots.iter_mut() {
            if slot.0.as_ref().is_none_or(|partial| now < partial.deadline) {
                continue;
            }
            let Some(partial) = slot.0.take() else {
                continue;
            };
            self.pages -= partial.page_count();
            if partial.condemned {
                continue;
            }
            self.counters.timed_out += 1;
            if let Some((length, bytes)) = partial.quote {
                return Some(TimedOut { bytes, length });
            }
        }
        self.find_deadline();
        None
    }

    /// When [`poll_timed_out`](Self::poll_timed_out) has something to do (output).
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        (self.deadline != Instant::FAR_FUTURE).then_some(self.deadline)
    }

    /// Pages held by incomplete datagrams.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// The slot of a datagram, made by dropping the oldest if need be.
    fn slot_for(&mut self, now: Instant, key: FragmentKey) -> Option<usize> {
        let mut free = None;
        for (index, slot) in self.slots.iter().enumerate() {
            match &slot.0 {
                Some(partial) if partial.key == key && now < partial.deadline => {
                    return Some(index);
                }
                None => free = free.or(Some(index)),
                _ => {}
            }
        }
        let index = match free {
            Some(index) => index,
            None => {
                let oldest = self.oldest(None)?;
                self.evict(oldest);
                oldest
            }
        };
        let deadline = now.saturating_add(self.config.timeout);
        self.deadline = self.deadline.min(deadline);
        self.slots[index].0 = Some(Partial {
            key,
            deadline,
            ranges: Vec::new(),
            total: None,
            pages: Vec::new(),
            quote: None,
            condemned: false,
        });
        Some(index)
    }

    /// Takes the pages that a range of bytes needs; drops the oldest other datagrams for them.
    fn make_pages(&mut self, index: usize, offset: usize, length: usize) -> bool {
        let block = self.pool.block_size();
        for number in offset / block..=(offset + length - 1) / block {
            let present = self.slots[index]
                .0
                .as_ref()
                .is_some_and(|partial| partial.pages.get(number).is_some_and(Option::is_some));
            if present {
                continue;
            }
            let page = loop {
                let page = if self.pages < self.config.pages {
                    self.pool.alloc()
                } else {
                    None
                };
                match page {
                    Some(mut page) => {
                        page.expand();
                        break page;
                    }
                    None => match self.oldest(Some(index)) {
                        Some(other) => self.evict(other),
                        None => return false,
                    },
                }
            };
            let Some(partial) = self.slots[index].0.as_mut() else {
                return false;
            };
            while partial.pages.len() <= number {
                if partial.pages.push(None).is_err() {
                    return false;
                }
            }
            partial.pages[number] = Some(page);
            self.pages += 1;
        }
        true
    }

    /// The datagram that would time out first, condemned ones before others; with `except`, of
    /// those that hold pages.
    fn oldest(&self, except: Option<usize>) -> Option<usize> {
        let mut oldest: Option<(usize, (bool, Instant))> = None;
        for (index, slot) in self.slots.iter().enumerate() {
            let Some(partial) = &slot.0 else { continue };
            if except.is_some() && (except == Some(index) || partial.page_count() == 0) {
                continue;
            }
            let age = (!partial.condemned, partial.deadline);
            if oldest.is_none_or(|(_, known)| age < known) {
                oldest = Some((index, age));
            }
        }
        oldest.map(|(index, _)| index)
    }

    fn evict(&mut self, index: usize) {
        if let Some(partial) = self.slots[index].0.take() {
            self.pages -= partial.page_count();
            if !partial.condemned {
                self.counters.evicted += 1;
            }
        }
    }

    fn find_deadline(&mut self) {
        self.deadline = self
            .slots
            .iter()
            .filter_map(|slot| slot.0.as_ref().map(|partial| partial.deadline))
            .min()
            .unwrap_or(Instant::FAR_FUTURE);
    }
}

enum Place {
    Free,
    Overlap,
    Scattered,
}

impl Partial {
    /// Whether a fragment that ends at `end` agrees with what is known of the end.
    fn fits_total(&self, end: u16, more: bool) -> bool {
        match (self.total, more) {
            (Some(total), true) => end < total,
            (Some(total), false) => end == total,
            (None, true) => true,
            (None, false) => self.ranges.last().is_none_or(|last| last.1 <= end),
        }
    }

    fn place(&self, start: u16, end: u16, more: bool) -> Place {
        let overlaps = |range: &(u16, u16)| range.0 < end && start < range.1;
        if self.ranges.iter().any(overlaps) || !self.fits_total(end, more) {
            return Place::Overlap;
        }
        let touches = self.ranges.iter().any(|r| r.1 == start || r.0 == end);
        if self.ranges.is_full() && !touches {
            return Place::Scattered;
        }
        Place::Free
    }

    /// Notes the bytes of a range that overlaps no other.
    fn insert(&mut self, start: u16, end: u16) {
        let at = self
            .ranges
            .iter()
            .take_while(|range| range.1 < start)
            .count();
        if let Some(before) = self.ranges.get_mut(at).filter(|range| range.1 == start) {
            before.1 = end;
            let next = self.ranges.get(at + 1).copied();
            if let Some(next) = next.filter(|next| next.0 == end) {
                self.ranges[at].1 = next.1;
                self.ranges.remove(at + 1);
            }
        } else if let Some(after) = self.ranges.get_mut(at).filter(|range| range.0 == end) {
            after.0 = start;
        } else {
            // `place` said that there is room.
            let _ = self.ranges.insert(at, (start, end));
        }
    }

    /// Copies a fragment's payload into the pages, which are there.
    fn write(&mut self, offset: usize, length: usize, skip: usize, frame: &Frame, pool: &Pool) {
        let block = pool.block_size();
        let mut done = 0;
        while done < length {
            let (number, within) = ((offset + done) / block, (offset + done) % block);
            let count = (block - within).min(length - done);
            if let Some(Some(page)) = self.pages.get_mut(number) {
                frame.copy_to_slice(skip + done, &mut page[within..within + count]);
            }
            done += count;
        }
    }

    /// Whether the bytes of a fragment are the ones that are here already.
    fn holds_same(
        &self,
        offset: usize,
        length: usize,
        skip: usize,
        frame: &Frame,
        pool: &Pool,
    ) -> bool {
        let block = pool.block_size();
        let mut buffer = [0; 64];
        let mut done = 0;
        while done < length {
            let (number, within) = ((offset + done) / block, (offset + done) % block);
            let count = (block - within).min(length - done).min(buffer.len());
            frame.copy_to_slice(skip + done, &mut buffer[..count]);
            let known = self.pages.get(number).and_then(Option::as_ref);
            let known = known.and_then(|page| page.get(within..within + count));
            if known != Some(&buffer[..count]) {
                return false;
            }
            done += count;
        }
        true
    }

    fn page_count(&self) -> usize {
        self.pages.iter().flatten().count()
    }

    fn drop_pages(&mut self) -> usize {
        let count = self.page_count();
        self.pages.clear();
        count
    }

    /// The datagram; none when the pool has no room for another long frame.
    fn into_frame(self, block: usize) -> Option<Frame> {
        let mut rest = usize::from(self.total.unwrap_or(0));
        let mut frame = Frame::new();
        for mut page in self.pages.into_iter().flatten() {
            page.truncate(rest);
            rest = rest.saturating_sub(block);
            // There are at most as many pages as segments.
            frame.push(page).ok()?;
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fragments;
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    type Bytes = std::vec::Vec<u8>;

    fn fragment(identification: u16, offset: usize, payload_len: usize, more: bool) -> Fragment {
        Fragment {
            key: FragmentKey {
                source: Ipv4Addr::new(10, 0, 0, 1),
                destination: Ipv4Addr::new(10, 0, 0, 2),
                protocol: 17,
                identification,
            },
            header_len: HEADER_LEN,
            offset,
            payload_len,
            more,
        }
    }

    /// A frame in several segments: a header of zeroes, then `payload`.
    fn frame(payload: &[u8]) -> Frame {
        let pool = Pool::leak(4, 4096).unwrap();
        let mut frame = Frame::new();
        let cut = payload.len() / 3;
        for bytes in [&[0; HEADER_LEN][..], &payload[..cut], &payload[cut..]] {
            let mut page = pool.alloc().unwrap();
            page.extend_from_slice(bytes).unwrap();
            frame.push(page).unwrap();
        }
        frame
    }

    fn bytes(frame: &Frame) -> Bytes {
        let mut bytes = vec![0; frame.len()];
        frame.copy_to_slice(0, &mut bytes);
        bytes
    }

    fn pattern(length: usize) -> Bytes {
        (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    fn feed(
        reassembly: &mut Reassembly<'_>,
        now: Instant,
        id: u16,
        whole: &[u8],
        (offset, length, more): (usize, usize, bool),
    ) -> Option<Bytes> {
        let frame = frame(&whole[offset..offset + length]);
        match reassembly.handle_fragment(now, fragment(id, offset, length, more), &frame) {
            Reassembled::Complete(frame) => Some(bytes(&frame)),
            Reassembled::Incomplete => None,
        }
    }

    const NOW: Instant = Instant::from_secs(1);

    #[test]
    fn one_stray_fragment_does_not_hold_the_only_slot() {
        let pool = Pool::leak(32, 512).unwrap();
        let mut slots = [ReassemblySlot::EMPTY];
        let mut reassembly =
            Reassembly::new((&mut slots[..]).into(), ReassemblyConfig::default(), pool);
        let whole = pattern(1000);
        feed(&mut reassembly, NOW, 1, &whole, (0, 504, true));
        assert_eq!(feed(&mut reassembly, NOW, 2, &whole, (0, 504, true)), None);
        let done = feed(&mut reassembly, NOW, 2, &whole, (504, 496, false));
        assert_eq!(done.as_deref(), Some(&whole[..]));
        assert_eq!(reassembly.counters.evicted, 1);
        assert_eq!(reassembly.pages(), 0);
        assert_eq!(pool.free(), 32);
    }

    #[test]
    fn overlapping_fragments_condemn_their_datagram() {
        let pool = Pool::leak(32, 512).unwrap();
        let mut slots = [const { ReassemblySlot::EMPTY }; 2];
        let mut reassembly =
            Reassembly::new((&mut slots[..]).into(), ReassemblyConfig::default(), pool);
        let whole = pattern(1000);
        feed(&mut reassembly, NOW, 1, &whole, (0, 504, true));
        feed(&mut reassembly, NOW, 1, &whole, (496, 504, false));
        assert_eq!(reassembly.counters.overlaps, 1);
        assert_eq!(pool.free(), 32);
        // Not even what would have completed it brings it back.
        assert_eq!(
            feed(&mut reassembly, NOW, 1, &whole, (504, 496, false)),
            None
        );
        assert_eq!(reassembly.counters.condemned, 1);
    }

    #[test]
    fn a_repetition_is_ignored_unless_its_bytes_differ() {
        let pool = Pool::leak(32, 512).unwrap();
        let mut slots = [const { ReassemblySlot::EMPTY }; 2];
        let mut reassembly =
            Reassembly::new((&mut slots[..]).into(), ReassemblyConfig::default(), pool);
        let whole = pattern(1000);
        let mut other = whole.clone();
        other[100] ^= 1;
        feed(&mut reassembly, NOW, 1, &whole, (0, 504, true));
        feed(&mut reassembly, NOW, 1, &whole, (0, 504, true));
        assert_eq!(reassembly.counters.duplicates, 1);
        feed(&mut reassembly, NOW, 1, &other, (0, 504, true));
        assert_eq!(reassembly.counters.overlaps, 1);
    }

    #[test]
    fn fragments_that_contradict_the_end_condemn_their_datagram() {
        let whole = pattern(3000);
        let cases: [[(usize, usize, bool); 2]; 4] = [
            [(800, 200, false), (1000, 8, true)],
            [(800, 200, false), (1600, 8, false)],
            [(1600, 8, true), (800, 200, false)],
            [(800, 200, false), (792, 208, true)],
        ];
        for pieces in cases {
            let pool = Pool::leak(32, 512).unwrap();
            let mut slots = [ReassemblySlot::EMPTY];
            let mut reassembly =
                Reassembly::new((&mut slots[..]).into(), ReassemblyConfig::default(), pool);
            for piece in pieces {
                feed(&mut reassembly, NOW, 1, &whole, piece);
            }
            assert_eq!(reassembly.counters.overlaps, 1, "{pieces:?}");
        }
    }

    #[test]
    fn a_total_over_65535_is_refused() {
        let pool = Pool::leak(32, 4096).unwrap();
        let mut slots = [ReassemblySlot::EMPTY];
        let mut reassembly =
            Reassembly::new((&mut slots[..]).into(), ReassemblyConfig::default(), pool);
        // The classic: the last fragment starts within, and ends beyond.
        let frame = frame(&pattern(1480));
        for offset in [65_528, 64_040] {
            reassembly.handle_fragment(NOW, fragment(1, offset, 1480, false), &frame);
        }
        assert_eq!(reassembly.counters.too_large, 2);
        assert_eq!(pool.free(), 32);
    }

    #[test]
    fn a_datagram_beyond_the_callers_bound_is_refused() {
        let pool = Pool::leak(32, 512).unwrap();
        let mut slots = [ReassemblySlot::EMPTY];
        let config = ReassemblyConfig {
            max_payload: 800,
            ..ReassemblyConfig::default()
        };
        let mut reassembly = Reassembly::new((&mut slots[..]).into(), config, pool);
        let whole = pattern(808);
        feed(&mut reassembly, NOW, 1, &whole, (400, 408, false));
        assert_eq!(reassembly.counters.too_large, 1);
        feed(&mut reassembly, NOW, 1, &whole, (0, 400, true));
        let done = feed(&mut reassembly, NOW, 1, &whole, (400, 400, false));
        assert_eq!(done.as_deref(), Some(&whole[..800]));
    }

    #[test]
    fn options_count_towards_the_65535_bytes() {
        let pool = Pool::leak(32, 4096).unwrap();
        let mut slots = [ReassemblySlot::EMPTY];
        let mut reassembly =
            Reassembly::new((&mut slots[..]).into(), ReassemblyConfig::default(), pool);
        let frame = frame(&pattern(75));
        for (header_len, refused) in [(24, 1), (20, 1)] {
            let last = Fragment {
                header_len,
                ..fragment(1, 65_440, 75, false)
            };
            reassembly.handle_fragment(NOW, last, &frame);
            assert_eq!(reassembly.counters.too_large, refused);
        }
        assert_eq!(reassembly.pages(), 1);
    }

    #[test]
    fn condemned_datagrams_time_out_without_a_word() {
        let pool = Pool::leak(32, 512).unwrap();
        let mut slots = [ReassemblySlot::EMPTY];
        let mut reassembly =
            Reassembly::new((&mut slots[..]).into(), ReassemblyConfig::default(), pool);
        let whole = pattern(1000);
        feed(&mut reassembly, NOW, 1, &whole, (0, 504, true));
        feed(&mut reassembly, NOW, 1, &whole, (496, 400, true));
        assert_eq!((reassembly.counters.overlaps, pool.free()), (1, 32));
        assert!(reassembly.poll_timed_out(Instant::from_secs(31)).is_none());
        assert_eq!(reassembly.counters.timed_out, 0);
        assert_eq!(reassembly.poll_timeout(), None);
    }

    #[test]
    fn empty_and_crooked_fragments_are_refused() {
        let pool = Pool::leak(8, 512).unwrap();
        let mut slots = [ReassemblySlot::EMPTY];
        let mut reassembly =
            Reassembly::new((&mut slots[..]).into(), ReassemblyConfig::default(), pool);
        let whole = pattern(100);
        for piece in [(0, 0, true), (8, 0, false), (0, 9, true)] {
            feed(&mut reassembly, NOW, 1, &whole, piece);
        }
        assert_eq!(reassembly.counters.malformed, 3);
    }

    #[test]
    fn senders_that_stall_half_way_cannot_hold_the_pool() {
        let pool = Pool::leak(32, 512).unwrap();
        let mut slots = [const { ReassemblySlot::EMPTY }; 16];
        let config = ReassemblyConfig {
            pages: 8,
            ..ReassemblyConfig::default()
        };
        let mut reassembly = Reassembly::new((&mut slots[..]).into(), config, pool);
        let whole = pattern(3000);
        for id in 0..1000 {
            feed(&mut reassembly, NOW, id, &whole, (0, 1504, true));
            assert!(pool.free() >= 24);
            assert_eq!(reassembly.pages(), 32 - pool.free());
        }
        // And one that doesn't stall gets through.
        feed(&mut reassembly, NOW, 5000, &whole, (0, 1504, true));
        let done = feed(&mut reassembly, NOW, 5000, &whole, (1504, 1496, false));
        assert_eq!(done.as_deref(), Some(&whole[..]));
        while reassembly.poll_timed_out(Instant::from_secs(100)).is_some() {}
        assert_eq!((pool.free(), reassembly.pages()), (32, 0));
        assert_eq!(reassembly.poll_timeout(), None);
    }

    #[test]
    fn time_exceeded_is_told_only_when_the_first_fragment_was_seen() {
        let pool = Pool::leak(32, 512).unwrap();
        let mut slots = [const { ReassemblySlot::EMPTY }; 4];
        let mut reassembly =
            Reassembly::new((&mut slots[..]).into(), ReassemblyConfig::default(), pool);
        let whole = pattern(1000);
        feed(&mut reassembly, NOW, 1, &whole, (504, 496, false));
        feed(&mut reassembly, NOW, 2, &whole, (0, 504, true));
        assert_eq!(reassembly.poll_timeout(), Some(Instant::from_secs(31)));
        assert!(reassembly.poll_timed_out(Instant::from_secs(30)).is_none());
        let timed_out = reassembly.poll_timed_out(Instant::from_secs(31)).unwrap();
        assert_eq!(timed_out.quote().len(), 28);
        assert_eq!(timed_out.quote()[20..], whole[..8]);
        assert!(reassembly.poll_timed_out(Instant::from_secs(31)).is_none());
        assert_eq!(reassembly.counters.timed_out, 2);
        assert_eq!(pool.free(), 32);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_order_with_repetitions_gives_the_payload(
            length in 1usize..8_700, mtu in 68usize..1_500, seed: u64, repeat in 0usize..10
        ) {
            let pool = Pool::leak(32, 512).unwrap();
            let mut slots = [const { ReassemblySlot::EMPTY }; 2];
            let mut reassembly =
                Reassembly::new((&mut slots[..]).into(), ReassemblyConfig::default(), pool);
            let whole = pattern(length);
            let mut pieces: std::vec::Vec<_> = fragments(length, HEADER_LEN, mtu)
                .map(|piece| (piece.offset, piece.length, piece.more))
                .collect();
            let mut random = crate::random::Random::fixed(seed);
            // Neighbours change places a few times: never more than 64 runs.
            for _ in 0..pieces.len().min(60) {
                let count = pieces.len() as u64;
                pieces.swap(random.below(count) as usize, random.below(count) as usize);
            }
            for _ in 0..repeat {
                let from = random.below(pieces.len() as u64) as usize;
                let to = random.below(from as u64 + 1) as usize;
                let piece = pieces[from];
                pieces.insert(to, piece);
            }
            let mut done = None;
            for piece in pieces {
                if done.is_none() {
                    done = feed(&mut reassembly, NOW, 1, &whole, piece);
                }
            }
            if reassembly.counters.too_scattered == 0 {
                prop_assert_eq!(done, Some(whole));
                prop_assert_eq!(pool.free(), 32);
            }
        }
    }
}
