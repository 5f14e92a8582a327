//! A lock: asyncio's `Lock`, with the value it protects inside.
//!
//! Unlocking hands the lock to the first in line there and then, so it is never free while somebody
//! waits, and nobody can overtake. A task that was handed the lock and is dropped before it ran
//! hands it on.
//!
//! On one core a `RefCell` protects what is changed between two awaits. A lock is for what must
//! stay as it is across one.
#![allow(unsafe_code)] // A guard is the right to reach the value.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::waiters::{Stage, Verdict, Waiter, Waiters};

/// Whether something is held, and who waits for it.
///
/// `[lock-has-one-holder]`: `locked` is true from the moment one guard or one granted waiter has
/// the lock until it gives it back; meanwhile nobody else gets it.
pub(super) struct RawLock {
    locked: Cell<bool>,
    pub(super) waiters: Waiters,
}

impl RawLock {
    pub(super) const fn new() -> RawLock {
        RawLock { locked: Cell::new(false), waiters: Waiters::new() }
    }

    pub(super) fn is_locked(&self) -> bool {
        self.locked.get()
    }

    /// Takes the lock if nobody has it. Nobody waits for a lock that is free.
    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        !self.locked.replace(true)
    }

    #[inline]
    pub(super) fn decide(&self) -> Verdict {
        if self.try_lock() { Verdict::Granted } else { Verdict::Wait }
    }

    /// Hands the lock to the first in line. Runs foreign code last.
    #[inline]
    pub(super) fn unlock(&self) {
        if self.waiters.grant_front() {
            self.waiters.wake();
        } else {
            self.locked.set(false);
        }
    }
}

/// A lock around a value: one task at a time, first come, first served.
///
/// ```
/// use std::rc::Rc;
/// use corio::sync::Mutex;
///
/// # corio::run(async {
/// let balance = Rc::new(Mutex::new(100));
/// let withdraw = |amount| {
///     let balance = Rc::clone(&balance);
///     corio::spawn(async move {
///         let mut balance = balance.lock().await;
///         let before = *balance;
///         corio::yield_now().await; // Nobody else changes it meanwhile.
///         *balance = before - amount;
///     })
/// };
/// let (a, b) = (withdraw(30), withdraw(20));
/// a.await.unwrap();
/// b.await.unwrap();
/// assert_eq!(*balance.lock().await, 50);
/// # });
/// ```
///
/// A guard that is leaked keeps the mutex locked for ever. A panic while it is locked unlocks it,
/// as the end of asyncio's `async with` does: there is no poisoning.
#[doc(alias = "Lock")]
pub struct Mutex<T: ?Sized> {
    pub(super) raw: RawLock,
    value: UnsafeCell<T>,
}

impl<T> Mutex<T> {
    /// An unlocked mutex.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex { raw: RawLock::new(), value: UnsafeCell::new(value) }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the mutex is this task's. Dropping the guard unlocks it.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a wait that is dropped leaves the line, and if it had been handed the lock
    /// already, the next in line gets it. A new wait begins at the end of the line.
    #[doc(alias = "acquire")]
    #[inline]
    pub fn lock(&self) -> Lock<'_, T> {
        Lock { mutex: self, waiter: Waiter::new(&self.raw.waiters, 0) }
    }

    /// As [`lock`](Mutex::lock), with a guard that holds the mutex by `Rc`, so that it can be kept
    /// in a spawned task or in a struct.
    ///
    /// # Cancellation
    ///
    /// **Strict**, as [`lock`](Mutex::lock).
    ///
    /// ```
    /// use std::rc::Rc;
    /// use corio::sync::Mutex;
    ///
    /// # corio::run(async {
    /// let mutex = Rc::new(Mutex::new(1));
    /// let guard = Rc::clone(&mutex).lock_owned().await;
    /// corio::spawn(async move { assert_eq!(*guard, 1) }).await.unwrap();
    /// assert!(!mutex.is_locked());
    /// # });
    /// ```
    pub async fn lock_owned(self: Rc<Self>) -> OwnedMutexGuard<T> {
        std::mem::forget(self.lock().await);
        OwnedMutexGuard { mutex: self }
    }

    /// Locks the mutex if nobody has it and nobody waits for it.
    ///
    /// # Errors
    ///
    /// If it is locked, or was just handed to a task that did not run yet.
    #[inline]
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, TryLockError> {
        if self.raw.try_lock() { Ok(MutexGuard { mutex: self }) } else { Err(TryLockError(())) }
    }

    /// As [`try_lock`](Mutex::try_lock), with a guard that holds the mutex by `Rc`.
    ///
    /// # Errors
    ///
    /// As [`try_lock`](Mutex::try_lock).
    pub fn try_lock_owned(self: Rc<Self>) -> Result<OwnedMutexGuard<T>, TryLockError> {
        if self.raw.try_lock() {
            Ok(OwnedMutexGuard { mutex: self })
        } else {
            Err(TryLockError(()))
        }
    }

    /// Whether somebody has the lock, be it a task that was handed it and did not run yet.
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }

    /// The value; nobody else can have it meanwhile.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Mutex");
        debug.field("locked", &self.is_locked()).field("waiters", &self.raw.waiters.len());
        match self.try_lock() {
            Ok(guard) => debug.field("value", &&*guard).finish(),
            Err(_) => debug.finish_non_exhaustive(),
        }
    }
}

pin_project! {
    /// The future of [`Mutex::lock`].
    #[must_use = "futures do nothing until they are awaited"]
    pub struct Lock<'a, T: ?Sized> {
        mutex: &'a Mutex<T>,
        #[pin]
        waiter: Waiter<'a>,
    }

    impl<T: ?Sized> PinnedDrop for Lock<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            if this.waiter.leave() == Stage::Granted {
                this.mutex.raw.unlock();
            }
        }
    }
}

impl<'a, T: ?Sized> Future for Lock<'a, T> {
    type Output = MutexGuard<'a, T>;

    #[inline]
    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<MutexGuard<'a, T>> {
        let this = self.project();
        let mutex = *this.mutex;
        ready!(this.waiter.as_ref().poll(context, || mutex.raw.decide()));
        Poll::Ready(MutexGuard { mutex })
    }
}

impl<T: ?Sized> fmt::Debug for Lock<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("stage", &self.waiter.stage()).finish()
    }
}

/// The right to use the value of a [`Mutex`]; dropping it unlocks the mutex.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct MutexGuard<'a, T: ?Sized> {
    pub(super) mutex: &'a Mutex<T>,
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// A guard of a part of the value.
    ///
    /// ```
    /// use corio::sync::{Mutex, MutexGuard};
    ///
    /// # corio::run(async {
    /// let pair = Mutex::new((1, "one"));
    /// let mut number = MutexGuard::map(pair.lock().await, |pair| &mut pair.0);
    /// *number += 1;
    /// drop(number);
    /// assert_eq!(pair.into_inner(), (2, "one"));
    /// # });
    /// ```
    pub fn map<U: ?Sized>(
        mut guard: Self,
        part: impl FnOnce(&mut T) -> &mut U,
    ) -> MappedMutexGuard<'a, U> {
        let part = NonNull::from(part(&mut *guard));
        let raw = &guard.mutex.raw;
        std::mem::forget(guard);
        MappedMutexGuard { raw, part, _borrowed: PhantomData }
    }

    /// The mutex that this guard locks.
    pub fn mutex(guard: &Self) -> &'a Mutex<T> {
        guard.mutex
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: [lock-has-one-holder] this guard has the lock, so only it reaches the value.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: [lock-has-one-holder] as above, and the guard is borrowed for writing.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// As [`MutexGuard`], holding the mutex by `Rc`.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct OwnedMutexGuard<T: ?Sized> {
    mutex: Rc<Mutex<T>>,
}

impl<T: ?Sized> OwnedMutexGuard<T> {
    /// The mutex that this guard locks.
    pub fn mutex(guard: &Self) -> &Rc<Mutex<T>> {
        &guard.mutex
    }
}

impl<T: ?Sized> Deref for OwnedMutexGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: [lock-has-one-holder] this guard has the lock, so only it reaches the value.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for OwnedMutexGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: [lock-has-one-holder] as above, and the guard is borrowed for writing.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for OwnedMutexGuard<T> {
    fn drop(&mut self) {
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for OwnedMutexGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The right to use a part of the value of a [`Mutex`], made by [`MutexGuard::map`].
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct MappedMutexGuard<'a, U: ?Sized> {
    raw: &'a RawLock,
    part: NonNull<U>,
    _borrowed: PhantomData<&'a mut U>,
}

impl<U: ?Sized> Deref for MappedMutexGuard<'_, U> {
    type Target = U;

    fn deref(&self) -> &U {
        // SAFETY: [lock-has-one-holder] this guard has the lock, so only it reaches the value, of
        // which this is a part that was borrowed for as long as the lock is held.
        unsafe { self.part.as_ref() }
    }
}

impl<U: ?Sized> DerefMut for MappedMutexGuard<'_, U> {
    fn deref_mut(&mut self) -> &mut U {
        // SAFETY: [lock-has-one-holder] as above, and the guard is borrowed for writing.
        unsafe { self.part.as_mut() }
    }
}

impl<U: ?Sized> Drop for MappedMutexGuard<'_, U> {
    fn drop(&mut self) {
        self.raw.unlock();
    }
}

impl<U: ?Sized + fmt::Debug> fmt::Debug for MappedMutexGuard<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The mutex is locked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TryLockError(pub(super) ());

impl fmt::Display for TryLockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lock is taken")
    }
}

impl std::error::Error for TryLockError {}
