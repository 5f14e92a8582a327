//! Children that borrow from their parent: they live inside the parent's own future.
//!
//! A task must be `'static`, since nothing keeps whoever spawned it from going away. Here the
//! children are futures in a set that the scope's future owns and polls, so they end with it, and
//! the compiler checks what they borrow. Each is polled in a scope of its own, in which it can be
//! asked to end; the price is that all of them take turns in one task.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;

use super::TaskOutput;
use super::group_error::{Failure, GroupError, TaskError};
use crate::executor::scope::Kind;
use crate::executor::scoped::{Ended, Scoped};

/// Runs `body` with children that may borrow what lives around the call, and waits for all of them.
///
/// As in [`task_group`](super::task_group) the first failure asks all others to end, and the body
/// with them; all errors are collected. The children are no tasks: they run within the one that
/// awaits this.
///
/// ```
/// use std::cell::Cell;
/// # corio::run(async {
/// let sum = &Cell::new(0);
/// let outcome = corio::task::scope(async |scope| {
///     for number in 1..=3 {
///         scope.spawn(async move { sum.set(sum.get() + number) });
///     }
/// });
/// outcome.await.unwrap();
/// assert_eq!(sum.get(), 6);
/// # });
/// ```
///
/// # Cancellation
///
/// That of the body and the children: a request around goes to the borders in them. Dropping it
/// drops them.
#[doc(alias = "TaskGroup")]
#[doc(alias = "open_nursery")]
pub fn scope<'a, B, F>(body: B) -> ScopeFuture<'a, <F::Output as TaskOutput>::Value>
where
    B: FnOnce(TaskScope<'a>) -> F,
    F: Future + 'a,
    F::Output: TaskOutput,
    <F::Output as TaskOutput>::Value: 'a,
{
    let scope = TaskScope { shared: Rc::default() };
    let value = Rc::new(Cell::new(None));
    let place = Rc::clone(&value);
    let future = body(scope.clone());
    scope.add(Box::pin(async move {
        place.set(Some(future.await.into_result()?));
        Ok(())
    }));
    ScopeFuture {
        children: FuturesUnordered::new(),
        shared: scope.shared,
        value,
        errors: Vec::new(),
        has_asked: false,
    }
}

type Outcome = Result<(), Box<dyn Error>>;

/// Where the children of a [`scope`] are spawned. It may be cloned into them.
#[derive(Clone)]
pub struct TaskScope<'a> {
    shared: Rc<Shared<'a>>,
}

#[derive(Default)]
struct Shared<'a> {
    /// Children that the scope's future has not taken in yet, in their order.
    new: RefCell<Vec<LocalBoxFuture<'a, Outcome>>>,
    waker: Cell<Option<Waker>>,
    is_ending: Cell<bool>,
    is_over: Cell<bool>,
}

impl<'a> TaskScope<'a> {
    /// Adds a child. In a scope that is ending or over it is dropped unpolled.
    pub fn spawn<F>(&self, future: F)
    where
        F: Future + 'a,
        F::Output: TaskOutput,
    {
        self.add(Box::pin(async move { future.await.into_result().map(drop) }));
    }

    fn add(&self, future: LocalBoxFuture<'a, Outcome>) {
        if !self.shared.is_ending.get() && !self.shared.is_over.get() {
            self.shared.new.borrow_mut().push(future);
            self.wake();
        }
    }

    /// Asks all children to end, and the body. It is no failure; a body that was cut short by it
    /// makes an error that says [`GroupError::is_cancelled`].
    pub fn cancel(&self) {
        self.shared.is_ending.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.shared.waker.take() {
            waker.wake();
        }
    }
}

impl fmt::Debug for TaskScope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskScope").field("is_ending", &self.shared.is_ending.get()).finish()
    }
}

/// A child: it can be asked to end, and its panic is an outcome.
struct Child<'a> {
    scoped: Pin<Box<Scoped<LocalBoxFuture<'a, Outcome>>>>,
    shared: Rc<Shared<'a>>,
    is_asked: bool,
    /// It is over; what it left in flight is not.
    outcome: Option<Result<(), Failure>>,
}

impl Child<'_> {
    fn poll_future(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let is_ending = self.shared.is_ending.get();
        if is_ending && self.scoped.place.scope().is_none() {
            return Poll::Ready(Ok(()));
        }
        if is_ending && !std::mem::replace(&mut self.is_asked, true) {
            self.scoped.place.ask(None);
        }
        let scoped = &mut self.scoped;
        match catch_unwind(AssertUnwindSafe(|| scoped.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Ok(outcome))) => Poll::Ready(outcome.map_err(Failure::Error)),
            Ok(Poll::Ready(Err(Ended))) => Poll::Ready(Ok(())),
            Err(panic) => Poll::Ready(Err(Failure::Panic(panic))),
        }
    }
}

impl Future for Child<'_> {
    type Output = Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.outcome.is_none() {
            match self.poll_future(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(outcome) => {
                    self.outcome = Some(outcome);
                    self.scoped.as_mut().drop_future();
                }
            }
        } else {
            // The end of its last operation wakes whoever polls it now.
            self.scoped.as_mut().project().place.polled(context.waker());
        }
        let place = self.scoped.as_mut().project().place;
        if !place.settle() {
            return Poll::Pending;
        }
        place.close(false);
        self.outcome.take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The future of [`scope`]: the body's value, or all errors.
///
/// # Panics
///
/// Polling it panics if no runtime runs on this thread, or if it was ready before.
#[must_use = "futures do nothing until they are awaited"]
pub struct ScopeFuture<'a, T> {
    children: FuturesUnordered<Child<'a>>,
    shared: Rc<Shared<'a>>,
    value: Rc<Cell<Option<T>>>,
    errors: Vec<TaskError>,
    has_asked: bool,
}

impl<T> Unpin for ScopeFuture<'_, T> {}

impl<T> ScopeFuture<'_, T> {
    fn take_in(&mut self) -> bool {
        let new = self.shared.new.take();
        let is_some = !new.is_empty();
        for future in new {
            let scoped = Box::pin(Scoped::new(Kind::Block, future));
            let shared = Rc::clone(&self.shared);
            self.children.push(Child { scoped, shared, is_asked: false, outcome: None });
        }
        is_some
    }

    /// Has every child look at the request: a set polls those that were woken or are new.
    fn ask_all(&mut self) {
        if self.shared.is_ending.get() && !std::mem::replace(&mut self.has_asked, true) {
            let children = std::mem::take(&mut self.children);
            self.children = children.into_iter().collect();
        }
    }
}

impl<T> Future for ScopeFuture<'_, T> {
    type Output = Result<T, GroupError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.shared.is_over.get(), "a scope was polled after it was ready");
        drop(self.shared.waker.replace(Some(context.waker().clone())));
        loop {
            let has_new = self.take_in();
            self.ask_all();
            match self.children.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(()))) => {}
                Poll::Ready(Some(Err(failure))) => {
                    self.errors.push(TaskError::new(None, failure));
                    self.shared.is_ending.set(true);
                }
                Poll::Ready(None) if self.shared.new.borrow().is_empty() => break,
                Poll::Pending if !has_new => return Poll::Pending,
                _ => {}
            }
        }
        self.shared.is_over.set(true);
        drop(self.shared.waker.take());
        let errors = std::mem::take(&mut self.errors);
        Poll::Ready(match self.value.take() {
            Some(value) if errors.is_empty() => Ok(value),
            _ => Err(GroupError::new(errors, 0)),
        })
    }
}

impl<T> Drop for ScopeFuture<'_, T> {
    fn drop(&mut self) {
        self.shared.is_over.set(true);
        // A child that was never taken in may hold the scope, and the scope it.
        let new = self.shared.new.take();
        drop((new, self.shared.waker.take()));
    }
}

impl<T> fmt::Debug for ScopeFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeFuture({} children)", self.children.len())
    }
}
