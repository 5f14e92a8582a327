//! Queues between the tasks of one core: asyncio's `Queue`, `LifoQueue` and `PriorityQueue`.
//!
//! ```
//! use corio::queue::Queue;
//!
//! # corio::run(async {
//! let queue = Queue::new(2);
//! let consumer = corio::spawn({
//!     let queue = queue.clone();
//!     async move {
//!         while let Ok(number) = queue.get_tracked().await {
//!             println!("consumed {}", *number);
//!         } // The end of `number` is its `task_done`.
//!     }
//! });
//! for number in 0..5 {
//!     queue.put(number).await.unwrap(); // Waits while two are in the queue.
//! }
//! queue.join().await; // All of them have been processed.
//! queue.shutdown(corio::queue::Shutdown::Graceful);
//! consumer.await.unwrap();
//! # });
//! ```
//!
//! A queue is a handle: its clones are the same queue.
//!
//! **First come, first served.** An item is promised to the first getter in line when it is put, a
//! place to the first putter when it becomes free. A newcomer, and every `try_` form, finds it
//! taken, also before the getter or putter runs. The item itself stays in the queue until then, so
//! a getter of a [`PriorityQueue`] gets the least there is when it runs.
//!
//! **Nothing is lost by cancelling.** A `get` that is dropped took nothing; a `put` that is dropped
//! put nothing, and its item is dropped with it. Who wants to keep the item asks for a place first:
//! [`Queue::reserve`].

mod error;
mod mechanism;
mod order;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use futures_util::stream::{self, Stream};

pub use error::{Closed, ShutDown, TaskDoneError, TryGetError, TryPutError};
use mechanism::{Get, Mechanism, Place, Put, Reserve, Unfinished};
use order::{Fifo, Lifo, Order, Priority};

/// How a queue is shut down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// Nothing can be put any more; what is in the queue can still be got.
    Graceful,
    /// What is in the queue is dropped and counts as done.
    Immediate,
}

/// A place in a queue that is kept for one item, made by [`Queue::reserve`]. Dropping it gives the
/// place to the next who waits for one.
#[must_use = "a place that is dropped at once holds nothing"]
pub struct Slot<'a, T> {
    place: &'a dyn Place<T>,
}

impl<T> Slot<'_, T> {
    /// Puts the item into the queue, without waiting.
    ///
    /// # Errors
    ///
    /// If the queue has been shut down meanwhile; the item comes back.
    pub fn put(self, item: T) -> Result<(), Closed<T>> {
        let place = self.place;
        std::mem::forget(self);
        place.put(item)
    }
}

impl<T> Drop for Slot<'_, T> {
    fn drop(&mut self) {
        self.place.give_up();
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
    _done: Done,
}

struct Done(Rc<Unfinished>);

impl Drop for Done {
    fn drop(&mut self) {
        // Zero already if somebody also called `task_done` for this item. No place to say so.
        let _ = self.0.done(1);
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

/// The three kinds differ in nothing but the order of their items.
macro_rules! queue {
    ($(#[$meta:meta])* $name:ident, $order:ident $(, $bound:ident)?) => {
        $(#[$meta])*
        pub struct $name<T> {
            mechanism: Rc<Mechanism<$order<T>>>,
        }

        impl<T $(: $bound)?> $name<T> {
            /// A queue for at most `maxsize` items; zero means any number.
            pub fn new(maxsize: usize) -> $name<T> {
                $name { mechanism: Rc::new(Mechanism::new(maxsize, $order::default())) }
            }

            /// Puts an item into the queue, and waits for a free place if there is none.
            ///
            /// # Errors
            ///
            /// If the queue is shut down, or is while this waits; the item comes back.
            ///
            /// # Cancellation
            ///
            /// **Strict**: a `put` that is dropped put nothing, and its item is dropped with it;
            /// a place that it was promised goes to the next. To keep the item, use
            /// [`reserve`](Self::reserve).
            pub async fn put(&self, item: T) -> Result<(), Closed<T>> {
                // Where there is a place, nobody has to be pinned in a line.
                match self.mechanism.try_put(item) {
                    Ok(()) => Ok(()),
                    Err(TryPutError::ShutDown(item)) => Err(Closed(item)),
                    Err(TryPutError::Full(item)) => Put::new(&*self.mechanism, item).await,
                }
            }

            /// Puts an item into the queue if a place is free that nobody was promised.
            ///
            /// # Errors
            ///
            /// If there is none, or the queue is shut down; the item comes back.
            #[doc(alias = "put_nowait")]
            pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
                self.mechanism.try_put(item)
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
                Reserve::new(&*self.mechanism).await.map(|()| Slot { place: &*self.mechanism })
            }

            /// Takes the next item, and waits for one if there is none.
            ///
            /// # Errors
            ///
            /// If the queue is shut down and empty.
            ///
            /// # Cancellation
            ///
            /// **Strict**: a `get` that is dropped took nothing; what it was promised goes to the
            /// next getter.
            pub async fn get(&self) -> Result<T, ShutDown> {
                match self.mechanism.try_get() {
                    Ok(item) => Ok(item),
                    Err(TryGetError::ShutDown) => Err(ShutDown),
                    Err(TryGetError::Empty) => Get::new(&*self.mechanism).await,
                }
            }

            /// As [`get`](Self::get), with the item in a guard whose drop is its
            /// [`task_done`](Self::task_done).
            ///
            /// # Errors
            ///
            /// As [`get`](Self::get).
            ///
            /// # Cancellation
            ///
            /// **Strict**, as [`get`](Self::get).
            pub async fn get_tracked(&self) -> Result<Item<T>, ShutDown> {
                let item = self.get().await?;
                Ok(Item { item, _done: Done(Rc::clone(self.mechanism.unfinished())) })
            }

            /// Takes the next item if there is one that nobody was promised.
            ///
            /// # Errors
            ///
            /// If there is none.
            #[doc(alias = "get_nowait")]
            pub fn try_get(&self) -> Result<T, TryGetError> {
                self.mechanism.try_get()
            }

            /// Says that an item that was got has been processed.
            ///
            /// # Errors
            ///
            /// If that was said of every item already: asyncio's `ValueError`.
            pub fn task_done(&self) -> Result<(), TaskDoneError> {
                self.mechanism.unfinished().done(1)
            }

            /// Waits until every item that was put has been got and
            /// [processed](Self::task_done).
            ///
            /// # Cancellation
            ///
            /// **Strict**: there is nothing to lose.
            pub async fn join(&self) {
                self.mechanism.unfinished().join().await;
            }

            /// Shuts the queue down: nothing can be put any more. Who waits to put, and who waits
            /// to get what will not come, is refused.
            ///
            /// A graceful shutdown leaves the items to the getters. An immediate one drops them and
            /// counts them as done, which may end a [`join`](Self::join); it may follow a graceful
            /// one.
            pub fn shutdown(&self, how: Shutdown) {
                self.mechanism.shutdown(how);
            }

            /// Whether the queue has been shut down.
            pub fn is_shut_down(&self) -> bool {
                self.mechanism.is_shut_down()
            }

            /// How many items are in the queue, those included that were promised to getters which
            /// did not run yet.
            #[doc(alias = "qsize")]
            pub fn len(&self) -> usize {
                self.mechanism.len()
            }

            /// Whether no item is in the queue.
            #[doc(alias = "empty")]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether `maxsize` items are in the queue; never, if it is zero.
            #[doc(alias = "full")]
            pub fn is_full(&self) -> bool {
                self.maxsize() > 0 && self.len() >= self.maxsize()
            }

            /// How many items may be in the queue; zero if any number.
            #[doc(alias = "capacity")]
            pub fn maxsize(&self) -> usize {
                self.mechanism.maxsize()
            }

            /// The items as a stream, which ends when the queue is shut down and empty.
            ///
            /// A stream that was polled once has a place among the getters until it is dropped.
            pub fn stream(&self) -> impl Stream<Item = T> + '_ {
                stream::unfold(self, |queue| async move {
                    queue.get().await.ok().map(|item| (item, queue))
                })
            }
        }

        impl<T> Clone for $name<T> {
            /// Another handle of the same queue.
            fn clone(&self) -> $name<T> {
                $name { mechanism: Rc::clone(&self.mechanism) }
            }
        }

        impl<T $(: $bound)?> Default for $name<T> {
            fn default() -> $name<T> {
                $name::new(0)
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.mechanism.describe(&mut f.debug_struct(stringify!($name)))
            }
        }
    };
}

queue! {
    /// A queue: the items come out in the order in which they were put.
    ///
    /// ```
    /// use corio::queue::Queue;
    ///
    /// # corio::run(async {
    /// let queue = Queue::new(0);
    /// queue.put('a').await.unwrap();
    /// queue.put('b').await.unwrap();
    /// assert_eq!(queue.get().await, Ok('a'));
    /// # });
    /// ```
    Queue, Fifo
}

queue! {
    /// A stack: the item that was put last comes out first.
    ///
    /// ```
    /// use corio::queue::LifoQueue;
    ///
    /// # corio::run(async {
    /// let stack = LifoQueue::new(0);
    /// stack.put('a').await.unwrap();
    /// stack.put('b').await.unwrap();
    /// assert_eq!(stack.get().await, Ok('b'));
    /// # });
    /// ```
    LifoQueue, Lifo
}

queue! {
    /// A queue whose least item comes out first, and of equal ones that which was put first.
    ///
    /// Entries are often pairs of a priority and the thing itself. Items are compared while the
    /// queue is at work: an `Ord` that uses the queue it is in finds nothing free in it: it is
    /// full to a put and empty to a get.
    ///
    /// ```
    /// use corio::queue::PriorityQueue;
    ///
    /// # corio::run(async {
    /// let queue = PriorityQueue::new(0);
    /// queue.put((2, "later")).await.unwrap();
    /// queue.put((1, "now")).await.unwrap();
    /// assert_eq!(queue.get().await, Ok((1, "now")));
    /// # });
    /// ```
    PriorityQueue, Priority, Ord
}
