//! The start info and all that it points to, from memory that holds the bytes: it is refused, or the memory is planned so that no frame
//! has two purposes and each is RAM.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| mirage_xen::fuzzing::start(bytes));
