//! The handle of a task: waiting for its outcome, and asking for its end.
//!
//! Whoever awaits a handle is part of what the task's cancellation means: a scope that is asked to
//! end asks the tasks that are awaited in it, too, and waits for them, as asyncio does. Dropping a
//! handle detaches the task and asks nothing.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{JoinError, TaskRef};
use crate::executor::Core;
use crate::executor::scope::Scope;
use crate::executor::task::{AnyTask, Header, Join, Phase};
use crate::time::{Sleep, sleep};

/// The handle of a task: a future of its outcome.
///
/// Dropping it detaches the task.
///
/// # Cancellation
///
/// **Strict**: dropping a wait for the handle loses nothing; the outcome stays with the task until
/// the handle itself takes it. If the task, `wait_for` or group that awaits it is asked to end,
/// this task is asked as well, and waited for; [`shield`](super::shield) keeps it out of that.
///
/// # Panics
///
/// Polling it panics if it was ready before, if a task awaits itself, and if the task has not ended
/// and its runtime is not the one that runs on this thread: then it could not end while somebody
/// waits here.
#[doc(alias = "Task")]
#[doc(alias = "Future")]
pub struct JoinHandle<T> {
    task: Rc<dyn Join<T>>,
    /// Weak, so that a handle that is kept for long does not keep the core of an ended runtime.
    core: Weak<Core>,
    is_taken: bool,
    /// The scope that awaits it, and its key there.
    awaited_in: Option<(Rc<Scope>, u32)>,
}

impl<T> JoinHandle<T> {
    pub(super) fn new(task: Rc<dyn Join<T>>, core: &Rc<Core>) -> JoinHandle<T> {
        JoinHandle { task, core: Rc::downgrade(core), is_taken: false, awaited_in: None }
    }

    fn header(&self) -> &Header {
        self.task.header()
    }

    /// Asks the task to end; false if it has ended already.
    ///
    /// The task is not dropped at once. Its operations in flight are asked to end, as are the tasks
    /// it awaits, and it is polled: if it becomes ready all the same, its value wins, otherwise its
    /// future is dropped as soon as none of its operations is in flight. The handle then says
    /// `is_cancelled`. A task that has never run does not run any more.
    ///
    /// Inside a [`catch_cancel`](super::catch_cancel) the task may clean up, or go on.
    pub fn cancel(&self) -> bool {
        self.ask(None)
    }

    /// As [`cancel`](Self::cancel), and says why: see [`JoinError::reason`] and
    /// [`Cancelled::reason`](super::Cancelled::reason).
    pub fn cancel_with(&self, reason: impl Into<Arc<str>>) -> bool {
        self.ask(Some(reason.into()))
    }

    fn ask(&self, reason: Option<Arc<str>>) -> bool {
        ask(self.header(), &self.core, reason)
    }

    /// Ends the task the hard way; false if it has ended already. Its future is dropped at its next
    /// turn, without being polled again and past every border; the handle says `is_cancelled` once
    /// its operations have ended.
    pub fn abort(&self) -> bool {
        self.header().abort()
    }

    /// Cancels the task, and ends it the hard way if it has not ended in this time.
    ///
    /// ```
    /// use corio::time::Duration;
    /// # corio::run(async {
    /// let stubborn = corio::spawn(corio::task::catch_cancel(std::future::pending::<()>()));
    /// let outcome = stubborn.grace(Duration::from_millis(5)).await;
    /// assert!(outcome.is_err());
    /// # });
    /// ```
    pub fn grace(self, limit: Duration) -> Grace<T> {
        Grace { handle: self, limit, sleep: None }
    }

    /// Whether the task has ended and awaiting it would be ready at once.
    #[doc(alias = "done")]
    pub fn is_finished(&self) -> bool {
        self.header().phase.get() == Phase::Finished
    }

    /// Takes the outcome if the task has ended and nobody took it. Awaiting the handle afterwards
    /// panics.
    #[doc(alias = "result")]
    #[doc(alias = "exception")]
    pub fn try_join(&mut self) -> Option<Result<T, JoinError>> {
        if self.is_taken || !self.is_finished() {
            return None;
        }
        self.leave_scope();
        Some(self.take())
    }

    /// The task's number, unique on its core.
    pub fn id(&self) -> u64 {
        self.header().id
    }

    /// The task's name, if it has one.
    #[doc(alias = "get_name")]
    pub fn name(&self) -> Option<Rc<str>> {
        self.header().name()
    }

    /// Names the task.
    pub fn set_name(&self, name: impl Into<Rc<str>>) {
        self.header().set_name(name.into());
    }

    /// Where the task was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.header().spawned_at
    }

    /// The task itself, to be kept and asked beside the handle.
    #[doc(alias = "abort_handle")]
    pub fn task(&self) -> TaskRef {
        let task: Rc<dyn AnyTask> = Rc::<dyn Join<T>>::clone(&self.task);
        TaskRef::new(task, Weak::clone(&self.core))
    }

    /// Notes in the scope that is polled now that the task is awaited there.
    #[track_caller]
    fn await_in_scope(&mut self, core: &Rc<Core>) {
        let scope = core.current_scope();
        if self.awaited_in.as_ref().is_some_and(|(known, _)| Rc::ptr_eq(known, &scope)) {
            return;
        }
        self.leave_scope();
        let itself = core.current_task().is_some_and(|it| it.header().id == self.id());
        assert!(!itself, "a task cannot await itself: it would never end");
        let key = scope.join(Rc::<dyn Join<T>>::clone(&self.task));
        if scope.is_ending_around() {
            core.ask_task(&*self.task, scope.reason_around());
        }
        self.awaited_in = Some((scope, key));
    }

    fn leave_scope(&mut self) {
        let Some((scope, key)) = self.awaited_in.take() else { return };
        let (task, woken) = scope.unjoin(key);
        match self.core.upgrade() {
            Some(core) => core.wake_each(woken),
            None => woken.into_iter().for_each(Waker::wake),
        }
        drop(task);
    }

    /// Whether the task ended by the request that ends whoever awaits it here, too: that wait has
    /// no outcome. Elsewhere than where it was awaited then, it has one.
    fn has_ended_with_its_waiter(&self) -> bool {
        let Some((scope, _)) = &self.awaited_in else { return false };
        let is_here = |core: Rc<Core>| core.current_scope().is_inside(scope);
        scope.is_ending_around()
            && self.task.was_cancelled()
            && Core::try_current().is_some_and(is_here)
    }

    /// Notes who is to be woken at the end.
    pub(super) fn join_by(&self, waker: &Waker) {
        let header = self.header();
        let old = {
            let known = header.joiner.borrow();
            match &*known {
                Some(known) if known.will_wake(waker) => return,
                _ => drop(known),
            }
            let waker = waker.clone();
            header.joiner.replace(Some(waker))
        };
        drop(old);
    }

    #[track_caller]
    pub(super) fn take(&mut self) -> Result<T, JoinError> {
        self.is_taken = true;
        self.task.take().expect("a JoinHandle was polled after it was ready")
    }
}

/// Asks a task to end, also while its runtime rests or from another one.
pub(super) fn ask(header: &Header, core: &Weak<Core>, reason: Option<Arc<str>>) -> bool {
    let (is_live, woken) = header.ask(reason);
    match core.upgrade() {
        Some(core) => core.wake_each(woken),
        None => woken.into_iter().for_each(Waker::wake),
    }
    is_live
}

impl<T> JoinHandle<T> {
    /// The core that runs here, which may finish the task.
    #[track_caller]
    pub(super) fn running_core(&self) -> Rc<Core> {
        match Core::try_current() {
            Some(core) if Core::runs_here(self.header().ticket) => core,
            _ => panic!(
                "a JoinHandle was awaited outside of its runtime, where its task cannot run: await \
                 it inside the `block_on` of the runtime that spawned the task"
            ),
        }
    }

    /// Polls for the outcome without passing a request to end on to the task.
    #[track_caller]
    pub(super) fn poll_aside(&mut self, context: &Context<'_>) -> Poll<Result<T, JoinError>> {
        if self.is_finished() {
            return Poll::Ready(self.take());
        }
        self.running_core();
        self.join_by(context.waker());
        Poll::Pending
    }

    pub(super) fn any_task(&self) -> &Rc<dyn Join<T>> {
        &self.task
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_finished() {
            if self.has_ended_with_its_waiter() {
                return Poll::Pending;
            }
            self.leave_scope();
            return Poll::Ready(self.take());
        }
        let core = self.running_core();
        self.await_in_scope(&core);
        self.join_by(context.waker());
        Poll::Pending
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.leave_scope();
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
        write!(f, "JoinHandle({:?})", self.task())
    }
}

/// The future of [`JoinHandle::grace`]: the task's outcome, in bounded time.
///
/// An outcome that came by the limit although the kernel had not let go of all operations says how
/// many there were: [`JoinError::operations_left`].
///
/// # Cancellation
///
/// **Strict**: dropping it detaches the task. If it was polled, the task was asked to end.
#[must_use = "futures do nothing until they are awaited"]
pub struct Grace<T> {
    handle: JoinHandle<T>,
    limit: Duration,
    sleep: Option<Sleep>,
}

impl<T> Future for Grace<T> {
    type Output = Result<T, JoinError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let limit = this.limit;
        let sleep = this.sleep.get_or_insert_with(|| {
            this.handle.cancel();
            sleep(limit)
        });
        if let Poll::Ready(outcome) = Pin::new(&mut this.handle).poll(context) {
            return Poll::Ready(outcome);
        }
        if Pin::new(sleep).poll(context).is_pending() {
            return Poll::Pending;
        }
        if this.handle.abort() {
            // Its future is dropped in the next turn, and then its outcome is known.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.handle.leave_scope();
        let left = this.handle.header().in_flight();
        Poll::Ready(this.handle.take().map_err(|error| error.leaving(left)))
    }
}

impl<T> fmt::Debug for Grace<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grace").field("handle", &self.handle).field("limit", &self.limit).finish()
    }
}
