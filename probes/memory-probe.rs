//! Each attempt has a name of its own.

use memory_probe::Probe;

pub fn run() -> bool {
    Probe::ALL
        .into_iter()
        .all(|probe| Probe::from_name(probe.name()) == Some(probe) && !probe.report().is_empty())
}
