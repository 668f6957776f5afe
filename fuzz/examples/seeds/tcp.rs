//! TCP: segments, and calls of the queues of a connection.

use std::io;

use mirage_net::wire::{SackBlock, SackBlocks, TcpFlags, TcpOptions, TcpRepr, Timestamps, tcp};

use crate::Corpora;

pub fn write(corpora: &Corpora) -> io::Result<()> {
    for (name, bytes) in segments() {
        corpora.write("net_wire", name, &bytes)?;
    }
    for (name, bytes) in TCP_QUEUES {
        corpora.write("net_tcp", name, bytes)?;
    }
    Ok(())
}

/// Segments of TCP, with the options that each kind has.
fn segments() -> Vec<(&'static str, Vec<u8>)> {
    let timestamps = Some(Timestamps { value: 7, echo: 5 });
    let mut sack = SackBlocks::EMPTY;
    for left in [1_000u32, 3_000, 5_000] {
        sack.push(SackBlock {
            left: left.into(),
            right: (left + 500).into(),
        });
    }
    let syn = TcpOptions {
        maximum_segment_size: Some(1_460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps,
        ..TcpOptions::NONE
    };
    let data = TcpOptions {
        timestamps,
        ..TcpOptions::NONE
    };
    let acknowledgement = TcpOptions { sack, ..data };
    let segment = |flags, options| {
        let repr = TcpRepr {
            source_port: 4_000,
            destination_port: 80,
            flags,
            window: 1_000,
            options,
            ..TcpRepr::default()
        };
        let mut bytes = [0; tcp::MAX_HEADER_LEN];
        let length = repr.emit(&mut bytes);
        [&bytes[..length], b"GET / HTTP/1.1"].concat()
    };
    vec![
        ("tcp-syn", segment(TcpFlags::SYN, syn)),
        ("tcp-data", segment(TcpFlags::ACK | TcpFlags::PSH, data)),
        ("tcp-sack", segment(TcpFlags::ACK, acknowledgement)),
        ("tcp-fin", segment(TcpFlags::ACK | TcpFlags::FIN, data)),
        ("tcp-reset", segment(TcpFlags::RST, TcpOptions::NONE)),
    ]
}

/// Calls of the queues of a connection, as the target reads them.
const TCP_QUEUES: &[(&str, &[u8])] = &[
    // Pushed, sent, acknowledged.
    (
        "sent",
        &[1, 0, 100, 0, 100, 3, 200, 200, 0x46, 100, 0, 0x46, 200, 1],
    ),
    // Three segments, of which the second and the third are reported, the first sent again after a while.
    (
        "lost",
        &[
            1, 0, 90, 0, 90, 0, 90, 3, 90, 200, 3, 90, 200, 3, 90, 200, 9, 25, 200, 0x56, 0, 30,
            200, 1, 9, 40, 200, 5, 90, 0x46, 255, 1,
        ],
    ),
    // Written, timed out, sent again; with Reno, without SACK.
    (
        "timed-out",
        &[
            2, 2, 255, 3, 200, 200, 9, 255, 200, 9, 255, 200, 5, 200, 15, 0, 3, 200, 200,
        ],
    ),
    // Received out of order, reported, filled, read.
    (
        "received",
        &[
            0x21, 10, 100, 50, 200, 10, 200, 50, 200, 14, 3, 10, 0, 100, 200, 10, 0, 60, 200, 14,
            3, 13, 255, 0xfa, 10, 10, 200,
        ],
    ),
];
