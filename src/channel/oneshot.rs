//! One value, once, from any thread to any other.
//!
//! There is a single handing over, so a short lock is all of it. The waker of the one who waits
//! is taken out by whoever ends the wait, and woken after the lock.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::blocking;
pub use super::error::{RecvError, SendError, TryRecvError};
use super::lock::Lock;
use super::waiters::Wakes;

/// A channel for one value.
///
/// ```
/// # corio::run(async {
/// let (sender, receiver) = corio::channel::oneshot();
/// std::thread::spawn(move || sender.send(7).unwrap());
/// assert_eq!(receiver.await, Ok(7));
/// # });
/// ```
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let state = State { value: None, life: Life::Open, receiver: None, sender: None };
    let shared = Arc::new(Lock::new(state));
    (Sender { shared: Some(Arc::clone(&shared)) }, Receiver { shared })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    /// The sender sent, or is gone.
    Sent,
    /// The receiver is gone, or has closed the channel.
    Closed,
}

struct State<T> {
    value: Option<T>,
    life: Life,
    receiver: Option<Waker>,
    /// Of a sender that waits for the receiver to close.
    sender: Option<Waker>,
}

type Shared<T> = Arc<Lock<State<T>>>;

/// Ends the sender's part: with a value, or without.
fn end_sender<T>(shared: &Lock<State<T>>, value: Option<T>) -> Option<T> {
    let mut wakes = Wakes::new();
    let refused = {
        let mut state = shared.lock();
        wakes.discard(state.sender.take());
        if state.life == Life::Open {
            state.life = Life::Sent;
            state.value = value;
            wakes.push(state.receiver.take());
            None
        } else {
            value
        }
    };
    wakes.wake();
    refused
}

/// Sends one value, or none if it is dropped.
#[must_use = "a sender that is dropped sends nothing"]
pub struct Sender<T> {
    shared: Option<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends the value.
    ///
    /// # Errors
    ///
    /// If the receiver is gone or has closed the channel; the value comes back.
    #[doc(alias = "set_result")]
    pub fn send(mut self, value: T) -> Result<(), SendError<T>> {
        let shared = self.shared.take().expect("a sender that sent is gone");
        end_sender(&shared, Some(value)).map_or(Ok(()), |value| Err(SendError(value)))
    }

    fn shared(&self) -> &Lock<State<T>> {
        self.shared.as_ref().expect("a sender that sent is gone")
    }

    /// Whether the receiver is gone or has closed the channel.
    pub fn is_closed(&self) -> bool {
        self.shared().lock().life == Life::Closed
    }

    /// Waits until the receiver is gone or has closed the channel: nobody needs the value.
    ///
    /// # Cancellation
    ///
    /// **Strict**: there is nothing to lose.
    pub async fn closed(&mut self) {
        poll_fn(|context| {
            let mut waker = Some(context.waker().clone());
            let poll = {
                let mut state = self.shared().lock();
                std::mem::swap(&mut state.sender, &mut waker);
                if state.life == Life::Closed { Poll::Ready(()) } else { Poll::Pending }
            };
            drop(waker);
            poll
        })
        .await;
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            end_sender(&shared, None);
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish()
    }
}

/// Receives the value: it is a future of it. Dropped, it refuses what is not yet sent.
///
/// # Cancellation
///
/// **Strict** while it is borrowed (`(&mut receiver).await`): the value stays in the channel.
#[must_use = "a receiver does nothing unless it is awaited"]
pub struct Receiver<T> {
    shared: Shared<T>,
}

impl<T> Receiver<T> {
    /// Takes the value if it is there.
    ///
    /// # Errors
    ///
    /// If it is not there yet, has been taken, or will not come.
    #[doc(alias = "result")]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let mut state = self.shared.lock();
        match state.value.take() {
            Some(value) => Ok(value),
            None if state.life == Life::Open => Err(TryRecvError::Empty),
            None => Err(TryRecvError::Closed),
        }
    }

    /// Refuses the value if it is not sent yet. What was sent can still be received.
    pub fn close(&mut self) {
        let mut wakes = Wakes::new();
        {
            let mut state = self.shared.lock();
            if state.life == Life::Open {
                state.life = Life::Closed;
            }
            wakes.push(state.sender.take());
            wakes.discard(state.receiver.take());
        }
        wakes.wake();
    }

    /// Waits for the value on a thread that runs no core: it is blocked meanwhile.
    ///
    /// # Errors
    ///
    /// If the sender was dropped without a value.
    ///
    /// # Panics
    ///
    /// On a thread that runs a core.
    #[track_caller]
    pub fn blocking_recv(self) -> Result<T, RecvError> {
        blocking::wait(self)
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut waker = Some(context.waker().clone());
        let poll = {
            let mut state = self.shared.lock();
            match state.value.take() {
                Some(value) => Poll::Ready(Ok(value)),
                None if state.life == Life::Open => {
                    std::mem::swap(&mut state.receiver, &mut waker);
                    Poll::Pending
                }
                None => Poll::Ready(Err(RecvError::Closed)),
            }
        };
        drop(waker);
        poll
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.close();
        let value = self.shared.lock().value.take();
        drop(value);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("ready", &self.shared.lock().value.is_some()).finish()
    }
}
