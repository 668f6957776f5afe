// What `core`, as it is distributed for a host, refers to though nothing in an image unwinds. If it were called, the invalid
// instruction ends the appliance with a report.

/// The personality routine of a stack frame.
#[unsafe(no_mangle)]
pub extern "C" fn rust_eh_personality() -> ! {
    // SAFETY: the instruction raises an exception, whose handler does not return.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}

/// Goes on unwinding.
#[unsafe(no_mangle)]
pub extern "C" fn _Unwind_Resume() -> ! {
    // SAFETY: as above.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}
