//! Packet captures: what passes an interface, as a pcap file.

use alloc::vec::Vec;
use core::task::{Context, Poll};
use core::time::Duration;

use crate::frame::Frame;
use crate::mac::MacAddress;
use crate::netif::{Netif, NetifError, Offloads, TransmitError};
use crate::time::{Clock, Instant};

/// The file's first four bytes: timestamps are in nanoseconds (draft-ietf-opsawg-pcap, section 4).
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const VERSION_MAJOR: u16 = 2;
const VERSION_MINOR: u16 = 4;
/// LINKTYPE_ETHERNET (draft-ietf-opsawg-pcaplinktype).
const LINKTYPE_ETHERNET: u32 = 1;
/// The most bytes of a frame that are captured by default: more than any has.
const SNAPLEN: u32 = 262_144;

/// Where the bytes of a capture go.
pub trait CaptureSink {
    /// Why they don't.
    type Error;

    /// Takes all of `bytes`: the file's header, then one whole record a call.
    ///
    /// # Errors
    ///
    /// Whatever the sink says; the capture ends then, since part of a record may have been written.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
}

impl CaptureSink for Vec<u8> {
    type Error = core::convert::Infallible;

    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

impl<S: CaptureSink + ?Sized> CaptureSink for &mut S {
    type Error = S::Error;

    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        (**self).write(bytes)
    }
}

/// Any [`std::io::Write`] as a sink.
#[cfg(any(feature = "std", test))]
#[derive(Debug)]
pub struct IoSink<W>(pub W);

#[cfg(any(feature = "std", test))]
impl<W: std::io::Write> CaptureSink for IoSink<W> {
    type Error = std::io::Error;

    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.write_all(bytes)
    }
}

/// An interface that writes down what passes it, received and transmitted, in the classic pcap format with nanoseconds.
///
/// Timestamps are the clock's time of day, or, where it knows none, its monotonic time. A sink that fails ends the
/// capture, never the interface. Checksums that a device completes are captured as they are: incomplete.
///
/// ```no_run
/// # #[cfg(feature = "std")]
/// # fn with(netif: impl mirage_core::Netif, clock: impl mirage_core::Clock) -> std::io::Result<()> {
/// use mirage_core::doubles::{Capture, IoSink};
///
/// let file = std::fs::File::create("frames.pcap")?;
/// let netif = Capture::new(netif, IoSink(file), clock);
/// # let _ = netif;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Capture<N, S, C> {
    netif: N,
    sink: S,
    clock: C,
    snaplen: u32,
    record: Vec<u8>,
    counters: CaptureCounters,
}

/// What became of the frames that passed a [`Capture`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureCounters {
    /// Frames written.
    pub captured: u64,
    /// Frames not written, as the sink had failed.
    pub lost: u64,
    /// Whether the sink failed.
    pub failed: bool,
}

impl<N: Netif, S: CaptureSink, C: Clock> Capture<N, S, C> {
    /// Captures what passes `netif`, whole. Writes the file's header.
    pub fn new(netif: N, sink: S, clock: C) -> Self {
        Self::with_snaplen(netif, sink, clock, SNAPLEN)
    }

    /// As [`new`](Self::new), but at most `snaplen` bytes of each frame.
    pub fn with_snaplen(netif: N, sink: S, clock: C, snaplen: u32) -> Self {
        let counters = CaptureCounters::default();
        let mut capture = Self {
            netif,
            sink,
            clock,
            snaplen,
            record: Vec::new(),
            counters,
        };
        capture
            .record
            .extend_from_slice(&MAGIC_NANOSECONDS.to_le_bytes());
        capture
            .record
            .extend_from_slice(&VERSION_MAJOR.to_le_bytes());
        capture
            .record
            .extend_from_slice(&VERSION_MINOR.to_le_bytes());
        // Two reserved fields: once the time zone and the accuracy.
        capture.record.extend_from_slice(&[0; 8]);
        capture.record.extend_from_slice(&snaplen.to_le_bytes());
        capture
            .record
            .extend_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
        capture.counters.failed = capture.sink.write(&capture.record).is_err();
        capture
    }

    /// What became of the frames so far.
    pub fn counters(&self) -> CaptureCounters {
        self.counters
    }

    /// The interface.
    pub fn get_ref(&self) -> &N {
        &self.netif
    }

    /// Ends the capture: the interface and the sink.
    pub fn into_parts(self) -> (N, S) {
        (self.netif, self.sink)
    }

    /// Makes the record of a frame (draft-ietf-opsawg-pcap, section 5).
    fn prepare(&mut self, frame: &Frame) {
        let since_start = self.clock.now().saturating_duration_since(Instant::ZERO);
        let time = self.clock.wall().unwrap_or(since_start);
        let original = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let captured = original.min(self.snaplen);
        self.record.clear();
        self.record.extend_from_slice(&seconds(time).to_le_bytes());
        self.record
            .extend_from_slice(&time.subsec_nanos().to_le_bytes());
        self.record.extend_from_slice(&captured.to_le_bytes());
        self.record.extend_from_slice(&original.to_le_bytes());
        let header = self.record.len();
        self.record.resize(header + captured as usize, 0);
        frame.copy_to_slice(0, &mut self.record[header..]);
    }

    fn write(&mut self) {
        if self.counters.failed || self.sink.write(&self.record).is_err() {
            self.counters.failed = true;
            self.counters.lost += 1;
        } else {
            self.counters.captured += 1;
        }
    }
}

impl<N: Netif, S: CaptureSink, C: Clock> Netif for Capture<N, S, C> {
    fn mac(&self) -> MacAddress {
        self.netif.mac()
    }

    fn mtu(&self) -> u16 {
        self.netif.mtu()
    }

    fn offloads(&self) -> Offloads {
        self.netif.offloads()
    }

    fn link_up(&self) -> bool {
        self.netif.link_up()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, NetifError>> {
        let received = self.netif.poll_receive(cx);
        if let Poll::Ready(Ok(frame)) = &received {
            self.prepare(frame);
            self.write();
        }
        received
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetifError>> {
        self.netif.poll_ready(cx)
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), TransmitError> {
        // The frame is the device's afterwards: its record is made before, and written if the device took it.
        self.prepare(&frame);
        self.netif.transmit(frame)?;
        self.write();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), NetifError> {
        self.netif.flush()
    }
}

/// The format has 32 bits for them, until 2106.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
