//! Tasks: starting them, waiting for them, and ending them.
//!
//! `mod` starts tasks and finds them · `handle` is how one is awaited and ended · `cancel` is where
//! a task notices that it was asked to end · `group` keeps tasks inside a block, `borrowing`
//! children that borrow · `gather`, `waiting` and `completed` wait for many, `staggered` for the
//! first success · `done` calls back.

mod borrowing;
mod cancel;
mod completed;
mod done;
mod gather;
mod group;
mod group_error;
mod handle;
mod output;
mod staggered;
mod waiting;

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;

pub use borrowing::{ScopeFuture, TaskScope, scope};
pub use cancel::{Cancelled, CatchCancel, Shielded, cancelling, catch_cancel, shield};
pub use completed::{AsCompleted, AsCompletedWithin, as_completed};
pub use done::{CallbackId, Ended};
pub use gather::{Gather, GatherSet, GatherSettled, Gathered, gather, gather_settled};
pub use group::{ChildHandle, GroupFuture, TaskGroup, task_group};
pub use group_error::{GroupError, TaskError};
pub use handle::{Grace, JoinHandle};
pub use output::TaskOutput;
pub use staggered::race_staggered;
pub use waiting::{Wait, When, wait};

use crate::context::Context;
use crate::executor::Core;
pub use crate::executor::JoinError;
use crate::executor::task::{AnyTask, Phase, Task};

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
#[doc(alias = "ensure_future")]
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let core = Core::current();
    let task = core.spawn(future, Location::caller(), false);
    core.spawned(&task, None);
    JoinHandle::new(task, &core)
}

/// Starts a task with a name, in a context, or with its first step at once.
///
/// ```
/// # corio::run(async {
/// let task = corio::task::Builder::new().name("adder").eager(true).spawn(async { 1 + 1 });
/// assert_eq!(task.name().as_deref(), Some("adder"));
/// assert!(task.is_finished(), "it did not have to wait");
/// assert_eq!(task.await.unwrap(), 2);
/// # });
/// ```
#[derive(Clone, Default, Debug)]
#[must_use = "a builder starts nothing until `spawn` is called"]
pub struct Builder {
    name: Option<Rc<str>>,
    context: Option<Context>,
    eager: Option<bool>,
}

impl Builder {
    /// A task without a name that starts in the next turn, as [`spawn`] makes it.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the task, for whoever looks at it.
    pub fn name(mut self, name: impl Into<Rc<str>>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Runs the task with the values of this context instead of a copy of the current one. What the
    /// task sets there is seen by nobody else.
    ///
    /// ```
    /// use corio::context::{Context, ContextVar};
    ///
    /// static DEPTH: ContextVar<u32> = ContextVar::with_default("depth", || 0);
    ///
    /// # corio::run(async {
    /// let mut context = Context::new();
    /// context.run(|| DEPTH.set(7));
    /// let task = corio::task::Builder::new().context(context).spawn(async { DEPTH.get() });
    /// assert_eq!(task.await.unwrap(), 7);
    /// # });
    /// ```
    pub fn context(mut self, context: Context) -> Builder {
        self.context = Some(context);
        self
    }

    /// Polls the task once inside of [`spawn`](Self::spawn), before that returns. A task that needs
    /// not wait is finished then. By default as the runtime's
    /// [`eager_tasks`](crate::Builder::eager_tasks) says, which also tells of the depth.
    #[doc(alias = "eager_start")]
    pub fn eager(mut self, eager: bool) -> Builder {
        self.eager = Some(eager);
        self
    }

    /// Starts the task.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let core = Core::current();
        let task = core.spawn(future, Location::caller(), false);
        self.start(&core, &task);
        JoinHandle::new(task, &core)
    }

    fn start<F: Future + 'static>(self, core: &Rc<Core>, task: &Rc<Task<F>>) {
        if let Some(name) = self.name {
            task.header().set_name(name);
        }
        if let Some(context) = self.context {
            task.header().context.swap(context.place());
        }
        core.spawned(task, self.eager);
    }
}

/// A task, seen from outside: who it is, and a way to ask it to end.
#[doc(alias = "AbortHandle")]
#[derive(Clone)]
pub struct TaskRef {
    task: Rc<dyn AnyTask>,
    core: Weak<Core>,
}

impl TaskRef {
    pub(crate) fn new(task: Rc<dyn AnyTask>, core: Weak<Core>) -> TaskRef {
        TaskRef { task, core }
    }

    /// The task's number, unique on its core.
    pub fn id(&self) -> u64 {
        self.task.header().id
    }

    /// The task's name, if it has one.
    #[doc(alias = "get_name")]
    pub fn name(&self) -> Option<Rc<str>> {
        self.task.header().name()
    }

    /// Names the task.
    pub fn set_name(&self, name: impl Into<Rc<str>>) {
        self.task.header().set_name(name.into());
    }

    /// Where it was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.task.header().spawned_at
    }

    /// Whether it has ended.
    #[doc(alias = "done")]
    pub fn is_finished(&self) -> bool {
        self.task.header().phase.get() == Phase::Finished
    }

    /// As [`JoinHandle::cancel`].
    pub fn cancel(&self) -> bool {
        handle::ask(self.task.header(), &self.core, None)
    }

    /// As [`JoinHandle::cancel_with`].
    pub fn cancel_with(&self, reason: impl Into<Arc<str>>) -> bool {
        handle::ask(self.task.header(), &self.core, Some(reason.into()))
    }

    /// As [`JoinHandle::abort`].
    pub fn abort(&self) -> bool {
        self.task.header().abort()
    }
}

impl PartialEq for TaskRef {
    fn eq(&self, other: &TaskRef) -> bool {
        self.task.header().ticket == other.task.header().ticket && self.id() == other.id()
    }
}

impl Eq for TaskRef {}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.id())?;
        if let Some(name) = self.name() {
            write!(f, " `{name}`")?;
        }
        write!(f, " spawned at {}", self.spawned_at())
    }
}

/// The task that is polled now; `None` in the future of `block_on`, and outside of a runtime.
#[doc(alias = "current_task")]
pub fn current() -> Option<TaskRef> {
    let core = Core::try_current()?;
    core.current_task().map(|task| TaskRef::new(task, Rc::downgrade(&core)))
}

/// All tasks of this core that have not ended.
///
/// # Panics
///
/// If no runtime runs on this thread.
#[doc(alias = "all_tasks")]
#[track_caller]
pub fn all() -> Vec<TaskRef> {
    let core = Core::current();
    let tasks = core.live_tasks();
    tasks.into_iter().map(|task| TaskRef::new(task, Rc::downgrade(&core))).collect()
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
