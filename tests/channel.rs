//! Channels between cores: what crosses arrives once and in order, whoever waits hears of it, and
//! a future that is dropped or leaked takes nothing with it.
//!
//! Each hazard has a file; the runtimes of a test are on threads of their own, more of them than
//! the machine has processors. Seeds are in the messages of failures.

#[path = "channel/ends.rs"]
mod ends;
#[path = "channel/looking.rs"]
mod looking;
#[path = "channel/pipes.rs"]
mod pipes;
#[path = "channel/shapes.rs"]
mod shapes;
#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

/// A waker that counts.
#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A value whose drop is counted.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
