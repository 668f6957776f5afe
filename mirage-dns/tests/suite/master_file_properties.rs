//! Properties of the master-file parser over random zones, random layouts and random damage.

use std::collections::{BTreeMap, BTreeSet};

use mirage_dns::master_file::{NoFiles, Parser, Source};
use mirage_dns::name::{Name, NameBuf};
use mirage_dns::record::{Rdata, RdataField, RecordClass, RecordType, check_rdata, rdata_fields};
use mirage_dns::zone_compiler::ZoneCompiler;
use mirage_dns::zone_set::ZoneSet;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

/// What a record is, apart from its layout.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// In wire form, case kept.
    owner: Vec<u8>,
    ttl: u32,
    class: u16,
    record_type: u16,
    data: Vec<u8>,
}

fn label() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[a-zA-Z0-9_-]{1,8}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 1..6),
        1 => vec(proptest::sample::select(b".\\@$\" ".to_vec()), 1..3),
        1 => vec(any::<u8>(), 63),
    ]
}

fn name() -> impl Strategy<Value = NameBuf> {
    (vec(label(), 0..3), 0..3usize).prop_map(|(labels, suffix)| {
        let mut name = NameBuf::new();
        for label in labels {
            name.push_label(&label).unwrap();
        }
        // Many names share a suffix, so that origins are used.
        let suffix = NameBuf::from_text(["org", "example.org", "a.b.example.org"][suffix]).unwrap();
        name.push_name(suffix.as_name()).unwrap();
        name
    })
}

fn wire(name: &NameBuf) -> Vec<u8> {
    name.as_name().as_wire().to_vec()
}

fn character_string() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z #;]{0,9}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..6),
        vec(any::<u8>(), 255),
    ]
    .prop_map(|mut string| {
        string.insert(0, string.len() as u8);
        string
    })
}

fn field(field: RdataField) -> BoxedStrategy<Vec<u8>> {
    match field {
        RdataField::CompressibleName | RdataField::Name => name().prop_map(|n| wire(&n)).boxed(),
        RdataField::CharacterString => character_string().boxed(),
        RdataField::CharacterStrings => vec(character_string(), 1..4)
            .prop_map(|strings| strings.concat())
            .boxed(),
        RdataField::WholeName | RdataField::CasedName => name().prop_map(|n| wire(&n)).boxed(),
        RdataField::Names => vec(name().prop_map(|n| wire(&n)), 0..3)
            .prop_map(|names| names.concat())
            .boxed(),
        RdataField::Tag => "[a-zA-Z0-9]{1,9}"
            .prop_map(|tag| prefixed(tag.as_bytes()))
            .boxed(),
        RdataField::Text | RdataField::OptionalBase64 | RdataField::ServiceBitmap => {
            vec(any::<u8>(), 0..20).boxed()
        }
        RdataField::NonEmptyText | RdataField::Hexadecimal | RdataField::Base64 => {
            vec(any::<u8>(), 1..70).boxed()
        }
        RdataField::Salt => vec(any::<u8>(), 0..20)
            .prop_map(|salt| prefixed(&salt))
            .boxed(),
        RdataField::HashedName => vec(any::<u8>(), 1..22)
            .prop_map(|hash| prefixed(&hash))
            .boxed(),
        RdataField::TypeBitmap => btree_set(prop_oneof![0..300u16, any::<u16>()], 0..9)
            .prop_map(|types| bitmap(&types))
            .boxed(),
        RdataField::Location => location().boxed(),
        RdataField::AddressPrefixes => vec(address_prefix(), 0..4)
            .prop_map(|prefixes| prefixes.concat())
            .boxed(),
        RdataField::ServiceParameters => service_parameters().boxed(),
        RdataField::IpsecGateway => prop_oneof![
            Just(vec![0, 0]),
            any::<[u8; 4]>().prop_map(|address| [&[1, 2][..], &address].concat()),
            any::<[u8; 16]>().prop_map(|address| [&[2, 1][..], &address].concat()),
            name().prop_map(|name| [&[3, 5][..], &wire(&name)].concat()),
        ]
        .boxed(),
        RdataField::HostIdentity => (
            any::<u8>(),
            vec(any::<u8>(), 1..20),
            vec(any::<u8>(), 1..20),
        )
            .prop_map(|(algorithm, tag, key)| {
                let header = [tag.len() as u8, algorithm, 0, key.len() as u8];
                [&header[..], &tag, &key].concat()
            })
            .boxed(),
        fixed => vec(any::<u8>(), fixed.fixed_length().expect("a fixed length")).boxed(),
    }
}

/// Octets behind their count.
fn prefixed(octets: &[u8]) -> Vec<u8> {
    [&[octets.len() as u8], octets].concat()
}

fn bitmap(types: &BTreeSet<u16>) -> Vec<u8> {
    let mut windows: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    for record_type in types {
        let [window, bit] = record_type.to_be_bytes();
        let octets = windows.entry(window).or_default();
        octets.resize(octets.len().max(usize::from(bit) / 8 + 1), 0);
        octets[usize::from(bit) / 8] |= 0x80 >> (bit % 8);
    }
    let octets = windows
        .iter()
        .map(|(window, octets)| [&[*window], &prefixed(octets)[..]].concat());
    octets.collect::<Vec<_>>().concat()
}

fn location() -> impl Strategy<Value = Vec<u8>> {
    let length = || (0..10u8, 0..10u8).prop_map(|(digit, exponent)| digit << 4 | exponent);
    let angle = |degrees: u32| {
        let most = degrees * 3_600_000;
        (1 << 31) - most..=(1u32 << 31) + most
    };
    let place = (
        length(),
        length(),
        length(),
        angle(90),
        angle(180),
        any::<u32>(),
    )
        .prop_map(
            |(size, horizontal, vertical, latitude, longitude, altitude)| {
                let numbers = [latitude, longitude, altitude].map(u32::to_be_bytes);
                [&[0, size, horizontal, vertical], numbers.as_flattened()].concat()
            },
        );
    let other_version = (1..=255u8, vec(any::<u8>(), 0..20))
        .prop_map(|(version, octets)| [&[version], &octets[..]].concat());
    prop_oneof![9 => place, 1 => other_version]
}

fn address_prefix() -> impl Strategy<Value = Vec<u8>> {
    let family = prop_oneof![Just((1u16, 4usize)), Just((2, 16)), Just((3, 9))];
    (family, any::<u8>(), any::<bool>(), vec(any::<u8>(), 16)).prop_map(
        |((family, octets), bits, is_negated, mut address)| {
            address.truncate(octets);
            let zeroes = address
                .iter()
                .rev()
                .take_while(|&&octet| octet == 0)
                .count();
            address.truncate(octets - zeroes);
            let bits = bits % (8 * octets + 1) as u8;
            let length = address.len() as u8 | u8::from(is_negated) << 7;
            [&family.to_be_bytes()[..], &[bits, length], &address].concat()
        },
    )
}

fn service_parameters() -> impl Strategy<Value = Vec<u8>> {
    let value = |key: u16| match key {
        1 => vec(vec(any::<u8>(), 1..9).prop_map(|id| prefixed(&id)), 1..4)
            .prop_map(|ids| ids.concat())
            .boxed(),
        2 | 8 => Just(Vec::new()).boxed(),
        3 => vec(any::<u8>(), 2).boxed(),
        4 => vec(any::<[u8; 4]>(), 1..4)
            .prop_map(|hints| hints.concat())
            .boxed(),
        6 => vec(any::<[u8; 16]>(), 1..4)
            .prop_map(|hints| hints.concat())
            .boxed(),
        _ => vec(any::<u8>(), 1..20).boxed(),
    };
    let keys = btree_set(prop_oneof![5 => 1..9u16, 1 => any::<u16>()], 0..7);
    (keys, any::<u64>()).prop_flat_map(move |(mut keys, chosen)| {
        keys.remove(&0);
        let mandatory: Vec<u8> = keys
            .iter()
            .enumerate()
            .filter(|(index, _)| chosen >> index & 1 != 0)
            .flat_map(|(_, key)| key.to_be_bytes())
            .collect();
        let mandatory = match mandatory.is_empty() {
            true => Vec::new(),
            false => parameter(0, &mandatory),
        };
        keys.into_iter()
            .map(|key| value(key).prop_map(move |value| parameter(key, &value)))
            .fold(Just(mandatory).boxed(), |before, next| {
                (before, next)
                    .prop_map(|(before, next)| [before, next].concat())
                    .boxed()
            })
    })
}

fn parameter(key: u16, value: &[u8]) -> Vec<u8> {
    [
        &key.to_be_bytes(),
        &(value.len() as u16).to_be_bytes(),
        value,
    ]
    .concat()
}

/// Types that are known.
fn known_types() -> Vec<u16> {
    (1..=u16::MAX)
        .filter(|&number| RecordType(number).rdata_fields().is_some())
        .collect()
}

fn data(record_type: RecordType) -> BoxedStrategy<Vec<u8>> {
    match record_type.rdata_fields() {
        Some(fields) => {
            fields
                .iter()
                .map(|&kind| field(kind))
                .fold(Just(Vec::new()).boxed(), |before, next| {
                    (before, next)
                        .prop_map(|(before, next)| [before, next].concat())
                        .boxed()
                })
        }
        None => vec(any::<u8>(), 0..20).boxed(),
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let record_type = prop_oneof![
        8 => proptest::sample::select(known_types()),
        1 => proptest::sample::select(vec![10u16, 19, 731, 65_535]),
    ];
    let class = prop_oneof![9 => Just(1u16), 1 => proptest::sample::select(vec![2u16, 3, 4, 77])];
    let ttl = prop_oneof![3 => Just(3_600u32), 1 => 0..10_000_000u32, 1 => Just(0x7fff_ffff)];
    (name(), ttl, class, record_type).prop_flat_map(|(owner, ttl, class, record_type)| {
        data(RecordType(record_type)).prop_map(move |data| Entry {
            owner: wire(&owner),
            ttl,
            class,
            record_type,
            data,
        })
    })
}

/// Entries, of which some have the same owner as the one before.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    vec((entry(), any::<bool>()), 1..12).prop_map(|drawn| {
        let mut all: Vec<Entry> = Vec::new();
        for (mut entry, same_owner) in drawn {
            if let Some(last) = all.last().filter(|_| same_owner) {
                entry.owner.clone_from(&last.owner);
            }
            all.push(entry);
        }
        all
    })
}

/// Draws the layout: a generator of its own, as what it decides needs no shrinking.
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// Prints entries with every freedom of layout that RFC 1035 §5 gives.
struct Printer {
    choices: Choices,
    text: Vec<u8>,
    parentheses: usize,
    origin: NameBuf,
    owner: Option<Vec<u8>>,
    class: u16,
    default_ttl: Option<u32>,
    stated_ttl: Option<u32>,
}

impl Printer {
    fn print(entries: &[Entry], seed: u64, origin: &NameBuf) -> Vec<u8> {
        let mut printer = Self {
            choices: Choices(seed),
            text: Vec::new(),
            parentheses: 0,
            origin: origin.clone(),
            owner: None,
            class: 1,
            default_ttl: None,
            stated_ttl: None,
        };
        for entry in entries {
            printer.entry(entry);
        }
        // The last line may lack its end.
        if printer.choices.one_in(2) && printer.text.ends_with(b"\n") {
            printer.text.pop();
            if printer.text.ends_with(b"\r") {
                printer.text.pop();
            }
        }
        printer.text
    }

    fn put(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    fn put_one_of(&mut self, texts: &[&str]) {
        let text = texts[self.choices.below(texts.len())];
        self.put(text);
    }

    fn space(&mut self) {
        match self.choices.below(9) {
            0..=3 => self.put(" "),
            4 => self.put("\t"),
            5 => self.put("  \t "),
            6 => {
                self.put(" (");
                self.parentheses += 1;
            }
            7 if self.parentheses > 0 => self.put(" ; a (comment)\" in between\n  "),
            8 if self.parentheses > 0 => self.put("\r\n\n"),
            _ => self.put(" "),
        }
        if self.parentheses > 0 && self.choices.one_in(4) {
            self.put(") ");
            self.parentheses -= 1;
        }
    }

    fn perhaps_space(&mut self) {
        if self.choices.one_in(4) {
            self.space();
        }
    }

    fn end_of_line(&mut self) {
        while self.parentheses > 0 {
            self.put_one_of(&[")", "\n)", " ;x\r\n ) "]);
            self.parentheses -= 1;
        }
        self.put_one_of(&[
            "\n",
            "\r\n",
            " \t\n",
            ";\n",
            " ; \"(c\r\n",
            "\n\n",
            "\n  ; blank owner\n",
            "\n \t\n",
        ]);
    }

    fn number(&mut self, value: u32) {
        let zeros = if self.choices.one_in(5) { "00" } else { "" };
        self.put(&format!("{zeros}{value}"));
    }

    fn time(&mut self, value: u32) {
        let (hours, rest) = (value / 3_600, value % 3_600);
        let (minutes, seconds) = (rest / 60, rest % 60);
        let (weeks, days) = (value / 604_800, value % 604_800 / 86_400);
        match self.choices.below(6) {
            0 => self.put(&format!("{hours}h{minutes}m{seconds}s")),
            1 => self.put(&format!("{seconds}S{hours}H{minutes}M")),
            2 => self.put(&format!("{weeks}w{days}d{}s", value % 86_400)),
            _ => self.number(value),
        }
    }

    /// One octet of a word; `special` are those that mean something there.
    fn octet(&mut self, octet: u8, special: &[u8]) {
        let must = special.contains(&octet);
        // `\#` would be the generic form, `\1` the start of a number.
        let letter = (0x21..0x7f).contains(&octet) && !octet.is_ascii_digit() && octet != b'#';
        match self.choices.below(12) {
            0 => self.put(&format!("\\{octet:03}")),
            1 if letter => self.text.extend([b'\\', octet]),
            _ if must && letter => self.text.extend([b'\\', octet]),
            _ if must => self.put(&format!("\\{octet:03}")),
            _ => self.text.push(octet),
        }
    }

    fn labels<'a>(&mut self, labels: impl Iterator<Item = &'a [u8]>, dot_at_end: bool) {
        for (index, label) in labels.enumerate() {
            if index > 0 {
                self.put(".");
            }
            for &octet in label {
                self.octet(octet, b" \t\r\n;()\"\\.@$");
            }
        }
        if dot_at_end {
            self.put(".");
        }
    }

    fn name(&mut self, octets: &[u8]) {
        let name = Name::from_wire(octets).unwrap();
        let origin = self.origin.clone();
        let suffix = origin.as_name().as_wire();
        // What is left out comes back in the origin's case.
        let below = name.is_subdomain_of(origin.as_name()) && octets.ends_with(suffix);
        if below && octets.len() == suffix.len() && self.choices.one_in(2) {
            self.put("@");
        } else if below && octets.len() > suffix.len() && !self.choices.one_in(4) {
            let count = name.label_count() - origin.as_name().label_count();
            self.labels(name.labels().take(count), false);
        } else {
            self.labels(name.labels(), true);
        }
    }

    fn string(&mut self, octets: &[u8]) {
        // An unquoted string has at least one character.
        if octets.is_empty() || self.choices.one_in(2) {
            self.put("\"");
            for &octet in octets {
                self.octet(octet, b"\"\\");
            }
            self.put("\"");
        } else {
            for &octet in octets {
                self.octet(octet, b" \t\r\n;()\"\\");
            }
        }
    }

    fn directives(&mut self, owner: Name<'_>) {
        if self.choices.one_in(4) {
            let ancestors: Vec<Name<'_>> = owner.ancestors().collect();
            let origin = ancestors[self.choices.below(ancestors.len())];
            self.put_one_of(&["$ORIGIN ", "$origin\t"]);
            self.name(origin.as_wire());
            self.end_of_line();
            self.origin = origin.to_owned();
        }
        if self.choices.one_in(6) {
            let ttl = [3_600, 5][self.choices.below(2)];
            self.put("$TTL ");
            self.time(ttl);
            self.end_of_line();
            self.default_ttl = Some(ttl);
        }
    }

    fn entry(&mut self, entry: &Entry) {
        self.directives(Name::from_wire(&entry.owner).unwrap());
        if self.owner.as_ref() == Some(&entry.owner) && !self.choices.one_in(4) {
            self.put_one_of(&[" ", "\t"]);
        } else {
            self.name(&entry.owner);
            self.owner = Some(entry.owner.clone());
        }
        self.space();
        let implied = self.default_ttl.or(self.stated_ttl) == Some(entry.ttl);
        let state_ttl = !implied || self.choices.one_in(2);
        let state_class = self.class != entry.class || self.choices.one_in(2);
        let ttl_first = self.choices.one_in(2);
        for turn in [true, false] {
            if turn == ttl_first && state_ttl {
                self.time(entry.ttl);
                self.space();
                self.stated_ttl = Some(entry.ttl);
            } else if turn != ttl_first && state_class {
                let number = format!("CLASS{}", entry.class);
                self.put_one_of(&[&number, &RecordClass(entry.class).to_string()]);
                self.space();
                self.class = entry.class;
            }
        }
        let record_type = RecordType(entry.record_type);
        let mnemonic = record_type.to_string();
        let number = format!("TYPE{}", entry.record_type);
        self.put_one_of(&[&mnemonic, &mnemonic.to_ascii_lowercase(), &number]);
        if record_type.rdata_fields().is_none() || self.choices.one_in(6) {
            self.generic(&entry.data);
        } else {
            let fields: Vec<_> = rdata_fields(record_type, &entry.data).collect();
            let octets = &entry.data;
            let text = Rdata {
                record_type,
                octets,
            }
            .to_string();
            // Some octets have no other text.
            if !text.starts_with("\\#") && fields.iter().all(|(kind, _)| has_layout(*kind)) {
                for (kind, octets) in fields {
                    self.field(kind, octets);
                }
            } else {
                self.space();
                self.put(&text);
            }
        }
        self.end_of_line();
    }

    fn generic(&mut self, data: &[u8]) {
        self.space();
        self.put("\\#");
        self.space();
        self.number(data.len() as u32);
        self.space();
        for octet in data {
            self.put(&format!("{:x}", octet >> 4));
            if self.choices.one_in(4) {
                self.space();
            }
            self.put(&format!("{:X}", octet & 15));
        }
    }

    fn field(&mut self, kind: RdataField, octets: &[u8]) {
        self.space();
        let number = || {
            let fold = |value, &octet| value << 8 | u32::from(octet);
            octets.iter().fold(0, fold)
        };
        match kind {
            RdataField::CompressibleName
            | RdataField::Name
            | RdataField::WholeName
            | RdataField::CasedName => self.name(octets),
            RdataField::U8 | RdataField::U16 | RdataField::U32 => self.number(number()),
            RdataField::Period => self.time(number()),
            RdataField::Ipv4Address => {
                let address: [u8; 4] = octets.try_into().unwrap();
                self.put(&std::net::Ipv4Addr::from(address).to_string());
            }
            RdataField::Ipv6Address => {
                let address: [u8; 16] = octets.try_into().unwrap();
                self.put(&std::net::Ipv6Addr::from(address).to_string());
            }
            RdataField::CharacterString => self.string(&octets[1..]),
            RdataField::CharacterStrings => {
                let mut rest = octets;
                while let Some((&length, after)) = rest.split_first() {
                    let (string, after) = after.split_at(usize::from(length));
                    self.string(string);
                    if !after.is_empty() {
                        self.space();
                    }
                    rest = after;
                }
            }
            RdataField::Hexadecimal => {
                for octet in octets {
                    self.put(&format!("{:x}", octet >> 4));
                    self.perhaps_space();
                    self.put(&format!("{:X}", octet & 15));
                    self.perhaps_space();
                }
            }
            RdataField::Base64 | RdataField::OptionalBase64 => {
                for digit in base64(octets).chars() {
                    self.put(&digit.to_string());
                    self.perhaps_space();
                }
            }
            RdataField::TypeBitmap => {
                // In any order, some of them twice.
                let mut types = types_of(octets);
                let again = self.choices.below(types.len() + 1);
                types.extend_from_within(..again);
                while !types.is_empty() {
                    let at = self.choices.below(types.len());
                    let number = types.swap_remove(at);
                    let mnemonic = RecordType(number).to_string();
                    self.put_one_of(&[&mnemonic, &format!("type{number}")]);
                    self.space();
                }
            }
            RdataField::ServiceParameters => {
                let mut parameters = parameters_of(octets);
                while !parameters.is_empty() {
                    let at = self.choices.below(parameters.len());
                    let (key, value) = parameters.swap_remove(at);
                    self.put(&format!("key{key}"));
                    if !value.is_empty() || self.choices.one_in(2) {
                        self.put("=");
                        self.string(&value);
                    }
                    self.space();
                }
            }
            other => panic!("a field without a form in text: {other:?}"),
        }
    }
}

/// Whether the printer writes a field in layouts of its own.
fn has_layout(kind: RdataField) -> bool {
    matches!(
        kind,
        RdataField::CompressibleName
            | RdataField::Name
            | RdataField::U8
            | RdataField::U16
            | RdataField::U32
            | RdataField::Period
            | RdataField::Ipv4Address
            | RdataField::Ipv6Address
            | RdataField::WholeName
            | RdataField::CasedName
            | RdataField::Hexadecimal
            | RdataField::Base64
            | RdataField::OptionalBase64
            | RdataField::TypeBitmap
            | RdataField::ServiceParameters
            | RdataField::CharacterString
            | RdataField::CharacterStrings
    )
}

fn base64(octets: &[u8]) -> String {
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".as_bytes();
    let bit = |at: usize| {
        octets
            .get(at / 8)
            .is_some_and(|octet| octet & 0x80 >> (at % 8) != 0)
    };
    let digit = |at: usize| {
        let value = (0..6).fold(0, |value, index| {
            value << 1 | usize::from(bit(6 * at + index))
        });
        char::from(digits[value])
    };
    let mut text: String = (0..(8 * octets.len()).div_ceil(6)).map(digit).collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

fn types_of(bitmap: &[u8]) -> Vec<u16> {
    let mut types = Vec::new();
    let mut rest = bitmap;
    while let [window, length, after @ ..] = rest {
        let (octets, after) = after.split_at(usize::from(*length));
        for bit in 0..8 * octets.len() {
            if octets[bit / 8] & 0x80 >> (bit % 8) != 0 {
                types.push(u16::from_be_bytes([*window, bit as u8]));
            }
        }
        rest = after;
    }
    types
}

fn parameters_of(octets: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut parameters = Vec::new();
    let mut rest = octets;
    while let [a, b, c, d, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        parameters.push((u16::from_be_bytes([*a, *b]), after[..length].to_vec()));
        rest = &after[length..];
    }
    parameters
}

/// The data of the one record that this text of data makes, or what is wrong with it.
fn reread(record_type: RecordType, text: &str) -> Result<Vec<u8>, String> {
    let line = format!(". 1 IN TYPE{} {text}\n", record_type.0);
    match read(line.as_bytes(), &NameBuf::new()) {
        (records, errors) if errors.is_empty() && records.len() == 1 => Ok(records[0].data.clone()),
        (_, errors) => Err(format!("{line}{errors:?}")),
    }
}

/// All records, and all errors.
fn read(text: &[u8], origin: &NameBuf) -> (Vec<Entry>, Vec<String>) {
    let source = Source {
        name: "random",
        text,
    };
    let mut parser = Parser::new(source, &NoFiles).with_origin(origin.as_name());
    let mut buffer = vec![0; 65_535];
    let (mut records, mut errors) = (Vec::new(), Vec::new());
    loop {
        match parser.next_record(&mut buffer) {
            Ok(Some(record)) => records.push(Entry {
                owner: record.owner.as_wire().to_vec(),
                ttl: record.ttl,
                class: record.class.0,
                record_type: record.record_type.0,
                data: record.data.to_vec(),
            }),
            Ok(None) => return (records, errors),
            Err(error) => errors.push(error.to_string()),
        }
    }
}

fn compile(text: &[u8]) {
    let mut compiler = ZoneCompiler::new();
    let source = Source {
        name: "random",
        text,
    };
    compiler.add_zone(source, &NoFiles);
    match compiler.finish() {
        Ok(compiled) => {
            ZoneSet::from_bytes(&compiled.image).expect("what was compiled is valid");
        }
        Err(errors) => assert!(errors.error_count() > 0),
    }
}

/// Replaces, removes, doubles or inserts octets, mostly ones that mean something.
fn damage(text: &mut Vec<u8>, seed: u64) {
    let mut choices = Choices(seed);
    for _ in 0..=choices.below(4) {
        if text.is_empty() {
            return;
        }
        let at = choices.below(text.len());
        let octet = b"()\"\\;\n\r \t@$.#0\xff\x00a"[choices.below(17)];
        match choices.below(5) {
            0 => text[at] = octet,
            1 => drop(text.remove(at)),
            2 => text.insert(at, octet),
            3 => text.truncate(at),
            _ => {
                let end = (at + choices.below(40)).min(text.len());
                let part = text[at..end].to_vec();
                text.splice(at..at, part);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_printed_in_any_layout_is_read_back(
        entries in entries(), seed in any::<u64>(), origin in name(),
    ) {
        let text = Printer::print(&entries, seed, &origin);
        let (records, errors) = read(&text, &origin);
        prop_assert!(errors.is_empty(), "{errors:?}\n{}", text.escape_ascii());
        prop_assert_eq!(&records, &entries, "{}", text.escape_ascii());
    }

    #[test]
    fn damaged_zones_never_panic_and_cost_at_most_an_error_a_line(
        entries in entries(), seed in any::<u64>(), origin in name(),
    ) {
        let mut text = Printer::print(&entries, seed, &origin);
        damage(&mut text, seed ^ 0x5555);
        let (_, errors) = read(&text, &origin);
        let lines = text.iter().filter(|&&octet| octet == b'\n').count() + 1;
        prop_assert!(errors.len() <= lines, "{errors:?}");
        compile(&text);
    }

    #[test]
    fn rdata_of_every_type_survives_its_text(
        (record_type, rdata) in proptest::sample::select(known_types())
            .prop_map(RecordType)
            .prop_flat_map(|record_type| (Just(record_type), data(record_type))),
        (at, octet) in (any::<proptest::sample::Index>(), any::<u8>()),
    ) {
        prop_assert_eq!(check_rdata(record_type, &rdata), Ok(()), "{} {:02x?}", record_type, rdata);
        let mut damaged = rdata.clone();
        if !damaged.is_empty() {
            let at = at.index(damaged.len());
            damaged[at] = octet;
        }
        for octets in [&rdata, &damaged] {
            let text = Rdata { record_type, octets }.to_string();
            let again = reread(record_type, &text);
            if check_rdata(record_type, octets).is_ok() {
                prop_assert_eq!(again.as_deref(), Ok(&octets[..]), "{}", text);
            } else {
                prop_assert!(text.starts_with("\\# ") && again.is_err(), "{}", text);
            }
        }
    }

    #[test]
    fn arbitrary_octets_that_are_rdata_survive_their_text(
        number in proptest::sample::select(known_types()), octets in vec(any::<u8>(), 0..40),
    ) {
        let (record_type, octets) = (RecordType(number), &octets);
        let text = Rdata { record_type, octets }.to_string();
        if check_rdata(record_type, octets).is_ok() {
            let again = reread(record_type, &text);
            prop_assert_eq!(again.as_deref(), Ok(&octets[..]), "{}", text);
        }
    }

    #[test]
    fn arbitrary_octets_never_panic(text in vec(any::<u8>(), 0..400)) {
        read(&text, &NameBuf::new());
        compile(&text);
    }

    #[test]
    fn arbitrary_words_never_panic(
        text in "([ \t\r\n;()\"@$.\\\\#a-z0-9]|IN |SOA |NS |TXT |A |\\$ORIGIN |\\$TTL |TYPE1 |\\\\# 4 ){0,60}",
    ) {
        read(text.as_bytes(), &NameBuf::new());
        compile(text.as_bytes());
    }
}
