//! Types, classes, response codes, and the shape of each known type's rdata.
//!
//! | type | what it is |
//! |------|------------|
//! | [`RecordType`] | a type or query type, any of the 65,536 |
//! | [`RecordClass`] | a class or query class |
//! | [`Opcode`], [`Rcode`] | what a message asks, and how it went |
//! | [`RdataField`] | one field of a type's rdata; [`RecordType::rdata_fields`] is the table |
//!
//! A type is *known* when the table has its fields. The text parser, the wire codec and the zone compiler all follow
//! that table, so a new type is one more row in it. Every other type is carried as octets that mean nothing
//! (RFC 3597), and no name is looked for in them.

use core::error::Error;
use core::fmt;

use crate::name::{Name, NameError};

/// A record type or query type (RFC 1035 §3.2.2, §3.2.3; IANA "Resource Record (RR) TYPEs").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordType(pub u16);

/// Declares the constants of a number with mnemonics, and the table that [`fmt::Display`] and `from_mnemonic` read.
macro_rules! mnemonics {
    ($type:ident: $($(#[$attribute:meta])* $name:ident $text:literal = $value:literal;)*) => {
        impl $type {
            $($(#[$attribute])* pub const $name: $type = $type($value);)*

            /// The number's mnemonic, if it has one here.
            pub const fn mnemonic(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }

            /// The number that a mnemonic stands for; upper or lower case.
            fn from_listed_mnemonic(text: &str) -> Option<Self> {
                const LISTED: &[(&str, $type)] = &[$(($text, $type($value)),)*];
                LISTED
                    .iter()
                    .find(|(mnemonic, _)| mnemonic.eq_ignore_ascii_case(text))
                    .map(|&(_, number)| number)
            }
        }
    };
}

mnemonics! { RecordType:
    /// An IPv4 address (RFC 1035 §3.4.1).
    A "A" = 1;
    /// An authoritative name server (RFC 1035 §3.3.11).
    NS "NS" = 2;
    /// A mail destination; obsolete (RFC 1035 §3.3.4).
    MD "MD" = 3;
    /// A mail forwarder; obsolete (RFC 1035 §3.3.5).
    MF "MF" = 4;
    /// The canonical name of an alias (RFC 1035 §3.3.1).
    CNAME "CNAME" = 5;
    /// The start of a zone of authority (RFC 1035 §3.3.13).
    SOA "SOA" = 6;
    /// A mailbox domain name (RFC 1035 §3.3.3).
    MB "MB" = 7;
    /// A mail group member (RFC 1035 §3.3.6).
    MG "MG" = 8;
    /// A mail rename domain name (RFC 1035 §3.3.8).
    MR "MR" = 9;
    /// Anything (RFC 1035 §3.3.10).
    NULL "NULL" = 10;
    /// Well-known services (RFC 1035 §3.4.2).
    WKS "WKS" = 11;
    /// A pointer to another name (RFC 1035 §3.3.12).
    PTR "PTR" = 12;
    /// Host information (RFC 1035 §3.3.2).
    HINFO "HINFO" = 13;
    /// Mailbox information (RFC 1035 §3.3.7).
    MINFO "MINFO" = 14;
    /// A mail exchange (RFC 1035 §3.3.9).
    MX "MX" = 15;
    /// Text strings (RFC 1035 §3.3.14).
    TXT "TXT" = 16;
    /// A responsible person (RFC 1183 §2.2).
    RP "RP" = 17;
    /// An AFS or DCE server (RFC 1183 §1).
    AFSDB "AFSDB" = 18;
    /// A route through (RFC 1183 §3.3).
    RT "RT" = 21;
    /// A signature; obsolete except in SIG(0) (RFC 2931).
    SIG "SIG" = 24;
    /// A key; obsolete except in SIG(0) (RFC 2931).
    KEY "KEY" = 25;
    /// An IPv6 address (RFC 3596 §2.1).
    AAAA "AAAA" = 28;
    /// A place on the Earth (RFC 1876).
    LOC "LOC" = 29;
    /// The server of a service (RFC 2782).
    SRV "SRV" = 33;
    /// A naming authority pointer (RFC 3403 §4).
    NAPTR "NAPTR" = 35;
    /// A key exchanger (RFC 2230).
    KX "KX" = 36;
    /// A certificate (RFC 4398).
    CERT "CERT" = 37;
    /// The redirection of a subtree (RFC 6672).
    DNAME "DNAME" = 39;
    /// The pseudo-record of EDNS (RFC 6891 §6.1).
    OPT "OPT" = 41;
    /// Address prefixes (RFC 3123).
    APL "APL" = 42;
    /// A delegation signer (RFC 4034 §5).
    DS "DS" = 43;
    /// The fingerprint of an SSH host key (RFC 4255).
    SSHFP "SSHFP" = 44;
    /// Key material for IPsec (RFC 4025).
    IPSECKEY "IPSECKEY" = 45;
    /// A signature over an RRset (RFC 4034 §3).
    RRSIG "RRSIG" = 46;
    /// The next name and this one's types (RFC 4034 §4).
    NSEC "NSEC" = 47;
    /// A key of a zone (RFC 4034 §2).
    DNSKEY "DNSKEY" = 48;
    /// A DHCP client identity (RFC 4701).
    DHCID "DHCID" = 49;
    /// The next hashed name and its types (RFC 5155 §3).
    NSEC3 "NSEC3" = 50;
    /// The parameters of NSEC3 (RFC 5155 §4).
    NSEC3PARAM "NSEC3PARAM" = 51;
    /// The association of a certificate with a TLS service (RFC 6698).
    TLSA "TLSA" = 52;
    /// The association of a certificate with a mailbox (RFC 8162).
    SMIMEA "SMIMEA" = 53;
    /// The Host Identity Protocol (RFC 8005).
    HIP "HIP" = 55;
    /// A DS for the parent to take over (RFC 7344).
    CDS "CDS" = 59;
    /// A DNSKEY for the parent to take over (RFC 7344).
    CDNSKEY "CDNSKEY" = 60;
    /// An OpenPGP public key (RFC 7929).
    OPENPGPKEY "OPENPGPKEY" = 61;
    /// Records for the parent to take over (RFC 7477).
    CSYNC "CSYNC" = 62;
    /// A digest over a zone (RFC 8976).
    ZONEMD "ZONEMD" = 63;
    /// A service binding (RFC 9460).
    SVCB "SVCB" = 64;
    /// A service binding of HTTPS (RFC 9460).
    HTTPS "HTTPS" = 65;
    /// A sender policy; obsolete (RFC 7208 §3.1).
    SPF "SPF" = 99;
    /// A 48-bit link-layer address (RFC 7043).
    EUI48 "EUI48" = 108;
    /// A 64-bit link-layer address (RFC 7043).
    EUI64 "EUI64" = 109;
    /// The establishment of a transaction key; a meta type (RFC 2930).
    TKEY "TKEY" = 249;
    /// The signature of a transaction; a meta type (RFC 8945).
    TSIG "TSIG" = 250;
    /// An incremental zone transfer; a query type (RFC 1995).
    IXFR "IXFR" = 251;
    /// A zone transfer; a query type (RFC 5936).
    AXFR "AXFR" = 252;
    /// Mailbox records; an obsolete query type (RFC 1035 §3.2.3).
    MAILB "MAILB" = 253;
    /// Mail agent records; an obsolete query type (RFC 1035 §3.2.3).
    MAILA "MAILA" = 254;
    /// Every type; a query type (RFC 1035 §3.2.3, RFC 8482).
    ANY "ANY" = 255;
    /// A uniform resource identifier (RFC 7553).
    URI "URI" = 256;
    /// A certification authority's authorization (RFC 8659).
    CAA "CAA" = 257;
}

impl RecordType {
    /// The type that a mnemonic, or `TYPE` and a number (RFC 3597 §5), stands for; upper or lower case.
    pub fn from_mnemonic(text: &str) -> Option<Self> {
        Self::from_listed_mnemonic(text).or_else(|| numbered(text, "TYPE").map(Self))
    }

    /// Whether only a question, or a record that is made for one message, may have this type: 0, OPT, and 128 to 255
    /// (RFC 6895 §3.1). No zone holds one.
    pub const fn is_meta(self) -> bool {
        matches!(self.0, 0 | 41 | 128..=255)
    }

    /// The fields of this type's rdata in order; `None` for a type that is not known, whose rdata is any octets.
    pub const fn rdata_fields(self) -> Option<&'static [RdataField]> {
        use RdataField::{
            CharacterString, CharacterStrings, CompressibleName, Ipv4Address, Ipv6Address, Name,
            Period, U16, U32,
        };
        Some(match self {
            Self::A => &[Ipv4Address],
            Self::NS | Self::CNAME | Self::PTR => &[CompressibleName],
            Self::MB | Self::MG | Self::MR => &[CompressibleName],
            Self::SOA => &[
                CompressibleName,
                CompressibleName,
                U32,
                Period,
                Period,
                Period,
                Period,
            ],
            Self::HINFO => &[CharacterString, CharacterString],
            Self::MINFO => &[CompressibleName, CompressibleName],
            Self::MX => &[U16, CompressibleName],
            Self::TXT => &[CharacterStrings],
            Self::AAAA => &[Ipv6Address],
            Self::SRV => &[U16, U16, U16, Name],
            Self::DNAME => &[Name],
            _ => return None,
        })
    }

    /// Whether senders may compress names in this type's rdata (RFC 3597 §4: the types of RFC 1035 alone).
    pub const fn has_compressible_names(self) -> bool {
        matches!(
            self,
            Self::NS
                | Self::CNAME
                | Self::SOA
                | Self::PTR
                | Self::MB
                | Self::MG
                | Self::MR
                | Self::MINFO
                | Self::MX
        )
    }
}

impl fmt::Display for RecordType {
    /// The mnemonic, else `TYPE` and the number (RFC 3597 §5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(mnemonic) => f.pad(mnemonic),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl fmt::Debug for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A record class or query class (RFC 1035 §3.2.4, §3.2.5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordClass(pub u16);

mnemonics! { RecordClass:
    /// The Internet.
    IN "IN" = 1;
    /// The CSNET class; obsolete.
    CS "CS" = 2;
    /// The CHAOS class, used to ask a server about itself (RFC 4892).
    CH "CH" = 3;
    /// Hesiod.
    HS "HS" = 4;
    /// No class, in dynamic updates (RFC 2136 §2.4).
    NONE "NONE" = 254;
    /// Every class; a query class.
    ANY "ANY" = 255;
}

impl RecordClass {
    /// The class that a mnemonic, or `CLASS` and a number (RFC 3597 §5), stands for; upper or lower case.
    pub fn from_mnemonic(text: &str) -> Option<Self> {
        Self::from_listed_mnemonic(text).or_else(|| numbered(text, "CLASS").map(Self))
    }
}

impl fmt::Display for RecordClass {
    /// The mnemonic, else `CLASS` and the number (RFC 3597 §5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(mnemonic) => f.pad(mnemonic),
            None => write!(f, "CLASS{}", self.0),
        }
    }
}

impl fmt::Debug for RecordClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a message asks for, 0 to 15 (RFC 1035 §4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opcode(pub u8);

mnemonics! { Opcode:
    /// A query.
    QUERY "QUERY" = 0;
    /// An inverse query; obsolete (RFC 3425).
    IQUERY "IQUERY" = 1;
    /// A server status request.
    STATUS "STATUS" = 2;
    /// A notice that a zone changed (RFC 1996).
    NOTIFY "NOTIFY" = 4;
    /// A dynamic update (RFC 2136).
    UPDATE "UPDATE" = 5;
    /// DNS stateful operations (RFC 8490).
    DSO "DSO" = 6;
}

impl Opcode {
    /// The opcode with this mnemonic; upper or lower case.
    pub fn from_mnemonic(text: &str) -> Option<Self> {
        Self::from_listed_mnemonic(text)
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(mnemonic) => f.pad(mnemonic),
            None => write!(f, "OPCODE{}", self.0),
        }
    }
}

impl fmt::Debug for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a request went: 4 bits in the header, 12 with the OPT record's (RFC 1035 §4.1.1, RFC 6891 §6.1.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rcode(pub u16);

mnemonics! { Rcode:
    /// No error.
    NOERROR "NOERROR" = 0;
    /// The request could not be read.
    FORMERR "FORMERR" = 1;
    /// The server failed.
    SERVFAIL "SERVFAIL" = 2;
    /// The name does not exist.
    NXDOMAIN "NXDOMAIN" = 3;
    /// The server does not implement what was asked.
    NOTIMP "NOTIMP" = 4;
    /// The server refuses, by policy.
    REFUSED "REFUSED" = 5;
    /// A name exists that should not (RFC 2136), or a DNAME's substitution is too long (RFC 6672).
    YXDOMAIN "YXDOMAIN" = 6;
    /// An RRset exists that should not (RFC 2136).
    YXRRSET "YXRRSET" = 7;
    /// An RRset does not exist that should (RFC 2136).
    NXRRSET "NXRRSET" = 8;
    /// The server is not authoritative (RFC 2136), or the request not authorised (RFC 8945).
    NOTAUTH "NOTAUTH" = 9;
    /// A name lies outside the zone (RFC 2136).
    NOTZONE "NOTZONE" = 10;
    /// The EDNS version is not implemented (RFC 6891 §6.1.3).
    BADVERS "BADVERS" = 16;
    /// The server cookie is missing or wrong (RFC 7873).
    BADCOOKIE "BADCOOKIE" = 23;
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(mnemonic) => f.pad(mnemonic),
            None => write!(f, "RCODE{}", self.0),
        }
    }
}

impl Rcode {
    /// The code with this mnemonic; upper or lower case.
    pub fn from_mnemonic(text: &str) -> Option<Self> {
        Self::from_listed_mnemonic(text)
    }
}

impl fmt::Debug for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One field of a type's rdata, as it is written in text and on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RdataField {
    /// A domain name that senders may compress: in RFC 1035's types alone (RFC 3597 §4).
    CompressibleName,
    /// A domain name that is never compressed by senders; receivers still take it compressed where RFC 3597 §4 says so.
    Name,
    /// One octet; a decimal number in text.
    U8,
    /// Two octets, big-endian; a decimal number in text.
    U16,
    /// Four octets, big-endian; a decimal number in text.
    U32,
    /// Four octets of seconds, big-endian; in text a decimal number, or one with units such as `1h30m`.
    Period,
    /// Four octets; a dotted quad in text.
    Ipv4Address,
    /// Sixteen octets; the text of RFC 4291 §2.2.
    Ipv6Address,
    /// A length octet and so many octets; a word or a quoted string in text (RFC 1035 §3.3, §5.1).
    CharacterString,
    /// One or more character-strings, up to the end of the rdata; always the last field.
    CharacterStrings,
}

impl RdataField {
    /// The octets of a field of fixed length; `None` where the length is in the field itself.
    pub const fn fixed_length(self) -> Option<usize> {
        match self {
            Self::U8 => Some(1),
            Self::U16 => Some(2),
            Self::U32 | Self::Period | Self::Ipv4Address => Some(4),
            Self::Ipv6Address => Some(16),
            Self::CompressibleName
            | Self::Name
            | Self::CharacterString
            | Self::CharacterStrings => None,
        }
    }

    /// Whether the field is a domain name.
    pub const fn is_name(self) -> bool {
        matches!(self, Self::CompressibleName | Self::Name)
    }

    /// Splits this field, uncompressed, off the front of `rdata`.
    ///
    /// # Errors
    /// [`RdataError`] when the octets are not this field.
    pub fn split_from(self, rdata: &[u8]) -> Result<(&[u8], &[u8]), RdataError> {
        match self {
            Self::CompressibleName | Self::Name => {
                let (name, rest) = Name::split_from(rdata).map_err(RdataError::Name)?;
                Ok((name.as_wire(), rest))
            }
            Self::CharacterString => {
                let &length = rdata.first().ok_or(RdataError::TooShort)?;
                rdata
                    .split_at_checked(1 + usize::from(length))
                    .ok_or(RdataError::TooShort)
            }
            Self::CharacterStrings => {
                let mut rest = rdata;
                loop {
                    (_, rest) = Self::CharacterString.split_from(rest)?;
                    if rest.is_empty() {
                        return Ok((rdata, rest));
                    }
                }
            }
            Self::U8
            | Self::U16
            | Self::U32
            | Self::Period
            | Self::Ipv4Address
            | Self::Ipv6Address => {
                let length = self.fixed_length().unwrap_or(0);
                rdata.split_at_checked(length).ok_or(RdataError::TooShort)
            }
        }
    }
}

/// Iterates over the fields of uncompressed rdata: each field's kind and octets. An unknown type's has none.
///
/// The iteration ends at the first octets that are not what the table says; [`check_rdata`] says whether there are any.
pub fn rdata_fields(
    record_type: RecordType,
    rdata: &[u8],
) -> impl Iterator<Item = (RdataField, &[u8])> {
    let fields = record_type.rdata_fields().unwrap_or(&[]);
    let mut rest = rdata;
    fields.iter().map_while(move |&field| {
        let (octets, after) = field.split_from(rest).ok()?;
        rest = after;
        Some((field, octets))
    })
}

/// The names in uncompressed rdata, in order; none for an unknown type.
pub fn rdata_names(record_type: RecordType, rdata: &[u8]) -> impl Iterator<Item = Name<'_>> {
    rdata_fields(record_type, rdata)
        .filter(|(field, _)| field.is_name())
        .filter_map(|(_, octets)| Name::from_wire(octets).ok())
}

/// Checks that `rdata`, uncompressed, is what its type's table says, with nothing left over; any octets for an unknown
/// type.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_rdata(record_type: RecordType, rdata: &[u8]) -> Result<(), RdataError> {
    if rdata.len() > usize::from(u16::MAX) {
        return Err(RdataError::TooLong);
    }
    let Some(fields) = record_type.rdata_fields() else {
        return Ok(());
    };
    let mut rest = rdata;
    for field in fields {
        (_, rest) = field.split_from(rest)?;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(RdataError::TrailingOctets)
    }
}

/// Why octets are not the rdata of a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RdataError {
    /// The rdata ends inside a field, or before one.
    TooShort,
    /// Octets after the last field.
    TrailingOctets,
    /// More than 65,535 octets.
    TooLong,
    /// A name in it is none.
    Name(NameError),
}

impl fmt::Display for RdataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => f.write_str("the rdata is too short for its type"),
            Self::TrailingOctets => f.write_str("octets follow the last field of the rdata"),
            Self::TooLong => f.write_str("the rdata is longer than 65,535 octets"),
            Self::Name(error) => write!(f, "in the rdata: {error}"),
        }
    }
}

impl Error for RdataError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Name(error) => Some(error),
            _ => None,
        }
    }
}

/// The number of `TYPE123` or `CLASS123`: decimal digits alone, at most 65,535.
fn numbered(text: &str, prefix: &str) -> Option<u16> {
    let (head, digits) = text.split_at_checked(prefix.len())?;
    let plain = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
    if head.eq_ignore_ascii_case(prefix) && plain {
        digits.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn mnemonics_and_numbers_of_rfc_3597_both_ways() {
        assert_eq!(RecordType::from_mnemonic("aaaa"), Some(RecordType::AAAA));
        assert_eq!(RecordType::from_mnemonic("TYPE28"), Some(RecordType::AAAA));
        assert_eq!(
            RecordType::from_mnemonic("type65535"),
            Some(RecordType(65535))
        );
        for bad in [
            "TYPE65536",
            "TYPE",
            "TYPE+1",
            "TYPE-1",
            "TYPE 1",
            "TYP1",
            "nonsense",
            "",
        ] {
            assert_eq!(RecordType::from_mnemonic(bad), None, "{bad:?}");
        }
        assert_eq!(RecordType(731).to_string(), "TYPE731");
        assert_eq!(RecordType::MX.to_string(), "MX");
        assert_eq!(RecordClass::from_mnemonic("class32"), Some(RecordClass(32)));
        assert_eq!(RecordClass::from_mnemonic("in"), Some(RecordClass::IN));
        assert_eq!(RecordClass(32).to_string(), "CLASS32");
        assert_eq!(Rcode::NXDOMAIN.to_string(), "NXDOMAIN");
        assert_eq!(Opcode(9).to_string(), "OPCODE9");
    }

    #[test]
    fn meta_types_are_in_no_zone() {
        for meta in [
            RecordType(0),
            RecordType::OPT,
            RecordType::TSIG,
            RecordType::ANY,
        ] {
            assert!(meta.is_meta(), "{meta}");
        }
        for data in [
            RecordType::A,
            RecordType::CAA,
            RecordType(127),
            RecordType(256),
        ] {
            assert!(!data.is_meta(), "{data}");
        }
    }

    #[test]
    fn compressible_names_are_in_the_types_of_rfc_1035_alone() {
        for number in 0..=u16::MAX {
            let record_type = RecordType(number);
            let fields = record_type.rdata_fields().unwrap_or(&[]);
            let compressible = fields.contains(&RdataField::CompressibleName);
            assert_eq!(
                compressible,
                record_type.has_compressible_names(),
                "{record_type}"
            );
            assert!(!compressible || number <= 16, "{record_type}");
        }
    }

    #[test]
    fn character_strings_are_the_last_field_only() {
        for number in 0..=u16::MAX {
            let fields = RecordType(number).rdata_fields().unwrap_or(&[]);
            if let Some((_, before)) = fields.split_last() {
                assert!(!before.contains(&RdataField::CharacterStrings));
            }
        }
    }

    #[test]
    fn rdata_is_checked_against_its_table() {
        let check = |t, rdata: &[u8]| check_rdata(t, rdata);
        assert_eq!(check(RecordType::A, &[192, 0, 2, 1]), Ok(()));
        assert_eq!(
            check(RecordType::A, &[192, 0, 2]),
            Err(RdataError::TooShort)
        );
        assert_eq!(
            check(RecordType::A, &[192, 0, 2, 1, 0]),
            Err(RdataError::TrailingOctets)
        );
        assert_eq!(check(RecordType::MX, b"\0\x0a\x04mail\0"), Ok(()));
        assert_eq!(
            check(RecordType::MX, b"\0\x0a\xc0\x0c"),
            Err(RdataError::Name(NameError::CompressionPointer))
        );
        assert_eq!(check(RecordType::TXT, b"\x02hi\0\x01x"), Ok(()));
        assert_eq!(
            check(RecordType::TXT, b"\x02hi\x02x"),
            Err(RdataError::TooShort)
        );
        assert_eq!(check(RecordType::TXT, b""), Err(RdataError::TooShort));
        assert_eq!(check(RecordType(731), b"\xc0\x0canything"), Ok(()));
    }

    #[test]
    fn names_of_rdata_are_found() {
        let rdata = b"\x02ns\0\x04root\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05";
        assert_eq!(check_rdata(RecordType::SOA, rdata), Ok(()));
        let names: Vec<_> = rdata_names(RecordType::SOA, rdata)
            .map(|n| n.to_string())
            .collect();
        assert_eq!(names, ["ns.", "root."]);
        assert_eq!(rdata_fields(RecordType::SOA, rdata).count(), 7);
        assert_eq!(rdata_names(RecordType(731), b"\x02ns\0").count(), 0);
    }
}
