//! Our address: the toolstack's word, or a DHCP server's.

use alloc::boxed::Box;
use core::convert::Infallible;
use core::net::IpAddr;
use core::time::Duration;

use mirage_core::MacAddress;
use mirage_core::executor::Executor;
use mirage_net::{
    Cidr, ConflictConfig, Defence, DhcpClient, DhcpClientConfig, DhcpClientEvent, DhcpNotice,
    Event, SharedDhcpClient, SharedStack,
};
use mirage_xen::console::logger::Logging;
use rand_core::CryptoRng;

use crate::settings::{Ip, Settings};
use crate::{Failure, say};

/// Where our address comes from.
pub(crate) struct Address {
    source: Source,
    logging: Option<Logging>,
}

enum Source {
    /// The toolstack has said which.
    Assigned(Cidr),
    /// A DHCP server gives one.
    Dhcp(&'static SharedDhcpClient),
}

impl Address {
    /// Gives the stack its address, if it is known, and the gateway.
    pub(crate) fn open(
        shared: &SharedStack<'_>,
        mac: MacAddress,
        settings: &Settings,
        logging: Option<Logging>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, Failure> {
        let source = match settings.ip {
            Ip::Address(ip) => {
                // The toolstack gave us the address: it is taken at once, and defended.
                let conflict = ConflictConfig {
                    probe_num: 0,
                    defence: Defence::Always,
                    ..ConflictConfig::default()
                };
                shared.with(|stack, now| stack.add_address(now, ip, conflict))?;
                Source::Assigned(ip)
            }
            Ip::Dhcp => {
                let mut config = DhcpClientConfig::new(mac);
                // Domains that are all started at once are started one after the other.
                config.start_delay = Duration::from_millis(100);
                config.offer_wait = Duration::from_millis(200);
                let client = SharedDhcpClient::new(DhcpClient::new(config, rng));
                Source::Dhcp(Box::leak(Box::new(client)))
            }
        };
        if let Some(gateway) = settings.gateway {
            shared.with(|stack, _| stack.add_default_route(gateway.into()))?;
        }
        Ok(Self { source, logging })
    }

    /// Keeps the address, and says what becomes of it, for ever.
    pub(crate) async fn keep(
        &self,
        shared: &SharedStack<'_>,
        executor: &'static Executor,
    ) -> Result<Infallible, Failure> {
        match &self.source {
            Source::Assigned(ip) => loop {
                self.tell(shared.event().await, ip.address());
            },
            Source::Dhcp(client) => {
                say(self.logging, &"mirage: asking for an address by DHCP");
                // On a host's bridge everyone answers at once.
                let conflict = ConflictConfig::quick();
                let notify = |notice| self.notice(client, notice);
                Ok(client.run(shared, executor, conflict, notify).await?)
            }
        }
    }

    /// The domain is another one now, perhaps on another network.
    pub(crate) fn resume(&self, shared: &SharedStack<'_>, rng: &mut impl CryptoRng) {
        if let Source::Dhcp(client) = &self.source {
            client.resume(shared, rng);
        }
    }

    fn notice(&self, client: &SharedDhcpClient, notice: DhcpNotice) {
        match notice {
            DhcpNotice::Stack(event) => {
                if let Some(lease) = client.with(|client| client.lease().cloned()).flatten() {
                    self.tell(event, lease.address.into());
                }
            }
            DhcpNotice::Client(DhcpClientEvent::Acquired) => self.lease(client),
            DhcpNotice::Client(DhcpClientEvent::Renewed { changed }) => {
                if changed {
                    self.lease(client);
                } else {
                    log::debug!("the lease was renewed");
                }
            }
            DhcpNotice::Client(DhcpClientEvent::Lost(loss)) => {
                log::warn!("the lease is over: {loss}");
            }
            DhcpNotice::Client(DhcpClientEvent::Unanswered) => {
                log::warn!("no DHCP server answers; asking on");
            }
            DhcpNotice::Unconfigurable(error) => {
                log::error!("the lease's address can't be used: {error}");
            }
            _ => {}
        }
    }

    fn lease(&self, client: &SharedDhcpClient) {
        if let Some(lease) = client.with(|client| client.lease().cloned()).flatten() {
            say(self.logging, &format_args!("mirage: lease: {lease}"));
        }
    }

    fn tell(&self, event: Event, own: IpAddr) {
        // IPv4's alone: the text of the others is two kilobytes.
        match event {
            Event::AddressAcquired(address @ IpAddr::V4(shown)) if address == own => {
                say(self.logging, &format_args!("mirage: ready {shown}"));
            }
            Event::AddressDefended {
                address: IpAddr::V4(address),
                other,
            } => {
                log::warn!("{other} uses our address {address}: it was told that it is ours");
            }
            Event::AddressLost {
                address: IpAddr::V4(address),
                other,
            } => log::error!("{other} has our address {address}"),
            _ => {}
        }
    }
}
