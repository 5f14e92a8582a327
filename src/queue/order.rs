//! In which order items come out.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

/// Holds the items of a queue.
pub(super) trait Order {
    type Item;

    /// The item is in, even if a comparison panics.
    fn push(&mut self, item: Self::Item);

    /// One item is out, even if a comparison panics.
    fn pop(&mut self) -> Option<Self::Item>;

    /// All items, in any order and without comparing them.
    fn take(&mut self) -> Vec<Self::Item>;
}

/// First in, first out.
pub(super) struct Fifo<T>(VecDeque<T>);

impl<T> Default for Fifo<T> {
    fn default() -> Fifo<T> {
        Fifo(VecDeque::new())
    }
}

impl<T> Order for Fifo<T> {
    type Item = T;

    fn push(&mut self, item: T) {
        self.0.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.0).into()
    }
}

/// Last in, first out.
pub(super) struct Lifo<T>(Vec<T>);

impl<T> Default for Lifo<T> {
    fn default() -> Lifo<T> {
        Lifo(Vec::new())
    }
}

impl<T> Order for Lifo<T> {
    type Item = T;

    fn push(&mut self, item: T) {
        self.0.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.0)
    }
}

/// The least first, and of equal ones that which came first.
pub(super) struct Priority<T> {
    heap: BinaryHeap<Entry<T>>,
    entries_count: u64,
}

impl<T: Ord> Default for Priority<T> {
    fn default() -> Priority<T> {
        Priority { heap: BinaryHeap::new(), entries_count: 0 }
    }
}

impl<T: Ord> Order for Priority<T> {
    type Item = T;

    fn push(&mut self, item: T) {
        self.entries_count += 1;
        self.heap.push(Entry { item, number: self.entries_count });
    }

    fn pop(&mut self) -> Option<T> {
        self.heap.pop().map(|entry| entry.item)
    }

    fn take(&mut self) -> Vec<T> {
        let entries = std::mem::take(&mut self.heap).into_vec();
        entries.into_iter().map(|entry| entry.item).collect()
    }
}

/// The greatest entry is the least item.
struct Entry<T> {
    item: T,
    number: u64,
}

impl<T: Ord> Ord for Entry<T> {
    fn cmp(&self, other: &Entry<T>) -> Ordering {
        other.item.cmp(&self.item).then(other.number.cmp(&self.number))
    }
}

impl<T: Ord> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Entry<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Entry<T> {
    fn eq(&self, other: &Entry<T>) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T: Ord> Eq for Entry<T> {}
