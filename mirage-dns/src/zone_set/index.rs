//! Makes the hash index of an image.

use alloc::vec::Vec;

use zerocopy::little_endian::U32;

use super::MAX_PROBES;
use super::build_error::{BuildError, BuildErrorKind, number};
use super::format::{NONE, NodeEntry, Slot};
use super::hash::hash_name;
use crate::name::Name;

/// Seeds that are tried before the index grows.
const SEEDS_PER_SIZE: u64 = 8;

/// Times that the index is doubled before the builder gives up.
const DOUBLINGS: u32 = 4;

/// The hash index: open addressing where a name that is far from its place takes the slot of one that is nearer.
pub(super) struct Index {
    pub(super) seed: u64,
    pub(super) probes: u32,
    pub(super) deepest: u32,
    pub(super) slots: Vec<Slot>,
}

impl Index {
    pub(super) fn new(nodes: &[NodeEntry], octets: &[u8]) -> Result<Self, BuildError> {
        let names = || {
            let indexed = (0u32..).zip(nodes);
            let indexed = indexed.filter(|(_, node)| node.flags & NodeEntry::SHADOWED == 0);
            indexed.map(|(index, node)| {
                let start = node.name.get() as usize;
                let wire = &octets[start..start + usize::from(node.name_length)];
                (index, Name::from_checked(wire))
            })
        };
        let deepest = names().map(|(_, name)| name.label_count()).max();
        let smallest = (names().count().max(1) * 2).next_power_of_two();
        for doubling in 0..=DOUBLINGS {
            let slot_count = smallest << doubling;
            number(slot_count)?;
            for attempt in 0..SEEDS_PER_SIZE {
                let seed = u64::from(doubling) * SEEDS_PER_SIZE + attempt;
                let placed = place(slot_count, seed, names());
                if let Some((slots, probes)) = placed {
                    return Ok(Self {
                        seed,
                        probes,
                        deepest: deepest.unwrap_or(0) as u32, // at most 127
                        slots,
                    });
                }
            }
        }
        let kind = BuildErrorKind::IndexTooCrowded;
        Err(BuildError::at(Name::ROOT, None, kind))
    }
}

/// Puts each name in a slot at most [`MAX_PROBES`] from its own; the slots, and the most that a look-up must see.
fn place<'a>(
    slot_count: usize,
    seed: u64,
    names: impl Iterator<Item = (u32, Name<'a>)>,
) -> Option<(Vec<Slot>, u32)> {
    const EMPTY: Slot = Slot {
        tag: U32::new(0),
        node: U32::new(NONE),
    };
    let mask = slot_count - 1;
    let mut slots = alloc::vec![EMPTY; slot_count];
    let mut distances = alloc::vec![0u32; slot_count];
    let mut probes = 1;
    for (node, name) in names {
        let hash = hash_name(seed, name.as_wire());
        let mut slot = Slot {
            tag: U32::new((hash >> 32) as u32),
            node: U32::new(node),
        };
        let mut at = hash as usize & mask;
        let mut distance = 0;
        loop {
            if distance >= MAX_PROBES {
                return None;
            }
            probes = probes.max(distance + 1);
            if slots[at].node.get() == NONE {
                slots[at] = slot;
                distances[at] = distance;
                break;
            }
            if distances[at] < distance {
                core::mem::swap(&mut slots[at], &mut slot);
                core::mem::swap(&mut distances[at], &mut distance);
            }
            at = (at + 1) & mask;
            distance += 1;
        }
    }
    Some((slots, probes))
}
