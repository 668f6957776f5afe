//! The generic shared ring, driven by the input from either end, with a peer that writes whatever the bytes say.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_xen::fuzzing::RingPlace;

thread_local! {
    static PLACE: RingPlace = RingPlace::new();
}

fuzz_target!(|bytes: &[u8]| PLACE.with(|place| {
    place.front(bytes);
    place.back(bytes);
}));
