//! The rings that are shared with the kernel: one index is ours to move, the other is its.
//!
//! The layout is that of linux/if_xdp.h (`struct xdp_ring_offset`): two free-running 32-bit indices, a word of flags, and as
//! many entries as were asked for, a power of two. The kernel's index is an allegation: it is read once into a local, with
//! acquire, and a distance that the ring can't have counts as an empty (or full) ring, and is told.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::xdp::XdpRingOffset;

/// `struct xdp_desc` of linux/if_xdp.h: a frame, or a part of one, in the receive and the transmit ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Descriptor {
    /// Where the bytes begin, counted from the beginning of the region.
    pub(super) address: u64,
    /// How many.
    pub(super) length: u32,
    /// `XDP_PKT_CONTD`: the frame goes on in the next descriptor.
    pub(super) options: u32,
}

// The kernel's layout.
const _: () = assert!(size_of::<Descriptor>() == size_of::<libc::xdp_desc>());

/// What lies in a ring: the kernel reads and writes it as plain integers.
///
/// # Safety
///
/// Every pattern of bits is a value.
pub(super) unsafe trait Entry: Copy {}

// SAFETY: three integers, without padding (asserted by the size: 8 + 4 + 4).
unsafe impl Entry for Descriptor {}
// SAFETY: an integer. The fill and the completion ring have addresses alone.
unsafe impl Entry for u64 {}

/// Memory that is mapped from a socket, given back when it is dropped.
pub(super) struct Mapping {
    address: NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// Maps `length` bytes, not zero, of the socket from `offset` on.
    pub(super) fn of_socket(
        socket: impl std::os::fd::AsFd,
        length: usize,
        offset: u64,
    ) -> Result<Self, Errno> {
        // SAFETY: no address is asked for, so the mapping overlaps nothing that is there.
        let address = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                socket,
                offset,
            )
        }?;
        let address = NonNull::new(address.cast()).ok_or(Errno::FAULT)?;
        Ok(Self { address, length })
    }

    /// The same without a kernel at the other end.
    #[cfg(test)]
    pub(super) fn anonymous(length: usize) -> Self {
        // SAFETY: no address is asked for, so the mapping overlaps nothing that is there.
        let address = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }
        .expect("memory");
        let address = NonNull::new(address.cast()).expect("an address");
        Self { address, length }
    }

    /// A place in the mapping, if `size` bytes of that alignment lie there.
    fn at(&self, offset: u64, size: usize, alignment: usize) -> Result<NonNull<u8>, Errno> {
        let offset = usize::try_from(offset).map_err(|_| Errno::PROTO)?;
        let end = offset.checked_add(size).ok_or(Errno::PROTO)?;
        if end > self.length || !offset.is_multiple_of(alignment) {
            return Err(Errno::PROTO);
        }
        // SAFETY: `offset + size` is at most the mapping's length, so the result is inside of it.
        Ok(unsafe { self.address.add(offset) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made here, is given back once, and its owner, the ring, has all pointers into it.
        if let Err(error) = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), self.length) }
        {
            log::debug!("munmap(2): {error}");
        }
    }
}

/// What both ends of a ring have in common.
struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    /// How many entries: a power of two.
    size: u32,
    /// The indices broke the rules at least once.
    broken: bool,
    _mapping: Mapping,
    _entries: PhantomData<T>,
}

impl<T: Entry> Ring<T> {
    fn new(mapping: Mapping, offsets: &XdpRingOffset, size: u32) -> Result<Self, Errno> {
        if !size.is_power_of_two() {
            return Err(Errno::INVAL);
        }
        let word = |offset| mapping.at(offset, size_of::<AtomicU32>(), align_of::<AtomicU32>());
        let producer = word(offsets.producer)?.cast();
        let consumer = word(offsets.consumer)?.cast();
        // Kernels before 5.4 have no flags. We need the other things that came later anyway.
        let flags = word(offsets.flags.ok_or(Errno::NOSYS)?)?.cast();
        let bytes = size as usize * size_of::<T>();
        let entries = mapping.at(offsets.desc, bytes, align_of::<T>())?.cast();
        Ok(Self {
            producer,
            consumer,
            flags,
            entries,
            size,
            broken: false,
            _mapping: mapping,
            _entries: PhantomData,
        })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: in the mapping (checked by `new`), which lives as long as `self`; both ends reach it as an atomic alone.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as in `producer`.
        let flags = unsafe { self.flags.as_ref() };
        flags.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// Where the entry of an index lies.
    fn entry(&self, index: u32) -> *mut T {
        // SAFETY: the masked index is less than `size`, and that many entries lie in the mapping (checked by `new`).
        unsafe {
            self.entries
                .as_ptr()
                .add((index & (self.size - 1)) as usize)
        }
    }
}

/// The end of a ring that we fill: the fill ring and the transmit ring.
pub(super) struct Producer<T> {
    ring: Ring<T>,
    /// Our index, which may be ahead of what the kernel was told.
    next: u32,
    told: u32,
    /// The kernel's index when it was looked at last.
    taken: u32,
}

impl<T: Entry> Producer<T> {
    pub(super) fn new(mapping: Mapping, offsets: &XdpRingOffset, size: u32) -> Result<Self, Errno> {
        let ring = Ring::new(mapping, offsets, size)?;
        let next = ring.producer().load(Ordering::Relaxed);
        Ok(Self {
            next,
            told: next,
            taken: next,
            ring,
        })
    }

    /// Whether `count` more entries have room.
    #[inline]
    pub(super) fn has_room(&mut self, count: u32) -> bool {
        self.free() >= count || {
            self.look();
            self.free() >= count
        }
    }

    /// Puts an entry in; `false`: there is no room.
    #[inline]
    pub(super) fn push(&mut self, entry: T) -> bool {
        if !self.has_room(1) {
            return false;
        }
        // SAFETY: the place is in the mapping. It is ours to write: it is one of the `free` ones, which the kernel has taken
        // (its index, read with acquire, has passed it), and was not told of again.
        unsafe { self.ring.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Tells the kernel of what was put in; says whether there was anything.
    #[inline]
    pub(super) fn publish(&mut self) -> bool {
        if self.next == self.told {
            return false;
        }
        // Release: the kernel sees the entries, and the frames' bytes, before the index.
        self.ring.producer().store(self.next, Ordering::Release);
        self.told = self.next;
        true
    }

    /// Whether the kernel sleeps until a system call tells it of new entries.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        // The kernel sets the flag, then looks at the index; we move the index, then look at the flag. With a full fence
        // between, one of the two sees the other.
        fence(Ordering::SeqCst);
        self.ring.needs_wakeup()
    }

    /// Entries that the kernel has not taken yet.
    pub(super) fn pending(&mut self) -> u32 {
        self.look();
        self.ring.size - self.free()
    }

    /// Whether the kernel's index was ever one that it can't be.
    pub(super) fn is_broken(&self) -> bool {
        self.ring.broken
    }

    fn look(&mut self) {
        // Acquire: what the kernel has read of an entry is done before we write it again.
        let taken = self.ring.consumer().load(Ordering::Acquire);
        if self.told.wrapping_sub(taken) > self.ring.size {
            self.ring.broken = true;
            return;
        }
        self.taken = taken;
    }

    fn free(&self) -> u32 {
        // `next - taken` is at most `size`: `push` sees to the one, `look` to the other.
        self.ring.size - self.next.wrapping_sub(self.taken)
    }
}

/// The end of a ring that we empty: the receive ring and the completion ring.
pub(super) struct Consumer<T> {
    ring: Ring<T>,
    /// Our index, which may be ahead of what the kernel was told.
    next: u32,
    told: u32,
    /// The kernel's index when it was looked at last.
    filled: u32,
}

impl<T: Entry> Consumer<T> {
    pub(super) fn new(mapping: Mapping, offsets: &XdpRingOffset, size: u32) -> Result<Self, Errno> {
        let ring = Ring::new(mapping, offsets, size)?;
        let next = ring.consumer().load(Ordering::Relaxed);
        Ok(Self {
            next,
            told: next,
            filled: next,
            ring,
        })
    }

    /// The next entry, copied out once.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.next == self.filled {
            self.look();
            if self.next == self.filled {
                return None;
            }
        }
        // SAFETY: the place is in the mapping, and every pattern of bits is a `T`. The kernel wrote it before it moved its
        // index past it, which was read with acquire, and doesn't write it again before ours, which is told with release.
        let entry = unsafe { self.ring.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Tells the kernel that what was taken out may be written again.
    #[inline]
    pub(super) fn release(&mut self) {
        if self.next != self.told {
            self.ring.consumer().store(self.next, Ordering::Release);
            self.told = self.next;
        }
    }

    /// Whether the kernel's index was ever one that it can't be.
    pub(super) fn is_broken(&self) -> bool {
        self.ring.broken
    }

    fn look(&mut self) {
        let filled = self.ring.producer().load(Ordering::Acquire);
        if filled.wrapping_sub(self.told) > self.ring.size {
            self.ring.broken = true;
            return;
        }
        self.filled = filled;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const SIZE: u32 = 4;

    /// The kernel's end of a ring.
    struct Kernel {
        producer: NonNull<AtomicU32>,
        consumer: NonNull<AtomicU32>,
        flags: NonNull<AtomicU32>,
        entries: NonNull<u64>,
    }

    impl Kernel {
        fn of(ring: &Ring<u64>) -> Self {
            Self {
                producer: ring.producer,
                consumer: ring.consumer,
                flags: ring.flags,
                entries: ring.entries,
            }
        }

        fn entry(&self, index: u32) -> NonNull<u64> {
            // SAFETY: less than `SIZE`, of which the mapping has as many.
            unsafe { self.entries.add((index % SIZE) as usize) }
        }

        fn put(&self, value: u64) {
            // SAFETY: the ring outlives the test's kernel, and one thread runs both.
            unsafe {
                let index = self.producer.as_ref().load(Ordering::Relaxed);
                self.entry(index).write(value);
                self.producer
                    .as_ref()
                    .store(index.wrapping_add(1), Ordering::Release);
            }
        }

        fn produced(&self) -> u32 {
            // SAFETY: as in `put`.
            unsafe { self.producer.as_ref() }.load(Ordering::Acquire)
        }

        fn take(&self) -> u64 {
            // SAFETY: as in `put`.
            unsafe {
                let index = self.consumer.as_ref().load(Ordering::Relaxed);
                let value = self.entry(index).read();
                self.consumer
                    .as_ref()
                    .store(index.wrapping_add(1), Ordering::Release);
                value
            }
        }

        fn set(&self, word: NonNull<AtomicU32>, value: u32) {
            // SAFETY: as in `put`.
            unsafe { word.as_ref().store(value, Ordering::Release) };
        }
    }

    fn offsets() -> XdpRingOffset {
        // The places that the kernel uses: each index on a cache line of its own.
        XdpRingOffset {
            producer: 0,
            consumer: 64,
            desc: 192,
            flags: Some(128),
        }
    }

    /// A mapping whose indices begin at `start`.
    fn mapping(start: u32) -> Mapping {
        let mapping = Mapping::anonymous(4096);
        for offset in [0, 64] {
            // SAFETY: the mapping is ours alone, aligned to a page and longer than this.
            unsafe { mapping.address.add(offset).cast::<u32>().write(start) };
        }
        mapping
    }

    #[test]
    fn a_ring_that_is_filled_shows_nothing_before_it_is_told_and_wraps() {
        // From just below the indices' own end.
        let mut ring = Producer::<u64>::new(mapping(u32::MAX - 1), &offsets(), SIZE).expect("fits");
        let kernel = Kernel::of(&ring.ring);
        for value in 0..4 {
            assert!(ring.push(value));
        }
        assert!(!ring.push(9) && !ring.has_room(1), "four have room");
        assert_eq!(kernel.produced(), u32::MAX - 1);
        assert!(ring.publish() && !ring.publish());
        assert_eq!(ring.pending(), 4);
        assert_eq!((kernel.take(), kernel.take(), kernel.take()), (0, 1, 2));
        assert!(ring.has_room(3) && !ring.has_room(4));
        assert_eq!(ring.pending(), 1);
        assert!(!ring.is_broken());
    }

    #[test]
    fn a_ring_that_is_emptied_gives_each_entry_once() {
        let mut ring = Consumer::<u64>::new(mapping(u32::MAX), &offsets(), SIZE).expect("fits");
        let kernel = Kernel::of(&ring.ring);
        assert_eq!(ring.pop(), None);
        for round in 0..3 {
            for value in 0..4 {
                kernel.put(round * 10 + value);
            }
            for value in 0..4 {
                assert_eq!(ring.pop(), Some(round * 10 + value));
            }
            assert_eq!(ring.pop(), None);
            ring.release();
        }
        assert!(!ring.is_broken());
    }

    #[test]
    fn an_index_that_can_t_be_is_told_and_believed_in_nothing() {
        let mut ring = Consumer::<u64>::new(mapping(0), &offsets(), SIZE).expect("fits");
        let kernel = Kernel::of(&ring.ring);
        for lie in [SIZE + 1, u32::MAX, 1 << 31] {
            kernel.set(kernel.producer, lie);
            assert_eq!(ring.pop(), None);
            assert!(ring.is_broken());
        }
        let mut ring = Producer::<u64>::new(mapping(0), &offsets(), SIZE).expect("fits");
        let kernel = Kernel::of(&ring.ring);
        assert!(ring.push(1) && ring.publish());
        for lie in [2, u32::MAX - SIZE, 1 << 31] {
            kernel.set(kernel.consumer, lie);
            assert_eq!(ring.pending(), 1);
            assert!(ring.is_broken() && !ring.has_room(SIZE));
        }
    }

    #[test]
    fn a_wake_up_is_needed_while_the_kernel_says_so() {
        let ring = Producer::<u64>::new(mapping(0), &offsets(), SIZE).expect("fits");
        let kernel = Kernel::of(&ring.ring);
        assert!(!ring.needs_wakeup());
        kernel.set(kernel.flags, 1);
        assert!(ring.needs_wakeup());
    }

    #[test]
    fn offsets_outside_of_the_mapping_are_refused() {
        let far = u64::MAX;
        for wrong in [
            XdpRingOffset {
                producer: 4093,
                ..offsets()
            },
            XdpRingOffset {
                consumer: 2,
                ..offsets()
            },
            XdpRingOffset {
                desc: 4096 - 24,
                ..offsets()
            },
            XdpRingOffset {
                flags: None,
                ..offsets()
            },
            XdpRingOffset {
                flags: Some(far),
                ..offsets()
            },
        ] {
            assert!(
                Consumer::<u64>::new(mapping(0), &wrong, SIZE).is_err(),
                "{wrong:?}"
            );
        }
        assert!(Consumer::<u64>::new(mapping(0), &offsets(), 3).is_err());
    }
}
