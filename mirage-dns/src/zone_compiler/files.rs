//! Compiling files of a file system.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::master_file::FileSystemLoader;
use crate::name::{NameBuf, NameError};

use super::diagnostics::Diagnostics;
use super::{Compiled, ZoneCompiler};

/// The master file of a zone, and the zone's name where the file leaves that to whoever loads it.
///
/// ```
/// use mirage_dns::zone_compiler::ZoneFile;
///
/// // As people write it in an argument or a variable: [ORIGIN=]FILE.
/// let zone = ZoneFile::parse("example.net=zones/my.zone".as_ref())?;
/// assert_eq!(zone.origin().unwrap().as_name().to_string(), "example.net.");
/// assert_eq!(zone.path().to_str(), Some("zones/my.zone"));
/// # Ok::<(), mirage_dns::zone_compiler::ZoneFileError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneFile {
    path: PathBuf,
    origin: Option<NameBuf>,
}

/// Why a text is not `[ORIGIN=]FILE`. Whoever wrote the text is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZoneFileError {
    /// What stands before the equals sign is no domain name.
    Origin {
        /// That text.
        text: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// Nothing stands where the file is named.
    NoFile,
    /// There is an equals sign, and the text is not Unicode.
    NotUnicode,
}

impl ZoneFile {
    /// A file that states its origin (`$ORIGIN`), or has absolute names.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            origin: None,
        }
    }

    /// The same as the file of the zone `origin`: relative names are relative to that until a `$ORIGIN`, and the zone's
    /// SOA record must stand there.
    #[must_use]
    pub fn with_origin(mut self, origin: NameBuf) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Reads `[ORIGIN=]FILE`. The first equals sign ends the origin; a file that has one in its name is written `=FILE`.
    ///
    /// The origin is in master-file form, its last dot may be left out.
    ///
    /// # Errors
    /// [`ZoneFileError`].
    pub fn parse(text: &OsStr) -> Result<Self, ZoneFileError> {
        if text.is_empty() {
            return Err(ZoneFileError::NoFile);
        }
        if !text.as_encoded_bytes().contains(&b'=') {
            return Ok(Self::new(text));
        }
        let text = text.to_str().ok_or(ZoneFileError::NotUnicode)?;
        let (origin, path) = text.split_once('=').unwrap_or(("", text));
        if path.is_empty() {
            return Err(ZoneFileError::NoFile);
        }
        let zone = Self::new(path);
        if origin.is_empty() {
            return Ok(zone);
        }
        let origin = NameBuf::from_text(origin).map_err(|error| ZoneFileError::Origin {
            text: origin.into(),
            error,
        })?;
        Ok(zone.with_origin(origin))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The zone's name, if it was given with the file.
    pub fn origin(&self) -> Option<&NameBuf> {
        self.origin.as_ref()
    }
}

impl fmt::Display for ZoneFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin { text, error } => write!(
                f,
                "{text:?} before the equals sign is not the name of a zone: {error} (a file that has an equals sign in its \
                 name is written =FILE)"
            ),
            Self::NoFile => f.write_str("no file is named: expected [ORIGIN=]FILE"),
            Self::NotUnicode => {
                f.write_str("with an equals sign in it, ORIGIN=FILE must be Unicode text")
            }
        }
    }
}

impl core::error::Error for ZoneFileError {}

/// What came of some files.
#[derive(Debug, Clone)]
pub struct CompiledFiles {
    /// The zone set, or everything that was found if an error is among it.
    pub result: Result<Compiled, Diagnostics>,
    /// All files that were read, included ones too: what to watch for changes.
    pub files: Vec<PathBuf>,
}

/// Compiles the zones in `zones`, one zone a file, into one zone set.
///
/// An `$INCLUDE` is relative to the file that it stands in. All files together may have `bytes` octets; all limits are
/// otherwise [`ZoneCompiler::new`]'s.
pub fn compile_files(zones: &[ZoneFile], bytes: u64) -> CompiledFiles {
    let loader = FileSystemLoader::new(bytes);
    let mut compiler = ZoneCompiler::new();
    for zone in zones {
        match (loader.open(&zone.path), &zone.origin) {
            (Ok(source), Some(origin)) => compiler.add_zone_at(origin.as_name(), source, &loader),
            (Ok(source), None) => compiler.add_zone(source, &loader),
            (Err(error), _) => compiler.add_unreadable(&zone.path.to_string_lossy(), error),
        }
    }
    CompiledFiles {
        result: compiler.finish(),
        files: loader.paths().map(Path::to_path_buf).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString as _;

    fn parse(text: &str) -> Result<ZoneFile, ZoneFileError> {
        ZoneFile::parse(text.as_ref())
    }

    #[test]
    fn an_origin_ends_at_the_first_equals_sign() {
        for (text, origin, path) in [
            ("my.zone", None, "my.zone"),
            ("example.net=my.zone", Some("example.net."), "my.zone"),
            (
                "example.net.=/z/my.zone",
                Some("example.net."),
                "/z/my.zone",
            ),
            (".=root.zone", Some("."), "root.zone"),
            // Classless delegation of reverse names (RFC 2317 §4) has slashes in names.
            (
                "0/26.2.0.192.in-addr.arpa=r",
                Some("0/26.2.0.192.in-addr.arpa."),
                "r",
            ),
            ("a=b=c.zone", Some("a."), "b=c.zone"),
            ("=b=c.zone", None, "b=c.zone"),
            (r"a\061b=c.zone", Some(r"a=b."), "c.zone"),
        ] {
            let zone = parse(text).expect(text);
            let found = zone.origin().map(|origin| origin.as_name().to_string());
            assert_eq!(found.as_deref(), origin, "{text}");
            assert_eq!(zone.path(), Path::new(path), "{text}");
        }
    }

    #[test]
    fn what_is_no_origin_or_no_file_is_refused() {
        for text in ["", "=", "example.net="] {
            assert_eq!(parse(text), Err(ZoneFileError::NoFile), "{text}");
        }
        let error = parse("./a=b.zone").unwrap_err();
        assert!(matches!(error, ZoneFileError::Origin { .. }), "{error}");
        assert!(error.to_string().contains("=FILE"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_path_need_not_be_unicode() {
        use std::os::unix::ffi::OsStrExt as _;
        let zone = ZoneFile::parse(OsStr::from_bytes(b"\xff.zone")).unwrap();
        assert_eq!(zone.path().as_os_str().as_bytes(), b"\xff.zone");
        assert_eq!(
            ZoneFile::parse(OsStr::from_bytes(b"a=\xff.zone")),
            Err(ZoneFileError::NotUnicode)
        );
    }
}
