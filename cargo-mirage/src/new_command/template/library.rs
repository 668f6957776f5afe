//! A UDP service as an appliance: every datagram is sent back (RFC 862).
//!
//! The library knows no platform, and allocates nothing. `host/` makes it a process of this host, `xen/` a guest of Xen.
#![no_std]
#![forbid(unsafe_code)]

use core::cell::Cell;

use mirage_net::{UdpRequest, UdpService};

/// The service's port (RFC 862).
pub const PORT: u16 = 7;

/// What was done with datagrams, and what for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sent back.
    pub answered: u64,
    /// Dropped: longer than what may be sent.
    pub too_long: u64,
    /// Dropped: from a port whose service would answer the answer, for ever.
    pub from_a_service: u64,
}

/// The service. All shells share one by reference.
#[derive(Debug, Default)]
pub struct Service {
    counters: Cell<Counters>,
}

impl Service {
    /// One that has done nothing yet.
    pub const fn new() -> Self {
        Self {
            counters: Cell::new(Counters {
                answered: 0,
                too_long: 0,
                from_a_service: 0,
            }),
        }
    }

    /// What was done.
    pub fn counters(&self) -> Counters {
        self.counters.get()
    }

    /// Writes the answer to a datagram from that port, and says how long it is; none if there is none to send.
    pub fn answer(&self, port: u16, request: &[u8], answer: &mut [u8]) -> Option<usize> {
        let mut counters = self.counters.get();
        let length = if port < 1024 {
            counters.from_a_service += 1;
            None
        } else if let Some(answer) = answer.get_mut(..request.len()) {
            answer.copy_from_slice(request);
            counters.answered += 1;
            Some(request.len())
        } else {
            counters.too_long += 1;
            None
        };
        self.counters.set(counters);
        length
    }
}

/// On our own stack the service answers where the question lies.
impl UdpService for &Service {
    fn respond(&mut self, request: &UdpRequest<'_>, answer: &mut [u8]) -> Option<usize> {
        self.answer(request.source.port(), request.payload, answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_sent_back() {
        let service = Service::new();
        let mut answer = [0; 8];
        assert_eq!(service.answer(40_000, b"hello", &mut answer), Some(5));
        assert_eq!(&answer[..5], b"hello");
        assert_eq!(service.counters().answered, 1);
    }

    #[test]
    fn what_is_too_long_is_dropped_and_counted() {
        let service = Service::new();
        assert_eq!(service.answer(40_000, b"hello", &mut [0; 4]), None);
        assert_eq!(service.counters().too_long, 1);
    }

    #[test]
    fn two_services_do_not_answer_each_other() {
        let service = Service::new();
        assert_eq!(service.answer(PORT, b"hello", &mut [0; 8]), None);
        assert_eq!(service.counters().from_a_service, 1);
    }

    #[test]
    fn the_stack_can_call_it() {
        let service = Service::new();
        let request = UdpRequest {
            now: mirage_core::Instant::ZERO,
            source: ([10, 0, 0, 1], 40_000).into(),
            destination: ([10, 0, 0, 2], PORT).into(),
            payload: b"hello",
        };
        let mut answer = [0; 1_232];
        assert_eq!((&service).respond(&request, &mut answer), Some(5));
    }
}
