//! That Linux merges what it receives from us before its TCP sees it, as it does behind a network card (GRO).
//!
//! With `IFF_NAPI` (linux/if_tun.h) a frame that is written goes through the device's NAPI instance, and there segments of one
//! connection that follow each other become one. But each write(2) polls that instance, and finds one frame: they are merged only
//! where the instance holds on to segments from one poll to the next, for `gro_flush_timeout` nanoseconds (Documentation/networking/napi.rst,
//! "Software IRQ coalescing"). What is pushed (PSH), is shorter than those before it, or is no data of TCP at all, is not held.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::interface::Interface;

/// How long Linux holds a segment that is not pushed and that no other follows. No less than the interval of its clock's ticks (10 ms at
/// the longest): a timer before the next tick is programmed into the processor's clock at each write, which costs more than what is
/// gained.
const HOLD_NANOSECONDS: u64 = 10_000_000;

/// The setting of an interface, in its directory of sysfs.
const HOLD: &CStr = c"gro_flush_timeout";

/// Has Linux hold what it may merge; says whether it does. An interface that is told already how long stays with it.
pub(super) fn hold(name: &str, interface: &Interface) -> bool {
    let Some(directory) = directory(name, interface) else {
        return false;
    };
    if read_number(&directory, HOLD).is_some_and(|nanoseconds| nanoseconds > 0) {
        return true;
    }
    let written = openat(
        &directory,
        HOLD,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(std::io::Error::from)
    .and_then(|setting| File::from(setting).write_all(HOLD_NANOSECONDS.to_string().as_bytes()));
    written.is_ok()
}

/// The interface's directory in sysfs: in the one that is mounted, or, where that shows another network namespace, in one of our own,
/// which is mounted nowhere.
fn directory(name: &str, interface: &Interface) -> Option<OwnedFd> {
    let mounted = rustix::fs::open(
        c"/sys/class/net",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let found = mounted
        .ok()
        .and_then(|classes| entry(&classes, name, interface));
    found.or_else(|| {
        let context = fsopen("sysfs", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
        fsconfig_create(&context).ok()?;
        let own = fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )
        .ok()?;
        let classes = openat(
            &own,
            c"class/net",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        entry(&classes.ok()?, name, interface)
    })
}

/// The entry of a name, if it is this interface's: another network namespace may have one of the same name.
fn entry(classes: &OwnedFd, name: &str, interface: &Interface) -> Option<OwnedFd> {
    let directory = openat(
        classes,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let [a, b, c, d, e, f] = interface.mac;
    let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    let is_it = read_number(&directory, c"ifindex") == Some(interface.index.into())
        && read(&directory, c"address").is_some_and(|address| address.trim() == mac);
    is_it.then_some(directory)
}

fn read_number(directory: impl AsFd, file: &CStr) -> Option<u64> {
    read(directory, file)?.trim().parse().ok()
}

fn read(directory: impl AsFd, file: &CStr) -> Option<String> {
    let file = openat(
        directory,
        file,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let mut text = String::new();
    // An attribute of sysfs is at most a page.
    File::from(file.ok()?)
        .take(4_096)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}
