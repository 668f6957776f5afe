//! Where we work: a checkout with its appliances, benchmarks and crates, or an author's own appliance outside of any.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::error::{Error, Fault};

/// The folder of a checkout of Mirage, or of one appliance as `cargo mirage new` makes it.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Checkout,
    /// The appliance's name.
    Appliance(String),
}

/// A member of the workspace, as cargo describes it.
#[derive(Debug, Clone, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its manifest.
    pub manifest_path: PathBuf,
    /// Its features, each with what it turns on.
    pub features: BTreeMap<String, Vec<String>>,
    /// The registries that it may be published to; `Some` and empty with `publish = false`.
    pub publish: Option<Vec<String>>,
    /// What it builds.
    pub targets: Vec<Target>,
    /// `[package.metadata]` of its manifest, which cargo does not look at.
    #[serde(default)]
    pub metadata: serde_json::Value,
}

/// Something that a package builds.
#[derive(Debug, Clone, Deserialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What it is: `lib`, `bin`, `example`, `test`, `bench`, `custom-build`.
    pub kind: Vec<String>,
    /// Its root source file.
    pub src_path: PathBuf,
    /// The features that it can't be built without.
    #[serde(rename = "required-features", default)]
    pub required_features: Vec<String>,
}

/// What an appliance's main is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// A process of a host.
    Host,
    /// A guest of Xen.
    Xen,
}

impl Platform {
    /// The folder below the appliance's in which its main is.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Xen => "xen",
        }
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

impl Package {
    /// Whether it may be published.
    pub fn is_published(&self) -> bool {
        self.publish
            .as_ref()
            .is_none_or(|registries| !registries.is_empty())
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("."))
    }

    /// The features that a user can name: all but `default`.
    pub fn named_features(&self) -> impl Iterator<Item = &str> {
        self.features
            .keys()
            .map(String::as_str)
            .filter(|name| *name != "default")
    }

    /// Whether a feature is another one, or turns it on.
    pub fn turns_on(&self, feature: &str, other: &str) -> bool {
        let mut reached = vec![feature];
        let mut next = 0;
        while let Some(name) = reached.get(next).copied() {
            next += 1;
            for turned_on in self.features.get(name).into_iter().flatten() {
                if !reached.contains(&turned_on.as_str()) {
                    reached.push(turned_on);
                }
            }
        }
        reached.contains(&other)
    }

    /// Its library, if it has one.
    pub fn library(&self) -> Option<&Target> {
        self.targets.iter().find(|target| target.is("lib"))
    }

    /// Whether its library is `no_std`, at least without features: the crate root says so.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the crate root can't be read.
    pub fn is_no_std(&self) -> Result<bool, Error> {
        let Some(library) = self.library() else {
            return Ok(false);
        };
        let source = std::fs::read_to_string(&library.src_path)
            .map_err(Error::file("read", &library.src_path))?;
        Ok(source.lines().any(is_no_std_attribute))
    }
}

impl Target {
    /// Whether it is of that kind.
    pub fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|k| k == kind)
    }
}

/// `#![no_std]`, or that under a condition: without features the condition must hold, which the linked probe proves.
fn is_no_std_attribute(line: &str) -> bool {
    let line = line.trim();
    line == "#![no_std]" || (line.starts_with("#![cfg_attr(") && line.contains("no_std"))
}

impl Workspace {
    /// Finds where to work: the checkout `source` if given, else the nearest checkout or appliance from the current folder
    /// upwards.
    ///
    /// # Errors
    ///
    /// [`Error::NotACheckout`] or [`Error::NotInCheckout`].
    pub fn find(source: Option<&Path>) -> Result<Self, Error> {
        if let Some(source) = source {
            return Self::checkout_at(source).ok_or_else(|| Error::NotACheckout {
                path: source.to_path_buf(),
            });
        }
        let from = env::current_dir().map_err(Error::file("find", Path::new(".")))?;
        Self::find_above(&from).ok_or(Error::NotInCheckout { from })
    }

    /// The nearest checkout or appliance that is `from` or a folder above it. In an appliance of a checkout, that is the
    /// checkout.
    pub fn find_above(from: &Path) -> Option<Self> {
        from.ancestors().find_map(|folder| {
            Self::checkout_at(folder).or_else(|| {
                let appliance = Self::appliance_at(folder)?;
                // In a checkout's `appliances`?
                let above = appliance.root.parent()?;
                let of_checkout = (above.file_name()? == "appliances")
                    .then(|| Self::checkout_at(above.parent()?))
                    .flatten();
                Some(of_checkout.unwrap_or(appliance))
            })
        })
    }

    /// The checkout with that folder, if it is one: a workspace's manifest, and a folder `appliances`.
    pub fn checkout_at(folder: &Path) -> Option<Self> {
        let root = folder.canonicalize().ok()?;
        let manifest = std::fs::read_to_string(root.join("Cargo.toml")).ok()?;
        let is_workspace = manifest
            .lines()
            .any(|line| line.trim_end() == "[workspace]");
        let is_package = package_name(&manifest).is_some();
        (is_workspace && !is_package && root.join("appliances").is_dir()).then_some(Self {
            root,
            kind: Kind::Checkout,
        })
    }

    /// The appliance with that folder, if it is one: a package that has a main for a host or for Xen in a folder of its own.
    pub fn appliance_at(folder: &Path) -> Option<Self> {
        let root = folder.canonicalize().ok()?;
        let manifest = std::fs::read_to_string(root.join("Cargo.toml")).ok()?;
        let name = package_name(&manifest)?;
        let has_main = ["host", "xen"]
            .iter()
            .any(|platform| root.join(platform).join("Cargo.toml").is_file());
        has_main.then_some(Self {
            root,
            kind: Kind::Appliance(name),
        })
    }

    /// The name of the appliance that this is, if it is no checkout: what commands without a name are about.
    pub fn own_appliance(&self) -> Option<&str> {
        match &self.kind {
            Kind::Checkout => None,
            Kind::Appliance(name) => Some(name),
        }
    }

    /// That this is a checkout, for what an appliance alone has not.
    ///
    /// # Errors
    ///
    /// [`Error::NeedsCheckout`].
    pub fn must_be_checkout(&self, what: &'static str) -> Result<(), Error> {
        match self.kind {
            Kind::Checkout => Ok(()),
            Kind::Appliance(_) => Err(Error::NeedsCheckout {
                what,
                root: self.root.clone(),
            }),
        }
    }

    /// Its folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo builds, and where the tool keeps what it fetches.
    pub fn target(&self) -> PathBuf {
        match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => self.root.join(folder),
            None => self.root.join("target"),
        }
    }

    /// The names of the appliances, sorted.
    pub fn appliances(&self) -> Vec<String> {
        match &self.kind {
            Kind::Checkout => packages_in(&self.root.join("appliances")),
            Kind::Appliance(name) => vec![name.clone()],
        }
    }

    /// The names of the benchmarks, sorted: packages with a program, for libraries beside them are what they share. An
    /// author's own appliance has none.
    pub fn benches(&self) -> Vec<String> {
        if matches!(self.kind, Kind::Appliance(_)) {
            return Vec::new();
        }
        let folder = self.root.join("benches");
        let mut names = packages_in(&folder);
        names.retain(|name| folder.join(name).join("src/main.rs").is_file());
        names
    }

    /// The folder of an appliance's library.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`].
    pub fn appliance_folder(&self, appliance: &str) -> Result<PathBuf, Error> {
        self.check_name("appliance", appliance, self.appliances())?;
        Ok(match self.kind {
            Kind::Checkout => self.root.join("appliances").join(appliance),
            Kind::Appliance(_) => self.root.clone(),
        })
    }

    /// The manifest of an appliance's main for a host.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] or [`Error::NoMain`].
    pub fn host_main(&self, appliance: &str) -> Result<PathBuf, Error> {
        self.main(appliance, Platform::Host)
    }

    /// The manifest of an appliance's main for Xen.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] or [`Error::NoMain`].
    pub fn xen_main(&self, appliance: &str) -> Result<PathBuf, Error> {
        self.main(appliance, Platform::Xen)
    }

    fn main(&self, appliance: &str, platform: Platform) -> Result<PathBuf, Error> {
        let folder = self.appliance_folder(appliance)?;
        let path = folder.join(platform.folder()).join("Cargo.toml");
        if !path.is_file() {
            return Err(Error::NoMain {
                appliance: appliance.into(),
                platform,
                path,
            });
        }
        Ok(path)
    }

    /// The manifests of all mains for a host.
    pub fn host_mains(&self) -> Vec<PathBuf> {
        let names = self.appliances();
        names
            .iter()
            .filter_map(|name| self.host_main(name).ok())
            .collect()
    }

    /// The manifests of all mains for Xen.
    pub fn xen_mains(&self) -> Vec<PathBuf> {
        let names = self.appliances();
        names
            .iter()
            .filter_map(|name| self.xen_main(name).ok())
            .collect()
    }

    /// The manifest of a benchmark.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`].
    pub fn bench(&self, name: &str) -> Result<PathBuf, Error> {
        self.check_name("benchmark", name, self.benches())?;
        Ok(self.root.join("benches").join(name).join("Cargo.toml"))
    }

    // A name is only ever one that was listed: no `..` and no path gets through.
    fn check_name(&self, kind: &'static str, name: &str, known: Vec<String>) -> Result<(), Error> {
        if known.iter().any(|k| k == name) {
            return Ok(());
        }
        Err(Error::Unknown {
            kind,
            name: name.into(),
            known,
        })
    }

    /// A call of the cargo that called us, or of the one on PATH, in the checkout's folder.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        clean_environment(&mut command);
        command.current_dir(&self.root);
        command
    }

    /// The members, as `cargo metadata` tells them.
    ///
    /// # Errors
    ///
    /// [`Error::ProgramFailed`] if a manifest is wrong.
    pub fn members(&self) -> Result<Vec<Package>, Error> {
        Ok(self.metadata(None)?.packages)
    }

    /// The package with that manifest, which may be in a workspace of its own.
    ///
    /// # Errors
    ///
    /// [`Error::ProgramFailed`] if a manifest is wrong, [`Error::Content`] if it is of no package.
    pub fn package(&self, manifest: &Path) -> Result<Package, Error> {
        let packages = self.metadata(Some(manifest))?.packages;
        packages
            .into_iter()
            .find(|package| package.manifest_path == manifest)
            .ok_or_else(|| Error::Content {
                path: manifest.to_path_buf(),
                problem: "not the manifest of a package".into(),
            })
    }

    /// The folder that cargo says it builds in.
    ///
    /// # Errors
    ///
    /// [`Error::ProgramFailed`] if a manifest is wrong.
    pub fn target_according_to_cargo(&self) -> Result<PathBuf, Error> {
        Ok(self.metadata(None)?.target_directory)
    }

    fn metadata(&self, manifest: Option<&Path>) -> Result<Metadata, Error> {
        let mut command = self.cargo();
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        if let Some(manifest) = manifest {
            command.arg("--manifest-path").arg(manifest);
        }
        let output =
            command
                .stdin(Stdio::null())
                .output()
                .map_err(|source| Error::CannotStart {
                    program: "cargo".into(),
                    source,
                })?;
        if !output.status.success() {
            return Err(Error::ProgramFailed {
                command: "cargo metadata".into(),
                status: output.status.to_string(),
                output: String::from_utf8_lossy(&output.stderr).trim().into(),
                fault: Fault::Project,
            });
        }
        serde_json::from_slice(&output.stdout).map_err(|_| Error::UnexpectedOutput {
            command: "cargo metadata".into(),
            expected: "metadata of format version 1",
        })
    }
}

/// The name of the package that a manifest describes, if it describes one.
fn package_name(manifest: &str) -> Option<String> {
    let package = manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[package]")
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    let value = package
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == "name")?
        .1;
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

/// Sorted names of the folders in `folder` that hold a package.
fn packages_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Takes away what `cargo run` gave to us and must not reach what we run: the variables that describe our own package,
/// and the library path into our own build and toolchain.
pub fn clean_environment(command: &mut Command) {
    let ran_by_cargo = env::var_os("CARGO_PKG_NAME").is_some();
    if !ran_by_cargo {
        return;
    }
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        if text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || text == "CARGO_BIN_NAME"
        {
            command.env_remove(&name);
        }
    }
    if let Some(path) = env::var_os("LD_LIBRARY_PATH") {
        match library_path_without_build(&path) {
            Some(path) => command.env("LD_LIBRARY_PATH", path),
            None => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
}

fn library_path_without_build(path: &OsString) -> Option<OsString> {
    let kept: Vec<PathBuf> = env::split_paths(path)
        .filter(|folder| {
            let text = folder.to_string_lossy();
            let of_build = [
                "/target/debug",
                "/target/release",
                "/rustlib/",
                "/toolchains/",
            ];
            !text.is_empty() && !of_build.iter().any(|part| text.contains(part))
        })
        .collect();
    if kept.is_empty() {
        None
    } else {
        env::join_paths(kept).ok()
    }
}

#[cfg(test)]
mod tests;
