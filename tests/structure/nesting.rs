//! Groups in groups, in deadlines and in borders: whose failure is told by whom.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::time::Duration;

use corio::task::{Builder, GroupError, TaskGroup, cancelling};
use corio::time::{timeout_scope, wait_for};
use corio::{Runtime, Unhandled, catch_cancel, spawn, task_group, timeout, yield_now};

use crate::{Journal, soon, turns};

async fn fails_after(count: usize, text: &'static str) -> Result<(), &'static str> {
    turns(count).await;
    Err(text)
}

fn texts(error: &GroupError) -> Vec<String> {
    error.iter().map(ToString::to_string).collect()
}

#[corio::test]
async fn a_failure_of_the_outer_group_ends_the_inner_one_without_an_error_of_its_own() {
    let outcome = task_group(async |outer: TaskGroup| {
        outer.spawn(fails_after(2, "outer"));
        let inner = task_group(async |inner: TaskGroup| {
            inner.spawn(pending::<()>());
        });
        inner.await
    });
    assert_eq!(texts(&soon(outcome).await.unwrap_err()), ["outer"]);
}

#[corio::test]
async fn a_failure_of_the_inner_group_is_one_error_of_the_outer_one() {
    let outcome = task_group(async |outer: TaskGroup| {
        outer.spawn(pending::<()>());
        let inner = task_group(async |inner: TaskGroup| {
            inner.spawn(fails_after(2, "inner"));
        });
        inner.await
    });
    let error = soon(outcome).await.unwrap_err().into_single().unwrap();
    assert_eq!(texts(error.downcast_ref::<GroupError>().unwrap()), ["inner"]);
}

#[corio::test]
async fn failures_of_both_groups_are_told_when_the_inner_one_tidies_up() {
    let outcome = task_group(async |outer: TaskGroup| {
        outer.spawn(fails_after(2, "outer"));
        let inner = task_group(async |inner: TaskGroup| {
            inner.spawn(async {
                let _ = catch_cancel(pending::<()>()).await;
                fails_after(2, "on its way out").await
            });
        });
        inner.await
    });
    let error = soon(outcome).await.unwrap_err();
    assert_eq!(error.len(), 2);
    let (inner, outer) = error.split(|error| error.downcast_ref::<GroupError>().is_some());
    assert_eq!(texts(&outer.unwrap()), ["outer"]);
    let inner = inner.unwrap().into_single().unwrap();
    assert_eq!(texts(inner.downcast_ref::<GroupError>().unwrap()), ["on its way out"]);
}

#[corio::test]
async fn a_request_through_two_groups_brings_back_what_failed_on_the_way() {
    let task = spawn(async {
        let outer = task_group(async |outer: TaskGroup| {
            outer.spawn(pending::<()>());
            let inner = task_group(async |inner: TaskGroup| {
                for _ in 0..5 {
                    inner.spawn(async {
                        let _ = catch_cancel(pending::<()>()).await;
                        fails_after(0, "in the end").await
                    });
                }
                pending::<()>().await
            });
            inner.await
        });
        outer.await
    });
    turns(4).await;
    task.cancel();
    let error = soon(task).await.unwrap().unwrap_err().into_single().unwrap();
    assert_eq!(error.downcast_ref::<GroupError>().unwrap().len(), 5);
}

#[corio::test]
async fn a_task_that_fails_while_the_body_tidies_up_a_request_is_told() {
    let task = spawn(async {
        let group = task_group(async |group: TaskGroup| {
            group.spawn(fails_after(6, "meanwhile"));
            let cancelled = catch_cancel(pending::<()>()).await.unwrap_err();
            turns(9).await;
            cancelled.resume().await
        });
        group.await.map(|_| ())
    });
    turns(3).await;
    task.cancel();
    assert_eq!(texts(&soon(task).await.unwrap().unwrap_err()), ["meanwhile"]);
}

#[corio::test]
async fn an_error_of_a_body_that_was_asked_is_that_of_the_group() {
    let task = spawn(async {
        let group = task_group(async |_| {
            let _ = catch_cancel(pending::<()>()).await;
            fails_after(1, "instead").await
        });
        group.await
    });
    turns(3).await;
    task.cancel();
    assert_eq!(texts(&soon(task).await.unwrap().unwrap_err()), ["instead"]);
}

#[corio::test]
async fn a_body_and_a_task_that_fail_are_both_told() {
    let group = task_group(async |group: TaskGroup| {
        group.spawn(fails_after(2, "task"));
        let _ = catch_cancel(pending::<()>()).await;
        Err::<(), _>("body")
    });
    assert_eq!(texts(&soon(group).await.unwrap_err()), ["task", "body"]);
}

#[corio::test]
async fn the_task_around_a_failed_group_is_not_being_cancelled() {
    let task = spawn(async {
        let group = task_group(async |group: TaskGroup| {
            group.spawn(fails_after(1, "no"));
            pending::<()>().await
        });
        assert!(group.await.is_err());
        assert!(!cancelling(), "only the group was asked");
        yield_now().await;
        corio::sleep(Duration::from_micros(10)).await;
        "it goes on"
    });
    assert_eq!(soon(task).await.unwrap(), "it goes on");
}

#[corio::test]
async fn tasks_that_multiply_end_with_the_first_failure() {
    fn hydra(group: TaskGroup, count: Rc<Cell<usize>>) {
        let heads = group.clone();
        group.spawn(async move {
            count.set(count.get() + 1);
            yield_now().await;
            hydra(heads.clone(), Rc::clone(&count));
            hydra(heads, count);
        });
    }
    let count = Rc::new(Cell::new(0));
    let heads = Rc::clone(&count);
    let group = task_group(async |group: TaskGroup| {
        hydra(group.clone(), Rc::clone(&heads));
        group.spawn(async move {
            while heads.get() < 100 {
                yield_now().await;
            }
            Err::<(), _>("hercules")
        });
    });
    assert_eq!(texts(&soon(group).await.unwrap_err()), ["hercules"]);
    assert!(count.get() >= 100);
    assert_eq!(corio::stats().tasks, 0);
}

#[corio::test]
async fn a_deadline_of_a_group_is_told_by_the_deadline_and_its_errors_by_the_group() {
    let group = || {
        task_group(async |group: TaskGroup| {
            // At once, so that it has begun whenever the deadline passes.
            group.spawn_with(Builder::new().eager(true), async {
                let _ = catch_cancel(pending::<()>()).await;
                Err::<(), _>("asked by the deadline")
            });
        })
    };
    let outcome = soon(wait_for(Duration::from_millis(1), group())).await;
    assert_eq!(texts(&outcome.unwrap().unwrap_err()), ["asked by the deadline"]);
    assert!(soon(timeout(Duration::from_millis(1), group())).await.is_err(), "it was dropped");
    let block = timeout_scope(Duration::from_millis(1), async |_| group().await.is_err());
    assert!(soon(block).await.is_err());
}

#[corio::test]
async fn a_deadline_in_a_task_of_a_group_is_no_failure_of_it() {
    let group = task_group(async |group: TaskGroup| {
        group.spawn(async {
            assert!(wait_for(Duration::from_millis(1), pending::<()>()).await.is_err());
            1
        });
        "value"
    });
    assert_eq!(soon(group).await.unwrap(), "value");
}

#[corio::test]
async fn cancelling_a_group_twice_or_after_its_end_changes_nothing() {
    let journal = Journal::default();
    let notes = journal.clone();
    let group = TaskGroup::new();
    group.spawn(async move {
        for round in ["first", "never"] {
            let _ = catch_cancel(pending::<()>()).await;
            notes.note(round);
            if notes.0.borrow().len() == 1 {
                turns(3).await;
                break;
            }
        }
    });
    let waiting = spawn(group.clone().join());
    turns(3).await;
    group.cancel();
    group.cancel();
    assert!(soon(waiting).await.unwrap().is_ok());
    group.cancel();
    journal.assert(&["first"]);
    assert!(group.is_empty());
}

#[corio::test]
async fn a_group_that_is_cancelled_before_it_is_awaited_starts_nothing() {
    let begun = Rc::new(Cell::new(false));
    let note = Rc::clone(&begun);
    let group = TaskGroup::new();
    let child = group.spawn(async move { note.set(true) });
    group.cancel();
    soon(group.join()).await.unwrap();
    assert!(child.await.unwrap_err().is_cancelled() && !begun.get());
}

#[corio::test]
async fn tasks_of_a_group_have_names_and_may_begin_at_once() {
    let group = task_group(async |group: TaskGroup| {
        let (name, begun) = (Rc::new(RefCell::new(None)), Rc::new(Cell::new(false)));
        let (slot, note) = (Rc::clone(&name), Rc::clone(&begun));
        group.spawn_with(Builder::new().name("eager").eager(true), async move {
            note.set(true);
            slot.replace(corio::task::current().unwrap().name());
        });
        assert!(begun.get(), "inside of its spawn");
        assert_eq!(name.borrow().as_deref(), Some("eager"));
    });
    soon(group).await.unwrap();
}

#[corio::test]
async fn an_eager_task_that_fails_inside_of_its_spawn_ends_the_group() {
    let group = task_group(async |group: TaskGroup| {
        let failed = group.spawn_with(Builder::new().eager(true), fails_after(0, "at once"));
        assert!(failed.is_finished());
        pending::<()>().await
    });
    assert_eq!(texts(&soon(group).await.unwrap_err()), ["at once"]);
}

#[corio::test]
fn a_panic_in_a_group_that_nobody_awaits_any_more_is_told() {
    let told = Rc::new(RefCell::new(Vec::new()));
    let notes = Rc::clone(&told);
    let hook = move |event: &Unhandled| notes.borrow_mut().push(event.to_string());
    let runtime = Runtime::builder().on_unhandled(hook).build().unwrap();
    runtime.block_on(async {
        let group = TaskGroup::new();
        group.spawn(async { resume_unwind(Box::new("never joined")) as () });
        drop(group);
        let dropped = task_group(async |group: TaskGroup| {
            group.spawn(async { resume_unwind(Box::new("dropped before it was told")) as () });
            let _ = catch_cancel(pending::<()>()).await;
            pending::<()>().await
        });
        let dropped = spawn(dropped);
        turns(6).await;
        assert!(dropped.abort());
        assert!(soon(dropped).await.unwrap_err().is_cancelled());
        let awaited = task_group(async |group: TaskGroup| {
            group.spawn(async { resume_unwind(Box::new("awaited")) as () });
        });
        assert!(soon(awaited).await.unwrap_err().into_single().unwrap().is_panic());
        turns(2).await;
    });
    let told = told.take();
    let is_told = |text: &str| told.iter().filter(|it| it.ends_with(text)).count();
    assert_eq!((told.len(), is_told("never joined"), is_told("was told")), (2, 1, 1), "{told:?}");
}
