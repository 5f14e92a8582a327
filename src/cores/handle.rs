//! Reaching a core from any thread: tasks started there, and the handles of such tasks.
//!
//! ```text
//!   any thread                                   the core
//!   CoreHandle::spawn ── call ─────────────────▶ makes the future, spawns the task
//!   RemoteHandle::cancel ── call ──────────────▶ asks the task to end
//!   RemoteHandle (await, join) ◀── outcome ───── the task ended, or the core did
//! ```
//!
//! The closure is `Send`, the future that it makes there need not be. What both sides share is one
//! [`Remote`]: the outcome, and who waits for it.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::driver::now_ns;
use crate::executor::join_error::JoinError;
use crate::executor::task::{AnyTask, Join, Observe, Task};
use crate::executor::ticket::{Address, Ticket};
use crate::executor::{Core, Unhandled};
use crate::runtime::Runtime;
use crate::time::Elapsed;

/// A core, as any thread may hold it: `Send`, `Sync` and cheap to clone.
///
/// It may outlive its core; then tasks are cancelled before they start, and calls are refused.
///
/// ```
/// use corio::cores::CoreHandle;
/// # corio::run(async {
/// let core = CoreHandle::current();
/// let thread = std::thread::spawn(move || {
///     core.spawn(|| async {
///         let local = std::rc::Rc::new(7); // It never leaves that core.
///         corio::yield_now().await;
///         *local
///     })
/// });
/// let task = thread.join().unwrap();
/// assert_eq!(task.await.unwrap(), 7);
/// # });
/// ```
#[doc(alias = "Handle")]
#[derive(Clone, Copy)]
pub struct CoreHandle {
    address: Address,
}

/// The core has ended: nothing runs there any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreEnded(());

impl fmt::Display for CoreEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the core has ended")
    }
}

impl std::error::Error for CoreEnded {}

impl Runtime {
    /// Where other threads reach this runtime, also before it runs: what they start waits for the
    /// next [`block_on`](Runtime::block_on).
    ///
    /// ```
    /// let runtime = corio::Runtime::new()?;
    /// let handle = runtime.handle();
    /// let task = std::thread::spawn(move || handle.spawn(|| async { 6 * 7 })).join().unwrap();
    /// assert_eq!(runtime.block_on(task).unwrap(), 42);
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "get_loop")]
    pub fn handle(&self) -> CoreHandle {
        CoreHandle::of(self.core())
    }
}

impl CoreHandle {
    /// The core that runs on this thread.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[doc(alias = "get_running_loop")]
    #[doc(alias = "get_event_loop")]
    #[track_caller]
    pub fn current() -> CoreHandle {
        CoreHandle::of(&Core::current())
    }

    /// The core that runs on this thread, if one does.
    pub fn try_current() -> Option<CoreHandle> {
        Core::try_current().map(|core| CoreHandle::of(&core))
    }

    pub(crate) fn of(core: &Core) -> CoreHandle {
        CoreHandle { address: core.address() }
    }

    /// Whether this is the core that runs on this thread.
    pub fn is_current(&self) -> bool {
        CoreHandle::try_current().is_some_and(|current| current == *self)
    }

    /// Starts a task on that core. The closure goes there and makes the future, which stays there
    /// for life and need not be `Send`.
    ///
    /// Dropping the handle detaches the task. On a core that has ended, or ends before the task
    /// does, the handle says `is_cancelled`.
    #[doc(alias = "run_coroutine_threadsafe")]
    #[doc(alias = "spawn_on")]
    #[track_caller]
    pub fn spawn<M, F>(&self, make: M) -> RemoteHandle<F::Output>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let spawned_at = Location::caller();
        let remote = Arc::new(Remote::new(spawned_at));
        let starter = Starter { make: Some(make), remote: Arc::clone(&remote) };
        // One that is handed back is dropped, and that ends the remote.
        drop(self.address.call(Box::new(move |core| starter.start(core))));
        RemoteHandle { remote, address: self.address }
    }

    /// Has that core run a closure, between two polls: asyncio's `call_soon_threadsafe`. It runs
    /// inside of the runtime and may spawn there. Calls from one thread run in their order. A panic
    /// goes to the runtime's hook.
    ///
    /// # Errors
    ///
    /// If the core has ended. One that ends later drops the closure.
    #[doc(alias = "call_soon_threadsafe")]
    pub fn call_soon(&self, call: impl FnOnce() + Send + 'static) -> Result<(), CoreEnded> {
        self.address.call(Box::new(|_| call())).map_err(|_| CoreEnded(()))
    }
}

impl PartialEq for CoreHandle {
    fn eq(&self, other: &CoreHandle) -> bool {
        self.address.home() == other.address.home()
    }
}

impl Eq for CoreHandle {}

impl fmt::Debug for CoreHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CoreHandle({:?})", self.address.home())
    }
}

/// What a task and its remote handle share.
struct Remote<T> {
    spawned_at: &'static Location<'static>,
    state: Mutex<State<T>>,
    ended: Condvar,
}

struct State<T> {
    outcome: Outcome<T>,
    /// The task, once it was started.
    ticket: Option<Ticket>,
    waker: Option<Waker>,
    has_handle: bool,
}

enum Outcome<T> {
    Open,
    Ready(Result<T, JoinError>),
    Taken,
}

impl<T> Remote<T> {
    fn new(spawned_at: &'static Location<'static>) -> Remote<T> {
        let state = State { outcome: Outcome::Open, ticket: None, waker: None, has_handle: true };
        Remote { spawned_at, state: Mutex::new(state), ended: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No foreign code runs under the lock, so a poisoned state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the outcome, unless there is one. Returns what nobody will take.
    fn end(&self, outcome: Result<T, JoinError>) -> Option<Result<T, JoinError>> {
        let (unclaimed, waker) = {
            let mut state = self.lock();
            if !matches!(state.outcome, Outcome::Open) {
                return None;
            }
            let unclaimed = match state.has_handle {
                true => {
                    state.outcome = Outcome::Ready(outcome);
                    None
                }
                false => {
                    state.outcome = Outcome::Taken;
                    Some(outcome)
                }
            };
            (unclaimed, state.waker.take())
        };
        self.ended.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
        unclaimed
    }

    fn end_cancelled(&self) {
        // Without a handle nobody is there to be told, and there is no value to drop.
        let _ = self.end(Err(JoinError::cancelled(0, self.spawned_at)));
    }
}

impl<T> State<T> {
    fn take(&mut self) -> Option<Result<T, JoinError>> {
        match std::mem::replace(&mut self.outcome, Outcome::Taken) {
            Outcome::Ready(outcome) => Some(outcome),
            Outcome::Open => {
                self.outcome = Outcome::Open;
                None
            }
            Outcome::Taken => panic!("a RemoteHandle was asked for its outcome twice"),
        }
    }
}

/// What travels to the core. If it is dropped on the way, the task is cancelled.
struct Starter<M, T> {
    make: Option<M>,
    remote: Arc<Remote<T>>,
}

impl<M, T> Starter<M, T> {
    fn start<F>(mut self, core: &Rc<Core>)
    where
        M: FnOnce() -> F,
        F: Future<Output = T> + 'static,
        T: 'static,
    {
        let Some(make) = self.make.take() else { return };
        let remote = Arc::clone(&self.remote);
        let future = match catch_unwind(AssertUnwindSafe(make)) {
            Ok(future) => future,
            Err(panic) => {
                let error = JoinError::panicked(panic, 0, remote.spawned_at);
                return report(core, remote.end(Err(error)));
            }
        };
        let task = core.spawn(future, remote.spawned_at, false);
        remote.lock().ticket = Some(task.header().ticket);
        let end = Rc::new(End { task: Rc::downgrade(&task), remote });
        if !task.header().observe(Rc::<End<F>>::clone(&end)) {
            end.ended(core, true);
        }
        let task: Rc<dyn AnyTask> = task;
        core.announce(&task);
    }
}

impl<M, T> Drop for Starter<M, T> {
    fn drop(&mut self) {
        if self.make.is_some() {
            self.remote.end_cancelled();
        }
    }
}

/// Hands a task's outcome over at its end. Weak, since the task holds it.
struct End<F: Future> {
    task: Weak<Task<F>>,
    remote: Arc<Remote<F::Output>>,
}

impl<F: Future> Observe for End<F> {
    fn ended(self: Rc<Self>, core: &Rc<Core>, _was_cancelled: bool) {
        let outcome = self.task.upgrade().and_then(|task| task.take());
        if let Some(outcome) = outcome {
            report(core, self.remote.end(outcome));
        }
    }
}

impl<F: Future> Drop for End<F> {
    fn drop(&mut self) {
        self.remote.end_cancelled();
    }
}

/// Drops an outcome that nobody takes, and tells of a panic.
fn report<T>(core: &Core, unclaimed: Option<Result<T, JoinError>>) {
    match unclaimed {
        Some(Err(error)) if error.is_panic() => {
            core.report(&Unhandled::TaskPanicked {
                id: error.id(),
                spawned_at: error.spawned_at(),
                message: error.panic_message().unwrap_or_default(),
            });
            core.drop_foreign(error);
        }
        unclaimed => core.drop_foreign(unclaimed),
    }
}

/// The handle of a task on another core: a future of its outcome, on any thread and any executor.
///
/// Dropping it detaches the task.
///
/// # Cancellation
///
/// **Strict**: dropping a wait for it loses nothing, and does not reach the task.
///
/// # Panics
///
/// Polling it panics if it was ready before.
#[must_use = "dropping it detaches the task"]
#[doc(alias = "wrap_future")]
pub struct RemoteHandle<T> {
    remote: Arc<Remote<T>>,
    address: Address,
}

impl<T: Send + 'static> RemoteHandle<T> {
    /// Asks the task to end, as [`JoinHandle::cancel`](crate::JoinHandle::cancel) does, as soon as
    /// its core comes to it; false if it has ended already.
    pub fn cancel(&self) -> bool {
        self.ask(None)
    }

    /// As [`cancel`](Self::cancel), and says why.
    pub fn cancel_with(&self, reason: impl Into<Arc<str>>) -> bool {
        self.ask(Some(reason.into()))
    }

    fn ask(&self, reason: Option<Arc<str>>) -> bool {
        if self.is_finished() {
            return false;
        }
        let remote = Arc::clone(&self.remote);
        let call = self.address.call(Box::new(move |core| {
            // It was started before: calls keep their order.
            let ticket = remote.lock().ticket;
            if let Some(task) = ticket.and_then(|ticket| core.find_task(ticket)) {
                core.ask_task(&*task, reason);
            }
        }));
        call.is_ok()
    }
}

impl<T> RemoteHandle<T> {
    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        !matches!(self.remote.lock().outcome, Outcome::Open)
    }

    /// Blocks this thread until the task has ended.
    ///
    /// # Errors
    ///
    /// As awaiting it.
    ///
    /// # Panics
    ///
    /// On a thread that runs a core, which must not block: await the handle there.
    #[doc(alias = "result")]
    #[track_caller]
    pub fn join_blocking(self) -> Result<T, JoinError> {
        assert_may_block();
        let mut state = self.remote.lock();
        loop {
            if let Some(outcome) = state.take() {
                return outcome;
            }
            state = self.remote.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// As [`join_blocking`](Self::join_blocking), for at most this long. The task goes on, and the
    /// handle may be asked again.
    ///
    /// # Errors
    ///
    /// If the time has passed.
    ///
    /// # Panics
    ///
    /// On a thread that runs a core.
    #[track_caller]
    pub fn join_blocking_for(&self, limit: Duration) -> Result<Result<T, JoinError>, Elapsed> {
        assert_may_block();
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let deadline_ns = now_ns().saturating_add(limit_ns);
        let mut state = self.remote.lock();
        loop {
            if let Some(outcome) = state.take() {
                return Ok(outcome);
            }
            let rest_ns = deadline_ns.saturating_sub(now_ns());
            if rest_ns == 0 {
                return Err(Elapsed::new(0));
            }
            let rest = Duration::from_nanos(rest_ns);
            let waited = self.remote.ended.wait_timeout(state, rest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[track_caller]
fn assert_may_block() {
    assert!(
        Core::try_current().is_none(),
        "a thread that runs a core must not block: await the handle instead"
    );
}

impl<T> Future for RemoteHandle<T> {
    type Output = Result<T, JoinError>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A foreign waker's clone and drop run outside of the lock.
        let waker = context.waker().clone();
        let mut state = self.remote.lock();
        if let Some(outcome) = state.take() {
            return Poll::Ready(outcome);
        }
        let old = state.waker.replace(waker);
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl<T> Drop for RemoteHandle<T> {
    fn drop(&mut self) {
        let mut state = self.remote.lock();
        state.has_handle = false;
        let waker = state.waker.take();
        let outcome = match state.outcome {
            Outcome::Ready(_) => state.take(),
            Outcome::Open | Outcome::Taken => None,
        };
        drop(state);
        drop(waker);
        if let Some(Err(error)) = &outcome
            && let Some(message) = error.panic_message()
        {
            let (id, spawned_at) = (error.id(), error.spawned_at());
            crate::executor::print(&Unhandled::TaskPanicked { id, spawned_at, message });
        }
        drop(outcome);
    }
}

impl<T> fmt::Debug for RemoteHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteHandle(task spawned at {})", self.remote.spawned_at)
    }
}
