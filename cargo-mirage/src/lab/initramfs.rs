//! A root file system for a Linux machine of the lab, put together from unpacked packages: programs with every library
//! that they need, kernel modules with those they depend on, scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::lab::cpio::{Kind, Writer};
use crate::lab::elf;
use crate::lab::packages::Packages;

/// Where libraries lie in the file system; Debian's loader looks there first.
const LIBRARIES: &str = "lib/x86_64-linux-gnu";

/// The file that lists the modules, one a line, in the order to load them.
const MODULE_ORDER: &str = "lib/modules/order";

#[derive(Debug)]
enum Content {
    Directory,
    Bytes(Vec<u8>),
    From(PathBuf),
    Symlink(String),
}

#[derive(Debug)]
struct Entry {
    content: Content,
    permissions: u32,
}

/// Collects what the file system holds. Paths are relative to its root; missing folders are added.
#[derive(Debug)]
pub struct Builder<'a> {
    packages: &'a Packages,
    entries: BTreeMap<String, Entry>,
    /// The modules of the kernel, by name; and those that are a part of it.
    modules: Option<(BTreeMap<String, PathBuf>, BTreeSet<String>)>,
    order: Vec<String>,
}

impl<'a> Builder<'a> {
    /// An empty one, whose programs and modules come from those packages.
    pub fn new(packages: &'a Packages) -> Self {
        Self {
            packages,
            entries: BTreeMap::new(),
            modules: None,
            order: Vec::new(),
        }
    }

    /// Adds a folder.
    pub fn directory(&mut self, path: &str) -> &mut Self {
        self.add(path, Content::Directory, 0o755)
    }

    /// Adds a file that is not executable.
    pub fn file(&mut self, path: &str, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.add(path, Content::Bytes(bytes.into()), 0o644)
    }

    /// Adds an executable script.
    pub fn script(&mut self, path: &str, text: &str) -> &mut Self {
        self.add(path, Content::Bytes(text.as_bytes().to_vec()), 0o755)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.add(path, Content::Symlink(target.into()), 0o777)
    }

    /// Adds a file of the packages under the path that it has there.
    ///
    /// # Errors
    ///
    /// [`Error::Content`] if no package has it.
    pub fn packaged_file(&mut self, path: &str) -> Result<&mut Self, Error> {
        let file = self.packages.file(&[path])?;
        Ok(self.add(path, Content::From(file), 0o644))
    }

    /// Adds a program of the packages, at `path`, with its loader and all libraries that it needs.
    ///
    /// # Errors
    ///
    /// [`Error::Content`] if it, or a library, is in no package.
    pub fn program(&mut self, path: &str, file: &Path) -> Result<&mut Self, Error> {
        self.add(path, Content::From(file.to_path_buf()), 0o755);
        self.needed_by(file)?;
        Ok(self)
    }

    /// Adds a shared library and all that it needs: for what is loaded by name at run time, which no header tells.
    ///
    /// # Errors
    ///
    /// [`Error::Content`] if it is in no package.
    pub fn library(&mut self, name: &str) -> Result<&mut Self, Error> {
        self.library_from(name, &[])?;
        Ok(self)
    }

    fn needed_by(&mut self, file: &Path) -> Result<(), Error> {
        let bytes = fs::read(file).map_err(Error::file("read", file))?;
        if !elf::is_elf(&bytes) {
            return Ok(());
        }
        let needs = elf::needs(&bytes).map_err(content(file))?;
        if let Some(interpreter) = needs.interpreter {
            let loader = self.packages.file(&[interpreter.as_str()])?;
            self.add(
                interpreter.trim_start_matches('/'),
                Content::From(loader),
                0o755,
            );
        }
        for name in &needs.libraries {
            self.library_from(name, &needs.folders)?;
        }
        Ok(())
    }

    fn library_from(&mut self, name: &str, folders: &[String]) -> Result<(), Error> {
        let path = format!("{LIBRARIES}/{name}");
        if self.entries.contains_key(&path) {
            return Ok(());
        }
        let file = self.packages.library(name, folders)?;
        self.add(&path, Content::From(file.clone()), 0o755);
        self.needed_by(&file)
    }

    /// Adds a kernel module by name, after those that it depends on. One that is a part of the kernel needs nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Content`] if the kernel's package has no such module.
    pub fn module(&mut self, name: &str) -> Result<&mut Self, Error> {
        let name = module_name(name);
        let path = format!("lib/modules/{name}.ko");
        if self.entries.contains_key(&path) {
            return Ok(self);
        }
        let packages = self.packages;
        let (files, builtin) = self.modules.get_or_insert_with(|| modules_of(packages));
        let Some(file) = files.get(&name).cloned() else {
            if builtin.contains(&name) {
                return Ok(self);
            }
            return Err(Error::Content {
                path: packages.root().to_path_buf(),
                problem: format!("the kernel has no module `{name}`"),
            });
        };
        let bytes = match file.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => packages.filter("xz", &["--decompress", "--stdout"], &file)?,
            Some("gz") => packages.filter("busybox", &["gunzip"], &file)?,
            _ => fs::read(&file).map_err(Error::file("read", &file))?,
        };
        let depends = elf::module_depends(&bytes).map_err(content(&file))?;
        // Added first, so that a circle ends.
        self.add(&path, Content::Bytes(bytes), 0o644);
        for other in depends {
            self.module(&other)?;
        }
        self.order.push(format!("{name}.ko"));
        Ok(self)
    }

    /// Writes the archive.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn write(mut self, path: &Path) -> Result<(), Error> {
        if !self.order.is_empty() {
            let order = self.order.join("\n") + "\n";
            self.file(MODULE_ORDER, order);
        }
        let file = File::create(path).map_err(Error::file("write", path))?;
        let mut writer = Writer::new(BufWriter::new(file));
        for (name, entry) in &self.entries {
            let read;
            let (kind, bytes): (_, &[u8]) = match &entry.content {
                Content::Directory => (Kind::Directory, &[]),
                Content::Bytes(bytes) => (Kind::File, bytes),
                Content::Symlink(target) => (Kind::Symlink, target.as_bytes()),
                Content::From(from) => {
                    read = fs::read(from).map_err(Error::file("read", from))?;
                    (Kind::File, &read)
                }
            };
            writer
                .entry(name, kind, entry.permissions, bytes)
                .map_err(Error::file("write", path))?;
        }
        writer.finish().map_err(Error::file("write", path))?;
        Ok(())
    }

    fn add(&mut self, path: &str, content: Content, permissions: u32) -> &mut Self {
        let path = path.trim_matches('/');
        // The folders above, which sort before what is in them.
        for (at, _) in path.match_indices('/') {
            self.entries.entry(path[..at].to_owned()).or_insert(Entry {
                content: Content::Directory,
                permissions: 0o755,
            });
        }
        self.entries.insert(
            path.to_owned(),
            Entry {
                content,
                permissions,
            },
        );
        self
    }
}

fn content(file: &Path) -> impl FnOnce(String) -> Error {
    let path = file.to_path_buf();
    move |problem| Error::Content { path, problem }
}

/// Modules are called with `-` or `_`, alike.
fn module_name(name: &str) -> String {
    name.replace('-', "_")
}

/// The kernel's modules by name, and the names of those that are a part of it.
fn modules_of(packages: &Packages) -> (BTreeMap<String, PathBuf>, BTreeSet<String>) {
    let mut files = BTreeMap::new();
    let mut builtin = BTreeSet::new();
    for folder in ["lib/modules", "usr/lib/modules"] {
        for path in packages.files_below(folder) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if name == "modules.builtin" {
                let text = fs::read_to_string(&path).unwrap_or_default();
                builtin.extend(
                    text.lines()
                        .filter_map(|line| line.rsplit('/').next()?.strip_suffix(".ko"))
                        .map(module_name),
                );
            } else if let Some((stem, _)) = name.split_once(".ko") {
                files.insert(module_name(stem), path.clone());
            }
        }
    }
    (files, builtin)
}
