//! Serial number arithmetic (RFC 1982).
//!
//! | item | what it is |
//! |------|------------|
//! | [`is_newer`] | whether one serial comes after another |
//! | [`next`] | the serial after one |

/// Whether `serial` comes after `other` (RFC 1982 §3.2).
///
/// Two numbers that are 2³¹ apart have no order: neither is newer.
///
/// ```
/// use mirage_dns::serial::is_newer;
///
/// assert!(is_newer(2, 1) && !is_newer(1, 2) && !is_newer(1, 1));
/// assert!(is_newer(0, u32::MAX));
/// assert!(!is_newer(1 << 31, 0) && !is_newer(0, 1 << 31));
/// ```
pub const fn is_newer(serial: u32, other: u32) -> bool {
    // A distance of exactly 2³¹ is i32::MIN, which is not above zero.
    (serial.wrapping_sub(other) as i32) > 0
}

/// The serial after one: 0 is left out, which some secondaries take for none.
///
/// ```
/// assert_eq!(mirage_dns::serial::next(u32::MAX), 1);
/// ```
pub const fn next(serial: u32) -> u32 {
    match serial.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}
