//! Places on the Earth (RFC 1876 §2).

/// The octets of a place of version 0.
pub(super) const LENGTH: usize = 16;
/// The latitude of the equator and the longitude of the prime meridian: 2³¹.
pub(crate) const MIDDLE: u32 = 1 << 31;
/// Thousandths of a second of arc in a degree.
pub(crate) const DEGREE: u32 = 3_600_000;
/// Centimetres of the altitude 0 above its base, which lies 100,000 m below the spheroid.
pub(crate) const SPHEROID: u32 = 10_000_000;

/// "Implementations are required to check this field [the version] and make no assumptions about the format of
/// unrecognized versions." Of version 0: lengths are pairs of digits from 0 to 9, a latitude is at most 90 degrees off the
/// equator, a longitude at most 180 degrees off the meridian.
pub(super) fn is_valid(octets: &[u8]) -> bool {
    let Some((&version, _)) = octets.split_first() else {
        return false;
    };
    if version != 0 {
        return true;
    }
    let &[_, size, horizontal, vertical, ref angles @ ..] = octets else {
        return false;
    };
    let digits = |length: u8| length >> 4 <= 9 && length & 15 <= 9;
    let angle = |at: usize, degrees: u32| {
        let value = angles
            .get(at..at + 4)
            .and_then(|octets| octets.first_chunk());
        value.is_some_and(|&value| u32::from_be_bytes(value).abs_diff(MIDDLE) <= degrees * DEGREE)
    };
    octets.len() == LENGTH
        && digits(size)
        && digits(horizontal)
        && digits(vertical)
        && angle(0, 90)
        && angle(4, 180)
}
