//! Tasks with an allocator: sleeping, joining, cancelling, a channel, and an order of one's own.
//!
//! `cargo run -p mirage-core --features doubles --example tasks`
//!
//! It runs in virtual time, so the seconds take no time. On a host, put `mirage_host::HostPlatform` in the platform's place.

use std::rc::Rc;
use std::time::Duration;

use mirage_core::channel::Channel;
use mirage_core::doubles::VirtualPlatform;
use mirage_core::executor::{Elapsed, Executor, JoinError, ReadyQueue, ReadyTask, Scheduler};

/// Tasks with a higher tag first.
#[derive(Default)]
struct Classes([ReadyQueue; 4]);

impl Scheduler for Classes {
    fn push(&mut self, task: ReadyTask) {
        let class = (task.tag() as usize).min(self.0.len() - 1);
        self.0[class].push(task);
    }

    fn pop(&mut self) -> Option<ReadyTask> {
        self.0.iter().rev().find_map(ReadyQueue::pop)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let platform: &'static VirtualPlatform = Box::leak(Box::new(VirtualPlatform::new()));
    let executor: &'static Executor = Executor::leak(platform);
    executor.set_task_limit(1_000);
    executor.set_scheduler(Box::leak(Box::new(Classes::default())));

    // A producer and a consumer; the channel's bound makes the producer wait.
    let (sender, receiver) = Channel::split(Rc::new(Channel::<u32, 2>::new()));
    let producer = executor.spawn(async move {
        for number in 1..=5 {
            if sender.send(number).await.is_err() {
                break;
            }
        }
    })?;
    let consumer = executor.spawn_tagged(3, async move {
        let mut sum = 0;
        while let Some(number) = receiver.receive().await {
            executor.sleep(Duration::from_secs(1)).await;
            sum += number;
        }
        sum
    })?;
    producer.detach();
    let sum = executor.run_until(consumer)?;
    println!("{sum} at {}", executor.now());

    // Time-outs and cancelling.
    let forever = executor.spawn(std::future::pending::<()>())?;
    let waited =
        executor.run_until(executor.timeout(Duration::from_secs(3), std::future::pending::<()>()));
    assert_eq!(waited, Err(Elapsed));
    forever.abort();
    assert_eq!(executor.run_until(forever), Err(JoinError::Aborted));
    println!("timed out at {}", executor.now());
    println!("{:?}", executor.counters());
    Ok(())
}
