//! Many futures at once, each as a task of its own, and their values in the order of the arguments.
//!
//! A set counts its tasks down as they end (`Observe`), so that a gather of a thousand is polled
//! once, when all have ended or the first has failed, and not a thousand times. The tasks are
//! listed in the gather's scope, so that whoever asks around it asks them as well.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::{Location, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use super::cancel::end_with_task;
use super::{JoinError, JoinHandle};
use crate::executor::Core;
use crate::executor::scope::Kind;
use crate::executor::scoped::Place;
use crate::executor::task::{AnyTask, Join, Observe};

/// Runs futures at once, each as a task, and gives their values in the order of the arguments.
///
/// The first error is given at once, while the others go on, as in asyncio. For a block that ends
/// its tasks when one fails take [`task_group`](super::task_group), for futures without errors or
/// with all their outcomes [`gather_settled`]. A panic of a task goes on in whoever awaits it.
///
/// The tasks start in the next turn, whether or not the gather is awaited.
///
/// ```
/// # corio::run(async {
/// let doubled = (1..=3).map(|n| async move { Ok::<_, std::io::Error>(2 * n) });
/// assert_eq!(corio::task::gather(doubled).await?, [2, 4, 6]);
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Weak**: if it is cancelled, or dropped before it was ready, its tasks are asked to end.
#[track_caller]
pub fn gather<I, F, T, E>(futures: I) -> Gather<T, E>
where
    I: IntoIterator<Item = F>,
    F: IntoFuture<Output = Result<T, E>>,
    F::IntoFuture: 'static,
    T: 'static,
    E: 'static,
{
    Gather { set: Set::spawn(futures, Result::is_err, Location::caller()) }
}

/// Runs futures at once, each as a task, and gives all their outcomes in the order of the
/// arguments: asyncio's `gather(.., return_exceptions=True)`. A panic or a cancellation of a task
/// is its outcome.
///
/// ```
/// # corio::run(async {
/// let outcomes = corio::task::gather_settled((0..3).map(|n| async move { 6 / n })).await;
/// assert!(outcomes[0].as_ref().unwrap_err().is_panic());
/// assert_eq!(*outcomes[2].as_ref().unwrap(), 3);
/// # });
/// ```
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Weak**: if it is cancelled, or dropped before it was ready, its tasks are asked to end.
#[doc(alias = "return_exceptions")]
#[track_caller]
pub fn gather_settled<I, F>(futures: I) -> GatherSettled<F::Output>
where
    I: IntoIterator<Item = F>,
    F: IntoFuture,
    F::IntoFuture: 'static,
    F::Output: 'static,
{
    GatherSettled { set: Set::spawn(futures, |_| false, Location::caller()) }
}

/// What the tasks of a gather and the gather share.
#[derive(Default)]
struct Count {
    left: Cell<usize>,
    /// The place of the task that failed first.
    failed: Cell<Option<usize>>,
    waker: RefCell<Option<Waker>>,
}

impl Count {
    fn wake(&self, core: &Core) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            core.wake(waker);
        }
    }
}

impl Observe for Count {
    fn ended(self: Rc<Self>, core: &Rc<Core>, _was_cancelled: bool) {
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 || self.failed.get().is_some() {
            self.wake(core);
        }
    }
}

/// Tasks that are waited for together.
struct Set<T> {
    handles: Vec<JoinHandle<T>>,
    count: Rc<Count>,
    place: Place,
    is_over: bool,
    /// There is no value to give, and whoever waits here was asked to end.
    is_stuck: bool,
}

impl<T: 'static> Set<T> {
    fn spawn<I, F>(
        futures: I,
        is_failure: fn(&T) -> bool,
        spawned_at: &'static Location<'static>,
    ) -> Set<T>
    where
        I: IntoIterator<Item = F>,
        F: IntoFuture<Output = T>,
        F::IntoFuture: 'static,
    {
        let core = Core::current();
        let count = Rc::<Count>::default();
        let mut handles = Vec::new();
        for (number, future) in futures.into_iter().enumerate() {
            let future = future.into_future();
            let member = Member { future, number, is_failure, count: Rc::clone(&count) };
            let task = core.spawn(member, spawned_at, false);
            if task.header().observe(Rc::<Count>::clone(&count)) {
                count.left.set(count.left.get() + 1);
            }
            core.spawned(&task, None);
            handles.push(JoinHandle::new(task, &core));
        }
        Set { handles, count, place: Place::new(Kind::Block), is_over: false, is_stuck: false }
    }

    /// Polls until all tasks have ended, or one has failed.
    #[track_caller]
    fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        assert!(!self.is_over || self.is_stuck, "a gather was polled after it was ready");
        let is_new = self.place.scope().is_none();
        let (core, scope) = self.place.polled(context.waker());
        if is_new {
            for handle in &self.handles {
                scope.join(Rc::<dyn Join<T>>::clone(handle.any_task()));
            }
        }
        if self.is_stuck {
            return Poll::Pending;
        }
        if self.count.left.get() > 0 && self.failed().is_none() {
            if is_new && scope.is_ending_around() {
                self.ask_all(&core);
            }
            let waker = context.waker().clone();
            let old = self.count.waker.borrow_mut().replace(waker);
            drop(old);
            return Poll::Pending;
        }
        let was_asked = scope.is_ending_around();
        if was_asked && self.handles.iter().any(|handle| handle.any_task().was_cancelled()) {
            // They ended by the request that ends whoever waits here.
            return Poll::Pending;
        }
        self.is_over = true;
        self.place.close(false);
        Poll::Ready(())
    }

    /// The task that failed first, once it has ended.
    fn failed(&self) -> Option<usize> {
        self.count.failed.get().filter(|number| self.handles[*number].is_finished())
    }

    fn ask_all(&self, core: &Core) {
        for handle in &self.handles {
            core.ask_task(&**handle.any_task(), None);
        }
    }

    /// The outcomes of tasks that have all ended.
    fn outcomes(&mut self) -> Vec<Result<T, JoinError>> {
        self.handles.iter_mut().map(JoinHandle::take).collect()
    }
}

impl<T> Drop for Set<T> {
    fn drop(&mut self) {
        if !self.is_over {
            for handle in &self.handles {
                handle.cancel();
            }
        }
    }
}

pin_project! {
    /// A future that tells its set if it failed.
    struct Member<F: Future> {
        #[pin]
        future: F,
        number: usize,
        is_failure: fn(&F::Output) -> bool,
        count: Rc<Count>,
    }
}

impl<F: Future> Future for Member<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = this.future.poll(context);
        if let Poll::Ready(output) = &polled
            && (this.is_failure)(output)
            && this.count.failed.get().is_none()
        {
            this.count.failed.set(Some(*this.number));
        }
        polled
    }
}

/// The future of [`gather`].
#[must_use = "futures do nothing until they are awaited"]
pub struct Gather<T: 'static, E: 'static> {
    set: Set<Result<T, E>>,
}

impl<T, E> Future for Gather<T, E> {
    type Output = Result<Vec<T>, E>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.set.poll(context).is_pending() {
            return Poll::Pending;
        }
        if let Some(number) = self.set.failed()
            && let Some(Err(error)) = value_of(self.set.handles[number].take())
        {
            // The others go on without anybody who waits for them.
            return Poll::Ready(Err(error));
        }
        let outcomes = self.set.outcomes();
        let values: Option<Result<Vec<T>, E>> = outcomes.into_iter().map(value_of).collect();
        match values {
            Some(values) => Poll::Ready(values),
            None => {
                self.set.is_stuck = true;
                end_with_the_task()
            }
        }
    }
}

impl<T, E> fmt::Debug for Gather<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gather({} of {} left)", self.set.count.left.get(), self.set.handles.len())
    }
}

/// The value of a task that nobody outside knows. `None` if it was cancelled by someone who found
/// it in the list of all tasks; a panic goes on here.
fn value_of<T>(outcome: Result<T, JoinError>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

/// As asyncio's `CancelledError` of a gathered task ends whoever awaits it.
fn end_with_the_task<T>() -> Poll<T> {
    let reason = Some(Arc::from("a task that it gathers was cancelled"));
    end_with_task(&Core::current(), reason);
    Poll::Pending
}

/// The futures of one [`gather!`](crate::gather): the first that fails leaves the others running.
#[derive(Clone, Default)]
#[doc(hidden)]
pub struct GatherSet {
    has_failed: Rc<Cell<bool>>,
}

impl GatherSet {
    /// Starts a task.
    #[track_caller]
    pub fn add<F, T, E>(&self, future: F) -> Gathered<T, E>
    where
        F: IntoFuture<Output = Result<T, E>>,
        F::IntoFuture: 'static,
        T: 'static,
        E: 'static,
    {
        let handle = super::spawn(future.into_future());
        Gathered { handle, has_failed: Rc::clone(&self.has_failed), is_stuck: false }
    }
}

/// One future of a [`gather!`](crate::gather).
#[doc(hidden)]
#[must_use = "futures do nothing until they are awaited"]
pub struct Gathered<T, E> {
    handle: JoinHandle<Result<T, E>>,
    has_failed: Rc<Cell<bool>>,
    is_stuck: bool,
}

impl<T, E> Future for Gathered<T, E> {
    type Output = Result<T, E>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_stuck {
            return Poll::Pending;
        }
        let Poll::Ready(outcome) = Pin::new(&mut self.handle).poll(context) else {
            return Poll::Pending;
        };
        match value_of(outcome) {
            Some(value) => {
                self.has_failed.set(self.has_failed.get() | value.is_err());
                Poll::Ready(value)
            }
            None => {
                self.is_stuck = true;
                end_with_the_task()
            }
        }
    }
}

impl<T, E> Drop for Gathered<T, E> {
    fn drop(&mut self) {
        if !self.has_failed.get() {
            self.handle.cancel();
        }
    }
}

/// Runs unlike futures at once, each as a task, and gives a tuple of their values, or the first
/// error at once while the others go on: see [`gather`](crate::task::gather).
///
/// ```
/// # corio::run(async {
/// let number = async { Ok::<_, std::io::Error>(7) };
/// let text = async { Ok("seven") };
/// assert_eq!(corio::gather!(number, text)?, (7, "seven"));
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[macro_export]
macro_rules! gather {
    ($($future:expr),+ $(,)?) => {{
        let set = $crate::task::GatherSet::default();
        $crate::try_join!($(set.add($future)),+)
    }};
}

/// The future of [`gather_settled`].
#[must_use = "futures do nothing until they are awaited"]
pub struct GatherSettled<T: 'static> {
    set: Set<T>,
}

impl<T> Future for GatherSettled<T> {
    type Output = Vec<Result<T, JoinError>>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.set.poll(context).map(|()| self.set.outcomes())
    }
}

impl<T> fmt::Debug for GatherSettled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatherSettled({} of {} left)", self.set.count.left.get(), self.set.handles.len())
    }
}
