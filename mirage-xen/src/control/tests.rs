//! A toolstack's commands.

use core::pin::pin;
use core::task::Poll;
use std::string::ToString;

use super::*;
use crate::abi::xs_wire::MessageType;
use crate::store::testing::Rig;
use crate::testing::TestHypervisor;

fn start(rig: &Rig) -> Control<TestHypervisor> {
    rig.xenstored(|xenstored| xenstored.set(SHUTDOWN, ""));
    rig.run(Control::new(rig.store)).unwrap()
}

fn order(rig: &Rig, command: &str) {
    rig.xenstored(|xenstored| xenstored.set(SHUTDOWN, command));
}

fn present(rig: &Rig) -> Option<std::string::String> {
    rig.xenstored(|xenstored| xenstored.get(SHUTDOWN))
}

#[test]
fn a_domain_says_what_it_takes_and_watches_in_one_round_trip() {
    let rig = Rig::new();
    let control = start(&rig);
    assert_eq!(control.features(), ControlFeatures::all());
    assert_eq!(rig.store.counters().round_trips, 1);
    for name in ["poweroff", "reboot", "suspend", "halt"] {
        let key = std::format!("control/feature-{name}");
        let value = rig.xenstored(|xenstored| xenstored.get(&key));
        assert_eq!(value.as_deref(), Some("1"));
    }
}

#[test]
fn a_feature_that_may_not_be_written_is_no_error() {
    let rig = Rig::new();
    rig.xenstored(|xenstored| {
        xenstored.script = Some(|xenstored, asked| {
            let halt = asked.payload.starts_with(b"control/feature-halt\0");
            if halt {
                let kind = MessageType::Error as u32;
                xenstored.send(kind, asked.id, asked.transaction, b"EACCES\0");
            }
            halt
        });
    });
    let control = start(&rig);
    let taken = ControlFeatures::all() - ControlFeatures::HALT;
    assert_eq!(control.features(), taken);
}

#[test]
fn commands_are_heard_and_acknowledged() {
    let rig = Rig::new();
    let mut control = start(&rig);
    for (command, request) in [
        ("poweroff", ShutdownRequest::PowerOff),
        ("reboot", ShutdownRequest::Reboot),
        ("halt", ShutdownRequest::Halt),
        ("suspend", ShutdownRequest::Suspend),
        ("crash", ShutdownRequest::Crash),
    ] {
        order(&rig, command);
        assert_eq!(rig.run(control.next()), Ok(request.clone()));
        assert_eq!(present(&rig).as_deref(), Some(""));
        assert_eq!(request.to_string(), command);
    }
}

#[test]
fn an_unknown_command_is_reported_and_does_not_reach_the_console_as_it_is() {
    let rig = Rig::new();
    let mut control = start(&rig);
    order(&rig, "sing\u{1b}[2J");
    let request = rig.run(control.next()).unwrap();
    assert_eq!(request.to_string(), r#""sing?[2J""#);
    assert_eq!(present(&rig).as_deref(), Some(""));
    order(&rig, "a command of more than thirty-two bytes");
    let unknown = ShutdownRequest::Unknown(String::new());
    assert_eq!(rig.run(control.next()), Ok(unknown));
}

#[test]
fn a_command_that_is_taken_back_at_the_same_time_is_not_obeyed() {
    let rig = Rig::new();
    let mut control = start(&rig);
    rig.xenstored(|xenstored| {
        xenstored.script = Some(|xenstored, asked| {
            if asked.kind == MessageType::TransactionEnd && !asked.payload.starts_with(b"F") {
                // The toolstack's transaction comes first.
                xenstored.script = None;
                xenstored.set(SHUTDOWN, "");
            }
            false
        });
    });
    order(&rig, "poweroff");
    let mut next = pin!(control.next());
    for _ in 0..20 {
        assert!(rig.poll_once(next.as_mut()).is_pending());
        rig.settle();
    }
    order(&rig, "reboot");
    assert_eq!(rig.run(next), Ok(ShutdownRequest::Reboot));
}

#[test]
fn a_wait_that_is_given_up_loses_no_command() {
    // After each number of polls.
    for polls in 1..12 {
        let rig = Rig::new();
        let mut control = start(&rig);
        order(&rig, "suspend");
        {
            let mut next = pin!(control.next());
            for _ in 0..polls {
                if let Poll::Ready(request) = rig.poll_once(next.as_mut()) {
                    assert_eq!(request, Ok(ShutdownRequest::Suspend));
                    return;
                }
                rig.settle();
            }
        }
        assert_eq!(rig.run(control.next()), Ok(ShutdownRequest::Suspend));
    }
    panic!("the command did not come");
}

#[test]
fn a_resumed_domain_says_again_what_it_takes() {
    let rig = Rig::new();
    let mut control = start(&rig);
    rig.resume();
    order(&rig, "");
    order(&rig, "poweroff");
    assert_eq!(rig.run(control.next()), Ok(ShutdownRequest::PowerOff));
    let feature = rig.xenstored(|xenstored| xenstored.get("control/feature-suspend"));
    assert_eq!(feature.as_deref(), Some("1"));
}
