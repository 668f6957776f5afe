use super::*;

#[test]
fn capture_writes_the_bytes_that_the_format_asks_for() {
    let net = Net::new();
    let (a, mut b) = (net.attach(1, |_| ()), net.attach(2, |_| ()));
    net.clock.advance(Duration::from_nanos(1_000_000_002));
    let mut a = Capture::with_snaplen(a, Vec::new(), &net.clock, 18);
    send(&mut a, net.frame(2, 1, b"hello"));
    let refused = {
        let mut short = net.frame(2, 1, b"");
        short.truncate(3);
        a.transmit(short).unwrap_err().reason
    };
    assert_eq!(refused, TransmitReason::TooShort);
    send(&mut b, net.frame(1, 2, b"yes"));
    settle(&net.ethernet, &net.clock);
    net.clock.set_wall(Some(Duration::new(1_700_000_000, 5)));
    assert!(received(&mut a).is_some());
    assert_eq!(
        a.counters(),
        CaptureCounters {
            captured: 2,
            ..CaptureCounters::default()
        }
    );
    let mut expected = std::vec![
        0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 18, 0, 0, 0, 1, 0, 0,
        0, // header
        1, 0, 0, 0, 2, 0, 0, 0, 18, 0, 0, 0, 19, 0, 0, 0, // 1.000000002 s, 18 bytes of 19
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, b'h', b'e', b'l', b'l',
    ];
    expected.extend_from_slice(&[0x00, 0xf1, 0x53, 0x65, 5, 0, 0, 0, 17, 0, 0, 0, 17, 0, 0, 0]);
    expected.extend_from_slice(&[
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5, b'y', b'e', b's',
    ]);
    assert_eq!(a.into_parts().1, expected);
}

#[test]
fn a_sink_that_fails_ends_the_capture_and_not_the_interface() {
    struct Broken(usize);
    impl std::io::Write for Broken {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(1)
                .ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let net = Net::new();
    let (a, mut b) = (net.attach(1, |_| ()), net.attach(2, |_| ()));
    let mut a = Capture::new(a, IoSink(Broken(2)), &net.clock);
    for _ in 0..3 {
        send(&mut a, net.frame(2, 1, b"hello"));
    }
    settle(&net.ethernet, &net.clock);
    assert_eq!((0..3).filter(|_| received(&mut b).is_some()).count(), 3);
    assert_eq!(
        (
            a.counters().captured,
            a.counters().lost,
            a.counters().failed
        ),
        (1, 2, true)
    );
}
