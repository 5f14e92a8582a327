//! Where a task notices that it was asked to end, and how it keeps others out of that.
//!
//! `executor/scope.rs` draws what becomes of a request; `docs/CANCELLATION.md` says when to use
//! what.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::{JoinError, JoinHandle};
use crate::executor::Core;
use crate::executor::scope::{Kind, Request};
use crate::executor::scoped::{Ended, Scoped};

/// Runs `future`, and answers for a cancellation around it: the task goes on behind this border,
/// and may clean up with awaits. It is asyncio's `try: .. except CancelledError:`.
///
/// A request to cancel the task (or the group, or the `wait_for` around) is taken by its innermost
/// borders, each at its next poll. The future inside then ends softly: its operations are asked to
/// end, and if it becomes ready all the same its value wins. Such a value does not swallow the
/// request: the next border takes it, or the task ends at its next wait.
///
/// A future that must go on in spite of a request belongs into [`shield`].
///
/// ```
/// # corio::run(async {
/// let task = corio::spawn(async {
///     match corio::task::catch_cancel(std::future::pending::<()>()).await {
///         Ok(()) => "done",
///         Err(cancelled) => {
///             corio::yield_now().await; // Cleaning up may take its time.
///             assert_eq!(cancelled.reason(), Some("too late"));
///             "cleaned up"
///         }
///     }
/// });
/// corio::yield_now().await;
/// task.cancel_with("too late");
/// assert_eq!(task.await.unwrap(), "cleaned up");
/// # });
/// ```
///
/// # Cancellation
///
/// That of the future. Dropping the border drops the future inside, and a request that it was told
/// of is told anew to others.
#[doc(alias = "CancelledError")]
pub fn catch_cancel<F: IntoFuture>(future: F) -> CatchCancel<F::IntoFuture> {
    CatchCancel { scoped: Scoped::new(Kind::Border, future.into_future()) }
}

pin_project! {
    /// The future of [`catch_cancel`].
    ///
    /// # Panics
    ///
    /// Polling it panics if no runtime runs on this thread, or if it was ready before.
    #[must_use = "futures do nothing until they are awaited"]
    pub struct CatchCancel<F> {
        #[pin]
        scoped: Scoped<F>,
    }
}

impl<F: Future> Future for CatchCancel<F> {
    type Output = Result<F::Output, Cancelled>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut scoped = self.project().scoped;
        match scoped.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(value)) => {
                scoped.project().place.close(false);
                Poll::Ready(Ok(value))
            }
            Poll::Ready(Err(Ended)) => {
                let requests = scoped.project().place.close(true);
                Poll::Ready(Err(Cancelled { requests }))
            }
        }
    }
}

/// The future inside a [`catch_cancel`] was cancelled.
pub struct Cancelled {
    requests: Vec<Rc<Request>>,
}

impl Cancelled {
    /// Why, if whoever asked said so.
    pub fn reason(&self) -> Option<&str> {
        self.requests.iter().find_map(|request| request.reason()).map(|reason| &**reason)
    }

    /// Goes on with the cancellation, once cleaning up is done: asyncio's `raise`. The next border
    /// around takes it, or whatever was asked ends. Where that is over (a `wait_for` whose value
    /// this cancellation was), the task around ends. It is never ready.
    ///
    /// # Panics
    ///
    /// If what was asked is over and there is no task around, but the future of `block_on`.
    ///
    /// # Cancellation
    ///
    /// **Strict**: dropping it before its first poll takes the cancellation for dealt with.
    pub async fn resume(self) -> std::convert::Infallible {
        if let Some(core) = Core::try_current() {
            let place = core.current_scope();
            let resumed = self.requests.iter().filter_map(|request| request.resume(&place));
            let mut is_resumed = false;
            for woken in resumed.collect::<Vec<_>>() {
                is_resumed = true;
                core.wake_each(woken);
            }
            if !is_resumed {
                end_with_task(&core, self.reason().map(Arc::from));
            }
        }
        std::future::pending().await
    }
}

/// Ends the task that is polled now, or the border in it, as an exception would.
pub(super) fn end_with_task(core: &Core, reason: Option<Arc<str>>) {
    let scope = core.current_scope().answerer();
    assert!(
        !scope.is_main(),
        "a cancellation goes on in the future of `block_on`, which has no end but its value"
    );
    core.wake_each(scope.ask(reason));
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelled").field("reason", &self.reason()).finish()
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(reason) => write!(f, "cancelled: {reason}"),
            None => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for Cancelled {}

/// Whether the scope that is polled now, or one around it, was asked to end and nobody has answered
/// for that yet. False outside of a task.
#[doc(alias = "uncancel")]
pub fn cancelling() -> bool {
    let Some(core) = Core::try_current() else { return false };
    core.current_scope().is_asked_around()
}

/// Runs `future` as a task of its own, which goes on when whoever waits for it is cancelled.
///
/// Dropping the wait, softly or not, leaves the task running. If it panics then, that is reported
/// as any unobserved panic is.
///
/// ```
/// use corio::time::Duration;
/// # corio::run(async {
/// let saved = std::rc::Rc::new(std::cell::Cell::new(false));
/// let note = saved.clone();
/// let save = corio::task::shield(async move {
///     corio::sleep(Duration::from_millis(2)).await;
///     note.set(true);
/// });
/// assert!(corio::time::wait_for(Duration::ZERO, save).await.is_err());
/// corio::sleep(Duration::from_millis(10)).await;
/// assert!(saved.get(), "it was not cancelled with its waiter");
/// # });
/// ```
///
/// # Panics
///
/// If no runtime runs on this thread.
#[track_caller]
pub fn shield<F>(future: F) -> Shielded<F::Output>
where
    F: IntoFuture,
    F::IntoFuture: 'static,
    F::Output: 'static,
{
    let core = Core::current();
    let task = core.spawn(future.into_future(), Location::caller(), false);
    core.spawned(&task, None);
    Shielded { handle: JoinHandle::new(task, &core) }
}

/// The future of [`shield`]: the task's outcome.
///
/// # Cancellation
///
/// **Strict**: the task goes on.
#[must_use = "futures do nothing until they are awaited"]
#[derive(Debug)]
pub struct Shielded<T> {
    handle: JoinHandle<T>,
}

impl<T> Future for Shielded<T> {
    type Output = Result<T, JoinError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.handle.poll_aside(context)
    }
}
