//! The rings that a domain finds made: xenstore's and the console's.

use core::fmt;

use crate::abi::parameter::Parameter;
use crate::abi::{PortNumber, XenError};
use crate::event_channel::{EventChannels, EventError, EventPort};
use crate::hypervisor::Hypervisor;
use crate::suspend::ResumeError;

/// Why the domain can't use a ring that the toolstack should have made for it. The toolstack's fault, or Xen's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// Xen doesn't say where it is; [`XenError::NotFound`]: the toolstack made none.
    Xen(XenError),
    /// Its port can't be bound.
    Event(EventError),
}

impl From<XenError> for ConnectError {
    fn from(error: XenError) -> Self {
        Self::Xen(error)
    }
}

impl From<EventError> for ConnectError {
    fn from(error: EventError) -> Self {
        Self::Event(error)
    }
}

impl From<ConnectError> for ResumeError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Xen(error) => Self::Xen(error),
            ConnectError::Event(error) => Self::Event(error),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xen(error) => write!(f, "the ring can't be found: {error}"),
            Self::Event(error) => write!(f, "the ring's port can't be bound: {error}"),
        }
    }
}

impl core::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Xen(error) => Some(error),
            Self::Event(error) => Some(error),
        }
    }
}

/// The port that a parameter names, which the toolstack bound.
pub(crate) fn adopt<H: Hypervisor>(
    channels: &'static EventChannels<H>,
    parameter: Parameter,
) -> Result<EventPort<H>, ConnectError> {
    let number = channels.hypervisor().parameter(parameter)?;
    // Zero: there is none.
    let number = u32::try_from(number).ok().filter(|number| *number != 0);
    let number = number.ok_or(XenError::NotFound)?;
    Ok(channels.adopt(PortNumber(number))?)
}
