//! The chunked transfer coding, both ways (RFC 9112 §7.1).
//!
//! | item | what it is |
//! | --- | --- |
//! | [`ChunkDecoder`] | tells the data in chunks that come in pieces, where they lie |
//! | [`ChunkStep`] | what comes next in the input |
//! | [`ChunkError`] | why it can't be told where a chunk ends |
//! | [`ChunkHead`] | what is written before a chunk's data; [`CHUNK_END`] behind it, [`LAST_CHUNK`] behind all |

mod decoder;
mod encoder;

#[cfg(test)]
mod tests;

pub use decoder::{ChunkDecoder, ChunkError, ChunkStep};
pub use encoder::{CHUNK_END, ChunkHead, LAST_CHUNK};
