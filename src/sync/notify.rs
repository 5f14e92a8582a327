//! A wake without a value: one task, or all that wait.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::waiters::{Stage, Verdict, Waiter, Waiters};

/// What a waiter's note says: who granted it, one for one, or all at once.
const ONE: usize = 1;
const ALL: usize = 2;

/// Wakes one waiting task, or all of them.
///
/// A `notify_one` that nobody waits for is kept, once, for the next who does. A `notify_waiters` is
/// not kept.
///
/// ```
/// use corio::sync::Notify;
///
/// # corio::run(async {
/// let notify = Notify::new();
/// notify.notify_one();
/// notify.notified().await; // At once: the notification was kept.
/// # });
/// ```
pub struct Notify {
    is_kept: Cell<bool>,
    /// How often all were notified.
    rounds: Cell<u64>,
    waiters: Waiters,
}

impl Notify {
    /// Nothing is notified yet.
    pub const fn new() -> Notify {
        Notify { is_kept: Cell::new(false), rounds: Cell::new(0), waiters: Waiters::new() }
    }

    /// Wakes the first in line. If nobody waits, the next who does goes on at once; this is kept
    /// only once, however often it is called.
    #[inline]
    pub fn notify_one(&self) {
        if self.waiters.grant_front_noting(ONE) {
            self.waiters.wake();
        } else {
            self.is_kept.set(true);
        }
    }

    /// Wakes everybody who waits, and everybody who called [`notified`](Notify::notified) before,
    /// even if that future was not polled yet.
    #[doc(alias = "notify_all")]
    pub fn notify_waiters(&self) {
        self.rounds.set(self.rounds.get().wrapping_add(1));
        while self.waiters.grant_front_noting(ALL) {}
        self.waiters.wake();
    }

    /// Waits for a notification.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a wait that was chosen by `notify_one` and is dropped before it ran passes the
    /// notification on.
    #[inline]
    pub fn notified(&self) -> Notified<'_> {
        Notified { notify: self, round: self.rounds.get(), waiter: Waiter::new(&self.waiters, 0) }
    }
}

impl Default for Notify {
    fn default() -> Notify {
        Notify::new()
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify")
            .field("kept", &self.is_kept.get())
            .field("waiters", &self.waiters.len())
            .finish()
    }
}

pin_project! {
    /// The future of [`Notify::notified`].
    #[must_use = "futures do nothing until they are awaited"]
    pub struct Notified<'a> {
        notify: &'a Notify,
        // The round in which it was made.
        round: u64,
        #[pin]
        waiter: Waiter<'a>,
    }

    impl PinnedDrop for Notified<'_> {
        fn drop(this: Pin<&mut Self>) {
            if this.waiter.leave() == Stage::Granted && this.waiter.note() != ALL {
                this.notify.notify_one();
            }
        }
    }
}

impl Future for Notified<'_> {
    type Output = ();

    #[inline]
    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let (notify, round) = (*this.notify, *this.round);
        let decide = || match notify.rounds.get() != round || notify.is_kept.take() {
            true => Verdict::Granted,
            false => Verdict::Wait,
        };
        ready!(this.waiter.as_ref().poll(context, decide));
        Poll::Ready(())
    }
}

impl fmt::Debug for Notified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notified").field("stage", &self.waiter.stage()).finish()
    }
}
