//! Finds what belongs in an answer: RFC 1034 §4.3.2 over the nodes of a zone set.

use heapless::Vec;

use super::Transport;
use super::rate_limit::{Class, Kind};
use super::request::Question;
use super::writer::{POINTER_LIMIT, Placed, Target, Writer, Written};
use crate::message::{HEADER_LENGTH, Section};
use crate::name::{Name, NameBuf};
use crate::record::{Rcode, RecordClass, RecordType};
use crate::zone_set::{
    EncodedRecords, LookupStatistics, NodeEntry, NodeIndex, RECORD_HEADER_LENGTH, RrsetEntry,
    ZoneEntry, ZoneSet,
};

/// The most aliases that one answer follows, be they CNAMEs of a zone or made from a DNAME.
pub const MAX_ALIASES: usize = 16;

/// How it went.
#[derive(Clone, Copy)]
pub(super) struct Outcome {
    pub(super) rcode: Rcode,
    pub(super) authoritative: bool,
}

/// One question on its way through the zones.
pub(super) struct Resolver<'a, 'w, 'b> {
    zones: &'w ZoneSet<'a>,
    question: Question<'a>,
    transport: Transport,
    writer: &'w mut Writer<'b>,
    lookups: LookupStatistics,
    /// What the first name of the chain is answered with.
    kind: Option<Kind>,
    /// The DNAMEs that stand in the answer: each is there once.
    redirections: Vec<Redirection, MAX_ALIASES>,
}

/// A DNAME that stands in the answer.
#[derive(Clone, Copy)]
struct Redirection {
    /// Where the image has it.
    octets: u32,
    /// Where its target begins in the answer.
    target: usize,
}

/// Where one name leads.
enum Step<'a> {
    /// Into none of the zones.
    Outside,
    /// To an end.
    End(Outcome),
    /// To another name, which stands in the answer.
    Alias(Placed<'a>),
    /// To a name that was made for the answer, where it stands at this place.
    Redirected(u16),
}

/// The name that is looked for.
#[derive(Clone, Copy)]
enum Current<'a> {
    /// One of the question or of a zone.
    Known(Placed<'a>),
    /// The last that was made from a DNAME; where it stands.
    Made(u16),
}

impl Step<'_> {
    const fn authoritative(rcode: Rcode) -> Self {
        Self::End(Outcome {
            rcode,
            authoritative: true,
        })
    }
}

impl<'a, 'w, 'b> Resolver<'a, 'w, 'b> {
    pub(super) fn new(
        zones: &'w ZoneSet<'a>,
        question: &Question<'a>,
        transport: Transport,
        writer: &'w mut Writer<'b>,
    ) -> Self {
        Self {
            zones,
            question: *question,
            transport,
            writer,
            lookups: LookupStatistics::default(),
            kind: None,
            redirections: Vec::new(),
        }
    }

    pub(super) fn lookups(&self) -> LookupStatistics {
        self.lookups
    }

    /// What the answer is about, by the first name of its chain; `None` where no zone was asked.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Says what the answer is about, unless that was said for an earlier name.
    fn note(&mut self, class: Class, node: &NodeEntry) {
        // Where its name lies is what no other node has in common with it.
        let subject = node.name.get();
        self.kind.get_or_insert(Kind { class, subject });
    }

    /// Writes the answer's sections.
    pub(super) fn run(&mut self) -> Outcome {
        let refused = Outcome {
            rcode: Rcode::REFUSED,
            authoritative: false,
        };
        let in_class = matches!(self.question.class, RecordClass::IN | RecordClass::ANY);
        let transfer = matches!(
            self.question.record_type,
            RecordType::AXFR | RecordType::IXFR
        );
        if !in_class || transfer {
            return refused;
        }
        // RFC 1035 §6.2: a response to class ANY cannot be authoritative.
        let may_be_authoritative = self.question.class == RecordClass::IN;
        let mut current = Current::Known(Placed {
            name: self.question.name,
            offset: HEADER_LENGTH as u16,
        });
        // Made names are long, and seldom: none is moved, or as much as zeroed, for a question without.
        let mut made = None;
        // Where the names stand that were left behind.
        let mut followed: Vec<u16, MAX_ALIASES> = Vec::new();
        let chain_ends = Outcome {
            rcode: Rcode::NOERROR,
            authoritative: true,
        };
        let outcome = loop {
            let first = followed.is_empty();
            let name = match (current, &made) {
                (Current::Known(name), _) => name,
                (Current::Made(offset), Some(name)) => Placed {
                    name: NameBuf::as_name(name),
                    offset,
                },
                (Current::Made(_), None) => break chain_ends,
            };
            let mut next = None;
            let step = self.step(name, &mut next);
            let outcome = match (step, &next) {
                (Step::Outside, _) if first => return refused,
                (Step::Outside, _) => chain_ends,
                // AA is about the name that was asked (RFC 1035 §4.1.1): the alias that stands first.
                (Step::End(outcome), _) => Outcome {
                    authoritative: outcome.authoritative || !first,
                    ..outcome
                },
                (Step::Alias(target), _) => {
                    if self.leave(&mut followed, name, target.name) {
                        current = Current::Known(target);
                        continue;
                    }
                    chain_ends
                }
                (Step::Redirected(offset), Some(target)) => {
                    if self.leave(&mut followed, name, target.as_name()) {
                        current = Current::Made(offset);
                        made = next;
                        continue;
                    }
                    chain_ends
                }
                (Step::Redirected(_), None) => chain_ends,
            };
            break outcome;
        };
        Outcome {
            authoritative: outcome.authoritative && may_be_authoritative,
            ..outcome
        }
    }

    /// Leaves a name for its target; not for one that was left before, nor after too many.
    fn leave(
        &self,
        followed: &mut Vec<u16, MAX_ALIASES>,
        name: Placed<'_>,
        target: Name<'_>,
    ) -> bool {
        let known = followed
            .iter()
            .any(|&offset| self.writer.has_name_at(offset, target));
        !known && name.name != target && followed.push(name.offset).is_ok()
    }

    /// Answers for one name of the chain. Where that makes the next one, it is put into `made`.
    fn step(&mut self, current: Placed<'_>, made: &mut Option<NameBuf>) -> Step<'a> {
        let wanted = self.question.record_type;
        let Some(found) = self.zones.closest_encloser(current.name, &mut self.lookups) else {
            return Step::Outside;
        };
        let (mut index, mut exact) = (found.node, found.exact);
        let mut node = self.zones.node(index);
        let mut zone = self.zones.zone(node.zone);
        // RFC 4035 §3.1.4.1: DS at an apex belongs to the zone above.
        if wanted == RecordType::DS
            && exact
            && node.parent.get() == NodeIndex::NONE
            && let Some(above) = NodeIndex::from_entry(zone.parent_node)
        {
            index = above;
            node = self.zones.node(above);
            zone = self.zones.zone(node.zone);
            exact = self.zones.name(above).len() == current.name.len();
            // The zone above does not delegate this name, but it exists.
            let is_there = self.zones.rrset(zone.soa).is_some();
            let leads_away = NodeIndex::from_entry(node.cut).is_some() || node.is_redirection();
            if is_there && !exact && !leads_away {
                return self.negative(current, zone, Rcode::NOERROR);
            }
        }
        // A secondary zone that was not transferred yet, or has expired: nothing is known, not even that a name is missing.
        if self.zones.rrset(zone.soa).is_none() {
            return Step::End(Outcome {
                rcode: Rcode::SERVFAIL,
                authoritative: false,
            });
        }
        if let Some(cut) = NodeIndex::from_entry(node.cut) {
            let at_parent_side = exact && cut == index && wanted == RecordType::DS;
            if !at_parent_side {
                return self.refer(current, cut);
            }
        }
        if exact {
            return self.data(current, node, zone);
        }
        if node.is_redirection() {
            return self.redirect(current, index, made);
        }
        // RFC 4592 §3.3.1: the source of synthesis is below the closest encloser or nowhere.
        match NodeIndex::from_entry(node.wildcard) {
            Some(wildcard) => self.data(current, self.zones.node(wildcard), zone),
            None => self.negative(current, zone, Rcode::NXDOMAIN),
        }
    }

    /// Answers with the records of a node: the name's own, or those of the wildcard that covers it.
    fn data(&mut self, current: Placed<'_>, node: &'a NodeEntry, zone: &'a ZoneEntry) -> Step<'a> {
        let wanted = self.question.record_type;
        if wanted == RecordType::ANY {
            return self.any(current, node, zone);
        }
        if let Some(rrset) = self.zones.rrset_of(node, wanted) {
            self.note(Class::Data, node);
            if !self.has_redirection(rrset)
                && let Some(written) = self.answer(current, rrset)
            {
                self.add_addresses(rrset, written);
            }
            return Step::authoritative(Rcode::NOERROR);
        }
        if node.is_alias()
            && let Some(rrset) = self.zones.rrset_of(node, RecordType::CNAME)
        {
            self.note(Class::Data, node);
            let target = self
                .answer(current, rrset)
                .and_then(|written| self.writer.alias_target(self.zones, rrset, written));
            return match target {
                Some(target) => Step::Alias(target),
                None => Step::authoritative(Rcode::NOERROR),
            };
        }
        self.negative(current, zone, Rcode::NOERROR)
    }

    /// RFC 6672 §3.2, step 3c: the DNAME above a name, and the CNAME that it makes for the name, whose target is put into
    /// `made`.
    // Apart from its caller, which has less of it to do.
    #[inline(never)]
    fn redirect(
        &mut self,
        current: Placed<'_>,
        at: NodeIndex,
        made: &mut Option<NameBuf>,
    ) -> Step<'a> {
        self.note(Class::Data, self.zones.node(at));
        let found = self.zones.rrset_of(self.zones.node(at), RecordType::DNAME);
        let owner_length = self.zones.name(at).len();
        let record = found.and_then(|rrset| EncodedRecords(self.zones.encoded(rrset)).next());
        let (Some(rrset), Some(record)) = (found, record) else {
            return Step::authoritative(Rcode::NOERROR);
        };
        let target = Name::from_checked(&record[RECORD_HEADER_LENGTH..]);
        let octets = rrset.octets.get();
        let mut known = self
            .redirections
            .iter()
            .find(|known| known.octets == octets)
            .copied();
        if known.is_none() {
            let (section, zones) = (Section::Answer, self.zones);
            let written = self
                .writer
                .rrset(section, zones, rrset, current, owner_length, None);
            known = written.map(|written| Redirection {
                octets,
                target: written.rdata(),
            });
            // It is as long as a chain may be.
            let _ = known.map(|known| self.redirections.push(known));
        }
        let Some(known) = known else {
            self.writer.truncate();
            return Step::authoritative(Rcode::NOERROR);
        };
        let Some(next) = substitute(current.name, owner_length, target) else {
            // RFC 6672 §2.2: the new name is too long.
            return Step::authoritative(Rcode::YXDOMAIN);
        };
        // RFC 6672 §3.1: the TTL is the DNAME's.
        let ttl = rrset.ttl.get();
        let prefix = &current.name.as_wire()[..current.name.len() - owner_length];
        let target = (target, known.target);
        let Some(place) = self.writer.made_alias(current, prefix, target, ttl) else {
            self.writer.truncate();
            return Step::authoritative(Rcode::NOERROR);
        };
        match u16::try_from(place) {
            Ok(offset)
                if place < POINTER_LIMIT && self.question.record_type != RecordType::CNAME =>
            {
                *made = Some(next);
                Step::Redirected(offset)
            }
            _ => Step::authoritative(Rcode::NOERROR),
        }
    }

    /// Whether this is a DNAME that stands in the answer already.
    fn has_redirection(&self, rrset: &RrsetEntry) -> bool {
        let octets = rrset.octets.get();
        self.redirections.iter().any(|known| known.octets == octets)
    }

    /// RFC 8482 §4.1: over UDP one RRset will do.
    fn any(&mut self, current: Placed<'_>, node: &'a NodeEntry, zone: &'a ZoneEntry) -> Step<'a> {
        let all = self.zones.rrsets_of(node);
        if all.is_empty() {
            return self.negative(current, zone, Rcode::NOERROR);
        }
        self.note(Class::Data, node);
        let count = match self.transport {
            Transport::Udp => 1,
            Transport::Tcp => all.len(),
        };
        for rrset in &all[..count] {
            if !self.has_redirection(rrset) && self.answer(current, rrset).is_none() {
                break;
            }
        }
        Step::authoritative(Rcode::NOERROR)
    }

    /// Puts an RRset into the answer section, or sets TC.
    fn answer(&mut self, current: Placed<'_>, rrset: &RrsetEntry) -> Option<Written> {
        let whole = current.name.len();
        let (section, zones) = (Section::Answer, self.zones);
        let written = self
            .writer
            .rrset(section, zones, rrset, current, whole, None);
        if written.is_none() {
            self.writer.truncate();
        }
        written
    }

    /// RFC 2308 §2.1, §2.2: no such name, or no such type, with the SOA to say for how long.
    fn negative(&mut self, current: Placed<'_>, zone: &ZoneEntry, rcode: Rcode) -> Step<'a> {
        let apex = self.zones.name(NodeIndex::apex_of(zone));
        self.note(Class::Denial, self.zones.node(NodeIndex::apex_of(zone)));
        let written = self.zones.rrset(zone.soa).and_then(|soa| {
            let ttl = Some(zone.negative_ttl.get());
            let (section, zones) = (Section::Authority, self.zones);
            self.writer
                .rrset(section, zones, soa, current, apex.len(), ttl)
        });
        if written.is_none() {
            self.writer.truncate();
        }
        Step::authoritative(rcode)
    }

    /// Names the servers of the zone that was cut off, with the addresses without which they cannot be reached.
    fn refer(&mut self, current: Placed<'_>, cut: NodeIndex) -> Step<'a> {
        let end = Step::End(Outcome {
            rcode: Rcode::NOERROR,
            authoritative: false,
        });
        let node = self.zones.node(cut);
        self.note(Class::Referral, node);
        let owner_length = self.zones.name(cut).len();
        let Some(rrset) = self.zones.rrset_of(node, RecordType::NS) else {
            return end;
        };
        let (section, zones) = (Section::Authority, self.zones);
        let Some(written) = self
            .writer
            .rrset(section, zones, rrset, current, owner_length, None)
        else {
            self.writer.truncate();
            return end;
        };
        let mut targets = self.writer.targets(self.zones, rrset, written);
        while let Some(target) = targets.next(self.writer) {
            if self.is_below(&target, cut) && !self.add_addresses_of(&target) {
                // RFC 9471 §3.1: glue of in-domain servers that does not fit is not left out silently.
                self.writer.truncate();
                return end;
            }
        }
        let mut targets = self.writer.targets(self.zones, rrset, written);
        while let Some(target) = targets.next(self.writer) {
            if !self.is_below(&target, cut) {
                self.add_addresses_of(&target);
            }
        }
        end
    }

    /// Whether the target's addresses lie at or below the cut.
    fn is_below(&self, target: &Target<'_>, cut: NodeIndex) -> bool {
        NodeIndex::from_entry(target.reference.target)
            .is_some_and(|node| NodeIndex::from_entry(self.zones.node(node).cut) == Some(cut))
    }

    /// Adds the addresses of the names in an RRset of the answer, as far as there is room.
    fn add_addresses(&mut self, rrset: &RrsetEntry, written: Written) {
        let record_type = RecordType(rrset.record_type.get());
        if matches!(
            record_type,
            RecordType::NS | RecordType::MX | RecordType::SRV
        ) {
            let mut targets = self.writer.targets(self.zones, rrset, written);
            while let Some(target) = targets.next(self.writer) {
                self.add_addresses_of(&target);
            }
        }
    }

    /// Adds the addresses of one name; whether all of them fitted.
    fn add_addresses_of(&mut self, target: &Target<'_>) -> bool {
        let Some(node) = NodeIndex::from_entry(target.reference.target) else {
            return true;
        };
        let node = self.zones.node(node);
        let mut fitted = true;
        for address in [RecordType::A, RecordType::AAAA] {
            if let Some(rrset) = self.zones.rrset_of(node, address) {
                fitted &= self.writer.addresses(self.zones, rrset, target).is_some();
            }
        }
        fitted
    }
}

/// The name with its last `owner_length` octets replaced by `target`; `None` when it is too long.
fn substitute(name: Name<'_>, owner_length: usize, target: Name<'_>) -> Option<NameBuf> {
    let mut made = NameBuf::new();
    let mut left = name.len();
    for label in name.labels() {
        if left <= owner_length {
            break;
        }
        made.push_label(label).ok()?;
        left -= 1 + label.len();
    }
    made.push_name(target).ok()?;
    Some(made)
}
