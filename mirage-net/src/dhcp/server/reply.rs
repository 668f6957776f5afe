//! The messages of a server (RFC 2131 §4.3, table 3), and where they go (§4.1).

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use super::{Asker, DhcpReply, DhcpServer, Verdict, is_infinite};
use crate::dhcp::client::lease::{INFINITE, is_host_in};
use crate::wire::dhcp::{
    CLIENT_PORT, DhcpFull, DhcpMessageType, DhcpOperation, DhcpPacket, DhcpRepr, DhcpWriter,
    MESSAGE_LEN, SERVER_PORT, option, write_classless_route,
};

/// Bytes of all routes of a subnet in option 121.
const ROUTES_LEN: usize = 255;

impl DhcpServer<'_> {
    pub(super) fn reply(
        &mut self,
        packet: &DhcpPacket<'_>,
        asker: &Asker<'_>,
        verdict: Verdict,
        buffer: &mut [u8],
    ) -> Option<DhcpReply> {
        let (kind, given) = match verdict {
            Verdict::Offer(address, time) => (DhcpMessageType::Offer, Some((address, time))),
            Verdict::Ack(address, time) => (DhcpMessageType::Ack, Some((address, time))),
            Verdict::Informed => (DhcpMessageType::Ack, None),
            Verdict::Nak => (DhcpMessageType::Nak, None),
            Verdict::Silence => return None,
        };
        let relay = packet.relay_address();
        let mut repr = DhcpRepr {
            transaction: packet.transaction(),
            broadcast: packet.broadcast(),
            relay_address: relay,
            hardware: packet.hardware(),
            ..DhcpRepr::new(DhcpOperation::Reply)
        };
        match verdict {
            Verdict::Offer(address, _) => repr.your_address = address,
            Verdict::Ack(address, _) => {
                repr.your_address = address;
                repr.client_address = packet.client_address();
            }
            Verdict::Informed => repr.client_address = packet.client_address(),
            // "If 'giaddr' is set in the DHCPREQUEST message, … the server MUST set the broadcast bit in the DHCPNAK" (§4.3.2).
            Verdict::Nak => repr.broadcast |= !relay.is_unspecified(),
            Verdict::Silence => {}
        }
        // What a client says that it takes counts a datagram's headers (RFC 2132 §9.10: "The minimum legal value is 576").
        let takes = packet.u16(option::MAX_MESSAGE_SIZE).unwrap_or(0);
        let takes = usize::from(takes).saturating_sub(28).max(MESSAGE_LEN);
        let most = takes.min(buffer.len());
        let length = self
            .write(packet, asker, kind, &repr, given, buffer.get_mut(..most)?)
            .ok()?;
        let (destination, link) = self.destination(packet, asker, verdict);
        Some(DhcpReply {
            length,
            destination,
            link,
        })
    }

    fn write(
        &mut self,
        packet: &DhcpPacket<'_>,
        asker: &Asker<'_>,
        kind: DhcpMessageType,
        repr: &DhcpRepr,
        given: Option<(Ipv4Addr, Duration)>,
        buffer: &mut [u8],
    ) -> Result<usize, DhcpFull> {
        let mut writer = DhcpWriter::new(buffer, repr)?;
        writer.allow_overload();
        writer.message_type(kind)?;
        writer.address(option::SERVER_IDENTIFIER, self.config.address)?;
        if let Some((_, time)) = given {
            writer.u32(option::LEASE_TIME, seconds(time))?;
        }
        // RFC 6842: returned as it came, in every reply.
        let mut copy = [0; 255];
        if let Some(identifier) = packet.option(option::CLIENT_IDENTIFIER)
            && let Some(identifier) = identifier.copy_to(&mut copy)
        {
            writer.option(option::CLIENT_IDENTIFIER, identifier)?;
        }
        // RFC 3046 §2.2: returned as it came, in every reply; room for it is kept, and it is the last.
        let relay = match packet.option(option::RELAY_AGENT) {
            Some(relay) => relay.copy_to(&mut copy),
            None => None,
        };
        writer.keep_free(relay.map_or(0, |relay| relay.len() + 2));
        if kind != DhcpMessageType::Nak {
            let left_out = self.parameters(packet, asker, given, &mut writer);
            self.counters.options_left_out += left_out;
        }
        writer.keep_free(0);
        if let Some(relay) = relay {
            writer.option(option::RELAY_AGENT, relay)?;
        }
        Ok(writer.finish())
    }

    /// What the client asked for, or all of it if it didn't say; how much had no room.
    fn parameters(
        &self,
        packet: &DhcpPacket<'_>,
        asker: &Asker<'_>,
        given: Option<(Ipv4Addr, Duration)>,
        writer: &mut DhcpWriter<'_>,
    ) -> u64 {
        let subnet = asker.subnet;
        let list = packet.option(option::PARAMETER_LIST);
        let wanted = |code: u8| {
            list.as_ref()
                .is_none_or(|list| list.bytes().any(|other| other == code))
        };
        let mut left_out = 0;
        let mut put = |code: u8, value: &[u8]| {
            if !value.is_empty() && wanted(code) {
                left_out += u64::from(writer.option(code, value).is_err());
            }
        };
        let mut bytes = [0; ROUTES_LEN];
        // "If both the subnet mask and the router option are specified in a DHCP reply, the subnet mask option MUST be first"
        // (RFC 2132 §3.3).
        let mask = u32::MAX
            .checked_shl(32 - u32::from(subnet.network.prefix_len()))
            .unwrap_or(0);
        put(option::SUBNET_MASK, &mask.to_be_bytes());
        let mut length = 0;
        for route in subnet.routes {
            let room = bytes.get_mut(length..).unwrap_or_default();
            match write_classless_route(route, room) {
                Some(more) => length += more,
                None => break,
            }
        }
        put(option::CLASSLESS_ROUTES, &bytes[..length]);
        for (code, addresses) in [
            (option::ROUTER, subnet.routers),
            (option::DOMAIN_NAME_SERVER, subnet.resolvers),
            (option::NTP_SERVERS, subnet.ntp_servers),
        ] {
            let mut length = 0;
            for (to, address) in bytes.chunks_exact_mut(4).zip(addresses) {
                to.copy_from_slice(&address.octets());
                length += 4;
            }
            put(code, &bytes[..length]);
        }
        put(
            option::DOMAIN_NAME,
            subnet.domain.unwrap_or_default().as_bytes(),
        );
        let reservation = given.and_then(|(address, _)| self.reservation(address));
        let name = reservation.and_then(|reservation| reservation.host_name);
        put(option::HOST_NAME, name.unwrap_or_default().as_bytes());
        if let Some(mtu) = subnet.mtu {
            put(option::INTERFACE_MTU, &mtu.to_be_bytes());
        }
        if let Some(broadcast) = subnet.network.broadcast() {
            put(option::BROADCAST_ADDRESS, &broadcast.octets());
        }
        if let Some((_, time)) = given.filter(|(_, time)| !is_infinite(*time)) {
            put(option::RENEWAL_TIME, &seconds(time / 2).to_be_bytes());
            put(option::REBINDING_TIME, &seconds(time / 8 * 7).to_be_bytes());
        }
        left_out
    }

    /// RFC 2131 §4.1.
    fn destination(
        &self,
        packet: &DhcpPacket<'_>,
        asker: &Asker<'_>,
        verdict: Verdict,
    ) -> (SocketAddrV4, Option<mirage_core::MacAddress>) {
        let relay = packet.relay_address();
        let client = packet.client_address();
        let everyone = (SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT), None);
        let to_client = (SocketAddrV4::new(client, CLIENT_PORT), None);
        let network = asker.subnet.network;
        let is_near = network.contains(client.into()) && is_host_in(client, network.prefix_len());
        match verdict {
            // "The server SHOULD unicast the DHCPACK … to the address given in the 'ciaddr' field" (§4.3.5).
            Verdict::Informed => to_client,
            _ if !relay.is_unspecified() => (SocketAddrV4::new(relay, SERVER_PORT), None),
            Verdict::Nak => everyone,
            // An address of another network is none that the client could be reached at: nobody there has asked.
            _ if is_near => to_client,
            Verdict::Offer(address, _) | Verdict::Ack(address, _)
                if self.config.link_unicast && !packet.broadcast() =>
            {
                match asker.hardware.mac() {
                    Some(mac) => (SocketAddrV4::new(address, CLIENT_PORT), Some(mac)),
                    None => everyone,
                }
            }
            _ => everyone,
        }
    }
}

/// A time on the wire: all ones is for ever.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(INFINITE)
}
