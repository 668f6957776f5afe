//! The lab's DHCP server: dom0's busybox, which gives each guest the address of its place.

use crate::lab::guest::Place;
use crate::lab::network::{MAXIMUM_GUESTS, Subnet};

/// For how long an address is given, in seconds.
const LEASE: u32 = 3_600;

/// Where the server says in dom0 what it does.
pub const LOG: &str = "/run/udhcpd.log";

/// Starts the server in dom0, unless it runs. Its configuration is the input.
pub(super) const START: &str = "[ -e /run/udhcpd.conf ] && exit; cat >/run/udhcpd.conf && : >/run/udhcpd.leases || exit 1; \
     setsid busybox udhcpd -f /run/udhcpd.conf </dev/null >/run/udhcpd.log 2>&1 &";

/// What udhcpd is told: who has which hardware address gets which address.
pub(super) fn configuration(subnet: Subnet) -> String {
    let places: Vec<Place> = (0..MAXIMUM_GUESTS)
        .filter_map(|index| Place::new(subnet, index).ok())
        .collect();
    let mut text = String::from("interface xenbr0\n");
    if let (Some(first), Some(last)) = (places.first(), places.last()) {
        text += &format!("start {}\nend {}\n", first.address, last.address);
    }
    text += &format!(
        "lease_file /run/udhcpd.leases\npidfile /run/udhcpd.pid\noption subnet 255.255.255.0\n\
         option router {}\noption lease {LEASE}\n",
        subnet.host()
    );
    for place in &places {
        text += &format!("static_lease {} {}\n", place.mac(), place.address);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_its_address() {
        let text = configuration(Subnet::of_lab(3));
        let begins = "interface xenbr0\nstart 10.98.3.2\nend 10.98.3.252\n";
        assert!(text.starts_with(begins), "{text}");
        assert!(text.contains("option router 10.98.3.254\n"), "{text}");
        let place = Place::new(Subnet::of_lab(3), 7).unwrap();
        let line = format!("static_lease {} 10.98.3.9\n", place.mac());
        assert!(text.contains(&line), "{text}");
        assert_eq!(text.matches("static_lease").count(), MAXIMUM_GUESTS);
    }
}
