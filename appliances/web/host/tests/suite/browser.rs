//! The pages, in a browser.

use web_browser::{Browser, LivePage, shown};

use crate::common::*;

/// What a process on the system's sockets has; what it doesn't have is not drawn.
const CHARTS: &[&str] = &[
    "Connections",
    "Memory",
    "Requests a second",
    "New connections a second",
    "Processor, % of one",
];

#[test]
fn the_live_page_draws_what_is_counted_and_comes_back_after_a_restart() {
    let name = "the_live_page_draws_what_is_counted_and_comes_back_after_a_restart";
    let Some(chromium) = find("chromium") else {
        eprintln!("SKIPPED: {name}: no `chromium` on PATH, and MIRAGE_CHROMIUM is not set");
        return;
    };
    let server = Server::on_loopback(&[]);
    let address = server.address().to_string();
    let mut page = LivePage::open(&chromium, &server.url("")).expect("a page");
    let ask = || {
        curled(&["--fail", &server.url("/")]);
        Ok(())
    };
    page.must_be_alive(CHARTS, ask).expect("alive");
    let alive = page.shown_when("what it shows", |_| true).expect("so");
    let before = shown::requests(&alive).expect("a number");

    // It says that the appliance is gone, and finds the next one.
    drop(server);
    page.shown_when("the appliance is gone", shown::is_lost)
        .expect("so");
    let _server = Server::start(&["--listen", &address]);
    let again = page.shown_when("it is there again", |shown| !shown::is_lost(shown));
    let again = shown::requests(&again.expect("so")).expect("a number");
    assert!(again < before, "{again} requests, {before} before");
}

#[test]
fn the_site_is_shown_without_a_complaint() {
    let name = "the_site_is_shown_without_a_complaint";
    let Some(chromium) = find("chromium") else {
        eprintln!("SKIPPED: {name}: no `chromium` on PATH, and MIRAGE_CHROMIUM is not set");
        return;
    };
    let server = Server::on_loopback(&[]);
    let mut browser = Browser::start(&chromium).expect("a browser");
    for path in ["/", "/design.html"] {
        browser.open(&server.url(path)).expect("a page");
        let loaded = "document.readyState === 'complete' && document.styleSheets.length === 1
            && Array.from(document.images).every((image) => image.naturalWidth > 0)
            && document.compatMode === 'CSS1Compat'";
        browser
            .when(path, loaded, |is_loaded| *is_loaded == true)
            .expect("loaded");
    }
    assert_eq!(browser.complaints(), [""; 0]);
}
