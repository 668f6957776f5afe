//! The checks of one zone, over its records in canonical order.

use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::ops::Range;

use crate::name::Name;
use crate::record::{RdataField, RecordClass, RecordType, rdata_fields, rdata_names};
use crate::zone_set::{SortKey, canonical_rdata, sort_key};

use super::diagnostics::{Diagnostic, Diagnostics, Problem};
use super::records::{Place, Records, Stored};

/// A zone whose apex is known: its records of class IN that lie in it, ordered by owner, type and place in the file.
pub(super) struct Zone<'a> {
    records: &'a Records,
    sorted: Vec<Stored<'a>>,
    nodes: Vec<Node>,
    soa: Stored<'a>,
    /// Whether nothing of the file was left out for a syntax error.
    complete: bool,
}

/// An owner and what the checks ask of it.
struct Node {
    records: Range<usize>,
    has_ns: bool,
    has_cname: bool,
    has_dname: bool,
    has_address: bool,
    /// The topmost delegation point at or above it.
    cut: Option<usize>,
}

/// The octets of a message that are left for records: RFC 1035 §4.2.2's length field, less header and question.
const MESSAGE_ROOM: usize = 65_535 - 12 - (255 + 4);
/// A record's octets before its data when its owner is compressed.
const RECORD_HEADER: usize = 12;

impl<'a> Zone<'a> {
    /// Finds the apex and sorts the records. `None` without a SOA record; `file` is what that is said about.
    pub(super) fn new(
        records: &'a Records,
        complete: bool,
        file: &str,
        found: &mut Diagnostics,
    ) -> Option<Self> {
        let mut sorted = Vec::new();
        for record in records.iter() {
            if record.class == RecordClass::IN {
                sorted.push(record);
            } else {
                found.push(records.diagnostic(record.place, Problem::ClassNotIn(record.class)));
            }
        }
        let mut soas = sorted
            .iter()
            .copied()
            .filter(|record| record.record_type == RecordType::SOA);
        let Some(soa) = soas.next() else {
            if complete {
                found.push(Diagnostic {
                    file: file.to_string(),
                    line: 0,
                    column: 0,
                    owner: None,
                    problem: Problem::NoSoa,
                });
            }
            return None;
        };
        for other in soas {
            if other.owner != soa.owner || !same_data(&other, &soa) {
                found.push(records.diagnostic(other.place, Problem::SecondSoa));
            }
        }
        sorted.retain(|record| {
            let inside = record.owner.is_subdomain_of(soa.owner);
            // A SOA outside has been called a second one.
            if !inside && record.record_type != RecordType::SOA {
                let problem = Problem::OutOfZone(soa.owner.to_string());
                found.push(records.diagnostic(record.place, problem));
            }
            inside
        });
        // Stable: records of one RRset stay in the order of the file.
        sorted.sort_by(|a, b| (a.key, a.record_type).cmp(&(b.key, b.record_type)));
        let mut zone = Self {
            records,
            sorted,
            nodes: Vec::new(),
            soa,
            complete,
        };
        zone.find_nodes();
        Some(zone)
    }

    pub(super) fn apex(&self) -> Name<'a> {
        self.soa.owner
    }

    pub(super) fn soa_place(&self) -> Place {
        self.soa.place
    }

    /// The records in canonical order of their owners; those of an RRset in the order of the file.
    pub(super) fn records_to_serve(&self) -> impl Iterator<Item = &Stored<'a>> {
        self.sorted.iter()
    }

    fn find_nodes(&mut self) {
        let mut start = 0;
        let mut cut: Option<usize> = None;
        for owned in self.sorted.chunk_by(|a, b| a.key == b.key) {
            let has = |wanted| owned.iter().any(|r| r.record_type == wanted);
            let key = owned[0].key;
            // What lies below a cut follows it directly.
            cut = cut.filter(|&cut| {
                let above: &Node = &self.nodes[cut];
                key.starts_with(self.sorted[above.records.start].key)
            });
            // NS at a wildcard delegates nothing (RFC 4592 §4.2 leaves it undefined; as NSD).
            let is_apex = key == self.soa.key;
            let has_ns = has(RecordType::NS) && (is_apex || !owned[0].owner.is_wildcard());
            if cut.is_none() && has_ns && !is_apex {
                cut = Some(self.nodes.len());
            }
            self.nodes.push(Node {
                records: start..start + owned.len(),
                has_ns,
                has_cname: has(RecordType::CNAME),
                has_dname: has(RecordType::DNAME),
                has_address: has(RecordType::A) || has(RecordType::AAAA),
                cut,
            });
            start += owned.len();
        }
    }

    fn key(&self, node: &Node) -> &'a [u8] {
        self.sorted[node.records.start].key
    }

    fn owner(&self, node: &Node) -> Name<'a> {
        self.sorted[node.records.start].owner
    }

    fn find(&self, key: &[u8]) -> Option<&Node> {
        let found = self.nodes.binary_search_by(|node| self.key(node).cmp(key));
        found.ok().map(|index| &self.nodes[index])
    }

    /// All checks. What is missing is reported only if the file was read whole.
    pub(super) fn check(&self, found: &mut Diagnostics) {
        let apex = self.find(self.soa.key);
        if self.complete && apex.is_none_or(|apex| !apex.has_ns) {
            found.push(self.records.diagnostic(self.soa.place, Problem::NoApexNs));
        }
        let mut servers = BTreeSet::new();
        // What lies below a name follows it directly.
        let mut redirection: Option<&Node> = None;
        for node in &self.nodes {
            redirection = redirection.filter(|above| self.key(node).starts_with(self.key(above)));
            if let Some(above) = redirection {
                let problem = Problem::BelowDname(self.owner(above).to_string());
                self.report(&self.sorted[node.records.start], problem, found);
            } else if node.has_dname {
                redirection = Some(node);
            }
            self.check_node(node, found);
            for rrset in self.rrsets(node) {
                self.check_rrset(rrset, found);
                self.check_targets(node, rrset, &mut servers, found);
            }
        }
        for node in &self.nodes {
            self.check_occlusion(node, &servers, found);
        }
    }

    fn rrsets(&self, node: &Node) -> impl Iterator<Item = &[Stored<'a>]> {
        self.sorted[node.records.clone()].chunk_by(|a, b| a.record_type == b.record_type)
    }

    fn report(&self, record: &Stored<'_>, problem: Problem, found: &mut Diagnostics) {
        found.push(self.records.diagnostic(record.place, problem));
    }

    fn check_node(&self, node: &Node, found: &mut Diagnostics) {
        let is_apex = self.key(node) == self.soa.key;
        for rrset in self.rrsets(node) {
            let first = &rrset[0];
            let problem = match first.record_type {
                RecordType::DNSKEY if is_apex => Some(Problem::Signed),
                RecordType::DNAME if !is_apex && node.has_ns => Some(Problem::DnameAtCut),
                RecordType::DNAME if first.owner.is_wildcard() => Some(Problem::WildcardDname),
                RecordType::NS if !is_apex && first.owner.is_wildcard() => {
                    Some(Problem::WildcardNs)
                }
                // What a delegation hides is reported as that.
                RecordType::DS if node.cut.is_none() => Some(Problem::DsWithoutDelegation),
                other if !is_apex && node.cut.is_none() && belongs_at_apex(other) => {
                    Some(Problem::NotAtApex(other))
                }
                _ => None,
            };
            if let Some(problem) = problem {
                self.report(first, problem, found);
            }
        }
        let all = &self.sorted[node.records.clone()];
        let mut dnames = all.iter().filter(|r| r.record_type == RecordType::DNAME);
        if let Some(first) = dnames.next() {
            for other in dnames.filter(|other| !same_data(first, other)) {
                self.report(other, Problem::SeveralDnames, found);
            }
        }
        if !node.has_cname {
            return;
        }
        let mut cnames = all.iter().filter(|r| r.record_type == RecordType::CNAME);
        let Some(first) = cnames.next() else { return };
        for other in cnames {
            if !same_data(first, other) {
                self.report(other, Problem::SeveralCnames, found);
            }
        }
        let mut reported = None;
        for other in all
            .iter()
            .filter(|r| !may_stand_beside_cname(r.record_type))
        {
            if reported != Some(other.record_type) {
                reported = Some(other.record_type);
                let later = if other.place > first.place {
                    other
                } else {
                    first
                };
                self.report(later, Problem::CnameAndOtherData(other.record_type), found);
            }
        }
    }

    fn check_rrset(&self, rrset: &[Stored<'a>], found: &mut Diagnostics) {
        let first = &rrset[0];
        let record_type = first.record_type;
        for record in rrset {
            if is_alias_with_parameters(record) {
                self.report(record, Problem::ParametersOfAlias(record_type), found);
            }
        }
        for other in &rrset[1..] {
            if other.ttl != first.ttl {
                let problem = Problem::DifferentTtl {
                    record_type,
                    ttl: other.ttl,
                    first: first.ttl,
                };
                self.report(other, problem, found);
            }
        }
        let mut by_data: Vec<(Vec<u8>, &Stored<'_>)> = rrset
            .iter()
            .map(|r| (canonical_rdata(record_type, r.data), r))
            .collect();
        by_data.sort_by(|a, b| a.0.cmp(&b.0));
        let mut octets = 0;
        for same in by_data.chunk_by(|a, b| a.0 == b.0) {
            octets += RECORD_HEADER + same[0].0.len();
            for (_, again) in &same[1..] {
                self.report(again, Problem::Duplicate(record_type), found);
            }
        }
        if octets > MESSAGE_ROOM {
            self.report(first, Problem::RrsetTooLarge(record_type), found);
        }
    }

    /// Looks at what NS, MX and SRV records point to, and collects the keys of all name servers.
    fn check_targets(
        &self,
        node: &Node,
        rrset: &[Stored<'a>],
        servers: &mut BTreeSet<SortKey>,
        found: &mut Diagnostics,
    ) {
        let record_type = rrset[0].record_type;
        let is_ns = record_type == RecordType::NS;
        if !is_ns && record_type != RecordType::MX && record_type != RecordType::SRV {
            return;
        }
        // What is below a cut is not this zone's.
        let hidden = node.cut.is_some_and(|cut| {
            let cut = &self.nodes[cut];
            cut.records != node.records || !is_ns
        });
        if hidden {
            return;
        }
        for record in rrset {
            for target in rdata_names(record_type, record.data) {
                if !target.is_subdomain_of(self.apex()) {
                    continue;
                }
                let key = sort_key(target);
                let cut = self.cut_above(&key);
                let at_target = self.find(&key);
                if cut.is_none() && at_target.is_some_and(|node| node.has_cname) {
                    let problem = Problem::TargetIsAlias {
                        record_type,
                        target: target.to_string(),
                    };
                    self.report(record, problem, found);
                } else if is_ns && self.complete && at_target.is_none_or(|n| !n.has_address) {
                    if cut.is_some() {
                        let problem = Problem::MissingGlue(target.to_string());
                        self.report(record, problem, found);
                    } else if at_target.is_some() || !self.wildcard_answers(&key) {
                        let problem = Problem::NoAddress(target.to_string());
                        self.report(record, problem, found);
                    }
                }
                if is_ns {
                    servers.insert(key);
                }
            }
        }
    }

    /// The keys of a name and of the names above it inside the zone, the apex left out; the topmost first.
    fn inside_apex<'k>(&self, key: &'k [u8]) -> impl DoubleEndedIterator<Item = &'k [u8]> {
        let apex = self.soa.key.len();
        (apex..key.len())
            .filter(move |&at| key[at] == 0)
            .map(move |at| &key[..=at])
    }

    /// The topmost delegation point at or above a name of the zone, whether the name exists or not.
    fn cut_above(&self, key: &[u8]) -> Option<&Node> {
        self.inside_apex(key)
            .find_map(|above| self.find(above).filter(|node| node.has_ns))
    }

    /// Whether a name that has no records gets an address or an alias from a wildcard (RFC 4592 §3.3.1).
    fn wildcard_answers(&self, key: &[u8]) -> bool {
        let exists = |key: &[u8]| {
            let next = self.nodes.partition_point(|node| self.key(node) < key);
            let next = self.nodes.get(next);
            next.is_some_and(|node| self.key(node).starts_with(key))
        };
        if exists(key) {
            return false;
        }
        let closest_encloser = self
            .inside_apex(key)
            .rev()
            .find(|above| exists(above))
            .unwrap_or(self.soa.key);
        let wildcard = [closest_encloser, b"*\0"].concat();
        self.find(&wildcard)
            .is_some_and(|node| node.has_address || node.has_cname)
    }

    /// Warns of what a delegation hides: all but NS and DS at it and the addresses of name servers at or below it.
    fn check_occlusion(&self, node: &Node, servers: &BTreeSet<SortKey>, found: &mut Diagnostics) {
        let Some(cut) = node.cut.map(|cut| &self.nodes[cut]) else {
            return;
        };
        let at_cut = cut.records == node.records;
        for rrset in self.rrsets(node) {
            let record_type = rrset[0].record_type;
            let seen = match record_type {
                RecordType::NS
                | RecordType::DS
                | RecordType::NSEC
                | RecordType::RRSIG
                | RecordType::CNAME
                    if at_cut =>
                {
                    true
                }
                RecordType::A | RecordType::AAAA => servers.contains(self.key(node)),
                // Reported as a second one.
                RecordType::SOA => true,
                _ => false,
            };
            if !seen {
                let problem = Problem::Occluded {
                    record_type,
                    cut: self.owner(cut).to_string(),
                };
                self.report(&rrset[0], problem, found);
            }
        }
    }
}

/// RFC 2181 §10.1 with RFC 4034 §3 and §4: what may share a name with a CNAME.
fn may_stand_beside_cname(record_type: RecordType) -> bool {
    matches!(
        record_type,
        RecordType::CNAME
            | RecordType::RRSIG
            | RecordType::NSEC
            | RecordType::KEY
            | RecordType::SIG
    )
}

/// Types that mean something at the apex alone.
fn belongs_at_apex(record_type: RecordType) -> bool {
    matches!(
        record_type,
        RecordType::NSEC3PARAM
            | RecordType::CDS
            | RecordType::CDNSKEY
            | RecordType::CSYNC
            | RecordType::ZONEMD
    )
}

/// Whether it is a service binding of priority 0 with parameters.
fn is_alias_with_parameters(record: &Stored<'_>) -> bool {
    record.data.starts_with(&[0, 0])
        && rdata_fields(record.record_type, record.data)
            .any(|(field, octets)| field == RdataField::ServiceParameters && !octets.is_empty())
}

fn same_data(a: &Stored<'_>, b: &Stored<'_>) -> bool {
    canonical_rdata(a.record_type, a.data) == canonical_rdata(b.record_type, b.data)
}
