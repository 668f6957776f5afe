//! Instructions a segment, which no other load on the machine changes, nor its caches: counted by valgrind's callgrind.

use std::process::Command;

use bench_common::report::Error;
use clap::Args;

use crate::world::{BATCH, World};

/// How many batches are counted.
const BATCHES: usize = 100;

/// Answers requests, for valgrind to count.
#[derive(Args)]
pub(crate) struct Count {
    /// Each connection asks its peer now and then if it is there.
    #[arg(long)]
    keep_alive: bool,
    /// How many there are.
    connections: usize,
}

impl Count {
    pub(crate) fn run(&self) -> Result<(), Error> {
        let mut world = World::new(self.connections, self.keep_alive)?;
        for number in 0..2 * BATCHES {
            world.ask()?;
            // Once they have come to rest.
            if number < BATCHES {
                world.answer();
            } else {
                counted(&mut world);
            }
            world.finish()?;
        }
        Ok(())
    }
}

/// What callgrind counts: what is called from here.
#[inline(never)]
fn counted(world: &mut World) {
    world.answer();
}

/// Instructions a segment, by this program as a child of valgrind.
pub(crate) fn count(connections: usize, keep_alive: bool) -> Result<f64, Error> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new("valgrind");
    command
        .args([
            "--tool=callgrind",
            "--toggle-collect=bench_tcp_idle::callgrind::counted*",
        ])
        .arg(format!(
            "--callgrind-out-file={}",
            folder.path().join("out").display()
        ))
        .arg(std::env::current_exe()?)
        .arg("count");
    if keep_alive {
        command.arg("--keep-alive");
    }
    command.arg(connections.to_string());
    let output = command.output().map_err(|error| {
        format!("valgrind can't be run ({error}): install it (Debian: apt-get install valgrind), or give --no-callgrind")
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse::<f64>().ok());
    match collected {
        Some(instructions) if output.status.success() && instructions > 0.0 => {
            Ok(instructions / (BATCHES * BATCH) as f64)
        }
        _ => Err(format!("valgrind counted nothing: {said}").into()),
    }
}
