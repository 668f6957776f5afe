//! What is wrong with a site's folder.

use core::fmt;
use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::string::String;

use mirage_core::kv::{CompiledStoreError, KeyError};

/// Which file of a site is wrong, and why.
#[derive(Debug)]
pub struct SiteError {
    path: PathBuf,
    fault: Fault,
}

/// Why a site can't be compiled.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// It can't be read or written.
    Io(io::Error),
    /// Its name is not UTF-8, so no path of HTTP means it.
    NameNotUtf8,
    /// There is a backslash or a control in its name, which [`Path`](crate::Path) takes of nobody.
    NameNotServed,
    /// Its name can't be part of a key.
    Key(KeyError),
    /// It is a symbolic link: what it stands for may lie elsewhere.
    Link,
    /// It is neither a file nor a folder.
    NoFile,
    /// It lies deeper than so many folders.
    TooDeep(usize),
    /// It is one more than so many files.
    TooManyFiles(usize),
    /// With it the files have more than so many octets.
    TooManyOctets(u64),
    /// It has the name of a variant of this file, and those are made.
    VariantOf(String),
    /// There is no page `index.html` in it.
    NoIndex,
    /// This is no number of seconds.
    NoNumber(OsString),
    /// The store does not take it.
    Store(CompiledStoreError),
}

impl SiteError {
    pub(super) fn new(path: &Path, fault: Fault) -> Self {
        Self {
            path: path.to_path_buf(),
            fault,
        }
    }

    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::new(path, Fault::Io(error))
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }
}

impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.fault {
            Fault::Io(error) => error.fmt(f),
            Fault::NameNotUtf8 => f.write_str("the name is not UTF-8, so no address means it"),
            Fault::NameNotServed => f.write_str(
                "a backslash or a control is in the name, so no address means it: give it another name",
            ),
            Fault::Key(error) => error.fmt(f),
            Fault::Link => f.write_str(
                "a symbolic link: what it stands for may lie elsewhere, so put the file itself here",
            ),
            Fault::NoFile => f.write_str("neither a file nor a folder"),
            Fault::TooDeep(most) => write!(f, "more than {most} folders deep"),
            Fault::TooManyFiles(most) => write!(f, "more than {most} files"),
            Fault::TooManyOctets(most) => {
                write!(f, "with this file the site has more than {most} octets")
            }
            Fault::VariantOf(key) => write!(
                f,
                "named as a compressed variant of {key}, which is made here: take it away, or give it another name"
            ),
            Fault::NoIndex => {
                f.write_str("there is no index.html in it: is this the folder of a site?")
            }
            Fault::NoNumber(text) => {
                write!(f, "`{}` is no number of seconds", text.display())
            }
            Fault::Store(error) => error.fmt(f),
        }
    }
}

impl Error for SiteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.fault {
            Fault::Io(error) => Some(error),
            Fault::Key(error) => Some(error),
            Fault::Store(error) => Some(error),
            _ => None,
        }
    }
}
