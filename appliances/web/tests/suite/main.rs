//! The appliance's pages and their safety, and over our own TCP.

mod hostile;
#[cfg(feature = "tcp")]
mod own_tcp;
