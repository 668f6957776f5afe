//! The page that shows the web appliance alive, from a guest on Xen, in a browser on this machine.

use std::path::Path;

use cargo_mirage::lab::Lab;
use web_browser::LivePage;

use crate::{Failure, PAGES, READY, Tests, dom0, guest, reached, web};

/// The guest's name.
const PAGE: &str = "page";

/// MiB.
const MEMORY: u32 = 16;

/// What a guest on Xen has.
const CHARTS: &[&str] = &[
    "Requests a second",
    "Connections",
    "New connections a second",
    "Octets received a second",
    "Octets sent a second",
    "Segments sent again a second",
    "Free pages",
    "Memory not taken yet",
];

/// Through the lab's network: from the machine's side of the tap, or through the port that QEMU forwards where there is none.
pub(crate) fn run(lab: &Lab, tests: &Tests, image: &Path) {
    let name = "a_browser_draws_the_live_page_of_a_guest_on_xen";
    let Some(chromium) = web_browser::find("chromium") else {
        println!("SKIPPED: {name}: no `chromium` on PATH, and MIRAGE_CHROMIUM is not set");
        return;
    };
    tests.test(name, || drawn(lab, image, &chromium));
}

fn drawn(lab: &Lab, image: &Path, chromium: &Path) -> Result<(), Failure> {
    let place = lab.create(&guest(PAGE, image, MEMORY)?)?;
    lab.wait_until_ready(PAGE, READY)?;
    let server = reached(lab, &place, PAGES);
    let origin = match server.port() {
        // A browser leaves it out.
        80 => format!("http://{}", server.ip()),
        _ => format!("http://{server}"),
    };
    LivePage::open(chromium, &origin)?
        .must_be_alive(CHARTS, || web::curl(server, "/").map(drop))?;
    dom0(lab, &format!("xl destroy {PAGE}"))?;
    Ok(())
}
