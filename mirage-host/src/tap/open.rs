//! Opening `/dev/net/tun` and preparing the host's side of the tap.

use std::ffi::{c_int, c_uint};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl;

use super::error::TapError;
use super::merging;
use super::virtio_header;
use crate::interface::{Interface, RouteSocket};

/// An interface's name has fewer bytes than this: the last one of the kernel's array is a zero.
const NAME_ARRAY: usize = libc::IFNAMSIZ;

/// `struct ifreq` of linux/if.h as `TUNSETIFF` reads it: the name, then a union of which only `ifr_flags` is used.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_ARRAY],
    flags: libc::c_short,
    rest: [u8; 22],
}

// The kernel copies this many bytes in and out.
const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

/// A tap's descriptor and its interface.
pub(super) struct OpenTap {
    pub(super) descriptor: OwnedFd,
    pub(super) interface: Interface,
    pub(super) made: bool,
    /// Linux merges segments that it receives from us.
    pub(super) merges: bool,
}

/// A descriptor that is attached to an interface.
struct Attached {
    descriptor: OwnedFd,
    route: RouteSocket,
    interface: Interface,
    made: bool,
}

/// Opens the tap `name`; makes it if it is missing. The kernel may hand over what `offload` says (`TUN_F_…` of linux/if_tun.h), and
/// puts a virtio header before each frame if there is to be one.
///
/// With `merge` the kernel merges segments that it receives from us, where it can be told to; it is not asked to move frames in the way that
/// this takes where it can't, for that alone costs.
///
/// A tap made here isn't persistent: the kernel takes it away when the descriptor closes, however the process ends.
pub(super) fn open(
    name: &str,
    host_address: Option<(Ipv4Addr, u8)>,
    mtu: Option<u16>,
    header: bool,
    offload: c_uint,
    merge: bool,
) -> Result<OpenTap, TapError> {
    check_name(name)?;
    let not_permitted = |step| TapError::NotPermitted {
        name: name.into(),
        host_address,
        step,
        device: false,
    };
    let mut attached = attach(name, host_address, header, offload, merge)?;
    let merges = merge && merging::hold(name, &attached.interface);
    if merge && !merges {
        // Whether frames go that way is settled when a descriptor is attached.
        drop(attached);
        attached = attach(name, host_address, header, offload, false)?;
    }
    let Attached {
        descriptor,
        mut route,
        mut interface,
        made,
    } = attached;
    if let Some(mtu) = mtu.map(u32::from)
        && mtu != interface.mtu
    {
        permitted(
            route.set_mtu(interface.index, mtu),
            || not_permitted("set the MTU of"),
            "set the MTU",
        )?;
        interface.mtu = mtu;
    }
    if let Some((address, prefix)) = host_address
        && !has_address(name, address, prefix)?
    {
        match route.add_address(interface.index, address, prefix) {
            Ok(()) | Err(Errno::EXIST) => {}
            result => permitted(
                result,
                || not_permitted("give an address to"),
                "add the host's address",
            )?,
        }
    }
    if !interface.up {
        permitted(
            route.set_up(interface.index),
            || not_permitted("bring up"),
            "bring the interface up",
        )?;
        interface.up = true;
    }
    Ok(OpenTap {
        descriptor,
        interface,
        made,
        merges,
    })
}

/// Attaches a new descriptor to the interface, which is made if it is missing.
fn attach(
    name: &str,
    host_address: Option<(Ipv4Addr, u8)>,
    header: bool,
    offload: c_uint,
    merge: bool,
) -> Result<Attached, TapError> {
    let not_permitted = |step| TapError::NotPermitted {
        name: name.into(),
        host_address,
        step,
        device: false,
    };
    let descriptor = rustix::fs::open(
        c"/dev/net/tun",
        OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| match errno {
        Errno::ACCESS | Errno::PERM => TapError::NotPermitted {
            name: name.into(),
            host_address,
            step: "open /dev/net/tun for",
            device: true,
        },
        errno => TapError::NoTunDevice(errno),
    })?;

    // With TUN_EXCL first, so that who made it is known without a race.
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI;
    if header {
        flags |= libc::IFF_VNET_HDR;
    }
    if merge {
        flags |= libc::IFF_NAPI;
    }
    let made = match set_interface(&descriptor, name, flags | libc::IFF_TUN_EXCL) {
        Ok(()) => true,
        Err(Errno::BUSY) => match set_interface(&descriptor, name, flags) {
            Ok(()) => false,
            Err(Errno::BUSY) => return Err(TapError::Busy(name.into())),
            Err(Errno::INVAL) => return Err(TapError::NotATap(name.into())),
            Err(Errno::PERM | Errno::ACCESS) => return Err(not_permitted("use")),
            Err(errno) => return Err(os("attach to the interface", errno)),
        },
        Err(Errno::INVAL) => return Err(TapError::NotATap(name.into())),
        Err(Errno::PERM | Errno::ACCESS) => return Err(not_permitted("make")),
        Err(errno) => return Err(os("make the interface", errno)),
    };

    if header {
        set_header_length(&descriptor)
            .map_err(|errno| os("set the length of the header", errno))?;
    }
    set_offload(&descriptor, offload).map_err(|errno| os("set the offloads", errno))?;

    let mut route = RouteSocket::open().map_err(|errno| os("open a netlink socket", errno))?;
    let interface = route
        .interface(name)
        .map_err(|errno| os("look the interface up", errno))?;
    Ok(Attached {
        descriptor,
        route,
        interface,
        made,
    })
}

fn permitted(
    result: Result<(), Errno>,
    not_permitted: impl FnOnce() -> TapError,
    step: &'static str,
) -> Result<(), TapError> {
    match result {
        Ok(()) => Ok(()),
        Err(Errno::PERM | Errno::ACCESS) => Err(not_permitted()),
        Err(errno) => Err(os(step, errno)),
    }
}

const fn os(step: &'static str, errno: Errno) -> TapError {
    TapError::Os { step, errno }
}

fn check_name(name: &str) -> Result<(), TapError> {
    let forbidden = |byte: u8| {
        byte.is_ascii_whitespace() || byte.is_ascii_control() || matches!(byte, b'/' | b':' | b'%')
    };
    let wrong = name.is_empty()
        || name.len() >= NAME_ARRAY
        || name == "."
        || name == ".."
        || name.bytes().any(forbidden);
    if wrong {
        return Err(TapError::Name(name.into()));
    }
    Ok(())
}

fn set_interface(descriptor: &OwnedFd, name: &str, flags: c_int) -> Result<(), Errno> {
    let mut request = InterfaceRequest {
        name: [0; NAME_ARRAY],
        // The flags are a bit mask of 16 bits in a signed short: IFF_TUN_EXCL is its sign.
        flags: flags as u16 as libc::c_short,
        rest: [0; 22],
    };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF is this opcode (linux/if_tun.h), and it reads and writes one `struct ifreq`, whose size and layout
    // `InterfaceRequest` has (asserted above); the `Setter` owns it for the duration of the call. The name ends in a zero,
    // for it was checked to be shorter than the array.
    unsafe {
        ioctl::ioctl(
            descriptor,
            ioctl::Setter::<{ libc::TUNSETIFF as ioctl::Opcode }, _>::new(request),
        )
    }
}

fn set_header_length(descriptor: &OwnedFd) -> Result<(), Errno> {
    let length = virtio_header::LENGTH as c_int;
    // SAFETY: TUNSETVNETHDRSZ is this opcode (linux/if_tun.h), and it reads one `int` through the pointer.
    unsafe {
        ioctl::ioctl(
            descriptor,
            ioctl::Setter::<{ libc::TUNSETVNETHDRSZ as ioctl::Opcode }, _>::new(length),
        )
    }
}

fn set_offload(descriptor: &OwnedFd, offload: c_uint) -> Result<(), Errno> {
    // SAFETY: TUNSETOFFLOAD is this opcode (linux/if_tun.h); its argument is the mask itself, not a pointer, so nothing
    // is read or written through it.
    unsafe {
        ioctl::ioctl(
            descriptor,
            ioctl::IntegerSetter::<{ libc::TUNSETOFFLOAD as ioctl::Opcode }>::new_usize(
                offload as usize,
            ),
        )
    }
}

/// Whether the interface has this address already: someone who prepared it need not have the right to add one.
fn has_address(name: &str, address: Ipv4Addr, prefix: u8) -> Result<bool, TapError> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs(3) writes one pointer to `list`, which outlives the call, and on success it is valid until
    // freeifaddrs.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
        return Err(os("list the addresses", errno));
    }
    let mut found = false;
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is an element of the list of getifaddrs(3), which has not been freed yet; its name is a C string.
        // An address is null or points to a sockaddr whose family says which it is: it is read as a sockaddr_in only
        // where the family is AF_INET. getifaddrs aligns what it allocates for any sockaddr.
        unsafe {
            let entry = &*next;
            if std::ffi::CStr::from_ptr(entry.ifa_name).to_bytes() == name.as_bytes()
                && ipv4(entry.ifa_addr) == Some(address)
                && ipv4(entry.ifa_netmask).map(|mask| u32::from(mask).count_ones())
                    == Some(u32::from(prefix))
            {
                found = true;
            }
            next = entry.ifa_next;
        }
    }
    // SAFETY: `list` came from getifaddrs(3), nothing refers to it any more, and it is freed once.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// # Safety
///
/// `address` is null or points to a socket address that is as large as its family says.
unsafe fn ipv4(address: *const libc::sockaddr) -> Option<Ipv4Addr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: not null, and the caller says that it points to a socket address; the family is its first field.
    if i32::from(unsafe { (*address).sa_family }) != libc::AF_INET {
        return None;
    }
    // SAFETY: its family is AF_INET, so it is a sockaddr_in; read without a demand on its alignment.
    let address = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
    Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::os::fd::AsFd;

    /// Whether the tap outlives its descriptor.
    pub(crate) fn set_persistent(descriptor: impl AsFd, persistent: bool) {
        // SAFETY: TUNSETPERSIST is this opcode (linux/if_tun.h); its argument is the number itself, not a pointer.
        let result = unsafe {
            ioctl::ioctl(
                descriptor,
                ioctl::IntegerSetter::<{ libc::TUNSETPERSIST as ioctl::Opcode }>::new_usize(
                    persistent.into(),
                ),
            )
        };
        result.expect("TUNSETPERSIST");
    }

    #[test]
    fn a_name_that_the_kernel_would_change_or_refuse_is_refused_here() {
        for name in [
            "",
            ".",
            "..",
            "tap%d",
            "a b",
            "a/b",
            "a:b",
            "a\n",
            "sixteen-letters-",
        ] {
            assert_eq!(check_name(name), Err(TapError::Name(name.into())));
        }
        for name in ["mirage0", "fifteen-letters", "a"] {
            assert_eq!(check_name(name), Ok(()));
        }
    }

    #[test]
    fn the_loopback_address_is_found_with_its_prefix_alone() {
        let address = Ipv4Addr::LOCALHOST;
        assert_eq!(has_address("lo", address, 8), Ok(true));
        assert_eq!(has_address("lo", address, 24), Ok(false));
        assert_eq!(has_address("mirage-none", address, 8), Ok(false));
    }
}
