//! What an answer costs a domain in hypercalls.
//!
//! Each hypercall is an exit to Xen, and each event runs somebody in another domain. A request wakes the domain once, and its
//! answer wakes the backend once; requests that come together cost together what few do.

use mirage_net::tcp::TcpConfig;

use crate::world::{BURST, ECHO, WHILE, World};

/// Requests, or bursts, one after the other.
const REQUESTS: u64 = 50;
/// Runs, each with other times between what a backend is told and what it does.
const SEEDS: u64 = 4;

/// Hypercalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Calls {
    /// Sleeps.
    pub(crate) polls: u64,
    /// Events sent.
    pub(crate) notifications: u64,
    /// These and any others.
    pub(crate) all: u64,
}

impl Calls {
    pub(crate) const NONE: Self = Self {
        polls: 0,
        notifications: 0,
        all: 0,
    };
    const ONE_OF_EACH: Self = Self {
        polls: 1,
        notifications: 1,
        all: 2,
    };

    fn and(self, other: Self) -> Self {
        Self {
            polls: self.polls + other.polls,
            notifications: self.notifications + other.notifications,
            all: self.all + other.all,
        }
    }

    /// The backend runs beside the domain: it may give the burst in two parts, and tells of what it has transmitted.
    fn are_of_a_burst(self, timers: u64) -> bool {
        self.notifications <= 2
            && self.polls <= 3 + timers
            && self.polls + self.notifications == self.all
    }
}

#[test]
fn an_answer_over_udp_costs_one_sleep_and_one_event() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let socket = world.bind();
        world.check_idle();
        for _ in 0..REQUESTS {
            world.ask(socket, 1);
            assert_eq!(world.calls_during(), Calls::ONE_OF_EACH, "seed {seed}");
            assert_eq!(world.answers(socket), 1);
        }
    }
}

#[test]
fn answers_over_udp_that_are_asked_for_together_cost_what_few_do() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let socket = world.bind();
        for _ in 0..REQUESTS {
            world.ask(socket, BURST);
            let calls = world.calls_during();
            assert!(calls.are_of_a_burst(0), "seed {seed}: {calls:?}");
            assert_eq!(world.answers(socket), BURST);
        }
    }
}

#[test]
fn an_answer_over_tcp_costs_one_sleep_and_one_event() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let stream = world.connect(ECHO);
        let mut all = Calls::NONE;
        for _ in 0..REQUESTS {
            world.write(stream);
            let calls = world.calls_during();
            // The answer takes the acknowledgement of its question with it.
            assert_eq!(calls.notifications, 1, "seed {seed}: {calls:?}");
            all = all.and(calls);
            assert_eq!(world.read(stream), 8);
        }
        // A deadline of a connection that has moved on ends a sleep, too, once in the time that an acknowledgement may wait.
        let delayed = TcpConfig::default().delayed_acknowledgement;
        let timers = 1 + (WHILE * REQUESTS as u32).as_nanos() / delayed.as_nanos();
        let most = REQUESTS + 2 * timers as u64;
        assert!(all.polls <= most, "seed {seed}: {all:?}, {most}");
        assert_eq!(all.polls + all.notifications, all.all);
    }
}

#[test]
fn answers_over_tcp_that_are_asked_for_together_cost_what_few_do() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let streams: Vec<_> = (0..BURST).map(|_| world.connect(ECHO)).collect();
        for _ in 0..REQUESTS {
            for &stream in &streams {
                world.write(stream);
            }
            let calls = world.calls_during();
            // Deadlines of connections that have moved on.
            assert!(calls.are_of_a_burst(3), "seed {seed}: {calls:?}");
            for &stream in &streams {
                assert_eq!(world.read(stream), 8);
            }
        }
    }
}
