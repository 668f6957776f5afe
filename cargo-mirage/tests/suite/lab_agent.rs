//! dom0's agent, run on this machine: the same script, with a socket where it has a virtio port in dom0.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cargo_mirage::lab::channel::{Channel, Event, Next};

const LONG: Duration = Duration::from_secs(60);

struct Agent {
    channel: Arc<Channel>,
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it; `None`, with a word about it, on a machine without Perl.
fn agent(test: &str) -> Option<Agent> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lab/files/agent.pl");
    let started = Command::new("perl")
        .arg(script)
        .arg("0")
        .arg(folder.path().join("agent"))
        .stdin(OwnedFd::from(theirs))
        .spawn();
    let Ok(child) = started else {
        println!("SKIPPED: {test}: `perl` is not on PATH");
        return None;
    };
    let (sender, hello) = mpsc::channel();
    let channel = Channel::new(ours, move |uptime| sender.send(uptime).unwrap(), |_| {}).unwrap();
    assert!(hello.recv_timeout(LONG).unwrap() > 0.0);
    Some(Agent {
        channel,
        child,
        folder,
    })
}

#[test]
fn output_errors_and_status_come_back() {
    let Some(agent) = agent("output_errors_and_status_come_back") else {
        return;
    };
    let script = "echo out; echo err >&2; exit 7";
    let output = agent.channel.run(script, b"", LONG).unwrap();
    assert_eq!(
        (output.status, output.out, output.err),
        (7, b"out\n".to_vec(), b"err\n".to_vec())
    );
    let output = agent.channel.run("kill -TERM $$", b"", LONG).unwrap();
    assert_eq!(output.status, 143);
    // Without input it reads an end, not the frames of others.
    let output = agent.channel.run("cat", b"", LONG).unwrap();
    assert_eq!((output.status, output.out), (0, Vec::new()));
}

#[test]
fn binary_files_go_both_ways() {
    let Some(agent) = agent("binary_files_go_both_ways") else {
        return;
    };
    let file: Vec<u8> = (0..700_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let output = agent
        .channel
        .run("tee copy >&2; cat copy; rm copy", &file, LONG)
        .unwrap();
    assert_eq!(output.status, 0);
    assert!(output.out == file && output.err == file);
    // Nothing is left of the input.
    let left = std::fs::read_dir(agent.folder.path().join("agent"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

#[test]
fn a_slow_command_holds_nobody_up_and_its_output_comes_as_it_is_written() {
    let Some(agent) = agent("a_slow_command_holds_nobody_up") else {
        return;
    };
    let mut slow = agent
        .channel
        .start("echo first; sleep 600; echo never", b"")
        .unwrap();
    assert_eq!(
        slow.next(LONG),
        Next::Event(Event::Out(b"first\n".to_vec()))
    );
    for _ in 0..20 {
        assert_eq!(
            agent.channel.run("echo quick", b"", LONG).unwrap().text(),
            "quick"
        );
    }
    assert_eq!(slow.next(Duration::ZERO), Next::Nothing);
}

#[test]
fn whoever_is_dropped_is_killed_with_all_it_started() {
    let Some(agent) = agent("whoever_is_dropped_is_killed") else {
        return;
    };
    let mut running = agent
        .channel
        .start("sleep 600 & echo $!; wait", b"")
        .unwrap();
    let Next::Event(Event::Out(pid)) = running.next(LONG) else {
        panic!("no output");
    };
    drop(running);
    let path = format!("/proc/{}/stat", String::from_utf8(pid).unwrap().trim());
    let begun = Instant::now();
    loop {
        let state = std::fs::read_to_string(&path).unwrap_or_default();
        if state.is_empty() || state.contains(") Z ") {
            break;
        }
        assert!(begun.elapsed() < LONG, "it still runs: {state}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_daemon_that_is_left_behind_is_not_waited_for() {
    let Some(agent) = agent("a_daemon_that_is_left_behind_is_not_waited_for") else {
        return;
    };
    // As `xl create` leaves its watcher behind.
    let output = agent.channel.run("sleep 600 & echo $!", b"", LONG).unwrap();
    assert_eq!(output.status, 0);
    let kill = format!("kill {}", output.text());
    assert_eq!(agent.channel.run(&kill, b"", LONG).unwrap().status, 0);
}

#[test]
fn more_commands_than_fit_are_refused_with_a_reason() {
    let Some(agent) = agent("more_commands_than_fit_are_refused_with_a_reason") else {
        return;
    };
    let all: Vec<_> = (0..64)
        .map(|_| agent.channel.start("sleep 600", b"").unwrap())
        .collect();
    let output = agent.channel.run("true", b"", LONG).unwrap();
    assert_eq!(output.status, 255);
    let error = String::from_utf8(output.err).unwrap();
    assert!(error.contains("64 commands"), "{error}");
    drop(all);
}

#[test]
fn it_ends_with_the_tool() {
    let Some(mut agent) = agent("it_ends_with_the_tool") else {
        return;
    };
    // The only handle of the channel is replaced by one that leads nowhere.
    let (elsewhere, _) = UnixStream::pair().unwrap();
    agent.channel = Channel::new(elsewhere, |_| {}, |_| {}).unwrap();
    let begun = Instant::now();
    while agent.child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < LONG, "it still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}
