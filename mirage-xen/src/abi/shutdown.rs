//! Why a domain stops running (sched.h).

/// The reason that a domain gives when it ends itself (`SHUTDOWN_*`). Suspension is not among them: it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum ShutdownReason {
    /// `SHUTDOWN_poweroff`: it ended as it should.
    PowerOff = 0,
    /// `SHUTDOWN_reboot`: it wants to be started again.
    Reboot = 1,
    /// `SHUTDOWN_crash`: it found itself in a state that it can't go on from.
    Crash = 3,
}

/// `SHUTDOWN_suspend`.
pub const SHUTDOWN_SUSPEND: u32 = 2;

/// How a suspension ended, as `SCHEDOP_shutdown` with `SHUTDOWN_suspend` returns it (sched.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspended {
    /// 0: in a new domain, perhaps on another machine. Nothing that Xen held for the old one is there any more.
    Resumed,
    /// 1: cancelled. The domain goes on as if nothing had been, and nothing is set up again.
    Cancelled,
}
