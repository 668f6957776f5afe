//! Where the parser gets the files that `$INCLUDE` names.

use core::fmt;

/// A source text and what to call it in errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'s> {
    /// What to call it in errors, and what relative file names in it are relative to.
    pub name: &'s str,
    /// The text. RFC 1035 §5 knows octets; UTF-8 is not asked for.
    pub text: &'s [u8],
}

/// Why a file could not be included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadError {
    /// There are no files here at all.
    NoFiles,
    /// No file has that name.
    NotFound,
    /// It is there, but may not be read.
    Denied,
    /// It, or all files together, are larger than the loader's bound.
    TooLarge,
    /// Reading failed.
    Unreadable,
}

impl LoadError {
    /// What the parser says that it expected in place of the file's name.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::NoFiles => "no $INCLUDE, as there are no files to include here",
            Self::NotFound => "the name of a file that exists",
            Self::Denied => "the name of a file that may be read",
            Self::TooLarge => "the name of a file within the loader's bound on size",
            Self::Unreadable => "the name of a file that can be read",
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoFiles => "there are no files to include",
            Self::NotFound => "no such file",
            Self::Denied => "permission denied",
            Self::TooLarge => "larger than the loader's bound",
            Self::Unreadable => "can't be read",
        })
    }
}

impl core::error::Error for LoadError {}

/// Finds files for `$INCLUDE`.
///
/// The texts live as long as the loader is borrowed, so that records and errors can point into them. What a file name
/// means is up to the implementation; [`NoFiles`], a slice of [`Source`]s and the `std` feature's `FileSystemLoader`
/// are given.
pub trait Loader {
    /// The text of the file called `name` in the source `includer`.
    ///
    /// # Errors
    /// Why there is none.
    fn load<'s>(&'s self, includer: &str, name: &str) -> Result<Source<'s>, LoadError>;
}

/// No file can be included.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl Loader for NoFiles {
    fn load<'s>(&'s self, _includer: &str, _name: &str) -> Result<Source<'s>, LoadError> {
        Err(LoadError::NoFiles)
    }
}

/// Files in memory, found by their exact names, whoever includes them.
impl Loader for [Source<'_>] {
    fn load<'s>(&'s self, _includer: &str, name: &str) -> Result<Source<'s>, LoadError> {
        self.iter()
            .find(|source| source.name == name)
            .copied()
            .ok_or(LoadError::NotFound)
    }
}

impl<const N: usize> Loader for [Source<'_>; N] {
    fn load<'s>(&'s self, includer: &str, name: &str) -> Result<Source<'s>, LoadError> {
        self.as_slice().load(includer, name)
    }
}
