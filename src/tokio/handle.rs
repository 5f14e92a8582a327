//! The handle of a task that runs on the tokio runtime.
//!
//! tokio's own handle may be polled by anybody, and a waker of corio may be woken from any thread:
//! it is a number. So nothing stands between the two but the drop.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::tokio::task::{JoinError, JoinHandle};

/// The handle of a task that runs on the tokio runtime: a future of its outcome, on any core.
///
/// The error is tokio's: it tells a task that was cancelled from one that panicked, and gives the
/// panic on. If the runtime is shut down, the task is cancelled.
///
/// # Cancellation
///
/// **Strict**, and more than that: dropping the handle cancels the task. tokio drops its future at
/// its next `await`; what it did until then stays done. [`detach`](Self::detach) lets it run.
///
/// # Panics
///
/// Polling it panics if it was ready before.
#[must_use = "dropping it cancels the task; `detach` lets it run"]
pub struct Handle<T> {
    inner: JoinHandle<T>,
    is_detached: bool,
}

impl<T> Handle<T> {
    pub(super) fn new(inner: JoinHandle<T>) -> Handle<T> {
        Handle { inner, is_detached: false }
    }

    /// Asks the task to end. The handle tells whether it did, or was done before.
    pub fn cancel(&self) {
        self.inner.abort();
    }

    /// Whether the task is over and awaiting the handle would be ready at once.
    pub fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }

    /// Lets the task run with nobody waiting for it.
    pub fn detach(mut self) {
        self.is_detached = true;
    }
}

impl<T> Future for Handle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.inner).poll(context)
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        if !self.is_detached {
            self.inner.abort();
        }
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("is_finished", &self.is_finished()).finish()
    }
}
