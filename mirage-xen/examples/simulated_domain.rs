//! A domain on the simulated hypervisor: it connects its network device, answers the toolstack, is moved to another machine,
//! and ends. In virtual time: it takes no time at all.
//!
//! ```sh
//! cargo run -p mirage-xen --example simulated_domain --features simulated
//! ```

use std::error::Error;
use std::time::Duration;

use mirage_core::{MacAddress, Netif, Pool};
use mirage_xen::abi::shutdown::ShutdownReason;
use mirage_xen::machine::{Machine, News};
use mirage_xen::platform::XenUnparker;
use mirage_xen::simulated::{Simulation, VifConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let simulation = Simulation::new(2013);
    let mac = MacAddress([0x00, 0x16, 0x3E, 0, 0, 1]);
    let netback = simulation.add_vif(VifConfig::new(mac));
    let pool = Pool::leak(256, 4_096)?;
    simulation.add_memory(pool);
    let unparker: &'static XenUnparker = Box::leak(Box::new(XenUnparker::new()));
    let machine = Machine::leak(simulation.hypervisor(), pool, unparker, None)?;

    let ended = machine.executor().run_until(async {
        let netfront = machine.network().await?;
        machine.rng().await?;
        println!(
            "domain {}: {} connected after {:?} and {} round trips to xenstore",
            simulation.domain().0,
            netfront.mac(),
            machine.uptime(),
            machine.store().counters().round_trips
        );
        simulation.control("suspend");
        loop {
            match machine.news().await {
                News::Resumed => {
                    // The device is looked for again; then the domain goes on as if nothing had been.
                    while !netfront.link_up() {
                        machine.executor().sleep(Duration::from_millis(1)).await;
                    }
                    println!(
                        "resumed as domain {}: connected again, after {:?}",
                        simulation.domain().0,
                        machine.uptime()
                    );
                    simulation.control("poweroff");
                }
                News::End(reason) => return Ok::<_, Box<dyn Error>>(reason),
            }
        }
    })?;
    println!("ended: {ended:?}");
    if ended != ShutdownReason::PowerOff || !netback.is_connected() {
        return Err("not as it should end".into());
    }
    match simulation.violations().as_slice() {
        [] => Ok(()),
        violations => Err(format!("the domain did wrong: {violations:?}").into()),
    }
}
