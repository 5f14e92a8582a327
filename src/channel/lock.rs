//! A short lock, for the slow paths: who waits, and what is counted with it.
//!
//! Nothing of a user runs under it: no waker is cloned, woken or dropped, no value is cloned or
//! dropped, no closure called. So nobody holds it for longer than a few moves, and no panic can
//! leave what it guards in disorder: a poisoned lock is one that is fine.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(super) fn new(value: T) -> Lock<T> {
        Lock(Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
