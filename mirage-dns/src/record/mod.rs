//! Types, classes, response codes, and the shape of each known type's rdata.
//!
//! | type | what it is |
//! |------|------------|
//! | [`RecordType`] | a type or query type, any of the 65,536 |
//! | [`RecordClass`] | a class or query class |
//! | [`Opcode`], [`Rcode`] | what a message asks, and how it went |
//! | [`RdataField`] | one field of a type's rdata; [`RecordType::rdata_fields`] is the table |
//! | [`check_rdata`], [`rdata_fields`], [`rdata_names`] | rdata checked and taken apart as the table says |
//! | [`Rdata`] | rdata that displays as master files have it |
//!
//! A type is *known* when the table has its fields. The text parser, the wire codec and the zone compiler all follow
//! that table, so a new type is one more row in it. Every other type is carried as octets that mean nothing
//! (RFC 3597), and no name is looked for in them.

mod address_prefixes;
mod digest;
mod fields;
mod location;
mod rdata;
mod service_parameters;
mod text;
mod type_bitmap;

use core::fmt;

pub use fields::RdataField;
pub use rdata::{RdataError, check_rdata, rdata_fields, rdata_names};
pub use text::Rdata;

pub(crate) use address_prefixes::{IPV4, IPV6};
pub(crate) use digest::known_digest_length;
pub(crate) use location::{DEGREE, MIDDLE, SPHEROID};
pub(crate) use service_parameters::{ServiceKey, are_self_consistent, split_first};
pub(crate) use text::{days_of_month, days_of_year};
pub(crate) use type_bitmap::split_window;

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
    /// X.400 mail mapping (RFC 2163).
    PX "PX" = 26;
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

    /// Whether senders may compress names in this type's rdata (RFC 3597 §4: the types of RFC 1035 alone).
    pub const fn has_compressible_names(self) -> bool {
        matches!(
            self,
            Self::NS
                | Self::MD
                | Self::MF
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
mod tests;
