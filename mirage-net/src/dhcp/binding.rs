//! Has a stack configured as a client's lease says.

use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use heapless::Vec;
use mirage_core::Instant;

use super::{DhcpClient, DhcpClientEvent};
use crate::ip::Cidr;
use crate::wire::dhcp::CLIENT_PORT;
use crate::{AddressError, AddressState, ConflictConfig, Event, Stack, UdpOptions};

/// MTUs below are not taken from a server: no host on an Ethernet has a path that takes less (RFC 1122 §3.3.2).
const SMALLEST_MTU: u16 = 576;

/// What a client's lease has configured in a stack, and nothing else: addresses and routes that the owner has set by hand
/// are left alone, whatever becomes of the lease, and the lease goes on, whatever is set by hand.
///
/// - The address is added, and probed for if the client [checks](super::DhcpClientConfig::check) (RFC 5227); what comes of
///   it, then or later, goes back to the client. One that is there already is taken as it is, and stays when the lease ends.
/// - Routes are added, but for prefixes that have one already.
/// - The MTU is lowered to the server's, down to 576 bytes, and is the interface's again afterwards.
///
/// Resolvers, names and NTP servers are for others: see [`DhcpClient::lease`].
#[derive(Debug)]
pub struct DhcpBinding {
    conflict: ConflictConfig,
    /// The lease's address.
    address: Option<Bound>,
    routes: Vec<Cidr, 8>,
    /// Routes that had no room in the stack's table.
    routes_refused: u64,
}

#[derive(Debug, Clone, Copy)]
struct Bound {
    address: Ipv4Addr,
    prefix_len: u8,
    /// It was added here, not by hand.
    added: bool,
}

impl DhcpBinding {
    /// Nothing is configured. `conflict` says how addresses are probed for, announced and defended.
    pub const fn new(conflict: ConflictConfig) -> Self {
        DhcpBinding {
            conflict,
            address: None,
            routes: Vec::new(),
            routes_refused: 0,
        }
    }

    /// The socket that a client needs: on port 68, with leave to broadcast and to use addresses that are none of ours yet.
    pub const fn udp_options() -> UdpOptions {
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
        let mut options = UdpOptions::bind(SocketAddr::V4(any));
        options.queue = 4;
        options.pages = 4;
        options.broadcast = true;
        options.unconfigured = true;
        options
    }

    /// Routes of leases that had no room in the stack's table, or that it refused (getter).
    pub fn routes_refused(&self) -> u64 {
        self.routes_refused
    }

    /// A client has an event (input): the stack is configured anew.
    ///
    /// # Errors
    /// The stack takes no address more, or not this one: the owner gave it too small a table. The client goes on, and will say
    /// so again when the lease is renewed.
    pub fn handle_client_event(
        &mut self,
        now: Instant,
        stack: &mut Stack<'_>,
        client: &mut DhcpClient,
        event: DhcpClientEvent,
    ) -> Result<(), AddressError> {
        match event {
            DhcpClientEvent::Lost(_) => {
                self.clear(stack);
                Ok(())
            }
            DhcpClientEvent::Unanswered => Ok(()),
            DhcpClientEvent::Acquired => {
                self.clear(stack);
                self.configure(now, stack, client)
            }
            DhcpClientEvent::Renewed { changed } => {
                if changed || self.address.is_none() {
                    self.configure(now, stack, client)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// A stack has an event (input): what it says of the lease's address is the client's to know.
    pub fn handle_stack_event(&self, now: Instant, client: &mut DhcpClient, event: &Event) {
        let is_lease = |address: &IpAddr| {
            self.address
                .is_some_and(|ours| IpAddr::V4(ours.address) == *address)
        };
        match event {
            Event::AddressAcquired(address) if is_lease(address) => {
                client.handle_address_acquired();
            }
            Event::AddressLost { address, .. } if is_lease(address) => {
                client.handle_address_conflict(now);
            }
            _ => {}
        }
    }

    /// As the lease says; an address that is there stays, so that nothing that uses it notices.
    fn configure(
        &mut self,
        now: Instant,
        stack: &mut Stack<'_>,
        client: &mut DhcpClient,
    ) -> Result<(), AddressError> {
        let check = client.config().check;
        let Some(lease) = client.lease() else {
            return Ok(());
        };
        let lease = lease.clone();
        let (address, prefix_len) = (lease.address, lease.prefix_len);
        let known = self.address.filter(|known| known.address == address);
        if known.is_none_or(|known| known.added && known.prefix_len != prefix_len) {
            let preferred = stack.address_state(address.into()) == Some(AddressState::Preferred);
            let by_hand = preferred && known.is_none();
            if !by_hand {
                let mut config = self.conflict;
                if !check || preferred {
                    config.probe_num = 0;
                }
                let cidr = lease.cidr().ok_or(AddressError::NotAHost)?;
                stack.add_address(now, cidr, config)?;
            }
            self.address = Some(Bound {
                address,
                prefix_len,
                added: !by_hand,
            });
        }
        if stack.address_state(address.into()) == Some(AddressState::Preferred) {
            client.handle_address_acquired();
        }
        self.remove_routes(stack);
        for route in lease.parameters.routes() {
            let same = |other: Cidr| {
                other.prefix_len() == route.destination.prefix_len()
                    && other.contains(route.destination.address())
            };
            let by_hand = stack.routes().any(|other| same(other.destination));
            if by_hand {
                continue;
            }
            if stack.add_route(route).is_err() || self.routes.push(route.destination).is_err() {
                self.routes_refused += 1;
            }
        }
        let mtu = lease.parameters.mtu.filter(|mtu| *mtu >= SMALLEST_MTU);
        stack.set_mtu(mtu.unwrap_or(u16::MAX));
        Ok(())
    }

    /// Takes back what was configured.
    fn clear(&mut self, stack: &mut Stack<'_>) {
        self.remove_routes(stack);
        if let Some(bound) = self.address.take() {
            if bound.added {
                stack.remove_address(bound.address.into());
            }
            stack.set_mtu(u16::MAX);
        }
    }

    fn remove_routes(&mut self, stack: &mut Stack<'_>) {
        while let Some(destination) = self.routes.pop() {
            stack.remove_route(destination);
        }
    }
}
