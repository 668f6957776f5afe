//! Segments of TCP that follow each other on a connection, put together as a device's driver does it (GRO): the stack above looks at
//! all of them at once.
//!
//! Each is verified before it is taken: IPv4's checksum and TCP's. Only such are put together as differ in nothing but their place in
//! the stream and their length, so that nothing is lost of what they say: addresses, ports, acknowledgement, window, options, the type
//! of service with its mark of congestion. One that is pushed, or is shorter than those before it, is the last.

use mirage_core::{Checksum, Frame, PageMut, Segment, Segmentation, SegmentationKind};

use super::ETHERNET_HEADER;

/// Where IPv4 begins (RFC 791); its header has no options.
const IPV4: usize = ETHERNET_HEADER;
/// Where TCP begins (RFC 9293 §3.1).
const TCP: usize = IPV4 + 20;
/// Bytes of all headers, without options of TCP's.
const HEADERS: usize = TCP + 20;
/// Where the flags of TCP are.
const FLAGS: usize = TCP + 13;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

/// A segment that can begin or continue a train.
#[derive(Debug)]
pub(super) struct Car {
    page: PageMut,
    /// Bytes of all headers.
    headers: usize,
    sequence: u32,
    pushed: bool,
}

impl Car {
    /// A frame in one page, if it is a segment with data and nothing that has to be looked at by itself, and its checksums are right.
    ///
    /// # Errors
    /// Any other frame, as it was: it is the stack's to judge.
    #[inline]
    pub(super) fn new(frame: Frame) -> Result<Self, Frame> {
        let Some(looked_at) = frame.contiguous().and_then(Header::of) else {
            return Err(frame);
        };
        let metadata = frame.metadata;
        let unfit = |segment: Segment| {
            let mut frame = Frame::from(segment);
            frame.metadata = metadata;
            frame
        };
        let page = frame.into_single()?.into_page_mut().map_err(unfit)?;
        Ok(Self {
            page,
            headers: looked_at.length,
            sequence: looked_at.sequence,
            pushed: looked_at.pushed,
        })
    }

    fn octets(&self) -> usize {
        self.page.len() - self.headers
    }
}

/// What is looked at of a segment's headers.
struct Header {
    /// Bytes of all of them.
    length: usize,
    sequence: u32,
    pushed: bool,
}

impl Header {
    #[inline]
    fn of(frame: &[u8]) -> Option<Self> {
        let header: &[u8; HEADERS] = frame.first_chunk()?;
        let length = TCP + usize::from(header[TCP + 12] >> 4) * 4;
        let total = u16::from_be_bytes([header[IPV4 + 2], header[IPV4 + 3]]);
        let plain = header[12..14] == [8, 0]
            && header[IPV4] == 0x45
            // No fragment (RFC 791 §3.1); "don't fragment" may be there.
            && header[IPV4 + 6] & 0xbf == 0
            && header[IPV4 + 7] == 0
            && header[IPV4 + 9] == 6
            // No padding behind the packet.
            && IPV4 + usize::from(total) == frame.len()
            && length >= HEADERS
            && length < frame.len()
            && header[TCP + 12] & 0xf == 0
            && header[FLAGS] & !PSH == ACK;
        if !plain || fold(sum(&header[IPV4..TCP])) != 0xffff {
            return None;
        }
        // The addresses, which the pseudo header has, lie right before the segment.
        let protocol = u64::from(6u16.to_be());
        let octets = (frame.len() - TCP) as u16;
        let right = fold(sum(&frame[IPV4 + 12..]) + protocol + u64::from(octets.to_be())) == 0xffff;
        right.then_some(Self {
            length,
            sequence: u32::from_be_bytes([
                header[TCP + 4],
                header[TCP + 5],
                header[TCP + 6],
                header[TCP + 7],
            ]),
            pushed: header[FLAGS] & PSH != 0,
        })
    }
}

/// Whether two segments with headers of this length say the same of all but their place and their length.
#[inline]
fn is_alike(one: &[u8], other: &[u8], length: usize) -> bool {
    // Addresses of Ethernet, type, version, type of service.
    one[..IPV4 + 2] == other[..IPV4 + 2]
        // Fragmentation, time to live, protocol.
        && one[IPV4 + 6..IPV4 + 10] == other[IPV4 + 6..IPV4 + 10]
        // Addresses and ports.
        && one[IPV4 + 12..TCP + 4] == other[IPV4 + 12..TCP + 4]
        // Acknowledgement and length of the header.
        && one[TCP + 8..TCP + 13] == other[TCP + 8..TCP + 13]
        // Window.
        && one[TCP + 14..TCP + 16] == other[TCP + 14..TCP + 16]
        // Urgent pointer and options.
        && one[TCP + 18..length] == other[TCP + 18..length]
}

/// Segments that were put together.
#[derive(Debug)]
pub(super) struct Train {
    /// The first with its headers, the others without.
    frame: Frame,
    /// Bytes of the headers of each.
    headers: usize,
    /// Octets of payload of each but the last.
    size: usize,
    /// The sequence number of what may follow.
    next: u32,
    /// Octets of payload in all.
    octets: usize,
    pushed: bool,
    complete: bool,
}

impl Train {
    /// A train of one segment.
    #[inline]
    pub(super) fn new(head: Car) -> Self {
        let octets = head.octets();
        Self {
            headers: head.headers,
            size: octets,
            next: head.sequence.wrapping_add(octets as u32),
            octets,
            pushed: head.pushed,
            complete: head.pushed,
            frame: head.page.into(),
        }
    }

    /// Whether nothing can follow.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes the next segment.
    ///
    /// # Errors
    /// The segment, which doesn't follow, or has no room.
    #[inline]
    pub(super) fn push(&mut self, mut car: Car) -> Result<(), Car> {
        let octets = car.octets();
        self.complete |= self.frame.segments().len() == Frame::MAX_SEGMENTS;
        let follows = !self.complete
            && octets <= self.size
            && car.headers == self.headers
            && car.sequence == self.next
            && self.headers - IPV4 + self.octets + octets <= usize::from(u16::MAX)
            && (self.frame.first()).is_some_and(|head| is_alike(head, &car.page, car.headers));
        if !follows || car.page.advance(car.headers).is_err() {
            return Err(car);
        }
        if self.frame.push(car.page).is_err() {
            // Not to be: there was room. Whoever sent it hears of no acknowledgement.
            self.complete = true;
            return Ok(());
        }
        self.octets += octets;
        self.next = self.next.wrapping_add(octets as u32);
        self.pushed = car.pushed;
        self.complete = car.pushed || octets < self.size;
        Ok(())
    }

    /// One frame of all, verified; the headers are those of the first, with the length of all.
    #[inline]
    pub(super) fn into_frame(self) -> Frame {
        let mut frame = self.frame;
        frame.metadata.checksum = Checksum::Verified;
        if frame.segments().len() == 1 {
            return frame;
        }
        // Not more than the size of a packet, which was looked at.
        let total = (self.headers - IPV4 + self.octets) as u16;
        if let Some(page) = frame.first_mut().and_then(Segment::as_page_mut)
            && let Some(header) = page.first_chunk_mut::<HEADERS>()
        {
            header[IPV4 + 2..IPV4 + 4].copy_from_slice(&total.to_be_bytes());
            header[IPV4 + 10..IPV4 + 12].fill(0);
            let checksum = !fold(sum(&header[IPV4..TCP]));
            header[IPV4 + 10..IPV4 + 12].copy_from_slice(&checksum.to_ne_bytes());
            header[FLAGS] |= if self.pushed { PSH } else { 0 };
        }
        frame.metadata.segmentation = Some(Segmentation {
            // A part of a packet.
            size: self.size as u16,
            kind: SegmentationKind::TcpV4,
            header_len: self.headers as u16,
        });
        frame
    }
}

/// The sum of 16-bit words in the machine's byte order, not folded (RFC 1071 §2 (B)); an odd last byte is padded with zero. At most a
/// packet's bytes.
#[inline]
fn sum(bytes: &[u8]) -> u64 {
    let mut lanes = [0u64; 8];
    let mut blocks = bytes.chunks_exact(32);
    for block in blocks.by_ref() {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
            let mut buffer = [0; 4];
            buffer.copy_from_slice(word);
            *lane += u64::from(u32::from_ne_bytes(buffer));
        }
    }
    let mut sum: u64 = lanes.iter().sum();
    for pair in blocks.remainder().chunks(2) {
        let pair = [pair[0], pair.get(1).copied().unwrap_or(0)];
        sum += u64::from(u16::from_ne_bytes(pair));
    }
    sum
}

/// RFC 1071 §2 (A).
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirage_core::Pool;

    const OCTETS: usize = 1_000;

    fn pool() -> &'static Pool {
        Pool::leak(64, 2_048).expect("a pool")
    }

    /// A segment with timestamps, changed before its checksums are made.
    fn segment(sequence: u32, octets: usize, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        let total = (20 + 32 + octets) as u16;
        bytes.extend([0x45, 0]);
        bytes.extend(total.to_be_bytes());
        bytes.extend([
            sequence as u8,
            7,
            0x40,
            0,
            64,
            6,
            0,
            0,
            10,
            0,
            0,
            1,
            10,
            0,
            0,
            2,
        ]);
        bytes.extend([0x12, 0x34, 0, 80]);
        bytes.extend(sequence.to_be_bytes());
        bytes.extend([0, 0, 0, 9, 0x80, ACK, 4, 0, 0, 0, 0, 0]);
        bytes.extend([1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6]);
        bytes.extend((0..octets).map(|at| (sequence as usize + at) as u8));
        change(&mut bytes);
        finish(&mut bytes);
        bytes
    }

    /// Makes the checksums, by the definition.
    fn finish(bytes: &mut [u8]) {
        bytes[24..26].fill(0);
        let checksum = !crate::testing::sum(&bytes[14..34]);
        bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
        bytes[50..52].fill(0);
        let mut all = bytes[26..34].to_vec();
        all.extend([0, 6]);
        all.extend(((bytes.len() - 34) as u16).to_be_bytes());
        all.extend(&bytes[34..]);
        let checksum = !crate::testing::sum(&all);
        bytes[50..52].copy_from_slice(&checksum.to_be_bytes());
    }

    fn frame(pool: &'static Pool, bytes: &[u8]) -> Frame {
        let mut page = pool.alloc().expect("a page");
        page.extend_from_slice(bytes).expect("room");
        page.into()
    }

    fn car(pool: &'static Pool, bytes: &[u8]) -> Car {
        Car::new(frame(pool, bytes)).expect("a segment that may be put together")
    }

    fn bytes_of(frame: &Frame) -> Vec<u8> {
        let mut bytes = vec![0; frame.len()];
        frame.copy_to_slice(0, &mut bytes);
        bytes
    }

    #[test]
    fn segments_in_order_are_one_with_the_length_of_all_and_the_flag_of_the_last() {
        let pool = pool();
        let mut train = Train::new(car(pool, &segment(u32::MAX - 999, OCTETS, |_| ())));
        train
            .push(car(pool, &segment(0, OCTETS, |_| ())))
            .expect("it follows");
        assert!(!train.is_complete());
        let last = segment(1_000, 77, |bytes| bytes[FLAGS] |= PSH);
        train.push(car(pool, &last)).expect("it follows");
        assert!(train.is_complete());
        let merged = train.into_frame();
        let mut expected = segment(u32::MAX - 999, 2 * OCTETS + 77, |bytes| {
            bytes[FLAGS] |= PSH;
            bytes[66 + OCTETS..66 + 2 * OCTETS].copy_from_slice(&segment(0, OCTETS, |_| ())[66..]);
            bytes[66 + 2 * OCTETS..].copy_from_slice(&last[66..]);
        });
        // TCP's checksum is of the first alone: whoever has the frame is told that all were right.
        let got = bytes_of(&merged);
        expected[50..52].copy_from_slice(&got[50..52]);
        assert!(got == expected);
        assert_eq!(merged.metadata.checksum, Checksum::Verified);
        let segmentation = merged.metadata.segmentation.expect("several");
        assert_eq!((segmentation.size, segmentation.header_len), (1_000, 66));
        assert_eq!(merged.segments().len(), 3);
    }

    #[test]
    fn one_segment_alone_is_as_it_was() {
        let pool = pool();
        let bytes = segment(5, OCTETS, |_| ());
        let alone = Train::new(car(pool, &bytes)).into_frame();
        assert_eq!(bytes_of(&alone), bytes);
        assert_eq!(alone.metadata.checksum, Checksum::Verified);
        assert_eq!(alone.metadata.segmentation, None);
    }

    /// Each field that a merged header says once must have been the same in all.
    #[test]
    fn what_differs_in_any_field_does_not_follow() {
        let pool = pool();
        // Addresses, type of service, time to live, ports, acknowledgement, window, urgent pointer, options.
        for at in [
            0, 11, 15, 20, 22, 26, 33, 34, 37, 42, 45, 48, 49, 53, 54, 58, 65,
        ] {
            let mut train = Train::new(car(pool, &segment(0, OCTETS, |_| ())));
            let other = segment(1_000, OCTETS, |bytes| bytes[at] ^= 0x40);
            let refused = train.push(car(pool, &other)).expect_err("it differs");
            assert_eq!(bytes_of(&Frame::from(refused.page)), other, "{at}");
        }
        // A gap, an overlap, the same once more.
        for sequence in [1_001, 999, 0, u32::MAX] {
            let mut train = Train::new(car(pool, &segment(0, OCTETS, |_| ())));
            let other = segment(sequence, OCTETS, |_| ());
            train.push(car(pool, &other)).expect_err("it is elsewhere");
        }
        // Longer ones, and whatever comes behind a shorter one.
        let mut train = Train::new(car(pool, &segment(0, OCTETS, |_| ())));
        train
            .push(car(pool, &segment(1_000, OCTETS + 1, |_| ())))
            .expect_err("longer than the first");
        train
            .push(car(pool, &segment(1_000, OCTETS - 1, |_| ())))
            .expect("shorter");
        train
            .push(car(pool, &segment(1_999, OCTETS - 1, |_| ())))
            .expect_err("behind the last");
    }

    #[test]
    fn what_has_to_be_looked_at_by_itself_is_left_alone() {
        let pool = pool();
        let alone = |bytes: &[u8]| {
            let left = Car::new(frame(pool, bytes)).expect_err("not to be put together");
            assert_eq!(bytes_of(&left), bytes);
            assert_eq!(left.metadata.checksum, Checksum::Unverified);
        };
        // Every flag but ACK and PSH, ACK missing, reserved bits.
        for flag in [0x01, 0x02, 0x04, 0x20, 0x40, 0x80, ACK] {
            alone(&segment(0, OCTETS, |bytes| bytes[FLAGS] ^= flag));
        }
        alone(&segment(0, OCTETS, |bytes| bytes[46] |= 1));
        // No data, no IPv4, options of IPv4, a fragment, another protocol, a wrong length, a header of TCP's that is none.
        alone(&segment(0, 0, |_| ()));
        for (at, byte) in [
            (13, 6),
            (14, 0x46),
            (20, 0x20),
            (20, 0x80),
            (21, 1),
            (23, 17),
            (17, 1),
            (46, 0x40),
            (46, 0),
        ] {
            alone(&segment(0, OCTETS, |bytes| bytes[at] = byte));
        }
        let padded = [segment(0, OCTETS, |_| ()), vec![0]].concat();
        alone(&padded);
        for cut in 0..70 {
            alone(&segment(0, OCTETS, |_| ())[..cut]);
        }
    }

    /// Not one wrong bit is passed off as verified, wherever it is.
    #[test]
    fn a_wrong_checksum_is_left_to_the_stack() {
        let pool = pool();
        for octets in [1, 2, 31, 100] {
            let right = segment(3, octets, |_| ());
            car(pool, &right);
            for at in IPV4..right.len() {
                for bit in 0..8 {
                    let mut wrong = right.clone();
                    wrong[at] ^= 1 << bit;
                    Car::new(frame(pool, &wrong)).expect_err("a wrong bit");
                }
            }
        }
    }

    #[test]
    fn a_train_is_no_longer_than_a_frame_and_what_has_no_room_is_as_it_was() {
        let pool = pool();
        let mut train = Train::new(car(pool, &segment(0, OCTETS, |_| ())));
        for number in 1..Frame::MAX_SEGMENTS {
            let next = segment((number * OCTETS) as u32, OCTETS, |_| ());
            train.push(car(pool, &next)).expect("room");
        }
        let next = segment((Frame::MAX_SEGMENTS * OCTETS) as u32, OCTETS, |_| ());
        let refused = train.push(car(pool, &next)).expect_err("no room");
        assert!(train.is_complete());
        assert_eq!(bytes_of(&Frame::from(refused.page)), next);
        assert_eq!(train.into_frame().len(), 66 + Frame::MAX_SEGMENTS * OCTETS);
    }

    #[test]
    fn sums_equal_the_definition() {
        for length in 0..200 {
            for byte in [0xff, 0x5a] {
                let bytes: Vec<u8> = (0..length).map(|at| byte ^ (at * at) as u8).collect();
                let all = fold(sum(&bytes)).to_ne_bytes();
                assert_eq!(u16::from_be_bytes(all), crate::testing::sum(&bytes));
            }
        }
        let ones = vec![0xff; 65_535 - 1];
        assert_eq!(fold(sum(&ones)), 0xffff);
    }
}
