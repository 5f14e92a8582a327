//! `task::scope`: children that borrow end with what they borrow, and fail together.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::time::Duration;

use corio::task::{TaskScope, scope};
use corio::{catch_cancel, sleep, spawn, timeout};

use crate::{OnDrop, soon, turns};

#[corio::test]
async fn children_use_what_lives_around_them() {
    let words = RefCell::new(Vec::new());
    let outcome = scope(async |scope| {
        for number in [3, 1, 2] {
            let words = &words;
            scope.spawn(async move {
                sleep(Duration::from_millis(3 * number)).await;
                words.borrow_mut().push(number);
            });
        }
        "value"
    });
    assert_eq!(soon(outcome).await.unwrap(), "value");
    assert_eq!(words.into_inner(), [1, 2, 3]);
}

#[corio::test]
async fn the_first_failure_ends_siblings_and_body_and_all_errors_are_kept() {
    let (dropped, cleaned_up) = (&Cell::new(0), &Cell::new(false));
    let outcome = scope(async |scope| {
        let _guard = OnDrop(|| dropped.set(dropped.get() + 1));
        scope.spawn(async {
            let _guard = OnDrop(|| dropped.set(dropped.get() + 1));
            pending::<()>().await;
        });
        scope.spawn(async {
            let _ = catch_cancel(pending::<()>()).await;
            turns(3).await;
            cleaned_up.set(true);
            Err::<(), _>("while cleaning up")
        });
        scope.spawn(async {
            turns(2).await;
            assert!(dropped.get() > 0, "first");
        });
        pending::<()>().await;
    });
    let error = soon(outcome).await.unwrap_err();
    let texts: Vec<_> = error.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["panicked: first", "while cleaning up"]);
    assert_eq!((dropped.get(), cleaned_up.get()), (2, true));
}

#[corio::test]
async fn a_child_may_spawn_and_cancel_its_scope() {
    let count = &Cell::new(0);
    let outcome = scope(async |scope: TaskScope<'_>| {
        let inside = scope.clone();
        scope.spawn(async move {
            inside.spawn(async { count.set(count.get() + 1) });
            turns(3).await;
            inside.cancel();
            inside.spawn(async { count.set(count.get() + 100) });
        });
        pending::<()>().await;
    });
    assert!(soon(outcome).await.unwrap_err().is_cancelled());
    assert_eq!(count.get(), 1);
}

#[corio::test]
async fn a_request_from_outside_reaches_the_borders_of_children_and_a_drop_drops_them() {
    let task = spawn(async {
        let told = &Cell::new(0);
        let outcome = scope(async |scope| {
            for _ in 0..3 {
                scope.spawn(async {
                    let is_told = catch_cancel(pending::<()>()).await.is_err();
                    told.set(told.get() + usize::from(is_told));
                });
            }
        });
        outcome.await.unwrap();
        told.get()
    });
    turns(3).await;
    task.cancel();
    assert_eq!(soon(task).await.unwrap(), 3);

    let dropped = &Cell::new(0);
    let outcome = scope(async |scope: TaskScope<'_>| {
        for _ in 0..3 {
            let inside = scope.clone();
            scope.spawn(async move {
                let (_inside, _guard) = (inside, OnDrop(|| dropped.set(dropped.get() + 1)));
                pending::<()>().await;
            });
        }
    });
    assert!(timeout(Duration::from_millis(2), outcome).await.is_err());
    assert_eq!(dropped.get(), 3);
}
