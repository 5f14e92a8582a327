//! Meetings: all or none, again and again, and what breaks them.

use corio::sync::Barrier;

use crate::hand::{now, waiting};

#[corio::test]
fn the_last_to_arrive_releases_all_and_leads() {
    let barrier = Barrier::new(3);
    let mut first = waiting(barrier.wait());
    let mut second = waiting(barrier.wait());
    assert_eq!((barrier.n_waiting(), barrier.parties()), (2, 3));
    let last = now(barrier.wait()).unwrap();
    assert_eq!(barrier.n_waiting(), 0);
    assert_eq!((last.index(), last.is_leader()), (2, true));
    let second = second.woken().unwrap();
    assert_eq!((second.index(), second.is_leader()), (1, false));
    assert_eq!(first.woken().unwrap().index(), 0);
}

#[corio::test]
fn one_party_never_waits() {
    let barrier = Barrier::new(1);
    for _ in 0..2 {
        let turn = now(barrier.wait()).unwrap();
        assert_eq!((turn.index(), turn.is_leader()), (0, true));
    }
}

#[corio::test]
fn the_next_group_gathers_while_the_last_has_not_run_yet() {
    let barrier = Barrier::new(2);
    let mut first = waiting(barrier.wait());
    now(barrier.wait()).unwrap();
    let mut of_next = waiting(barrier.wait());
    assert_eq!(barrier.n_waiting(), 1);
    assert_eq!(first.woken().unwrap().index(), 0);
    now(barrier.wait()).unwrap();
    of_next.woken().unwrap();
}

#[corio::test]
fn a_dropped_wait_does_not_count_and_numbers_stay_unique() {
    let barrier = Barrier::new(3);
    let dropped = waiting(barrier.wait());
    let mut second = waiting(barrier.wait());
    drop(dropped);
    assert_eq!(barrier.n_waiting(), 1);
    let mut third = waiting(barrier.wait());
    assert_eq!(now(barrier.wait()).unwrap().index(), 2);
    assert_eq!(second.woken().unwrap().index(), 0);
    assert_eq!(third.woken().unwrap().index(), 1);
    assert!(!barrier.is_broken());
}

#[corio::test]
fn a_released_wait_that_is_dropped_took_part_all_the_same() {
    let barrier = Barrier::new(2);
    let dropped = waiting(barrier.wait());
    now(barrier.wait()).unwrap();
    drop(dropped);
    assert_eq!(barrier.n_waiting(), 0);
    waiting(barrier.wait());
}

#[corio::test]
fn a_reset_breaks_those_who_wait_and_nobody_else() {
    let barrier = Barrier::new(2);
    barrier.reset();
    let mut waiter = waiting(barrier.wait());
    barrier.reset();
    assert!(!barrier.is_broken());
    let mut newcomer = waiting(barrier.wait());
    assert!(waiter.woken().is_err());
    now(barrier.wait()).unwrap();
    newcomer.woken().unwrap();
}

#[corio::test]
fn an_abort_breaks_everybody_until_the_reset() {
    let barrier = Barrier::new(2);
    let mut waiter = waiting(barrier.wait());
    barrier.abort();
    assert!(barrier.is_broken());
    assert_eq!(barrier.n_waiting(), 0);
    assert!(waiter.woken().is_err());
    assert!(now(barrier.wait()).is_err());
    barrier.abort();
    barrier.reset();
    let mut waiter = waiting(barrier.wait());
    now(barrier.wait()).unwrap();
    waiter.woken().unwrap();
}

#[corio::test]
fn who_was_released_is_released_whatever_happens_before_it_runs() {
    let barrier = Barrier::new(2);
    for end in [Barrier::reset, Barrier::abort] {
        let mut waiter = waiting(barrier.wait());
        now(barrier.wait()).unwrap();
        end(&barrier);
        waiter.woken().unwrap();
    }
    assert_eq!(format!("{barrier:?}"), "Barrier { parties: 2, waiting: 0, broken: true }");
}

#[corio::test]
fn a_barrier_for_nobody_is_refused_at_the_callers_line() {
    let caught = std::panic::catch_unwind(|| Barrier::new(0));
    let text = caught.unwrap_err().downcast::<&str>().expect("a text");
    assert!(text.contains("at least one"), "{text}");
}
