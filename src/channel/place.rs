//! One value's place in a ring: memory that two threads use in turn.
//!
//! All that is uninitialised or shared without an atomic in this module is here, in four lines;
//! whose turn it is, `ring.rs` decides by its stamps. A place never drops what is in it.
#![allow(unsafe_code)] // A value is moved in and out behind a shared reference.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

pub(super) struct Place<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: [one-turn-at-a-time] a shared place only moves values from thread to thread, which is
// what `Send` allows, and who calls `put` and `take` sees to it that calls do not overlap.
unsafe impl<T: Send> Sync for Place<T> {}

impl<T> Place<T> {
    pub(super) fn new() -> Place<T> {
        Place(UnsafeCell::new(MaybeUninit::uninit()))
    }

    /// Puts a value in; what was there is forgotten.
    ///
    /// # Safety
    ///
    /// It is the caller's turn: every other call happened before or happens after.
    pub(super) unsafe fn put(&self, value: T) {
        // SAFETY: [one-turn-at-a-time] nobody else reads or writes the place now.
        unsafe { self.0.get().write(MaybeUninit::new(value)) };
    }

    /// Takes the value out.
    ///
    /// # Safety
    ///
    /// It is the caller's turn, as for `put`, and the last call was a `put`.
    pub(super) unsafe fn take(&self) -> T {
        // SAFETY: [one-turn-at-a-time] nobody else reads or writes the place now.
        let value = unsafe { self.0.get().read() };
        // SAFETY: [one-turn-at-a-time] the last call was a `put`, so there is a value, and it is
        // taken this once.
        unsafe { value.assume_init() }
    }
}
