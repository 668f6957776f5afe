//! What a domain can be asked about itself.

use mirage_net::SharedStack;
use mirage_xen::boot::Heap;
use mirage_xen::machine::Machine;
use mirage_xen::native::NativeHypervisor;
use web_appliance::{Instruments, Metric, Sample, tcp};

/// The domain's memory, its pool, and its TCP.
pub(crate) struct XenInstruments {
    stack: &'static SharedStack<'static>,
    machine: &'static Machine<NativeHypervisor>,
}

impl XenInstruments {
    pub(crate) fn new(
        stack: &'static SharedStack<'static>,
        machine: &'static Machine<NativeHypervisor>,
    ) -> Self {
        Self { stack, machine }
    }
}

impl Instruments for XenInstruments {
    fn sample(&self, number: usize) -> Option<Sample> {
        let pool = self.machine.pool();
        match number {
            0 => Some(Sample::number(UNTOUCHED, Heap::untouched())),
            1 => Some(Sample::number(PAGES, pool.blocks() as u64)),
            2 => Some(Sample::number(FREE_PAGES, pool.free_in_all() as u64)),
            number => {
                let counters = self.stack.try_with(|stack, _| stack.counters().tcp)?;
                tcp::sample(&counters, number - 3)
            }
        }
    }
}

const UNTOUCHED: Metric = Metric::gauge(
    "mirage_heap_untouched_bytes",
    "Memory that the allocator has not taken yet.",
);
const PAGES: Metric = Metric::gauge("mirage_pool_pages", "Pages of the I/O page pool.");
const FREE_PAGES: Metric = Metric::gauge(
    "mirage_pool_pages_free",
    "Pages of the I/O page pool that nobody holds.",
);
