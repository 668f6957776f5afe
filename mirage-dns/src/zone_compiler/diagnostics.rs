//! What is wrong with a zone, and where.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::master_file::{LoadError, ParseError, Record};
use crate::record::{RecordClass, RecordType};

/// How grave a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The zone is served, but perhaps not as it was meant.
    Warning,
    /// The zone can't be served.
    Error,
}

/// One problem of a zone and its place.
///
/// Displays as `example.zone:12:1: warning: www.example.org.: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The name of the source.
    pub file: String,
    /// The line, from 1; 0 if the problem is about the source as a whole.
    pub line: u32,
    /// The column, from 1 in bytes; 0 if the problem is about the source as a whole.
    pub column: u32,
    /// The owner of the record that it is about, as text.
    pub owner: Option<String>,
    /// What it is.
    pub problem: Problem,
}

/// What can be wrong with a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Error: an entry can't be read. What was expected and found, and the chain of includes.
    Syntax(String),
    /// Error: a name relative to an origin where the file has stated none and none was given with it. Reading
    /// ends with the first such name.
    NoOrigin {
        /// What was found, and the chain of includes.
        found: String,
        /// The name of the outermost source.
        source: String,
    },
    /// Error: the source can't be had.
    Unreadable(LoadError),
    /// Error: a class other than IN.
    ClassNotIn(RecordClass),
    /// Error: no SOA record at all (RFC 1035 §5.2: exactly one).
    NoSoa,
    /// Error: a second SOA record, at the apex or elsewhere (RFC 1035 §5.2).
    SecondSoa,
    /// Error: the SOA record stands elsewhere than at the zone's name that was given with the source, which this is.
    OtherApex(String),
    /// Error: no NS record at the apex (RFC 1034 §4.2.1).
    NoApexNs,
    /// Error: an owner that doesn't lie in the zone, whose apex this is.
    OutOfZone(String),
    /// Error: a CNAME record and this type at the same owner (RFC 1034 §3.6.2, RFC 2181 §10.1).
    CnameAndOtherData(RecordType),
    /// Error: several CNAME records at the same owner (RFC 2181 §10.1).
    SeveralCnames,
    /// Error: DNSKEY at the apex. The zone is signed, and signatures are not served yet.
    Signed,
    /// Error: several DNAME records at the same owner (RFC 6672 §2.4).
    SeveralDnames,
    /// Error: a DNAME record at a delegation, which hides it (RFC 6672 §2.3).
    DnameAtCut,
    /// Error: a name below this one, which has a DNAME record (RFC 6672 §2.4).
    BelowDname(String),
    /// Error: another zone of the set, or the compiler's own limits, stand against it.
    Unservable(String),
    /// Error: the records of one zone pass 4 GiB.
    TooLarge,
    /// Warning: NS at a wildcard, which RFC 4592 §4.2 gives no meaning; for the names that it covers it is data, and
    /// delegates nothing.
    WildcardNs,
    /// Warning: DNAME at a wildcard, which RFC 4592 §4.4 discourages; for the names that it covers it is data, and
    /// redirects nothing.
    WildcardDname,
    /// Warning: DS elsewhere than at a delegation, where it says nothing (RFC 4035 §2.4). BIND refuses it at the apex;
    /// NSD and Knot don't mind.
    DsWithoutDelegation,
    /// Warning: a type that means something at the apex alone: NSEC3PARAM (RFC 5155 §4), CDS and CDNSKEY (RFC 7344
    /// §4.1), CSYNC (RFC 7477 §2), ZONEMD (RFC 8976 §2).
    NotAtApex(RecordType),
    /// Warning: parameters in SVCB or HTTPS with priority 0, which recipients ignore (RFC 9460 §2.4.2).
    ParametersOfAlias(RecordType),
    /// Warning: the record is there already (RFC 2181 §5); it is left out.
    Duplicate(RecordType),
    /// Warning: another TTL than the RRset's first record (RFC 2181 §5.2); the lowest is served.
    DifferentTtl {
        /// The type of the RRset.
        record_type: RecordType,
        /// The TTL of this record.
        ttl: u32,
        /// That of the first.
        first: u32,
    },
    /// Warning: the delegation names a server below a cut that has no address here (RFC 1034 §4.2.1).
    MissingGlue(String),
    /// Warning: a name server inside the zone that has no address.
    NoAddress(String),
    /// Warning: below or at a delegation, so that this is never answered with (RFC 2136 §7.18 calls it occluded).
    Occluded {
        /// The type of what is hidden.
        record_type: RecordType,
        /// The delegation point.
        cut: String,
    },
    /// Warning: a record of this type points to a name that is an alias (RFC 2181 §10.3, RFC 2782).
    TargetIsAlias {
        /// The type of the record that points.
        record_type: RecordType,
        /// The alias.
        target: String,
    },
    /// Warning: the RRset doesn't fit into any message (65,535 octets with RFC 1035 §4.2.2's TCP).
    RrsetTooLarge(RecordType),
}

impl Problem {
    /// Whether it keeps the zone from being served.
    pub fn severity(&self) -> Severity {
        match self {
            Self::WildcardNs
            | Self::DsWithoutDelegation
            | Self::NotAtApex(_)
            | Self::ParametersOfAlias(_)
            | Self::WildcardDname
            | Self::Duplicate(_)
            | Self::DifferentTtl { .. }
            | Self::MissingGlue(_)
            | Self::NoAddress(_)
            | Self::Occluded { .. }
            | Self::TargetIsAlias { .. }
            | Self::RrsetTooLarge(_) => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(text) | Self::Unservable(text) => f.write_str(text),
            Self::NoOrigin { found, source } => write!(
                f,
                "expected an absolute name (ending in a dot), found {found}: no $ORIGIN stands before it; begin the file with \
                 one ($ORIGIN example.net.), or give the zone's name with the file (example.net={source})"
            ),
            Self::Unreadable(error) => error.fmt(f),
            Self::ClassNotIn(class) => write!(f, "class {class}: only IN is served"),
            Self::NoSoa => f.write_str("the zone has no SOA record (RFC 1035 §5.2)"),
            Self::SecondSoa => f.write_str("a second SOA record (RFC 1035 §5.2: exactly one)"),
            Self::OtherApex(origin) => write!(
                f,
                "the SOA record is not at {origin}, the zone's name that was given with the file"
            ),
            Self::NoApexNs => {
                f.write_str("the zone has no NS record at its apex (RFC 1034 §4.2.1)")
            }
            Self::OutOfZone(apex) => write!(f, "outside the zone {apex}"),
            Self::CnameAndOtherData(other) => {
                write!(f, "CNAME and {other} at the same name (RFC 1034 §3.6.2)")
            }
            Self::SeveralCnames => f.write_str("more than one CNAME (RFC 2181 §10.1)"),
            Self::Signed => f.write_str(
                "DNSKEY at the apex: the zone is signed, and DNSSEC is not served yet, so that validating resolvers would \
                 refuse the answers",
            ),
            Self::SeveralDnames => f.write_str("more than one DNAME (RFC 6672 §2.4)"),
            Self::DnameAtCut => f.write_str("DNAME at a delegation (RFC 6672 §2.3)"),
            Self::BelowDname(above) => {
                write!(f, "below {above}, which has a DNAME (RFC 6672 §2.4)")
            }
            Self::WildcardDname => f.write_str(
                "DNAME at a wildcard redirects nothing that the wildcard covers (RFC 4592 §4.4 discourages it)",
            ),
            Self::WildcardNs => {
                f.write_str("NS at a wildcard delegates nothing (RFC 4592 §4.2 leaves it undefined)")
            }
            Self::DsWithoutDelegation => {
                f.write_str("DS where there is no delegation (RFC 4035 §2.4)")
            }
            Self::NotAtApex(record_type) => {
                write!(f, "{record_type} elsewhere than at the zone's apex means nothing")
            }
            Self::ParametersOfAlias(record_type) => write!(
                f,
                "{record_type} with priority 0 is an alias, whose parameters are ignored (RFC 9460 §2.4.2)"
            ),
            Self::TooLarge => f.write_str("the records of the zone pass 4 GiB"),
            Self::Duplicate(record_type) => {
                write!(f, "the same {record_type} record a second time, left out")
            }
            Self::DifferentTtl {
                record_type,
                ttl,
                first,
            } => write!(
                f,
                "TTL {ttl} differs from the {first} of the {record_type} RRset; the lowest is served (RFC 2181 §5.2)"
            ),
            Self::MissingGlue(target) => {
                write!(f, "delegation to {target} without an address of it (glue)")
            }
            Self::NoAddress(target) => write!(f, "the name server {target} has no address"),
            Self::Occluded { record_type, cut } => {
                write!(f, "{record_type} is hidden by the delegation of {cut}")
            }
            Self::TargetIsAlias {
                record_type,
                target,
            } => write!(
                f,
                "{record_type} points to {target}, which is a CNAME (RFC 2181 §10.3)"
            ),
            Self::RrsetTooLarge(record_type) => {
                write!(f, "the {record_type} RRset is too large for any message")
            }
        }
    }
}

impl Diagnostic {
    pub(super) fn syntax(error: &ParseError<'_>) -> Self {
        Self {
            file: error.file.to_string(),
            line: error.line,
            column: error.column,
            owner: None,
            problem: Problem::Syntax(error.problem().to_string()),
        }
    }

    /// For a [`ParseError`] that is one for want of an origin.
    pub(super) fn without_origin(error: &ParseError<'_>, source: &str) -> Self {
        use alloc::format;
        Self {
            file: error.file.to_string(),
            line: error.line,
            column: error.column,
            owner: None,
            problem: Problem::NoOrigin {
                found: format!("{}{}", error.found, error.includes),
                source: source.to_string(),
            },
        }
    }

    pub(super) fn at(record: &Record<'_, '_>, problem: Problem) -> Self {
        Self {
            file: record.file.to_string(),
            line: record.position.line,
            column: record.position.column,
            owner: Some(record.owner.to_string()),
            problem,
        }
    }

    /// Whether it keeps the zone from being served.
    pub fn is_error(&self) -> bool {
        self.problem.severity() == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(match self.problem.severity() {
            Severity::Error => ": error: ",
            Severity::Warning => ": warning: ",
        })?;
        if let Some(owner) = &self.owner {
            write!(f, "{owner}: ")?;
        }
        self.problem.fmt(f)
    }
}

impl core::error::Error for Diagnostic {}

/// What was found in all zones: errors and warnings, bounded in number. Displays as one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    kept: Vec<Diagnostic>,
    bound: usize,
    errors: usize,
    omitted: usize,
}

impl Diagnostics {
    /// How many are kept if nothing else is asked for.
    pub const DEFAULT_BOUND: usize = 100;

    pub(super) fn set_bound(&mut self, bound: usize) {
        self.bound = bound;
    }

    /// Adds one. When there is no room, errors push warnings out.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.is_error());
        if self.kept.len() >= self.bound {
            self.omitted += 1;
            let warning = self.kept.iter().rposition(|kept| !kept.is_error());
            match warning.filter(|_| diagnostic.is_error()) {
                Some(warning) => self.kept.remove(warning),
                None => return,
            };
        }
        self.kept.push(diagnostic);
    }

    /// An empty list with the same bound.
    pub(super) fn another(&self) -> Self {
        Self {
            bound: self.bound,
            ..Self::default()
        }
    }

    /// Adds those of one zone, file by file, each in the order of its lines.
    pub(super) fn append(&mut self, mut zone: Self) {
        zone.kept
            .sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        let kept_errors = zone.kept.iter().filter(|kept| kept.is_error()).count();
        self.errors += zone.errors - kept_errors;
        self.omitted += zone.omitted;
        for diagnostic in zone.kept {
            self.push(diagnostic);
        }
    }

    /// Those that were kept: zone by zone, file by file, in the order of their lines.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.kept.iter()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.omitted == 0
    }

    /// How many errors were found, whether kept or not.
    pub fn error_count(&self) -> usize {
        self.errors
    }

    /// How many diagnostics were found but not kept.
    pub fn omitted(&self) -> usize {
        self.omitted
    }
}

impl Default for Diagnostics {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            bound: Self::DEFAULT_BOUND,
            errors: 0,
            omitted: 0,
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.kept {
            writeln!(f, "{diagnostic}")?;
        }
        if self.omitted > 0 {
            writeln!(f, "and {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl core::error::Error for Diagnostics {}
