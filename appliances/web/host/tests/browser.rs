//! The page that shows the appliance alive, in a browser: Chromium without a window, asked by its own protocol
//! (<https://chromedevtools.github.io/devtools-protocol/>) over a pipe.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::*;
use serde_json::{Value, json};

/// What the page shows, as one object.
const SHOWN: &str = "({
    state: document.getElementById('state').textContent,
    lost: document.getElementById('state').classList.contains('lost'),
    uptime: document.getElementById('uptime').textContent,
    charts: Array.from(document.querySelectorAll('figure'), (figure) => ({
        caption: figure.querySelector('figcaption').firstChild.textContent,
        value: figure.querySelector('strong').textContent,
        points: figure.querySelector('polyline').getAttribute('points').split(' ').length,
        isDrawn: figure.querySelector('svg').getBoundingClientRect().height > 20
            && getComputedStyle(figure.querySelector('polyline')).stroke !== 'none',
    })),
    rows: Object.fromEntries(Array.from(document.querySelectorAll('#all tr'), (row) =>
        [row.cells[0].textContent, row.cells[1].textContent])),
})";

#[test]
fn the_live_page_draws_what_is_counted_and_comes_back_after_a_restart() {
    let name = "the_live_page_draws_what_is_counted_and_comes_back_after_a_restart";
    let Some(chromium) = find("chromium") else {
        eprintln!("SKIPPED: {name}: no `chromium` on PATH, and MIRAGE_CHROMIUM is not set");
        return;
    };
    let server = Server::on_loopback(&[]);
    let address = server.address().to_string();
    let profile = tempfile::tempdir().expect("a folder");
    let mut browser = Browser::start(&chromium, profile.path());
    browser.open(&server.url("/_mirage/"));

    let first = browser.shown_when("three events came", |shown| {
        let charts = shown["charts"].as_array().expect("charts");
        !charts.is_empty()
            && charts
                .iter()
                .any(|chart| chart["points"].as_u64() >= Some(3))
    });
    assert_eq!(first["lost"], false, "{first}");
    assert!(
        first["uptime"]
            .as_str()
            .is_some_and(|up| up.starts_with("for "))
    );
    let charts = first["charts"].as_array().expect("charts");
    let captions: Vec<_> = charts
        .iter()
        .map(|chart| chart["caption"].as_str())
        .collect();
    // What a process on the system's sockets does not have is not drawn.
    let expected = [
        "Connections",
        "Memory",
        "Requests a second",
        "New connections a second",
        "Processor, % of one",
    ];
    for caption in expected {
        assert!(captions.contains(&Some(caption)), "{captions:?}");
    }
    assert_eq!(captions.len(), expected.len(), "{captions:?}");
    assert!(
        charts.iter().all(|chart| chart["isDrawn"] == true),
        "{first}"
    );

    // It is alive: what others ask is seen.
    let requests = |shown: &Value| {
        let text = shown["rows"]["mirage_http_requests_total"].as_str();
        text.and_then(|text| text.parse::<u64>().ok())
            .expect("a number")
    };
    let before = requests(&first);
    for _ in 0..5 {
        curled(&["--fail", &server.url("/")]);
    }
    let later = browser.shown_when("the requests of others are counted", |shown| {
        requests(shown) >= before + 5
    });
    assert_eq!(later["rows"]["mirage_http_event_streams"], "1");
    assert_eq!(browser.complaints, Vec::<String>::new());

    // It says that the appliance is gone, and finds the next one.
    drop(server);
    browser.shown_when("the appliance is gone", |shown| shown["lost"] == true);
    let _server = Server::start(&["--listen", &address]);
    let again = browser.shown_when("it is there again", |shown| shown["lost"] == false);
    assert!(requests(&again) < before + 5, "{again}");
}

#[test]
fn the_site_is_shown_without_a_complaint() {
    let name = "the_site_is_shown_without_a_complaint";
    let Some(chromium) = find("chromium") else {
        eprintln!("SKIPPED: {name}: no `chromium` on PATH, and MIRAGE_CHROMIUM is not set");
        return;
    };
    let server = Server::on_loopback(&[]);
    let profile = tempfile::tempdir().expect("a folder");
    let mut browser = Browser::start(&chromium, profile.path());
    for path in ["/", "/design.html"] {
        browser.open(&server.url(path));
        let loaded = "document.readyState === 'complete' && document.styleSheets.length === 1
            && Array.from(document.images).every((image) => image.naturalWidth > 0)
            && document.compatMode === 'CSS1Compat'";
        browser.when(path, loaded, |is_loaded| *is_loaded == true);
    }
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// A browser with one page.
struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    last: u64,
    /// Errors and warnings of its console, and exceptions.
    complaints: Vec<String>,
}

impl Browser {
    fn start(program: &Path, profile: &Path) -> Self {
        // The protocol comes in on descriptor 3 and goes out on 4.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >&2", "sh"])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-pipe",
            ])
            .args([
                "--no-first-run",
                "--disable-extensions",
                "--no-proxy-server",
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("a shell");
        let output = child.stdout.take().expect("its output");
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in messages_of(output) {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            input: child.stdin.take().expect("its input"),
            child,
            messages,
            session: String::new(),
            last: 0,
            complaints: Vec::new(),
        };
        let made = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let page = json!({ "targetId": made["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", page);
        browser.session = attached["sessionId"].as_str().expect("a session").into();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({ "url": url }));
        assert!(opened.get("errorText").is_none(), "{url}: {opened}");
    }

    /// What the page shows, as soon as it is as expected.
    fn shown_when(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        self.when(what, SHOWN, is_so)
    }

    /// The value of an expression, as soon as it is as expected.
    fn when(&mut self, what: &str, expression: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LONG;
        loop {
            let asked = json!({ "expression": expression, "returnByValue": true });
            let answer = self.call("Runtime.evaluate", asked);
            // While the page is being loaded there is nothing to be asked.
            let value = answer.get("exceptionDetails").is_none();
            let value = value.then(|| answer["result"]["value"].clone());
            if let Some(value) = value.as_ref().filter(|value| is_so(value)) {
                return value.clone();
            }
            let complaints = &self.complaints;
            assert!(
                Instant::now() < end,
                "not within a minute: {what}: {answer} {complaints:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut octets = message.to_string().into_bytes();
        octets.push(0);
        self.input.write_all(&octets).expect("it listens");
        loop {
            let received = self.messages.recv_timeout(LONG);
            let message = received.unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == self.last {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let parameters = &message["params"];
        let is_complaint = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => {
                matches!(
                    parameters["type"].as_str(),
                    Some("error" | "warning" | "assert")
                )
            }
            Some("Log.entryAdded") => {
                matches!(
                    parameters["entry"]["level"].as_str(),
                    Some("error" | "warning")
                )
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
