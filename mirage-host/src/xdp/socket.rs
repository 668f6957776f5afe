//! The socket of AF_XDP with its four rings, bound to queue 0 of an interface.

use std::ffi::c_int;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use mirage_core::Pool;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, XdpOptionsFlags, XdpRingOffset, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, bind, send, sockopt};

use super::error::XdpError;
use super::ring::{Consumer, Descriptor, Entry, Mapping, Producer};
use crate::sockets::option;

/// `XDP_MAX_TX_SKB_BUDGET` of linux/if_xdp.h (Linux 6.17): how many frames one system call sends, where the kernel copies them.
/// Before that 32.
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;
/// The least of it.
pub(super) const TRANSMIT_BUDGET: u32 = 32;

/// How often and how long a queue that is in use is waited for: 300 ms in all.
const PATIENCE: u32 = 30;
const PAUSE: Duration = Duration::from_millis(10);

/// What the kernel and we share.
pub(super) struct Rings {
    pub(super) fill: Producer<u64>,
    pub(super) completion: Consumer<u64>,
    pub(super) receive: Consumer<Descriptor>,
    pub(super) transmit: Producer<Descriptor>,
}

/// A bound socket, and how it is bound.
pub(super) struct XdpSocket {
    pub(super) descriptor: OwnedFd,
    pub(super) rings: Rings,
    /// The device reads and writes our pages itself.
    pub(super) zero_copy: bool,
    /// A frame may be in several descriptors.
    pub(super) scattered: bool,
}

/// What a socket is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketOptions {
    pub(super) interface: u32,
    /// Entries of the fill and of the receive ring: a power of two.
    pub(super) receive_slots: u32,
    /// Entries of the transmit ring: a power of two. The completion ring has twice as many.
    pub(super) transmit_slots: u32,
    /// Bytes before each received frame, beside the kernel's own 256.
    pub(super) headroom: u32,
}

impl XdpSocket {
    /// Opens a socket over the pool's region, and binds it: zero-copy where the driver has it; else with frames in several
    /// pieces, where the kernel has them (Linux 6.6).
    pub(super) fn open(
        name: &str,
        pool: &'static Pool,
        options: SocketOptions,
    ) -> Result<Self, XdpError> {
        // Of a socket that was closed, the kernel gives the queue back a little later.
        for _ in 0..PATIENCE {
            match Self::try_open(name, pool, options) {
                Err(XdpError::Busy(_)) => std::thread::sleep(PAUSE),
                result => return result,
            }
        }
        Self::try_open(name, pool, options)
    }

    fn try_open(name: &str, pool: &'static Pool, options: SocketOptions) -> Result<Self, XdpError> {
        let kinds = [
            SocketAddrXdpFlags::XDP_ZEROCOPY,
            SocketAddrXdpFlags::XDP_COPY | SocketAddrXdpFlags::XDP_USE_SG,
            SocketAddrXdpFlags::XDP_COPY,
        ];
        let mut last = Errno::OPNOTSUPP;
        for kind in kinds {
            // A new one each time: what a failed bind(2) leaves of a socket is not documented.
            let (descriptor, rings) = prepare(pool, options)?;
            let flags = kind | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
            match bind(
                &descriptor,
                &SocketAddrXdp::new(flags, options.interface, 0),
            ) {
                Ok(()) => {
                    let zero_copy = sockopt::xdp_options(&descriptor).is_ok_and(|options| {
                        options.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY)
                    });
                    raise_budget(&descriptor, options.transmit_slots);
                    return Ok(Self {
                        descriptor,
                        rings,
                        zero_copy,
                        scattered: flags.contains(SocketAddrXdpFlags::XDP_USE_SG),
                    });
                }
                Err(Errno::BUSY) => last = Errno::BUSY,
                Err(Errno::NETDOWN) => return Err(XdpError::Down(name.into())),
                Err(Errno::NODEV) => return Err(XdpError::NoInterface(name.into())),
                Err(Errno::PERM | Errno::ACCESS) => {
                    return Err(XdpError::NotPermitted {
                        step: "bind a socket of AF_XDP",
                    });
                }
                Err(errno) => last = errno,
            }
        }
        Err(match last {
            Errno::BUSY => XdpError::Busy(name.into()),
            errno => XdpError::Os {
                step: "bind the socket",
                errno,
            },
        })
    }
}

#[cfg(test)]
impl XdpSocket {
    /// Whether the kernel has such sockets, and lets us have one.
    pub(super) fn is_possible(pool: &'static Pool, options: SocketOptions) -> Result<(), XdpError> {
        prepare(pool, options).map(drop)
    }
}

/// Has the kernel take what the transmit ring holds; one system call for all of it.
pub(super) fn kick(descriptor: BorrowedFd<'_>) -> Result<(), Errno> {
    retry_on_intr(|| send(descriptor, &[], SendFlags::DONTWAIT)).map(drop)
}

fn prepare(pool: &'static Pool, options: SocketOptions) -> Result<(OwnedFd, Rings), XdpError> {
    let descriptor = rustix::net::socket_with(
        AddressFamily::XDP,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(XdpError::of_the_socket)?;
    let length = pool.blocks() * pool.block_size();
    let region = XdpUmemReg {
        // The kernel's address of the region: from here on it reaches the blocks that it is given.
        addr: pool.base().expose_provenance().get() as u64,
        len: length as u64,
        // At most a page of 4,096 bytes: checked by the caller.
        chunk_size: pool.block_size() as u32,
        headroom: options.headroom,
        flags: XdpUmemRegFlags::empty(),
        tx_metadata_len: 0,
    };
    sockopt::set_xdp_umem_reg(&descriptor, region).map_err(|errno| match errno {
        Errno::NOBUFS => XdpError::LockedMemory { bytes: length },
        errno => XdpError::Os {
            step: "register the pool's pages",
            errno,
        },
    })?;
    rings(&descriptor, options)
        .map(|rings| (descriptor, rings))
        .map_err(|errno| XdpError::Os {
            step: "make the rings",
            errno,
        })
}

fn rings(descriptor: &OwnedFd, options: SocketOptions) -> Result<Rings, Errno> {
    let completions = options.transmit_slots * 2;
    sockopt::set_xdp_umem_fill_ring_size(descriptor, options.receive_slots)?;
    sockopt::set_xdp_umem_completion_ring_size(descriptor, completions)?;
    sockopt::set_xdp_rx_ring_size(descriptor, options.receive_slots)?;
    sockopt::set_xdp_tx_ring_size(descriptor, options.transmit_slots)?;
    let offsets = sockopt::xdp_mmap_offsets(descriptor)?;
    Ok(Rings {
        fill: Producer::new(
            map::<u64>(
                descriptor,
                &offsets.fr,
                options.receive_slots,
                libc::XDP_UMEM_PGOFF_FILL_RING,
            )?,
            &offsets.fr,
            options.receive_slots,
        )?,
        completion: Consumer::new(
            map::<u64>(
                descriptor,
                &offsets.cr,
                completions,
                libc::XDP_UMEM_PGOFF_COMPLETION_RING,
            )?,
            &offsets.cr,
            completions,
        )?,
        receive: Consumer::new(
            map::<Descriptor>(
                descriptor,
                &offsets.rx,
                options.receive_slots,
                libc::XDP_PGOFF_RX_RING as u64,
            )?,
            &offsets.rx,
            options.receive_slots,
        )?,
        transmit: Producer::new(
            map::<Descriptor>(
                descriptor,
                &offsets.tx,
                options.transmit_slots,
                libc::XDP_PGOFF_TX_RING as u64,
            )?,
            &offsets.tx,
            options.transmit_slots,
        )?,
    })
}

fn map<T: Entry>(
    descriptor: &OwnedFd,
    offsets: &XdpRingOffset,
    size: u32,
    at: u64,
) -> Result<Mapping, Errno> {
    let entries = usize::try_from(offsets.desc).map_err(|_| Errno::PROTO)?;
    let length = entries
        .checked_add(size as usize * size_of::<T>())
        .ok_or(Errno::PROTO)?;
    Mapping::of_socket(descriptor, length, at)
}

/// Where the kernel lets us, one system call sends the whole ring.
fn raise_budget(descriptor: &OwnedFd, frames: u32) {
    let budget = frames.max(TRANSMIT_BUDGET);
    let budget = c_int::try_from(budget).unwrap_or(c_int::MAX);
    let raised = option::set(descriptor, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, budget);
    if raised.is_err() {
        log::debug!(
            "one system call sends {TRANSMIT_BUDGET} frames: this kernel has no other number"
        );
    }
}
