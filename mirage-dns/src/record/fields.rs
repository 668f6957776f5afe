//! The table: which fields the rdata of each known type has, and what octets each kind of field takes.

use crate::name::{Name, NameError};

use super::rdata::RdataError;
use super::{RecordType, address_prefixes, location, service_parameters, type_bitmap};

/// One field of a type's rdata, as it is written in text and on the wire.
///
/// [Some kinds](Self::is_last) take all that is left of the rdata.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RdataField {
    /// A domain name that senders may compress: in RFC 1035's types alone (RFC 3597 §4).
    CompressibleName,
    /// A domain name that senders never compress, but receivers take compressed (RFC 3597 §4). The canonical form has it
    /// in lower case.
    Name,
    /// A domain name that nobody compresses. The canonical form has it in lower case (RFC 4034 §6.2).
    WholeName,
    /// A domain name that nobody compresses, and whose case the canonical form keeps (RFC 3597 §7, RFC 6840 §5.1).
    CasedName,
    /// Any number of domain names that nobody compresses (RFC 8005 §5).
    Names,
    /// One octet; a decimal number in text.
    U8,
    /// Two octets, big-endian; a decimal number in text.
    U16,
    /// Four octets, big-endian; a decimal number in text.
    U32,
    /// Four octets of seconds, big-endian; in text a decimal number, or one with units such as `1h30m`.
    Period,
    /// Four octets, big-endian: seconds since 1970. In text YYYYMMDDHHmmSS, or a decimal number (RFC 4034 §3.2).
    Timestamp,
    /// One octet: an algorithm of DNSSEC; a decimal number or a mnemonic in text (RFC 4034 §A.1).
    Algorithm,
    /// One octet: a protocol of IP; a decimal number, `TCP` or `UDP` in text (RFC 1035 §3.4.2).
    Protocol,
    /// Two octets, big-endian: a record type, which text has as it has types everywhere.
    TypeCode,
    /// Two octets, big-endian: the kind of a certificate; a decimal number or a mnemonic in text (RFC 4398 §2.1).
    CertificateType,
    /// Four octets; a dotted quad in text.
    Ipv4Address,
    /// Sixteen octets; the text of RFC 4291 §2.2.
    Ipv6Address,
    /// Six octets; in text two hexadecimal digits each, with hyphens between (RFC 7043 §3.2).
    Eui48,
    /// Eight octets; in text two hexadecimal digits each, with hyphens between (RFC 7043 §4.2).
    Eui64,
    /// A length octet and so many octets; a word or a quoted string in text (RFC 1035 §3.3, §5.1).
    CharacterString,
    /// One or more character-strings, up to the end of the rdata.
    CharacterStrings,
    /// A length octet and so many letters and digits of ASCII, at least one (RFC 8659 §4.1).
    Tag,
    /// All that is left; a word or a quoted string in text (RFC 8659 §4.1.1).
    Text,
    /// All that is left, at least one octet; a word or a quoted string in text (RFC 7553 §4.4).
    NonEmptyText,
    /// All that is left, at least one octet; hexadecimal in text, with white space anywhere.
    Hexadecimal,
    /// All that is left, at least one octet; Base64 in text (RFC 4648 §4), with white space anywhere.
    Base64,
    /// All that is left, if anything is; Base64 in text, with white space anywhere.
    OptionalBase64,
    /// A length octet and so many octets; one word of hexadecimal in text, `-` for none (RFC 5155 §3.3).
    Salt,
    /// A length octet and so many octets, at least one; one word of Base32hex without padding in text (RFC 5155 §3.3).
    HashedName,
    /// A set of record types, in windows of 256 (RFC 4034 §4.1.2); the types in text.
    TypeBitmap,
    /// A set of ports, a bit each; decimal numbers or a few mnemonics in text (RFC 1035 §3.4.2).
    ServiceBitmap,
    /// Version, size, precisions, latitude, longitude and altitude (RFC 1876 §2). Of a version other than 0, any octets.
    Location,
    /// Any number of address prefixes (RFC 3123 §4).
    AddressPrefixes,
    /// Any number of keys, each with its value (RFC 9460 §2.2); in text in any order.
    ServiceParameters,
    /// Gateway type, algorithm, and the gateway, whose form the type says (RFC 4025 §2.3 to §2.5).
    IpsecGateway,
    /// Length of the identity tag, algorithm, length of the key, the tag, the key (RFC 8005 §5).
    HostIdentity,
}

impl RecordType {
    /// The fields of this type's rdata in order; `None` for a type that is not known, whose rdata is any octets.
    pub const fn rdata_fields(self) -> Option<&'static [RdataField]> {
        use RdataField::*;
        Some(match self {
            Self::A => &[Ipv4Address],
            Self::NS | Self::MD | Self::MF | Self::CNAME | Self::PTR => &[CompressibleName],
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
            Self::WKS => &[Ipv4Address, Protocol, ServiceBitmap],
            Self::HINFO => &[CharacterString, CharacterString],
            Self::MINFO => &[CompressibleName, CompressibleName],
            Self::MX => &[U16, CompressibleName],
            Self::TXT | Self::SPF => &[CharacterStrings],
            Self::RP => &[Name, Name],
            Self::AFSDB | Self::RT | Self::KX => &[U16, Name],
            Self::SIG => &[
                TypeCode, Algorithm, U8, Period, Timestamp, Timestamp, U16, Name, Base64,
            ],
            Self::KEY => &[U16, U8, Algorithm, OptionalBase64],
            Self::PX => &[U16, Name, Name],
            Self::AAAA => &[Ipv6Address],
            Self::LOC => &[Location],
            Self::SRV => &[U16, U16, U16, Name],
            Self::NAPTR => &[
                U16,
                U16,
                CharacterString,
                CharacterString,
                CharacterString,
                Name,
            ],
            Self::CERT => &[CertificateType, U16, Algorithm, Base64],
            Self::DNAME => &[WholeName],
            Self::APL => &[AddressPrefixes],
            Self::DS | Self::CDS => &[U16, Algorithm, U8, Hexadecimal],
            Self::SSHFP => &[U8, U8, Hexadecimal],
            Self::IPSECKEY => &[U8, IpsecGateway, OptionalBase64],
            Self::RRSIG => &[
                TypeCode, Algorithm, U8, Period, Timestamp, Timestamp, U16, WholeName, Base64,
            ],
            Self::NSEC => &[CasedName, TypeBitmap],
            Self::DNSKEY | Self::CDNSKEY => &[U16, U8, Algorithm, Base64],
            Self::DHCID | Self::OPENPGPKEY => &[Base64],
            Self::NSEC3 => &[U8, U8, U16, Salt, HashedName, TypeBitmap],
            Self::NSEC3PARAM => &[U8, U8, U16, Salt],
            Self::TLSA | Self::SMIMEA => &[U8, U8, U8, Hexadecimal],
            Self::HIP => &[HostIdentity, Names],
            Self::CSYNC => &[U32, U16, TypeBitmap],
            Self::ZONEMD => &[U32, U8, U8, Hexadecimal],
            Self::SVCB | Self::HTTPS => &[U16, CasedName, ServiceParameters],
            Self::EUI48 => &[Eui48],
            Self::EUI64 => &[Eui64],
            Self::URI => &[U16, U16, NonEmptyText],
            Self::CAA => &[U8, Tag, Text],
            _ => return None,
        })
    }
}

/// The ports that a [`RdataField::ServiceBitmap`] can name, in octets: 65,536 bits.
const MAX_SERVICE_OCTETS: usize = 8_192;

impl RdataField {
    /// The octets of a field of fixed length; `None` where the length is in the field itself, or is all that is left.
    pub const fn fixed_length(self) -> Option<usize> {
        match self {
            Self::U8 | Self::Algorithm | Self::Protocol => Some(1),
            Self::U16 | Self::TypeCode | Self::CertificateType => Some(2),
            Self::U32 | Self::Period | Self::Timestamp | Self::Ipv4Address => Some(4),
            Self::Eui48 => Some(6),
            Self::Eui64 => Some(8),
            Self::Ipv6Address => Some(16),
            _ => None,
        }
    }

    /// Whether the field is one domain name.
    pub const fn is_name(self) -> bool {
        matches!(
            self,
            Self::CompressibleName | Self::Name | Self::WholeName | Self::CasedName
        )
    }

    /// Whether receivers take the field as a name that may be compressed (RFC 3597 §4).
    pub const fn may_be_compressed(self) -> bool {
        matches!(self, Self::CompressibleName | Self::Name)
    }

    /// Whether the field is a name that the canonical form has in lower case (RFC 4034 §6.2, RFC 6840 §5.1).
    pub const fn is_case_folded(self) -> bool {
        matches!(self, Self::CompressibleName | Self::Name | Self::WholeName)
    }

    /// Whether the field takes all that is left of the rdata, and so is a type's last.
    pub const fn is_last(self) -> bool {
        matches!(
            self,
            Self::Names
                | Self::CharacterStrings
                | Self::Text
                | Self::NonEmptyText
                | Self::Hexadecimal
                | Self::Base64
                | Self::OptionalBase64
                | Self::TypeBitmap
                | Self::ServiceBitmap
                | Self::Location
                | Self::AddressPrefixes
                | Self::ServiceParameters
        )
    }

    /// Splits this field, uncompressed, off the front of `rdata`.
    ///
    /// # Errors
    /// [`RdataError`] when the octets are not this field.
    pub fn split_from(self, rdata: &[u8]) -> Result<(&[u8], &[u8]), RdataError> {
        let length = self.length_in(rdata)?;
        rdata.split_at_checked(length).ok_or(RdataError::TooShort)
    }

    /// How many octets the field has at the front of `rdata`, which may have fewer.
    fn length_in(self, rdata: &[u8]) -> Result<usize, RdataError> {
        if let Some(length) = self.fixed_length() {
            return Ok(length);
        }
        let malformed = Err(RdataError::Malformed(self));
        let all_if = |right: bool| if right { Ok(rdata.len()) } else { malformed };
        let not_empty = !rdata.is_empty();
        match self {
            Self::CompressibleName | Self::Name | Self::WholeName | Self::CasedName => {
                name_length(rdata).map_err(RdataError::Name)
            }
            Self::CharacterString | Self::Salt => string_length(rdata),
            Self::HashedName => match string_length(rdata)? {
                1 => malformed,
                length => Ok(length),
            },
            Self::Tag => {
                let length = string_length(rdata)?;
                let tag = rdata.get(1..length).ok_or(RdataError::TooShort)?;
                match tag.iter().all(u8::is_ascii_alphanumeric) && length > 1 {
                    true => Ok(length),
                    false => malformed,
                }
            }
            Self::CharacterStrings => {
                let mut at = 0;
                loop {
                    at += string_length(rdata.get(at..).ok_or(RdataError::TooShort)?)?;
                    if at == rdata.len() {
                        return Ok(at);
                    }
                }
            }
            Self::Names => {
                let mut at = 0;
                while at < rdata.len() {
                    at += name_length(&rdata[at..]).map_err(RdataError::Name)?;
                }
                Ok(at)
            }
            Self::NonEmptyText | Self::Hexadecimal | Self::Base64 => match not_empty {
                true => Ok(rdata.len()),
                false => Err(RdataError::TooShort),
            },
            Self::TypeBitmap => all_if(type_bitmap::is_valid(rdata)),
            Self::ServiceBitmap => all_if(rdata.len() <= MAX_SERVICE_OCTETS),
            Self::Location => all_if(location::is_valid(rdata)),
            Self::AddressPrefixes => all_if(address_prefixes::are_valid(rdata)),
            Self::ServiceParameters => all_if(service_parameters::are_valid(rdata)),
            Self::IpsecGateway => {
                let [gateway_type, _algorithm, gateway @ ..] = rdata else {
                    return Err(RdataError::TooShort);
                };
                let length = match gateway_type {
                    0 => 0,
                    1 => 4,
                    2 => 16,
                    3 => name_length(gateway).map_err(RdataError::Name)?,
                    _ => return malformed,
                };
                Ok(2 + length)
            }
            Self::HostIdentity => {
                let [tag, _algorithm, high, low, ..] = *rdata else {
                    return Err(RdataError::TooShort);
                };
                match u16::from_be_bytes([high, low]) {
                    0 => malformed,
                    _ if tag == 0 => malformed,
                    key => Ok(4 + usize::from(tag) + usize::from(key)),
                }
            }
            _ => Ok(rdata.len()),
        }
    }
}

fn name_length(octets: &[u8]) -> Result<usize, NameError> {
    Name::split_from(octets).map(|(name, _)| name.len())
}

/// The octets of a character-string with its length octet.
fn string_length(rdata: &[u8]) -> Result<usize, RdataError> {
    let &length = rdata.first().ok_or(RdataError::TooShort)?;
    Ok(1 + usize::from(length))
}
