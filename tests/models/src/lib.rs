//! Models: the library's cross-thread code under `loom`, which runs a test in every order in which
//! the threads may go, and with every value that the memory model lets an atomic return.
//!
//! The code is the library's own: `build.rs` exchanges std's atomics for loom's. Three small
//! modules stand in for what has no counterpart in loom: the place (loom's cell, which reports
//! every access that another one does not happen before or after), the lock, and blocking.
//!
//! Each model says which interleaving it is after. The number of preemptions is bounded, which
//! loom's authors found to miss next to nothing; `LOOM_MAX_PREEMPTIONS` sets another bound.
#![cfg(test)]
#![allow(dead_code, unused_imports)] // The models use parts of it.

#[path = "channels.rs"]
mod channels;
#[path = "inboxes.rs"]
mod inboxes;

/// Explores a model.
fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(model);
}

/// Explores a model of a channel: with futures that ask to be woken at once, and with such as look
/// again first.
fn explore_looking(model: impl Fn() + Sync + Send + Clone + 'static) {
    for looks in [0, 1] {
        let model = model.clone();
        explore(move || {
            executor::LOOKS.set(looks);
            model();
        });
    }
}

mod driver {
    use std::cell::Cell;

    std::thread_local! {
        static TICKS: Cell<u64> = const { Cell::new(0) };
    }

    /// A clock that goes on when it is looked at. Loom runs all threads of a model on one.
    pub(crate) fn ticks() -> u64 {
        TICKS.set(TICKS.get() + 1);
        TICKS.get()
    }

    pub(crate) fn ticks_per_micro() -> u64 {
        1
    }
}

mod executor {
    use std::cell::Cell;

    std::thread_local! {
        pub(crate) static LOOKS: Cell<u64> = const { Cell::new(0) };
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Allowance {
        pub(crate) ticks: u64,
        pub(crate) adaptive: bool,
    }

    pub(crate) struct Core;

    impl Core {
        pub(crate) fn allowance() -> Option<Allowance> {
            Some(Allowance { ticks: LOOKS.get(), adaptive: false })
        }
    }

    pub(crate) mod inbox {
        include!(concat!(env!("OUT_DIR"), "/executor_inbox.rs"));
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

    pub(crate) mod place {
        use loom::cell::UnsafeCell;
        use std::mem::MaybeUninit;

        pub(in crate::channel) struct Place<T>(UnsafeCell<MaybeUninit<T>>);

        // SAFETY: [one-turn-at-a-time] loom checks it at every access.
        unsafe impl<T: Send> Sync for Place<T> {}

        impl<T> Place<T> {
            pub(in crate::channel) fn new() -> Place<T> {
                Place(UnsafeCell::new(MaybeUninit::uninit()))
            }

            /// # Safety
            ///
            /// As the library's.
            pub(in crate::channel) unsafe fn put(&self, value: T) {
                // SAFETY: [one-turn-at-a-time] loom has checked it.
                self.0.with_mut(|place| unsafe { place.write(MaybeUninit::new(value)) });
            }

            /// # Safety
            ///
            /// As the library's.
            pub(in crate::channel) unsafe fn take(&self) -> T {
                // SAFETY: [one-turn-at-a-time] loom has checked it.
                let value = self.0.with_mut(|place| unsafe { place.read() });
                // SAFETY: [one-turn-at-a-time] as the library says.
                unsafe { value.assume_init() }
            }
        }
    }

    pub(crate) mod lock {
        use loom::sync::{Mutex, MutexGuard};

        pub(in crate::channel) struct Lock<T>(Mutex<T>);

        impl<T> Lock<T> {
            pub(in crate::channel) fn new(value: T) -> Lock<T> {
                Lock(Mutex::new(value))
            }

            pub(in crate::channel) fn lock(&self) -> MutexGuard<'_, T> {
                self.0.lock().expect("no panic under the lock")
            }
        }
    }

    pub(crate) mod blocking {
        pub(in crate::channel) fn wait<F: Future>(future: F) -> F::Output {
            loom::future::block_on(future)
        }
    }
}
