//! The device below our own network stack: a tap, or an interface by AF_XDP.

use std::net::Ipv4Addr;
use std::task::{Context, Poll};
use std::time::Duration;

use mirage_core::{Frame, MacAddress, Netif, NetifError, Offloads, Pool, TransmitError};
use mirage_host::{HostPlatform, Tap, TapConfig, Xdp, XdpConfig};

use crate::{Failure, Net, NetworkArguments};

/// How many pages of the pool a tap receives into.
const TAP_PAGES: usize = 64;
/// The same by AF_XDP, where what came in a burst lies in them.
const XDP_PAGES: usize = 256;
/// How long frames gather by AF_XDP, unless it is said: eight of them at 40,000 a second.
const GATHER: Duration = Duration::from_micros(200);

/// A device of the host.
#[derive(Debug)]
pub enum Device {
    /// A tap.
    Tap(Box<Tap>),
    /// An interface that is ours while we run.
    Xdp(Box<Xdp>),
}

impl Device {
    /// Opens it. `host` is the address for the host's side of a tap, if it is to get one.
    ///
    /// # Errors
    ///
    /// The device can't be had, or the arguments are for another kind.
    pub fn open(
        platform: &'static HostPlatform,
        pool: &'static Pool,
        net: &Net,
        host: Option<(Ipv4Addr, u8)>,
        arguments: &NetworkArguments,
    ) -> Result<Self, Failure> {
        match net {
            Net::Tap(name) => {
                if arguments.xdp_mode.is_some() || arguments.xdp_gather_us.is_some() {
                    let reason =
                        "--xdp-mode and --xdp-gather-us are for --net xdp=NAME: a tap has neither";
                    return Err(Failure::Stack(reason.into()));
                }
                let mut config = TapConfig::new(name);
                config.host_address = host;
                config.mac = arguments.mac;
                config.receive_pages = TAP_PAGES;
                let tap = Tap::open(platform, pool, config).map_err(Failure::Tap)?;
                Ok(Self::Tap(Box::new(tap)))
            }
            Net::Xdp(name) => {
                if arguments.mac.is_some() {
                    return Err(Failure::Stack(format!(
                        "by AF_XDP the MAC address is the interface's own, without --mac: `ip link set {name} address MAC` \
                         changes it"
                    )));
                }
                let mut config = XdpConfig::new(name);
                config.mode = arguments.xdp_mode;
                config.receive_pages = XDP_PAGES;
                config.gather = arguments
                    .xdp_gather_us
                    .map_or(GATHER, Duration::from_micros);
                let xdp = Xdp::open(platform, pool, config).map_err(Failure::Xdp)?;
                Ok(Self::Xdp(Box::new(xdp)))
            }
        }
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Tap(tap) => tap.name(),
            Self::Xdp(xdp) => xdp.name(),
        }
    }

    /// What was opened.
    pub fn describe(&self, host: Option<(Ipv4Addr, u8)>) -> String {
        match self {
            Self::Tap(tap) => {
                let made = if tap.was_made() {
                    "made, and taken away at the end"
                } else {
                    "as it was prepared"
                };
                let name = tap.name();
                let side = match host {
                    Some((host, length)) => format!("its host's side is {host}/{length}"),
                    None => "its host's side is as you make it: on a bridge, for example".into(),
                };
                format!("tap {name}: {made}; {side}")
            }
            Self::Xdp(xdp) => {
                let copied = if xdp.zero_copy() {
                    "zero-copy"
                } else {
                    "copied by the kernel"
                };
                let (name, mode) = (xdp.name(), xdp.mode());
                format!("AF_XDP on {name}: {mode} mode, {copied}; all that it receives is ours")
            }
        }
    }

    /// Frames received and sent; all that was counted is told with -v.
    pub fn counters(&self) -> (u64, u64) {
        match self {
            Self::Tap(tap) => {
                let counters = tap.counters();
                log::info!("{counters:#?}");
                (counters.received, counters.transmitted)
            }
            Self::Xdp(xdp) => {
                let counters = xdp.counters();
                log::info!("{counters:#?}");
                (counters.received, counters.transmitted)
            }
        }
    }
}

impl Netif for Device {
    fn mac(&self) -> MacAddress {
        match self {
            Self::Tap(tap) => tap.mac(),
            Self::Xdp(xdp) => xdp.mac(),
        }
    }

    fn mtu(&self) -> u16 {
        match self {
            Self::Tap(tap) => tap.mtu(),
            Self::Xdp(xdp) => xdp.mtu(),
        }
    }

    fn offloads(&self) -> Offloads {
        match self {
            Self::Tap(tap) => tap.offloads(),
            Self::Xdp(xdp) => xdp.offloads(),
        }
    }

    fn link_up(&self) -> bool {
        match self {
            Self::Tap(tap) => tap.link_up(),
            Self::Xdp(xdp) => xdp.link_up(),
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, NetifError>> {
        match self {
            Self::Tap(tap) => tap.poll_receive(cx),
            Self::Xdp(xdp) => xdp.poll_receive(cx),
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetifError>> {
        match self {
            Self::Tap(tap) => tap.poll_ready(cx),
            Self::Xdp(xdp) => xdp.poll_ready(cx),
        }
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), TransmitError> {
        match self {
            Self::Tap(tap) => tap.transmit(frame),
            Self::Xdp(xdp) => xdp.transmit(frame),
        }
    }

    fn flush(&mut self) -> Result<(), NetifError> {
        match self {
            Self::Tap(tap) => tap.flush(),
            Self::Xdp(xdp) => xdp.flush(),
        }
    }
}
