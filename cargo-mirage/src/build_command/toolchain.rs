//! The compiler that builds images, and what it has: targets, and a linker of its own.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;

use crate::debian;
use crate::error::{Error, Fault};
use crate::workspace;

/// A target of the compiler that images are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Bare metal, as Rust distributes it: the proper one, where it is installed.
    #[value(name = "x86_64-unknown-none")]
    None,
    /// Linux, which every toolchain on such a host has. The recipe supplies what is missing without a C library.
    #[value(name = "x86_64-unknown-linux-gnu")]
    Host,
}

impl Target {
    /// Its name.
    pub fn triple(self) -> &'static str {
        match self {
            Self::None => "x86_64-unknown-none",
            Self::Host => "x86_64-unknown-linux-gnu",
        }
    }
}

/// A Rust toolchain, as it is in a folder (rustup's overrides go by folder).
#[derive(Debug, Clone)]
pub struct Toolchain {
    rustc: OsString,
    folder: PathBuf,
    version: String,
    host: String,
    sysroot: PathBuf,
}

impl Toolchain {
    /// Asks the compiler that cargo calls in `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::CannotStart`] without a compiler, [`Error::UnexpectedOutput`] if it is none that we know.
    pub fn find(folder: &Path) -> Result<Self, Error> {
        let mut toolchain = Self {
            rustc: env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()),
            folder: folder.to_path_buf(),
            version: String::new(),
            host: String::new(),
            sysroot: PathBuf::new(),
        };
        toolchain.version = toolchain.ask(&["-vV"])?;
        let host = toolchain
            .version
            .lines()
            .find_map(|line| line.strip_prefix("host: "));
        toolchain.host = host
            .ok_or(Error::UnexpectedOutput {
                command: "rustc -vV".into(),
                expected: "a line `host: …`",
            })?
            .to_owned();
        toolchain.sysroot = toolchain.ask(&["--print", "sysroot"])?.into();
        Ok(toolchain)
    }

    /// What `rustc -vV` says.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The commit that the compiler was built from, if it says so.
    pub fn commit(&self) -> Option<&str> {
        self.version
            .lines()
            .find_map(|line| line.strip_prefix("commit-hash: "))
    }

    /// The folder of the toolchain.
    pub fn sysroot(&self) -> &Path {
        &self.sysroot
    }

    /// A call of the compiler.
    pub fn rustc(&self) -> Command {
        let mut command = Command::new(&self.rustc);
        workspace::clean_environment(&mut command);
        command.current_dir(&self.folder);
        command
    }

    /// Whether the compiler, and what generates code behind it, know this flag: of LLVM's the ones that it doesn't know are errors.
    pub fn takes(&self, flag: &str) -> bool {
        // A list that LLVM gives, so that it has read its arguments before.
        self.ask(&[flag, "--print", "target-cpus"]).is_ok()
    }

    /// Whether the target's `core` is installed.
    pub fn has(&self, target: Target) -> bool {
        let Ok(folder) = self.ask(&["--print", "target-libdir", "--target", target.triple()])
        else {
            return false;
        };
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).any(|name| {
            let name = name.to_string_lossy();
            name.starts_with("libcore-") && name.ends_with(".rlib")
        })
    }

    /// The target to build for: the one that was asked for, else bare metal's if it is installed, else the host's.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] says how to install one if there is none.
    pub fn target(&self, asked: Option<Target>) -> Result<Target, Error> {
        let candidates = match asked {
            Some(target) => vec![target],
            None => vec![Target::None, Target::Host],
        };
        let found = candidates.iter().copied().find(|target| self.has(*target));
        found.ok_or_else(|| Error::Unsupported {
            reason: format!(
                "the toolchain for {} has no {}: `rustup target add {}` installs it",
                self.host,
                candidates
                    .iter()
                    .map(|target| target.triple())
                    .collect::<Vec<_>>()
                    .join(" and no "),
                candidates[0].triple()
            ),
        })
    }

    /// The linker: the toolchain's own `rust-lld`, else an `ld.lld` that is installed.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if there is neither.
    pub fn linker(&self) -> Result<PathBuf, Error> {
        let own = self
            .sysroot
            .join("lib/rustlib")
            .join(&self.host)
            .join("bin/rust-lld");
        if own.is_file() {
            return Ok(own);
        }
        debian::find_program("ld.lld").ok_or_else(|| Error::Unsupported {
            reason: format!(
                "no linker: the toolchain has no {} (rustup's have), and no ld.lld is on PATH (Debian's package is `lld`)",
                own.display()
            ),
        })
    }

    fn ask(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut command = self.rustc();
        command.args(arguments).stdin(Stdio::null());
        let output = command.output().map_err(|source| Error::CannotStart {
            program: self.rustc.to_string_lossy().into_owned(),
            source,
        })?;
        if !output.status.success() {
            return Err(Error::ProgramFailed {
                command: format!("rustc {}", arguments.join(" ")),
                status: output.status.to_string(),
                output: String::from_utf8_lossy(&output.stderr).trim().into(),
                fault: Fault::Machine,
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_that_builds_this_is_found_with_its_parts() {
        let toolchain = Toolchain::find(Path::new(".")).unwrap();
        assert!(toolchain.version().starts_with("rustc "));
        assert!(toolchain.sysroot().is_dir());
        assert!(toolchain.target(None).is_ok());
        assert!(toolchain.linker().unwrap().is_file());
    }

    #[test]
    fn a_flag_that_llvm_does_not_know_is_told_from_one_that_it_does() {
        let toolchain = Toolchain::find(Path::new(".")).unwrap();
        assert!(toolchain.takes("-Cllvm-args=-inline-threshold=20"));
        assert!(!toolchain.takes("-Cllvm-args=-mirage-threshold=20"));
        assert!(!toolchain.takes("-Cmirage"));
    }

    #[test]
    fn a_target_that_is_not_installed_is_named_with_the_way_to_install_it() {
        let mut toolchain = Toolchain::find(Path::new(".")).unwrap();
        // Without a compiler there is no target.
        toolchain.rustc = "no-such-compiler".into();
        let error = toolchain.target(Some(Target::None)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("rustup target add x86_64-unknown-none"),
            "{error}"
        );
    }
}
