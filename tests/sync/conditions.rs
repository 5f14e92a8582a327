//! Conditions: a notification reaches somebody, and the lock comes with it.

use corio::sync::{Condition, Mutex};

use crate::hand::{hand, now, waiting};

#[corio::test]
fn waiting_unlocks_and_a_notified_waiter_has_the_lock_again() {
    let (mutex, condition) = (Mutex::new(0), Condition::new());
    let mut waiter = waiting(condition.wait(now(mutex.lock())));
    assert!(!mutex.is_locked());
    let mut guard = now(mutex.lock());
    *guard = 7;
    condition.notify_one(&guard);
    assert_eq!(waiter.wakes(), 0, "it could not go on yet");
    waiter.pending();
    drop(guard);
    assert!(mutex.is_locked());
    let guard = waiter.woken();
    assert_eq!(*guard, 7);
    drop(guard);
    assert!(!mutex.is_locked());
}

#[corio::test]
fn the_lock_is_kept_until_the_first_poll_and_freed_by_a_drop_before_it() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    let unpolled = hand(condition.wait(now(mutex.lock())));
    assert!(mutex.is_locked());
    drop(unpolled);
    assert!(!mutex.is_locked());
}

#[corio::test]
fn as_many_are_notified_as_were_asked_for_in_their_order() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    let wait = || waiting(condition.wait(now(mutex.lock())));
    let mut waiters = [wait(), wait(), wait(), wait()];
    let guard = now(mutex.lock());
    condition.notify(&guard, 0);
    condition.notify(&guard, 2);
    drop(guard);
    drop(waiters[0].woken());
    drop(waiters[1].woken());
    waiters[2].pending();
    let guard = now(mutex.lock());
    condition.notify(&guard, 2048);
    drop(guard);
    drop(waiters[2].woken());
    drop(waiters[3].woken());
    assert!(!mutex.is_locked());
}

#[corio::test]
fn all_are_notified_and_take_the_lock_one_after_the_other() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    let mut first = waiting(condition.wait(now(mutex.lock())));
    let mut second = waiting(condition.wait(now(mutex.lock())));
    let guard = now(mutex.lock());
    condition.notify_all(&guard);
    drop(guard);
    let guard = first.woken();
    second.pending();
    assert_eq!(second.wakes(), 0);
    drop(guard);
    drop(second.woken());
}

#[corio::test]
fn a_notification_without_waiters_is_not_kept() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    condition.notify_all(&now(mutex.lock()));
    waiting(condition.wait(now(mutex.lock())));
}

#[corio::test]
fn a_notified_waiter_stands_behind_those_who_wait_for_the_lock() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    let mut notified = waiting(condition.wait(now(mutex.lock())));
    let guard = now(mutex.lock());
    let mut before = waiting(mutex.lock());
    condition.notify_one(&guard);
    let mut after = waiting(mutex.lock());
    drop(guard);
    drop(before.woken());
    drop(notified.woken());
    drop(after.woken());
}

#[corio::test]
fn a_dropped_wait_is_out_of_line_and_does_not_lock() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    let dropped = waiting(condition.wait(now(mutex.lock())));
    let mut other = waiting(condition.wait(now(mutex.lock())));
    drop(dropped);
    assert!(!mutex.is_locked());
    condition.notify_one(&now(mutex.lock()));
    drop(other.woken());
}

#[corio::test]
fn a_notification_of_a_waiter_dropped_before_it_had_the_lock_goes_to_the_next() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    let dropped = waiting(condition.wait(now(mutex.lock())));
    let mut next = waiting(condition.wait(now(mutex.lock())));
    let guard = now(mutex.lock());
    condition.notify_one(&guard);
    drop(dropped);
    drop(guard);
    drop(next.woken());
}

#[corio::test]
fn a_notification_of_a_waiter_dropped_when_it_had_the_lock_goes_to_the_next() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    let dropped = waiting(condition.wait(now(mutex.lock())));
    let mut next = waiting(condition.wait(now(mutex.lock())));
    condition.notify_one(&now(mutex.lock()));
    assert_eq!(dropped.wakes(), 1);
    drop(dropped);
    drop(next.woken());
    assert!(!mutex.is_locked());
}

#[corio::test]
fn waiting_for_a_predicate_asks_it_now_and_after_each_notification() {
    let (mutex, condition) = (Mutex::new(0), Condition::new());
    let mut asked = 0;
    let mut waiter = waiting(condition.wait_for(now(mutex.lock()), |count| {
        asked += 1;
        *count >= 2
    }));
    for count in 1..=2 {
        let mut guard = now(mutex.lock());
        *guard = count;
        condition.notify_one(&guard);
        drop(guard);
        if count == 1 {
            waiter.pending();
            assert_eq!(waiter.wakes(), 1);
        }
    }
    assert_eq!(*waiter.woken(), 2);
    drop(waiter);
    assert_eq!(asked, 3);
    let guard = now(condition.wait_while(now(mutex.lock()), |count| *count < 2));
    assert_eq!(*guard, 2);
}

#[corio::test]
fn one_condition_serves_two_mutexes_without_mixing_them() {
    let (one, two, condition) = (Mutex::new(1), Mutex::new(2), Condition::new());
    let mut of_one = waiting(condition.wait(now(one.lock())));
    let mut of_two = waiting(condition.wait(now(two.lock())));
    condition.notify_all(&now(two.lock()));
    assert_eq!(*of_two.woken(), 2);
    of_one.pending();
    condition.notify_one(&now(one.lock()));
    assert_eq!(*of_one.woken(), 1);
}

#[corio::test]
fn a_leaked_waiter_of_a_mutex_that_is_gone_disturbs_nobody() {
    let condition = Condition::new();
    let gone = Box::new(Mutex::new(0));
    waiting(condition.wait(now(gone.lock()))).leak();
    drop(gone);
    // Likely at the old address.
    let mutex = Box::new(Mutex::new(1));
    let mut waiter = waiting(condition.wait(now(mutex.lock())));
    condition.notify_all(&now(mutex.lock()));
    match waiter.wakes() {
        1 => assert_eq!(*waiter.ready(), 1),
        // The leaked waiter was taken for one of this mutex, and has its lock for ever.
        _ => assert!(mutex.is_locked()),
    }
}
