//! What a process of a host can be asked about itself.

use std::fs;
use std::time::Duration;

use mirage_core::Pool;
use mirage_net::SharedStack;
use mirage_net::tcp::TcpCounters;
use rustix::time::{ClockId, clock_gettime};
use web_appliance::{Instruments, Metric, Sample, Value, tcp};

/// The process, and on our own stack that and its pool.
pub(crate) struct HostInstruments {
    stack: Option<(&'static SharedStack<'static>, &'static Pool)>,
}

impl HostInstruments {
    /// Of a process on the system's sockets, or on our own stack.
    pub(crate) fn new(stack: Option<(&'static SharedStack<'static>, &'static Pool)>) -> Self {
        Self { stack }
    }

    fn tcp_counters(&self) -> Option<TcpCounters> {
        let (stack, _) = self.stack?;
        stack.try_with(|stack, _| stack.counters().tcp)
    }
}

impl Instruments for HostInstruments {
    fn sample(&self, number: usize) -> Option<Sample> {
        let own = [
            processor_time().map(|time| Sample::new(PROCESSOR_TIME, Value::Time(time))),
            resident().map(|bytes| Sample::number(RESIDENT, bytes)),
        ];
        let (_, pool) = match own.iter().flatten().nth(number) {
            Some(sample) => return Some(*sample),
            None => self.stack?,
        };
        let number = number - own.iter().flatten().count();
        let pages = [
            Sample::number(PAGES, pool.blocks() as u64),
            Sample::number(FREE_PAGES, pool.free_in_all() as u64),
        ];
        match pages.get(number) {
            Some(sample) => Some(*sample),
            None => tcp::sample(&self.tcp_counters()?, number - pages.len()),
        }
    }
}

const PROCESSOR_TIME: Metric = Metric::counter(
    "process_cpu_seconds_total",
    "Processor time that the process has used.",
);
const RESIDENT: Metric = Metric::gauge(
    "process_resident_memory_bytes",
    "Memory that the process has.",
);
const PAGES: Metric = Metric::gauge("mirage_pool_pages", "Pages of the I/O page pool.");
const FREE_PAGES: Metric = Metric::gauge(
    "mirage_pool_pages_free",
    "Pages of the I/O page pool that nobody holds.",
);

fn processor_time() -> Option<Duration> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).ok()?;
    Some(Duration::new(seconds, u32::try_from(time.tv_nsec).ok()?))
}

/// Octets of memory that are there, from proc(5).
fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
