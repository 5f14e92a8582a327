//! The other orders: the last first, and the least first.

use std::cell::Cell;
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};

use corio::queue::{LifoQueue, PriorityQueue, Shutdown, TryGetError};

use crate::hand::{now, waiting};

#[corio::test]
fn a_stack_gives_the_last_first() {
    let stack = LifoQueue::new(0);
    [1, 3, 2].into_iter().for_each(|number| stack.try_put(number).unwrap());
    let got: Vec<_> = (0..3).map(|_| stack.try_get().unwrap()).collect();
    assert_eq!(got, [2, 3, 1]);
}

#[corio::test]
fn a_priority_queue_gives_the_least_first_and_equals_in_their_order() {
    #[derive(Debug)]
    struct Entry(u8, char);
    impl PartialEq for Entry {
        fn eq(&self, other: &Entry) -> bool {
            self.0 == other.0
        }
    }
    impl Eq for Entry {}
    impl PartialOrd for Entry {
        fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Entry {
        fn cmp(&self, other: &Entry) -> Ordering {
            self.0.cmp(&other.0)
        }
    }
    let queue = PriorityQueue::new(0);
    for (number, letter) in [(2, 'c'), (1, 'a'), (2, 'd'), (1, 'b'), (2, 'e')] {
        queue.try_put(Entry(number, letter)).unwrap();
    }
    let got: String = (0..5).map(|_| queue.try_get().unwrap().1).collect();
    assert_eq!(got, "abcde");
}

#[corio::test]
fn a_getter_gets_the_least_there_is_when_it_runs() {
    let queue = PriorityQueue::new(0);
    let mut getter = waiting(queue.get());
    queue.try_put(3).unwrap();
    queue.try_put(1).unwrap();
    assert_eq!(queue.try_get(), Ok(1), "one of the two was promised to nobody");
    queue.try_put(2).unwrap();
    assert_eq!(getter.woken(), Ok(2));
    assert_eq!(queue.try_get(), Ok(3));
}

#[corio::test]
fn the_other_orders_wait_join_and_shut_down_alike() {
    let stack = LifoQueue::new(1);
    now(stack.put(1)).unwrap();
    let mut putter = waiting(stack.put(2));
    assert_eq!(now(stack.get()), Ok(1));
    putter.woken().unwrap();
    let mut join = waiting(stack.join());
    stack.shutdown(Shutdown::Immediate);
    assert_eq!(join.wakes(), 0, "the first item is not done");
    stack.task_done().unwrap();
    join.woken();

    let queue = PriorityQueue::new(2);
    now(queue.reserve()).unwrap().put(2).unwrap();
    queue.try_put(1).unwrap();
    queue.shutdown(Shutdown::Graceful);
    assert_eq!((now(queue.get()), queue.try_get()), (Ok(1), Ok(2)));
    assert_eq!(queue.try_get(), Err(TryGetError::ShutDown));
}

#[corio::test]
fn a_comparison_that_panics_leaves_the_queue_in_order() {
    thread_local! {
        static PANICS: Cell<bool> = const { Cell::new(false) };
    }
    #[derive(PartialEq, Eq, Debug)]
    struct Touchy(u8);
    impl PartialOrd for Touchy {
        fn partial_cmp(&self, other: &Touchy) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Touchy {
        fn cmp(&self, other: &Touchy) -> Ordering {
            assert!(!PANICS.get(), "on purpose");
            self.0.cmp(&other.0)
        }
    }
    let queue = PriorityQueue::new(0);
    queue.try_put(Touchy(5)).unwrap();
    PANICS.set(true);
    assert!(catch_unwind(AssertUnwindSafe(|| queue.try_put(Touchy(1)))).is_err());
    PANICS.set(false);
    assert_eq!(queue.len(), 2);
    assert!(queue.try_get().is_ok() && queue.try_get().is_ok());
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));

    (0..4).for_each(|number| queue.try_put(Touchy(number)).unwrap());
    PANICS.set(true);
    assert!(catch_unwind(AssertUnwindSafe(|| queue.try_get())).is_err());
    PANICS.set(false);
    assert_eq!(queue.len(), 3);
    PANICS.set(true);
    queue.shutdown(Shutdown::Immediate);
    assert_eq!(queue.len(), 0);
}
