//! `wait`, `wait_for`, moving deadlines, and what is known of tasks.

use std::cell::Cell;
use std::future::{pending, ready};
use std::rc::Rc;
use std::time::Duration;

use corio::task::{self, Builder, When, wait};
use corio::time::{Instant, timeout_scope, wait_for};
use corio::{JoinHandle, catch_cancel, sleep, spawn, yield_now};

use crate::{PATIENCE, dropping, soon, turns};

fn after(ms: u64) -> JoinHandle<u64> {
    spawn(async move {
        sleep(Duration::from_millis(ms)).await;
        ms
    })
}

#[corio::test]
async fn waiting_parts_the_done_from_the_pending_and_cancels_nobody() {
    let mut tasks = vec![after(30), after(2), after(60_000)];
    let done = soon(wait(&mut tasks, When::FirstCompleted)).await;
    assert_eq!((done.len(), tasks.len()), (1, 2));
    let done = soon(wait(&mut tasks, When::AllCompleted).timeout(Duration::from_millis(60))).await;
    assert_eq!((done.len(), tasks.len()), (1, 1));
    for task in done {
        assert_eq!(task.await.unwrap(), 30);
    }
    assert!(!tasks[0].is_finished());
    let mut none: Vec<JoinHandle<()>> = Vec::new();
    assert!(soon(wait(&mut none, When::FirstCompleted)).await.is_empty());
}

#[corio::test]
async fn the_first_exception_is_an_error_or_a_panic_but_no_cancel() {
    let forever = || spawn(pending::<Result<(), &str>>());
    let mut tasks = vec![forever(), forever()];
    tasks[0].cancel();
    let nothing = wait(&mut tasks, When::FirstException).timeout(Duration::from_millis(5));
    assert_eq!(soon(nothing).await.len(), 1, "the cancelled one has ended, and was waited past");
    tasks.push(spawn(async { Err("no") }));
    let done = soon(wait(&mut tasks, When::FirstException)).await;
    assert_eq!((done.len(), tasks.len()), (1, 1));
}

#[corio::test]
async fn a_wait_that_is_dropped_keeps_its_handles() {
    let mut tasks = vec![after(5)];
    assert!(corio::timeout(Duration::ZERO, wait(&mut tasks, When::AllCompleted)).await.is_err());
    assert_eq!(soon(wait(&mut tasks, When::AllCompleted)).await.len(), 1);
}

#[corio::test]
async fn a_deadline_waits_for_the_end_of_what_it_ends() {
    let ended = Rc::new(Cell::new(false));
    let guard = dropping(&ended);
    let task = spawn(async move {
        let _guard = guard;
        let _ = catch_cancel(pending::<()>()).await;
        sleep(Duration::from_millis(2)).await;
    });
    let outcome = soon(wait_for(Duration::from_millis(2), task)).await;
    assert!(outcome.is_ok_and(|outcome| outcome.is_ok()), "it ended with a value, softly asked");
    assert!(ended.get());
    assert!(soon(wait_for(Duration::from_millis(1), spawn(pending::<()>()))).await.is_err());
    turns(2).await;
    assert_eq!(corio::stats().tasks, 0, "a task that is waited for ends with the wait");
}

#[corio::test]
async fn a_value_that_is_there_wins_over_a_deadline_that_has_passed() {
    assert_eq!(wait_for(Duration::ZERO, ready(1)).await.unwrap(), 1);
    assert!(wait_for(Duration::ZERO, yield_now()).await.is_err(), "polled once");
    let polls = Cell::new(0);
    let counted = std::future::poll_fn(|_| {
        polls.set(polls.get() + 1);
        std::task::Poll::<()>::Pending
    });
    assert!(wait_for(Duration::ZERO, counted).await.is_err());
    assert_eq!(polls.get(), 1);
}

#[corio::test]
async fn grace_bounds_a_wait_whose_work_does_not_end() {
    let stubborn = async {
        loop {
            let _ = catch_cancel(pending::<()>()).await;
        }
    };
    let wait = wait_for(Duration::from_millis(1), stubborn).grace(Duration::from_millis(2));
    let outcome: Result<(), _> = soon(wait).await;
    assert_eq!(outcome.unwrap_err().operations_left(), 0);
}

#[corio::test]
async fn a_moved_deadline_counts() {
    let outcome = timeout_scope(Duration::from_millis(5), async |scope| {
        scope.reschedule(None);
        assert_eq!(scope.when(), None);
        sleep(Duration::from_millis(15)).await;
        scope.reschedule(Some(Instant::now()));
        assert!(!scope.is_expired());
        pending::<()>().await;
    });
    assert!(soon(outcome).await.is_err());
    let kept = Rc::new(Cell::new(None));
    let slot = Rc::clone(&kept);
    let outcome = timeout_scope(PATIENCE, async |scope| {
        slot.set(Some(scope.clone()));
        pending::<()>().await;
    });
    let mut outcome = Box::pin(outcome);
    assert!(futures_util::poll!(&mut outcome).is_pending());
    let scope = kept.take().unwrap();
    scope.reschedule(Some(Instant::now()));
    assert!(soon(outcome).await.is_err(), "moved from outside, it wakes the block");
    assert!(scope.is_expired());
    scope.reschedule(None);
    assert!(scope.is_expired(), "after the end nothing moves");
}

#[corio::test]
async fn tasks_are_known_by_name_number_and_place() {
    assert_eq!(task::current(), None, "the future of block_on is no task");
    let task = Builder::new().name("worker").spawn(async {
        let me = task::current().unwrap();
        assert_eq!(me.name().as_deref(), Some("worker"));
        me.set_name("renamed");
        yield_now().await;
        me.id()
    });
    assert_eq!(task.spawned_at().file(), file!());
    yield_now().await;
    let all = task::all();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0], task.task());
    assert!(format!("{task:?}").contains("`renamed`"), "{task:?}");
    let id = task.id();
    assert_eq!(soon(task).await.unwrap(), id);
    assert!(task::all().is_empty());
    assert!(all[0].is_finished() && !all[0].cancel());
}

#[corio::test]
async fn an_eager_task_runs_to_its_first_wait_inside_of_its_spawn() {
    let steps = Rc::new(Cell::new(0));
    let note = Rc::clone(&steps);
    let task = Builder::new().eager(true).spawn(async move {
        note.set(1);
        let outer = task::current().unwrap().id();
        let inner = Builder::new().eager(true).spawn(async { task::current().unwrap().id() });
        assert!(inner.is_finished());
        assert_ne!(inner.await.unwrap(), outer);
        assert_eq!(task::current().unwrap().id(), outer);
        yield_now().await;
        note.set(2);
    });
    assert_eq!(steps.get(), 1);
    assert!(!task.is_finished());
    soon(task).await.unwrap();
    assert_eq!(steps.get(), 2);
    let panics = Builder::new().eager(true).spawn(async { panic!("at once") });
    assert!(soon(panics).await.unwrap_err().is_panic());
}
