//! What was sent lately with Don't Fragment, so that reports about it can be told from forgeries.

use core::net::IpAddr;

use managed::ManagedSlice;

/// Storage for the memory of one sent datagram.
#[derive(Debug, Default)]
pub struct SentSlot(Option<Sent>);

impl SentSlot {
    /// An empty slot.
    pub const EMPTY: Self = SentSlot(None);
}

/// What an ICMP error must quote to be about a datagram of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) identification: u16,
    /// The payload's first bytes: the ports.
    pub(crate) ports: [u8; 4],
    /// Total length in bytes.
    pub(crate) length: u16,
}

/// The latest datagrams, oldest overwritten.
pub(crate) struct SentRing<'a> {
    slots: ManagedSlice<'a, SentSlot>,
    next: usize,
}

impl<'a> SentRing<'a> {
    pub(crate) fn new(slots: ManagedSlice<'a, SentSlot>) -> Self {
        SentRing { slots, next: 0 }
    }

    pub(crate) fn record(&mut self, sent: Sent) {
        let length = self.slots.len();
        if let Some(slot) = self.slots.get_mut(self.next) {
            slot.0 = Some(sent);
            self.next = (self.next + 1) % length;
        }
    }

    /// Whether this very datagram is remembered.
    pub(crate) fn contains(&self, sent: &Sent) -> bool {
        self.slots.iter().any(|slot| slot.0.as_ref() == Some(sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_latest() {
        let sent = |identification| Sent {
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            protocol: 17,
            identification,
            ports: [0, 53, 0, 9],
            length: 1500,
        };
        let mut slots = [const { SentSlot::EMPTY }; 3];
        let mut ring = SentRing::new((&mut slots[..]).into());
        for identification in 0..5 {
            ring.record(sent(identification));
        }
        let known: std::vec::Vec<bool> = (0..6).map(|id| ring.contains(&sent(id))).collect();
        assert_eq!(known, [false, false, true, true, true, false]);
        let mut other = sent(4);
        other.length = 1499;
        assert!(!ring.contains(&other));
        let mut none: [SentSlot; 0] = [];
        SentRing::new((&mut none[..]).into()).record(sent(0));
    }
}
