//! What the owner of a stack is told.

use core::net::IpAddr;
use core::time::Duration;

use managed::ManagedSlice;
use mirage_core::MacAddress;

/// Something that the owner of a stack may want to act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The link went up or down.
    Link {
        /// Up.
        up: bool,
    },
    /// Nobody objected: the address is ours from now on.
    AddressAcquired(IpAddr),
    /// Another station has the address; it is not used any more.
    AddressLost {
        /// The address.
        address: IpAddr,
        /// The other station.
        other: MacAddress,
    },
    /// Another station used our address, and we told it so.
    AddressDefended {
        /// The address.
        address: IpAddr,
        /// The other station.
        other: MacAddress,
    },
    /// A path takes less than was thought.
    PathMtu {
        /// The path's end.
        destination: IpAddr,
        /// Bytes that it takes, IP header included.
        mtu: u16,
    },
    /// An answer to [`Stack::ping`](crate::Stack::ping).
    EchoReply {
        /// Who answered.
        source: IpAddr,
        /// The request's number.
        sequence: u16,
        /// From the request to the reply.
        round_trip: Duration,
        /// Bytes of data in the reply.
        length: usize,
    },
    /// A ping will not be answered: ICMP Unreachable or Time Exceeded came.
    EchoFailed {
        /// Who was asked.
        destination: IpAddr,
        /// The request's number.
        sequence: u16,
    },
}

/// Storage for one event.
#[derive(Debug, Default)]
pub struct EventSlot(Option<Event>);

impl EventSlot {
    /// An empty slot.
    pub const EMPTY: Self = EventSlot(None);
}

/// A ring of events; when it is full the oldest is lost, and counted.
pub(crate) struct Events<'a> {
    slots: ManagedSlice<'a, EventSlot>,
    start: usize,
    length: usize,
    pub(crate) lost: u64,
}

impl<'a> Events<'a> {
    pub(crate) fn new(slots: ManagedSlice<'a, EventSlot>) -> Self {
        Events {
            slots,
            start: 0,
            length: 0,
            lost: 0,
        }
    }

    pub(crate) fn push(&mut self, event: Event) {
        let capacity = self.slots.len();
        if capacity == 0 {
            self.lost += 1;
            return;
        }
        if self.length == capacity {
            self.pop();
            self.lost += 1;
        }
        let index = (self.start + self.length) % capacity;
        self.slots[index].0 = Some(event);
        self.length += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        if self.length == 0 {
            return None;
        }
        let event = self.slots[self.start].0.take();
        self.start = (self.start + 1) % self.slots.len();
        self.length -= 1;
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_event_makes_room() {
        let mut slots = [const { EventSlot::EMPTY }; 2];
        let mut events = Events::new((&mut slots[..]).into());
        let event =
            |last: u8| Event::AddressAcquired(core::net::Ipv4Addr::new(10, 0, 0, last).into());
        for last in 0..5 {
            events.push(event(last));
        }
        assert_eq!(events.lost, 3);
        assert_eq!(events.pop(), Some(event(3)));
        assert_eq!(events.pop(), Some(event(4)));
        assert_eq!(events.pop(), None);
        let mut none: [EventSlot; 0] = [];
        let mut events = Events::new((&mut none[..]).into());
        events.push(event(1));
        assert_eq!((events.pop(), events.lost), (None, 1));
    }
}
