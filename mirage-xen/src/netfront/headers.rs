//! Where a frame's transport has its checksum: the rings don't say, so either end looks at the headers.

use mirage_core::Frame;

/// Bytes of an Ethernet header (IEEE 802.3, 3.1.1).
pub(super) const ETHERNET_HEADER: usize = 14;
/// Bytes of a VLAN tag (IEEE 802.1Q, 9.3), which the MTU does not count either.
pub(super) const VLAN_TAG: usize = 4;

/// EtherTypes (IEEE 802, 9.2; IEEE 802.1Q, table 9-1).
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;

/// Bytes of an IPv4 header without options (RFC 791, 3.1), and of an IPv6 header (RFC 8200, 3).
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// Protocol numbers (RFC 9293, RFC 768), the least bytes of their headers, and where in those the checksum is.
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const TCP: (usize, u16) = (20, 16);
const UDP: (usize, u16) = (8, 6);

/// As much of a frame as is looked at: no IP header's fixed part ends behind it.
const LOOK: usize = ETHERNET_HEADER + VLAN_TAG + IPV6_HEADER;

/// The internet protocol that a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// Where the checksum of a frame's TCP or UDP is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transport {
    pub(super) family: Family,
    /// Whether a VLAN tag comes before the IP header.
    pub(super) tagged: bool,
    /// Where its header begins, in bytes from the frame's beginning.
    pub(super) start: u16,
    /// Where in its header the checksum is.
    pub(super) offset: u16,
}

impl Transport {
    /// Finds it. `None`: the frame has none that is whole, or the headers contradict themselves or the frame's length.
    ///
    /// Fragments have none: what a datagram's checksum covers isn't in the frame. Nor is it looked for behind IPv6's
    /// extension headers.
    pub(super) fn find(frame: &Frame) -> Option<Self> {
        let length = frame.len();
        let mut copy = [0; LOOK];
        let bytes = match frame.first() {
            Some(first) if first.len() >= LOOK => &first[..LOOK],
            _ => {
                let count = frame.copy_to_slice(0, &mut copy);
                &copy[..count]
            }
        };
        Self::find_in(bytes, length)
    }

    /// As [`find`](Self::find): `bytes` are the frame's first, [`LOOK`] or all of them; `length` is the frame's.
    fn find_in(bytes: &[u8], length: usize) -> Option<Self> {
        let mut ethertype = word(bytes, ETHERNET_HEADER - 2)?;
        let mut network = ETHERNET_HEADER;
        let tagged = ethertype == ETHERTYPE_VLAN;
        if tagged {
            network += VLAN_TAG;
            ethertype = word(bytes, network - 2)?;
        }
        let header = bytes.get(network..)?;
        let (family, header_length, total, protocol) = match ethertype {
            ETHERTYPE_IPV4 => {
                let (length, total, protocol) = ipv4(header)?;
                (Family::V4, length, total, protocol)
            }
            ETHERTYPE_IPV6 => {
                let (length, total, protocol) = ipv6(header)?;
                (Family::V6, length, total, protocol)
            }
            _ => return None,
        };
        let (least, offset) = match protocol {
            PROTOCOL_TCP => TCP,
            PROTOCOL_UDP => UDP,
            _ => return None,
        };
        // Padding may follow the packet, but all of the packet has to be there.
        if header_length + least > total || network + total > length {
            return None;
        }
        // At most 18 and 60.
        let start = (network + header_length) as u16;
        Some(Self {
            family,
            tagged,
            start,
            offset,
        })
    }
}

/// (length of the header, length of the packet, protocol) of an IPv4 header, if it isn't a fragment's.
fn ipv4(header: &[u8]) -> Option<(usize, usize, u8)> {
    let header = header.get(..IPV4_HEADER)?;
    let length = usize::from(header[0] & 0xf) * 4;
    // The flag MF and the offset (RFC 791, 3.1).
    let fragment = word(header, 6)? & 0x3fff;
    if header[0] >> 4 != 4 || length < IPV4_HEADER || fragment != 0 {
        return None;
    }
    Some((length, usize::from(word(header, 2)?), header[9]))
}

/// The same of an IPv6 header.
fn ipv6(header: &[u8]) -> Option<(usize, usize, u8)> {
    let header = header.get(..IPV6_HEADER)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let payload = usize::from(word(header, 4)?);
    Some((IPV6_HEADER, IPV6_HEADER + payload, header[6]))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use mirage_core::Pool;

    use super::*;

    /// A UDP datagram of 4 bytes in IPv4.
    const UDP_V4: [u8; 46] = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0, // Ethernet
        0x45, 0, 0, 32, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
        0, 53, 0, 99, 0, 12, 0xab, 0xcd, 1, 2, 3, 4, // UDP
    ];

    fn find(bytes: &[u8]) -> Option<Transport> {
        Transport::find_in(&bytes[..bytes.len().min(LOOK)], bytes.len())
    }

    fn with(bytes: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for (at, to) in changes {
            bytes[*at] = *to;
        }
        bytes
    }

    fn ipv6(protocol: u8, payload: u16, bytes: usize) -> Vec<u8> {
        let mut frame = UDP_V4[..12].to_vec();
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(payload.to_be_bytes());
        frame.extend([protocol, 64]);
        frame.resize(frame.len() + 32 + bytes, 0);
        frame
    }

    #[test]
    fn udp_and_tcp_have_theirs_where_their_headers_say() {
        let udp = Transport {
            family: Family::V4,
            tagged: false,
            start: 34,
            offset: 6,
        };
        assert_eq!(find(&UDP_V4), Some(udp));
        let mut tcp = with(&UDP_V4, &[(17, 40), (23, 6)]);
        tcp.resize(54, 0);
        assert_eq!(find(&tcp), Some(Transport { offset: 16, ..udp }));
        let v6 = find(&ipv6(17, 8, 8));
        let expected = Transport {
            family: Family::V6,
            start: 54,
            ..udp
        };
        assert_eq!(v6, Some(expected));
    }

    #[test]
    fn options_and_a_vlan_tag_move_it() {
        let mut options = UDP_V4[..34].to_vec();
        options[14] = 0x46;
        options[17] = 36;
        options.extend([1, 1, 1, 1]);
        options.extend(&UDP_V4[34..]);
        assert_eq!(find(&options).map(|found| found.start), Some(38));
        let mut tagged = UDP_V4[..12].to_vec();
        tagged.extend([0x81, 0, 0, 7]);
        tagged.extend(&UDP_V4[12..]);
        let found = find(&tagged).unwrap();
        assert_eq!((found.start, found.tagged), (38, true));
    }

    #[test]
    fn padding_behind_the_packet_changes_nothing() {
        let mut padded = UDP_V4.to_vec();
        padded.resize(60, 0);
        assert_eq!(find(&padded), find(&UDP_V4));
    }

    #[test]
    fn headers_that_make_no_sense_have_none() {
        for changes in [
            &[(12, 0x08), (13, 0x06)][..], // ARP
            &[(14, 0x55)],                 // another version
            &[(14, 0x44)],                 // shorter than the header
            &[(14, 0x4f)],                 // options beyond the packet
            &[(16, 0xff)],                 // longer than the frame
            &[(17, 33)],                   // by one byte
            &[(17, 27)],                   // cuts the transport's header
            &[(17, 0)],
            &[(20, 0x20)], // more fragments
            &[(21, 1)],    // not the first fragment
            &[(23, 1)],    // ICMP
            &[(23, 6)],    // TCP's header is longer
        ] {
            assert_eq!(find(&with(&UDP_V4, changes)), None, "{changes:?}");
        }
        assert_eq!(find(&ipv6(17, 7, 8)), None);
        assert_eq!(find(&ipv6(17, 9, 8)), None);
        assert_eq!(find(&ipv6(44, 8, 8)), None);
        assert_eq!(find(&ipv6(6, 19, 19)), None);
    }

    #[test]
    fn no_frame_is_too_short_to_be_looked_at() {
        let v6 = ipv6(6, 20, 20);
        for frame in [&UDP_V4[..], &v6] {
            assert!(find(frame).is_some());
            for length in 0..frame.len() {
                assert_eq!(find(&frame[..length]), None, "{length}");
            }
        }
    }

    #[test]
    fn headers_in_pieces_are_read_as_one() {
        let pool = Pool::leak(8, 4096).unwrap();
        let mut frame = Frame::new();
        for part in [&UDP_V4[..5], &UDP_V4[5..16], &UDP_V4[16..]] {
            let mut page = pool.alloc().unwrap();
            page.extend_from_slice(part).unwrap();
            frame.push(page).unwrap();
        }
        assert_eq!(Transport::find(&frame), find(&UDP_V4));
    }
}
