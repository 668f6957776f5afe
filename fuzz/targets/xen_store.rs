//! A client of xenstore with users and a xenstored that do what the bytes say: what it sends is a row of whole messages under ids of
//! their own, no place is given to two or lost, and nobody waits for ever when xenstored answers.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| mirage_xen::fuzzing::store(bytes));
