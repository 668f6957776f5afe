//! Unpacking `.deb` files on a machine without dpkg: an `ar` archive with two compressed `tar` archives in it, which
//! `tar` unpacks (`deb(5)`).

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Fault};
use crate::process::{self, Log};

/// The first bytes of an `ar` archive.
const MAGIC: &[u8] = b"!<arch>\n";

/// The bytes of a member's header: name 16, time 12, user 6, group 6, mode 8, size 10, and two that end it.
const HEADER: usize = 60;

/// The `.deb` files of a folder, one a line, with their sizes: another folder, or a changed one, gives another text.
///
/// # Errors
///
/// [`Error::File`] if the folder can't be read, [`Error::Arguments`] if there are none in it.
pub(super) fn listing(folder: &Path) -> Result<String, Error> {
    let mut text = String::new();
    for path in files(folder)? {
        let metadata = fs::metadata(&path).map_err(Error::file("read", &path))?;
        text.push_str(&format!("{} {}\n", path.display(), metadata.len()));
    }
    Ok(text)
}

/// Unpacks all `.deb` files of a folder into `into/root`, and writes names, versions and hashes to `into/versions`.
///
/// # Errors
///
/// [`Error::File`]; [`Error::Content`] for a file that is no Debian package; [`Error::ProgramFailed`] if `tar` fails.
pub(super) fn unpack_folder(
    from: &Path,
    into: &Path,
    log: &Log,
    mut on_line: impl FnMut(&str),
) -> Result<(), Error> {
    let root = into.join("root");
    fs::create_dir_all(&root).map_err(Error::file("make", &root))?;
    let mut versions = String::new();
    for path in files(from)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        on_line(&format!("unpacking {name}"));
        let control = tar(
            &path,
            "control.tar",
            &["--extract", "--to-stdout", "./control"],
            log,
        )?;
        let field = |name: &str| {
            let value = control
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.unwrap_or("?").trim().to_owned()
        };
        tar(
            &path,
            "data.tar",
            &["--extract", "--directory", &root.display().to_string()],
            log,
        )?;
        let hash = sha256(&path)?;
        let line = format!("{} {} {hash}", field("Package"), field("Version"));
        log.line(&line);
        versions.push_str(&line);
        versions.push('\n');
    }
    let path = into.join("versions");
    fs::write(&path, versions).map_err(Error::file("write", &path))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::file("read", folder))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(Error::Arguments {
            reason: format!("--packages {}: no .deb files there", folder.display()),
        });
    }
    Ok(files)
}

/// Finds the member whose name begins so, and gives its whole name, a reader at its first byte, and its length.
fn member(path: &Path, prefix: &str) -> Result<(String, BufReader<File>, u64), Error> {
    let file = File::open(path).map_err(Error::file("read", path))?;
    let mut reader = BufReader::new(file);
    let bad = |problem: &str| Error::Content {
        path: path.to_path_buf(),
        problem: format!("not a Debian package: {problem}"),
    };
    let mut magic = [0; MAGIC.len()];
    reader
        .read_exact(&mut magic)
        .map_err(|_| bad("too short"))?;
    if magic != MAGIC {
        return Err(bad("not an ar archive"));
    }
    loop {
        let mut header = [0; HEADER];
        reader
            .read_exact(&mut header)
            .map_err(|_| bad(&format!("it has no {prefix}")))?;
        let text = core::str::from_utf8(&header).map_err(|_| bad("a header that is not text"))?;
        if !text.is_ascii() || !text.ends_with("`\n") {
            return Err(bad("a header without its end"));
        }
        let name = text[..16].trim_end().trim_end_matches('/').to_owned();
        let length: u64 = text[48..58]
            .trim_end()
            .parse()
            .map_err(|_| bad("a length that is no number"))?;
        if name.starts_with(prefix) {
            return Ok((name, reader, length));
        }
        // Members begin at even offsets.
        let skipped = length + length % 2;
        let copied = io::copy(&mut reader.by_ref().take(skipped), &mut io::sink())
            .map_err(Error::file("read", path))?;
        if copied < skipped {
            return Err(bad("it ends early"));
        }
    }
}

/// Runs `tar` over a member of a package, and gives what it printed.
fn tar(path: &Path, prefix: &str, arguments: &[&str], log: &Log) -> Result<String, Error> {
    let (name, reader, length) = member(path, prefix)?;
    let mut command = Command::new("tar");
    command.args(arguments);
    // A pipe can't be read twice, so that `tar` can't find out by itself.
    match name.rsplit('.').next() {
        Some("xz") => command.arg("--xz"),
        Some("gz") => command.arg("--gzip"),
        Some("zst") => command.arg("--zstd"),
        _ => &mut command,
    };
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let line = format!("{} <{}", process::command_line(&command), path.display());
    log.line(&format!("$ {line}"));
    let cannot_start = |source| Error::CannotStart {
        program: "tar".into(),
        source,
    };
    let mut child = command.spawn().map_err(cannot_start)?;
    let input = child.stdin.take();
    // Fed from a thread: `tar` may print before it has read all.
    let feeder = std::thread::spawn(move || {
        if let Some(mut input) = input {
            // `tar` ends early when it found what it was asked for, and says so itself if something is wrong.
            let _ = io::copy(&mut reader.take(length), &mut input).and_then(|_| input.flush());
        }
    });
    let output = child.wait_with_output().map_err(cannot_start)?;
    let _ = feeder.join();
    if !output.status.success() {
        return Err(Error::ProgramFailed {
            command: line,
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
            fault: Fault::Machine,
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The SHA-256 of a file in hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String, Error> {
    let output = Command::new("sha256sum")
        .arg("--")
        .arg(path)
        .output()
        .map_err(|source| Error::CannotStart {
            program: "sha256sum".into(),
            source,
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.split_whitespace().next() {
        // A backslash before the hash says that the name has been escaped.
        Some(hash) if output.status.success() => Ok(hash.trim_start_matches('\\').to_owned()),
        _ => Err(Error::UnexpectedOutput {
            command: format!("sha256sum {}", path.display()),
            expected: "a hash",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (name, content) in members {
            let length = content.len();
            bytes.extend_from_slice(
                format!(
                    "{name:<16}{:<12}{:<6}{:<6}{:<8}{length:<10}`\n",
                    0, 0, 0, 100_644
                )
                .as_bytes(),
            );
            bytes.extend_from_slice(content);
            if length % 2 == 1 {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    /// A tar archive of one file, made by `tar` itself.
    fn tarred(name: &str, content: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        let output = Command::new("tar")
            .args(["--create", "--gzip", "--directory"])
            .arg(folder.path())
            .arg(format!("./{name}"))
            .output()
            .unwrap();
        output.stdout
    }

    #[test]
    fn a_package_is_unpacked_and_listed() {
        let folder = tempfile::tempdir().unwrap();
        let deb = ar(&[
            ("debian-binary", b"2.0\n"),
            (
                "control.tar.gz",
                &tarred("control", "Package: thing\nVersion: 1:2-3\n"),
            ),
            ("data.tar.gz/", &tarred("usr/share/thing", "content")),
        ]);
        fs::write(folder.path().join("thing.deb"), deb).unwrap();
        fs::write(folder.path().join("notes.txt"), "no package").unwrap();
        let log = Log::create(&folder.path().join("log")).unwrap();
        let into = folder.path().join("into");
        let mut lines = Vec::new();
        unpack_folder(folder.path(), &into, &log, |line| {
            lines.push(line.to_owned())
        })
        .unwrap();
        assert_eq!(
            fs::read_to_string(into.join("root/usr/share/thing")).unwrap(),
            "content"
        );
        let versions = fs::read_to_string(into.join("versions")).unwrap();
        let hash = sha256(&folder.path().join("thing.deb")).unwrap();
        assert_eq!(hash.len(), 64);
        assert_eq!(versions, format!("thing 1:2-3 {hash}\n"));
        assert_eq!(lines, ["unpacking thing.deb"]);
    }

    #[test]
    fn what_is_no_package_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.deb");
        for bytes in [
            Vec::new(),
            b"!<arch>".to_vec(),
            b"PK\x03\x04 something else".to_vec(),
            ar(&[("debian-binary", b"2.0\n")]),
            ar(&[("control.tar", b"x")])[..40].to_vec(),
            [MAGIC, &[b' '; HEADER]].concat(),
            [MAGIC, &[0xff; HEADER]].concat(),
        ] {
            fs::write(&path, &bytes).unwrap();
            let error = member(&path, "data.tar").unwrap_err();
            assert!(
                error.to_string().contains("not a Debian package"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_folder_without_packages_is_the_callers_to_change() {
        let folder = tempfile::tempdir().unwrap();
        let error = listing(folder.path()).unwrap_err();
        assert!(error.to_string().contains("no .deb files"), "{error}");
    }
}
