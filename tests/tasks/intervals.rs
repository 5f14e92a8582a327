//! Intervals: the rhythm after ticks that nobody waited for.

use std::time::Duration;

use corio::time::{Instant, Interval, MissedTickBehavior, interval, interval_at};
use corio::timeout;

use crate::PATIENCE;

const PERIOD: Duration = Duration::from_millis(40);

/// An interval whose first tick was due three periods and a half ago, and when that was.
fn late(missed: MissedTickBehavior) -> (Interval, Instant) {
    let start = Instant::now() - PERIOD * 7 / 2;
    let mut ticks = interval_at(start, PERIOD);
    ticks.set_missed_tick_behavior(missed);
    (ticks, start)
}

async fn tick(ticks: &mut Interval) -> Instant {
    timeout(PATIENCE, ticks.tick()).await.expect("a tick comes")
}

#[corio::test]
async fn missed_ticks_follow_at_once_in_a_burst() {
    let (mut ticks, start) = late(MissedTickBehavior::Burst);
    for number in 0..4 {
        assert_eq!(tick(&mut ticks).await, start + PERIOD * number);
    }
    // The fifth is due in the old rhythm, half a period from now.
    assert_eq!(tick(&mut ticks).await, start + PERIOD * 4);
    assert!(Instant::now() >= start + PERIOD * 4);
}

#[corio::test]
async fn missed_ticks_delay_those_that_follow() {
    let (mut ticks, start) = late(MissedTickBehavior::Delay);
    assert_eq!(tick(&mut ticks).await, start);
    let late_at = Instant::now();
    let second = tick(&mut ticks).await;
    assert!(second > start + PERIOD * 4, "not in the old rhythm");
    assert!(second <= late_at + PERIOD, "one period after the late one");
    assert_eq!(tick(&mut ticks).await, second + PERIOD);
}

#[corio::test]
async fn missed_ticks_are_skipped_and_the_rhythm_stays() {
    let (mut ticks, start) = late(MissedTickBehavior::Skip);
    assert_eq!(tick(&mut ticks).await, start);
    let second = tick(&mut ticks).await;
    let periods = (second - start).as_nanos() / PERIOD.as_nanos();
    assert_eq!(second, start + PERIOD * u32::try_from(periods).unwrap());
    assert!(periods >= 4 && Instant::now() >= second);
}

#[corio::test]
async fn a_tick_that_was_not_taken_is_still_to_come() {
    let mut ticks = interval(Duration::from_millis(2));
    let first = tick(&mut ticks).await;
    for number in 1..=3 {
        let mut given_up = 0;
        let due = loop {
            match timeout(Duration::from_micros(300), ticks.tick()).await {
                Ok(due) => break due,
                Err(_) => given_up += 1,
            }
        };
        assert_eq!(due, first + Duration::from_millis(2) * number);
        assert!(given_up > 0 || Instant::now() >= due);
    }
}

#[corio::test]
async fn a_period_beyond_all_time_ticks_once() {
    for missed in [MissedTickBehavior::Burst, MissedTickBehavior::Delay, MissedTickBehavior::Skip] {
        for period in [Duration::MAX, Duration::from_secs(u64::MAX / 1_000_000_000)] {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(missed);
            assert_eq!(ticks.period(), period);
            assert!(tick(&mut ticks).await <= Instant::now());
            assert!(timeout(Duration::from_micros(10), ticks.tick()).await.is_err());
            ticks.reset();
            assert!(timeout(Duration::from_micros(10), ticks.tick()).await.is_err());
        }
    }
}

#[corio::test]
async fn a_reset_begins_a_new_rhythm() {
    let mut ticks = interval(PERIOD);
    tick(&mut ticks).await;
    let before = Instant::now();
    ticks.reset();
    let next = tick(&mut ticks).await;
    assert!(next >= before + PERIOD);
}
