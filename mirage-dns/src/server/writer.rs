//! Writes an answer: RRsets from the image copied, owners as pointers, names in rdata compressed as the image says.

use byteorder::{BigEndian, ByteOrder};

use super::options::ReplyOptions;
use crate::message::{Edns, HEADER_LENGTH, Header, Section};
use crate::name::Name;
use crate::record::{Rcode, RecordClass, RecordType};
use crate::zone_set::{
    ANCHORS, EncodedRecords, NameReference, RECORD_HEADER_LENGTH, RrsetEntry, ZoneSet,
};

/// Where the question's name begins, as every encoded record's owner pointer says.
const QUESTION_OFFSET: u16 = HEADER_LENGTH as u16;

/// The first offset that a pointer cannot hold (RFC 1035 §4.1.4).
pub(super) const POINTER_LIMIT: usize = 0x4000;

/// A name that stands in the message.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    pub(super) name: Name<'a>,
    /// Where it begins; below [`POINTER_LIMIT`].
    pub(super) offset: u16,
}

/// Where an RRset was written.
#[derive(Clone, Copy)]
pub(super) struct Written {
    start: usize,
    owner_length: usize,
}

impl Written {
    /// Where the rdata of its first record begins.
    pub(super) const fn rdata(self) -> usize {
        self.start + self.owner_length + RECORD_HEADER_LENGTH - 2
    }
}

/// An answer being written. There is always room left for the OPT record.
pub(super) struct Writer<'b> {
    buffer: &'b mut [u8],
    length: usize,
    /// The end of the buffer without what OPT needs.
    limit: usize,
    questions: u16,
    counts: [u16; 3],
    truncated: bool,
    /// The server's payload size, the requester's DO bit, and options.
    edns: Option<(u16, bool, ReplyOptions<'b>)>,
}

impl<'b> Writer<'b> {
    /// `None` when the header and OPT do not fit.
    pub(super) fn new(
        buffer: &'b mut [u8],
        edns: Option<(u16, bool, ReplyOptions<'b>)>,
    ) -> Option<Self> {
        let reserved = edns.map_or(0, |(_, _, options)| Edns::RECORD_LENGTH + options.length());
        let limit = buffer.len().checked_sub(reserved)?;
        if limit < HEADER_LENGTH {
            return None;
        }
        Some(Self {
            buffer,
            length: HEADER_LENGTH,
            limit,
            questions: 0,
            counts: [0; 3],
            truncated: false,
            edns,
        })
    }

    /// Repeats the question.
    pub(super) fn question(&mut self, octets: &[u8]) -> Option<()> {
        self.octets(octets)?;
        self.questions = 1;
        Some(())
    }

    pub(super) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Marks the answer as truncated: something that belongs to it is missing.
    pub(super) fn truncate(&mut self) {
        self.truncated = true;
    }

    /// Writes OPT and the header; the length of the answer.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub(super) fn finish(mut self, header: Header) -> usize {
        if let Some((payload_size, dnssec_ok, options)) = self.edns {
            let edns = Edns {
                payload_size,
                extended_rcode: (header.rcode.0 >> 4) as u8,
                version: 0,
                dnssec_ok,
                options: &[],
            };
            self.limit = self.buffer.len();
            let mut fixed = edns.fixed_octets();
            BigEndian::write_u16(&mut fixed[9..11], options.length() as u16); // at most 172
            // There is room: it was kept free from the start.
            let written = self.octets(&fixed);
            if written
                .and_then(|()| options.write(|octets| self.octets(octets)))
                .is_some()
            {
                self.counts[Section::Additional as usize] += 1;
            }
        }
        let header = Header {
            rcode: Rcode(header.rcode.0 & 0xf),
            question_count: self.questions,
            answer_count: self.counts[0],
            authority_count: self.counts[1],
            additional_count: self.counts[2],
            ..header
        };
        self.buffer[..HEADER_LENGTH].copy_from_slice(&header.to_octets());
        self.length
    }

    /// Writes a whole RRset, or nothing: `None` when it does not fit.
    ///
    /// Its owner is the end of `from` that has `owner_length` octets, or all of `from` where a wildcard is made to be
    /// it. `ttl` replaces the RRset's own.
    pub(super) fn rrset(
        &mut self,
        section: Section,
        zones: &ZoneSet<'_>,
        rrset: &RrsetEntry,
        from: Placed<'_>,
        owner_length: usize,
        ttl: Option<u32>,
    ) -> Option<Written> {
        let surplus = from.name.len().checked_sub(owner_length)?;
        let owner = 0xc000 | self.end_of(from.offset, surplus)?;
        let ttl = ttl.unwrap_or(rrset.ttl.get());
        self.whole(section, rrset.record_count.get(), |writer| {
            let start = writer.length;
            if RecordType(rrset.record_type.get()).has_compressible_names() {
                writer.records_with_names(zones, rrset, from, owner, ttl)?;
            } else {
                writer.records(zones, rrset, owner, ttl)?;
            }
            Some(Written {
                start,
                owner_length: 2,
            })
        })
    }

    /// Writes the CNAME that a DNAME makes for a name into the answer section: to the labels of `prefix` before the DNAME's
    /// target, which stands at some place. Where the name that is led to begins; `None` when it does not fit.
    pub(super) fn made_alias(
        &mut self,
        from: Placed<'_>,
        prefix: &[u8],
        target: (Name<'_>, usize),
        ttl: u32,
    ) -> Option<usize> {
        let (target, target_at) = target;
        let pointer = (0xc000 | target_at as u16).to_be_bytes(); // used below 0x4000 only
        // The root alone is shorter than a pointer to it.
        let end = if target.is_root() || target_at >= POINTER_LIMIT {
            target.as_wire()
        } else {
            &pointer
        };
        let mut header = [0; RECORD_HEADER_LENGTH];
        BigEndian::write_u16(&mut header[0..2], 0xc000 | from.offset);
        BigEndian::write_u16(&mut header[2..4], RecordType::CNAME.0);
        BigEndian::write_u16(&mut header[4..6], RecordClass::IN.0);
        BigEndian::write_u32(&mut header[6..10], ttl);
        BigEndian::write_u16(&mut header[10..12], (prefix.len() + end.len()) as u16); // at most 255
        let written = self.whole(Section::Answer, 1, |writer| {
            let start = writer.length;
            writer.octets(&header)?;
            writer.octets(prefix)?;
            writer.octets(end)?;
            Some(Written {
                start,
                owner_length: 2,
            })
        });
        written.map(Written::rdata)
    }

    /// Whether the name that begins at `offset` is this one, without case. The name there is one that was written.
    pub(super) fn has_name_at(&self, offset: u16, name: Name<'_>) -> bool {
        let mut at = usize::from(offset);
        let mut labels = name.labels();
        loop {
            let Some(&length) = self.buffer.get(at) else {
                return false;
            };
            if length >= 0xc0 {
                // Pointers here are the writer's own, each to an earlier place.
                let Some(pointer) = self.buffer.get(at..at + 2) else {
                    return false;
                };
                at = usize::from(BigEndian::read_u16(pointer) & 0x3fff);
                continue;
            }
            let end = at + 1 + usize::from(length);
            match (labels.next(), self.buffer.get(at + 1..end)) {
                (None, _) => return length == 0,
                (Some(label), Some(there)) if label.eq_ignore_ascii_case(there) => at = end,
                _ => return false,
            }
        }
    }

    /// Writes an RRset of addresses for the name in the rdata of a record that was written before.
    pub(super) fn addresses(
        &mut self,
        zones: &ZoneSet<'_>,
        rrset: &RrsetEntry,
        target: &Target<'_>,
    ) -> Option<Written> {
        self.whole(Section::Additional, rrset.record_count.get(), |writer| {
            let start = writer.length;
            if target.offset < POINTER_LIMIT {
                let owner = 0xc000 | target.offset as u16; // below 0x4000
                writer.records(zones, rrset, owner, rrset.ttl.get())?;
                return Some(Written {
                    start,
                    owner_length: 2,
                });
            }
            for record in EncodedRecords(zones.encoded(rrset)) {
                writer.octets(target.name.as_wire())?;
                writer.octets(&record[2..])?;
            }
            let owner_length = target.name.len();
            Some(Written {
                start,
                owner_length,
            })
        })
    }

    /// The names in the rdata of an RRset that was written, and where each begins: for types with one name at their
    /// end.
    pub(super) fn targets<'z>(
        &self,
        zones: &ZoneSet<'z>,
        rrset: &RrsetEntry,
        written: Written,
    ) -> Targets<'z> {
        Targets {
            records: EncodedRecords(zones.encoded(rrset)),
            references: zones.references_of(rrset).iter(),
            prefix: name_prefix(RecordType(rrset.record_type.get())),
            at: written.start,
            owner_length: written.owner_length,
        }
    }

    /// The name that a CNAME leads to, as it was written.
    pub(super) fn alias_target<'z>(
        &self,
        zones: &ZoneSet<'z>,
        rrset: &RrsetEntry,
        written: Written,
    ) -> Option<Placed<'z>> {
        let mut targets = self.targets(zones, rrset, written);
        let target = targets.next(self)?;
        let offset = u16::try_from(target.offset).ok()?;
        (target.offset < POINTER_LIMIT).then_some(Placed {
            name: target.name,
            offset,
        })
    }

    /// Runs `write` and counts the RRset's records, or takes back what it wrote.
    fn whole(
        &mut self,
        section: Section,
        record_count: u16,
        write: impl FnOnce(&mut Self) -> Option<Written>,
    ) -> Option<Written> {
        let length = self.length;
        // One is left for OPT.
        let room = u16::MAX - 1 - self.counts[section as usize];
        let written = if record_count <= room {
            write(self)
        } else {
            None
        };
        match written {
            Some(_) => self.counts[section as usize] += record_count,
            None => self.length = length,
        }
        written
    }

    /// Records without names that could be compressed: copied at once, and their owner and TTL put right where they
    /// differ.
    fn records(
        &mut self,
        zones: &ZoneSet<'_>,
        rrset: &RrsetEntry,
        owner: u16,
        ttl: u32,
    ) -> Option<()> {
        let encoded = zones.encoded(rrset);
        let start = self.length;
        self.octets(encoded)?;
        if owner == 0xc000 | QUESTION_OFFSET && ttl == rrset.ttl.get() {
            return Some(());
        }
        let mut at = start;
        for record in EncodedRecords(encoded) {
            BigEndian::write_u16(&mut self.buffer[at..at + 2], owner);
            BigEndian::write_u32(&mut self.buffer[at + 6..at + 10], ttl);
            at += record.len();
        }
        Some(())
    }

    fn records_with_names(
        &mut self,
        zones: &ZoneSet<'_>,
        rrset: &RrsetEntry,
        from: Placed<'_>,
        owner: u16,
        ttl: u32,
    ) -> Option<()> {
        let record_type = RecordType(rrset.record_type.get());
        let prefix = name_prefix(record_type);
        let names_each = name_count(record_type);
        let mut names = Names::new(from);
        let mut references = zones.references_of(rrset).iter();
        for record in EncodedRecords(zones.encoded(rrset)) {
            let start = self.length;
            let (fixed, mut rest) = record.split_at_checked(RECORD_HEADER_LENGTH + prefix)?;
            self.octets(fixed)?;
            for reference in references.by_ref().take(names_each) {
                let (name, after) = rest.split_at_checked(usize::from(reference.length))?;
                self.name(&mut names, Name::from_checked(name), reference)?;
                rest = after;
            }
            self.octets(rest)?;
            // Compression only shortens what has at most 65,535 octets.
            let length = (self.length - start - RECORD_HEADER_LENGTH) as u16;
            let header = &mut self.buffer[start..start + RECORD_HEADER_LENGTH];
            BigEndian::write_u16(&mut header[0..2], owner);
            BigEndian::write_u32(&mut header[6..10], ttl);
            BigEndian::write_u16(&mut header[10..12], length);
        }
        Some(())
    }

    /// Writes a name in rdata: what it shares as a pointer, if the same octets stand there.
    fn name<'z>(
        &mut self,
        names: &mut Names<'_, 'z>,
        name: Name<'z>,
        reference: &NameReference,
    ) -> Option<()> {
        let shared = usize::from(reference.shared);
        let pointer = match usize::from(reference.anchor.get()).checked_sub(1) {
            _ if shared == 0 => None,
            None => names.end_of_owner(self, name, shared),
            Some(number) => names.end_of_earlier(number, shared),
        };
        names.push(self.length, name, shared, pointer.is_some());
        match pointer {
            Some(pointer) => {
                self.octets(&name.as_wire()[..name.len() - shared])?;
                self.octets(&(0xc000 | pointer).to_be_bytes())
            }
            None => self.octets(name.as_wire()),
        }
    }

    /// Where the end of the name at `offset` begins that leaves out its first `surplus` octets; `None` where a pointer
    /// cannot lead.
    fn end_of(&self, offset: u16, surplus: usize) -> Option<u16> {
        let mut at = usize::from(offset);
        let mut left = surplus;
        loop {
            let length = *self.buffer.get(at)?;
            if length >= 0xc0 {
                // Pointers here are the writer's own, each to an earlier place.
                at = usize::from(BigEndian::read_u16(self.buffer.get(at..at + 2)?) & 0x3fff);
                continue;
            }
            if left == 0 {
                return u16::try_from(at)
                    .ok()
                    .filter(|at| usize::from(*at) < POINTER_LIMIT);
            }
            let label = 1 + usize::from(length);
            left = left.checked_sub(label)?;
            at += label;
        }
    }

    fn octets(&mut self, octets: &[u8]) -> Option<()> {
        let end = self.length.checked_add(octets.len())?;
        if end > self.limit {
            return None;
        }
        self.buffer[self.length..end].copy_from_slice(octets);
        self.length = end;
        Some(())
    }
}

/// The names of one RRset as far as they are written.
struct Names<'m, 'z> {
    /// A name that ends with the RRset's owner.
    from: Placed<'m>,
    /// Where the names begin that later ones refer to, 0 where no pointer can lead, and their lengths.
    earlier: heapless::Vec<(u16, u8), ANCHORS>,
    /// The first name that was written in full, and how many of its last octets are the end of the owner.
    whole: Option<(Placed<'z>, usize)>,
}

impl<'m, 'z> Names<'m, 'z> {
    fn new(from: Placed<'m>) -> Self {
        Self {
            from,
            earlier: heapless::Vec::new(),
            whole: None,
        }
    }

    fn push(&mut self, offset: usize, name: Name<'z>, shared: usize, has_pointer: bool) {
        // All of the name must lie where a pointer can lead.
        let reachable = offset + name.len() < POINTER_LIMIT;
        let offset = if reachable { offset as u16 } else { 0 };
        // When it is full: the image refers to no later ones.
        let _ = self.earlier.push((offset, name.len() as u8)); // at most 255
        if self.whole.is_none() && reachable && !has_pointer {
            self.whole = Some((Placed { name, offset }, shared));
        }
    }

    /// Where the last `shared` octets of `name`, which are the end of the owner but for case, stand octet by octet.
    fn end_of_owner(&self, writer: &Writer<'_>, name: Name<'_>, shared: usize) -> Option<u16> {
        let end = name.as_wire().get(name.len() - shared..)?;
        if self.from.name.as_wire().ends_with(end) {
            return writer.end_of(self.from.offset, self.from.name.len() - shared);
        }
        // The question has another case than the zone: then the first name that kept the zone's case.
        let (whole, ending) = self.whole?;
        let same = shared <= ending && whole.name.as_wire().ends_with(end);
        same.then(|| whole.offset + (whole.name.len() - shared) as u16)
    }

    /// Where the last `shared` octets of an earlier name stand, which are no pointer there.
    fn end_of_earlier(&self, number: usize, shared: usize) -> Option<u16> {
        let &(offset, length) = self.earlier.get(number)?;
        let surplus = u16::from(length).checked_sub(shared as u16)?; // a name's octets, at most 255
        (offset != 0).then(|| offset + surplus)
    }
}

/// The names in the rdata of an RRset that was written; see [`Writer::targets`].
#[derive(Clone)]
pub(super) struct Targets<'z> {
    records: EncodedRecords<'z>,
    references: core::slice::Iter<'z, NameReference>,
    /// Octets of rdata before the name.
    prefix: usize,
    at: usize,
    owner_length: usize,
}

impl<'z> Targets<'z> {
    pub(super) fn next(&mut self, writer: &Writer<'_>) -> Option<Target<'z>> {
        let record = self.records.next()?;
        let reference = self.references.next()?;
        let start = RECORD_HEADER_LENGTH + self.prefix;
        let name = record.get(start..start + usize::from(reference.length))?;
        let rdata = self.at + self.owner_length + 10;
        let length = writer.buffer.get(rdata - 2..rdata)?;
        self.at = rdata + usize::from(BigEndian::read_u16(length));
        Some(Target {
            name: Name::from_checked(name),
            offset: rdata + self.prefix,
            reference,
        })
    }
}

/// One name in the rdata of a record that was written.
pub(super) struct Target<'z> {
    pub(super) name: Name<'z>,
    pub(super) offset: usize,
    pub(super) reference: &'z NameReference,
}

/// Octets of rdata before the first name, for types whose fields up to there have fixed lengths.
fn name_prefix(record_type: RecordType) -> usize {
    let fields = record_type.rdata_fields().unwrap_or(&[]);
    let before = fields.iter().take_while(|field| !field.is_name());
    before.filter_map(|field| field.fixed_length()).sum()
}

/// How many names, one after the other, the rdata has.
fn name_count(record_type: RecordType) -> usize {
    let fields = record_type.rdata_fields().unwrap_or(&[]);
    fields.iter().filter(|field| field.is_name()).count()
}
