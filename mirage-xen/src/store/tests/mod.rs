//! The store on its ring, with a xenstored at the other end.

use super::testing::Rig;
use super::*;

mod directories;
mod hazards;
mod model;
mod operations;
mod resume;
