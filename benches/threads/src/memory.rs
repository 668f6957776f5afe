//! The C library's heap, as both engines use it: touching its pages beforehand, and counting its bytes.

use std::fs;

/// Whether the memory that the tasks will lie in has been written to before the clock starts.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pages {
    /// Each page is faulted in before, in large pages where the kernel has them for those who ask.
    Touched,
    /// The first write to each page, inside the timed part, has the kernel fault it in.
    Untouched,
}

/// Makes the heap one region that only grows, and with `Touched` writes to `bytes` of it, which stay in the heap.
pub(crate) fn prepare(pages: Pages, bytes: usize) {
    // SAFETY: mallopt takes integers; malloc's result is used only if it isn't null, within the size asked for, and is
    // freed once.
    unsafe {
        // No blocks outside the region, and nothing of it goes back to the kernel.
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        if pages == Pages::Touched {
            let block = libc::malloc(bytes);
            if !block.is_null() {
                large_pages(block.addr(), bytes);
                libc::memset(block, 0x55, bytes);
                // A block that nobody looks at may be left out by the compiler.
                std::hint::black_box(block);
                libc::free(block);
            }
        }
    }
}

/// Asks for large pages in the inside of a block, so that how memory was touched favours no engine: ours asks for them
/// where it takes fresh memory, and a heap that was touched before has none to ask for.
fn large_pages(begin: usize, bytes: usize) {
    const LARGE: usize = 2 << 20;
    let inside = begin.next_multiple_of(LARGE)..(begin + bytes) / LARGE * LARGE;
    if !inside.is_empty() {
        // SAFETY: advice on memory of ours changes nothing that it holds. Where the kernel takes none, pages stay small.
        unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(inside.start),
                inside.len(),
                libc::MADV_HUGEPAGE,
            );
        }
    }
}

/// Bytes that are handed out by the heap at the moment.
pub(crate) fn heap_bytes() -> usize {
    // SAFETY: no arguments, plain integers back.
    unsafe { libc::mallinfo2() }.uordblks
}

/// Processor time that the process took so far, in nanoseconds; 0 where the system does not tell.
pub(crate) fn processor_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec for the call to write to.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    if result != 0 {
        return 0;
    }
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Bytes of the process that are in memory; 0 where the kernel does not tell.
pub(crate) fn resident_bytes() -> usize {
    status("/proc/self/status", "VmRSS:")
}

fn status(file: &str, key: &str) -> usize {
    fs::read_to_string(file)
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<usize>().ok()
        })
        .map_or(0, |kib| kib * 1024)
}
