//! The server and the parser from outside, and beside other people's servers and clients.

mod differential;
mod differential_oracles;
mod master_file_properties;
mod tsig_peers;
mod update_peers;
