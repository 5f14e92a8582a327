//! What a handle says, and what becomes of a job whose handle is cancelled, dropped or detached.

use std::cell::Cell;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use corio::{Runtime, blocking, sleep, spawn, spawn_blocking, to_thread, yield_now};

use crate::support::{bounded, poll_once, run_with, until_stats};
use crate::{Bomb, Counted, Gate, noting};

fn text_of(payload: Box<dyn std::any::Any + Send>) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).into())).unwrap_or_default()
}

#[corio::test]
async fn a_job_runs_on_another_thread_and_its_value_comes_back() {
    let here = std::thread::current().id();
    let there = bounded(to_thread(|| std::thread::current().id())).await.unwrap();
    assert_ne!(here, there);
}

#[corio::test]
async fn the_core_runs_on_while_a_job_blocks() {
    let mut gate = Gate::new();
    let job = spawn_blocking(gate.wait());
    let ticks = Rc::new(Cell::new(0));
    let counter = Rc::clone(&ticks);
    let ticking = spawn(async move {
        loop {
            counter.set(counter.get() + 1);
            yield_now().await;
        }
    });
    until_stats(|stats| stats.blocking_running == 1).await;
    let before = ticks.get();
    sleep(Duration::from_millis(1)).await;
    assert!(ticks.get() > before);
    gate.open();
    bounded(job).await.unwrap();
    ticking.cancel();
}

#[corio::test]
async fn a_job_that_ends_wakes_a_core_that_sleeps() {
    for _ in 0..200 {
        // Nothing else is there to wake it.
        bounded(spawn_blocking(std::thread::yield_now)).await.unwrap();
    }
}

#[corio::test]
fn a_full_pool_begins_jobs_in_their_order() {
    run_with(Runtime::builder().blocking_threads(2), async {
        let mut gate = Gate::new();
        let stuck: Vec<_> = (0..2).map(|_| spawn_blocking(gate.wait())).collect();
        until_stats(|stats| stats.blocking_running == 2).await;
        let (begun, order) = channel();
        let jobs: Vec<_> = (0..50)
            .map(|number| {
                let begun = begun.clone();
                spawn_blocking(move || begun.send(number).unwrap())
            })
            .collect();
        let stats = corio::stats();
        assert_eq!((stats.blocking_queued, stats.blocking_threads), (50, 2));
        gate.open();
        for job in stuck.into_iter().chain(jobs) {
            bounded(job).await.unwrap();
        }
        let mut order: Vec<i32> = order.try_iter().collect();
        // Two threads begin them in order, and may write them down in another.
        assert!(order.iter().enumerate().all(|(place, number)| number.abs_diff(place as i32) < 50));
        order.sort_unstable();
        assert!(order.into_iter().eq(0..50));
        assert_eq!(corio::stats().blocking_threads, 2);
    });
}

#[corio::test]
fn one_thread_begins_jobs_first_in_first_out() {
    run_with(Runtime::builder().blocking_threads(1), async {
        let (begun, order) = channel();
        let jobs: Vec<_> = (0..100)
            .map(|number| {
                let begun = begun.clone();
                spawn_blocking(move || begun.send(number).unwrap())
            })
            .collect();
        for job in jobs {
            bounded(job).await.unwrap();
        }
        assert!(order.try_iter().eq(0..100));
    });
}

#[corio::test]
fn ten_thousand_jobs_each_give_their_value_once() {
    run_with(Runtime::builder().blocking_threads(8), async {
        let jobs: Vec<_> =
            (0..10_000u64).map(|number| spawn_blocking(move || number * 2)).collect();
        let mut sum = 0;
        for (number, job) in jobs.into_iter().enumerate() {
            let value = job.await.unwrap();
            assert_eq!(value, number as u64 * 2);
            sum += value;
        }
        assert_eq!(sum, 9_999 * 10_000);
        assert!(corio::stats().blocking_threads <= 8);
    });
}

#[corio::test]
fn a_thread_that_idles_for_long_ends() {
    let builder = Runtime::builder().blocking_keep_alive(Duration::from_millis(1));
    run_with(builder, async {
        spawn_blocking(|| {}).await.unwrap();
        until_stats(|stats| stats.blocking_threads == 0).await;
        assert_eq!(spawn_blocking(|| 1).await.unwrap(), 1, "a new one is started");
    });
}

#[corio::test]
fn a_panic_arrives_in_the_handle_and_the_thread_lives() {
    run_with(Runtime::builder().blocking_threads(1), async {
        let thread = spawn_blocking(|| std::thread::current().id()).await.unwrap();
        let error = bounded(spawn_blocking(|| panic!("number {}", 7))).await.unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled());
        assert!(error.to_string().contains("tests/blocking/handles.rs"), "{error}");
        assert!(error.to_string().contains("number 7"), "{error}");
        assert_eq!(text_of(error.into_panic()), "number 7");
        let again = spawn_blocking(|| std::thread::current().id()).await.unwrap();
        assert_eq!(thread, again, "the worker outlives the panic");
    });
}

#[corio::test]
fn a_panic_that_nobody_takes_is_told_once_with_its_place() {
    let (builder, reports) = noting();
    run_with(builder, async {
        // Of a job that is over when its handle is dropped.
        let over = spawn_blocking(|| panic!("first"));
        until_stats(|stats| stats.blocking_running + stats.blocking_queued == 0).await;
        assert!(over.is_finished());
        drop(over);
        assert_eq!(reports.borrow().len(), 1);
        // Of one that nobody waits for.
        spawn_blocking(|| panic!("second")).detach();
        crate::support::until(|| reports.borrow().len() == 2).await;
        // Of one whose handle is dropped while it runs.
        let mut gate = Gate::new();
        let wait = gate.wait();
        let running = spawn_blocking(move || {
            wait();
            panic!("third");
        });
        until_stats(|stats| stats.blocking_running == 1).await;
        drop(running);
        gate.open();
        crate::support::until(|| reports.borrow().len() == 3).await;
        // One that is taken is nobody else's affair.
        let _ = spawn_blocking(|| panic!("fourth")).await;
        let reports = reports.borrow();
        for (report, word) in reports.iter().zip(["first", "second", "third"]) {
            assert!(report.contains(word) && report.contains("handles.rs"), "{report}");
        }
        assert_eq!(reports.len(), 3);
    });
}

#[corio::test]
fn an_untaken_panic_of_a_detached_job_wakes_a_core_that_sleeps() {
    let told = Rc::new(Cell::new(false));
    let waker = Rc::new(Cell::new(None::<Waker>));
    let (note, wake) = (Rc::clone(&told), Rc::clone(&waker));
    let builder = Runtime::builder().on_unhandled(move |_| {
        note.set(true);
        wake.take().unwrap().wake();
    });
    let runtime = builder.build().unwrap();
    runtime.block_on(async {
        spawn_blocking(|| panic!("far away")).detach();
        // No timer: only the report can end this wait.
        std::future::poll_fn(|context| {
            waker.set(Some(context.waker().clone()));
            if told.get() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    });
}

#[corio::test]
fn a_job_that_is_cancelled_before_it_begins_never_runs() {
    run_with(Runtime::builder().blocking_threads(1), async {
        let mut gate = Gate::new();
        let first = spawn_blocking(gate.wait());
        until_stats(|stats| stats.blocking_running == 1).await;
        let ran = Arc::new(AtomicBool::new(false));
        let (value, drops) = Counted::new();
        let mark = |value| {
            let ran = Arc::clone(&ran);
            move || {
                ran.store(true, Ordering::SeqCst);
                drop(value);
            }
        };
        let cancelled = spawn_blocking(mark(value.clone()));
        let dropped = spawn_blocking(mark(value));
        assert!(cancelled.cancel());
        assert_eq!(drops.load(Ordering::SeqCst), 1, "what it captured goes at once");
        assert!(!cancelled.cancel(), "it is over");
        drop(dropped);
        assert_eq!(drops.load(Ordering::SeqCst), 2);
        assert_eq!(corio::stats().blocking_queued, 0);
        let error = cancelled.await.unwrap_err();
        assert!(error.is_cancelled() && !error.is_panic(), "{error}");
        gate.open();
        first.await.unwrap();
        spawn_blocking(|| {}).await.unwrap();
        assert!(!ran.load(Ordering::SeqCst));
    });
}

#[corio::test]
async fn a_job_that_is_cancelled_while_it_runs_sees_its_flag_and_keeps_its_value() {
    let job = spawn_blocking(|| {
        while !blocking::is_cancelled() {
            std::thread::yield_now();
        }
        "ended by itself"
    });
    until_stats(|stats| stats.blocking_running == 1).await;
    assert!(job.cancel());
    assert_eq!(bounded(job).await.unwrap(), "ended by itself");
}

#[corio::test]
async fn a_dropped_handle_sets_the_flag_and_the_value_is_dropped_once() {
    let (value, drops) = Counted::new();
    let (tell, told) = channel();
    let job = spawn_blocking(move || {
        let flag = blocking::cancel_flag().unwrap();
        // The flag may be read on a thread of the job's own.
        let helper = std::thread::spawn(move || {
            while !flag.is_cancelled() {
                std::thread::yield_now();
            }
        });
        helper.join().unwrap();
        tell.send(()).unwrap();
        value
    });
    until_stats(|stats| stats.blocking_running == 1).await;
    drop(job);
    until_stats(|stats| stats.blocking_running == 0).await;
    told.try_recv().unwrap();
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[corio::test]
async fn a_cancelled_task_leaves_its_job_behind_with_its_flag_set() {
    let seen = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&seen);
    let task = spawn(async move {
        let job = spawn_blocking(move || {
            while !blocking::is_cancelled() {
                std::thread::yield_now();
            }
            note.store(true, Ordering::SeqCst);
        });
        job.await.unwrap();
    });
    until_stats(|stats| stats.blocking_running == 1).await;
    task.cancel();
    assert!(bounded(task).await.unwrap_err().is_cancelled());
    crate::support::until(|| seen.load(Ordering::SeqCst)).await;
}

#[corio::test]
async fn a_detached_job_runs_to_its_end_unasked() {
    let mut gate = Gate::new();
    let (wait, (tell, told)) = (gate.wait(), channel());
    spawn_blocking(move || {
        wait();
        tell.send(blocking::is_cancelled()).unwrap();
    })
    .detach();
    until_stats(|stats| stats.blocking_running == 1).await;
    gate.open();
    until_stats(|stats| stats.blocking_running == 0).await;
    assert!(!told.try_recv().unwrap());
}

#[corio::test]
async fn the_flag_of_one_job_is_not_seen_by_the_next_on_its_thread() {
    for _ in 0..20 {
        let job = spawn_blocking(|| while !blocking::is_cancelled() {});
        job.cancel();
        let _ = bounded(job).await;
        assert!(!bounded(spawn_blocking(blocking::is_cancelled)).await.unwrap());
    }
    assert!(!blocking::is_cancelled() && blocking::cancel_flag().is_none());
}

#[corio::test]
async fn a_wait_that_is_dropped_loses_no_value() {
    let mut gate = Gate::new();
    let wait = gate.wait();
    let mut job = spawn_blocking(move || {
        wait();
        5
    });
    for _ in 0..3 {
        assert!(corio::timeout(Duration::from_micros(10), &mut job).await.is_err());
    }
    gate.open();
    assert_eq!(bounded(job).await.unwrap(), 5);
}

#[corio::test]
async fn a_waker_that_panics_or_is_foreign_is_woken_on_the_worker_and_ends_nothing() {
    struct Foreign(AtomicUsize, bool);
    impl Wake for Foreign {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            assert!(!self.1, "a waker that panics");
        }
    }
    for panics in [false, true] {
        let mut gate = Gate::new();
        let mut job = spawn_blocking(gate.wait());
        let foreign = Arc::new(Foreign(AtomicUsize::new(0), panics));
        let waker = Waker::from(Arc::clone(&foreign));
        assert!(Pin::new(&mut job).poll(&mut Context::from_waker(&waker)).is_pending());
        gate.open();
        until_stats(|stats| stats.blocking_queued + stats.blocking_running == 0).await;
        assert_eq!(foreign.0.load(Ordering::SeqCst), 1);
        job.await.unwrap();
    }
    bounded(spawn_blocking(|| {})).await.unwrap();
}

#[corio::test]
fn values_and_captures_whose_drop_panics_end_neither_thread_nor_core() {
    let (builder, reports) = noting();
    run_with(builder.blocking_threads(1), async {
        // The value of an abandoned job is dropped on the worker.
        let mut gate = Gate::new();
        let wait = gate.wait();
        let abandoned = spawn_blocking(move || {
            wait();
            Bomb
        });
        abandoned.detach();
        gate.open();
        crate::support::until(|| reports.borrow().len() == 1).await;
        // What a job captured is dropped with it, where it is cancelled.
        let mut gate = Gate::new();
        let stuck = spawn_blocking(gate.wait());
        until_stats(|stats| stats.blocking_running == 1).await;
        let bomb = Bomb;
        let job = spawn_blocking(move || drop(bomb));
        job.cancel();
        assert_eq!(reports.borrow().len(), 2);
        assert!(job.await.unwrap_err().is_cancelled());
        gate.open();
        stuck.await.unwrap();
        // And a panic that carries a bomb is disposed of.
        spawn_blocking(|| std::panic::panic_any(Bomb)).detach();
        bounded(spawn_blocking(|| {})).await.unwrap();
    });
    let _ = run_with(Runtime::builder(), async {
        // The value of a job that is over goes where its handle goes.
        let job = spawn_blocking(|| Bomb);
        until_stats(|stats| stats.blocking_running + stats.blocking_queued == 0).await;
        assert!(catch_unwind(AssertUnwindSafe(|| drop(job))).is_err());
        bounded(spawn_blocking(|| {})).await
    });
}

#[corio::test]
async fn there_is_no_runtime_inside_a_job_and_the_panic_says_so() {
    let error = bounded(spawn_blocking(|| spawn_blocking(|| {}).detach())).await.unwrap_err();
    let text = text_of(error.into_panic());
    assert!(text.contains("there is no corio runtime on this thread: it is a worker"), "{text}");
    let error = bounded(spawn_blocking(|| drop(spawn(async {})))).await.unwrap_err();
    assert!(text_of(error.into_panic()).contains("it is a worker"));
    // A runtime of its own is another matter: a worker is a thread like any other.
    let nested = spawn_blocking(|| corio::run(async { spawn_blocking(|| 3).await.unwrap() }));
    assert_eq!(bounded(nested).await.unwrap(), 3);
}

#[corio::test]
fn a_blocking_join_is_refused_on_a_core_and_serves_beside_it() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let job = spawn_blocking(|| 1);
        let panic = catch_unwind(AssertUnwindSafe(|| job.join())).unwrap_err();
        assert!(text_of(panic).contains("await the handle instead"));
        bounded(spawn_blocking(|| {})).await.unwrap();
    });
    let job = runtime.block_on(async { spawn_blocking(|| 2) });
    assert_eq!(job.join().unwrap(), 2);
}

#[corio::test]
fn a_handle_that_was_ready_is_refused_at_the_callers_line() {
    corio::run(async {
        let mut job = spawn_blocking(|| 1);
        assert_eq!(bounded(&mut job).await.unwrap(), 1);
        let panic = catch_unwind(AssertUnwindSafe(|| poll_once(&mut job))).unwrap_err();
        assert!(text_of(panic).contains("polled after it was ready"));
    });
}

#[corio::test]
fn a_leaked_handle_holds_up_nothing() {
    corio::run(async {
        let mut job = spawn_blocking(|| String::from("never taken"));
        poll_once(&mut job);
        std::mem::forget(job);
        bounded(spawn_blocking(|| {})).await.unwrap();
        spawn(pending::<()>());
    });
}

#[corio::test]
async fn a_job_and_a_task_fail_with_one_type_which_becomes_an_io_error() {
    let at_once = async || -> std::io::Result<u8> {
        let task = corio::spawn(async { 3 });
        let job = spawn_blocking(|| 4);
        Ok(task.await? + job.await?)
    };
    assert_eq!(at_once().await.unwrap(), 7);
    let line = line!() + 1;
    let job = spawn_blocking(|| -> u8 { panic!("by a job") });
    let error = job.await.unwrap_err();
    assert!(error.is_panic() && !error.is_cancelled() && !error.is_refused());
    assert_eq!((error.id(), error.spawned_at().line()), (0, line));
    let text = std::io::Error::from(error).to_string();
    assert!(
        text.starts_with("the blocking job spawned at ") && text.ends_with("by a job"),
        "{text}"
    );
    let task = corio::spawn(std::future::pending::<()>());
    let id = task.id();
    task.cancel_with("enough");
    let text = std::io::Error::from(task.await.unwrap_err()).to_string();
    assert!(text.starts_with(&format!("task {id} ")) && text.ends_with("enough"), "{text}");
}
