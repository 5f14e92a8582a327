//! A meeting point: asyncio's `Barrier`.
//!
//! The last to arrive releases the whole group there and then, and the next arrival begins the next
//! group. So a meeting takes place for all or for none: who was released is released, whatever
//! happens to the barrier before it runs, and there is no time in which the barrier drains.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::waiters::{Outcome, Verdict, Waiter, Waiters};

/// A point at which a fixed number of tasks wait for one another, time and again.
///
/// ```
/// use std::rc::Rc;
/// use corio::sync::Barrier;
///
/// # corio::run(async {
/// let barrier = Rc::new(Barrier::new(3));
/// let tasks: Vec<_> = (0..3)
///     .map(|_| {
///         let barrier = Rc::clone(&barrier);
///         corio::spawn(async move { barrier.wait().await.unwrap() })
///     })
///     .collect();
/// let mut leaders = 0;
/// for task in tasks {
///     leaders += usize::from(task.await.unwrap().is_leader());
/// }
/// assert_eq!(leaders, 1);
/// # });
/// ```
pub struct Barrier {
    parties: usize,
    is_broken: Cell<bool>,
    waiters: Waiters,
}

impl Barrier {
    /// A barrier for this many tasks.
    ///
    /// # Panics
    ///
    /// If there are none.
    #[track_caller]
    pub const fn new(parties: usize) -> Barrier {
        assert!(parties > 0, "a barrier needs at least one party");
        Barrier { parties, is_broken: Cell::new(false), waiters: Waiters::new() }
    }

    /// Waits until as many tasks wait as the barrier has parties.
    ///
    /// # Errors
    ///
    /// If the barrier is broken, or is aborted or reset while this waits.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a wait that is dropped does not count any more, and the others wait for somebody
    /// else. One that was released already took part.
    pub fn wait(&self) -> BarrierWait<'_> {
        BarrierWait { barrier: self, waiter: Waiter::new(&self.waiters, 0) }
    }

    /// Makes the barrier as new. Who waits gets [`Broken`]; who comes now waits as usual, also if
    /// the barrier was broken.
    pub fn reset(&self) {
        self.is_broken.set(false);
        self.waiters.refuse_all();
        self.waiters.wake();
    }

    /// Breaks the barrier: who waits and whoever comes gets [`Broken`], until it is reset.
    pub fn abort(&self) {
        self.is_broken.set(true);
        self.waiters.refuse_all();
        self.waiters.wake();
    }

    /// How many tasks have to meet.
    pub fn parties(&self) -> usize {
        self.parties
    }

    /// How many wait now.
    pub fn n_waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Whether the barrier is broken.
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    fn arrive(&self) -> Verdict {
        if self.is_broken.get() {
            return Verdict::Refused;
        }
        if self.waiters.len() + 1 < self.parties {
            return Verdict::Wait;
        }
        for index in 0..self.parties - 1 {
            self.waiters.grant_front_noting(index);
        }
        Verdict::Granted
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties)
            .field("waiting", &self.n_waiting())
            .field("broken", &self.is_broken())
            .finish()
    }
}

pin_project! {
    /// The future of [`Barrier::wait`].
    #[must_use = "futures do nothing until they are awaited"]
    pub struct BarrierWait<'a> {
        barrier: &'a Barrier,
        #[pin]
        waiter: Waiter<'a>,
    }
}

impl Future for BarrierWait<'_> {
    type Output = Result<BarrierTurn, Broken>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let barrier = *this.barrier;
        // A waiter in line hears its index by its note. Who completes the group is never in line.
        let last = Cell::new(false);
        let decide = || {
            let verdict = barrier.arrive();
            last.set(verdict == Verdict::Granted);
            verdict
        };
        let outcome = this.waiter.as_ref().poll(context, decide);
        if last.get() {
            barrier.waiters.wake();
        }
        Poll::Ready(match ready!(outcome) {
            Outcome::Granted => {
                let index = if last.get() { barrier.parties - 1 } else { this.waiter.note() };
                Ok(BarrierTurn { index, is_leader: last.get() })
            }
            Outcome::Refused => Err(Broken(())),
        })
    }
}

impl fmt::Debug for BarrierWait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWait").field("stage", &self.waiter.stage()).finish()
    }
}

/// What a task hears that took part in a meeting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarrierTurn {
    index: usize,
    is_leader: bool,
}

impl BarrierTurn {
    /// The task's number in its group, from zero, in the order of arrival.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether this is the one task of its group that does what has to be done once: the last to
    /// arrive.
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

/// The barrier was broken or reset.
#[doc(alias = "BrokenBarrierError")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken(());

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the barrier was aborted or reset")
    }
}

impl std::error::Error for Broken {}
