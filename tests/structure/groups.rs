//! Groups: no task outlives its block, and no failure is lost.

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use corio::task::{Builder, GroupError, TaskGroup};
use corio::{catch_cancel, sleep, spawn, task_group, timeout, yield_now};

use crate::{Journal, dropping, soon, turns};

/// Ends by an abort only.
async fn stubborn() -> std::convert::Infallible {
    loop {
        let _ = catch_cancel(pending::<()>()).await;
    }
}

fn fails(text: &'static str) -> Result<(), io::Error> {
    Err(io::Error::other(text))
}

#[corio::test]
async fn a_block_ends_after_its_last_task() {
    let journal = Journal::default();
    let notes = journal.clone();
    let value = task_group(async |group| {
        for number in [3, 1, 2] {
            let notes = notes.clone();
            group.spawn(async move {
                sleep(Duration::from_millis(4 * number)).await;
                notes.note(format!("task {number}"));
            });
        }
        notes.note("body");
        "value"
    });
    assert_eq!(soon(value).await.unwrap(), "value");
    journal.assert(&["body", "task 1", "task 2", "task 3"]);
}

#[corio::test]
async fn the_first_failure_ends_siblings_and_body_and_all_errors_are_kept() {
    let ended = Rc::new(Cell::new(false));
    let body_ended = Rc::new(Cell::new(false));
    let (guard, body_guard) = (dropping(&ended), dropping(&body_ended));
    let outcome = task_group(async |group| {
        let _guard = body_guard;
        group.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        group.spawn(async {
            let _ = catch_cancel(pending::<()>()).await;
            fails("while cleaning up")
        });
        group.spawn(async {
            turns(2).await;
            fails("first")
        });
        group.spawn(async {
            let cancelled = catch_cancel(pending::<()>()).await;
            cancelled.expect("in the end");
        });
        pending::<()>().await
    });
    let error = soon(outcome).await.unwrap_err();
    assert!(ended.get() && body_ended.get());
    const PANIC: &str = "panicked: in the end: Cancelled { reason: \
                         Some(\"another task of its group failed: first\") }";
    let mut texts: Vec<_> = error.iter().map(ToString::to_string).collect();
    assert_eq!(texts.remove(0), "first");
    texts.sort();
    assert_eq!(texts, [PANIC, "while cleaning up"]);
    let (panics, others) = error.split(|error| error.is_panic());
    assert_eq!((panics.as_ref().unwrap().len(), others.unwrap().len()), (1, 2));
    assert!(panics.unwrap().into_single().unwrap().into_panic().is_ok());
}

#[corio::test]
async fn an_error_or_a_panic_of_the_body_ends_the_tasks() {
    for panics in [false, true] {
        let ended = Rc::new(Cell::new(false));
        let guard = dropping(&ended);
        let outcome = task_group(async |group| {
            group.spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            });
            yield_now().await;
            assert!(!panics, "the body panics");
            fails("the body fails")
        });
        let error = soon(outcome).await.unwrap_err().into_single().unwrap();
        assert_eq!((error.id(), error.is_panic()), (None, panics));
        assert!(ended.get());
    }
}

#[corio::test]
async fn cancelling_one_task_is_no_failure_of_its_group() {
    let outcome = task_group(async |group| {
        let one = group.spawn(pending::<()>());
        let two = group.spawn(async {
            turns(5).await;
            2
        });
        turns(2).await;
        assert!(one.cancel());
        assert!(one.await.unwrap_err().is_cancelled());
        two.await.unwrap()
    });
    assert_eq!(soon(outcome).await.unwrap(), 2);
}

#[corio::test]
async fn a_cancelled_group_ends_early_without_an_error_of_a_task() {
    let outcome = task_group(async |group: TaskGroup| {
        group.spawn(pending::<()>());
        let handle = group.clone();
        group.spawn(async move {
            turns(3).await;
            handle.cancel();
        });
    });
    soon(outcome).await.unwrap();
    let outcome = task_group(async |group: TaskGroup| {
        group.cancel();
        pending::<()>().await
    });
    let error: GroupError = soon(outcome).await.unwrap_err();
    assert!(error.is_cancelled());
}

#[corio::test]
async fn a_request_from_outside_ends_the_tasks_first() {
    let journal = Journal::default();
    let notes = journal.clone();
    let outer = spawn(async move {
        let inner = notes.clone();
        let outcome = task_group(async |group| {
            group.spawn(async move {
                let _ = catch_cancel(pending::<()>()).await;
                sleep(Duration::from_millis(2)).await;
                inner.note("the child cleaned up");
            });
            pending::<()>().await
        });
        let _ = outcome.await;
        notes.note("not reached");
    });
    turns(4).await;
    outer.cancel();
    let outcome = soon(outer).await;
    assert!(outcome.unwrap_err().is_cancelled());
    journal.assert(&["the child cleaned up"]);
}

#[corio::test]
async fn a_failure_together_with_a_request_from_outside_loses_neither() {
    let outer = spawn(async move {
        let outcome = task_group(async |group| {
            group.spawn(async {
                let _ = catch_cancel(pending::<()>()).await;
                fails("on the way out")
            });
            pending::<()>().await
        });
        let error = outcome.await.unwrap_err();
        assert_eq!(error.into_single().unwrap().to_string(), "on the way out");
        assert!(corio::task::cancelling());
        yield_now().await;
        unreachable!("the request stands: it ends at the next wait");
    });
    turns(4).await;
    outer.cancel();
    assert!(soon(outer).await.unwrap_err().is_cancelled());
}

#[corio::test]
async fn groups_nest() {
    let outcome = task_group(async |outer: TaskGroup| {
        outer.spawn(async {
            let inner = task_group(async |inner| {
                inner.spawn(async { fails("deep") });
                pending::<()>().await
            });
            inner.await
        });
        pending::<()>().await
    });
    let error = soon(outcome).await.unwrap_err().into_single().unwrap();
    let inner = error.downcast_ref::<GroupError>().expect("the inner group's error");
    assert_eq!(inner.iter().next().unwrap().to_string(), "deep");
}

#[corio::test]
async fn a_dropped_group_takes_its_tasks_along() {
    let ended = Rc::new(Cell::new(0));
    let note = Rc::clone(&ended);
    let group = task_group(async |group| {
        for _ in 0..10 {
            let note = Rc::clone(&note);
            group.spawn(async move {
                let _guard = crate::OnDrop(move || note.set(note.get() + 1));
                stubborn().await
            });
        }
        pending::<()>().await
    });
    assert!(timeout(Duration::from_millis(2), group).await.is_err());
    turns(3).await;
    assert_eq!(ended.get(), 10);
}

#[corio::test]
async fn a_group_that_ends_takes_no_new_tasks() {
    let late = Rc::new(Cell::new(None));
    let slot = Rc::clone(&late);
    let outcome = task_group(async |group: TaskGroup| {
        let handle = group.clone();
        group.spawn(async move {
            let _ = catch_cancel(pending::<()>()).await;
            let refused = handle.spawn(async { drop(unreachable_now()) });
            assert!(refused.await.unwrap_err().is_cancelled());
            slot.set(Some(handle));
        });
        turns(2).await;
        fails("now")
    });
    assert_eq!(soon(outcome).await.unwrap_err().len(), 1);
    let group = late.take().unwrap();
    assert!(group.spawn(async { 1 }).await.unwrap_err().is_cancelled());
}

#[corio::test]
async fn a_task_that_failed_tells_its_handle_that_the_group_has_the_error() {
    let outcome = task_group(async |group: TaskGroup| {
        let handle = group.spawn_with(Builder::new().name("unlucky"), async { fails("so") });
        let error = catch_cancel(async { handle.await.unwrap_err() }).await;
        if let Ok(error) = error {
            assert!(error.is_failed() && !error.is_panic());
        }
    });
    let error = soon(outcome).await.unwrap_err().into_single().unwrap();
    assert_eq!(error.name(), Some("unlucky"));
    assert_eq!(error.spawned_at().unwrap().file(), file!());
}

#[corio::test]
async fn ten_thousand_tasks_of_a_group_are_forgotten_as_they_end() {
    let sum = Rc::new(Cell::new(0));
    let outcome = task_group(async |group: TaskGroup| {
        for number in 0..10_000_u64 {
            let sum = Rc::clone(&sum);
            group.spawn(async move { sum.set(sum.get() + number) });
            if number % 100 == 0 {
                yield_now().await;
            }
        }
    });
    soon(outcome).await.unwrap();
    assert_eq!(sum.get(), 49_995_000);
    let group = TaskGroup::new();
    group.spawn(async { 1 });
    assert_eq!(group.len(), 1);
    soon(group.join()).await.unwrap();
}

#[corio::test]
async fn grace_ends_a_group_that_does_not_end() {
    let outcome = task_group(async |group| {
        group.spawn(stubborn());
        turns(2).await;
        fails("now")
    });
    let error = soon(outcome.grace(Duration::from_millis(3))).await.unwrap_err();
    assert_eq!(error.len(), 1);
    turns(3).await;
    assert_eq!(corio::stats().tasks, 0);
}

fn unreachable_now() -> Box<dyn Send> {
    unreachable!("it was not to run")
}
