//! The page that Xen and a domain share (xen.h, arch-x86/xen.h): event channels' bits, and the time.

use core::sync::atomic::{AtomicI8, AtomicU8, AtomicU32, AtomicU64};

/// `EVTCHN_2L_NR_CHANNELS`: ports that the two-level ABI has on a 64-bit machine.
pub const PORTS: usize = 64 * 64;
/// `XEN_LEGACY_MAX_VCPUS`.
pub const LEGACY_MAX_VCPUS: usize = 32;

/// `struct shared_info`. All of it changes while it is looked at.
#[derive(Debug)]
#[repr(C)]
pub struct SharedInfo {
    /// The first virtual processors'; ours is the first of them.
    pub vcpu_info: [VcpuInfo; LEGACY_MAX_VCPUS],
    /// A bit for each port on which an event came.
    pub event_pending: [AtomicU64; 64],
    /// A bit for each port whose events raise no interrupt.
    pub event_mask: [AtomicU64; 64],
    /// Odd while the wall clock is being written (`wc_version`).
    pub wall_clock_version: AtomicU32,
    /// Seconds since 1970 at system time zero, the low 32 bits (`wc_sec`).
    pub wall_clock_seconds: AtomicU32,
    /// Nanoseconds in addition, below 10⁹ (`wc_nsec`).
    pub wall_clock_nanoseconds: AtomicU32,
    /// The high 32 bits of the seconds (`wc_sec_hi`).
    pub wall_clock_seconds_high: AtomicU32,
}

/// `struct vcpu_info`.
#[derive(Debug)]
#[repr(C)]
pub struct VcpuInfo {
    /// Not zero: an event came.
    pub upcall_pending: AtomicU8,
    padding: [AtomicU8; 7],
    /// Which words of `event_pending` to look at. Never looked at here: all bits are masked, so Xen doesn't keep it.
    pub pending_selector: AtomicU64,
    /// `struct arch_vcpu_info`: a page fault's address, for PV domains.
    architecture: [AtomicU64; 2],
    /// The virtual processor's time.
    pub time: VcpuTimeInfo,
}

/// `struct vcpu_time_info`.
#[derive(Debug)]
#[repr(C)]
pub struct VcpuTimeInfo {
    /// Odd while the others are being written.
    pub version: AtomicU32,
    padding: AtomicU32,
    /// The time stamp counter at [`system_time`](Self::system_time).
    pub tsc_timestamp: AtomicU64,
    /// Nanoseconds since the domain's (or the machine's) start.
    pub system_time: AtomicU64,
    /// Nanoseconds of a tick (shifted by [`tsc_shift`](Self::tsc_shift)), times 2³².
    pub tsc_to_system_multiplier: AtomicU32,
    /// By how much a number of ticks is shifted left (right, where negative) before it is multiplied.
    pub tsc_shift: AtomicI8,
    /// `XEN_PVCLOCK_*`.
    pub flags: AtomicU8,
    padding_at_end: [AtomicU8; 2],
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<VcpuTimeInfo>() == 32);
    assert!(offset_of!(VcpuTimeInfo, tsc_timestamp) == 8);
    assert!(offset_of!(VcpuTimeInfo, system_time) == 16);
    assert!(offset_of!(VcpuTimeInfo, tsc_to_system_multiplier) == 24);
    assert!(offset_of!(VcpuTimeInfo, tsc_shift) == 28);
    assert!(offset_of!(VcpuTimeInfo, flags) == 29);
    assert!(size_of::<VcpuInfo>() == 64);
    assert!(offset_of!(VcpuInfo, pending_selector) == 8);
    assert!(offset_of!(VcpuInfo, time) == 32);
    assert!(offset_of!(SharedInfo, event_pending) == 2048);
    assert!(offset_of!(SharedInfo, event_mask) == 2048 + 512);
    assert!(offset_of!(SharedInfo, wall_clock_version) == 2048 + 1024);
    assert!(offset_of!(SharedInfo, wall_clock_seconds) == 2048 + 1028);
    assert!(offset_of!(SharedInfo, wall_clock_nanoseconds) == 2048 + 1032);
    assert!(offset_of!(SharedInfo, wall_clock_seconds_high) == 2048 + 1036);
    assert!(size_of::<SharedInfo>() <= super::PAGE_SIZE);
};

impl SharedInfo {
    /// Zeros, as a new domain's page is.
    pub const fn new() -> Self {
        Self {
            vcpu_info: [const { VcpuInfo::new() }; LEGACY_MAX_VCPUS],
            event_pending: [const { AtomicU64::new(0) }; 64],
            event_mask: [const { AtomicU64::new(0) }; 64],
            wall_clock_version: AtomicU32::new(0),
            wall_clock_seconds: AtomicU32::new(0),
            wall_clock_nanoseconds: AtomicU32::new(0),
            wall_clock_seconds_high: AtomicU32::new(0),
        }
    }
}

impl Default for SharedInfo {
    fn default() -> Self {
        Self::new()
    }
}

impl VcpuInfo {
    const fn new() -> Self {
        Self {
            upcall_pending: AtomicU8::new(0),
            padding: [const { AtomicU8::new(0) }; 7],
            pending_selector: AtomicU64::new(0),
            architecture: [const { AtomicU64::new(0) }; 2],
            time: VcpuTimeInfo {
                version: AtomicU32::new(0),
                padding: AtomicU32::new(0),
                tsc_timestamp: AtomicU64::new(0),
                system_time: AtomicU64::new(0),
                tsc_to_system_multiplier: AtomicU32::new(0),
                tsc_shift: AtomicI8::new(0),
                flags: AtomicU8::new(0),
                padding_at_end: [const { AtomicU8::new(0) }; 2],
            },
        }
    }
}
