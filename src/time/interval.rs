//! Ticks at a fixed period.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Instant, Sleep, sleep_until};

/// Ticks every `period`, at once for the first time.
///
/// # Panics
///
/// If the period is zero.
///
/// ```
/// use corio::time::Duration;
/// # corio::run(async {
/// let mut ticks = corio::time::interval(Duration::from_millis(1));
/// let first = ticks.tick().await;
/// assert_eq!(ticks.tick().await - first, Duration::from_millis(1));
/// # });
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Ticks every `period`, from `start` on.
///
/// # Panics
///
/// If the period is zero.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval needs a period longer than zero");
    Interval { period, sleep: sleep_until(start), missed: MissedTickBehavior::default() }
}

/// What an [`Interval`] does about ticks that nobody waited for in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MissedTickBehavior {
    /// All of them follow at once, then the old rhythm goes on.
    #[default]
    Burst,
    /// The next tick is one period after the late one.
    Delay,
    /// They are left out; the old rhythm goes on.
    Skip,
}

/// A periodic timer, made by [`interval`].
pub struct Interval {
    period: Duration,
    sleep: Sleep,
    missed: MissedTickBehavior,
}

/// The future of [`Interval::tick`].
///
/// # Cancellation
///
/// **Strict**: a tick that was not returned is still to come.
///
/// # Panics
///
/// Polling it panics if no runtime runs on this thread.
#[must_use = "futures do nothing until they are awaited"]
pub struct Tick<'a>(&'a mut Interval);

impl Future for Tick<'_> {
    type Output = Instant;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Instant> {
        self.0.poll_tick(context)
    }
}

impl Interval {
    /// Waits for the next tick, and returns when it was due.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a tick that was not returned is still to come.
    pub fn tick(&mut self) -> Tick<'_> {
        Tick(self)
    }

    /// Polls for the next tick.
    #[track_caller]
    pub fn poll_tick(&mut self, context: &mut Context<'_>) -> Poll<Instant> {
        match Pin::new(&mut self.sleep).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let due = self.sleep.deadline();
                self.sleep.reset(self.next_after(due, Instant::now()));
                Poll::Ready(due)
            }
        }
    }

    fn next_after(&self, due: Instant, now: Instant) -> Instant {
        let next = due + self.period;
        if now <= next {
            return next;
        }
        match self.missed {
            MissedTickBehavior::Burst => next,
            MissedTickBehavior::Delay => now + self.period,
            MissedTickBehavior::Skip => {
                let period_ns = self.period.as_nanos();
                let late_ns = (now - due).as_nanos();
                now + Duration::from_nanos((period_ns - late_ns % period_ns) as u64)
            }
        }
    }

    /// What to do about missed ticks.
    pub fn set_missed_tick_behavior(&mut self, missed: MissedTickBehavior) {
        self.missed = missed;
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// The next tick is one period from now.
    pub fn reset(&mut self) {
        self.sleep.reset(Instant::now() + self.period);
    }
}
