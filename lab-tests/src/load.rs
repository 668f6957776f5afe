//! Questions at a steady rate, each with what became of it.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mirage_dns::client::Query;
use mirage_dns::name::NameBuf;
use mirage_dns::record::RecordType;

use crate::Failure;

/// Time from one question to the next.
const INTERVAL: Duration = Duration::from_millis(20);

/// How long the last answers are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// When it was sent.
    pub(crate) at: Instant,
    /// Whether it was answered.
    pub(crate) answered: bool,
}

/// What who waits for answers and who asks tell each other.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// No more questions.
    stop: AtomicBool,
    /// When the latest question was sent that has its answer.
    answered: Mutex<Option<Instant>>,
}

impl Progress {
    /// Ends the asking.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// When the latest question was sent that has its answer.
    pub(crate) fn answered(&self) -> Option<Instant> {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_answer(&self, at: Instant) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        *answered = (*answered).max(Some(at));
    }
}

/// Asks until it is told to stop; gives every question in order.
pub(crate) fn ask(server: SocketAddr, progress: &Progress) -> Result<Vec<Asked>, Failure> {
    let name = NameBuf::from_text("www.example.org").map_err(|error| error.to_string())?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    let mut asked: Vec<Asked> = Vec::new();
    // The question that has this identifier.
    let mut numbers: HashMap<u16, usize> = HashMap::new();
    let mut buffer = [0; 1500];
    let mut end = None;
    loop {
        let now = Instant::now();
        if end.is_none() && progress.stop.load(Ordering::Relaxed) {
            end = Some(now + PATIENCE);
        }
        match end {
            Some(end) if now >= end || asked.iter().all(|asked| asked.answered) => {
                return Ok(asked);
            }
            Some(_) => {}
            None => {
                let id = asked.len() as u16;
                let query = Query::new(id, name.as_name(), RecordType::A);
                let length = query
                    .write(&mut buffer)
                    .map_err(|error| error.to_string())?;
                // One that can't be sent (nobody answers ARP) is one that isn't answered.
                let _ = socket.send(&buffer[..length]);
                numbers.insert(id, asked.len());
                asked.push(Asked {
                    at: now,
                    answered: false,
                });
            }
        }
        while let Ok(length) = socket.recv(&mut buffer) {
            let Some(id) = buffer.get(..2).filter(|_| length >= 12) else {
                continue;
            };
            let id = u16::from_be_bytes([id[0], id[1]]);
            let query = Query::new(id, name.as_name(), RecordType::A);
            if query.accept(&buffer[..length]).is_ok()
                && let Some(number) = numbers.get(&id)
            {
                asked[*number].answered = true;
                progress.has_answer(asked[*number].at);
            }
        }
        thread::sleep(INTERVAL.saturating_sub(now.elapsed()));
    }
}
