//! The file system itself.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::DirectoryError;
use super::files::{FileKind, Files};

/// A directory that is held open, so that it stays the same whatever becomes of its path.
#[derive(Debug)]
pub(super) struct Disk {
    root: OwnedFd,
    /// Locked as long as it is open.
    _lock: OwnedFd,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl Disk {
    pub(super) fn open(path: &Path) -> Result<Self, DirectoryError> {
        // The directory's own path may lead over links: it is the caller's.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(DirectoryError::system("open the store's directory"))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(&root, ".~lock", flags, Mode::from_raw_mode(0o600))
            .map_err(DirectoryError::system("open the store's lock"))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { root, _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(DirectoryError::InUse),
            Err(error) => Err(DirectoryError::system("lock the store")(error)),
        }
    }

    /// Opens the directory that a path lies in, segment by segment, none of which may be a link. None if one isn't there, or is no
    /// directory.
    fn parent<'p>(&self, path: &'p str) -> Result<Option<(Held<'_>, &'p str)>, Errno> {
        let (above, name) = match path.rsplit_once('/') {
            Some((above, name)) => (above, name),
            None => ("", path),
        };
        Ok(self.directory(above)?.map(|directory| (directory, name)))
    }

    fn directory(&self, path: &str) -> Result<Option<Held<'_>>, Errno> {
        let mut held = Held::Root(self.root.as_fd());
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            match rustix::fs::openat(held.fd(), segment, DIRECTORY, Mode::empty()) {
                Ok(next) => held = Held::Below(next),
                Err(error) if is_absent(error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(held))
    }

    /// Bytes and the time of the last change, since the Unix epoch; none if there is no such file.
    pub(super) fn facts(
        &self,
        path: &str,
    ) -> Result<Option<(u64, Option<Duration>)>, DirectoryError> {
        let looked = || {
            let Some((directory, name)) = self.parent(path)? else {
                return Ok(None);
            };
            match rustix::fs::statat(directory.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                    Ok(Some(stat))
                }
                Ok(_) => Ok(None),
                Err(error) if is_absent(error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let stat = looked().map_err(DirectoryError::system("look at a value"))?;
        Ok(stat.map(|stat| {
            let seconds = u64::try_from(stat.st_mtime).ok();
            let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
            (
                u64::try_from(stat.st_size).unwrap_or(0),
                seconds.map(|seconds| Duration::new(seconds, nanos)),
            )
        }))
    }

    fn try_read(&self, path: &str, offset: u64, length: usize) -> Result<Option<Vec<u8>>, Errno> {
        let Some((directory, name)) = self.parent(path)? else {
            return Ok(None);
        };
        // Without blocking: what was a file at the last look may be a pipe now.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(directory.fd(), name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(error) if is_absent(error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let rest = u64::try_from(stat.st_size)
            .unwrap_or(0)
            .saturating_sub(offset);
        let length = usize::try_from(rest).unwrap_or(usize::MAX).min(length);
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            match rustix::io::pread(&file, &mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(done);
        Ok(Some(bytes))
    }

    fn try_list(&self, path: &str) -> Result<Vec<(String, FileKind)>, Errno> {
        let Some(directory) = self.directory(path)? else {
            return Ok(Vec::new());
        };
        let mut entries = Vec::new();
        for entry in Dir::read_from(directory.fd())? {
            let entry = entry?;
            let name: &CStr = entry.file_name();
            // What isn't UTF-8 is no key, and not ours.
            let Ok(name) = name.to_str() else { continue };
            if matches!(name, "." | "..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    match rustix::fs::statat(directory.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(stat) => kind(FileType::from_raw_mode(stat.st_mode)),
                        Err(error) if is_absent(error) => continue,
                        Err(error) => return Err(error),
                    }
                }
                known => kind(known),
            };
            entries.push((name.to_owned(), kind));
        }
        Ok(entries)
    }

    /// The parent of a path that is to be changed: it has to be there.
    fn changed<'p>(&self, path: &'p str) -> Result<(Held<'_>, &'p str), Errno> {
        self.parent(path)?.ok_or(Errno::NOENT)
    }

    fn try_create(&self, path: &str, content: &[u8]) -> Result<(), Errno> {
        let (directory, name) = self.changed(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory.fd(), name, flags, Mode::from_raw_mode(0o600))?;
        let mut rest = content;
        while !rest.is_empty() {
            match rustix::io::write(&file, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        rustix::fs::fsync(&file)
    }

    fn try_rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        let (from_directory, from) = self.changed(from)?;
        let (to_directory, to) = self.changed(to)?;
        rustix::fs::renameat(from_directory.fd(), from, to_directory.fd(), to)
    }

    fn try_sync(&self, path: &str) -> Result<(), Errno> {
        match self.directory(path)? {
            Some(directory) => rustix::fs::fsync(directory.fd()),
            // It went with all that was in it; whoever removed it has what lies above it on the medium, or doesn't mind.
            None => Ok(()),
        }
    }
}

impl Files for Disk {
    fn kind(&self, path: &str) -> Result<Option<FileKind>, DirectoryError> {
        let look = || {
            let Some((directory, name)) = self.parent(path)? else {
                return Ok(None);
            };
            match rustix::fs::statat(directory.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Ok(Some(kind(FileType::from_raw_mode(stat.st_mode)))),
                Err(error) if is_absent(error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        look().map_err(DirectoryError::system("look at a value"))
    }

    fn read(
        &self,
        path: &str,
        offset: u64,
        length: usize,
    ) -> Result<Option<Vec<u8>>, DirectoryError> {
        self.try_read(path, offset, length)
            .map_err(DirectoryError::system("read a value"))
    }

    fn list(&self, path: &str) -> Result<Vec<(String, FileKind)>, DirectoryError> {
        self.try_list(path)
            .map_err(DirectoryError::system("list a directory"))
    }

    fn create(&self, path: &str, content: &[u8]) -> Result<(), DirectoryError> {
        self.try_create(path, content)
            .map_err(DirectoryError::system("write a value"))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DirectoryError> {
        self.try_rename(from, to)
            .map_err(DirectoryError::system("rename a value"))
    }

    fn remove_file(&self, path: &str) -> Result<(), DirectoryError> {
        self.changed(path)
            .and_then(|(directory, name)| {
                rustix::fs::unlinkat(directory.fd(), name, AtFlags::empty())
            })
            .map_err(DirectoryError::system("remove a value"))
    }

    fn make_directory(&self, path: &str) -> Result<(), DirectoryError> {
        let made = self.changed(path).and_then(|(directory, name)| {
            rustix::fs::mkdirat(directory.fd(), name, Mode::from_raw_mode(0o700))
        });
        match made {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(DirectoryError::system("make a directory")(error)),
        }
    }

    fn remove_directory(&self, path: &str) -> Result<bool, DirectoryError> {
        let removed = self.changed(path).and_then(|(directory, name)| {
            rustix::fs::unlinkat(directory.fd(), name, AtFlags::REMOVEDIR)
        });
        match removed {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(DirectoryError::system("remove a directory")(error)),
        }
    }

    fn sync_directory(&self, path: &str) -> Result<(), DirectoryError> {
        self.try_sync(path)
            .map_err(DirectoryError::system("flush a directory"))
    }
}

/// A directory on the way to a path.
enum Held<'d> {
    Root(BorrowedFd<'d>),
    Below(OwnedFd),
}

impl Held<'_> {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Held::Root(root) => *root,
            Held::Below(directory) => directory.as_fd(),
        }
    }
}

/// Whether an error says that nothing is there: no entry, one above it that is no directory, a link.
fn is_absent(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

fn kind(file_type: FileType) -> FileKind {
    match file_type {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        _ => FileKind::Other,
    }
}
