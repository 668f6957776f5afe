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
use crate::lab::shutdown::{self, Shutdown};

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

    /// Gives random bytes to domains that appear.
    pub(super) fn give_seeds(self: &Arc<Self>) -> Result<(), Error> {
        let mut running = self.channel.start("exec sh /lab/seeds", b"")?;
        let record = Arc::clone(&self.record);
        thread::spawn(move || {
            // It ends with the lab; only its complaints are of interest.
            loop {
                match running.next(Duration::MAX) {
                    Next::Event(Event::Err(bytes)) => record.bytes("seeds", &bytes),
                    Next::Event(Event::End(_)) | Next::Gone => return,
                    Next::Event(Event::Out(_)) | Next::Nothing => {}
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
            if guest
                .shutdowns
                .iter()
                .any(|known| known.domain == shutdown.domain)
            {
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
