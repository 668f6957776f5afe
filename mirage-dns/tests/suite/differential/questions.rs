//! Random questions: names in every relation to the zones, types, flags, EDNS and oddities.

use std::fmt;

use mirage_dns::name::{Name, NameBuf};
use mirage_dns::record::{RecordClass, RecordType};

use super::random::Random;
use super::zones::Owner;

/// A question, as sent, and what it is.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) octets: Vec<u8>,
    pub(crate) name: NameBuf,
    pub(crate) record_type: RecordType,
    pub(crate) class: RecordClass,
    pub(crate) opcode: u8,
    pub(crate) question_count: u16,
    /// The payload size that EDNS states, if there is EDNS.
    pub(crate) edns_size: Option<u16>,
    pub(crate) edns_version: u8,
    pub(crate) oddity: Oddity,
}

/// What is wrong with a question on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oddity {
    None,
    /// Octets behind the message.
    TrailingOctets,
    /// A record in the answer or authority section.
    ExtraRecord,
    /// Two OPT records.
    TwoOpts,
    /// An OPT whose owner is not the root.
    OptWithOwner,
    /// An EDNS option that is longer than the OPT record.
    BrokenOption,
    /// EDNS options that nobody knows.
    UnknownOption,
    /// It ends in the middle of the question, or of the OPT record.
    CutShort,
    /// The name is compressed, or has a label of a type that isn't assigned.
    BadName,
    /// TC is set.
    Truncated,
    /// It has a response code.
    ResponseCode,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.class, self.record_type)?;
        let flags = u16::from_be_bytes([self.octets[2], self.octets[3]]);
        write!(f, ", header {flags:04x}")?;
        if let Some(size) = self.edns_size {
            write!(f, ", EDNS {} with {size}", self.edns_version)?;
        }
        if self.oddity != Oddity::None {
            write!(f, ", {:?}", self.oddity)?;
        }
        write!(f, ", octets {}", self.octets.escape_ascii())
    }
}

/// Makes questions about the names of the zones.
pub(crate) struct Questions<'a> {
    pub(crate) owners: &'a [Owner],
    pub(crate) targets: &'a [NameBuf],
}

const TYPES: [u16; 30] = [
    1, 2, 5, 6, 12, 13, 14, 15, 16, 28, 33, 1, 28, 16, 15, 2, 6, 5, 43, 48, 46, 47, 50, 51, 39,
    257, 65_280, 731, 65_535, 99,
];

impl Questions<'_> {
    /// A plain question for each RRset that there is.
    pub(crate) fn existing(&self, random: &mut Random) -> Vec<Question> {
        let mut all = Vec::new();
        for owner in self.owners {
            for &record_type in &owner.types {
                let mut question = Question::new(owner.name.clone(), record_type);
                question.edns_size = Some(4_096);
                question.write(0, random);
                all.push(question);
            }
        }
        all
    }

    /// A well-formed question of the ordinary kind, more often than not with an oddity in its flags.
    pub(crate) fn ordinary(&self, random: &mut Random) -> Question {
        let (name, record_type) = self.name_and_type(random);
        let mut question = Question::new(name, record_type);
        if random.one_in(2) {
            let sizes = [0, 1, 512, 513, 700, 1_000, 1_232, 1_400, 4_096, 65_535];
            question.edns_size = Some(*random.pick(&sizes));
        }
        // RD, CD, AD, Z, and those that only answers have: AA and RA.
        let flags = match random.below(4) {
            0 => 0,
            1 => 0x0100,
            2 => (random.next() as u16) & 0x01f0,
            _ => (random.next() as u16) & 0x05f0,
        };
        question.write(flags, random);
        question
    }

    /// A question with something unusual: another class, opcode or EDNS version, no question or two, or a message
    /// that is malformed.
    pub(crate) fn odd(&self, random: &mut Random) -> Question {
        let mut question = self.ordinary(random);
        let flags = u16::from_be_bytes([question.octets[2], question.octets[3]]);
        match random.below(13) {
            0 => question.class = RecordClass(*random.pick(&[0, 2, 3, 4, 254, 255, 256, 65_535])),
            1 => question.opcode = random.below(16) as u8,
            2 => {
                question.edns_size = Some(1_232);
                question.edns_version = *random.pick(&[1, 2, 127, 255]);
            }
            3 => question.question_count = *random.pick(&[0, 2, 3, 65_535]),
            4 => question.oddity = Oddity::TrailingOctets,
            5 => question.oddity = Oddity::ExtraRecord,
            6 => question.oddity = Oddity::TwoOpts,
            7 => question.oddity = Oddity::OptWithOwner,
            8 => question.oddity = Oddity::BrokenOption,
            9 => question.oddity = Oddity::UnknownOption,
            10 => question.oddity = *random.pick(&[Oddity::CutShort, Oddity::BadName]),
            11 => question.oddity = Oddity::ResponseCode,
            _ => question.oddity = Oddity::Truncated,
        }
        question.write(flags, random);
        question
    }

    fn name_and_type(&self, random: &mut Random) -> (NameBuf, RecordType) {
        let owner = random.pick(self.owners);
        // As often as not a type that is there.
        let record_type = if random.one_in(2) {
            *random.pick(&owner.types)
        } else if random.one_in(12) {
            // Meta types, except for transfers and ANY.
            RecordType(*random.pick(&[0, 41, 128, 249, 250, 253, 254]))
        } else {
            RecordType(*random.pick(&TYPES))
        };
        let name = owner.name.as_name();
        let name = match random.below(12) {
            0..=3 => name.to_owned(),
            4 => random.pick(self.targets).clone(),
            5 => below(name, random),
            6 => below(below(name, random).as_name(), random),
            7 => name.parent().unwrap_or(name).to_owned(),
            8 => below(name.parent().unwrap_or(name), random),
            // In the place of a wildcard's asterisk.
            9 | 10 => instance(name, random),
            _ => {
                let outside = [
                    "",
                    "test",
                    "example",
                    "elsewhere",
                    "xrich.example",
                    "www.example.org",
                ];
                NameBuf::from_text(random.pick::<&str>(&outside)).unwrap_or_default()
            }
        };
        (name, record_type)
    }
}

fn label(random: &mut Random) -> Vec<u8> {
    match random.below(9) {
        0 => b"a".to_vec(),
        1 => b"B".to_vec(),
        2 => b"*".to_vec(),
        3 => b"www".to_vec(),
        4 => b"ns".to_vec(),
        5 => vec![0],
        6 => b"x.y".to_vec(),
        7 => (0..random.below(63) + 1)
            .map(|_| random.next() as u8)
            .collect(),
        _ => format!("n{:x}", random.below(1 << 20)).into_bytes(),
    }
}

/// A name directly below `name`, or `name` itself if that would be too long.
fn below(name: Name<'_>, random: &mut Random) -> NameBuf {
    let mut longer = NameBuf::new();
    longer
        .push_label(&label(random))
        .and_then(|()| longer.push_name(name))
        .map_or(name.to_owned(), |()| longer)
}

/// `name` with other labels in the place of each `*`.
fn instance(name: Name<'_>, random: &mut Random) -> NameBuf {
    let mut instance = NameBuf::new();
    for part in name.labels() {
        let pushed = if part == b"*" {
            instance.push_label(&label(random))
        } else {
            instance.push_label(part)
        };
        if pushed.is_err() {
            return name.to_owned();
        }
    }
    instance
}

impl Question {
    fn new(name: NameBuf, record_type: RecordType) -> Self {
        Self {
            octets: Vec::new(),
            name,
            record_type,
            class: RecordClass::IN,
            opcode: 0,
            question_count: 1,
            edns_size: None,
            edns_version: 0,
            oddity: Oddity::None,
        }
    }

    /// Writes the octets anew, with the case of the name drawn (0x20).
    fn write(&mut self, flags: u16, random: &mut Random) {
        let mut wire = self.name.as_name().as_wire().to_vec();
        if random.one_in(2) {
            // A length octet is never a letter.
            for octet in wire.iter_mut().filter(|octet| octet.is_ascii_alphabetic()) {
                *octet ^= (random.next() as u8) & 0x20;
            }
        }
        let mut flags = flags & !0x7a00 | u16::from(self.opcode) << 11;
        if self.oddity == Oddity::Truncated {
            flags |= 0x0200;
        }
        if self.oddity == Oddity::ResponseCode {
            flags |= random.below(15) as u16 + 1;
        }
        let mut counts = [self.question_count, 0, 0, 0];
        let mut body = Vec::new();
        for _ in 0..self.question_count.min(3) {
            match self.oddity {
                Oddity::BadName => body.extend(*random.pick(&[
                    &b"\xc0\x0c"[..],
                    b"\x03www\xc0\x0c",
                    b"\x41\0",
                    b"\x80",
                ])),
                _ => body.extend(&wire),
            }
            body.extend(self.record_type.0.to_be_bytes());
            body.extend(self.class.0.to_be_bytes());
        }
        if self.oddity == Oddity::ExtraRecord {
            counts[1 + random.below(2)] = 1;
            body.extend(b"\x01x\0\0\x01\0\x01\0\0\0\x05\0\x04\x01\x02\x03\x04");
        }
        let wants_opt = matches!(
            self.oddity,
            Oddity::TwoOpts | Oddity::OptWithOwner | Oddity::BrokenOption | Oddity::UnknownOption
        );
        if wants_opt && self.edns_size.is_none() {
            self.edns_size = Some(1_232);
        }
        if let Some(size) = self.edns_size {
            let options: &[u8] = match self.oddity {
                Oddity::BrokenOption => b"\xff\x01\0\x05abc",
                Oddity::UnknownOption => b"\xff\x01\0\x03abc\xff\x02\0\0",
                _ => b"",
            };
            let owner: &[u8] = if self.oddity == Oddity::OptWithOwner {
                b"\x01x\0"
            } else {
                b"\0"
            };
            let edns_flags: u16 = match random.below(4) {
                0 => 0x8000,
                1 => random.next() as u16,
                _ => 0,
            };
            for _ in 0..if self.oddity == Oddity::TwoOpts { 2 } else { 1 } {
                counts[3] += 1;
                body.extend(owner);
                body.extend(41u16.to_be_bytes());
                body.extend(size.to_be_bytes());
                body.extend([0, self.edns_version]);
                body.extend(edns_flags.to_be_bytes());
                body.extend((options.len() as u16).to_be_bytes());
                body.extend(options);
            }
        }
        match self.oddity {
            Oddity::TrailingOctets => body.extend(b"more"),
            Oddity::CutShort => body.truncate(random.below(body.len())),
            _ => {}
        }
        self.octets.clear();
        self.octets.extend((random.next() as u16).to_be_bytes());
        self.octets.extend(flags.to_be_bytes());
        for count in counts {
            self.octets.extend(count.to_be_bytes());
        }
        self.octets.extend(body);
    }
}
