//! Shutting down: nobody waits for ever, and a graceful end loses no item.

use corio::queue::{Closed, Queue, ShutDown, Shutdown, TryGetError, TryPutError};

use crate::hand::{now, waiting};

#[corio::test]
fn nothing_can_be_put_into_a_queue_that_was_shut_down() {
    for how in [Shutdown::Graceful, Shutdown::Immediate] {
        let queue = Queue::new(1);
        assert!(!queue.is_shut_down());
        queue.shutdown(how);
        assert!(queue.is_shut_down());
        assert_eq!(now(queue.put(1)), Err(Closed(1)));
        assert_eq!(queue.try_put(2), Err(TryPutError::ShutDown(2)));
        assert_eq!(now(queue.reserve()).unwrap_err(), ShutDown);
        assert_eq!(now(queue.get()), Err(ShutDown));
        assert_eq!(queue.try_get(), Err(TryGetError::ShutDown));
        now(queue.join());
    }
}

#[corio::test]
fn a_graceful_shutdown_leaves_the_items_to_the_getters() {
    let queue = Queue::new(2);
    queue.try_put(1).unwrap();
    queue.try_put(2).unwrap();
    let mut putter = waiting(queue.put(3));
    let mut join = waiting(queue.join());
    queue.shutdown(Shutdown::Graceful);
    assert_eq!(putter.woken(), Err(Closed(3)));
    assert_eq!(queue.len(), 2);
    assert_eq!((now(queue.get()), queue.try_get()), (Ok(1), Ok(2)));
    assert_eq!(now(queue.get()), Err(ShutDown));
    join.pending();
    queue.task_done().unwrap();
    queue.task_done().unwrap();
    join.woken();
    assert!(queue.task_done().is_err());
}

#[corio::test]
fn an_immediate_shutdown_drops_the_items_and_counts_them_as_done() {
    let queue = Queue::new(0);
    queue.try_put(1).unwrap();
    queue.try_put(2).unwrap();
    assert_eq!(queue.try_get(), Ok(1));
    let mut join = waiting(queue.join());
    queue.shutdown(Shutdown::Immediate);
    assert!(queue.is_empty());
    assert_eq!(now(queue.get()), Err(ShutDown));
    join.pending();
    queue.task_done().unwrap();
    join.woken();
    assert!(queue.task_done().is_err());
}

#[corio::test]
fn an_immediate_shutdown_ends_a_join_for_items_nobody_got() {
    let queue = Queue::new(0);
    queue.try_put(1).unwrap();
    let mut join = waiting(queue.join());
    queue.shutdown(Shutdown::Immediate);
    join.woken();
    assert!(queue.task_done().is_err());
}

#[corio::test]
fn task_done_before_the_shutdown_is_not_counted_twice() {
    let queue = Queue::new(0);
    queue.try_put(1).unwrap();
    queue.try_put(2).unwrap();
    queue.task_done().unwrap();
    queue.shutdown(Shutdown::Immediate);
    now(queue.join());
    assert!(queue.task_done().is_err());
}

#[corio::test]
fn waiting_getters_and_putters_hear_of_the_shutdown() {
    for how in [Shutdown::Graceful, Shutdown::Immediate] {
        let queue = Queue::<u8>::new(1);
        let mut getters = [waiting(queue.get()), waiting(queue.get())];
        queue.shutdown(how);
        getters.iter_mut().for_each(|getter| assert_eq!(getter.woken(), Err(ShutDown)));

        let queue = Queue::new(1);
        queue.try_put(0).unwrap();
        let mut putters = [waiting(queue.put(1)), waiting(queue.put(2))];
        let mut reserving = waiting(queue.reserve());
        queue.shutdown(how);
        assert_eq!(putters[0].woken(), Err(Closed(1)));
        assert_eq!(putters[1].woken(), Err(Closed(2)));
        assert!(reserving.woken().is_err());
    }
}

#[corio::test]
fn a_woken_getter_keeps_its_item_in_a_graceful_shutdown_only() {
    let queue = Queue::new(0);
    let mut getter = waiting(queue.get());
    queue.try_put(1).unwrap();
    queue.shutdown(Shutdown::Graceful);
    let mut newcomer = waiting(queue.get());
    assert_eq!(queue.try_get(), Err(TryGetError::Empty), "promised, and it may be given up");
    assert_eq!(getter.woken(), Ok(1));
    assert_eq!(newcomer.woken(), Err(ShutDown));

    let queue = Queue::new(0);
    let mut getter = waiting(queue.get());
    let dropped = waiting(queue.get());
    queue.try_put(1).unwrap();
    queue.try_put(2).unwrap();
    queue.shutdown(Shutdown::Immediate);
    assert_eq!(getter.woken(), Err(ShutDown));
    drop(dropped);
    assert_eq!(now(queue.get()), Err(ShutDown));
}

#[corio::test]
fn an_item_given_up_by_a_woken_getter_survives_a_graceful_shutdown() {
    let queue = Queue::new(0);
    let getter = waiting(queue.get());
    queue.try_put(1).unwrap();
    queue.shutdown(Shutdown::Graceful);
    let mut newcomer = waiting(queue.get());
    drop(getter);
    assert_eq!(newcomer.woken(), Ok(1));
    assert_eq!(now(queue.get()), Err(ShutDown));
}

#[corio::test]
fn a_woken_putter_and_a_slot_are_refused_and_the_item_comes_back() {
    for how in [Shutdown::Graceful, Shutdown::Immediate] {
        let queue = Queue::new(2);
        let slot = now(queue.reserve()).unwrap();
        let given_up = now(queue.reserve()).unwrap();
        let mut putter = waiting(queue.put(2));
        let dropped = waiting(queue.reserve());
        drop(given_up);
        queue.shutdown(how);
        assert_eq!(slot.put(1), Err(Closed(1)));
        assert_eq!(putter.woken(), Err(Closed(2)));
        drop(dropped);
        assert!(queue.is_empty());
        now(queue.join());
    }
}

#[corio::test]
fn shutting_down_again_may_only_become_stricter() {
    let queue = Queue::new(0);
    queue.try_put(1).unwrap();
    queue.shutdown(Shutdown::Graceful);
    queue.shutdown(Shutdown::Graceful);
    assert_eq!(queue.len(), 1);
    queue.shutdown(Shutdown::Immediate);
    queue.shutdown(Shutdown::Graceful);
    assert_eq!(now(queue.get()), Err(ShutDown));
    now(queue.join());
}
