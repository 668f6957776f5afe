use super::*;
use proptest::prelude::*;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

/// A DHCPOFFER, byte by byte (RFC 2131 figure 1, RFC 2132).
fn offer() -> Vec<u8> {
    let mut bytes = vec![
        2, 1, 6, 0, // op, htype, hlen, hops
        0x39, 0x03, 0xf3, 0x26, // xid
        0x00, 0x05, 0x80, 0x00, // secs, flags
        0, 0, 0, 0, // ciaddr
        192, 168, 1, 100, // yiaddr
        192, 168, 1, 1, // siaddr
        10, 9, 8, 7, // giaddr
        0x00, 0x0c, 0x29, 0xdd, 0x5c, 0xa7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // chaddr
    ];
    bytes.extend([0; 192]);
    bytes.extend([99, 130, 83, 99]);
    bytes.extend([53, 1, 2]);
    bytes.extend([54, 4, 192, 168, 1, 1]);
    bytes.extend([51, 4, 0, 0, 0x0e, 0x10]);
    bytes.extend([0, 0]);
    bytes.extend([6, 8, 8, 8, 8, 8, 1, 1, 1, 1]);
    bytes.extend([26, 2, 0x05, 0xdc]);
    bytes.push(255);
    bytes
}

const REPR: DhcpRepr = DhcpRepr {
    operation: DhcpOperation::Reply,
    hops: 0,
    transaction: 0x3903_f326,
    seconds: 5,
    broadcast: true,
    client_address: Ipv4Addr::UNSPECIFIED,
    your_address: Ipv4Addr::new(192, 168, 1, 100),
    next_server: Ipv4Addr::new(192, 168, 1, 1),
    relay_address: Ipv4Addr::new(10, 9, 8, 7),
    hardware: DhcpHardware::ethernet(MacAddress([0x00, 0x0c, 0x29, 0xdd, 0x5c, 0xa7])),
};

#[test]
fn parses_the_fixture() {
    let bytes = offer();
    let packet = DhcpPacket::new_checked(&bytes).unwrap();
    assert_eq!(DhcpRepr::parse(&packet), REPR);
    assert_eq!(packet.message_type(), Some(DhcpMessageType::Offer));
    assert_eq!(
        packet.address(option::SERVER_IDENTIFIER),
        Some(Ipv4Addr::new(192, 168, 1, 1))
    );
    assert_eq!(packet.u32(option::LEASE_TIME), Some(3_600));
    assert_eq!(packet.u16(option::INTERFACE_MTU), Some(1_500));
    let resolvers: Vec<_> = packet.addresses(option::DOMAIN_NAME_SERVER).collect();
    assert_eq!(
        resolvers,
        [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(1, 1, 1, 1)]
    );
    assert!(packet.option(option::ROUTER).is_none());
    assert_eq!(packet.u8(option::LEASE_TIME), None, "another length");
    assert_eq!(
        packet.to_string(),
        "DHCPOFFER 0x3903f326 00:0c:29:dd:5c:a7 192.168.1.100"
    );
}

#[test]
fn emits_the_fixture() {
    let mut buffer = [0xaa; 548];
    let mut writer = DhcpWriter::new(&mut buffer, &REPR).unwrap();
    writer.message_type(DhcpMessageType::Offer).unwrap();
    writer
        .address(option::SERVER_IDENTIFIER, Ipv4Addr::new(192, 168, 1, 1))
        .unwrap();
    writer.u32(option::LEASE_TIME, 3_600).unwrap();
    let resolvers = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(1, 1, 1, 1)];
    writer
        .addresses(option::DOMAIN_NAME_SERVER, &resolvers)
        .unwrap();
    writer.u16(option::INTERFACE_MTU, 1_500).unwrap();
    let length = writer.finish();
    assert_eq!(length, SHORTEST_LEN);
    let mut expected = offer();
    // The fixture has two bytes of padding in the middle; the writer pads at the end.
    expected.drain(240 + 15..240 + 17);
    expected.resize(SHORTEST_LEN, 0);
    assert_eq!(buffer[..length], expected);
}

#[test]
fn what_is_cut_off_or_no_dhcp_is_refused() {
    let bytes = offer();
    for length in 0..HEADER_LEN {
        let error = DhcpPacket::new_checked(&bytes[..length]).unwrap_err();
        assert_eq!(error, WireError::Truncated, "{length}");
    }
    // No End: taken (there are such senders), as long as no option is cut.
    assert!(DhcpPacket::new_checked(&bytes[..HEADER_LEN]).is_ok());
    assert!(DhcpPacket::new_checked(&bytes[..HEADER_LEN + 3]).is_ok());
    for cut in [1, 2, 4, 5, 8] {
        let error = DhcpPacket::new_checked(&bytes[..HEADER_LEN + cut]).unwrap_err();
        assert_eq!(error, WireError::Truncated, "{cut}");
    }
    let changed = |at: usize, to: u8| {
        let mut bytes = offer();
        bytes[at] = to;
        DhcpPacket::new_checked(&bytes).map(|_| ()).unwrap_err()
    };
    assert_eq!(changed(0, 3), WireError::Malformed);
    assert_eq!(changed(0, 0), WireError::Malformed);
    assert_eq!(changed(2, 17), WireError::Malformed);
    assert_eq!(changed(236, 0), WireError::Unsupported);
}

#[test]
fn an_option_in_several_parts_is_one_value() {
    let mut bytes = offer();
    bytes.pop();
    bytes.extend([12, 2, b'a', b'b', 6, 4, 9, 9, 9, 9, 12, 0, 12, 1, b'c', 255]);
    let packet = DhcpPacket::new_checked(&bytes).unwrap();
    let name = packet.option(option::HOST_NAME).unwrap();
    assert_eq!(name.bytes().collect::<Vec<_>>(), b"abc");
    assert_eq!((name.len(), name.contiguous()), (3, None));
    assert_eq!(name.copy_to(&mut [0; 8]), Some(&b"abc"[..]));
    assert_eq!(name.copy_to(&mut [0; 2]), None);
    assert_eq!(packet.addresses(option::DOMAIN_NAME_SERVER).count(), 3);
    // What follows the End is none.
    bytes.extend([12, 1, b'd', 255]);
    let packet = DhcpPacket::new_checked(&bytes).unwrap();
    assert_eq!(packet.option(option::HOST_NAME).unwrap().len(), 3);
}

#[test]
fn overloaded_fields_are_read_file_before_sname_and_only_if_the_message_says_so() {
    for (value, expected) in [
        (None, &b"o"[..]),
        (Some(1), b"of"),
        (Some(2), b"os"),
        (Some(3), b"ofs"),
    ] {
        let mut bytes = offer();
        bytes.pop();
        bytes.extend([12, 1, b'o']);
        if let Some(value) = value {
            bytes.extend([52, 1, value]);
        }
        bytes.push(255);
        bytes[44..48].copy_from_slice(&[12, 1, b's', 255]);
        bytes[108..112].copy_from_slice(&[12, 1, b'f', 255]);
        let packet = DhcpPacket::new_checked(&bytes).unwrap();
        let name = packet.option(option::HOST_NAME).unwrap();
        assert_eq!(name.bytes().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn an_overload_that_says_nonsense_or_is_nested_leads_nowhere() {
    for value in [
        &[52, 1, 0][..],
        &[52, 1, 4],
        &[52, 2, 1, 1],
        &[52, 0],
        &[52, 1, 1, 52, 1, 2],
    ] {
        let mut bytes = offer();
        bytes.pop();
        bytes.extend(value);
        bytes.push(255);
        let error = DhcpPacket::new_checked(&bytes).map(|_| ()).unwrap_err();
        assert_eq!(error, WireError::Malformed, "{value:?}");
    }
    // An overload within an overloaded field isn't followed.
    let mut bytes = offer();
    bytes.pop();
    bytes.extend([52, 1, 1, 255]);
    bytes[44..48].copy_from_slice(&[12, 1, b's', 255]);
    bytes[108..112].copy_from_slice(&[12, 1, b'f', 255]);
    let packet = DhcpPacket::new_checked(&bytes).unwrap();
    assert_eq!(
        packet.option(option::HOST_NAME).unwrap().contiguous(),
        Some(&b"f"[..])
    );
    // An option of an overloaded field may not reach beyond it.
    bytes[108..112].copy_from_slice(&[12, 127, b'f', 255]);
    assert_eq!(
        DhcpPacket::new_checked(&bytes).map(|_| ()).unwrap_err(),
        WireError::Truncated
    );
}

#[test]
fn options_that_do_not_fit_are_refused_and_nothing_panics() {
    for length in 0..600 {
        let mut buffer = vec![0; length];
        let Ok(mut writer) = DhcpWriter::new(&mut buffer, &REPR) else {
            assert!(length < 244);
            continue;
        };
        writer.allow_overload();
        let mut written = Vec::new();
        for (code, size) in [
            (12, 40),
            (60, 130),
            (61, 1),
            (82, 300),
            (15, 60),
            (43, 0),
            (17, 20),
        ] {
            if writer.option(code, &vec![code; size]).is_ok() {
                written.push((code, size));
            }
        }
        let end = writer.finish();
        assert!(end <= length);
        let packet = DhcpPacket::new_checked(&buffer[..end]).unwrap();
        for code in 1..255 {
            let size = packet.option(code).map(|option| option.len());
            let expected = written.iter().find(|(other, _)| *other == code);
            if code != option::OVERLOAD {
                assert_eq!(size, expected.map(|(_, size)| *size), "{code} in {length}");
            }
        }
    }
}

#[test]
fn without_leave_nothing_is_overloaded() {
    let mut buffer = [0; 260];
    let mut writer = DhcpWriter::new(&mut buffer, &REPR).unwrap();
    assert_eq!(writer.option(12, &[1; 20]), Err(DhcpFull));
    writer.option(12, &[1; 14]).unwrap();
    assert_eq!(writer.option(13, &[]), Err(DhcpFull));
    assert_eq!(writer.finish(), 260);
    let packet = DhcpPacket::new_checked(&buffer).unwrap();
    assert!(packet.option(option::OVERLOAD).is_none());
}

#[test]
fn the_writers_own_options_are_refused() {
    let mut buffer = [0; 300];
    let mut writer = DhcpWriter::new(&mut buffer, &REPR).unwrap();
    for code in [option::PAD, option::END, option::OVERLOAD] {
        assert_eq!(writer.option(code, &[1]), Err(DhcpFull));
    }
}

/// RFC 3442's table of descriptors.
#[test]
fn classless_routes_of_rfc_3442() {
    let routes: [(&[u8], [u8; 4]); 6] = [
        (&[0], [0, 0, 0, 0]),
        (&[8, 10], [10, 0, 0, 0]),
        (&[16, 10, 17], [10, 17, 0, 0]),
        (&[24, 10, 27, 129], [10, 27, 129, 0]),
        (&[25, 10, 229, 0, 128], [10, 229, 0, 128]),
        (&[32, 10, 198, 122, 47], [10, 198, 122, 47]),
    ];
    let mut value = Vec::new();
    for (descriptor, _) in routes {
        value.extend(descriptor);
        value.extend([10, 0, 0, 1]);
    }
    let mut buffer = [0; 548];
    let mut writer = DhcpWriter::new(&mut buffer, &REPR).unwrap();
    writer.option(option::CLASSLESS_ROUTES, &value).unwrap();
    let length = writer.finish();
    let packet = DhcpPacket::new_checked(&buffer[..length]).unwrap();
    let option = packet.option(option::CLASSLESS_ROUTES).unwrap();
    let read: Vec<_> = ClasslessRoutes::new_checked(&option).unwrap().collect();
    let mut again = Vec::new();
    for (route, (descriptor, network)) in read.iter().zip(routes) {
        assert_eq!(route.network, Ipv4Addr::from(network));
        assert_eq!(route.prefix_len, descriptor[0]);
        assert_eq!(route.gateway, Ipv4Addr::new(10, 0, 0, 1));
        let mut room = [0; 9];
        let length = write_classless_route(route, &mut room).unwrap();
        again.extend(&room[..length]);
        assert_eq!(write_classless_route(route, &mut room[..length - 1]), None);
    }
    assert_eq!((read.len(), again), (6, value));
}

#[test]
fn classless_routes_that_are_malformed_anywhere_are_none() {
    for value in [
        &[][..],
        &[33, 1, 2, 3, 4, 5, 6, 7, 8],
        &[24, 10, 0, 0, 10, 0, 0],
        &[0, 10, 0, 0, 1, 8],
        &[255],
    ] {
        let mut buffer = [0; 548];
        let mut writer = DhcpWriter::new(&mut buffer, &REPR).unwrap();
        writer.option(121, value).unwrap();
        let length = writer.finish();
        let packet = DhcpPacket::new_checked(&buffer[..length]).unwrap();
        let option = packet.option(121).unwrap();
        assert!(ClasslessRoutes::new_checked(&option).is_none(), "{value:?}");
    }
}

/// RFC 3442: "the DHCP client MUST mask".
#[test]
fn bits_behind_a_routes_prefix_are_masked() {
    let mut buffer = [0; 548];
    let mut writer = DhcpWriter::new(&mut buffer, &REPR).unwrap();
    writer
        .option(121, &[25, 129, 210, 177, 132, 10, 0, 0, 1])
        .unwrap();
    let length = writer.finish();
    let packet = DhcpPacket::new_checked(&buffer[..length]).unwrap();
    let mut routes = ClasslessRoutes::new_checked(&packet.option(121).unwrap()).unwrap();
    assert_eq!(
        routes.next().unwrap().network,
        Ipv4Addr::new(129, 210, 177, 128)
    );
}

#[test]
fn hardware_addresses_of_others_are_kept_and_not_taken_for_ethernet() {
    assert_eq!(DhcpHardware::new(32, &[7; 17]), None);
    let infiniband = DhcpHardware::new(32, &[7; 16]).unwrap();
    assert_eq!(
        (infiniband.mac(), infiniband.as_bytes()),
        (None, &[7; 16][..])
    );
    let group = DhcpHardware::new(1, &[255; 6]).unwrap();
    assert_eq!(group.mac(), None);
    let mac = MacAddress([2, 0, 0, 0, 0, 9]);
    assert_eq!(DhcpHardware::ethernet(mac).mac(), Some(mac));
    assert_eq!(infiniband.to_string().split_once(':').unwrap().0, "32/07");
}

proptest! {
    /// Whatever the bytes are: no accessor panics, and what is read lies within them.
    #[test]
    fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..700), op in 1u8..3, cookie: bool) {
        if bytes.len() >= HEADER_LEN && cookie {
            bytes[0] = op;
            bytes[2] %= 17;
            bytes[236..240].copy_from_slice(&MAGIC_COOKIE);
        }
        if let Ok(packet) = DhcpPacket::new_checked(&bytes) {
            let mut total = 0;
            for code in 0..=255 {
                if let Some(option) = packet.option(code) {
                    prop_assert_eq!(option.bytes().count(), option.len());
                    total += option.len();
                    let _ = ClasslessRoutes::new_checked(&option);
                }
                let _ = (packet.u8(code), packet.u16(code), packet.u32(code), packet.address(code));
                let _ = packet.addresses(code).count();
            }
            prop_assert!(total <= bytes.len());
            let repr = DhcpRepr::parse(&packet);
            let mut written = [0; HEADER_LEN];
            repr.emit(&mut written);
            prop_assert_eq!(DhcpRepr::parse(&DhcpPacket::new_checked(&written).unwrap()), repr);
        }
    }

    /// What is written reads as itself, whatever fits.
    #[test]
    fn written_options_read_as_themselves(
        room in 244usize..900,
        overload: bool,
        options in prop::collection::vec((1u8..255, 0usize..400), 0..12),
    ) {
        let mut buffer = vec![0xee; room];
        let mut writer = DhcpWriter::new(&mut buffer, &REPR).unwrap();
        if overload {
            writer.allow_overload();
        }
        let mut written: Vec<(u8, Vec<u8>)> = Vec::new();
        for (code, size) in options {
            if written.iter().any(|(other, _)| *other == code) {
                continue;
            }
            let value: Vec<u8> = (0..size).map(|at| at as u8 ^ code).collect();
            if writer.option(code, &value).is_ok() {
                written.push((code, value));
            }
        }
        let length = writer.finish();
        let packet = DhcpPacket::new_checked(&buffer[..length]).unwrap();
        prop_assert_eq!(DhcpRepr::parse(&packet), REPR);
        for (code, value) in &written {
            let option = packet.option(*code).unwrap();
            prop_assert_eq!(option.bytes().collect::<Vec<_>>(), value.clone());
        }
    }
}
