//! Both rings of a Xen network device with a backend that does whatever the bytes say: responses, indices, bytes, times. No
//! page is lost or reached without a right, every received frame is one, and every frame that goes out is one that a backend
//! takes.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use mirage_xen::netfront::fuzzing::Rings;

thread_local! {
    static RINGS: RefCell<Rings> = RefCell::new(Rings::new());
}

fuzz_target!(|bytes: &[u8]| RINGS.with_borrow_mut(|rings| rings.feed(bytes)));
