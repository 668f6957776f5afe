//! What a domain asks of Xen.

use core::ptr::NonNull;

use crate::abi::grant::GrantEntry;
use crate::abi::parameter::Parameter;
use crate::abi::shared_info::SharedInfo;
use crate::abi::shutdown::{ShutdownReason, Suspended};
use crate::abi::{DomainId, FrameNumber, PAGE_SIZE, PortNumber, XenError};

/// A hypervisor, as one domain with one virtual processor sees it: one method for each hypercall that the crate uses, and
/// the pages that Xen shares.
///
/// The real one is an implementation for images; the simulated one, for a host, another. Nothing here decides
/// anything: what the calls are for is the business of the modules above.
///
/// # Safety
///
/// An implementation promises:
///
/// - Another domain reaches this one's memory only through an entry of [`grant_entries`](Self::grant_entries) that permits
///   it, for the frame, the domain and the access that the entry says, or through the pages of
///   [`store_page`](Self::store_page) and [`console_page`](Self::console_page). It begins to after
///   the entry's flags were written with [`PERMIT_ACCESS`](crate::abi::grant::GrantFlags::PERMIT_ACCESS), and has ended when
///   a compare-and-swap replaces flags without `READING` and `WRITING` by zero: what it wrote is visible then.
/// - [`frame_number`](Self::frame_number) gives the frame that holds the address's byte, for as long as the program runs.
/// - The [`SharedPage`]s are what their type says.
pub unsafe trait Hypervisor: 'static {
    /// Sleeps until one of `ports` has an event pending, or until the system time `until` in nanoseconds (`None`: without
    /// a limit). `SCHEDOP_poll`; at most 128 ports. An event that is pending already ends it at once; it may end for no reason.
    ///
    /// # Errors
    ///
    /// Xen's.
    fn poll(&self, ports: &[PortNumber], until: Option<u64>) -> Result<(), XenError>;

    /// Ends the domain: `SCHEDOP_shutdown`. A real hypervisor doesn't return from it, a simulated one does.
    fn shutdown(&self, reason: ShutdownReason);

    /// Suspends the domain: `SCHEDOP_shutdown` with `SHUTDOWN_suspend`.
    ///
    /// After [`Suspended::Resumed`] nothing may be called before [`restore`](Self::restore).
    ///
    /// # Errors
    ///
    /// Xen's; the domain was not suspended.
    fn suspend(&self) -> Result<Suspended, XenError>;

    /// After a suspension that ended in a new domain: the shared info page and the grant table's frames where they were
    /// before, and what hypercalls need. All mask bits are clear then, all grant entries zero, all ports unbound but the
    /// store's and the console's, which have new numbers.
    ///
    /// # Errors
    ///
    /// Xen's; the domain can't go on.
    fn restore(&self) -> Result<(), XenError>;

    /// The page that Xen and the domain share.
    fn shared_info(&self) -> &SharedInfo;

    /// The processor's time stamp counter.
    fn time_stamp_counter(&self) -> u64;

    /// A number from the processor's own source, RDSEED or else RDRAND. `None` where it has neither, or gives none now.
    fn hardware_random(&self) -> Option<u64>;

    /// `EVTCHNOP_alloc_unbound`: a port that `remote` may bind to.
    ///
    /// # Errors
    ///
    /// Xen's.
    fn allocate_unbound_port(&self, remote: DomainId) -> Result<PortNumber, XenError>;

    /// `EVTCHNOP_bind_interdomain`: a port that is bound to an unbound one of another domain.
    ///
    /// # Errors
    ///
    /// Xen's.
    fn bind_interdomain(
        &self,
        remote: DomainId,
        remote_port: PortNumber,
    ) -> Result<PortNumber, XenError>;

    /// `EVTCHNOP_close`.
    ///
    /// # Errors
    ///
    /// Xen's.
    fn close_port(&self, port: PortNumber) -> Result<(), XenError>;

    /// `EVTCHNOP_send`: an event for the other end.
    ///
    /// # Errors
    ///
    /// Xen's.
    fn notify(&self, port: PortNumber) -> Result<(), XenError>;

    /// `GNTTABOP_query_size`: how many frames the grant table may have.
    ///
    /// # Errors
    ///
    /// Xen's.
    fn maximum_grant_frames(&self) -> Result<u32, XenError>;

    /// The grant table's entries, of as many frames as are mapped: at least `frames`, if that can be done.
    ///
    /// # Errors
    ///
    /// Xen's; [`XenError::NoSpace`] when there is no room to map so many.
    ///
    /// # Safety
    ///
    /// The table is one, however often this is called, and whoever writes an entry's flags gives another domain a frame of ours.
    /// Of the entries behind the [reserved](crate::abi::grant::RESERVED_ENTRIES) ones the caller writes only
    ///
    /// - such as are zero: never begun, ended, or cleared by a resumption. It makes one valid only for a frame to whose bytes
    ///   nothing in this program refers, as `&[u8]` or the like, before the entry has ended; where the entry is
    ///   [`READ_ONLY`](crate::abi::grant::GrantFlags::READ_ONLY), which nothing writes before;
    /// - and such as it made valid itself, to end them: by a compare-and-swap that finds neither
    ///   [`READING`](crate::abi::grant::GrantFlags::READING) nor [`WRITING`](crate::abi::grant::GrantFlags::WRITING).
    ///
    /// Reading them asks for nothing. The reserved entries are the toolstack's.
    unsafe fn grant_entries(&self, frames: u32) -> Result<&[GrantEntry], XenError>;

    /// The frame that holds the byte at `address`, which is one of the domain's own RAM. `None` of any other address.
    fn frame_number(&self, address: NonNull<u8>) -> Option<FrameNumber>;

    /// `HVMOP_get_param`.
    ///
    /// # Errors
    ///
    /// Xen's.
    fn parameter(&self, parameter: Parameter) -> Result<u64, XenError>;

    /// `HVMOP_set_param`.
    ///
    /// # Errors
    ///
    /// Xen's.
    fn set_parameter(&self, parameter: Parameter, value: u64) -> Result<(), XenError>;

    /// Xenstore's ring.
    ///
    /// # Errors
    ///
    /// Xen's; [`XenError::NotFound`] where the toolstack made none.
    fn store_page(&self) -> Result<SharedPage, XenError>;

    /// The console's ring.
    ///
    /// # Errors
    ///
    /// Xen's; [`XenError::NotFound`] where the toolstack made none.
    fn console_page(&self) -> Result<SharedPage, XenError>;

    /// Writes to Xen's own log: `HYPERVISOR_console_io`, which works before any driver and after a fault. Where Xen doesn't
    /// take it (a release build without `guest_loglvl`), it is lost.
    fn write_emergency_console(&self, bytes: &[u8]);
}

/// A page that another domain writes whenever it likes. Holding one proves that its [`PAGE_SIZE`] bytes are mapped for reading and
/// writing for the rest of the program, and that nothing in this program ever refers to them as `&[u8]` or the like;
/// it says nothing of what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedPage(NonNull<u8>);

impl SharedPage {
    /// The page at this address.
    ///
    /// # Safety
    ///
    /// `address` is a multiple of [`PAGE_SIZE`]; the page's bytes are valid for reads and writes for the rest of the
    /// program, and reached through atomics, volatile accesses and raw copies alone.
    pub const unsafe fn new(address: NonNull<u8>) -> Self {
        Self(address)
    }

    /// Where it begins. Every access through it is atomic or volatile, within [`PAGE_SIZE`] bytes.
    pub const fn address(self) -> NonNull<u8> {
        self.0
    }

    /// The same memory seen as a structure whose fields are all atomics or cells that are read by volatile copies.
    ///
    /// # Safety
    ///
    /// Every bit pattern is valid for `T`, and all of `T` may change while it is looked at: it consists of atomics and
    /// `UnsafeCell`s.
    pub const unsafe fn cast<T>(self) -> &'static T {
        const {
            assert!(size_of::<T>() <= PAGE_SIZE && align_of::<T>() <= PAGE_SIZE);
        }
        // SAFETY: the page is valid for the rest of the program (the type's invariant), aligned to its size and as long as
        // `T`; the caller says that shared references to `T` may see changes.
        unsafe { self.0.cast::<T>().as_ref() }
    }
}
