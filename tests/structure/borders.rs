//! `catch_cancel`: which border takes a request, and that no request is lost or taken by strangers.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use corio::task::{self, cancelling};
use corio::time::wait_for;
use corio::{JoinHandle, catch_cancel, join, shield, sleep, spawn, timeout, yield_now};
use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered};

use crate::{Journal, PATIENCE, dropping, soon, turns};

#[corio::test]
async fn a_border_lets_its_task_clean_up_with_awaits() {
    let journal = Journal::default();
    let notes = journal.clone();
    let task = spawn(async move {
        let outcome = catch_cancel(pending::<()>()).await;
        notes.note(format!("{:?}", outcome.unwrap_err().reason()));
        sleep(Duration::from_millis(1)).await;
        notes.note("cleaned up");
        7
    });
    yield_now().await;
    assert!(task.cancel_with("enough"));
    assert_eq!(soon(task).await.unwrap(), 7, "the task ran on behind its border");
    journal.assert(&["Some(\"enough\")", "cleaned up"]);
}

#[corio::test]
async fn the_innermost_border_takes_it_and_the_outer_one_stays() {
    let journal = Journal::default();
    let notes = journal.clone();
    let task = spawn(async move {
        let outer = catch_cancel(async {
            let inner = catch_cancel(pending::<()>()).await;
            notes.note(format!("inner {}", inner.is_err()));
            sleep(Duration::from_millis(1)).await;
            "went on"
        });
        notes.note(format!("outer {:?}", outer.await.ok()));
    });
    yield_now().await;
    task.cancel();
    soon(task).await.unwrap();
    journal.assert(&["inner true", "outer Some(\"went on\")"]);
}

#[corio::test]
async fn resuming_hands_it_to_the_next_border_and_then_ends_the_task() {
    let journal = Journal::default();
    let notes = journal.clone();
    let task = spawn(async move {
        let outer = catch_cancel(async {
            let cancelled = catch_cancel(pending::<()>()).await.unwrap_err();
            notes.note("inner");
            cancelled.resume().await;
        });
        let cancelled = outer.await.unwrap_err();
        notes.note(format!("outer {:?}", cancelled.reason()));
        cancelled.resume().await;
        unreachable!("a resumed cancellation does not return");
    });
    yield_now().await;
    task.cancel_with("why");
    let error = soon(task).await.unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(error.reason(), Some("why"));
    journal.assert(&["inner", "outer Some(\"why\")"]);
}

#[corio::test]
async fn a_value_that_comes_meanwhile_wins_and_does_not_swallow_the_request() {
    for has_next_border in [true, false] {
        let task = spawn(async move {
            assert_eq!(catch_cancel(yield_now()).await.ok(), Some(()), "it was ready");
            assert!(cancelling());
            match has_next_border {
                true => catch_cancel(pending::<()>()).await.is_err(),
                false => {
                    yield_now().await;
                    unreachable!("the request still stands")
                }
            }
        });
        yield_now().await;
        task.cancel();
        let outcome = soon(task).await;
        match has_next_border {
            true => assert!(outcome.unwrap(), "the next border took it"),
            false => assert!(outcome.unwrap_err().is_cancelled()),
        }
    }
}

#[corio::test]
async fn a_loop_of_borders_hears_every_request() {
    let task = spawn(async {
        let mut rounds = 0;
        while catch_cancel(yield_now()).await.is_ok() {
            rounds += 1;
        }
        rounds
    });
    turns(10).await;
    task.cancel();
    assert!(soon(task).await.unwrap() > 5);
}

#[corio::test]
async fn every_leaf_is_told_and_each_answers_once() {
    let task = spawn(async {
        let one = catch_cancel(pending::<()>());
        let two = catch_cancel(sleep(Duration::from_secs(60)));
        let (one, two) = join!(one, two);
        assert!(one.is_err() && two.is_err());
        assert!(!cancelling(), "it was answered for");
        sleep(Duration::from_millis(1)).await;
        "on"
    });
    yield_now().await;
    task.cancel();
    assert_eq!(soon(task).await.unwrap(), "on");
}

#[corio::test]
async fn borders_in_sets_of_futures_are_all_told() {
    let task = spawn(async {
        let mut set = FuturesUnordered::new();
        for _ in 0..100 {
            set.push(catch_cancel(pending::<()>()));
        }
        let mut told = 0;
        while let Some(outcome) = set.next().await {
            told += usize::from(outcome.is_err());
        }
        told
    });
    yield_now().await;
    task.cancel();
    assert_eq!(soon(task).await.unwrap(), 100);

    let task = spawn(async {
        let waits = stream::iter(0..50).map(|_| catch_cancel(pending::<()>()));
        waits.buffer_unordered(20).filter(|it| std::future::ready(it.is_err())).count().await
    });
    yield_now().await;
    task.cancel();
    turns(5).await;
    assert!(task.cancel(), "those that were opened after it have not heard of it");
    turns(5).await;
    task.cancel();
    assert_eq!(soon(task).await.unwrap(), 50);
}

#[corio::test]
async fn a_branch_outside_every_border_is_left_alone() {
    let task = spawn(async {
        let outside = async {
            sleep(Duration::from_millis(5)).await;
            1
        };
        let inside = catch_cancel(pending::<()>());
        join!(outside, inside)
    });
    yield_now().await;
    task.cancel();
    let (outside, inside) = soon(task).await.unwrap();
    assert_eq!(outside, 1);
    assert!(inside.is_err());
}

#[corio::test]
async fn a_border_that_was_told_and_dropped_swallows_nothing() {
    let task = spawn(async {
        let told = catch_cancel(pending::<()>());
        assert!(timeout(Duration::from_millis(5), told).await.is_err());
        catch_cancel(pending::<()>()).await.is_err()
    });
    yield_now().await;
    // Dropped by the timeout in the same turn, before it was polled again.
    let alarm = spawn(async move {
        sleep(Duration::from_millis(5)).await;
        task.cancel();
        task
    });
    assert!(soon(soon(alarm).await.unwrap()).await.unwrap_or(true));
}

#[corio::test]
async fn a_leaked_border_never_answers_and_an_abort_ends_its_task() {
    let dropped = Rc::new(Cell::new(false));
    let guard = dropping(&dropped);
    let task = spawn(async move {
        let _guard = guard;
        let mut leaked = Box::pin(catch_cancel(pending::<()>()));
        assert!(futures_util::poll!(&mut leaked).is_pending());
        std::mem::forget(leaked);
        pending::<()>().await;
    });
    yield_now().await;
    task.cancel();
    turns(10).await;
    assert!(!task.is_finished() && !dropped.get());
    assert!(task.abort());
    assert!(soon(task).await.unwrap_err().is_cancelled());
    assert!(dropped.get());
}

#[corio::test]
async fn a_deadline_inside_is_no_stranger_to_itself_only() {
    // The wait's own deadline ends the wait, the task's request the task's border.
    let task = spawn(async {
        catch_cancel(async {
            let inner = wait_for(Duration::from_millis(1), pending::<()>()).await;
            assert!(inner.is_err(), "its own deadline");
            wait_for(Duration::from_secs(60), pending::<()>()).await
        })
        .await
        .is_err()
    });
    sleep(Duration::from_millis(5)).await;
    task.cancel();
    assert!(soon(task).await.unwrap(), "the outer request went through the inner wait");
}

#[corio::test]
async fn a_border_inside_a_deadline_cleans_up_before_the_deadline_is_told() {
    let journal = Journal::default();
    let notes = journal.clone();
    let work = async move {
        let cancelled = catch_cancel(pending::<()>()).await.unwrap_err();
        notes.note("asked");
        sleep(Duration::from_millis(1)).await;
        notes.note("cleaned up");
        cancelled.resume().await;
    };
    assert!(wait_for(Duration::from_millis(1), work).await.is_err());
    journal.assert(&["asked", "cleaned up"]);

    let stubborn = async { catch_cancel(pending::<()>()).await.is_err() };
    let value = wait_for(Duration::from_millis(1), stubborn).await;
    assert!(value.unwrap(), "whoever answers for a deadline gives its value");
}

#[corio::test]
async fn a_task_may_cancel_itself() {
    let task = spawn(async {
        let me = task::current().unwrap();
        assert!(me.cancel_with("by itself"));
        assert!(cancelling());
        let reason = catch_cancel(yield_now()).await.unwrap_err();
        assert_eq!(reason.reason(), Some("by itself"));
        me.cancel();
        yield_now().await;
        unreachable!("it ends at its next wait");
    });
    assert!(soon(task).await.unwrap_err().is_cancelled());
}

#[corio::test]
async fn a_request_goes_on_to_the_tasks_that_are_awaited() {
    let dropped = Rc::new(Cell::new(false));
    let guard = dropping(&dropped);
    let outer = spawn(async move {
        let inner = spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        inner.await
    });
    turns(3).await;
    outer.cancel();
    assert!(soon(outer).await.unwrap_err().is_cancelled());
    assert!(dropped.get(), "the task that was awaited was ended, and waited for");
}

#[corio::test]
async fn an_awaited_task_is_waited_for_while_it_cleans_up() {
    let journal = Journal::default();
    let notes = journal.clone();
    let outer = spawn(async move {
        let inner = spawn(async move {
            let _ = catch_cancel(pending::<()>()).await;
            sleep(Duration::from_millis(2)).await;
            notes.note("inner is done");
            5
        });
        inner.await.unwrap()
    });
    turns(3).await;
    outer.cancel();
    assert_eq!(soon(outer).await.unwrap(), 5, "it gave a value all the same");
    journal.assert(&["inner is done"]);
}

#[corio::test]
async fn a_shielded_task_goes_on_without_its_waiter() {
    let journal = Journal::default();
    let notes = journal.clone();
    let outer: JoinHandle<()> = spawn(async move {
        let shielded = shield(async move {
            sleep(Duration::from_millis(2)).await;
            notes.note("saved");
        });
        shielded.await.unwrap();
        unreachable!("the waiter was cancelled");
    });
    yield_now().await;
    outer.cancel();
    assert!(soon(outer).await.unwrap_err().is_cancelled());
    journal.assert(&[]);
    sleep(Duration::from_millis(20)).await;
    journal.assert(&["saved"]);
}

#[corio::test]
async fn a_task_that_awaits_itself_is_refused() {
    let slot = Rc::new(Cell::new(None::<JoinHandle<()>>));
    let own = Rc::clone(&slot);
    let task = spawn(async move { own.take().unwrap().await.unwrap() });
    slot.set(Some(task));
    let panicked = Rc::new(Cell::new(false));
    turns(3).await;
    panicked.set(slot.take().is_none());
    assert!(panicked.get());
    assert!(timeout(PATIENCE, async { task::all().len() }).await.unwrap() <= 1);
}

#[corio::test]
async fn grace_ends_what_does_not_end_by_itself() {
    let stubborn = spawn(async {
        loop {
            let _ = catch_cancel(pending::<()>()).await;
        }
    });
    yield_now().await;
    let outcome: Result<(), _> = soon(stubborn.grace(Duration::from_millis(3))).await;
    assert!(outcome.unwrap_err().is_cancelled());
    let willing = spawn(async { catch_cancel(pending::<()>()).await.is_err() });
    yield_now().await;
    assert!(soon(willing.grace(PATIENCE)).await.unwrap(), "in its own time");
}

#[corio::test]
async fn a_wait_moves_with_its_future_from_task_to_task() {
    let mut moved = Box::pin(wait_for(PATIENCE, catch_cancel(pending::<()>())));
    let first = spawn(async move {
        assert!(futures_util::poll!(&mut moved).is_pending());
        moved
    });
    let moved = soon(first).await.unwrap();
    let second = spawn(async move { moved.await.unwrap().is_err() });
    yield_now().await;
    second.cancel();
    assert!(soon(second).await.unwrap(), "its border answers where it is polled now");
}
