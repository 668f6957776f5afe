//! The real hypervisor.

pub(crate) mod cpu;
pub(crate) mod emergency;
mod hypercall;
mod window;

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::Hypervisor;
use crate::abi::grant::{ENTRIES_PER_FRAME, GrantEntry};
use crate::abi::parameter::Parameter;
use crate::abi::shared_info::SharedInfo;
use crate::abi::shutdown::{SHUTDOWN_SUSPEND, ShutdownReason, Suspended};
use crate::abi::{DomainId, FrameNumber, PortNumber, XenError};
use crate::boot::AddressSpace;
use crate::hypervisor::SharedPage;

use hypercall::*;

pub(crate) use cpu::Cpu;
pub use window::{ForeignPage, ForeignPages};
pub(crate) use window::{Window, WindowPage};

/// The most ports that one poll lists: Xen's own bound (`do_poll`).
const MAXIMUM_POLL_PORTS: usize = 128;
/// `HVM_PARAM_CALLBACK_TYPE_GSI` (hvm/params.h), GSI 1: see [`NativeHypervisor::new`].
const UNDELIVERABLE_CALLBACK: u64 = 1;

/// Frames of the grant table that are mapped. Not in the hypervisor itself, which is sealed.
static GRANT_FRAMES: AtomicU32 = AtomicU32::new(0);

/// Xen, as an image has it: by hypercalls and by the pages in the window of foreign pages. [`Boot`](crate::boot::Boot)
/// has it.
#[derive(Debug)]
pub struct NativeHypervisor {
    cpu: Cpu,
    pub(crate) space: AddressSpace,
    pub(crate) window: Window,
}

impl NativeHypervisor {
    /// The hypervisor, with shared info mapped. `window` is where foreign pages appear.
    ///
    /// # Errors
    ///
    /// Xen's.
    ///
    /// # Safety
    ///
    /// In an image, on Xen, once. `space` describes the address space, and the pages of `window` are mapped there to
    /// its frames for the rest of the program and used for nothing else.
    pub(crate) unsafe fn new(
        cpu: Cpu,
        space: AddressSpace,
        window: Window,
    ) -> Result<Self, XenError> {
        let this = Self { cpu, space, window };
        this.map_foreign(XENMAPSPACE_SHARED_INFO, 0, WindowPage::SharedInfo)?;
        // The toolstack tells a cancelled suspension to such a domain, by the return value 1, only if this parameter
        // isn't zero: it takes that as the sign of drivers that know of Xen (`modify_returncode` in
        // tools/libs/guest/xg_resume.c). Events never interrupt us, so name a line of an interrupt controller that a
        // PVH domain doesn't have: Xen keeps the number and sets up nothing (`hvm_set_callback_via`). It also takes
        // this as the moment to see that we are a 64-bit domain (`hvm_latch_shinfo_size`).
        if this.parameter(Parameter::CallbackInterrupt)? == 0 {
            this.set_parameter(Parameter::CallbackInterrupt, UNDELIVERABLE_CALLBACK)?;
        }
        Ok(this)
    }

    /// `XENMEM_add_to_physmap`: a page of Xen's appears in the window.
    fn map_foreign(&self, space: u32, index: u32, page: WindowPage) -> Result<(), XenError> {
        let mut argument = AddToPhysmap {
            domain: DomainId::SELF,
            size: 0,
            space,
            index: index.into(),
            frame: self.window.frame(page).0,
        };
        // SAFETY: on Xen (promised to `new`). The frame is one of the window's, which nothing else uses.
        unsafe { self.operate(Hypercall::Memory, XENMEM_ADD_TO_PHYSMAP, &mut argument) }?;
        Ok(())
    }

    /// # Safety
    ///
    /// `argument` is the structure that the operation takes, and what the operation does to the domain's memory is
    /// right.
    unsafe fn operate<T>(
        &self,
        number: Hypercall,
        operation: u64,
        argument: &mut T,
    ) -> Result<u64, XenError> {
        // SAFETY: on Xen at privilege 0 (promised to `new`); the rest is the caller's promise.
        unsafe { self.cpu.call.operate(number, operation, argument) }
    }

    /// The page of a ring that the toolstack made, if its frame is the one that was mapped at the start.
    fn toolstack_page(
        &self,
        parameter: Parameter,
        page: WindowPage,
    ) -> Result<SharedPage, XenError> {
        let frame = self.parameter(parameter)?;
        let mapped = self
            .window
            .toolstack_frame(page)
            .ok_or(XenError::NotFound)?;
        if mapped != FrameNumber(frame) {
            return Err(XenError::BadAddress);
        }
        // SAFETY: the page is mapped in the window for the rest of the program (promised to `new`); nothing refers to
        // its bytes.
        Ok(unsafe { SharedPage::new(self.window.address(page)) })
    }
}

/// `HVMOP_get_param`. In an image on Xen.
pub(crate) fn parameter(cpu: Cpu, parameter: Parameter) -> Result<u64, XenError> {
    let mut argument = HvmParameter {
        domain: DomainId::SELF,
        index: parameter as u32,
        value: 0,
    };
    // SAFETY: the structure is the operation's, which changes nothing else.
    unsafe {
        cpu.call
            .operate(Hypercall::Hvm, HVMOP_GET_PARAM, &mut argument)
    }?;
    Ok(argument.value)
}

// SAFETY: Xen lets another domain at this one's memory only through the grant table, whose entries are mapped in the
// window, and the toolstack's two rings. `frame_number` answers from the tables that are mapped, which don't change.
unsafe impl Hypervisor for NativeHypervisor {
    fn poll(&self, ports: &[PortNumber], until: Option<u64>) -> Result<(), XenError> {
        if ports.len() > MAXIMUM_POLL_PORTS {
            return Err(XenError::Invalid);
        }
        let mut argument = SchedulerPoll {
            ports: ports.as_ptr() as u64,
            count: ports.len() as u32,
            // Zero is no limit; a time long ago is 1.
            timeout: until.map_or(0, |until| until.max(1)),
        };
        // SAFETY: `ports` points to `count` numbers, which Xen reads.
        unsafe { self.operate(Hypercall::Scheduler, SCHEDOP_POLL, &mut argument) }?;
        Ok(())
    }

    fn shutdown(&self, reason: ShutdownReason) {
        emergency::end(reason)
    }

    fn suspend(&self) -> Result<Suspended, XenError> {
        let mut reason = SHUTDOWN_SUSPEND;
        // SAFETY: the structure is one 32-bit reason. The domain's memory is the same when it goes on, but for the
        // pages of Xen's, which are atomics, and the rings, which are never referred to.
        let answer = unsafe { self.operate(Hypercall::Scheduler, SCHEDOP_SHUTDOWN, &mut reason) }?;
        Ok(if answer == 0 {
            Suspended::Resumed
        } else {
            Suspended::Cancelled
        })
    }

    fn restore(&self) -> Result<(), XenError> {
        self.map_foreign(XENMAPSPACE_SHARED_INFO, 0, WindowPage::SharedInfo)?;
        // Nothing of it was there before: what this says is written once more.
        self.set_parameter(Parameter::CallbackInterrupt, UNDELIVERABLE_CALLBACK)?;
        // From the last to the first: the table grows once.
        for frame in (0..GRANT_FRAMES.load(Ordering::Relaxed)).rev() {
            self.map_foreign(XENMAPSPACE_GRANT_TABLE, frame, WindowPage::Grant(frame))?;
        }
        Ok(())
    }

    fn shared_info(&self) -> &SharedInfo {
        // SAFETY: the page is mapped for the rest of the program; the structure is made of atomics and fits it.
        unsafe { self.window.address(WindowPage::SharedInfo).cast().as_ref() }
    }

    fn time_stamp_counter(&self) -> u64 {
        cpu::time_stamp_counter()
    }

    fn hardware_random(&self) -> Option<u64> {
        self.cpu.random()
    }

    fn allocate_unbound_port(&self, remote: DomainId) -> Result<PortNumber, XenError> {
        let mut argument = AllocateUnbound {
            domain: DomainId::SELF,
            remote,
            port: 0,
        };
        // SAFETY: the structure is the operation's.
        unsafe {
            self.operate(
                Hypercall::EventChannel,
                EVTCHNOP_ALLOC_UNBOUND,
                &mut argument,
            )
        }?;
        Ok(PortNumber(argument.port))
    }

    fn bind_interdomain(
        &self,
        remote: DomainId,
        remote_port: PortNumber,
    ) -> Result<PortNumber, XenError> {
        let mut argument = BindInterdomain {
            remote,
            remote_port: remote_port.0,
            local_port: 0,
        };
        // SAFETY: the structure is the operation's.
        unsafe {
            self.operate(
                Hypercall::EventChannel,
                EVTCHNOP_BIND_INTERDOMAIN,
                &mut argument,
            )
        }?;
        Ok(PortNumber(argument.local_port))
    }

    fn close_port(&self, port: PortNumber) -> Result<(), XenError> {
        let mut argument = port.0;
        // SAFETY: `struct evtchn_close` is one 32-bit port.
        unsafe { self.operate(Hypercall::EventChannel, EVTCHNOP_CLOSE, &mut argument) }?;
        Ok(())
    }

    fn notify(&self, port: PortNumber) -> Result<(), XenError> {
        let mut argument = port.0;
        // SAFETY: `struct evtchn_send` is one 32-bit port.
        unsafe { self.operate(Hypercall::EventChannel, EVTCHNOP_SEND, &mut argument) }?;
        Ok(())
    }

    fn maximum_grant_frames(&self) -> Result<u32, XenError> {
        let mut argument = GrantTableSize {
            domain: DomainId::SELF,
            frames: 0,
            maximum_frames: 0,
            status: 0,
        };
        let arguments = [GNTTABOP_QUERY_SIZE, &raw mut argument as u64, 1];
        // SAFETY: the structure is the operation's, and there is one of it.
        unsafe { self.cpu.call.call(Hypercall::GrantTable, arguments) }?;
        // `GNTST_okay`.
        if argument.status != 0 {
            return Err(XenError::Invalid);
        }
        Ok(argument.maximum_frames)
    }

    unsafe fn grant_entries(&self, frames: u32) -> Result<&[GrantEntry], XenError> {
        if frames > Window::GRANT_FRAMES {
            return Err(XenError::NoSpace);
        }
        let mapped = GRANT_FRAMES.load(Ordering::Relaxed);
        // From the last to the first: the table grows once.
        for frame in (mapped..frames).rev() {
            self.map_foreign(XENMAPSPACE_GRANT_TABLE, frame, WindowPage::Grant(frame))?;
        }
        let frames = frames.max(mapped);
        GRANT_FRAMES.store(frames, Ordering::Relaxed);
        let address = self
            .window
            .address(WindowPage::Grant(0))
            .cast::<GrantEntry>();
        let count = frames as usize * ENTRIES_PER_FRAME;
        // SAFETY: the pages of `frames` frames lie one behind the other and are mapped for the rest of the program; an
        // entry is made of atomics.
        Ok(unsafe { NonNull::slice_from_raw_parts(address, count).as_ref() })
    }

    fn frame_number(&self, address: NonNull<u8>) -> Option<FrameNumber> {
        self.space.frame_number(address.addr().get() as u64)
    }

    fn parameter(&self, parameter: Parameter) -> Result<u64, XenError> {
        self::parameter(self.cpu, parameter)
    }

    fn set_parameter(&self, parameter: Parameter, value: u64) -> Result<(), XenError> {
        let mut argument = HvmParameter {
            domain: DomainId::SELF,
            index: parameter as u32,
            value,
        };
        // SAFETY: the structure is the operation's, and none of the parameters changes the domain's memory.
        unsafe { self.operate(Hypercall::Hvm, HVMOP_SET_PARAM, &mut argument) }?;
        Ok(())
    }

    fn store_page(&self) -> Result<SharedPage, XenError> {
        self.toolstack_page(Parameter::StoreFrame, WindowPage::Store)
    }

    fn console_page(&self) -> Result<SharedPage, XenError> {
        self.toolstack_page(Parameter::ConsoleFrame, WindowPage::Console)
    }

    fn write_emergency_console(&self, bytes: &[u8]) {
        emergency::write_by(Some(self.cpu.call), bytes);
    }
}
