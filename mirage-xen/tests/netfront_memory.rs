//! Between the rings and whoever polls them nothing is allocated, and nothing copied, however many frames go by.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mirage_core::doubles::Packet;
use mirage_core::executor::Executor;
use mirage_core::{FrameMetadata, MacAddress, Netif, Pool};
use mirage_xen::clock::XenClock;
use mirage_xen::event_channel::EventChannels;
use mirage_xen::grant_table::GrantTable;
use mirage_xen::netfront::{Netfront, NetfrontConfig};
use mirage_xen::platform::{XenPlatform, XenUnparker};
use mirage_xen::simulated::{SimulatedHypervisor, Simulation, VifConfig};
use mirage_xen::store::Store;

/// Counts what is allocated while somebody counts.
struct Counting;

thread_local! {
    static COUNTING: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is the system's; the cells have no destructor and don't allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTING.get() {
            ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        }
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is allocated by this.
fn counted<T>(act: impl FnOnce() -> T) -> T {
    COUNTING.set(true);
    let done = act();
    COUNTING.set(false);
    done
}

static UNPARKER: XenUnparker = XenUnparker::new();

fn connect(
    simulation: Simulation,
    pool: &'static Pool,
) -> (&'static Executor, &'static Netfront<SimulatedHypervisor>) {
    let hypervisor = simulation.hypervisor();
    simulation.add_memory(pool);
    let channels = EventChannels::leak(hypervisor);
    let clock = XenClock::leak(hypervisor);
    let platform = Box::leak(Box::new(XenPlatform::new(channels, clock, &UNPARKER)));
    let executor = Executor::leak(platform);
    let store = Store::leak(channels).unwrap();
    let table = GrantTable::leak(hypervisor, 1_024).unwrap();
    let grants = table.leak_pool(pool).unwrap();
    let netfront = Netfront::leak(0, channels, grants, NetfrontConfig::new()).unwrap();
    executor.spawn(store.run()).unwrap().detach();
    let run = netfront.run(store, executor);
    executor.spawn(run).unwrap().detach();
    executor.run_until(netfront.ready());
    (executor, netfront)
}

#[test]
fn no_frame_costs_an_allocation_and_none_a_copy() {
    let simulation = Simulation::new(1);
    let mut vif = VifConfig::new(MacAddress([0, 0x16, 0x3e, 1, 2, 3]));
    // Three pieces a frame.
    vif.receive_segment = 600;
    let netback = simulation.add_vif(vif);
    let pool = Pool::leak(256, 4_096).unwrap();
    let (executor, netfront) = connect(simulation, pool);
    let mut netif = netfront;
    let mut context = Context::from_waker(Waker::noop());
    for round in 0..200_u32 {
        let bytes = [
            &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 6][..],
            &[round as u8; 1_400],
        ]
        .concat();
        for _ in 0..4 {
            let metadata = FrameMetadata::NONE;
            let bytes = bytes.clone();
            netback.send(Packet { bytes, metadata });
        }
        executor.run_until(executor.sleep(Duration::from_millis(1)));
        // What was received goes back, in its pages.
        counted(|| {
            while let Poll::Ready(frame) = netif.poll_receive(&mut context) {
                assert_eq!(netif.poll_ready(&mut context), Poll::Ready(Ok(())));
                netif.transmit(frame.unwrap()).unwrap();
            }
        });
        netif.flush().unwrap();
        executor.run_until(executor.sleep(Duration::from_millis(1)));
        for _ in 0..4 {
            assert_eq!(netback.take().unwrap().bytes, bytes);
        }
        counted(|| assert!(netif.poll_receive(&mut context).is_pending()));
    }
    assert_eq!(ALLOCATIONS.get(), 0);
    // They would have been counted.
    drop(counted(|| Box::new(context)));
    assert_eq!(ALLOCATIONS.get(), 1);
    let counters = netfront.counters();
    assert_eq!(
        (counters.receive.frames, counters.transmit.frames),
        (800, 800)
    );
    assert_eq!(counters.transmit.slots, 2_400);
    assert_eq!(counters.transmit.coalesced, 0);
    assert_eq!(simulation.violations(), []);
}
