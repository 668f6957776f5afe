//! Compiles the files of a folder to a store that is served without a copy and without hashing (feature `std`).
//!
//! | item | what it is |
//! | --- | --- |
//! | [`SiteCompiler`] | reads a folder, within bounds |
//! | [`Site`] | what it read: the files, and the variants that are smaller |
//! | [`SiteError`] | which file is wrong, and why |
//!
//! Each file gets a digest, of which [`Files`](crate::files::Files) makes its strong entity tag, the time when it was changed, and, where
//! that is smaller, variants in gzip and Brotli with digests of their own. Two builds of the same files are the same, octet by octet.
//!
//! ```
//! use mirage_http::site_compiler::SiteCompiler;
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! # std::fs::write(folder.join("index.html"), "<p>It works</p>".repeat(50))?;
//! let site = SiteCompiler::new().compile(folder)?;
//! // For the rest of the process; a build script writes source instead: `mirage_http::build`.
//! let store = site.leak()?;
//! let keys = ["index.html", "index.html.br", "index.html.gz"];
//! assert!(store.keys().eq(keys));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod source;

use std::boxed::Box;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::string::String;
use std::time::{Duration, SystemTime};
use std::vec::Vec;

use flate2::{Compression, GzBuilder};
use mirage_core::kv::{CompiledEntry, CompiledStore, Digest, Key};
use sha2::{Digest as _, Sha256};

pub use error::{Fault, SiteError};

use crate::negotiate::Coding;

/// A variant is kept if it is smaller by so many octets: what the fields Content-Encoding and Vary take, and the places of one more entry.
const LEAST_GAIN: usize = 64;
/// How deep folders may lie in folders.
const MAX_DEPTH: usize = 16;
/// Octets of SHA-256 that a digest has: enough that no two versions of a file ever share one.
const DIGEST_LENGTH: usize = 16;

/// What is said of the time when a file was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModificationTimes {
    /// Nothing: there are entity tags.
    None,
    /// What the file system says.
    Files,
    /// What the file system says, but nothing later than this, since the Unix epoch: the time of the sources, and not when they were
    /// copied here (<https://reproducible-builds.org/specs/source-date-epoch/>).
    NotAfter(Duration),
}

impl ModificationTimes {
    /// As the environment wants it: `SOURCE_DATE_EPOCH`, in seconds, is the latest.
    ///
    /// # Errors
    ///
    /// It is no number.
    pub fn from_environment() -> Result<Self, SiteError> {
        let Some(latest) = std::env::var_os("SOURCE_DATE_EPOCH") else {
            return Ok(Self::Files);
        };
        let seconds = latest.to_str().and_then(|text| text.parse().ok());
        let seconds = seconds.ok_or_else(|| {
            SiteError::new(Path::new("SOURCE_DATE_EPOCH"), Fault::NoNumber(latest))
        })?;
        Ok(Self::NotAfter(Duration::from_secs(seconds)))
    }

    fn of(self, file: &fs::Metadata) -> Option<Duration> {
        let latest = match self {
            Self::None => return None,
            Self::Files => Duration::MAX,
            Self::NotAfter(latest) => latest,
        };
        let modified = file.modified().ok()?;
        let modified = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        // HTTP knows seconds.
        Some(Duration::from_secs(modified.min(latest).as_secs()))
    }
}

/// Reads a folder's files and compresses them, within bounds.
#[derive(Clone, Copy, Debug)]
pub struct SiteCompiler<'p> {
    prefix: &'p str,
    times: ModificationTimes,
    brotli: bool,
    max_files: usize,
    max_octets: u64,
}

impl<'p> SiteCompiler<'p> {
    /// Up to 512 files, of 64 MiB together, with the times of the file system.
    pub const fn new() -> Self {
        Self {
            prefix: "",
            times: ModificationTimes::Files,
            brotli: true,
            max_files: 512,
            max_octets: 64 << 20,
        }
    }

    /// With a beginning for all keys, such as `_mirage/`: the folder is a part of a site.
    pub const fn with_prefix(self, prefix: &'p str) -> Self {
        Self { prefix, ..self }
    }

    /// With other times.
    pub const fn with_times(self, times: ModificationTimes) -> Self {
        Self { times, ..self }
    }

    /// Without variants in Brotli, or with them again. Browsers take it over TLS alone: of what is served without, and without a proxy
    /// before it, only gzip is ever asked for by them.
    pub const fn with_brotli(self, brotli: bool) -> Self {
        Self { brotli, ..self }
    }

    /// With another bound for how many files there are. Compiled in, some thousands take rustc noticeably long.
    pub const fn with_max_files(self, max_files: usize) -> Self {
        Self { max_files, ..self }
    }

    /// With another bound for the octets that all files have, not counting variants.
    pub const fn with_max_octets(self, max_octets: u64) -> Self {
        Self { max_octets, ..self }
    }

    /// Reads the files below `folder`. Those whose names begin with a dot are left out, except `.well-known` at the top (RFC 8615).
    ///
    /// # Errors
    ///
    /// The folder or a file can't be read; it is a link or something else than a file; its name is not UTF-8; it has the name of a variant
    /// of another; they are more than the bounds allow; or there is no page `index.html`: then it is hardly a site's folder.
    pub fn compile(&self, folder: &Path) -> Result<Site, SiteError> {
        let mut reading = Reading {
            compiler: self,
            octets: 0,
            plain: BTreeMap::new(),
            left_out: Vec::new(),
        };
        reading.folder(folder, self.prefix, 0)?;
        let index = std::format!("{}index.html", self.prefix);
        if !reading.plain.contains_key(&index) {
            return Err(SiteError::new(folder, Fault::NoIndex));
        }
        let mut entries = BTreeMap::new();
        for (key, file) in &reading.plain {
            for coding in [Coding::Gzip, Coding::Brotli] {
                let name = std::format!("{key}{}", coding.suffix());
                if let Some(other) = reading.plain.get(&name) {
                    let fault = Fault::VariantOf(key.clone());
                    return Err(SiteError::new(&other.path, fault));
                }
                if coding == Coding::Brotli && !self.brotli {
                    continue;
                }
                let packed = compress(&file.entry.octets, coding)
                    .map_err(|error| SiteError::new(&file.path, Fault::Io(error)))?;
                if packed.len() + LEAST_GAIN <= file.entry.octets.len() {
                    let modified = file.entry.last_modified;
                    entries.insert(name, SiteEntry::new(packed, modified));
                }
            }
        }
        let plain = reading.plain.into_iter();
        entries.extend(plain.map(|(key, file)| (key, file.entry)));
        Ok(Site {
            entries,
            left_out: reading.left_out,
        })
    }
}

impl Default for SiteCompiler<'_> {
    fn default() -> Self {
        Self::new()
    }
}

struct Reading<'c> {
    compiler: &'c SiteCompiler<'c>,
    octets: u64,
    plain: BTreeMap<String, PlainFile>,
    left_out: Vec<PathBuf>,
}

struct PlainFile {
    path: PathBuf,
    entry: SiteEntry,
}

impl Reading<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), SiteError> {
        if depth > MAX_DEPTH {
            return Err(SiteError::new(folder, Fault::TooDeep(MAX_DEPTH)));
        }
        let entries = fs::read_dir(folder).map_err(SiteError::io(folder))?;
        for entry in entries {
            let entry = entry.map_err(SiteError::io(folder))?;
            let path = entry.path();
            if is_hidden(&entry.file_name(), depth) {
                self.left_out.push(path);
                continue;
            }
            let name = entry.file_name().into_string();
            let name = name.map_err(|_| SiteError::new(&path, Fault::NameNotUtf8))?;
            if name
                .bytes()
                .any(|octet| octet == b'\\' || octet.is_ascii_control())
            {
                return Err(SiteError::new(&path, Fault::NameNotServed));
            }
            let key = std::format!("{prefix}{name}");
            // Of the entry itself, so that a link is seen as one.
            let kind = entry.file_type().map_err(SiteError::io(&path))?;
            if kind.is_dir() {
                self.folder(&path, &(key + "/"), depth + 1)?;
            } else if kind.is_file() {
                self.file(path, key)?;
            } else if kind.is_symlink() {
                return Err(SiteError::new(&path, Fault::Link));
            } else {
                return Err(SiteError::new(&path, Fault::NoFile));
            }
        }
        // The order of a file system's entries means nothing.
        self.left_out.sort();
        Ok(())
    }

    fn file(&mut self, path: PathBuf, key: String) -> Result<(), SiteError> {
        if let Err(error) = Key::new(&key) {
            return Err(SiteError::new(&path, Fault::Key(error)));
        }
        if self.plain.len() == self.compiler.max_files {
            let fault = Fault::TooManyFiles(self.compiler.max_files);
            return Err(SiteError::new(&path, fault));
        }
        let file = fs::File::open(&path).map_err(SiteError::io(&path))?;
        let metadata = file.metadata().map_err(SiteError::io(&path))?;
        let left = self.compiler.max_octets - self.octets;
        let mut octets = Vec::new();
        // A file may grow while it is read.
        let mut bounded = file.take(left.saturating_add(1));
        let read = bounded.read_to_end(&mut octets);
        let length = read.map_err(SiteError::io(&path))? as u64;
        if length > left {
            let fault = Fault::TooManyOctets(self.compiler.max_octets);
            return Err(SiteError::new(&path, fault));
        }
        self.octets += length;
        let entry = SiteEntry::new(octets, self.compiler.times.of(&metadata));
        self.plain.insert(key, PlainFile { path, entry });
        Ok(())
    }
}

fn is_hidden(name: &OsStr, depth: usize) -> bool {
    let is_well_known = depth == 0 && name == ".well-known";
    name.as_encoded_bytes().starts_with(b".") && !is_well_known
}

fn compress(octets: &[u8], coding: Coding) -> std::io::Result<Vec<u8>> {
    match coding {
        Coding::Identity => Ok(octets.to_vec()),
        Coding::Gzip => {
            // No name, no time, and the same system everywhere: nothing of where it was made.
            let builder = GzBuilder::new().operating_system(255);
            let mut writer = builder.write(Vec::new(), Compression::best());
            writer.write_all(octets)?;
            writer.finish()
        }
        Coding::Brotli => {
            let parameters = brotli::enc::BrotliEncoderParams {
                quality: 11,
                lgwin: 22,
                size_hint: octets.len(),
                ..Default::default()
            };
            let mut packed = Vec::new();
            let mut input = octets;
            brotli::BrotliCompress(&mut input, &mut packed, &parameters)?;
            Ok(packed)
        }
    }
}

/// A site: files, and variants of them, by their keys.
#[derive(Clone, Debug)]
pub struct Site {
    entries: BTreeMap<String, SiteEntry>,
    left_out: Vec<PathBuf>,
}

/// A file of a site, or a variant of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteEntry {
    octets: Vec<u8>,
    digest: Digest,
    last_modified: Option<Duration>,
}

impl SiteEntry {
    fn new(octets: Vec<u8>, last_modified: Option<Duration>) -> Self {
        let hash = Sha256::digest(&octets);
        let short = hash.get(..DIGEST_LENGTH).unwrap_or(&hash);
        Self {
            // SHA-256 has no more octets than a digest may have.
            digest: Digest::new(short).unwrap_or_else(|| Digest::hash(&octets)),
            octets,
            last_modified,
        }
    }

    /// What is served.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The first 128 bits of their SHA-256 hash.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// When the file was changed, since the Unix epoch, in whole seconds.
    pub fn last_modified(&self) -> Option<Duration> {
        self.last_modified
    }
}

impl Site {
    /// The files and variants, sorted by their keys.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&str, &SiteEntry)> {
        self.entries
            .iter()
            .map(|(key, entry)| (key.as_str(), entry))
    }

    /// What lies in the folder and was left out, because its name begins with a dot.
    pub fn left_out(&self) -> &[PathBuf] {
        &self.left_out
    }

    /// Octets of all files and variants.
    pub fn octets(&self) -> u64 {
        let lengths = self.entries.values().map(|entry| entry.octets.len() as u64);
        lengths.sum()
    }

    /// The site as a store that lasts as long as the process. Its memory is never given back.
    ///
    /// # Errors
    ///
    /// A file's name is the beginning of another's path, which no file system makes.
    pub fn leak(self) -> Result<CompiledStore, SiteError> {
        Ok(self.leak_in_one_piece()?.0)
    }

    /// The same, and the one piece of memory in which all of its values lie, in the order of their keys: what a pool is told to send
    /// them from where they lie ([`Pool::register_static`](mirage_core::Pool::register_static)).
    ///
    /// # Errors
    ///
    /// As [`leak`](Self::leak).
    pub fn leak_in_one_piece(self) -> Result<(CompiledStore, &'static [u8]), SiteError> {
        let mut octets = Vec::with_capacity(self.octets().try_into().unwrap_or(0));
        for entry in self.entries.values() {
            octets.extend_from_slice(&entry.octets);
        }
        let octets: &'static [u8] = Box::leak(octets.into_boxed_slice());
        let (mut entries, mut rest) = (Vec::with_capacity(self.entries.len()), octets);
        for (key, entry) in self.entries {
            let (value, behind) = rest.split_at(entry.octets.len());
            rest = behind;
            let key: &'static str = Box::leak(key.into_boxed_str());
            let mut compiled = CompiledEntry::new(key, value).with_digest(entry.digest);
            if let Some(modified) = entry.last_modified {
                compiled = compiled.with_last_modified(modified);
            }
            entries.push(compiled);
        }
        let entries: &'static [CompiledEntry] = Box::leak(entries.into_boxed_slice());
        let store = CompiledStore::new(entries).map_err(|error| {
            let key = entries.get(error.entry).map_or("", CompiledEntry::key);
            SiteError::new(Path::new(key), Fault::Store(error))
        })?;
        Ok((store, octets))
    }
}
