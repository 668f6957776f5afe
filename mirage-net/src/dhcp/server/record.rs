//! A lease as it outlives a restart.

use core::fmt;
use core::net::Ipv4Addr;

use super::client::ClientKey;
use crate::wire::dhcp::DhcpHardware;

/// Bytes of a record.
const RECORD_LEN: usize = 105;

const MAGIC: [u8; 4] = *b"MDL1";
/// Where the checksum lies.
const BODY: usize = RECORD_LEN - 4;

/// What a record says of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DhcpLeaseKind {
    /// Offered to a client that has not taken it yet. Never in a record.
    Offered,
    /// A client's, until it expires.
    Bound,
    /// Given back by its client, which gets it again if it is still there.
    Released,
    /// Another station has it; not given until it expires.
    Declined,
}

/// A lease as it outlives a restart: written for each change, and given back to the server when it starts.
///
/// There is at most one for each address of the pools, so their number is bounded, and a newer one replaces an older one.
/// As bytes a record has a checksum: one that is torn, or is something else, is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhcpRecord {
    /// The address.
    pub address: Ipv4Addr,
    /// What became of it.
    pub kind: DhcpLeaseKind,
    /// When that ends, in seconds since the Unix epoch; `u64::MAX` is never. None where no wall clock was known: then it lasts
    /// a whole lease time from the restart, for it must not be given to another while it may still run.
    pub expires: Option<u64>,
    /// The client's hardware address.
    pub hardware: DhcpHardware,
    pub(crate) client: ClientKey,
}

/// Bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhcpRecordError;

impl fmt::Display for DhcpRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the record of a DHCP lease, or a damaged one")
    }
}

impl core::error::Error for DhcpRecordError {}

impl DhcpRecord {
    /// Bytes of a record.
    pub const LEN: usize = RECORD_LEN;

    /// The client's identifier; none if it is known by its hardware address.
    pub fn identifier(&self) -> Option<&[u8]> {
        self.client.identifier()
    }

    /// As bytes.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; RECORD_LEN];
        let kind = match self.kind {
            DhcpLeaseKind::Offered => 0,
            DhcpLeaseKind::Bound => 1,
            DhcpLeaseKind::Released => 2,
            DhcpLeaseKind::Declined => 3,
        };
        let (known, expires) = match self.expires {
            Some(expires) => (1, expires),
            None => (0, 0),
        };
        let hardware = self.hardware.as_bytes();
        let (is_identifier, client) = self.client.parts();
        let mut at = 0;
        let mut put = |part: &[u8], room: usize| {
            if let Some(to) = bytes.get_mut(at..at + part.len()) {
                to.copy_from_slice(part);
            }
            at += room;
        };
        put(&MAGIC, 4);
        put(&[kind | known << 4], 1);
        put(&self.address.octets(), 4);
        put(&expires.to_be_bytes(), 8);
        put(&[self.hardware.kind(), hardware.len() as u8], 2);
        put(hardware, 16);
        put(&[u8::from(is_identifier), client.len() as u8], 2);
        put(client, 64);
        let sum = checksum(bytes.get(..BODY).unwrap_or_default());
        if let Some(to) = bytes.get_mut(BODY..) {
            to.copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`DhcpRecordError`] if they are none, or not as they were written.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DhcpRecordError> {
        Self::parse(bytes).ok_or(DhcpRecordError)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_LEN] = bytes.try_into().ok()?;
        let (body, sum) = bytes.split_at_checked(BODY)?;
        if checksum(body).to_be_bytes() != sum {
            return None;
        }
        let rest = body.strip_prefix(&MAGIC)?;
        let ([kind], rest) = rest.split_first_chunk()?;
        let (address, rest) = rest.split_first_chunk::<4>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let ([hardware_kind, hardware_len], rest) = rest.split_first_chunk()?;
        let (hardware, rest) = rest.split_first_chunk::<16>()?;
        let ([is_identifier, client_len], client) = rest.split_first_chunk()?;
        let expires = match kind >> 4 {
            0 => None,
            1 => Some(u64::from_be_bytes(*expires)),
            _ => return None,
        };
        let kind = match kind & 15 {
            1 => DhcpLeaseKind::Bound,
            2 => DhcpLeaseKind::Released,
            3 => DhcpLeaseKind::Declined,
            _ => return None,
        };
        let hardware = hardware.get(..usize::from(*hardware_len))?;
        let client = client.get(..usize::from(*client_len))?;
        Some(DhcpRecord {
            address: Ipv4Addr::from(*address),
            kind,
            expires,
            hardware: DhcpHardware::new(*hardware_kind, hardware)?,
            client: match is_identifier {
                0 => ClientKey::from_parts(false, client)?,
                1 => ClientKey::from_parts(true, client)?,
                _ => return None,
            },
        })
    }
}

/// FNV-1a of 32 bits (RFC 9923): against damage, not against malice.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirage_core::MacAddress;
    use proptest::prelude::*;

    fn record() -> DhcpRecord {
        DhcpRecord {
            address: Ipv4Addr::new(10, 0, 0, 77),
            kind: DhcpLeaseKind::Bound,
            expires: Some(1_800_000_000),
            hardware: DhcpHardware::ethernet(MacAddress([2, 0, 0, 0, 0, 9])),
            client: ClientKey::from_parts(true, &[1, 2, 0, 0, 0, 0, 9]).unwrap(),
        }
    }

    #[test]
    fn a_record_that_is_torn_or_damaged_is_not_believed() {
        let bytes = record().to_bytes();
        assert_eq!(DhcpRecord::from_bytes(&bytes), Ok(record()));
        for length in 0..RECORD_LEN {
            assert!(DhcpRecord::from_bytes(&bytes[..length]).is_err());
            let mut torn = bytes;
            torn[length..].fill(0);
            if torn != bytes {
                assert!(DhcpRecord::from_bytes(&torn).is_err(), "{length}");
            }
            for bit in 0..8 {
                let mut damaged = bytes;
                damaged[length] ^= 1 << bit;
                assert!(DhcpRecord::from_bytes(&damaged).is_err());
            }
        }
        assert!(DhcpRecord::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        assert!(DhcpRecord::from_bytes(&[0; RECORD_LEN]).is_err());
    }

    proptest! {
        #[test]
        fn records_read_as_themselves(
            address: [u8; 4],
            kind in 0usize..3,
            expires: Option<u64>,
            hardware in prop::collection::vec(any::<u8>(), 0..=16),
            hardware_kind: u8,
            is_identifier: bool,
            client in prop::collection::vec(any::<u8>(), 0..=64),
        ) {
            let record = DhcpRecord {
                address: address.into(),
                kind: [DhcpLeaseKind::Bound, DhcpLeaseKind::Released, DhcpLeaseKind::Declined][kind],
                expires,
                hardware: DhcpHardware::new(hardware_kind, &hardware).unwrap(),
                client: ClientKey::from_parts(is_identifier, &client).unwrap(),
            };
            prop_assert_eq!(DhcpRecord::from_bytes(&record.to_bytes()), Ok(record));
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..=RECORD_LEN + 2)) {
            if let Ok(record) = DhcpRecord::from_bytes(&bytes) {
                prop_assert_eq!(&record.to_bytes()[..], &bytes[..]);
            }
        }
    }
}
