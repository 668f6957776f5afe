use std::string::String;

use super::*;
use crate::boot::layout::tests::space;

/// An exception at an instruction of the image's text.
fn frame(vector: u64, error_code: u64) -> Frame {
    Frame {
        r15: 15,
        r14: 14,
        r13: 13,
        r12: 12,
        r11: 11,
        r10: 10,
        r9: 9,
        r8: 8,
        rdi: 7,
        rsi: 6,
        rbp: 5,
        rbx: 4,
        rdx: 3,
        rcx: 2,
        rax: 0xDEAD_BEEF,
        vector,
        error_code,
        rip: 0x1234_5678_9ABC,
        cs: 8,
        rflags: 2,
        rsp: 0x1234_567A_4000,
        ss: 16,
    }
}

fn report(frame: &Frame, address: u64) -> String {
    let mut text = String::new();
    describe(&mut text, frame, address, Some(&space())).unwrap();
    text
}

#[test]
fn a_page_fault_names_what_was_done_to_what() {
    const READ: u64 = 0;
    const WRITE: u64 = 2;
    const EXECUTE: u64 = 16;
    const MAPPED: u64 = 1;
    let base = 0x1234_5678_9000;
    let rows = [
        (WRITE | MAPPED, base, "write to text"),
        (WRITE | MAPPED, base + 10 * 4096, "write to constants"),
        (
            EXECUTE | MAPPED,
            (129 << 39) + 0x20_0000,
            "execution of heap",
        ),
        (EXECUTE | MAPPED, 193 << 39, "execution of an I/O page"),
        (EXECUTE | MAPPED, base + 30 * 4096, "execution of the stack"),
        (READ, 8, "read of page zero"),
        (WRITE, 8, "write to page zero"),
        (
            WRITE,
            base + 25 * 4096,
            "write to the guard page below the stack: stack overflow",
        ),
        (WRITE | MAPPED, 225 << 39, "write to a page table"),
        (WRITE | MAPPED, base + 16 * 4096, "write to sealed data"),
    ];
    for (code, address, what) in rows {
        let text = report(&frame(14, code), address);
        let first = text.lines().next().unwrap();
        assert_eq!(first, std::format!("mirage: fault: {what}"));
        let mapped = if code & MAPPED == 0 {
            "not mapped"
        } else {
            "mapped"
        };
        assert!(
            text.contains(&std::format!("address {address:#x}, {mapped}\n")),
            "{text}"
        );
    }
}

#[test]
fn other_exceptions_are_named_and_all_registers_are_told() {
    let text = report(&frame(13, 0x28), 99);
    let expected = "\
mirage: fault: #GP general protection
mirage: exception 13 (#GP general protection), error code 0x28
mirage: rip 0x123456789abc (text, 0xabc from the image's base)
mirage: rsp 0x1234567a4000 (the stack)
mirage: rflags 0x2 cs 0x8 ss 0x10
mirage: rax 00000000deadbeef rbx 0000000000000004 rcx 0000000000000002 rdx 0000000000000003
mirage: rsi 0000000000000006 rdi 0000000000000007 rbp 0000000000000005 r8  0000000000000008
mirage: r9  0000000000000009 r10 000000000000000a r11 000000000000000b r12 000000000000000c
mirage: r13 000000000000000d r14 000000000000000e r15 000000000000000f
";
    assert_eq!(text, expected);
}

#[test]
fn before_the_address_space_is_known_a_fault_is_reported_too() {
    let mut text = String::new();
    describe(&mut text, &frame(14, 0), 8, None).unwrap();
    assert!(text.starts_with("mirage: fault: read of nothing\nmirage: address 0x8, not mapped\n"));
    let mut text = String::new();
    describe(&mut text, &frame(77, 0), 8, None).unwrap();
    assert!(text.starts_with("mirage: fault: reserved\n"));
}
