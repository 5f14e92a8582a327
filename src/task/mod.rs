//! Tasks: `spawn`, the handle of a task, and giving others a turn.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use crate::executor::Core;
pub use crate::executor::JoinError;
use crate::executor::task::{Join, Phase};

/// Starts a task: the future runs on this core, from the next turn of its loop on.
///
/// The future need not be `Send`. The runtime owns it: dropping the handle detaches the task, which
/// runs on. Awaiting the handle gives the task's value.
///
/// In a runtime that is ending, the future is dropped at once and the handle says `is_cancelled`.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// ```
/// # corio::run(async {
/// let answer = corio::spawn(async { 6 * 7 });
/// assert_eq!(answer.await.unwrap(), 42);
/// # });
/// ```
#[doc(alias = "create_task")]
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let core = Core::current();
    let task = core.spawn(future, Location::caller(), false);
    JoinHandle { task, core: Rc::downgrade(&core), is_taken: false }
}

/// The handle of a task: a future of its outcome.
///
/// Dropping it detaches the task.
///
/// # Cancellation
///
/// **Strict**: dropping a wait for the handle loses nothing; the outcome stays with the task until
/// the handle itself takes it.
///
/// # Panics
///
/// Polling it panics if it was ready before, and if the task has not ended and its runtime is not
/// the one that runs on this thread: then it could not end while somebody waits here.
#[doc(alias = "Task")]
pub struct JoinHandle<T> {
    task: Rc<dyn Join<T>>,
    /// Weak, so that a handle that is kept for long does not keep the core of an ended runtime.
    core: Weak<Core>,
    is_taken: bool,
}

impl<T> JoinHandle<T> {
    /// Asks the task to end; false if it has ended already.
    ///
    /// The task is not dropped at once. Its operations in flight are asked to end and it is polled:
    /// if it becomes ready all the same, its value wins, otherwise its future is dropped as soon as
    /// none of its operations is in flight. The handle then says `is_cancelled`.
    pub fn cancel(&self) -> bool {
        let header = self.task.header();
        if header.phase.get() != Phase::Live {
            return false;
        }
        header.cancel.set(true);
        header.ticket.wake();
        true
    }

    /// Whether the task has ended and awaiting it would be ready at once.
    #[doc(alias = "done")]
    pub fn is_finished(&self) -> bool {
        self.task.header().phase.get() == Phase::Finished
    }

    /// The task's number, unique on its core.
    pub fn id(&self) -> u64 {
        self.task.header().id
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.task.header().phase.get() == Phase::Finished {
            self.is_taken = true;
            let outcome = self.task.take();
            return Poll::Ready(outcome.expect("a JoinHandle was polled after it was ready"));
        }
        let header = self.task.header();
        // Only the core that runs here may finish the task.
        assert!(
            Core::runs_here(header.ticket),
            "a JoinHandle was awaited outside of its runtime, where its task cannot run: await it \
             inside the `block_on` of the runtime that spawned the task"
        );
        let old = {
            let known = header.joiner.borrow();
            match &*known {
                Some(waker) if waker.will_wake(context.waker()) => return Poll::Pending,
                _ => drop(known),
            }
            let waker = context.waker().clone();
            header.joiner.replace(Some(waker))
        };
        drop(old);
        Poll::Pending
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        let header = self.task.header();
        header.has_handle.set(false);
        if header.phase.get() != Phase::Finished {
            // Nobody is to be woken any more, and if the waker's drop panics, then here.
            drop(header.joiner.take());
            return;
        }
        if self.is_taken {
            return;
        }
        match self.core.upgrade() {
            Some(core) => core.report_panic(&*self.task),
            None => crate::executor::report_panic_without_core(&*self.task),
        }
        // Here, so that a panic in the drop of a value meets whoever dropped the handle, and not
        // the core if that happens to be the last to hold the task.
        drop(self.task.take());
    }
}

impl<T> Unpin for JoinHandle<T> {}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.task.header();
        write!(f, "JoinHandle(task {} spawned at {})", header.id, header.spawned_at)
    }
}

/// Lets every other ready task run before this one goes on: asyncio's `sleep(0)`.
///
/// # Cancellation
///
/// **Strict**: there is nothing to lose.
///
/// ```
/// # corio::run(async {
/// corio::yield_now().await;
/// # });
/// ```
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(move |context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
