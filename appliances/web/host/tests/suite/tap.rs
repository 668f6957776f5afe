//! The process on our own stack over a tap: the same service, over our own TCP.

use std::fs;
use std::process::{Command, Stdio};

use crate::common::*;

const NET: [&str; 4] = ["--net", "tap=mirage0", "--ip", "10.0.0.2/24"];

#[test]
fn the_site_and_the_live_page_are_served_over_our_own_tcp() {
    in_own_network(
        "the_site_and_the_live_page_are_served_over_our_own_tcp",
        || {
            let server = Server::start(&NET);
            let page = curled(&["--fail", "--compressed", "http://10.0.0.2/"]);
            assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
            let live = curled(&["--fail", "http://10.0.0.2/_mirage/"]);
            assert!(live.contains("live.js"), "{live}");
            // Here are TCP and pages, of which there is nothing over the system's sockets.
            let metrics = curled(&["--fail", "http://10.0.0.2/_mirage/metrics"]);
            for (name, least) in [
                ("mirage_tcp_passive_opens_total", 3),
                ("mirage_tcp_received_segments_total", 9),
                ("mirage_pool_pages", 64),
                ("mirage_pool_pages_free", 64),
            ] {
                let line = metrics
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
                let value: u64 = line.expect(name).parse().expect("a number");
                assert!(value >= least, "{name} {value}");
            }
            let (counted, status) = server.interrupt();
            assert!(status.success());
            assert_eq!(counter(&counted, "requests"), 3, "{counted}");
        },
    );
}

#[test]
fn a_large_file_comes_whole_to_many_at_once() {
    in_own_network("a_large_file_comes_whole_to_many_at_once", || {
        let folder = tempfile::tempdir().expect("a folder");
        let large: Vec<u8> = (0..3_000_000_u32)
            .map(|at| (at ^ (at >> 9)) as u8)
            .collect();
        fs::write(folder.path().join("index.html"), "<p>small</p>").expect("a file");
        fs::write(folder.path().join("large.bin"), &large).expect("a file");
        let site = folder.path().to_str().expect("UTF-8");
        let _server = Server::start(&[&NET[..], &["--site", site]].concat());
        let curl = find("curl").expect("curl, which the other test has found");
        let fetch = |number: usize| {
            let path = folder.path().join(format!("got{number}"));
            let mut command = Command::new(&curl);
            command
                .args([
                    "--silent",
                    "--show-error",
                    "--fail",
                    "--max-time",
                    "60",
                    "-o",
                ])
                .arg(&path)
                .arg("http://10.0.0.2/large.bin")
                .stdin(Stdio::null());
            (command.spawn().expect("curl runs"), path)
        };
        let fetching: Vec<_> = (0..8).map(fetch).collect();
        for (mut child, path) in fetching {
            assert!(child.wait().expect("its end").success());
            assert!(fs::read(path).expect("a file") == large, "other octets");
        }
        let part = curled(&[
            "--range",
            "5-7",
            "--output",
            "-",
            "--write-out",
            "%{http_code}",
            "http://10.0.0.2/index.html",
        ]);
        assert_eq!(part, "all206");
    });
}

#[test]
fn wrk_is_answered_on_kept_connections_and_on_one_a_request() {
    in_own_network(
        "wrk_is_answered_on_kept_connections_and_on_one_a_request",
        || answers_wrk(Server::start(&NET), "http://10.0.0.2/"),
    );
}

#[test]
fn what_is_missing_for_it_is_told() {
    let output = program(&["--net", "tap=mirage0"])
        .output()
        .expect("the program");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("--ip"), "{said}");
}

/// Runs `test` in a network of its own, where there are taps.
fn in_own_network(name: &str, test: impl FnOnce() + Send + 'static) {
    network_namespace::run_test(name, network_namespace::what_a_tap_lacks, test);
}
