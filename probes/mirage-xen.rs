//! A domain's parts on a hypervisor that refuses everything: event channels, xenstore and the clock say so, and nothing panics.
//@ mirage-core = { path = "ROOT/mirage-core", default-features = false }

use core::ptr::NonNull;

use mirage_core::Clock;
use mirage_xen::abi::grant::GrantEntry;
use mirage_xen::abi::parameter::Parameter;
use mirage_xen::abi::shared_info::SharedInfo;
use mirage_xen::abi::shutdown::{ShutdownReason, Suspended};
use mirage_xen::abi::{FrameNumber, XenError};
use mirage_xen::clock::{TimeScale, XenClock};
use mirage_xen::console::{Console, ConsoleStorage};
use mirage_xen::event_channel::EventChannels;
use mirage_xen::grant_table::GrantTable;
use mirage_xen::hypervisor::SharedPage;
use mirage_xen::static_cell::StaticCell;
use mirage_xen::store::{Key, Store, StoreStorage, parse_decimal};
use mirage_xen::xenbus::XenbusState;
use mirage_xen::{DomainId, Hypervisor, PortNumber};

struct Refusing(SharedInfo);

// SAFETY: no memory is shared with anybody: all that would share it is refused.
unsafe impl Hypervisor for Refusing {
    fn poll(&self, _: &[PortNumber], _: Option<u64>) -> Result<(), XenError> {
        Err(XenError::NotImplemented)
    }
    fn shutdown(&self, _: ShutdownReason) {}
    fn suspend(&self) -> Result<Suspended, XenError> {
        Err(XenError::NotImplemented)
    }
    fn restore(&self) -> Result<(), XenError> {
        Err(XenError::NotImplemented)
    }
    fn shared_info(&self) -> &SharedInfo {
        &self.0
    }
    fn time_stamp_counter(&self) -> u64 {
        0
    }
    fn hardware_random(&self) -> Option<u64> {
        None
    }
    fn allocate_unbound_port(&self, _: DomainId) -> Result<PortNumber, XenError> {
        Err(XenError::NotImplemented)
    }
    fn bind_interdomain(&self, _: DomainId, _: PortNumber) -> Result<PortNumber, XenError> {
        Err(XenError::NotImplemented)
    }
    fn close_port(&self, _: PortNumber) -> Result<(), XenError> {
        Err(XenError::NotImplemented)
    }
    fn notify(&self, _: PortNumber) -> Result<(), XenError> {
        Err(XenError::NotImplemented)
    }
    fn maximum_grant_frames(&self) -> Result<u32, XenError> {
        Err(XenError::NotImplemented)
    }
    unsafe fn grant_entries(&self, _: u32) -> Result<&[GrantEntry], XenError> {
        Err(XenError::NotImplemented)
    }
    fn frame_number(&self, _: NonNull<u8>) -> Option<FrameNumber> {
        None
    }
    fn parameter(&self, _: Parameter) -> Result<u64, XenError> {
        Err(XenError::NotImplemented)
    }
    fn set_parameter(&self, _: Parameter, _: u64) -> Result<(), XenError> {
        Err(XenError::NotImplemented)
    }
    fn store_page(&self) -> Result<SharedPage, XenError> {
        Err(XenError::NotFound)
    }
    fn console_page(&self) -> Result<SharedPage, XenError> {
        Err(XenError::NotFound)
    }
    fn write_emergency_console(&self, _: &[u8]) {}
}

static HYPERVISOR: Refusing = Refusing(SharedInfo::new());
static CHANNELS: StaticCell<EventChannels<Refusing>> = StaticCell::new();
static STORE: StoreStorage = StoreStorage::new();
static CONSOLE: ConsoleStorage = ConsoleStorage::new();

pub fn run() -> bool {
    let Ok(channels) = CHANNELS.init(EventChannels::new(&HYPERVISOR)) else {
        return false;
    };
    let channels: &'static EventChannels<Refusing> = channels;
    let (Some(store), Some(console)) = (STORE.take(), CONSOLE.take()) else {
        return false;
    };
    let refused = channels.offer(DomainId::DOM0).is_err()
        && Store::new(channels, store).is_err()
        && Console::new(channels, console).is_err()
        && GrantTable::new(&HYPERVISOR, 64).is_err();
    let clock = XenClock::new(&HYPERVISOR);
    let scale = TimeScale {
        tsc_timestamp: 100,
        system_time: 1_000,
        tsc_to_system_multiplier: 0x8000_0000,
        tsc_shift: 1,
    };
    refused
        && channels.scan() == 0
        && clock.now().as_nanos() == 0
        && clock.counters().unreadable == 1
        && scale.system_time_at(110) == 1_010
        && XenbusState::parse(b"4") == Some(XenbusState::Connected)
        && parse_decimal(b"18446744073709551616").is_none()
        && Key::from(("device/vif/0", "mac")).check() == Ok(16)
}
