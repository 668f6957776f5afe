//! What Xen's toolstack says at the start: `hvm_start_info` (arch-x86/hvm/start_info.h), copied out of raw memory once
//! and checked against bounds of ours.

use core::fmt;

use heapless::Vec;
use zerocopy::{FromBytes, IntoBytes};

use super::frames::{FrameRange, Ranges};
use super::layout::PAGE;
use crate::abi::start_info::{
    self as abi, MEMORY_TYPE_RAM, MemoryMapEntry, ModuleEntry, START_MAGIC,
};

/// The longest command line in bytes. The toolstack has no bound.
pub(crate) const MAXIMUM_COMMAND_LINE: u64 = 4_096;
/// The most boot modules. The toolstack's bound is the same.
pub(crate) const MAXIMUM_MODULES: usize = 4;
/// The most entries of the memory map. `E820MAX` of the toolstack is 128, and a PVH domain has five or fewer.
pub(crate) const MAXIMUM_MEMORY_RANGES: usize = 32;
/// The first version with a memory map.
const VERSION: u32 = 1;

/// Memory by its physical address.
pub(crate) trait PhysicalMemory {
    /// Copies bytes out. What is no memory reads as anything.
    fn read(&mut self, address: u64, into: &mut [u8]);
}

/// Bytes from a physical address on. None of them lies outside RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PhysicalBytes {
    pub(crate) address: u64,
    pub(crate) length: u64,
}

impl PhysicalBytes {
    /// The frames that they lie in.
    pub(crate) fn frames(self) -> FrameRange {
        FrameRange::touched(self.address, self.address + self.length)
    }
}

/// What was said, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartInfo {
    /// Frames that are RAM with all their bytes.
    pub(crate) ram: Ranges,
    /// Frames that the memory map has for anything, RAM among it.
    pub(crate) claimed: Ranges,
    /// Without the zero at its end.
    pub(crate) command_line: Option<PhysicalBytes>,
    /// In the toolstack's order.
    pub(crate) modules: Vec<PhysicalBytes, MAXIMUM_MODULES>,
}

/// Why it can't be believed. It is the toolstack's fault, except [`TooMany`](Self::TooMany).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartInfoError {
    /// Not `XEN_HVM_START_MAGIC_VALUE`.
    Magic(u32),
    /// Older than the memory map.
    Version(u32),
    /// The memory map is empty.
    NoMemoryMap,
    /// More of something than this crate takes.
    TooMany { what: &'static str, said: u32 },
    /// Something that doesn't lie in RAM.
    Outside {
        what: &'static str,
        address: u64,
        length: u64,
    },
    /// No zero among the bytes that a command line may have.
    CommandLineTooLong,
}

impl fmt::Display for StartInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(magic) => write!(
                f,
                "start info: {magic:#x} is not the magic number of a PVH start"
            ),
            Self::Version(version) => write!(f, "start info: version {version} has no memory map"),
            Self::NoMemoryMap => f.write_str("start info: no memory map"),
            Self::TooMany { what, said } => {
                write!(f, "start info: {said} {what} are more than fit")
            }
            Self::Outside {
                what,
                address,
                length,
            } => {
                write!(
                    f,
                    "start info: {what} of {length} bytes at {address:#x} is not in RAM"
                )
            }
            Self::CommandLineTooLong => {
                write!(
                    f,
                    "start info: a command line of more than {MAXIMUM_COMMAND_LINE} bytes"
                )
            }
        }
    }
}

impl core::error::Error for StartInfoError {}

/// Reads the start info at the physical `address`.
///
/// # Errors
///
/// See [`StartInfoError`].
// Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
#[inline(never)]
pub(crate) fn parse(
    memory: &mut impl PhysicalMemory,
    address: u64,
) -> Result<StartInfo, StartInfoError> {
    let header: abi::StartInfo = read(memory, address);
    if header.magic != START_MAGIC {
        return Err(StartInfoError::Magic(header.magic));
    }
    if header.version < VERSION {
        return Err(StartInfoError::Version(header.version));
    }
    let (ram, claimed) = memory_map(memory, header.memory_map, header.memory_map_entries)?;
    let modules = modules(memory, &ram, header.module_list, header.modules)?;
    let command_line = command_line(memory, &ram, header.command_line)?;
    Ok(StartInfo {
        ram,
        claimed,
        command_line,
        modules,
    })
}

fn read<T: FromBytes + IntoBytes>(memory: &mut impl PhysicalMemory, address: u64) -> T {
    let mut value = T::new_zeroed();
    memory.read(address, value.as_mut_bytes());
    value
}

fn memory_map(
    memory: &mut impl PhysicalMemory,
    address: u64,
    entries: u32,
) -> Result<(Ranges, Ranges), StartInfoError> {
    if entries == 0 {
        return Err(StartInfoError::NoMemoryMap);
    }
    let too_many = StartInfoError::TooMany {
        what: "ranges of memory",
        said: entries,
    };
    if entries as usize > MAXIMUM_MEMORY_RANGES {
        return Err(too_many);
    }
    let mut ram = Ranges::new();
    let mut claimed = Ranges::new();
    let mut other = Ranges::new();
    for number in 0..u64::from(entries) {
        let size = size_of::<MemoryMapEntry>() as u64;
        let Some(at) = address.checked_add(number * size) else {
            return Err(outside(
                "the memory map",
                address,
                u64::from(entries) * size,
            ));
        };
        let entry: MemoryMapEntry = read(memory, at);
        let (start, size) = (entry.address, entry.size);
        let end = start
            .checked_add(size)
            .ok_or(outside("a range of memory", start, size))?;
        claimed
            .insert(FrameRange::touched(start, end))
            .map_err(|_| too_many)?;
        if entry.kind == MEMORY_TYPE_RAM {
            ram.insert(FrameRange::within(start, end))
        } else {
            other.insert(FrameRange::touched(start, end))
        }
        .map_err(|_| too_many)?;
    }
    // Where it contradicts itself, it is not RAM.
    for range in other.iter() {
        ram.remove(range).map_err(|_| too_many)?;
    }
    Ok((ram, claimed))
}

/// A module's own command line is not looked at.
fn modules(
    memory: &mut impl PhysicalMemory,
    ram: &Ranges,
    address: u64,
    count: u32,
) -> Result<Vec<PhysicalBytes, MAXIMUM_MODULES>, StartInfoError> {
    let mut modules = Vec::new();
    if count as usize > MAXIMUM_MODULES {
        return Err(StartInfoError::TooMany {
            what: "modules",
            said: count,
        });
    }
    let size = size_of::<ModuleEntry>() as u64;
    if count > 0 {
        in_ram(ram, "the list of modules", address, u64::from(count) * size)?;
    }
    for number in 0..u64::from(count) {
        let entry: ModuleEntry = read(memory, address + number * size);
        let bytes = in_ram(ram, "a module", entry.address, entry.size)?;
        let pushed = modules.push(bytes);
        debug_assert!(pushed.is_ok());
    }
    Ok(modules)
}

/// A string that ends in a zero. Address zero is none.
fn command_line(
    memory: &mut impl PhysicalMemory,
    ram: &Ranges,
    address: u64,
) -> Result<Option<PhysicalBytes>, StartInfoError> {
    if address == 0 {
        return Ok(None);
    }
    let mut length = 0;
    let mut piece = [0; 64];
    loop {
        in_ram(ram, "the command line", address, length + 1)?;
        // Not over the end of a page: the next one may be no memory.
        let at = address + length;
        let rest = (PAGE - at % PAGE).min(piece.len() as u64) as usize;
        memory.read(at, &mut piece[..rest]);
        if let Some(end) = piece[..rest].iter().position(|byte| *byte == 0) {
            length += end as u64;
            break;
        }
        length += rest as u64;
        if length > MAXIMUM_COMMAND_LINE {
            return Err(StartInfoError::CommandLineTooLong);
        }
    }
    if length > MAXIMUM_COMMAND_LINE {
        return Err(StartInfoError::CommandLineTooLong);
    }
    Ok(Some(PhysicalBytes { address, length }))
}

/// Bytes that lie in one range of RAM.
fn in_ram(
    ram: &Ranges,
    what: &'static str,
    address: u64,
    length: u64,
) -> Result<PhysicalBytes, StartInfoError> {
    let end = address.checked_add(length);
    let inside = end.is_some_and(|end| {
        let frames = FrameRange::touched(address, end);
        frames.is_empty() || ram.iter().any(|range| range.covers(frames))
    });
    if !inside {
        return Err(outside(what, address, length));
    }
    Ok(PhysicalBytes { address, length })
}

fn outside(what: &'static str, address: u64, length: u64) -> StartInfoError {
    StartInfoError::Outside {
        what,
        address,
        length,
    }
}

#[cfg(test)]
mod tests;
