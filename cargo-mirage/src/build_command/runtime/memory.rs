// The memory functions that the compiler calls, for a target whose `compiler_builtins` exports none.
//
// This file is compiled by the tool's recipe as part of a crate with `no_builtins`, which keeps the compiler from turning a
// loop here into a call of itself, and by the tool's tests under other names.
//
// Everything is moved in words of 8 bytes, four to a round, in general registers. That is what an emulator does best: for 1,500
// bytes QEMU 7.2's takes 0.18 us, with 16-byte registers 0.8 us, with `rep movsb` 2.1 us. A processor takes 85 ns; there the others
// would be faster, with 49 and 25 ns. A rest is never moved byte by byte: the last words overlap what was moved before, and are
// read before anything is written, so that regions may overlap.

use core::arch::asm;

/// A round of the loops.
type Four = [u64; 4];

/// Bytes of a round.
const ROUND: usize = size_of::<Four>();

/// Copies `n` bytes between regions that don't overlap.
///
/// # Safety
///
/// C's: `from` is valid for reads and `to` for writes of `n` bytes, and they don't overlap.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: the caller's promise is that of both.
    unsafe {
        if n <= ROUND {
            copy_short(to, from, n);
        } else {
            copy_upwards(to, from, n);
        }
    }
    to
}

/// Copies `n` bytes between regions that may overlap.
///
/// # Safety
///
/// C's: `from` is valid for reads and `to` for writes of `n` bytes.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: the caller's promise is that of all three.
    unsafe {
        if n <= ROUND {
            copy_short(to, from, n);
        } else if to.addr().wrapping_sub(from.addr()) >= n {
            // The target does not begin inside the source.
            copy_upwards(to, from, n);
        } else {
            copy_downwards(to, from, n);
        }
    }
    to
}

/// Fills `n` bytes.
///
/// # Safety
///
/// C's: `to` is valid for writes of `n` bytes.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn memset(to: *mut u8, byte: i32, n: usize) -> *mut u8 {
    // C says that the value is converted to an unsigned char.
    let byte = byte as u8;
    let word = u64::from(byte) * 0x0101_0101_0101_0101;
    // SAFETY: each write lies within the `n` bytes: the first at 0, the last so that it ends at `n`.
    unsafe {
        match n {
            0 => {}
            1 => to.write(byte),
            2..=3 => {
                write(to, word as u16);
                write(to.add(n - 2), word as u16);
            }
            4..=7 => {
                write(to, word as u32);
                write(to.add(n - 4), word as u32);
            }
            8..=15 => {
                write(to, word);
                write(to.add(n - 8), word);
            }
            16..ROUND => {
                write_two(to, [word; 2]);
                write_two(to.add(n - 16), [word; 2]);
            }
            _ => {
                let mut done = 0;
                while n - done >= ROUND {
                    write_four(to.add(done), [word; 4]);
                    done += ROUND;
                }
                write_four(to.add(n - ROUND), [word; 4]);
            }
        }
    }
    to
}

/// Compares `n` bytes: negative, zero or positive as the first that differ.
///
/// # Safety
///
/// C's: both are valid for reads of `n` bytes.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    let mut index = 0;
    while n - index >= 8 {
        // SAFETY: `index + 8` is at most `n`.
        let (x, y) = unsafe { (read_word(a.add(index)), read_word(b.add(index))) };
        if x != y {
            // The first byte weighs most.
            return if x.swap_bytes() < y.swap_bytes() {
                -1
            } else {
                1
            };
        }
        index += 8;
    }
    while index < n {
        // SAFETY: `index < n`, inside both regions.
        let (x, y) = unsafe { (a.add(index).read(), b.add(index).read()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        index += 1;
    }
    0
}

/// Compares `n` bytes for equality: zero if equal.
///
/// # Safety
///
/// C's: both are valid for reads of `n` bytes.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: each read lies within the `n` bytes: the first at 0, the last so that it ends at `n`.
    let differ = unsafe {
        match n {
            0 => false,
            1 => a.read() != b.read(),
            2..=3 => {
                read::<u16>(a) != read::<u16>(b)
                    || read::<u16>(a.add(n - 2)) != read::<u16>(b.add(n - 2))
            }
            4..=7 => {
                read::<u32>(a) != read::<u32>(b)
                    || read::<u32>(a.add(n - 4)) != read::<u32>(b.add(n - 4))
            }
            _ => {
                let mut index = 0;
                while n - index >= 8 && read_word(a.add(index)) == read_word(b.add(index)) {
                    index += 8;
                }
                // What is left after whole words overlaps the last of them.
                n - index >= 8 || read_word(a.add(n - 8)) != read_word(b.add(n - 8))
            }
        }
    };
    i32::from(differ)
}

/// The length of a zero-terminated string, in bytes.
///
/// # Safety
///
/// C's: `text` is valid for reads up to a zero byte.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: no byte before this one was zero, so it is inside the string or its end.
    while unsafe { text.add(length).read() } != 0 {
        length += 1;
    }
    length
}

/// Copies up to 32 bytes; all are read before any is written.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `n` bytes, and `n` is at most [`ROUND`].
#[inline(always)]
unsafe fn copy_short(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: each access lies within the `n` bytes: the first at 0, the last so that it ends at `n`.
    unsafe {
        match n {
            0 => {}
            1 => to.write(from.read()),
            2..=3 => {
                let (first, last) = (read::<u16>(from), read::<u16>(from.add(n - 2)));
                write(to, first);
                write(to.add(n - 2), last);
            }
            4..=7 => {
                let (first, last) = (read::<u32>(from), read::<u32>(from.add(n - 4)));
                write(to, first);
                write(to.add(n - 4), last);
            }
            8..=15 => {
                let (first, last) = (read_word(from), read_word(from.add(n - 8)));
                write(to, first);
                write(to.add(n - 8), last);
            }
            _ => {
                let (first, last) = (read_two(from), read_two(from.add(n - 16)));
                write_two(to, first);
                write_two(to.add(n - 16), last);
            }
        }
    }
}

/// Copies from the lowest address upwards. A target that begins below its source may overlap it: a round writes nothing that a
/// later one reads.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `n` bytes, `n` is at least [`ROUND`], and `to` does not lie inside the `n`
/// bytes from `from`.
#[inline(always)]
unsafe fn copy_upwards(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: each access lies within the `n` bytes: a round begins only where as much is left.
    unsafe {
        let last = read_four(from.add(n - ROUND));
        let mut done = 0;
        while n - done >= ROUND {
            write_four(to.add(done), read_four(from.add(done)));
            done += ROUND;
        }
        write_four(to.add(n - ROUND), last);
    }
}

/// Copies from the highest address downwards, for a target that begins inside its source.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `n` bytes, and `n` is at least [`ROUND`].
#[inline(always)]
unsafe fn copy_downwards(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: each access lies within the `n` bytes: a round begins only where as much is left.
    unsafe {
        let first = read_four(from);
        let mut left = n;
        while left >= ROUND {
            left -= ROUND;
            write_four(to.add(left), read_four(from.add(left)));
        }
        write_four(to, first);
    }
}

/// Keeps a word in a general register: without it the compiler takes two for one 16-byte register.
#[inline(always)]
fn general(mut word: u64) -> u64 {
    // SAFETY: there is no instruction.
    unsafe { asm!("/* {0} */", inout(reg) word, options(pure, nomem, nostack, preserves_flags)) };
    word
}

/// # Safety
///
/// `from` is valid for reads of a `T`; it need not be aligned.
#[inline(always)]
unsafe fn read<T: Copy>(from: *const u8) -> T {
    // SAFETY: the caller's promise.
    unsafe { from.cast::<T>().read_unaligned() }
}

/// # Safety
///
/// `from` is valid for reads of 8 bytes.
#[inline(always)]
unsafe fn read_word(from: *const u8) -> u64 {
    // SAFETY: the caller's promise.
    general(unsafe { read(from) })
}

/// # Safety
///
/// `from` is valid for reads of 16 bytes.
#[inline(always)]
unsafe fn read_two(from: *const u8) -> [u64; 2] {
    // SAFETY: the caller's promise.
    unsafe { [read_word(from), read_word(from.add(8))] }
}

/// # Safety
///
/// `from` is valid for reads of [`ROUND`] bytes.
#[inline(always)]
unsafe fn read_four(from: *const u8) -> Four {
    // SAFETY: the caller's promise.
    let ([a, b], [c, d]) = unsafe { (read_two(from), read_two(from.add(16))) };
    [a, b, c, d]
}

/// # Safety
///
/// `to` is valid for writes of a `T`; it need not be aligned.
#[inline(always)]
unsafe fn write<T: Copy>(to: *mut u8, value: T) {
    // SAFETY: the caller's promise.
    unsafe { to.cast::<T>().write_unaligned(value) }
}

/// # Safety
///
/// `to` is valid for writes of 16 bytes.
#[inline(always)]
unsafe fn write_two(to: *mut u8, [a, b]: [u64; 2]) {
    // SAFETY: the caller's promise.
    unsafe {
        write(to, general(a));
        write(to.add(8), general(b));
    }
}

/// # Safety
///
/// `to` is valid for writes of [`ROUND`] bytes.
#[inline(always)]
unsafe fn write_four(to: *mut u8, [a, b, c, d]: Four) {
    // SAFETY: the caller's promise.
    unsafe {
        write_two(to, [a, b]);
        write_two(to.add(16), [c, d]);
    }
}
