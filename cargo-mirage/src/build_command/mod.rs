//! `cargo mirage build`: builds an appliance's image for Xen, checks it, and says what its bytes are.
//!
//! The image is `target/appliances/NAME.elf`, without symbols; the same with symbols and debugging information is
//! `target/appliances/NAME.debug`, for `addr2line` and debuggers. It is built with the target `x86_64-unknown-none` where that
//! is installed, else with the host's and what it lacks ([`Target`]); the linker is the toolchain's own. Each build draws
//! the virtual base at random ([`Seed`]); the same seed, with the same sources in the same folder and the same compiler, gives
//! the same bytes.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`build`] | builds one appliance, for the subcommand and for other tools |
//! | [`Product`] | the files, the seed, the target, and a [`Report`] |
//! | [`image`] | reading, checking, stripping and counting an image; needs no compiler |

pub mod image;
mod recipe;
mod runtime;
mod seed;
mod toolchain;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use crate::cli::BuildArguments;
use crate::error::{Error, Fault};
use crate::process;
use crate::run_command::{self, program_in};
use crate::workspace::{Package, Workspace};

pub use runtime::object as runtime_object;
pub use seed::Seed;
pub use toolchain::{Target, Toolchain};

use image::{Image, Report};
use recipe::Recipe;

/// How an image is to be built.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// What the virtual base is drawn with; without one, a random one.
    pub seed: Option<Seed>,
    /// The compiler's target; without one, the best that is installed.
    pub target: Option<Target>,
    /// Environment variables of the build, which build scripts read: `MIRAGE_WEB_SITE` and its kin.
    pub variables: &'a [(&'a str, &'a OsStr)],
    /// What the files are called, without their extensions; without one, like the appliance. For an image that is built otherwise than
    /// usual, so that the usual one stays.
    pub file_name: Option<&'a str>,
    /// Without a seed, whether the image has the seed of the build before, if there was one, so that what hasn't changed isn't linked
    /// once more. For trials: whoever boots an image in earnest draws its base.
    pub again: bool,
}

/// An image that was built and keeps all rules.
#[derive(Debug, Clone)]
pub struct Product {
    /// The appliance's name.
    pub name: String,
    /// The file that Xen boots.
    pub elf: PathBuf,
    /// The same with symbols and debugging information.
    pub debug: PathBuf,
    /// What its virtual base was drawn with.
    pub seed: Seed,
    /// The target that it was built for.
    pub target: Target,
    /// What its bytes are.
    pub report: Report,
}

/// What came of building an image.
#[derive(Debug)]
pub enum Built {
    /// It is there.
    Image(Box<Product>),
    /// Cargo failed with this exit status, and said why on the standard error.
    Failed(u8),
}

impl Built {
    /// The image, or an error for callers to whom a failed build is one.
    ///
    /// # Errors
    ///
    /// [`Error::ProgramFailed`].
    pub fn into_product(self) -> Result<Product, Error> {
        match self {
            Self::Image(product) => Ok(*product),
            Self::Failed(status) => Err(Error::ProgramFailed {
                command: "cargo rustc".into(),
                status: format!("exit status: {status}"),
                output: String::new(),
                fault: Fault::Project,
            }),
        }
    }
}

/// Runs the subcommand: builds each appliance in turn; the first that fails ends it.
///
/// # Errors
///
/// [`Error::Unknown`] and [`Error::NoMain`] for a name, before any is built; those of [`build`].
pub fn run(workspace: &Workspace, arguments: &BuildArguments) -> Result<ExitCode, Error> {
    let mut names: Vec<&str> = arguments.names.iter().map(String::as_str).collect();
    if names.is_empty() {
        match workspace.own_appliance() {
            Some(own) => names.push(own),
            None => return Ok(list(workspace)),
        }
    }
    for name in &names {
        workspace.xen_main(name)?;
    }
    let options = Options {
        seed: arguments.seed,
        target: arguments.target,
        ..Options::default()
    };
    for name in names {
        match build(workspace, name, options)? {
            Built::Image(product) => print(&product),
            Built::Failed(status) => {
                eprintln!("error: the image of `{name}` does not build; cargo says why above");
                return Ok(ExitCode::from(status));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds an appliance's image, checks it, and writes it to its place. Cargo shows its progress on the standard error.
///
/// # Errors
///
/// [`Error::Unknown`] and [`Error::NoMain`] for the name, [`Error::Unsupported`] if this machine has no target or linker for
/// it, [`Error::Content`] if the package has no program or the image breaks a rule.
pub fn build(workspace: &Workspace, appliance: &str, options: Options<'_>) -> Result<Built, Error> {
    let manifest = workspace.xen_main(appliance)?;
    let folder = manifest.parent().unwrap_or(workspace.root());
    let toolchain = Toolchain::find(folder)?;
    let target = toolchain.target(options.target)?;
    let target_folder = workspace.target().join("xen");
    let last = Last::of(&target_folder, appliance);
    let again = match options.seed {
        None if options.again => last.seed(),
        _ => None,
    };
    let seed = options.seed.or(again).map_or_else(Seed::draw, Ok)?;
    let package = workspace.package(&manifest)?;
    let program = main_program(&package)?;
    let recipe = Recipe {
        workspace,
        toolchain: &toolchain,
        target,
        package: &package,
        folder: &target_folder,
    };
    let object = match target {
        Target::None => None,
        Target::Host => Some(runtime::object(&toolchain, &target_folder.join("runtime"))?),
    };
    if again.is_none() && target_folder.join(target.triple()).is_dir() {
        // What is left if this fails takes space, and nothing else.
        let _ = call(&mut recipe.forget()?)?;
    }
    let base = seed.virtual_base();
    let mut command = recipe.build(&program, base, object.as_deref())?;
    command.envs(options.variables.iter().copied());
    log::debug!("{}", process::command_line(&command));
    let output = call(command.stderr(Stdio::inherit()))?;
    if !output.status.success() {
        return Ok(Built::Failed(process::exit_code(output.status)));
    }
    let linked =
        program_in(&String::from_utf8_lossy(&output.stdout), &program).ok_or_else(|| {
            Error::UnexpectedOutput {
                command: "cargo rustc".into(),
                expected: "where the image is",
            }
        })?;
    last.set(seed)?;
    let name = options.file_name.unwrap_or(appliance);
    let (elf, debug, report) = ship(workspace, name, &linked, base)?;
    Ok(Built::Image(Box::new(Product {
        name: appliance.to_owned(),
        elf,
        debug,
        seed,
        target,
        report,
    })))
}

/// What the build before was linked with, in a file.
struct Last(PathBuf);

impl Last {
    fn of(target_folder: &Path, appliance: &str) -> Self {
        Self(target_folder.join(format!("{appliance}.seed")))
    }

    fn seed(&self) -> Option<Seed> {
        fs::read_to_string(&self.0).ok()?.trim().parse().ok()
    }

    fn set(&self, seed: Seed) -> Result<(), Error> {
        fs::write(&self.0, format!("{seed}\n")).map_err(Error::file("write", &self.0))
    }
}

/// Checks what was linked, and writes the two files.
fn ship(
    workspace: &Workspace,
    name: &str,
    linked: &Path,
    base: u64,
) -> Result<(PathBuf, PathBuf, Report), Error> {
    let file = fs::read(linked).map_err(Error::file("read", linked))?;
    let wrong = |problem: String| Error::Content {
        path: linked.to_path_buf(),
        problem,
    };
    let whole = Image::parse(&file).map_err(|error| wrong(error.to_string()))?;
    whole
        .check(base)
        .map_err(|violation| wrong(format!("the image must not be booted: {violation}")))?;
    let stripped = image::strip(&file).map_err(|error| wrong(error.to_string()))?;
    let folder = workspace.target().join("appliances");
    fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
    let elf = folder.join(format!("{name}.elf"));
    let debug = folder.join(format!("{name}.debug"));
    replace(&debug, &file)?;
    replace(&elf, &stripped)?;
    Ok((elf, debug, Report::of(&whole, stripped.len() as u64)))
}

/// Writes a file so that whoever opens it sees the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new = path.with_added_extension(format!("new-{}", std::process::id()));
    fs::write(&new, bytes).map_err(Error::file("write", &new))?;
    fs::rename(&new, path).map_err(Error::file("write", path))
}

/// The name of a main's program: the one that is called like its package, else the only one.
fn main_program(package: &Package) -> Result<String, Error> {
    let programs: Vec<&str> = package
        .targets
        .iter()
        .filter(|target| target.is("bin"))
        .map(|target| target.name.as_str())
        .collect();
    let named = programs.iter().find(|name| **name == package.name);
    match (named, programs.as_slice()) {
        (Some(name), _) | (None, [name]) => Ok((*name).to_owned()),
        (None, programs) => Err(Error::Content {
            path: package.manifest_path.clone(),
            problem: format!(
                "the package has {} programs, and none is called `{}` like it",
                programs.len(),
                package.name
            ),
        }),
    }
}

fn call(command: &mut Command) -> Result<Output, Error> {
    command.output().map_err(|source| Error::CannotStart {
        program: "cargo".into(),
        source,
    })
}

fn print(product: &Product) {
    println!("{}", product.elf.display());
    println!(
        "  virtual base {:#x} (--seed {} repeats it), target {}",
        product.seed.virtual_base(),
        product.seed,
        product.target.triple()
    );
    println!();
    print!("{}", product.report);
}

fn list(workspace: &Workspace) -> ExitCode {
    let names = workspace.appliances();
    let with_main: Vec<&String> = names
        .iter()
        .filter(|name| workspace.xen_main(name).is_ok())
        .collect();
    if with_main.is_empty() {
        println!("This checkout has no appliance with a main for Xen.");
        return ExitCode::SUCCESS;
    }
    println!("Appliances with a main for Xen; `cargo mirage build NAME` builds one's image:");
    for name in with_main {
        let manifest = workspace
            .root()
            .join("appliances")
            .join(name)
            .join("Cargo.toml");
        println!(
            "  {name:12} {}",
            run_command::description(&manifest).unwrap_or_default()
        );
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(programs: &[&str]) -> Package {
        let targets: Vec<String> = programs
            .iter()
            .map(|name| format!(r#"{{"name":"{name}","kind":["bin"],"src_path":"/x"}}"#))
            .collect();
        let json = format!(
            r#"{{"name":"a-xen","manifest_path":"/m","features":{{}},"publish":null,"targets":[{}]}}"#,
            targets.join(",")
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn the_program_called_like_the_package_is_the_image() {
        assert_eq!(main_program(&package(&["b", "a-xen"])).unwrap(), "a-xen");
        assert_eq!(main_program(&package(&["b"])).unwrap(), "b");
        for ambiguous in [&[][..], &["b", "c"]] {
            assert!(matches!(
                main_program(&package(ambiguous)),
                Err(Error::Content { .. })
            ));
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.elf");
        for bytes in [&b"one"[..], b"two"] {
            replace(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
