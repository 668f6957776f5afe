//! Flows between pairs of machines, and a clock that jumps to the next event.

use std::time::Duration;

use bench_common::report::Error;
use mirage_core::Instant;
use mirage_net::tcp::CongestionAlgorithm;
use serde::{Deserialize, Serialize};

use crate::link::{Bottleneck, Wire};
use crate::machine::{Machine, Role};
use crate::mirage::{Connection, Mirage};
use crate::smoltcp_machine::{CongestionControl, Smoltcp};

/// Turns at one instant of one flow, of which there are a handful: two machines that answer each other without end would take
/// for ever.
const MOST_TURNS: u32 = 100_000;

/// A stack with a congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    /// Ours, with CUBIC, its default.
    Mirage,
    /// Ours, with NewReno.
    MirageReno,
    /// Ours, with CUBIC, and routers that mark before they drop.
    MirageEcn,
    SmoltcpCubic,
    SmoltcpReno,
    /// Without congestion control, smoltcp's default.
    SmoltcpNone,
}

impl System {
    /// Those of which each is measured over a link that loses.
    pub(crate) const LOSSY: [Self; 5] = [
        Self::Mirage,
        Self::MirageReno,
        Self::SmoltcpCubic,
        Self::SmoltcpReno,
        Self::SmoltcpNone,
    ];
    /// Those of which many flows are measured.
    pub(crate) const MANY: [Self; 6] = [
        Self::Mirage,
        Self::MirageEcn,
        Self::MirageReno,
        Self::SmoltcpCubic,
        Self::SmoltcpReno,
        Self::SmoltcpNone,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mirage => "ours, CUBIC",
            Self::MirageReno => "ours, NewReno",
            Self::MirageEcn => "ours, CUBIC, marks",
            Self::SmoltcpCubic => "smoltcp, CUBIC",
            Self::SmoltcpReno => "smoltcp, Reno",
            Self::SmoltcpNone => "smoltcp, no control",
        }
    }

    fn machine(
        self,
        role: Role,
        buffer: usize,
        seed: u64,
        now: Instant,
    ) -> Result<Box<dyn Machine>, Error> {
        let smoltcp = |congestion| -> Result<Box<dyn Machine>, Error> {
            Ok(Box::new(Smoltcp::new(role, buffer, congestion, seed, now)?))
        };
        let (congestion, notification) = match self {
            Self::Mirage => (CongestionAlgorithm::Cubic, false),
            Self::MirageEcn => (CongestionAlgorithm::Cubic, true),
            Self::MirageReno => (CongestionAlgorithm::NewReno, false),
            Self::SmoltcpCubic => return smoltcp(CongestionControl::Cubic),
            Self::SmoltcpReno => return smoltcp(CongestionControl::Reno),
            Self::SmoltcpNone => return smoltcp(CongestionControl::None),
        };
        let connection = Connection {
            buffer,
            congestion,
            notification,
        };
        Ok(Box::new(Mirage::new(role, connection, seed, now)?))
    }
}

/// What a run is like.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Octets of each socket's two buffers.
    pub(crate) buffer: usize,
    /// Seconds from a machine to the other and back, without queue.
    pub(crate) round_trip: Duration,
    /// The part of frames that each direction loses.
    pub(crate) loss: f64,
    /// Of each direction; all flows share it.
    pub(crate) bottleneck: Bottleneck,
    /// Of the first wire of the first flow; each further wire has the next one.
    pub(crate) seed: u64,
    pub(crate) flows: Vec<FlowCase>,
    pub(crate) end: End,
}

/// What is particular to a flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowCase {
    pub(crate) start: Duration,
    /// Its round-trip time, as a multiple of the case's.
    pub(crate) stretch: f64,
}

impl FlowCase {
    /// Begins at once.
    pub(crate) const PLAIN: Self = FlowCase {
        start: Duration::ZERO,
        stretch: 1.0,
    };
}

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// When each flow has got so many octets.
    Octets(u64),
    /// At a time. What arrives before another one, the first, does not count.
    Time(Duration, Duration),
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// Octets a second of each flow that the applications have read.
    pub(crate) goodputs: Vec<f64>,
    /// The part of the frames with data that the bottleneck dropped.
    pub(crate) dropped: f64,
    /// The part that it marked.
    pub(crate) marked: f64,
}

impl Outcome {
    /// Of all flows.
    pub(crate) fn goodput(&self) -> f64 {
        self.goodputs.iter().sum()
    }

    /// Jain's index: 1 when all get the same, one over their number when one gets all.
    pub(crate) fn fairness(&self) -> f64 {
        let squares: f64 = self.goodputs.iter().map(|goodput| goodput * goodput).sum();
        if squares == 0.0 {
            return 0.0;
        }
        let sum = self.goodput();
        sum * sum / (squares * self.goodputs.len() as f64)
    }
}

struct Flow {
    receiver: Box<dyn Machine>,
    sender: Box<dyn Machine>,
    /// To the receiver.
    forth: Wire,
    /// To the sender.
    back: Wire,
    /// Its next event.
    next: Instant,
    turns: u32,
    /// What had been received when counting began.
    before: u64,
}

impl Flow {
    fn turn(&mut self, now: Instant, forth: &mut Bottleneck, back: &mut Bottleneck) {
        let Flow {
            receiver,
            sender,
            forth: to_receiver,
            back: to_sender,
            ..
        } = self;
        receiver.turn(now, to_receiver, &mut |frame| {
            to_sender.send(now, back, frame)
        });
        sender.turn(now, to_sender, &mut |frame| {
            to_receiver.send(now, forth, frame)
        });
        let next = [
            self.forth.next(),
            self.back.next(),
            self.receiver.next(now),
            self.sender.next(now),
        ];
        let next = next.into_iter().flatten().min();
        self.next = next.unwrap_or(Instant::FAR_FUTURE);
    }
}

/// Runs a case; the same case gives the same outcome.
///
/// # Errors
///
/// A machine that can't be made; bytes that are others than those sent; a connection that ended; nothing that happens any more.
pub(crate) fn run(system: System, case: &Case) -> Result<Outcome, Error> {
    let mut flows = Vec::new();
    for (flow_case, seed) in case.flows.iter().zip((case.seed..).step_by(2)) {
        let start = Instant::ZERO + flow_case.start;
        let delay = case.round_trip.mul_f64(flow_case.stretch / 2.0);
        flows.push(Flow {
            receiver: system.machine(Role::Receiver, case.buffer, 0, start)?,
            sender: system.machine(Role::Sender, case.buffer, 0, start)?,
            // In the order of smoltcp's own simulation: there, the receiver's wire has the lower seed.
            back: Wire::new(delay, case.loss, seed),
            forth: Wire::new(delay, case.loss, seed + 1),
            next: start,
            turns: 0,
            before: 0,
        });
    }
    let mut forth = case.bottleneck.clone();
    let mut back = case.bottleneck.clone();
    let mut now = Instant::ZERO;
    let mut counted_from = Instant::ZERO;
    let mut at_start = (0, 0, 0);
    let mut warm = !matches!(case.end, End::Time(..));
    loop {
        for flow in &mut flows {
            if flow.next <= now {
                flow.turn(now, &mut forth, &mut back);
            }
        }
        let next = flows.iter().map(|flow| flow.next).min();
        let next = next.ok_or("no flows")?.max(now);
        match case.end {
            End::Octets(octets) => {
                if flows.iter().all(|flow| flow.receiver.received() >= octets) {
                    break;
                }
            }
            End::Time(first, last) => {
                if !warm && next >= Instant::ZERO + first {
                    warm = true;
                    counted_from = Instant::ZERO + first;
                    at_start = (forth.offered, forth.dropped, forth.marked);
                    for flow in &mut flows {
                        flow.before = flow.receiver.received();
                    }
                }
                if next >= Instant::ZERO + last {
                    now = Instant::ZERO + last;
                    break;
                }
            }
        }
        if next == Instant::FAR_FUTURE {
            return Err(format!("{}: nothing happens any more", system.name()).into());
        }
        for flow in flows.iter_mut().filter(|flow| flow.next <= next) {
            flow.turns = if next == now { flow.turns + 1 } else { 0 };
            if flow.turns > MOST_TURNS {
                return Err(format!("{}: no rest at {now}", system.name()).into());
            }
        }
        now = next;
    }
    let complaint = |machine: &dyn Machine| match machine.complaint() {
        Some(complaint) => Err(format!("{}: {complaint}", system.name())),
        None => Ok(()),
    };
    let seconds = (now - counted_from).as_secs_f64();
    let mut goodputs = Vec::new();
    for flow in &flows {
        complaint(&*flow.receiver)?;
        complaint(&*flow.sender)?;
        goodputs.push((flow.receiver.received() - flow.before) as f64 / seconds);
    }
    let offered = (forth.offered - at_start.0).max(1) as f64;
    Ok(Outcome {
        goodputs,
        dropped: (forth.dropped - at_start.1) as f64 / offered,
        marked: (forth.marked - at_start.2) as f64 / offered,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(loss: f64, seed: u64) -> Case {
        Case {
            buffer: 32_768,
            round_trip: Duration::from_millis(100),
            loss,
            bottleneck: Bottleneck::NONE,
            seed,
            flows: vec![FlowCase::PLAIN],
            end: End::Octets(1 << 20),
        }
    }

    /// The figure that smoltcp's repository has for 32 KiB and a loss of 1 %: its simulation and this one are the same.
    #[test]
    fn smoltcp_without_control_has_the_goodput_that_it_publishes() {
        let mut case = case(0.01, 0);
        case.end = End::Octets(10 << 20);
        let goodput = run(System::SmoltcpNone, &case).unwrap().goodput();
        assert!((215_000.0..225_000.0).contains(&goodput), "{goodput}");
    }

    #[test]
    fn a_run_is_the_same_each_time_and_another_with_another_seed() {
        for system in System::LOSSY {
            let goodput = |seed| run(system, &case(0.05, seed)).unwrap();
            assert_eq!(goodput(1), goodput(1), "{}", system.name());
            assert_ne!(goodput(1), goodput(3), "{}", system.name());
        }
    }

    #[test]
    fn without_loss_no_more_than_a_window_arrives_in_a_round_trip() {
        for system in System::LOSSY {
            let goodput = run(system, &case(0.0, 0)).unwrap().goodput();
            assert!((200_000.0..=327_680.0).contains(&goodput), "{goodput}");
        }
    }

    #[test]
    fn no_more_leaves_the_bottleneck_than_its_rate() {
        for system in System::MANY {
            let mut case = case(0.0, 0);
            case.bottleneck = Bottleneck::new(Some(125_000), 20_000, None);
            case.flows = vec![FlowCase::PLAIN; 3];
            case.end = End::Time(Duration::from_secs(2), Duration::from_secs(12));
            let outcome = run(system, &case).unwrap();
            assert!(outcome.goodput() <= 125_000.0, "{outcome:?}");
            assert!(outcome.goodput() >= 10_000.0, "{outcome:?}");
            assert!(outcome.dropped > 0.0, "{outcome:?}");
            assert!((1.0 / 3.0..=1.0).contains(&outcome.fairness()));
        }
    }

    #[test]
    fn jains_index_is_one_over_the_number_when_one_gets_all() {
        let mut outcome = Outcome {
            goodputs: vec![5.0, 5.0, 5.0, 5.0],
            dropped: 0.0,
            marked: 0.0,
        };
        assert_eq!(outcome.fairness(), 1.0);
        outcome.goodputs = vec![5.0, 0.0, 0.0, 0.0];
        assert_eq!(outcome.fairness(), 0.25);
        outcome.goodputs = vec![0.0; 4];
        assert_eq!(outcome.fairness(), 0.0);
    }
}
