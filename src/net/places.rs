//! The exact limit on a server's connections.

use std::cell::Cell;
use std::rc::Rc;

/// Places for connections, shared by the listeners of a server: what is accepted holds one, also in
/// an inbox, and so does each accept in flight.
pub(super) struct Places {
    max: usize,
    listener_count: usize,
    held: Cell<usize>,
    reserved: Cell<usize>,
}

impl Places {
    pub(super) fn new(max: usize, listener_count: usize) -> Rc<Places> {
        Rc::new(Places { max, listener_count, held: Cell::new(0), reserved: Cell::new(0) })
    }

    /// Places that are free to a listener which has reserved so many of them.
    pub(super) fn free_for(&self, own_reserved: usize) -> usize {
        let others = self.reserved.get() - own_reserved;
        self.max.saturating_sub(self.held.get() + others)
    }

    /// Whether several listeners share them.
    pub(super) fn are_shared(&self) -> bool {
        self.listener_count > 1
    }

    /// The accepts in flight of a listener have changed from so many places to so many.
    pub(super) fn reserve(&self, before: usize, after: usize) {
        self.reserved.set(self.reserved.get() - before + after);
    }

    /// A connection was accepted.
    pub(super) fn hold(&self) {
        self.held.set(self.held.get() + 1);
    }

    /// A connection has ended.
    pub(super) fn release(&self) {
        self.held.set(self.held.get() - 1);
    }
}
