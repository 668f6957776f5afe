//! The tree of keys, and who may do what with them.

use std::borrow::ToOwned;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec::Vec;

use crate::abi::{DomainId, XenError};

/// All keys, by their absolute path.
#[derive(Clone)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    /// The number of the last change.
    generation: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Vec<u8>,
    /// The first is the owner, with what all others may do who aren't named after it.
    pub(super) permissions: Vec<Permission>,
    /// Of the last change to it, or to its list of children.
    pub(super) generation: u64,
}

/// What one domain may do with a key: an entry of its list (docs/misc/xenstore.txt, `SET_PERMS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Who.
    pub domain: DomainId,
    /// Whether it may read it.
    pub read: bool,
    /// Whether it may write it.
    pub write: bool,
}

impl Permission {
    /// Neither reads nor writes: what the owner's entry usually says of all others.
    pub const fn none(domain: DomainId) -> Self {
        Self {
            domain,
            read: false,
            write: false,
        }
    }

    /// Reads.
    pub const fn read(domain: DomainId) -> Self {
        Self {
            domain,
            read: true,
            write: false,
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let domain = DomainId(text.get(1..)?.parse().ok()?);
        let (read, write) = match text.as_bytes()[0] {
            b'n' => (false, false),
            b'r' => (true, false),
            b'w' => (false, true),
            b'b' => (true, true),
            _ => return None,
        };
        Some(Self {
            domain,
            read,
            write,
        })
    }

    pub(super) fn to_text(self) -> String {
        let letter = match (self.read, self.write) {
            (false, false) => 'n',
            (true, false) => 'r',
            (false, true) => 'w',
            (true, true) => 'b',
        };
        format!("{letter}{}", self.domain.0)
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// The toolstack, the test, a backend: may everything.
    Privileged,
    /// The domain under test.
    Domain(DomainId),
}

impl Tree {
    /// A root that belongs to dom0.
    pub(super) fn new() -> Self {
        let root = Node {
            value: Vec::new(),
            permissions: [Permission::none(DomainId::DOM0)].into(),
            generation: 0,
        };
        Self {
            nodes: [("/".to_owned(), root)].into(),
            generation: 0,
        }
    }

    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The names of a key's children.
    pub(super) fn children(&self, path: &str) -> Vec<String> {
        let prefix = prefix(path);
        let below = self.nodes.range(prefix.clone()..);
        below
            .take_while(|(of, _)| of.starts_with(&prefix))
            .map(|(of, _)| &of[prefix.len()..])
            .filter(|name| !name.is_empty() && !name.contains('/'))
            .map(ToOwned::to_owned)
            .collect()
    }

    /// How many keys belong to a domain.
    pub(super) fn owned(&self, domain: DomainId) -> usize {
        let all = self.nodes.values();
        all.filter(|node| {
            node.permissions
                .first()
                .is_some_and(|owner| owner.domain == domain)
        })
        .count()
    }

    /// A key that the caller may read.
    pub(super) fn readable(&self, path: &str, caller: Caller) -> Result<&Node, XenError> {
        match self.nodes.get(path) {
            Some(node) if node.permits(caller, |permission| permission.read) => Ok(node),
            Some(_) => Err(XenError::AccessDenied),
            // Who may not see the parent doesn't hear that there is nothing.
            None if self
                .nearest(path)
                .permits(caller, |permission| permission.read) =>
            {
                Err(XenError::NotFound)
            }
            None => Err(XenError::AccessDenied),
        }
    }

    /// Whether the caller may write a key, or make it where there is none.
    pub(super) fn check_write(&self, path: &str, caller: Caller) -> Result<(), XenError> {
        let at = self.nodes.get(path).unwrap_or_else(|| self.nearest(path));
        if at.permits(caller, |permission| permission.write) {
            Ok(())
        } else {
            Err(XenError::AccessDenied)
        }
    }

    /// Whether the caller owns a key.
    pub(super) fn check_owner(&self, path: &str, caller: Caller) -> Result<(), XenError> {
        let node = self.nodes.get(path).ok_or(XenError::NotFound)?;
        match caller {
            Caller::Privileged => Ok(()),
            Caller::Domain(domain) if node.owner() == domain => Ok(()),
            Caller::Domain(_) => Err(XenError::AccessDenied),
        }
    }

    /// Sets a value; makes the key, and those above it, where there are none.
    pub(super) fn write(&mut self, path: &str, value: &[u8], caller: Caller) {
        self.make(path, caller);
        self.generation += 1;
        if let Some(node) = self.nodes.get_mut(path) {
            node.value = value.to_vec();
            node.generation = self.generation;
        }
    }

    /// Makes a key without a value, and those above it, where there are none. Says whether it did.
    pub(super) fn make(&mut self, path: &str, caller: Caller) -> bool {
        if self.nodes.contains_key(path) {
            return false;
        }
        let parent = parent(path);
        self.make(&parent, caller);
        self.generation += 1;
        let mut permissions = self.nearest(path).permissions.clone();
        if let Caller::Domain(domain) = caller {
            // What an unprivileged domain makes is its own.
            permissions[0].domain = domain;
        }
        if let Some(above) = self.nodes.get_mut(&parent) {
            above.generation = self.generation;
        }
        let node = Node {
            value: Vec::new(),
            permissions,
            generation: self.generation,
        };
        self.nodes.insert(path.to_owned(), node);
        true
    }

    /// Removes a key and all below it; says which those were.
    pub(super) fn remove(&mut self, path: &str) -> Vec<String> {
        let below = prefix(path);
        let gone: Vec<String> = self
            .nodes
            .keys()
            .filter(|of| *of == path || of.starts_with(&below))
            .cloned()
            .collect();
        for of in &gone {
            self.nodes.remove(of);
        }
        if !gone.is_empty() {
            self.generation += 1;
            if let Some(above) = self.nodes.get_mut(&parent(path)) {
                above.generation = self.generation;
            }
        }
        gone
    }

    pub(super) fn set_permissions(&mut self, path: &str, permissions: &[Permission]) {
        self.generation += 1;
        if let Some(node) = self.nodes.get_mut(path) {
            node.permissions = permissions.to_vec();
            node.generation = self.generation;
        }
    }

    /// The nearest key above that there is.
    fn nearest(&self, path: &str) -> &Node {
        let mut at = parent(path);
        loop {
            match self.nodes.get(&at) {
                Some(node) => return node,
                None => at = parent(&at),
            }
        }
    }
}

impl Node {
    pub(super) fn owner(&self) -> DomainId {
        self.permissions[0].domain
    }

    fn permits(&self, caller: Caller, what: impl Fn(&Permission) -> bool) -> bool {
        let Caller::Domain(domain) = caller else {
            return true;
        };
        if self.owner() == domain {
            return true;
        }
        let named = self.permissions[1..].iter().find(|of| of.domain == domain);
        what(named.unwrap_or(&self.permissions[0]))
    }
}

/// The path of the key above; the root's is the root.
pub(super) fn parent(path: &str) -> String {
    match path.rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(end) => path[..end].to_owned(),
    }
}

/// What the paths of all keys below begin with.
pub(super) fn prefix(path: &str) -> String {
    if path == "/" {
        "/".to_owned()
    } else {
        format!("{path}/")
    }
}

/// Whether `path` is `of` or below it.
pub(super) fn is_at_or_below(path: &str, of: &str) -> bool {
    path == of || path.starts_with(&prefix(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: Caller = Caller::Domain(DomainId(5));

    #[test]
    fn children_are_those_right_below() {
        let mut tree = Tree::new();
        for path in ["/a/b/c", "/a/bb", "/a-b", "/a/b/d"] {
            tree.write(path, b"", Caller::Privileged);
        }
        assert_eq!(tree.children("/a"), ["b", "bb"]);
        assert_eq!(tree.children("/a/b"), ["c", "d"]);
        assert_eq!(tree.children("/"), ["a", "a-b"]);
        assert_eq!(tree.remove("/a/b").len(), 3);
        assert_eq!(tree.children("/a"), ["bb"]);
        assert!(tree.remove("/x").is_empty());
    }

    #[test]
    fn a_domain_owns_what_it_makes_and_reads_what_it_may() {
        let mut tree = Tree::new();
        tree.write("/d", b"", Caller::Privileged);
        assert_eq!(tree.check_write("/d/x", FIVE), Err(XenError::AccessDenied));
        assert_eq!(
            tree.readable("/d/x", FIVE).unwrap_err(),
            XenError::AccessDenied
        );
        let both = Permission::parse("b5").unwrap();
        tree.set_permissions("/d", &[Permission::none(DomainId(0)), both]);
        tree.check_write("/d/x/y", FIVE).unwrap();
        tree.write("/d/x/y", b"1", FIVE);
        assert_eq!(tree.get("/d/x").unwrap().owner(), DomainId(5));
        assert_eq!(tree.owned(DomainId(5)), 2);
        assert_eq!(tree.readable("/d/z", FIVE).unwrap_err(), XenError::NotFound);
        tree.check_owner("/d/x", FIVE).unwrap();
        assert_eq!(tree.check_owner("/d", FIVE), Err(XenError::AccessDenied));
    }

    #[test]
    fn permissions_go_both_ways() {
        for text in ["n0", "r5", "w7", "b65535"] {
            assert_eq!(Permission::parse(text).unwrap().to_text(), text);
        }
        for text in ["", "x1", "r", "r-1", "r65536", "rr"] {
            assert_eq!(Permission::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_change_below_changes_the_parents_generation() {
        let mut tree = Tree::new();
        tree.write("/a", b"", Caller::Privileged);
        let before = tree.get("/a").unwrap().generation;
        tree.write("/a/b", b"", Caller::Privileged);
        let after = tree.get("/a").unwrap().generation;
        assert_ne!(before, after);
        tree.write("/a/b", b"2", Caller::Privileged);
        assert_eq!(tree.get("/a").unwrap().generation, after);
        tree.remove("/a/b");
        assert_ne!(tree.get("/a").unwrap().generation, after);
    }
}
