//! What a program needs that has no C library beneath it: where it starts, how it ends, what a panic does.
//!
//! For x86-64 Linux. The two system calls that it knows are `write` and `exit_group`.

#![no_std]

use core::arch::{asm, global_asm};
use core::fmt::{self, Write};
use core::panic::PanicInfo;

use probe_memory as _;

#[cfg(feature = "allocator")]
mod allocator;

/// The exit status of a probe whose function says that something was wrong.
pub const WRONG: i32 = 1;

/// The exit status after a panic.
pub const PANICKED: i32 = 101;

/// Makes a function `fn() -> bool` the program.
#[macro_export]
macro_rules! entry {
    ($function:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn probe_main() -> bool {
            $function()
        }
    };
}

// The kernel starts a program with the stack pointer aligned to 16 bytes and no return address; a call then leaves it as
// the ABI has it at a function's start.
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym start,
);

unsafe extern "C" {
    /// SAFETY: `entry!` defines it as a safe function of this signature.
    safe fn probe_main() -> bool;
}

extern "C" fn start() -> ! {
    exit(if probe_main() { 0 } else { WRONG })
}

/// Ends the process.
pub fn exit(status: i32) -> ! {
    // SAFETY: exit_group (231) takes one number and does not return.
    unsafe { asm!("syscall", in("rax") 231, in("rdi") status, options(noreturn, nostack)) }
}

/// The standard error.
pub struct StandardError;

impl Write for StandardError {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: write (1) reads `len` bytes of a slice that lives through the call; rcx and r11 are what a system call
        // overwrites.
        unsafe {
            asm!("syscall", inout("rax") 1_usize => _, in("rdi") 2, in("rsi") text.as_ptr(), in("rdx") text.len(),
                 out("rcx") _, out("r11") _, options(nostack));
        }
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(StandardError, "{info}");
    exit(PANICKED)
}

/// `core` as it is distributed for this target refers to it, though nothing here unwinds.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    exit(PANICKED)
}

/// As above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    exit(PANICKED)
}
