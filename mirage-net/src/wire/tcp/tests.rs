//! Segments against the bytes that they are.

use super::*;
use core::net::Ipv4Addr;
use mirage_core::Pool;
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

/// A SYN as a Linux host sends it.
const SYN: [u8; 40] = [
    0xc0, 0x02, 0x00, 0x50, 0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x00, 0xa0, 0x02, 0xfa, 0xf0,
    0x12, 0x34, 0x00, 0x00, 0x02, 0x04, 0x05, 0xb4, 0x04, 0x02, 0x08, 0x0a, 0x00, 0x00, 0x00, 0x64,
    0x00, 0x00, 0x00, 0x00, 0x01, 0x03, 0x03, 0x07,
];

fn syn() -> TcpRepr {
    TcpRepr {
        source_port: 49_154,
        destination_port: 80,
        sequence: SequenceNumber::new(0x0102_0304),
        flags: TcpFlags::SYN,
        window: 64_240,
        checksum: 0x1234,
        options: TcpOptions {
            maximum_segment_size: Some(1_460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps {
                value: 100,
                echo: 0,
            }),
            ..TcpOptions::NONE
        },
        ..TcpRepr::default()
    }
}

/// A pure acknowledgement with two SACK blocks.
const SACK: [u8; 52] = [
    0x00, 0x50, 0xc0, 0x02, 0xff, 0xff, 0xff, 0xff, 0x01, 0x02, 0x03, 0x05, 0xd0, 0xd0, 0x01, 0x00,
    0xab, 0xcd, 0x00, 0x00, 0x01, 0x01, 0x08, 0x0a, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x64,
    0x01, 0x01, 0x05, 0x12, 0x01, 0x02, 0x10, 0x00, 0x01, 0x02, 0x20, 0x00, 0xff, 0xff, 0xff, 0xf0,
    0x00, 0x00, 0x00, 0x10,
];

fn blocks(edges: &[(u32, u32)]) -> SackBlocks {
    let mut blocks = SackBlocks::EMPTY;
    for (left, right) in edges {
        let (left, right) = (SequenceNumber::new(*left), SequenceNumber::new(*right));
        assert!(blocks.push(SackBlock { left, right }));
    }
    blocks
}

fn sack() -> TcpRepr {
    TcpRepr {
        source_port: 80,
        destination_port: 49_154,
        sequence: SequenceNumber::new(u32::MAX),
        acknowledgement: SequenceNumber::new(0x0102_0305),
        flags: TcpFlags::ACK | TcpFlags::ECE | TcpFlags::CWR,
        window: 256,
        checksum: 0xabcd,
        urgent: 0,
        options: TcpOptions {
            sack: blocks(&[(0x0102_1000, 0x0102_2000), (0xffff_fff0, 0x10)]),
            timestamps: Some(Timestamps {
                value: 256,
                echo: 100,
            }),
            ..TcpOptions::NONE
        },
    }
}

fn parse(bytes: &[u8]) -> TcpRepr {
    TcpRepr::parse(&TcpPacket::new_checked(bytes, bytes.len()).unwrap())
}

#[test]
fn parses_the_fixtures() {
    assert_eq!(parse(&SYN), syn());
    assert_eq!(parse(&SACK), sack());
    let packet = TcpPacket::new_checked(&SACK, 52).unwrap();
    assert_eq!(
        packet.to_string(),
        "TCP 80 > 49154 ACK ECE CWR seq 4294967295 ack 16909061 win 256"
    );
    let nothing = TcpRepr::default();
    assert_eq!(nothing.to_string(), "TCP 0 > 0 no flags seq 0 win 0");
}

#[test]
fn emits_the_fixtures() {
    let mut bytes = [0xee; MAX_HEADER_LEN];
    assert_eq!((syn().header_len(), syn().emit(&mut bytes)), (40, 40));
    assert_eq!(bytes[..40], SYN);
    assert_eq!((sack().header_len(), sack().emit(&mut bytes)), (52, 52));
    assert_eq!(bytes[..52], SACK);
}

#[test]
fn a_header_without_options_is_twenty_bytes() {
    let repr = TcpRepr {
        flags: TcpFlags::RST,
        ..TcpRepr::default()
    };
    let mut bytes = [0xee; MAX_HEADER_LEN];
    assert_eq!(repr.emit(&mut bytes), HEADER_LEN);
    assert_eq!(parse(&bytes[..HEADER_LEN]), repr);
    assert!(repr.options.is_empty());
}

#[test]
fn lengths_that_contradict_are_refused() {
    assert_eq!(
        TcpPacket::new_checked(&SYN[..19], 40).err(),
        Some(WireError::Truncated)
    );
    // The options are not whole in the first segment, or not in the packet.
    assert_eq!(
        TcpPacket::new_checked(&SYN[..39], 40).err(),
        Some(WireError::Truncated)
    );
    assert_eq!(
        TcpPacket::new_checked(&SYN, 39).err(),
        Some(WireError::Truncated)
    );
    for offset in 0..5 {
        let mut bytes = SYN;
        bytes[12] = offset << 4;
        assert_eq!(
            TcpPacket::new_checked(&bytes, 40).err(),
            Some(WireError::Malformed)
        );
    }
}

/// A header with these options.
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut bytes = SYN[..HEADER_LEN].to_vec();
    bytes.extend_from_slice(options);
    bytes.resize(bytes.len().div_ceil(4) * 4, 0);
    bytes[12] = ((bytes.len() / 4) << 4) as u8;
    bytes
}

#[test]
fn rfc9293_3_1_must_7_an_impossible_option_length_ends_the_options() {
    for bad in [&[2, 0][..], &[2, 1], &[2, 5, 1, 1], &[8, 10, 1, 1], &[77]] {
        let mut options = std::vec![3, 3, 5];
        options.extend_from_slice(bad);
        // No padding by zeros, which would end the options too.
        while options.len() % 4 != 0 {
            options.insert(0, 1);
        }
        let repr = parse(&with_options(&options));
        assert_eq!(repr.options.window_scale, Some(5), "{bad:?}");
        assert_eq!(repr.options.maximum_segment_size, None, "{bad:?}");
        assert_eq!(repr.options.timestamps, None, "{bad:?}");
    }
}

#[test]
fn rfc9293_3_1_must_6_unknown_options_are_skipped() {
    let repr = parse(&with_options(&[
        253, 6, 1, 2, 3, 4, 1, 2, 4, 2, 0, 254, 2, 3, 3, 14,
    ]));
    assert_eq!(repr.options.maximum_segment_size, Some(512));
    assert_eq!(repr.options.window_scale, Some(14));
    // One of ours with a length that isn't its own is unknown.
    let repr = parse(&with_options(&[2, 3, 9, 4, 3, 9, 8, 4, 1, 1, 5, 9]));
    assert_eq!(repr.options, TcpOptions::NONE);
    let repr = parse(&with_options(&[5, 2, 1, 1]));
    assert!(repr.options.sack.is_empty());
}

#[test]
fn rfc9293_3_1_must_68_nothing_is_read_behind_the_end_of_the_list() {
    let repr = parse(&with_options(&[1, 0, 1, 1, 2, 4, 2, 0]));
    assert_eq!(repr.options, TcpOptions::NONE);
}

#[test]
fn rfc7323_2_3_a_shift_beyond_fourteen_is_fourteen() {
    let repr = parse(&with_options(&[1, 3, 3, 200]));
    assert_eq!(repr.options.window_scale, Some(MAX_WINDOW_SCALE));
}

#[test]
fn rfc2018_3_four_blocks_fit_and_three_beside_timestamps() {
    let mut repr = sack();
    repr.options.sack = blocks(&[(1, 2), (3, 4), (5, 6), (7, 8)]);
    assert!(!repr.options.sack.push(SackBlock::default()));
    let mut bytes = [0; MAX_HEADER_LEN];
    let length = repr.emit(&mut bytes);
    assert_eq!(length, repr.header_len());
    assert_eq!(
        parse(&bytes[..length]).options.sack,
        blocks(&[(1, 2), (3, 4), (5, 6)])
    );
    repr.options.timestamps = None;
    let length = repr.emit(&mut bytes);
    assert_eq!(length, HEADER_LEN + 36);
    assert_eq!(parse(&bytes[..length]), repr);
}

#[test]
fn rfc792_eight_quoted_bytes_name_the_connection() {
    let quote = TcpQuote::new(&SYN[..8]).unwrap();
    assert_eq!((quote.source_port, quote.destination_port), (49_154, 80));
    assert_eq!(quote.sequence, SequenceNumber::new(0x0102_0304));
    assert_eq!(TcpQuote::new(&SYN[..7]), Err(WireError::Truncated));
}

#[test]
fn rfc9293_3_1_the_checksum_covers_pseudo_header_header_and_all_segments() {
    let pool = Pool::leak(4, 64).unwrap();
    let mut payload = Frame::new();
    for part in [&b"odd"[..], b"even", b"!"] {
        let mut page = pool.alloc().unwrap();
        page.extend_from_slice(part).unwrap();
        payload.push(page).unwrap();
    }
    let (source, destination) = (
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
    );
    let mut repr = syn();
    repr.checksum = 0;
    let mut bytes = [0; MAX_HEADER_LEN];
    let length = repr.emit(&mut bytes);
    let sum = segment_checksum(source, destination, &bytes[..length], &payload);
    // By the definition: the pseudo header, and the bytes as one.
    let mut whole = std::vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, 48];
    whole.extend_from_slice(&bytes[..length]);
    whole.extend_from_slice(b"oddeven!");
    assert_eq!(sum, crate::wire::checksum::checksum(&whole));
    bytes[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&sum.to_be_bytes());
    let verified = segment_checksum(source, destination, &bytes[..length], &payload);
    assert_eq!(verified, 0);
}

fn any_block() -> impl Strategy<Value = SackBlock> {
    (any::<u32>(), any::<u32>()).prop_map(|(left, right)| SackBlock {
        left: SequenceNumber::new(left),
        right: SequenceNumber::new(right),
    })
}

fn any_options() -> impl Strategy<Value = TcpOptions> {
    (
        any::<Option<u16>>(),
        proptest::option::of(0..=MAX_WINDOW_SCALE),
        any::<bool>(),
        proptest::collection::vec(any_block(), 0..=4),
        any::<Option<(u32, u32)>>(),
    )
        .prop_map(|(size, scale, sack_permitted, sacked, timestamps)| {
            let mut sack = SackBlocks::EMPTY;
            for block in sacked {
                sack.push(block);
            }
            TcpOptions {
                maximum_segment_size: size,
                window_scale: scale,
                sack_permitted,
                sack,
                timestamps: timestamps.map(|(value, echo)| Timestamps { value, echo }),
            }
        })
}

proptest! {
    #[test]
    fn what_is_written_reads_as_itself(
        options in any_options(), ports: (u16, u16), numbers: (u32, u32),
        flags: u8, fields: (u16, u16, u16),
    ) {
        let repr = TcpRepr {
            source_port: ports.0,
            destination_port: ports.1,
            sequence: SequenceNumber::new(numbers.0),
            acknowledgement: SequenceNumber::new(numbers.1),
            flags: TcpFlags::from_bits_retain(flags),
            window: fields.0,
            checksum: fields.1,
            urgent: fields.2,
            options,
        };
        let mut bytes = [0xee; MAX_HEADER_LEN];
        let length = repr.emit(&mut bytes);
        prop_assert_eq!(length, repr.header_len());
        prop_assert!(length.is_multiple_of(4) && length <= MAX_HEADER_LEN);
        let read = parse(&bytes[..length]);
        // Only SACK blocks may be left out, and only the last ones, for want of room.
        let kept = read.options.sack.len();
        prop_assert_eq!(&read.options.sack[..], &repr.options.sack[..kept]);
        if kept < repr.options.sack.len() {
            let needed = if kept == 0 { 12 } else { 8 };
            prop_assert!(length + needed > MAX_HEADER_LEN);
        }
        prop_assert_eq!(TcpRepr { options: TcpOptions { sack: repr.options.sack, ..read.options }, ..read }, repr);
    }

    #[test]
    fn no_accessor_panics_whatever_the_bytes_are(
        bytes in proptest::collection::vec(any::<u8>(), 0..80), available in 0usize..100,
    ) {
        if let Ok(packet) = TcpPacket::new_checked(&bytes, available) {
            prop_assert!(packet.header_len() <= bytes.len() && packet.header_len() <= available);
            prop_assert!(packet.options().count() <= MAX_OPTIONS_LEN);
            prop_assert!(!packet.to_string().is_empty());
            let repr = TcpRepr::parse(&packet);
            let mut written = [0; MAX_HEADER_LEN];
            let length = repr.emit(&mut written);
            prop_assert_eq!(parse(&written[..length]).flags, repr.flags);
        }
    }
}
