//! Option 121: classless static routes (RFC 3442).

use core::net::Ipv4Addr;

use super::{DhcpOption, DhcpOptionBytes};

/// A route as option 121 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClasslessRoute {
    /// The destination's network; bits behind the prefix are zero.
    pub network: Ipv4Addr,
    /// Bits of the destination's prefix, at most 32; 0 is the default route.
    pub prefix_len: u8,
    /// The gateway; unspecified when the destination is on the link itself (RFC 3442, "Local Subnet Routes").
    pub gateway: Ipv4Addr,
}

/// The routes of an option 121.
#[derive(Debug, Clone)]
pub struct ClasslessRoutes<'a>(DhcpOptionBytes<'a>);

impl<'a> ClasslessRoutes<'a> {
    /// The routes of an option's value; none if it is malformed anywhere: a prefix above 32 bits, a route that is cut
    /// off, no route at all.
    pub fn new_checked(option: &DhcpOption<'a>) -> Option<Self> {
        let mut bytes = option.bytes();
        let mut count = 0;
        while let Some(prefix_len) = bytes.next() {
            read(prefix_len, &mut bytes)?;
            count += 1;
        }
        (count > 0).then(|| ClasslessRoutes(option.bytes()))
    }
}

impl Iterator for ClasslessRoutes<'_> {
    type Item = ClasslessRoute;

    fn next(&mut self) -> Option<ClasslessRoute> {
        let prefix_len = self.0.next()?;
        read(prefix_len, &mut self.0)
    }
}

/// What follows a prefix length: the significant octets of the destination, and the gateway.
fn read(prefix_len: u8, bytes: &mut DhcpOptionBytes<'_>) -> Option<ClasslessRoute> {
    if prefix_len > 32 {
        return None;
    }
    let mut network = [0; 4];
    for octet in network.iter_mut().take(usize::from(prefix_len.div_ceil(8))) {
        *octet = bytes.next()?;
    }
    let mut gateway = [0; 4];
    for octet in &mut gateway {
        *octet = bytes.next()?;
    }
    let mask = u32::MAX
        .checked_shl(32 - u32::from(prefix_len))
        .unwrap_or(0);
    Some(ClasslessRoute {
        // "the DHCP client MUST mask" (RFC 3442): 129.210.177.132/25 is 129.210.177.128/25.
        network: Ipv4Addr::from_bits(u32::from_be_bytes(network) & mask),
        prefix_len,
        gateway: gateway.into(),
    })
}

/// Writes a route to the beginning of `room`, and says how many bytes it takes, at most 9; none if there are fewer, or if
/// the prefix is above 32 bits.
pub fn write_classless_route(route: &ClasslessRoute, room: &mut [u8]) -> Option<usize> {
    if route.prefix_len > 32 {
        return None;
    }
    let significant = usize::from(route.prefix_len.div_ceil(8));
    let network = route.network.octets();
    let (head, rest) = room.split_first_mut()?;
    let (destination, rest) = rest.split_at_mut_checked(significant)?;
    *rest.first_chunk_mut()? = route.gateway.octets();
    destination.copy_from_slice(network.get(..significant)?);
    *head = route.prefix_len;
    Some(1 + significant + 4)
}
