//! What the benchmarks have in common.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`statistics`] | the median of several runs, and their spread |
//! | [`rounds`] | the order in which systems take turns |
//! | [`machine`] | the machine that was measured on, and the versions of what was measured |
//! | [`processes`] | what processes take of it
//! | [`report`] | reading and writing results; figures that others published |
//! | [`wrk`] | what wrk prints |
//! | [`figure`] | bars with their spread, goals and published figures, all in one style |

#![forbid(unsafe_code)]

pub mod figure;
pub mod machine;
pub mod processes;
pub mod report;
pub mod rounds;
pub mod statistics;
pub mod wrk;
