//! A pool that is lent to two other domains, which hold on to what they like.

use core::cell::Cell;
use core::fmt;
use std::vec::Vec;

use mirage_core::pool::{LendError, Lent, LentMut};
use mirage_core::{Page, PageMut, Pool};

use super::Input;
use crate::abi::{DomainId, GrantReference};
use crate::grant_table::{GrantLender, GrantTable, PoolGrants};
use crate::hypervisor::Hypervisor;
use crate::simulated::{Resumption, SimulatedHypervisor, SimulatedPeer, Simulation, SuspendScript};

const BLOCKS: usize = 6;
/// The domains that something is lent to, now and then.
const DOMAINS: [DomainId; 3] = [DomainId(0), DomainId(3), DomainId(4)];

type Simulated = SimulatedHypervisor;

/// A simulated domain with a pool and two lenders.
pub struct GrantPlace {
    simulation: Simulation,
    table: &'static GrantTable<Simulated>,
    grants: &'static PoolGrants<Simulated>,
    lenders: [&'static GrantLender<Simulated>; 2],
    peers: [SimulatedPeer; 3],
    pool: &'static Pool,
    /// Of the domain, which has another at each resume.
    domain: Cell<u16>,
}

/// What is lent, by which lender.
#[derive(Default)]
struct LentPages {
    writable: Vec<(LentMut, usize)>,
    readable: Vec<(Lent, usize)>,
    pages: Vec<Page>,
}

impl GrantPlace {
    /// A place, whose memory is never given back.
    ///
    /// # Panics
    ///
    /// When there is no memory.
    #[expect(clippy::new_without_default, reason = "it leaks")]
    pub fn new() -> Self {
        let simulation = Simulation::new(1);
        let pool = Pool::leak(BLOCKS, 4_096).expect("a small pool");
        simulation.add_memory(pool);
        let table = GrantTable::leak(simulation.hypervisor(), 16).expect("a small table");
        let grants = table.leak_pool(pool).expect("there is room");
        let lender = |domain| grants.leak_lender(domain).expect("there are two");
        Self {
            simulation,
            table,
            grants,
            lenders: [lender(DOMAINS[0]), lender(DOMAINS[1])],
            peers: DOMAINS.map(|domain| simulation.peer(domain)),
            pool,
            domain: Cell::new(5),
        }
    }

    /// Lends, ends, moves and resumes as the input says: steps of two bytes.
    ///
    /// # Panics
    ///
    /// When another domain reaches what isn't lent to it, or can't what is; when a page is missing at the end.
    pub fn run(&self, input: &[u8]) {
        let mut input = Input(input);
        let mut lent = LentPages::default();
        for lender in self.lenders {
            let _ = lender.set_domain(DOMAINS[0]);
        }
        while let Some([step, what]) = input.take() {
            self.step(step, what, &mut lent);
            self.check(&lent);
        }
        // Everybody lets go.
        for peer in self.peers {
            for block in 0..BLOCKS {
                peer.release(self.reference(block));
            }
        }
        for (lent, _) in lent.writable {
            drop(lent.reclaim().expect("nobody holds it"));
        }
        for (lent, _) in lent.readable {
            drop(lent.end().expect("nobody holds it"));
        }
        drop(lent.pages);
        assert_eq!(self.pool.free(), BLOCKS, "a page is missing");
        assert_eq!(self.simulation.violation_count(), 0);
    }

    fn step(&self, step: u8, what: u8, lent: &mut LentPages) {
        let by = usize::from(step >> 7);
        let lender = self.lenders[by];
        let number = usize::from(what);
        match step % 8 {
            0 => {
                if let Some(page) = self.pool.alloc() {
                    match page.lend(lender) {
                        Ok(page) => lent.writable.push((page, by)),
                        Err((_, reason)) => assert_eq!(reason, LendError::Gone),
                    }
                }
            }
            1 => {
                if number >= lent.pages.len() {
                    lent.pages.extend(self.pool.alloc().map(PageMut::freeze));
                }
                if let Some(page) = lent.pages.get(number % BLOCKS)
                    && let Ok(page) = page.lend(lender)
                {
                    lent.readable.push((page, by));
                }
            }
            2 if number < lent.writable.len() => {
                let (page, by) = lent.writable.swap_remove(number);
                if let Err(page) = page.reclaim() {
                    lent.writable.push((page, by));
                }
            }
            3 if number < lent.readable.len() => {
                let (page, by) = lent.readable.swap_remove(number);
                if let Err(page) = page.end() {
                    lent.readable.push((page, by));
                }
            }
            4 => {
                // Only what it may: else it would be our violation.
                let peer = self.peers[number % DOMAINS.len()];
                let reference = self.reference(number / DOMAINS.len() % BLOCKS);
                let writable = what & 0x80 != 0;
                if peer.can_reach(reference, writable) {
                    peer.hold(reference, writable).expect("it can");
                }
            }
            5 => {
                let reference = self.reference(number / DOMAINS.len() % BLOCKS);
                self.peers[number % DOMAINS.len()].release(reference);
            }
            6 => {
                let _ = lender.set_domain(DOMAINS[number % DOMAINS.len()]);
            }
            7 if what >= 0xf8 => self.resume(),
            // One that was none.
            7 if what >= 0xf0 => self.table.restored(),
            _ => {}
        }
    }

    fn resume(&self) {
        let domain = self.domain.get() % 1_000 + 5;
        self.domain.set(domain);
        let to = Resumption::elsewhere(DomainId(domain));
        self.simulation
            .set_suspend_script(SuspendScript::Resumed(to));
        let hypervisor = self.simulation.hypervisor();
        hypervisor.suspend().expect("as the script says");
        hypervisor.restore().expect("it was resumed");
        self.table.restored();
    }

    /// Others reach exactly what is lent to them. (Of a detached lender they reach nothing, or, if there was no resume, no more
    /// than before.)
    fn check(&self, lent: &LentPages) {
        for block in 0..BLOCKS {
            let writable = lent.writable.iter();
            let writable = writable
                .filter(|(page, _)| page.block().index() == block)
                .map(|(_, by)| (true, self.lenders[*by]));
            let readable = lent.readable.iter();
            let readable = readable
                .filter(|(page, _)| page.block().index() == block)
                .map(|(_, by)| (false, self.lenders[*by]));
            let lending = writable.chain(readable).next();
            for (peer, domain) in self.peers.iter().zip(DOMAINS) {
                let reads = peer.can_reach(self.reference(block), false);
                let writes = peer.can_reach(self.reference(block), true);
                match lending.filter(|(_, lender)| lender.domain() == domain) {
                    Some((writable, lender)) if lender.is_attached() => {
                        assert_eq!((reads, writes), (true, writable), "block {block}, {domain}");
                    }
                    Some((writable, _)) => assert!(writable || !writes, "block {block}, {domain}"),
                    None => assert!(!reads && !writes, "block {block}, {domain}"),
                }
            }
        }
    }

    fn reference(&self, block: usize) -> GrantReference {
        let block = self.pool.block(block).expect("it is less than BLOCKS");
        self.grants.reference(block).expect("it is the pool's")
    }
}

impl fmt::Debug for GrantPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantPlace").finish_non_exhaustive()
    }
}
