//! The prerequisites of an update (RFC 2136 §3.2).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::pending::View;
use super::request::Test;
use super::{Refusal, UpdateError, UpdateLimits, UpdateRequest};
use crate::name::NameBuf;
use crate::record::RecordType;
use crate::zone_set::{canonical_rdata, sort_key};

/// The RRsets that must be there exactly so: by name and type the name, and the data of each record.
type Wanted = BTreeMap<(Vec<u8>, RecordType), (NameBuf, BTreeSet<Vec<u8>>)>;

/// Tests all of them in the order of §3.2.5, whole RRsets last.
pub(super) fn check_prerequisites(
    request: &UpdateRequest<'_>,
    view: &View<'_>,
    limits: &UpdateLimits,
) -> Result<(), UpdateError> {
    let mut wanted = Wanted::new();
    let mut octets = 0;
    for prerequisite in request.prerequisites() {
        let prerequisite = prerequisite?;
        let owner = prerequisite.owner.as_name();
        let record_type = prerequisite.record_type;
        match prerequisite.test {
            Test::NameInUse if !view.has(owner, None) => return Err(UpdateError::NameNotInUse),
            Test::NameNotInUse if view.has(owner, None) => return Err(UpdateError::NameInUse),
            Test::Rrset if !view.has(owner, Some(record_type)) => return Err(UpdateError::NoRrset),
            Test::NoRrset if view.has(owner, Some(record_type)) => return Err(UpdateError::Rrset),
            Test::Record(rdata) => {
                octets += 2 * owner.len() + rdata.len();
                if octets > limits.octets {
                    return Err(UpdateError::Refused(Refusal::TooManyOctets));
                }
                let canonical = canonical_rdata(record_type, &rdata);
                let key = (sort_key(owner), record_type);
                let (_, records) = wanted
                    .entry(key)
                    .or_insert_with(|| (prerequisite.owner, BTreeSet::new()));
                records.insert(canonical);
            }
            _ => {}
        }
    }
    for ((_, record_type), (owner, records)) in &wanted {
        let rrset = view.rrset(owner.as_name(), *record_type);
        let rrset = rrset.ok_or(UpdateError::NoRrset)?;
        let is_equal = rrset.len() == records.len()
            && records.iter().all(|canonical| rrset.contains(canonical));
        if !is_equal {
            return Err(UpdateError::NoRrset);
        }
    }
    Ok(())
}
