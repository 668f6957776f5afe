//! Where to cut a datagram (RFC 791 §3.2).

/// One piece of a datagram's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where it starts in the payload, in bytes; a multiple of 8.
    pub(crate) offset: usize,
    /// Its bytes.
    pub(crate) length: usize,
    /// Another piece follows.
    pub(crate) more: bool,
}

/// The pieces of a payload of `payload_len` bytes that each fit, with a header of `header_len`,
/// into `mtu` bytes: as few as possible, every one but the last a multiple of 8 long.
///
/// No pieces when not even 8 bytes fit behind the header.
pub(crate) fn fragments(
    payload_len: usize,
    header_len: usize,
    mtu: usize,
) -> impl Iterator<Item = Piece> {
    let room = mtu.saturating_sub(header_len) / 8 * 8;
    let count = payload_len
        .checked_div(room)
        .map_or(0, |_| payload_len.div_ceil(room));
    (0..count).map(move |index| {
        let offset = index * room;
        let length = room.min(payload_len - offset);
        Piece {
            offset,
            length,
            more: offset + length < payload_len,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn cuts_at_multiples_of_eight() {
        let pieces: Vec<_> = fragments(3000, 20, 1500).collect();
        let expected = [(0, 1480, true), (1480, 1480, true), (2960, 40, false)];
        assert_eq!(
            pieces,
            expected.map(|(offset, length, more)| Piece {
                offset,
                length,
                more
            })
        );
        assert_eq!(fragments(100, 20, 27).count(), 0);
        assert_eq!(fragments(100, 20, 10).count(), 0);
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_whole(payload_len in 1usize..65_516, mtu in 28usize..9_000) {
            let mut end = 0;
            for piece in fragments(payload_len, 20, mtu) {
                prop_assert_eq!(piece.offset, end);
                prop_assert_eq!(piece.offset % 8, 0);
                prop_assert!(piece.length + 20 <= mtu && piece.length > 0);
                end += piece.length;
                prop_assert_eq!(piece.more, end < payload_len);
                prop_assert!(!piece.more || piece.length % 8 == 0);
            }
            prop_assert_eq!(end, payload_len);
        }
    }
}
