//! A stack without an Ethernet: each frame is handed to it, and taken from it.

use super::*;

/// When it happens, where the time doesn't matter.
pub const NOW: Instant = Instant::from_secs(1_000);

/// A frame that comes in.
pub fn feed(stack: &mut Stack<'_>, now: Instant, bytes: &[u8]) {
    let frame = frame(stack.pool(), bytes, 2048);
    stack.handle_frame(now, frame);
}

/// A neighbour that asks for us is learned.
pub fn introduce(stack: &mut Stack<'_>, number: u8) {
    let request = arp(
        1,
        MacAddress::BROADCAST,
        (mac(number), ip(number)),
        (MacAddress::UNSPECIFIED, ip(1)),
    );
    feed(stack, NOW, &request);
    assert_eq!(drain(stack, NOW).len(), 1);
}

/// A stack that knows station 2.
pub fn acquainted(pool: &'static Pool) -> Stack<'static> {
    let mut stack = lone_stack(pool);
    introduce(&mut stack, 2);
    stack
}

pub fn bind(stack: &mut Stack<'_>, port: u16) -> UdpHandle {
    let local = (Ipv4Addr::UNSPECIFIED, port).into();
    stack.udp_bind(UdpOptions::bind(local)).unwrap()
}

/// A stack with a connected socket that refuses fragments, and the datagram that it sent.
pub fn connected(pool: &'static Pool) -> (Stack<'static>, UdpHandle, Vec<u8>) {
    let mut stack = acquainted(pool);
    let mut options = UdpOptions::connect((Ipv4Addr::UNSPECIFIED, 0).into(), at(2, 9));
    options.fragmentation = Fragmentation::Refused;
    let handle = stack.udp_bind(options).unwrap();
    stack.udp_send(NOW, handle, None, &[7; 1400]).unwrap();
    let sent = drain(&mut stack, NOW).remove(0);
    assert_eq!(sent[20] & 0x40, 0x40, "Don't Fragment");
    (stack, handle, sent)
}

/// An ICMP error from a router about a datagram.
pub fn error_about(kind: u8, code: u8, mtu: u16, datagram: &[u8]) -> Vec<u8> {
    let quote = &datagram[14..datagram.len().min(14 + 28)];
    let [high, low] = mtu.to_be_bytes();
    let message = icmp(kind, code, [0, 0, high, low], quote);
    Ip::new(ip(254), ip(1), 1).frame(&message)
}
