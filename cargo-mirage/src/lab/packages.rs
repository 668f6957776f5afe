//! The Debian packages that a lab is made of, unpacked: files, and programs that run with their own libraries.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::debian::{self, Base, Cache};
use crate::error::{Error, Fault};
use crate::lab::{archive, elf};
use crate::process::Log;

/// What dom0 is made of: Xen with its tools, a kernel, and what its agent and scripts need. Debian's own names of the
/// newest: each depends on the version there is.
pub const DOM0: &[&str] = &[
    "xen-system-amd64",
    "xenstore-utils",
    "linux-image-amd64",
    "busybox-static",
    "perl-base",
    "xz-utils",
];

/// What has QEMU, where it is not installed.
pub const QEMU: &[&str] = &["qemu-system-x86"];

/// What has `ip`, where it is not installed.
pub const NETWORK: &[&str] = &["iproute2"];

/// How many symbolic links are followed before they are taken for a circle.
const MAXIMUM_LINKS: usize = 40;

/// Where packages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The machine's own apt sources.
    Apt,
    /// A folder of `.deb` files.
    Folder(PathBuf),
}

/// Unpacked packages.
#[derive(Debug, Clone)]
pub struct Packages {
    root: PathBuf,
    versions: String,
}

impl Packages {
    /// Fetches and unpacks packages below `folder`, or takes them as they are there already: then nothing is fetched.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] on a machine without apt if no folder is named, [`Error::ProgramFailed`] if apt fails, and
    /// those of unpacking.
    pub fn prepare(
        source: &Source,
        names: &[&str],
        folder: &Path,
        log: &Log,
        mut on_line: impl FnMut(&str),
    ) -> Result<Self, Error> {
        // Complete as soon as this file is there, and says what was asked for, or that and more.
        let done = folder.join("complete");
        let wanted = match source {
            Source::Apt => format!("apt\n{}\n", names.join("\n")),
            Source::Folder(from) => format!("folder\n{}", archive::listing(from)?),
        };
        let versions = folder.join("versions");
        if fs::read_to_string(&done).is_ok_and(|found| covers(&found, &wanted)) {
            let versions = fs::read_to_string(&versions).map_err(Error::file("read", &versions))?;
            for line in versions.lines() {
                log.line(line);
            }
            return Ok(Self {
                root: folder.join("root"),
                versions,
            });
        }
        // What was asked for before may have been of other versions. Apt's lists may stay.
        for part in ["complete", "root", "unpacked", "apt/archives"] {
            remove(&folder.join(part))?;
        }
        match source {
            Source::Apt => {
                Cache::new(folder, Base::Nothing)
                    .map_err(|error| match error {
                        Error::Unsupported { reason } => Error::Unsupported {
                            reason: format!(
                                "{reason}; on such a machine name a folder of Debian's packages with --packages DIR \
                                 (which ones: `cargo mirage lab --list-packages`)"
                            ),
                        },
                        other => other,
                    })?
                    .fetch(names, log, |line| on_line(&in_short(line)))?;
            }
            Source::Folder(from) => archive::unpack_folder(from, folder, log, on_line)?,
        }
        fs::write(&done, wanted).map_err(Error::file("write", &done))?;
        Ok(Self {
            root: folder.join("root"),
            versions: fs::read_to_string(&versions).map_err(Error::file("read", &versions))?,
        })
    }

    /// The root that they are unpacked in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Name, version and SHA-256 of each, one a line.
    pub fn versions(&self) -> &str {
        &self.versions
    }

    /// The file that `path` is in the unpacked root; symbolic links are followed as they would be in there.
    ///
    /// Debian 13 has all of `bin`, `lib` and so on in `usr`; the links that lead there are made when it is installed.
    pub fn find(&self, path: &str) -> Option<PathBuf> {
        let path = Path::new(path.trim_start_matches('/'));
        let places = [path.to_path_buf(), Path::new("usr").join(path)];
        places
            .iter()
            .filter_map(|path| resolve(&self.root, path))
            .find(|path| path.is_file())
    }

    /// The first of several places where there is a file.
    ///
    /// # Errors
    ///
    /// [`Error::Content`] if there is none.
    pub fn file(&self, places: &[&str]) -> Result<PathBuf, Error> {
        let found = places.iter().find_map(|place| self.find(place));
        found.ok_or_else(|| Error::Content {
            path: self.root.clone(),
            problem: format!("no unpacked package has {}", places.join(" or ")),
        })
    }

    /// A program of that name, in the folders for programs.
    ///
    /// # Errors
    ///
    /// [`Error::Content`] if there is none.
    pub fn program(&self, name: &str) -> Result<PathBuf, Error> {
        let places: Vec<String> = ["usr/bin", "usr/sbin", "bin", "sbin"]
            .iter()
            .map(|folder| format!("{folder}/{name}"))
            .collect();
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        self.file(&places)
    }

    /// A shared library, looked for in the folders that Debian's loader looks in and in `folders`.
    ///
    /// # Errors
    ///
    /// [`Error::Content`] if there is none.
    pub fn library(&self, name: &str, folders: &[String]) -> Result<PathBuf, Error> {
        let places: Vec<String> = folders
            .iter()
            .map(|folder| folder.trim_start_matches('/'))
            .chain(LIBRARY_FOLDERS.iter().copied())
            .map(|folder| format!("{folder}/{name}"))
            .collect();
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        self.file(&places)
    }

    /// A call of an unpacked program on this machine. A dynamic one gets the unpacked loader and libraries.
    ///
    /// # Errors
    ///
    /// [`Error::File`] and [`Error::Content`] for a program that can't be read.
    pub fn command(&self, program: &Path) -> Result<Command, Error> {
        let bytes = fs::read(program).map_err(Error::file("read", program))?;
        let needs = elf::needs(&bytes).map_err(|problem| Error::Content {
            path: program.to_path_buf(),
            problem,
        })?;
        let Some(interpreter) = needs.interpreter else {
            return Ok(Command::new(program));
        };
        let folders: Vec<String> = LIBRARY_FOLDERS
            .iter()
            .map(|folder| self.root.join(folder))
            .filter(|folder| folder.is_dir())
            .map(|folder| folder.display().to_string())
            .collect();
        let mut command = Command::new(self.file(&[interpreter.as_str()])?);
        command
            .arg("--library-path")
            .arg(folders.join(":"))
            .arg(program);
        Ok(command)
    }

    /// Runs an unpacked program over a file, and gives what it wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Content`] if no package has it, [`Error::ProgramFailed`] if it says that it failed.
    pub fn filter(
        &self,
        program: &str,
        arguments: &[&str],
        input: &Path,
    ) -> Result<Vec<u8>, Error> {
        let mut command = self.command(&self.program(program)?)?;
        let file = fs::File::open(input).map_err(Error::file("read", input))?;
        let output = command
            .args(arguments)
            .stdin(file)
            .output()
            .map_err(|source| Error::CannotStart {
                program: program.into(),
                source,
            })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(Error::ProgramFailed {
            command: format!("{program} {} <{}", arguments.join(" "), input.display()),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
            fault: Fault::Machine,
        })
    }

    /// All files below a folder of the unpacked root, sorted.
    pub fn files_below(&self, folder: &str) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.root.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(kind) if kind.is_file() => {
                        found.insert(entry.path());
                    }
                    _ => {}
                }
            }
        }
        found
    }
}

/// Where Debian's loader looks for libraries without being told, below the root.
const LIBRARY_FOLDERS: [&str; 4] = [
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "lib",
    "usr/lib",
];

/// The packages that a lab on this machine needs: QEMU and `ip` only where they are missing.
pub fn needed_here() -> Vec<&'static str> {
    let mut names = DOM0.to_vec();
    if debian::find_program("qemu-system-x86_64").is_none() {
        names.extend(QEMU);
    }
    if debian::find_program("ip").is_none() {
        names.extend(NETWORK);
    }
    names
}

/// Whether what is there is of the kind that is wanted, and has all of it.
fn covers(found: &str, wanted: &str) -> bool {
    let found: Vec<&str> = found.lines().collect();
    let wanted: Vec<&str> = wanted.lines().collect();
    match (found.first(), wanted.first()) {
        (Some(&"apt"), Some(&"apt")) => wanted.iter().all(|line| found.contains(line)),
        _ => found == wanted,
    }
}

/// What apt says, for a progress bar: which package comes.
fn in_short(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match (words.first(), words.get(4)) {
        (Some(first), Some(package)) if first.starts_with("Get:") => format!("fetching {package}"),
        _ => line.to_owned(),
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Follows a path below a root as if that root were `/`: no symbolic link leads out of it.
fn resolve(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut rest: Vec<PathBuf> = components(path);
    let mut here = PathBuf::new();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part.as_os_str() == ".." {
            here.pop();
            continue;
        }
        let next = here.join(part);
        let outside = root.join(&next);
        let metadata = fs::symlink_metadata(&outside).ok()?;
        if !metadata.is_symlink() {
            here = next;
            continue;
        }
        links += 1;
        if links > MAXIMUM_LINKS {
            return None;
        }
        let target = fs::read_link(&outside).ok()?;
        if target.is_absolute() {
            here = PathBuf::new();
        }
        rest.extend(components(&target));
    }
    Some(root.join(here))
}

/// The parts of a path, the last first; the root and `.` are left out.
fn components(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    });
    let mut parts: Vec<PathBuf> = parts.collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn packages() -> (tempfile::TempDir, Packages) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("usr/lib/x86_64-linux-gnu")).unwrap();
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::write(root.join("usr/bin/tool"), "tool").unwrap();
        let packages = Packages {
            root,
            versions: String::new(),
        };
        (folder, packages)
    }

    #[test]
    fn links_stay_in_the_root() {
        let (folder, packages) = packages();
        fs::write(folder.path().join("tool"), "outside").unwrap();
        let root = packages.root();
        // An absolute link is one from the unpacked root; one upwards does not leave it.
        symlink("/usr/bin/tool", root.join("absolute")).unwrap();
        symlink("../../../tool", root.join("usr/bin/up")).unwrap();
        symlink("usr/bin", root.join("bin")).unwrap();
        let tool = root.join("usr/bin/tool");
        assert_eq!(packages.find("absolute"), Some(tool.clone()));
        assert_eq!(packages.find("/bin/tool"), Some(tool.clone()));
        assert_eq!(packages.find("usr/bin/up"), None);
        // What would be a link to `usr` on an installed system.
        fs::create_dir(root.join("usr/lib64")).unwrap();
        fs::write(root.join("usr/lib64/loader"), "").unwrap();
        assert_eq!(
            packages.find("/lib64/loader"),
            Some(root.join("usr/lib64/loader"))
        );
        assert_eq!(packages.program("tool").unwrap(), tool);
    }

    #[test]
    fn a_circle_of_links_ends() {
        let (_folder, packages) = packages();
        symlink("b", packages.root().join("a")).unwrap();
        symlink("a", packages.root().join("b")).unwrap();
        assert_eq!(packages.find("a"), None);
    }

    #[test]
    fn what_is_there_serves_whoever_wants_less_of_it() {
        assert!(covers("apt\na\nb\n", "apt\nb\n"));
        assert!(!covers("apt\na\n", "apt\na\nb\n"));
        assert!(!covers("folder\na\nb\n", "folder\na\n"));
        assert!(!covers("folder\na\n", "apt\na\n"));
        assert!(!covers("", "apt\na\n"));
    }

    #[test]
    fn apts_lines_are_told_in_short() {
        let line =
            "Get:3 http://example.org/debian bookworm/main amd64 xen-utils amd64 4.17 [276 kB]";
        assert_eq!(in_short(line), "fetching xen-utils");
        assert_eq!(in_short("unpacking a.deb"), "unpacking a.deb");
    }

    #[test]
    fn what_no_package_has_is_named() {
        let (_folder, packages) = packages();
        let error = packages.program("xl").unwrap_err();
        assert!(error.to_string().contains("usr/sbin/xl"), "{error}");
        let error = packages
            .library("libx.so.1", &["/opt/lib".into()])
            .unwrap_err();
        assert!(error.to_string().contains("opt/lib/libx.so.1"), "{error}");
    }
}
