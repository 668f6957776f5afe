//! What became of the updates.

use super::UpdateError;
use crate::difference::Difference;

/// How many updates were done, and why the others were not. The numbers only grow, and wrap at 2⁶⁴.
///
/// Of each update exactly one number grows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Counters {
    /// Done, and the zone changed.
    pub changed: u64,
    /// Done, and nothing changed.
    pub unchanged: u64,
    /// FORMERR.
    pub malformed: u64,
    /// NOTZONE: a name outside the zone.
    pub not_in_zone: u64,
    /// NOTAUTH or SERVFAIL: the zone is not there.
    pub no_zone: u64,
    /// NXDOMAIN, YXDOMAIN, NXRRSET or YXRRSET: a prerequisite is not met.
    pub prerequisite: u64,
    /// REFUSED: a bound, or what could not be served.
    pub refused: u64,
}

impl Counters {
    /// Nothing yet.
    pub const ZERO: Self = Self {
        changed: 0,
        unchanged: 0,
        malformed: 0,
        not_in_zone: 0,
        no_zone: 0,
        prerequisite: 0,
        refused: 0,
    };

    pub(super) fn count(&mut self, result: &Result<Option<Difference>, UpdateError>) {
        let counter = match result {
            Ok(Some(_)) => &mut self.changed,
            Ok(None) => &mut self.unchanged,
            Err(UpdateError::Malformed) => &mut self.malformed,
            Err(UpdateError::NotInZone) => &mut self.not_in_zone,
            Err(UpdateError::NotAuthoritative | UpdateError::NoData) => &mut self.no_zone,
            Err(
                UpdateError::NameInUse
                | UpdateError::NameNotInUse
                | UpdateError::Rrset
                | UpdateError::NoRrset,
            ) => &mut self.prerequisite,
            Err(UpdateError::Refused(_)) => &mut self.refused,
        };
        *counter = counter.wrapping_add(1);
    }
}
