//! What processes take of a machine.

use std::fs;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::report::Error;

/// How long a process has that was asked to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a process, its threads and its descendants ran, in seconds, by the scheduler's own account.
///
/// # Errors
///
/// There is no `/proc`.
pub fn process_time(root: u32) -> Result<f64, Error> {
    let mut nanoseconds = 0;
    for process in family(root)? {
        // It may have ended since.
        let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
            continue;
        };
        for task in tasks.flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let ran = text
                .split(' ')
                .next()
                .and_then(|field| field.parse::<u64>().ok());
            nanoseconds += ran.unwrap_or(0);
        }
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// A process and its descendants.
fn family(root: u32) -> Result<Vec<u32>, Error> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(process) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let text = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // Behind the name, which is in parentheses and may hold anything: the state, and the parent.
        let parent = text
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (process, parent)));
    }
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(process, _)| process),
        );
        next += 1;
    }
    Ok(family)
}

/// What the children of this process ran that were waited for, in seconds.
///
/// # Errors
///
/// The system's.
pub fn children_time() -> Result<f64, Error> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: TimeVal| time.num_microseconds() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Idle time (waiting for disks included) and stolen time of all processors since the system began, in seconds: stolen is what the
/// host of a virtual machine took away. The kernel tells idle time as it was, not by samples, where it stops the tick of an idle
/// processor.
///
/// # Errors
///
/// There is no `/proc`, or it is written in another way.
pub fn idle_and_stolen_time() -> Result<(f64, f64), Error> {
    let path = "/proc/stat";
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let ticks = sysconf(SysconfVar::CLK_TCK)?.ok_or("the system has no clock ticks")? as f64;
    let (idle, stolen) = idle_and_stolen_ticks(&text)
        .ok_or("/proc/stat does not begin with the sum of all processors")?;
    Ok((idle as f64 / ticks, stolen as f64 / ticks))
}

fn idle_and_stolen_ticks(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    match fields[..] {
        [_, _, _, idle, wait, _, _, stolen, ..] => Some((idle + wait, stolen)),
        _ => None,
    }
}

/// Asks a child to end (SIGTERM), waits for that, and ends it after some seconds if it doesn't.
pub fn end(child: &mut Child) {
    // A child that was not waited for keeps its number.
    if matches!(child.try_wait(), Ok(None))
        && let Ok(process) = i32::try_from(child.id())
    {
        let _ = kill(Pid::from_raw(process), Signal::SIGTERM);
    }
    let over = Instant::now() + PATIENCE;
    while Instant::now() < over {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_a_process_ran_only_grows() {
        let this = std::process::id();
        let before = process_time(this).unwrap();
        assert!((0..2_000_000_u64).map(std::hint::black_box).sum::<u64>() > 0);
        assert!(process_time(this).unwrap() >= before);
    }

    #[test]
    fn idle_and_stolen_time_are_read() {
        let text = "cpu  100 0 50 1000 20 3 4 70 0 0\ncpu0 1 2 3\n";
        assert_eq!(idle_and_stolen_ticks(text), Some((1_020, 70)));
        for other in ["", "cpu", "cpu  1 2 3\n", "cpu0 1 2 3 4 5 6 7 8 9\n"] {
            assert_eq!(idle_and_stolen_ticks(other), None, "{other:?}");
        }
        let (idle, stolen) = idle_and_stolen_time().unwrap();
        assert!(idle > 0.0 && stolen >= 0.0);
    }

    #[test]
    fn a_child_that_is_asked_ends_and_its_time_is_counted() {
        let before = children_time().unwrap();
        let mut busy = Command::new("sh");
        let mut child = busy.args(["-c", "while :; do :; done"]).spawn().unwrap();
        while process_time(child.id()).unwrap() < 0.02 {
            thread::sleep(Duration::from_millis(1));
        }
        end(&mut child);
        let status = child.try_wait().unwrap().expect("it was waited for");
        assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
        assert!(children_time().unwrap() >= before + 0.01);
        // Again: nothing happens, to whomever its number belongs now.
        end(&mut child);
    }
}
