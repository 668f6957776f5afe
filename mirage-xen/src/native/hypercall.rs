//! Hypercalls: numbers, arguments and the instruction.
//!
//! The instruction is issued directly: Xen's hypercall page holds nothing else for such a domain (`hvm_hypercall_page`),
//! so there is no page that must be executable and filled again after a resume.

use core::arch::asm;

use super::cpu::HypercallInstruction;
use crate::abi::{DomainId, XenError};

/// `__HYPERVISOR_memory_op` and so on (xen.h).
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(super) enum Hypercall {
    Memory = 12,
    ConsoleIo = 18,
    GrantTable = 20,
    Scheduler = 29,
    EventChannel = 32,
    Hvm = 34,
}

/// `XENMEM_add_to_physmap` (memory.h).
pub(super) const XENMEM_ADD_TO_PHYSMAP: u64 = 7;
/// `XENMAPSPACE_shared_info` (memory.h).
pub(super) const XENMAPSPACE_SHARED_INFO: u32 = 0;
/// `XENMAPSPACE_grant_table` (memory.h).
pub(super) const XENMAPSPACE_GRANT_TABLE: u32 = 1;
/// `CONSOLEIO_write` (xen.h).
pub(super) const CONSOLEIO_WRITE: u64 = 0;
/// `GNTTABOP_query_size` (grant_table.h).
pub(super) const GNTTABOP_QUERY_SIZE: u64 = 6;
/// `SCHEDOP_shutdown` (sched.h).
pub(super) const SCHEDOP_SHUTDOWN: u64 = 2;
/// `SCHEDOP_poll` (sched.h).
pub(super) const SCHEDOP_POLL: u64 = 3;
/// `EVTCHNOP_bind_interdomain` (event_channel.h).
pub(super) const EVTCHNOP_BIND_INTERDOMAIN: u64 = 0;
/// `EVTCHNOP_close` (event_channel.h).
pub(super) const EVTCHNOP_CLOSE: u64 = 3;
/// `EVTCHNOP_send` (event_channel.h).
pub(super) const EVTCHNOP_SEND: u64 = 4;
/// `EVTCHNOP_alloc_unbound` (event_channel.h).
pub(super) const EVTCHNOP_ALLOC_UNBOUND: u64 = 6;
/// `HVMOP_set_param` (hvm/hvm_op.h).
pub(super) const HVMOP_SET_PARAM: u64 = 0;
/// `HVMOP_get_param` (hvm/hvm_op.h).
pub(super) const HVMOP_GET_PARAM: u64 = 1;

/// `struct xen_add_to_physmap` (memory.h).
#[repr(C)]
pub(super) struct AddToPhysmap {
    pub(super) domain: DomainId,
    pub(super) size: u16,
    pub(super) space: u32,
    pub(super) index: u64,
    pub(super) frame: u64,
}

/// `struct gnttab_query_size` (grant_table.h).
#[repr(C)]
pub(super) struct GrantTableSize {
    pub(super) domain: DomainId,
    pub(super) frames: u32,
    pub(super) maximum_frames: u32,
    pub(super) status: i16,
}

/// `struct sched_poll` (sched.h).
#[repr(C)]
pub(super) struct SchedulerPoll {
    pub(super) ports: u64,
    pub(super) count: u32,
    pub(super) timeout: u64,
}

/// `struct evtchn_alloc_unbound` (event_channel.h).
#[repr(C)]
pub(super) struct AllocateUnbound {
    pub(super) domain: DomainId,
    pub(super) remote: DomainId,
    pub(super) port: u32,
}

/// `struct evtchn_bind_interdomain` (event_channel.h).
#[repr(C)]
pub(super) struct BindInterdomain {
    pub(super) remote: DomainId,
    pub(super) remote_port: u32,
    pub(super) local_port: u32,
}

/// `struct xen_hvm_param` (hvm/hvm_op.h).
#[repr(C)]
pub(super) struct HvmParameter {
    pub(super) domain: DomainId,
    pub(super) index: u32,
    pub(super) value: u64,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<AddToPhysmap>() == 24 && offset_of!(AddToPhysmap, space) == 4);
    assert!(offset_of!(AddToPhysmap, frame) == 16);
    assert!(size_of::<GrantTableSize>() == 16 && offset_of!(GrantTableSize, status) == 12);
    assert!(size_of::<SchedulerPoll>() == 24 && offset_of!(SchedulerPoll, timeout) == 16);
    assert!(size_of::<AllocateUnbound>() == 8 && offset_of!(AllocateUnbound, port) == 4);
    assert!(size_of::<BindInterdomain>() == 12 && offset_of!(BindInterdomain, local_port) == 8);
    assert!(size_of::<HvmParameter>() == 16 && offset_of!(HvmParameter, value) == 8);
};

impl HypercallInstruction {
    /// Calls Xen with up to three arguments (arch-x86/xen-x86_64.h): `rdi`, `rsi`, `rdx`, which it may change.
    ///
    /// # Errors
    ///
    /// Xen's.
    ///
    /// # Safety
    ///
    /// On Xen alone, at privilege 0. The arguments are as the hypercall says; what they point to is valid for what Xen
    /// reads and writes there.
    pub(super) unsafe fn call(
        self,
        number: Hypercall,
        arguments: [u64; 3],
    ) -> Result<u64, XenError> {
        let result: i64;
        let [first, second, third] = arguments;
        match self {
            // SAFETY: Xen changes `rax`, the arguments' registers and the memory that they point to, nothing else; it
            // is the caller's promise that this is right.
            Self::Vmcall => unsafe {
                asm!("vmcall", inlateout("rax") number as u64 => result, inlateout("rdi") first => _,
                    inlateout("rsi") second => _, inlateout("rdx") third => _, options(nostack));
            },
            // SAFETY: as above.
            Self::Vmmcall => unsafe {
                asm!("vmmcall", inlateout("rax") number as u64 => result, inlateout("rdi") first => _,
                    inlateout("rsi") second => _, inlateout("rdx") third => _, options(nostack));
            },
        }
        XenError::check(result)
    }

    /// [`call`](Self::call) with an operation and a structure.
    ///
    /// # Errors
    ///
    /// Xen's.
    ///
    /// # Safety
    ///
    /// On Xen alone, at privilege 0. `argument` is the structure that the operation takes.
    pub(super) unsafe fn operate<T>(
        self,
        number: Hypercall,
        operation: u64,
        argument: &mut T,
    ) -> Result<u64, XenError> {
        // SAFETY: the structure is valid for reads and writes while this runs; the rest is the caller's promise.
        unsafe { self.call(number, [operation, &raw mut *argument as u64, 0]) }
    }
}
