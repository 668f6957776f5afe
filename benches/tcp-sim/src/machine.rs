//! What the simulation asks of a machine; and the bytes that one sends and the other compares.

use std::sync::LazyLock;

use mirage_core::Instant;

use crate::link::Wire;

/// What the machine's application does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Connects, and sends without end.
    Sender,
    /// Listens, reads all that comes, and compares it.
    Receiver,
}

/// A machine of one address with one connection.
pub(crate) trait Machine {
    /// All that happens at `now`: frames are taken from the wire, the application does what it can, and `send` is given what is
    /// transmitted.
    fn turn(&mut self, now: Instant, wire: &mut Wire, send: &mut dyn FnMut(Vec<u8>));

    /// When it wants its next turn, though nothing arrives.
    fn next(&mut self, now: Instant) -> Option<Instant>;

    /// Octets that the application has read, all of which were right.
    fn received(&self) -> u64;

    /// What went wrong, if something did that no network does.
    fn complaint(&self) -> Option<String>;
}

/// A prime, so that no power of two of octets that is lost or doubled goes unseen.
const PERIOD: usize = 65_537;

/// The stream: these octets, over and over. There are two periods.
static STREAM: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 1u32;
    let mut period: Vec<u8> = (0..PERIOD)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    period.extend_from_within(..);
    period
});

/// The octets of the stream from `offset` on, at least [`PERIOD`].
pub(crate) fn stream(offset: u64) -> &'static [u8] {
    &STREAM[(offset % PERIOD as u64) as usize..]
}

/// Fills `bytes` with the stream from `offset` on.
pub(crate) fn fill(mut offset: u64, bytes: &mut [u8]) {
    for part in bytes.chunks_mut(PERIOD) {
        part.copy_from_slice(&stream(offset)[..part.len()]);
        offset += part.len() as u64;
    }
}

/// Whether `bytes` are the stream from `offset` on.
pub(crate) fn is_stream(mut offset: u64, bytes: &[u8]) -> bool {
    bytes.chunks(PERIOD).all(|part| {
        let right = part == &stream(offset)[..part.len()];
        offset += part.len() as u64;
        right
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_filled_is_the_stream_and_nothing_else_is() {
        let mut bytes = vec![0; 200_000];
        fill(70_000, &mut bytes);
        assert!(is_stream(70_000, &bytes));
        for wrong in [69_999, 70_001, 70_000 + 1_448, 70_000 - 65_536] {
            assert!(!is_stream(wrong, &bytes), "{wrong}");
        }
        assert!(is_stream(70_000 + PERIOD as u64, &bytes));
        bytes[199_999] ^= 1;
        assert!(!is_stream(70_000, &bytes));
    }
}
