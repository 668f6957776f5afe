//! Our address: the command line's, or a DHCP server's.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use mirage_core::executor::Executor;
use mirage_core::kv::Key;
use mirage_core::{Clock, MacAddress};
use mirage_host::{DirectoryStore, HostPlatform, SystemRng};
use mirage_net::{
    Cidr, ConflictConfig, Defence, DhcpClient, DhcpClientConfig, DhcpClientEvent, DhcpLoss,
    DhcpNotice, Event, SharedDhcpClient, SharedStack,
};

use crate::{Failure, Ip, Net, NetworkArguments, Prefix, say};

/// The key of the address that is kept.
const ADDRESS: Key<'static> = match Key::new("dhcp-address") {
    Ok(key) => key,
    Err(_) => panic!("a good key"),
};

/// How long the message that gives a lease back may take to leave.
const GOOD_BYE: Duration = Duration::from_millis(500);

/// Where our address comes from, and what it is now.
pub(crate) struct Address {
    source: Source,
    conflict: ConflictConfig,
    current: Cell<Option<Ipv4Addr>>,
    /// The station that has the address that we were told to have.
    taken: Cell<Option<MacAddress>>,
}

enum Source {
    /// The command line has said which.
    Assigned(Prefix),
    /// A DHCP server gives one.
    Dhcp {
        client: Box<SharedDhcpClient>,
        /// Where the address outlives us.
        kept: Option<Box<DirectoryStore>>,
    },
}

impl Address {
    /// Begins to take the address, if it is known.
    pub(crate) fn open(
        stack: &SharedStack<'_>,
        net: &Net,
        arguments: &NetworkArguments,
        ip: Ip,
        mac: MacAddress,
        rng: &mut SystemRng,
    ) -> Result<&'static Self, Failure> {
        let mut conflict = conflict(net);
        let source = match ip {
            Ip::Address(_) if arguments.lease.is_some() => {
                let reason = "--lease is for --ip dhcp: this address is kept by whoever chose it";
                return Err(Failure::Stack(reason.into()));
            }
            Ip::Address(prefix) => {
                conflict.defence = Defence::Always;
                let cidr = Cidr::new(IpAddr::V4(prefix.address), prefix.length);
                let cidr = cidr.map_err(|error| Failure::Stack(error.to_string()))?;
                stack
                    .with(|stack, now| stack.add_address(now, cidr, conflict))
                    .map_err(|error| Failure::Stack(error.to_string()))?;
                Source::Assigned(prefix)
            }
            Ip::Dhcp => {
                let mut config = DhcpClientConfig::new(mac);
                if matches!(net, Net::Tap(_)) {
                    // Nobody else starts with us there.
                    config.start_delay = Duration::ZERO;
                }
                let client = SharedDhcpClient::new(DhcpClient::new(config, rng));
                let kept = arguments.lease.as_ref().map(DirectoryStore::open);
                let kept = kept
                    .transpose()
                    .map_err(|error| Failure::Stack(format!("--lease: {error}")))?;
                Source::Dhcp {
                    client: Box::new(client),
                    kept: kept.map(Box::new),
                }
            }
        };
        Ok(Box::leak(Box::new(Self {
            source,
            conflict,
            current: Cell::new(None),
            taken: Cell::new(None),
        })))
    }

    /// The address, while it is ours.
    pub(crate) fn current(&self) -> Option<Ipv4Addr> {
        self.current.get()
    }

    /// What we do about it first.
    pub(crate) fn describe(&self, mac: MacAddress) -> String {
        match &self.source {
            Source::Assigned(prefix) => format!("taking {} with MAC {mac}", prefix.address),
            Source::Dhcp { .. } => format!("asking for an address by DHCP with MAC {mac}"),
        }
    }

    /// Why there can be no address: another station has the one that we were told to have.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let (Some(other), Source::Assigned(prefix)) = (self.taken.get(), &self.source) else {
            return None;
        };
        Some(Failure::Stack(format!(
            "{} is in use by another station, {other}: choose another address with --ip",
            prefix.address
        )))
    }

    /// Keeps the address, and says what becomes of it, for ever.
    pub(crate) async fn keep(
        &self,
        stack: &SharedStack<'_>,
        executor: &'static Executor,
    ) -> Result<Infallible, Failure> {
        match &self.source {
            Source::Assigned(prefix) => loop {
                self.tell(stack.event().await, prefix.address);
            },
            Source::Dhcp { client, kept } => {
                if let Some(kept) = kept
                    && let Err(error) = client.recall(&**kept, ADDRESS).await
                {
                    log::warn!("the address of before can't be read: {error}");
                }
                let notify = |notice| self.notice(client, notice);
                let mut running = pin!(client.run(stack, executor, self.conflict, notify));
                let mut remembering = pin!(async {
                    let problem = |error| log::warn!("the address can't be kept: {error}");
                    match kept {
                        Some(kept) => client.remember(&**kept, ADDRESS, problem).await,
                        None => std::future::pending().await,
                    }
                });
                poll_fn(|cx| {
                    let Poll::Pending = remembering.as_mut().poll(cx);
                    running.as_mut().poll(cx)
                })
                .await
                .map_err(|error| Failure::Stack(error.to_string()))
            }
        }
    }

    /// Gives a lease back, if there is one: another run has another MAC address, perhaps, and the server doesn't know it again.
    /// Waits until that has left, while somebody else moves the frames.
    pub(crate) async fn release(
        &self,
        stack: &SharedStack<'_>,
        executor: &'static Executor,
        platform: &HostPlatform,
    ) {
        let Source::Dhcp { client, kept: None } = &self.source else {
            return;
        };
        let before = client.with(|client| {
            let sent = client.counters().sent;
            let leased = client.lease().is_some();
            client.release(platform.now());
            leased.then_some(sent)
        });
        let Some(before) = before.flatten() else {
            return;
        };
        let is_gone = || {
            let sent = client.with(|client| client.counters().sent).unwrap_or(0);
            let waiting = stack.with(|stack, _| stack.transmit_len() + stack.pending());
            sent > before && waiting == 0
        };
        let leaving = async {
            while !is_gone() {
                executor.sleep(Duration::from_millis(5)).await;
            }
        };
        if executor.timeout(GOOD_BYE, leaving).await.is_err() {
            log::warn!("the lease could not be given back");
        }
    }

    fn notice(&self, client: &SharedDhcpClient, notice: DhcpNotice) {
        let lease = || client.with(|client| client.lease().cloned()).flatten();
        match notice {
            DhcpNotice::Stack(event) => match lease() {
                Some(lease) => self.tell(event, lease.address),
                None => log::info!("{event:?}"),
            },
            DhcpNotice::Client(event) => {
                log::info!("{event:?}");
                match event {
                    DhcpClientEvent::Acquired | DhcpClientEvent::Renewed { changed: true } => {
                        say(&Vec::from_iter(
                            lease().map(|lease| format!("lease: {lease}")),
                        ));
                    }
                    DhcpClientEvent::Lost(DhcpLoss::Released) => self.current.set(None),
                    DhcpClientEvent::Lost(loss) => {
                        if let Some(address) = self.current.take() {
                            log::warn!("the lease of {address} is over: {loss}");
                        }
                    }
                    DhcpClientEvent::Unanswered => {
                        log::warn!(
                            "no DHCP server answers: is there one on this network? Asking on; Ctrl-C ends this"
                        );
                    }
                    _ => {}
                }
            }
            DhcpNotice::Unconfigurable(error) => {
                log::error!("the lease's address can't be used: {error}");
            }
            // It is repeated.
            notice => log::info!("{notice:?}"),
        }
    }

    fn tell(&self, event: Event, ours: Ipv4Addr) {
        log::info!("{event:?}");
        match event {
            Event::AddressAcquired(own) if own == IpAddr::V4(ours) => self.current.set(Some(ours)),
            Event::AddressLost {
                address: own,
                other,
            } if own == IpAddr::V4(ours) => {
                log::info!("{own} is in use by another station, {other}");
                self.taken.set(Some(other));
            }
            Event::AddressDefended { address, other } => {
                log::warn!("{other} uses our address {address}: it was told that it is ours");
            }
            _ => {}
        }
    }
}

/// How our address is found to be free, and kept (RFC 5227).
fn conflict(net: &Net) -> ConflictConfig {
    match net {
        // The standard's times are for networks whose bridges wake slowly; a tap's other end is a kernel that answers at once.
        Net::Tap(_) => ConflictConfig::quick(),
        Net::Xdp(_) => ConflictConfig::default(),
    }
}
