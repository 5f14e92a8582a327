//! asyncio's `Queue` between cores: many put, many get, and `join` waits for what was put.
//!
//! It behaves as the queue of one core does, under a short lock: items and places are granted as
//! soon as there are any, an item stays in the queue until its getter runs, and a putter's item
//! with its putter. What is promised and not taken goes to the next in line.
//!
//! * `promised` ≤ items, and getters wait only if they are equal;
//! * putters wait only if items and reserved places are `maxsize`, and the queue is open.
//!
//! An immediate shutdown drops the items, and with them what getters were promised: they hear of
//! the shutdown when they run.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::blocking;
use super::lock::Lock;
use super::waiters::{Line, Verdict, Waiter, Wakes};
pub use crate::queue::{Closed, ShutDown, Shutdown, TaskDoneError, TryGetError, TryPutError};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    /// Nothing comes in.
    ShutDown,
    /// Nothing is in.
    Drained,
}

struct State<T> {
    maxsize: usize,
    items: VecDeque<T>,
    /// Items that belong to getters which were granted one and did not run yet.
    promised: usize,
    /// Places that belong to putters which were granted one and did not run yet, and to slots.
    reserved: usize,
    unfinished: usize,
    life: Life,
    getters: Line,
    putters: Line,
    joiners: Line,
}

impl<T> State<T> {
    fn has_place(&self) -> bool {
        self.maxsize == 0 || self.items.len() + self.reserved < self.maxsize
    }

    fn decide_put(&mut self) -> Verdict {
        if self.life != Life::Open {
            Verdict::Refused
        } else if self.has_place() {
            self.reserved += 1;
            Verdict::Granted
        } else {
            Verdict::Wait
        }
    }

    fn decide_get(&mut self) -> Verdict {
        if self.items.len() > self.promised {
            self.promised += 1;
            Verdict::Granted
        } else if self.life != Life::Open && self.items.is_empty() {
            Verdict::Refused
        } else {
            Verdict::Wait
        }
    }

    /// Grants what there is to who waits.
    fn settle(&mut self, wakes: &mut Wakes) {
        while self.items.len() > self.promised && self.getters.grant_front(wakes) {
            self.promised += 1;
        }
        if self.life == Life::Open {
            while self.has_place() && self.putters.grant_front(wakes) {
                self.reserved += 1;
            }
        } else if self.items.is_empty() {
            self.getters.refuse_all(wakes);
        }
    }

    /// Puts an item into a place that was promised.
    fn put_reserved(&mut self, item: T, wakes: &mut Wakes) -> Result<(), Closed<T>> {
        self.reserved -= 1;
        if self.life != Life::Open {
            return Err(Closed(item));
        }
        self.items.push_back(item);
        self.unfinished += 1;
        self.settle(wakes);
        Ok(())
    }

    /// Takes an item that was promised.
    fn get_promised(&mut self, wakes: &mut Wakes) -> Option<T> {
        if self.life == Life::Drained {
            return None;
        }
        self.promised -= 1;
        let item = self.items.pop_front();
        self.settle(wakes);
        item
    }

    fn give_up_place(&mut self, wakes: &mut Wakes) {
        self.reserved -= 1;
        self.settle(wakes);
    }

    fn give_up_item(&mut self, wakes: &mut Wakes) {
        // What was promised before the items were dropped is void.
        if self.life != Life::Drained {
            self.promised -= 1;
            self.settle(wakes);
        }
    }

    fn done(&mut self, count: usize, wakes: &mut Wakes) -> Result<(), TaskDoneError> {
        self.unfinished = self.unfinished.checked_sub(count).ok_or(TaskDoneError(()))?;
        if self.unfinished == 0 {
            self.joiners.grant_all(wakes);
        }
        Ok(())
    }
}

/// A queue for tasks of any cores, and for any threads. A queue is a handle: its clones are the
/// same queue.
///
/// ```
/// use corio::channel::{Queue, Shutdown};
///
/// # corio::run(async {
/// let queue = Queue::new(2);
/// let worker = std::thread::spawn({
///     let queue = queue.clone();
///     move || {
///         corio::run(async move {
///             while let Ok(number) = queue.get_tracked().await {
///                 println!("consumed {}", *number);
///             } // The end of `number` is its `task_done`.
///         })
///     }
/// });
/// for number in 0..5 {
///     queue.put(number).await.unwrap(); // Waits while two are in the queue.
/// }
/// queue.join().await; // All of them have been processed.
/// queue.shutdown(Shutdown::Graceful);
/// worker.join().unwrap();
/// # });
/// ```
pub struct Queue<T> {
    state: Arc<Lock<State<T>>>,
}

impl<T> Queue<T> {
    /// A queue for at most `maxsize` items; zero means any number.
    pub fn new(maxsize: usize) -> Queue<T> {
        let state = State {
            maxsize,
            items: VecDeque::new(),
            promised: 0,
            reserved: 0,
            unfinished: 0,
            life: Life::Open,
            getters: Line::new(),
            putters: Line::new(),
            joiners: Line::new(),
        };
        Queue { state: Arc::new(Lock::new(state)) }
    }

    /// Does something under the lock, and wakes afterwards.
    fn with<R>(&self, act: impl FnOnce(&mut State<T>, &mut Wakes) -> R) -> R {
        let mut wakes = Wakes::new();
        let result = act(&mut self.state.lock(), &mut wakes);
        wakes.wake();
        result
    }

    fn wait(&self, what: What) -> Wait<'_, T> {
        Wait { queue: self, what, waiter: Waiter::new() }
    }

    /// Puts an item into the queue, and waits for a free place if there is none.
    ///
    /// # Errors
    ///
    /// If the queue is shut down, or is while this waits; the item comes back.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a `put` that is dropped put nothing, and its item is dropped with it; a place
    /// that it was promised goes to the next. To keep the item, use [`reserve`](Queue::reserve).
    pub async fn put(&self, item: T) -> Result<(), Closed<T>> {
        match self.wait(What::Place).await {
            true => self.with(|state, wakes| state.put_reserved(item, wakes)),
            false => Err(Closed(item)),
        }
    }

    /// Puts an item into the queue if a place is free that nobody was promised.
    ///
    /// # Errors
    ///
    /// If there is none, or the queue is shut down; the item comes back.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
        self.with(|state, wakes| match state.decide_put() {
            Verdict::Granted => {
                let put = state.put_reserved(item, wakes);
                put.map_err(|Closed(item)| TryPutError::ShutDown(item))
            }
            Verdict::Refused => Err(TryPutError::ShutDown(item)),
            Verdict::Wait => Err(TryPutError::Full(item)),
        })
    }

    /// Waits for a free place and keeps it, for an item to be put without waiting.
    ///
    /// # Errors
    ///
    /// If the queue is shut down, or is while this waits.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a place that a dropped wait was promised goes to the next.
    pub async fn reserve(&self) -> Result<Slot<'_, T>, ShutDown> {
        let is_granted = self.wait(What::Place).await;
        if is_granted { Ok(Slot { queue: self }) } else { Err(ShutDown) }
    }

    /// Takes the next item, and waits for one if there is none.
    ///
    /// # Errors
    ///
    /// If the queue is shut down and empty, or is while this waits.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a `get` that is dropped took nothing; what it was promised goes to the next
    /// getter.
    pub async fn get(&self) -> Result<T, ShutDown> {
        if !self.wait(What::Item).await {
            return Err(ShutDown);
        }
        self.with(State::get_promised).ok_or(ShutDown)
    }

    /// As [`get`](Queue::get), with the item in a guard whose drop is its
    /// [`task_done`](Queue::task_done).
    ///
    /// # Errors
    ///
    /// As [`get`](Queue::get).
    ///
    /// # Cancellation
    ///
    /// **Strict**, as [`get`](Queue::get).
    pub async fn get_tracked(&self) -> Result<Item<T>, ShutDown> {
        let item = self.get().await?;
        Ok(Item { item, _done: Done(self.clone()) })
    }

    /// Takes the next item if there is one that nobody was promised.
    ///
    /// # Errors
    ///
    /// If there is none.
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, TryGetError> {
        self.with(|state, wakes| match state.decide_get() {
            Verdict::Granted => state.get_promised(wakes).ok_or(TryGetError::ShutDown),
            Verdict::Refused => Err(TryGetError::ShutDown),
            Verdict::Wait => Err(TryGetError::Empty),
        })
    }

    /// As [`put`](Queue::put), on a thread that runs no core: it is blocked meanwhile.
    ///
    /// # Errors
    ///
    /// As [`put`](Queue::put).
    ///
    /// # Panics
    ///
    /// On a thread that runs a core.
    #[track_caller]
    pub fn blocking_put(&self, item: T) -> Result<(), Closed<T>> {
        blocking::wait(self.put(item))
    }

    /// As [`get`](Queue::get), on a thread that runs no core: it is blocked meanwhile.
    ///
    /// # Errors
    ///
    /// As [`get`](Queue::get).
    ///
    /// # Panics
    ///
    /// On a thread that runs a core.
    #[track_caller]
    pub fn blocking_get(&self) -> Result<T, ShutDown> {
        blocking::wait(self.get())
    }

    /// Says that an item that was got has been processed.
    ///
    /// # Errors
    ///
    /// If that was said of every item already: asyncio's `ValueError`.
    pub fn task_done(&self) -> Result<(), TaskDoneError> {
        self.with(|state, wakes| state.done(1, wakes))
    }

    /// Waits until every item that was put has been got and [processed](Queue::task_done).
    ///
    /// # Cancellation
    ///
    /// **Strict**: there is nothing to lose.
    pub async fn join(&self) {
        self.wait(What::End).await;
    }

    /// Shuts the queue down: nothing can be put any more. Who waits to put, and who waits to get
    /// what will not come, is refused.
    ///
    /// A graceful shutdown leaves the items to the getters. An immediate one drops them and counts
    /// them as done, which may end a [`join`](Queue::join); it may follow a graceful one.
    pub fn shutdown(&self, how: Shutdown) {
        let dropped = self.with(|state, wakes| {
            let mut dropped = VecDeque::new();
            match how {
                Shutdown::Graceful if state.life != Life::Open => {}
                Shutdown::Graceful => state.life = Life::ShutDown,
                Shutdown::Immediate => {
                    state.life = Life::Drained;
                    state.promised = 0;
                    dropped = std::mem::take(&mut state.items);
                }
            }
            state.putters.refuse_all(wakes);
            state.settle(wakes);
            // Fewer may be unfinished than were dropped if `task_done` was called too early.
            let _ = state.done(dropped.len().min(state.unfinished), wakes);
            dropped
        });
        drop(dropped);
    }

    /// Whether the queue has been shut down.
    pub fn is_shut_down(&self) -> bool {
        self.state.lock().life != Life::Open
    }

    /// How many items are in the queue, those included that were promised to getters which did not
    /// run yet.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.state.lock().items.len()
    }

    /// Whether no item is in the queue.
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `maxsize` items are in the queue; never, if it is zero.
    #[doc(alias = "full")]
    pub fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.maxsize > 0 && state.items.len() >= state.maxsize
    }

    /// How many items may be in the queue; zero if any number.
    #[doc(alias = "capacity")]
    pub fn maxsize(&self) -> usize {
        self.state.lock().maxsize
    }
}

impl<T> Clone for Queue<T> {
    /// Another handle of the same queue.
    fn clone(&self) -> Queue<T> {
        Queue { state: Arc::clone(&self.state) }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Queue")
            .field("maxsize", &state.maxsize)
            .field("len", &state.items.len())
            .field("getters", &state.getters.len())
            .field("putters", &state.putters.len())
            .field("unfinished", &state.unfinished)
            .field("shut_down", &(state.life != Life::Open))
            .finish()
    }
}

/// A place in a queue that is kept for one item, made by [`Queue::reserve`]. Dropping it gives the
/// place to the next who waits for one.
#[must_use = "a place that is dropped at once holds nothing"]
pub struct Slot<'a, T> {
    queue: &'a Queue<T>,
}

impl<T> Slot<'_, T> {
    /// Puts the item into the queue, without waiting.
    ///
    /// # Errors
    ///
    /// If the queue has been shut down meanwhile; the item comes back.
    pub fn put(self, item: T) -> Result<(), Closed<T>> {
        let queue = self.queue;
        std::mem::forget(self);
        queue.with(|state, wakes| state.put_reserved(item, wakes))
    }
}

impl<T> Drop for Slot<'_, T> {
    fn drop(&mut self) {
        self.queue.with(State::give_up_place);
    }
}

impl<T> fmt::Debug for Slot<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

/// An item that was got and is being processed, made by [`Queue::get_tracked`]. Dropping it is the
/// item's `task_done`, also when the task is cancelled or panics.
#[must_use = "dropping it says that the item has been processed"]
pub struct Item<T> {
    // In this order: the item is gone when it is said to be done.
    item: T,
    _done: Done<T>,
}

struct Done<T>(Queue<T>);

impl<T> Drop for Done<T> {
    fn drop(&mut self) {
        // Zero already if somebody also called `task_done` for this item. No place to say so.
        let _ = self.0.task_done();
    }
}

impl<T> Item<T> {
    /// Takes the item out, and says that it has been processed.
    pub fn into_inner(this: Self) -> T {
        this.item
    }
}

impl<T> Deref for Item<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T> DerefMut for Item<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.item
    }
}

impl<T: fmt::Debug> fmt::Debug for Item<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.item.fmt(f)
    }
}

/// What a future of a queue waits for.
#[derive(Clone, Copy)]
enum What {
    Place,
    Item,
    End,
}

impl What {
    fn line<T>(self, state: &mut State<T>) -> &mut Line {
        match self {
            What::Place => &mut state.putters,
            What::Item => &mut state.getters,
            What::End => &mut state.joiners,
        }
    }

    fn decide<T>(self, state: &mut State<T>) -> Verdict {
        match self {
            What::Place => state.decide_put(),
            What::Item => state.decide_get(),
            What::End if state.unfinished == 0 => Verdict::Granted,
            What::End => Verdict::Wait,
        }
    }

    fn give_up<T>(self, state: &mut State<T>, wakes: &mut Wakes) {
        match self {
            What::Place => state.give_up_place(wakes),
            What::Item => state.give_up_item(wakes),
            What::End => {}
        }
    }
}

struct Wait<'a, T> {
    queue: &'a Queue<T>,
    what: What,
    waiter: Waiter,
}

impl<T> Future for Wait<'_, T> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let this = &mut *self;
        let (lock, what) = (&*this.queue.state, this.what);
        this.waiter.poll(context, lock, |state| what.line(state), |state, _| what.decide(state))
    }
}

impl<T> Drop for Wait<'_, T> {
    fn drop(&mut self) {
        if self.waiter.is_idle() {
            return;
        }
        let (waiter, what) = (&mut self.waiter, self.what);
        self.queue.with(|state, wakes| {
            if waiter.leave(what.line(state), wakes) {
                what.give_up(state, wakes);
            }
        });
    }
}
