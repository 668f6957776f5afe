//! Frontends in a xenstore.

use core::pin::pin;

use super::*;
use crate::abi::{DomainId, XenError};
use crate::store::StoreError;
use crate::store::testing::Rig;
use crate::testing::TestHypervisor;

const BACKEND: &str = "/local/domain/0/backend/vif/7/0";

fn with_device() -> Rig {
    let rig = Rig::new();
    rig.xenstored(|xenstored| {
        xenstored.set("device/vif/0/backend", BACKEND);
        xenstored.set("device/vif/0/backend-id", "0");
        xenstored.set("device/vif/0/state", "1");
        xenstored.set("/local/domain/0/backend/vif/7/0/state", "2");
    });
    rig
}

fn set_backend(rig: &Rig, state: &str) {
    rig.xenstored(|xenstored| xenstored.set("/local/domain/0/backend/vif/7/0/state", state));
}

fn find(rig: &Rig) -> Result<Frontend<TestHypervisor>, StoreError> {
    rig.run(Frontend::find(rig.store, "device/vif/0"))
}

#[test]
fn a_frontend_is_found_in_one_round_trip() {
    let rig = with_device();
    let frontend = find(&rig).unwrap();
    assert_eq!(frontend.backend_path(), BACKEND);
    assert_eq!(frontend.backend_domain(), DomainId::DOM0);
    assert_eq!(rig.store.counters().round_trips, 1);
    assert_eq!(rig.run(frontend.state()), Ok(XenbusState::Initialising));
    assert_eq!(rig.run(frontend.backend_state()), Ok(XenbusState::InitWait));
}

#[test]
fn a_backend_that_can_not_be_is_refused() {
    for (key, value) in [
        ("device/vif/0/backend", ""),
        ("device/vif/0/backend", "/local//domain"),
        (
            "device/vif/0/backend",
            "/a/very/long/path/of/more/than/128/bytes/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ),
        ("device/vif/0/backend-id", "65535"),
        ("device/vif/0/backend-id", "zero"),
        (
            "device/vif/0/backend-id",
            "00000000000000000000000000000000",
        ),
    ] {
        let rig = with_device();
        rig.xenstored(|xenstored| xenstored.set(key, value));
        assert_eq!(find(&rig).unwrap_err(), StoreError::Value, "{value}");
    }
    let rig = Rig::new();
    assert!(find(&rig).unwrap_err().is_not_found());
}

#[test]
fn a_device_that_was_removed_is_not_made_again_by_its_state() {
    let rig = with_device();
    let frontend = find(&rig).unwrap();
    assert_eq!(
        rig.run(frontend.switch_state(XenbusState::Connected)),
        Ok(())
    );
    let state = |rig: &Rig| rig.xenstored(|xenstored| xenstored.get("device/vif/0/state"));
    assert_eq!(state(&rig).as_deref(), Some("4"));
    rig.xenstored(|xenstored| xenstored.tree.retain(|path, _| !path.contains("vif/0")));
    let gone = rig.run(frontend.switch_state(XenbusState::Closed));
    assert_eq!(gone, Err(StoreError::Refused(XenError::NotFound)));
    assert_eq!(state(&rig), None);
}

#[test]
fn a_backend_closes_and_comes_back() {
    let rig = with_device();
    let frontend = find(&rig).unwrap();
    let mut watch = rig.run(frontend.watch_backend()).unwrap();
    assert_eq!(watch.last(), XenbusState::Unknown);
    assert_eq!(rig.run(watch.changed()), Ok(XenbusState::InitWait));
    set_backend(&rig, "4");
    let connected = [XenbusState::Connected, XenbusState::Closed];
    assert_eq!(
        rig.run(watch.wait_for(&connected)),
        Ok(XenbusState::Connected)
    );
    // At once: it is in that state.
    assert_eq!(
        rig.run(watch.wait_for(&connected)),
        Ok(XenbusState::Connected)
    );
    set_backend(&rig, "5");
    assert_eq!(rig.run(watch.changed()), Ok(XenbusState::Closing));
    set_backend(&rig, "6");
    assert_eq!(rig.run(watch.changed()), Ok(XenbusState::Closed));
    rig.xenstored(|xenstored| {
        xenstored
            .tree
            .retain(|path, _| !path.contains("backend/vif"));
        xenstored.fire(&std::format!("{BACKEND}/state"));
    });
    assert_eq!(rig.run(watch.changed()), Ok(XenbusState::Unknown));
    set_backend(&rig, "2");
    assert_eq!(rig.run(watch.changed()), Ok(XenbusState::InitWait));
}

#[test]
fn a_state_that_is_not_a_number_is_nobody() {
    let rig = with_device();
    let frontend = find(&rig).unwrap();
    let mut watch = rig.run(frontend.watch_backend()).unwrap();
    assert_eq!(rig.run(watch.changed()), Ok(XenbusState::InitWait));
    for junk in ["connected", "44444444444444444444444444444444", "-4", ""] {
        set_backend(&rig, junk);
        assert_eq!(rig.run(watch.changed()), Ok(XenbusState::Unknown));
        assert!(rig.run(frontend.backend_state()).is_err());
        set_backend(&rig, "4");
        assert_eq!(rig.run(watch.changed()), Ok(XenbusState::Connected));
    }
}

#[test]
fn a_wait_that_is_given_up_between_event_and_reading_loses_no_change() {
    let rig = with_device();
    let frontend = find(&rig).unwrap();
    let mut watch = rig.run(frontend.watch_backend()).unwrap();
    assert_eq!(rig.run(watch.changed()), Ok(XenbusState::InitWait));
    set_backend(&rig, "4");
    rig.settle();
    {
        // Takes the event, asks for the state, and gives up.
        let mut changed = pin!(watch.changed());
        assert!(rig.poll_once(changed.as_mut()).is_pending());
    }
    assert_eq!(rig.run(watch.changed()), Ok(XenbusState::Connected));
}
