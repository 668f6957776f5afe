//! Archives in cpio's `newc` format, which the Linux kernel unpacks as its first root file system.
//!
//! The format is in the kernel's documentation, `Documentation/driver-api/early-userspace/buffer-format.rst`: a header of
//! 110 characters (a magic number and thirteen fields of eight hexadecimal digits), the name with a zero byte, and the
//! content; header with name, and content, are filled up to a multiple of four.

use std::io::{self, Write};

/// The magic number of `newc`.
const MAGIC: &str = "070701";

/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// The type bits of a mode: `S_IFDIR` of `stat(2)`.
const S_IFDIR: u32 = 0o040_000;
/// `S_IFREG` of `stat(2)`.
const S_IFREG: u32 = 0o100_000;
/// `S_IFLNK` of `stat(2)`.
const S_IFLNK: u32 = 0o120_000;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A folder; it has no content.
    Directory,
    /// A file.
    File,
    /// A symbolic link; its content is where it leads.
    Symlink,
}

/// Writes an archive. Everything in it belongs to root and is of 1970, so that equal content gives equal bytes.
#[derive(Debug)]
pub struct Writer<W> {
    writer: W,
    written: u64,
    /// The inode number of the last entry.
    inode: u32,
}

impl<W: Write> Writer<W> {
    /// An archive without entries.
    pub fn new(writer: W) -> Self {
        Self {
            writer,
            written: 0,
            inode: 0,
        }
    }

    /// Adds an entry. Its folders must have been added before. `permissions` are the lower twelve bits of its mode.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] for a name that is empty, absolute or has a zero byte, and for content of 4 GiB or
    /// more; and those of the writer.
    pub fn entry(
        &mut self,
        name: &str,
        kind: Kind,
        permissions: u32,
        content: &[u8],
    ) -> io::Result<()> {
        if name.is_empty() || name.starts_with('/') || name.contains('\0') || name == TRAILER {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("not a name for an entry: {name:?}"),
            ));
        }
        let (bits, links) = match kind {
            Kind::Directory => (S_IFDIR, 2),
            Kind::File => (S_IFREG, 1),
            Kind::Symlink => (S_IFLNK, 1),
        };
        self.inode += 1;
        self.header(name, bits | (permissions & 0o7777), links, content.len())?;
        self.put(content)?;
        self.fill()
    }

    /// Ends the archive, and gives the writer back.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.header(TRAILER, 0, 1, 0)?;
        self.writer.flush()?;
        Ok(self.writer)
    }

    fn header(&mut self, name: &str, mode: u32, links: u32, size: usize) -> io::Result<()> {
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "an entry of 4 GiB or more");
        let size = u32::try_from(size).map_err(too_long)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_long)?;
        // Inode, mode, user, group, links, time, size, major and minor of the device it is on, major and minor of the
        // device it is, the length of the name, a checksum that this format leaves out.
        let fields = [
            self.inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0,
        ];
        let mut header = String::from(MAGIC);
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.fill()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn fill(&mut self) -> io::Result<()> {
        let rest = (self.written % 4) as usize;
        if rest == 0 {
            return Ok(());
        }
        self.put(&[0; 3][..4 - rest])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        writer.entry("bin", Kind::Directory, 0o755, b"").unwrap();
        writer.entry("bin/a", Kind::File, 0o755, b"hello").unwrap();
        writer.entry("b", Kind::Symlink, 0o777, b"bin/a").unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn golden_bytes() {
        let expected = concat!(
            "070701",
            "00000001",
            "000041ED",
            "00000000",
            "00000000",
            "00000002",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000004",
            "00000000",
            "bin\0\0\0",
            "070701",
            "00000002",
            "000081ED",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000005",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000006",
            "00000000",
            "bin/a\0",
            "hello\0\0\0",
            "070701",
            "00000003",
            "0000A1FF",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000005",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000002",
            "00000000",
            "b\0",
            "bin/a\0\0\0",
            "070701",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "0000000B",
            "00000000",
            "TRAILER!!!\0\0\0\0",
        );
        assert_eq!(String::from_utf8(archive()).unwrap(), expected);
    }

    #[test]
    fn names_that_would_end_or_leave_the_archive_are_refused() {
        let mut writer = Writer::new(Vec::new());
        for name in ["", "/etc/passwd", "a\0b", "TRAILER!!!"] {
            let error = writer.entry(name, Kind::File, 0o644, b"").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    }

    /// Somebody else's reader agrees: the one of cpio, where it is installed.
    #[test]
    fn cpio_lists_what_was_written() {
        use std::process::{Command, Stdio};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        std::fs::write(&path, archive()).unwrap();
        let input = std::fs::File::open(&path).unwrap();
        let Ok(output) = Command::new("cpio")
            .args(["--list", "--verbose", "--quiet"])
            .stdin(Stdio::from(input))
            .output()
        else {
            println!("SKIPPED: cpio_lists_what_was_written: `cpio` is not on PATH");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("drwxr-xr-x") && lines[0].ends_with("bin"));
        assert!(lines[1].starts_with("-rwxr-xr-x") && lines[1].ends_with("bin/a"));
        assert!(lines[2].ends_with("b -> bin/a"));
    }
}
