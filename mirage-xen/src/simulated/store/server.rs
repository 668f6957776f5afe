//! What xenstored does with a request: the operations, transactions, watches and quotas (docs/misc/xenstore.txt).

use std::borrow::ToOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::message::*;
use super::tree::{Caller, Node, Permission, Tree, is_at_or_below, parent};
use crate::abi::{DomainId, XenError};
use crate::simulated::backend::BackendId;

/// How much of xenstored's a domain may have. The defaults are those of Xen 4.17.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreQuota {
    /// Keys that it owns: 1,000.
    pub nodes: usize,
    /// Bytes of a key's value: 2,048.
    pub value: usize,
    /// Watches: 128.
    pub watches: usize,
    /// Transactions at a time: 10.
    pub transactions: usize,
    /// Entries of a key's list of permissions: 5.
    pub permissions: usize,
}

impl StoreQuota {
    /// Xen's.
    pub const DEFAULT: Self = Self {
        nodes: 1_000,
        value: 2_048,
        watches: 128,
        transactions: 10,
        permissions: 5,
    };
}

impl Default for StoreQuota {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The tree, and what the domain under test has of it.
pub(super) struct Server {
    pub(super) tree: Tree,
    pub(super) domain: DomainId,
    pub(super) quota: StoreQuota,
    pub(super) watches: Vec<Watch>,
    pub(super) transactions: BTreeMap<u32, Transaction>,
    last_transaction: u32,
    /// Watch events that are to be sent.
    pub(super) events: Vec<Message>,
    /// Backends that watch a path.
    observers: Vec<(String, BackendId)>,
    /// Those of them that have something to look at.
    pub(super) woken: BTreeSet<BackendId>,
}

pub(super) struct Watch {
    /// Absolute.
    path: String,
    /// As it was given, and so as events name it.
    given: String,
    token: Vec<u8>,
    depth: Option<usize>,
}

pub(super) struct Transaction {
    /// The tree when it began.
    base: Tree,
    /// And with what was done in it.
    view: Tree,
    /// The keys that it looked at.
    accessed: BTreeSet<String>,
    changes: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(String, Vec<u8>),
    Make(String),
    Remove(String),
    SetPermissions(String, Vec<Permission>),
}

impl Change {
    fn path(&self) -> &str {
        match self {
            Self::Write(path, _)
            | Self::Make(path)
            | Self::Remove(path)
            | Self::SetPermissions(path, _) => path,
        }
    }
}

/// A request's payload in answer.
type Answer = Result<Vec<u8>, XenError>;

fn ok() -> Answer {
    Ok(b"OK\0".to_vec())
}

impl Server {
    pub(super) fn new(domain: DomainId, quota: StoreQuota) -> Self {
        Self {
            tree: Tree::new(),
            domain,
            quota,
            watches: Vec::new(),
            transactions: BTreeMap::new(),
            last_transaction: 0,
            events: Vec::new(),
            observers: Vec::new(),
            woken: BTreeSet::new(),
        }
    }

    /// The domain's connection is gone, with all that it had.
    pub(super) fn disconnect(&mut self, domain: DomainId) {
        self.watches.clear();
        self.transactions.clear();
        self.events.clear();
        self.domain = domain;
    }

    /// Wakes a backend at each change of `path` and below it.
    pub(super) fn observe(&mut self, path: &str, backend: BackendId) {
        self.observers.push((path.to_owned(), backend));
    }

    /// No more.
    pub(super) fn forget(&mut self, backend: BackendId) {
        self.observers.retain(|(_, of)| *of != backend);
    }

    /// The domain's request, answered. Watch events that it caused are in `events` afterwards.
    pub(super) fn handle(&mut self, request: &Message) -> Message {
        let answer = match request.kind {
            XS_READ => self.read(request),
            XS_WRITE => self.write(request),
            XS_MKDIR => self.make(request),
            XS_RM => self.remove(request),
            XS_DIRECTORY => self.directory(request),
            XS_DIRECTORY_PART => self.directory_part(request),
            XS_GET_PERMS => self.permissions(request),
            XS_SET_PERMS => self.set_permissions(request),
            XS_WATCH => self.watch(request),
            XS_UNWATCH => self.unwatch(request),
            XS_RESET_WATCHES => {
                self.watches.clear();
                self.transactions.clear();
                ok()
            }
            XS_TRANSACTION_START => self.start(request),
            XS_TRANSACTION_END => self.end(request),
            XS_GET_DOMAIN_PATH => {
                number(&request.payload).map(|of| format!("/local/domain/{of}\0").into_bytes())
            }
            XS_IS_DOMAIN_INTRODUCED => number(&request.payload).map(|of| {
                let is = of == 0 || of == self.domain.0;
                if is { b"T\0".to_vec() } else { b"F\0".to_vec() }
            }),
            XS_CONTROL | XS_INTRODUCE | XS_RELEASE | XS_RESUME | XS_SET_TARGET => {
                Err(XenError::AccessDenied)
            }
            _ => Err(XenError::NotImplemented),
        };
        match answer {
            Ok(payload) => request.reply(payload),
            Err(error) => request.error(error),
        }
    }

    fn caller(&self) -> Caller {
        Caller::Domain(self.domain)
    }

    fn path(&self, given: &[u8]) -> Result<String, XenError> {
        absolute(given, self.domain)
    }

    /// The tree as the request sees it: its transaction's, which notes that it looked at `path`.
    fn view(&mut self, request: &Message, path: &str) -> Result<&Tree, XenError> {
        if request.transaction == 0 {
            return Ok(&self.tree);
        }
        let transaction = self.transactions.get_mut(&request.transaction);
        let transaction = transaction.ok_or(XenError::NotFound)?;
        transaction.accessed.insert(path.to_owned());
        Ok(&transaction.view)
    }

    fn readable(&mut self, request: &Message, path: &str) -> Result<&Node, XenError> {
        let caller = self.caller();
        self.view(request, path)?.readable(path, caller)
    }

    fn read(&mut self, request: &Message) -> Answer {
        let path = self.path(string(&request.payload)?)?;
        Ok(self.readable(request, &path)?.value.clone())
    }

    fn list(&mut self, request: &Message, path: &str) -> Result<(u64, Vec<u8>), XenError> {
        let generation = self.readable(request, path)?.generation;
        let mut list = Vec::new();
        for name in self.view(request, path)?.children(path) {
            list.extend_from_slice(name.as_bytes());
            list.push(0);
        }
        Ok((generation, list))
    }

    fn directory(&mut self, request: &Message) -> Answer {
        let path = self.path(string(&request.payload)?)?;
        let (_, list) = self.list(request, &path)?;
        if list.len() > XENSTORE_PAYLOAD_MAX {
            return Err(XenError::TooBig);
        }
        Ok(list)
    }

    fn directory_part(&mut self, request: &Message) -> Answer {
        let [path, offset] = strings(&request.payload)?[..] else {
            return Err(XenError::Invalid);
        };
        let (path, offset) = (self.path(path)?, decimal::<usize>(offset)?);
        let (generation, list) = self.list(request, &path)?;
        let mut answer = format!("{generation}\0").into_bytes();
        let rest = list.get(offset..).unwrap_or_default();
        // Whole names, as many as fit before the empty one that says that there are no more.
        let room = XENSTORE_PAYLOAD_MAX - answer.len() - 1;
        let fits = if rest.len() <= room {
            rest.len()
        } else {
            let last = rest[..room].iter().rposition(|byte| *byte == 0);
            last.map_or(0, |nul| nul + 1)
        };
        answer.extend_from_slice(&rest[..fits]);
        if fits == rest.len() {
            answer.push(0);
        }
        Ok(answer)
    }

    fn permissions(&mut self, request: &Message) -> Answer {
        let path = self.path(string(&request.payload)?)?;
        let node = self.readable(request, &path)?;
        let mut answer = Vec::new();
        for permission in &node.permissions {
            answer.extend_from_slice(permission.to_text().as_bytes());
            answer.push(0);
        }
        Ok(answer)
    }

    fn write(&mut self, request: &Message) -> Answer {
        let payload = &request.payload;
        let end = payload.iter().position(|byte| *byte == 0);
        let (path, value) = payload.split_at(end.ok_or(XenError::Invalid)?);
        let (path, value) = (self.path(path)?, &value[1..]);
        if value.len() > self.quota.value {
            return Err(XenError::NoSpace);
        }
        self.change(request, Change::Write(path, value.to_vec()))
    }

    fn make(&mut self, request: &Message) -> Answer {
        let path = self.path(string(&request.payload)?)?;
        self.change(request, Change::Make(path))
    }

    fn remove(&mut self, request: &Message) -> Answer {
        let path = self.path(string(&request.payload)?)?;
        if path == "/" {
            return Err(XenError::Invalid);
        }
        let view = self.view(request, &path)?;
        if view.get(&path).is_none() {
            // It is no error where only the last part of the path is missing.
            return match view.get(&parent(&path)) {
                Some(_) => ok(),
                None => Err(XenError::NotFound),
            };
        }
        self.change(request, Change::Remove(path))
    }

    fn set_permissions(&mut self, request: &Message) -> Answer {
        let strings = strings(&request.payload)?;
        let (path, list) = strings.split_first().ok_or(XenError::Invalid)?;
        let path = self.path(path)?;
        let parse = |text: &&[u8]| Permission::parse(core::str::from_utf8(text).ok()?);
        let list: Option<Vec<Permission>> = list.iter().map(parse).collect();
        let list = list.filter(|list| !list.is_empty());
        let list = list.ok_or(XenError::Invalid)?;
        if list.len() > self.quota.permissions {
            return Err(XenError::NoSpace);
        }
        let caller = self.caller();
        self.view(request, &path)?.check_owner(&path, caller)?;
        // Only dom0 gives a key away.
        if list[0].domain != self.domain {
            return Err(XenError::NotPermitted);
        }
        self.change(request, Change::SetPermissions(path, list))
    }

    /// Does it: in the request's transaction, or at once, which fires watches.
    fn change(&mut self, request: &Message, change: Change) -> Answer {
        let (caller, quota, domain) = (self.caller(), self.quota, self.domain);
        let path = change.path().to_owned();
        let view = self.view(request, &path)?;
        let exists = view.get(&path).is_some();
        view.check_write(&path, caller)?;
        if !exists && view.owned(domain) >= quota.nodes {
            return Err(XenError::NoSpace);
        }
        if request.transaction == 0 {
            self.apply(change, caller);
        } else if let Some(transaction) = self.transactions.get_mut(&request.transaction) {
            if !exists || matches!(change, Change::Remove(_)) {
                transaction.accessed.insert(parent(&path));
            }
            apply(&mut transaction.view, &change, caller);
            transaction.changes.push(change);
        }
        ok()
    }

    fn apply(&mut self, change: Change, caller: Caller) {
        for (path, exact) in apply(&mut self.tree, &change, caller) {
            self.fire(&path, exact);
        }
    }

    /// A change by the toolstack, a backend or the test.
    pub(super) fn write_privileged(&mut self, path: &str, value: &[u8]) {
        let change = Change::Write(path.to_owned(), value.to_vec());
        self.apply(change, Caller::Privileged);
    }

    pub(super) fn remove_privileged(&mut self, path: &str) {
        self.apply(Change::Remove(path.to_owned()), Caller::Privileged);
    }

    pub(super) fn set_permissions_privileged(&mut self, path: &str, list: &[Permission]) {
        let change = Change::SetPermissions(path.to_owned(), list.to_vec());
        self.apply(change, Caller::Privileged);
    }

    /// Fires the watches of a path that changed: those of it and those above; `exact`: only those of it.
    pub(super) fn fire(&mut self, path: &str, exact: bool) {
        let caller = Caller::Domain(self.domain);
        let is_readable = match self.tree.readable(path, caller) {
            Ok(_) | Err(XenError::NotFound) => true,
            Err(_) => self.tree.get(path).is_none(),
        };
        for watch in &self.watches {
            let matches = watch.path == path
                || (!exact
                    && is_at_or_below(path, &watch.path)
                    && watch
                        .depth
                        .is_none_or(|most| depth(path, &watch.path) <= most));
            if matches && is_readable {
                self.events.push(watch.event(path));
            }
        }
        for (observed, backend) in &self.observers {
            if is_at_or_below(path, observed) || is_at_or_below(observed, path) {
                self.woken.insert(*backend);
            }
        }
    }

    /// An event of the watch with this number, without a change.
    pub(super) fn event_of(&self, index: usize) -> Option<Message> {
        let watch = self.watches.get(index)?;
        Some(watch.event(&watch.path))
    }

    fn watch(&mut self, request: &Message) -> Answer {
        let strings = strings(&request.payload)?;
        let (given, token, most) = match strings[..] {
            [given, token] => (given, token, None),
            [given, token, most] => (given, token, Some(decimal(most)?)),
            _ => return Err(XenError::Invalid),
        };
        let path = if given.starts_with(b"@") {
            String::from_utf8_lossy(given).into_owned()
        } else {
            self.path(given)?
        };
        let watch = Watch {
            path,
            given: String::from_utf8_lossy(given).into_owned(),
            token: token.to_vec(),
            depth: most,
        };
        let same = |other: &Watch| other.path == watch.path && other.token == watch.token;
        if self.watches.iter().any(same) {
            return Err(XenError::Exists);
        }
        if self.watches.len() >= self.quota.watches {
            return Err(XenError::TooBig);
        }
        // Each is fired once straight away.
        self.events.push(watch.event(&watch.path));
        self.watches.push(watch);
        ok()
    }

    fn unwatch(&mut self, request: &Message) -> Answer {
        let [given, token] = strings(&request.payload)?[..] else {
            return Err(XenError::Invalid);
        };
        let same = |of: &Watch| of.given.as_bytes() == given && of.token == token;
        let found = self.watches.iter().position(same);
        self.watches.remove(found.ok_or(XenError::NotFound)?);
        ok()
    }

    fn start(&mut self, request: &Message) -> Answer {
        if request.transaction != 0 {
            return Err(XenError::Busy);
        }
        if self.transactions.len() >= self.quota.transactions {
            return Err(XenError::NoSpace);
        }
        self.last_transaction = self.last_transaction.wrapping_add(1).max(1);
        let id = self.last_transaction;
        let transaction = Transaction {
            base: self.tree.clone(),
            view: self.tree.clone(),
            accessed: BTreeSet::new(),
            changes: Vec::new(),
        };
        self.transactions.insert(id, transaction);
        Ok((id.to_string() + "\0").into_bytes())
    }

    fn end(&mut self, request: &Message) -> Answer {
        let commit = match &request.payload[..] {
            b"T\0" => true,
            b"F\0" => false,
            _ => return Err(XenError::Invalid),
        };
        let transaction = self.transactions.remove(&request.transaction);
        let transaction = transaction.ok_or(XenError::NotFound)?;
        if !commit {
            return ok();
        }
        let generation = |tree: &Tree, path: &str| tree.get(path).map(|node| node.generation);
        let conflicts =
            |path: &String| generation(&self.tree, path) != generation(&transaction.base, path);
        if transaction.accessed.iter().any(conflicts) {
            return Err(XenError::TryAgain);
        }
        let caller = self.caller();
        for change in transaction.changes {
            self.apply(change, caller);
        }
        ok()
    }
}

impl Watch {
    fn event(&self, path: &str) -> Message {
        // A relative watch hears relative paths.
        let below = path.strip_prefix(&*self.path).unwrap_or_default();
        let payload = [
            self.given.as_bytes(),
            below.as_bytes(),
            b"\0",
            &self.token,
            b"\0",
        ];
        Message {
            kind: XS_WATCH_EVENT,
            id: 0,
            transaction: 0,
            payload: payload.concat(),
        }
    }
}

/// Does it; says which paths changed, and whether only their own watches fire.
fn apply(tree: &mut Tree, change: &Change, caller: Caller) -> Vec<(String, bool)> {
    let path = change.path().to_owned();
    match change {
        Change::Write(_, value) => tree.write(&path, value, caller),
        Change::Make(_) => {
            if !tree.make(&path, caller) {
                return Vec::new();
            }
        }
        Change::SetPermissions(_, list) => tree.set_permissions(&path, list),
        Change::Remove(_) => {
            let gone = tree.remove(&path);
            return gone
                .into_iter()
                .map(|of| {
                    let below = of != path;
                    (of, below)
                })
                .collect();
        }
    }
    [(path, false)].into()
}

/// How many levels `path` is below `above`.
fn depth(path: &str, above: &str) -> usize {
    let below = path.strip_prefix(above).unwrap_or_default();
    below.bytes().filter(|byte| *byte == b'/').count()
}

fn decimal<T: core::str::FromStr>(text: &[u8]) -> Result<T, XenError> {
    let text = core::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or(XenError::Invalid)
}

/// A payload that is a domain's number.
fn number(payload: &[u8]) -> Result<u16, XenError> {
    decimal(string(payload)?)
}
