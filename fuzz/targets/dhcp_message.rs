//! DHCP messages of any bytes: no accessor of a checked view panics, an option's parts are one value, and what is written again
//! reads as before.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_net::wire::dhcp::{
    ClasslessRoutes, DhcpHardware, DhcpPacket, DhcpRepr, DhcpWriter, HEADER_LEN, option,
    write_classless_route,
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(packet) = DhcpPacket::new_checked(bytes) else {
        return;
    };
    assert!(bytes.len() >= HEADER_LEN && !packet.to_string().is_empty());
    let repr = DhcpRepr::parse(&packet);
    let hardware = repr.hardware;
    assert_eq!(
        DhcpHardware::new(hardware.kind(), hardware.as_bytes()),
        Some(hardware)
    );
    let mut total = 0;
    for code in 0..=255 {
        let numbers = (packet.u8(code), packet.u16(code), packet.u32(code));
        assert!(
            [
                numbers.0.is_some(),
                numbers.1.is_some(),
                numbers.2.is_some()
            ]
            .iter()
            .filter(|some| **some)
            .count()
                <= 1
        );
        assert_eq!(
            packet.u32(code).map(u32::to_be_bytes),
            packet.address(code).map(|a| a.octets())
        );
        let Some(value) = packet.option(code) else {
            assert_eq!(packet.addresses(code).count(), 0);
            continue;
        };
        assert!(code != option::PAD && code != option::END);
        total += value.len();
        let whole: Vec<u8> = value.bytes().collect();
        assert_eq!(whole.len(), value.len());
        let mut copy = vec![0; whole.len()];
        assert_eq!(value.copy_to(&mut copy), Some(&whole[..]));
        if let Some(one) = value.contiguous() {
            assert_eq!(one, whole);
        }
        let addresses = packet.addresses(code).count();
        assert_eq!(
            addresses,
            if whole.len().is_multiple_of(4) {
                whole.len() / 4
            } else {
                0
            }
        );
        if let Some(routes) = ClasslessRoutes::new_checked(&value) {
            for route in routes {
                let mut room = [0; 9];
                let length = write_classless_route(&route, &mut room).expect("a route fits");
                assert!((5..=9).contains(&length));
            }
        }
    }
    assert!(total <= bytes.len());
    // Written again, with room enough, and with as little as the first byte behind the header says.
    let short = HEADER_LEN + 4 + bytes.get(HEADER_LEN).map_or(0, |byte| usize::from(*byte));
    for room in [bytes.len() + 2_048, short] {
        let mut buffer = vec![0xa5; room];
        let mut writer = DhcpWriter::new(&mut buffer, &repr).expect("room for the header");
        if room == short {
            writer.allow_overload();
        }
        let mut written = Vec::new();
        for code in 1..255 {
            if let Some(value) = packet.option(code) {
                let value: Vec<u8> = value.bytes().collect();
                if writer.option(code, &value).is_ok() {
                    written.push((code, value));
                } else {
                    assert!(room == short || code == option::OVERLOAD);
                }
            }
        }
        let length = writer.finish();
        assert!(length <= room);
        let again = DhcpPacket::new_checked(&buffer[..length]).expect("what is written is read");
        assert_eq!(DhcpRepr::parse(&again), repr);
        for (code, value) in &written {
            let read = again.option(*code).expect("a written option");
            assert!(read.bytes().eq(value.iter().copied()));
        }
    }
});
