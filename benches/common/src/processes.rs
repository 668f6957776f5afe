//! What processes take of a machine.

use std::fs;

use crate::report::Error;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_ran_only_grows() {
        let this = std::process::id();
        let before = process_time(this).unwrap();
        assert!((0..2_000_000_u64).map(std::hint::black_box).sum::<u64>() > 0);
        assert!(process_time(this).unwrap() >= before);
    }
}
