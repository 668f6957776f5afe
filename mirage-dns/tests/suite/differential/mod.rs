//! The parts of the differential test: the zones, the oracles, the questions, and what counts as the same answer.

pub(crate) mod compare;
pub(crate) mod knot;
pub(crate) mod oracle;
pub(crate) mod questions;
pub(crate) mod random;
pub(crate) mod response;
pub(crate) mod zones;
