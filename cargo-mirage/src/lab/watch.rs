//! What goes on while a lab runs: what its machine and its guests say, and how domains end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::lab::COMMAND_LIMIT;
use crate::lab::channel::{Channel, Event, Next};
use crate::lab::guest::Place;
use crate::lab::record::Record;
use crate::lab::shutdown::{self, Reason, Shutdown};

/// What the threads of a lab share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) channel: Arc<Channel>,
    pub(super) record: Arc<Record>,
    pub(super) guests: Mutex<Vec<State>>,
    pub(super) gone: AtomicBool,
}

/// What is known of a guest.
#[derive(Debug)]
pub(super) struct State {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) shutdowns: Vec<Shutdown>,
}

impl Shared {
    pub(super) fn guests(&self) -> MutexGuard<'_, Vec<State>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records what the machine prints from now on, until it ends.
    pub(super) fn pass_on(self: &Arc<Self>, lines: mpsc::Receiver<String>) {
        let shared = Arc::clone(self);
        thread::spawn(move || {
            for line in lines {
                shared.record.machine_line(&line);
            }
            shared.record.line("lab", "the machine has ended");
            shared.gone.store(true, Ordering::Relaxed);
        });
    }

    /// Records what a guest of that name says on its console from now on.
    ///
    /// xenconsoled writes it into what would be a log file: here a FIFO, so that each byte comes at once. During a
    /// migration to the same dom0 the new domain is called `NAME--incoming`.
    pub(super) fn follow_console(self: &Arc<Self>, name: &str) -> Result<(), Error> {
        self.record.show(name);
        let script = format!(
            "cd /var/log/xen/console && mkfifo guest-{name}.log && ln -s guest-{name}.log guest-{name}--incoming.log && \
             exec cat <>guest-{name}.log"
        );
        let mut running = self.channel.start(&script, b"")?;
        let (record, name) = (Arc::clone(&self.record), name.to_owned());
        thread::spawn(move || {
            loop {
                match running.next(Duration::MAX) {
                    Next::Event(Event::Out(bytes) | Event::Err(bytes)) => {
                        record.bytes(&name, &bytes)
                    }
                    Next::Event(Event::End(_)) | Next::Gone => return,
                    Next::Nothing => {}
                }
            }
        });
        Ok(())
    }

    /// Notices when domains end, and reports crashes.
    pub(super) fn watch(self: &Arc<Self>) -> Result<(), Error> {
        let mut running = self
            .channel
            .start("exec xenstore-watch @releaseDomain", b"")?;
        let shared = Arc::clone(self);
        thread::spawn(move || {
            // xl writes the reason into its log when it hears of the end, as we do: it may take a moment more.
            let mut looks = 0;
            loop {
                let wait = if looks > 0 {
                    Duration::from_millis(300)
                } else {
                    Duration::MAX
                };
                match running.next(wait) {
                    Next::Event(Event::Out(_)) => looks = 10,
                    Next::Nothing => looks -= 1,
                    Next::Event(_) => continue,
                    Next::Gone => return,
                }
                match shared.look() {
                    Ok(true) => looks = 0,
                    Ok(false) => {}
                    Err(error) => {
                        shared.record.line("lab", &format!("watching: {error}"));
                        return;
                    }
                }
            }
        });
        Ok(())
    }

    /// Notices which guest a domain is that appears; with `seeds`, gives it random bytes.
    pub(super) fn name_domains(self: &Arc<Self>, seeds: bool) -> Result<(), Error> {
        let script = format!("exec sh /lab/domains {}", if seeds { "seeds" } else { "" });
        let mut running = self.channel.start(&script, b"")?;
        let record = Arc::clone(&self.record);
        thread::spawn(move || {
            let mut text = Vec::new();
            loop {
                match running.next(Duration::MAX) {
                    Next::Event(Event::Out(bytes)) => {
                        text.extend(bytes);
                        let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else {
                            continue;
                        };
                        let rest = text.split_off(end + 1);
                        for (number, name) in named(&String::from_utf8_lossy(&text)) {
                            record.domain(number, &name);
                        }
                        text = rest;
                    }
                    Next::Event(Event::Err(bytes)) => record.bytes("dom0", &bytes),
                    // It ends with the lab.
                    Next::Event(Event::End(_)) | Next::Gone => return,
                    Next::Nothing => {}
                }
            }
        });
        Ok(())
    }

    /// Looks into xl's logs for domains that ended; whether there is news.
    pub(super) fn look(&self) -> Result<bool, Error> {
        let output = self.channel.run(shutdown::SCRIPT, b"", COMMAND_LIMIT)?;
        let mut news = false;
        for (name, shutdown) in shutdown::parse(&output.text()) {
            let mut guests = self.guests();
            let Some(guest) = guests.iter_mut().find(|guest| guest.name == name) else {
                continue;
            };
            // One whose suspension was cancelled goes on under its number, and ends later. One that has shut down is destroyed
            // in the end, which is no news.
            let is_known = guest.shutdowns.iter().any(|known| {
                known.domain == shutdown.domain
                    && (known.reason == shutdown.reason || shutdown.reason == Reason::Destroyed)
            });
            if is_known {
                continue;
            }
            guest.shutdowns.push(shutdown);
            let address = guest.place.address;
            drop(guests);
            news = true;
            let line = format!(
                "{name} ({address}), domain {}: {}",
                shutdown.domain, shutdown.reason
            );
            self.record.line("lab", &line);
        }
        Ok(news)
    }
}

/// Reads lines such as `3 dns`; a domain that comes from elsewhere is called `dns--incoming` until it is there.
fn named(text: &str) -> Vec<(u32, String)> {
    let one = |line: &str| {
        let (number, name) = line.split_once(' ')?;
        let name = name.strip_suffix("--incoming").unwrap_or(name);
        Some((number.parse().ok()?, name.to_owned()))
    };
    text.lines()
        .filter_map(one)
        .filter(|(_, name)| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_named_as_the_guests_they_are() {
        let expected =
            [(1, "dns"), (2, "dns"), (12, "a b")].map(|(number, name)| (number, name.to_owned()));
        assert_eq!(
            named("1 dns\n2 dns--incoming\n12 a b\n13\n14 \nx y\n"),
            expected
        );
    }
}
