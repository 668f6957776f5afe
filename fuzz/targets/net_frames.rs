//! The stack under frames of any bytes, repaired so that they get beyond its first checks, in small segments, with checksums
//! that the device vouches for; see `mirage_net::fuzzing`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_core::Pool;

thread_local! {
    // Pools live for ever: one serves all runs, and each run must give back all it took.
    static POOL: &'static Pool = Pool::leak(96, 512).expect("a small pool");
}

fuzz_target!(|input: &[u8]| {
    POOL.with(|pool| mirage_net::fuzzing::ingress(pool, input));
});
