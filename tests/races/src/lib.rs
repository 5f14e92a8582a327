//! The library's cross-thread code on real threads, for ThreadSanitizer (`ci/sanitize`), which
//! reports every access that nothing orders before or after another one.
//!
//! The sanitizer sees what it has compiled, and the standard library is not among that: it takes
//! what a contended `Mutex` or the count of an `Arc` orders for unordered. So the code is taken
//! into this crate, with a lock that is all here, and shares that are never given back. What is
//! in question stays as it is: the ring, its places and stamps, the line of waiters, the inbox.
//! `tests/models` runs the same code in every order; this runs it often, and as it was compiled.
#![cfg(test)]
#![allow(dead_code, unused_imports)] // The tests use parts of it.

#[path = "tests.rs"]
mod tests;

mod driver {
    use std::sync::OnceLock;
    use std::time::Instant;

    pub(crate) fn ticks() -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }

    pub(crate) fn ticks_per_micro() -> u64 {
        1000
    }
}

mod executor {
    pub(crate) mod inbox {
        include!(concat!(env!("OUT_DIR"), "/executor_inbox.rs"));
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Allowance {
        pub(crate) ticks: u64,
        pub(crate) adaptive: bool,
    }

    pub(crate) struct Core;

    impl Core {
        /// Half of the waits may look on.
        pub(crate) fn allowance() -> Option<Allowance> {
            let looks = super::driver::ticks() % 2 == 0;
            looks.then_some(Allowance { ticks: 20_000, adaptive: false })
        }

        pub(crate) fn has_others_ready() -> bool {
            super::driver::ticks() % 3 == 0
        }
    }

    pub(crate) fn wake(waker: std::task::Waker) {
        waker.wake();
    }
}

mod channel {
    pub(crate) mod waiters {
        include!(concat!(env!("OUT_DIR"), "/channel_waiters.rs"));
    }

    pub(crate) mod patience {
        include!(concat!(env!("OUT_DIR"), "/channel_patience.rs"));
    }

    pub(crate) mod ring {
        include!(concat!(env!("OUT_DIR"), "/channel_ring.rs"));
    }

    pub(crate) mod place {
        include!(concat!(env!("OUT_DIR"), "/channel_place.rs"));
    }

    pub(crate) mod mpsc {
        include!(concat!(env!("OUT_DIR"), "/channel_mpsc.rs"));

        mod receiver {
            include!(concat!(env!("OUT_DIR"), "/channel_mpsc_receiver.rs"));
        }

        mod sender {
            include!(concat!(env!("OUT_DIR"), "/channel_mpsc_sender.rs"));
        }
    }

    pub(crate) mod error {
        include!(concat!(env!("OUT_DIR"), "/sync_error.rs"));
    }

    pub(crate) mod blocking {
        pub(in crate::channel) fn wait<F: Future>(future: F) -> F::Output {
            crate::tests::block_on(future)
        }
    }

    /// A lock that the sanitizer sees.
    pub(crate) mod lock {
        use std::cell::UnsafeCell;
        use std::ops::{Deref, DerefMut};
        use std::sync::atomic::{AtomicBool, Ordering};

        pub(crate) struct Lock<T> {
            is_taken: AtomicBool,
            value: UnsafeCell<T>,
        }

        // SAFETY: [lock-has-one-holder] one guard at a time reaches the value.
        unsafe impl<T: Send> Sync for Lock<T> {}

        impl<T> Lock<T> {
            pub(crate) fn new(value: T) -> Lock<T> {
                Lock { is_taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
            }

            pub(crate) fn lock(&self) -> Guard<'_, T> {
                while self.is_taken.swap(true, Ordering::Acquire) {
                    std::thread::yield_now();
                }
                Guard(self)
            }
        }

        pub(crate) struct Guard<'a, T>(&'a Lock<T>);

        impl<T> Deref for Guard<'_, T> {
            type Target = T;
            fn deref(&self) -> &T {
                // SAFETY: [lock-has-one-holder] this guard is the one.
                unsafe { &*self.0.value.get() }
            }
        }

        impl<T> DerefMut for Guard<'_, T> {
            fn deref_mut(&mut self) -> &mut T {
                // SAFETY: [lock-has-one-holder] this guard is the one.
                unsafe { &mut *self.0.value.get() }
            }
        }

        impl<T> Drop for Guard<'_, T> {
            fn drop(&mut self) {
                self.0.is_taken.store(false, Ordering::Release);
            }
        }
    }
}
