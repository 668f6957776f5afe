//! Two network namespaces of our own, and pairs of interfaces between them. All of it goes with this process, however that ends.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use bench_common::report::Error;
use network_namespace::{Namespace, ip};

/// Gives the calling thread a network namespace of its own.
pub(crate) fn enter() -> Result<(), Error> {
    network_namespace::enter()
        .map_err(|error| format!("no network namespace ({error}): run this as root"))?;
    Ok(ip(&["link", "set", "lo", "up"])?)
}

/// One client's network, with a server at its other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    number: u8,
}

impl Pair {
    pub(crate) const fn new(number: u8) -> Self {
        Self { number }
    }

    /// The client's interface.
    pub(crate) fn client_interface(self) -> String {
        format!("client{}", self.number)
    }

    /// The server's interface.
    pub(crate) fn server_interface(self) -> String {
        format!("server{}", self.number)
    }

    /// The client's address, and the server's.
    pub(crate) fn client(self) -> String {
        format!("10.77.{}.1", self.number)
    }

    pub(crate) fn server(self) -> String {
        format!("10.77.{}.2", self.number)
    }

    fn server_mac(self) -> String {
        format!("02:77:00:00:{:02x}:02", self.number)
    }

    /// Makes the pair, of which the calling thread's namespace has the client's end and `server` the other. `kernel`: the server's end
    /// has its address from the kernel; else the server takes it by itself. `offload`: the kernel leaves checksums out.
    pub(crate) fn make(self, server: &Namespace, kernel: bool, offload: bool) -> Result<(), Error> {
        let (ours, theirs) = (self.client_interface(), self.server_interface());
        ip(&[
            "link",
            "add",
            &ours,
            "type",
            "veth",
            "peer",
            "name",
            &theirs,
            "address",
            &self.server_mac(),
        ])?;
        ip(&[
            "link",
            "set",
            &theirs,
            "netns",
            &server.thread().to_string(),
        ])?;
        set_transmit_checksum_offload(&ours, offload)?;
        ip(&[
            "address",
            "add",
            &format!("{}/24", self.client()),
            "dev",
            &ours,
        ])?;
        ip(&["link", "set", &ours, "up"])?;
        self.know_neighbour()?;
        let address = format!("{}/24", self.server());
        server
            .run(move || -> Result<(), String> {
                let all = || {
                    set_transmit_checksum_offload(&theirs, offload)?;
                    if kernel {
                        ip(&["address", "add", &address, "dev", &theirs])?;
                    }
                    Ok(ip(&["link", "set", &theirs, "up"])?)
                };
                all().map_err(|error: Error| error.to_string())
            })?
            .map_err(Into::into)
    }

    /// Takes the pair away, both ends.
    pub(crate) fn take_away(self) -> Result<(), Error> {
        Ok(ip(&["link", "del", &self.client_interface()])?)
    }

    /// Neither end asks for the other's address while something is measured.
    fn know_neighbour(self) -> Result<(), Error> {
        Ok(ip(&[
            "neigh",
            "replace",
            &self.server(),
            "lladdr",
            &self.server_mac(),
            "dev",
            &self.client_interface(),
            "nud",
            "permanent",
        ])?)
    }
}

/// What `ethtool -K NAME tx on` and `off` do.
fn set_transmit_checksum_offload(name: &str, on: bool) -> Result<(), Error> {
    /// `ETHTOOL_STXCSUM` of linux/ethtool.h.
    const SET_TRANSMIT_CHECKSUM: u32 = 0x17;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut request = [SET_TRANSMIT_CHECKSUM, on.into()];
    // SAFETY: an ifreq is integers and pointers that may be null: zeros are a value.
    let mut interface: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = libc::IFNAMSIZ - 1;
    for (to, from) in interface.ifr_name.iter_mut().take(room).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    interface.ifr_ifru.ifru_data = request.as_mut_ptr().cast();
    // SAFETY: SIOCETHTOOL reads an ifreq, whose name ends in a zero and whose data points to a command of two words; both outlive
    // the call.
    let result = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCETHTOOL as _,
            &raw mut interface,
        )
    };
    if result != 0 {
        let error = std::io::Error::last_os_error();
        return Err(format!("the checksums of {name}: {error}").into());
    }
    Ok(())
}
