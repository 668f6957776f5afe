//! What the machine of the lab boots: Xen, dom0's kernel, and dom0's root file system with xl and Xen's daemons.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::lab::initramfs::Builder;
use crate::lab::packages::Packages;

const INIT: &str = include_str!("files/init");
const AGENT: &str = include_str!("files/agent.pl");
const RESUME: &str = include_str!("files/resume.pl");
const DOMAINS: &str = include_str!("files/domains");
const VIF_BRIDGE: &str = include_str!("files/vif-bridge");
const BLOCK: &str = include_str!("files/block");
const SSH: &str = include_str!("files/ssh");

/// Xen's programs, in its own folder of the package.
const XEN_PROGRAMS: &[&str] = &[
    "xl",
    "xenstored",
    "xenconsoled",
    "xen-init-dom0",
    "xenconsole",
    // xl starts this one to save and restore a domain.
    "libxl-save-helper",
];

/// Programs in the folders for all.
const PROGRAMS: &[&str] = &[
    "xenstore-read",
    "xenstore-write",
    "xenstore-list",
    "xenstore-ls",
    "xenstore-rm",
    "xenstore-exists",
    "xenstore-chmod",
    "xenstore-watch",
    "perl",
];

/// The kernel's modules, in the order in which they are loaded, each after what it depends on.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_console",
    "virtio_net",
    "xen-privcmd",
    "xenfs",
    "xen-evtchn",
    "xen-gntdev",
    "xen-gntalloc",
    "bridge",
    "xen-netback",
    "xen-blkback",
    "loop",
];

/// What perl needs for the agent.
const PERL: &[&str] = &[
    "usr/lib/x86_64-linux-gnu/perl-base/strict.pm",
    "usr/lib/x86_64-linux-gnu/perl-base/warnings.pm",
];

/// The three files that a machine with Xen boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles {
    /// Xen, as a multiboot ELF file.
    pub xen: PathBuf,
    /// dom0's kernel.
    pub kernel: PathBuf,
    /// dom0's root file system.
    pub initramfs: PathBuf,
    /// A text that differs where they would.
    pub made_from: String,
}

impl BootFiles {
    /// Makes them in that folder, or takes those that are there if they were made from the same.
    ///
    /// # Errors
    ///
    /// [`Error::Content`] if the packages lack something, [`Error::File`] if the folder can't be written.
    pub fn prepare(
        packages: &Packages,
        folder: &Path,
        mut on_line: impl FnMut(&str),
    ) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
        let files = Self {
            xen: folder.join("xen"),
            kernel: folder.join("kernel"),
            initramfs: folder.join("initramfs"),
            made_from: made_from(packages),
        };
        let made_from = &files.made_from;
        let stamp = folder.join("made-from");
        if fs::read_to_string(&stamp).is_ok_and(|found| found == *made_from) {
            return Ok(files);
        }
        if let Err(error) = fs::remove_file(&stamp)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Error::file("remove", &stamp)(error));
        }
        on_line("unpacking Xen");
        let compressed = newest(packages, "boot", "xen-", ".gz")?;
        let xen = packages.filter("busybox", &["gunzip"], &compressed)?;
        fs::write(&files.xen, xen).map_err(Error::file("write", &files.xen))?;
        on_line("unpacking dom0's kernel");
        let kernel = kernel(packages, folder)?;
        fs::write(&files.kernel, kernel).map_err(Error::file("write", &files.kernel))?;
        on_line("putting dom0's file system together");
        root(packages)?.write(&files.initramfs)?;
        fs::write(&stamp, made_from).map_err(Error::file("write", &stamp))?;
        Ok(files)
    }
}

/// The text that changes when the boot files would.
fn made_from(packages: &Packages) -> String {
    let lists = [XEN_PROGRAMS, PROGRAMS, MODULES, PERL].map(|list| list.join(" "));
    [
        env!("CARGO_PKG_VERSION"),
        packages.versions(),
        INIT,
        AGENT,
        RESUME,
        DOMAINS,
        VIF_BRIDGE,
        BLOCK,
        SSH,
        &lists.join("\n"),
    ]
    .join("\n---\n")
}

/// The kernel as it is packaged: the newest.
///
/// # Errors
///
/// [`Error::Content`] if there is none.
pub fn packaged_kernel(packages: &Packages) -> Result<PathBuf, Error> {
    newest(packages, "boot", "vmlinuz-", "")
}

/// The newest kernel without its compression, if we know it: Xen and xl would take seconds for it on an emulated processor.
/// `folder` is for what is written meanwhile.
///
/// # Errors
///
/// [`Error::Content`] if there is none, [`Error::File`] if the folder can't be written.
pub fn kernel(packages: &Packages, folder: &Path) -> Result<Vec<u8>, Error> {
    let path = packaged_kernel(packages)?;
    let image = fs::read(&path).map_err(Error::file("read", &path))?;
    let Some(payload) = payload(&image) else {
        return Ok(image);
    };
    if !payload.starts_with(XZ_MAGIC) {
        return Ok(image);
    }
    let compressed = folder.join("kernel.xz");
    fs::write(&compressed, payload).map_err(Error::file("write", &compressed))?;
    let unpacked = packages.filter("xz", &["--decompress", "--stdout"], &compressed);
    fs::remove_file(&compressed).map_err(Error::file("remove", &compressed))?;
    unpacked
}

/// How an xz stream begins.
const XZ_MAGIC: &[u8] = b"\xfd7zXZ\0";

/// The compressed kernel in a bzImage, without the length that follows it.
///
/// The fields are those of the Linux/x86 boot protocol, 2.08 and later: `setup_sects` at 0x1f1, the magic `HdrS` at 0x202,
/// `payload_offset` at 0x248 and `payload_length` at 0x24c, the offset counted from the protected-mode code, which begins
/// after the boot sector and the set-up sectors.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| {
        let bytes = image.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let sectors = match usize::from(*image.get(0x1f1)?) {
        0 => 4,
        sectors => sectors,
    };
    let from = ((sectors + 1) * 512).checked_add(word(0x248)?)?;
    let to = from.checked_add(word(0x24c)?.checked_sub(4)?)?;
    image.get(from..to)
}

/// The file of that kind with the highest version, in a folder of the packages.
fn newest(packages: &Packages, folder: &str, prefix: &str, suffix: &str) -> Result<PathBuf, Error> {
    let files = packages.files_below(folder);
    let mut found: Vec<PathBuf> = files
        .into_iter()
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(prefix) && name.ends_with(suffix)
        })
        .collect();
    found.sort_by_key(|path| numbers(&path.to_string_lossy()));
    found.pop().ok_or_else(|| Error::Content {
        path: packages.root().to_path_buf(),
        problem: format!("no unpacked package has {folder}/{prefix}*{suffix}"),
    })
}

/// The numbers in a text, to compare versions by.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// dom0's root file system.
fn root(packages: &Packages) -> Result<Builder<'_>, Error> {
    let mut root = Builder::new(packages);
    for folder in [
        "dev",
        "etc/xen",
        "lab",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "var/lib/xen",
        "var/lib/xenstored",
        "var/log/xen/console",
    ] {
        root.directory(folder);
    }
    root.symlink("var/run", "/run")
        .symlink("var/lock", "/run/lock")
        .script("init", INIT)
        .file("lab/agent.pl", AGENT)
        .file("lab/resume.pl", RESUME)
        .script("lab/domains", DOMAINS)
        .script("etc/xen/scripts/vif-bridge", VIF_BRIDGE)
        .script("etc/xen/scripts/block", BLOCK)
        .script("bin/ssh", SSH)
        .packaged_file("etc/xen/xl.conf")?;
    busybox(&mut root, packages)?;
    for name in XEN_PROGRAMS {
        let file = xen_program(packages, name)?;
        // libxl looks for its helper where it was built to be, which is where the package has it.
        let path = file.strip_prefix(packages.root()).unwrap_or(&file);
        let path = path.to_string_lossy();
        root.program(&path, &file)?
            .symlink(&format!("bin/{name}"), &format!("/{path}"));
    }
    for name in PROGRAMS {
        root.program(&format!("bin/{name}"), &packages.program(name)?)?;
    }
    for path in PERL {
        root.packaged_file(path)?;
    }
    // Loaded when a thread is cancelled, which xl does.
    root.library("libgcc_s.so.1")?;
    for name in MODULES {
        root.module(name)?;
    }
    Ok(root)
}

/// busybox, under the names of all that it can do.
fn busybox(root: &mut Builder<'_>, packages: &Packages) -> Result<(), Error> {
    let program = packages.program("busybox")?;
    let nothing = Path::new("/dev/null");
    let list = packages.filter("busybox", &["--list"], nothing)?;
    root.program("bin/busybox", &program)?;
    for name in String::from_utf8_lossy(&list).lines() {
        if name != "busybox" {
            root.symlink(&format!("bin/{name}"), "busybox");
        }
    }
    Ok(())
}

/// A program in `usr/lib/xen-VERSION/bin`.
fn xen_program(packages: &Packages, name: &str) -> Result<PathBuf, Error> {
    let files = packages.files_below("usr/lib");
    let found = files.into_iter().rev().find(|path| {
        let mut parts = path.iter().rev();
        parts.next().is_some_and(|part| part == name)
            && parts.next().is_some_and(|part| part == "bin")
            && parts
                .next()
                .is_some_and(|part| part.to_string_lossy().starts_with("xen-"))
    });
    found.ok_or_else(|| Error::Content {
        path: packages.root().to_path_buf(),
        problem: format!("no unpacked package has usr/lib/xen-*/bin/{name} (xen-utils)"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(sectors: u8, offset: u32, length: u32) -> Vec<u8> {
        let mut image = vec![0; 4096];
        image[0x1f1] = sectors;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&offset.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
        image
    }

    #[test]
    fn the_payload_is_where_the_header_says() {
        let mut whole = image(1, 16, 10);
        whole[1040..1046].copy_from_slice(XZ_MAGIC);
        assert_eq!(payload(&whole), Some(XZ_MAGIC));
        // No set-up sectors means four.
        assert_eq!(payload(&image(0, 0, 104)).unwrap().len(), 100);
    }

    #[test]
    fn a_header_that_points_elsewhere_is_no_payload() {
        for (sectors, offset, length) in [
            (1, 0, 0),
            (1, 0, 3),
            (1, 4000, 100),
            (255, 0, 8),
            (1, u32::MAX, u32::MAX),
        ] {
            assert_eq!(payload(&image(sectors, offset, length)), None);
        }
        assert_eq!(payload(b"MZ"), None);
        let mut other = image(1, 0, 8);
        other[0x202] = b'X';
        assert_eq!(payload(&other), None);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let mut names = [
            "vmlinuz-6.1.0-9-amd64",
            "vmlinuz-6.1.0-56-amd64",
            "vmlinuz-5.10.0-99-amd64",
        ];
        names.sort_by_key(|name| numbers(name));
        assert_eq!(names[2], "vmlinuz-6.1.0-56-amd64");
    }
}
