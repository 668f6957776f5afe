//! The DNS appliance with an address by DHCP, of dom0's busybox: it is found there, and its lease is verified after a restore.

use std::cell::OnceCell;
use std::path::Path;

use cargo_mirage::lab::guest::Place;
use cargo_mirage::lab::{Lab, dhcp};

use crate::checks::answers;
use crate::{Failure, NAMES, READY, Tests, dom0, guest, reached, wait_for};

/// The guest's name.
const NAME: &str = "dns-dhcp";

/// MiB.
const MEMORY: u32 = 16;

/// All of them, in order.
pub(crate) fn run(lab: &Lab, tests: &Tests, image: &Path) {
    let place = OnceCell::new();
    tests.test_on_tap(
        lab,
        "an_appliance_gets_its_address_by_dhcp_and_answers_there",
        || {
            let given = start(lab, image)?;
            let place = place.get_or_init(|| given);
            answers(reached(lab, place, NAMES))
        },
    );
    let Some(place) = place.get() else {
        return;
    };
    tests.test_on_tap(
        lab,
        "saved_and_restored_its_lease_is_verified_and_it_answers_as_before",
        || {
            let before = acknowledged(lab)?;
            dom0(
                lab,
                &format!(
                    "xl save {NAME} /lab/{NAME}.save 2>&1 && xl restore /lab/{NAME}.save 2>&1 && rm /lab/{NAME}.save"
                ),
            )?;
            // INIT-REBOOT: it asks for what it had, and gets it.
            wait_for("the lease was verified", READY, || {
                Ok(acknowledged(lab)? > before)
            })?;
            wait_for("the appliance heard of it", READY, || {
                let said = lab.record().tail(NAME, 50);
                Ok(said.iter().any(|line| line.contains("the lease was renewed")))
            })?;
            answers(reached(lab, place, NAMES))
        },
    );
    tests.test_on_tap(lab, "its_domain_is_ended_cleanly", || {
        dom0(lab, &format!("xl shutdown -w {NAME} 2>&1")).map(drop)
    });
}

fn start(lab: &Lab, image: &Path) -> Result<Place, Failure> {
    let mut guest = guest(NAME, image, MEMORY)?;
    guest.dhcp = true;
    guest.append = "log=debug".into();
    let place = lab.create(&guest)?;
    lab.wait_until_ready(NAME, READY)?;
    let said = lab.record().tail(NAME, 50);
    let ready = format!("mirage: ready {}", place.address);
    if !said.iter().any(|line| line.starts_with(&ready)) {
        return Err(format!("no `{ready}`; it said {said:?}").into());
    }
    let lease = format!(
        "mirage: lease: {}/24 from {} for 3600 s, gateway {}",
        place.address,
        lab.subnet().dom0(),
        lab.subnet().host()
    );
    if !said.iter().any(|line| line.starts_with(&lease)) {
        return Err(format!("no `{lease}`; it said {said:?}").into());
    }
    Ok(place)
}

/// How often the server has given or confirmed a lease.
fn acknowledged(lab: &Lab) -> Result<usize, Failure> {
    let log = lab.get(dhcp::LOG)?;
    let log = String::from_utf8_lossy(&log);
    Ok(log
        .lines()
        .filter(|line| line.contains("sending ACK"))
        .count())
}
