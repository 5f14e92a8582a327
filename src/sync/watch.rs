//! A value that is always there, and receivers of the same core that hear when it changes.
//!
//! The value lies behind an `Rc`, and who looks at it holds a share: a reader that keeps its share
//! for long keeps nobody up, and a sender replaces the `Rc`. The price is that a change in place
//! works on a copy. Versions are numbered, and a receiver keeps the number that it has seen, so it
//! misses versions but never the last.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

pub use super::error::{RecvError, SendError};
use super::waiters::{Outcome, Verdict, Waiter, Waiters};

/// A channel that holds the last value. [`channel::watch`](fn@crate::channel::watch) is for other
/// threads.
///
/// ```
/// # corio::run(async {
/// let (sender, mut receiver) = corio::sync::watch("starting");
/// corio::spawn(async move { sender.send("running") });
/// receiver.changed().await.unwrap();
/// assert_eq!(*receiver.borrow_and_update(), "running");
/// # });
/// ```
pub fn watch<T>(initial: T) -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(Shared {
        value: RefCell::new(Rc::new(initial)),
        version: Cell::new(0),
        is_closed: Cell::new(false),
        receivers: Cell::new(1),
        changes: Waiters::new(),
    });
    (Sender { shared: Rc::clone(&shared) }, Receiver { shared, seen: 0 })
}

struct Shared<T> {
    value: RefCell<Rc<T>>,
    version: Cell<u64>,
    /// The sender is gone.
    is_closed: Cell<bool>,
    receivers: Cell<usize>,
    changes: Waiters,
}

impl<T> Shared<T> {
    fn value(&self) -> Rc<T> {
        Rc::clone(&self.value.borrow())
    }
}

/// A share of the value as it was when it was asked for. It holds no lock.
pub struct Ref<T>(Rc<T>);

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
    shared: Rc<Shared<T>>,
}

impl<T> Sender<T> {
    fn replace(&self, value: Rc<T>) -> Rc<T> {
        let shared = &*self.shared;
        shared.version.set(shared.version.get() + 1);
        let old = shared.value.replace(value);
        shared.changes.grant_all();
        shared.changes.wake();
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
        drop(self.replace(Rc::new(value)));
        Ok(())
    }

    /// Sets the value, whether or not there is a receiver, and returns the one before.
    pub fn send_replace(&self, value: T) -> Ref<T> {
        Ref(self.replace(Rc::new(value)))
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
            drop(self.replace(Rc::new(copy)));
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
        Ref(self.shared.value())
    }

    /// Another receiver, for which the value of now is seen.
    pub fn subscribe(&self) -> Receiver<T> {
        self.shared.receivers.set(self.receiver_count() + 1);
        Receiver { shared: Rc::clone(&self.shared), seen: self.shared.version.get() }
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.shared.receivers.get()
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.is_closed.set(true);
        self.shared.changes.refuse_all();
        self.shared.changes.wake();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("receivers", &self.receiver_count()).finish()
    }
}

/// Looks at the value, and hears when it changes. A clone has seen what this one has seen.
pub struct Receiver<T> {
    shared: Rc<Shared<T>>,
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
        let shared = &*self.shared;
        let waiter = Waiter::new(&shared.changes, 0);
        Changed { shared, seen: &mut self.seen, waiter }.await
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
        if self.shared.is_closed.get() {
            return Err(RecvError::Closed);
        }
        Ok(self.shared.version.get() != self.seen)
    }

    /// The value as it is now. It does not count as seen.
    pub fn borrow(&self) -> Ref<T> {
        Ref(self.shared.value())
    }

    /// The value as it is now. It counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<T> {
        self.seen = self.shared.version.get();
        Ref(self.shared.value())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.shared.receivers.set(self.shared.receivers.get() + 1);
        Receiver { shared: Rc::clone(&self.shared), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.set(self.shared.receivers.get() - 1);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("seen", &self.seen).finish()
    }
}

pin_project! {
    struct Changed<'a, T> {
        shared: &'a Shared<T>,
        seen: &'a mut u64,
        #[pin]
        waiter: Waiter<'a>,
    }
}

impl<T> Future for Changed<'_, T> {
    type Output = Result<(), RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (shared, seen) = (*this.shared, **this.seen);
        let decide = || {
            if shared.version.get() != seen {
                Verdict::Granted
            } else if shared.is_closed.get() {
                Verdict::Refused
            } else {
                Verdict::Wait
            }
        };
        match ready!(this.waiter.as_ref().poll(context, decide)) {
            Outcome::Granted => {
                **this.seen = shared.version.get();
                Poll::Ready(Ok(()))
            }
            Outcome::Refused => Poll::Ready(Err(RecvError::Closed)),
        }
    }
}
