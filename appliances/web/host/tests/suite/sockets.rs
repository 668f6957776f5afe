//! The process over the system's sockets: curl, and clients that behave badly.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;

use crate::common::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n";

#[test]
fn curl_gets_the_compiled_in_site() {
    let server = Server::on_loopback(&[]);
    assert!(
        server.said[0].ends_with("(compiled in)"),
        "{:?}",
        server.said
    );
    let head = curled(&["--head", &server.url("/")]);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let html = Some("text/html; charset=utf-8");
    assert_eq!(field(&head, "content-type"), html);
    assert_eq!(field(&head, "x-content-type-options"), Some("nosniff"));
    let page = curled(&[&server.url("/")]);
    let length = field(&head, "content-length").map(str::parse);
    assert_eq!(length, Some(Ok(page.len())));
    // What the page names is there.
    for (name, media_type) in [
        ("css/site.css", "text/css; charset=utf-8"),
        ("mark.svg", "image/svg+xml"),
        ("design.html", "text/html; charset=utf-8"),
    ] {
        assert!(page.contains(&format!("\"{name}\"")), "{name}");
        let head = curled(&["--head", "--fail", &server.url(&format!("/{name}"))]);
        assert_eq!(field(&head, "content-type"), Some(media_type));
    }
    let missing = curled(&["--head", &server.url("/none.html")]);
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
    let posted = curled(&["--include", "--data", "a=b", &server.url("/")]);
    assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
    assert_eq!(field(&posted, "allow"), Some("GET, HEAD"));
}

#[test]
fn wrk_is_answered_on_kept_connections_and_on_one_a_request() {
    let server = Server::on_loopback(&[]);
    let url = server.url("/");
    answers_wrk(server, &url);
}

#[test]
fn variants_ranges_and_conditions_are_what_curl_takes_them_for() {
    let server = Server::on_loopback(&[]);
    let url = server.url("/");
    let plain = curled(&[&url]);
    let mut tags = HashSet::new();
    for coding in ["gzip", "br"] {
        let accepted = format!("Accept-Encoding: {coding}");
        let head = curled(&["--head", "--header", &accepted, &url]);
        assert_eq!(field(&head, "content-encoding"), Some(coding));
        assert_eq!(field(&head, "vary"), Some("accept-encoding"));
        let tag = field(&head, "etag").expect("a tag").to_string();
        let known = format!("If-None-Match: {tag}");
        let again = curled(&["--head", "--header", &accepted, "--header", &known, &url]);
        assert!(again.starts_with("HTTP/1.1 304 "), "{again}");
        // Who knows the variant does not know the page as it is.
        let other = curled(&["--head", "--header", &known, &url]);
        assert!(other.starts_with("HTTP/1.1 200 "), "{other}");
        tags.insert(tag);
    }
    assert_eq!(tags.len(), 2);
    // What this curl takes it unpacks.
    assert_eq!(curled(&["--compressed", &url]), plain);
    assert_eq!(curled(&["--range", "0-14", &url]), "<!DOCTYPE html>");
    let behind = format!("{}-", plain.len());
    let outside = curled(&["--include", "--range", &behind, &url]);
    assert!(outside.starts_with("HTTP/1.1 416 "), "{outside}");
    let head = curled(&["--head", &url]);
    let since = field(&head, "last-modified").expect("a time");
    let since = format!("If-Modified-Since: {since}");
    let again = curled(&["--head", "--header", &since, &url]);
    assert!(again.starts_with("HTTP/1.1 304 "), "{again}");
}

#[test]
fn a_connection_is_kept_and_what_is_sent_ahead_is_answered_in_order() {
    let server = Server::on_loopback(&[]);
    let url = server.url("/");
    let write = "%{num_connects} ";
    let connects = curled(&[
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        "--write-out",
        write,
        &url,
        &url,
    ]);
    assert_eq!(connects, "1 0 ");
    let ahead = b"GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\nGET /none HTTP/1.1\r\nHost: x\r\n\r\n\
        HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = exchange(&server, ahead);
    let statuses: Vec<&str> = answers
        .lines()
        .filter_map(|line| line.strip_prefix("HTTP/1.1 "))
        .collect();
    assert_eq!(statuses, ["200 OK", "404 Not Found", "200 OK"], "{answers}");
    let (counted, status) = server.interrupt();
    assert!(status.success());
    assert_eq!(counter(&counted, "requests"), 5, "{counted}");
    assert_eq!(counter(&counted, "connections"), 2, "{counted}");
}

#[test]
fn who_sends_more_than_it_said_gets_the_answer_and_no_reset() {
    let server = Server::on_loopback(&[]);
    let last = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let whole = exchange(&server, last.as_bytes());
    let length = field(&whole, "content-length").map(str::parse);
    assert_eq!(
        length,
        Some(Ok(whole.split("\r\n\r\n").nth(1).map_or(0, str::len)))
    );
    for more in [1, 5_000, 150_000] {
        let answer = exchange(&server, (last.to_owned() + &"x".repeat(more)).as_bytes());
        let [one, other] = [&whole, &answer].map(|text| text.split("\r\n\r\n").nth(1));
        assert_eq!(one, other, "{more}");
    }
}

#[test]
fn what_two_parsers_could_read_in_two_ways_ends_the_connection() {
    let server = Server::on_loopback(&[]);
    for request in [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcdGET /smuggled HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let answers = exchange(&server, request.as_bytes());
        assert!(answers.starts_with("HTTP/1.1 400 "), "{request}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    }
    // Nothing that leads out of the site is in it.
    for path in [
        "/../Cargo.toml",
        "/..%2f..%2fetc/passwd",
        "/%2e%2e/x",
        "//etc/passwd",
    ] {
        let head = curled(&["--head", "--path-as-is", &server.url(path)]);
        let status = head.split(' ').nth(1).expect("a status");
        assert!(["400", "404"].contains(&status), "{path}: {head}");
    }
}

#[test]
fn slow_clients_are_told_and_ended() {
    let server = Server::on_loopback(&["--head-ms", "300", "--idle-ms", "300"]);
    // In the middle of a head.
    let mut stream = connect(&server);
    stream.write_all(b"GET / HT").expect("sent");
    let answer = read_to_end(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // Without a word.
    assert_eq!(read_to_end(&mut connect(&server)), "");
    let (counted, _) = server.interrupt();
    assert_eq!(counter(&counted, "rejected-timeout"), 1, "{counted}");
    assert_eq!(counter(&counted, "ended-idle"), 1, "{counted}");
}

#[test]
fn who_comes_when_all_places_are_taken_is_told_so_and_served_when_one_is_free() {
    let server = Server::on_loopback(&["--connections", "4", "--idle-ms", "60000"]);
    let mut held: Vec<_> = (0..4).map(|_| connect(&server)).collect();
    for stream in &mut held {
        stream.write_all(GET).expect("sent");
        read_until(stream, "</html>");
    }
    let answer = exchange(&server, GET);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(field(&answer, "retry-after"), Some("1"));
    assert_eq!(field(&answer, "connection"), Some("close"));
    // Those who were served before still are.
    held[0].write_all(GET).expect("sent");
    read_until(&mut held[0], "</html>");
    drop(held);
    let free = || {
        curl(&["--fail", "-o", "/dev/null", &server.url("/")])
            .status
            .success()
    };
    assert!((0..100).any(|_| free()), "no place became free");
    let (counted, _) = server.interrupt();
    assert!(counter(&counted, "turned-away") >= 1, "{counted}");
}

#[test]
fn metrics_are_what_prometheus_reads() {
    let server = Server::on_loopback(&[]);
    curled(&[&server.url("/")]);
    let head = curled(&["--head", &server.url("/_mirage/metrics")]);
    let media_type = Some("text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(field(&head, "content-type"), media_type);
    let text = curled(&[&server.url("/_mirage/metrics")]);
    let values = exposition(&text);
    assert_eq!(values["mirage_http_requests_total"], 3.0);
    assert_eq!(values["mirage_http_responses_total{class=\"2xx\"}"], 3.0);
    assert_eq!(values["mirage_http_connections"], 1.0);
    assert!(values["process_resident_memory_bytes"] > 1e5);
    // What isn't there is not zero, but missing: over the system's sockets, TCP's counters and pages.
    assert!(
        !text.contains("mirage_tcp_") && !text.contains("mirage_pool_"),
        "{text}"
    );
    let without = Server::on_loopback(&["--no-live-page"]);
    for path in ["/_mirage/", "/_mirage/metrics", "/_mirage/events"] {
        let head = curled(&["--head", &without.url(path)]);
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    }
}

/// Reads text in the exposition format 0.0.4, strictly.
fn exposition(text: &str) -> HashMap<String, f64> {
    let is_name = |name: &str| {
        let mut letters = name.chars();
        letters
            .next()
            .is_some_and(|letter| letter.is_ascii_lowercase())
            && letters.all(|letter| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'
            })
    };
    assert!(text.ends_with('\n'));
    let (mut values, mut kinds, mut helped) = (HashMap::new(), HashMap::new(), HashSet::new());
    let mut current = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("help");
            assert!(
                is_name(name) && help.ends_with('.') && helped.insert(name),
                "{line}"
            );
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert!(
                helped.contains(name) && kinds.insert(name, kind).is_none(),
                "{line}"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            current = name;
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let name = series.split('{').next().expect("a name");
            // All of one name stand together, behind what is said of it.
            assert_eq!(name, current, "{line}");
            let value = value.parse().expect("a number");
            assert!(values.insert(series.to_string(), value).is_none(), "{line}");
        }
    }
    values
}

#[test]
fn events_come_each_second_with_what_was_counted() {
    let server = Server::on_loopback(&[]);
    let mut stream = connect(&server);
    stream
        .write_all(b"GET /_mirage/events HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    let head = read_until(&mut stream, "\r\n\r\n");
    assert_eq!(field(&head, "content-type"), Some("text/event-stream"));
    assert_eq!(field(&head, "cache-control"), Some("no-store"));
    // As curl takes the chunks apart, for three and a half seconds.
    let output = curl(&[
        "--no-buffer",
        "--max-time",
        "3.5",
        &server.url("/_mirage/events"),
    ]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.starts_with("retry: 2000\n\n"), "{text}");
    let events: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    assert!((2..=4).contains(&events.len()), "{text}");
    let up = |event: &serde_json::Value| event["mirage_uptime_seconds"].as_f64().expect("seconds");
    assert!(up(&events[1]) - up(&events[0]) >= 0.999);
    assert_eq!(events[0]["mirage_http_event_streams"], 2);
    assert_eq!(events[0]["mirage_http_responses_total.5xx"], 0);
}

#[test]
fn streams_take_no_more_than_a_quarter_of_the_places() {
    let server = Server::on_loopback(&["--connections", "8"]);
    let mut streams: Vec<_> = (0..2).map(|_| connect(&server)).collect();
    for stream in &mut streams {
        stream
            .write_all(b"GET /_mirage/events HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("sent");
        read_until(stream, "data: ");
    }
    let head = curled(&["--include", &server.url("/_mirage/events")]);
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(field(&head, "retry-after"), Some("5"));
    curled(&["--fail", &server.url("/")]);
}

#[test]
fn the_live_page_brings_all_that_it_needs_and_allows_nothing_else() {
    let server = Server::on_loopback(&[]);
    let redirected = curled(&["--head", &server.url("/_mirage")]);
    assert_eq!(field(&redirected, "location"), Some("/_mirage/"));
    let page = curled(&["--include", &server.url("/_mirage/")]);
    let policy = field(&page, "content-security-policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';"),
        "{policy}"
    );
    for part in ["unsafe", "http:", "https:", "data:", "*"] {
        assert!(!policy.contains(part), "{policy}");
    }
    for (name, media_type) in [
        ("live.js", "text/javascript; charset=utf-8"),
        ("live.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ] {
        assert!(page.contains(&format!("\"{name}\"")), "{name}");
        let head = curled(&["--head", &server.url(&format!("/_mirage/{name}"))]);
        assert_eq!(field(&head, "content-type"), Some(media_type));
        assert_eq!(field(&head, "x-content-type-options"), Some("nosniff"));
    }
    assert!(!page.contains("://"), "something from elsewhere");
}

#[test]
fn another_site_is_served_or_what_is_wrong_with_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let refused = |path: &str| {
        let output = program(&["--site", path]).stdout(Stdio::null()).output();
        let output = output.expect("the program");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).expect("text")
    };
    assert!(refused("/no/such/folder").contains("/no/such/folder: "));
    assert!(refused(path).contains("there is no index.html in it"));
    fs::write(folder.path().join("index.html"), "<h1>Mine</h1>".repeat(99)).expect("a file");
    fs::write(folder.path().join("index.html.gz"), "").expect("a file");
    assert!(refused(path).contains("index.html.gz: named as a compressed variant of index.html"));
    fs::remove_file(folder.path().join("index.html.gz")).expect("gone");
    fs::create_dir(folder.path().join("a b")).expect("a folder");
    fs::write(folder.path().join("a b/ä.txt"), "deep\n").expect("a file");
    let hidden = folder.path().join("_mirage");
    fs::create_dir(&hidden).expect("a folder");
    fs::write(hidden.join("mine.txt"), "mine\n").expect("a file");
    assert!(refused(path).contains("_mirage: the appliance shows itself at /_mirage/"));
    let server = Server::on_loopback(&["--no-live-page", "--site", path]);
    assert_eq!(curled(&[&server.url("/_mirage/mine.txt")]), "mine\n");
    drop(server);
    fs::remove_dir_all(&hidden).expect("gone");
    let server = Server::on_loopback(&["--site", path]);
    let said = format!("site: 2 files, 2 compressed variants ({path})");
    assert_eq!(server.said[0], said);
    assert!(curled(&["--compressed", &server.url("/")]).starts_with("<h1>Mine</h1>"));
    assert_eq!(curled(&[&server.url("/a%20b/%C3%A4.txt")]), "deep\n");
}

#[test]
fn a_port_in_use_is_told_with_what_to_do() {
    let server = Server::on_loopback(&[]);
    let address = server.address().to_string();
    let output = program(&["--listen", &address])
        .output()
        .expect("the program");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("is in use by another process"), "{said}");
}

#[test]
fn ctrl_c_ends_it_in_the_middle_of_everything() {
    let server = Server::on_loopback(&[]);
    let mut stream = connect(&server);
    stream.write_all(b"GET / HTTP/1.1\r\nHo").expect("sent");
    let mut events = connect(&server);
    events
        .write_all(b"GET /_mirage/events HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    read_until(&mut events, "data: ");
    let (counted, status) = server.interrupt();
    assert!(status.success());
    assert!(
        counted.starts_with("ended; counted:\nrequests"),
        "{counted}"
    );
    // Reset or closed, but over.
    let mut rest = [0; 16];
    assert!(!matches!(stream.read(&mut rest), Ok(1..)));
}

#[test]
#[should_panic(expected = "it ended before it served")]
fn a_server_that_never_comes_up_is_not_waited_for_for_ever() {
    let mut command = std::process::Command::new("sleep");
    command.arg("600");
    Server::launch_within(command, std::time::Duration::from_millis(50));
}
