//! What asyncio's users rely on: behaviour that its own tests hold fast, read in Rust.

use std::cell::Cell;
use std::future::{pending, ready};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use corio::task::{self, Builder, TaskGroup, cancelling, gather_settled};
use corio::time::{Instant, timeout_at, timeout_scope, wait_for, wait_until};
use corio::{catch_cancel, gather, shield, sleep, spawn, task_group, timeout, yield_now};

use crate::{PATIENCE, dropping, soon, turns};

#[corio::test]
async fn a_task_that_has_ended_is_not_cancelled_any_more() {
    let task = spawn(ready(1));
    turns(2).await;
    assert!(!task.cancel() && !task.cancel_with("late") && !task.abort());
    assert_eq!(soon(task).await.unwrap(), 1);
    let task = spawn(pending::<()>());
    assert!(task.cancel());
    turns(2).await;
    assert!(!task.cancel(), "it was cancelled already");
    assert!(soon(task).await.unwrap_err().is_cancelled());
}

#[corio::test]
async fn a_task_that_is_cancelled_before_its_first_step_takes_none() {
    let begun = Rc::new(Cell::new(false));
    let dropped = Rc::new(Cell::new(false));
    let (note, guard) = (Rc::clone(&begun), dropping(&dropped));
    let task = spawn(async move {
        let _guard = guard;
        note.set(true);
        catch_cancel(pending::<()>()).await.is_err()
    });
    assert!(task.cancel());
    assert!(soon(task).await.unwrap_err().is_cancelled());
    assert!(!begun.get() && dropped.get());
}

#[corio::test]
async fn the_reason_of_the_first_of_two_requests_is_told() {
    let task = spawn(async { catch_cancel(pending::<()>()).await.unwrap_err().to_string() });
    yield_now().await;
    assert!(task.cancel_with("first") && task.cancel_with("second"));
    assert_eq!(soon(task).await.unwrap(), "cancelled: first");
}

#[corio::test]
async fn a_task_that_answered_can_be_asked_again() {
    let task = spawn(async {
        for _ in 0..3 {
            assert!(catch_cancel(pending::<()>()).await.is_err());
            assert!(!cancelling());
        }
    });
    for _ in 0..3 {
        turns(3).await;
        assert!(task.cancel());
    }
    soon(task).await.unwrap();
}

#[corio::test]
async fn a_panic_or_an_error_while_cleaning_up_is_the_outcome() {
    let task = spawn(async {
        let _ = catch_cancel(pending::<()>()).await;
        Err::<(), _>(io::Error::other("while cleaning up"))
    });
    yield_now().await;
    task.cancel();
    assert_eq!(soon(task).await.unwrap().unwrap_err().to_string(), "while cleaning up");
    let task = spawn(async { panic!("{:?}", catch_cancel(pending::<()>()).await) });
    yield_now().await;
    task.cancel();
    let error: corio::JoinError = soon(task).await.unwrap_err();
    assert!(error.is_panic() && !error.is_cancelled());
}

#[corio::test]
async fn a_chain_of_waiting_tasks_ends_from_its_innermost_on() {
    let order = crate::Journal::default();
    let notes = order.clone();
    let outer = spawn(async move {
        let (middle_notes, notes) = (notes.clone(), notes);
        let middle = spawn(async move {
            let inner_notes = middle_notes.clone();
            let _guard = crate::OnDrop(move || middle_notes.note("middle"));
            let inner = spawn(async move {
                let _guard = crate::OnDrop(move || inner_notes.note("inner"));
                pending::<()>().await;
            });
            drop(inner.await);
        });
        let _guard = crate::OnDrop(move || notes.note("outer"));
        drop(middle.await);
    });
    turns(5).await;
    outer.cancel();
    assert!(soon(outer).await.unwrap_err().is_cancelled());
    order.assert(&["inner", "middle", "outer"]);
}

#[corio::test]
async fn two_tasks_that_await_each_other_are_ended_by_an_abort() {
    let slot = Rc::new(Cell::new(None));
    let taken = Rc::clone(&slot);
    let one = spawn(async move {
        yield_now().await;
        let other: corio::JoinHandle<()> = taken.take().unwrap();
        drop(other.await);
    });
    let first = one.task();
    let two = spawn(async move { drop(one.await) });
    let second = two.task();
    slot.set(Some(two));
    turns(4).await;
    first.cancel();
    turns(4).await;
    assert!(second.abort());
    turns(6).await;
    assert!(first.is_finished() && second.is_finished());
}

#[corio::test]
async fn a_deadline_in_the_past_lets_a_value_that_is_there_through() {
    let past = Instant::now();
    turns(3).await;
    assert_eq!(soon(timeout_at(past, ready(1))).await.unwrap(), 1);
    assert_eq!(soon(wait_until(past, ready(2))).await.unwrap(), 2);
    assert!(soon(timeout_at(past, pending::<()>())).await.is_err());
    assert!(soon(wait_until(past, pending::<()>())).await.is_err());
}

#[corio::test]
async fn of_two_nested_deadlines_the_earlier_one_is_told() {
    let inner = async { wait_for(Duration::from_millis(1), pending::<()>()).await.is_err() };
    assert!(soon(wait_for(PATIENCE, inner)).await.unwrap(), "the inner one");
    let inner = wait_for(PATIENCE, pending::<()>());
    assert!(soon(wait_for(Duration::from_millis(1), inner)).await.is_err(), "the outer one");
    let inner = timeout(PATIENCE, pending::<()>());
    assert!(soon(timeout(Duration::from_millis(1), inner)).await.is_err(), "the outer one");
}

#[corio::test]
async fn an_error_of_the_work_passes_a_deadline_by() {
    let failing = async { Err::<(), _>("no") };
    assert_eq!(soon(wait_for(PATIENCE, failing)).await.unwrap(), Err("no"));
    let outcome = timeout_scope(PATIENCE, async |scope| {
        assert!(!scope.is_expired());
        Err::<(), _>("no")
    });
    assert_eq!(soon(outcome).await.unwrap(), Err("no"));
}

#[corio::test]
async fn a_deadline_around_a_shield_leaves_the_work_running() {
    let done = Rc::new(Cell::new(false));
    let note = Rc::clone(&done);
    let work = shield(async move {
        sleep(Duration::from_millis(5)).await;
        note.set(true);
    });
    assert!(soon(wait_for(Duration::from_millis(1), work)).await.is_err());
    assert!(!done.get());
    while !done.get() {
        soon(yield_now()).await;
    }
}

#[corio::test]
async fn a_group_without_tasks_gives_its_value() {
    assert_eq!(soon(task_group(async |_| 5)).await.unwrap(), 5);
    soon(TaskGroup::new().join()).await.unwrap();
}

#[corio::test]
async fn a_task_of_a_group_may_spawn_into_it() {
    let count = Rc::new(Cell::new(0));
    let note = Rc::clone(&count);
    let outcome = task_group(async |group: TaskGroup| {
        let inside = group.clone();
        group.spawn(async move {
            yield_now().await;
            inside.spawn(async move { note.set(note.get() + 1) });
        });
    });
    soon(outcome).await.unwrap();
    assert_eq!(count.get(), 1, "the group waited for what came late");
}

#[corio::test]
async fn a_group_inside_a_deadline_ends_with_it() {
    let ended = Rc::new(Cell::new(false));
    let guard = dropping(&ended);
    let group = task_group(async |group| {
        group.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        pending::<()>().await;
    });
    assert!(soon(wait_for(Duration::from_millis(2), group)).await.is_err());
    assert!(ended.get(), "and no task of it is left");
    assert!(task::all().is_empty());
}

#[corio::test]
async fn a_cancellation_of_one_gathered_task_is_its_own_outcome() {
    let waiter = spawn(async {
        let all = [Builder::new().name("victim").spawn(pending::<Result<(), ()>>())];
        let all = all.map(|task| async move { task.await.unwrap_or(Err(())) });
        gather(all).await
    });
    turns(4).await;
    let victim = task::all().into_iter().find(|task| task.name().as_deref() == Some("victim"));
    assert!(victim.unwrap().cancel());
    assert_eq!(soon(waiter).await.unwrap(), Err(()), "its error is a value like any");
    let outcomes = gather_settled([async {
        task::current().unwrap().cancel();
        yield_now().await;
    }]);
    assert!(soon(outcomes).await[0].as_ref().unwrap_err().is_cancelled());
}
