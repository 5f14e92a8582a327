//! Fairness of a turn, and timers in great numbers. What is counted is turns and work, not time,
//! so that a busy machine changes nothing.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use corio::time::{Instant, Sleep};
use corio::{sleep, spawn, timeout, yield_now};

use crate::PATIENCE;

/// A turn ends early when its polls take long, as they do when the machine takes the CPU away: then
/// it takes some turns until everybody was polled.
const TURNS_LATE_MAX: u64 = 10;

/// A task that yields for ever, and notes in which turn it first saw something.
fn yield_and_watch(mut is_seen: impl FnMut() -> bool + 'static) -> Rc<Cell<Option<u64>>> {
    let seen_in = Rc::new(Cell::new(None));
    let note = Rc::clone(&seen_in);
    spawn(async move {
        loop {
            if note.get().is_none() && is_seen() {
                note.set(Some(corio::stats().turns));
            }
            yield_now().await;
        }
    });
    seen_in
}

#[corio::test]
async fn a_task_that_yields_for_ever_delays_no_timer() {
    for micros in [50, 200, 1000, 3000] {
        let deadline = Instant::now() + Duration::from_micros(micros);
        let seen_in = yield_and_watch(move || Instant::now() >= deadline);
        sleep(Duration::from_micros(micros)).await;
        let turn = corio::stats().turns;
        // In the turn in which the deadline passed, or in the one that follows.
        let due_turn = seen_in.get().unwrap_or(turn);
        assert!(turn <= due_turn + TURNS_LATE_MAX, "due in turn {due_turn}, woken in turn {turn}");
    }
}

#[corio::test]
async fn a_task_that_yields_for_ever_delays_no_foreign_wake() {
    for _ in 0..20 {
        let is_awake = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&is_awake);
        let seen_in = yield_and_watch(move || watched.load(Ordering::SeqCst));
        let mut asked = None;
        let woken = poll_fn(|context| {
            if asked.is_some() && is_awake.load(Ordering::SeqCst) {
                return Poll::Ready(());
            }
            let (waker, flag) = (context.waker().clone(), Arc::clone(&is_awake));
            asked.get_or_insert_with(|| {
                std::thread::spawn(move || {
                    waker.wake();
                    flag.store(true, Ordering::SeqCst);
                })
            });
            Poll::Pending
        });
        // The flag may be late, then the wake comes to nothing: a second one is on its way.
        let again = async {
            while !is_awake.load(Ordering::SeqCst) {
                yield_now().await;
            }
        };
        corio::join!(woken, again);
        let turn = corio::stats().turns;
        let due_turn = seen_in.get().unwrap_or(turn);
        let latest = due_turn + TURNS_LATE_MAX;
        assert!(turn <= latest, "woken in turn {due_turn}, polled in turn {turn}");
    }
}

#[corio::test]
async fn a_hundred_busy_tasks_leave_a_turn_to_everybody() {
    let counts: Vec<Rc<Cell<u64>>> = (0..100).map(|_| Rc::default()).collect();
    for count in &counts {
        let count = Rc::clone(count);
        spawn(async move {
            loop {
                count.set(count.get() + 1);
                yield_now().await;
            }
        });
    }
    sleep(Duration::from_millis(20)).await;
    let least = counts.iter().map(|count| count.get()).min().unwrap();
    let most = counts.iter().map(|count| count.get()).max().unwrap();
    assert!(least > 0 && most <= least + 2, "between {least} and {most} polls");
}

fn poll(sleep: &mut Sleep) -> Poll<()> {
    Pin::new(sleep).poll(&mut Context::from_waker(Waker::noop()))
}

/// Deadlines all over the next hour, in no order.
fn deadline(base: Instant, number: u64) -> Instant {
    base + Duration::from_secs(60) + Duration::from_nanos(number * 0x9e37_79b9 % 3_600_000_000_000)
}

/// Sets and cancels timers amid those that live already.
fn set_and_cancel(base: Instant, count: u64) -> Duration {
    let start = Instant::now();
    for number in 0..count {
        let mut timer = corio::time::sleep_until(deadline(base, number * 31));
        assert!(poll(&mut timer).is_pending());
    }
    start.elapsed()
}

#[corio::test]
async fn a_million_live_timers_do_not_slow_sets_and_cancels_down() {
    const LIVE: u64 = 1_000_000;
    const PROBES: u64 = 20_000;
    let base = Instant::now();
    let mut few: Vec<Sleep> =
        (0..100).map(|n| corio::time::sleep_until(deadline(base, n))).collect();
    assert!(few.iter_mut().all(|timer| poll(timer).is_pending()));
    let among_few = set_and_cancel(base, PROBES);
    let mut many = Vec::with_capacity(LIVE as usize);
    for number in 0..LIVE {
        let mut timer = corio::time::sleep_until(deadline(base, number));
        assert!(poll(&mut timer).is_pending());
        many.push(timer);
    }
    let among_many = set_and_cancel(base, PROBES);
    // A structure that looks at its timers one by one would take 10,000 times as long.
    assert!(
        among_many < among_few * 50 + Duration::from_millis(20),
        "{among_few:?}, {among_many:?}"
    );
    // The loop goes on as before, and the earliest is still the earliest.
    let start = Instant::now();
    timeout(PATIENCE, sleep(Duration::from_millis(1))).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(1));
    // Cancelled from the middle, at random.
    for number in 0..PROBES {
        drop(many.swap_remove((number * 7919) as usize % many.len()));
    }
    assert!(many.iter_mut().step_by(1000).all(|timer| poll(timer).is_pending()));
}

#[corio::test]
async fn many_timers_of_one_moment_all_fire() {
    let deadline = Instant::now() + Duration::from_millis(5);
    let tasks: Vec<_> = (0..10_000).map(|_| spawn(corio::time::sleep_until(deadline))).collect();
    for task in tasks {
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }
    assert!(Instant::now() >= deadline);
}
