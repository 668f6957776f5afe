use super::*;
use crate::testing::{Call, TestHypervisor};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use proptest::prelude::*;
use std::format;
use std::vec::Vec;

fn channels() -> (
    &'static TestHypervisor,
    &'static EventChannels<TestHypervisor>,
) {
    let hypervisor = TestHypervisor::leak();
    (hypervisor, EventChannels::leak(hypervisor))
}

fn offer(channels: &'static EventChannels<TestHypervisor>) -> EventPort<TestHypervisor> {
    channels.offer(DomainId::DOM0).unwrap()
}

fn all_masked(hypervisor: &TestHypervisor) -> bool {
    let masks = &hypervisor.shared_info().event_mask;
    masks.iter().all(|mask| mask.load(Ordering::Relaxed) == !0)
}

#[test]
fn every_mask_bit_is_set_at_the_start_and_after_a_resume() {
    let (hypervisor, channels) = channels();
    assert!(all_masked(hypervisor));
    let _ = hypervisor.suspend();
    assert!(!all_masked(hypervisor));
    channels.restored();
    assert!(all_masked(hypervisor));
}

#[test]
fn an_event_that_comes_while_nobody_looks_is_remembered() {
    let (hypervisor, channels) = channels();
    let port = offer(channels);
    hypervisor.raise(port.number().0);
    assert_eq!(channels.scan(), 1);
    assert!(!hypervisor.is_pending(port.number().0));
    // The same again, before the task has looked: still one.
    hypervisor.raise(port.number().0);
    assert_eq!(channels.scan(), 1);
    let mut context = Context::from_waker(Waker::noop());
    let mut wait = pin!(port.event().wait());
    assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready(()));
    assert!(!port.event().is_set());
    assert_eq!(channels.counters().fired, 2);
}

#[test]
fn an_event_during_the_look_at_the_device_leads_to_another_look() {
    let (hypervisor, channels) = channels();
    let port = offer(channels);
    hypervisor.raise(port.number().0);
    channels.scan();
    assert!(port.event().take());
    // Here the device is looked at.
    hypervisor.raise(port.number().0);
    assert_eq!(channels.scan(), 1);
    assert!(port.event().take());
}

#[test]
fn only_bits_of_bound_ports_are_cleared_and_the_selector_is_not_looked_at() {
    let (hypervisor, channels) = channels();
    hypervisor.next_port.set(70);
    let port = offer(channels);
    // The selector stays zero throughout: Xen keeps it for unmasked ports.
    for number in [1, 69, 70, 71, 4_095] {
        hypervisor.raise(number);
    }
    assert_eq!(channels.scan(), 1);
    assert!(port.event().take());
    for number in [1, 69, 71, 4_095] {
        assert!(hypervisor.is_pending(number));
    }
    assert!(!hypervisor.is_pending(70));
}

#[test]
fn the_sleep_lists_every_bound_port_and_no_deadline_is_taken_for_none_or_past() {
    let (hypervisor, channels) = channels();
    let mut ports: Vec<_> = [5, 64, 4_095, 65, 6]
        .map(|number| {
            hypervisor.next_port.set(number);
            channels.connect(DomainId(3), PortNumber(9)).unwrap()
        })
        .into();
    drop(ports.remove(1));
    hypervisor.take_calls();
    channels.wait(None);
    channels.wait(Some(0));
    channels.wait(Some(7));
    channels.wait(Some(u64::MAX));
    let mut calls = hypervisor.take_calls();
    for call in &mut calls {
        if let Call::Poll(ports, _) = call {
            ports.sort();
        }
    }
    let all = std::vec![5, 6, 65, 4_095];
    let expected =
        [None, Some(1), Some(7), Some(i64::MAX as u64)].map(|until| Call::Poll(all.clone(), until));
    assert_eq!(calls, expected);
    hypervisor.refusal.set(Some(XenError::Invalid));
    channels.wait(None);
    assert_eq!(channels.counters().wait_errors, 1);
}

#[test]
fn a_port_of_an_old_domain_is_neither_notified_nor_closed() {
    let (hypervisor, channels) = channels();
    let old = offer(channels);
    old.notify().unwrap();
    hypervisor.take_calls();
    channels.restored();
    assert!(old.event().take(), "whoever waits has to look");
    assert!(!old.is_current());
    assert_eq!(old.notify(), Err(EventError::Stale));
    // The new domain's port has the same number.
    hypervisor.next_port.set(old.number().0);
    let new = offer(channels);
    assert_eq!(new.number(), old.number());
    assert_eq!((old.generation(), new.generation()), (0, 1));
    hypervisor.take_calls();
    hypervisor.raise(new.number().0);
    assert_eq!(channels.scan(), 1);
    assert!(new.event().take() && !old.event().take());
    drop(old);
    assert_eq!(hypervisor.take_calls(), []);
    new.notify().unwrap();
    hypervisor.raise(new.number().0);
    assert_eq!(
        channels.scan(),
        1,
        "the old port's end took the new one along"
    );
    drop(new);
    assert_eq!(
        hypervisor.take_calls(),
        [Call::Notify(PortNumber(1)), Call::Close(PortNumber(1))]
    );
    let counters = channels.counters();
    assert_eq!((counters.notified, counters.stale), (2, 1));
}

#[test]
fn an_adopted_port_stays_open_and_keeps_what_came_before() {
    let (hypervisor, channels) = channels();
    hypervisor.raise(2);
    let store = channels.adopt(PortNumber(2)).unwrap();
    assert_eq!(
        channels.adopt(PortNumber(2)).unwrap_err(),
        EventError::AlreadyBound(PortNumber(2))
    );
    assert_eq!(channels.scan(), 1);
    assert!(store.event().take());
    drop(store);
    hypervisor.raise(2);
    assert_eq!(channels.scan(), 0);
    assert_eq!(hypervisor.take_calls(), []);
    drop(channels.adopt(PortNumber(2)).unwrap());
}

#[test]
fn a_number_that_no_port_has_is_an_error_and_no_panic() {
    let (hypervisor, channels) = channels();
    for number in [0, 4_096, u32::MAX] {
        let number = PortNumber(number);
        assert_eq!(
            channels.adopt(number).unwrap_err(),
            EventError::OutOfRange(number)
        );
        hypervisor.next_port.set(number.0);
        hypervisor.take_calls();
        let refused = channels.offer(DomainId::DOM0).unwrap_err();
        assert_eq!(refused, EventError::OutOfRange(number));
        let calls = hypervisor.take_calls();
        assert_eq!(calls, [Call::Offer(DomainId::DOM0), Call::Close(number)]);
    }
    assert_eq!(
        format!("{}", EventError::OutOfRange(PortNumber(0))),
        "Xen named port 0, which can't be"
    );
    // A number twice: the first stays bound.
    hypervisor.next_port.set(9);
    let first = offer(channels);
    hypervisor.next_port.set(9);
    hypervisor.take_calls();
    let twice = channels.offer(DomainId::DOM0).unwrap_err();
    assert_eq!(twice, EventError::AlreadyBound(PortNumber(9)));
    assert_eq!(hypervisor.take_calls(), [Call::Offer(DomainId::DOM0)]);
    hypervisor.raise(9);
    assert_eq!(channels.scan(), 1);
    drop(first);
}

#[test]
fn as_many_ports_as_a_poll_takes_and_no_more() {
    let (hypervisor, channels) = channels();
    let mut ports: Vec<_> = (0..MAXIMUM_PORTS).map(|_| offer(channels)).collect();
    hypervisor.take_calls();
    assert_eq!(
        channels.offer(DomainId::DOM0).unwrap_err(),
        EventError::TooManyPorts
    );
    assert_eq!(hypervisor.take_calls(), [], "Xen isn't asked in vain");
    // Each fires its own token.
    for odd in ports.iter().skip(1).step_by(2) {
        hypervisor.raise(odd.number().0);
    }
    assert_eq!(channels.scan(), MAXIMUM_PORTS / 2);
    for (index, port) in ports.iter().enumerate() {
        assert_eq!(port.event().take(), index % 2 == 1);
    }
    // Slots are free again when their ports fall, in any order; a new port doesn't inherit an event.
    hypervisor.raise(ports[100].number().0);
    channels.scan();
    drop(ports.swap_remove(100));
    drop(ports.swap_remove(3));
    ports.extend([offer(channels), offer(channels)]);
    assert!(ports.iter().all(|port| !port.event().is_set()));
    // Stale ports count until they are dropped.
    channels.restored();
    assert!(channels.offer(DomainId::DOM0).is_err());
    ports.clear();
    drop(offer(channels));
}

#[test]
fn xens_refusal_is_told_as_xens() {
    let (hypervisor, channels) = channels();
    hypervisor.refusal.set(Some(XenError::NoSpace));
    let refused = channels.offer(DomainId::DOM0).unwrap_err();
    assert_eq!(refused, EventError::Xen(XenError::NoSpace));
    let refused = channels.connect(DomainId::DOM0, PortNumber(1)).unwrap_err();
    assert_eq!(
        format!("{refused}"),
        "Xen refused the event channel: ENOSPC"
    );
}

#[derive(Clone, Debug)]
enum Step {
    Bind(u32),
    Drop(usize),
    Raise(u32),
    Take(usize),
    Scan,
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    // Few words, so that their lists grow; and the edges.
    let number = prop_oneof![1u32..20, 60u32..70, 4_090u32..4_100];
    prop_oneof![
        3 => number.clone().prop_map(Step::Bind),
        2 => (0usize..40).prop_map(Step::Drop),
        3 => number.prop_map(|number| Step::Raise(number.min(4_095))),
        2 => (0usize..40).prop_map(Step::Take),
        2 => Just(Step::Scan),
        1 => Just(Step::Resume),
    ]
}

proptest! {
    /// Whatever is bound, dropped and resumed: each bound port's token fires when its bit was set, and no other's.
    #[test]
    fn each_token_hears_of_its_own_port(steps in proptest::collection::vec(step(), 0..120)) {
        let (hypervisor, channels) = channels();
        // Ports with what their tokens should hold.
        let mut ports: Vec<(EventPort<TestHypervisor>, bool)> = Vec::new();
        for step in steps {
            let bound = |ports: &[(EventPort<TestHypervisor>, bool)], number| {
                ports.iter().any(|(port, _)| port.is_current() && port.number().0 == number)
            };
            match step {
                Step::Bind(number) => {
                    let possible = number < 4_096 && !bound(&ports, number);
                    hypervisor.next_port.set(number);
                    let port = channels.offer(DomainId::DOM0);
                    prop_assert_eq!(port.is_ok(), possible);
                    ports.extend(port.ok().map(|port| (port, false)));
                }
                Step::Drop(index) if index < ports.len() => drop(ports.remove(index)),
                Step::Raise(number) => hypervisor.raise(number),
                Step::Take(index) if index < ports.len() => {
                    let (port, expected) = &mut ports[index];
                    prop_assert_eq!(port.event().take(), core::mem::take(expected));
                }
                Step::Scan => {
                    let mut fired = 0;
                    for (port, expected) in &mut ports {
                        if port.is_current() && hypervisor.is_pending(port.number().0) {
                            *expected = true;
                            fired += 1;
                        }
                    }
                    prop_assert_eq!(channels.scan(), fired);
                }
                Step::Resume => {
                    for (port, expected) in &mut ports {
                        *expected |= port.is_current();
                    }
                    hypervisor.suspend().unwrap();
                    channels.restored();
                }
                Step::Drop(_) | Step::Take(_) => {}
            }
            hypervisor.take_calls();
            channels.wait(None);
            let current = ports.iter().filter(|(port, _)| port.is_current());
            let mut expected: Vec<_> = current.map(|(port, _)| port.number().0).collect();
            let mut calls = hypervisor.take_calls();
            let Some(Call::Poll(listed, None)) = calls.first_mut() else {
                panic!("{calls:?}");
            };
            listed.sort();
            expected.sort();
            prop_assert_eq!(&*listed, &expected);
        }
        for (port, expected) in ports {
            prop_assert_eq!(port.event().is_set(), expected);
        }
    }
}
