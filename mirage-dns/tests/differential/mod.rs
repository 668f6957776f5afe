//! The parts of the differential test: the zones, NSD, the questions, and what counts as the same answer.

pub(crate) mod compare;
pub(crate) mod nsd;
pub(crate) mod questions;
pub(crate) mod random;
pub(crate) mod response;
pub(crate) mod zones;
