//! The settings of a network interface, read and changed by rtnetlink(7).
//!
//! Three requests are all that our devices need: what the interface is (`RTM_GETLINK`), its administrative state
//! (`RTM_NEWLINK`) and one more address (`RTM_NEWADDR`, which unlike `SIOCSIFADDR` leaves the addresses alone that are
//! there already). The messages are small and fixed, so they are written here byte by byte, and tested on golden bytes. The
//! kernel's news of an interface, for who subscribed to them, have the form of the answer to the first.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// `struct nlmsghdr` of linux/netlink.h: length (4), type (2), flags (2), sequence (4), port (4).
const MESSAGE_HEADER: usize = 16;
/// `struct ifinfomsg` of linux/rtnetlink.h: family (1), padding (1), type (2), index (4), flags (4), change (4).
const LINK_HEADER: usize = 16;
/// `struct rtattr`: length (2), type (2); the next one begins at a multiple of four.
const ATTRIBUTE_HEADER: usize = 4;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const IFLA_ADDRESS: u16 = 1;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFLA_IFNAME: u16 = 3;
const IFLA_NUM_RX_QUEUES: u16 = 32;

/// What the kernel says of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Its number in this network namespace.
    pub(crate) index: u32,
    /// Whether it is up (`IFF_UP`): the administrator's will, not the carrier.
    pub(crate) up: bool,
    /// Its MTU in bytes of IP packet.
    pub(crate) mtu: u32,
    /// Its link-layer address, which is the *host's* end of a tap.
    pub(crate) mac: [u8; 6],
    /// Whether it is up and has a carrier (`IFF_RUNNING`).
    pub(crate) running: bool,
    /// With how many queues its driver may receive; one if the kernel doesn't say.
    pub(crate) receive_queues: u32,
}

/// What news of an interface say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// It is up, and has a carrier.
    Up,
    /// It is down, or has no carrier.
    Down,
    /// It is no longer there: deleted, or moved to another network namespace.
    Gone,
}

impl LinkState {
    fn of(interface: &Interface) -> Self {
        if interface.up && interface.running {
            Self::Up
        } else {
            Self::Down
        }
    }
}

/// A socket for the kernel's routing messages.
pub(crate) struct RouteSocket {
    socket: OwnedFd,
    sequence: u32,
}

impl RouteSocket {
    pub(crate) fn open() -> Result<Self, Errno> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is protocol 0.
            None,
        )?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Looks an interface up by name; `ENODEV` if there is none.
    pub(crate) fn interface(&mut self, name: &str) -> Result<Interface, Errno> {
        let sequence = self.next_sequence();
        let mut message = Message::new(libc::RTM_GETLINK, NLM_F_REQUEST, sequence);
        message.bytes.extend([0; LINK_HEADER]);
        let mut with_nul = Vec::from(name);
        with_nul.push(0);
        message.attribute(IFLA_IFNAME, &with_nul);
        let answer = self.request(message)?;
        parse_link(&answer).ok_or(Errno::PROTO)
    }

    /// The state of an interface by its number; `ENODEV` if there is none.
    pub(crate) fn state(&mut self, index: u32) -> Result<LinkState, Errno> {
        let sequence = self.next_sequence();
        let mut message = Message::new(libc::RTM_GETLINK, NLM_F_REQUEST, sequence);
        message.link_header(index, 0, 0);
        let answer = self.request(message)?;
        let interface = parse_link(&answer).ok_or(Errno::PROTO)?;
        Ok(LinkState::of(&interface))
    }

    /// Brings an interface up, as `ip link set NAME up` does.
    pub(crate) fn set_up(&mut self, index: u32) -> Result<(), Errno> {
        let sequence = self.next_sequence();
        self.request(set_up_message(index, sequence)).map(drop)
    }

    /// Takes an interface down, as `ip link set NAME down` does.
    #[cfg(test)]
    pub(crate) fn set_down(&mut self, index: u32) -> Result<(), Errno> {
        let sequence = self.next_sequence();
        let mut message = Message::new(libc::RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, sequence);
        message.link_header(index, 0, libc::IFF_UP as u32);
        self.request(message).map(drop)
    }

    /// Deletes an interface, as `ip link del NAME` does.
    #[cfg(test)]
    pub(crate) fn delete(&mut self, index: u32) -> Result<(), Errno> {
        let sequence = self.next_sequence();
        let mut message = Message::new(libc::RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, sequence);
        message.link_header(index, 0, 0);
        self.request(message).map(drop)
    }

    /// Makes a pair of virtual Ethernet interfaces, as `ip link add NAME type veth peer name PEER` does, with as many queues
    /// each.
    #[cfg(test)]
    pub(crate) fn add_veth(&mut self, name: &str, peer: &str, queues: u32) -> Result<(), Errno> {
        const IFLA_LINKINFO: u16 = 18;
        const IFLA_INFO_KIND: u16 = 1;
        const IFLA_INFO_DATA: u16 = 2;
        const VETH_INFO_PEER: u16 = 1;
        const IFLA_NUM_TX_QUEUES: u16 = 31;

        fn name_and_queues(message: &mut Message, name: &str, queues: u32) {
            let mut with_nul = Vec::from(name);
            with_nul.push(0);
            message.attribute(IFLA_IFNAME, &with_nul);
            message.attribute(IFLA_NUM_TX_QUEUES, &queues.to_ne_bytes());
            message.attribute(IFLA_NUM_RX_QUEUES, &queues.to_ne_bytes());
        }

        // Messages are only written whole: what is nested is written as one, and its header cut off.
        let mut other = Message::new(0, 0, 0);
        other.link_header(0, 0, 0);
        name_and_queues(&mut other, peer, queues);
        let mut data = Message::new(0, 0, 0);
        data.attribute(VETH_INFO_PEER, &other.bytes[MESSAGE_HEADER..]);
        let mut info = Message::new(0, 0, 0);
        info.attribute(IFLA_INFO_KIND, b"veth");
        info.attribute(IFLA_INFO_DATA, &data.bytes[MESSAGE_HEADER..]);

        let sequence = self.next_sequence();
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        let mut message = Message::new(libc::RTM_NEWLINK, flags, sequence);
        message.link_header(0, 0, 0);
        name_and_queues(&mut message, name, queues);
        message.attribute(IFLA_LINKINFO, &info.bytes[MESSAGE_HEADER..]);
        self.request(message).map(drop)
    }

    /// Sets an interface's MTU, as `ip link set NAME mtu N` does.
    pub(crate) fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<(), Errno> {
        let sequence = self.next_sequence();
        let mut message = Message::new(libc::RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, sequence);
        message.link_header(index, 0, 0);
        message.attribute(IFLA_MTU, &mtu.to_ne_bytes());
        self.request(message).map(drop)
    }

    /// Adds an address, as `ip addr add ADDRESS/PREFIX dev NAME` does; `EEXIST` if it is there already.
    pub(crate) fn add_address(
        &mut self,
        index: u32,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), Errno> {
        let sequence = self.next_sequence();
        self.request(add_address_message(index, address, prefix, sequence))
            .map(drop)
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends one message and returns the first answer to it; an error answer is its errno.
    fn request(&mut self, message: Message) -> Result<Vec<u8>, Errno> {
        let sequence = message.sequence;
        let bytes = message.finish();
        retry_on_intr(|| send(&self.socket, &bytes[..], SendFlags::empty()))?;
        // A netlink datagram is at most a page or 8 KiB, whichever is larger (netlink(7) recommends no less).
        let mut buffer = vec![0; 32 * 1024];
        // The kernel answers this socket alone; an answer to another sequence number can only be one that was not read.
        for _ in 0..16 {
            let (length, _) =
                retry_on_intr(|| recv(&self.socket, &mut buffer[..], RecvFlags::empty()))?;
            let answer = &buffer[..length.min(buffer.len())];
            if answer.len() < MESSAGE_HEADER || u32_at(answer, 8) != Some(sequence) {
                continue;
            }
            if u16_at(answer, 4) == Some(NLMSG_ERROR) {
                let code = u32_at(answer, MESSAGE_HEADER).ok_or(Errno::PROTO)? as i32;
                return match code {
                    0 => Ok(Vec::new()),
                    code => Err(Errno::from_raw_os_error(code.saturating_neg())),
                };
            }
            return Ok(answer.to_vec());
        }
        Err(Errno::PROTO)
    }
}

fn set_up_message(index: u32, sequence: u32) -> Message {
    let mut message = Message::new(libc::RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, sequence);
    message.link_header(index, libc::IFF_UP as u32, libc::IFF_UP as u32);
    message
}

fn add_address_message(index: u32, address: Ipv4Addr, prefix: u8, sequence: u32) -> Message {
    let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let mut message = Message::new(libc::RTM_NEWADDR, flags, sequence);
    // `struct ifaddrmsg`: family (1), prefix length (1), flags (1), scope (1), index (4).
    message
        .bytes
        .extend([libc::AF_INET as u8, prefix, 0, libc::RT_SCOPE_UNIVERSE]);
    message.bytes.extend(index.to_ne_bytes());
    message.attribute(IFA_LOCAL, &address.octets());
    message.attribute(IFA_ADDRESS, &address.octets());
    if prefix < 31 {
        let broadcast = u32::from(address) | (u32::MAX >> prefix);
        message.attribute(IFA_BROADCAST, &broadcast.to_be_bytes());
    }
    message
}

/// A message that is being written; the kernel's headers are in the machine's byte order.
struct Message {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Message {
    fn new(kind: u16, flags: u16, sequence: u32) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend(0u32.to_ne_bytes()); // the length, written by `finish`
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes()); // to the kernel
        Self { bytes, sequence }
    }

    fn link_header(&mut self, index: u32, flags: u32, change: u32) {
        self.bytes.extend([0; 4]); // AF_UNSPEC, padding, any type
        self.bytes.extend(index.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(change.to_ne_bytes());
    }

    /// `value` is at most some tens of bytes: every caller's is of fixed size or an interface's name.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = (ATTRIBUTE_HEADER + value.len()) as u16;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let length = (self.bytes.len() as u32).to_ne_bytes();
        self.bytes[..4].copy_from_slice(&length);
        self.bytes
    }
}

fn parse_link(answer: &[u8]) -> Option<Interface> {
    if u16_at(answer, 4)? != libc::RTM_NEWLINK {
        return None;
    }
    let index = u32_at(answer, MESSAGE_HEADER + 4)?;
    let flags = u32_at(answer, MESSAGE_HEADER + 8)?;
    let end = (u32_at(answer, 0)? as usize).min(answer.len());
    let mut interface = Interface {
        index,
        up: flags & libc::IFF_UP as u32 != 0,
        mtu: 0,
        mac: [0; 6],
        running: flags & libc::IFF_RUNNING as u32 != 0,
        receive_queues: 1,
    };
    let mut attributes = answer.get(MESSAGE_HEADER + LINK_HEADER..end)?;
    while attributes.len() >= ATTRIBUTE_HEADER {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(ATTRIBUTE_HEADER..length)?;
        match u16_at(attributes, 2)? {
            IFLA_MTU => interface.mtu = u32_at(value, 0)?,
            IFLA_NUM_RX_QUEUES => interface.receive_queues = u32_at(value, 0)?,
            IFLA_ADDRESS if value.len() == 6 => interface.mac.copy_from_slice(value),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Some(interface)
}

/// What a message of the kernel's says of the interface with this number, if anything.
pub(crate) fn parse_link_news(message: &[u8], index: u32) -> Option<LinkState> {
    // A bridge's news of its ports (AF_BRIDGE) are not about the interfaces themselves.
    let family = *message.get(MESSAGE_HEADER)?;
    if i32::from(family) != libc::AF_UNSPEC || u32_at(message, MESSAGE_HEADER + 4)? != index {
        return None;
    }
    match u16_at(message, 4)? {
        libc::RTM_DELLINK => Some(LinkState::Gone),
        _ => parse_link(message).as_ref().map(LinkState::of),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_up_and_has_an_mtu() {
        let mut route = RouteSocket::open().expect("an unprivileged netlink socket");
        match route.interface("lo") {
            Ok(lo) => {
                assert_ne!(lo.index, 0);
                assert!(lo.mtu >= 1500, "{lo:?}");
                assert_eq!(lo.mac, [0; 6]);
            }
            Err(error) => panic!("no loopback interface: {error}"),
        }
    }

    #[test]
    fn a_missing_interface_is_enodev() {
        let mut route = RouteSocket::open().expect("an unprivileged netlink socket");
        assert_eq!(route.interface("mirage-none"), Err(Errno::NODEV));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn an_address_message_has_the_bytes_that_iproute2_sends() {
        let bytes = add_address_message(7, Ipv4Addr::new(10, 0, 0, 1), 24, 3).finish();
        #[rustfmt::skip]
        let expected = [
            48, 0, 0, 0, 20, 0, 0x05, 0x06, 3, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
            2, 24, 0, 0, 7, 0, 0, 0, // ifaddrmsg
            8, 0, 2, 0, 10, 0, 0, 1, // IFA_LOCAL
            8, 0, 1, 0, 10, 0, 0, 1, // IFA_ADDRESS
            8, 0, 4, 0, 10, 0, 0, 255, // IFA_BROADCAST
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn an_up_message_changes_one_flag_and_no_other() {
        let bytes = set_up_message(7, 4).finish();
        #[rustfmt::skip]
        let expected = [
            32, 0, 0, 0, 16, 0, 0x05, 0x00, 4, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
            0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, // ifinfomsg
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn news_of_other_interfaces_and_of_bridges_are_not_ours() {
        let news = |kind, index, flags| {
            let mut message = Message::new(kind, 0, 0);
            message.link_header(index, flags, 0);
            message.finish()
        };
        let (up, running) = (libc::IFF_UP as u32, libc::IFF_RUNNING as u32);
        let newlink = libc::RTM_NEWLINK;
        let say = |bytes: &[u8]| parse_link_news(bytes, 7);
        assert_eq!(say(&news(newlink, 7, up | running)), Some(LinkState::Up));
        assert_eq!(say(&news(newlink, 7, up)), Some(LinkState::Down));
        assert_eq!(say(&news(newlink, 7, 0)), Some(LinkState::Down));
        assert_eq!(say(&news(libc::RTM_DELLINK, 7, 0)), Some(LinkState::Gone));
        assert_eq!(say(&news(libc::RTM_DELLINK, 8, 0)), None);
        assert_eq!(say(&news(libc::RTM_NEWADDR, 7, 0)), None);
        let mut of_a_bridge = news(libc::RTM_DELLINK, 7, 0);
        of_a_bridge[MESSAGE_HEADER] = libc::AF_BRIDGE as u8;
        assert_eq!(say(&of_a_bridge), None);
        for cut in 0..of_a_bridge.len() {
            assert_eq!(say(&of_a_bridge[..cut]), None);
        }
    }

    #[test]
    fn attributes_that_lie_about_their_length_do_not_panic() {
        let mut message = Message::new(libc::RTM_NEWLINK, 0, 1);
        message.link_header(1, 1, 0);
        message.attribute(IFLA_MTU, &1500u32.to_ne_bytes());
        let whole = message.finish();
        assert_eq!(parse_link(&whole).map(|link| link.mtu), Some(1500));
        for cut in 0..whole.len() {
            let _ = parse_link(&whole[..cut]);
        }
        for length in [0u16, 1, 3, 5, 9, u16::MAX] {
            let mut lying = whole.clone();
            lying[32..34].copy_from_slice(&length.to_ne_bytes());
            let _ = parse_link(&lying);
        }
    }
}
