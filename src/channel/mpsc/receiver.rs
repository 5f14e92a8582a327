//! The receiving side. What was sent lies in the ring, and a future only waits, so dropping one
//! loses nothing, and a wake that it was sent is good for the next.
#![allow(unsafe_code)] // Who takes is the receiver.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::Stream;

use super::{Shared, TryRecvError, poll_again};
use crate::channel::blocking;
use crate::channel::patience::Patience;
use crate::channel::waiters::Wakes;

/// Receives what the [`Sender`](super::Sender)s send, each one's values in its order.
///
/// When it is dropped, what was sent and not received is dropped, and senders are refused.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The next position to take.
    head: u64,
    patience: Patience,
}

impl<T> Receiver<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Receiver<T> {
        let patience = Patience::new(shared.capacity);
        Receiver { shared, head: 0, patience }
    }

    /// Takes the next value without counting it.
    #[inline]
    fn take(&mut self) -> Option<T> {
        // SAFETY: [one-receiver] there is one `Receiver` of a ring, this is the only place where
        // it takes, and its head goes on when it has the value.
        let value = unsafe { self.shared.ring.take(self.head) }?;
        self.head += 1;
        Some(value)
    }

    #[inline]
    fn give_back(&self, count: u64) {
        if count > 0 && self.shared.ring.give_back(count) {
            self.shared.serve_senders();
        }
    }

    /// Takes what there is, up to `max`.
    fn take_many(&mut self, values: &mut Vec<T>, max: usize) -> usize {
        if !self.shared.ring.is_published(self.head) {
            return 0;
        }
        let (from, length) = (self.head, values.len());
        // Room first: if that fails, nothing has been taken.
        values.reserve(max.min(self.len()));
        while values.len() - length < max
            && let Some(value) = self.take()
        {
            values.push(value);
        }
        self.give_back(self.head - from);
        values.len() - length
    }

    /// The next value, or `None` if none will come.
    #[inline]
    fn poll_one(&mut self, context: &Context<'_>) -> Poll<Option<T>> {
        if self.patience.rests() {
            return poll_again(context);
        }
        loop {
            if let Some(value) = self.take() {
                self.give_back(1);
                self.patience.found(1);
                return Poll::Ready(Some(value));
            }
            match self.poll_ready(context) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Looks again later, or asks to be woken. Ready: there is a value after all, or (false) there
    /// will be none.
    fn poll_ready(&mut self, context: &Context<'_>) -> Poll<bool> {
        if self.patience.goes_on() && !self.shared.is_closed() {
            return poll_again(context);
        }
        let shared = &*self.shared;
        let mut waker = Some(context.waker().clone());
        let mut wakes = Wakes::new();
        let has_ended = {
            let mut waiting = shared.waiting.lock();
            let has_ended = shared.has_ended(&mut waiting, &mut wakes);
            if !has_ended {
                std::mem::swap(&mut waiting.receiver, &mut waker);
            }
            has_ended
        };
        wakes.discard(waker);
        wakes.wake();
        if has_ended {
            return Poll::Ready(false);
        }
        // After the waker is in its place, where who finds the mark looks for it.
        if shared.ring.await_at(self.head) { Poll::Pending } else { Poll::Ready(true) }
    }

    /// Receives the next value, and waits for one if there is none. `None` if there is none and
    /// none will come: every sender is gone, or this side closed the channel.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a `recv` that is dropped received nothing.
    #[doc(alias = "get")]
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_one(context)).await
    }

    /// As [`recv`](Receiver::recv), for who polls by hand.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_one(context)
    }

    /// Receives up to `max` values at once, and waits for one if there is none. They are appended
    /// to `values`; how many is returned. Zero if none will come, or `max` is zero.
    ///
    /// This is the quick way to receive: senders hear of all free places at once.
    ///
    /// # Cancellation
    ///
    /// **Strict**: if it is dropped, nothing was received.
    pub async fn recv_many(&mut self, values: &mut Vec<T>, max: usize) -> usize {
        if max == 0 {
            return 0;
        }
        poll_fn(|context| {
            if self.patience.rests() {
                return poll_again(context);
            }
            loop {
                match self.take_many(values, max) {
                    0 => {}
                    count => {
                        self.patience.found(count);
                        return Poll::Ready(count);
                    }
                }
                match self.poll_ready(context) {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(0),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Receives the next value if there is one.
    ///
    /// # Errors
    ///
    /// If there is none.
    #[doc(alias = "get_nowait")]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        if let Some(value) = self.take() {
            self.give_back(1);
            return Ok(value);
        }
        let mut wakes = Wakes::new();
        let has_ended = self.shared.has_ended(&mut self.shared.waiting.lock(), &mut wakes);
        wakes.wake();
        Err(if has_ended { TryRecvError::Closed } else { TryRecvError::Empty })
    }

    /// As [`recv`](Receiver::recv), on a thread that runs no core: it is blocked meanwhile.
    ///
    /// # Panics
    ///
    /// On a thread that runs a core.
    #[track_caller]
    pub fn blocking_recv(&mut self) -> Option<T> {
        blocking::wait(self.recv())
    }

    /// Refuses what is not yet sent. What was sent can still be received, also what is sent by a
    /// [`Permit`](super::Permit) that was given out before.
    #[doc(alias = "shutdown")]
    pub fn close(&mut self) {
        self.shared.close();
    }

    /// Whether nothing more can be sent, except by permits given out before.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// How many values were sent and not yet received.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.shared.ring.len().min(self.shared.capacity)
    }

    /// Whether nothing was sent that was not received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many places the channel has, free or not.
    #[doc(alias = "max_capacity")]
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.get_mut().poll_one(context)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.close();
        let end = self.shared.ring.leave();
        // If a drop panics here, the drop of `rest` goes on with the next.
        let mut rest = Rest { shared: &self.shared, from: self.head, end };
        rest.drop_values();
    }
}

/// The values that nobody will receive. If the drop of one panics, the others are dropped still.
struct Rest<'a, T> {
    shared: &'a Shared<T>,
    from: u64,
    end: u64,
}

impl<T> Rest<'_, T> {
    fn drop_values(&mut self) {
        while self.from < self.end {
            let position = self.from;
            self.from += 1;
            // SAFETY: [one-receiver] this is the end of the receiver, and each position that it
            // did not take comes once.
            drop(unsafe { self.shared.ring.abandon(position) });
        }
    }
}

impl<T> Drop for Rest<'_, T> {
    fn drop(&mut self) {
        self.drop_values();
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.shared).finish()
    }
}
