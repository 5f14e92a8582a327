//! Waiting for some of many tasks, without ending any.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{JoinHandle, TaskOutput};
use crate::time::{Sleep, sleep};

/// When a [`wait`] is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// One task has ended.
    #[doc(alias = "FIRST_COMPLETED")]
    FirstCompleted,
    /// One task has failed, by an `Err` or by a panic, or all have ended.
    #[doc(alias = "FIRST_EXCEPTION")]
    FirstException,
    /// All tasks have ended.
    #[doc(alias = "ALL_COMPLETED")]
    AllCompleted,
}

/// Waits for tasks, and moves those that have ended out of `tasks`; the others stay there and go
/// on. It never fails and never cancels: the outcomes are in the handles.
///
/// Without tasks it is ready at once.
///
/// ```
/// use corio::task::{When, wait};
/// # corio::run(async {
/// let mut tasks = vec![
///     corio::spawn(async { "quick" }),
///     corio::spawn(async {
///         corio::sleep(std::time::Duration::from_secs(60)).await;
///         "slow"
///     }),
/// ];
/// let done = wait(&mut tasks, When::FirstCompleted).await;
/// assert_eq!((done.len(), tasks.len()), (1, 1));
/// for task in done {
///     assert_eq!(task.await.unwrap(), "quick");
/// }
/// # });
/// ```
///
/// # Cancellation
///
/// **Strict**: the handles stay in `tasks`, and the tasks are not asked to end.
pub fn wait<T: TaskOutput>(tasks: &mut Vec<JoinHandle<T>>, when: When) -> Wait<'_, T> {
    Wait { tasks, when, sleep: None }
}

/// The future of [`wait`]: the tasks that have ended, in the order they were listed.
#[must_use = "futures do nothing until they are awaited"]
pub struct Wait<'a, T> {
    tasks: &'a mut Vec<JoinHandle<T>>,
    when: When,
    sleep: Option<Sleep>,
}

impl<T> Wait<'_, T> {
    /// Waits for at most this long, and then gives those that have ended, which may be none.
    pub fn timeout(mut self, duration: Duration) -> Self {
        self.sleep = Some(sleep(duration));
        self
    }
}

impl<T: TaskOutput> Wait<'_, T> {
    fn is_over(&self) -> bool {
        let failed = |task: &JoinHandle<T>| {
            task.any_task().outcome_is(&|outcome| match outcome {
                Ok(output) => output.is_failure(),
                Err(error) => error.is_panic(),
            })
        };
        let all = || self.tasks.iter().all(JoinHandle::is_finished);
        match self.when {
            When::FirstCompleted => {
                self.tasks.is_empty() || self.tasks.iter().any(JoinHandle::is_finished)
            }
            When::FirstException => all() || self.tasks.iter().any(failed),
            When::AllCompleted => all(),
        }
    }
}

impl<T: TaskOutput> Future for Wait<'_, T> {
    type Output = Vec<JoinHandle<T>>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let is_over = self.is_over() || {
            let sleep = self.sleep.as_mut().map(Pin::new);
            sleep.is_some_and(|sleep| sleep.poll(context).is_ready())
        };
        if is_over {
            return Poll::Ready(self.tasks.extract_if(.., |task| task.is_finished()).collect());
        }
        for task in self.tasks.iter().filter(|task| !task.is_finished()) {
            task.running_core();
            task.join_by(context.waker());
        }
        Poll::Pending
    }
}

impl<T> fmt::Debug for Wait<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wait({:?} of {} tasks)", self.when, self.tasks.len())
    }
}
