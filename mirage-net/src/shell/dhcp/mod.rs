//! DHCP over a shared stack: what moves a client's and a server's messages, and sleeps.

mod client;
mod inform;
mod server;

pub use client::{DhcpNotice, SharedDhcpClient};
pub use inform::{DhcpInformError, dhcp_inform};
pub use server::{DhcpServerNotice, ServeDhcpError, serve_dhcp};

use mirage_core::Frame;

/// Bytes of the longest message that is read: an Ethernet frame's.
const LONGEST: usize = 1_472;

/// A datagram's payload in one piece; one that is longer than any that is read is cut, and found to be malformed.
fn message<'m>(payload: &'m Frame, buffer: &'m mut [u8; LONGEST]) -> &'m [u8] {
    match payload.contiguous() {
        Some(message) => message,
        None => {
            let length = payload.copy_to_slice(0, buffer);
            buffer.get(..length).unwrap_or_default()
        }
    }
}
