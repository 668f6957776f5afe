//! The console's ring (io/console.h).

use core::sync::atomic::{AtomicU8, AtomicU32};

/// Bytes of the ring to the domain.
pub const INPUT_SIZE: usize = 1_024;
/// Bytes of the ring from the domain.
pub const OUTPUT_SIZE: usize = 2_048;

/// `struct xencons_interface`, as of Xen 4.17: the page that a domain shares with its console. All of it may change
/// while it is looked at.
#[derive(Debug)]
#[repr(C)]
pub struct ConsoleInterface {
    /// Bytes to the domain (`in`).
    pub input: [AtomicU8; INPUT_SIZE],
    /// Bytes from the domain (`out`).
    pub output: [AtomicU8; OUTPUT_SIZE],
    /// How many bytes of [`input`](Self::input) the domain took, modulo 2³² (`in_cons`).
    pub input_consumer: AtomicU32,
    /// How many bytes the console put there (`in_prod`).
    pub input_producer: AtomicU32,
    /// How many bytes of [`output`](Self::output) the console took (`out_cons`).
    pub output_consumer: AtomicU32,
    /// How many bytes the domain put there (`out_prod`).
    pub output_producer: AtomicU32,
}

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(ConsoleInterface, output) == 1024);
    assert!(offset_of!(ConsoleInterface, input_consumer) == 3072);
    assert!(offset_of!(ConsoleInterface, input_producer) == 3076);
    assert!(offset_of!(ConsoleInterface, output_consumer) == 3080);
    assert!(offset_of!(ConsoleInterface, output_producer) == 3084);
    assert!(size_of::<ConsoleInterface>() == 3088);
};
