//! Where a frame's transport checksum is, as a backend finds out that takes a frame without one.

use mirage_core::Checksum;

const ETHERNET: usize = 14;
const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
const TYPE_IPV6: [u8; 2] = [0x86, 0xDD];
const TYPE_VLAN: [u8; 2] = [0x81, 0x00];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The state of a checksum that the sender left blank. `None`, where there is no checksum that could be.
pub(super) fn blank(frame: &[u8]) -> Option<Checksum> {
    let mut kind = frame.get(12..14)?;
    let mut network = ETHERNET;
    if kind == TYPE_VLAN {
        kind = frame.get(16..18)?;
        network += 4;
    }
    let header = frame.get(network..)?;
    let (protocol, length) = if kind == TYPE_IPV4 {
        let length = usize::from(header.first()? & 0x0F) * 4;
        (*header.get(9)?, length)
    } else if kind == TYPE_IPV6 {
        (*header.get(6)?, 40)
    } else {
        return None;
    };
    let offset = match protocol {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    let start = network + length;
    frame.get(start + usize::from(offset)..start + usize::from(offset) + 2)?;
    Some(Checksum::Partial {
        start: u16::try_from(start).ok()?,
        offset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn the_checksum_is_where_the_headers_say() {
        let mut frame = vec![0; 60];
        assert_eq!(blank(&frame), None);
        frame[12..14].copy_from_slice(&TYPE_IPV4);
        frame[14] = 0x46;
        frame[23] = UDP;
        let found = Checksum::Partial {
            start: 38,
            offset: 6,
        };
        assert_eq!(blank(&frame), Some(found));
        frame[23] = TCP;
        let found = Checksum::Partial {
            start: 38,
            offset: 16,
        };
        assert_eq!(blank(&frame), Some(found));
        assert_eq!(blank(&frame[..55]), None);
        frame[12..14].copy_from_slice(&TYPE_VLAN);
        frame[16..18].copy_from_slice(&TYPE_IPV6);
        frame[24] = UDP;
        assert_eq!(blank(&frame), None);
        frame.resize(80, 0);
        let found = Checksum::Partial {
            start: 58,
            offset: 6,
        };
        assert_eq!(blank(&frame), Some(found));
    }
}
