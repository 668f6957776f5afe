//! Structures and numbers of Xen's public headers (`xen/include/public`, x86-64), as this crate uses them.
//!
//! | module | header |
//! | --- | --- |
//! | [`shared_info`] | `xen.h`, `arch-x86/xen.h`, `arch-x86/xen-x86_64.h` |
//! | [`console`] | `io/console.h` |
//! | [`grant`] | `grant_table.h`, version 1 |
//! | [`netif`] | `io/netif.h`: the network rings' slots |
//! | [`parameter`] | `hvm/params.h` |
//! | [`shutdown`] | `sched.h` |
//! | [`start_info`] | `arch-x86/hvm/start_info.h` |
//! | [`xs_wire`] | `io/xs_wire.h` |
//!
//! What another domain or Xen writes while we look is made of atomics; everything else is copied out of its page once.

pub mod console;
mod errno;
pub mod grant;
pub mod netif;
pub mod parameter;
pub mod shared_info;
pub mod shutdown;
pub mod start_info;
pub mod xs_wire;

use core::fmt;

pub use errno::XenError;

/// Bytes of a page, and of a frame: `XEN_PAGE_SIZE`.
pub const PAGE_SIZE: usize = 4_096;

/// A domain's number (`domid_t`, xen.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct DomainId(pub u16);

impl DomainId {
    /// The control domain.
    pub const DOM0: Self = Self(0);
    /// `DOMID_SELF`: the calling domain, in a hypercall's argument.
    pub const SELF: Self = Self(0x7FF0);
    /// `DOMID_FIRST_RESERVED`: no domain has this number or a larger one.
    pub const FIRST_RESERVED: Self = Self(0x7FF0);
}

impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "domain {}", self.0)
    }
}

/// The number of an event channel's local port (`evtchn_port_t`, event_channel.h). Zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct PortNumber(pub u32);

impl fmt::Display for PortNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}", self.0)
    }
}

/// The number of an entry of a grant table (`grant_ref_t`, grant_table.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct GrantReference(pub u32);

/// The number of one of the domain's own frames (`xen_pfn_t`): its physical address divided by [`PAGE_SIZE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct FrameNumber(pub u64);
