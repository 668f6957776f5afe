//! `cargo mirage new`: writes an appliance of the author's own, outside of any checkout.
//!
//! It is a library with a small service, which knows no platform; a main for a host; a main for Xen; a test that passes; and
//! a README with the commands. Each is a workspace of its own. What they depend on are versions in the registry; or, where
//! the tool was installed from a checkout or is given one with `--source`, paths into it.

mod name;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::NewArguments;
use crate::error::Error;
use crate::workspace::Workspace;

/// The files, each with its path in the new folder. Manifests have other names here: a folder with a `Cargo.toml` would be
/// left out of this crate's package.
const FILES: &[(&str, &str)] = &[
    (".cargo/config.toml", include_str!("template/config.toml")),
    (".gitignore", include_str!("template/gitignore")),
    ("Cargo.toml", include_str!("template/library.toml")),
    ("README.md", include_str!("template/README.md")),
    ("src/lib.rs", include_str!("template/library.rs")),
    ("host/Cargo.toml", include_str!("template/host/main.toml")),
    ("host/src/main.rs", include_str!("template/host/main.rs")),
    (
        "host/src/sockets.rs",
        include_str!("template/host/sockets.rs"),
    ),
    ("host/src/tap.rs", include_str!("template/host/tap.rs")),
    ("xen/Cargo.toml", include_str!("template/xen/main.toml")),
    ("xen/src/main.rs", include_str!("template/xen/main.rs")),
    (
        "xen/src/address.rs",
        include_str!("template/xen/address.rs"),
    ),
    (
        "xen/src/network.rs",
        include_str!("template/xen/network.rs"),
    ),
    (
        "xen/src/settings.rs",
        include_str!("template/xen/settings.rs"),
    ),
];

/// Our crates that the files name, as `@NAME@`.
const CRATES: &[&str] = &["mirage-core", "mirage-host", "mirage-net", "mirage-xen"];

/// The version of our crates in the registry: they are published together, and this one with them.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where the new packages find our crates.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// In the checkout with that folder.
    Checkout(PathBuf),
    /// In the registry.
    Registry,
}

/// Runs the subcommand: makes the folder NAME in the current one.
///
/// # Errors
///
/// [`Error::Argument`] for a name that can't be, or a folder that is there; [`Error::NotACheckout`] for `source`;
/// [`Error::File`].
pub fn run(source: Option<&Path>, arguments: &NewArguments) -> Result<ExitCode, Error> {
    let name = &arguments.name;
    if let Some(problem) = name::problem_with(name) {
        return Err(Error::Argument { problem });
    }
    let origin = origin(source)?;
    let here = std::env::current_dir().map_err(Error::file("find", Path::new(".")))?;
    let folder = here.join(name);
    write(&folder, name, &origin)?;
    let from = match &origin {
        Origin::Checkout(root) => format!("made of the crates in {}", root.display()),
        Origin::Registry => format!("made of the registry's crates, version {VERSION}"),
    };
    println!("{name}: an appliance, {from}. Its README says more:");
    println!("  cd {name}");
    for command in [
        "cargo test",
        "cargo mirage run",
        "cargo mirage build",
        "cargo mirage lab",
    ] {
        println!("  {command}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where our crates are: in the checkout that was named, else in the one that this program was built in if it is still
/// there, else in the registry.
fn origin(source: Option<&Path>) -> Result<Origin, Error> {
    if let Some(source) = source {
        let workspace = Workspace::checkout_at(source).ok_or_else(|| Error::NotACheckout {
            path: source.to_path_buf(),
        })?;
        if let Some(missing) = missing_in(workspace.root()) {
            return Err(Error::Content {
                path: missing,
                problem: "the checkout has no such crate".into(),
            });
        }
        return Ok(Origin::Checkout(workspace.root().to_path_buf()));
    }
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let checkout = built_in.and_then(Workspace::checkout_at);
    Ok(match checkout {
        Some(workspace) if missing_in(workspace.root()).is_none() => {
            Origin::Checkout(workspace.root().to_path_buf())
        }
        _ => Origin::Registry,
    })
}

/// The first manifest of ours that is not there.
fn missing_in(root: &Path) -> Option<PathBuf> {
    let manifests = CRATES.iter().map(|name| root.join(name).join("Cargo.toml"));
    manifests.into_iter().find(|manifest| !manifest.is_file())
}

/// Makes the folder; if that fails half-way, nothing of it is left.
fn write(folder: &Path, name: &str, origin: &Origin) -> Result<(), Error> {
    fs::create_dir(folder).map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => Error::Argument {
            problem: format!("{} is there already: choose another name", folder.display()),
        },
        _ => Error::file("make", folder)(source),
    })?;
    let written = FILES.iter().try_for_each(|(path, template)| {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::file("make", parent))?;
        }
        fs::write(&path, filled(template, name, origin)?).map_err(Error::file("write", &path))
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_dir_all(folder);
    }
    written
}

/// A template with the names in their places.
fn filled(template: &str, name: &str, origin: &Origin) -> Result<String, Error> {
    let in_rust = name.replace('-', "_");
    let mut text = template
        .replace("appliance-name", name)
        .replace("appliance_name", &in_rust)
        .replace("APPLIANCE_NAME", &in_rust.to_uppercase());
    for name in CRATES {
        let place = match origin {
            Origin::Registry => format!("version = \"{VERSION}\""),
            Origin::Checkout(root) => {
                let path = root.join(name);
                let path = path.to_str().ok_or_else(|| Error::Unsupported {
                    reason: format!(
                        "{}: a manifest can't name a path that is no Unicode text",
                        path.display()
                    ),
                })?;
                // TOML's rules for escapes are JSON's.
                format!("path = {}", serde_json::Value::from(path))
            }
        };
        text = text.replace(&format!("@{name}@"), &place);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    fn checkout() -> Option<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
        Workspace::checkout_at(root).map(|workspace| workspace.root().to_path_buf())
    }

    #[test]
    fn nothing_is_left_to_be_filled_in() {
        for origin in [
            Origin::Registry,
            Origin::Checkout("/some where/\"quoted\"".into()),
        ] {
            for (path, template) in FILES {
                let text = filled(template, "my-echo", &origin).unwrap();
                for left in [
                    "appliance-name",
                    "appliance_name",
                    "APPLIANCE_NAME",
                    "@mirage",
                ] {
                    assert!(!text.contains(left), "{path}: {left}");
                }
                if path.ends_with("Cargo.toml") {
                    let place = match origin {
                        Origin::Registry => "version = \"",
                        Origin::Checkout(_) => r#"path = "/some where/\"quoted\"/mirage-"#,
                    };
                    assert!(text.contains(place), "{path}: {text}");
                }
            }
        }
    }

    #[test]
    fn our_crates_have_the_version_that_is_written() {
        let Some(root) = checkout() else { return };
        assert_eq!(missing_in(&root), None);
        for name in CRATES {
            let manifest = fs::read_to_string(root.join(name).join("Cargo.toml")).unwrap();
            assert!(manifest.contains("version.workspace = true"), "{name}");
        }
    }

    #[test]
    fn what_is_the_same_in_every_main_for_xen_is_the_dns_appliances() {
        let Some(root) = checkout() else { return };
        let source = root.join("appliances/dns/xen/src");
        for (path, template) in FILES {
            let Some(name) = path
                .strip_prefix("xen/src/")
                .filter(|name| *name != "main.rs")
            else {
                continue;
            };
            let original = fs::read_to_string(source.join(name)).unwrap();
            assert!(
                original == *template,
                "{name}: copy it from {}",
                source.display()
            );
        }
    }

    #[test]
    fn a_source_that_is_no_checkout_or_lacks_a_crate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            origin(Some(folder.path())),
            Err(Error::NotACheckout { .. })
        ));
        fs::write(folder.path().join("Cargo.toml"), "[workspace]\n").unwrap();
        fs::create_dir(folder.path().join("appliances")).unwrap();
        let error = origin(Some(folder.path())).unwrap_err();
        assert!(
            error.to_string().contains("mirage-core/Cargo.toml"),
            "{error}"
        );
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello");
        fs::write(&path, "precious").unwrap();
        let error = write(&path, "hello", &Origin::Registry).unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
