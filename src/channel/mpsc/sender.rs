//! The sending side: who sends has a permit first, whether or not one sees it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Reserve, SendError, Shared, TrySendError, WaitClosed};
use crate::channel::blocking;
use crate::channel::waiters::{Verdict, Waiter};

/// Sends values to the [`Receiver`](super::Receiver). Its clones send to the same one, each in
/// its own order. When the last is dropped, the receiver gets what was sent, and then `None`.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Sender<T> {
        Sender { shared }
    }

    /// Sends a value, and waits for a free place if there is none, first come, first served.
    ///
    /// # Errors
    ///
    /// If the receiver is gone or has closed the channel, or does while this waits; the value
    /// comes back.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a `send` that is dropped sent nothing, and its value is dropped with it; a
    /// place that it was promised goes to the next. To keep the value, use
    /// [`reserve`](Sender::reserve).
    #[inline]
    #[doc(alias = "put")]
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self.shared.take_free() {
            Verdict::Granted => {}
            Verdict::Refused => return Err(SendError(value)),
            Verdict::Wait => {
                if !self.wait_for_permit().await {
                    return Err(SendError(value));
                }
            }
        }
        self.shared.push(value).map_err(SendError)
    }

    fn wait_for_permit(&self) -> Reserve<'_, T> {
        Reserve::new(&self.shared)
    }

    /// Sends a value if a place is free that nobody waits for.
    ///
    /// # Errors
    ///
    /// If there is none, or the receiver is gone or has closed the channel; the value comes back.
    #[inline]
    #[doc(alias = "put_nowait")]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.shared.try_permit() {
            Verdict::Granted => self.shared.push(value).map_err(TrySendError::Closed),
            Verdict::Refused => Err(TrySendError::Closed(value)),
            Verdict::Wait => Err(TrySendError::Full(value)),
        }
    }

    /// Waits for a free place and keeps it, for a value to be sent without waiting.
    ///
    /// # Errors
    ///
    /// If the receiver is gone or has closed the channel, or does while this waits.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a place that a dropped wait was promised goes to the next.
    pub async fn reserve(&self) -> Result<Permit<'_, T>, SendError<()>> {
        match self.wait_for_permit().await {
            true => Ok(Permit { shared: &self.shared }),
            false => Err(SendError(())),
        }
    }

    /// Keeps a place if one is free that nobody waits for.
    ///
    /// # Errors
    ///
    /// If there is none, or the receiver is gone or has closed the channel.
    pub fn try_reserve(&self) -> Result<Permit<'_, T>, TrySendError<()>> {
        match self.shared.try_permit() {
            Verdict::Granted => Ok(Permit { shared: &self.shared }),
            Verdict::Refused => Err(TrySendError::Closed(())),
            Verdict::Wait => Err(TrySendError::Full(())),
        }
    }

    /// As [`send`](Sender::send), on a thread that runs no core: it is blocked meanwhile.
    ///
    /// # Errors
    ///
    /// As [`send`](Sender::send).
    ///
    /// # Panics
    ///
    /// On a thread that runs a core.
    #[track_caller]
    pub fn blocking_send(&self, value: T) -> Result<(), SendError<T>> {
        blocking::wait(self.send(value))
    }

    /// Waits until the receiver is gone or has closed the channel.
    ///
    /// # Cancellation
    ///
    /// **Strict**: there is nothing to lose.
    pub async fn closed(&self) {
        WaitClosed { shared: &self.shared, waiter: Waiter::new() }.await;
    }

    /// Whether the receiver is gone or has closed the channel.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// How many values were sent and not yet received.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.shared.ring.len().min(self.shared.capacity)
    }

    /// Whether every value that was sent has been received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many places the channel has, free or not.
    #[doc(alias = "max_capacity")]
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}

impl<T> Clone for Sender<T> {
    /// Another sender to the same receiver.
    fn clone(&self) -> Sender<T> {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Sender { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.close();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.shared).finish()
    }
}

/// A place that is kept for one value, made by [`Sender::reserve`]. Dropping it gives the place
/// to the next who waits for one.
#[must_use = "a place that is dropped at once holds nothing"]
pub struct Permit<'a, T> {
    shared: &'a Shared<T>,
}

impl<T> Permit<'_, T> {
    /// Sends a value, without waiting. It may be sent also after the receiver has closed the
    /// channel, which waits for it.
    ///
    /// # Errors
    ///
    /// If the receiver is gone; the value comes back.
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        let shared = self.shared;
        std::mem::forget(self);
        shared.push(value).map_err(SendError)
    }
}

impl<T> Drop for Permit<'_, T> {
    fn drop(&mut self) {
        self.shared.give_back();
    }
}

impl<T> fmt::Debug for Permit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}
