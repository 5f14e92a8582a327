//! The end of a core, in bounded time and in this order:
//!
//! ```text
//!  Open ─▶ Closing    1 spawns are refused; every task is asked to end, and polled until it did
//!                     2 at the grace limit, futures that are left are dropped
//!                     3 streams that still send or wait for their peer's end have until the
//!                       linger limit
//!       ─▶ Draining   4 every operation is cancelled and reaped to its last completion
//!       ─▶ Closed     5 what the kernel did not let go of is leaked, and reported
//! ```

use std::rc::Rc;
use std::time::Duration;

use super::task::AnyTask;
use super::{Core, Life, Unhandled};
use crate::driver::AnyDriver;

/// How long the kernel has to let go of cancelled operations.
const DRAIN_LIMIT: Duration = Duration::from_millis(250);

/// What `Runtime::close` found and did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct CloseReport {
    /// Tasks that were asked to end.
    pub cancelled_tasks: usize,
    /// Tasks that did not end by the grace limit: their futures were dropped.
    pub dropped_tasks: usize,
    /// Streams whose unsent data or whose peer's end was not waited for any longer.
    pub abandoned_streams: usize,
    /// Operations that the kernel did not let go of: their memory is leaked.
    pub leaked_operations: usize,
}

impl Core {
    /// Ends the core. Calling it again does nothing.
    pub(crate) fn close(self: &Rc<Core>) -> CloseReport {
        let mut report = CloseReport::default();
        if self.life.get() != Life::Open {
            return report;
        }
        let entered = self.enter();
        self.life.set(Life::Closing);
        self.end_tasks(&mut report);
        self.end_streams(&mut report);
        self.end_operations(&mut report);
        self.life.set(Life::Closed);
        let timers = self.timers.borrow_mut().drain();
        drop(timers);
        drop(self.armings.take());
        drop(self.flushes.take());
        let driver = std::mem::replace(&mut *self.driver.borrow_mut(), AnyDriver::Closed);
        match report.leaked_operations {
            0 => drop(driver),
            count => {
                // The kernel may still write into the pools: they stay mapped for good.
                std::mem::forget(Rc::clone(&self.pools));
                drop(driver);
                self.report(&Unhandled::OperationsLeaked { count });
            }
        }
        drop(entered);
        report
    }

    fn tasks_of(&self, background: bool) -> Vec<Rc<dyn AnyTask>> {
        let all = self.tasks.borrow().all();
        all.into_iter().filter(|task| task.header().background == background).collect()
    }

    fn end_tasks(self: &Rc<Core>, report: &mut CloseReport) {
        let tasks = self.tasks_of(false);
        report.cancelled_tasks = tasks.len();
        for task in tasks {
            task.header().cancel.set(true);
            task.header().ticket.wake();
        }
        let deadline_ns = self.now_ns().saturating_add(self.grace.as_nanos() as u64);
        self.turn_until(deadline_ns, |core| core.tasks_of(false).is_empty());
        let stuck = self.tasks_of(false);
        report.dropped_tasks = stuck.len();
        for task in stuck {
            task.end_cancelled();
            // Operations that it leaves behind are cancelled with all others below.
            self.finish(&*task);
        }
    }

    fn end_streams(self: &Rc<Core>, report: &mut CloseReport) {
        let deadline_ns = self.now_ns().saturating_add(self.linger.as_nanos() as u64);
        self.turn_until(deadline_ns, |core| core.lingering.get() == 0);
        report.abandoned_streams = self.lingering.get();
        for task in self.tasks_of(true) {
            task.end_cancelled();
            self.finish(&*task);
        }
    }

    fn end_operations(self: &Rc<Core>, report: &mut CloseReport) {
        self.life.set(Life::Draining);
        let deadline_ns = self.now_ns().saturating_add(DRAIN_LIMIT.as_nanos() as u64);
        self.slots.borrow_mut().cancel_all(&mut self.driver.borrow_mut());
        self.turn_until(deadline_ns, |core| core.operations_in_flight() == 0);
        report.leaked_operations = self.slots.borrow_mut().leak();
    }

    /// Turns the loop, without a root, until `done` or the deadline.
    fn turn_until(self: &Rc<Core>, deadline_ns: u64, done: impl Fn(&Rc<Core>) -> bool) {
        while !done(self) && self.now_ns() < deadline_ns {
            self.turn(&mut || false, deadline_ns);
        }
    }
}
