//! Unfinished work: `join` ends when every item has been processed, not when it has been got.

use std::rc::Rc;

use corio::queue::{Item, Queue};

use crate::hand::{now, waiting};

#[corio::test]
fn an_empty_queue_is_joined_at_once() {
    now(Queue::<u8>::new(0).join());
}

#[corio::test]
fn a_join_ends_with_the_last_task_done() {
    let queue = Queue::new(0);
    queue.try_put(1).unwrap();
    queue.try_put(2).unwrap();
    let (mut join, mut other) = (waiting(queue.join()), waiting(queue.join()));
    queue.try_get().unwrap();
    queue.try_get().unwrap();
    join.pending();
    queue.task_done().unwrap();
    join.pending();
    queue.task_done().unwrap();
    join.woken();
    other.woken();
    now(queue.join());
}

#[corio::test]
fn one_task_done_too_many_is_an_error() {
    let queue = Queue::new(0);
    let error = queue.task_done().unwrap_err();
    assert!(error.to_string().contains("too many times"), "{error}");
    queue.try_put(1).unwrap();
    queue.task_done().unwrap();
    assert!(queue.task_done().is_err());
}

#[corio::test]
fn work_put_while_a_join_waits_is_waited_for_too() {
    let queue = Queue::new(0);
    queue.try_put(1).unwrap();
    let mut join = waiting(queue.join());
    queue.try_put(2).unwrap();
    queue.task_done().unwrap();
    join.pending();
    queue.task_done().unwrap();
    queue.try_put(3).unwrap();
    join.woken();
    waiting(queue.join());
}

#[corio::test]
fn a_tracked_item_is_done_when_it_is_dropped_or_taken_out() {
    let queue = Queue::new(0);
    (1..=3).for_each(|number| queue.try_put(number).unwrap());
    let mut join = waiting(queue.join());
    let mut first = now(queue.get_tracked()).unwrap();
    *first += 10;
    assert_eq!((*first, format!("{first:?}")), (11, "11".into()));
    drop(first);
    assert_eq!(Item::into_inner(now(queue.get_tracked()).unwrap()), 2);
    join.pending();
    let last = now(queue.get_tracked()).unwrap();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _last = last;
        panic!("on purpose");
    }));
    assert!(caught.is_err());
    join.woken();
}

#[corio::test]
fn a_tracked_item_outlives_its_queue_and_a_double_done_counts_once() {
    let queue = Queue::new(0);
    queue.try_put(Rc::new(1)).unwrap();
    let item = now(queue.get_tracked()).unwrap();
    queue.task_done().unwrap();
    drop(queue);
    assert_eq!(**item, 1);
    drop(item);
}

#[corio::test]
fn a_cancelled_tracked_get_is_not_done() {
    let queue = Queue::new(0);
    let getter = waiting(queue.get_tracked());
    queue.try_put(1).unwrap();
    drop(getter);
    let join = waiting(queue.join());
    assert_eq!(join.wakes(), 0);
    drop(now(queue.get_tracked()).unwrap());
    assert_eq!(join.wakes(), 1);
}
