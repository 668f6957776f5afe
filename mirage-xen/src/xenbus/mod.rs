//! Xenbus: how a frontend and its backend speak of their device through xenstore (io/xenbus.h).
//!
//! | type | what it is |
//! | --- | --- |
//! | [`XenbusState`] | what either end says of itself |
//! | [`Frontend`] | our end: where its keys are, and its backend's |
//! | [`BackendWatch`] | the backend's state, as it changes |
//!
//! Each end has a directory with a key `state`, which it alone writes and the other watches. What the other end wrote
//! is text, and may be anything: values are read with a bound and must be what they should be to the last byte, else
//! [`StoreError::Value`](crate::store::StoreError::Value). [`Store`](crate::store::Store) has the ways to read them:
//! `read_state`, `read_flag`, `read_domain`, `read_mac`, and `read_decimal` for all other numbers.

mod frontend;
mod state;
#[cfg(test)]
mod tests;
mod values;

pub use frontend::{BACKEND_PATH_MAX, BackendWatch, FRONTEND_PATH_MAX, Frontend};
pub use state::XenbusState;
