//! What the toolstack and Xen tell a PVH domain, by number (hvm/params.h).

/// A parameter of a domain, for [`Hypervisor::parameter`](crate::Hypervisor::parameter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum Parameter {
    /// `HVM_PARAM_CALLBACK_IRQ`: how events interrupt the domain. Zero: they don't.
    CallbackInterrupt = 0,
    /// `HVM_PARAM_STORE_PFN`: the frame of xenstore's ring.
    StoreFrame = 1,
    /// `HVM_PARAM_STORE_EVTCHN`: the port of xenstore's ring.
    StorePort = 2,
    /// `HVM_PARAM_CONSOLE_PFN`: the frame of the console's ring.
    ConsoleFrame = 17,
    /// `HVM_PARAM_CONSOLE_EVTCHN`: the port of the console's ring.
    ConsolePort = 18,
}
