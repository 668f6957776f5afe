//! A task on the host's clock, until it has ticked ten times or Ctrl-C comes: `cargo run --example sleep`.

use std::time::Duration;

use mirage_core::executor::Executor;
use mirage_host::{EndSignals, HostPlatform};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let platform = HostPlatform::leak()?;
    let executor = Executor::leak(platform);
    let start = executor.now();
    let ticks = executor.spawn(async move {
        let period = Duration::from_millis(50);
        let mut interval = executor.interval(start + period, period);
        for _ in 0..10 {
            let due = interval.tick().await;
            println!(
                "due after {:?}, {:?} late",
                due - start,
                executor.now() - due
            );
        }
    })?;
    let mut end = EndSignals::new(platform)?;
    executor.run_until(async {
        let mut ended = std::pin::pin!(end.wait());
        let mut ticks = std::pin::pin!(ticks);
        std::future::poll_fn(|cx| match ended.as_mut().poll(cx) {
            std::task::Poll::Ready(()) => std::task::Poll::Ready(()),
            std::task::Poll::Pending => ticks.as_mut().poll(cx).map(drop),
        })
        .await;
    });
    Ok(())
}
