//! The one tokio runtime of the process: how it starts, and how it ends.
//!
//! It starts at the first [`spawn`], with one thread unless [`Builder`] said otherwise, and is
//! shared by all cores. The program's end ends its threads wherever they are, so exit waits for
//! nothing; [`shutdown`] gives tasks the time to drop what they hold.

use std::error;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::tokio::runtime::{self, Runtime};

use super::Handle;
use crate::blocking;

/// One thread carries what libraries wait for; what computes belongs elsewhere.
const THREADS_DEFAULT: usize = 1;

static SIDECAR: Mutex<Option<Runtime>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Runtime>> {
    // Nothing is left half done under the lock, so a poisoned state is whole.
    SIDECAR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the tokio runtime is started, for a program that wants more than one thread.
///
/// ```
/// corio::tokio::Builder::new().threads(2).start()?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "`start` starts the runtime"]
pub struct Builder {
    threads: usize,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl Builder {
    /// One thread.
    pub fn new() -> Builder {
        Builder { threads: THREADS_DEFAULT }
    }

    /// How many threads run its tasks; zero counts as one.
    pub fn threads(mut self, count: usize) -> Builder {
        self.threads = count.max(1);
        self
    }

    /// Starts the runtime, before anything is spawned on it.
    ///
    /// # Errors
    ///
    /// [`AlreadyRuns`] in an `io::Error` of kind `AlreadyExists` if it runs; the kernel's, if it
    /// refuses the threads.
    pub fn start(self) -> io::Result<()> {
        let mut sidecar = lock();
        if sidecar.is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, AlreadyRuns(())));
        }
        *sidecar = Some(self.build()?);
        Ok(())
    }

    fn build(self) -> io::Result<Runtime> {
        runtime::Builder::new_multi_thread()
            .worker_threads(self.threads)
            .thread_name("corio-tokio")
            .enable_all()
            .build()
    }
}

/// The tokio runtime runs already, so it cannot be started in another way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AlreadyRuns(());

impl fmt::Display for AlreadyRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tokio runtime runs already; start it before the first spawn on it")
    }
}

impl error::Error for AlreadyRuns {}

/// Runs a future on the tokio runtime; see the [module](super).
///
/// Works on any thread, also outside of a corio runtime.
///
/// # Panics
///
/// If the kernel refuses the runtime its threads, at first use.
#[track_caller]
pub fn spawn<F>(future: F) -> Handle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Handle::new(handle().spawn(future))
}

/// Runs a closure on the blocking threads of the tokio runtime, for code that asks which tokio
/// runtime it is in. Other code: [`crate::spawn_blocking`].
///
/// Dropping the handle cancels it if it has not begun.
///
/// # Panics
///
/// As [`spawn`].
#[track_caller]
pub fn spawn_blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Handle<T> {
    Handle::new(handle().spawn_blocking(job))
}

#[track_caller]
fn handle() -> runtime::Handle {
    let mut sidecar = lock();
    if sidecar.is_none() {
        match Builder::new().build() {
            Ok(runtime) => *sidecar = Some(runtime),
            Err(error) => {
                drop(sidecar);
                panic!("no thread for the tokio runtime: {error}");
            }
        }
    }
    sidecar.as_ref().expect("it runs now").handle().clone()
}

/// Ends the tokio runtime: its tasks are cancelled, and their futures dropped at their next
/// `await`. Ready when its threads have ended, or after the limit, past which they are left to end
/// by themselves. A later [`spawn`] starts another.
///
/// # Panics
///
/// When it is polled, if no runtime runs on that thread.
///
/// # Cancellation
///
/// **Weak**: the runtime ends all the same; only the wait ends.
pub async fn shutdown(limit: Duration) {
    let Some(runtime) = lock().take() else { return };
    let mut ending = Ending(Some(runtime));
    // It waits for threads, so it must not do so on a loop.
    let job = blocking::spawn_blocking(move || {
        if let Some(runtime) = ending.0.take() {
            runtime.shutdown_timeout(limit);
        }
    });
    let _ = job.await;
}

/// A runtime whose drop, should its job never run, waits for nothing.
struct Ending(Option<Runtime>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
