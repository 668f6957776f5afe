//! Why a socket of AF_XDP could not be had, and what to do about it.

use std::fmt;

use mirage_core::PoolError;
use rustix::io::Errno;

/// Why an [`Xdp`](super::Xdp) could not be opened. The text of each says whose fault it is and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum XdpError {
    /// The caller's fault: a setting that can't be, with the reason.
    Config(&'static str),
    /// The kernel's: it was built without `CONFIG_XDP_SOCKETS`, or without bpf(2).
    NoKernelSupport,
    /// The caller has no right to do this: `CAP_NET_RAW` for the socket, `CAP_BPF` and `CAP_NET_ADMIN` for the program.
    NotPermitted {
        /// What was refused.
        step: &'static str,
    },
    /// The caller's fault: there is no interface of this name.
    NoInterface(String),
    /// The interface is down.
    Down(String),
    /// The interface has a program of somebody else's, or its queue another socket.
    Busy(String),
    /// The interface has more than one receive queue: frames of the others would not be ours.
    ManyQueues {
        /// The interface.
        name: String,
        /// How many.
        queues: u32,
    },
    /// A frame of the interface's MTU does not fit into a page.
    Mtu {
        /// The interface.
        name: String,
        /// Its MTU in bytes.
        mtu: u32,
        /// The largest that fits.
        most: u32,
    },
    /// The driver takes no program, neither itself nor by the kernel's generic way.
    NoDriverSupport {
        /// The interface.
        name: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// The process may not lock as much memory as the pool has (`RLIMIT_MEMLOCK`).
    LockedMemory {
        /// Bytes of the pool.
        bytes: usize,
    },
    /// The pool has no pages for the receive reserve.
    Pool(PoolError),
    /// The reactor can watch no more descriptors.
    TooManySources,
    /// Any other refusal of the system.
    Os {
        /// What was being done.
        step: &'static str,
        /// The system's error.
        errno: Errno,
    },
}

impl XdpError {
    /// Of socket(2).
    pub(super) fn of_the_socket(errno: Errno) -> Self {
        let step = "open a socket of AF_XDP";
        match errno {
            Errno::AFNOSUPPORT => Self::NoKernelSupport,
            Errno::PERM | Errno::ACCESS => Self::NotPermitted { step },
            errno => Self::Os { step, errno },
        }
    }

    /// Of bpf(2).
    pub(super) fn of_the_program(errno: Errno) -> Self {
        match errno {
            Errno::NOSYS => Self::NoKernelSupport,
            Errno::PERM | Errno::ACCESS => Self::NotPermitted {
                step: "attach an XDP program",
            },
            errno => Self::Os {
                step: "load the XDP program",
                errno,
            },
        }
    }
}

impl fmt::Display for XdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(reason) => write!(f, "the configuration for AF_XDP: {reason}"),
            Self::NoKernelSupport => f.write_str(
                "this kernel has no AF_XDP: it needs CONFIG_XDP_SOCKETS and CONFIG_BPF_SYSCALL, and Linux 5.9 at least. A tap \
                 serves without (tap=NAME)",
            ),
            Self::NotPermitted { step } => write!(
                f,
                "you have no right to {step}: run this as root, or with the capabilities CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF"
            ),
            Self::NoInterface(name) => write!(
                f,
                "there is no interface {name} here: `ip link` lists those of this network namespace"
            ),
            Self::Down(name) => {
                write!(f, "the interface {name} is down: `ip link set {name} up` brings it up")
            }
            Self::Busy(name) => write!(
                f,
                "the interface {name} has another XDP program or another socket of AF_XDP: end its owner, or detach it with \
                 `ip link set {name} xdp off`"
            ),
            Self::ManyQueues { name, queues } => write!(
                f,
                "the interface {name} has {queues} receive queues, and we serve one: `ethtool -L {name} combined 1` (or `rx 1`) \
                 leaves it one"
            ),
            Self::Mtu { name, mtu, most } => write!(
                f,
                "the interface {name} has an MTU of {mtu} bytes, and a page has room for {most}: `ip link set {name} mtu {most}`, \
                 or larger pages"
            ),
            Self::NoDriverSupport { name, errno } => write!(
                f,
                "the driver of {name} takes no XDP program, neither natively nor generically: {errno}"
            ),
            Self::LockedMemory { bytes } => write!(
                f,
                "you may not lock the {bytes} bytes of the page pool: raise the limit (`ulimit -l unlimited`), run this as root, \
                 or with the capability CAP_IPC_LOCK"
            ),
            Self::Pool(error) => write!(f, "the receive pages for AF_XDP: {error}"),
            Self::TooManySources => f.write_str(
                "the platform watches as many descriptors as it was made for: give it more sources",
            ),
            Self::Os { step, errno } => write!(f, "could not {step}: {errno}"),
        }
    }
}

impl std::error::Error for XdpError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_without_af_xdp_is_told_from_one_that_refuses() {
        for (error, words) in [
            (
                XdpError::of_the_socket(Errno::AFNOSUPPORT),
                "CONFIG_XDP_SOCKETS",
            ),
            (XdpError::of_the_program(Errno::NOSYS), "CONFIG_BPF_SYSCALL"),
            (XdpError::of_the_socket(Errno::PERM), "CAP_NET_RAW"),
            (XdpError::of_the_program(Errno::PERM), "CAP_BPF"),
            (XdpError::of_the_socket(Errno::MFILE), "socket of AF_XDP"),
        ] {
            let text = error.to_string();
            assert!(text.contains(words), "{text}");
        }
        let missing = XdpError::of_the_socket(Errno::AFNOSUPPORT);
        assert!(missing.to_string().contains("tap=NAME"), "{missing}");
    }
}
