//! What the memory of an image forbids: each attempt is a guest of its own.

use std::path::Path;
use std::time::Duration;

use cargo_mirage::lab::{Lab, Reason};
use memory_probe::Probe;

use crate::{Failure, Tests, dom0, guest, wait_for};

/// MiB.
const MEMORY: u32 = 8;

/// How long an attempt may take: it is over at once.
const LIMIT: Duration = Duration::from_secs(60);

/// Lines of a console that are looked at.
const LINES: usize = 40;

/// Makes every attempt, one after the other.
pub(crate) fn run(lab: &Lab, tests: &Tests, image: &Path) {
    for probe in Probe::ALL {
        let test = format!(
            "the_memory_probe_{}_ends_as_it_must",
            probe.name().replace('-', "_")
        );
        tests.test(&test, || attempt(lab, image, probe));
    }
}

fn attempt(lab: &Lab, image: &Path, probe: Probe) -> Result<(), Failure> {
    let name = format!("probe-{}", probe.name());
    let mut guest = guest(&name, image, MEMORY)?;
    guest.append = format!("probe={}", probe.name());
    guest.network = false;
    lab.create(&guest)?;
    wait_for("the end of the domain", LIMIT, || {
        Ok(lab.ended(&name).is_some())
    })?;
    let ended = lab.ended(&name);
    let expected = match probe {
        Probe::Allowed => Reason::Poweroff,
        _ => Reason::Crash,
    };
    // What was said last may be on its way still.
    let reported = wait_for("the report", LIMIT, || {
        let tail = lab.record().tail(&name, LINES);
        Ok(tail.iter().any(|line| line.starts_with(probe.report())))
    });
    // A crashed domain is kept for whoever wants to look at it.
    let _ = dom0(lab, &format!("xl destroy {name}"));
    let said = || lab.record().tail(&name, LINES).join("\n");
    if ended != Some(expected) {
        return Err(format!("ended as {ended:?}, not {expected:?}; it said:\n{}", said()).into());
    }
    reported.map_err(|_| format!("no `{}` in what it said:\n{}", probe.report(), said()).into())
}
