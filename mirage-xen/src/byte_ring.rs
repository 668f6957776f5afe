//! Rings of bytes in a shared page, as xenstore and the console have them: indices that run freely modulo 2³², each
//! written by one end.
//!
//! Our index is kept here and never read back; the other end's is read once, checked, then used. Bytes are read once,
//! into a local copy.

use core::cell::Cell;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering, fence};

/// The other end's index can't be, at ours. Its fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexFault {
    pub(crate) theirs: u32,
    pub(crate) ours: u32,
}

/// The end that puts bytes in.
pub(crate) struct Producer {
    bytes: &'static [AtomicU8],
    producer: &'static AtomicU32,
    consumer: &'static AtomicU32,
    index: Cell<u32>,
}

/// The end that takes bytes out.
pub(crate) struct Consumer {
    bytes: &'static [AtomicU8],
    producer: &'static AtomicU32,
    consumer: &'static AtomicU32,
    index: Cell<u32>,
}

impl Producer {
    /// `bytes` is a power of two long.
    pub(crate) const fn new(
        bytes: &'static [AtomicU8],
        producer: &'static AtomicU32,
        consumer: &'static AtomicU32,
    ) -> Self {
        assert!(bytes.len().is_power_of_two() && bytes.len() <= 1 << 16);
        Self {
            bytes,
            producer,
            consumer,
            index: Cell::new(0),
        }
    }

    /// Takes up our index where it is.
    pub(crate) fn attach(&self) -> Result<(), IndexFault> {
        self.index.set(self.producer.load(Ordering::Relaxed));
        self.used().map(|_| ())
    }

    /// Bytes that the other end has not taken yet.
    pub(crate) fn used(&self) -> Result<u32, IndexFault> {
        // Acquire: bytes are overwritten after they were read.
        let theirs = self.consumer.load(Ordering::Acquire);
        check(
            self.bytes,
            self.index.get().wrapping_sub(theirs),
            theirs,
            self.index.get(),
        )
    }

    /// Bytes that there is room for.
    pub(crate) fn free(&self) -> Result<u32, IndexFault> {
        Ok(self.bytes.len() as u32 - self.used()?)
    }

    /// Puts bytes there, which [`publish`](Self::publish) shows. There is room for them: [`free`](Self::free) said so.
    pub(crate) fn put(&self, bytes: &[u8]) {
        let mut index = self.index.get();
        for byte in bytes {
            at(self.bytes, index).store(*byte, Ordering::Relaxed);
            index = index.wrapping_add(1);
        }
        self.index.set(index);
    }

    /// Shows the other end what was put there.
    pub(crate) fn publish(&self) {
        // Release: the bytes are there before the index says so.
        self.producer.store(self.index.get(), Ordering::Release);
    }
}

impl Consumer {
    /// `bytes` is a power of two long.
    pub(crate) const fn new(
        bytes: &'static [AtomicU8],
        producer: &'static AtomicU32,
        consumer: &'static AtomicU32,
    ) -> Self {
        assert!(bytes.len().is_power_of_two() && bytes.len() <= 1 << 16);
        Self {
            bytes,
            producer,
            consumer,
            index: Cell::new(0),
        }
    }

    /// Takes up our index where it is.
    pub(crate) fn attach(&self) -> Result<(), IndexFault> {
        self.index.set(self.consumer.load(Ordering::Relaxed));
        self.available().map(|_| ())
    }

    /// Bytes that there are.
    pub(crate) fn available(&self) -> Result<u32, IndexFault> {
        // Acquire: the bytes below the index are read after it.
        let theirs = self.producer.load(Ordering::Acquire);
        check(
            self.bytes,
            theirs.wrapping_sub(self.index.get()),
            theirs,
            self.index.get(),
        )
    }

    /// Takes up to `room.len()` bytes. How many, and whether the other end waits for room: it found the ring full.
    pub(crate) fn take(&self, room: &mut [u8]) -> Result<(usize, bool), IndexFault> {
        let available = self.available()?;
        let index = self.index.get();
        let mut taken = 0;
        for (place, offset) in room.iter_mut().zip(0..available) {
            *place = at(self.bytes, index.wrapping_add(offset)).load(Ordering::Relaxed);
            taken = offset + 1;
        }
        if taken == 0 {
            return Ok((0, false));
        }
        Ok((taken as usize, self.release(taken)))
    }

    /// Drops all bytes that there are: how many.
    pub(crate) fn drop_all(&self) -> Result<u32, IndexFault> {
        let available = self.available()?;
        if available != 0 {
            self.release(available);
        }
        Ok(available)
    }

    /// Gives `count` bytes' room back. Whether the other end waits for it.
    fn release(&self, count: u32) -> bool {
        let old = self.index.get();
        let index = old.wrapping_add(count);
        self.index.set(index);
        // Release: the bytes were read before they may be overwritten.
        self.consumer.store(index, Ordering::Release);
        // Either the other end sees that there is room, or we see that it had filled the ring.
        fence(Ordering::SeqCst);
        let theirs = self.producer.load(Ordering::Relaxed);
        theirs.wrapping_sub(old) >= self.bytes.len() as u32
    }
}

/// A number of bytes between the indices, if it can be.
fn check(bytes: &[AtomicU8], between: u32, theirs: u32, ours: u32) -> Result<u32, IndexFault> {
    if between as usize <= bytes.len() {
        Ok(between)
    } else {
        Err(IndexFault { theirs, ours })
    }
}

/// The byte at an index of the stream.
fn at(bytes: &[AtomicU8], index: u32) -> &AtomicU8 {
    &bytes[index as usize % bytes.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;
    use alloc::collections::VecDeque;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    struct Memory {
        bytes: [AtomicU8; 16],
        producer: AtomicU32,
        consumer: AtomicU32,
    }

    fn memory(start: u32) -> &'static Memory {
        Box::leak(Box::new(Memory {
            bytes: [const { AtomicU8::new(0xEE) }; 16],
            producer: AtomicU32::new(start),
            consumer: AtomicU32::new(start),
        }))
    }

    fn ends(memory: &'static Memory) -> (Producer, Consumer) {
        let producer = Producer::new(&memory.bytes, &memory.producer, &memory.consumer);
        let consumer = Consumer::new(&memory.bytes, &memory.producer, &memory.consumer);
        (producer, consumer)
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order_from_any_index(
            start: u32,
            steps in proptest::collection::vec((any::<bool>(), 0_usize..24), 0..200),
        ) {
            let (producer, consumer) = ends(memory(start));
            producer.attach().unwrap();
            consumer.attach().unwrap();
            let mut model = VecDeque::new();
            let mut next = 0_u8;
            for (put, count) in steps {
                if put {
                    let count = count.min(producer.free().unwrap() as usize);
                    let bytes: Vec<u8> = (0..count).map(|index| next.wrapping_add(index as u8)).collect();
                    next = next.wrapping_add(count as u8);
                    producer.put(&bytes);
                    producer.publish();
                    model.extend(bytes);
                } else {
                    let was_full = model.len() == 16;
                    let mut room = [0; 24];
                    let (taken, waits) = consumer.take(&mut room[..count]).unwrap();
                    prop_assert_eq!(taken, count.min(model.len()));
                    prop_assert!(model.drain(..taken).eq(room[..taken].iter().copied()));
                    prop_assert_eq!(waits, was_full && taken != 0);
                }
                prop_assert_eq!(producer.used().unwrap() as usize, model.len());
                prop_assert_eq!(consumer.available().unwrap() as usize, model.len());
            }
        }

        #[test]
        fn an_index_that_can_not_be_is_refused_and_nothing_is_read(start: u32, theirs: u32) {
            let memory = memory(start);
            let (producer, consumer) = ends(memory);
            producer.attach().unwrap();
            consumer.attach().unwrap();
            memory.producer.store(theirs, Ordering::Relaxed);
            let possible = theirs.wrapping_sub(start) <= 16;
            prop_assert_eq!(consumer.take(&mut [0; 24]).is_ok(), possible);
            memory.consumer.store(theirs, Ordering::Relaxed);
            let possible = start.wrapping_sub(theirs) <= 16;
            prop_assert_eq!(producer.free().is_ok(), possible);
        }
    }

    #[test]
    fn our_own_index_is_not_believed_to_be_what_the_page_says() {
        let memory = memory(0);
        let (producer, consumer) = ends(memory);
        producer.put(b"abc");
        producer.publish();
        // The other end writes what is ours to write.
        memory.consumer.store(2, Ordering::Relaxed);
        let mut room = [0; 3];
        assert_eq!(consumer.take(&mut room), Ok((3, false)));
        assert_eq!(&room, b"abc");
        memory.producer.store(9, Ordering::Relaxed);
        producer.put(b"d");
        producer.publish();
        assert_eq!(memory.producer.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn what_was_left_for_somebody_before_is_dropped() {
        let memory = memory(u32::MAX - 3);
        let (producer, _) = ends(memory);
        producer.attach().unwrap();
        producer.put(b"0123456789");
        producer.publish();
        let (_, consumer) = ends(memory);
        consumer.attach().unwrap();
        assert_eq!(consumer.drop_all(), Ok(10));
        assert_eq!(consumer.drop_all(), Ok(0));
        assert_eq!(memory.consumer.load(Ordering::Relaxed), 6);
    }

    /// As xenstored does: it sleeps when it finds the ring full, until it is told.
    #[test]
    fn a_producer_that_sleeps_at_a_full_ring_is_told_when_there_is_room() {
        use core::sync::atomic::AtomicBool;
        use std::thread;

        const COUNT: usize = 20_000;
        let memory = memory(u32::MAX - 1_000);
        let (producer, consumer) = ends(memory);
        producer.attach().unwrap();
        consumer.attach().unwrap();
        let told = AtomicBool::new(false);
        let told = &told;
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut next = 0;
                while next < COUNT {
                    let free = producer.free().unwrap() as usize;
                    if free == 0 {
                        while !told.swap(false, Ordering::AcqRel) {
                            thread::yield_now();
                        }
                        continue;
                    }
                    let end = COUNT.min(next + free);
                    let bytes: Vec<u8> = (next..end).map(|byte| byte as u8).collect();
                    producer.put(&bytes);
                    producer.publish();
                    // The look at the consumer's index comes after.
                    fence(Ordering::SeqCst);
                    next = end;
                }
            });
            let mut next = 0;
            let mut room = [0; 7];
            while next < COUNT {
                let (taken, waits) = consumer.take(&mut room).unwrap();
                for byte in &room[..taken] {
                    assert_eq!(*byte, next as u8);
                    next += 1;
                }
                if waits {
                    told.store(true, Ordering::Release);
                }
                if taken == 0 {
                    thread::yield_now();
                }
            }
        });
    }
}
