//! Waiting until what a mutex protects has changed: asyncio's `Condition`.
//!
//! A notified task needs the lock before it can go on, and whoever notifies has it. So notifying
//! wakes nobody: it moves the waiter from the condition's line to the end of the mutex's, and the
//! unlock that hands it the lock is what wakes it, once.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::mutex::{Mutex, MutexGuard};
use super::waiters::{Stage, Verdict, Waiter, Waiters};

/// A condition over what a [`Mutex`] protects.
///
/// It goes with the mutex whose guard is passed to it, and a notification reaches those who wait
/// with that mutex.
///
/// ```
/// use std::rc::Rc;
/// use corio::sync::{Condition, Mutex};
///
/// # corio::run(async {
/// let shared = Rc::new((Mutex::new(0), Condition::new()));
/// let waiting = corio::spawn({
///     let shared = Rc::clone(&shared);
///     async move {
///         let (count, changed) = &*shared;
///         let count = changed.wait_for(count.lock().await, |count| *count >= 3).await;
///         assert_eq!(*count, 3);
///     }
/// });
/// for _ in 0..3 {
///     let (count, changed) = &*shared;
///     let mut count = count.lock().await;
///     *count += 1;
///     changed.notify_all(&count);
/// }
/// waiting.await.unwrap();
/// # });
/// ```
///
/// asyncio raises `RuntimeError` if the lock is not held; here the guard is the proof.
#[doc(alias = "Condvar")]
pub struct Condition {
    waiters: Waiters,
}

impl Condition {
    /// Nobody waits yet.
    pub const fn new() -> Condition {
        Condition { waiters: Waiters::new() }
    }

    /// Unlocks the mutex, waits for a notification, and locks the mutex again.
    ///
    /// As everywhere, look at the condition again afterwards: others may have had the lock since
    /// the notification, and one that was passed on may find nothing changed.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a wait that is dropped does not get the lock back, there is nobody to have it;
    /// a notification that it had got goes to the next who waits, and so does the lock.
    pub fn wait<'a, T: ?Sized>(&'a self, guard: MutexGuard<'a, T>) -> ConditionWait<'a, T> {
        let mutex = guard.mutex;
        ConditionWait {
            condition: self,
            mutex,
            guard: Some(guard),
            waiter: Waiter::with_second(&self.waiters, &mutex.raw.waiters),
        }
    }

    /// Waits until the predicate holds. It is asked while the mutex is locked: now, and after each
    /// notification.
    ///
    /// # Cancellation
    ///
    /// **Strict**, as [`wait`](Condition::wait).
    pub async fn wait_for<'a, T: ?Sized>(
        &'a self,
        guard: MutexGuard<'a, T>,
        mut predicate: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        self.wait_while(guard, |value| !predicate(value)).await
    }

    /// Waits as long as the predicate holds, as `std::sync::Condvar::wait_while`.
    ///
    /// # Cancellation
    ///
    /// **Strict**, as [`wait`](Condition::wait).
    pub async fn wait_while<'a, T: ?Sized>(
        &'a self,
        mut guard: MutexGuard<'a, T>,
        mut predicate: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while predicate(&mut guard) {
            guard = self.wait(guard).await;
        }
        guard
    }

    /// Notifies the first `count` that wait, or all if they are fewer. They go on once they have
    /// the lock: after this guard is dropped, and after those who wait for the lock already.
    pub fn notify<T: ?Sized>(&self, guard: &MutexGuard<'_, T>, count: usize) {
        self.pass_on(&guard.mutex.raw.waiters, count);
    }

    /// Notifies the first that waits.
    pub fn notify_one<T: ?Sized>(&self, guard: &MutexGuard<'_, T>) {
        self.notify(guard, 1);
    }

    /// Notifies everybody who waits.
    pub fn notify_all<T: ?Sized>(&self, guard: &MutexGuard<'_, T>) {
        self.notify(guard, usize::MAX);
    }

    /// The mutex that `line` is of must be locked, or those moved there would wait for ever.
    fn pass_on(&self, line: &Waiters, count: usize) {
        for _ in 0..count {
            if !self.waiters.move_front_to(line) {
                return;
            }
        }
    }
}

impl Default for Condition {
    fn default() -> Condition {
        Condition::new()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("waiters", &self.waiters.len()).finish()
    }
}

pin_project! {
    /// The future of [`Condition::wait`].
    #[must_use = "futures do nothing until they are awaited"]
    pub struct ConditionWait<'a, T: ?Sized> {
        condition: &'a Condition,
        mutex: &'a Mutex<T>,
        // Until the first poll.
        guard: Option<MutexGuard<'a, T>>,
        #[pin]
        waiter: Waiter<'a>,
    }

    impl<T: ?Sized> PinnedDrop for ConditionWait<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            let raw = &this.mutex.raw;
            match this.waiter.leave() {
                // In line for the lock, so somebody has it.
                Stage::Moved => this.condition.pass_on(&raw.waiters, 1),
                Stage::Granted => {
                    this.condition.pass_on(&raw.waiters, 1);
                    raw.unlock();
                }
                _ => {}
            }
        }
    }
}

impl<'a, T: ?Sized> Future for ConditionWait<'a, T> {
    type Output = MutexGuard<'a, T>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<MutexGuard<'a, T>> {
        let this = self.project();
        let waiter = this.waiter.as_ref();
        let mut state = waiter.poll(context, || Verdict::Wait);
        if let Some(guard) = this.guard.take() {
            // In line first, then unlocked: a notification may follow at once, even from the waker
            // of whoever gets the lock.
            drop(guard);
            state = waiter.poll(context, || Verdict::Wait);
        }
        let mutex = *this.mutex;
        state.map(|_| MutexGuard { mutex })
    }
}

impl<T: ?Sized> fmt::Debug for ConditionWait<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConditionWait").field("stage", &self.waiter.stage()).finish()
    }
}
