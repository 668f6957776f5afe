//! Two tasks on the host's clock, until the first Ctrl-C: `cargo run --example sleep`.

use std::time::Duration;

use mirage_core::executor::Executor;
use mirage_host::{EndSignals, HostPlatform};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let platform = HostPlatform::leak()?;
    let executor = Executor::leak(platform);
    let start = executor.now();
    let ticks = executor.spawn(async move {
        loop {
            executor.sleep(Duration::from_secs(1)).await;
            println!("{:?} since the start", executor.now() - start);
        }
    })?;
    ticks.detach();
    let mut end = EndSignals::new(platform)?;
    executor.run_until(end.wait());
    println!("good-bye");
    Ok(())
}
