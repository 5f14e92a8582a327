//! Sleeps and timeouts: exact, and never ahead of a value that is there.

use std::cell::Cell;
use std::future::{pending, poll_fn, ready};
use std::io::Write;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use corio::time::{Elapsed, Instant, sleep_until, timeout_at};
use corio::{sleep, spawn, timeout, yield_now};

use crate::{OnDrop, PATIENCE, listen};

#[corio::test]
async fn sleeps_are_not_rounded_to_milliseconds() {
    let mut lengths = Vec::new();
    for _ in 0..51 {
        let start = Instant::now();
        sleep(Duration::from_micros(100)).await;
        lengths.push(start.elapsed());
    }
    lengths.sort();
    assert!(lengths[0] >= Duration::from_micros(100), "too short: {:?}", lengths[0]);
    assert!(lengths[25] < Duration::from_millis(1), "the median is {:?}", lengths[25]);
}

#[corio::test]
async fn sleeps_end_in_the_order_of_their_deadlines() {
    let base = Instant::now() + Duration::from_millis(2);
    let order = Rc::new(std::cell::RefCell::new(Vec::new()));
    let micros = [900u64, 100, 500, 300, 700];
    let tasks: Vec<_> = micros
        .iter()
        .map(|&micros| {
            let order = Rc::clone(&order);
            spawn(async move {
                sleep_until(base + Duration::from_micros(micros)).await;
                order.borrow_mut().push(micros);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.borrow(), [100, 300, 500, 700, 900]);
}

#[corio::test]
async fn a_sleep_that_is_over_needs_no_turn_and_one_for_ever_does_not_end() {
    assert!(futures_util::poll!(pin!(sleep(Duration::ZERO))).is_ready());
    assert!(futures_util::poll!(pin!(sleep_until(Instant::now()))).is_ready());
    let past = Instant::now() - Duration::from_secs(3600);
    assert!(futures_util::poll!(pin!(sleep_until(past))).is_ready());
    for length in [Duration::MAX, Duration::from_nanos(u64::MAX), Duration::from_secs(1 << 40)] {
        assert!(timeout(Duration::from_micros(50), sleep(length)).await.is_err());
    }
    assert_eq!(timeout(Duration::MAX, ready(3)).await, Ok(3));
    assert_eq!(
        timeout(Duration::MAX, async {
            sleep(Duration::from_micros(50)).await;
            4
        })
        .await,
        Ok(4)
    );
}

#[corio::test]
async fn a_reset_moves_a_deadline_both_ways() {
    let mut timer = pin!(sleep(Duration::from_secs(60)));
    assert!(futures_util::poll!(&mut timer).is_pending());
    timer.reset(Instant::now() + Duration::from_millis(1));
    timeout(PATIENCE, &mut timer).await.expect("the earlier deadline counts");
    let later = Instant::now() + Duration::from_millis(3);
    timer.reset(later);
    assert_eq!(timer.deadline(), later);
    timeout(PATIENCE, &mut timer).await.expect("it can be used again");
    assert!(Instant::now() >= later);
}

#[corio::test]
async fn a_timeout_of_zero_polls_once() {
    let polls = Cell::new(0);
    let never = poll_fn(|_| {
        polls.set(polls.get() + 1);
        Poll::<()>::Pending
    });
    let error: Elapsed = timeout(Duration::ZERO, never).await.unwrap_err();
    assert_eq!(error.to_string(), "the deadline has elapsed");
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(polls.get(), 1);
    assert_eq!(timeout(Duration::ZERO, ready(7)).await, Ok(7));
    let past = Instant::now() - Duration::from_secs(1);
    assert_eq!(timeout_at(past, ready(8)).await, Ok(8));
}

#[corio::test]
async fn a_value_that_is_there_when_the_deadline_passes_wins() {
    let deadline = Instant::now() + Duration::from_millis(1);
    let value = poll_fn(|_| match Instant::now() >= deadline {
        true => Poll::Ready(1),
        false => Poll::Pending,
    });
    assert_eq!(timeout_at(deadline, value).await, Ok(1));
}

#[corio::test]
async fn bytes_that_came_before_the_deadline_win_under_load() {
    let listener = listen().await;
    let mut readers = Vec::new();
    let mut writers = Vec::new();
    for _ in 0..50 {
        writers.push(std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        readers.push(listener.accept().await.unwrap());
    }
    let deadline = Instant::now() + Duration::from_millis(200);
    let tasks: Vec<_> = readers
        .into_iter()
        .map(|mut reader| {
            spawn(async move { timeout_at(deadline, reader.read(&mut [0; 8])).await })
        })
        .collect();
    yield_now().await;
    // Everything is written before the deadline, and the core is busy until after it.
    for writer in &mut writers {
        writer.write_all(b"in time").unwrap();
    }
    assert!(Instant::now() < deadline, "the machine is too slow for this test");
    while Instant::now() < deadline + Duration::from_millis(2) {
        std::hint::spin_loop();
    }
    for task in tasks {
        let read = task.await.unwrap().expect("the bytes were there in time");
        assert_eq!(read.unwrap(), 7);
    }
}

#[corio::test]
async fn what_a_timeout_gives_up_is_dropped() {
    let dropped = Rc::new(Cell::new(false));
    let note = Rc::clone(&dropped);
    let guarded = async move {
        let _guard = OnDrop(move || note.set(true));
        pending::<()>().await;
    };
    assert!(timeout(Duration::from_micros(100), guarded).await.is_err());
    assert!(dropped.get());
}

#[corio::test]
async fn timers_that_are_dropped_or_forgotten_wake_nobody_for_long() {
    for _ in 0..100 {
        let mut dropped = Box::pin(sleep(Duration::from_micros(200)));
        assert!(futures_util::poll!(&mut dropped).is_pending());
    }
    let mut forgotten = Box::pin(sleep(Duration::from_micros(200)));
    assert!(futures_util::poll!(&mut forgotten).is_pending());
    std::mem::forget(forgotten);
    let polls = Cell::new(0);
    let counted = poll_fn(|_| {
        polls.set(polls.get() + 1);
        Poll::<()>::Pending
    });
    assert!(timeout(Duration::from_millis(5), counted).await.is_err());
    // The first, the deadline's, and the one of the forgotten timer.
    assert!(polls.get() <= 3, "{} polls", polls.get());
}

#[corio::test]
fn instants_saturate_and_never_panic() {
    let now = Instant::now();
    assert_eq!(now.checked_add(Duration::MAX), None);
    let end = now + Duration::MAX;
    assert_eq!(end + Duration::from_secs(1), end);
    assert_eq!(now - Duration::MAX - Duration::MAX, now - Duration::MAX);
    assert_eq!(now - end, Duration::ZERO);
    assert_eq!(now.duration_since(end), Duration::ZERO);
    assert!(end > now && end - now > Duration::from_secs(1 << 32));
    let mut moment = now;
    moment += Duration::from_nanos(5);
    moment -= Duration::from_nanos(2);
    assert_eq!(moment - now, Duration::from_nanos(3));
    assert!(format!("{now:?}").starts_with("Instant("));
}
