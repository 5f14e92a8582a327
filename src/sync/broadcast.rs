//! Every receiver of the same core gets every value, and a slow one loses the oldest.
//!
//! The last `capacity` values lie in a deque, each with the number of receivers that have not taken
//! it. A receiver is the number of the value that is its next. What nobody will take any more
//! leaves from the front; what is overwritten leaves, too, and receivers that come for it are told
//! how far behind they are. Values lie in `Rc`s, so that clones and drops, which are the user's,
//! happen while nothing is borrowed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

pub use super::error::{RecvError, SendError, TryRecvError};
use super::waiters::{Verdict, Waiter, Waiters};

/// A channel whose every receiver gets every value. It keeps the last `capacity` values.
/// [`channel::broadcast`](fn@crate::channel::broadcast) is for other threads.
///
/// ```
/// # corio::run(async {
/// let (sender, mut one) = corio::sync::broadcast(16);
/// let mut other = sender.subscribe();
/// corio::spawn(async move { sender.send("hello") });
/// assert_eq!(one.recv().await, Ok("hello"));
/// assert_eq!(other.recv().await, Ok("hello"));
/// # });
/// ```
///
/// # Panics
///
/// If `capacity` is zero.
#[track_caller]
pub fn broadcast<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a channel needs at least one place");
    let shared = Rc::new(Shared {
        kept: RefCell::new(Kept { values: VecDeque::new(), first: 0 }),
        capacity,
        senders: Cell::new(1),
        receivers: Cell::new(1),
        news: Waiters::new(),
    });
    (Sender { shared: Rc::clone(&shared) }, Receiver { shared, next: 0 })
}

struct Shared<T> {
    kept: RefCell<Kept<T>>,
    capacity: usize,
    senders: Cell<usize>,
    receivers: Cell<usize>,
    news: Waiters,
}

/// A value, and how many receivers have not taken it.
type Entry<T> = (Rc<T>, usize);

struct Kept<T> {
    values: VecDeque<Entry<T>>,
    /// The number of the value in front.
    first: u64,
}

impl<T> Kept<T> {
    fn end(&self) -> u64 {
        self.first + self.values.len() as u64
    }

    /// Takes the value of a number, which is there. What nobody needs any more comes out with it,
    /// to be dropped when nothing is borrowed.
    fn take(&mut self, number: u64) -> (Rc<T>, Vec<Entry<T>>) {
        let (value, left) = &mut self.values[(number - self.first) as usize];
        *left -= 1;
        (Rc::clone(value), self.trim())
    }

    /// Takes from the front what nobody will take.
    fn trim(&mut self) -> Vec<Entry<T>> {
        let count = self.values.iter().take_while(|(_, left)| *left == 0).count();
        self.first += count as u64;
        self.values.drain(..count).collect()
    }
}

/// Sends values to all receivers. Its clones send to the same.
pub struct Sender<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends a value to every receiver that there is now; returns how many. It never waits: if
    /// the channel is full, the oldest value is lost for who did not take it.
    ///
    /// # Errors
    ///
    /// If there is no receiver; the value comes back.
    pub fn send(&self, value: T) -> Result<usize, SendError<T>> {
        let shared = &*self.shared;
        let count = shared.receivers.get();
        if count == 0 {
            return Err(SendError(value));
        }
        let mut kept = shared.kept.borrow_mut();
        let is_full = kept.values.len() == shared.capacity;
        let oldest = if is_full { kept.values.pop_front() } else { None };
        kept.first += u64::from(is_full);
        kept.values.push_back((Rc::new(value), count));
        drop(kept);
        shared.news.grant_all();
        shared.news.wake();
        drop(oldest);
        Ok(count)
    }

    /// A receiver more, which gets what is sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        self.shared.subscribe()
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.shared.receivers.get()
    }

    /// How many values are kept for receivers that have not taken them.
    pub fn len(&self) -> usize {
        self.shared.kept.borrow().values.len()
    }

    /// Whether every receiver has taken every value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values are kept at most.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}

impl<T> Shared<T> {
    fn subscribe(self: &Rc<Self>) -> Receiver<T> {
        self.receivers.set(self.receivers.get() + 1);
        Receiver { shared: Rc::clone(self), next: self.kept.borrow().end() }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.shared.senders.set(self.shared.senders.get() + 1);
        Sender { shared: Rc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let senders = self.shared.senders.get() - 1;
        self.shared.senders.set(senders);
        if senders == 0 {
            self.shared.news.refuse_all();
            self.shared.news.wake();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("len", &self.len()).finish()
    }
}

/// Receives every value that is sent while it lives.
pub struct Receiver<T> {
    shared: Rc<Shared<T>>,
    /// The number of the next value.
    next: u64,
}

impl<T> Receiver<T> {
    /// How many values wait for this receiver, those included that it has lost.
    pub fn len(&self) -> usize {
        (self.shared.kept.borrow().end() - self.next) as usize
    }

    /// Whether no value waits for this receiver.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Another receiver, which gets what is sent from now on.
    #[doc(alias = "subscribe")]
    pub fn resubscribe(&self) -> Receiver<T> {
        self.shared.subscribe()
    }

    fn take(&mut self) -> Result<Rc<T>, TryRecvError> {
        let mut kept = self.shared.kept.borrow_mut();
        if self.next < kept.first {
            let missed = kept.first - self.next;
            self.next = kept.first;
            Err(TryRecvError::Lagged(missed))
        } else if self.next < kept.end() {
            self.next += 1;
            let (value, unneeded) = kept.take(self.next - 1);
            drop(kept);
            drop(unneeded);
            Ok(value)
        } else if self.shared.senders.get() == 0 {
            Err(TryRecvError::Closed)
        } else {
            Err(TryRecvError::Empty)
        }
    }
}

impl<T: Clone> Receiver<T> {
    /// Receives the next value, and waits for it.
    ///
    /// # Errors
    ///
    /// `Lagged` once, with how many values were lost, if this receiver was too slow; `Closed` if
    /// every sender is gone and nothing is left.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a `recv` that is dropped received nothing.
    pub async fn recv(&mut self) -> Result<T, RecvError> {
        loop {
            match self.try_recv() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Lagged(count)) => return Err(RecvError::Lagged(count)),
                Err(TryRecvError::Closed) => return Err(RecvError::Closed),
                Err(TryRecvError::Empty) => {}
            }
            let shared = &*self.shared;
            News { shared, next: self.next, waiter: Waiter::new(&shared.news, 0) }.await;
        }
    }

    /// Receives the next value if it is there.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv), and `Empty`.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let value = self.take()?;
        // The last receiver that takes a value has it without a clone.
        Ok(Rc::try_unwrap(value).unwrap_or_else(|value| T::clone(&value)))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.set(self.shared.receivers.get() - 1);
        let mut kept = self.shared.kept.borrow_mut();
        let mine = self.next.saturating_sub(kept.first) as usize;
        kept.values.iter_mut().skip(mine).for_each(|(_, left)| *left -= 1);
        let unneeded = kept.trim();
        drop(kept);
        drop(unneeded);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("len", &self.len()).finish()
    }
}

pin_project! {
    /// Waits until there is something to say to a receiver.
    struct News<'a, T> {
        shared: &'a Shared<T>,
        next: u64,
        #[pin]
        waiter: Waiter<'a>,
    }
}

impl<T> Future for News<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let (shared, next) = (*this.shared, *this.next);
        let decide = || {
            let is_there = next < shared.kept.borrow().end() || shared.senders.get() == 0;
            if is_there { Verdict::Granted } else { Verdict::Wait }
        };
        ready!(this.waiter.as_ref().poll(context, decide));
        Poll::Ready(())
    }
}
