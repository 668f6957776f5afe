//! What is looked at and made before a machine can start: packages, boot files, the kind of network.

use std::fs;
use std::path::Path;

use crate::error::Error;
use crate::lab::Options;
use crate::lab::dom0::BootFiles;
use crate::lab::guest::Place;
use crate::lab::network::{Forward, Port, Subnet};
use crate::lab::packages::{self, Packages};
use crate::lab::record::Record;

/// Fetches packages and makes the boot files; only one process does so at a time.
pub(super) fn prepare(
    options: &Options,
    home: &Path,
    record: &Record,
    on_line: &mut dyn FnMut(&str),
) -> Result<(Packages, BootFiles), Error> {
    let path = home.join("lock");
    let lock = fs::File::create(&path).map_err(Error::file("make", &path))?;
    if lock.try_lock().is_err() {
        on_line("waiting for another lab that is fetching packages");
        lock.lock().map_err(Error::file("lock", &path))?;
    }
    let folder = home.join("packages");
    if options.refresh && folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::file("remove", &folder))?;
    }
    on_line("looking at the packages");
    let names = packages::needed_here();
    let packages = Packages::prepare(
        &options.source,
        &names,
        &folder,
        record.log(),
        &mut *on_line,
    )?;
    let boot = BootFiles::prepare(&packages, &home.join("boot"), on_line)?;
    Ok((packages, boot))
}

/// Free ports of the loopback address for those of the guests.
pub(super) fn forwards(subnet: Subnet, ports: &[Vec<Port>]) -> Result<Vec<Forward>, Error> {
    let mut forwards = Vec::new();
    for (index, ports) in ports.iter().enumerate() {
        let place = Place::new(subnet, index)?;
        for port in ports {
            forwards.push(Forward::find(place.address, *port)?);
        }
    }
    Ok(forwards)
}

/// Whether we are root and there is a device for taps: QEMU will say if that is not enough.
pub(super) fn may_make_taps() -> bool {
    rustix::process::geteuid().is_root()
        && fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .is_ok()
}
