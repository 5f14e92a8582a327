//! Signals that end a future in good order first: asyncio's Ctrl-C.

use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use super::{Signal, Signals};
use crate::executor::scope::Kind;
use crate::executor::scoped::{Ended, Scoped};

/// Ending by a signal.
impl Signals {
    /// Runs `future` until it ends, or until one of the signals ends it: what asyncio's `run` does
    /// with its main task at Ctrl-C.
    ///
    /// The first signal asks the future to end softly, as
    /// [`wait_for`](crate::time::wait_for) does at its deadline: a
    /// [`catch_cancel`](crate::task::catch_cancel) inside may clean up with awaits, and if the
    /// future becomes ready all the same, its value wins. The second one drops it where it is. A
    /// runtime that is closed afterwards ends the tasks that are left.
    ///
    /// ```
    /// use corio::signal::{Signal, Signals};
    /// # corio::run(async {
    /// let signals = Signals::new([Signal::Interrupt, Signal::Terminate])?;
    /// let served = signals.interrupt(async { "served" }).await;
    /// assert_eq!(served?, "served", "nobody pressed Ctrl-C");
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// If a signal ended the future: one of kind `Interrupted`, which holds an [`Interrupted`]. Or
    /// those of [`recv`](Self::recv), by which the future is dropped.
    ///
    /// # Panics
    ///
    /// If no runtime runs on the thread that polls it.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the future is dropped with it. A signal that was not heard yet stays
    /// pending.
    #[doc(alias = "KeyboardInterrupt")]
    pub async fn interrupt<F: IntoFuture>(&self, future: F) -> io::Result<F::Output> {
        let mut scoped = pin!(Scoped::new(Kind::Block, future.into_future()));
        let mut heard = None;
        loop {
            let mut signal = pin!(self.recv());
            let either = poll_fn(|context| match scoped.as_mut().poll(context) {
                Poll::Ready(over) => Poll::Ready(Ok(over)),
                Poll::Pending => signal.as_mut().poll(context).map(Err),
            });
            match (either.await, heard) {
                (Ok(Ok(value)), _) => {
                    settled(scoped).await;
                    return Ok(value);
                }
                (Err(Ok(signal)), None) => {
                    scoped.place.ask(Some(format!("the process got {signal}").into()));
                    heard = Some(signal);
                }
                (Ok(Err(Ended)) | Err(Ok(_)), Some(signal)) => {
                    return Err(io::Error::new(io::ErrorKind::Interrupted, Interrupted { signal }));
                }
                (Ok(Err(Ended)), None) => unreachable!("only a signal asks it to end"),
                (Err(Err(error)), _) => return Err(error),
            }
        }
    }
}

/// Waits for the end of what a future that is over has left in flight.
async fn settled<F: Future>(mut scoped: Pin<&mut Scoped<F>>) {
    poll_fn(|context| {
        let place = scoped.as_mut().project().place;
        place.polled(context.waker());
        if place.settle() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// A signal ended what ran: the inner error of [`Signals::interrupt`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupted {
    signal: Signal,
}

impl Interrupted {
    /// The first signal that came.
    pub fn signal(&self) -> Signal {
        self.signal
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended by {}", self.signal)
    }
}

impl Error for Interrupted {}
