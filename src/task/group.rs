//! Groups: tasks that never outlive a block.
//!
//! ```text
//!            a child or the body fails, `cancel`, or            body over,
//!            what is around is asked to end                    no child left
//!   Open ──────────────────────────────────────────▶ Ending ───────────────▶ Over
//!     └────────────────── body over, no child left ────────────────────────────▲
//! ```
//!
//! The children are tasks of their own; the body is polled in a scope of its own, so that it can be
//! asked to end as they are. A child that fails leaves its error with the group and asks everybody
//! else to end. The group is ready when all have ended, with all errors. If it is dropped instead,
//! its children are ended the hard way, and the runtime reaps them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, Ready, ready};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::group_error::{Failure, GroupError, TaskError, Untold};
use super::{Builder, JoinError, JoinHandle, TaskOutput};
use crate::executor::Core;
use crate::executor::scope::{Kind, Scope};
use crate::executor::scoped::{Ended, Place, Scoped};
use crate::executor::task::{AnyTask, How, Observe, Phase, Task};
use crate::time::{Sleep, sleep};

/// Runs `body` with a group of tasks, and waits for all of them: no task of the group outlives
/// this call.
///
/// The first task that fails, by an `Err` or by a panic, has all others asked to end, and the body
/// with them; all errors are collected. Tasks that are cancelled on their own are no failures.
///
/// If whoever awaits the group is asked to end, the tasks are asked as well; errors that come up
/// then are returned, not lost. If the group is dropped, its tasks are dropped.
///
/// ```
/// use corio::task::task_group;
/// # corio::run(async {
/// let sum = task_group(async |group| {
///     let one = group.spawn(async { 1 });
///     let two = group.spawn(async { 2 });
///     one.await.unwrap() + two.await.unwrap()
/// });
/// assert_eq!(sum.await.unwrap(), 3);
///
/// let failed = task_group(async |group| {
///     group.spawn(async { Err::<(), _>("no luck") });
///     group.spawn(std::future::pending::<()>()); // It is asked to end.
/// });
/// assert_eq!(failed.await.unwrap_err().to_string(), "1 task of a group failed: no luck");
/// # });
/// ```
///
/// # Cancellation
///
/// **Weak**: dropping it drops its tasks, wherever they are.
#[doc(alias = "TaskGroup")]
#[doc(alias = "open_nursery")]
pub fn task_group<B, F>(body: B) -> GroupFuture<F>
where
    B: FnOnce(TaskGroup) -> F,
    F: Future,
    F::Output: TaskOutput,
{
    let group = TaskGroup::new();
    let future = body(group.clone());
    GroupFuture::new(group.shared, future)
}

/// A group of tasks, to be spawned into: see [`task_group`].
///
/// It may be cloned into its tasks, which then may spawn more.
#[derive(Clone)]
pub struct TaskGroup {
    shared: Rc<Shared>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Open,
    Ending,
    Over,
}

struct Shared {
    stage: Cell<Stage>,
    live_count: Cell<usize>,
    /// Children since those that have ended were last forgotten.
    spawned_count: Cell<usize>,
    /// A child ended since it was cancelled.
    lost_child: Cell<bool>,
    errors: Untold,
    /// Children that were spawned before the group was first polled; later ones are in its scope.
    early: RefCell<Vec<Rc<dyn AnyTask>>>,
    scope: RefCell<Option<Rc<Scope>>>,
    body_scope: RefCell<Option<Rc<Scope>>>,
    waker: RefCell<Option<Waker>>,
}

impl TaskGroup {
    /// A group without a body, for [`join`](Self::join). Until that is polled nobody waits for its
    /// tasks; they run all the same.
    pub fn new() -> TaskGroup {
        TaskGroup {
            shared: Rc::new(Shared {
                stage: Cell::new(Stage::Open),
                live_count: Cell::new(0),
                spawned_count: Cell::new(0),
                lost_child: Cell::new(false),
                errors: Untold::default(),
                early: RefCell::default(),
                scope: RefCell::default(),
                body_scope: RefCell::default(),
                waker: RefCell::default(),
            }),
        }
    }

    /// Starts a task in the group. In one that is ending or over, the task is cancelled before it
    /// runs.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> ChildHandle<<F::Output as TaskOutput>::Value>
    where
        F: Future + 'static,
        F::Output: TaskOutput,
        <F::Output as TaskOutput>::Value: 'static,
    {
        self.spawn_with(Builder::new(), future)
    }

    /// Starts a task in the group with a name, or at once: see [`spawn`](Self::spawn).
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn spawn_with<F>(
        &self,
        builder: Builder,
        future: F,
    ) -> ChildHandle<<F::Output as TaskOutput>::Value>
    where
        F: Future + 'static,
        F::Output: TaskOutput,
        <F::Output as TaskOutput>::Value: 'static,
    {
        let core = Core::current();
        let child = Child { future, shared: Rc::clone(&self.shared) };
        let task = core.spawn(child, Location::caller(), false);
        if self.shared.stage.get() == Stage::Over {
            // Nobody waits for it, and nobody lists it.
            core.ask_task(&*task, None);
        } else if task.header().observe(Rc::<Shared>::clone(&self.shared)) {
            let child: Rc<dyn AnyTask> = Rc::<Task<Child<F>>>::clone(&task);
            self.shared.adopt(child);
            if self.shared.stage.get() != Stage::Open {
                core.ask_task(&*task, None);
            }
            builder.start(&core, &task);
        }
        ChildHandle { handle: JoinHandle::new(task, &core) }
    }

    /// Asks every task of the group to end, and the body. It is no failure; a body that was cut
    /// short by it makes an error without tasks, that says [`GroupError::is_cancelled`].
    pub fn cancel(&self) {
        if let Some(core) = Core::try_current() {
            self.shared.end(&core, None);
        }
    }

    /// Tasks of the group that have not ended.
    pub fn len(&self) -> usize {
        self.shared.live_count.get()
    }

    /// Whether all tasks of the group have ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for all tasks of the group, with no body beside them.
    pub fn join(self) -> GroupFuture<Ready<()>> {
        GroupFuture::new(self.shared, ready(()))
    }
}

impl Default for TaskGroup {
    fn default() -> TaskGroup {
        TaskGroup::new()
    }
}

impl fmt::Debug for TaskGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = self.shared.stage.get();
        f.debug_struct("TaskGroup").field("stage", &stage).field("tasks", &self.len()).finish()
    }
}

impl Shared {
    fn adopt(&self, task: Rc<dyn AnyTask>) {
        self.live_count.set(self.live_count.get() + 1);
        self.spawned_count.set(self.spawned_count.get() + 1);
        let scope = self.scope.borrow();
        match &*scope {
            Some(scope) => drop(scope.join(task)),
            None => self.early.borrow_mut().push(task),
        }
    }

    /// The group's scope: whoever asks around it asks the children.
    fn opened(&self, scope: &Rc<Scope>) {
        for task in self.early.take() {
            scope.join(task);
        }
        self.scope.replace(Some(Rc::clone(scope)));
    }

    fn children(&self) -> Vec<Rc<dyn AnyTask>> {
        let mut children = self.early.borrow().clone();
        let scope = self.scope.borrow();
        children.extend(scope.iter().flat_map(|scope| scope.joined()));
        children
    }

    /// Asks everybody to end, once.
    fn end(&self, core: &Rc<Core>, reason: Option<Arc<str>>) {
        if self.stage.get() != Stage::Open {
            return;
        }
        self.stage.set(Stage::Ending);
        for child in self.children() {
            core.ask_task(&*child, reason.clone());
        }
        let body = self.body_scope.borrow().clone();
        if let Some(body) = body {
            core.wake_each(body.ask(reason));
        }
        self.wake(core);
    }

    fn fail(&self, core: &Rc<Core>, error: TaskError) {
        let reason = format!("another task of its group failed: {error}");
        self.errors.push(error);
        self.end(core, Some(Arc::from(reason)));
    }

    fn wake(&self, core: &Core) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            core.wake(waker);
        }
    }

    fn abort_children(&self) {
        for child in self.children() {
            child.header().abort();
        }
    }

    fn forget_ended(&self) {
        if self.spawned_count.get() < 64 + 2 * self.live_count.get() {
            return;
        }
        self.spawned_count.set(self.live_count.get());
        let scope = self.scope.borrow().clone();
        let over = scope.map(|scope| scope.sweep_joins());
        let is_over = |task: &mut Rc<dyn AnyTask>| task.header().phase.get() == Phase::Finished;
        let over_early: Vec<_> = self.early.borrow_mut().extract_if(.., is_over).collect();
        drop((over, over_early));
    }
}

impl Observe for Shared {
    fn ended(self: Rc<Self>, core: &Rc<Core>, how: How) {
        self.live_count.set(self.live_count.get() - 1);
        self.lost_child.set(self.lost_child.get() | (how == How::Cancelled));
        if self.live_count.get() == 0 {
            self.wake(core);
        } else {
            self.forget_ended();
        }
    }
}

pin_project! {
    /// The future of a child, whose failure is its group's.
    struct Child<F> {
        #[pin]
        future: F,
        shared: Rc<Shared>,
    }
}

impl<F: Future> Future for Child<F>
where
    F::Output: TaskOutput,
{
    /// Nothing, if it failed.
    type Output = Option<<F::Output as TaskOutput>::Value>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = catch_unwind(AssertUnwindSafe(|| this.future.poll(context)));
        let failure = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => match output.into_result() {
                Ok(value) => return Poll::Ready(Some(value)),
                Err(error) => Failure::Error(error),
            },
            Err(panic) => Failure::Panic(panic),
        };
        let core = Core::current();
        let task = core.current_task();
        this.shared.fail(&core, TaskError::new(task.as_ref().map(|task| task.header()), failure));
        Poll::Ready(None)
    }
}

/// The handle of a task in a group: a future of its value. Dropping it changes nothing: the group
/// waits for the task.
///
/// # Cancellation
///
/// **Strict**, as a [`JoinHandle`].
#[derive(Debug)]
pub struct ChildHandle<T> {
    handle: JoinHandle<Option<T>>,
}

impl<T> ChildHandle<T> {
    /// As [`JoinHandle::cancel`]. The group goes on without the task.
    pub fn cancel(&self) -> bool {
        self.handle.cancel()
    }

    /// As [`JoinHandle::cancel_with`].
    pub fn cancel_with(&self, reason: impl Into<Arc<str>>) -> bool {
        self.handle.cancel_with(reason)
    }

    /// As [`JoinHandle::abort`].
    pub fn abort(&self) -> bool {
        self.handle.abort()
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// The task itself.
    pub fn task(&self) -> super::TaskRef {
        self.handle.task()
    }
}

impl<T> Future for ChildHandle<T> {
    type Output = Result<T, JoinError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.handle).poll(context);
        polled.map(|outcome| match outcome {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(JoinError::failed(self.handle.id(), self.handle.spawned_at())),
            Err(error) => Err(error),
        })
    }
}

pin_project! {
    /// The future of [`task_group`] and [`TaskGroup::join`]: the body's value, or all errors.
    ///
    /// # Panics
    ///
    /// Polling it panics if no runtime runs on this thread, or if it was ready before.
    #[must_use = "futures do nothing until they are awaited"]
    pub struct GroupFuture<F>
    where
        F: Future,
        F::Output: TaskOutput,
    {
        #[pin]
        body: Scoped<F>,
        inner: Inner<<F::Output as TaskOutput>::Value>,
    }
}

/// What of a group's future needs no pinning.
struct Inner<T> {
    shared: Rc<Shared>,
    place: Place,
    body: Body<T>,
    ended_from_outside: bool,
    grace: Option<Duration>,
    grace_sleep: Option<Sleep>,
}

enum Body<T> {
    Running,
    /// It ended without a value, since it failed or was asked to end.
    Ended,
    Value(T),
    Taken,
}

impl<F> GroupFuture<F>
where
    F: Future,
    F::Output: TaskOutput,
{
    fn new(shared: Rc<Shared>, body: F) -> GroupFuture<F> {
        GroupFuture {
            body: Scoped::new(Kind::Block, body),
            inner: Inner {
                shared,
                place: Place::new(Kind::Block),
                body: Body::Running,
                ended_from_outside: false,
                grace: None,
                grace_sleep: None,
            },
        }
    }

    /// Bounds how long tasks and body have to end once they were asked to: then they are dropped,
    /// and operations that the kernel has not let go of are left behind, and counted by
    /// [`GroupError::operations_left`].
    pub fn grace(mut self, limit: Duration) -> GroupFuture<F> {
        self.inner.grace = Some(limit);
        self
    }
}

impl<F> Future for GroupFuture<F>
where
    F: Future,
    F::Output: TaskOutput,
{
    type Output = Result<<F::Output as TaskOutput>::Value, GroupError>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (core, scope) = this.inner.enter(context.waker());
        if matches!(this.inner.body, Body::Running) {
            let _inside = core.inside(&scope);
            this.inner.poll_body(&core, this.body.as_mut(), context);
        }
        let is_late = this.inner.poll_grace(context).is_ready();
        if is_late {
            this.body.drop_future();
            this.inner.shared.abort_children();
            this.inner.body.end();
        }
        this.inner.poll_end(&scope, is_late)
    }
}

impl<T> Inner<T> {
    #[track_caller]
    fn enter(&mut self, waker: &Waker) -> (Rc<Core>, Rc<Scope>) {
        let is_new = self.place.scope().is_none();
        let (core, scope) = self.place.polled(waker);
        if is_new {
            self.shared.opened(&scope);
        }
        let waker = waker.clone();
        let old = self.shared.waker.borrow_mut().replace(waker);
        drop(old);
        if scope.is_ending_around() && self.shared.stage.get() == Stage::Open {
            self.ended_from_outside = true;
            self.shared.end(&core, scope.reason_around());
        }
        (core, scope)
    }

    fn poll_body<F>(
        &mut self,
        core: &Rc<Core>,
        mut body: Pin<&mut Scoped<F>>,
        context: &mut Context<'_>,
    ) where
        F: Future,
        F::Output: TaskOutput<Value = T>,
    {
        let polled = catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(context)));
        let failure = match polled {
            Ok(Poll::Pending) => return self.body_waits(core, body),
            Ok(Poll::Ready(Err(Ended))) => None,
            Ok(Poll::Ready(Ok(output))) => match output.into_result() {
                Ok(value) => {
                    self.body = Body::Value(value);
                    drop(body.project().place.close(false));
                    return;
                }
                Err(error) => Some(Failure::Error(error)),
            },
            Err(panic) => Some(Failure::Panic(panic)),
        };
        body.as_mut().drop_future();
        drop(body.project().place.close(true));
        self.body = Body::Ended;
        if let Some(failure) = failure {
            self.shared.fail(core, TaskError::new(None, failure));
        }
    }

    /// The body can be asked from its first poll on; one that waits in a group which ends already
    /// is asked now.
    fn body_waits<F: Future>(&mut self, core: &Rc<Core>, mut body: Pin<&mut Scoped<F>>) {
        let scope = body.place.scope().cloned();
        let is_first = self.shared.body_scope.borrow().is_none();
        self.shared.body_scope.replace(scope.clone());
        if let Some(scope) = scope.filter(|_| is_first && self.shared.stage.get() != Stage::Open) {
            core.wake_each(scope.ask(None));
        }
        if body.is_quiet_and_asked() {
            body.as_mut().drop_future();
            drop(body.project().place.close(true));
            self.body = Body::Ended;
        }
    }

    fn poll_grace(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.grace.filter(|_| self.shared.stage.get() == Stage::Ending) else {
            return Poll::Pending;
        };
        let sleep = self.grace_sleep.get_or_insert_with(|| sleep(limit));
        Pin::new(sleep).poll(context)
    }

    fn poll_end(&mut self, scope: &Rc<Scope>, is_late: bool) -> Poll<Result<T, GroupError>> {
        let is_over = !matches!(self.body, Body::Running) && self.shared.live_count.get() == 0;
        let is_quiet = is_late || (is_over && self.place.settle());
        if !is_quiet {
            return Poll::Pending;
        }
        let has_value = matches!(self.body, Body::Value(_));
        let was_cut = self.ended_from_outside && (!has_value || self.shared.lost_child.get());
        let has_errors = !self.shared.errors.is_empty();
        let is_over_already = matches!(self.body, Body::Taken);
        if !is_over_already && !has_errors && was_cut && !is_late && scope.is_ending_around() {
            // It was ended by the request that ends whoever waits here.
            return Poll::Pending;
        }
        let (errors, value) = (self.shared.errors.take(), self.body.take());
        let operations_left = scope.in_flight();
        self.shared.stage.set(Stage::Over);
        self.place.close(false);
        Poll::Ready(match value {
            Some(value) if errors.is_empty() => Ok(value),
            _ => Err(GroupError::new(errors, operations_left)),
        })
    }
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        self.shared.stage.set(Stage::Over);
        self.shared.abort_children();
        // A group that is kept keeps neither these nor, by them, its task.
        let scopes = (self.shared.scope.take(), self.shared.body_scope.take());
        let waker = self.shared.waker.take();
        drop((scopes, waker, self.shared.early.take()));
    }
}

impl<T> Body<T> {
    fn end(&mut self) {
        if matches!(self, Body::Running) {
            *self = Body::Ended;
        }
    }

    fn take(&mut self) -> Option<T> {
        match std::mem::replace(self, Body::Taken) {
            Body::Value(value) => Some(value),
            Body::Taken => panic!("a group was polled after it was ready"),
            Body::Running | Body::Ended => None,
        }
    }
}
