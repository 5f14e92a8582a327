//! Putters and getters: who gets which item, who gets which place, and what a cancel leaves.

use std::cell::RefCell;
use std::rc::Rc;

use corio::queue::{Queue, ShutDown, Shutdown, TryGetError, TryPutError};
use futures_util::StreamExt;

use crate::hand::{hand, now, waiting};

#[corio::test]
fn what_was_put_is_got_in_its_order() {
    let queue = Queue::new(0);
    assert!(queue.is_empty());
    for number in [1, 3, 2] {
        now(queue.put(number)).unwrap();
    }
    assert_eq!((queue.len(), queue.is_empty(), queue.is_full()), (3, false, false));
    let got: Vec<_> = (0..3).map(|_| now(queue.get()).unwrap()).collect();
    assert_eq!(got, [1, 3, 2]);
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
}

#[corio::test]
fn a_full_queue_refuses_or_waits() {
    let queue = Queue::new(2);
    queue.try_put('a').unwrap();
    assert!(!queue.is_full());
    now(queue.put('b')).unwrap();
    assert!(queue.is_full());
    assert_eq!(queue.try_put('c'), Err(TryPutError::Full('c')));
    let mut putter = waiting(queue.put('c'));
    assert_eq!(queue.try_get(), Ok('a'));
    assert_eq!(queue.len(), 1, "the item is with its putter until that runs");
    putter.woken().unwrap();
    assert_eq!((queue.try_get(), queue.try_get()), (Ok('b'), Ok('c')));
    assert_eq!(queue.maxsize(), 2);
}

#[corio::test]
fn no_limit_is_never_full() {
    let queue = Queue::default();
    (0..10_000).for_each(|number| queue.try_put(number).unwrap());
    assert!(!queue.is_full());
    assert_eq!((queue.len(), queue.maxsize()), (10_000, 0));
    let huge = Queue::new(usize::MAX);
    huge.try_put(1).unwrap();
    assert!(!huge.is_full());
}

#[corio::test]
fn getters_are_served_first_come_first_served() {
    let queue = Queue::new(0);
    let mut unpolled = hand(queue.get());
    let (mut first, mut second) = (waiting(queue.get()), waiting(queue.get()));
    queue.try_put(1).unwrap();
    second.pending();
    unpolled.pending();
    assert_eq!(first.woken(), Ok(1));
    queue.try_put(2).unwrap();
    queue.try_put(3).unwrap();
    assert_eq!(second.woken(), Ok(2));
    assert_eq!(unpolled.woken(), Ok(3));
}

#[corio::test]
fn an_item_of_a_woken_getter_is_not_for_newcomers() {
    let queue = Queue::new(0);
    let mut getter = waiting(queue.get());
    queue.try_put(1).unwrap();
    assert_eq!(queue.len(), 1, "it is in the queue until the getter runs");
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    let mut newcomer = waiting(queue.get());
    assert_eq!(getter.woken(), Ok(1));
    queue.try_put(2).unwrap();
    assert_eq!(newcomer.woken(), Ok(2));
}

#[corio::test]
fn a_place_of_a_woken_putter_is_not_for_newcomers() {
    let queue = Queue::new(1);
    queue.try_put(1).unwrap();
    let mut putter = waiting(queue.put(2));
    assert_eq!(queue.try_get(), Ok(1));
    assert_eq!(queue.try_put(9), Err(TryPutError::Full(9)));
    let mut newcomer = waiting(queue.put(3));
    putter.woken().unwrap();
    newcomer.pending();
    assert_eq!(queue.try_get(), Ok(2));
    newcomer.woken().unwrap();
    assert_eq!(queue.try_get(), Ok(3));
}

#[corio::test]
fn a_dropped_getter_took_nothing_and_the_next_gets_its_item() {
    let queue = Queue::new(0);
    let (first, mut second) = (waiting(queue.get()), waiting(queue.get()));
    queue.try_put(1).unwrap();
    assert_eq!(first.wakes(), 1);
    drop(first);
    assert_eq!(second.woken(), Ok(1));

    let only = waiting(queue.get());
    queue.try_put(2).unwrap();
    queue.try_put(3).unwrap();
    drop(only);
    assert_eq!((queue.try_get(), queue.try_get()), (Ok(2), Ok(3)));
}

#[corio::test]
fn a_getter_dropped_before_it_was_woken_is_out_of_line() {
    let queue = Queue::new(0);
    let mut getters: Vec<_> = (0..5).map(|_| waiting(queue.get())).collect();
    let mut last = getters.pop().unwrap();
    drop(getters);
    assert!(format!("{queue:?}").contains("getters: 1"));
    queue.try_put(1).unwrap();
    assert_eq!(last.woken(), Ok(1));
}

#[corio::test]
fn a_dropped_putter_put_nothing_and_the_next_gets_its_place() {
    let dropped = Rc::new(());
    let queue = Queue::new(1);
    queue.try_put(Rc::default()).unwrap();
    let first = waiting(queue.put(Rc::clone(&dropped)));
    let mut second = waiting(queue.put(Rc::default()));
    queue.try_get().unwrap();
    assert_eq!(first.wakes(), 1);
    drop(first);
    assert_eq!(Rc::strong_count(&dropped), 1, "the item went with its put");
    second.woken().unwrap();
    assert_eq!(queue.len(), 1);
    queue.try_get().unwrap();
    assert!(queue.try_get().is_err());
}

#[corio::test]
fn a_putter_dropped_before_it_was_woken_is_out_of_line() {
    let queue = Queue::new(1);
    queue.try_put(0).unwrap();
    let putters: Vec<_> = (1..4).map(|number| waiting(queue.put(number))).collect();
    drop(putters);
    assert!(format!("{queue:?}").contains("putters: 0"));
    assert_eq!(queue.try_get(), Ok(0));
    queue.try_put(9).unwrap();
    assert_eq!(queue.try_get(), Ok(9));
}

#[corio::test]
fn a_reserved_place_keeps_the_item_with_its_owner() {
    let queue = Queue::new(1);
    let slot = now(queue.reserve()).unwrap();
    assert!(queue.is_empty());
    assert_eq!(queue.try_put(9), Err(TryPutError::Full(9)));
    let mut putter = waiting(queue.put(2));
    slot.put(1).unwrap();
    putter.pending();
    assert_eq!(queue.try_get(), Ok(1));
    putter.woken().unwrap();
    assert_eq!(queue.try_get(), Ok(2));
}

#[corio::test]
fn a_place_that_was_given_up_goes_to_the_next() {
    let queue = Queue::new(1);
    let slot = now(queue.reserve()).unwrap();
    let waiting_to_reserve = waiting(queue.reserve());
    let mut putter = waiting(queue.put(1));
    drop(slot);
    drop(waiting_to_reserve);
    putter.woken().unwrap();
    assert_eq!(queue.try_get(), Ok(1));
}

#[corio::test]
fn a_leaked_slot_and_leaked_waits_keep_what_they_were_promised() {
    let queue = Queue::new(1);
    std::mem::forget(now(queue.reserve()).unwrap());
    assert_eq!(queue.try_put(1), Err(TryPutError::Full(1)));

    let queue = Queue::new(0);
    let other = queue.clone();
    waiting(other.get()).leak();
    queue.try_put(1).unwrap();
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    queue.try_put(2).unwrap();
    assert_eq!(now(queue.get()), Ok(1), "which item a getter gets shows when it runs");
    drop(queue);
    drop(other);
}

#[corio::test]
fn clones_are_one_queue_and_the_last_drops_the_items() {
    let item = Rc::new(());
    let queue = Queue::new(0);
    let clone = queue.clone();
    queue.try_put(Rc::clone(&item)).unwrap();
    drop(queue);
    assert_eq!((clone.len(), Rc::strong_count(&item)), (1, 2));
    drop(clone);
    assert_eq!(Rc::strong_count(&item), 1);
}

#[corio::test]
fn an_item_whose_drop_uses_the_queue_finds_it_in_order() {
    struct Puts(Queue<Puts>, Rc<RefCell<Vec<bool>>>);
    impl Drop for Puts {
        fn drop(&mut self) {
            let refused = self.0.try_put(Puts(self.0.clone(), Rc::default())).map_err(|error| {
                // Its own drop would go on for ever.
                std::mem::forget(error.into_inner());
            });
            self.1.borrow_mut().push(refused.is_err());
        }
    }
    let queue = Queue::new(0);
    let log = Rc::default();
    queue.try_put(Puts(queue.clone(), Rc::clone(&log))).ok().unwrap();
    queue.shutdown(Shutdown::Immediate);
    assert_eq!(*log.borrow(), [true]);
}

#[corio::test]
fn a_queue_is_a_stream_that_ends_with_its_shutdown() {
    let queue = Queue::new(0);
    queue.try_put(1).unwrap();
    queue.try_put(2).unwrap();
    queue.shutdown(Shutdown::Graceful);
    assert_eq!(now(queue.stream().collect::<Vec<_>>()), [1, 2]);
    assert_eq!(now(queue.get()), Err(ShutDown));
}

#[corio::test]
fn what_is_printed_tells_the_state() {
    let queue = Queue::new(1);
    queue.try_put(1).unwrap();
    let _putter = waiting(queue.put(2));
    assert_eq!(
        format!("{queue:?}"),
        "Queue { maxsize: 1, len: 1, getters: 0, putters: 1, unfinished: 1, shut_down: false }"
    );
    assert_eq!(queue.try_put(3).unwrap_err().to_string(), "the queue is full");
}
