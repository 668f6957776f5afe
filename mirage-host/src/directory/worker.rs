//! The thread that makes a store's changes, one after the other.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mirage_core::kv::{BatchError, Change, KvMutError};

use super::DirectoryError;
use super::disk::Disk;
use super::keeper::Keeper;
use crate::apart::{Outbox, place};

/// A [`Change`] that another thread can make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnedChange {
    Set { key: String, value: Vec<u8> },
    Remove { key: String },
    Rename { from: String, to: String },
}

impl From<&Change<'_>> for OwnedChange {
    fn from(change: &Change<'_>) -> Self {
        match *change {
            Change::Set { key, value } => Self::Set {
                key: key.as_str().to_owned(),
                value: value.to_owned(),
            },
            Change::Remove { key } => Self::Remove {
                key: key.as_str().to_owned(),
            },
            Change::Rename { from, to } => Self::Rename {
                from: from.as_str().to_owned(),
                to: to.as_str().to_owned(),
            },
        }
    }
}

type Done = Result<(), BatchError<DirectoryError>>;

struct Job {
    changes: Vec<OwnedChange>,
    done: Outbox<Done>,
}

/// The thread's other end. When it is dropped, the thread makes what it was given, and ends.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Option<Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(mut keeper: Keeper<Arc<Disk>>) -> Result<Self, DirectoryError> {
        let (jobs, queue): (_, Receiver<Job>) = channel();
        let thread = thread::Builder::new()
            .name("directory store".into())
            .spawn(move || {
                for job in queue {
                    let done = keeper.change(&job.changes);
                    job.done.put(Ok(done));
                }
            })
            .map_err(|error| DirectoryError::System {
                operation: "start the store's thread",
                error,
            })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// In the order in which this is called.
    pub(super) fn change(&self, changes: Vec<OwnedChange>) -> impl Future<Output = Done> + use<> {
        let (done, outcome) = place();
        let sent = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(Job { changes, done }).is_ok());
        async move {
            let gone = || {
                Err(BatchError {
                    change: None,
                    error: KvMutError::Store(DirectoryError::WorkerGone),
                })
            };
            if !sent {
                return gone();
            }
            outcome.await.unwrap_or_else(|_| gone())
        }
    }
}

impl Drop for Worker {
    /// Waits: whoever opens the directory next must find it unlocked, and all changes made.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been told to who waited.
            let _ = thread.join();
        }
    }
}
