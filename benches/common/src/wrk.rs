//! What wrk prints.

use crate::report::Error;

/// Its summary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Requests that were answered.
    pub requests: u64,
    /// The same a second.
    pub per_second: f64,
    /// Connections that failed, and answers that were none.
    pub errors: u64,
}

/// Reads what it prints.
///
/// # Errors
///
/// Shows what it printed, if that is no summary or no request was answered.
pub fn parse(said: &str) -> Result<Summary, Error> {
    let unexpected = || format!("wrk printed something else:\n{said}");
    let (mut requests, mut per_second, mut errors) = (None, None, 0);
    for line in said.lines().map(str::trim) {
        if let Some((count, _)) = line.split_once(" requests in ") {
            requests = count.parse().ok();
        } else if let Some(rate) = line.strip_prefix("Requests/sec:") {
            per_second = rate.trim().parse().ok();
        } else if let Some(kinds) = line.strip_prefix("Socket errors:") {
            let numbers = kinds.split([' ', ',']);
            errors += numbers
                .filter_map(|word| word.parse::<u64>().ok())
                .sum::<u64>();
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            errors += count.trim().parse::<u64>().map_err(|_| unexpected())?;
        }
    }
    match (requests, per_second) {
        (Some(requests), Some(per_second)) if requests > 0 => Ok(Summary {
            requests,
            per_second,
            errors,
        }),
        _ => Err(unexpected().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let said = "Running 1s test @ http://x/\n  1 threads and 64 connections\n  \
                    Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     2.10ms\n  \
                    33200 requests in 1.00s, 40.1MB read\n  Socket errors: connect 1, read 2, write 0, timeout 3\n  \
                    Non-2xx or 3xx responses: 4\nRequests/sec:  33199.50\nTransfer/sec:     40.1MB\n";
        let summary = Summary {
            requests: 33_200,
            per_second: 33_199.5,
            errors: 10,
        };
        assert_eq!(parse(said).unwrap(), summary);
        assert!(parse("  0 requests in 1.00s, 0B read\nRequests/sec: 0.00\n").is_err());
        assert!(parse("").is_err());
    }
}
