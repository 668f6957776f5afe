//! How cargo is called to build an image.
//!
//! What changes from build to build, the virtual base, is given to the last link alone, so that no dependency is rebuilt for
//! it. What dependencies are built with goes through the environment of this one call; the explicit target keeps it from
//! build scripts and macros, which run on the host.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::toolchain::{Target, Toolchain};
use crate::error::{Error, Fault};
use crate::workspace::{Package, Workspace};

/// What the linker is told in each link. The link script, from `mirage-xen`, asks for the virtual base, so that the base is
/// defined before it.
const LINK: &[&str] = &[
    "-Tmirage-xen.ld",
    // The code is position-independent; the program is not: it is linked once and for all, and nothing moves it.
    "--no-pie",
    "-static",
    "--gc-sections",
    // Functions of the same code are one: nobody compares their addresses.
    "--icf=all",
    "--build-id=none",
    "--no-eh-frame-hdr",
];

/// What LLVM is told where a main's manifest asks for little code (`opt-level` "s" or "z").
const SMALL: &[&str] = &[
    // A function that is marked `#[inline]`, as most of the standard library's are, is else put into each of its callers up to the
    // size that is right for speed. What is right for speed all the same is marked `#[inline(always)]`. With less than this, or with what
    // is alike made into functions, the calls take more time than the octets are worth: see benches/image.
    "-inlinehint-threshold=100",
    // Code is not repeated to spare one of two paths a computation.
    "-enable-pre=0",
    // What doesn't fit into the registers is stored where that takes the least code.
    "-split-spill-mode=size",
    // A `match` of few arms is less code as comparisons than with a table of addresses.
    "-min-jump-table-entries=8",
    // A function's parts are put in the order that takes the fewest and shortest jumps.
    "-apply-ext-tsp-for-size",
];

/// A build of one appliance's main for Xen.
#[derive(Debug)]
pub(super) struct Recipe<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) toolchain: &'a Toolchain,
    pub(super) target: Target,
    pub(super) package: &'a Package,
    /// Where cargo builds: a folder that no other call uses.
    pub(super) folder: &'a Path,
}

impl Recipe<'_> {
    /// The call of cargo that links at `base`. `object` is what the target lacks.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] without a linker; those of `cargo metadata`.
    pub(super) fn build(
        &self,
        program: &str,
        base: u64,
        object: Option<&Path>,
    ) -> Result<Command, Error> {
        let mut command = self.cargo("rustc")?;
        command
            .args([
                "--bin",
                program,
                "--message-format",
                "json-render-diagnostics",
            ])
            // Nothing unwinds, whatever the manifest says; and the symbols are needed to tell what the bytes are.
            .args(["--config", "profile.release.panic=\"abort\""])
            .args(["--config", "profile.release.strip=\"none\""]);
        if self.release_profile("debug")?.is_none() {
            // So that an address in a report of the image's is a line of a source.
            command.args(["--config", "profile.release.debug=\"line-tables-only\""]);
        }
        command
            .arg("--")
            .args(["-C", "linker-flavor=ld.lld", "-C", "relro-level=off", "-C"])
            .arg(joined("linker=", &self.toolchain.linker()?))
            .arg("-C")
            .arg(format!("link-arg=--defsym=MIRAGE_VIRTUAL_BASE={base:#x}"));
        for argument in LINK {
            command.arg("-C").arg(format!("link-arg={argument}"));
        }
        if let Some(object) = object {
            command.arg("-C").arg(joined("link-arg=", object));
        }
        Ok(command)
    }

    /// What the main's manifest says itself of a key of its release profile.
    fn release_profile(&self, key: &str) -> Result<Option<String>, Error> {
        let path = &self.package.manifest_path;
        let manifest = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        Ok(release_profile(&manifest, key).map(str::to_owned))
    }

    /// The call of cargo that removes what was linked before: each base has a file of its own there, and they would pile up.
    ///
    /// # Errors
    ///
    /// Those of `cargo metadata`.
    pub(super) fn forget(&self) -> Result<Command, Error> {
        let mut command = self.cargo("clean")?;
        command.args(["--quiet", "--package", &self.package.name]);
        Ok(command)
    }

    fn cargo(&self, subcommand: &str) -> Result<Command, Error> {
        let mut command = self.workspace.cargo();
        command
            .args([
                subcommand,
                "--release",
                "--target",
                self.target.triple(),
                "--manifest-path",
            ])
            .arg(&self.package.manifest_path)
            .arg("--target-dir")
            .arg(self.folder)
            .stdin(Stdio::null())
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags()?)
            .env_remove("RUSTFLAGS");
        Ok(command)
    }

    /// What all that is linked is compiled with, separated as `CARGO_ENCODED_RUSTFLAGS` wants it.
    fn flags(&self) -> Result<OsString, Error> {
        // `mirage-xen` leaves out what runs only in an image where it can't tell that by the target: in its own tests on a host.
        let mut flags = OsString::from(
            "--cfg=mirage_image\x1f-Crelocation-model=pic\x1f-Csymbol-mangling-version=v0\x1f-Cforce-unwind-tables=no",
        );
        if let Some("\"s\"" | "\"z\"") = self.release_profile("opt-level")?.as_deref() {
            for argument in SMALL {
                // Another LLVM may not have all of them: the image is larger then, and as good.
                let flag = format!("-Cllvm-args={argument}");
                if self.toolchain.takes(&flag) {
                    flags.push("\x1f");
                    flags.push(flag);
                }
            }
        }
        // In the image, not in what the compiler says of a mistake.
        flags.push("\x1f--remap-path-scope=object");
        for (from, to) in self.renamed()? {
            flags.push("\x1f--remap-path-prefix=");
            flags.push(from);
            flags.push("=");
            flags.push(to);
        }
        Ok(flags)
    }

    /// Folders whose paths would be in panic messages and debugging information, each with the name that is there instead:
    /// `/mirage` for a checkout, whatever its own. Of several that fit, the
    /// compiler takes the last: longer ones come later.
    fn renamed(&self) -> Result<BTreeSet<(Folder, String)>, Error> {
        let mut renamed = BTreeSet::new();
        let mut rename = |folder: &Path, name: &str| {
            renamed.insert((Folder(folder.to_path_buf()), name.to_owned()));
        };
        if let Some(home) = cargo_home() {
            rename(&home, "/cargo");
        }
        let library = self.toolchain.sysroot().join("lib/rustlib/src/rust");
        rename(
            &library,
            &format!("/rustc/{}", self.toolchain.commit().unwrap_or("unknown")),
        );
        rename(self.folder, "/target");
        for folder in self.path_dependencies()? {
            // Of a checkout all is renamed alike, so that its appliances share what they are built from.
            match Workspace::find_above(&folder) {
                Some(workspace) => {
                    let name = workspace.own_appliance().unwrap_or("mirage");
                    rename(workspace.root(), &format!("/{name}"));
                }
                None => rename(&folder, &format!("/{}", base_name(&folder))),
            }
        }
        Ok(renamed)
    }

    /// The folders of all packages that come from no registry, the main's own too.
    fn path_dependencies(&self) -> Result<Vec<PathBuf>, Error> {
        #[derive(Deserialize)]
        struct Metadata {
            packages: Vec<Found>,
        }
        #[derive(Deserialize)]
        struct Found {
            source: Option<String>,
            manifest_path: PathBuf,
        }
        let mut command = self.workspace.cargo();
        command
            .args([
                "metadata",
                "--format-version",
                "1",
                "--filter-platform",
                self.target.triple(),
                "--manifest-path",
            ])
            .arg(&self.package.manifest_path)
            .stdin(Stdio::null());
        let output = command.output().map_err(|source| Error::CannotStart {
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
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).map_err(|_| Error::UnexpectedOutput {
                command: "cargo metadata".into(),
                expected: "metadata of format version 1",
            })?;
        let packages = metadata
            .packages
            .into_iter()
            .filter(|package| package.source.is_none());
        Ok(packages
            .filter_map(|package| package.manifest_path.parent().map(Path::to_path_buf))
            .collect())
    }
}

/// A folder, ordered by the length of its path first.
#[derive(Debug, PartialEq, Eq)]
struct Folder(PathBuf);

impl AsRef<std::ffi::OsStr> for Folder {
    fn as_ref(&self) -> &std::ffi::OsStr {
        self.0.as_os_str()
    }
}

impl Ord for Folder {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        let key = |folder: &Self| (folder.0.as_os_str().len(), folder.0.clone());
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Folder {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The value of a key of the release profile in a manifest, without a comment behind it.
fn release_profile<'m>(manifest: &'m str, wanted: &str) -> Option<&'m str> {
    let lines = manifest.lines().map(str::trim);
    lines
        .skip_while(|line| *line != "[profile.release]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == wanted)
        .map(|(_, value)| value.split('#').next().unwrap_or_default().trim())
}

/// Where cargo keeps what it downloads.
fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
        .and_then(|home| std::path::absolute(home).ok())
}

fn base_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn joined(prefix: &str, path: &Path) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(path);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_inside_another_is_renamed_after_it() {
        let folders: BTreeSet<Folder> = ["/b/c/d", "/a", "/b", "/b/c"]
            .map(|path| Folder(path.into()))
            .into();
        let order: Vec<&Path> = folders.iter().map(|folder| folder.0.as_path()).collect();
        assert_eq!(order, ["/a", "/b", "/b/c", "/b/c/d"].map(Path::new));
    }

    #[test]
    fn a_manifest_that_says_how_much_debugging_information_keeps_its_say() {
        let said = "[profile.release]\nlto = true\ndebug = 2\n[x]\n";
        assert_eq!(release_profile(said, "debug"), Some("2"));
        for silent in [
            "",
            "[profile.dev]\ndebug = 1\n",
            "[profile.release]\nopt-level = 3\n[profile.dev]\ndebug = 1\n",
            "[profile.release]\ndebug-assertions = true\n",
            "[profile.release]\n# debug = 1\n",
        ] {
            assert_eq!(release_profile(silent, "debug"), None, "{silent}");
        }
    }

    #[test]
    fn a_manifest_that_asks_for_little_code_is_read_with_a_comment_behind() {
        let small = "[profile.release]\nopt-level = \"s\" # not \"z\"\nlto = true\n";
        assert_eq!(release_profile(small, "opt-level"), Some("\"s\""));
        let fast = "[profile.release]\nopt-level = 3\n";
        assert_eq!(release_profile(fast, "opt-level"), Some("3"));
    }

    #[test]
    fn the_base_is_defined_before_the_script_that_asks_for_it() {
        assert!(LINK[0].starts_with("-T"));
    }
}
