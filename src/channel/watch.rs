//! A value that is always there, and receivers that hear when it changes.
//!
//! The value lies behind an `Arc`, and who looks at it holds a share, not a lock: a reader that
//! keeps its share for long keeps nobody up, and a sender replaces the `Arc`. The price is that a
//! change in place works on a copy. Versions are numbered, and a receiver keeps the number that it
//! has seen, so it misses versions but never the last.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pub use super::error::{RecvError, SendError};
use super::lock::Lock;
use super::waiters::{Line, Verdict, Waiter, Wakes};

/// A channel that holds the last value.
///
/// ```
/// # corio::run(async {
/// let (sender, mut receiver) = corio::channel::watch("starting");
/// let other = std::thread::spawn(move || sender.send("running"));
/// receiver.changed().await.unwrap();
/// assert_eq!(*receiver.borrow_and_update(), "running");
/// other.join().unwrap().unwrap();
/// # });
/// ```
pub fn watch<T>(initial: T) -> (Sender<T>, Receiver<T>) {
    let state = State {
        value: Arc::new(initial),
        version: 0,
        is_closed: false,
        receivers: 1,
        changes: Line::new(),
    };
    let shared = Arc::new(Lock::new(state));
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared, seen: 0 })
}

struct State<T> {
    value: Arc<T>,
    version: u64,
    /// The sender is gone.
    is_closed: bool,
    receivers: usize,
    changes: Line,
}

/// A share of the value as it was when it was asked for. It holds no lock.
pub struct Ref<T>(Arc<T>);

impl<T> Deref for Ref<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Sets the value.
pub struct Sender<T> {
    shared: Arc<Lock<State<T>>>,
}

impl<T> Sender<T> {
    fn replace(&self, value: Arc<T>) -> Arc<T> {
        let mut wakes = Wakes::new();
        let old = {
            let mut state = self.shared.lock();
            state.version += 1;
            state.changes.grant_all(&mut wakes);
            std::mem::replace(&mut state.value, value)
        };
        wakes.wake();
        old
    }

    /// Sets the value and tells every receiver.
    ///
    /// # Errors
    ///
    /// If there is no receiver; the value comes back and is not set.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.receiver_count() == 0 {
            return Err(SendError(value));
        }
        drop(self.replace(Arc::new(value)));
        Ok(())
    }

    /// Sets the value, whether or not there is a receiver, and returns the one before.
    pub fn send_replace(&self, value: T) -> Ref<T> {
        Ref(self.replace(Arc::new(value)))
    }

    /// Changes a copy of the value, and if the closure says so, sets it and tells every receiver.
    /// Returns what the closure said. If it panics, nothing has changed.
    pub fn send_if_modified(&mut self, modify: impl FnOnce(&mut T) -> bool) -> bool
    where
        T: Clone,
    {
        // Nobody else sets the value meanwhile: the sender is one, and borrowed.
        let mut copy = T::clone(&self.borrow());
        let is_modified = modify(&mut copy);
        if is_modified {
            drop(self.replace(Arc::new(copy)));
        }
        is_modified
    }

    /// Changes the value in a copy, sets it, and tells every receiver.
    pub fn send_modify(&mut self, modify: impl FnOnce(&mut T))
    where
        T: Clone,
    {
        self.send_if_modified(|value| {
            modify(value);
            true
        });
    }

    /// The value as it is now.
    pub fn borrow(&self) -> Ref<T> {
        Ref(Arc::clone(&self.shared.lock().value))
    }

    /// Another receiver, for which the value of now is seen.
    pub fn subscribe(&self) -> Receiver<T> {
        let mut state = self.shared.lock();
        state.receivers += 1;
        Receiver { shared: Arc::clone(&self.shared), seen: state.version }
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.shared.lock().receivers
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut wakes = Wakes::new();
        {
            let mut state = self.shared.lock();
            state.is_closed = true;
            state.changes.refuse_all(&mut wakes);
        }
        wakes.wake();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("receivers", &self.receiver_count()).finish()
    }
}

/// Looks at the value, and hears when it changes. A clone has seen what this one has seen.
pub struct Receiver<T> {
    shared: Arc<Lock<State<T>>>,
    seen: u64,
}

impl<T> Receiver<T> {
    /// Waits until there is a value that this receiver has not seen, and counts it as seen.
    ///
    /// # Errors
    ///
    /// If the sender is gone and its last value was seen.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a wait that is dropped has seen nothing.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        Changed { receiver: self, waiter: Waiter::new() }.await
    }

    /// Waits until the closure says yes to the value, and counts that value as seen. It is asked
    /// at once, and then about each value that this receiver comes to see.
    ///
    /// # Errors
    ///
    /// If the sender is gone, and the closure said no to its last value.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a wait that is dropped has lost nothing; the values that the closure said no to
    /// are seen.
    pub async fn wait_for(
        &mut self,
        mut is_wanted: impl FnMut(&T) -> bool,
    ) -> Result<Ref<T>, RecvError> {
        loop {
            let value = self.borrow_and_update();
            if is_wanted(&value) {
                return Ok(value);
            }
            drop(value);
            self.changed().await?;
        }
    }

    /// Whether there is a value that this receiver has not seen.
    ///
    /// # Errors
    ///
    /// If the sender is gone.
    pub fn has_changed(&self) -> Result<bool, RecvError> {
        let state = self.shared.lock();
        if state.is_closed { Err(RecvError::Closed) } else { Ok(state.version != self.seen) }
    }

    /// The value as it is now. It does not count as seen.
    pub fn borrow(&self) -> Ref<T> {
        Ref(Arc::clone(&self.shared.lock().value))
    }

    /// The value as it is now. It counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<T> {
        let state = self.shared.lock();
        self.seen = state.version;
        Ref(Arc::clone(&state.value))
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.shared.lock().receivers += 1;
        Receiver { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.lock().receivers -= 1;
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("seen", &self.seen).finish()
    }
}

struct Changed<'a, T> {
    receiver: &'a mut Receiver<T>,
    waiter: Waiter,
}

impl<T> Future for Changed<'_, T> {
    type Output = Result<(), RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let seen = this.receiver.seen;
        let lock = &*this.receiver.shared;
        let decide = |state: &mut State<T>, _: &mut Wakes| {
            if state.version != seen {
                Verdict::Granted
            } else if state.is_closed {
                Verdict::Refused
            } else {
                Verdict::Wait
            }
        };
        let poll = this.waiter.poll(context, lock, |state| &mut state.changes, decide);
        poll.map(|is_changed| {
            if is_changed {
                this.receiver.seen = this.receiver.shared.lock().version;
                Ok(())
            } else {
                Err(RecvError::Closed)
            }
        })
    }
}

impl<T> Drop for Changed<'_, T> {
    fn drop(&mut self) {
        if !self.waiter.is_idle() {
            let mut wakes = Wakes::new();
            // A grant is for everybody: there is nothing to pass on.
            self.waiter.leave(&mut self.receiver.shared.lock().changes, &mut wakes);
            wakes.wake();
        }
    }
}
