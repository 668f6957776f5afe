//! Lists that are longer than a message.

use super::*;
use crate::abi::XenError;
use crate::abi::xs_wire::MessageType;
use alloc::vec::Vec;
use std::format;
use std::string::{String, ToString};

fn with_names(count: usize) -> (Rig, Vec<String>) {
    let rig = Rig::new();
    let mut names: Vec<_> = (0..count).map(|index| format!("key-{index:04}")).collect();
    names.sort();
    rig.xenstored(|xenstored| {
        for name in &names {
            xenstored.set(&format!("data/{name}"), "");
        }
    });
    (rig, names)
}

fn list(rig: &Rig, buffer: &mut [u8]) -> Result<Vec<String>, StoreError> {
    let names = rig.run(rig.store.directory("data", buffer))?;
    Ok(names.map(str::to_string).collect())
}

#[test]
fn a_long_list_is_fetched_in_parts() {
    // 9 bytes each.
    let (rig, names) = with_names(1_000);
    let mut buffer = [0; 9_100];
    assert_eq!(list(&rig, &mut buffer), Ok(names));
    let parts = rig.xenstored(|xenstored| {
        let parts = xenstored.asked.iter();
        let parts = parts.filter(|asked| asked.kind == MessageType::DirectoryPart);
        let payloads = parts.map(|asked| asked.payload.clone());
        payloads.collect::<Vec<_>>()
    });
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[0], b"data\x000\0");
}

#[test]
fn a_list_that_fits_one_message_is_asked_for_once() {
    let (rig, names) = with_names(400);
    assert_eq!(list(&rig, &mut [0; 3_600]), Ok(names));
    assert_eq!(rig.store.counters().requests, 1);
    let too_long = StoreError::ReplyTooLong { length: 3_600 };
    assert_eq!(list(&rig, &mut [0; 3_599]), Err(too_long));
}

#[test]
fn a_list_that_changes_meanwhile_is_begun_again() {
    let (rig, mut names) = with_names(1_000);
    rig.xenstored(|xenstored| {
        xenstored.script = Some(|xenstored, asked| {
            if asked.kind == MessageType::DirectoryPart && !asked.payload.ends_with(b"\x000\0") {
                // Once, between the first part and the second.
                xenstored.script = None;
                xenstored.set("data/another", "");
            }
            false
        });
    });
    names.insert(0, "another".to_string());
    assert_eq!(list(&rig, &mut [0; 9_100]), Ok(names));
}

#[test]
fn a_list_that_always_changes_is_given_up() {
    let (rig, _) = with_names(1_000);
    rig.xenstored(|xenstored| {
        xenstored.script = Some(|xenstored, asked| {
            if asked.kind == MessageType::DirectoryPart {
                let name = format!("data/new-{}", asked.id);
                xenstored.set(&name, "");
            }
            false
        });
    });
    let again = StoreError::Refused(XenError::TryAgain);
    assert_eq!(list(&rig, &mut [0; 20_000]), Err(again));
}

#[test]
fn a_list_longer_than_the_buffer_says_so() {
    let (rig, _) = with_names(1_000);
    for room in [8_999, 4_500, 4_096, 100] {
        let error = list(&rig, &mut [0; 9_000][..room]).unwrap_err();
        assert!(
            matches!(error, StoreError::ReplyTooLong { length } if length > room),
            "{error}"
        );
    }
}

#[test]
fn a_part_that_leads_nowhere_is_malformed() {
    let (rig, _) = with_names(1_000);
    rig.xenstored(|xenstored| {
        xenstored.script = Some(|xenstored, asked| {
            let part = asked.kind == MessageType::DirectoryPart;
            if part {
                // No name, and no end: for ever.
                xenstored.send(asked.kind as u32, asked.id, 0, b"5\0");
            }
            part
        });
    });
    assert_eq!(list(&rig, &mut [0; 9_100]), Err(StoreError::Malformed));
}
