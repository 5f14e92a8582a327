//! One value, once, from one task to another of the same core.
//!
//! The two ends share a few cells. Each end has one waker at most, which whoever ends the wait
//! takes out and wakes last. The clone and the drop of a waker run foreign code, which may use the
//! other end: after either, the state is looked at again.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

pub use super::error::{RecvError, SendError, TryRecvError};
use crate::executor::wake;

/// A channel for one value and one waiter. A [`Promise`](super::Promise) is for many, and
/// [`channel::oneshot`](fn@crate::channel::oneshot) for other threads.
///
/// ```
/// # corio::run(async {
/// let (sender, receiver) = corio::sync::oneshot();
/// corio::spawn(async move { sender.send(7) });
/// assert_eq!(receiver.await, Ok(7));
/// # });
/// ```
#[doc(alias = "Future")]
#[doc(alias = "create_future")]
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(Shared {
        value: Cell::new(None),
        life: Cell::new(Life::Open),
        receiver: Cell::new(None),
        sender: Cell::new(None),
    });
    (Sender { shared: Rc::clone(&shared) }, Receiver { shared })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    /// The sender sent, or is gone.
    Sent,
    /// The receiver is gone, or has closed the channel.
    Closed,
}

struct Shared<T> {
    value: Cell<Option<T>>,
    life: Cell<Life>,
    receiver: Cell<Option<Waker>>,
    /// Of a sender that waits for the receiver to close.
    sender: Cell<Option<Waker>>,
}

impl<T> Shared<T> {
    /// Ends the sender's part: with a value, or without. Returns what nobody will receive.
    #[inline]
    fn end_sender(&self, value: Option<T>) -> Option<T> {
        if self.life.get() != Life::Open {
            return value;
        }
        self.life.set(Life::Sent);
        self.value.set(value);
        if let Some(waker) = self.receiver.take() {
            wake(waker);
        }
        None
    }

    fn end_receiver(&self) {
        if self.life.get() == Life::Open {
            self.life.set(Life::Closed);
            if let Some(waker) = self.sender.take() {
                wake(waker);
            }
        }
    }

    #[inline]
    fn take(&self) -> Result<T, TryRecvError> {
        match self.value.take() {
            Some(value) => Ok(value),
            None if self.life.get() == Life::Open => Err(TryRecvError::Empty),
            None => Err(TryRecvError::Closed),
        }
    }
}

/// Keeps the waker of a poll, unless it is kept already.
fn keep(slot: &Cell<Option<Waker>>, waker: &Waker) {
    let known = slot.take();
    if known.as_ref().is_some_and(|known| known.will_wake(waker)) {
        slot.set(known);
        return;
    }
    // The clone may end the wait, and then the old waker has to be there to be woken.
    slot.set(known);
    let waker = waker.clone();
    drop(slot.replace(Some(waker)));
}

/// Sends one value, or none if it is dropped.
#[must_use = "a sender that is dropped sends nothing"]
pub struct Sender<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends the value.
    ///
    /// # Errors
    ///
    /// If the receiver is gone or has closed the channel; the value comes back.
    #[doc(alias = "set_result")]
    #[inline]
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        self.shared.end_sender(Some(value)).map_or(Ok(()), |value| Err(SendError(value)))
    }

    /// Whether the receiver is gone or has closed the channel.
    pub fn is_closed(&self) -> bool {
        self.shared.life.get() == Life::Closed
    }

    /// Waits until the receiver is gone or has closed the channel: nobody needs the value.
    ///
    /// # Cancellation
    ///
    /// **Strict**: there is nothing to lose.
    pub async fn closed(&mut self) {
        poll_fn(|context| {
            if !self.is_closed() {
                keep(&self.shared.sender, context.waker());
            }
            if self.is_closed() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl<T> Drop for Sender<T> {
    #[inline]
    fn drop(&mut self) {
        self.shared.end_sender(None);
        drop(self.shared.sender.take());
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
    shared: Rc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// Takes the value if it is there.
    ///
    /// # Errors
    ///
    /// If it is not there yet, has been taken, or will not come.
    #[doc(alias = "result")]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.shared.take()
    }

    /// Refuses the value if it is not sent yet. What was sent can still be received.
    pub fn close(&mut self) {
        self.shared.end_receiver();
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, RecvError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = &*self.shared;
        let mut taken = shared.take();
        if let Err(TryRecvError::Empty) = taken {
            keep(&shared.receiver, context.waker());
            taken = shared.take();
        }
        match taken {
            Ok(value) => Poll::Ready(Ok(value)),
            Err(TryRecvError::Empty) => Poll::Pending,
            Err(_) => Poll::Ready(Err(RecvError::Closed)),
        }
    }
}

impl<T> Drop for Receiver<T> {
    #[inline]
    fn drop(&mut self) {
        self.shared.end_receiver();
        drop(self.shared.receiver.take());
        drop(self.shared.value.take());
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("open", &(self.shared.life.get() == Life::Open)).finish()
    }
}
