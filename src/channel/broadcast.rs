//! Every receiver gets every value, and a slow one loses the oldest.
//!
//! The last `capacity` values lie in a deque behind a short lock, each with the number of
//! receivers that have not taken it. A receiver is the number of the value that is its next. What
//! nobody will take any more leaves from the front; what is overwritten leaves, too, and receivers
//! that come for it are told how far behind they are. Values lie in `Arc`s, so that clones and
//! drops, which are the user's, happen outside of the lock.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::blocking;
pub use super::error::{RecvError, SendError, TryRecvError};
use super::lock::Lock;
use super::waiters::{Line, Verdict, Waiter, Wakes};

/// A channel whose every receiver gets every value. It keeps the last `capacity` values.
///
/// ```
/// # corio::run(async {
/// let (sender, mut one) = corio::channel::broadcast(16);
/// let mut other = sender.subscribe();
/// std::thread::spawn(move || sender.send("hello").unwrap());
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
    let state =
        State { values: VecDeque::new(), first: 0, senders: 1, receivers: 1, news: Line::new() };
    let shared = Arc::new(Shared { state: Lock::new(state), capacity });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared, next: 0 })
}

struct Shared<T> {
    state: Lock<State<T>>,
    capacity: usize,
}

struct Kept<T> {
    value: Arc<T>,
    /// How many receivers have not taken it.
    left: usize,
}

struct State<T> {
    values: VecDeque<Kept<T>>,
    /// The number of the value in front.
    first: u64,
    senders: usize,
    receivers: usize,
    news: Line,
}

impl<T> State<T> {
    fn end(&self) -> u64 {
        self.first + self.values.len() as u64
    }

    /// Takes the value of a number, which is there.
    fn take(&mut self, number: u64, unneeded: &mut Vec<Arc<T>>) -> Arc<T> {
        let kept = &mut self.values[(number - self.first) as usize];
        kept.left -= 1;
        let value = Arc::clone(&kept.value);
        self.trim(unneeded);
        value
    }

    /// Takes from the front what nobody will take.
    fn trim(&mut self, unneeded: &mut Vec<Arc<T>>) {
        while self.values.front().is_some_and(|kept| kept.left == 0) {
            self.first += 1;
            unneeded.extend(self.values.pop_front().map(|kept| kept.value));
        }
    }
}

/// Sends values to all receivers. Its clones send to the same.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends a value to every receiver that there is now; returns how many. It never waits: if
    /// the channel is full, the oldest value is lost for who did not take it.
    ///
    /// # Errors
    ///
    /// If there is no receiver; the value comes back.
    pub fn send(&self, value: T) -> Result<usize, SendError<T>> {
        let value = Arc::new(value);
        let mut wakes = Wakes::new();
        let (count, refused) = {
            let mut state = self.shared.state.lock();
            let left = state.receivers;
            if left == 0 {
                (0, Some(value))
            } else {
                let is_full = state.values.len() == self.shared.capacity;
                let oldest = if is_full { state.values.pop_front() } else { None };
                state.first += u64::from(is_full);
                state.values.push_back(Kept { value, left });
                state.news.grant_all(&mut wakes);
                (left, oldest.map(|kept| kept.value))
            }
        };
        wakes.wake();
        match refused {
            Some(value) if count == 0 => {
                Err(SendError(Arc::into_inner(value).expect("nobody else has it")))
            }
            _ => Ok(count),
        }
    }

    /// A receiver more, which gets what is sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        let mut state = self.shared.state.lock();
        state.receivers += 1;
        Receiver { shared: Arc::clone(&self.shared), next: state.end() }
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.shared.state.lock().receivers
    }

    /// How many values are kept for receivers that have not taken them.
    pub fn len(&self) -> usize {
        self.shared.state.lock().values.len()
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

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.shared.state.lock().senders += 1;
        Sender { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut wakes = Wakes::new();
        {
            let mut state = self.shared.state.lock();
            state.senders -= 1;
            if state.senders == 0 {
                state.news.refuse_all(&mut wakes);
            }
        }
        wakes.wake();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("len", &self.len()).finish()
    }
}

/// Receives every value that is sent while it lives.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The number of the next value.
    next: u64,
}

impl<T> Receiver<T> {
    /// How many values wait for this receiver, those included that it has lost.
    pub fn len(&self) -> usize {
        (self.shared.state.lock().end() - self.next) as usize
    }

    /// Whether no value waits for this receiver.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Another receiver, which gets what is sent from now on.
    #[doc(alias = "subscribe")]
    pub fn resubscribe(&self) -> Receiver<T> {
        let mut state = self.shared.state.lock();
        state.receivers += 1;
        Receiver { shared: Arc::clone(&self.shared), next: state.end() }
    }

    fn take(&mut self) -> Result<Arc<T>, TryRecvError> {
        let mut unneeded = Vec::new();
        let mut state = self.shared.state.lock();
        let result = if self.next < state.first {
            let missed = state.first - self.next;
            self.next = state.first;
            Err(TryRecvError::Lagged(missed))
        } else if self.next < state.end() {
            self.next += 1;
            Ok(state.take(self.next - 1, &mut unneeded))
        } else if state.senders == 0 {
            Err(TryRecvError::Closed)
        } else {
            Err(TryRecvError::Empty)
        };
        drop(state);
        // Not the last of them: `result` has a share.
        drop(unneeded);
        result
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
            News { receiver: self, waiter: Waiter::new() }.await;
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
        Ok(Arc::try_unwrap(value).unwrap_or_else(|value| T::clone(&value)))
    }

    /// As [`recv`](Receiver::recv), on a thread that runs no core: it is blocked meanwhile.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv).
    ///
    /// # Panics
    ///
    /// On a thread that runs a core.
    #[track_caller]
    pub fn blocking_recv(&mut self) -> Result<T, RecvError> {
        blocking::wait(self.recv())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut unneeded = Vec::new();
        let mut state = self.shared.state.lock();
        state.receivers -= 1;
        let mine = self.next.saturating_sub(state.first) as usize;
        state.values.iter_mut().skip(mine).for_each(|kept| kept.left -= 1);
        state.trim(&mut unneeded);
        drop(state);
        drop(unneeded);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("len", &self.len()).finish()
    }
}

/// Waits until there is something to say to a receiver.
struct News<'a, T> {
    receiver: &'a Receiver<T>,
    waiter: Waiter,
}

impl<T> Future for News<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let next = this.receiver.next;
        let decide = |state: &mut State<T>, _: &mut Wakes| {
            if next < state.end() || state.senders == 0 { Verdict::Granted } else { Verdict::Wait }
        };
        let lock = &this.receiver.shared.state;
        this.waiter.poll(context, lock, |state| &mut state.news, decide).map(drop)
    }
}

impl<T> Drop for News<'_, T> {
    fn drop(&mut self) {
        if !self.waiter.is_idle() {
            let mut wakes = Wakes::new();
            // News are for everybody: there is nothing to pass on.
            self.waiter.leave(&mut self.receiver.shared.state.lock().news, &mut wakes);
            wakes.wake();
        }
    }
}
