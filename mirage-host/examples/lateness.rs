//! How late sleeps end, against a loop that only reads the clock: `cargo run --release --example lateness`.

use std::time::Duration;

use mirage_core::executor::Platform;
use mirage_core::{Clock, Instant};
use mirage_host::{HostPlatform, HostPlatformConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "{:>12} {:>10} {:>10} {:>10}",
        "spin", "median", "99.7 %", "most"
    );
    let mut clock = HostPlatformConfig::default();
    clock.spin = Duration::MAX;
    report("clock alone", clock)?;
    for micros in [0, 20, 50, 100, 200] {
        let mut config = HostPlatformConfig::default();
        config.spin = Duration::from_micros(micros);
        report(&format!("{micros} µs"), config)?;
    }
    Ok(())
}

fn report(name: &str, config: HostPlatformConfig) -> Result<(), Box<dyn std::error::Error>> {
    const SLEEPS: usize = 300;
    let platform = HostPlatform::leak_with(config)?;
    let mut late: Vec<Duration> = (0..SLEEPS)
        .map(|number| lateness(platform, Duration::from_micros(500 + number as u64)))
        .collect();
    late.sort();
    let at = |part: f64| late[((SLEEPS - 1) as f64 * part) as usize];
    println!(
        "{name:>12} {:>10?} {:>10?} {:>10?}",
        at(0.5),
        at(0.997),
        at(1.0)
    );
    Ok(())
}

fn lateness(platform: &HostPlatform, duration: Duration) -> Duration {
    let deadline = platform.now() + duration;
    loop {
        let now: Instant = platform.now();
        if now >= deadline {
            return now - deadline;
        }
        platform.park(Some(deadline));
    }
}
