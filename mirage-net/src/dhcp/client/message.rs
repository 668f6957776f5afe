//! The messages of a client (RFC 2131 §4.4, table 5).

use core::net::Ipv4Addr;

use super::{DhcpClientConfig, DhcpTransmit};
use crate::wire::dhcp::{
    DhcpFull, DhcpHardware, DhcpMessageType, DhcpOperation, DhcpRepr, DhcpWriter, MESSAGE_LEN,
    option,
};

/// What a client asks for: routes before routers (RFC 3442).
const PARAMETERS: [u8; 11] = [
    option::SUBNET_MASK,
    option::CLASSLESS_ROUTES,
    option::ROUTER,
    option::DOMAIN_NAME_SERVER,
    option::HOST_NAME,
    option::DOMAIN_NAME,
    option::INTERFACE_MTU,
    option::BROADCAST_ADDRESS,
    option::NTP_SERVERS,
    option::RENEWAL_TIME,
    option::REBINDING_TIME,
];

/// A message that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Discover {
        hint: Option<Ipv4Addr>,
    },
    /// An offer is taken.
    Select {
        address: Ipv4Addr,
        server: Ipv4Addr,
    },
    /// The address of an earlier life is asked for.
    Reboot {
        address: Ipv4Addr,
    },
    Renew {
        address: Ipv4Addr,
        server: Ipv4Addr,
    },
    Rebind {
        address: Ipv4Addr,
    },
    Decline {
        address: Ipv4Addr,
        server: Ipv4Addr,
    },
    Release {
        address: Ipv4Addr,
        server: Ipv4Addr,
    },
    /// Options alone, for an address that is ours by hand.
    Inform {
        address: Ipv4Addr,
    },
}

impl Due {
    /// Writes the message.
    pub(super) fn write(
        self,
        config: &DhcpClientConfig,
        transaction: u32,
        seconds: u16,
        buffer: &mut [u8; MESSAGE_LEN],
    ) -> Result<DhcpTransmit, DhcpFull> {
        let mut repr = DhcpRepr {
            transaction,
            seconds,
            broadcast: config.broadcast,
            hardware: DhcpHardware::ethernet(config.mac),
            ..DhcpRepr::new(DhcpOperation::Request)
        };
        let mut source = Ipv4Addr::UNSPECIFIED;
        let mut destination = Ipv4Addr::BROADCAST;
        let (kind, requested, server) = match self {
            Due::Discover { hint } => (DhcpMessageType::Discover, hint, None),
            Due::Select { address, server } => {
                (DhcpMessageType::Request, Some(address), Some(server))
            }
            Due::Reboot { address } => (DhcpMessageType::Request, Some(address), None),
            Due::Renew { address, server } => {
                (source, destination) = (address, server);
                repr.client_address = address;
                (DhcpMessageType::Request, None, None)
            }
            Due::Rebind { address } => {
                source = address;
                repr.client_address = address;
                (DhcpMessageType::Request, None, None)
            }
            Due::Decline { address, server } => {
                (DhcpMessageType::Decline, Some(address), Some(server))
            }
            Due::Release { address, server } => {
                (source, destination) = (address, server);
                repr.client_address = address;
                (DhcpMessageType::Release, None, Some(server))
            }
            Due::Inform { address } => {
                source = address;
                repr.client_address = address;
                (DhcpMessageType::Inform, None, None)
            }
        };
        // A client that has its address receives unicast datagrams.
        repr.broadcast &= repr.client_address.is_unspecified();
        let asks = !matches!(kind, DhcpMessageType::Decline | DhcpMessageType::Release);
        if !asks {
            (repr.seconds, repr.broadcast) = (0, false);
        }
        let mut writer = DhcpWriter::new(buffer, &repr)?;
        writer.message_type(kind)?;
        if let Some(identifier) = &config.identifier {
            writer.option(option::CLIENT_IDENTIFIER, identifier)?;
        }
        if let Some(requested) = requested {
            writer.address(option::REQUESTED_ADDRESS, requested)?;
        }
        if let Some(server) = server {
            writer.address(option::SERVER_IDENTIFIER, server)?;
        }
        if asks {
            // Table 5: no address, no time in a DHCPINFORM.
            if let Some(time) = config
                .lease_time
                .filter(|_| kind != DhcpMessageType::Inform)
            {
                let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
                writer.u32(option::LEASE_TIME, seconds)?;
            }
            writer.u16(option::MAX_MESSAGE_SIZE, 576)?;
            writer.option(option::PARAMETER_LIST, &PARAMETERS)?;
            for (code, text) in [
                (option::HOST_NAME, &config.host_name),
                (option::VENDOR_CLASS, &config.vendor_class),
            ] {
                if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
                    writer.option(code, text.as_bytes())?;
                }
            }
        }
        Ok(DhcpTransmit {
            length: writer.finish(),
            source,
            destination,
        })
    }
}
