use super::*;
use crate::testing::{Call, TestHypervisor};
use std::boxed::Box;
use std::cell::RefCell;
use std::format;
use std::vec::Vec;

type Log = &'static RefCell<Vec<(&'static str, &'static str)>>;

struct Part {
    name: &'static str,
    stage: Stage,
    log: Log,
    outcome: Cell<Result<(), ResumeError>>,
}

impl Resume for Part {
    fn stage(&self) -> Stage {
        self.stage
    }

    fn prepare(&self) {
        self.log.borrow_mut().push(("prepare", self.name));
    }

    fn cancelled(&self) {
        self.log.borrow_mut().push(("cancelled", self.name));
    }

    fn resumed(&self) -> Result<(), ResumeError> {
        self.log.borrow_mut().push(("resumed", self.name));
        self.outcome.get()
    }
}

/// Added in another order than that of their stages.
fn suspender() -> (
    &'static TestHypervisor,
    &'static Suspender<TestHypervisor>,
    Log,
    [&'static Part; 4],
) {
    let hypervisor = TestHypervisor::leak();
    let suspender = Suspender::leak(hypervisor);
    let log: Log = Box::leak(Box::default());
    let parts = [
        ("netfront", Stage::Frontends),
        ("clock", Stage::Clock),
        ("blkfront", Stage::Frontends),
        ("store", Stage::Store),
    ]
    .map(|(name, stage)| {
        let part: &'static Part = Box::leak(Box::new(Part {
            name,
            stage,
            log,
            outcome: Cell::new(Ok(())),
        }));
        suspender.add(part).unwrap();
        part
    });
    (hypervisor, suspender, log, parts)
}

const ORDER: [&str; 4] = ["clock", "store", "netfront", "blkfront"];

fn all(what: &'static str) -> impl DoubleEndedIterator<Item = (&'static str, &'static str)> {
    ORDER.into_iter().map(move |name| (what, name))
}

#[test]
fn parts_resume_in_the_order_of_their_stages_and_prepare_the_other_way_round() {
    let (hypervisor, suspender, log, _) = suspender();
    assert_eq!(suspender.suspend(), Ok(Suspended::Resumed));
    let expected: Vec<_> = all("prepare").rev().chain(all("resumed")).collect();
    assert_eq!(log.take(), expected);
    assert_eq!(hypervisor.take_calls(), [Call::Suspend, Call::Restore]);
    assert_eq!(suspender.counters().resumed, 1);
}

#[test]
fn the_pages_are_back_before_any_part_is_told() {
    let (hypervisor, suspender, log, _) = suspender();
    let mut suspension = suspender.begin();
    let mut steps = Vec::new();
    loop {
        let step = suspension.step().unwrap();
        let calls = hypervisor.take_calls();
        match step {
            Step::Prepared(_) => assert_eq!(calls, []),
            Step::Suspended => assert_eq!((calls, log.take().len()), (std::vec![Call::Suspend], 4)),
            Step::Restored => assert_eq!((calls, log.take().len()), (std::vec![Call::Restore], 0)),
            _ => assert_eq!(calls, []),
        }
        steps.push(step);
        if let Step::Over(_) = step {
            break;
        }
    }
    use Stage::{Clock, Frontends, Store};
    let expected = [
        Step::Prepared(Frontends),
        Step::Prepared(Frontends),
        Step::Prepared(Store),
        Step::Prepared(Clock),
        Step::Suspended,
        Step::Restored,
        Step::Resumed(Clock),
        Step::Resumed(Store),
        Step::Resumed(Frontends),
        Step::Resumed(Frontends),
        Step::Over(Suspended::Resumed),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn nothing_is_set_up_again_after_a_cancelled_suspend() {
    let (hypervisor, suspender, log, _) = suspender();
    hypervisor.outcome.set(Ok(Suspended::Cancelled));
    let channels = EventChannels::leak(hypervisor);
    let table = GrantTable::leak(hypervisor, 10).unwrap();
    suspender.add(channels).unwrap();
    suspender.add(table).unwrap();
    let port = channels.offer(crate::DomainId::DOM0).unwrap();
    hypervisor.take_calls();
    assert_eq!(suspender.suspend(), Ok(Suspended::Cancelled));
    let expected: Vec<_> = all("prepare").rev().chain(all("cancelled")).collect();
    assert_eq!(log.take(), expected);
    assert_eq!(hypervisor.take_calls(), [Call::Suspend]);
    assert!(port.is_current());
    hypervisor.outcome.set(Ok(Suspended::Resumed));
    assert_eq!(suspender.suspend(), Ok(Suspended::Resumed));
    assert!(!port.is_current());
}

#[test]
fn a_refused_suspend_leaves_everything_as_it_was() {
    let (hypervisor, suspender, log, _) = suspender();
    hypervisor.refusal.set(Some(XenError::Invalid));
    let refused = suspender.suspend().unwrap_err();
    assert_eq!(refused, SuspendError::Refused(XenError::Invalid));
    assert_eq!(
        format!("{refused}"),
        "Xen refused to suspend the domain: EINVAL"
    );
    let expected: Vec<_> = all("prepare").rev().chain(all("cancelled")).collect();
    assert_eq!(log.take(), expected);
    assert_eq!(hypervisor.take_calls(), [Call::Suspend]);
}

#[test]
fn without_its_pages_a_domain_does_not_go_on() {
    let (hypervisor, suspender, log, _) = suspender();
    let mut suspension = suspender.begin();
    while suspension.step().unwrap() != Step::Suspended {}
    log.take();
    hypervisor.refusal.set(Some(XenError::OutOfMemory));
    let failed = suspension.step().unwrap_err();
    assert_eq!(failed, SuspendError::Restore(XenError::OutOfMemory));
    assert_eq!(log.take(), []);
}

#[test]
fn a_part_that_fails_does_not_keep_the_others_from_their_turn() {
    let (_, suspender, log, parts) = suspender();
    parts[3].outcome.set(Err(ResumeError::Other("no port")));
    parts[0].outcome.set(Err(XenError::Busy.into()));
    let failed = suspender.suspend().unwrap_err();
    let expected = SuspendError::Part {
        stage: Stage::Store,
        error: ResumeError::Other("no port"),
    };
    assert_eq!(failed, expected);
    assert_eq!(
        format!("{failed}"),
        "the resumed domain's stage Store failed: no port"
    );
    assert_eq!(log.take().len(), 8);
    assert_eq!(suspender.counters().failed_parts, 2);
}

#[test]
fn as_many_parts_as_can_be_and_no_more() {
    let (_, suspender, log, parts) = suspender();
    for _ in 4..MAXIMUM_PARTS {
        suspender.add(parts[1]).unwrap();
    }
    assert_eq!(suspender.add(parts[1]), Err(TooManyParts));
    suspender.suspend().unwrap();
    assert_eq!(log.take().len(), 2 * MAXIMUM_PARTS);
}
