//! Child processes with a time limit, a log, and no survivors.
//!
//! A [`Task`] runs in a process group of its own, so that all it started ends with it, and with us: signals that would
//! end the tool are passed on to the groups first ([`pass_signals_on`]).

use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::Error;

/// How long what a task left behind may hold its output open once the task itself has ended.
const GRACE: Duration = Duration::from_secs(2);

/// How often a task without output is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How often a task that has closed its output is looked at.
const SOON: Duration = Duration::from_millis(2);

/// Process groups that run now, to be ended if we are.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A file that takes what commands print, each under its command line.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: Mutex<File>,
}

impl Log {
    /// Makes an empty one; folders that are missing are made.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn create(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
        }
        let file = File::create(path).map_err(Error::file("write", path))?;
        Ok(Self {
            path: path.to_path_buf(),
            file: Mutex::new(file),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line. A full disk loses log lines, not the run.
    pub fn line(&self, line: &str) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(file, "{line}") {
            log::warn!("{}: {error}", self.path.display());
        }
    }
}

/// A command to run to its end.
#[derive(Debug)]
pub struct Task {
    command: Command,
    limit: Duration,
}

/// How a task ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit status of the command itself.
    pub status: ExitStatus,
    /// Whether it was ended because its time was over.
    pub timed_out: bool,
    /// How long it took.
    pub took: Duration,
    /// What it printed, both streams, in order, as text; at most [`Finished::KEPT`] bytes, the last ones.
    pub output: String,
}

impl Finished {
    /// How much output is kept in memory, in bytes; the log has all.
    pub const KEPT: usize = 8 << 20;

    /// Whether it ended by itself with status 0.
    pub fn success(&self) -> bool {
        self.status.success() && !self.timed_out
    }

    /// How it ended, for people.
    pub fn how(&self) -> String {
        if self.timed_out {
            format!("ended after {} s, its time limit", self.took.as_secs())
        } else {
            self.status.to_string()
        }
    }
}

impl Task {
    /// A command and its time limit. Its input is empty.
    pub fn new(command: Command, limit: Duration) -> Self {
        Self { command, limit }
    }

    /// Runs it; each line that it prints goes to the log and to `on_line`.
    ///
    /// # Errors
    ///
    /// [`Error::CannotStart`]. A command that fails is no error here.
    pub fn run(mut self, log: &Log, mut on_line: impl FnMut(&str)) -> Result<Finished, Error> {
        log.line(&format!("$ {}", command_line(&self.command)));
        let started = Instant::now();
        let program = self.command.get_program().to_string_lossy().into_owned();
        let cannot_start = |source| Error::CannotStart { program, source };
        let (mut group, reader) = match Group::spawn(&mut self.command) {
            Ok(spawned) => spawned,
            Err(source) => {
                log.line(&format!("could not be started: {source}"));
                return Err(cannot_start(source));
            }
        };
        // Dropping the command closes our copies of the pipe's writing end.
        drop(self.command);

        let lines = read_lines(reader);
        let mut output = String::new();
        let mut timed_out = false;
        let mut ended: Option<(ExitStatus, Instant)> = None;
        loop {
            match lines.recv_timeout(LOOK) {
                Ok(line) => {
                    log.line(&line);
                    on_line(&line);
                    keep(&mut output, &line);
                }
                Err(RecvTimeoutError::Timeout) => {}
                // All writers have closed: the command, and all that it started.
                // The command itself ends about now.
                Err(RecvTimeoutError::Disconnected) if ended.is_none() => thread::sleep(SOON),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            match ended {
                Some((_, when)) if when.elapsed() > GRACE => break,
                Some(_) => {}
                None => {
                    if started.elapsed() > self.limit && !timed_out {
                        timed_out = true;
                        log.line(&format!("time limit of {} s reached", self.limit.as_secs()));
                        group.signal(Signal::KILL);
                    }
                    ended = group
                        .try_wait()
                        .map_err(|source| Error::CannotStart {
                            program: "wait".into(),
                            source,
                        })?
                        .map(|status| (status, Instant::now()));
                }
            }
        }
        let (status, when) = match ended {
            Some(ended) => ended,
            None => unreachable!("the loop ends only once the command has"),
        };
        let took = when - started;
        let finished = Finished {
            status,
            timed_out,
            took,
            output,
        };
        log.line(&format!(
            "# {} after {:.1} s",
            finished.how(),
            took.as_secs_f64()
        ));
        Ok(finished)
    }
}

/// A process that runs beside us, in a group of its own, until it is told to end; dropping it ends all of the group.
#[derive(Debug)]
pub struct Background {
    group: Group,
    lines: mpsc::Receiver<String>,
    output: String,
    /// Closed when we end, however that is.
    _guard: Option<PipeWriter>,
}

/// Runs a command and, beside it, waits for the end of its own standard input; then it kills the whole group. The
/// command's status is its own.
const GUARD: &str = r#"exec 3<&0 </dev/null
{ read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 &
guard=$!
exec 3<&-
"$@"
status=$?
kill -KILL $guard
exit $status"#;

impl Background {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`Error::CannotStart`].
    pub fn start(mut command: Command, log: &Log) -> Result<Self, Error> {
        log.line(&format!("$ {} &", command_line(&command)));
        let program = command.get_program().to_string_lossy().into_owned();
        let (group, reader) =
            Group::spawn(&mut command).map_err(|source| Error::CannotStart { program, source })?;
        drop(command);
        Ok(Self {
            group,
            lines: read_lines(reader),
            output: String::new(),
            _guard: None,
        })
    }

    /// Starts it so that it ends with us even if we are killed, or crash: a shell beside it waits for the end of a pipe
    /// whose other end only we have.
    ///
    /// # Errors
    ///
    /// [`Error::CannotStart`].
    pub fn start_guarded(command: &Command, log: &Log) -> Result<Self, Error> {
        log.line(&format!("$ {} &", command_line(command)));
        let program = command.get_program().to_string_lossy().into_owned();
        let cannot_start = |source| Error::CannotStart {
            program: program.clone(),
            source,
        };
        let (end, guard) = io::pipe().map_err(cannot_start)?;
        let mut shell = Command::new("sh");
        shell.args(["-c", GUARD, "sh"]).arg(&program);
        shell.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        let (group, reader) =
            Group::spawn_with(&mut shell, Stdio::from(end)).map_err(cannot_start)?;
        drop(shell);
        Ok(Self {
            group,
            lines: read_lines(reader),
            output: String::new(),
            _guard: Some(guard),
        })
    }

    /// All lines that it prints from now on, for another thread; [`Background::output`] gets none of them.
    pub fn take_lines(&mut self) -> mpsc::Receiver<String> {
        let (_, none) = mpsc::sync_channel(0);
        std::mem::replace(&mut self.lines, none)
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.group.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.group.try_wait().ok().flatten()
    }

    /// Ends it, with all of its group.
    pub fn kill(&mut self) {
        self.group.signal(Signal::KILL);
        // It has been killed: this does not wait for long.
        let _ = self.group.child.wait();
    }

    /// Asks it to end as Ctrl-C does, waits up to `limit`, and gives its exit status if it did and what it printed.
    pub fn interrupt(mut self, limit: Duration, log: &Log) -> (Option<ExitStatus>, String) {
        self.group.signal(Signal::INT);
        let asked = Instant::now();
        let mut status = None;
        while status.is_none() && asked.elapsed() < limit {
            self.collect(LOOK, log);
            status = self.ended();
        }
        if status.is_none() {
            log.line(&format!(
                "# still runs {} s after an interrupt: killed",
                limit.as_secs()
            ));
            self.group.signal(Signal::KILL);
        }
        // The pipe is empty once all of the group is gone.
        let until = Instant::now() + GRACE;
        while Instant::now() < until && self.collect(LOOK, log) {}
        (status, std::mem::take(&mut self.output))
    }

    /// What it has printed so far.
    pub fn output(&mut self, log: &Log) -> &str {
        while let Ok(line) = self.lines.try_recv() {
            log.line(&line);
            keep(&mut self.output, &line);
        }
        &self.output
    }

    /// Takes what it printed within a while; false if it can print no more.
    fn collect(&mut self, wait: Duration, log: &Log) -> bool {
        match self.lines.recv_timeout(wait) {
            Ok(line) => {
                log.line(&line);
                keep(&mut self.output, &line);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(LOOK.min(wait));
                false
            }
        }
    }
}

/// A child that leads a process group. All of the group is killed when this is dropped.
#[derive(Debug)]
struct Group {
    child: Child,
    id: Option<Pid>,
}

impl Group {
    fn spawn(command: &mut Command) -> io::Result<(Self, PipeReader)> {
        Self::spawn_with(command, Stdio::null())
    }

    fn spawn_with(command: &mut Command, input: Stdio) -> io::Result<(Self, PipeReader)> {
        let (reader, writer) = io::pipe()?;
        command
            .stdin(input)
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        let child = command.spawn()?;
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            GROUPS
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(id);
        }
        Ok((Self { child, id }, reader))
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id {
            // A group that is gone already is what we want.
            let _ = kill_process_group(id, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Before the wait: while the leader is not waited for, or a member lives, no other group can have this number.
        // After a leader that was waited for, members that are left still keep the number from being used again, and if
        // none is left the call finds no group; that a new one took the number in between needs all process numbers to
        // have been used up since.
        self.signal(Signal::KILL);
        let _ = self.child.wait();
        if let Some(id) = self.id {
            GROUPS
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|other| *other != id);
        }
    }
}

/// From now on, an interrupt, a hang-up or a request to end also ends what runs in groups of its own, then us.
///
/// # Errors
///
/// [`Error::Unsupported`] if the handlers can't be installed.
pub fn pass_signals_on() -> Result<(), Error> {
    on_signals(end_with_groups)
}

/// Calls `handle` in a thread for each interrupt, hang-up, or request to end.
fn on_signals(mut handle: impl FnMut(i32) + Send + 'static) -> Result<(), Error> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| {
            Error::Unsupported {
                reason: format!("signals can't be received: {error}"),
            }
        })?;
    thread::spawn(move || {
        for signal in signals.forever() {
            handle(signal);
        }
    });
    Ok(())
}

/// Ends what runs in groups of its own, then us.
fn end_with_groups(signal: i32) {
    let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    for group in groups.iter() {
        let _ = kill_process_group(*group, Signal::KILL);
    }
    eprintln!("interrupted");
    std::process::exit(128 + signal);
}

/// The signals that ask us to end, while we want to end by ourselves.
#[derive(Debug, Default)]
pub struct Signals {
    taken: AtomicBool,
    received: AtomicI32,
}

impl Signals {
    /// From now on a first signal is only remembered: whoever called this looks at [`Signals::received`] and ends.
    pub fn take(&self) {
        self.taken.store(true, Ordering::Relaxed);
    }

    /// The signal that has come, if one has.
    pub fn received(&self) -> Option<i32> {
        match self.received.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal),
        }
    }
}

/// Like [`pass_signals_on`], until [`Signals::take`] is called, and again from the second signal on.
///
/// # Errors
///
/// [`Error::Unsupported`] if the handlers can't be installed.
pub fn watch_signals() -> Result<Arc<Signals>, Error> {
    let watched = Arc::new(Signals::default());
    let state = Arc::clone(&watched);
    on_signals(move |signal| {
        if !state.taken.load(Ordering::Relaxed) || state.received().is_some() {
            end_with_groups(signal);
        }
        state.received.store(signal, Ordering::Relaxed);
    })?;
    Ok(watched)
}

/// The exit status that a shell would give: the code, or 128 and the signal.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code & 0xff).unwrap_or(1)
}

/// A command line for people: quoted where a shell would need it, with the variables that are set.
pub fn command_line(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        // A long search path says nothing.
        if let Some(value) = value
            && name != "PATH"
        {
            words.push(format!(
                "{}={}",
                name.to_string_lossy(),
                quoted(&value.to_string_lossy())
            ));
        }
    }
    words.push(quoted(&command.get_program().to_string_lossy()));
    words.extend(
        command
            .get_args()
            .map(|word| quoted(&word.to_string_lossy())),
    );
    words.join(" ")
}

/// A word as a shell needs it to be written.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn read_lines(reader: PipeReader) -> mpsc::Receiver<String> {
    // Bounded: a command that prints faster than we log waits.
    let (sender, receiver) = mpsc::sync_channel(1024);
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        loop {
            line.clear();
            match reader.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line);
            if sender
                .send(text.trim_end_matches(['\n', '\r']).to_owned())
                .is_err()
            {
                return;
            }
        }
    });
    receiver
}

fn keep(output: &mut String, line: &str) {
    output.push_str(line);
    output.push('\n');
    if output.len() > Finished::KEPT {
        let mut cut = output.len() - Finished::KEPT / 2;
        while !output.is_char_boundary(cut) {
            cut += 1;
        }
        output.drain(..cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn log() -> (tempfile::TempDir, Log) {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::create(&folder.path().join("a/b.log")).unwrap();
        (folder, log)
    }

    #[test]
    fn output_of_both_streams_and_the_status_are_kept() {
        let (_folder, log) = log();
        let mut lines = Vec::new();
        let finished = Task::new(
            shell("echo one; echo two >&2; exit 3"),
            Duration::from_secs(60),
        )
        .run(&log, |line| lines.push(line.to_owned()))
        .unwrap();
        assert!(!finished.success());
        assert_eq!(exit_code(finished.status), 3);
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(finished.output, "one\ntwo\n");
        let logged = std::fs::read_to_string(log.path()).unwrap();
        assert!(
            logged.starts_with(
                "$ sh -c 'echo one; echo two >&2; exit 3'\none\ntwo\n# exit status: 3"
            )
        );
    }

    #[test]
    fn a_task_over_its_time_is_ended_with_all_it_started() {
        let (_folder, log) = log();
        let begun = Instant::now();
        let finished = Task::new(
            shell("sleep 600 & echo $!; wait"),
            Duration::from_millis(200),
        )
        .run(&log, |_| {})
        .unwrap();
        assert!(finished.timed_out && !finished.success());
        assert!(begun.elapsed() < Duration::from_secs(300));
        assert_gone(finished.output.trim());
    }

    #[test]
    fn what_a_task_left_behind_is_ended() {
        let (_folder, log) = log();
        let finished = Task::new(shell("sleep 600 & echo $!"), Duration::from_secs(60))
            .run(&log, |_| {})
            .unwrap();
        assert!(finished.success());
        assert_gone(finished.output.trim());
    }

    // A killed process may wait a moment for whoever inherits it.
    fn assert_gone(pid: &str) {
        let begun = Instant::now();
        loop {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "process {pid} still runs: {state}"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_missing_program_is_an_error_that_names_it() {
        let (_folder, log) = log();
        let task = Task::new(
            Command::new("no-such-program-anywhere"),
            Duration::from_secs(1),
        );
        let error = task.run(&log, |_| {}).unwrap_err();
        assert!(
            error.to_string().contains("no-such-program-anywhere"),
            "{error}"
        );
    }

    #[test]
    fn a_background_process_takes_an_interrupt() {
        let (_folder, log) = log();
        let mut background = Background::start(
            shell("trap 'echo counters; exit 0' INT; echo up; while :; do sleep 0.05; done"),
            &log,
        )
        .unwrap();
        let begun = Instant::now();
        while !background.output(&log).contains("up") && begun.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(10));
        }
        let (status, output) = background.interrupt(Duration::from_secs(60), &log);
        assert!(status.is_some_and(|status| status.success()));
        assert!(output.contains("counters"), "{output}");
    }

    #[test]
    fn a_guarded_process_ends_with_its_guard_and_keeps_its_status() {
        let (_folder, log) = log();
        let mut background =
            Background::start_guarded(&shell("echo $$; exec sleep 600"), &log).unwrap();
        let lines = background.take_lines();
        let pid = lines.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(background.ended().is_none());
        // As if we were gone: our end of the pipe is closed, nothing else happens.
        background._guard = None;
        assert_gone(&pid);

        let mut background = Background::start_guarded(&shell("exit 7"), &log).unwrap();
        let begun = Instant::now();
        let status = loop {
            match background.ended() {
                Some(status) => break status,
                None if begun.elapsed() < Duration::from_secs(60) => thread::sleep(LOOK),
                None => panic!("it still runs"),
            }
        };
        assert_eq!(exit_code(status), 7);
    }

    #[test]
    fn the_exit_status_of_a_signal_is_a_shells() {
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
    }

    #[test]
    fn kept_output_is_bounded_and_the_end_is_kept() {
        let mut output = String::new();
        let line = "ü".repeat(1 << 20);
        for _ in 0..10 {
            keep(&mut output, &line);
        }
        keep(&mut output, "last");
        assert!(output.len() <= Finished::KEPT + line.len());
        assert!(output.ends_with("last\n"));
    }

    #[test]
    fn words_are_quoted_as_a_shell_needs() {
        let mut command = Command::new("dig");
        command.args(["@127.0.0.1", "it's", ""]);
        assert_eq!(command_line(&command), r"dig @127.0.0.1 'it'\''s' ''");
    }
}
