//! The memory functions of images, against what they should do.
//!
//! The same source as in the images is compiled here under other names, beside the C library's. How the tool compiles it, the
//! last test shows: that object is linked into a program with nothing beneath it, which compares it with loops of its own.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::fs;
use std::process::Command;

use proptest::prelude::*;

#[allow(dead_code, unreachable_pub)]
mod memory {
    include!("../../src/build_command/runtime/memory.rs");
}

/// Longer than every special case, and than two rounds of the longest loop.
const LONGEST: usize = 300;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    // Few values, so that runs are equal and differ late.
    let varied = prop::collection::vec(any::<u8>(), LONGEST);
    let alike = prop::collection::vec(
        prop_oneof![20 => Just(7_u8), 1 => Just(8), 1 => Just(0x80)],
        LONGEST,
    );
    prop_oneof![varied, alike]
}

/// A length, and where two ranges of that length begin.
fn ranges() -> impl Strategy<Value = (usize, usize, usize)> {
    (0..=LONGEST).prop_flat_map(|n| (Just(n), 0..=LONGEST - n, 0..=LONGEST - n))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn memcpy_writes_the_copy_and_nothing_else(from in bytes(), mut to in bytes(), (n, a, b) in ranges()) {
        let mut expected = to.clone();
        expected[b..b + n].copy_from_slice(&from[a..a + n]);
        // SAFETY: both ranges lie in vectors of their own.
        let returned = unsafe { memory::memcpy(to[b..].as_mut_ptr(), from[a..].as_ptr(), n) };
        prop_assert_eq!(returned, to[b..].as_mut_ptr());
        prop_assert_eq!(to, expected);
    }

    #[test]
    fn memmove_copies_ranges_that_overlap(mut all in bytes(), (n, a, b) in ranges()) {
        let mut expected = all.clone();
        expected.copy_within(a..a + n, b);
        let start = all.as_mut_ptr();
        // SAFETY: both ranges lie in the vector.
        let returned = unsafe { memory::memmove(start.add(b), start.add(a), n) };
        prop_assert_eq!(returned, start.wrapping_add(b));
        prop_assert_eq!(all, expected);
    }

    #[test]
    fn memset_fills_the_range_and_nothing_else(mut to in bytes(), value in any::<i32>(), (n, a, _) in ranges()) {
        let mut expected = to.clone();
        expected[a..a + n].fill(value as u8);
        // SAFETY: the range lies in the vector.
        let returned = unsafe { memory::memset(to[a..].as_mut_ptr(), value, n) };
        prop_assert_eq!(returned, to[a..].as_mut_ptr());
        prop_assert_eq!(to, expected);
    }

    #[test]
    fn memcmp_and_bcmp_compare_as_slices_do(x in bytes(), mut y in bytes(), (n, a, b) in ranges(), alike in any::<bool>(), differ in any::<prop::sample::Index>()) {
        if alike {
            y[b..b + n].copy_from_slice(&x[a..a + n]);
            if n > 0 {
                y[b + differ.index(n)] ^= 0x81;
            }
        }
        let expected = x[a..a + n].cmp(&y[b..b + n]);
        // SAFETY: both ranges lie in vectors of their own.
        let (order, equal) = unsafe {
            let (x, y) = (x[a..].as_ptr(), y[b..].as_ptr());
            (memory::memcmp(x, y, n), memory::bcmp(x, y, n))
        };
        prop_assert_eq!(order.cmp(&0), expected);
        prop_assert_eq!(equal == 0, expected.is_eq());
    }

    #[test]
    fn equal_ranges_are_equal(x in bytes(), (n, a, _) in ranges()) {
        let y = x.clone();
        // SAFETY: both ranges lie in vectors of their own.
        let (order, equal) = unsafe {
            (memory::memcmp(x[a..].as_ptr(), y[a..].as_ptr(), n), memory::bcmp(x[a..].as_ptr(), y[a..].as_ptr(), n))
        };
        prop_assert_eq!((order, equal), (0, 0));
    }

    #[test]
    fn strlen_counts_up_to_the_first_zero(mut text in bytes(), end in 0..LONGEST) {
        text[end] = 0;
        let expected = text.iter().position(|byte| *byte == 0);
        // SAFETY: there is a zero in the vector.
        prop_assert_eq!(Some(unsafe { memory::strlen(text.as_ptr()) }), expected);
    }
}

/// Each length, each offset of 16 on both sides, against loops byte by byte.
const PROGRAM: &str = r##"
#![no_std]
#![no_main]
use core::arch::{asm, global_asm};
use core::hint::black_box;

unsafe extern "C" {
    fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8;
    fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8;
    fn memset(to: *mut u8, byte: i32, n: usize) -> *mut u8;
    fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32;
    fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32;
}

global_asm!(".globl _start", "_start:", "and rsp, -16", "call {start}", "ud2", start = sym start);

fn exit(status: i32) -> ! {
    // SAFETY: exit_group(2), which doesn't return.
    unsafe { asm!("syscall", in("rax") 231, in("rdi") status, options(noreturn, nostack)) }
}

const SIZE: usize = 256;
static mut A: [u8; SIZE] = [0; SIZE];
static mut B: [u8; SIZE] = [0; SIZE];

// Volatile: the compiler must not make calls of the functions from these.
// SAFETY, of all below: `p`, `a` and `b` are SIZE bytes long, each index is less, and one thread runs.
unsafe fn get(p: *const u8, i: usize) -> u8 { unsafe { p.add(i).read_volatile() } }
unsafe fn put(p: *mut u8, i: usize, v: u8) { unsafe { p.add(i).write_volatile(v) } }

unsafe fn prepare(a: *mut u8, b: *mut u8) {
    // SAFETY: as above.
    for i in 0..SIZE { unsafe { put(a, i, i as u8); put(b, i, !(i as u8)); } }
}

extern "C" fn start() -> ! {
    let (a, b) = (black_box(&raw mut A).cast::<u8>(), black_box(&raw mut B).cast::<u8>());
    for n in 0..=200 {
        // SAFETY: as above: offsets below 16 and lengths up to 200 stay within SIZE.
        for x in 0..16 { for y in 0..16 { unsafe {
            prepare(a, b);
            if memcpy(b.add(y), a.add(x), n) != b.add(y) { exit(1) }
            for i in 0..SIZE {
                let expected = if i >= y && i < y + n { (i - y + x) as u8 } else { !(i as u8) };
                if get(b, i) != expected { exit(2) }
            }
            if memcmp(b.add(y), a.add(x), n) != 0 || bcmp(b.add(y), a.add(x), n) != 0 { exit(3) }
            if n > 0 {
                put(b, y + n - 1, get(b, y + n - 1).wrapping_add(1));
                let order = get(b, y + n - 1) as i32 - get(a, x + n - 1) as i32;
                if memcmp(b.add(y), a.add(x), n).signum() != order.signum() { exit(4) }
                if bcmp(b.add(y), a.add(x), n) == 0 { exit(5) }
            }
            prepare(a, b);
            memmove(a.add(y), a.add(x), n);
            for i in 0..SIZE {
                let expected = if i >= y && i < y + n { (i - y + x) as u8 } else { i as u8 };
                if get(a, i) != expected { exit(6) }
            }
            prepare(a, b);
            memset(b.add(y), 0x1a5, n);
            for i in 0..SIZE {
                let expected = if i >= y && i < y + n { 0xa5 } else { !(i as u8) };
                if get(b, i) != expected { exit(7) }
            }
        } } }
    }
    exit(42)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! { exit(8) }
"##;

#[test]
fn the_object_that_images_are_linked_with_does_the_same() {
    use cargo_mirage::build_command::{Target, Toolchain, runtime_object};
    let folder = tempfile::tempdir().unwrap();
    let toolchain = Toolchain::find(folder.path()).unwrap();
    let object = runtime_object(&toolchain, folder.path()).unwrap();
    assert_eq!(runtime_object(&toolchain, folder.path()).unwrap(), object);
    let (source, program) = (folder.path().join("p.rs"), folder.path().join("p"));
    fs::write(&source, PROGRAM).unwrap();
    let mut command = toolchain.rustc();
    command.args(["--edition=2024", "--target", Target::Host.triple(), "-O"]);
    command.args([
        "-Cpanic=abort",
        "-Clinker-flavor=ld.lld",
        "-Clink-arg=--no-pie",
    ]);
    command
        .arg("-C")
        .arg(format!("linker={}", toolchain.linker().unwrap().display()));
    command
        .arg("-C")
        .arg(format!("link-arg={}", object.display()));
    let built = command
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    // What fails says the program's status: see there.
    assert_eq!(Command::new(&program).status().unwrap().code(), Some(42));
}
