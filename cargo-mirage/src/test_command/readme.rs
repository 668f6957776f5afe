//! The README's commands, run as they stand.
//!
//! Every line of every block of the root README that is marked `sh` is a command that this step knows how to try; one
//! that it does not know fails the step. A server is started in a network namespace of its own, where its addresses and
//! ports are free whatever else runs; the questions after it, in the same block, are asked there; then it gets the
//! Ctrl-C that the README speaks of. A block marked `zone` after a line that names a file in backquotes is that file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

use super::{Context, Failure, Outcome, minutes};
use crate::cli::{self, Arguments};
use crate::error::Error;
use crate::process::{Background, Log};
use crate::run_command::QUICKLY;

/// How long a server may take until it answers. It is built before, but cargo looks at the tool first, and waits while another step
/// builds into the same folder. One that ends instead is told at once.
const READY: Duration = minutes(15);

/// How long `unshare` may take until there is a namespace.
const UNSHARED: Duration = Duration::from_secs(30);

/// How long to wait before another look, or another question.
const AGAIN: Duration = Duration::from_millis(100);

/// How long a server may take to end after Ctrl-C.
const END: Duration = Duration::from_secs(20);

/// What is asked of curl beside the README's words: its status is 0 for an answer alone, and its progress is not printed.
const CURL_SETTINGS: &str = "fail\nsilent\nshow-error\n";

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// What stands after the fence.
    kind: String,
    /// The line of the file that the block's first line is.
    line: usize,
    /// The last line of text before it.
    before: String,
    lines: Vec<String>,
}

/// What a line of a `sh` block asks for.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// A server that runs until Ctrl-C.
    Serve(Vec<String>),
    /// A command that asks the server before it in the block, and must be answered.
    Ask(Vec<String>),
    /// A command that ends by itself with status 0.
    Try(Vec<String>),
    /// What another step runs: the command line need only be one that we understand.
    Elsewhere,
    /// A file that must be there to be run.
    Script(PathBuf),
}

/// Tries every command of the README.
pub(super) fn run(context: &Context<'_>, log: &Log) -> Result<Outcome, Failure> {
    let path = context.workspace.root().join("README.md");
    let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    let blocks = blocks(&text);
    let folder = context.target("readme");
    fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
    write_files(&blocks, &folder)?;
    let settings = folder.join(".curlrc");
    fs::write(&settings, CURL_SETTINGS).map_err(Error::file("write", &settings))?;
    // The servers' namespaces have no network: what they are built from is fetched and built before.
    for manifest in context.workspace.host_mains() {
        let mut command = context.cargo(&["build", "--release", "--bins", "--manifest-path"]);
        command.arg(manifest).envs(QUICKLY);
        context.must(command, minutes(10), log)?;
    }
    let namespace = Namespace::find(context, log);
    let mut tried = 0;
    let mut left_out = Vec::new();
    for block in blocks.iter().filter(|block| block.kind == "sh") {
        let mut server: Option<Server> = None;
        for (offset, line) in block.lines.iter().enumerate() {
            let at = |problem: String| {
                Failure(format!(
                    "README.md, line {}: `{line}`: {problem}",
                    block.line + offset
                ))
            };
            let Some(words) = words(line).map_err(&at)? else {
                continue;
            };
            match action(context, &words).map_err(&at)? {
                Action::Elsewhere => {}
                Action::Script(path) => {
                    if crate::debian::find_program(&path.display().to_string()).is_none() {
                        return Err(at(format!("{} can't be run", path.display())));
                    }
                }
                Action::Try(words) => {
                    let mut command = Command::new(&words[0]);
                    command
                        .args(&words[1..])
                        .current_dir(context.workspace.root());
                    // An image is what it is.
                    if words.get(2).is_some_and(|word| word == "run") {
                        command.envs(QUICKLY);
                    }
                    let finished = context.run(command, minutes(10), log)?;
                    if !finished.success() {
                        return Err(at(finished.how()));
                    }
                }
                Action::Serve(words) => {
                    if let Some(server) = server.take() {
                        server.end(log).map_err(&at)?;
                    }
                    match &namespace {
                        Ok(namespace) => {
                            server = Some(Server::start(context, namespace, &words, &folder, log)?)
                        }
                        Err(reason) => {
                            left_out.push(format!("{line}: {reason}"));
                            break;
                        }
                    }
                }
                Action::Ask(words) => match &mut server {
                    Some(server) => server.ask(context, &words, log).map_err(&at)?,
                    None => return Err(at("no server before it in its block".into())),
                },
            }
            tried += 1;
        }
        if let Some(server) = server {
            let at = |problem| {
                Failure(format!(
                    "README.md, block at line {}: {problem}",
                    block.line
                ))
            };
            server.end(log).map_err(at)?;
        }
    }
    if tried == 0 {
        return Err(Failure(
            "README.md has no block of commands marked `sh`".into(),
        ));
    }
    Ok(Outcome::Passed {
        note: format!("{tried} commands"),
        left_out,
    })
}

fn action(context: &Context<'_>, words: &[String]) -> Result<Action, String> {
    let head: Vec<&str> = words.iter().map(String::as_str).take(4).collect();
    match head.as_slice() {
        ["cargo", "mirage", ..] => {
            let line = words[1..].iter().map(Into::into);
            let mut line = cli::without_subcommand_name(
                [std::ffi::OsString::from("cargo-mirage")]
                    .into_iter()
                    .chain(line),
            );
            line[0] = "cargo-mirage".into();
            let arguments =
                Arguments::try_parse_from(line).map_err(|refusal| refusal.to_string())?;
            match arguments.command {
                cli::Command::Run(run) => match run.appliance {
                    None => Ok(Action::Try(words.to_vec())),
                    Some(name) => {
                        context
                            .workspace
                            .host_main(&name)
                            .map_err(|error| error.to_string())?;
                        if run.arguments.iter().any(|argument| argument == "--help") {
                            Ok(Action::Try(words.to_vec()))
                        } else {
                            Ok(Action::Serve(words.to_vec()))
                        }
                    }
                },
                cli::Command::Build(build) => {
                    for name in &build.names {
                        let main = context.workspace.xen_main(name);
                        main.map_err(|error| error.to_string())?;
                    }
                    Ok(Action::Try(words.to_vec()))
                }
                // It would write into the checkout; a test of the tool's runs it elsewhere.
                cli::Command::New(_) => Ok(Action::Elsewhere),
                // The step `lab` runs them.
                cli::Command::Lab(lab) => {
                    for name in &lab.appliances {
                        let main = context.workspace.xen_main(name);
                        main.map_err(|error| error.to_string())?;
                    }
                    Ok(Action::Elsewhere)
                }
                cli::Command::Test(test) if test.list => Ok(Action::Try(words.to_vec())),
                // The call that we are in.
                cli::Command::Test(test) => {
                    let known = |name: &String| super::STEPS.iter().any(|step| step.name == name);
                    match test.only.iter().find(|name| !known(name)) {
                        Some(name) => Err(format!("no step is called {name}")),
                        None => Ok(Action::Elsewhere),
                    }
                }
                // The steps `bench` and `bench-images` run each.
                cli::Command::Bench(bench) => {
                    for name in &bench.names {
                        context
                            .workspace
                            .bench(name)
                            .map_err(|error| error.to_string())?;
                    }
                    Ok(Action::Elsewhere)
                }
            }
        }
        ["dig" | "kdig" | "ping" | "curl", ..] => Ok(Action::Ask(words.to_vec())),
        // The step `author` does so, elsewhere.
        ["cargo", "install", "--path", "cargo-mirage"] | ["cd", "hello"] => Ok(Action::Elsewhere),
        ["cargo", "doc", ..] => Ok(Action::Try(words.to_vec())),
        [".ci/run"] => Ok(Action::Script(context.workspace.root().join(".ci/run"))),
        _ => Err("no test knows this command".into()),
    }
}

/// Fenced blocks of a Markdown text.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut before = String::new();
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                open = Some(Block {
                    kind: kind.trim().into(),
                    line: index + 2,
                    before: before.clone(),
                    lines: Vec::new(),
                });
            }
            (None, None) if !line.trim().is_empty() => before = line.into(),
            (None, None) => {}
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.lines.push(line.into()),
        }
    }
    blocks
}

/// Writes the files that the README shows, so that the commands find them.
fn write_files(blocks: &[Block], folder: &Path) -> Result<(), Failure> {
    for block in blocks.iter().filter(|block| block.kind == "zone") {
        let name = block.before.split('`').nth(1).unwrap_or_default();
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(Failure(format!(
                "README.md, line {}: the line before the zone does not name its file in backquotes",
                block.line
            )));
        }
        let path = folder.join(name);
        let text = block.lines.join("\n") + "\n";
        fs::write(&path, text).map_err(Error::file("write", &path))?;
    }
    Ok(())
}

/// The words of a command line: no variables, no quotes but single ones around a whole word; a comment ends it. Nothing for an
/// empty line.
fn words(line: &str) -> Result<Option<Vec<String>>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let word;
        if let Some(quoted) = rest.strip_prefix('\'') {
            (word, rest) = quoted
                .split_once('\'')
                .ok_or("a quotation mark without another")?;
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (word, rest) = rest.split_at(end);
            if word.contains(['\'', '"', '$', '|', '&', ';', '<', '>', '`', '\\']) {
                return Err("more of a shell than this test understands".into());
            }
        }
        words.push(word.to_owned());
        rest = rest.trim_start();
    }
    Ok((!words.is_empty()).then_some(words))
}

/// How a network namespace is made and entered here.
struct Namespace {
    make: &'static [&'static str],
    enter: &'static [&'static str],
}

/// As root, or as whoever may be root in a user namespace.
const NAMESPACES: &[Namespace] = &[
    Namespace {
        make: &["--net"],
        enter: &["--net"],
    },
    Namespace {
        make: &["--user", "--map-root-user", "--net"],
        enter: &["--user", "--preserve-credentials", "--net"],
    },
];

impl Namespace {
    fn find(context: &Context<'_>, log: &Log) -> Result<&'static Self, String> {
        let works = |namespace: &&Self| {
            let mut command = Command::new("unshare");
            command
                .args(namespace.make)
                .args(["ip", "link", "set", "lo", "up"]);
            context
                .run(command, Duration::from_secs(10), log)
                .is_ok_and(|finished| finished.success())
        };
        let found = NAMESPACES.iter().find(works);
        found.ok_or_else(|| {
            "no network namespace can be made here, not even as root of a user namespace".into()
        })
    }
}

/// A server of the README.
struct Server {
    process: Background,
    namespace: &'static Namespace,
    /// Where the README's files are, and the client's settings.
    folder: PathBuf,
    started: Instant,
    answered: bool,
}

impl Server {
    fn start(
        context: &Context<'_>,
        namespace: &'static Namespace,
        words: &[String],
        folder: &Path,
        log: &Log,
    ) -> Result<Self, Failure> {
        // All of these become the next one: the process in the end is the appliance, in its namespace.
        let mut command = Command::new("unshare");
        command
            .args(namespace.make)
            .args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
            .args(words);
        context.prepare(&mut command);
        command.current_dir(folder).envs(QUICKLY);
        let mut server = Self {
            process: Background::start(command, log)?,
            namespace,
            folder: folder.to_path_buf(),
            started: Instant::now(),
            answered: false,
        };
        server.wait_for_namespace(log)?;
        Ok(server)
    }

    fn ask(&mut self, context: &Context<'_>, words: &[String], log: &Log) -> Result<(), String> {
        loop {
            if let Some(status) = self.process.ended() {
                return Err(format!(
                    "the server ended ({status}); it said:\n{}",
                    self.process.output(log)
                ));
            }
            let mut command = Command::new("nsenter");
            command
                .arg(format!("--target={}", self.process.id()))
                .args(self.namespace.enter)
                .args(words)
                // Nothing between the client and the server, and no word of the client's that could be taken for an answer.
                .env("CURL_HOME", &self.folder)
                .env_remove("http_proxy")
                .env_remove("ALL_PROXY")
                .env_remove("all_proxy");
            let finished = context
                .run(command, Duration::from_secs(30), log)
                .map_err(|Failure(reason)| reason)?;
            if finished.success() && is_answered(words, &finished.output) {
                self.answered = true;
                return Ok(());
            }
            if self.answered || self.started.elapsed() > READY {
                return Err(format!("not answered:\n{}", finished.output));
            }
            thread::sleep(AGAIN);
        }
    }

    /// Waits until the process is in its namespace: before, `nsenter` would ask our own network, where a stranger may answer.
    fn wait_for_namespace(&mut self, log: &Log) -> Result<(), String> {
        let id = self.process.id().to_string();
        loop {
            if self.process.ended().is_some() || self.started.elapsed() > UNSHARED {
                return Err(format!(
                    "no network namespace was made; `unshare` said:\n{}",
                    self.process.output(log)
                ));
            }
            match is_elsewhere(&id) {
                Ok(true) => return Ok(()),
                Ok(false) => thread::sleep(AGAIN),
                Err(error) => {
                    return Err(format!(
                        "the server's network namespace can't be looked at: {error}; `unshare` said:\n{}",
                        self.process.output(log)
                    ));
                }
            }
        }
    }

    fn end(mut self, log: &Log) -> Result<(), String> {
        if !self.answered {
            return Err(format!(
                "nothing in the block asks this server; it said:\n{}",
                self.process.output(log)
            ));
        }
        let (status, output) = self.process.interrupt(END, log);
        match status {
            None => Err(format!("did not end after Ctrl-C; it said:\n{output}")),
            Some(status) if !status.success() => Err(format!(
                "ended with {status} after Ctrl-C; it said:\n{output}"
            )),
            Some(_) if !has_counters(&output) => Err(format!(
                "printed no counters after Ctrl-C; it said:\n{output}"
            )),
            Some(_) => Ok(()),
        }
    }
}

/// Whether a process is in another network namespace than ours; its process number, or `self`.
fn is_elsewhere(id: &str) -> std::io::Result<bool> {
    let namespace = |id: &str| fs::read_link(Path::new("/proc").join(id).join("ns/net"));
    Ok(namespace(id)? != namespace("self")?)
}

/// Whether what a client printed is an answer. dig's status is 0 for REFUSED and for no data too.
fn is_answered(words: &[String], output: &str) -> bool {
    if words.first().is_some_and(|program| program == "ping") {
        return output.contains(" 0% packet loss");
    }
    if words.first().is_some_and(|program| program == "curl") {
        // Its status has told the rest: see CURL_SETTINGS.
        return !output.trim().is_empty();
    }
    if words.iter().any(|word| word == "+short") {
        return output
            .lines()
            .any(|line| !line.trim().is_empty() && !line.starts_with(';'));
    }
    // What dig says at the end of a transfer, which has no header.
    if output.contains(";; XFR size: ") {
        return true;
    }
    let answered = |line: &str| {
        line.to_ascii_uppercase()
            .split_once("ANSWER: ")
            .is_some_and(|(_, rest)| !rest.starts_with('0'))
    };
    output.contains("NOERROR") && output.lines().any(answered)
}

/// Whether at least one line tells a counter that moved: a word, and a number over zero.
fn has_counters(output: &str) -> bool {
    output.lines().any(|line| {
        let number = |word: &str| {
            word.trim_matches([',', ';', ':', '.'])
                .parse::<u64>()
                .is_ok_and(|n| n > 0)
        };
        let name = |word: &str| word.chars().any(char::is_alphabetic);
        line.split([' ', '=', '\t']).any(number) && line.split([' ', '=', '\t']).any(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_know_their_kind_and_line() {
        let text = "# T\n\nSave `my.zone`:\n\n```zone\n$ORIGIN x.\n```\ntext\n```sh\na\n\nb\n```\n";
        let blocks = blocks(text);
        assert_eq!(blocks.len(), 2);
        assert_eq!((blocks[0].kind.as_str(), blocks[0].line), ("zone", 6));
        assert_eq!(blocks[0].before, "Save `my.zone`:");
        assert_eq!(blocks[1].lines, ["a", "", "b"]);
        assert_eq!(blocks[1].line, 10);
    }

    #[test]
    fn files_are_written_under_plain_names_only() {
        let folder = tempfile::tempdir().unwrap();
        let block = |name: &str| Block {
            kind: "zone".into(),
            line: 1,
            before: format!("Save `{name}`:"),
            lines: vec!["$ORIGIN x.".into()],
        };
        assert!(write_files(&[block("my.zone")], folder.path()).is_ok());
        assert_eq!(
            fs::read_to_string(folder.path().join("my.zone")).unwrap(),
            "$ORIGIN x.\n"
        );
        for name in ["", "../x", ".x", "a/b"] {
            assert!(
                write_files(&[block(name)], folder.path()).is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn words_end_at_a_comment_and_shells_are_refused() {
        assert_eq!(
            words("dig @::1 x   # asks").unwrap().unwrap(),
            ["dig", "@::1", "x"]
        );
        assert_eq!(words("# nothing").unwrap(), None);
        assert_eq!(words("").unwrap(), None);
        assert!(words("dig x | cat").is_err());
        assert_eq!(
            words("lab dns --exec 'dig @$DNS_IP x' # asks")
                .unwrap()
                .unwrap(),
            ["lab", "dns", "--exec", "dig @$DNS_IP x"]
        );
        assert!(words("lab 'dns").is_err());
    }

    #[test]
    fn an_answer_is_one_with_records() {
        let dig = ["dig".to_owned()];
        let header = |status: &str, count: u8| {
            format!(";; status: {status}\n;; flags: qr; QUERY: 1, ANSWER: {count}, X: 0")
        };
        assert!(is_answered(&dig, &header("NOERROR", 1)));
        assert!(!is_answered(&dig, &header("NOERROR", 0)));
        assert!(!is_answered(&dig, &header("REFUSED", 0)));
        let short = ["dig".to_owned(), "+short".to_owned()];
        assert!(is_answered(&short, "192.0.2.1\n"));
        assert!(!is_answered(&short, ";; connection timed out\n"));
        assert!(!is_answered(&short, "\n"));
        assert!(is_answered(
            &dig,
            ";; XFR size: 5 records (messages 1, bytes 180)\n"
        ));
        assert!(!is_answered(&dig, "; Transfer failed.\n"));
        let curl = ["curl".to_owned()];
        assert!(is_answered(&curl, "<!DOCTYPE html>"));
        assert!(!is_answered(&curl, ""));
    }

    #[test]
    fn a_process_is_elsewhere_once_it_has_a_namespace_of_its_own() {
        assert!(!is_elsewhere("self").unwrap());
        assert!(!is_elsewhere(&std::process::id().to_string()).unwrap());
        assert!(is_elsewhere("0").is_err());
    }

    #[test]
    fn counters_are_words_with_numbers_over_zero() {
        assert!(has_counters("udp_queries 3"));
        assert!(has_counters("queries: 1, refused: 0"));
        assert!(!has_counters("queries: 0"));
        assert!(!has_counters("bye"));
    }
}
