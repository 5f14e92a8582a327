//! A deadline around any future.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::{Instant, Sleep, sleep_until};

/// Waits for `future`, but at most for `duration`: then the future is dropped.
///
/// A value that is there when the deadline passes wins. A timeout of zero polls the future once.
/// Around waits on streams and listeners a timeout loses nothing: what arrives later is kept for
/// the next call.
///
/// ```
/// use corio::time::Duration;
/// # corio::run(async {
/// let slow = corio::sleep(Duration::from_secs(60));
/// assert!(corio::timeout(Duration::from_millis(1), slow).await.is_err());
/// # });
/// ```
///
/// # Cancellation
///
/// As that of the future it waits for.
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    timeout_at(Instant::now() + duration, future)
}

/// Waits for `future` until `deadline`. See [`timeout`].
pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    Timeout { future: future.into_future(), sleep: sleep_until(deadline) }
}

pin_project! {
    /// The future of [`timeout`] and [`timeout_at`].
    #[must_use = "futures do nothing until they are awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(value) = this.future.poll(context) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(this.sleep).poll(context).map(|()| Err(Elapsed::new(0)))
    }
}

/// A deadline passed first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[doc(alias = "TimeoutError")]
pub struct Elapsed {
    operations_left: usize,
}

impl Elapsed {
    pub(crate) fn new(operations_left: usize) -> Elapsed {
        Elapsed { operations_left }
    }

    /// Operations that the kernel had not let go of when a [`wait_for`](super::wait_for) reached
    /// its grace limit. They end in the background.
    pub fn operations_left(&self) -> usize {
        self.operations_left
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}
