//! `cargo mirage bench`: runs benchmarks beside their peers, and checks that their results are whole.
//!
//! A benchmark is the package `benches/NAME`. Its program is called in the checkout's folder with
//! `--output DIR`, and `--quick` where that was asked for; it writes `*.json` and `*.svg` into that folder.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use crate::cli::BenchArguments;
use crate::error::Error;
use crate::run_command::{self, Built};
use crate::workspace::{self, Workspace};

/// Runs the subcommand: each benchmark in turn; the first that fails ends it, and its exit status is ours.
///
/// # Errors
///
/// [`Error::Unknown`] for a name, before any is run; [`Error::Content`] if a result is missing or not whole.
pub fn run(workspace: &Workspace, arguments: &BenchArguments) -> Result<ExitCode, Error> {
    if arguments.names.is_empty() {
        return Ok(list(workspace));
    }
    let names = with_parts(workspace, &arguments.names)?;
    let manifests: Vec<PathBuf> = names
        .iter()
        .map(|name| workspace.bench(name))
        .collect::<Result<_, _>>()?;
    for (name, manifest) in names.iter().zip(&manifests) {
        let results = match &arguments.output {
            Some(folder) => std::path::absolute(folder)
                .map_err(Error::file("find", folder))?
                .join(name),
            None => workspace.root().join("benches").join(name).join("results"),
        };
        std::fs::create_dir_all(&results).map_err(Error::file("make", &results))?;
        let built = match arguments.quick {
            true => run_command::build_with_the_tests(workspace, manifest)?,
            false => run_command::build(workspace, manifest)?,
        };
        let program = match built {
            Built::Program(program) => program,
            Built::Failed(status) => return Ok(ExitCode::from(status)),
        };
        let started = SystemTime::now();
        let status = run_command::status_of(command(workspace, &program, &results, arguments))?;
        if status != 0 {
            eprintln!("error: the benchmark `{name}` failed with status {status}");
            return Ok(ExitCode::from(status));
        }
        for file in check_results(&results, started)? {
            println!("{}", file.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// These benchmarks, each followed by those that are a part of it: whose manifest says `part-of` in `[package.metadata.mirage]`. None
/// twice. A name that only parts are of means those.
fn with_parts(workspace: &Workspace, names: &[String]) -> Result<Vec<String>, Error> {
    let all = workspace.benches();
    let mut parts = Vec::new();
    for part in &all {
        let package = workspace.package(&workspace.bench(part)?)?;
        if let Some(whole) = package.metadata["mirage"]["part-of"].as_str() {
            parts.push((part.clone(), whole.to_owned()));
        }
    }
    Ok(expand(names, &all, &parts))
}

fn expand(names: &[String], all: &[String], parts: &[(String, String)]) -> Vec<String> {
    let mut expanded: Vec<String> = Vec::new();
    for name in names {
        let of = parts.iter().filter(|(_, whole)| whole == name);
        let mut here: Vec<&String> = of.map(|(part, _)| part).collect();
        if here.is_empty() || all.contains(name) {
            here.insert(0, name);
        }
        for name in here {
            if !expanded.contains(name) {
                expanded.push(name.clone());
            }
        }
    }
    expanded
}

fn command(
    workspace: &Workspace,
    program: &Path,
    results: &Path,
    arguments: &BenchArguments,
) -> Command {
    let mut command = Command::new(program);
    workspace::clean_environment(&mut command);
    command
        .current_dir(workspace.root())
        .arg("--output")
        .arg(results);
    if arguments.quick {
        command.arg("--quick");
    }
    command.args(&arguments.arguments);
    command
}

fn list(workspace: &Workspace) -> ExitCode {
    println!("Benchmarks; results are JSON and SVG in benches/NAME/results:");
    for name in workspace.benches() {
        let manifest = workspace
            .root()
            .join("benches")
            .join(&name)
            .join("Cargo.toml");
        println!(
            "  {name:12} {}",
            run_command::description(&manifest).unwrap_or_default()
        );
    }
    ExitCode::SUCCESS
}

/// Checks what a benchmark wrote since `started`: at least one JSON file and one figure, each well-formed and not empty.
/// Gives their paths, sorted.
///
/// # Errors
///
/// [`Error::Content`] names the file and what is wrong with it.
pub fn check_results(folder: &Path, started: SystemTime) -> Result<Vec<PathBuf>, Error> {
    // Some file systems keep times in whole seconds, rounded down.
    let since = started - Duration::from_secs(1);
    let mut written = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::file("read", folder))? {
        let path = entry.map_err(Error::file("read", folder))?.path();
        let modified = path
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map_err(Error::file("read", &path))?;
        if path.is_file() && modified >= since {
            written.push(path);
        }
    }
    written.sort();
    for kind in ["json", "svg"] {
        if !written.iter().any(|path| has_extension(path, kind)) {
            return Err(Error::Content {
                path: folder.to_path_buf(),
                problem: format!("the benchmark wrote no *.{kind} there"),
            });
        }
    }
    for path in &written {
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        let checked = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => check_json(&text),
            Some("svg") => check_svg(&text),
            _ => Ok(()),
        };
        checked.map_err(|problem| Error::Content {
            path: path.clone(),
            problem,
        })?;
    }
    Ok(written)
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e == extension)
}

fn check_json(text: &str) -> Result<(), String> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    if holds_number(&value) {
        Ok(())
    } else {
        Err("holds no figure".into())
    }
}

fn holds_number(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Number(_) => true,
        serde_json::Value::Array(items) => items.iter().any(holds_number),
        serde_json::Value::Object(items) => items.values().any(holds_number),
        _ => false,
    }
}

fn check_svg(text: &str) -> Result<(), String> {
    let document = roxmltree::Document::parse(text).map_err(|error| format!("not XML: {error}"))?;
    if document.root_element().tag_name().name() != "svg" {
        return Err("not an SVG document".into());
    }
    let drawn = ["polyline", "path", "line", "circle", "rect", "polygon"];
    let shapes = document
        .descendants()
        .filter(|node| drawn.contains(&node.tag_name().name()))
        .count();
    let labels = document
        .descendants()
        .filter(|node| node.tag_name().name() == "text")
        .count();
    // A background and nothing else is an empty figure.
    if shapes < 2 || labels == 0 {
        return Err(format!("an empty figure: {shapes} shapes, {labels} labels"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SVG: &str = "<svg xmlns='http://www.w3.org/2000/svg'><rect width='9'/><polyline points='0,0 1,1'/><text>t</text></svg>";

    #[test]
    fn a_benchmark_is_followed_by_its_parts() {
        let text = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let parts = [("dns-wire".to_owned(), "dns".to_owned())];
        let all = text(&["boot", "dns", "dns-wire"]);
        let expanded = |names: &[&str]| expand(&text(names), &all, &parts);
        assert_eq!(expanded(&["dns"]), ["dns", "dns-wire"]);
        assert_eq!(
            expanded(&["dns-wire", "boot", "dns"]),
            ["dns-wire", "boot", "dns"]
        );
        assert_eq!(expanded(&["other"]), ["other"]);
        // Where the whole has no program of its own.
        assert_eq!(
            expand(&text(&["dns"]), &text(&["dns-wire"]), &parts),
            ["dns-wire"]
        );
    }

    #[test]
    fn whole_results_are_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let started = SystemTime::now();
        fs::write(folder.path().join("a.json"), "{\"rows\":[{\"ns\":1.5}]}").unwrap();
        fs::write(folder.path().join("a.svg"), SVG).unwrap();
        assert_eq!(check_results(folder.path(), started).unwrap().len(), 2);
    }

    #[test]
    fn results_of_an_earlier_run_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.json"), "[1]").unwrap();
        fs::write(folder.path().join("a.svg"), SVG).unwrap();
        let later = SystemTime::now() + Duration::from_secs(60);
        assert!(check_results(folder.path(), later).is_err());
    }

    #[test]
    fn results_that_are_not_whole_are_refused() {
        assert!(check_json("{\"rows\":[").is_err());
        assert!(check_json("{\"rows\":[]}").is_err());
        assert!(check_svg("<svg><text>t</text>").is_err());
        assert!(check_svg("<svg><rect/></svg>").is_err());
        assert!(check_svg("<html/>").is_err());
    }

    #[test]
    fn a_missing_figure_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let started = SystemTime::now();
        fs::write(folder.path().join("a.json"), "[1]").unwrap();
        let error = check_results(folder.path(), started).unwrap_err();
        assert!(error.to_string().contains("*.svg"), "{error}");
    }
}
