//! What asyncio's users rely on: behaviour that its own tests hold fast, read in Rust.

use std::cell::Cell;
use std::future::{pending, ready};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use corio::task::{self, Builder, TaskGroup, When, as_completed, cancelling, gather_settled, wait};
use corio::time::{Instant, timeout_at, timeout_scope, wait_for, wait_until};
use corio::{catch_cancel, gather, shield, sleep, spawn, task_group, timeout, yield_now};
use futures_util::StreamExt;

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
    let (open, is_open) = corio::sync::oneshot::<()>();
    let work = shield(async move {
        is_open.await.unwrap();
        note.set(true);
    });
    assert!(soon(wait_for(Duration::from_millis(1), work)).await.is_err());
    assert!(!done.get());
    open.send(()).unwrap();
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

/// Ends after so many milliseconds, with their number.
async fn after(ms: u64) -> u64 {
    sleep(Duration::from_millis(ms)).await;
    ms
}

/// Notes that it was asked to end, and takes a moment for it.
async fn tidying(notes: crate::Journal, name: &'static str) {
    if catch_cancel(pending::<()>()).await.is_err() {
        turns(2).await;
        notes.note(name);
    }
}

#[corio::test]
async fn gathered_settled_of_nothing_is_nothing() {
    let none: [std::future::Ready<()>; 0] = [];
    assert!(soon(gather_settled(none)).await.is_empty());
}

#[corio::test]
async fn gathered_tasks_start_without_being_awaited_and_in_their_order() {
    let notes = crate::Journal::default();
    let all = gather(["first", "second", "third"].map(|name| {
        let notes = notes.clone();
        async move {
            notes.note(name);
            Ok::<_, ()>(name)
        }
    }));
    notes.assert(&[]);
    turns(2).await;
    notes.assert(&["first", "second", "third"]);
    assert_eq!(soon(all).await.unwrap(), ["first", "second", "third"]);
}

#[corio::test]
async fn settled_errors_are_values_and_end_nobody() {
    let ended = Rc::new(Cell::new(0));
    let outcomes = gather_settled((0..3).map(|number| {
        let ended = Rc::clone(&ended);
        async move {
            after(number).await;
            ended.set(ended.get() + 1);
            if number == 0 { Err("zero") } else { Ok(number) }
        }
    }));
    let values: Vec<_> = soon(outcomes).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(values, [Err("zero"), Ok(1), Ok(2)]);
    assert_eq!(ended.get(), 3, "all were waited for");
}

#[corio::test]
async fn gathers_nest() {
    let inner = || gather([ready(Ok::<_, ()>(1)), ready(Ok(2))]);
    assert_eq!(soon(gather([inner(), inner()])).await.unwrap(), [[1, 2], [1, 2]]);
    let inner = gather([ready(Ok(1)), ready(Err("inner"))]);
    assert_eq!(soon(gather([inner])).await.unwrap_err(), "inner");
}

#[corio::test]
async fn a_handle_that_was_cancelled_is_an_error_of_its_gather() {
    let (one, two) = (spawn(after(1)), spawn(pending::<u64>()));
    two.cancel();
    assert!(soon(gather([one, two])).await.unwrap_err().is_cancelled());
}

#[corio::test]
async fn of_two_failures_the_first_in_time_is_told() {
    let fails = [6, 1].map(|ms| async move { Err::<(), _>(after(ms).await) });
    assert_eq!(soon(gather(fails)).await, Err(1));
}

#[corio::test]
async fn cancelling_a_gather_that_is_over_changes_nothing() {
    let waiter = spawn(async { gather([ready(Ok::<_, ()>(1))]).await });
    while !waiter.is_finished() {
        soon(yield_now()).await;
    }
    assert!(!waiter.cancel());
    assert_eq!(soon(waiter).await.unwrap().unwrap(), [1]);
}

#[corio::test]
async fn waiting_for_what_has_ended_is_over_at_once_in_every_mode() {
    for when in [When::FirstCompleted, When::FirstException, When::AllCompleted] {
        let mut tasks = vec![spawn(ready(1)), spawn(ready(2))];
        turns(2).await;
        let done = timeout(Duration::ZERO, wait(&mut tasks, when)).await.unwrap();
        assert_eq!((done.len(), tasks.len()), (2, 0), "{when:?}");
        let mut none: Vec<corio::JoinHandle<()>> = Vec::new();
        assert!(timeout(Duration::ZERO, wait(&mut none, when)).await.unwrap().is_empty());
    }
}

#[corio::test]
async fn the_first_completion_may_be_a_cancellation() {
    let mut tasks = vec![spawn(pending::<()>()), spawn(pending::<()>())];
    tasks[1].cancel();
    let done = soon(wait(&mut tasks, When::FirstCompleted)).await;
    assert_eq!((done.len(), tasks.len()), (1, 1));
    for task in done {
        assert!(soon(task).await.unwrap_err().is_cancelled());
    }
    assert!(!tasks[0].is_finished());
}

#[corio::test]
async fn a_failure_that_was_there_before_ends_a_wait_for_the_first_exception() {
    let mut tasks = vec![spawn(ready(Err("no"))), spawn(pending::<Result<(), &str>>())];
    turns(2).await;
    let done = wait(&mut tasks, When::FirstException);
    let done = timeout(Duration::ZERO, done).await.unwrap();
    assert_eq!((done.len(), tasks.len()), (1, 1));
}

#[corio::test]
async fn a_wait_for_all_goes_on_after_an_error() {
    let fails = |ms| {
        spawn(async move {
            after(ms).await;
            Err::<(), _>("no")
        })
    };
    let mut tasks = vec![fails(0), fails(4)];
    let done = soon(wait(&mut tasks, When::AllCompleted)).await;
    assert_eq!((done.len(), tasks.len()), (2, 0));
}

#[corio::test]
async fn a_wait_with_no_time_parts_them_as_they_are() {
    let mut tasks = vec![spawn(ready(())), spawn(pending())];
    turns(2).await;
    let done = soon(wait(&mut tasks, When::AllCompleted).timeout(Duration::ZERO)).await;
    assert_eq!((done.len(), tasks.len()), (1, 1));
    assert!(!tasks[0].is_finished(), "and nobody was asked to end");
}

#[corio::test]
async fn cancelling_a_waiter_leaves_what_it_waits_for_alone() {
    let work = spawn(after(5));
    let known = work.task();
    let waiter = spawn(async move {
        let mut tasks = vec![work];
        let cut_short = catch_cancel(wait(&mut tasks, When::AllCompleted)).await.is_err();
        (cut_short, tasks.pop().unwrap().await.unwrap())
    });
    turns(3).await;
    assert!(waiter.cancel());
    assert!(!known.is_finished());
    assert_eq!(soon(waiter).await.unwrap(), (true, 5));
}

#[corio::test]
async fn completions_of_nothing_end_at_once() {
    let none: [std::future::Ready<()>; 0] = [];
    assert_eq!(soon(as_completed(none.clone()).next()).await, None);
    let mut values = as_completed(none).timeout(Duration::ZERO);
    assert!(soon(values.next()).await.is_none(), "no time is no error if nothing is left");
}

#[corio::test]
async fn completions_of_one_turn_come_in_the_order_they_ended() {
    let values = as_completed((0..5).map(|number| async move { number }));
    let values: Vec<_> = soon(values.collect()).await;
    assert_eq!(values, [0, 1, 2, 3, 4]);
}

#[corio::test]
async fn an_error_among_completions_is_a_value_and_the_rest_follow() {
    let values = as_completed([ready(Err("no")), ready(Ok(1))]);
    let values: Vec<_> = soon(values.collect()).await;
    assert_eq!(values, [Err("no"), Ok(1)]);
}

#[corio::test]
async fn completions_of_handles_tell_who_was_cancelled() {
    let (one, two) = (spawn(pending::<u8>()), spawn(ready(2)));
    one.cancel();
    let outcomes: Vec<_> = soon(as_completed([one, two]).collect()).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1);
}

#[corio::test]
async fn a_deadline_of_nothing_takes_what_is_there_and_ends_the_rest() {
    let handle = spawn(ready(3));
    turns(2).await;
    assert_eq!(wait_for(Duration::ZERO, handle).await.unwrap().unwrap(), 3);
    let handle = spawn(pending::<()>());
    let known = handle.task();
    assert!(soon(wait_for(Duration::ZERO, handle)).await.is_err());
    assert!(known.is_finished(), "what it waited for was cancelled");
}

#[corio::test]
async fn a_deadline_for_ever_is_none() {
    assert_eq!(soon(wait_for(Duration::MAX, after(2))).await.unwrap(), 2);
    assert_eq!(soon(timeout(Duration::MAX, after(2))).await.unwrap(), 2);
}

#[corio::test]
async fn a_deadline_waits_until_what_it_ended_has_tidied_up() {
    let notes = crate::Journal::default();
    let work = spawn(tidying(notes.clone(), "tidied"));
    turns(2).await;
    let outcome = soon(wait_for(Duration::from_millis(2), work)).await;
    notes.assert(&["tidied"]);
    assert!(outcome.is_ok(), "it took the request, and its value wins");
}

#[corio::test]
async fn a_value_given_on_request_wins_over_the_deadline() {
    let work = async { catch_cancel(pending::<()>()).await.map_or(42, |()| 0) };
    assert_eq!(soon(wait_for(Duration::from_millis(1), work)).await.unwrap(), 42);
}

#[corio::test]
async fn an_error_while_tidying_up_wins_over_the_deadline() {
    let work = async {
        let _ = catch_cancel(pending::<()>()).await;
        Err::<(), _>("while tidying")
    };
    assert_eq!(soon(wait_for(Duration::from_millis(1), work)).await, Ok(Err("while tidying")));
}

#[corio::test]
async fn a_cancelled_wait_with_a_deadline_ends_its_work_and_is_no_timeout() {
    let notes = crate::Journal::default();
    let inside = notes.clone();
    let waiter = spawn(async move {
        let work = spawn(tidying(inside.clone(), "work"));
        let outcome = wait_for(PATIENCE, work).await;
        inside.note(if outcome.is_ok() { "a value" } else { "a timeout" });
    });
    turns(4).await;
    waiter.cancel();
    let outcome = soon(waiter).await;
    assert!(outcome.is_ok(), "the border inside took the request: {outcome:?}");
    notes.assert(&["work", "a value"]);
}

#[corio::test]
async fn work_cancelled_from_aside_is_no_timeout() {
    let work = spawn(pending::<()>());
    let known = work.task();
    let waiter = spawn(wait_for(PATIENCE, work));
    turns(3).await;
    known.cancel();
    let outcome = soon(waiter).await.unwrap();
    assert!(outcome.expect("not by the deadline").unwrap_err().is_cancelled());
}

#[corio::test]
async fn a_block_with_a_deadline_can_be_left_in_time_and_tells_no_expiry() {
    let outcome = timeout_scope(PATIENCE, async |scope| {
        after(1).await;
        (scope.is_expired(), scope.when().is_some())
    });
    assert_eq!(soon(outcome).await.unwrap(), (false, true));
}

#[corio::test]
async fn an_expired_block_says_so_to_what_is_dropped_inside() {
    let expired = Rc::new(Cell::new(None));
    let note = Rc::clone(&expired);
    let outcome = timeout_scope(Duration::from_millis(1), async move |scope| {
        let _guard = crate::OnDrop(move || note.set(Some(scope.is_expired())));
        pending::<()>().await;
    });
    assert!(soon(outcome).await.is_err());
    assert_eq!(expired.get(), Some(true));
}

#[corio::test]
async fn a_block_without_a_deadline_never_expires_and_can_get_one() {
    let outcome = timeout_scope(Duration::from_millis(1), async |scope| {
        scope.reschedule(None);
        assert!(scope.when().is_none());
        after(4).await;
        scope.reschedule(Some(Instant::now() + Duration::from_millis(1)));
        assert!(scope.when().is_some());
        pending::<()>().await;
    });
    assert!(soon(outcome).await.is_err());
}

#[corio::test]
async fn a_deadline_moved_into_the_past_is_over_at_the_next_wait() {
    let outcome = timeout_scope(PATIENCE, async |scope| {
        scope.reschedule(Some(Instant::now()));
        pending::<()>().await;
    });
    assert!(soon(outcome).await.is_err());
}

#[corio::test]
async fn an_outer_deadline_ends_an_inner_block_that_is_not_expired() {
    let expired = Rc::new(Cell::new(None));
    let note = Rc::clone(&expired);
    let outer = timeout_scope(Duration::from_millis(1), async move |_| {
        let inner = timeout_scope(PATIENCE, async move |scope| {
            let _guard = crate::OnDrop(move || note.set(Some(scope.is_expired())));
            pending::<()>().await;
        });
        let _ = inner.await;
        unreachable!("the outer block was dropped");
    });
    assert!(soon(outer).await.is_err());
    assert_eq!(expired.get(), Some(false));
}

#[corio::test]
async fn an_inner_deadline_leaves_the_outer_block_going_on() {
    let outcome = timeout_scope(PATIENCE, async |outer| {
        let inner = timeout_scope(Duration::from_millis(1), async |_| pending::<()>().await);
        assert!(inner.await.is_err());
        assert!(!cancelling() && !outer.is_expired());
        after(1).await
    });
    assert_eq!(soon(outcome).await.unwrap(), 1);
}

#[corio::test]
async fn a_cancellation_inside_a_deadline_is_a_cancellation() {
    let waiter = spawn(wait_for(PATIENCE, pending::<()>()));
    turns(2).await;
    waiter.cancel();
    assert!(soon(waiter).await.unwrap_err().is_cancelled());
    let waiter = spawn(async { timeout_scope(PATIENCE, async |_| pending::<()>().await).await });
    turns(2).await;
    waiter.cancel();
    assert!(soon(waiter).await.unwrap_err().is_cancelled());
}
