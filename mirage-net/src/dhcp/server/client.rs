//! By what a server knows a client.

use crate::wire::dhcp::{DhcpHardware, DhcpPacket, option};

/// A client's identifier, or, of one that sends none, its hardware address with its kind before it (RFC 2131 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientKey {
    is_identifier: bool,
    length: u8,
    bytes: [u8; 64],
}

impl ClientKey {
    /// The client that a message is of; none if its identifier is above 64 bytes.
    pub(crate) fn of(packet: &DhcpPacket<'_>) -> Option<Self> {
        let mut bytes = [0; 64];
        // An identifier without a byte identifies nobody.
        let identifier = packet
            .option(option::CLIENT_IDENTIFIER)
            .filter(|identifier| !identifier.is_empty());
        match identifier {
            Some(identifier) => {
                let length = identifier.copy_to(&mut bytes)?.len() as u8;
                Some(ClientKey {
                    is_identifier: true,
                    length,
                    bytes,
                })
            }
            None => Self::of_hardware(&packet.hardware()),
        }
    }

    fn of_hardware(hardware: &DhcpHardware) -> Option<Self> {
        let mut bytes = [0; 64];
        let address = hardware.as_bytes();
        let (kind, rest) = bytes.split_first_mut()?;
        *kind = hardware.kind();
        rest.get_mut(..address.len())?.copy_from_slice(address);
        Some(ClientKey {
            is_identifier: false,
            length: address.len() as u8 + 1,
            bytes,
        })
    }

    /// Nobody.
    pub(crate) const NOBODY: Self = ClientKey {
        is_identifier: false,
        length: 0,
        bytes: [0; 64],
    };

    pub(crate) fn from_parts(is_identifier: bool, key: &[u8]) -> Option<Self> {
        let mut bytes = [0; 64];
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        Some(ClientKey {
            is_identifier,
            length: key.len() as u8,
            bytes,
        })
    }

    pub(crate) fn parts(&self) -> (bool, &[u8]) {
        let key = self.bytes.get(..usize::from(self.length));
        (self.is_identifier, key.unwrap_or_default())
    }

    pub(crate) fn identifier(&self) -> Option<&[u8]> {
        let (is_identifier, key) = self.parts();
        is_identifier.then_some(key)
    }
}
