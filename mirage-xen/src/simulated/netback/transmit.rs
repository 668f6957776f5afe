//! From the domain's ring to the wire.

use std::vec::Vec;

use mirage_core::doubles::Packet;
use mirage_core::frame::{Segmentation, SegmentationKind};
use mirage_core::{Checksum, FrameMetadata};

use super::super::faults::Fault;
use super::super::grants::Refused;
use super::super::machine::Machine;
use super::super::violations::Violation;
use super::connection::{Answer, Connection, Late};
use super::ring::Broken;
use super::{NetbackState, headers};
use crate::abi::PAGE_SIZE;

// io/netif.h, written down a second time: `NETTXF_*`, `XEN_NETIF_EXTRA_*`, `NETIF_RSP_*`.
const CSUM_BLANK: u16 = 1;
const DATA_VALIDATED: u16 = 2;
const MORE_DATA: u16 = 4;
const EXTRA_INFO: u16 = 8;
const EXTRA_TYPE_GSO: u8 = 1;
const EXTRA_TYPE_MCAST_ADD: u8 = 2;
const EXTRA_TYPE_MCAST_DEL: u8 = 3;
const EXTRA_FLAG_MORE: u8 = 1;
const GSO_TYPE_TCPV4: u8 = 1;
const GSO_TYPE_TCPV6: u8 = 2;
const RSP_NULL: i16 = 1;
const RSP_OKAY: i16 = 0;
const RSP_ERROR: i16 = -1;
const RSP_DROPPED: i16 = -2;

/// The most slots with data that a frame may have (`XEN_NETIF_NR_SLOTS_MIN`).
const SLOTS: usize = 18;
/// Bytes of an Ethernet header, which the first slot must hold.
const ETHERNET: usize = 14;

/// `netif_tx_request_t`.
#[derive(Clone, Copy)]
struct Request {
    reference: u32,
    offset: u16,
    flags: u16,
    id: u16,
    size: u16,
}

impl Request {
    fn parse(bytes: [u8; 12]) -> Self {
        let [
            a,
            b,
            c,
            d,
            offset,
            offset_high,
            flags,
            flags_high,
            id,
            id_high,
            size,
            size_high,
        ] = bytes;
        Self {
            reference: u32::from_le_bytes([a, b, c, d]),
            offset: u16::from_le_bytes([offset, offset_high]),
            flags: u16::from_le_bytes([flags, flags_high]),
            id: u16::from_le_bytes([id, id_high]),
            size: u16::from_le_bytes([size, size_high]),
        }
    }
}

/// The requests of one frame.
struct Chain {
    requests: Vec<Request>,
    extras: Vec<[u8; 8]>,
}

/// What the domain asks that no backend does.
struct Wrong(&'static str);

/// Takes what the domain transmits, a turn's worth. Whether there is more.
pub(super) fn run(
    machine: &Machine,
    state: &NetbackState,
    connection: &mut Connection,
) -> Result<bool, Broken> {
    let budget = state.config.borrow().budget;
    for _ in 0..budget {
        let waiting = connection.tx.waiting(machine.reach())?;
        if waiting == 0 {
            return Ok(false);
        }
        let chain = match read_chain(machine, connection, waiting)? {
            Ok(chain) => chain,
            Err(Wrong(what)) => {
                // Linux turns the interface off, as nothing tells where the next frame begins.
                machine.violations.add(Violation::NetRequest(what));
                state.count(|counters| counters.refused += 1);
                connection.is_off = true;
                return Ok(false);
            }
        };
        take(machine, state, connection, &chain);
    }
    Ok(connection.tx.waiting(machine.reach())? > 0)
}

fn read_chain(
    machine: &Machine,
    connection: &mut Connection,
    waiting: u32,
) -> Result<Result<Chain, Wrong>, Broken> {
    let reach = machine.reach();
    let first = Request::parse(connection.tx.peek(reach, 0)?);
    let mut chain = Chain {
        requests: [first].into(),
        extras: Vec::new(),
    };
    let mut ahead = 1;
    let mut more = first.flags & EXTRA_INFO != 0;
    while more {
        if ahead >= waiting {
            return Ok(Err(Wrong("the extra information is missing")));
        }
        let extra: [u8; 8] = connection.tx.peek(reach, ahead)?;
        more = extra[1] & EXTRA_FLAG_MORE != 0;
        chain.extras.push(extra);
        ahead += 1;
    }
    let mut last = first;
    while last.flags & MORE_DATA != 0 {
        if ahead >= waiting {
            return Ok(Err(Wrong("a frame's next request is missing")));
        }
        last = Request::parse(connection.tx.peek(reach, ahead)?);
        chain.requests.push(last);
        ahead += 1;
    }
    connection.tx.skip(ahead);
    Ok(Ok(chain))
}

/// Takes one frame, and answers each of its requests.
fn take(machine: &Machine, state: &NetbackState, connection: &mut Connection, chain: &Chain) {
    let checked = pieces(chain).and_then(|pieces| Ok((pieces, metadata(state, chain)?)));
    let status = match checked {
        Err(Wrong(what)) => {
            machine.violations.add(Violation::NetRequest(what));
            state.count(|counters| counters.refused += 1);
            RSP_ERROR
        }
        // Frames that only change a filter have no data for the wire.
        Ok((_, None)) => RSP_OKAY,
        Ok((pieces, Some(metadata))) => match copy(machine, connection, &pieces) {
            Err(Refused) => {
                state.count(|counters| counters.refused += 1);
                RSP_ERROR
            }
            Ok(_) if machine.happens(Fault::RingError) => {
                state.count(|counters| counters.transmit_lost += 1);
                if machine.draw(2) == 0 {
                    RSP_ERROR
                } else {
                    RSP_DROPPED
                }
            }
            Ok(bytes) => finish(machine, state, bytes, metadata),
        },
    };
    let mut requests = chain.requests.iter();
    if let Some(first) = requests.next() {
        connection.answers.push_back(Answer {
            id: first.id,
            status,
        });
    }
    for _ in &chain.extras {
        let status = RSP_NULL;
        connection.answers.push_back(Answer { id: 0, status });
    }
    for request in requests {
        let id = request.id;
        connection.answers.push_back(Answer { id, status });
    }
}

/// Each request with its true size: the first one's is the frame's.
fn pieces(chain: &Chain) -> Result<Vec<Request>, Wrong> {
    let mut pieces = chain.requests.clone();
    if pieces.len() > SLOTS {
        return Err(Wrong("a frame has more than 18 slots"));
    }
    let rest: usize = pieces[1..].iter().map(|of| usize::from(of.size)).sum();
    let first = usize::from(pieces[0].size).checked_sub(rest);
    let first = first.ok_or(Wrong("pieces are longer than their frame"))?;
    if first < ETHERNET {
        return Err(Wrong("the first slot does not hold the Ethernet header"));
    }
    pieces[0].size = first as u16;
    let crosses = |of: &Request| usize::from(of.offset) + usize::from(of.size) > PAGE_SIZE;
    if pieces.iter().any(crosses) {
        return Err(Wrong("a slot crosses a page"));
    }
    Ok(pieces)
}

/// What the flags and the extra information say of a frame. `None` of one that is none.
fn metadata(state: &NetbackState, chain: &Chain) -> Result<Option<FrameMetadata>, Wrong> {
    let config = state.config.borrow();
    let flags = chain.requests[0].flags;
    let mut metadata = FrameMetadata::NONE;
    if flags & CSUM_BLANK != 0 {
        // Where it is is seen in the bytes.
        let (start, offset) = (0, 0);
        metadata.checksum = Checksum::Partial { start, offset };
    } else if flags & DATA_VALIDATED != 0 {
        metadata.checksum = Checksum::Verified;
    }
    let mut is_frame = true;
    for extra in &chain.extras {
        match extra[0] {
            EXTRA_TYPE_GSO => {
                let size = u16::from_le_bytes([extra[2], extra[3]]);
                let kind = match extra[4] {
                    GSO_TYPE_TCPV4 if config.gso_tcpv4 => SegmentationKind::TcpV4,
                    GSO_TYPE_TCPV6 if config.gso_tcpv6 => SegmentationKind::TcpV6,
                    _ => return Err(Wrong("segmentation of a kind that was not offered")),
                };
                if size == 0 {
                    return Err(Wrong("segments without bytes"));
                }
                metadata.segmentation = Some(Segmentation {
                    size,
                    kind,
                    header_len: 0,
                });
            }
            EXTRA_TYPE_MCAST_ADD | EXTRA_TYPE_MCAST_DEL if config.multicast_control => {
                is_frame = false;
            }
            _ => return Err(Wrong("extra information of a type that was not offered")),
        }
    }
    if metadata.segmentation.is_some() && flags & CSUM_BLANK == 0 {
        return Err(Wrong("segmentation with a checksum that isn't blank"));
    }
    Ok(is_frame.then_some(metadata))
}

/// Copies a frame out of the domain's pages.
fn copy(
    machine: &Machine,
    connection: &mut Connection,
    pieces: &[Request],
) -> Result<Vec<u8>, Refused> {
    let reach = machine.reach();
    let mut bytes = Vec::new();
    for piece in pieces {
        let mapping = reach.map(connection.domain, piece.reference, false)?;
        let start = bytes.len();
        bytes.resize(start + usize::from(piece.size), 0);
        let copied = reach.read(&mapping, usize::from(piece.offset), &mut bytes[start..]);
        if machine.happens(Fault::GrantKept) {
            connection.kept.push(mapping);
        } else {
            reach.unmap(mapping);
        }
        copied?;
        if machine.happens(Fault::LateRead) {
            connection.late.push(Late::Read(piece.reference));
        }
    }
    Ok(bytes)
}

/// Puts a frame on the wire.
fn finish(
    machine: &Machine,
    state: &NetbackState,
    bytes: Vec<u8>,
    mut metadata: FrameMetadata,
) -> i16 {
    if let Checksum::Partial { .. } = metadata.checksum {
        let offered = state.config.borrow().checksum_offload;
        match headers::blank(&bytes) {
            Some(checksum) if offered => metadata.checksum = checksum,
            found => {
                let what = if found.is_none() {
                    "a blank checksum in a frame that has none"
                } else {
                    "a blank checksum, which was not offered"
                };
                machine.violations.add(Violation::NetRequest(what));
                state.count(|counters| counters.refused += 1);
                return RSP_ERROR;
            }
        }
    }
    state.put_on_wire(Packet { bytes, metadata });
    RSP_OKAY
}
