//! The loader of a host: files of its file system.

use std::boxed::Box;
use std::cell::{Cell, OnceCell};
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::string::{String, ToString as _};
use std::vec::Vec;

use super::loader::{LoadError, Loader, Source};

/// Reads files of the file system, each once, and keeps them as long as it lives.
///
/// A relative name is relative to the directory of the file that includes it. All files together are bounded by the
/// number of bytes given to [`FileSystemLoader::new`].
#[derive(Debug)]
pub struct FileSystemLoader {
    /// A list that only grows at its end, so that what was handed out stays where it is.
    first: OnceCell<Box<Loaded>>,
    /// How many more bytes may be read.
    remaining: Cell<u64>,
}

#[derive(Debug)]
struct Loaded {
    path: PathBuf,
    name: String,
    text: Vec<u8>,
    next: OnceCell<Box<Loaded>>,
}

impl FileSystemLoader {
    /// A loader that reads at most `bytes` in all.
    pub fn new(bytes: u64) -> Self {
        Self {
            first: OnceCell::new(),
            remaining: Cell::new(bytes),
        }
    }

    /// Reads the file at `path`, or gives the text that was read before.
    ///
    /// # Errors
    /// When it can't be read, or is larger than what remains of the bound.
    pub fn open(&self, path: &Path) -> Result<Source<'_>, LoadError> {
        let mut slot = &self.first;
        while let Some(loaded) = slot.get() {
            if loaded.path == path {
                return Ok(loaded.source());
            }
            slot = &loaded.next;
        }
        let text = read(path, self.remaining.get())?;
        self.remaining.set(self.remaining.get() - text.len() as u64);
        let loaded = slot.get_or_init(|| {
            Box::new(Loaded {
                name: path.display().to_string(),
                path: path.to_path_buf(),
                text,
                next: OnceCell::new(),
            })
        });
        Ok(loaded.source())
    }

    /// The paths of all files that were read, in the order of their first use.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let mut slot = &self.first;
        std::iter::from_fn(move || {
            let loaded = slot.get()?;
            slot = &loaded.next;
            Some(loaded.path.as_path())
        })
    }
}

impl Drop for FileSystemLoader {
    /// Takes the list apart from its front: dropping it whole would recurse once for each file.
    fn drop(&mut self) {
        let mut next = self.first.take();
        while let Some(mut loaded) = next {
            next = loaded.next.take();
        }
    }
}

impl Loaded {
    fn source(&self) -> Source<'_> {
        Source {
            name: &self.name,
            text: &self.text,
        }
    }
}

impl Loader for FileSystemLoader {
    fn load<'s>(&'s self, includer: &str, name: &str) -> Result<Source<'s>, LoadError> {
        let directory = Path::new(includer).parent().unwrap_or(Path::new(""));
        self.open(&directory.join(name))
    }
}

fn read(path: &Path, bound: u64) -> Result<Vec<u8>, LoadError> {
    let why = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => LoadError::NotFound,
        ErrorKind::PermissionDenied => LoadError::Denied,
        _ => LoadError::Unreadable,
    };
    let mut text = Vec::new();
    fs::File::open(path)
        .map_err(why)?
        .take(bound.saturating_add(1))
        .read_to_end(&mut text)
        .map_err(why)?;
    if text.len() as u64 > bound {
        return Err(LoadError::TooLarge);
    }
    Ok(text)
}
