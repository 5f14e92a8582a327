//! Waiting on a thread that runs no core: the thread parks between polls.
//!
//! On a thread that runs a core this would stop every task there, the one waited for perhaps among
//! them. So it is refused there, at the caller's line, before anything was polled.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::executor::Core;

/// Wakes a thread that may be parked. Others may park and unpark it, too, hence the flag.
struct Parker {
    thread: Thread,
    is_woken: AtomicBool,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

#[track_caller]
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    assert!(
        Core::try_current().is_none(),
        "this thread runs a corio runtime, whose tasks a blocking call would stop: await the \
         channel instead"
    );
    let parker = Arc::new(Parker { thread: thread::current(), is_woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&parker));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        while !parker.is_woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}
