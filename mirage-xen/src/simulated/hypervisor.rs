//! The hypervisor's side of the machine.

use core::ptr::NonNull;
use std::fmt;

use super::config::HardwareRandom;
use super::events;
use super::faults::Fault;
use super::machine::{CONSOLE_FRAME, Machine, STORE_FRAME};
use super::suspend::SuspendScript;
use super::violations::Violation;
use crate::abi::grant::GrantEntry;
use crate::abi::parameter::Parameter;
use crate::abi::shared_info::{PORTS, SharedInfo};
use crate::abi::shutdown::{ShutdownReason, Suspended};
use crate::abi::{DomainId, FrameNumber, PortNumber, XenError};
use crate::hypervisor::{Hypervisor, SharedPage};

/// The most ports that a poll may list (`SCHEDOP_poll` in Xen's sched.c).
const MAXIMUM_POLL: usize = 128;
/// The most bytes of the emergency console that are kept.
const EMERGENCY_LENGTH: usize = 1 << 16;
/// Things that may happen during one poll. More happen only where the domain waits for what never comes while somebody else
/// goes on for ever.
const MAXIMUM_STEPS: u32 = 10_000_000;

/// A hypervisor for tests: see the [module](super).
pub struct SimulatedHypervisor(pub(super) &'static Machine);

impl SimulatedHypervisor {
    /// A port that the domain names in a call.
    fn checked(&self, call: &'static str, port: PortNumber) -> Result<PortNumber, XenError> {
        if self.0.events.is_open(port) {
            Ok(port)
        } else {
            self.0.violations.add(Violation::Port(call, port));
            Err(XenError::Invalid)
        }
    }
}

impl fmt::Debug for SimulatedHypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedHypervisor")
            .field("domain", &self.0.domain.get())
            .field("system_time", &self.0.time.system())
            .finish_non_exhaustive()
    }
}

// SAFETY:
// - The other domains are the backends of this module. They reach the domain's memory through `Reach` alone, which looks at
//   the entry's flags, domain and frame each time, and sets `READING` and `WRITING` while it is mapped; and through the
//   store's and the console's pages. All on one thread, so what they wrote is visible.
// - `frame_number` gives a number that stands for the page of this process at that address, for ever.
// - The shared pages are `Page`s: allocated for them alone, never freed, reached by raw copies.
unsafe impl Hypervisor for SimulatedHypervisor {
    /// Sleeps in virtual time: jumps from one thing that happens to the next.
    ///
    /// # Panics
    ///
    /// When it would sleep for ever: no deadline, and nothing will happen. A test that hangs so says it instead.
    fn poll(&self, ports: &[PortNumber], until: Option<u64>) -> Result<(), XenError> {
        self.0.enter("poll");
        self.0.polls.set(self.0.polls.get() + 1);
        if ports.len() > MAXIMUM_POLL {
            let violation = Violation::TooManyPorts(ports.len());
            self.0.violations.add(violation);
            return Err(XenError::Invalid);
        }
        for &port in ports {
            if port.0 as usize >= PORTS || port.0 >= self.0.config.ports {
                self.0.violations.add(Violation::Port("poll", port));
                return Err(XenError::Invalid);
            }
        }
        let deadline = until.map(|until| self.0.time.of_system(until));
        let page = self.0.memory.shared_info;
        for _ in 0..MAXIMUM_STEPS {
            if ports.iter().any(|&port| events::is_pending(page, port)) {
                break;
            }
            let next = self.0.next_event();
            match (next, deadline) {
                (None, None) => panic!(
                    "the domain sleeps without a deadline, and nothing will happen: no backend has work, no frame is on its way"
                ),
                (Some(next), _) if deadline.is_none_or(|deadline| next <= deadline) => {
                    if self.0.step() == Some(true) {
                        break;
                    }
                }
                (_, Some(deadline)) => {
                    self.0.time.advance_to(deadline);
                    break;
                }
                (Some(_), None) => unreachable!("without a deadline whatever comes is earlier"),
            }
        }
        self.0.write_time();
        Ok(())
    }

    fn shutdown(&self, reason: ShutdownReason) {
        // The first word counts: a real domain says no second.
        let before = self.0.shutdown.get();
        self.0.shutdown.set(before.or(Some(reason)));
    }

    fn suspend(&self) -> Result<Suspended, XenError> {
        self.0.enter("suspend");
        match self.0.suspend.script.get() {
            SuspendScript::Refused => Err(XenError::Invalid),
            script => {
                self.0.suspend.count.set(self.0.suspend.count.get() + 1);
                match script {
                    SuspendScript::Resumed(to) => {
                        self.0.resume(to);
                        Ok(Suspended::Resumed)
                    }
                    _ => {
                        self.0.write_time();
                        Ok(Suspended::Cancelled)
                    }
                }
            }
        }
    }

    fn restore(&self) -> Result<(), XenError> {
        if self.0.suspend.restoring.get() {
            self.0.restore();
        } else {
            self.0.violations.add(Violation::RestoreWithoutResume);
        }
        Ok(())
    }

    fn shared_info(&self) -> &SharedInfo {
        self.0.check_restored("shared_info");
        self.0.memory.shared_info
    }

    fn time_stamp_counter(&self) -> u64 {
        self.0.check_restored("time_stamp_counter");
        self.0.look();
        let ticks = self.0.time.ticks();
        if self.0.happens(Fault::ClockUpdate) {
            self.0.write_time();
        }
        ticks
    }

    fn hardware_random(&self) -> Option<u64> {
        match self.0.hardware_random.get() {
            HardwareRandom::Present if self.0.happens(Fault::NoRandomNow) => None,
            HardwareRandom::Present => Some(self.0.draw_u64()),
            HardwareRandom::Absent => None,
            HardwareRandom::Broken => Some(u64::MAX),
        }
    }

    fn allocate_unbound_port(&self, remote: DomainId) -> Result<PortNumber, XenError> {
        self.0.enter("allocate_unbound_port");
        if self.0.happens(Fault::NoPort) {
            return Err(XenError::NoSpace);
        }
        self.0.events.allocate(remote)
    }

    fn bind_interdomain(
        &self,
        remote: DomainId,
        remote_port: PortNumber,
    ) -> Result<PortNumber, XenError> {
        self.0.enter("bind_interdomain");
        self.0.events.bind(remote, remote_port)
    }

    fn close_port(&self, port: PortNumber) -> Result<(), XenError> {
        self.0.enter("close_port");
        let port = self.checked("close_port", port)?;
        if let Some(backend) = self.0.events.close(port)? {
            self.0.wake(backend);
        }
        Ok(())
    }

    fn notify(&self, port: PortNumber) -> Result<(), XenError> {
        self.0.enter("notify");
        self.0.notifications.set(self.0.notifications.get() + 1);
        let port = self.checked("notify", port)?;
        if let Some(backend) = self.0.events.other_end(port)? {
            self.0.wake(backend);
        }
        Ok(())
    }

    fn maximum_grant_frames(&self) -> Result<u32, XenError> {
        self.0.enter("maximum_grant_frames");
        Ok(self.0.config.grant_frames)
    }

    unsafe fn grant_entries(&self, frames: u32) -> Result<&[GrantEntry], XenError> {
        self.0.check_restored("grant_entries");
        self.0.memory.map_entries(frames).ok_or(XenError::NoSpace)
    }

    fn frame_number(&self, address: NonNull<u8>) -> Option<FrameNumber> {
        let frame = self.0.memory.frame(address.addr().get())?;
        Some(FrameNumber(u64::from(frame)))
    }

    fn parameter(&self, parameter: Parameter) -> Result<u64, XenError> {
        self.0.enter("parameter");
        match parameter {
            Parameter::StoreFrame => Ok(u64::from(STORE_FRAME)),
            Parameter::StorePort => Ok(u64::from(self.0.store_port.get().0)),
            Parameter::ConsoleFrame if self.0.config.console => Ok(u64::from(CONSOLE_FRAME)),
            Parameter::ConsolePort if self.0.config.console => {
                Ok(u64::from(self.0.console_port.get().0))
            }
            // What nobody has set is zero.
            Parameter::CallbackInterrupt | Parameter::ConsoleFrame | Parameter::ConsolePort => {
                Ok(0)
            }
        }
    }

    fn set_parameter(&self, parameter: Parameter, _value: u64) -> Result<(), XenError> {
        self.0.enter("set_parameter");
        match parameter {
            Parameter::CallbackInterrupt => Ok(()),
            // The toolstack's, which a domain may read alone (`hvm_allow_set_param`).
            _ => Err(XenError::NotPermitted),
        }
    }

    fn store_page(&self) -> Result<SharedPage, XenError> {
        Ok(self.0.memory.store_page.shared())
    }

    fn console_page(&self) -> Result<SharedPage, XenError> {
        if self.0.config.console {
            Ok(self.0.memory.console_page.shared())
        } else {
            Err(XenError::NotFound)
        }
    }

    fn write_emergency_console(&self, bytes: &[u8]) {
        let mut kept = self.0.emergency.borrow_mut();
        let room = EMERGENCY_LENGTH - kept.len();
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}
