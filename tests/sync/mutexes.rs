//! A lock: who has it, who gets it next, and what becomes of it when they go away.

use std::mem::forget;
use std::rc::Rc;

use corio::sync::{Mutex, MutexGuard};

use crate::hand::{hand, now, waiting};

#[corio::test]
fn a_free_lock_is_taken_at_once_and_given_back_by_the_guard() {
    let mutex = Mutex::new(1);
    assert!(!mutex.is_locked());
    let mut guard = now(mutex.lock());
    *guard += 1;
    assert!(mutex.is_locked());
    assert!(mutex.try_lock().is_err());
    drop(guard);
    assert!(!mutex.is_locked());
    assert_eq!(*mutex.try_lock().unwrap(), 2);
    assert_eq!(mutex.into_inner(), 2);
}

#[corio::test]
fn waiters_get_the_lock_in_the_order_of_their_first_polls() {
    let mutex = Mutex::new(());
    let guard = now(mutex.lock());
    let mut unpolled = hand(mutex.lock());
    let mut first = waiting(mutex.lock());
    let mut second = waiting(mutex.lock());
    unpolled.pending();
    drop(guard);
    second.pending();
    unpolled.pending();
    drop(first.woken());
    unpolled.pending();
    drop(second.woken());
    drop(unpolled.woken());
    assert!(!mutex.is_locked());
}

#[corio::test]
fn nobody_overtakes_between_the_wake_and_the_poll() {
    let mutex = Mutex::new(());
    let guard = now(mutex.lock());
    let mut waiter = waiting(mutex.lock());
    drop(guard);
    assert!(mutex.is_locked(), "it is on its way to the waiter");
    assert!(mutex.try_lock().is_err());
    let mut newcomer = waiting(mutex.lock());
    drop(waiter.woken());
    drop(newcomer.woken());
}

#[corio::test]
fn a_waiter_that_is_dropped_leaves_the_line_wherever_it_stands() {
    for leaver in 0..3 {
        let mutex = Mutex::new(());
        let guard = now(mutex.lock());
        let mut line: Vec<_> = (0..3).map(|_| waiting(mutex.lock())).collect();
        drop(line.remove(leaver));
        drop(guard);
        for mut waiter in line {
            drop(waiter.woken());
        }
        assert!(!mutex.is_locked());
    }
}

#[corio::test]
fn a_lock_that_was_handed_to_a_dropped_waiter_goes_to_the_next() {
    let mutex = Mutex::new(());
    let guard = now(mutex.lock());
    let (first, mut second) = (waiting(mutex.lock()), waiting(mutex.lock()));
    drop(guard);
    assert_eq!(first.wakes(), 1);
    drop(first);
    drop(second.woken());
    assert!(!mutex.is_locked());
}

#[corio::test]
fn a_lock_that_was_handed_to_the_last_dropped_waiter_is_free() {
    let mutex = Mutex::new(());
    let guard = now(mutex.lock());
    let waiter = waiting(mutex.lock());
    drop(guard);
    drop(waiter);
    assert!(!mutex.is_locked());
    drop(now(mutex.lock()));
}

#[corio::test]
fn the_last_waker_of_several_polls_is_the_one_that_is_woken() {
    let mutex = Mutex::new(());
    let guard = now(mutex.lock());
    let mut waiter = waiting(mutex.lock());
    let newer = std::sync::Arc::new(crate::hand::Count::default());
    assert!(waiter.poll_with(&newer.clone().into()).is_pending());
    drop(guard);
    assert_eq!(waiter.wakes(), 0);
    assert_eq!(newer.take(), 1);
    drop(waiter.ready());
}

#[corio::test]
fn an_unpolled_wait_that_is_moved_and_dropped_was_never_in_line() {
    let mutex = Mutex::new(());
    let guard = now(mutex.lock());
    let unpolled = mutex.lock();
    let moved = Box::new(unpolled);
    drop(moved);
    drop(guard);
    assert!(!mutex.is_locked());
}

#[corio::test]
fn a_leaked_guard_keeps_the_lock_and_a_leaked_waiter_its_place() {
    let mutex = Mutex::new(());
    forget(now(mutex.lock()));
    assert!(mutex.is_locked());
    drop(waiting(mutex.lock()));

    let mutex = Mutex::new(());
    let guard = now(mutex.lock());
    waiting(mutex.lock()).leak();
    let behind = waiting(mutex.lock());
    drop(guard);
    assert_eq!(behind.wakes(), 0, "the leaked waiter is first");
    assert!(mutex.is_locked());
}

#[corio::test]
fn a_mutex_may_be_moved_and_dropped_while_leaked_waiters_are_in_line() {
    let mutex = Mutex::new(String::from("kept"));
    forget(now(mutex.lock()));
    waiting(mutex.lock()).leak();
    let mutex = Box::new(mutex);
    let mut last = waiting(mutex.lock());
    last.pending();
    let middle = waiting(mutex.lock());
    drop(last);
    drop(middle);
    waiting(mutex.lock()).leak();
    assert_eq!(mutex.into_inner(), "kept");
}

#[corio::test]
fn a_panic_while_the_lock_is_held_unlocks_it() {
    let mutex = Mutex::new(0);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = now(mutex.lock());
        panic!("on purpose");
    }));
    assert!(caught.is_err());
    assert!(!mutex.is_locked());
}

#[corio::test]
fn an_owned_guard_keeps_the_mutex_and_passes_the_lock_on() {
    let mutex = Rc::new(Mutex::new(1));
    let mut guard = now(Rc::clone(&mutex).lock_owned());
    *guard += 1;
    assert!(Rc::clone(&mutex).try_lock_owned().is_err());
    let mut waiter = waiting(Rc::clone(&mutex).lock_owned());
    let abandoned = waiting(Rc::clone(&mutex).lock_owned());
    drop(guard);
    let guard = waiter.woken();
    drop(waiter);
    drop(abandoned);
    drop(mutex);
    assert_eq!(*guard, 2);
}

#[corio::test]
fn a_mapped_guard_unlocks_the_whole() {
    let mutex = Mutex::new((1, String::from("x")));
    let mut part = MutexGuard::map(now(mutex.lock()), |pair| pair.1.as_mut_str());
    part.make_ascii_uppercase();
    let mut waiter = waiting(mutex.lock());
    drop(part);
    assert_eq!(waiter.woken().1, "X");
}

#[corio::test]
fn polling_a_finished_wait_panics_at_the_callers_line() {
    let mutex = Mutex::new(());
    let mut wait = hand(mutex.lock());
    drop(wait.ready());
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wait.poll().is_ready()));
    assert!(caught.is_err());
    assert!(!mutex.is_locked());
}

#[corio::test]
fn what_is_printed_tells_the_state() {
    let mutex = Mutex::new(5);
    assert_eq!(format!("{mutex:?}"), "Mutex { locked: false, waiters: 0, value: 5 }");
    let guard = now(mutex.lock());
    let _waiter = waiting(mutex.lock());
    assert_eq!(format!("{mutex:?}"), "Mutex { locked: true, waiters: 1, .. }");
    assert_eq!(format!("{guard:?}"), "5");
}
