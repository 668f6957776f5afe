//! The peer: a Linux guest of Debian's kernel and one [`Service`], with as little else as it takes.
//!
//! It is a PV guest: Debian's kernel does not start as PVH under TCG. Everything is in its initramfs, unpacked as the
//! kernel wants it, so that it neither waits for a disk nor decompresses: the service with its libraries and what it serves, busybox,
//! and xen-netfront (a module in Debian's kernel). NSD has one server process and no rate limit, nginx one worker and no log.

use std::fs;
use std::path::{Path, PathBuf};

use bench_common::report::Error;
use cargo_mirage::lab::dom0;
use cargo_mirage::lab::guest::{Guest, Kind};
use cargo_mirage::lab::initramfs::Builder;
use cargo_mirage::lab::packages::{Packages, Source};
use cargo_mirage::process::Log;
use cargo_mirage::workspace::Workspace;
use serde::{Deserialize, Serialize};

use crate::laboratory;

const INIT: &str = include_str!("init");

/// Debian's packages that they are made of; and what makes the load on the host.
const PACKAGES: &[&str] = &[
    "linux-image-amd64",
    "xz-utils",
    "busybox-static",
    "nsd",
    "dnsperf",
    "nginx",
    "wrk",
];

/// What a guest serves.
#[derive(Clone, Copy, Debug)]
pub enum Service<'a> {
    /// Debian's NSD, with the zone that the DNS appliance has compiled in.
    Nsd,
    /// Debian's nginx, with this page.
    Nginx(&'a [u8]),
    /// This program, which runs on this machine and needs Debian's C library alone.
    Program(&'a Path),
}

impl Service<'_> {
    /// What its files are called.
    const fn name(self) -> &'static str {
        match self {
            Self::Nsd => "nsd",
            Self::Nginx(_) => "nginx",
            Self::Program(_) => "program",
        }
    }

    /// How it is started.
    const fn start(self) -> &'static str {
        match self {
            Self::Nsd => include_str!("start-nsd"),
            Self::Nginx(_) => include_str!("start-nginx"),
            Self::Program(_) => include_str!("start-program"),
        }
    }

    /// Its program, on this machine.
    fn program(self, packages: &Packages) -> Result<PathBuf, Error> {
        match self {
            Self::Nsd => Ok(packages.program("nsd")?),
            Self::Nginx(_) => Ok(packages.program("nginx")?),
            Self::Program(program) => Ok(program.to_path_buf()),
        }
    }

    /// Adds what it needs besides its program.
    fn add_files(self, root: &mut Builder<'_>, workspace: &Workspace) -> Result<(), Error> {
        match self {
            Self::Nsd => {
                let zone = workspace.root().join(ZONE);
                let zone =
                    fs::read(&zone).map_err(|error| format!("{}: {error}", zone.display()))?;
                root.file("etc/nsd.conf", include_str!("nsd.conf"))
                    .file("etc/example.org.zone", zone);
            }
            Self::Nginx(page) => {
                root.file("etc/nginx.conf", include_str!("nginx.conf"))
                    .file("site/index.html", page);
            }
            Self::Program(_) => {}
        }
        Ok(())
    }
}

/// The zone that it serves, in the checkout: what the appliance has compiled in.
const ZONE: &str = "appliances/dns/zones/example.org.zone";

/// What its kernel is told: no messages that slow it down, no mitigations for a processor that is emulated.
const WORDS: &str = "console=hvc0 quiet mitigations=off";

/// The busybox commands that its first process calls.
const COMMANDS: &[&str] = &[
    "sh", "mount", "insmod", "ip", "touch", "usleep", "sleep", "dd",
];

/// Its files, and what they were made of.
#[derive(Debug)]
pub struct LinuxGuest {
    packages: Packages,
    kernel: PathBuf,
    initramfs: PathBuf,
    /// How large they are.
    pub sizes: Sizes,
}

/// Bytes of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// The kernel as Debian ships it, compressed, without modules.
    pub compressed_kernel: u64,
    /// The kernel as it is loaded.
    pub kernel: u64,
    /// The initramfs, not compressed.
    pub initramfs: u64,
    /// The service's program, without the libraries that it needs.
    #[serde(rename = "nsd")]
    pub program: u64,
}

impl LinuxGuest {
    /// Fetches what is missing, and puts the files together below the target folder.
    ///
    /// # Errors
    ///
    /// Those of the packages, and of files that can't be read or written.
    pub fn prepare(
        source: &Source,
        workspace: &Workspace,
        service: Service<'_>,
        log: &Log,
        mut on_line: impl FnMut(&str),
    ) -> Result<Self, Error> {
        let folder = &laboratory::folder(workspace).join("linux-guest");
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let packages = Packages::prepare(
            source,
            PACKAGES,
            &folder.join("packages"),
            log,
            &mut on_line,
        )?;
        on_line("putting the Linux guest together");
        let initramfs = folder.join(format!("initramfs-{}", service.name()));
        let kernel = folder.join("kernel");
        fs::write(&kernel, dom0::kernel(&packages, folder)?)?;
        let program = service.program(&packages)?;
        let mut root = root(&packages, service, &program)?;
        service.add_files(&mut root, workspace)?;
        root.write(&initramfs)?;
        let bytes = |path: &Path| fs::metadata(path).map(|metadata| metadata.len());
        let sizes = Sizes {
            compressed_kernel: bytes(&dom0::packaged_kernel(&packages)?)?,
            kernel: bytes(&kernel)?,
            initramfs: bytes(&initramfs)?,
            program: bytes(&program)?,
        };
        Ok(Self {
            packages,
            kernel,
            initramfs,
            sizes,
        })
    }

    /// The packages that it was made of, dnsperf among them.
    pub fn packages(&self) -> &Packages {
        &self.packages
    }

    /// The guest of that name, with that memory in MiB.
    ///
    /// # Errors
    ///
    /// For a name that is not one.
    pub fn guest(&self, name: &str, memory: u32) -> Result<Guest, Error> {
        let mut guest = Guest::new(name, self.kernel.clone())?;
        guest.kind = Kind::Pv;
        guest.memory = memory;
        guest.ramdisk = Some(self.initramfs.clone());
        guest.append = WORDS.into();
        Ok(guest)
    }

    /// The version of one of its packages; empty if there is none of that name.
    pub fn version(&self, package: &str) -> String {
        version_in(self.packages.versions(), package)
    }

    /// The version of its kernel's package.
    pub fn kernel_version(&self) -> String {
        let versions = self.packages.versions();
        let line = versions.lines().find(|line| {
            line.starts_with("linux-image-") && !line.starts_with("linux-image-amd64")
        });
        let words = line.map(|line| line.split(' ').take(2).collect::<Vec<_>>());
        words.unwrap_or_default().join(" ")
    }
}

/// The version of a package in a list of them.
pub fn version_in(versions: &str, package: &str) -> String {
    versions
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == package)
        .and_then(|(_, rest)| rest.split(' ').next())
        .unwrap_or_default()
        .to_owned()
}

fn root<'a>(
    packages: &'a Packages,
    service: Service<'_>,
    program: &Path,
) -> Result<Builder<'a>, Error> {
    let mut root = Builder::new(packages);
    for folder in ["dev", "proc", "run", "sys", "tmp"] {
        root.directory(folder);
    }
    root.script("init", INIT)
        .script("etc/start", service.start())
        // Services look up the user that they run as.
        .file("etc/passwd", "root:x:0:0:root:/:/bin/sh\n")
        .file("etc/group", "root:x:0:\n")
        .program("bin/busybox", &packages.program("busybox")?)?
        .program(&format!("bin/{}", service.name()), program)?
        .module("xen-netfront")?;
    for command in COMMANDS {
        root.symlink(&format!("bin/{command}"), "busybox");
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_says_what_is_looked_for() {
        let said = INIT.replace("$now", "6.93");
        assert_eq!(crate::console::linux_network_up(&said), Some(6_930_000));
        // It is no appliance and does not pretend to be one.
        assert!(!INIT.contains(cargo_mirage::lab::record::READY));
    }

    #[test]
    fn every_command_of_its_first_process_is_there() {
        let own = [
            "export",
            "read",
            "echo",
            "while",
            "done",
            "for",
            "do",
            "case",
            "esac",
            "until",
            "nsd",
            "nginx",
            "program",
            ".",
            ":",
            "ip=*)",
            "gateway=*)",
        ];
        let page = [];
        let services = [
            Service::Nsd,
            Service::Nginx(&page),
            Service::Program(Path::new("/")),
        ];
        let started = services.iter().flat_map(|service| service.start().lines());
        for line in INIT.lines().chain(started).map(str::trim) {
            let Some(word) = line.split_whitespace().next() else {
                continue;
            };
            if line.starts_with('#') || own.contains(&word) {
                continue;
            }
            assert!(COMMANDS.contains(&word), "{line}");
        }
    }

    #[test]
    fn versions_are_those_of_the_package_and_not_of_one_named_alike() {
        let versions = "libnsd-x 9 a\nnsd 4.6.1-1 0123\nlinux-image-amd64 6.1.1 a\nlinux-image-6.1.0-50-amd64 6.1.176-1 b\n";
        assert_eq!(version_in(versions, "nsd"), "4.6.1-1");
        assert_eq!(version_in(versions, "sd"), "");
    }

    #[test]
    fn nsd_and_nginx_are_told_to_answer_as_fast_as_they_can() {
        for setting in ["server-count: 1", "rrl-ratelimit: 0", "control-enable: no"] {
            assert!(include_str!("nsd.conf").contains(setting), "{setting}");
        }
        for setting in [
            "worker_processes 1;",
            "access_log off;",
            "sendfile on;",
            "open_file_cache max",
        ] {
            assert!(include_str!("nginx.conf").contains(setting), "{setting}");
        }
    }
}
