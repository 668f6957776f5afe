//! What a backend has of a frontend while they are connected.

use std::collections::VecDeque;
use std::vec::Vec;

use super::super::backend::BackendId;
use super::super::faults::Fault;
use super::super::grants::Mapping;
use super::super::machine::Machine;
use super::NetbackState;
use super::ring::{Broken, MappedRing};
use crate::abi::{DomainId, PortNumber};

pub(super) struct Connection {
    /// The backend's domain.
    pub(super) domain: DomainId,
    pub(super) tx: MappedRing,
    pub(super) rx: MappedRing,
    pub(super) tx_port: PortNumber,
    /// The same one, where there is one for both rings.
    pub(super) rx_port: PortNumber,
    pub(super) takes: Takes,
    /// Responses to transmissions that are to be put on the ring.
    pub(super) answers: VecDeque<Answer>,
    last_id: Option<u16>,
    /// The frontend broke the protocol: it is served no more until it connects again.
    pub(super) is_off: bool,
    /// What isn't unmapped.
    pub(super) kept: Vec<Mapping>,
    /// What is reached once more than it should be.
    pub(super) late: Vec<Late>,
    /// A ring's producer is not what it should be.
    lied: bool,
}

/// What the frontend takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Takes {
    pub(super) scatter_gather: bool,
    pub(super) gso_tcpv4: bool,
    pub(super) gso_tcpv6: bool,
    pub(super) checksum_offload: bool,
    pub(super) checksum_offload_v6: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) id: u16,
    pub(super) status: i16,
}

/// A page that was answered, and is reached nevertheless for as long as its entry permits it.
pub(super) enum Late {
    Read(u32),
    Write {
        reference: u32,
        offset: usize,
        length: usize,
    },
}

/// An id that goes back, and whether it is the one that came.
pub(super) struct Spoilt {
    pub(super) value: u16,
    pub(super) is_true: bool,
}

impl Connection {
    pub(super) fn new(
        domain: DomainId,
        (tx, rx): (MappedRing, MappedRing),
        (tx_port, rx_port): (PortNumber, PortNumber),
        takes: Takes,
    ) -> Self {
        Self {
            domain,
            tx,
            rx,
            tx_port,
            rx_port,
            takes,
            answers: VecDeque::new(),
            last_id: None,
            is_off: false,
            kept: Vec::new(),
            late: Vec::new(),
            lied: false,
        }
    }

    pub(super) fn spoil_id(&mut self, machine: &Machine, state: &NetbackState, id: u16) -> Spoilt {
        let value = if machine.happens(Fault::RingUnknownId) {
            // Not one of its ids, if it counts them from zero, nor this one.
            id ^ (0x8000 | machine.draw(0x8000) as u16)
        } else {
            match self.last_id {
                Some(last) if last != id && machine.happens(Fault::RingRepeated) => last,
                _ => id,
            }
        };
        let is_true = value == id;
        if is_true {
            self.last_id = Some(id);
        } else {
            state.count(|counters| counters.unanswered += 1);
        }
        Spoilt { value, is_true }
    }

    /// Changes slots that were read.
    pub(super) fn change_slots(&mut self, machine: &Machine) {
        for ring in [&mut self.tx, &mut self.rx] {
            if machine.happens(Fault::RingSlotChanged) {
                ring.scribble(machine.reach(), || machine.draw(256) as u8);
            }
        }
    }

    /// Puts the answers to transmissions on the ring. Whether any.
    pub(super) fn answer(&mut self, machine: &Machine, state: &NetbackState) -> bool {
        if self.answers.len() > 1 && machine.happens(Fault::RingReordered) {
            let index = machine.draw(self.answers.len() as u64) as usize;
            self.answers.rotate_left(index);
        }
        let any = !self.answers.is_empty();
        while let Some(Answer { id, mut status }) = self.answers.pop_front() {
            // What has no id can't be spoilt.
            let id = if status == 1 {
                id
            } else {
                self.spoil_id(machine, state, id).value
            };
            if machine.happens(Fault::RingGarbage) {
                status = machine.draw(1 << 16) as u16 as i16;
            }
            let response = [id.to_le_bytes(), status.to_le_bytes()].concat();
            self.tx.put(machine.reach(), &response);
            state.count(|counters| counters.answered += 1);
        }
        any
    }

    /// Shows the frontend what was put on the rings, and tells it, if it wants to be told or an index was a lie.
    pub(super) fn publish(
        &mut self,
        machine: &Machine,
        state: &NetbackState,
    ) -> Result<(), Broken> {
        let reach = machine.reach();
        let mut told = [self.tx.publish(reach), self.rx.publish(reach)];
        if core::mem::take(&mut self.lied) {
            told = [true; 2];
        }
        for (index, ring) in [&mut self.tx, &mut self.rx].into_iter().enumerate() {
            if machine.happens(Fault::RingIndex) {
                let far = ring.req_cons.wrapping_add(ring.size + 1);
                ring.lie(reach, far.wrapping_add(machine.draw(1 << 30) as u32));
                self.lied = true;
                told[index] = true;
            }
            if machine.happens(Fault::RingReset) {
                ring.zero(reach);
                // It is found out at its next turn.
                self.lied = true;
                told[index] = true;
            }
        }
        let [tx, rx] = told;
        if tx || (rx && self.rx_port == self.tx_port) {
            machine.send(self.tx_port);
            state.count(|counters| counters.notified += 1);
        }
        if rx && self.rx_port != self.tx_port {
            machine.send(self.rx_port);
            state.count(|counters| counters.notified += 1);
        }
        Ok(())
    }

    /// Whether a turn more is needed though nobody will tell: an index is to be put right, or came to be wrong.
    pub(super) fn arm(&self, machine: &Machine) -> bool {
        let reach = machine.reach();
        let mut again = self.lied;
        for ring in [&self.tx, &self.rx] {
            if machine.happens(Fault::RingThreshold) {
                ring.arm_at(reach, machine.draw_u64() as u32);
                again = true;
            }
        }
        again
    }

    /// Reaches pages once more. Whether it is refused is Xen's business, and no fault of the domain's.
    pub(super) fn meddle(&mut self, machine: &Machine) {
        let (reach, domain) = (machine.reach(), self.domain);
        let mut late = core::mem::take(&mut self.late);
        late.retain(|late| match *late {
            Late::Read(reference) => {
                if let Ok(mapping) = reach.try_map(domain, reference, false) {
                    let _ = reach.try_read(&mapping, 0, &mut [0; 64]);
                    reach.unmap(mapping);
                }
                false
            }
            Late::Write {
                reference,
                offset,
                length,
            } => {
                let Ok(mapping) = reach.try_map(domain, reference, true) else {
                    return false;
                };
                let mut bytes = Vec::new();
                bytes.resize_with(length, || machine.draw(256) as u8);
                let _ = reach.write(&mapping, offset, &bytes);
                reach.unmap(mapping);
                // Again at the next opportunity, now and then.
                machine.draw(4) != 0
            }
        });
        self.late = late;
    }

    /// Lets go of everything, but of what a fault keeps mapped.
    pub(super) fn close(
        mut self,
        machine: &Machine,
        state: &NetbackState,
        id: BackendId,
    ) -> Vec<Mapping> {
        let reach = machine.reach();
        let unread = u64::from(self.rx.unread(reach));
        state.count(|counters| counters.unread += unread);
        for port in [self.tx_port, self.rx_port] {
            machine.events.unbind_backend(port, id);
        }
        for ring in [self.tx, self.rx] {
            if machine.happens(Fault::GrantKept) {
                self.kept.push(ring.into_mapping());
            } else {
                ring.unmap(reach);
            }
        }
        self.kept
    }
}
