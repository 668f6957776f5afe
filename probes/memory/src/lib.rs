//! The memory functions that the compiler calls, for a program without a C library.
//!
//! A crate of its own: `no_builtins` keeps the compiler from turning these loops into calls of themselves.

#![no_std]
#![no_builtins]

use core::arch::asm;

/// Copies `n` bytes between regions that don't overlap.
///
/// # Safety
///
/// C's: `from` is valid for reads and `to` for writes of `n` bytes, and they don't overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: the caller's promise covers both regions; the direction flag is clear, as the ABI has it at a call.
    unsafe {
        asm!("rep movsb", inout("rcx") n => _, inout("rdi") to => _, inout("rsi") from => _,
             options(nostack, preserves_flags));
    }
    to
}

/// Copies `n` bytes between regions that may overlap.
///
/// # Safety
///
/// C's: `from` is valid for reads and `to` for writes of `n` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= n {
        // SAFETY: the target does not begin inside the source, so copying upwards reads each byte before it is written.
        return unsafe { memcpy(to, from, n) };
    }
    let mut left = n;
    while left > 0 {
        left -= 1;
        // SAFETY: `left < n`, inside both regions; copying downwards reads each byte before it is written.
        unsafe { to.add(left).write(from.add(left).read()) };
    }
    to
}

/// Fills `n` bytes.
///
/// # Safety
///
/// C's: `to` is valid for writes of `n` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(to: *mut u8, byte: i32, n: usize) -> *mut u8 {
    // SAFETY: the caller's promise covers the region; the direction flag is clear, as the ABI has it at a call.
    unsafe {
        asm!("rep stosb", inout("rcx") n => _, inout("rdi") to => _, in("al") byte as u8,
             options(nostack, preserves_flags));
    }
    to
}

/// Compares `n` bytes: negative, zero or positive as the first that differ.
///
/// # Safety
///
/// C's: both are valid for reads of `n` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    let mut index = 0;
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
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: the caller's promise is the same.
    unsafe { memcmp(a, b, n) }
}

/// The length of a zero-terminated string, in bytes.
///
/// # Safety
///
/// C's: `text` is valid for reads up to a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: no byte before this one was zero, so it is inside the string or its end.
    while unsafe { text.add(length).read() } != 0 {
        length += 1;
    }
    length
}
