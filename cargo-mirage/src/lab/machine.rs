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

/// The machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its memory in MiB.
    pub memory: u32,
    /// dom0's part of it, in MiB.
    pub dom0_memory: u32,
    /// Features added to the processor, for example `+rdrand,+rdseed`, which it does not have else.
    pub cpu_features: String,
    /// The network.
    pub subnet: Subnet,
    /// How the network reaches the host.
    pub link: Link,
}

impl Machine {
    /// The call of QEMU, in the lab's folder, where the socket for dom0 is.
    ///
    /// # Errors
    ///
    /// [`Error::Content`] if neither this machine nor the packages have QEMU.
    pub fn command(
        &self,
        packages: &Packages,
        boot: &BootFiles,
        folder: &Path,
    ) -> Result<Command, Error> {
        let mut command = qemu(packages)?;
        command.current_dir(folder);
        let processor = match self.cpu_features.trim_matches(',') {
            "" => "qemu64,+svm,+npt".into(),
            features => format!("qemu64,+svm,+npt,{features}"),
        };
        let (network, memory) = (self.network(), format!("{}M", self.memory));
        // What Xen prints goes to the first serial port. `spec-ctrl=no`: with that processor Xen stops at its setting up
        // of speculation else. A crash of Xen ends the machine, for it would restart.
        let xen = format!(
            "dom0_mem={0}M,max:{0}M dom0_max_vcpus=1 console=com1 loglvl=info guest_loglvl=all spec-ctrl=no",
            self.dom0_memory
        );
        let kernel = "console=hvc0 panic=-1 quiet mitigations=off tsc=reliable";
        // QEMU separates modules by commas, and a module's name from its arguments by a space: no other name is in there.
        for (name, target) in [("kernel", &boot.kernel), ("initramfs", &boot.initramfs)] {
            let link = folder.join(name);
            symlink(target, &link).map_err(Error::file("make", &link))?;
        }
        let modules = format!("kernel {kernel},initramfs");
        for (option, value) in [
            ("-name", "mirage-lab"),
            ("-accel", "tcg,thread=multi"),
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
            ("-device", "virtio-serial-pci"),
            ("-device", "virtserialport,chardev=dom0,name=mirage.dom0"),
            ("-append", &xen),
            ("-initrd", &modules),
        ] {
            command.args([option, value]);
        }
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-kernel"]);
        command.arg(&boot.xen);
        Ok(command)
    }

    fn network(&self) -> String {
        match &self.link {
            Link::Tap { interface } => {
                format!("tap,id=lab,ifname={interface},script=no,downscript=no")
            }
            Link::User { forwards } => {
                let mut text = format!(
                    "user,id=lab,net={},host={},dns={},restrict=on",
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
fn qemu(packages: &Packages) -> Result<Command, Error> {
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
