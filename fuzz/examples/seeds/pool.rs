//! The pool of pages.

use std::io;

use crate::Corpora;

pub fn write(corpora: &Corpora) -> io::Result<()> {
    for (name, octets) in POOL {
        corpora.write("pool", name, octets)?;
    }
    Ok(())
}

/// The shape of operation sequences is the fuzzer's own; these only give it bytes to begin with.
const POOL: &[(&str, &[u8])] = &[
    ("zeroes", &[0; 96]),
    (
        "counting",
        &[
            0, 40, 80, 120, 160, 200, 240, 24, 64, 104, 144, 184, 224, 8, 48, 88, 128, 168, 208,
            248, 32, 72, 112, 152, 192, 232, 16, 56, 96, 136, 176, 216, 1, 41, 81, 121, 161, 201,
            241, 25, 65, 105, 145, 185, 225, 9, 49, 89, 129, 169, 209, 249,
        ],
    ),
];
