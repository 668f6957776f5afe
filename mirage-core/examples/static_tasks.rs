//! Tasks without an allocator: everything lies in statics, and full is an error.
//!
//! `cargo run -p mirage-core --example static_tasks`
//!
//! The platform here only counts its parks as time; a real one reads a clock and waits.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mirage_core::event::Event;
use mirage_core::executor::{Executor, ExecutorMemory, Platform, TaskArena, Unpark};
use mirage_core::time::{Clock, Instant};

static EXECUTOR: ExecutorMemory = ExecutorMemory::new();
static TASKS: TaskArena<2048> = TaskArena::new();
static BUTTON: Event = Event::new();
static PLATFORM: Board = Board {
    now: AtomicU64::new(0),
};

struct Board {
    now: AtomicU64,
}

impl Clock for Board {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.now.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Option<Duration> {
        None
    }
}

impl Platform for Board {
    fn park(&self, until: Option<Instant>) {
        if let Some(until) = until {
            self.now.fetch_max(until.as_nanos(), Ordering::Relaxed);
        }
    }

    fn unparker(&self) -> &'static dyn Unpark {
        self::unparker()
    }
}

/// Nothing else runs on this board, so there is nobody to be woken by.
fn unparker() -> &'static dyn Unpark {
    struct Nobody;
    impl Unpark for Nobody {
        fn unpark(&self) {}
    }
    &Nobody
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let executor = Executor::new(&EXECUTOR, &PLATFORM).ok_or("the executor is in use")?;

    let light = executor.spawn_in(&TASKS, async {
        BUTTON.wait().await;
        println!("light on at {}", executor.now());
    })?;
    let finger = async {
        executor.sleep(Duration::from_millis(250)).await;
        BUTTON.set();
    };
    executor.spawn_in(&TASKS, finger)?.detach();
    executor.run_until(light)?;

    // The bound is the arena's.
    let made = Cell::new(0);
    while let Ok(task) = executor.spawn_in(&TASKS, executor.sleep(Duration::from_secs(1))) {
        task.detach();
        made.set(made.get() + 1);
    }
    println!("{} more tasks fit", made.get());
    executor.run();
    println!("all done at {}", executor.now());
    Ok(())
}
