//! The values of many tasks, as they come.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::{Location, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::Stream;
use pin_project_lite::pin_project;

use super::JoinHandle;
use crate::executor::Core;
use crate::executor::task::{AnyTask, Observe};
use crate::time::{Elapsed, Sleep, sleep};

/// Runs futures at once, each as a task, and gives their values as a stream, in the order in which
/// they come. A panic of a task goes on in whoever awaits the next value.
///
/// The tasks start in the next turn. Those that are left when the stream is dropped go on.
///
/// ```
/// use futures_util::StreamExt;
/// use corio::time::Duration;
/// # corio::run(async {
/// let waits = [30, 10].map(|ms| async move {
///     corio::sleep(Duration::from_millis(ms)).await;
///     ms
/// });
/// let order: Vec<_> = corio::task::as_completed(waits).collect().await;
/// assert_eq!(order, [10, 30]);
/// # });
/// ```
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Strict**: dropping a wait for the next value loses none, and the tasks are not asked to end.
#[track_caller]
pub fn as_completed<I, F>(futures: I) -> AsCompleted<F::Output>
where
    I: IntoIterator<Item = F>,
    F: IntoFuture,
    F::IntoFuture: 'static,
    F::Output: 'static,
{
    let spawned_at = Location::caller();
    let core = Core::current();
    let arrivals = Rc::<Arrivals>::default();
    let mut handles = Vec::new();
    for (number, future) in futures.into_iter().enumerate() {
        let task = core.spawn(future.into_future(), spawned_at, false);
        let arrival = Rc::new(Arrival { number, arrivals: Rc::clone(&arrivals) });
        if !task.header().observe(Rc::<Arrival>::clone(&arrival)) {
            arrival.ended(&core, true);
        }
        core.spawned(&task, None);
        handles.push(Some(JoinHandle::new(task, &core)));
    }
    AsCompleted { left: handles.len(), handles, arrivals }
}

/// The numbers of tasks that have ended and were not given yet.
#[derive(Default)]
struct Arrivals {
    numbers: RefCell<VecDeque<usize>>,
    waker: Cell<Option<Waker>>,
}

struct Arrival {
    number: usize,
    arrivals: Rc<Arrivals>,
}

impl Observe for Arrival {
    fn ended(self: Rc<Self>, core: &Rc<Core>, _was_cancelled: bool) {
        self.arrivals.numbers.borrow_mut().push_back(self.number);
        if let Some(waker) = self.arrivals.waker.take() {
            core.wake(waker);
        }
    }
}

/// The stream of [`as_completed`].
#[must_use = "streams do nothing until they are polled"]
pub struct AsCompleted<T> {
    left: usize,
    handles: Vec<Option<JoinHandle<T>>>,
    arrivals: Rc<Arrivals>,
}

impl<T> AsCompleted<T> {
    /// Gives an error instead of the next value once this time has passed, and ends then.
    pub fn timeout(self, duration: Duration) -> AsCompletedWithin<T> {
        AsCompletedWithin { values: self, sleep: sleep(duration), is_over: false }
    }

    fn arrived(&mut self) -> Option<JoinHandle<T>> {
        let number = self.arrivals.numbers.borrow_mut().pop_front()?;
        self.left -= 1;
        self.handles[number].take()
    }
}

impl<T> Stream for AsCompleted<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        while let Some(mut handle) = self.arrived() {
            match handle.take() {
                Ok(value) => return Poll::Ready(Some(value)),
                Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
                // Somebody found it in the list of all tasks, and cancelled it: there is no value.
                Err(_) => {}
            }
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let waker = context.waker().clone();
        drop(self.arrivals.waker.replace(Some(waker)));
        Poll::Pending
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl<T> Unpin for AsCompleted<T> {}

impl<T> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsCompleted({} of {} left)", self.left, self.handles.len())
    }
}

pin_project! {
    /// The stream of [`AsCompleted::timeout`].
    #[must_use = "streams do nothing until they are polled"]
    pub struct AsCompletedWithin<T> {
        values: AsCompleted<T>,
        sleep: Sleep,
        is_over: bool,
    }
}

impl<T> Stream for AsCompletedWithin<T> {
    type Item = Result<T, Elapsed>;

    #[track_caller]
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if *this.is_over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(value) = Pin::new(&mut *this.values).poll_next(context) {
            return Poll::Ready(value.map(Ok));
        }
        if Pin::new(this.sleep).poll(context).is_pending() {
            return Poll::Pending;
        }
        *this.is_over = true;
        Poll::Ready(Some(Err(Elapsed::new(0))))
    }
}

impl<T> fmt::Debug for AsCompletedWithin<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.values.fmt(f)
    }
}
