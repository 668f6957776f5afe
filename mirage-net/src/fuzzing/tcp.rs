//! The queues of a TCP connection and its loss recovery under any order of calls, and acknowledgements of any content.

use core::time::Duration;

use mirage_core::{Frame, Instant, PageMut, Pool};

use crate::tcp::{
    Acknowledgement, AnyCongestion, NewReno, ReceiveLimits, ReceiveQueue, RoundTripConfig,
    SegmentSlot, SegmentTable, Sender, SequenceNumber, Transmission,
};
use crate::wire::tcp::{SackBlock, SackBlocks};

/// How many slots the table has.
const SLOTS: usize = 48;
/// The pages of each queue.
const PAGES: u32 = 16;
/// The largest segment.
const SEGMENT: u32 = 200;

/// Does with a sender and a receive queue what `input` says, and checks after each step that what is sent is the stream that
/// was given, and what is read the one that was received, and that all that is counted adds up.
///
/// The first byte chooses SACK (1), NewReno (2) and where the sequence numbers begin; each step is a byte that says what to
/// do, and what that takes of the input. The pool has at least 64 pages of 64 bytes or more.
///
/// # Panics
/// When something does not add up, or a page of the pool is missing at the end, which is what this is to find; and when the
/// pool is too small.
pub fn tcp_queues(pool: &'static Pool, input: &[u8]) {
    let whole = pool.free_in_all();
    let mut slots = [const { SegmentSlot::EMPTY }; SLOTS];
    let mut input = Input(input);
    let kind = input.byte();
    let first = match kind >> 4 {
        0 => SequenceNumber::new(0),
        1 => SequenceNumber::new((1 << 31) - 300),
        number => SequenceNumber::new(0u32.wrapping_sub(100 * u32::from(number))),
    };
    let congestion = if kind & 2 != 0 {
        AnyCongestion::NewReno(NewReno::new())
    } else {
        AnyCongestion::default()
    };
    let mut sender = Sender::new(first, SEGMENT, congestion, RoundTripConfig::DEFAULT);
    sender.set_sack(kind & 1 != 0);
    let mut machine = Machine {
        pool,
        table: SegmentTable::new((&mut slots[..]).into()),
        sender,
        receiver: ReceiveQueue::new(first),
        read: first,
        now: Instant::from_secs(1),
    };
    while !input.0.is_empty() {
        machine.step(&mut input);
        machine.check();
    }
    let Machine {
        mut table,
        mut sender,
        mut receiver,
        ..
    } = machine;
    sender.clear(&mut table);
    receiver.clear(&mut table);
    assert_eq!(table.free(), SLOTS, "a slot is missing");
    assert_eq!(pool.free_in_all(), whole, "a page is missing");
}

struct Machine<'a> {
    pool: &'static Pool,
    table: SegmentTable<'a>,
    sender: Sender,
    receiver: ReceiveQueue,
    /// How far the application has read.
    read: SequenceNumber,
    now: Instant,
}

impl Machine<'_> {
    fn step(&mut self, input: &mut Input<'_>) {
        let what = input.byte();
        match what % 16 {
            0 | 1 => self.push(input),
            2 => self.write(input),
            3 | 4 => self.transmit(input),
            5 => self.retransmit(input),
            6..=8 => self.acknowledge(input, what),
            9 => self.pass(input),
            10..=12 => self.receive(input, what),
            13 => self.read(input),
            14 => {
                let most = usize::from(input.byte() % 5);
                let blocks = self.receiver.sack_blocks(&self.table, most);
                assert!(blocks.len() <= most.max(1));
                let proper = |block: &SackBlock| block.left.is_before(block.right);
                assert!(blocks.iter().all(proper));
            }
            _ => self.rarely(input),
        }
    }

    fn push(&mut self, input: &mut Input<'_>) {
        let count = u32::from(input.byte());
        let from = self.sender.queue().end();
        if let Some(page) = self.filled(from, count) {
            // Refused or queued; a page comes back either way.
            let _ = self.sender.queue_mut().push(&mut self.table, page.into());
        }
    }

    fn write(&mut self, input: &mut Input<'_>) {
        let count = u32::from(input.byte());
        let mut bytes = [0; 255];
        let from = self.sender.queue().end();
        let bytes = &mut bytes[..count as usize];
        for (at, byte) in (0u32..).zip(bytes.iter_mut()) {
            *byte = octet(from + at);
        }
        let queue = self.sender.queue_mut();
        let written = queue.write(&mut self.table, self.pool, bytes, PAGES);
        assert!(written <= bytes.len());
    }

    fn transmit(&mut self, input: &mut Input<'_>) {
        let (limit, window) = (u32::from(input.byte()), u32::from(input.byte()) * 2);
        let limit = limit.min(self.sender.allowance(self.now));
        let mut frame = Frame::new();
        let sent = self
            .sender
            .transmit(self.now, &mut self.table, limit, window, &mut frame);
        if let Some(sent) = sent {
            assert!(sent.octets <= limit && sent.octets + u32::from(sent.fin) <= window);
            assert!(!sent.retransmission);
            is_of_the_stream(&frame, &sent);
        }
    }

    fn retransmit(&mut self, input: &mut Input<'_>) {
        let limit = u32::from(input.byte());
        let mut frame = Frame::new();
        let sent = self
            .sender
            .retransmit(self.now, &mut self.table, limit, &mut frame);
        if let Some(sent) = sent {
            assert!(sent.octets <= limit && sent.retransmission);
            is_of_the_stream(&frame, &sent);
        }
    }

    fn acknowledge(&mut self, input: &mut Input<'_>, what: u8) {
        let from = self.sender.queue().unacknowledged();
        let outstanding = self.sender.queue().outstanding();
        // One in four says whatever it likes.
        let mut to = from + u32::from(input.byte());
        if what & 0xc0 != 0 {
            to = to.earliest(self.sender.queue().next());
        } else {
            to += u32::from(input.byte()) << 24;
        }
        let mut blocks = SackBlocks::EMPTY;
        for _ in 0..(what >> 4) & 3 {
            let left = from + u32::from(input.byte()) * 3;
            let right = left + u32::from(input.byte()) - 20;
            blocks.push(SackBlock { left, right });
        }
        let echo = input.byte();
        let outcome = self.sender.handle_acknowledgement(
            self.now,
            &mut self.table,
            &Acknowledgement {
                acknowledgement: to,
                window: u32::from(echo) * 10,
                sack: &blocks,
                timestamp_echo: (echo & 1 != 0)
                    .then(|| self.now - Duration::from_millis(u64::from(echo))),
                duplicate: echo & 2 != 0,
                ecn_echo: echo & 0x1c == 0x1c,
            },
        );
        let taken = outstanding - self.sender.queue().outstanding();
        assert_eq!(outcome.acknowledged, taken);
        assert!(to.distance_from(from) <= outstanding || taken == 0);
    }

    fn pass(&mut self, input: &mut Input<'_>) {
        self.now += Duration::from_millis(u64::from(input.byte()) * 4);
        let window = u32::from(input.byte());
        for _ in 0..4 {
            match self.sender.poll_timeout() {
                Some(deadline) if deadline <= self.now => {
                    self.sender
                        .handle_timeout(self.now, &mut self.table, window);
                }
                _ => break,
            }
        }
    }

    fn receive(&mut self, input: &mut Input<'_>, what: u8) {
        let sequence = self.receiver.next() + u32::from(input.byte()) - u32::from(what >> 4) * 4;
        let length = u32::from(input.byte());
        let window = u32::from(input.byte()) * 2;
        let fin = what & 0xf0 == 0xf0;
        let mut payload = Frame::new();
        let half = length / 2;
        for (from, count) in [(0, half), (half, length - half)] {
            let pushed = self
                .filled(sequence + from, count)
                .map(|page| payload.push(page));
            if pushed.is_none_or(|pushed| pushed.is_err()) {
                break;
            }
        }
        let before = self.receiver.next();
        let limits = ReceiveLimits { pages: PAGES };
        let arrival = self.receiver.handle_segment(
            &mut self.table,
            self.pool,
            &limits,
            window,
            sequence,
            payload,
            fin,
        );
        assert_eq!(self.receiver.next(), before + arrival.advanced);
        assert!(self.receiver.pages() <= PAGES);
    }

    fn read(&mut self, input: &mut Input<'_>) {
        let mut bytes = [0; 255];
        let count = usize::from(input.byte());
        let read = self
            .receiver
            .copy_to_slice(&mut self.table, &mut bytes[..count]);
        for byte in bytes.iter().take(read) {
            assert_eq!(*byte, octet(self.read), "not what was received");
            self.read += 1;
        }
    }

    fn rarely(&mut self, input: &mut Input<'_>) {
        match input.byte() % 8 {
            0 => self.sender.queue_mut().finish(),
            1 => {
                let octets = u32::from(input.byte()).max(20);
                self.sender.path_mtu_reduced(&mut self.table, octets);
            }
            2 => {
                let mut frame = Frame::new();
                let sent = self
                    .sender
                    .probe_window(self.now, &mut self.table, &mut frame);
                if let Some(sent) = sent {
                    assert!(sent.octets + u32::from(sent.fin) == 1);
                    is_of_the_stream(&frame, &sent);
                }
            }
            3 => self.sender.window_opened(self.now),
            4 => self.sender.after_handshake_timeout(),
            5 => self.now += Duration::from_secs(60),
            _ => {
                if let Some(segment) = self.receiver.receive(&mut self.table) {
                    for byte in segment.iter() {
                        assert_eq!(*byte, octet(self.read), "not what was received");
                        self.read += 1;
                    }
                }
            }
        }
    }

    /// A page of the stream; none when the pool has none, or nothing is asked for.
    fn filled(&self, from: SequenceNumber, count: u32) -> Option<PageMut> {
        let count = (count as usize).min(self.pool.block_size());
        if count == 0 {
            return None;
        }
        let mut page = self.pool.alloc()?;
        for (at, byte) in (0u32..).zip(page.append(count)?) {
            *byte = octet(from + at);
        }
        Some(page)
    }

    fn check(&self) {
        let queue = self.sender.queue();
        let parts = queue.in_flight() + queue.lost() + queue.sacked();
        assert_eq!(
            parts,
            queue.outstanding(),
            "the parts of what is outstanding"
        );
        assert!(queue.octets() >= queue.unsent_octets());
        assert!(self.sender.congestion_window() >= 1);
    }
}

fn is_of_the_stream(frame: &Frame, sent: &Transmission) {
    assert_eq!(frame.len(), sent.octets as usize);
    let bytes = frame.segments().iter().flat_map(|segment| segment.iter());
    for (offset, byte) in (0u32..).zip(bytes) {
        assert_eq!(*byte, octet(sent.sequence + offset), "not what was given");
    }
}

/// The octet of the stream at a sequence number.
fn octet(at: SequenceNumber) -> u8 {
    (at.get() ^ (at.get() >> 8)) as u8
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    /// The next byte; zero at the end.
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_order_of_calls_adds_up(input in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            tcp_queues(Pool::leak(64, 128).unwrap(), &input);
        }
    }
}
