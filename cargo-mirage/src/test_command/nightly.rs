//! What needs a nightly compiler: AddressSanitizer and Miri.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::suites::{self, Tally};
use super::{Context, Failure, Outcome, minutes};
use crate::error::Error;
use crate::process::Log;
use crate::workspace::Package;

/// The name of an installed nightly toolchain.
pub(super) fn toolchain() -> Result<String, String> {
    let advice = "`rustup toolchain install nightly` gives one";
    let output = Command::new("rustup")
        .args(["toolchain", "list"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            format!("a nightly compiler is needed, and rustup can't be asked for one: {error}")
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    newest_nightly(names)
        .ok_or_else(|| format!("a nightly compiler is needed, and none is installed; {advice}"))
}

/// The moving nightly if it is there, else the last that is pinned to a date.
fn newest_nightly<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut nightlies: Vec<&str> = names.filter(|name| name.starts_with("nightly")).collect();
    let is_pinned = |name: &str| {
        name.split('-')
            .nth(1)
            .is_some_and(|part| part.parse::<u16>().is_ok())
    };
    nightlies.sort_unstable();
    nightlies
        .iter()
        .find(|name| !is_pinned(name))
        .or(nightlies.last())
        .map(|name| (*name).to_owned())
}

/// A call of a toolchain's cargo.
pub(super) fn cargo(context: &Context<'_>, toolchain: &str, arguments: &[&str]) -> Command {
    let mut command = tool(context, toolchain, Path::new("cargo"));
    command.args(arguments);
    command
}

/// A call of a program that calls a toolchain's cargo and rustc.
pub(super) fn tool(context: &Context<'_>, toolchain: &str, program: &Path) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain]).arg(program);
    command.current_dir(context.workspace.root());
    // Ours name the toolchain that built us.
    command
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTDOC");
    command
}

/// The machine that this compiler builds for by default.
pub(super) fn host() -> Result<String, Failure> {
    let output = Command::new("rustc")
        .arg("-vV")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::CannotStart {
            program: "rustc".into(),
            source,
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| Failure("`rustc -vV` names no host".into()))
}

/// Published libraries that don't forbid unsafe code.
fn with_unsafe_code(context: &Context<'_>) -> Result<Vec<Package>, Failure> {
    let mut packages = Vec::new();
    for package in context.workspace.members()? {
        let Some(library) = package.library().filter(|_| package.is_published()) else {
            continue;
        };
        let source = std::fs::read_to_string(&library.src_path)
            .map_err(Error::file("read", &library.src_path))?;
        if !source.contains("#![forbid(unsafe_code)]") {
            packages.push(package);
        }
    }
    Ok(packages)
}

/// Their tests under AddressSanitizer.
pub(super) fn address_sanitizer(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let toolchain = match toolchain() {
        Ok(toolchain) => toolchain,
        Err(reason) => return Outcome::skipped(reason),
    };
    let mut tally = Tally::default();
    let mut broken = Vec::new();
    // An explicit target keeps the flag from build scripts and macros.
    let host = host()?;
    // Together: what they have in common is built once.
    let mut command = cargo(context, &toolchain, &["test", "--all-features"]);
    for package in with_unsafe_code(context)? {
        command.args(["--package", &package.name]);
    }
    command
        .args(["--lib", "--tests", "--no-fail-fast", "--target", &host])
        .arg("--target-dir")
        .arg(context.target("sanitizer"))
        .env("RUSTFLAGS", "-Zsanitizer=address")
        // What a report names is functions and lines.
        .env("CARGO_PROFILE_TEST_DEBUG", "line-tables-only");
    // Pools live as long as the process: what is never freed is no mistake here.
    command.env(
        "ASAN_OPTIONS",
        "detect_leaks=0:detect_stack_use_after_return=1",
    );
    suites::add_within(context, command, minutes(45), log, &mut tally, &mut broken)?;
    tally.outcome(&broken)
}

/// What Miri runs of a crate. It is slower than a processor by a factor of thousands, so this is where the unsafe code is, and not
/// what only moves much through it.
struct Interpreted {
    package: &'static str,
    /// The tests whose names contain one of these.
    tests: &'static [&'static str],
    /// But for these.
    without: &'static [&'static str],
}

/// Together less than three minutes on two cores.
const INTERPRETED: &[Interpreted] = &[
    Interpreted {
        package: "mirage-core",
        // Wakers and what tasks live in, what threads share, the pool's pages and their lenders.
        tests: &[
            "channel::",
            "event::",
            "executor::",
            "frame::",
            "pool::hazards",
        ],
        without: &[
            // Thousands of tasks.
            "tests::memory::",
            "a_sleeper_wakes_exactly_at_its_deadline",
            "equal_deadlines_fire_in_order_of_registration",
            "a_busy_executor_moves_a_bounded_number_of_timers_in_one_turn",
            "timers_agree_with_a_sorted_list",
        ],
    },
    Interpreted {
        package: "mirage-xen",
        // The heap; what lends pages, and the rings in them; what futures leave behind when they are dropped; wake-ups.
        tests: &[
            "boot::heap",
            "byte_ring",
            "console::logger",
            "event_channel::",
            "grant_table::",
            "platform::tests",
            "ring::tests",
            "store::join",
        ],
        without: &[
            // Every byte of many allocations.
            "allocations_keep_their_bytes",
            // 65,536 lendings.
            "a_count_of_readings_that_would_wrap_refuses",
            // Tables of all sizes.
            "more_references_than_xen_allows",
            "a_table_grows_with_what_is_lent_as_far_as_xen_allows",
            // Many steps, each looked at from all sides.
            "each_token_hears_of_its_own_port",
            "entries_say_what_is_lent",
            // A page byte by byte, again and again.
            "golden_bytes_of_a_new_ring",
            "ring::tests::model::",
            // Two threads, one of which waits for the other.
            "a_producer_that_sleeps_at_a_full_ring",
            "of_a_publication_and_a_final_check_at_once",
        ],
    },
    Interpreted {
        package: "mirage-host",
        // Addresses in the system's form; the rings that are shared with the kernel, and what it is lent; most others open files,
        // sockets and devices, which is foreign code that Miri doesn't run.
        tests: &[
            "socket_addresses_survive",
            "xdp::checksum",
            "xdp::lending",
            "xdp::ring",
        ],
        without: &[],
    },
];

/// How long the tests of one crate may take, its building included.
const INTERPRETED_LIMIT: Duration = minutes(10);

/// Tests under Miri, where it is installed.
pub(super) fn miri(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let toolchain = match toolchain() {
        Ok(toolchain) => toolchain,
        Err(reason) => return Outcome::skipped(reason),
    };
    let there = cargo(context, &toolchain, &["miri", "--version"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        return Outcome::skipped(format!(
            "{toolchain} has no Miri; `rustup component add miri --toolchain {toolchain}` adds it where rustup's server \
             can be reached"
        ));
    }
    let mut tally = Tally::default();
    let mut broken = Vec::new();
    for package in with_unsafe_code(context)? {
        let name = package.name.as_str();
        let Some(chosen) = INTERPRETED.iter().find(|chosen| chosen.package == name) else {
            // Files, sockets and devices are foreign code, which Miri can't run.
            tally
                .left_out
                .push(format!("{name}: Miri runs none of its tests"));
            continue;
        };
        let mut command = cargo(context, &toolchain, &["miri", "test", "--package", name]);
        command.args(["--all-features", "--lib", "--target-dir"]);
        command.arg(context.target("miri")).arg("--");
        command.args(chosen.tests);
        for test in chosen.without {
            command.args(["--skip", test]);
        }
        // What lives as long as the program is never freed.
        command
            .env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-ignore-leaks")
            .env("PROPTEST_CASES", "2");
        let finished = suites::add_within(
            context,
            command,
            INTERPRETED_LIMIT,
            log,
            &mut tally,
            &mut broken,
        )?;
        tally.left_out.push(format!(
            "{name}: {} tests that are slow there or meet no unsafe code; Miri runs {}",
            suites::filtered_out(&finished.output),
            chosen.tests.join(", ")
        ));
    }
    tally.outcome(&broken)
}

#[cfg(test)]
mod tests {
    use super::newest_nightly;

    #[test]
    fn the_moving_nightly_is_preferred() {
        let names = [
            "stable-x86_64-unknown-linux-gnu",
            "nightly-2026-01-02-x86_64",
            "nightly-x86_64-unknown-linux-gnu",
        ];
        assert_eq!(
            newest_nightly(names.into_iter()).as_deref(),
            Some("nightly-x86_64-unknown-linux-gnu")
        );
        let pinned = ["nightly-2026-05-02-x86_64", "nightly-2026-01-02-x86_64"];
        assert_eq!(
            newest_nightly(pinned.into_iter()).as_deref(),
            Some("nightly-2026-05-02-x86_64")
        );
        assert_eq!(newest_nightly(["stable"].into_iter()), None);
    }
}
