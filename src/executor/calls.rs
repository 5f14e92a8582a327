//! Calls to a core: closures that other threads have it run.
//!
//! A wake is a number and goes through the bounded ring of tickets, which never fails. A call is a
//! box of any size, so it has a queue of its own, behind a lock and as long as need be. It knocks
//! as a wake does (`inbox.rs`), so a sleeping core is rung once for any number of calls, and one
//! that is awake not at all.
//!
//! ```text
//!            Claim::new                     Core::close, or Claim dropped
//!   closed ─────────────▶ open for a home ───────────────────────────────▶ closed
//! ```
//!
//! The queue lives in the cell, for ever, and is open for one core at a time: a call that is
//! addressed to a core which has ended is handed back to the caller. Calls that were not run by the
//! end of their core are dropped there.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::report::contain;
use super::ticket::Home;
use super::{Core, Unhandled};

/// A closure to be run by a core, between two polls.
pub(crate) type Call = Box<dyn FnOnce(&Rc<Core>) + Send>;

#[derive(Default)]
struct Queue {
    open_for: Option<Home>,
    calls: VecDeque<Call>,
}

/// See the top of this file.
#[derive(Default)]
pub(crate) struct Calls {
    queue: Mutex<Queue>,
    /// How many there are, for a look without the lock.
    count: AtomicUsize,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No foreign code runs under the lock, so a poisoned queue is whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, home: Home) {
        self.lock().open_for = Some(home);
    }

    /// Refuses calls from now on. Those that were not run are returned, for the caller to drop.
    pub(super) fn close(&self) -> VecDeque<Call> {
        let mut queue = self.lock();
        queue.open_for = None;
        self.count.store(0, Ordering::Relaxed);
        std::mem::take(&mut queue.calls)
    }

    /// Leaves a call; hands it back if that core has ended. The caller knocks.
    pub(super) fn push(&self, home: Home, call: Call) -> Result<(), Call> {
        let mut queue = self.lock();
        if queue.open_for != Some(home) {
            return Err(call);
        }
        queue.calls.push_back(call);
        self.count.store(queue.calls.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Whether there are none. Whoever pushed and knocked before the core announced its sleep is
    /// seen by the core's look after that: the fences are those of `inbox.rs`.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    fn take(&self) -> VecDeque<Call> {
        let mut queue = self.lock();
        self.count.store(0, Ordering::Relaxed);
        std::mem::take(&mut queue.calls)
    }
}

impl Core {
    /// Runs the calls that are there now. More may come meanwhile: those wait for the next turn.
    pub(super) fn take_calls(self: &Rc<Core>) {
        let calls = &self.claim.cell.calls;
        if calls.is_empty() {
            return;
        }
        for call in calls.take() {
            if !contain(|| call(self)) {
                self.report(&Unhandled::CallPanicked);
            }
        }
    }

    /// Refuses calls, and drops those that were not run.
    pub(super) fn close_calls(&self) {
        for call in self.claim.cell.calls.close() {
            self.drop_foreign(call);
        }
    }
}
