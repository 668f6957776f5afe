//! The states of either end.

use core::fmt;

use crate::store::parse_decimal;

/// `enum xenbus_state`: what an end of a device says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum XenbusState {
    /// `XenbusStateUnknown`: there is no such end, or it has not said anything.
    Unknown = 0,
    /// `XenbusStateInitialising`.
    Initialising = 1,
    /// `XenbusStateInitWait`: waits for what the other end, or a script, has to say.
    InitWait = 2,
    /// `XenbusStateInitialised`: waits for the other end to connect.
    Initialised = 3,
    /// `XenbusStateConnected`.
    Connected = 4,
    /// `XenbusStateClosing`: because of an error, or since the device is to go.
    Closing = 5,
    /// `XenbusStateClosed`.
    Closed = 6,
    /// `XenbusStateReconfiguring`.
    Reconfiguring = 7,
    /// `XenbusStateReconfigured`.
    Reconfigured = 8,
}

impl XenbusState {
    const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Initialising,
        Self::InitWait,
        Self::Initialised,
        Self::Connected,
        Self::Closing,
        Self::Closed,
        Self::Reconfiguring,
        Self::Reconfigured,
    ];

    /// The state that a key's value says: its number in decimal. `None` of anything else.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let number = usize::try_from(parse_decimal(value)?).ok()?;
        Self::ALL.get(number).copied()
    }

    /// The value of the key of an end in this state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "0",
            Self::Initialising => "1",
            Self::InitWait => "2",
            Self::Initialised => "3",
            Self::Connected => "4",
            Self::Closing => "5",
            Self::Closed => "6",
            Self::Reconfiguring => "7",
            Self::Reconfigured => "8",
        }
    }
}

impl fmt::Display for XenbusState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Initialising => "initialising",
            Self::InitWait => "waiting to initialise",
            Self::Initialised => "initialised",
            Self::Connected => "connected",
            Self::Closing => "closing",
            Self::Closed => "closed",
            Self::Reconfiguring => "reconfiguring",
            Self::Reconfigured => "reconfigured",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_numbers_in_decimal() {
        for (number, state) in XenbusState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, number);
            assert_eq!(XenbusState::parse(state.as_str().as_bytes()), Some(state));
        }
    }

    #[test]
    fn what_is_no_state_is_none() {
        for value in [
            &b""[..],
            b"9",
            b"4 ",
            b"4\0",
            b"-1",
            b"4294967300",
            b"four",
            b"0x4",
        ] {
            assert_eq!(XenbusState::parse(value), None, "{value:?}");
        }
    }
}
