//! A word to the processor about what will be looked at soon.
//!
//! With a thousand connections the bookkeeping of each has left the caches by the time that
//! something happens to it: the kernel's own work on a thousand sockets drives it out. The loop
//! knows early what it will touch, all receivers of a batch of completions and every task that it
//! wakes, so it says so, and the misses pass side by side while it works on something else.
#![allow(unsafe_code)] // The processor's instruction for it.

/// How much of a value is asked for: what lies in front, where our own fields are.
const BYTES_MAX: usize = 512;

/// The size of a line of the caches.
const LINE_BYTES: usize = 64;

/// Asks for a value that will be used soon. It changes nothing but the time that the use takes.
#[cfg(target_arch = "x86_64")]
pub(crate) fn prefetch<T: ?Sized>(soon: &T) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    let start = std::ptr::from_ref(soon).cast::<i8>();
    for offset in (0..size_of_val(soon).min(BYTES_MAX)).step_by(LINE_BYTES) {
        // SAFETY: [plain-call] a prefetch reads and writes nothing that a program could see, at
        // whatever address.
        unsafe { _mm_prefetch(start.wrapping_add(offset), _MM_HINT_T0) };
    }
}

/// Asks for a value that will be used soon: here there is no way to.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn prefetch<T: ?Sized>(_soon: &T) {}
