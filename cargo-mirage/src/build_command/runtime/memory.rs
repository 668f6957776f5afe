// The memory functions that the compiler calls, for a target whose `compiler_builtins` exports none.
//
// This file is compiled by the tool's recipe as part of a crate with `no_builtins`, which keeps the compiler from turning a
// loop here into a call of itself, and by the tool's tests under other names.
//
// Everything is moved in 16-byte registers, four to a round where there is enough: fast on a processor, and under an emulator,
// where an instruction with `rep` is slow to start. A rest is never moved byte by byte: the last registers overlap what was moved
// before, and are read before anything is written, so that regions may overlap.

use core::arch::x86_64::{
    __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8, _mm_storeu_si128,
};

/// Copies `n` bytes between regions that don't overlap.
///
/// # Safety
///
/// C's: `from` is valid for reads and `to` for writes of `n` bytes, and they don't overlap.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: the caller's promise is that of both.
    unsafe {
        if n <= 32 {
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
        if n <= 32 {
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
    // SAFETY: each write lies within the `n` bytes: the first at 0, the last so that it ends at `n`.
    unsafe {
        if n < 16 {
            let word = u64::from(byte) * 0x0101_0101_0101_0101;
            match n {
                0 => {}
                1 => to.write(byte),
                2..=3 => {
                    to.cast::<u16>().write_unaligned(word as u16);
                    to.add(n - 2).cast::<u16>().write_unaligned(word as u16);
                }
                4..=7 => {
                    to.cast::<u32>().write_unaligned(word as u32);
                    to.add(n - 4).cast::<u32>().write_unaligned(word as u32);
                }
                _ => {
                    to.cast::<u64>().write_unaligned(word);
                    to.add(n - 8).cast::<u64>().write_unaligned(word);
                }
            }
            return to;
        }
        let sixteen = _mm_set1_epi8(byte as i8);
        let mut done = 0;
        while n - done >= 64 {
            store(to.add(done), sixteen);
            store(to.add(done + 16), sixteen);
            store(to.add(done + 32), sixteen);
            store(to.add(done + 48), sixteen);
            done += 64;
        }
        while n - done >= 16 {
            store(to.add(done), sixteen);
            done += 16;
        }
        store(to.add(n - 16), sixteen);
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
    // SAFETY: the caller's promise is the same.
    let same = unsafe { same_sixteens(a, b, n) };
    let mut index = same;
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
            8..=15 => {
                read::<u64>(a) != read::<u64>(b)
                    || read::<u64>(a.add(n - 8)) != read::<u64>(b.add(n - 8))
            }
            // What is left after whole sixteens overlaps the last of them.
            _ => {
                n - same_sixteens(a, b, n) >= 16
                    || same_sixteens(a.add(n - 16), b.add(n - 16), 16) != 16
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
/// `from` is valid for reads and `to` for writes of `n` bytes, and `n` is at most 32.
#[inline(always)]
unsafe fn copy_short(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: each access lies within the `n` bytes: the first at 0, the last so that it ends at `n`.
    unsafe {
        match n {
            0 => {}
            1 => to.write(from.read()),
            2..=3 => copy_two::<u16>(to, from, n),
            4..=7 => copy_two::<u32>(to, from, n),
            8..=15 => copy_two::<u64>(to, from, n),
            _ => {
                let (first, last) = (load(from), load(from.add(n - 16)));
                store(to, first);
                store(to.add(n - 16), last);
            }
        }
    }
}

/// Copies the first and the last bytes as two words, which may overlap.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `n` bytes, and `n` is at least the size of `T`.
#[inline(always)]
unsafe fn copy_two<T: Copy>(to: *mut u8, from: *const u8, n: usize) {
    let last = n - size_of::<T>();
    // SAFETY: both words end at `n` or before.
    unsafe {
        let (first_word, last_word) = (read::<T>(from), read::<T>(from.add(last)));
        to.cast::<T>().write_unaligned(first_word);
        to.add(last).cast::<T>().write_unaligned(last_word);
    }
}

/// Copies from the lowest address upwards. A target that begins below its source may overlap it: a round writes nothing that a
/// later one reads.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `n` bytes, `n` is at least 32, and `to` does not lie inside the `n` bytes
/// from `from`.
unsafe fn copy_upwards(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: each access lies within the `n` bytes: `done` and what is moved in a round are at most `n`.
    unsafe {
        let (last_but_one, last) = (load(from.add(n - 32)), load(from.add(n - 16)));
        let mut done = 0;
        while n - done >= 64 {
            let (a, b) = (load(from.add(done)), load(from.add(done + 16)));
            let (c, d) = (load(from.add(done + 32)), load(from.add(done + 48)));
            store(to.add(done), a);
            store(to.add(done + 16), b);
            store(to.add(done + 32), c);
            store(to.add(done + 48), d);
            done += 64;
        }
        if n - done >= 32 {
            let (a, b) = (load(from.add(done)), load(from.add(done + 16)));
            store(to.add(done), a);
            store(to.add(done + 16), b);
        }
        store(to.add(n - 32), last_but_one);
        store(to.add(n - 16), last);
    }
}

/// Copies from the highest address downwards, for a target that begins inside its source.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `n` bytes, and `n` is at least 32.
unsafe fn copy_downwards(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: each access lies within the `n` bytes: `left` is at most `n`, and a round moves no more than is left.
    unsafe {
        let (first, second) = (load(from), load(from.add(16)));
        let mut left = n;
        while left >= 64 {
            let (a, b) = (load(from.add(left - 16)), load(from.add(left - 32)));
            let (c, d) = (load(from.add(left - 48)), load(from.add(left - 64)));
            store(to.add(left - 16), a);
            store(to.add(left - 32), b);
            store(to.add(left - 48), c);
            store(to.add(left - 64), d);
            left -= 64;
        }
        if left >= 32 {
            let (a, b) = (load(from.add(left - 16)), load(from.add(left - 32)));
            store(to.add(left - 16), a);
            store(to.add(left - 32), b);
        }
        store(to, first);
        store(to.add(16), second);
    }
}

/// How many bytes from the beginning are equal, in whole sixteens.
///
/// # Safety
///
/// Both are valid for reads of `n` bytes.
#[inline(always)]
unsafe fn same_sixteens(a: *const u8, b: *const u8, n: usize) -> usize {
    let mut index = 0;
    while n - index >= 16 {
        // SAFETY: `index + 16` is at most `n`.
        let equal = unsafe { _mm_cmpeq_epi8(load(a.add(index)), load(b.add(index))) };
        // SAFETY: SSE2 is part of this target.
        if unsafe { _mm_movemask_epi8(equal) } != 0xffff {
            break;
        }
        index += 16;
    }
    index
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
/// `from` is valid for reads of 16 bytes.
#[inline(always)]
unsafe fn load(from: *const u8) -> __m128i {
    // SAFETY: the caller's promise; the instruction asks for no alignment.
    unsafe { _mm_loadu_si128(from.cast()) }
}

/// # Safety
///
/// `to` is valid for writes of 16 bytes.
#[inline(always)]
unsafe fn store(to: *mut u8, value: __m128i) {
    // SAFETY: the caller's promise; the instruction asks for no alignment.
    unsafe { _mm_storeu_si128(to.cast(), value) }
}
