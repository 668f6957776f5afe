//! Several frames to the kernel by one system call: io_uring(7).
//!
//! Each is a write of its own to the kernel, with `RWF_NOWAIT`: what can't be done at once fails at once. So the kernel does them one
//! after the other, in the order in which they lie in the ring, inside the one call that hands them over, and when that returns
//! nothing is under way. What a write reads from belongs to who called until then; a write that would not end after all is waited for.
//!
//! There is no ring for what is received: a read that finds nothing costs the kernel more in a ring than it saves elsewhere.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, opcode, types};
use mirage_core::Frame;
use rustix::io::Errno;

use super::virtio_header;

/// The most frames that go together. More would gain little, and their pages are not free meanwhile.
pub(super) const MOST: usize = 16;

/// What one frame is written from: a header, and its segments.
const PARTS: usize = 1 + Frame::MAX_SEGMENTS;

/// A frame that waits for others, with the header that goes before it.
pub(super) struct Queued {
    pub(super) frame: Frame,
    pub(super) header: [u8; virtio_header::LENGTH],
}

/// A ring in which nothing is under way between two calls.
pub(super) struct WriteRing {
    ring: IoUring,
    /// What the writes are made of, as long as the kernel reads it.
    parts: Vec<libc::iovec>,
    /// How the writes of the last call ended: bytes, or an error number below zero.
    results: Vec<i32>,
}

/// How far a [`WriteRing`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Each frame was tried.
    All,
    /// Only so many, the first ones, and no further: the ring is of no more use.
    Only(usize),
    /// The kernel does not say how they ended, and may read from them still. Their memory has to stay as it is.
    Lost,
}

impl WriteRing {
    /// A ring for [`MOST`] frames.
    ///
    /// # Errors
    /// The kernel's: it has no io_uring (`ENOSYS`), or a version before Linux 5.6, or lets nobody use it (`EPERM`).
    pub(super) fn new() -> io::Result<Self> {
        // A power of two, and twice as many completions: none is lost.
        let ring = IoUring::new(MOST as u32)?;
        let parameters = ring.params();
        // What is handed over is not looked at later, and a device without a position may be written to.
        if !parameters.is_feature_submit_stable() || !parameters.is_feature_rw_cur_pos() {
            return Err(Errno::NOSYS.into());
        }
        Ok(Self {
            ring,
            parts: Vec::with_capacity(MOST * PARTS),
            results: Vec::with_capacity(MOST),
        })
    }

    /// Whether entries lie in it that the kernel did not take: it is not to be used again, for what they point to may be gone.
    pub(super) fn left_some(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// How the writes of the last call ended, in their order.
    pub(super) fn result(&self, index: usize) -> Result<usize, Errno> {
        match self.results.get(index) {
            Some(&result) => {
                usize::try_from(result).map_err(|_| Errno::from_raw_os_error(result.wrapping_neg()))
            }
            None => Err(Errno::CANCELED),
        }
    }

    /// Writes up to [`MOST`] frames, each as one, with so many bytes of its header before it.
    // Invariants, of what the kernel reads from:
    // 1. `self.parts` was made with room for PARTS of each of MOST frames: it is not moved by what is pushed, nor cleared before the
    //    next call.
    // 2. `frames` and `descriptor` are borrowed during this call, which returns when all that the kernel took has ended, and `Lost`
    //    otherwise, of which the caller is told to leave everything where it is. A write only reads.
    // 3. Entries that the kernel did not take are never handed over later: `wait_for` hands nothing over while there are any, and a
    //    ring that left some is not used again (`left_some`).
    pub(super) fn write(
        &mut self,
        descriptor: BorrowedFd<'_>,
        header_length: usize,
        frames: &[Queued],
    ) -> Progress {
        debug_assert!(frames.len() <= MOST, "the ring has room for no more");
        self.parts.clear();
        self.results.clear();
        let target = types::Fd(descriptor.as_raw_fd());
        let mut submission = self.ring.submission();
        for (index, queued) in frames.iter().take(MOST).enumerate() {
            let start = self.parts.len();
            let header = queued.header.get(..header_length).unwrap_or_default();
            if !header.is_empty() {
                self.parts.push(part(header));
            }
            for segment in queued.frame.segments() {
                self.parts.push(part(segment));
            }
            let parts = &self.parts[start..];
            // At most PARTS.
            let entry = opcode::Writev::new(target, parts.as_ptr(), parts.len() as u32)
                .rw_flags(libc::RWF_NOWAIT)
                .build()
                .user_data(index as u64);
            // SAFETY: what the entry points to stays valid, in its place and unwritten until the write has ended, by the invariants above:
            // the list of parts by 1, the header and the segments by 2 and 3, the descriptor by 2.
            if unsafe { submission.push(&entry) }.is_err() {
                // Not to be: the ring was empty, and has room for MOST.
                break;
            }
        }
        let pushed = submission.len();
        drop(submission);
        self.results.resize(pushed, -libc::ECANCELED);
        let taken = self.hand_over(pushed);
        if !self.wait_for(taken) {
            return Progress::Lost;
        }
        if taken == frames.len() {
            Progress::All
        } else {
            Progress::Only(taken)
        }
    }

    /// Has the kernel take what lies in the ring. Returns how many it took.
    fn hand_over(&mut self, pushed: usize) -> usize {
        loop {
            // An entry that can't be begun ends the call early, but is taken.
            let result = self.ring.submit();
            let left = self.ring.submission().len();
            match result {
                Ok(1..) if left > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted && left > 0 => {}
                Ok(_) => return pushed - left,
                Err(error) => {
                    log::debug!("io_uring_enter(2): {error}");
                    return pushed - left;
                }
            }
        }
    }

    /// Takes so many completions; `false`: they don't come.
    fn wait_for(&mut self, count: usize) -> bool {
        let mut ended = 0;
        loop {
            for completion in self.ring.completion() {
                ended += 1;
                let index = usize::try_from(completion.user_data()).unwrap_or(usize::MAX);
                if let Some(result) = self.results.get_mut(index) {
                    *result = completion.result();
                }
            }
            if ended >= count {
                return true;
            }
            // To wait would hand over what was left.
            if self.left_some() {
                return false;
            }
            // As a rule all are there: nothing of them waits.
            match self.ring.submitter().submit_and_wait(count - ended) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log::warn!("io_uring_enter(2): {error}");
                    return false;
                }
            }
        }
    }
}

fn part(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}
