//! What a tap does with frames that are to be transmitted.
//!
//! Without io_uring each is written when it is given. With it, they wait for those that come before the next
//! [`flush`](mirage_core::Netif::flush), and go together, in their order. A few go one by one all the same: for fewer than
//! [`WORTH_IT`] a call for all of them costs more than one for each.

use std::io::IoSlice;
use std::os::fd::AsFd;

use mirage_core::{
    Checksum, Frame, NetifError, Segmentation, SegmentationKind, TransmitError, TransmitReason,
};
use rustix::io::Errno;

use super::ring::{self, Progress, Queued};
use super::virtio_header::{self, ChecksumState, SegmentationState, VirtioHeader};
use super::{ETHERNET_HEADER, Tap, VLAN_TAG, netif_error};

/// With as many as this, one call is cheaper than one for each.
const WORTH_IT: usize = 4;

impl Tap {
    /// Checks what can be checked without the kernel.
    pub(super) fn refuse(&self, frame: &Frame) -> Option<TransmitReason> {
        let length = frame.len();
        if length < ETHERNET_HEADER {
            return Some(TransmitReason::TooShort);
        }
        let partial = matches!(frame.metadata.checksum, Checksum::Partial { .. });
        if partial && !self.checksum_offload {
            return Some(TransmitReason::Unsupported);
        }
        let mut packet = length;
        if let Some(segmentation) = frame.metadata.segmentation {
            let taken = partial
                && self.segmentation.transmit
                && segmentation.kind == SegmentationKind::TcpV4
                && segmentation.size > 0
                && segmentation.header_len > 0;
            if !taken {
                return Some(TransmitReason::Unsupported);
            }
            if length > usize::from(u16::MAX) + ETHERNET_HEADER {
                return Some(TransmitReason::TooLong);
            }
            let segment = usize::from(segmentation.header_len) + usize::from(segmentation.size);
            packet = packet.min(segment);
        }
        if packet > usize::from(self.mtu) + ETHERNET_HEADER + VLAN_TAG {
            return Some(TransmitReason::TooLong);
        }
        None
    }

    /// Whether as many frames wait as go together.
    pub(super) fn is_queue_full(&self) -> bool {
        self.queued.len() >= ring::MOST
    }

    /// Takes a frame that was checked.
    pub(super) fn take(&mut self, frame: Frame) -> Result<(), TransmitError> {
        let header = header_of(&frame);
        if self.ring.is_none() {
            let written = self.write(&header, &frame);
            return match self.count(written, &frame) {
                Ok(()) => Ok(()),
                Err(reason) => Err(TransmitError { frame, reason }),
            };
        }
        if self.is_queue_full()
            && let Err(error) = self.transmit_queued()
        {
            self.counters.transmit_refused += 1;
            let reason = TransmitReason::Netif(error);
            return Err(TransmitError { frame, reason });
        }
        self.queued.push(Queued { frame, header });
        Ok(())
    }

    /// Hands all frames that wait to the kernel.
    ///
    /// # Errors
    /// Why it did not take one of them; that one is lost. All were tried.
    pub(super) fn transmit_queued(&mut self) -> Result<(), NetifError> {
        if self.queued.is_empty() {
            return Ok(());
        }
        let mut queued = std::mem::take(&mut self.queued);
        let tried = self.write_together(&queued);
        let Some(tried) = tried else {
            self.counters.transmit_refused += queued.len() as u64;
            // The kernel may read from their pages still.
            std::mem::forget(queued);
            return Err(NetifError::DeviceFault);
        };
        let mut result = Ok(());
        for (index, Queued { frame, header }) in queued.iter().enumerate() {
            let written = match &self.ring {
                Some(ring) if index < tried => ring.result(index),
                _ => Err(Errno::OPNOTSUPP),
            };
            let together = written != Err(Errno::OPNOTSUPP);
            let written = if together {
                written
            } else {
                self.write(header, frame)
            };
            match self.count(written, frame) {
                Ok(()) => self.counters.transmitted_together += u64::from(together),
                // Final, whatever the others are.
                Err(_) if result == Err(NetifError::Gone) => {}
                Err(TransmitReason::Netif(error)) => result = Err(error),
                Err(_) => result = Err(NetifError::Os(Errno::AGAIN.raw_os_error())),
            }
        }
        if self.ring_fails() {
            log::debug!("{}: frames go one by one from now on", self.name);
            self.ring = None;
        }
        queued.clear();
        self.queued = queued;
        result
    }

    /// Whether the ring left some, or the kernel does not write to a tap in this way.
    fn ring_fails(&mut self) -> bool {
        self.ring
            .as_mut()
            .is_some_and(|ring| ring.left_some() || ring.result(0) == Err(Errno::OPNOTSUPP))
    }

    /// Writes frames by one call, if that is worth it. Returns how many were tried; none: how they end is not known, and the ring is gone.
    fn write_together(&mut self, queued: &[Queued]) -> Option<usize> {
        let header_length = self.header_length();
        let Some(ring) = &mut self.ring else {
            return Some(0);
        };
        if queued.len() < WORTH_IT {
            return Some(0);
        }
        match ring.write(self.source.as_fd(), header_length, queued) {
            Progress::All => Some(queued.len()),
            Progress::Only(tried) => Some(tried),
            Progress::Lost => {
                self.ring = None;
                None
            }
        }
    }

    /// Writes one frame.
    fn write(&self, header: &[u8; virtio_header::LENGTH], frame: &Frame) -> Result<usize, Errno> {
        let write = |slices: &[IoSlice<'_>]| {
            rustix::io::retry_on_intr(|| rustix::io::writev(&self.source, slices))
        };
        let header = header.get(..self.header_length()).unwrap_or_default();
        match frame.segments() {
            [segment] if header.is_empty() => {
                rustix::io::retry_on_intr(|| rustix::io::write(&self.source, segment))
            }
            [segment] => write(&[IoSlice::new(header), IoSlice::new(segment)]),
            [headers, payload] => write(&[
                IoSlice::new(header),
                IoSlice::new(headers),
                IoSlice::new(payload),
            ]),
            [headers, payload, rest] => write(&[
                IoSlice::new(header),
                IoSlice::new(headers),
                IoSlice::new(payload),
                IoSlice::new(rest),
            ]),
            segments => {
                let mut slices: [IoSlice<'_>; 1 + Frame::MAX_SEGMENTS] =
                    std::array::from_fn(|_| IoSlice::new(&[]));
                slices[0] = IoSlice::new(header);
                for (slice, segment) in slices[1..].iter_mut().zip(segments) {
                    *slice = IoSlice::new(segment);
                }
                write(&slices[..1 + segments.len()])
            }
        }
    }

    /// Counts what became of a frame.
    fn count(
        &mut self,
        written: Result<usize, Errno>,
        frame: &Frame,
    ) -> Result<(), TransmitReason> {
        match written {
            Ok(_) => {
                self.link_up = true;
                self.counters.transmitted += 1;
                self.counters.transmitted_bytes += frame.len() as u64;
                self.counters.transmitted_segmented +=
                    u64::from(frame.metadata.segmentation.is_some());
                Ok(())
            }
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => {
                self.counters.transmit_full += 1;
                Err(TransmitReason::Full)
            }
            Err(Errno::IO) => {
                self.link_up = false;
                self.counters.transmit_link_down += 1;
                Err(TransmitReason::Netif(NetifError::LinkDown))
            }
            Err(errno) => {
                self.counters.transmit_refused += 1;
                Err(TransmitReason::Netif(netif_error(errno)))
            }
        }
    }
}

/// What the kernel is told of a frame.
fn header_of(frame: &Frame) -> [u8; virtio_header::LENGTH] {
    VirtioHeader {
        checksum: match frame.metadata.checksum {
            Checksum::Unverified | Checksum::Verified => ChecksumState::Unknown,
            Checksum::Partial { start, offset } => ChecksumState::Needed { start, offset },
        },
        segmentation: match frame.metadata.segmentation {
            None => SegmentationState::None,
            Some(Segmentation {
                size, header_len, ..
            }) => SegmentationState::TcpV4 { size, header_len },
        },
    }
    .emit()
}
