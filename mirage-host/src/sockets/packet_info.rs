//! Datagrams with the address of ours that they were sent to or are sent from.
//!
//! Source: ip(7), `IP_PKTINFO`; ipv6(7), `IPV6_RECVPKTINFO`; RFC 3542, section 6. rustix has none of them, so this is libc.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

use super::option;

/// An address of ours, and for a link-local one its interface (else 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) address: IpAddr,
    pub(super) interface: u32,
}

/// Room for one control message of either family, aligned as a `cmsghdr` has to be.
#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; 64]);

const CONTROL: usize = 64;

const _: () = {
    // SAFETY: CMSG_SPACE only computes.
    let (v4, v6) = unsafe {
        (
            libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32),
            libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as u32),
        )
    };
    assert!(v4 as usize <= CONTROL && v6 as usize <= CONTROL);
    assert!(align_of::<Control>() >= align_of::<libc::cmsghdr>());
};

/// Has the system say to which address each datagram was sent.
pub(super) fn enable(socket: &UdpSocket, v6: bool) -> io::Result<()> {
    let (level, name) = if v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    };
    option::set(socket, level, name, 1)
}

/// Receives a datagram without waiting: its whole length, who sent it, and which address of ours it asked.
pub(super) fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<Local>)> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control = Control([MaybeUninit::uninit(); CONTROL]);
    let mut parts = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut message = empty_message();
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut parts;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    // SAFETY: the descriptor is open; each pointer of `message` is to a live object of the length given beside it, and
    // none of them is used otherwise until the call is over.
    let length = unsafe {
        libc::recvmsg(
            socket.as_raw_fd(),
            &raw mut message,
            libc::MSG_TRUNC | libc::MSG_DONTWAIT,
        )
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: it was zeroed, a bit pattern that is valid for a sockaddr_storage, and the kernel wrote an address over it.
    let name = unsafe { name.assume_init_ref() };
    let remote = from_storage(name, message.msg_namelen)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((length, remote, local(&message)))
}

/// Sends a datagram without waiting, from `local` if it is given.
pub(super) fn send(
    socket: &UdpSocket,
    local: Option<Local>,
    remote: SocketAddr,
    data: &[u8],
) -> io::Result<()> {
    let (name, name_length) = to_storage(remote);
    let mut control = Control([MaybeUninit::zeroed(); CONTROL]);
    let mut parts = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    let mut message = empty_message();
    message.msg_name = (&raw const name).cast_mut().cast();
    message.msg_namelen = name_length;
    message.msg_iov = &raw mut parts;
    message.msg_iovlen = 1;
    if let Some(local) = local {
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL as _;
        match local.address {
            IpAddr::V4(address) => {
                let information = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from(address).to_be(),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                put_control(
                    &mut message,
                    libc::IPPROTO_IP,
                    libc::IP_PKTINFO,
                    information,
                );
            }
            IpAddr::V6(address) => {
                let information = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: address.octets(),
                    },
                    ipi6_ifindex: local.interface as _,
                };
                put_control(
                    &mut message,
                    libc::IPPROTO_IPV6,
                    libc::IPV6_PKTINFO,
                    information,
                );
            }
        }
    }
    // SAFETY: the descriptor is open; each pointer of `message` is to a live object of the length given beside it;
    // sendmsg(2) only reads through them, so that the shared borrow of `data` holds.
    let sent = unsafe {
        libc::sendmsg(
            socket.as_raw_fd(),
            &raw const message,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    // A datagram is sent whole or not at all.
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

const fn empty_message() -> libc::msghdr {
    // SAFETY: a msghdr is integers and pointers, for all of which zero is a value.
    unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() }
}

/// Writes the one control message of `message`, whose control buffer is a whole, zeroed `Control`.
fn put_control<T>(message: &mut libc::msghdr, level: c_int, kind: c_int, value: T) {
    let length = size_of::<T>() as u32;
    // SAFETY: msg_control points to a `Control`, which is aligned for a cmsghdr and has room for one message with either
    // `in_pktinfo` or `in6_pktinfo` (asserted above; the callers pass no other type), so CMSG_FIRSTHDR is not null and the
    // header and the data lie within the buffer. The data is written without a demand on its alignment.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = libc::CMSG_LEN(length) as _;
        ptr::write_unaligned(libc::CMSG_DATA(header).cast::<T>(), value);
        message.msg_controllen = libc::CMSG_SPACE(length) as _;
    }
}

/// The address of ours that a received message asked, if it is one to answer from.
fn local(message: &libc::msghdr) -> Option<Local> {
    // SAFETY: recvmsg(2) filled msg_control and msg_controllen, so the CMSG macros walk headers that the kernel wrote, within
    // the buffer. The data of each is read only if its level, its type and its length are those of the type read, and
    // without a demand on its alignment.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            let length = (*header).cmsg_len as usize;
            let data: *const c_void = libc::CMSG_DATA(header).cast();
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO)
                    if length >= libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as u32) as usize =>
                {
                    let information = data.cast::<libc::in_pktinfo>().read_unaligned();
                    // Not `ipi_addr`, the header's destination: that may be a broadcast address.
                    let address = Ipv4Addr::from(u32::from_be(information.ipi_spec_dst.s_addr));
                    return (!address.is_unspecified()).then_some(Local {
                        address: address.into(),
                        interface: 0,
                    });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)
                    if length >= libc::CMSG_LEN(size_of::<libc::in6_pktinfo>() as u32) as usize =>
                {
                    let information = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    let address = Ipv6Addr::from(information.ipi6_addr.s6_addr);
                    let interface = if address.is_unicast_link_local() {
                        information.ipi6_ifindex as u32
                    } else {
                        0
                    };
                    return (!address.is_multicast()).then_some(Local {
                        address: address.into(),
                        interface,
                    });
                }
                _ => header = libc::CMSG_NXTHDR(message, header),
            }
        }
    }
    None
}

fn from_storage(name: &libc::sockaddr_storage, length: libc::socklen_t) -> Option<SocketAddr> {
    let length = length as usize;
    match c_int::from(name.ss_family) {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: the family says that this is a sockaddr_in; a sockaddr_storage is as large and as aligned as any.
            let address = unsafe { *ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            Some(SocketAddr::V4(SocketAddrV4::new(
                Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)),
                u16::from_be(address.sin_port),
            )))
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: the family says that this is a sockaddr_in6; a sockaddr_storage is as large and as aligned as any.
            let address = unsafe { *ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            Some(SocketAddr::V6(SocketAddrV6::new(
                Ipv6Addr::from(address.sin6_addr.s6_addr),
                u16::from_be(address.sin6_port),
                address.sin6_flowinfo,
                address.sin6_scope_id,
            )))
        }
        _ => None,
    }
}

fn to_storage(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: a sockaddr_storage is integers, for which zero is a value.
    let mut storage: libc::sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
    let length = match address {
        SocketAddr::V4(address) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(*address.ip()).to_be(),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: a sockaddr_storage is as large and as aligned as a sockaddr_in, and no one else refers to it.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(name) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: address.ip().octets(),
                },
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: a sockaddr_storage is as large and as aligned as a sockaddr_in6, and no one else refers to it.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(name) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(bind: &str) -> (UdpSocket, u16) {
        let socket = UdpSocket::bind(bind).expect("a free port");
        let address = socket.local_addr().expect("its address");
        enable(&socket, address.is_ipv6()).expect("packet information");
        (socket, address.port())
    }

    /// Loopback delivers before sendto(2) returns, so nothing has to be waited for.
    fn echo(server: &UdpSocket) -> Local {
        let mut buffer = [0; 16];
        let (length, remote, local) = receive(server, &mut buffer).expect("a datagram");
        let local = local.expect("the address that was asked");
        send(server, Some(local), remote, &buffer[..length]).expect("an answer");
        local
    }

    #[test]
    fn the_answer_comes_from_the_address_that_was_asked() {
        let (server, port) = pair("0.0.0.0:0");
        let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        for asked in ["127.0.0.1", "127.0.0.2", "127.255.0.9"] {
            let asked: IpAddr = asked.parse().expect("an address");
            client.send_to(b"x", (asked, port)).expect("sent");
            assert_eq!(echo(&server).address, asked);
            let mut buffer = [0; 16];
            let (_, from) = client.recv_from(&mut buffer).expect("an answer");
            assert_eq!(from, SocketAddr::new(asked, port));
        }
    }

    #[test]
    fn a_dual_stack_socket_answers_ipv4_from_the_address_that_was_asked() {
        let Ok(probe) = UdpSocket::bind("[::]:0") else {
            let name = "a_dual_stack_socket_answers_ipv4_from_the_address_that_was_asked";
            eprintln!("SKIPPED: {name}: no IPv6 on this system");
            return;
        };
        drop(probe);
        let (server, port) = pair("[::]:0");
        let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        client.send_to(b"x", ("127.0.0.3", port)).expect("sent");
        echo(&server);
        let mut buffer = [0; 16];
        let (_, from) = client.recv_from(&mut buffer).expect("an answer");
        assert_eq!(from.ip(), IpAddr::from([127, 0, 0, 3]));
    }

    #[test]
    fn a_datagram_larger_than_the_buffer_says_its_whole_length() {
        let (server, port) = pair("127.0.0.1:0");
        let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        client
            .send_to(&[7; 100], ("127.0.0.1", port))
            .expect("sent");
        let mut buffer = [0; 16];
        let (length, _, _) = receive(&server, &mut buffer).expect("a datagram");
        assert_eq!((length, buffer), (100, [7; 16]));
    }

    #[test]
    fn socket_addresses_survive_the_system_s_form() {
        for text in ["127.0.0.1:53", "[::1]:5300", "[fe80::1%3]:1"] {
            let address: SocketAddr = text.parse().expect("an address");
            let (storage, length) = to_storage(address);
            assert_eq!(from_storage(&storage, length), Some(address));
        }
    }
}
