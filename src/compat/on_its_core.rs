//! What stays on its core, where a bound asks for `Send`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use send_wrapper::SendWrapper;

/// Something of this core for whoever asks for `Send`.
///
/// Libraries written for runtimes that move tasks between threads ask for `Send` futures and
/// streams: a handler of axum, an upgraded connection of hyper. On corio a task stays on its core,
/// so a future with an `Rc`, a stream or a timer in it is fine there; this says so to the compiler,
/// and checks it at run time.
///
/// It is a future of what is a future, and has the I/O traits of what has them.
///
/// ```
/// use std::rc::Rc;
/// use corio::compat::OnItsCore;
///
/// fn for_any_runtime(future: impl Future<Output = usize> + Send) -> impl Future<Output = usize> {
///     future
/// }
///
/// # corio::run(async {
/// let local = Rc::new(7);
/// let future = OnItsCore::future(async move {
///     corio::yield_now().await;
///     *local
/// });
/// assert_eq!(for_any_runtime(future).await, 7);
/// # });
/// ```
///
/// # Panics
///
/// If it is used on another thread than that of its making, or dropped there unless that is
/// panicking.
///
/// # Cancellation
///
/// As what is inside.
#[must_use = "futures do nothing until they are awaited"]
pub struct OnItsCore<T>(SendWrapper<T>);

impl<T> OnItsCore<T> {
    /// Ties a value to this thread.
    pub fn new(value: T) -> OnItsCore<T> {
        OnItsCore(SendWrapper::new(value))
    }

    /// The value.
    ///
    /// # Panics
    ///
    /// On another thread than that of its making.
    #[track_caller]
    pub fn into_inner(self) -> T {
        self.0.take()
    }

    /// The value, where it may be used.
    ///
    /// # Panics
    ///
    /// On another thread than that of its making.
    #[track_caller]
    pub fn get(&self) -> &T {
        assert!(self.0.valid(), "what belongs to one core was used on another thread");
        &self.0
    }

    /// The value, to be changed, where it may be used.
    ///
    /// # Panics
    ///
    /// On another thread than that of its making.
    #[track_caller]
    pub fn get_mut(&mut self) -> &mut T {
        assert!(self.0.valid(), "what belongs to one core was used on another thread");
        &mut self.0
    }

    #[track_caller]
    pub(super) fn pinned(self: Pin<&mut Self>) -> Pin<&mut T>
    where
        T: Unpin,
    {
        Pin::new(self.get_mut().get_mut())
    }
}

impl<F: Future> OnItsCore<Pin<Box<F>>> {
    /// Ties a future to this thread.
    pub fn future(future: F) -> OnItsCore<Pin<Box<F>>> {
        OnItsCore::new(Box::pin(future))
    }
}

impl<F: Future + Unpin> Future for OnItsCore<F> {
    type Output = F::Output;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.pinned().poll(context)
    }
}

impl<T> Unpin for OnItsCore<T> {}

impl<T> fmt::Debug for OnItsCore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnItsCore")
    }
}
