//! A flag that many tasks wait for: asyncio's `Event`.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::waiters::{Verdict, Waiter, Waiters};

/// A flag. Setting it releases everybody who waits; while it is set, nobody has to.
///
/// Who waited when it was set is released, also if it is cleared before they run.
///
/// ```
/// use std::rc::Rc;
/// use corio::sync::Event;
///
/// # corio::run(async {
/// let ready = Rc::new(Event::new());
/// let waiting = corio::spawn({
///     let ready = Rc::clone(&ready);
///     async move { ready.wait().await }
/// });
/// ready.set();
/// waiting.await.unwrap();
/// # });
/// ```
pub struct Event {
    is_set: Cell<bool>,
    waiters: Waiters,
}

impl Event {
    /// An event that is not set.
    pub const fn new() -> Event {
        Event { is_set: Cell::new(false), waiters: Waiters::new() }
    }

    /// Sets the flag, and releases everybody who waits, in the order in which they came.
    pub fn set(&self) {
        self.is_set.set(true);
        self.waiters.grant_all();
        self.waiters.wake();
    }

    /// Takes the flag back: from now on, `wait` waits.
    pub fn clear(&self) {
        self.is_set.set(false);
    }

    /// Whether the flag is set.
    pub fn is_set(&self) -> bool {
        self.is_set.get()
    }

    /// Waits until the flag is set; at once if it is.
    ///
    /// # Cancellation
    ///
    /// **Strict**: there is nothing to lose.
    #[inline]
    pub fn wait(&self) -> EventWait<'_> {
        EventWait { event: self, waiter: Waiter::new(&self.waiters, 0) }
    }
}

impl Default for Event {
    fn default() -> Event {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("set", &self.is_set())
            .field("waiters", &self.waiters.len())
            .finish()
    }
}

pin_project! {
    /// The future of [`Event::wait`].
    #[must_use = "futures do nothing until they are awaited"]
    pub struct EventWait<'a> {
        event: &'a Event,
        #[pin]
        waiter: Waiter<'a>,
    }
}

impl Future for EventWait<'_> {
    type Output = ();

    #[inline]
    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let event = *this.event;
        let decide = || if event.is_set() { Verdict::Granted } else { Verdict::Wait };
        ready!(this.waiter.as_ref().poll(context, decide));
        Poll::Ready(())
    }
}

impl fmt::Debug for EventWait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventWait").field("stage", &self.waiter.stage()).finish()
    }
}
