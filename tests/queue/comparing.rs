//! Comparisons of items are foreign code: what they and a dropped item do to the queue ends neither
//! the process nor the count.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};

use corio::queue::{PriorityQueue, Shutdown, TryPutError};

/// What an item does to its queue when it is compared, or dropped.
type Deed = fn(&PriorityQueue<Item>);

thread_local! {
    static QUEUE: RefCell<Option<PriorityQueue<Item>>> = const { RefCell::new(None) };
    static WHEN_COMPARED: Cell<Option<Deed>> = const { Cell::new(None) };
    static WHEN_DROPPED: Cell<Option<Deed>> = const { Cell::new(None) };
}

struct Item(u32);

fn commit(deed: Option<Deed>) {
    let queue = QUEUE.with_borrow(Clone::clone);
    if let (Some(deed), Some(queue)) = (deed, queue) {
        deed(&queue);
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        commit(WHEN_DROPPED.take());
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Item) -> bool {
        self.0 == other.0
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Item) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Item) -> Ordering {
        commit(WHEN_COMPARED.take());
        self.0.cmp(&other.0)
    }
}

fn queue_of(count: u32) -> PriorityQueue<Item> {
    let queue = PriorityQueue::new(0);
    for number in 0..count {
        assert!(queue.try_put(Item(number)).is_ok());
    }
    QUEUE.set(Some(queue.clone()));
    queue
}

/// Takes all items out, and says how many there were.
fn drain(queue: &PriorityQueue<Item>) -> usize {
    std::iter::from_fn(|| queue.try_get().ok()).count()
}

#[corio::test]
fn an_item_that_uses_the_queue_while_a_comparison_unwinds_ends_no_process() {
    let queue = queue_of(5);
    WHEN_COMPARED.set(Some(|_| panic!("no order among these")));
    WHEN_DROPPED.set(Some(|queue| assert!(queue.try_get().is_err(), "it is at work")));
    assert!(catch_unwind(AssertUnwindSafe(|| queue.try_get().is_ok())).is_err());
    assert_eq!((queue.len(), drain(&queue)), (4, 4));
}

#[corio::test]
fn a_comparison_that_puts_or_gets_finds_nothing_free_and_counts_nothing() {
    let queue = queue_of(3);
    WHEN_COMPARED.set(Some(|queue| {
        assert!(matches!(queue.try_put(Item(9)), Err(TryPutError::Full(_))));
    }));
    assert!(queue.try_put(Item(7)).is_ok());
    WHEN_COMPARED.set(Some(|queue| assert!(queue.try_get().is_err())));
    assert!(queue.try_put(Item(8)).is_ok());
    assert_eq!((queue.len(), drain(&queue)), (5, 5));
}

#[corio::test]
fn a_comparison_that_shuts_its_queue_down_leaves_nothing_in_it() {
    let queue = queue_of(3);
    WHEN_COMPARED.set(Some(|queue| queue.shutdown(Shutdown::Immediate)));
    let _ = queue.try_put(Item(7));
    assert!(queue.is_shut_down());
    assert_eq!((queue.len(), drain(&queue)), (0, 0));
}
