//! The end of a core, in bounded time and in this order:
//!
//! ```text
//!  Open ─▶ Closing    1 spawns and calls are refused; every task and every blocking job that
//!                       runs is asked to end, and tasks are polled until they did, and their
//!                       callbacks were called
//!                     2 at the grace limit, futures that are left are dropped
//!                     3 blocking jobs that have not begun are dropped; those that run are left
//!                       behind at the same grace limit
//!                     4 streams that still send or wait for their peer's end have until the
//!                       linger limit
//!       ─▶ Draining   5 every operation is cancelled and reaped to its last completion
//!       ─▶ Closed     6 what the kernel did not let go of is leaked, and reported
//! ```

use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::task::{AnyTask, Phase};
use super::{Core, Life, Unhandled};
use crate::driver::AnyDriver;

/// How long the kernel has to let go of cancelled operations.
const DRAIN_LIMIT: Duration = Duration::from_millis(250);

/// What `Runtime::close` found and did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct CloseReport {
    /// Tasks that were asked to end.
    pub cancelled_tasks: usize,
    /// Tasks that did not end by the grace limit: their futures were dropped.
    pub dropped_tasks: usize,
    /// Blocking jobs that had not begun: they never run.
    pub cancelled_jobs: usize,
    /// Where the blocking jobs were spawned that did not end by the grace limit. They run on, each
    /// on its thread.
    pub jobs_left_behind: Vec<&'static Location<'static>>,
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
        let entered = self.enter_over();
        self.life.set(Life::Closing);
        self.close_calls();
        let deadline_ns = self.deadline_ns(self.grace);
        self.end_tasks(&mut report, deadline_ns);
        self.end_jobs(&mut report, deadline_ns);
        self.end_streams(&mut report);
        self.end_operations(&mut report);
        self.life.set(Life::Closed);
        // What is dropped here may be foreign: wakers of timers, segments of an outbox.
        let timers = self.timers.borrow_mut().drain();
        for waker in timers {
            self.drop_foreign(waker);
        }
        for errand in self.armings.take() {
            self.drop_foreign(errand);
        }
        for errand in self.flushes.take() {
            self.drop_foreign(errand);
        }
        self.drop_foreign(self.context.take());
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

    fn end_tasks(self: &Rc<Core>, report: &mut CloseReport, deadline_ns: u64) {
        // Now, or a job would have to end in no time once the tasks have taken theirs.
        self.workers.ask_running();
        let tasks = self.tasks_of(false);
        report.cancelled_tasks = tasks.len();
        let reason: Arc<str> = Arc::from("its runtime ends");
        for task in tasks {
            self.ask_task(&*task, Some(Arc::clone(&reason)));
        }
        self.turn_until(deadline_ns, |core| core.tasks_of(false).is_empty());
        // Callbacks of the last tasks are ready, and stand behind nothing.
        self.turn_until(deadline_ns, |core| !core.tasks.borrow().has_ready());
        let stuck = self.tasks_of(false);
        report.dropped_tasks = stuck.iter().filter(|task| is_live(&***task)).count();
        self.drop_tasks(stuck);
    }

    /// Drops the futures of tasks that live. One whose future is over keeps its outcome, and does
    /// not wait for its operations: those are cancelled with all others below.
    fn drop_tasks(self: &Rc<Core>, tasks: Vec<Rc<dyn AnyTask>>) {
        for task in tasks {
            if is_live(&*task) {
                task.end_cancelled();
            }
            self.finish(&*task);
        }
    }

    fn deadline_ns(&self, limit: Duration) -> u64 {
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        self.now_ns().saturating_add(limit_ns)
    }

    fn end_jobs(self: &Rc<Core>, report: &mut CloseReport, deadline_ns: u64) {
        let queued = self.workers.begin_close();
        report.cancelled_jobs = queued.len();
        for job in queued {
            self.drop_foreign(job.run);
        }
        self.turn_until(deadline_ns, |core| core.workers.load().threads == 0);
        report.jobs_left_behind = self.workers.leave_behind();
        self.report_job_panics();
        for spawned_at in &report.jobs_left_behind {
            self.report(&Unhandled::JobLeftBehind { spawned_at });
        }
    }

    fn end_streams(self: &Rc<Core>, report: &mut CloseReport) {
        self.turn_until(self.deadline_ns(self.linger), |core| core.lingering.get() == 0);
        report.abandoned_streams = self.lingering.get();
        // From here on a stream that is dropped, by whatever code the drops below run, ends at
        // once and leaves no task behind.
        self.life.set(Life::Draining);
        self.drop_tasks(self.tasks_of(true));
    }

    fn end_operations(self: &Rc<Core>, report: &mut CloseReport) {
        self.slots.borrow_mut().cancel_all(&mut self.driver.borrow_mut());
        self.turn_until(self.deadline_ns(DRAIN_LIMIT), |core| core.operations_in_flight() == 0);
        report.leaked_operations = self.slots.borrow_mut().leak();
    }

    /// Turns the loop until `done` or the deadline.
    ///
    /// The question takes the root's place, behind all that is ready: a turn whose polls have done
    /// the last of it must not wait for more to happen, which would take until the deadline.
    fn turn_until(self: &Rc<Core>, deadline_ns: u64, done: impl Fn(&Rc<Core>) -> bool) {
        let root = self.tasks.borrow_mut().begin_root();
        while !done(self) && self.now_ns() < deadline_ns {
            self.tasks.borrow_mut().wake(root);
            let mut ask = || {
                let is_last = !self.tasks.borrow().has_ready();
                if !is_last {
                    self.tasks.borrow_mut().wake(root);
                }
                is_last && done(self)
            };
            self.turn(&mut ask, deadline_ns);
        }
        self.end_root();
    }
}

fn is_live(task: &dyn AnyTask) -> bool {
    task.header().phase.get() == Phase::Live
}
