//! The last changes of a zone, for secondaries that ask what they missed (RFC 1995; feature `alloc`).
//!
//! | type | what it is |
//! |------|------------|
//! | [`Journal`] | the differences that lead to a zone's current version, the newest of them, within a bound |

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use crate::difference::Difference;

/// The differences that lead to the current version of a zone, as many as fit a bound.
///
/// Each begins where the one before it ended. Full, the oldest goes; a difference that is larger than the bound, or that
/// does not begin where the last ended, empties the journal: whoever asks for what came before is given the whole zone.
#[derive(Clone, Debug)]
pub struct Journal {
    differences: VecDeque<Arc<Difference>>,
    octets: usize,
    bound: usize,
}

impl Journal {
    /// An empty journal that keeps differences of `bound` octets in all, as they would be sent uncompressed.
    pub fn new(bound: usize) -> Self {
        Self {
            differences: VecDeque::new(),
            octets: 0,
            bound,
        }
    }

    /// Adds what led to the version that is current from now on.
    pub fn push(&mut self, difference: Arc<Difference>) {
        let last = self.differences.back();
        if last.is_some_and(|last| last.new_serial() != difference.old_serial()) {
            self.clear();
        }
        self.octets += difference.wire_length();
        self.differences.push_back(difference);
        while self.octets > self.bound
            && let Some(oldest) = self.differences.pop_front()
        {
            self.octets -= oldest.wire_length();
        }
    }

    /// Forgets everything: the zone was replaced by one that no difference leads to.
    pub fn clear(&mut self) {
        self.differences.clear();
        self.octets = 0;
    }

    /// The differences from the version with this serial to the current one, the oldest first; `None` where the journal does
    /// not reach back so far.
    pub fn since(&self, serial: u32) -> Option<impl Iterator<Item = &Arc<Difference>>> {
        // Should a serial have come round, the later difference is the right one.
        let first = self
            .differences
            .iter()
            .rposition(|difference| difference.old_serial() == serial)?;
        Some(self.differences.range(first..))
    }

    /// How many differences it has.
    pub fn len(&self) -> usize {
        self.differences.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }

    /// Octets that its differences take, as [`Journal::new`] counts them.
    pub fn octets(&self) -> usize {
        self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difference::RecordBuf;
    use crate::name::Name;
    use crate::record::RecordType;
    use std::vec::Vec;

    fn soa(serial: u32) -> RecordBuf {
        let mut rdata = std::vec![0, 0];
        for number in [serial, 2, 3, 4, 5] {
            rdata.extend(number.to_be_bytes());
        }
        RecordBuf::new(Name::ROOT, RecordType::SOA, 60, &rdata)
    }

    fn step(from: u32, to: u32) -> Arc<Difference> {
        Arc::new(Difference {
            old_soa: soa(from),
            removed: Vec::new(),
            new_soa: soa(to),
            added: Vec::new(),
        })
    }

    fn since(journal: &Journal, serial: u32) -> Option<Vec<u32>> {
        let found = journal.since(serial)?;
        Some(found.map(|difference| difference.new_serial()).collect())
    }

    #[test]
    fn differences_are_kept_from_each_version_to_the_current_one() {
        let mut journal = Journal::new(10_000);
        for serial in 1..4 {
            journal.push(step(serial, serial + 1));
        }
        assert_eq!(since(&journal, 1), Some(std::vec![2, 3, 4]));
        assert_eq!(since(&journal, 3), Some(std::vec![4]));
        assert_eq!(since(&journal, 4), None);
        assert_eq!(since(&journal, 0), None);
    }

    #[test]
    fn oldest_goes_when_the_bound_is_passed() {
        let each = step(1, 2).wire_length();
        let mut journal = Journal::new(2 * each);
        for serial in 1..5 {
            journal.push(step(serial, serial + 1));
            assert!(journal.octets() <= 2 * each);
        }
        assert_eq!((journal.len(), since(&journal, 2)), (2, None));
        assert_eq!(since(&journal, 3), Some(std::vec![4, 5]));
    }

    #[test]
    fn difference_that_passes_the_bound_alone_leaves_nothing() {
        let mut journal = Journal::new(step(1, 2).wire_length() - 1);
        journal.push(step(1, 2));
        assert!(journal.is_empty() && journal.octets() == 0);
    }

    #[test]
    fn gap_makes_everything_before_it_useless() {
        let mut journal = Journal::new(10_000);
        journal.push(step(1, 2));
        journal.push(step(7, 8));
        assert_eq!(since(&journal, 1), None);
        assert_eq!(since(&journal, 7), Some(std::vec![8]));
    }
}
