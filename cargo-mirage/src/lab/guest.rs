//! What a guest of the lab is, and the configuration that xl gets for it.

use core::fmt;
use core::net::Ipv4Addr;
use std::path::PathBuf;

use crate::error::Error;
use crate::lab::network::{Port, Subnet};

/// The memory of a guest that is not told otherwise, in MiB.
pub const DEFAULT_MEMORY: u32 = 64;

/// Who else is named in a lab's log.
const TAKEN: [&str; 3] = ["dom0", "lab", "xen"];

/// The longest name of a guest, in bytes.
const MAXIMUM_NAME: usize = 32;

/// How a guest's virtual machine is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Hardware-assisted, with Xen's own devices only: an appliance.
    Pvh,
    /// Without hardware support: a Linux guest to compare with (Debian's kernel does not start as PVH under TCG).
    Pv,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pvh => "pvh",
            Self::Pv => "pv",
        })
    }
}

/// A guest to be run.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its name: small letters, digits and `-`.
    pub name: String,
    /// The kernel image, on this machine.
    pub image: PathBuf,
    /// How its virtual machine is made.
    pub kind: Kind,
    /// Its memory in MiB.
    pub memory: u32,
    /// An initial file system or boot module, on this machine.
    pub ramdisk: Option<PathBuf>,
    /// Words for its command line, before which it gets its address and gateway.
    pub append: String,
    /// Instead of these it is told `ip=dhcp`, and the lab's DHCP server gives them. Needs a tap.
    pub dhcp: bool,
    /// The ports that it serves; they are forwarded where there is no tap.
    pub ports: Vec<Port>,
    /// Whether it has a network interface.
    pub network: bool,
    /// Further lines for xl's configuration, for example `disk=['phy:/dev/loop0,xvda,w']`.
    pub configuration: Vec<String>,
    /// Random bytes in hexadecimal that it finds in `data/mirage-seed` from its first instruction on, for processors that
    /// have none. [`crate::lab::Options::seeds`] gives some to domains that are restored or migrate, as well.
    pub seed: Option<String>,
}

impl Guest {
    /// An appliance with the memory that is usual.
    ///
    /// # Errors
    ///
    /// [`Error::Arguments`] for a name that is not one.
    pub fn new(name: &str, image: PathBuf) -> Result<Self, Error> {
        if let Some(reason) = problem_with(name) {
            return Err(Error::Arguments { reason });
        }
        Ok(Self {
            name: name.into(),
            image,
            kind: Kind::Pvh,
            memory: DEFAULT_MEMORY,
            ramdisk: None,
            append: String::new(),
            dhcp: false,
            ports: Vec::new(),
            network: true,
            configuration: Vec::new(),
            seed: None,
        })
    }

    /// Its name as the beginning of environment variables: capitals, and `_` for `-`.
    pub fn variable(&self) -> String {
        variable(&self.name)
    }

    /// The command line that it gets.
    pub fn command_line(&self, place: &Place) -> String {
        let mut line = if self.dhcp {
            "ip=dhcp".to_owned()
        } else {
            format!("ip={}/24 gateway={}", place.address, place.subnet.host())
        };
        if !self.append.is_empty() {
            line.push(' ');
            line.push_str(&self.append);
        }
        line
    }

    /// xl's configuration for it; its files lie in dom0 under `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Arguments`] for words that xl's syntax can't hold.
    pub fn configuration(&self, place: &Place, folder: &str) -> Result<String, Error> {
        let line = self.command_line(place);
        if line.contains(['"', '\\']) || line.chars().any(char::is_control) {
            return Err(Error::Arguments {
                reason: format!(
                    "the command line of `{}` can't be given to xl: it has a quotation mark, a backslash or a control \
                     character: {line:?}",
                    self.name
                ),
            });
        }
        // The emulated processor can't say that its time stamp counter runs evenly, though it does: Xen would trap each look at it, as it
        // does not where a processor says so.
        let mut text = format!(
            "name=\"{}\"\ntype=\"{}\"\nkernel=\"{folder}/image\"\nmemory={}\nmaxmem={}\nvcpus=1\n\
             tsc_mode=\"native\"\nextra=\"{line}\"\non_crash=\"preserve\"\n",
            self.name, self.kind, self.memory, self.memory
        );
        if self.network {
            text.push_str(&format!("vif=[\"mac={},bridge=xenbr0\"]\n", place.mac()));
        }
        if self.ramdisk.is_some() {
            text.push_str(&format!("ramdisk=\"{folder}/ramdisk\"\n"));
        }
        for line in &self.configuration {
            text.push_str(line);
            text.push('\n');
        }
        Ok(text)
    }
}

/// Where in the lab's network a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The network.
    pub subnet: Subnet,
    /// Its number among the guests, from 0.
    pub index: usize,
    /// Its address.
    pub address: Ipv4Addr,
}

impl Place {
    /// The place of that index, while there are addresses.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if there are no more.
    pub fn new(subnet: Subnet, index: usize) -> Result<Self, Error> {
        let address = subnet.guest(index).ok_or_else(|| Error::Unsupported {
            reason: format!("{subnet} has no address for guest number {}", index + 1),
        })?;
        Ok(Self {
            subnet,
            index,
            address,
        })
    }

    /// The hardware address: from the range that the Xen project gives away, ending as the address does.
    pub fn mac(&self) -> String {
        let [_, b, c, d] = self.address.octets();
        format!("00:16:3e:{:02x}:{c:02x}:{d:02x}", b & 0x7f)
    }
}

/// A name as the beginning of environment variables.
pub fn variable(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

/// Says why no guest can have this name, or nothing.
pub(crate) fn problem_with(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let possible = name.len() <= MAXIMUM_NAME
        && !TAKEN.contains(&name)
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain);
    (!possible).then(|| {
        format!(
            "`{name}` can't be a guest's name: small letters, digits and `-`, at most {MAXIMUM_NAME}, a letter first; and not \
             dom0, lab or xen"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(index: usize) -> Place {
        Place::new(Subnet::of_lab(3), index).unwrap()
    }

    #[test]
    fn configuration_of_an_appliance() {
        let mut guest = Guest::new("dns", PathBuf::from("/t/dns.elf")).unwrap();
        guest.append = "log=debug".into();
        guest.memory = 4;
        assert_eq!(
            guest.configuration(&place(0), "/lab/dns").unwrap(),
            "name=\"dns\"\ntype=\"pvh\"\nkernel=\"/lab/dns/image\"\nmemory=4\nmaxmem=4\nvcpus=1\n\
             tsc_mode=\"native\"\nextra=\"ip=10.98.3.2/24 gateway=10.98.3.254 log=debug\"\non_crash=\"preserve\"\n\
             vif=[\"mac=00:16:3e:62:03:02,bridge=xenbr0\"]\n"
        );
        guest.dhcp = true;
        assert_eq!(guest.command_line(&place(0)), "ip=dhcp log=debug");
        guest.network = false;
        let text = guest.configuration(&place(0), "/lab/dns").unwrap();
        assert!(!text.contains("vif"), "{text}");
    }

    #[test]
    fn a_guest_to_compare_with_has_a_ramdisk_and_lines_of_its_own() {
        let mut guest = Guest::new("nsd-linux", PathBuf::from("vmlinuz")).unwrap();
        guest.kind = Kind::Pv;
        guest.ramdisk = Some(PathBuf::from("initramfs"));
        guest.configuration = vec!["disk=['phy:/dev/loop0,xvda,w']".into()];
        let text = guest.configuration(&place(9), "/lab/x").unwrap();
        assert!(text.contains("type=\"pv\"\n") && text.contains("ramdisk=\"/lab/x/ramdisk\"\n"));
        assert!(text.ends_with("disk=['phy:/dev/loop0,xvda,w']\n"));
        assert_eq!(guest.variable(), "NSD_LINUX");
    }

    #[test]
    fn words_that_would_leave_the_string_are_refused() {
        let mut guest = Guest::new("dns", PathBuf::new()).unwrap();
        for append in ["a\"b", "a\\", "a\nkernel=x", "a\0"] {
            guest.append = append.into();
            assert!(
                guest.configuration(&place(0), "/lab").is_err(),
                "{append:?}"
            );
        }
    }

    #[test]
    fn names() {
        for name in ["dns", "a", "web-2"] {
            assert!(Guest::new(name, PathBuf::new()).is_ok(), "{name}");
        }
        let long = "a".repeat(MAXIMUM_NAME + 1);
        for name in [
            "", "Dns", "2web", "-a", "lab", "a b", "a/b", "a;b", "ü", &long,
        ] {
            assert!(Guest::new(name, PathBuf::new()).is_err(), "{name}");
        }
    }

    #[test]
    fn hardware_addresses_differ_within_a_lab_and_between_labs() {
        let other = Place::new(Subnet::of_lab(4), 0).unwrap();
        assert_ne!(place(0).mac(), place(1).mac());
        assert_ne!(place(0).mac(), other.mac());
        assert!(Place::new(Subnet::of_lab(3), 251).is_err());
    }
}
