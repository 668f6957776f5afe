//! The internet layer's state machines: addresses, routes, path MTU, fragments.

mod cidr;
mod fragment;
mod identification;
mod path_mtu;
mod reassembly;
mod route;
mod sent;

pub use cidr::{Cidr, PrefixError};
pub use path_mtu::{PathMtuConfig, PathMtuSlot};
pub use reassembly::{ReassemblyConfig, ReassemblyCounters, ReassemblySlot};
pub use route::{Route, RouteError, RouteSlot};
pub use sent::SentSlot;

pub(crate) use fragment::fragments;
pub(crate) use identification::Identifications;
pub(crate) use path_mtu::PathMtuCache;
pub(crate) use reassembly::{Fragment, FragmentKey, Reassembled, Reassembly};
pub(crate) use route::RouteTable;
pub(crate) use sent::{Sent, SentRing};
