//! DHCP (RFC 2131): a client and a server, pure state machines both.
//!
//! | | |
//! |---|---|
//! | [`DhcpClient`], [`DhcpClientConfig`] | gets an address, renews it, asks for it again, declines it, gives it back |
//! | [`DhcpInform`] | asks for all but the address |
//! | [`DhcpLease`], [`DhcpParameters`], [`DhcpClientEvent`] | what a server gave: address, routes, resolvers, MTU …; that it came, changed or went |
//! | [`DhcpBinding`] | has a [`Stack`](crate::Stack) configured as a client's lease says, and takes it back |
//! | [`DhcpServer`], [`DhcpSubnet`], [`DhcpReservation`] | gives addresses of pools, to clients on the link and behind relay agents |
//! | [`DhcpRecord`] | a server's lease, as it outlives a restart |
//!
//! Both take messages and the time, and give messages, events and a deadline. The shells that run them over a
//! [`SharedStack`](crate::SharedStack) are [`SharedDhcpClient`](crate::SharedDhcpClient) and
//! [`serve_dhcp`](crate::serve_dhcp).

mod binding;
mod client;
mod server;
#[cfg(test)]
mod tests;

pub use binding::DhcpBinding;
pub use client::{
    DhcpClient, DhcpClientConfig, DhcpClientCounters, DhcpClientEvent, DhcpClientState, DhcpInform,
    DhcpLease, DhcpLoss, DhcpParameters, DhcpTransmit, DhcpUnanswered,
};
pub use server::{
    DhcpLeaseKind, DhcpLeaseSlot, DhcpProbeSlot, DhcpRecord, DhcpRecordError, DhcpReply,
    DhcpReservation, DhcpServer, DhcpServerConfig, DhcpServerCounters, DhcpServerError, DhcpSubnet,
};
