//! QEMU's monitor, in the QEMU Machine Protocol: JSON objects, one a line (`docs/interop/qmp-spec` of QEMU).

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long QEMU may take for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// How long QEMU may take to save or load the machine.
const MIGRATION_LIMIT: Duration = Duration::from_secs(120);

/// How often it is asked how far it is.
const LOOK: Duration = Duration::from_millis(10);

/// The longest line, in bytes.
const MAXIMUM_LINE: u64 = 1 << 20;

/// What went wrong, for people.
pub type Problem = String;

/// A connection to the monitor.
#[derive(Debug)]
pub struct Monitor {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Monitor {
    /// Takes a connection on which QEMU has said nothing yet.
    ///
    /// # Errors
    ///
    /// If QEMU says something else than its greeting, or nothing.
    pub fn new(stream: UnixStream) -> Result<Self, Problem> {
        let problem = |error: std::io::Error| error.to_string();
        stream
            .set_read_timeout(Some(ANSWER_LIMIT))
            .map_err(problem)?;
        let reader = BufReader::new(stream.try_clone().map_err(problem)?);
        let mut monitor = Self {
            writer: stream,
            reader,
        };
        let greeting = monitor.read()?;
        if greeting.get("QMP").is_none() {
            return Err(format!("not QEMU's greeting: {greeting}"));
        }
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Runs a command and gives what it returns; events are passed over.
    ///
    /// # Errors
    ///
    /// QEMU's own words if it refuses, and whatever ends the connection.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, Problem> {
        let line = json!({"execute": command, "arguments": arguments}).to_string() + "\n";
        self.writer
            .write_all(line.as_bytes())
            .map_err(|error| error.to_string())?;
        loop {
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                let text = error.get("desc").and_then(Value::as_str);
                return Err(format!("{command}: {}", text.unwrap_or("refused")));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    /// Saves the machine's whole state, with the memory, through a shell command; the machine stands still meanwhile.
    ///
    /// # Errors
    ///
    /// If QEMU says that it failed, or takes too long. The machine runs on in any case.
    pub fn save(&mut self, shell_command: &str) -> Result<(), Problem> {
        self.execute("stop", json!({}))?;
        let saved = self.migrate(shell_command);
        self.execute("cont", json!({}))?;
        saved
    }

    fn migrate(&mut self, shell_command: &str) -> Result<(), Problem> {
        // Without a limit, which is for machines that go on running.
        self.execute(
            "migrate-set-parameters",
            json!({"max-bandwidth": 1_u64 << 40}),
        )?;
        let uri = format!("exec:{shell_command}");
        self.execute("migrate", json!({"uri": uri}))?;
        self.wait("query-migrate", |status| match status {
            "completed" => Some(Ok(())),
            "failed" | "cancelled" => Some(Err(status.to_owned())),
            _ => None,
        })
    }

    /// Waits until a machine that was started from a saved state has it, and lets it run.
    ///
    /// # Errors
    ///
    /// If QEMU ends, which is how it refuses a state, or takes too long.
    pub fn resume(&mut self) -> Result<(), Problem> {
        self.wait("query-status", |status| {
            (status != "inmigrate").then_some(Ok(()))
        })?;
        self.execute("cont", json!({}))?;
        Ok(())
    }

    /// Asks again and again until the status says that it is over.
    fn wait(
        &mut self,
        query: &str,
        over: impl Fn(&str) -> Option<Result<(), Problem>>,
    ) -> Result<(), Problem> {
        let begun = Instant::now();
        while begun.elapsed() < MIGRATION_LIMIT {
            let answer = self.execute(query, json!({}))?;
            let status = answer.get("status").and_then(Value::as_str);
            if let Some(result) = over(status.unwrap_or_default()) {
                return result;
            }
            std::thread::sleep(LOOK);
        }
        Err(format!("not done after {} s", MIGRATION_LIMIT.as_secs()))
    }

    fn read(&mut self) -> Result<Value, Problem> {
        let mut line = String::new();
        let read = self
            .reader
            .by_ref()
            .take(MAXIMUM_LINE)
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        if read == 0 {
            return Err("QEMU has ended".into());
        }
        serde_json::from_str(&line).map_err(|error| format!("not an answer of QEMU's: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// A QEMU that says these lines, one after each that it reads, the first at once; and what it has read.
    fn qemu(lines: &'static [&'static str]) -> (UnixStream, thread::JoinHandle<Vec<Value>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let said = thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            let mut reader = BufReader::new(theirs);
            let mut heard = Vec::new();
            for line in lines {
                writeln!(writer, "{line}").unwrap();
                let mut command = String::new();
                if reader.read_line(&mut command).unwrap() == 0 {
                    break;
                }
                heard.push(serde_json::from_str(&command).unwrap());
            }
            heard
        });
        (ours, said)
    }

    #[test]
    fn a_machine_is_saved_while_it_stands_still() {
        let (stream, said) = qemu(&[
            r#"{"QMP": {"version": {}, "capabilities": []}}"#,
            r#"{"return": {}}"#,
            "{\"event\": \"STOP\"}\n{\"return\": {}}",
            r#"{"return": {}}"#,
            r#"{"return": {}}"#,
            r#"{"return": {"status": "active"}}"#,
            r#"{"return": {"status": "completed"}}"#,
            r#"{"return": {}}"#,
        ]);
        let mut monitor = Monitor::new(stream).unwrap();
        monitor.save("cat >state").unwrap();
        drop(monitor);
        let heard = said.join().unwrap();
        let names: Vec<&str> = heard
            .iter()
            .map(|command| command["execute"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "qmp_capabilities",
                "stop",
                "migrate-set-parameters",
                "migrate",
                "query-migrate",
                "query-migrate",
                "cont"
            ]
        );
        assert_eq!(heard[3]["arguments"]["uri"], "exec:cat >state");
    }

    #[test]
    fn a_machine_that_could_not_be_saved_runs_on() {
        let (stream, said) = qemu(&[
            r#"{"QMP": {}}"#,
            r#"{"return": {}}"#,
            r#"{"return": {}}"#,
            r#"{"return": {}}"#,
            r#"{"error": {"class": "GenericError", "desc": "no"}}"#,
            r#"{"return": {}}"#,
        ]);
        let mut monitor = Monitor::new(stream).unwrap();
        assert_eq!(monitor.save("cat >state").unwrap_err(), "migrate: no");
        drop(monitor);
        assert_eq!(said.join().unwrap().last().unwrap()["execute"], "cont");
    }

    #[test]
    fn somebody_else_is_not_taken_for_qemu() {
        for line in ["SSH-2.0-OpenSSH", "{}", "[]"] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            writeln!(&theirs, "{line}").unwrap();
            drop(theirs);
            assert!(Monitor::new(ours).is_err(), "{line}");
        }
    }
}
