//! What the store asks of a file system; and which names are its own.

use std::ops::Deref;

use mirage_core::kv::Key;

use super::DirectoryError;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    File,
    Directory,
    /// A symbolic link, a socket …: as if it weren't there.
    Other,
}

/// A directory and what lies below it, by paths without `/` at either end; the empty one is the directory itself.
///
/// What of a change endures a power failure: a file's content when [`create`](Self::create) is done, an entry of a directory when
/// that was [synchronised](Self::sync_directory).
pub(super) trait Files {
    fn kind(&self, path: &str) -> Result<Option<FileKind>, DirectoryError>;
    /// Up to `length` bytes; none if there is no such file.
    fn read(
        &self,
        path: &str,
        offset: u64,
        length: usize,
    ) -> Result<Option<Vec<u8>>, DirectoryError>;
    fn list(&self, path: &str) -> Result<Vec<(String, FileKind)>, DirectoryError>;
    /// Makes a file with this content, in place of one that is there, and has the content on the medium.
    fn create(&self, path: &str, content: &[u8]) -> Result<(), DirectoryError>;
    /// In place of a file that is there.
    fn rename(&self, from: &str, to: &str) -> Result<(), DirectoryError>;
    fn remove_file(&self, path: &str) -> Result<(), DirectoryError>;
    fn make_directory(&self, path: &str) -> Result<(), DirectoryError>;
    /// Whether it was empty, and is gone.
    fn remove_directory(&self, path: &str) -> Result<bool, DirectoryError>;
    fn sync_directory(&self, path: &str) -> Result<(), DirectoryError>;

    /// Whether a directory has nothing in it.
    fn is_empty(&self, path: &str) -> Result<bool, DirectoryError> {
        Ok(self.list(path)?.is_empty())
    }
}

impl<P: Deref<Target: Files>> Files for P {
    fn kind(&self, path: &str) -> Result<Option<FileKind>, DirectoryError> {
        (**self).kind(path)
    }

    fn read(
        &self,
        path: &str,
        offset: u64,
        length: usize,
    ) -> Result<Option<Vec<u8>>, DirectoryError> {
        (**self).read(path, offset, length)
    }

    fn list(&self, path: &str) -> Result<Vec<(String, FileKind)>, DirectoryError> {
        (**self).list(path)
    }

    fn create(&self, path: &str, content: &[u8]) -> Result<(), DirectoryError> {
        (**self).create(path, content)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DirectoryError> {
        (**self).rename(from, to)
    }

    fn remove_file(&self, path: &str) -> Result<(), DirectoryError> {
        (**self).remove_file(path)
    }

    fn make_directory(&self, path: &str) -> Result<(), DirectoryError> {
        (**self).make_directory(path)
    }

    fn remove_directory(&self, path: &str) -> Result<bool, DirectoryError> {
        (**self).remove_directory(path)
    }

    fn sync_directory(&self, path: &str) -> Result<(), DirectoryError> {
        (**self).sync_directory(path)
    }
}

/// The directory that a path lies in.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A name in a directory.
pub(super) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        name.to_owned()
    } else {
        format!("{directory}/{name}")
    }
}

/// The directories above a path, from the outermost on, without the root.
pub(super) fn above(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// What names of the store's own begin with.
const RESERVED: &str = ".~";

/// Whether a name is the store's own.
pub(super) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED)
}

/// Whether a key can be a path: what file systems take, and no name of the store's own.
pub(super) fn is_fit(key: Key<'_>) -> bool {
    key.as_str().len() <= 1_024
        && key
            .segments()
            .all(|segment| segment.len() <= 255 && !is_reserved(segment))
}
