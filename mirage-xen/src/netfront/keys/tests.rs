use super::*;

const DEVICE: [Value<'_>; 4] = [
    Some(b"/local/domain/0/backend/vif/7/0"),
    Some(b"0"),
    Some(b"00:16:3e:01:02:03"),
    Some(b"1500"),
];

fn device(index: usize, value: Value<'_>) -> Result<Option<Device>, DeviceError> {
    let mut values = DEVICE;
    values[index] = value;
    Device::parse(values)
}

#[test]
fn a_device_is_what_the_toolstack_wrote() {
    let found = Device::parse(DEVICE).unwrap().unwrap();
    assert_eq!(found.backend, "/local/domain/0/backend/vif/7/0");
    assert_eq!(found.backend_id, DomainId::DOM0);
    assert_eq!(found.mac, MacAddress([0, 0x16, 0x3e, 1, 2, 3]));
    assert_eq!(found.mtu, 1_500);
    let without_mtu = device(3, None).unwrap().unwrap();
    assert_eq!(without_mtu.mtu, 1_500);
    assert_eq!(device(0, None), Ok(None));
}

#[test]
fn strings_that_are_not_what_they_should_be_are_refused() {
    let long = [b'/'; 129];
    for (index, error, values) in [
        (
            0,
            DeviceError::BackendPath,
            &[Some(&b""[..]), Some(b"local"), Some(b"/\xff"), Some(&long)][..],
        ),
        (
            1,
            DeviceError::BackendId,
            &[
                None,
                Some(b""),
                Some(b"-1"),
                Some(b"+1"),
                Some(b"0x1"),
                Some(b" 1"),
                Some(b"1\0"),
                Some(b"32752"),
                Some(b"65536"),
                Some(b"18446744073709551616"),
            ],
        ),
        (
            2,
            DeviceError::Mac,
            &[
                None,
                Some(b""),
                Some(b"00:16:3e:01:02"),
                Some(b"01:16:3e:01:02:03"),
                Some(b"00:00:00:00:00:00"),
                Some(b"ff:ff:ff:ff:ff:ff"),
                Some(b"00:16:3e:01:02:03\xff"),
            ],
        ),
        (
            3,
            DeviceError::Mtu,
            &[
                Some(b""),
                Some(b"67"),
                Some(b"65518"),
                Some(b"4294968796"),
                Some(b"1500 "),
            ],
        ),
    ] {
        for value in values {
            assert_eq!(device(index, *value), Err(error), "{value:?}");
        }
    }
    assert_eq!(device(3, Some(b"68")).unwrap().unwrap().mtu, 68);
    assert_eq!(device(3, Some(b"65517")).unwrap().unwrap().mtu, 65_517);
}

#[test]
fn features_are_off_unless_they_are_said_to_be_on_but_for_ipv4s_checksums() {
    let copy = Some(&b"1"[..]);
    let none = [copy, None, None, None, None, None];
    let expected = BackendFeatures {
        checksum_v4: true,
        ..BackendFeatures::default()
    };
    assert_eq!(parse_features(none), Ok(expected));
    let all = [copy, copy, Some(&b"0"[..]), copy, copy, copy];
    let expected = BackendFeatures {
        scatter_gather: true,
        checksum_v4: true,
        checksum_v6: true,
        segmentation_v4: true,
        segmentation_v6: true,
    };
    assert_eq!(parse_features(all), Ok(expected));
    let no_checksum = [copy, None, copy, None, None, None];
    let none = BackendFeatures::default();
    assert_eq!(parse_features(no_checksum), Ok(none));
}

#[test]
fn a_backend_that_does_not_copy_or_makes_no_sense_is_refused() {
    let off = Some(&b"0"[..]);
    for copy in [None, off] {
        let features = parse_features([copy, off, off, off, off, off]);
        assert_eq!(features, Err(DeviceError::NoReceiveCopy));
    }
    for index in 0..6 {
        let mut values = [Some(&b"1"[..]); 6];
        values[index] = Some(b"yes");
        assert_eq!(parse_features(values), Err(DeviceError::Feature));
    }
}

#[test]
fn a_backend_without_a_carrier_has_its_link_up() {
    let parse = |state, carrier| Backend::parse([state, carrier, None]);
    let up = Backend {
        state: XenbusState::Connected,
        carrier: true,
        online: true,
    };
    assert_eq!(parse(Some(b"4"), None), Some(up));
    assert_eq!(parse(Some(b"4"), Some(b"1")), Some(up));
    let down = Backend {
        carrier: false,
        ..up
    };
    assert_eq!(parse(Some(b"4"), Some(b"0")), Some(down));
    let gone = Backend {
        state: XenbusState::Unknown,
        ..up
    };
    assert_eq!(parse(None, None), Some(gone));
    let leaving = Backend::parse([Some(b"4"), None, Some(b"0")]);
    assert!(leaving.is_some_and(|backend| !backend.online));
    assert_eq!(parse(Some(b"four"), None), None);
    assert_eq!(parse(Some(b"9"), None), None);
    assert_eq!(parse(Some(b"4"), Some(b"-1")), None);
}

#[test]
fn a_queues_directory_is_named_by_its_number() {
    use alloc::string::ToString;
    assert_eq!(QueueNumber(3).to_string(), "queue-3");
}
