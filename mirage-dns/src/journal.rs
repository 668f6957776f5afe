//! The last changes of a zone, for secondaries that ask what they missed (RFC 1995; feature `alloc`).
//!
//! | type | what it is |
//! |------|------------|
//! | [`Journal`] | the differences that lead to a zone's current version, the newest of them, within a bound |

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::difference::Difference;
use crate::serial::is_newer;

/// The differences that lead to the current version of a zone, as many as fit a bound.
///
/// Each begins where the one before it ended, and leads to a newer serial. Full, the oldest goes; a difference that is larger than
/// the bound, that does not begin where the last ended, or that leads to no newer serial (RFC 1982), empties the journal: whoever asks
/// for what came before is given the whole zone.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Each with its octets.
    differences: VecDeque<(Arc<Difference>, usize)>,
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
        let octets = difference.wire_length();
        self.push_measured(difference, octets, &mut Vec::new());
    }

    /// [`Self::push`] of a difference with so many octets. What goes is put into `gone`: to measure and to free a large difference is
    /// work in proportion to it.
    pub(crate) fn push_measured(
        &mut self,
        difference: Arc<Difference>,
        octets: usize,
        gone: &mut Vec<Arc<Difference>>,
    ) {
        let (old, new) = (difference.old_serial(), difference.new_serial());
        let last = self.differences.back();
        let leads_on = last.is_none_or(|(last, _)| last.new_serial() == old);
        let is_step = is_newer(new, old) && octets <= self.bound;
        if !leads_on || !is_step {
            self.clear_into(gone);
        }
        if !is_step {
            gone.push(difference);
            return;
        }
        self.octets += octets;
        self.differences.push_back((difference, octets));
        while self.octets > self.bound
            && let Some((oldest, octets)) = self.differences.pop_front()
        {
            self.octets -= octets;
            gone.push(oldest);
        }
    }

    /// Forgets everything: the zone was replaced by one that no difference leads to.
    pub fn clear(&mut self) {
        self.clear_into(&mut Vec::new());
    }

    /// [`Self::clear`], with what goes put into `gone`.
    pub(crate) fn clear_into(&mut self, gone: &mut Vec<Arc<Difference>>) {
        gone.extend(self.differences.drain(..).map(|(difference, _)| difference));
        self.octets = 0;
    }

    /// The differences from the version with this serial to the current one, the oldest first; `None` where the journal does
    /// not reach back so far.
    pub fn since(&self, serial: u32) -> Option<impl Iterator<Item = &Arc<Difference>>> {
        // Should a serial have come round, the later difference is the right one.
        let first = self
            .differences
            .iter()
            .rposition(|(difference, _)| difference.old_serial() == serial)?;
        let range = self.differences.range(first..);
        Some(range.map(|(difference, _)| difference))
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
    fn difference_that_leads_back_is_no_step_for_anybody() {
        let mut journal = Journal::new(10_000);
        for (from, to) in [(9, 10), (10, 5), (5, 5), (5, 11)] {
            journal.push(step(from, to));
        }
        // RFC 1995 §4: each version of an answer is newer than the one before.
        assert_eq!((since(&journal, 9), since(&journal, 10)), (None, None));
        assert_eq!(since(&journal, 5), Some(std::vec![11]));
        // Serials go round.
        journal.push(step(11, u32::MAX / 2));
        journal.push(step(u32::MAX / 2, u32::MAX));
        journal.push(step(u32::MAX, 3));
        assert_eq!(since(&journal, u32::MAX), Some(std::vec![3]));
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
