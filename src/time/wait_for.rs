//! A deadline that ends its future softly, and a deadline that can be moved.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::{Elapsed, Instant, Sleep, sleep_until};
use crate::executor::scope::Kind;
use crate::executor::scoped::{Ended, Scoped};

/// Waits for `future`, but at most for `duration`: then it is asked to end, and this waits until it
/// has let go of all that it had in flight.
///
/// Where [`timeout`](super::timeout) drops the future at once, this keeps it: an operation that
/// completed all the same gives its value, and a future that becomes ready by that wins. A
/// [`catch_cancel`](crate::task::catch_cancel) inside may clean up, or finish its work; a task that
/// is awaited inside is asked to end as well, and waited for. So it may take longer than
/// `duration`; [`grace`](WaitFor::grace) bounds that.
///
/// Take `timeout` for waits on streams, queues and listeners, and this for work.
///
/// A duration of zero polls the future once.
///
/// ```
/// use corio::time::{Duration, wait_for};
/// # corio::run(async {
/// let slow = corio::sleep(Duration::from_secs(60));
/// assert!(wait_for(Duration::from_millis(1), slow).await.is_err());
/// assert_eq!(wait_for(Duration::from_secs(60), async { 7 }).await.unwrap(), 7);
/// # });
/// ```
///
/// # Cancellation
///
/// That of the future. Dropping this waits for nothing: what the future leaves in flight is its
/// task's.
pub fn wait_for<F: IntoFuture>(duration: Duration, future: F) -> WaitFor<F::IntoFuture> {
    wait_until(Instant::now() + duration, future)
}

/// As [`wait_for`], until a moment.
///
/// # Cancellation
///
/// As that of [`wait_for`].
pub fn wait_until<F: IntoFuture>(deadline: Instant, future: F) -> WaitFor<F::IntoFuture> {
    WaitFor {
        scoped: Scoped::new(Kind::Block, future.into_future()),
        sleep: sleep_until(deadline),
        grace: None,
        stage: Stage::Running,
    }
}

enum Stage<T> {
    Running,
    /// The deadline has passed and the future was asked to end; its grace limit runs.
    Asked,
    /// The future is over; what it left in flight is not.
    Settling(Result<T, Elapsed>),
    Over,
}

pin_project! {
    /// The future of [`wait_for`] and [`wait_until`].
    ///
    /// # Panics
    ///
    /// Polling it panics if no runtime runs on this thread, or if it was ready before.
    #[must_use = "futures do nothing until they are awaited"]
    pub struct WaitFor<F: Future> {
        #[pin]
        scoped: Scoped<F>,
        sleep: Sleep,
        grace: Option<Duration>,
        stage: Stage<F::Output>,
    }
}

impl<F: Future> WaitFor<F> {
    /// Bounds how long the future has to end after the deadline: then it is dropped, and what the
    /// kernel has not let go of is left behind, and counted by [`Elapsed::operations_left`].
    pub fn grace(mut self, limit: Duration) -> WaitFor<F> {
        self.grace = Some(limit);
        self
    }
}

impl<F: Future> Future for WaitFor<F> {
    type Output = Result<F::Output, Elapsed>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if matches!(this.stage, Stage::Settling(_)) {
            // The end of its last operation wakes whoever polls it now.
            this.scoped.as_mut().project().place.polled(context.waker());
        }
        if matches!(this.stage, Stage::Running | Stage::Asked) {
            match this.scoped.as_mut().poll(context) {
                Poll::Ready(Ok(value)) => *this.stage = Stage::Settling(Ok(value)),
                Poll::Ready(Err(Ended)) => *this.stage = Stage::Settling(Err(Elapsed::new(0))),
                Poll::Pending => {}
            }
        }
        let is_running = matches!(this.stage, Stage::Running);
        if is_running && Pin::new(&mut *this.sleep).poll(context).is_ready() {
            this.scoped.place.ask(None);
            this.sleep.reset(grace_end(*this.grace));
            *this.stage = Stage::Asked;
            if this.scoped.is_quiet_and_asked() {
                this.scoped.as_mut().drop_future();
                *this.stage = Stage::Settling(Err(Elapsed::new(0)));
            }
        }
        let has_grace = this.grace.is_some() && !matches!(this.stage, Stage::Running);
        let is_late = has_grace && Pin::new(&mut *this.sleep).poll(context).is_ready();
        if is_late && matches!(this.stage, Stage::Asked) {
            this.scoped.as_mut().drop_future();
            *this.stage = Stage::Settling(Err(Elapsed::new(0)));
        }
        finish(this.scoped, this.stage, is_late)
    }
}

fn grace_end(grace: Option<Duration>) -> Instant {
    Instant::now() + grace.unwrap_or(Duration::MAX)
}

fn finish<F: Future>(
    scoped: Pin<&mut Scoped<F>>,
    stage: &mut Stage<F::Output>,
    is_late: bool,
) -> Poll<Result<F::Output, Elapsed>> {
    let place = scoped.project().place;
    match stage {
        Stage::Running | Stage::Asked => return Poll::Pending,
        Stage::Settling(_) if !place.settle() && !is_late => return Poll::Pending,
        _ => {}
    }
    let left = place.scope().map_or(0, |scope| scope.in_flight());
    place.close(false);
    match std::mem::replace(stage, Stage::Over) {
        Stage::Settling(Ok(value)) => Poll::Ready(Ok(value)),
        Stage::Settling(Err(_)) => Poll::Ready(Err(Elapsed::new(left))),
        _ => panic!("a WaitFor was polled after it was ready"),
    }
}

/// Runs a block under a deadline that it may move: asyncio's `async with timeout(..) as t`. At the
/// deadline the block is dropped, as by [`timeout`](super::timeout).
///
/// ```
/// use corio::time::{Duration, Instant, timeout_scope};
/// # corio::run(async {
/// let outcome = timeout_scope(Duration::from_millis(1), async |scope| {
///     scope.reschedule(Some(Instant::now() + Duration::from_secs(60)));
///     corio::sleep(Duration::from_millis(5)).await;
///     "in time"
/// });
/// assert_eq!(outcome.await.unwrap(), "in time");
/// # });
/// ```
///
/// # Cancellation
///
/// That of the block.
pub fn timeout_scope<B, F>(duration: Duration, block: B) -> TimeoutBlock<F>
where
    B: FnOnce(TimeoutScope) -> F,
    F: Future,
{
    let scope = TimeoutScope { shared: Rc::default() };
    scope.shared.borrow_mut().deadline = Some(Instant::now() + duration);
    let block = block(scope.clone());
    TimeoutBlock { block, scope, sleep: None }
}

/// The deadline of a [`timeout_scope`].
#[derive(Clone)]
pub struct TimeoutScope {
    shared: Rc<RefCell<Shared>>,
}

#[derive(Default)]
struct Shared {
    deadline: Option<Instant>,
    is_expired: bool,
    waker: Option<Waker>,
}

impl TimeoutScope {
    /// When the block is dropped; `None` for never.
    #[doc(alias = "deadline")]
    pub fn when(&self) -> Option<Instant> {
        self.shared.borrow().deadline
    }

    /// Moves the deadline; `None` for never. One that has passed ends the block at its next wait.
    /// After the block's end it changes nothing.
    pub fn reschedule(&self, deadline: Option<Instant>) {
        let waker = {
            let mut shared = self.shared.borrow_mut();
            if shared.is_expired {
                return;
            }
            shared.deadline = deadline;
            shared.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the deadline has ended the block.
    #[doc(alias = "expired")]
    pub fn is_expired(&self) -> bool {
        self.shared.borrow().is_expired
    }
}

impl fmt::Debug for TimeoutScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (when, is_expired) = (self.when(), self.is_expired());
        f.debug_struct("TimeoutScope")
            .field("when", &when)
            .field("is_expired", &is_expired)
            .finish()
    }
}

pin_project! {
    /// The future of [`timeout_scope`].
    ///
    /// # Panics
    ///
    /// Polling it panics if no runtime runs on this thread.
    #[must_use = "futures do nothing until they are awaited"]
    pub struct TimeoutBlock<F> {
        #[pin]
        block: F,
        scope: TimeoutScope,
        sleep: Option<Sleep>,
    }
}

impl<F: Future> Future for TimeoutBlock<F> {
    type Output = Result<F::Output, Elapsed>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(value) = this.block.poll(context) {
            return Poll::Ready(Ok(value));
        }
        let waker = context.waker().clone();
        let (deadline, old) = {
            let mut shared = this.scope.shared.borrow_mut();
            (shared.deadline, shared.waker.replace(waker))
        };
        drop(old);
        let Some(deadline) = deadline else {
            *this.sleep = None;
            return Poll::Pending;
        };
        let sleep = this.sleep.get_or_insert_with(|| sleep_until(deadline));
        if sleep.deadline() != deadline {
            sleep.reset(deadline);
        }
        if Pin::new(sleep).poll(context).is_pending() {
            return Poll::Pending;
        }
        this.scope.shared.borrow_mut().is_expired = true;
        Poll::Ready(Err(Elapsed::new(0)))
    }
}
