//! From the wire to the domain's posted pages.

use std::vec::Vec;

use mirage_core::Checksum;
use mirage_core::doubles::Packet;
use mirage_core::frame::SegmentationKind;

use super::super::faults::Fault;
use super::super::machine::Machine;
use super::NetbackState;
use super::connection::{Connection, Late};
use super::ring::Broken;
use crate::abi::PAGE_SIZE;

// io/netif.h, written down a second time: `NETRXF_*`, `XEN_NETIF_EXTRA_*`, `NETIF_RSP_ERROR`.
const DATA_VALIDATED: u16 = 1;
const CSUM_BLANK: u16 = 2;
const MORE_DATA: u16 = 4;
const EXTRA_INFO: u16 = 8;
const EXTRA_TYPE_GSO: u8 = 1;
const GSO_TYPE_TCPV4: u8 = 1;
const GSO_TYPE_TCPV6: u8 = 2;
const RSP_ERROR: i16 = -1;

/// The most slots that a frame comes in.
const SLOTS: usize = 18;

/// Gives the domain what waits for it, as far as it has posted pages. Whether anything was put on the ring.
pub(super) fn run(
    machine: &Machine,
    state: &NetbackState,
    connection: &mut Connection,
) -> Result<bool, Broken> {
    let mut any = false;
    loop {
        let Some(packet) = state.for_domain.borrow_mut().pop_front() else {
            return Ok(any);
        };
        let Some(plan) = plan(state, connection, &packet) else {
            state.count(|counters| counters.receive_dropped += 1);
            continue;
        };
        if (connection.rx.waiting(machine.reach())? as usize) < plan.slots() {
            state.for_domain.borrow_mut().push_front(packet);
            return Ok(any);
        }
        give(machine, state, connection, &plan)?;
        any = true;
    }
}

/// How a frame comes.
struct Plan {
    pieces: Vec<Vec<u8>>,
    flags: u16,
    extra: Option<[u8; 8]>,
}

impl Plan {
    fn slots(&self) -> usize {
        self.pieces.len() + usize::from(self.extra.is_some())
    }
}

/// `None`: the domain doesn't take such a frame.
fn plan(state: &NetbackState, connection: &Connection, packet: &Packet) -> Option<Plan> {
    let config = state.config.borrow();
    let takes = connection.takes;
    let mut packet = packet.clone();
    let mut extra = None;
    if let Some(segmentation) = packet.metadata.segmentation {
        let kind = match segmentation.kind {
            SegmentationKind::TcpV4 if takes.gso_tcpv4 => GSO_TYPE_TCPV4,
            SegmentationKind::TcpV6 if takes.gso_tcpv6 => GSO_TYPE_TCPV6,
            _ => return None,
        };
        let [low, high] = segmentation.size.to_le_bytes();
        extra = Some([EXTRA_TYPE_GSO, 0, low, high, kind, 0, 0, 0]);
    }
    let is_v6 = packet.bytes.get(12..14) == Some(&[0x86, 0xDD]);
    let takes_blank = if is_v6 {
        takes.checksum_offload_v6
    } else {
        takes.checksum_offload
    };
    let mut flags = match packet.metadata.checksum {
        Checksum::Partial { .. } if takes_blank => CSUM_BLANK | DATA_VALIDATED,
        Checksum::Partial { .. } => {
            packet.complete_checksum();
            0
        }
        Checksum::Verified => DATA_VALIDATED,
        Checksum::Unverified => 0,
    };
    let offset = usize::from(config.receive_offset);
    let room = config.receive_segment.min(PAGE_SIZE.checked_sub(offset)?);
    let pieces: Vec<Vec<u8>> = packet
        .bytes
        .chunks(room.max(1))
        .map(<[u8]>::to_vec)
        .collect();
    if pieces.is_empty() || pieces.len() > SLOTS || (pieces.len() > 1 && !takes.scatter_gather) {
        return None;
    }
    if extra.is_some() {
        flags |= EXTRA_INFO;
    }
    Some(Plan {
        pieces,
        flags,
        extra,
    })
}

/// Writes a frame into as many posted pages as it takes, each response into its request's slot.
fn give(
    machine: &Machine,
    state: &NetbackState,
    connection: &mut Connection,
    plan: &Plan,
) -> Result<(), Broken> {
    let reach = machine.reach();
    let offset = state.config.borrow().receive_offset;
    let last = plan.pieces.len() - 1;
    let mut is_whole = true;
    for (index, piece) in plan.pieces.iter().enumerate() {
        let [id, id_high, _, _, reference @ ..] = connection.rx.peek::<8>(reach, 0)?;
        connection.rx.skip(1);
        let (id, reference) = (
            u16::from_le_bytes([id, id_high]),
            u32::from_le_bytes(reference),
        );
        let mut flags = if index == 0 { plan.flags } else { 0 };
        if index < last {
            flags |= MORE_DATA;
        }
        // A slot's bytes are at most a page.
        let mut status = piece.len() as i16;
        let written = reach.map(connection.domain, reference, true);
        let written = written.and_then(|mapping| {
            let result = reach.write(&mapping, usize::from(offset), piece);
            if machine.happens(Fault::GrantKept) {
                connection.kept.push(mapping);
            } else {
                reach.unmap(mapping);
            }
            result
        });
        if written.is_err() || machine.happens(Fault::RingError) {
            status = RSP_ERROR;
            is_whole = false;
        }
        if machine.happens(Fault::BytesChanged) {
            let (offset, length) = (usize::from(offset), piece.len());
            connection.late.push(Late::Write {
                reference,
                offset,
                length,
            });
        }
        let id = connection.spoil_id(machine, state, id);
        is_whole &= id.is_true;
        let mut response = [id.value.to_le_bytes(), offset.to_le_bytes()].concat();
        response.extend_from_slice(&flags.to_le_bytes());
        response.extend_from_slice(&status.to_le_bytes());
        if machine.happens(Fault::RingGarbage) {
            is_whole = false;
            for byte in &mut response[2..] {
                *byte = machine.draw(256) as u8;
            }
        }
        connection.rx.put(reach, &response);
        state.count(|counters| counters.answered += 1);
        if index == 0
            && let Some(extra) = plan.extra
        {
            // It takes the place of a response: the page of that request comes back with it.
            connection.rx.skip(1);
            connection.rx.put(reach, &extra);
            state.count(|counters| counters.answered += 1);
        }
    }
    state.count(|counters| {
        counters.received += u64::from(is_whole);
        counters.receive_lost += u64::from(!is_whole);
    });
    Ok(())
}
