//! A value that is set once and awaited by many: asyncio's `Future`.

use std::cell::{Cell, OnceCell};
use std::fmt;

use super::Event;

/// A value to come. Somebody sets it, once; anybody awaits it, before or after.
///
/// Share it by `Rc`. An error to come is a `Promise<Result<T, E>>`. For one value and one waiter
/// that may be on another core there is [`channel::oneshot`](mod@crate::channel::oneshot).
///
/// ```
/// use std::rc::Rc;
/// use corio::sync::Promise;
///
/// # corio::run(async {
/// let answer = Rc::new(Promise::new());
/// let waiting = corio::spawn({
///     let answer = Rc::clone(&answer);
///     async move { answer.wait().await.copied() }
/// });
/// answer.set(42).unwrap();
/// assert_eq!(waiting.await.unwrap(), Ok(42));
/// assert_eq!(answer.set(43), Err(43), "it is set once");
/// # });
/// ```
#[doc(alias = "Future")]
#[doc(alias = "create_future")]
pub struct Promise<T> {
    value: OnceCell<T>,
    is_cancelled: Cell<bool>,
    over: Event,
}

/// The value of a [`Promise`] will not come: it was cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PromiseCancelled(());

impl fmt::Display for PromiseCancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the promise was cancelled before it had a value")
    }
}

impl std::error::Error for PromiseCancelled {}

impl<T> Promise<T> {
    /// A promise without a value.
    pub const fn new() -> Promise<T> {
        Promise { value: OnceCell::new(), is_cancelled: Cell::new(false), over: Event::new() }
    }

    /// Sets the value, and wakes everybody who waits.
    ///
    /// # Errors
    ///
    /// If there is a value, or the promise was cancelled; the new value comes back. asyncio raises
    /// `InvalidStateError`.
    #[doc(alias = "set_result")]
    #[doc(alias = "set_exception")]
    #[doc(alias = "InvalidStateError")]
    pub fn set(&self, value: T) -> Result<(), T> {
        if self.is_cancelled.get() {
            return Err(value);
        }
        self.value.set(value)?;
        self.over.set();
        Ok(())
    }

    /// Gives it up: who waits, or asks later, gets an error. False if it was over.
    pub fn cancel(&self) -> bool {
        if self.is_over() {
            return false;
        }
        self.is_cancelled.set(true);
        self.over.set();
        true
    }

    /// The value, if it is there.
    #[doc(alias = "result")]
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Whether there is a value, or never will be.
    #[doc(alias = "done")]
    pub fn is_over(&self) -> bool {
        self.over.is_set()
    }

    /// Whether it was cancelled.
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.get()
    }

    /// Waits for the value.
    ///
    /// # Errors
    ///
    /// If the promise is cancelled.
    ///
    /// # Cancellation
    ///
    /// **Strict**: the value stays. Unlike asyncio's, a promise is not cancelled with its waiter.
    pub async fn wait(&self) -> Result<&T, PromiseCancelled> {
        self.over.wait().await;
        self.value.get().ok_or(PromiseCancelled(()))
    }

    /// The value, if it was set.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

impl<T> Default for Promise<T> {
    fn default() -> Promise<T> {
        Promise::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise")
            .field("value", &self.get())
            .field("is_cancelled", &self.is_cancelled())
            .finish()
    }
}
