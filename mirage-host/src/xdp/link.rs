//! The state of the interface: how many queues it has, and that it goes down, comes up, or goes away.
//!
//! poll(2) on a socket of AF_XDP says nothing at all while the interface is down, nor when it is gone: a process that watched
//! it alone would sleep for ever. So the kernel's messages about interfaces are watched as well.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::task::Context;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::interface::{LinkState, parse_link_news};
use crate::platform::HostPlatform;
use crate::reactor::Source;

use super::error::XdpError;

/// How many messages one look takes at most.
const BUDGET: usize = 64;

/// The kernel's messages about one interface.
pub(super) struct LinkWatch {
    source: Source,
    interface: u32,
    /// A task waits for news: while it does, and was not woken, there are none.
    waiting: bool,
}

impl LinkWatch {
    /// Messages are collected from now on: ask for the interface's state after this.
    pub(super) fn socket() -> Result<OwnedFd, Errno> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            // NETLINK_ROUTE is protocol 0.
            None,
        )?;
        bind(
            &socket,
            &SocketAddrNetlink::new(0, libc::RTMGRP_LINK as u32),
        )?;
        Ok(socket)
    }

    pub(super) fn new(
        platform: &'static HostPlatform,
        socket: OwnedFd,
        interface: u32,
    ) -> Result<Self, XdpError> {
        let source = platform
            .source(socket)
            .map_err(|_| XdpError::TooManySources)?;
        Ok(Self {
            source,
            interface,
            waiting: false,
        })
    }

    /// Has the task of `cx` woken when there is news.
    #[inline]
    pub(super) fn wait(&mut self, cx: &mut Context<'_>) {
        self.source.wake_when_readable(cx);
        self.waiting = true;
    }

    /// Whether there may be news: a look at our own memory, no system call.
    #[inline]
    pub(super) fn may_have_news(&self) -> bool {
        !(self.waiting && self.source.is_waited_for())
    }

    /// The last news, if there are any, of which one system call at least is made.
    pub(super) fn look(&mut self) -> Option<LinkState> {
        self.waiting = false;
        let mut news = None;
        let mut buffer = vec![0; 32 * 1024];
        for _ in 0..BUDGET {
            match retry_on_intr(|| recv(&self.source, &mut buffer[..], RecvFlags::empty())) {
                Ok((length, _)) => {
                    let message = &buffer[..length.min(buffer.len())];
                    news = parse_link_news(message, self.interface).or(news);
                    if news == Some(LinkState::Gone) {
                        break;
                    }
                }
                Err(Errno::AGAIN) => break,
                // Messages were lost: the next one tells the state as it is then. Ask for it.
                Err(Errno::NOBUFS) => news = current(self.interface).or(news),
                Err(error) => {
                    log::debug!("news of the interface: {error}");
                    break;
                }
            }
        }
        news
    }
}

fn current(interface: u32) -> Option<LinkState> {
    let mut route = crate::interface::RouteSocket::open().ok()?;
    match route.state(interface) {
        Ok(state) => Some(state),
        Err(Errno::NODEV) => Some(LinkState::Gone),
        Err(_) => None,
    }
}

/// How many queues the interface receives with.
pub(super) fn receive_queues(name: &str, most: u32) -> Result<u32, Errno> {
    // `struct ethtool_channels` of linux/ethtool.h.
    let mut channels = [0u32; 9];
    channels[0] = ETHTOOL_GCHANNELS;
    match ethtool(name, &mut channels) {
        Ok(()) => {
            let (receive, combined) = (channels[5], channels[8]);
            Ok(receive.saturating_add(combined).max(1))
        }
        // The driver's queues can't be changed: it has as many as it was made with.
        Err(Errno::OPNOTSUPP) => Ok(most.max(1)),
        Err(errno) => Err(errno),
    }
}

const ETHTOOL_GCHANNELS: u32 = 0x3c;
#[cfg(test)]
const ETHTOOL_STXCSUM: u32 = 0x17;

/// Has the interface's device leave checksums out of what it sends, or compute them.
#[cfg(test)]
pub(super) fn set_transmit_checksum_offload(name: &str, on: bool) -> Result<(), Errno> {
    ethtool(name, &mut [ETHTOOL_STXCSUM, on.into()])
}

/// One request of SIOCETHTOOL, which begins with its command.
fn ethtool<const WORDS: usize>(name: &str, request: &mut [u32; WORDS]) -> Result<(), Errno> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an ifreq is integers and pointers that may be null: zeros are a value.
    let mut interface: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in interface
        .ifr_name
        .iter_mut()
        .take(libc::IFNAMSIZ - 1)
        .zip(name.bytes())
    {
        *to = from as libc::c_char;
    }
    interface.ifr_ifru.ifru_data = request.as_mut_ptr().cast();
    // SAFETY: SIOCETHTOOL reads an ifreq whose name ends in a zero and whose data points to the request; it reads and writes as
    // many words of that as the command has (nine for ETHTOOL_GCHANNELS, two for ETHTOOL_STXCSUM): all that there are. Both
    // outlive the call.
    let result = unsafe {
        libc::ioctl(
            socket.as_fd().as_raw_fd(),
            libc::SIOCETHTOOL as _,
            &raw mut interface,
        )
    };
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(())
}
