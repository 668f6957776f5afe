//! Zones that change, with NSD and Knot on the other side: transfers, notices, signatures, reload, updates, restarts.
//!
//! Every server is a child process on loopback, with all its files in a temporary folder.

mod chain;
mod clients;
mod knot;
mod nsd;
mod ours;
mod peer;
mod primary;
mod reload;
mod restart;
mod secondary;
mod trouble;
mod updates;
mod zones;
