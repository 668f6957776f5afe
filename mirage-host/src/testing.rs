//! What the tests of network interfaces share: a network namespace of their own, and the machine behind an interface.

use std::net::{Ipv4Addr, UdpSocket};
use std::task::{Context, Poll};
use std::time::Duration;

use mirage_core::executor::Platform;
use mirage_core::{Checksum, Clock, Frame, Instant, Netif, NetifError, Pool};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::HostPlatform;
use crate::interface::RouteSocket;

pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

pub(crate) fn route() -> RouteSocket {
    RouteSocket::open().expect("a netlink socket")
}

/// Takes rights from the calling thread, such as the one to make and change interfaces (`NET_ADMIN`).
pub(crate) fn drop_the_right(to: CapabilitySet) {
    let mut sets = capabilities(None).expect("this thread's capabilities");
    sets.effective.remove(to);
    sets.permitted.remove(to);
    sets.inheritable.remove(to);
    set_capabilities(None, sets).expect("a thread may give up a right");
}

/// The machine behind an interface, played by hand.
pub(crate) struct Guest<N> {
    pub(crate) platform: &'static HostPlatform,
    pub(crate) pool: &'static Pool,
    pub(crate) netif: N,
    pub(crate) deadline: Instant,
}

impl<N: Netif> Guest<N> {
    /// With a pool of 64 pages, which `open` makes the interface on.
    pub(crate) fn with_pool<E>(
        block_size: usize,
        open: impl FnOnce(&'static HostPlatform, &'static Pool) -> Result<N, E>,
    ) -> Result<Self, E> {
        let platform = HostPlatform::leak().expect("a platform");
        let pool = Pool::leak(64, block_size).expect("a pool");
        let netif = open(platform, pool)?;
        let deadline = platform.now() + Duration::from_secs(60);
        Ok(Self {
            platform,
            pool,
            netif,
            deadline,
        })
    }

    pub(crate) fn poll_receive(&mut self) -> Poll<Result<Frame, NetifError>> {
        self.netif
            .poll_receive(&mut Context::from_waker(std::task::Waker::noop()))
    }

    pub(crate) fn poll_ready(&mut self) -> Poll<Result<(), NetifError>> {
        self.netif
            .poll_ready(&mut Context::from_waker(std::task::Waker::noop()))
    }

    pub(crate) fn sleep(&self) {
        self.platform.park(Some(self.deadline));
        assert!(
            self.platform.now() < self.deadline,
            "nothing came within a minute"
        );
    }

    /// The next frame that `wanted` says yes to; others (IPv6's router solicitations, say) are dropped.
    pub(crate) fn receive(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Frame {
        loop {
            match self.poll_receive() {
                Poll::Ready(frame) => {
                    let frame = frame.expect("a frame");
                    let mut head = [0; 42];
                    if frame.copy_to_slice(0, &mut head) == head.len() && wanted(&head) {
                        return frame;
                    }
                }
                Poll::Pending => self.sleep(),
            }
        }
    }

    pub(crate) fn udp(&mut self) -> Frame {
        self.receive(|head| {
            head[12..14] == [8, 0] && head[23] == 17 && head[30..34] == GUEST.octets()
        })
    }

    /// Has the host send `ping` to our port 53, and answers the ARP request that this takes.
    pub(crate) fn ping_pong_arp(&mut self) -> UdpSocket {
        let host = UdpSocket::bind((HOST, 0)).expect("a port of the host");
        host.set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a time-out");
        host.send_to(b"ping", (GUEST, 53)).expect("sent");
        let request = self.receive(|head| head[12..14] == [8, 6] && head[38..42] == GUEST.octets());
        let request = request.contiguous().expect("one page");
        let mut reply = self.pool.alloc().expect("a page");
        let (mac, sender) = (self.netif.mac().octets(), &request[22..32]);
        for part in [
            &request[6..12],
            &mac,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
            &mac,
            &GUEST.octets(),
            sender,
        ] {
            reply.extend_from_slice(part).expect("room");
        }
        self.netif.transmit(reply.into()).expect("transmitted");
        self.netif.flush().expect("flushed");
        host
    }

    pub(crate) fn arp_frame(&self) -> Frame {
        let mut page = self.pool.alloc().expect("a page");
        let mac = self.netif.mac().octets();
        for part in [
            &[255; 6],
            &mac[..],
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &mac,
            &GUEST.octets(),
            &[0; 6],
            &GUEST.octets(),
        ] {
            page.extend_from_slice(part).expect("room");
        }
        page.into()
    }

    /// `pong` to who sent `request`, headers and text in a page each.
    pub(crate) fn answer(&self, request: &Frame, partial: bool) -> Frame {
        let mut head = [0; 42];
        request.copy_to_slice(0, &mut head);
        let text = b"pong";
        let length = (8 + text.len()) as u16;
        let mut out = Vec::new();
        for part in [&head[6..12], &self.netif.mac().octets(), &[8, 0, 0x45, 0]] {
            out.extend_from_slice(part);
        }
        out.extend((20 + length).to_be_bytes());
        out.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
        out.extend(GUEST.octets());
        out.extend(&head[26..30]);
        let ip_checksum = !sum(&out[14..34]);
        out[24..26].copy_from_slice(&ip_checksum.to_be_bytes());
        out.extend([&head[36..38], &head[34..36]].concat());
        out.extend(length.to_be_bytes());
        out.extend([0, 0]);
        let mut whole = out.clone();
        whole.extend_from_slice(text);
        let checksum = if partial {
            pseudo_sum(&whole)
        } else {
            !udp_sum(&whole)
        };
        out[40..42].copy_from_slice(&checksum.to_be_bytes());
        let mut headers = self.pool.alloc().expect("a page");
        headers.extend_from_slice(&out).expect("room");
        let mut payload = self.pool.alloc().expect("a page");
        payload.extend_from_slice(text).expect("room");
        let mut frame = Frame::from(headers);
        frame.push(payload.freeze()).expect("room");
        if partial {
            frame.metadata.checksum = Checksum::Partial {
                start: 34,
                offset: 6,
            };
        }
        frame
    }
}

pub(crate) fn receive_text(host: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 64];
    let (length, from) = host
        .recv_from(&mut buffer)
        .expect("an answer within a minute");
    assert_eq!(from, (GUEST, 53).into());
    buffer[..length].to_vec()
}

/// The sum of RFC 1071, without the last complement.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The pseudo-header's sum of a UDP frame (RFC 768).
pub(crate) fn pseudo_sum(frame: &[u8]) -> u16 {
    let mut pseudo = frame[26..34].to_vec();
    pseudo.extend([0, 17]);
    pseudo.extend(&frame[38..40]);
    sum(&pseudo)
}

/// The sum over pseudo-header, header and payload of a UDP frame: 0xffff where its checksum is right.
pub(crate) fn udp_sum(frame: &[u8]) -> u16 {
    let length = usize::from(u16::from_be_bytes([frame[38], frame[39]]));
    let mut all = pseudo_sum(frame).to_be_bytes().to_vec();
    all.extend(&frame[34..34 + length]);
    sum(&all)
}
