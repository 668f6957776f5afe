//! The devices of Xen: what a backend, the store and the toolstack say.

use std::io;

use mirage_xen::abi::start_info::{MEMORY_TYPE_RAM, ModuleEntry, START_MAGIC, StartInfo};

use crate::Corpora;

pub fn write(corpora: &Corpora) -> io::Result<()> {
    for (name, steps) in netfront() {
        corpora.write("xen_netfront", name, &steps)?;
    }
    for (name, steps) in store() {
        corpora.write("xen_store", name, &steps)?;
    }
    for (name, bytes) in start_infos() {
        corpora.write("xen_start", name, &bytes)?;
    }
    Ok(())
}

/// Steps of `mirage_xen::netfront::fuzzing`: a byte that says what happens, and what that takes.
fn netfront() -> Vec<(&'static str, Vec<u8>)> {
    // A piece of a received frame: flags, length, 64 bytes.
    let piece = |flags: u8, length: u8| [&[0, flags, 0, length, 0][..], &[1; 64]].concat();
    vec![
        ("received", [piece(0, 60), vec![3, 5]].concat()),
        (
            "in-pieces",
            [piece(4, 60), piece(0, 60), vec![3, 5]].concat(),
        ),
        ("hoarded", [piece(0, 60), vec![3]].concat().repeat(20)),
        ("sent", vec![6, 0, 15, 0, 8, 10]),
        ("many-pieces", vec![6, 19, 1, 8, 10, 6, 17, 4, 8, 10]),
        (
            "never-asked",
            vec![2, 9, 0, 0, 0, 0, 0, 60, 0, 3, 9, 200, 1, 0, 0, 10],
        ),
        ("index", vec![11, 255, 255, 255, 255, 11, 0, 0, 33, 0]),
    ]
}

/// Steps of `mirage_xen::fuzzing::store`: a byte that says what happens, and what that takes.
fn store() -> Vec<(&'static str, Vec<u8>)> {
    let ask = [&[0, 0, 4][..], b"a/b\0", &[9, 99]].concat();
    let reply = [&[11, 0, 0, 3][..], b"OK\0", &[15]].concat();
    let watch = [&[4, 4][..], b"data", &[9, 99]].concat();
    let event = [&[13, 1, 0, 6][..], b"data/x", &[15]].concat();
    let begun = [&[6, 9, 99, 11, 0, 0, 2][..], b"2\0"].concat();
    let header = [10, 16, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 16, 0, 0, 1];
    vec![
        ("answered", [&ask[..], &reply].concat()),
        (
            "refused",
            [&ask[..], &[11, 0, 210, 7], b"ENOENT\0", &[15]].concat(),
        ),
        ("given-up", [&ask[..], &[8, 1], &reply].concat()),
        ("twice", [&ask[..], &ask, &reply, &reply].concat()),
        (
            "watched",
            [&watch[..], &event, &reply, &event, &[5, 9, 99], &reply].concat(),
        ),
        (
            "committed",
            [&begun[..], &ask, &reply, &[7, 0, 9, 99], &reply].concat(),
        ),
        (
            "resumed",
            [&begun[..], &watch, &ask, &[14, 0, 9, 99], &reply].concat(),
        ),
        ("quiet", [&ask[..], &[14, 2, 15], &reply, &[14, 7]].concat()),
        (
            "too-long",
            [&ask[..], &header, &[14, 1, 9, 99], &reply].concat(),
        ),
    ]
}

/// What Xen's toolstack leaves a PVH domain, as it lies at 0x135000: the header, a command line, modules, the memory map.
fn start_infos() -> Vec<(&'static str, Vec<u8>)> {
    const BASE: u64 = 0x13_5000;
    const SPECIAL: (u64, u64, u32) = (0xFEFF_8000, 0x8000, 2);
    const ACPI: (u64, u64, u32) = (0xFC00_0000, 0x9000, 4);
    let start_info = |command_line: &str, modules: &[(u64, u64)], map: &[(u64, u64, u32)]| {
        let header = size_of::<StartInfo>() as u64;
        let line = (command_line.len() as u64 + 1).next_multiple_of(8);
        let list = (modules.len() * size_of::<ModuleEntry>()) as u64;
        let mut bytes = Vec::new();
        // Magic number, version, flags, number of modules.
        for word in [START_MAGIC, 1, 0, modules.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        // The list of modules, the command line, ACPI's root pointer, the memory map and its number of entries.
        let (line_at, list_at) = (BASE + header, BASE + header + line);
        for word in [list_at, line_at, 0, list_at + list, map.len() as u64] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(command_line.bytes());
        bytes.resize((header + line) as usize, 0);
        for (address, size) in modules {
            for word in [*address, *size, 0, 0] {
                bytes.extend(word.to_le_bytes());
            }
        }
        for (address, size, kind) in map {
            for word in [*address, *size, u64::from(*kind)] {
                bytes.extend(word.to_le_bytes());
            }
        }
        bytes
    };
    let ram = |size: u64| (0, size, MEMORY_TYPE_RAM);
    vec![
        ("small", start_info("", &[], &[ram(4 << 20), SPECIAL, ACPI])),
        (
            "module",
            start_info(
                "ip=10.0.0.2/24 log=info",
                &[(0x13_6000, 0x1234)],
                &[ram(64 << 20), SPECIAL, ACPI],
            ),
        ),
        (
            "large",
            start_info(
                "a",
                &[],
                &[
                    ram(0xFC00_0000),
                    SPECIAL,
                    ACPI,
                    (1 << 32, 4 << 30, MEMORY_TYPE_RAM),
                ],
            ),
        ),
    ]
}
