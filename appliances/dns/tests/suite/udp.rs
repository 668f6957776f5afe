//! The UDP shell over a socket that is a script.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use dns_appliance::{Counter, Service, ZONES_IMAGE, serve_udp};
use edge_nal::{UdpReceive, UdpSend};
use embedded_io_async::ErrorType;
use mirage_core::executor::yield_now;
use mirage_dns::zone_set::ZoneSet;

#[test]
fn datagrams_too_long_or_from_port_0_are_dropped_and_counted() {
    let service: &'static Service = Box::leak(Box::new(Service::new(
        ZoneSet::from_bytes(ZONES_IMAGE).expect("the image that was built"),
    )));
    let query = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\0\0\x06\0\x01".to_vec();
    let mut socket = Script {
        received: VecDeque::from([
            (vec![0; 513], "192.0.2.1:53"),
            (query.clone(), "192.0.2.1:0"),
            (query, "192.0.2.1:5353"),
        ]),
        sent: Vec::new(),
    };
    let executor = crate::common::executor();
    executor.run_until(async {
        let (mut request, mut response) = ([0; 512], [0; 512]);
        let serving = serve_udp(&mut socket, service, executor, &mut request, &mut response);
        let _ = executor.timeout(Duration::from_nanos(1), serving).await;
    });
    let counters = service.counters();
    assert_eq!(counters.get(Counter::UdpTooLong), 1);
    assert_eq!(counters.get(Counter::UdpNoPort), 1);
    assert_eq!(counters.queries(), 1);
    let [(remote, answer)] = &socket.sent[..] else {
        panic!("one answer: {:?}", socket.sent);
    };
    assert_eq!(remote.to_string(), "192.0.2.1:5353");
    assert_eq!(answer[..2], [0x12, 0x34]);
}

#[test]
fn a_flood_of_datagrams_does_not_keep_other_tasks_from_running() {
    let service: &'static Service = Box::leak(Box::new(Service::new(ZoneSet::EMPTY)));
    let executor = crate::common::executor();
    let serving = executor.spawn(async move {
        let (mut request, mut response) = ([0; 512], [0; 512]);
        serve_udp(
            &mut Flood(0),
            service,
            executor,
            &mut request,
            &mut response,
        )
        .await
    });
    let serving = serving.expect("a task");
    executor.run_until(async {
        for _ in 0..10 {
            yield_now().await;
        }
    });
    assert!(service.counters().queries() > 0);
    serving.abort();
}

/// Datagrams without end.
struct Flood(usize);

impl ErrorType for Flood {
    type Error = Infallible;
}

impl UdpReceive for Flood {
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), Infallible> {
        self.0 += 1;
        assert!(self.0 < 100_000, "nobody else gets a turn");
        let query = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\0\0\x06\0\x01";
        buffer[..query.len()].copy_from_slice(query);
        Ok((query.len(), SocketAddr::from(([192, 0, 2, 1], 5353))))
    }
}

impl UdpSend for Flood {
    async fn send(&mut self, _: SocketAddr, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Script {
    received: VecDeque<(Vec<u8>, &'static str)>,
    sent: Vec<(SocketAddr, Vec<u8>)>,
}

impl ErrorType for Script {
    type Error = Infallible;
}

impl UdpReceive for Script {
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), Infallible> {
        let Some((datagram, remote)) = self.received.pop_front() else {
            return pending().await;
        };
        for (place, octet) in buffer.iter_mut().zip(&datagram) {
            *place = *octet;
        }
        Ok((datagram.len(), remote.parse().expect("an address")))
    }
}

impl UdpSend for Script {
    async fn send(&mut self, remote: SocketAddr, data: &[u8]) -> Result<(), Infallible> {
        self.sent.push((remote, data.to_vec()));
        Ok(())
    }
}
