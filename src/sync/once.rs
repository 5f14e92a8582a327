//! A value that is made once, by whoever needs it first.

use std::cell;
use std::convert::Infallible;
use std::fmt;

use super::Mutex;

/// A cell whose value is made once, asynchronously. Others wait for whoever makes it; if that one
/// is cancelled or fails, the next in line makes it.
///
/// ```
/// use corio::sync::OnceCell;
///
/// # corio::run(async {
/// let cell = OnceCell::new();
/// assert_eq!(*cell.get_or_init(async || 7).await, 7);
/// assert_eq!(*cell.get_or_init(async || unreachable!("it is there")).await, 7);
/// # });
/// ```
pub struct OnceCell<T> {
    value: cell::OnceCell<T>,
    turn: Mutex<()>,
}

impl<T> OnceCell<T> {
    /// An empty cell.
    pub const fn new() -> OnceCell<T> {
        OnceCell { value: cell::OnceCell::new(), turn: Mutex::new(()) }
    }

    /// The value, if it was made.
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// If there is one; the new value comes back.
    pub fn set(&self, value: T) -> Result<(), T> {
        self.value.set(value)
    }

    /// The value; the first who asks makes it.
    ///
    /// # Cancellation
    ///
    /// **Strict**: dropping it drops `make`, if it was its turn, and passes the turn on.
    pub async fn get_or_init(&self, make: impl AsyncFnOnce() -> T) -> &T {
        let made = self.get_or_try_init(async || Ok::<T, Infallible>(make().await)).await;
        match made {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// The value; the first who asks makes it. Where that fails, the next in line tries.
    ///
    /// # Errors
    ///
    /// What `make` fails with.
    ///
    /// # Cancellation
    ///
    /// **Strict**, as [`get_or_init`](Self::get_or_init).
    pub async fn get_or_try_init<E>(
        &self,
        make: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<&T, E> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let _turn = self.turn.lock().await;
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let made = make().await?;
        // `set` may have come first; then its value counts.
        Ok(self.value.get_or_init(|| made))
    }

    /// The value, if it was made.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> OnceCell<T> {
        OnceCell::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceCell").field(&self.get()).finish()
    }
}
