//! The end of a runtime with jobs: in bounded time, and it says what it left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use corio::time::Instant;
use corio::{Runtime, blocking, spawn_blocking};

use crate::support::until_stats;
use crate::{Bomb, Counted, Gate, noting};

/// Much longer than the end may take, much shorter than a job that is stuck.
const BOUND: Duration = Duration::from_secs(10);

#[corio::test]
fn a_stuck_job_is_left_behind_and_reported_with_its_place() {
    let (builder, reports) = noting();
    let runtime = builder.grace(Duration::from_millis(20)).build().unwrap();
    let mut gate = Gate::new();
    let wait = gate.wait();
    let (value, drops) = Counted::new();
    let line = line!() + 2;
    let job = runtime.block_on(async {
        let job = spawn_blocking(move || {
            wait();
            drop(value);
            8
        });
        until_stats(|stats| stats.blocking_running == 1).await;
        job
    });
    let start = Instant::now();
    let report = runtime.close();
    assert!(start.elapsed() < BOUND);
    assert_eq!(report.jobs_left_behind.len(), 1);
    assert_eq!(report.jobs_left_behind[0].file(), file!());
    assert_eq!(report.jobs_left_behind[0].line(), line);
    assert_eq!(report.cancelled_jobs, 0);
    assert_eq!(reports.borrow().len(), 1);
    assert!(reports.borrow()[0].contains(&format!("{}:{line}", file!())));
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    // It runs on, and whoever kept its handle gets its value.
    gate.open();
    assert_eq!(job.join().unwrap(), 8);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[corio::test]
fn a_job_that_looks_at_its_flag_ends_with_its_runtime() {
    let runtime = Runtime::builder().grace(BOUND).build().unwrap();
    let job = runtime.block_on(async {
        let job = spawn_blocking(|| {
            while !blocking::is_cancelled() {
                std::thread::yield_now();
            }
            "asked"
        });
        until_stats(|stats| stats.blocking_running == 1).await;
        job
    });
    let report = runtime.close();
    assert!(report.jobs_left_behind.is_empty());
    assert_eq!(job.join().unwrap(), "asked");
}

#[corio::test]
fn a_running_job_is_asked_together_with_the_tasks_and_not_after_them() {
    let runtime = Runtime::builder().grace(BOUND).build().unwrap();
    let told = std::rc::Rc::new(std::cell::Cell::new(""));
    let tell = std::rc::Rc::clone(&told);
    runtime.block_on(async {
        let job = spawn_blocking(|| {
            while !blocking::is_cancelled() {
                std::thread::yield_now();
            }
            "asked"
        });
        until_stats(|stats| stats.blocking_running == 1).await;
        // Its clean-up waits for the job: there is one limit for both.
        corio::spawn(async move {
            let _ = corio::catch_cancel(std::future::pending::<()>()).await;
            tell.set(job.await.unwrap());
        });
        corio::yield_now().await;
    });
    let report = runtime.close();
    assert_eq!((told.get(), report.dropped_tasks), ("asked", 0));
}

#[corio::test]
fn jobs_that_have_not_begun_never_run_and_their_handles_say_so() {
    let (builder, reports) = noting();
    let runtime = builder.blocking_threads(1).grace(Duration::from_millis(1)).build().unwrap();
    let mut gate = Gate::new();
    let ran = Arc::new(AtomicBool::new(false));
    let (value, drops) = Counted::new();
    let (wait, note) = (gate.wait(), Arc::clone(&ran));
    let (stuck, queued) = runtime.block_on(async {
        let stuck = spawn_blocking(wait);
        until_stats(|stats| stats.blocking_running == 1).await;
        let queued = spawn_blocking(move || {
            note.store(true, Ordering::SeqCst);
            drop(value);
        });
        let bomb = Bomb;
        spawn_blocking(move || drop(bomb)).detach();
        (stuck, queued)
    });
    let report = runtime.close();
    assert_eq!((report.cancelled_jobs, report.jobs_left_behind.len()), (2, 1));
    assert!(reports.borrow().iter().any(|report| report.contains("panicked when the runtime")));
    assert!(queued.join().unwrap_err().is_cancelled());
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    gate.open();
    stuck.join().unwrap();
    assert!(!ran.load(Ordering::SeqCst));
}

#[corio::test]
fn a_runtime_without_jobs_closes_without_waiting() {
    let runtime = Runtime::builder().grace(BOUND).build().unwrap();
    runtime.block_on(async { spawn_blocking(|| {}).await.unwrap() });
    let start = Instant::now();
    let report = runtime.close();
    assert!(start.elapsed() < BOUND, "an idle thread was waited for");
    assert_eq!(report, corio::CloseReport::default());
}

#[corio::test]
fn a_job_that_is_spawned_while_a_task_cleans_up_still_runs() {
    struct Last(std::sync::mpsc::Sender<bool>);
    impl Drop for Last {
        fn drop(&mut self) {
            let tell = self.0.clone();
            spawn_blocking(move || tell.send(true).unwrap()).detach();
        }
    }
    let runtime = Runtime::builder().grace(BOUND).build().unwrap();
    let (tell, told) = channel();
    runtime.block_on(async {
        corio::spawn(async move {
            let _last = Last(tell);
            std::future::pending::<()>().await;
        });
        corio::yield_now().await;
    });
    // It may have begun by the time the pool closes or not; it is never lost without a trace.
    let report = runtime.close();
    assert_eq!(usize::from(told.try_recv().is_ok()) + report.cancelled_jobs, 1);
}

#[corio::test]
fn a_job_after_the_end_is_refused_by_its_handle() {
    struct Late(std::sync::mpsc::Sender<bool>);
    impl Drop for Late {
        fn drop(&mut self) {
            let job = spawn_blocking(|| {});
            let is_cancelled = job.is_finished();
            self.0.send(is_cancelled).unwrap();
            drop(job);
        }
    }
    // The values of a context are the last that a runtime drops.
    static LAST: corio::context::ContextVar<std::rc::Rc<Late>> =
        corio::context::ContextVar::local("last");
    let (tell, told) = channel();
    corio::run(async move {
        LAST.set(std::rc::Rc::new(Late(tell)));
    });
    assert!(told.try_recv().unwrap(), "the pool was closed, so the job is over at once");
}

#[corio::test]
fn runtimes_do_not_share_threads_and_a_stuck_one_disturbs_no_other() {
    let mut gate = Gate::new();
    let stuck = Runtime::builder().blocking_threads(1).grace(Duration::ZERO).build().unwrap();
    let wait = gate.wait();
    let job = stuck.block_on(async {
        let job = spawn_blocking(wait);
        until_stats(|stats| stats.blocking_running == 1).await;
        job
    });
    let other = Runtime::builder().blocking_threads(1).build().unwrap();
    assert_eq!(other.block_on(async { spawn_blocking(|| 4).await.unwrap() }), 4);
    assert!(other.close().jobs_left_behind.is_empty());
    assert_eq!(stuck.close().jobs_left_behind.len(), 1);
    gate.open();
    job.join().unwrap();
}

#[corio::test]
fn a_worker_is_not_pinned_with_its_core() {
    let allowed = |status: &str| {
        let text = std::fs::read_to_string(status).unwrap();
        let line = text.lines().find(|line| line.starts_with("Cpus_allowed_list:")).unwrap();
        line.to_owned()
    };
    let (before, there) = std::thread::spawn(move || {
        let before = allowed("/proc/thread-self/status");
        let first: String = before.split_whitespace().nth(1).unwrap().to_owned();
        let cpu = first.split(['-', ',']).next().unwrap().parse().unwrap();
        let runtime = Runtime::builder().pin(cpu).build().unwrap();
        let job = async move { spawn_blocking(move || allowed("/proc/thread-self/status")).await };
        (before, runtime.block_on(job).unwrap())
    })
    .join()
    .unwrap();
    assert_eq!(before, there);
}

#[corio::test]
fn a_worker_leaves_the_signals_of_the_process_to_others() {
    let blocked = corio::run(async {
        let job = spawn_blocking(|| {
            let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = text.lines().find(|line| line.starts_with("SigBlk:")).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        });
        job.await.unwrap()
    });
    let is_blocked = |number: i32| blocked >> (number - 1) & 1 == 1;
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGCHLD] {
        assert!(is_blocked(number), "signal {number}");
    }
    for number in [libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT] {
        assert!(!is_blocked(number), "signal {number}");
    }
}
