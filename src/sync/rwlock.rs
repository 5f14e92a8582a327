//! A lock that many may read or one may write, first come, first served.
//!
//! Readers behind a waiting writer wait, too, so no stream of readers can starve it; when the
//! writer is done, all readers up to the next writer in line go on together.
#![allow(unsafe_code)] // A guard is the right to reach the value.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::mutex::TryLockError;
use super::waiters::{Stage, Verdict, Waiter, Waiters};

/// What a waiter's note says.
const READ: usize = 0;
const WRITE: usize = 1;

/// A value that many tasks may read at a time, or one may write.
///
/// ```
/// use corio::sync::RwLock;
///
/// # corio::run(async {
/// let config = RwLock::new(String::from("a"));
/// {
///     let (one, two) = (config.read().await, config.read().await);
///     assert_eq!(*one, *two);
/// }
/// config.write().await.push('b');
/// assert_eq!(config.into_inner(), "ab");
/// # });
/// ```
///
/// A task that reads and asks to read again waits for ever if a writer came in between.
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    value: UnsafeCell<T>,
}

/// `[writer-is-alone]`: while `is_writing`, one write guard or granted writer has the lock and
/// `readers` is zero; otherwise `readers` counts read guards and granted readers.
struct RawRwLock {
    readers: Cell<usize>,
    is_writing: Cell<bool>,
    waiters: Waiters,
}

impl RawRwLock {
    /// Takes the lock, for one who stands in front of all that wait.
    fn take(&self, kind: usize) -> bool {
        if self.is_writing.get() || (kind == WRITE && self.readers.get() > 0) {
            return false;
        }
        match kind {
            WRITE => self.is_writing.set(true),
            _ => self.readers.set(self.readers.get() + 1),
        }
        true
    }

    fn decide(&self, kind: usize) -> Verdict {
        match self.waiters.is_empty() && self.take(kind) {
            true => Verdict::Granted,
            false => Verdict::Wait,
        }
    }

    fn release(&self, kind: usize) {
        match kind {
            WRITE => self.is_writing.set(false),
            _ => self.readers.set(self.readers.get() - 1),
        }
        self.serve();
    }

    /// Grants the lock from the front of the line on, as far as it goes. Runs foreign code last.
    fn serve(&self) {
        while let Some(kind) = self.waiters.front()
            && self.take(kind)
        {
            self.waiters.grant_front();
        }
        self.waiters.wake();
    }

    fn leave(&self, waiter: Pin<&mut Waiter<'_>>, kind: usize) {
        match waiter.leave() {
            Stage::Granted => self.release(kind),
            // Readers may have waited behind this writer.
            Stage::Waiting => self.serve(),
            _ => {}
        }
    }
}

impl<T> RwLock<T> {
    /// An unlocked lock.
    pub const fn new(value: T) -> RwLock<T> {
        let raw = RawRwLock {
            readers: Cell::new(0),
            is_writing: Cell::new(false),
            waiters: Waiters::new(),
        };
        RwLock { raw, value: UnsafeCell::new(value) }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody writes and nobody who came before waits.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a wait that is dropped leaves the line; what it was granted goes on.
    pub fn read(&self) -> Read<'_, T> {
        Read { lock: self, waiter: Waiter::new(&self.raw.waiters, READ) }
    }

    /// Waits until nobody else reads or writes and nobody who came before waits.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a wait that is dropped leaves the line; what it was granted goes on.
    pub fn write(&self) -> Write<'_, T> {
        Write { lock: self, waiter: Waiter::new(&self.raw.waiters, WRITE) }
    }

    /// Takes the lock for reading if it can be had at once.
    ///
    /// # Errors
    ///
    /// If somebody writes, or anybody waits.
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T>, TryLockError> {
        match self.raw.decide(READ) {
            Verdict::Granted => Ok(RwLockReadGuard { lock: self }),
            _ => Err(TryLockError(())),
        }
    }

    /// Takes the lock for writing if it can be had at once.
    ///
    /// # Errors
    ///
    /// If somebody reads or writes, or anybody waits.
    pub fn try_write(&self) -> Result<RwLockWriteGuard<'_, T>, TryLockError> {
        match self.raw.decide(WRITE) {
            Verdict::Granted => Ok(RwLockWriteGuard { lock: self }),
            _ => Err(TryLockError(())),
        }
    }

    /// The value; nobody else can have it meanwhile.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RwLock");
        debug
            .field("readers", &self.raw.readers.get())
            .field("writing", &self.raw.is_writing.get())
            .field("waiters", &self.raw.waiters.len());
        match self.try_read() {
            Ok(guard) => debug.field("value", &&*guard).finish(),
            Err(_) => debug.finish_non_exhaustive(),
        }
    }
}

pin_project! {
    /// The future of [`RwLock::read`].
    #[must_use = "futures do nothing until they are awaited"]
    pub struct Read<'a, T: ?Sized> {
        lock: &'a RwLock<T>,
        #[pin]
        waiter: Waiter<'a>,
    }

    impl<T: ?Sized> PinnedDrop for Read<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            this.lock.raw.leave(this.waiter, READ);
        }
    }
}

pin_project! {
    /// The future of [`RwLock::write`].
    #[must_use = "futures do nothing until they are awaited"]
    pub struct Write<'a, T: ?Sized> {
        lock: &'a RwLock<T>,
        #[pin]
        waiter: Waiter<'a>,
    }

    impl<T: ?Sized> PinnedDrop for Write<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            this.lock.raw.leave(this.waiter, WRITE);
        }
    }
}

impl<'a, T: ?Sized> Future for Read<'a, T> {
    type Output = RwLockReadGuard<'a, T>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let lock = *this.lock;
        ready!(this.waiter.as_ref().poll(context, || lock.raw.decide(READ)));
        Poll::Ready(RwLockReadGuard { lock })
    }
}

impl<'a, T: ?Sized> Future for Write<'a, T> {
    type Output = RwLockWriteGuard<'a, T>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let lock = *this.lock;
        ready!(this.waiter.as_ref().poll(context, || lock.raw.decide(WRITE)));
        Poll::Ready(RwLockWriteGuard { lock })
    }
}

impl<T: ?Sized> fmt::Debug for Read<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read").field("stage", &self.waiter.stage()).finish()
    }
}

impl<T: ?Sized> fmt::Debug for Write<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write").field("stage", &self.waiter.stage()).finish()
    }
}

/// The right to read the value of a [`RwLock`].
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: [writer-is-alone] this guard reads, so nobody writes.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.raw.release(READ);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The right to write the value of a [`RwLock`].
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Goes on reading what was written, with nobody writing in between. Readers that are first in
    /// line join in.
    pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
        let lock = guard.lock;
        std::mem::forget(guard);
        let reading = RwLockReadGuard { lock };
        lock.raw.is_writing.set(false);
        lock.raw.readers.set(1);
        lock.raw.serve();
        reading
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: [writer-is-alone] this guard writes, so only it reaches the value.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: [writer-is-alone] as above, and the guard is borrowed for writing.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.raw.release(WRITE);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
