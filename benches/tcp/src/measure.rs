//! Processor time of a guest.

use std::fs;

/// What a process's threads ran, in seconds, by the scheduler's own account; what the kernel did on their time is in it.
pub(crate) fn process_seconds(process: u32) -> f64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return 0.0;
    };
    let nanoseconds: u64 = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    nanoseconds as f64 / 1e9
}

/// Seconds that the host took away of all processors.
pub(crate) fn stolen_seconds() -> f64 {
    // SAFETY: sysconf(3) takes a number and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1);
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let stolen = text
        .split_whitespace()
        .nth(8)
        .and_then(|field| field.parse::<f64>().ok());
    stolen.unwrap_or(0.0) / ticks as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_runs_is_seen() {
        let before = process_seconds(std::process::id());
        let mut sum = 0u64;
        let begin = std::time::Instant::now();
        while begin.elapsed().as_millis() < 30 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(process_seconds(std::process::id()) > before);
        assert!(stolen_seconds() >= 0.0);
    }
}
