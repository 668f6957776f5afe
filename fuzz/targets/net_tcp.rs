//! The queues of a TCP connection and its loss recovery, under any order of calls and any acknowledgements; see
//! `mirage_net::fuzzing`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mirage_core::Pool;

thread_local! {
    // Pools live for ever: one serves all runs, and each run must give back all it took.
    static POOL: &'static Pool = Pool::leak(64, 128).expect("a small pool");
}

fuzz_target!(|input: &[u8]| POOL.with(|pool| mirage_net::fuzzing::tcp_queues(pool, input)));
