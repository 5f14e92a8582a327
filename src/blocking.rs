//! Code that blocks, off the loop: [`spawn_blocking`] runs it on a worker thread of the runtime.
//! asyncio's `to_thread` and `run_in_executor`.
//!
//! The core and the worker share one place for the outcome, under a lock that is held for a moment:
//!
//! ```text
//!              1 the job returned, panicked, or was dropped unrun      2 poll, join
//!   Waiting ───────────────────────────────────────────────▶ Over ───────────────────▶ Taken
//!      │ 3 the handle is dropped or detached                   │ 3
//!      ▼                                                       ▼
//!   Abandoned: the worker drops the outcome itself            dropped by whoever drops the handle
//! ```
//!
//! 1 is `End::finish` on the worker, or the drop of `End`: whatever becomes of a job, its
//! handle learns of it. 2 and 3 are the handle's. Wakers and values are woken and dropped after the
//! lock is given back. There is no state in which a wake could be lost: the waker is left under the
//! lock that the outcome is left under.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

pub use crate::driver::CancelFlag;
use crate::driver::{Job, Refused, current_flag};
use crate::executor::context::Carried;
use crate::executor::{Core, JoinError, contain, report_job_panic_without_core};

/// Runs a closure that blocks on a worker thread, and gives a future of its value.
///
/// The job begins when a thread is free: jobs are begun in the order in which they were spawned,
/// and the queue is unbounded, so this never waits. The pool belongs to this runtime; see
/// [`Builder::blocking_threads`](crate::Builder::blocking_threads).
///
/// The [context values](crate::context) of this task that are `Send + Sync` go along; what the job
/// sets is not seen outside. There is no runtime on a worker: `spawn` and its like panic there.
///
/// **Dropping the handle cancels the job**, unlike that of a task: one that has not begun never
/// runs, one that has is asked by its flag, [`is_cancelled`], and its value is dropped. Use
/// [`detach`](BlockingHandle::detach) for a job that nobody waits for.
///
/// When the runtime closes, running jobs are asked to end, together with the tasks, and waited for
/// up to the grace limit; then they are left behind, and told of. Those that have not begun by the
/// end of the tasks are cancelled.
///
/// Signals are kept from worker threads, so that those who listen to them hear each. A child that
/// std's `Command` starts in a job inherits that, and hears none: start children by
/// [`process::Command`](crate::process::Command), in a task.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// ```
/// # corio::run(async {
/// let text = corio::spawn_blocking(|| std::fs::read_to_string("Cargo.toml")).await??;
/// assert!(text.contains("corio"));
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[doc(alias = "to_thread")]
#[doc(alias = "run_in_executor")]
#[track_caller]
pub fn spawn_blocking<F, T>(f: F) -> BlockingHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn_blocking_from(&Core::current(), Location::caller(), f)
}

pub(crate) fn spawn_blocking_from<F, T>(
    core: &Rc<Core>,
    spawned_at: &'static Location<'static>,
    f: F,
) -> BlockingHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let shared = Arc::new(Shared(Mutex::new(State::Waiting(None))));
    let end = End { shared: Arc::clone(&shared), spawned_at, is_finished: false };
    let carried = Carried::new();
    let run = Box::new(move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| carried.run(f)));
        end.finish(outcome.map_err(|panic| JoinError::job_panicked(panic, spawned_at)))
    });
    let flag = CancelFlag::default();
    let number = match core.workers.submit(Job { run, flag: flag.clone(), spawned_at }) {
        Ok(number) => number,
        Err(Refused { job, error }) => {
            if let Some(error) = error {
                *shared.lock() = State::Over(Err(JoinError::job_refused(error, spawned_at)));
            }
            // Without another outcome this one is `Cancelled`.
            core.drop_foreign(job.run);
            0
        }
    };
    BlockingHandle { shared, flag, number, core: Rc::downgrade(core), is_detached: false }
}

/// Whether the blocking job that this thread runs was asked to end; false on all other threads.
///
/// A job that goes on for long looks at it now and then:
///
/// ```
/// # corio::run(async {
/// let job = corio::spawn_blocking(|| {
///     let mut rounds = 0u64;
///     while !corio::blocking::is_cancelled() {
///         rounds += 1;
///     }
///     rounds
/// });
/// corio::sleep(std::time::Duration::from_millis(5)).await;
/// job.cancel();
/// assert!(job.await.is_ok(), "a job that has begun ends by itself, with its value");
/// # });
/// ```
pub fn is_cancelled() -> bool {
    current_flag().is_some_and(|flag| flag.is_cancelled())
}

/// The flag of the blocking job that this thread runs, to be given to threads of its own; `None` on
/// all other threads.
pub fn cancel_flag() -> Option<CancelFlag> {
    current_flag()
}

type Outcome<T> = Result<T, JoinError>;

enum State<T> {
    Waiting(Option<Waker>),
    Over(Outcome<T>),
    Taken,
    Abandoned,
}

/// What the core and the worker share. See the drawing on top.
struct Shared<T>(Mutex<State<T>>);

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the outcome, and returns the waker of whoever waits; or the outcome, if there is an
    /// older one or nobody will take it.
    fn leave(&self, outcome: Outcome<T>) -> Result<Option<Waker>, Outcome<T>> {
        let mut state = self.lock();
        match &mut *state {
            State::Waiting(waker) => {
                let waker = waker.take();
                *state = State::Over(outcome);
                Ok(waker)
            }
            _ => Err(outcome),
        }
    }
}

/// The job's side. Dropped without an outcome it leaves `Cancelled`.
struct End<T> {
    shared: Arc<Shared<T>>,
    spawned_at: &'static Location<'static>,
    is_finished: bool,
}

impl<T> End<T> {
    /// Leaves the outcome. Returns the text of a panic that nobody will take.
    fn finish(mut self, outcome: Outcome<T>) -> Option<String> {
        self.is_finished = true;
        match self.shared.leave(outcome) {
            Ok(None) => None,
            Ok(Some(waker)) => match contain(|| waker.wake()) {
                true => None,
                false => Some("the waker of whoever waits for it panicked".to_owned()),
            },
            Err(outcome) => {
                let message = outcome.as_ref().err().and_then(JoinError::panic_message);
                match drop_contained(outcome) {
                    true => message,
                    false => Some("its value panicked when it was dropped".to_owned()),
                }
            }
        }
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        // An outcome that is left over is an error without foreign parts.
        if let Ok(Some(waker)) = self.shared.leave(Err(JoinError::job_cancelled(self.spawned_at))) {
            contain(|| waker.wake());
        }
    }
}

/// Drops an outcome; false if that panicked. What a job panicked with is never let panic again.
fn drop_contained<T>(outcome: Outcome<T>) -> bool {
    match outcome {
        Err(error) => {
            error.dispose();
            true
        }
        Ok(value) => contain(|| drop(value)),
    }
}

/// The handle of a blocking job: a future of its outcome.
///
/// Dropping it cancels the job; [`detach`](Self::detach) lets it run. It may be awaited on any
/// executor, since the job runs on a thread of its own.
///
/// # Cancellation
///
/// **Weak**: a handle that is dropped asks the job to end, and drops its value. A wait for a handle
/// that is borrowed (`&mut handle`) can be dropped without loss.
///
/// # Panics
///
/// Polling it panics if it was ready before.
#[must_use = "dropping the handle cancels the job; `detach` lets it run"]
pub struct BlockingHandle<T> {
    shared: Arc<Shared<T>>,
    flag: CancelFlag,
    number: u64,
    core: Weak<Core>,
    is_detached: bool,
}

impl<T> BlockingHandle<T> {
    /// Asks the job to end; false if it is over.
    ///
    /// One that has not begun never runs, and its handle says [`is_cancelled`]. One that has begun
    /// is asked by its flag: it ends when it looks at that and returns, and its value is the
    /// handle's.
    ///
    /// [`is_cancelled`]: JoinError::is_cancelled
    pub fn cancel(&self) -> bool {
        if !matches!(*self.shared.lock(), State::Waiting(_)) {
            return false;
        }
        self.ask_to_end();
        true
    }

    fn ask_to_end(&self) {
        self.flag.cancel();
        let Some(core) = self.core.upgrade() else { return };
        if let Some(job) = core.workers.withdraw(self.number) {
            core.drop_foreign(job.run);
        }
    }

    /// Whether the job is over and awaiting the handle would be ready at once.
    #[doc(alias = "done")]
    pub fn is_finished(&self) -> bool {
        !matches!(*self.shared.lock(), State::Waiting(_))
    }

    /// Lets the job run with nobody waiting for it. Its value is dropped on the worker; a panic is
    /// told to [`Builder::on_unhandled`](crate::Builder::on_unhandled).
    pub fn detach(mut self) {
        self.is_detached = true;
    }

    /// Blocks this thread until the job is over: between two `block_on`s, or after the last.
    ///
    /// # Panics
    ///
    /// On a thread that runs a runtime: the loop would stand still. Await the handle there.
    ///
    /// ```
    /// let runtime = corio::Runtime::new()?;
    /// let job = runtime.block_on(async { corio::spawn_blocking(|| 6 * 7) });
    /// assert_eq!(job.join().unwrap(), 42);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn join(mut self) -> Result<T, JoinError> {
        assert!(
            Core::try_current().is_none(),
            "`join` blocks, and a corio runtime runs on this thread: await the handle instead"
        );
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match Pin::new(&mut self).poll(&mut context) {
                Poll::Ready(outcome) => return outcome,
                Poll::Pending => thread::park(),
            }
        }
    }

    /// The outcome, if there is one; otherwise puts a waker in place of the one before, which is
    /// returned.
    #[track_caller]
    fn take_or_wait(&self, waker: &mut Option<Waker>) -> Option<Outcome<T>> {
        let mut state = self.shared.lock();
        match &mut *state {
            State::Waiting(place) => {
                std::mem::swap(place, waker);
                return None;
            }
            State::Over(_) => {}
            State::Taken | State::Abandoned => {
                drop(state);
                panic!("a BlockingHandle was polled after it was ready");
            }
        }
        match std::mem::replace(&mut *state, State::Taken) {
            State::Over(outcome) => Some(outcome),
            _ => unreachable!("the state was looked at under the same lock"),
        }
    }

    fn is_known(&self, waker: &Waker) -> bool {
        match &*self.shared.lock() {
            State::Waiting(Some(known)) => known.will_wake(waker),
            _ => false,
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl<T> Future for BlockingHandle<T> {
    type Output = Result<T, JoinError>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_known(context.waker()) {
            return Poll::Pending;
        }
        // Cloned and dropped without the lock: both may be foreign code.
        let mut waker = Some(context.waker().clone());
        match self.take_or_wait(&mut waker) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for BlockingHandle<T> {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *self.shared.lock(), State::Abandoned);
        match state {
            State::Waiting(waker) => {
                if !self.is_detached {
                    self.ask_to_end();
                }
                // Last: if its drop panics, then here.
                drop(waker);
            }
            State::Over(Err(error)) => {
                self.report_panic(&error);
                drop_contained::<T>(Err(error));
            }
            state => drop(state),
        }
    }
}

impl<T> BlockingHandle<T> {
    fn report_panic(&self, error: &JoinError) {
        if let Some(message) = error.panic_message() {
            match self.core.upgrade() {
                Some(core) => core.report_job_panic(error.spawned_at(), message),
                None => report_job_panic_without_core(error.spawned_at(), message),
            }
        }
    }
}

impl<T> Unpin for BlockingHandle<T> {}

impl<T> fmt::Debug for BlockingHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingHandle").field("is_finished", &self.is_finished()).finish()
    }
}
