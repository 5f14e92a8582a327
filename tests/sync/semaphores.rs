//! Permits: their number never changes by itself, and the first in line is never starved.

use std::mem::forget;
use std::rc::Rc;

use corio::sync::{Semaphore, TryAcquireError};

use crate::hand::{now, waiting};

#[corio::test]
fn permits_are_taken_and_given_back() {
    let semaphore = Semaphore::new(2);
    let first = now(semaphore.acquire()).unwrap();
    assert!(!semaphore.is_locked());
    let second = semaphore.try_acquire().unwrap();
    assert!(semaphore.is_locked());
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
    assert_eq!((first.permits(), semaphore.available()), (1, 0));
    drop((first, second));
    assert_eq!(semaphore.available(), 2);
}

#[corio::test]
fn waiters_are_served_first_come_first_served() {
    let semaphore = Semaphore::new(0);
    assert!(semaphore.is_locked());
    let mut line: Vec<_> = (0..3).map(|_| waiting(semaphore.acquire())).collect();
    semaphore.add_permits(2).unwrap();
    assert_eq!(semaphore.available(), 0);
    line[2].pending();
    let second = line[1].woken().unwrap();
    let first = line[0].woken().unwrap();
    drop(second);
    drop(line[2].woken());
    drop(first);
    drop(line);
    assert_eq!(semaphore.available(), 2);
}

#[corio::test]
fn a_released_permit_is_not_for_newcomers_while_its_waiter_did_not_run() {
    let semaphore = Semaphore::new(1);
    let permit = now(semaphore.acquire()).unwrap();
    let mut waiter = waiting(semaphore.acquire());
    drop(permit);
    assert_eq!(semaphore.available(), 0);
    assert!(semaphore.try_acquire().is_err());
    let mut newcomer = waiting(semaphore.acquire());
    drop(waiter.woken());
    drop(newcomer.woken());
}

#[corio::test]
fn who_needs_little_does_not_overtake_who_needs_much() {
    let semaphore = Semaphore::new(2);
    let one = now(semaphore.acquire()).unwrap();
    let mut much = waiting(semaphore.acquire_many(2));
    assert_eq!(semaphore.available(), 1);
    assert!(semaphore.is_locked());
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
    let mut little = waiting(semaphore.acquire());
    drop(one);
    little.pending();
    drop(much.woken());
    drop(little.woken());
}

#[corio::test]
fn when_the_first_in_line_leaves_those_behind_get_what_suffices_for_them() {
    let semaphore = Semaphore::new(3);
    let much = waiting(semaphore.acquire_many(4));
    let mut two = waiting(semaphore.acquire_many(2));
    let mut one = waiting(semaphore.acquire());
    let mut last = waiting(semaphore.acquire());
    drop(much);
    last.pending();
    let (two, one) = (two.woken().unwrap(), one.woken().unwrap());
    drop(one);
    drop(last.woken());
    drop(two);
}

#[corio::test]
fn permits_granted_to_a_dropped_waiter_go_on() {
    let semaphore = Semaphore::new(0);
    let first = waiting(semaphore.acquire_many(2));
    let (mut second, mut third) = (waiting(semaphore.acquire()), waiting(semaphore.acquire()));
    semaphore.add_permits(2).unwrap();
    assert_eq!(first.wakes(), 1);
    drop(first);
    second.woken().unwrap().forget();
    third.woken().unwrap().forget();
    let fourth = waiting(semaphore.acquire());
    semaphore.release().unwrap();
    drop(fourth);
    assert_eq!(semaphore.available(), 1);
}

#[corio::test]
fn no_permits_at_all_are_there_at_once_whoever_waits() {
    let semaphore = Semaphore::new(0);
    let _waiter = waiting(semaphore.acquire());
    assert_eq!(now(semaphore.acquire_many(0)).unwrap().permits(), 0);
    assert!(semaphore.try_acquire_many(0).is_ok());
}

#[corio::test]
fn the_greatest_numbers_neither_overflow_nor_hang() {
    let semaphore = Semaphore::new(usize::MAX);
    assert!(semaphore.release().is_err());
    let all = now(semaphore.acquire_many(usize::MAX)).unwrap();
    assert_eq!(semaphore.available(), 0);
    assert!(semaphore.release().is_err(), "the permit will come back");
    drop(all);
    assert_eq!(semaphore.available(), usize::MAX);

    let semaphore = Semaphore::new(1);
    let mut greedy = waiting(semaphore.acquire_many(usize::MAX));
    semaphore.add_permits(usize::MAX - 1).unwrap();
    assert!(semaphore.add_permits(1).is_err());
    drop(greedy.woken());
    assert_eq!(semaphore.available(), usize::MAX);
}

#[corio::test]
fn a_bounded_semaphore_refuses_more_than_it_began_with() {
    let semaphore = Semaphore::bounded(2);
    assert!(semaphore.release().is_err());
    now(semaphore.acquire()).unwrap().forget();
    let held = now(semaphore.acquire()).unwrap();
    assert!(semaphore.add_permits(2).is_err(), "one of the two is held, and comes back by itself");
    assert_eq!(semaphore.available(), 0, "nothing was added");
    semaphore.release().unwrap();
    assert!(semaphore.release().is_err());
    drop(held);
    assert_eq!(semaphore.available(), 2);
    assert!(Semaphore::bounded(0).release().is_err());
}

#[corio::test]
fn an_unbounded_semaphore_takes_more_than_it_began_with() {
    let semaphore = Semaphore::new(0);
    semaphore.release().unwrap();
    semaphore.release().unwrap();
    assert_eq!(semaphore.available(), 2);
}

#[corio::test]
fn closing_refuses_who_waits_and_who_comes_and_takes_nothing_back() {
    let semaphore = Semaphore::new(1);
    let permit = now(semaphore.acquire()).unwrap();
    let mut granted = waiting(semaphore.acquire());
    drop(permit);
    let mut refused = waiting(semaphore.acquire());
    semaphore.close();
    assert!(semaphore.is_closed());
    assert!(refused.woken().is_err());
    let permit = granted.woken().expect("it was granted before");
    assert!(now(semaphore.acquire()).is_err());
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::Closed);
    drop(permit);
    assert_eq!(semaphore.available(), 1);
}

#[corio::test]
fn a_refused_wait_that_is_dropped_before_it_ran_changes_nothing() {
    let semaphore = Semaphore::new(0);
    let refused = waiting(semaphore.acquire());
    semaphore.close();
    drop(refused);
    assert_eq!(semaphore.available(), 0);
}

#[corio::test]
fn leaked_permits_and_waiters_keep_what_they_have() {
    let semaphore = Semaphore::new(2);
    forget(now(semaphore.acquire()).unwrap());
    waiting(semaphore.acquire_many(2)).leak();
    let behind = waiting(semaphore.acquire());
    assert_eq!(behind.wakes(), 0);
    drop(behind);
    semaphore.add_permits(1).unwrap();
    assert_eq!(semaphore.available(), 0, "the leaked waiter was granted two");
}

#[corio::test]
fn an_owned_permit_outlives_everything_else() {
    let semaphore = Rc::new(Semaphore::new(3));
    let two = now(Rc::clone(&semaphore).acquire_many_owned(2)).unwrap();
    let one = Rc::clone(&semaphore).try_acquire_owned().unwrap();
    assert_eq!((two.permits(), one.permits()), (2, 1));
    let mut waiter = waiting(Rc::clone(&semaphore).acquire_owned());
    drop(two);
    let three = waiter.woken().unwrap();
    one.forget();
    drop(three);
    assert_eq!(semaphore.available(), 2);
    assert_eq!(
        format!("{semaphore:?}"),
        "Semaphore { available: 2, held: 0, waiters: 0, closed: false }"
    );
}
