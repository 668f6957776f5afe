//! The machine that Xen runs on: QEMU, which emulates a processor with AMD's virtualisation.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian;
use crate::error::Error;
use crate::lab::dom0::BootFiles;
use crate::lab::network::{Forward, Subnet};
use crate::lab::packages::Packages;

/// The name of the control connection's socket, in the lab's folder.
pub const DOM0_SOCKET: &str = "dom0";

/// The name of the socket for QEMU's monitor, in the lab's folder.
pub const MONITOR_SOCKET: &str = "monitor";

/// dom0's command line. A crash of dom0, as one of Xen, ends the machine (`-no-reboot`), for it would restart.
const KERNEL_LINE: &str = "console=hvc0 panic=-1 quiet mitigations=off tsc=reliable";

/// How the machine is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// A tap of that name, which QEMU makes and which goes with it. Needs root.
    Tap {
        /// The interface's name.
        interface: String,
    },
    /// QEMU's user network, with these ports of the loopback address.
    User {
        /// What is forwarded.
        forwards: Vec<Forward>,
    },
}

/// How QEMU's threads emulate the machine's two processors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Emulation {
    /// One thread for both, in turns.
    #[default]
    InTurns,
    /// One for each. What a domain ran is what it ran: for who measures that, on a machine with nothing else to do. Where the machine has
    /// more to do, the threads wait for each other long, and now and then QEMU 7.2 puts the hypervisor's registers (CS, RIP, RSP, CR3)
    /// into a guest's saved state when a guest is left and entered again: the guest ends with a triple fault.
    AtOnce,
}

impl Emulation {
    const fn accelerator(self) -> &'static str {
        match self {
            Self::InTurns => "tcg,thread=single",
            Self::AtOnce => "tcg,thread=multi",
        }
    }
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its memory in MiB.
    pub memory: u32,
    /// dom0's part of it, in MiB.
    pub dom0_memory: u32,
    /// Features added to the processor, for example `+rdrand,+rdseed`, which it does not have else.
    pub cpu_features: String,
    /// How its processors are emulated.
    pub emulation: Emulation,
    /// The network.
    pub subnet: Subnet,
    /// How the network reaches the host.
    pub link: Link,
}

impl Machine {
    /// The call of QEMU, in the lab's folder, where the sockets are. With a saved state, a file there, the machine goes on
    /// from it.
    ///
    /// # Errors
    ///
    /// [`Error::Content`] if neither this machine nor the packages have QEMU.
    pub fn command(
        &self,
        packages: &Packages,
        boot: &BootFiles,
        folder: &Path,
        state: Option<&str>,
    ) -> Result<Command, Error> {
        let mut command = qemu(packages)?;
        command.current_dir(folder);
        let processor = match self.cpu_features.trim_matches(',') {
            "" => "qemu64,+svm,+npt".into(),
            features => format!("qemu64,+svm,+npt,{features}"),
        };
        let (network, memory) = (self.network(), format!("{}M", self.memory));
        // QEMU separates modules by commas, and a module's name from its arguments by a space: no other name is in there.
        for (name, target) in [("kernel", &boot.kernel), ("initramfs", &boot.initramfs)] {
            let link = folder.join(name);
            match symlink(target, &link) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(Error::file("make", &link)(error));
                }
                _ => {}
            }
        }
        let (xen, modules) = (self.xen_line(), format!("kernel {KERNEL_LINE},initramfs"));
        for (option, value) in [
            ("-name", "mirage-lab"),
            ("-accel", self.emulation.accelerator()),
            ("-cpu", &processor),
            ("-smp", "2"),
            ("-m", &memory),
            ("-display", "none"),
            ("-vga", "none"),
            ("-serial", "stdio"),
            ("-monitor", "none"),
            ("-netdev", &network),
            (
                "-device",
                "virtio-net-pci,netdev=lab,mac=52:54:00:4d:00:01,romfile=",
            ),
            ("-chardev", &format!("socket,id=dom0,path={DOM0_SOCKET}")),
            (
                "-chardev",
                &format!("socket,id=monitor,path={MONITOR_SOCKET}"),
            ),
            ("-mon", "chardev=monitor,mode=control"),
            ("-device", "virtio-serial-pci"),
            ("-device", "virtserialport,chardev=dom0,name=mirage.dom0"),
            ("-append", &xen),
            ("-initrd", &modules),
        ] {
            command.args([option, value]);
        }
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-kernel"]);
        command.arg(&boot.xen);
        if let Some(state) = state {
            command.args(["-incoming", &format!("exec:cat {state}")]);
        }
        Ok(command)
    }

    /// All of it that a saved state depends on: neither addresses nor names.
    pub fn description(&self) -> String {
        let link = match self.link {
            Link::Tap { .. } => "tap",
            Link::User { .. } => "user",
        };
        format!(
            "{} MiB, {}, {link}, {}, {KERNEL_LINE}",
            self.memory,
            self.cpu_features,
            self.xen_line()
        )
    }

    /// Xen's command line.
    ///
    /// What it prints goes to the first serial port. `spec-ctrl=no`: with that processor Xen stops at its setting up of
    /// speculation else. `credit2_runqueue=cpu`: each wait for a lock costs an emulated processor tens of microseconds
    /// (QEMU leaves the generated code at each `pause`), and by default the processors share one queue, with one lock.
    fn xen_line(&self) -> String {
        format!(
            "dom0_mem={0}M,max:{0}M dom0_max_vcpus=1 console=com1 loglvl=info guest_loglvl=all spec-ctrl=no \
             credit2_runqueue=cpu",
            self.dom0_memory
        )
    }

    fn network(&self) -> String {
        match &self.link {
            Link::Tap { interface } => {
                format!("tap,id=lab,ifname={interface},script=no,downscript=no")
            }
            Link::User { forwards } => {
                // Not `restrict=on`: QEMU drops what guests answer over UDP then, on forwarded ports, too.
                let mut text = format!(
                    "user,id=lab,net={},host={},dns={}",
                    self.subnet,
                    self.subnet.host(),
                    self.subnet.name_server()
                );
                for forward in forwards {
                    text.push(',');
                    text.push_str(&forward.option());
                }
                text
            }
        }
    }
}

/// QEMU: the one on PATH, else the packages', with its data and its modules.
pub(super) fn qemu(packages: &Packages) -> Result<Command, Error> {
    const NAME: &str = "qemu-system-x86_64";
    if let Some(path) = debian::find_program(NAME) {
        return Ok(Command::new(path));
    }
    let mut command = packages.command(&packages.program(NAME)?)?;
    for folder in ["usr/share/qemu", "usr/share/seabios"] {
        command.arg("-L").arg(packages.root().join(folder));
    }
    command.env(
        "QEMU_MODULE_DIR",
        packages.root().join("usr/lib/x86_64-linux-gnu/qemu"),
    );
    Ok(command)
}

/// `ip`: the one on PATH, else the packages'.
///
/// # Errors
///
/// [`Error::Content`] if there is none.
pub fn ip(packages: &Packages) -> Result<Command, Error> {
    match debian::find_program("ip") {
        Some(path) => Ok(Command::new(path)),
        None => {
            let program: PathBuf = packages.program("ip")?;
            packages.command(&program)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::network::Port;

    fn machine(link: Link) -> Machine {
        Machine {
            memory: 1024,
            dom0_memory: 256,
            cpu_features: String::new(),
            emulation: Emulation::default(),
            subnet: Subnet::of_lab(7),
            link,
        }
    }

    fn user() -> Link {
        let port: Port = "udp/53".parse().unwrap();
        Link::User {
            forwards: vec![Forward {
                address: Subnet::of_lab(7).guest(0).unwrap(),
                port,
                local: 40_000,
            }],
        }
    }

    fn tap() -> Link {
        Link::Tap {
            interface: "mirage-lab7".into(),
        }
    }

    #[test]
    fn networks_as_qemu_spells_them() {
        assert_eq!(
            machine(tap()).network(),
            "tap,id=lab,ifname=mirage-lab7,script=no,downscript=no"
        );
        assert_eq!(
            machine(user()).network(),
            "user,id=lab,net=10.98.7.0/24,host=10.98.7.254,dns=10.98.7.253,\
             hostfwd=udp:127.0.0.1:40000-10.98.7.2:53"
        );
    }

    #[test]
    fn a_saved_state_fits_other_addresses_but_no_other_machine() {
        let mut other = machine(tap());
        other.subnet = Subnet::of_lab(8);
        other.link = Link::Tap {
            interface: "mirage-lab8".into(),
        };
        assert_eq!(other.description(), machine(tap()).description());
        assert_ne!(machine(user()).description(), machine(tap()).description());
        other.dom0_memory = 512;
        assert_ne!(other.description(), machine(tap()).description());
        let mut other = machine(tap());
        other.cpu_features = "+rdrand".into();
        assert_ne!(other.description(), machine(tap()).description());
    }
}
