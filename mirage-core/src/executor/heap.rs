//! A pairing heap of timers that links the timers' own nodes: exact order, no memory, removal anywhere.
//!
//! Insertion is O(1); taking the earliest or any other out is O(log n) amortised (Fredman, Sedgewick, Sleator, Tarjan,
//! "The pairing heap", 1986).

use core::cell::Cell;
use core::ptr;

use super::timers::Node;

/// Ordered by deadline, then by registration.
pub(super) struct Heap {
    root: Cell<*const Node>,
}

// All functions here are on nodes that are registered, hence pinned and alive (see `Node`), through shared references
// to cells, on one thread.

impl Heap {
    pub(super) const fn new() -> Self {
        Self {
            root: Cell::new(ptr::null()),
        }
    }

    /// The earliest node, null when there is none.
    pub(super) fn first(&self) -> *const Node {
        self.root.get()
    }

    /// # Safety
    ///
    /// `node` is alive, pinned, in no list, and stays alive until it is removed.
    pub(super) unsafe fn insert(&self, node: *const Node) {
        // SAFETY: the caller's promise.
        let links = unsafe { &*node };
        links.child.set(ptr::null());
        links.next.set(ptr::null());
        links.previous.set(ptr::null());
        // SAFETY: both are roots.
        self.root.set(unsafe { meld(self.root.get(), node) });
    }

    /// # Safety
    ///
    /// `node` is in this heap.
    pub(super) unsafe fn remove(&self, node: *const Node) {
        // SAFETY: nodes of a heap are alive, and so are those that they link to.
        unsafe {
            let links = &*node;
            let children = merge_children(links.child.replace(ptr::null()));
            if ptr::eq(self.root.get(), node) {
                self.root.set(children);
                return;
            }
            // Cut the node from its left sibling, or from its parent if it's the first child.
            let previous = &*links.previous.get().cast::<Node>();
            let next = links.next.get();
            if ptr::eq(previous.child.get(), node) {
                previous.child.set(next);
            } else {
                previous.next.set(next);
            }
            if let Some(next) = next.as_ref() {
                next.previous.set(links.previous.get());
            }
            self.root.set(meld(self.root.get(), children));
        }
    }
}

/// Joins two heaps; either may be empty.
///
/// # Safety
///
/// Both are null, or roots without siblings.
unsafe fn meld(a: *const Node, b: *const Node) -> *const Node {
    // SAFETY: the caller's promise.
    let (Some(left), Some(right)) = (unsafe { a.as_ref() }, unsafe { b.as_ref() }) else {
        return if a.is_null() { b } else { a };
    };
    let (parent, child) = if left.key() <= right.key() {
        (left, right)
    } else {
        (right, left)
    };
    let (parent_pointer, child_pointer) = if ptr::eq(parent, a) { (a, b) } else { (b, a) };
    let first = parent.child.get();
    child.next.set(first);
    child.previous.set(parent_pointer.cast());
    // SAFETY: children of a live node are alive.
    if let Some(first) = unsafe { first.as_ref() } {
        first.previous.set(child_pointer.cast());
    }
    parent.child.set(child_pointer);
    parent_pointer
}

/// Makes one heap of a list of siblings: pairs from left to right, then joins the pairs from right to left.
///
/// # Safety
///
/// `first` is null or the first of a list of siblings.
unsafe fn merge_children(first: *const Node) -> *const Node {
    let mut pairs: *const Node = ptr::null();
    let mut rest = first;
    // SAFETY: nodes of a heap are alive, and so are those that they link to.
    while let Some(left) = unsafe { rest.as_ref() } {
        let left_pointer = rest;
        let right_pointer = left.next.replace(ptr::null());
        left.previous.set(ptr::null());
        // SAFETY: as above.
        rest = match unsafe { right_pointer.as_ref() } {
            Some(right) => {
                right.previous.set(ptr::null());
                right.next.replace(ptr::null())
            }
            None => ptr::null(),
        };
        // SAFETY: both were just cut from their siblings. The winner of a meld has no siblings: its `next` is free to
        // chain the pairs.
        unsafe {
            let pair = meld(left_pointer, right_pointer);
            (*pair).next.set(pairs);
            pairs = pair;
        }
    }
    let mut root: *const Node = ptr::null();
    // SAFETY: as above.
    while let Some(pair) = unsafe { pairs.as_ref() } {
        let pair_pointer = pairs;
        pairs = pair.next.replace(ptr::null());
        // SAFETY: the pair was just cut from the chain.
        root = unsafe { meld(root, pair_pointer) };
    }
    root
}
