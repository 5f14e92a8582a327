//! Flags and notifications: who is released, who is not, and what is kept.

use corio::sync::{Event, Notify};

use crate::hand::{hand, now, waiting};

#[corio::test]
fn setting_an_event_releases_all_who_wait_and_all_who_come() {
    let event = Event::new();
    assert!(!event.is_set());
    let mut waiters: Vec<_> = (0..3).map(|_| waiting(event.wait())).collect();
    event.set();
    assert!(event.is_set());
    waiters.iter_mut().for_each(|waiter| waiter.woken());
    now(event.wait());
}

#[corio::test]
fn who_waited_when_it_was_set_is_released_though_it_was_cleared_since() {
    let event = Event::new();
    let mut early = waiting(event.wait());
    let mut unpolled = hand(event.wait());
    event.set();
    event.clear();
    assert!(!event.is_set());
    unpolled.pending();
    let mut late = waiting(event.wait());
    early.woken();
    late.pending();
    event.set();
    late.woken();
    unpolled.woken();
}

#[corio::test]
fn setting_a_set_event_again_wakes_nobody() {
    let event = Event::new();
    event.set();
    event.set();
    now(event.wait());
    event.clear();
    event.clear();
    waiting(event.wait());
}

#[corio::test]
fn a_dropped_wait_for_an_event_is_gone() {
    let event = Event::new();
    let (first, mut second) = (waiting(event.wait()), waiting(event.wait()));
    drop(first);
    event.set();
    second.woken();
    assert_eq!(format!("{event:?}"), "Event { set: true, waiters: 0 }");
}

#[corio::test]
fn one_notification_wakes_the_first_in_line_only() {
    let notify = Notify::new();
    let (mut first, mut second) = (waiting(notify.notified()), waiting(notify.notified()));
    notify.notify_one();
    second.pending();
    first.woken();
    notify.notify_one();
    second.woken();
}

#[corio::test]
fn one_unheard_notification_is_kept_and_no_more() {
    let notify = Notify::new();
    notify.notify_one();
    notify.notify_one();
    now(notify.notified());
    waiting(notify.notified());
}

#[corio::test]
fn a_notification_of_a_dropped_waiter_goes_to_the_next_or_is_kept() {
    let notify = Notify::new();
    let (first, mut second) = (waiting(notify.notified()), waiting(notify.notified()));
    notify.notify_one();
    drop(first);
    second.woken();

    let only = waiting(notify.notified());
    notify.notify_one();
    drop(only);
    now(notify.notified());
    waiting(notify.notified());
}

#[corio::test]
fn a_newcomer_does_not_take_the_notification_of_a_woken_waiter() {
    let notify = Notify::new();
    let mut waiter = waiting(notify.notified());
    notify.notify_one();
    waiting(notify.notified());
    waiter.woken();
}

#[corio::test]
fn notifying_all_reaches_the_unpolled_and_is_not_kept() {
    let notify = Notify::new();
    let mut polled = waiting(notify.notified());
    let mut unpolled = hand(notify.notified());
    notify.notify_waiters();
    let mut late = waiting(notify.notified());
    polled.woken();
    unpolled.ready();
    late.pending();
}

#[corio::test]
fn a_dropped_waiter_of_a_notification_to_all_passes_nothing_on() {
    let notify = Notify::new();
    let (first, second) = (waiting(notify.notified()), waiting(notify.notified()));
    notify.notify_waiters();
    drop((first, second));
    waiting(notify.notified());
}
