//! The least hypervisor that the modules' own tests need: what was asked is noted, what is answered is set by the test.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use crate::abi::grant::{ENTRIES_PER_FRAME, GrantEntry};
use crate::abi::parameter::Parameter;
use crate::abi::shared_info::SharedInfo;
use crate::abi::shutdown::{ShutdownReason, Suspended};
use crate::abi::{DomainId, FrameNumber, PAGE_SIZE, PortNumber, XenError};
use crate::hypervisor::{Hypervisor, SharedPage};

/// What a module asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Poll(Vec<u32>, Option<u64>),
    Offer(DomainId),
    Connect(DomainId, PortNumber),
    Close(PortNumber),
    Notify(PortNumber),
    Suspend,
    Restore,
}

pub(crate) struct TestHypervisor {
    shared_info: SharedInfo,
    pub(crate) calls: RefCell<Vec<Call>>,
    /// The next port that is made.
    pub(crate) next_port: Cell<u32>,
    /// What the next calls answer instead.
    pub(crate) refusal: Cell<Option<XenError>>,
    pub(crate) entries: &'static [GrantEntry],
    pub(crate) maximum_grant_frames: Cell<u32>,
    pub(crate) tsc: Cell<u64>,
    /// Added to the counter at each reading.
    pub(crate) tsc_step: Cell<u64>,
    /// The port that gets an event during the next poll.
    pub(crate) raised_in_poll: Cell<Option<u32>>,
    /// Numbers of the processor's source; empty: it gives none.
    pub(crate) random: RefCell<Vec<Option<u64>>>,
    pub(crate) outcome: Cell<Result<Suspended, XenError>>,
    /// Page and port of the store's ring, and of the console's.
    pub(crate) store: Cell<Option<(SharedPage, u32)>>,
    pub(crate) console: Cell<Option<(SharedPage, u32)>>,
    pub(crate) emergency: RefCell<Vec<u8>>,
}

impl TestHypervisor {
    pub(crate) fn leak() -> &'static Self {
        Self::with_grant_frames(4)
    }

    pub(crate) fn with_grant_frames(frames: u32) -> &'static Self {
        let entries: Vec<GrantEntry> = (0..frames as usize * ENTRIES_PER_FRAME)
            .map(|_| GrantEntry {
                flags: 0.into(),
                domain: 0.into(),
                frame: 0.into(),
            })
            .collect();
        Box::leak(Box::new(Self {
            shared_info: SharedInfo::new(),
            calls: RefCell::default(),
            next_port: Cell::new(1),
            refusal: Cell::new(None),
            entries: entries.leak(),
            maximum_grant_frames: Cell::new(frames),
            tsc: Cell::new(0),
            tsc_step: Cell::new(0),
            raised_in_poll: Cell::new(None),
            random: RefCell::default(),
            outcome: Cell::new(Ok(Suspended::Resumed)),
            store: Cell::new(None),
            console: Cell::new(None),
            emergency: RefCell::default(),
        }))
    }

    /// An event comes on a port.
    pub(crate) fn raise(&self, port: u32) {
        self.shared_info.event_pending[port as usize / 64]
            .fetch_or(1 << (port % 64), Ordering::Relaxed);
    }

    pub(crate) fn is_pending(&self, port: u32) -> bool {
        let word = self.shared_info.event_pending[port as usize / 64].load(Ordering::Relaxed);
        word & 1 << (port % 64) != 0
    }

    pub(crate) fn take_calls(&self) -> Vec<Call> {
        self.calls.take()
    }

    fn note(&self, call: Call) -> Result<(), XenError> {
        self.calls.borrow_mut().push(call);
        self.refusal.get().map_or(Ok(()), Err)
    }

    fn new_port(&self) -> PortNumber {
        PortNumber(self.next_port.replace(self.next_port.get().wrapping_add(1)))
    }
}

// SAFETY: no other domain exists but what tests play, and they reach memory by the entries alone; frames are counted by
// addresses, which don't move; the shared pages are a test's, which
// says what they are.
unsafe impl Hypervisor for TestHypervisor {
    fn poll(&self, ports: &[PortNumber], until: Option<u64>) -> Result<(), XenError> {
        if let Some(number) = self.raised_in_poll.take() {
            self.raise(number);
        }
        let ports = ports.iter().map(|port| port.0).collect();
        self.note(Call::Poll(ports, until))
    }

    fn shutdown(&self, _: ShutdownReason) {}

    fn suspend(&self) -> Result<Suspended, XenError> {
        self.note(Call::Suspend)?;
        let outcome = self.outcome.get();
        if outcome == Ok(Suspended::Resumed) {
            for (pending, mask) in self
                .shared_info
                .event_pending
                .iter()
                .zip(&self.shared_info.event_mask)
            {
                pending.store(0, Ordering::Relaxed);
                mask.store(0, Ordering::Relaxed);
            }
            for entry in self.entries {
                entry.flags.store(0, Ordering::Relaxed);
                entry.domain.store(0, Ordering::Relaxed);
                entry.frame.store(0, Ordering::Relaxed);
            }
        }
        outcome
    }

    fn restore(&self) -> Result<(), XenError> {
        self.note(Call::Restore)
    }

    fn shared_info(&self) -> &SharedInfo {
        &self.shared_info
    }

    fn time_stamp_counter(&self) -> u64 {
        let now = self.tsc.get();
        self.tsc.set(now.wrapping_add(self.tsc_step.get()));
        now
    }

    fn hardware_random(&self) -> Option<u64> {
        let mut random = self.random.borrow_mut();
        if random.is_empty() {
            None
        } else {
            random.remove(0)
        }
    }

    fn allocate_unbound_port(&self, remote: DomainId) -> Result<PortNumber, XenError> {
        self.note(Call::Offer(remote))?;
        Ok(self.new_port())
    }

    fn bind_interdomain(
        &self,
        remote: DomainId,
        remote_port: PortNumber,
    ) -> Result<PortNumber, XenError> {
        self.note(Call::Connect(remote, remote_port))?;
        Ok(self.new_port())
    }

    fn close_port(&self, port: PortNumber) -> Result<(), XenError> {
        self.note(Call::Close(port))
    }

    fn notify(&self, port: PortNumber) -> Result<(), XenError> {
        self.note(Call::Notify(port))
    }

    fn maximum_grant_frames(&self) -> Result<u32, XenError> {
        Ok(self.maximum_grant_frames.get())
    }

    unsafe fn grant_entries(&self, _: u32) -> Result<&[GrantEntry], XenError> {
        self.refusal.get().map_or(Ok(self.entries), Err)
    }

    fn frame_number(&self, address: NonNull<u8>) -> Option<FrameNumber> {
        let frame = address.addr().get() / PAGE_SIZE;
        // Below 2³², as a domain's are: the low bits tell a test's pages apart.
        Some(FrameNumber(frame as u64 & 0xFFFF_FFFF))
    }

    fn parameter(&self, parameter: Parameter) -> Result<u64, XenError> {
        let ring = match parameter {
            Parameter::StorePort => self.store.get(),
            Parameter::ConsolePort => self.console.get(),
            _ => None,
        };
        ring.map(|(_, port)| port.into()).ok_or(XenError::NotFound)
    }

    fn set_parameter(&self, _: Parameter, _: u64) -> Result<(), XenError> {
        Ok(())
    }

    fn store_page(&self) -> Result<SharedPage, XenError> {
        let ring = self.store.get().ok_or(XenError::NotFound)?;
        Ok(ring.0)
    }

    fn console_page(&self) -> Result<SharedPage, XenError> {
        let ring = self.console.get().ok_or(XenError::NotFound)?;
        Ok(ring.0)
    }

    fn write_emergency_console(&self, bytes: &[u8]) {
        self.emergency.borrow_mut().extend_from_slice(bytes);
    }
}
