//! The lengths of digests and fingerprints whose algorithm is known.

use super::RecordType;

/// Where a record's digest begins; the octet before it says the algorithm.
fn digest_at(record_type: RecordType) -> Option<usize> {
    match record_type {
        RecordType::SSHFP => Some(2),
        RecordType::DS | RecordType::CDS => Some(4),
        RecordType::ZONEMD => Some(6),
        _ => None,
    }
}

/// How many octets a record's digest has, and how many one of its algorithm has; `None` where that isn't known.
///
/// A record whose two differ is of no use to anybody, and most likely a slip of the pen: master files with one are refused.
/// So does BIND; Knot calls it an error with DS, and NSD warns with SSHFP. TLSA is left as it is, as with all three. A message
/// or an image with such a record is not refused: its primary may have it, and it harms nobody.
pub(crate) fn known_digest_length(record_type: RecordType, rdata: &[u8]) -> Option<(usize, usize)> {
    let at = digest_at(record_type)?;
    let algorithm = *rdata.get(at - 1)?;
    let known = match (record_type, algorithm) {
        // RFC 4255 §3.1.2, RFC 6594.
        (RecordType::SSHFP, 1) => 20,
        (RecordType::SSHFP, 2) => 32,
        // RFC 4034 §5.1.4, RFC 4509, RFC 5933, RFC 6605.
        (RecordType::DS | RecordType::CDS, 1) => 20,
        (RecordType::DS | RecordType::CDS, 2 | 3) => 32,
        (RecordType::DS | RecordType::CDS, 4) => 48,
        // RFC 8976 §2.2.3.
        (RecordType::ZONEMD, 1) => 48,
        (RecordType::ZONEMD, 2) => 64,
        _ => return None,
    };
    Some((rdata.len() - at, known))
}
