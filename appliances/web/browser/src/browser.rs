//! The browser.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Failure;

/// More than anything here takes on any machine, an emulated one included.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at what a page shows.
const LOOK: Duration = Duration::from_millis(50);

/// Headless, on whichever display and for whichever user; and without what a browser asks of its maker's servers by itself.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
];

/// A browser with one page; it ends when dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    last: u64,
    complaints: Vec<String>,
    requests: Vec<String>,
    events: u64,
    // What it keeps goes after it.
    _profile: TempDir,
}

impl Browser {
    /// Starts that program, with a profile of its own.
    ///
    /// # Errors
    ///
    /// If it does not start, or does not answer.
    pub fn start(program: &Path) -> Result<Self, Failure> {
        let profile = tempfile::tempdir()?;
        // The protocol comes in on descriptor 3 and goes out on 4.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >&2", "sh"])
            .arg(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = input.zip(output).ok_or("no pipes")?;
        let (sender, messages) = channel();
        thread::spawn(move || {
            for message in messages_of(output) {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            child,
            input,
            messages,
            session: String::new(),
            last: 0,
            complaints: Vec::new(),
            requests: Vec::new(),
            events: 0,
            _profile: profile,
        };
        let made = browser.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let page = json!({ "targetId": made["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", page)?;
        browser.session = attached["sessionId"].as_str().ok_or("no session")?.into();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(browser)
    }

    /// Goes to an address.
    ///
    /// # Errors
    ///
    /// If nothing answers there.
    pub fn open(&mut self, url: &str) -> Result<(), Failure> {
        let opened = self.call("Page.navigate", json!({ "url": url }))?;
        match opened.get("errorText") {
            None => Ok(()),
            Some(error) => Err(format!("{url}: {error}").into()),
        }
    }

    /// The value of an expression of the page's, as soon as it is as expected; `what` says what that is.
    ///
    /// # Errors
    ///
    /// If it isn't within two minutes.
    pub fn when(
        &mut self,
        what: &str,
        expression: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            let asked = json!({ "expression": expression, "returnByValue": true });
            let answer = self.call("Runtime.evaluate", asked)?;
            // While the page is being loaded there is nothing to be asked.
            let value = answer.get("exceptionDetails").is_none();
            let value = value.then(|| answer["result"]["value"].clone());
            if let Some(value) = value.filter(&is_so) {
                return Ok(value);
            }
            if Instant::now() > end {
                let (limit, complaints) = (PATIENCE.as_secs(), &self.complaints);
                let said = format!("not within {limit} s: {what}: {answer} {complaints:?}");
                return Err(said.into());
            }
            thread::sleep(LOOK);
        }
    }

    /// Errors and warnings of its console, exceptions, and what it asked for and didn't get, until now.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// The addresses of all that the page asked for until now.
    pub fn requests(&self) -> &[String] {
        &self.requests
    }

    /// How many server-sent events it has had until now.
    pub fn events(&self) -> u64 {
        self.events
    }

    fn call(&mut self, method: &str, parameters: Value) -> Result<Value, Failure> {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut octets = message.to_string().into_bytes();
        octets.push(0);
        self.input.write_all(&octets)?;
        loop {
            let received = self.messages.recv_timeout(PATIENCE);
            let message = received.map_err(|error| format!("{method}: {error}"))?;
            if message["id"] == self.last {
                return match message.get("error") {
                    None => Ok(message["result"].clone()),
                    Some(error) => Err(format!("{method}: {error}").into()),
                };
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let parameters = &message["params"];
        let is_one_of = |value: &Value, kinds: &[&str]| {
            let value = value.as_str();
            value.is_some_and(|value| kinds.contains(&value))
        };
        let is_complaint = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => {
                is_one_of(&parameters["type"], &["error", "warning", "assert"])
            }
            Some("Log.entryAdded") => {
                is_one_of(&parameters["entry"]["level"], &["error", "warning"])
            }
            Some("Network.requestWillBeSent") => {
                let url = parameters["request"]["url"].as_str();
                self.requests.push(url.unwrap_or_default().to_owned());
                false
            }
            Some("Network.eventSourceMessageReceived") => {
                self.events += 1;
                false
            }
            _ => false,
        };
        if is_complaint {
            self.complaints.push(parameters.to_string());
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Messages, each of which a NUL ends.
fn messages_of(output: ChildStdout) -> impl Iterator<Item = Value> {
    BufReader::new(output)
        .split(0)
        .map_while(Result::ok)
        .filter_map(|message| serde_json::from_slice(&message).ok())
}
