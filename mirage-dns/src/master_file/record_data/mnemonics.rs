//! Numbers that have mnemonics in records.

use super::super::numbers;

/// Algorithms of DNSSEC (RFC 4034 §A.1; IANA "DNS Security Algorithm Numbers").
const ALGORITHMS: &[(&str, u32)] = &[
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("ECC", 4),
    ("RSASHA1", 5),
    ("DSA-NSEC3-SHA1", 6),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECC-GOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];

/// Kinds of certificates (RFC 4398 §2.1).
const CERTIFICATE_TYPES: &[(&str, u32)] = &[
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

/// Protocols of IP that services have ports of (IANA "Protocol Numbers").
const PROTOCOLS: &[(&str, u32)] = &[("TCP", 6), ("UDP", 17)];

/// Services that WKS records were made for (RFC 1010).
const SERVICES: &[(&str, u32)] = &[
    ("echo", 7),
    ("discard", 9),
    ("daytime", 13),
    ("ftp-data", 20),
    ("ftp", 21),
    ("telnet", 23),
    ("smtp", 25),
    ("time", 37),
    ("domain", 53),
    ("tftp", 69),
    ("finger", 79),
    ("http", 80),
    ("hostnames", 101),
    ("sunrpc", 111),
    ("nntp", 119),
    ("ntp", 123),
];

pub(super) fn algorithm(word: &[u8]) -> Option<u32> {
    listed(word, ALGORITHMS, u8::MAX.into())
}

pub(super) fn certificate_type(word: &[u8]) -> Option<u32> {
    listed(word, CERTIFICATE_TYPES, u16::MAX.into())
}

pub(super) fn protocol(word: &[u8]) -> Option<u32> {
    listed(word, PROTOCOLS, u8::MAX.into())
}

pub(super) fn service(word: &[u8]) -> Option<u32> {
    listed(word, SERVICES, u16::MAX.into())
}

/// A number up to `most`, or the one that a mnemonic stands for, in any case.
fn listed(word: &[u8], mnemonics: &[(&str, u32)], most: u32) -> Option<u32> {
    let of = |(mnemonic, _): &&(&str, u32)| mnemonic.as_bytes().eq_ignore_ascii_case(word);
    let named = mnemonics.iter().find(of).map(|&(_, number)| number);
    named.or_else(|| numbers::decimal(word, most))
}
