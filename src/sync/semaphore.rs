//! A number of permits that tasks share: asyncio's `Semaphore` and `BoundedSemaphore`.
//!
//! What is given back goes to the first in line there and then, as soon as it suffices. So permits
//! are free only while nobody waits, or while the first in line needs more than there are; who
//! needs fewer does not overtake it.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::waiters::{Outcome, Stage, Verdict, Waiter, Waiters};

/// A number of permits. A task that wants more than are free waits, first come, first served.
///
/// A permit is a guard: dropping it gives it back. A program that counts for itself calls
/// [`forget`](Permit::forget) and [`release`](Semaphore::release), which are asyncio's `acquire`
/// and `release`.
///
/// ```
/// use std::rc::Rc;
/// use corio::sync::Semaphore;
///
/// # corio::run(async {
/// let connections = Rc::new(Semaphore::new(2)); // At most two at a time.
/// for _ in 0..5 {
///     let connections = Rc::clone(&connections);
///     corio::spawn(async move {
///         let permit = connections.acquire().await.unwrap();
///         // ... use a connection ...
///         drop(permit);
///     });
/// }
/// # });
/// ```
#[doc(alias = "BoundedSemaphore")]
pub struct Semaphore {
    available: Cell<usize>,
    /// In the hands of permits and of waiters that were granted.
    held: Cell<usize>,
    /// `available + held` never exceeds this.
    bound: usize,
    is_closed: Cell<bool>,
    waiters: Waiters,
}

impl Semaphore {
    /// A semaphore of this many permits, to which more can be added.
    pub const fn new(permits: usize) -> Semaphore {
        Semaphore::with_bound(permits, usize::MAX)
    }

    /// A semaphore that never has more permits than now: asyncio's `BoundedSemaphore`.
    ///
    /// ```
    /// use corio::sync::Semaphore;
    ///
    /// # corio::run(async {
    /// let semaphore = Semaphore::bounded(1);
    /// semaphore.acquire().await.unwrap().forget();
    /// assert!(semaphore.release().is_ok());
    /// assert!(semaphore.release().is_err());
    /// # });
    /// ```
    pub const fn bounded(permits: usize) -> Semaphore {
        Semaphore::with_bound(permits, permits)
    }

    const fn with_bound(permits: usize, bound: usize) -> Semaphore {
        Semaphore {
            available: Cell::new(permits),
            held: Cell::new(0),
            bound,
            is_closed: Cell::new(false),
            waiters: Waiters::new(),
        }
    }

    /// Waits for one permit.
    ///
    /// # Errors
    ///
    /// If the semaphore is closed.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a wait that is dropped leaves the line, and what it was granted already goes to
    /// the next.
    #[inline]
    pub fn acquire(&self) -> Acquire<'_> {
        self.acquire_many(1)
    }

    /// Waits for `permits` permits, all at once. Zero are there at once, whoever waits.
    ///
    /// More than will ever exist is no error, since permits can be added: it waits.
    ///
    /// # Errors
    ///
    /// If the semaphore is closed.
    ///
    /// # Cancellation
    ///
    /// **Strict**, as [`acquire`](Semaphore::acquire).
    #[inline]
    pub fn acquire_many(&self, permits: usize) -> Acquire<'_> {
        Acquire { semaphore: self, permits, waiter: Waiter::new(&self.waiters, permits) }
    }

    /// As [`acquire`](Semaphore::acquire), with a permit that holds the semaphore by `Rc`.
    ///
    /// # Errors
    ///
    /// If the semaphore is closed.
    ///
    /// # Cancellation
    ///
    /// **Strict**, as [`acquire`](Semaphore::acquire).
    pub async fn acquire_owned(self: Rc<Self>) -> Result<OwnedPermit, Closed> {
        self.acquire_many_owned(1).await
    }

    /// As [`acquire_many`](Semaphore::acquire_many), with a permit that holds the semaphore by
    /// `Rc`.
    ///
    /// # Errors
    ///
    /// If the semaphore is closed.
    ///
    /// # Cancellation
    ///
    /// **Strict**, as [`acquire`](Semaphore::acquire).
    pub async fn acquire_many_owned(self: Rc<Self>, permits: usize) -> Result<OwnedPermit, Closed> {
        std::mem::forget(self.acquire_many(permits).await?);
        Ok(OwnedPermit { semaphore: self, permits })
    }

    /// Takes a permit if one is free and nobody waits.
    ///
    /// # Errors
    ///
    /// If there is none, somebody waits, or the semaphore is closed.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// Takes `permits` permits if they are free and nobody waits.
    ///
    /// # Errors
    ///
    /// If there are too few, somebody waits, or the semaphore is closed.
    #[inline]
    pub fn try_acquire_many(&self, permits: usize) -> Result<Permit<'_>, TryAcquireError> {
        match self.take(permits) {
            Verdict::Granted => Ok(Permit { semaphore: self, permits }),
            Verdict::Wait => Err(TryAcquireError::NoPermits),
            Verdict::Refused => Err(TryAcquireError::Closed),
        }
    }

    /// As [`try_acquire`](Semaphore::try_acquire), with a permit that holds the semaphore by `Rc`.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Semaphore::try_acquire).
    pub fn try_acquire_owned(self: Rc<Self>) -> Result<OwnedPermit, TryAcquireError> {
        std::mem::forget(self.try_acquire()?);
        Ok(OwnedPermit { semaphore: self, permits: 1 })
    }

    /// Adds one permit: asyncio's `release`, for a permit that was forgotten.
    ///
    /// # Errors
    ///
    /// If there would be more permits than the bound, those counted that are held: of a
    /// [`bounded`](Semaphore::bounded) semaphore the number it was made with, of another
    /// `usize::MAX`. Then nothing is added.
    #[inline]
    pub fn release(&self) -> Result<(), OverRelease> {
        self.add_permits(1)
    }

    /// Adds permits.
    ///
    /// # Errors
    ///
    /// As [`release`](Semaphore::release).
    pub fn add_permits(&self, permits: usize) -> Result<(), OverRelease> {
        let room = self.bound - self.available.get() - self.held.get();
        if permits > room {
            return Err(OverRelease(()));
        }
        self.available.set(self.available.get() + permits);
        self.serve();
        Ok(())
    }

    /// How many permits could be taken now. Also while it is more than zero, somebody may wait: for
    /// more.
    #[doc(alias = "available_permits")]
    pub fn available(&self) -> usize {
        self.available.get()
    }

    /// Whether [`acquire`](Semaphore::acquire) would wait now.
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.available.get() == 0 || !self.waiters.is_empty()
    }

    /// No more permits are given out: who waits is refused, and so is everybody who comes. Permits
    /// given out before, also to tasks that did not run yet, stay good.
    pub fn close(&self) {
        self.is_closed.set(true);
        self.waiters.refuse_all();
        self.waiters.wake();
    }

    /// Whether the semaphore is closed.
    pub fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    #[inline]
    fn take(&self, permits: usize) -> Verdict {
        if self.is_closed.get() {
            return Verdict::Refused;
        }
        if permits == 0 {
            return Verdict::Granted;
        }
        if permits > self.available.get() || !self.waiters.is_empty() {
            return Verdict::Wait;
        }
        self.hold(permits);
        Verdict::Granted
    }

    #[inline]
    fn hold(&self, permits: usize) {
        self.available.set(self.available.get() - permits);
        self.held.set(self.held.get() + permits);
    }

    /// Takes permits back from who held them.
    #[inline]
    fn give_back(&self, permits: usize) {
        self.held.set(self.held.get() - permits);
        self.available.set(self.available.get() + permits);
        self.serve();
    }

    /// Grants the first in line what is there, as long as it suffices. Runs foreign code last.
    #[inline]
    fn serve(&self) {
        while let Some(permits) = self.waiters.front()
            && permits <= self.available.get()
        {
            self.hold(permits);
            self.waiters.grant_front();
        }
        self.waiters.wake();
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available())
            .field("held", &self.held.get())
            .field("waiters", &self.waiters.len())
            .field("closed", &self.is_closed())
            .finish()
    }
}

pin_project! {
    /// The future of [`Semaphore::acquire`] and [`Semaphore::acquire_many`].
    #[must_use = "futures do nothing until they are awaited"]
    pub struct Acquire<'a> {
        semaphore: &'a Semaphore,
        permits: usize,
        #[pin]
        waiter: Waiter<'a>,
    }

    impl PinnedDrop for Acquire<'_> {
        fn drop(this: Pin<&mut Self>) {
            match this.waiter.leave() {
                Stage::Granted => this.semaphore.give_back(this.permits),
                // It may have been the first, and those behind it may need less.
                Stage::Waiting => this.semaphore.serve(),
                _ => {}
            }
        }
    }
}

impl<'a> Future for Acquire<'a> {
    type Output = Result<Permit<'a>, Closed>;

    #[inline]
    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (semaphore, permits) = (*this.semaphore, *this.permits);
        match ready!(this.waiter.as_ref().poll(context, || semaphore.take(permits))) {
            Outcome::Granted => Poll::Ready(Ok(Permit { semaphore, permits })),
            Outcome::Refused => Poll::Ready(Err(Closed(()))),
        }
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("permits", &self.permits)
            .field("stage", &self.waiter.stage())
            .finish()
    }
}

/// Permits of a [`Semaphore`]; dropping it gives them back.
#[must_use = "a permit that is dropped at once limits nothing"]
#[derive(Debug)]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
}

impl Permit<'_> {
    /// How many permits this is.
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// Does not give the permits back: the semaphore has fewer from now on, until somebody calls
    /// [`Semaphore::release`].
    pub fn forget(self) {
        self.semaphore.held.set(self.semaphore.held.get() - self.permits);
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.give_back(self.permits);
    }
}

/// As [`Permit`], holding the semaphore by `Rc`.
#[must_use = "a permit that is dropped at once limits nothing"]
#[derive(Debug)]
pub struct OwnedPermit {
    semaphore: Rc<Semaphore>,
    permits: usize,
}

impl OwnedPermit {
    /// How many permits this is.
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// As [`Permit::forget`].
    pub fn forget(mut self) {
        let permits = std::mem::take(&mut self.permits);
        self.semaphore.held.set(self.semaphore.held.get() - permits);
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        self.semaphore.give_back(self.permits);
    }
}

/// The semaphore is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed(pub(super) ());

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore is closed")
    }
}

impl std::error::Error for Closed {}

/// A permit cannot be taken now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryAcquireError {
    /// Too few are free, or somebody waits.
    NoPermits,
    /// The semaphore is closed.
    Closed,
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryAcquireError::NoPermits => f.write_str("no permit is free"),
            TryAcquireError::Closed => Closed(()).fmt(f),
        }
    }
}

impl std::error::Error for TryAcquireError {}

/// More permits were given back than there are: asyncio's `ValueError`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OverRelease(());

impl fmt::Display for OverRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`Semaphore::release` was called more often than permits were forgotten")
    }
}

impl std::error::Error for OverRelease {}
