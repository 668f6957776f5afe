//! The page that shows the appliance alive.

use std::path::Path;

use serde_json::Value;

use crate::{Browser, Failure};

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

/// How many requests of others are looked for.
const REQUESTS: u64 = 5;

/// The page, open in a browser.
#[derive(Debug)]
pub struct LivePage {
    browser: Browser,
    origin: String,
}

impl LivePage {
    /// Opens the page of the appliance at that origin (`http://10.98.0.2`) in that browser.
    ///
    /// # Errors
    ///
    /// If the browser does not start, or nothing answers.
    pub fn open(program: &Path, origin: &str) -> Result<Self, Failure> {
        let mut browser = Browser::start(program)?;
        browser.open(&format!("{origin}/_mirage/"))?;
        Ok(Self {
            browser,
            origin: origin.to_owned(),
        })
    }

    /// That it is drawn and alive: events arrive, these charts and no others grow by them, the appliance gets older, what
    /// others ask for (`ask` asks for something once) is counted, and the page has neither asked anybody else for anything
    /// nor complained.
    ///
    /// # Errors
    ///
    /// What of that is not so, with what the page shows instead.
    pub fn must_be_alive(
        &mut self,
        charts: &[&str],
        mut ask: impl FnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let first = self.shown_when("three events came", |shown| {
            let mut points = charts_of(shown).map(|chart| chart["points"].as_u64());
            points.any(|points| points >= Some(3))
        })?;
        let captions: Vec<_> = charts_of(&first)
            .filter_map(|chart| chart["caption"].as_str())
            .collect();
        let mut expected = charts.to_vec();
        expected.sort_unstable();
        let mut sorted = captions.clone();
        sorted.sort_unstable();
        if sorted != expected {
            return Err(format!("charts {captions:?} instead of {charts:?}").into());
        }
        if first["lost"] != false || !charts_of(&first).all(|chart| chart["isDrawn"] == true) {
            return Err(format!("not drawn: {first}").into());
        }
        let (requests, uptime) = (requests(&first)?, uptime(&first)?);
        let events = self.browser.events();
        if events < 3 {
            return Err(format!("{events} events, and yet it shows {first}").into());
        }
        for _ in 0..REQUESTS {
            ask()?;
        }
        let counted = |shown: &Value| self::requests(shown).unwrap_or(0) >= requests + REQUESTS;
        let later = self.shown_when("the requests of others are counted", counted)?;
        let is_older = |shown: &Value| self::uptime(shown).is_ok_and(|now| now > uptime);
        self.shown_when("it got older", is_older)?;
        if later["rows"]["mirage_http_event_streams"] != "1" {
            return Err(format!("its own stream isn't counted: {later}").into());
        }
        if self.browser.events() <= events {
            return Err("no further event".into());
        }
        self.must_be_clean()
    }

    /// That the page has asked nobody else for anything, and has not complained.
    fn must_be_clean(&self) -> Result<(), Failure> {
        let own = format!("{}/", self.origin);
        let mut requests = self.browser.requests().iter();
        if let Some(other) = requests.find(|url| !url.starts_with(&own)) {
            return Err(format!("it asks for {other}").into());
        }
        // Itself, its style, its script, its events.
        for path in ["/_mirage/", ".css", ".js", "/_mirage/events"] {
            let mut requests = self.browser.requests().iter();
            if !requests.any(|url| url.ends_with(path)) {
                let all = self.browser.requests();
                return Err(format!("nothing ending in {path} was asked for: {all:?}").into());
            }
        }
        match self.browser.complaints() {
            [] => Ok(()),
            complaints => Err(format!("it complains: {complaints:?}").into()),
        }
    }

    /// What the page shows, as soon as it is as expected.
    ///
    /// # Errors
    ///
    /// If it isn't within two minutes.
    pub fn shown_when(
        &mut self,
        what: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        self.browser.when(what, SHOWN, is_so)
    }
}

/// What can be read of what the page shows.
pub mod shown {
    use serde_json::Value;

    use crate::Failure;

    /// How many requests the appliance has counted.
    ///
    /// # Errors
    ///
    /// If that isn't shown, or is no number.
    pub fn requests(shown: &Value) -> Result<u64, Failure> {
        let text = shown["rows"]["mirage_http_requests_total"].as_str();
        let number = text.map(|text| text.replace(',', "").parse::<u64>());
        match number {
            Some(Ok(number)) => Ok(number),
            _ => Err(format!("no number of requests: {shown}").into()),
        }
    }

    /// Whether the page says that the appliance doesn't answer.
    pub fn is_lost(shown: &Value) -> bool {
        shown["lost"] == true
    }

    /// How old the appliance is, in seconds.
    ///
    /// # Errors
    ///
    /// If the page does not say so in words.
    pub fn uptime(shown: &Value) -> Result<u64, Failure> {
        let text = shown["uptime"].as_str().unwrap_or_default();
        let words = text.strip_prefix("for ").map(|rest| rest.split(' '));
        let words: Vec<&str> = words.into_iter().flatten().collect();
        let parts = words.chunks(2).map(|part| {
            let [number, unit] = part else { return None };
            let seconds = match *unit {
                "d" => 86_400,
                "h" => 3_600,
                "min" => 60,
                "s" => 1,
                _ => return None,
            };
            Some(number.parse::<u64>().ok()? * seconds)
        });
        match parts.sum::<Option<u64>>() {
            Some(seconds) if !words.is_empty() => Ok(seconds),
            _ => Err(format!("no time: {shown}").into()),
        }
    }
}

use shown::{requests, uptime};

fn charts_of(shown: &Value) -> impl Iterator<Item = &Value> {
    shown["charts"].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_age_is_read_in_its_units() {
        for (text, seconds) in [
            ("for 0 s", 0),
            ("for 12 s", 12),
            ("for 1 min 5 s", 65),
            ("for 1 d 2 h", 93_600),
        ] {
            let read = uptime(&json!({ "uptime": text })).ok();
            assert_eq!(read, Some(seconds), "{text}");
        }
        for text in ["", "for ", "12 s", "for s", "for 1 s 2", "for NaN s"] {
            assert!(uptime(&json!({ "uptime": text })).is_err(), "{text}");
        }
    }

    #[test]
    fn requests_are_a_number_in_the_list() {
        let shown = |text: &str| json!({ "rows": { "mirage_http_requests_total": text } });
        assert_eq!(requests(&shown("12,345")).ok(), Some(12_345));
        assert!(requests(&shown("")).is_err());
        assert!(requests(&json!({})).is_err());
    }
}
