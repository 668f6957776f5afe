//! Debian packages, fetched by the machine's own apt sources, unpacked in a folder, installed nowhere.
//!
//! It needs no root and leaves the system as it is: apt's lists and archives are kept in the cache's folder, apt checks
//! each archive's hash against the signed lists, and `dpkg-deb` unpacks it. Programs are then called through scripts in
//! [`Cache::programs`] that name the unpacked libraries. What was fetched is written to [`Cache::versions`], one line a
//! package: name, version, SHA-256.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Fault};
use crate::process::{Log, Task, quoted};

/// How long apt may take for its lists, or for the archives.
const FETCH_LIMIT: Duration = Duration::from_secs(300);

/// How long unpacking one archive may take.
const UNPACK_LIMIT: Duration = Duration::from_secs(120);

/// Which libraries the packages find on the machine already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// What is installed: only what is missing is fetched. For programs that run on this machine.
    Installed,
    /// Nothing: every dependency is fetched, the C library too. For the root file system of another machine.
    Nothing,
}

/// A package that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fetched {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of its archive, in hexadecimal.
    pub sha256: String,
}

/// A folder of fetched and unpacked packages.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    base: Base,
}

impl Cache {
    /// A cache in that folder, which need not exist. A folder belongs to one base.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where there is no apt and dpkg; [`Error::File`] if the folder can't be made.
    pub fn new(folder: &Path, base: Base) -> Result<Self, Error> {
        for program in ["apt-get", "dpkg-deb", "sha256sum"] {
            if find_program(program).is_none() {
                return Err(Error::Unsupported {
                    reason: format!(
                        "packages can't be fetched: `{program}` is not on PATH (not a Debian?)"
                    ),
                });
            }
        }
        let folder = std::path::absolute(folder).map_err(Error::file("find", folder))?;
        let cache = Self { folder, base };
        for part in [
            cache.lists().join("partial"),
            cache.archives().join("partial"),
            cache.root(),
            cache.programs(),
        ] {
            fs::create_dir_all(&part).map_err(Error::file("make", &part))?;
        }
        let empty = cache.empty_status();
        fs::write(&empty, "").map_err(Error::file("write", &empty))?;
        Ok(cache)
    }

    /// The root of what was unpacked.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// The scripts that call unpacked programs, for PATH.
    pub fn programs(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// The list of what was fetched.
    pub fn versions(&self) -> PathBuf {
        self.folder.join("versions")
    }

    fn lists(&self) -> PathBuf {
        self.folder.join("apt/lists")
    }

    fn archives(&self) -> PathBuf {
        self.folder.join("apt/archives")
    }

    fn empty_status(&self) -> PathBuf {
        self.folder.join("apt/status")
    }

    /// Fetches packages and what they depend on, and unpacks them. What the cache has already is not fetched again.
    ///
    /// # Errors
    ///
    /// [`Error::ProgramFailed`] with apt's own words, for example without a network, or for a name that Debian does not
    /// have.
    pub fn fetch(
        &self,
        packages: &[&str],
        log: &Log,
        mut on_line: impl FnMut(&str),
    ) -> Result<Vec<Fetched>, Error> {
        if !self.has_lists() {
            on_line("apt-get update, into a folder of our own");
            self.apt(&["update"], &[], log, &mut on_line)?;
        }
        // A package that is installed is fetched nevertheless if it was asked for by name.
        let words = [
            "install",
            "--download-only",
            "--reinstall",
            "--yes",
            "--no-install-recommends",
        ];
        if self.apt(&words, packages, log, &mut on_line).is_err() {
            // The lists may be older than the archive.
            self.apt(&["update"], &[], log, &mut on_line)?;
            self.apt(&words, packages, log, &mut on_line)?;
        }
        let archives = self.archive_files()?;
        let mut fetched = Vec::new();
        for archive in archives {
            on_line(&format!("unpacking {}", file_name(&archive)));
            fetched.push(self.unpack(&archive, log)?);
        }
        fetched.sort();
        let text: String = fetched
            .iter()
            .map(|f| format!("{} {} {}\n", f.name, f.version, f.sha256))
            .collect();
        fs::write(self.versions(), &text).map_err(Error::file("write", &self.versions()))?;
        for line in text.lines() {
            log.line(line);
        }
        Ok(fetched)
    }

    fn has_lists(&self) -> bool {
        let Ok(entries) = fs::read_dir(self.lists()) else {
            return false;
        };
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    }

    fn apt(
        &self,
        words: &[&str],
        packages: &[&str],
        log: &Log,
        on_line: &mut impl FnMut(&str),
    ) -> Result<(), Error> {
        let mut command = Command::new("apt-get");
        command
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        let status = match self.base {
            Base::Installed => PathBuf::from("/var/lib/dpkg/status"),
            Base::Nothing => self.empty_status(),
        };
        for (name, path) in [
            ("Dir::State", self.folder.join("apt")),
            ("Dir::State::lists", self.lists()),
            ("Dir::State::status", status),
            (
                "Dir::State::extended_states",
                self.folder.join("apt/extended_states"),
            ),
            ("Dir::Cache", self.folder.join("apt")),
            ("Dir::Cache::archives", self.archives()),
        ] {
            command.arg("-o").arg(format!("{name}={}", path.display()));
        }
        // The system's lock is not needed, for nothing of the system is changed; and the user that apt fetches as could
        // not write into our folder.
        command.args([
            "-o",
            "Debug::NoLocking=1",
            "-o",
            "APT::Sandbox::User=root",
            "-o",
            "Acquire::Retries=3",
        ]);
        command.args(words).args(packages);
        run(command, FETCH_LIMIT, Fault::Network, log, on_line)?;
        Ok(())
    }

    fn archive_files(&self) -> Result<Vec<PathBuf>, Error> {
        let folder = self.archives();
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder).map_err(Error::file("read", &folder))? {
            let path = entry.map_err(Error::file("read", &folder))?.path();
            if path.extension() == Some(OsStr::new("deb")) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn unpack(&self, archive: &Path, log: &Log) -> Result<Fetched, Error> {
        let mut hash = Command::new("sha256sum");
        hash.arg(archive);
        let sha256 = run(hash, UNPACK_LIMIT, Fault::Machine, log, &mut |_| {})?;
        let mut show = Command::new("dpkg-deb");
        show.args(["--show", "--showformat", "${Package} ${Version}\\n"])
            .arg(archive);
        let shown = run(show, UNPACK_LIMIT, Fault::Machine, log, &mut |_| {})?;
        let mut words = shown.split_whitespace();
        let (Some(name), Some(version), Some(sha256)) =
            (words.next(), words.next(), sha256.split_whitespace().next())
        else {
            return Err(Error::UnexpectedOutput {
                command: "dpkg-deb --show".into(),
                expected: "a package and its version",
            });
        };
        let fetched = Fetched {
            name: name.into(),
            version: version.into(),
            sha256: sha256.into(),
        };
        let done = self
            .folder
            .join("unpacked")
            .join(format!("{}_{}", fetched.name, fetched.sha256));
        if !done.exists() {
            let mut extract = Command::new("dpkg-deb");
            extract.arg("--extract").arg(archive).arg(self.root());
            run(extract, UNPACK_LIMIT, Fault::Machine, log, &mut |_| {})?;
            let folder = self.folder.join("unpacked");
            fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
            fs::write(&done, "").map_err(Error::file("write", &done))?;
        }
        Ok(fetched)
    }

    /// Makes a script in [`Cache::programs`] that calls an unpacked program with the unpacked libraries.
    ///
    /// # Errors
    ///
    /// [`Error::Content`] if no unpacked package has that program.
    pub fn wrap(&self, program: &str) -> Result<PathBuf, Error> {
        let root = self.root();
        // A large program may lie in a folder of its own, which the one on the path names by where it would be installed.
        let own = root.join("usr/lib").join(program).join(program);
        let usual = ["usr/bin", "usr/sbin", "bin", "sbin"];
        let usual = usual.map(|folder| root.join(folder).join(program));
        let found = std::iter::once(own)
            .filter(|own| is_program(own))
            .chain(usual)
            .find(|path| path.exists() || path.is_symlink());
        let Some(found) = found else {
            return Err(Error::Content {
                path: root,
                problem: format!("no fetched package has `{program}`"),
            });
        };
        let libraries: Vec<String> = library_folders(&root)
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        let script = format!(
            "#!/bin/sh\nLD_LIBRARY_PATH={}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}} exec {} \"$@\"\n",
            quoted(&libraries.join(":")),
            quoted(&found.display().to_string())
        );
        let path = self.programs().join(program);
        fs::write(&path, script).map_err(Error::file("write", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(Error::file("write", &path))?;
        Ok(path)
    }
}

/// Folders of libraries that others find by the path that was written into them when they were linked.
const PRIVATE_LIBRARIES: &[&str] = &["pulseaudio"];

/// The folders below an unpacked root that hold shared libraries.
fn library_folders(root: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for base in ["lib", "usr/lib"] {
        let Ok(entries) = fs::read_dir(root.join(base)) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() && file_name(&path).contains("-linux-gnu") {
                let private = PRIVATE_LIBRARIES.iter().map(|name| path.join(name));
                folders.extend(private.filter(|folder| folder.is_dir()));
                folders.insert(path);
            }
        }
    }
    folders
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn run(
    command: Command,
    limit: Duration,
    fault: Fault,
    log: &Log,
    on_line: &mut impl FnMut(&str),
) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let finished = Task::new(command, limit).run(log, |line| on_line(line))?;
    if finished.success() {
        return Ok(finished.output);
    }
    let lines: Vec<&str> = finished.output.lines().collect();
    let last = lines[lines.len().saturating_sub(8)..].join("\n");
    Err(Error::ProgramFailed {
        command: program,
        status: finished.how(),
        output: last,
        fault,
    })
}

/// Where a program is on PATH, or in the folders for administration, which a user's PATH may lack.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(name))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache {
            folder: folder.path().to_path_buf(),
            base: Base::Installed,
        };
        fs::create_dir_all(cache.programs()).unwrap();
        (folder, cache)
    }

    #[test]
    fn a_wrapped_program_gets_its_arguments_and_libraries() {
        let (_folder, cache) = cache();
        let libraries = cache.root().join("usr/lib/x86_64-linux-gnu");
        fs::create_dir_all(&libraries).unwrap();
        fs::create_dir_all(cache.root().join("usr/sbin")).unwrap();
        // A link to a program that is there: one written just now can be busy while another test forks.
        std::os::unix::fs::symlink("/usr/bin/env", cache.root().join("usr/sbin/thing")).unwrap();
        let wrapper = cache.wrap("thing").unwrap();
        assert!(is_program(&wrapper));
        let output = Command::new("sh")
            .arg(&wrapper)
            .args([
                "sh",
                "-c",
                "echo \"$LD_LIBRARY_PATH|$1|$2\"",
                "sh",
                "a b",
                "'",
            ])
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("{}|a b|'\n", libraries.display())
        );
    }

    #[test]
    fn a_program_that_no_package_has_is_an_error() {
        let (_folder, cache) = cache();
        let error = cache.wrap("nothing-of-that-name").unwrap_err();
        assert!(error.to_string().contains("nothing-of-that-name"));
    }

    #[test]
    fn programs_are_found_and_folders_are_none() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-anywhere").is_none());
        assert!(!is_program(Path::new("/usr")));
    }
}
