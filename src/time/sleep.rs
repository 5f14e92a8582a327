//! Waiting for a moment.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Instant;
use crate::executor::Core;
use crate::executor::timers::TimerKey;

/// Waits for `duration`, counted from this call.
///
/// ```
/// use corio::time::Duration;
/// # corio::run(async {
/// corio::sleep(Duration::from_micros(100)).await;
/// # });
/// ```
#[doc(alias = "call_later")]
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

/// Waits until `deadline`. One that is past is ready at once.
#[doc(alias = "call_at")]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, timer: None }
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// # Cancellation
///
/// **Strict**: dropping it takes its timer out.
///
/// # Panics
///
/// Polling it panics if no runtime runs on this thread.
#[must_use = "futures do nothing until they are awaited"]
pub struct Sleep {
    deadline: Instant,
    timer: Option<(Rc<Core>, TimerKey)>,
}

impl Sleep {
    /// When it will be ready.
    #[doc(alias = "when")]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Moves the deadline, also of a sleep that is over.
    #[doc(alias = "reschedule")]
    pub fn reset(&mut self, deadline: Instant) {
        self.disarm();
        self.deadline = deadline;
    }

    fn disarm(&mut self) {
        if let Some((core, key)) = self.timer.take() {
            let waker = core.timers().borrow_mut().cancel(key);
            drop(waker);
        }
    }

    /// Gives the armed timer the waker of this poll. True if the timer still waits.
    fn is_pending(core: &Core, key: TimerKey, context: &Context<'_>) -> bool {
        if !core.timers().borrow().is_pending(key) {
            return false;
        }
        if !core.timers().borrow().waker_is(key, context.waker()) {
            let waker = context.waker().clone();
            let old = core.timers().borrow_mut().replace_waker(key, waker);
            drop(old);
        }
        true
    }
}

impl Future for Sleep {
    type Output = ();

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some((core, key)) = &self.timer {
            // A timer of a runtime that rests would not fire: it is set again in the one that runs.
            if core.check_turning().is_ok() && Sleep::is_pending(core, *key, context) {
                return Poll::Pending;
            }
            self.disarm();
        }
        let core = Core::current();
        if core.has_passed(self.deadline.as_nanos()) {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let key = core.timers().borrow_mut().set(self.deadline.as_nanos(), waker);
        self.timer = Some((core, key));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}
