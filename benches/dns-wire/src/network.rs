//! Two network namespaces of our own, and pairs of interfaces between them. All of it goes with this process, however that ends.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread;

use bench_common::report::Error;

/// A network namespace: a thread that lives in it, and starts programs there.
pub(crate) struct Namespace {
    jobs: Sender<Box<dyn FnOnce() + Send>>,
    thread: i32,
}

impl Namespace {
    /// A new one.
    pub(crate) fn new() -> Result<Self, Error> {
        let (jobs, todo) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (said, hear) = mpsc::channel();
        thread::spawn(move || {
            let made = enter().map(|()| {
                // SAFETY: gettid(2) takes nothing and can't fail.
                unsafe { libc::gettid() }
            });
            let _ = said.send(made.map_err(|error| error.to_string()));
            for job in todo {
                job();
            }
        });
        Ok(Self {
            jobs,
            thread: hear.recv()??,
        })
    }

    /// Runs `job` in it, and gives what it gives. What it starts is in the namespace, too.
    pub(crate) fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Error> {
        let (say, hear) = mpsc::channel();
        self.jobs
            .send(Box::new(move || {
                let _ = say.send(job());
            }))
            .map_err(|_| "the namespace's thread has ended")?;
        Ok(hear.recv()?)
    }
}

/// Gives the calling thread a network namespace of its own.
pub(crate) fn enter() -> Result<(), Error> {
    // SAFETY: unshare(2) with CLONE_NEWNET changes the calling thread's network namespace and nothing else.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        let error = std::io::Error::last_os_error();
        return Err(format!("no network namespace ({error}): run this as root").into());
    }
    ip(&["link", "set", "lo", "up"])
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
        ip(&["link", "set", &theirs, "netns", &server.thread.to_string()])?;
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
                    ip(&["link", "set", &theirs, "up"])
                };
                all().map_err(|error: Error| error.to_string())
            })?
            .map_err(Into::into)
    }

    /// Takes the pair away, both ends.
    pub(crate) fn take_away(self) -> Result<(), Error> {
        ip(&["link", "del", &self.client_interface()])
    }

    /// Neither end asks for the other's address while something is measured.
    fn know_neighbour(self) -> Result<(), Error> {
        ip(&[
            "neigh",
            "replace",
            &self.server(),
            "lladdr",
            &self.server_mac(),
            "dev",
            &self.client_interface(),
            "nud",
            "permanent",
        ])
    }
}

/// Calls `ip`, which has to succeed.
pub(crate) fn ip(arguments: &[&str]) -> Result<(), Error> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("ip (Debian's package iproute2): {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("ip {}: {said}", arguments.join(" ")).into());
    }
    Ok(())
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
