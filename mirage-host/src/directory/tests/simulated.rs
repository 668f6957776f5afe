//! A file system whose machine may stop before any step.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use mirage_core::doubles::SplitMix64;

use super::super::DirectoryError;
use super::super::files::{FileKind, Files, parent};

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Directory,
    File(Vec<u8>),
}

/// A step that changes names. Steps that were not flushed are lost in a crash, the last ones first (a journalling file system).
#[derive(Clone, Debug)]
enum Step {
    /// Its content was flushed when it was made.
    Create(String, Vec<u8>),
    Rename(String, String),
    Remove(String),
    MakeDirectory(String),
}

impl Step {
    fn concerns(&self, directory: &str) -> bool {
        match self {
            Step::Create(path, _) | Step::Remove(path) | Step::MakeDirectory(path) => {
                parent(path) == directory
            }
            Step::Rename(from, to) => parent(from) == directory || parent(to) == directory,
        }
    }

    fn apply(&self, nodes: &mut BTreeMap<String, Node>) {
        match self {
            Step::Create(path, content) => {
                nodes.insert(path.clone(), Node::File(content.clone()));
            }
            Step::Rename(from, to) => {
                let node = nodes.remove(from).expect("a name to change");
                nodes.insert(to.clone(), node);
            }
            Step::Remove(path) => {
                nodes.remove(path).expect("a name to remove");
            }
            Step::MakeDirectory(path) => {
                nodes.insert(path.clone(), Node::Directory);
            }
        }
    }
}

/// A disk in memory: what is on the medium, and what is only on its way there.
#[derive(Debug, Default)]
pub(super) struct SimulatedDisk {
    medium: RefCell<BTreeMap<String, Node>>,
    pending: RefCell<Vec<Step>>,
    /// Steps that are done before the machine stops.
    left: Cell<Option<u64>>,
    steps: Cell<u64>,
    flushes: Cell<u64>,
}

impl SimulatedDisk {
    pub(super) fn of(nodes: BTreeMap<String, Node>) -> Self {
        Self {
            medium: RefCell::new(nodes),
            ..Self::default()
        }
    }

    pub(super) fn stop_after(&self, steps: u64) {
        self.left.set(Some(steps));
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    pub(super) fn flushes(&self) -> u64 {
        self.flushes.get()
    }

    /// What a machine that starts again may find: all that was flushed, and as much of the rest as `rng` says.
    pub(super) fn after_crash(&self, rng: &mut SplitMix64) -> BTreeMap<String, Node> {
        let mut nodes = self.medium.borrow().clone();
        let pending = self.pending.borrow();
        let kept = rng.below(pending.len() as u64 + 1);
        for step in pending.iter().take(kept as usize) {
            step.apply(&mut nodes);
        }
        nodes
    }

    /// What is seen as long as nothing crashes.
    pub(super) fn seen(&self) -> BTreeMap<String, Node> {
        let mut nodes = self.medium.borrow().clone();
        for step in self.pending.borrow().iter() {
            step.apply(&mut nodes);
        }
        nodes
    }

    /// One step more; says whether the machine still runs.
    fn step(&self) -> Result<(), DirectoryError> {
        self.steps.set(self.steps.get() + 1);
        match self.left.get() {
            Some(0) => Err(refused(rustix::io::Errno::IO)),
            left => {
                self.left.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }

    fn push(&self, step: Step) {
        // The directory has to be there.
        let (Step::Create(path, _)
        | Step::Remove(path)
        | Step::MakeDirectory(path)
        | Step::Rename(_, path)) = &step;
        let directory = parent(path);
        if !directory.is_empty() {
            assert_eq!(
                self.seen().get(directory),
                Some(&Node::Directory),
                "{step:?}"
            );
        }
        self.pending.borrow_mut().push(step);
    }
}

fn refused(error: rustix::io::Errno) -> DirectoryError {
    DirectoryError::system("simulate")(error)
}

impl Files for SimulatedDisk {
    fn kind(&self, path: &str) -> Result<Option<FileKind>, DirectoryError> {
        Ok(self.seen().get(path).map(|node| match node {
            Node::Directory => FileKind::Directory,
            Node::File(_) => FileKind::File,
        }))
    }

    fn read(
        &self,
        path: &str,
        offset: u64,
        length: usize,
    ) -> Result<Option<Vec<u8>>, DirectoryError> {
        Ok(match self.seen().get(path) {
            Some(Node::File(content)) => {
                let rest = content.get(offset as usize..).unwrap_or_default();
                Some(rest[..rest.len().min(length)].to_vec())
            }
            _ => None,
        })
    }

    fn list(&self, path: &str) -> Result<Vec<(String, FileKind)>, DirectoryError> {
        let seen = self.seen();
        let below = seen.iter().filter(|(other, _)| parent(other) == path);
        Ok(below
            .map(|(other, node)| {
                let name = other.rsplit('/').next().unwrap_or(other);
                let kind = match node {
                    Node::Directory => FileKind::Directory,
                    Node::File(_) => FileKind::File,
                };
                (name.to_owned(), kind)
            })
            .collect())
    }

    fn create(&self, path: &str, content: &[u8]) -> Result<(), DirectoryError> {
        assert_ne!(self.seen().get(path), Some(&Node::Directory));
        if self.step().is_err() {
            // It stopped in the middle: a part of the content is there, if the name is.
            self.push(Step::Create(
                path.to_owned(),
                content[..content.len() / 2].to_vec(),
            ));
            return Err(refused(rustix::io::Errno::IO));
        }
        self.push(Step::Create(path.to_owned(), content.to_vec()));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DirectoryError> {
        self.step()?;
        assert!(matches!(self.seen().get(from), Some(Node::File(_))));
        assert_ne!(self.seen().get(to), Some(&Node::Directory));
        self.push(Step::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove_file(&self, path: &str) -> Result<(), DirectoryError> {
        self.step()?;
        assert!(matches!(self.seen().get(path), Some(Node::File(_))));
        self.push(Step::Remove(path.to_owned()));
        Ok(())
    }

    fn make_directory(&self, path: &str) -> Result<(), DirectoryError> {
        self.step()?;
        match self.seen().get(path) {
            None => self.push(Step::MakeDirectory(path.to_owned())),
            Some(Node::Directory) => {}
            Some(Node::File(_)) => panic!("a directory in place of a file"),
        }
        Ok(())
    }

    fn remove_directory(&self, path: &str) -> Result<bool, DirectoryError> {
        self.step()?;
        let empty = self.list(path)?.is_empty();
        if empty && self.seen().get(path) == Some(&Node::Directory) {
            self.push(Step::Remove(path.to_owned()));
            return Ok(true);
        }
        Ok(false)
    }

    fn sync_directory(&self, path: &str) -> Result<(), DirectoryError> {
        self.step()?;
        self.flushes.set(self.flushes.get() + 1);
        let mut pending = self.pending.borrow_mut();
        let last = pending.iter().rposition(|step| step.concerns(path));
        let flushed = last.map_or(0, |last| last + 1);
        for step in pending.drain(..flushed) {
            step.apply(&mut self.medium.borrow_mut());
        }
        Ok(())
    }
}
