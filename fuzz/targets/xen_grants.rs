//! A pool's pages lent to several domains, ended, moved to others and resumed, as the input says: each domain reaches what is
//! lent to it, and nothing else.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_xen::fuzzing::GrantPlace;

thread_local! {
    static PLACE: GrantPlace = GrantPlace::new();
}

fuzz_target!(|bytes: &[u8]| PLACE.with(|place| place.run(bytes)));
