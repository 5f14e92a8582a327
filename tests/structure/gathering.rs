//! `gather` and its relatives: values in the order of the arguments, errors at once.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use corio::task::{as_completed, gather_settled};
use corio::{catch_cancel, gather, sleep, spawn, timeout};
use futures_util::{FutureExt, StreamExt};

use crate::{Journal, dropping, soon, turns};

#[corio::test]
async fn values_come_in_the_order_of_the_arguments() {
    let waits = [9, 1, 5].map(|ms| async move {
        sleep(Duration::from_millis(ms)).await;
        Ok::<_, ()>(ms)
    });
    assert_eq!(soon(gather(waits)).await.unwrap(), [9, 1, 5]);
    let none: [std::future::Ready<Result<(), ()>>; 0] = [];
    assert_eq!(soon(gather(none)).await.unwrap(), []);
}

#[corio::test]
async fn the_first_error_comes_at_once_and_the_others_go_on() {
    let journal = Journal::default();
    let notes = journal.clone();
    let slow = async move {
        sleep(Duration::from_millis(10)).await;
        notes.note("slow is done");
        Ok(1)
    };
    let quick = async { Err("quick") };
    let futures = [slow.boxed_local(), quick.boxed_local()];
    assert_eq!(soon(gather(futures)).await, Err("quick"));
    journal.assert(&[]);
    sleep(Duration::from_millis(30)).await;
    journal.assert(&["slow is done"]);

    let notes = journal.clone();
    let slow = async move {
        sleep(Duration::from_millis(10)).await;
        notes.note("again");
        Ok::<_, &str>(1)
    };
    let outcome: Result<(i32, ()), _> = async { gather!(slow, async { Err("quick") }) }.await;
    assert_eq!(outcome, Err("quick"));
    sleep(Duration::from_millis(30)).await;
    journal.assert(&["slow is done", "again"]);
}

#[corio::test]
async fn settled_outcomes_are_all_there() {
    let outcomes = gather_settled((0..3).map(|number| async move {
        assert_ne!(number, 1, "this one panics");
        number
    }));
    let outcomes = soon(outcomes).await;
    assert_eq!(*outcomes[0].as_ref().unwrap(), 0);
    assert!(outcomes[1].as_ref().unwrap_err().is_panic());
    assert_eq!(*outcomes[2].as_ref().unwrap(), 2);
}

#[corio::test]
async fn a_gather_that_is_cancelled_or_dropped_ends_its_tasks() {
    for softly in [true, false] {
        let flags: Vec<_> = (0..3).map(|_| Rc::new(Cell::new(false))).collect();
        let guards: Vec<_> = flags.iter().map(dropping).collect();
        let task = spawn(async move {
            let waits = guards.into_iter().map(|guard| async move {
                let _guard = guard;
                pending::<Result<(), ()>>().await
            });
            let all = gather(waits);
            match softly {
                true => drop(all.await),
                false => assert!(timeout(Duration::from_millis(2), all).await.is_err()),
            }
        });
        turns(4).await;
        if softly {
            task.cancel();
        }
        assert_eq!(soon(task).await.is_err(), softly);
        turns(3).await;
        assert!(flags.iter().all(|flag| flag.get()), "softly: {softly}");
    }
}

#[corio::test]
async fn a_panic_of_a_gathered_task_meets_whoever_awaits_it() {
    let task = spawn(async {
        gather([async {
            assert!(std::env::args().count() == 0, "as it must");
            Ok::<(), ()>(())
        }])
        .await
    });
    assert!(soon(task).await.unwrap_err().is_panic());
}

#[corio::test]
async fn a_gathered_handle_is_asked_with_its_gather() {
    let ended = Rc::new(Cell::new(false));
    let guard = dropping(&ended);
    let inner = spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    let outer = spawn(async move { gather([inner]).await });
    turns(4).await;
    outer.cancel();
    assert!(soon(outer).await.unwrap_err().is_cancelled());
    assert!(ended.get());
}

#[corio::test]
async fn completions_come_as_they_happen_and_a_dropped_wait_loses_none() {
    let waits = [20, 5, 10].map(|ms| async move {
        sleep(Duration::from_millis(ms)).await;
        ms
    });
    let mut values = as_completed(waits);
    assert!(timeout(Duration::ZERO, values.next()).await.is_err());
    let mut order = Vec::new();
    while let Some(value) = soon(values.next()).await {
        order.push(value);
    }
    assert_eq!(order, [5, 10, 20]);
}

#[corio::test]
async fn completions_within_a_time_end_with_an_error_and_the_tasks_go_on() {
    let ended = Rc::new(Cell::new(0));
    let waits = [1_u64, 50].map(|ms| {
        let ended = Rc::clone(&ended);
        async move {
            sleep(Duration::from_millis(ms)).await;
            ended.set(ended.get() + 1);
            ms
        }
    });
    let mut values = as_completed(waits).timeout(Duration::from_millis(20));
    assert_eq!(soon(values.next()).await, Some(Ok(1)));
    assert!(soon(values.next()).await.unwrap().is_err());
    assert_eq!(soon(values.next()).await, None);
    drop(values);
    sleep(Duration::from_millis(60)).await;
    assert_eq!(ended.get(), 2);
}

/// Without the noise of a panic's report.
async fn panics(turn: usize) -> Result<u8, &'static str> {
    turns(turn).await;
    std::panic::resume_unwind(Box::new("it panics"))
}

#[corio::test]
async fn a_panic_is_told_at_once_and_the_others_go_on() {
    let ended = Rc::new(Cell::new(false));
    let guard = dropping(&ended);
    let (open, is_open) = corio::sync::oneshot();
    let slow = async move {
        let _guard = guard;
        is_open.await.map_err(|_| "closed")
    };
    let waiter = spawn(gather([panics(3).boxed_local(), slow.boxed_local()]));
    assert!(soon(waiter).await.unwrap_err().is_panic());
    assert!(!ended.get(), "it was neither waited for nor ended");
    assert_eq!(open.send(1), Ok(()));
    turns(3).await;
    assert!(ended.get());
}

#[corio::test]
async fn a_gathered_task_that_is_cancelled_ends_its_waiter_at_once_and_the_others_go_on() {
    let ended = Rc::new(Cell::new(false));
    let guard = dropping(&ended);
    let (open, is_open) = corio::sync::oneshot();
    let slow = async move {
        let _guard = guard;
        is_open.await.map_err(|_| "closed")
    };
    let ending_itself = async {
        corio::task::current().unwrap().cancel();
        pending().await
    };
    let waiter = spawn(async move {
        let all = gather([slow.boxed_local(), ending_itself.boxed_local()]);
        catch_cancel(all).await.is_err()
    });
    assert!(soon(waiter).await.unwrap(), "it can be caught, as an exception");
    assert!(!ended.get(), "it was neither waited for nor ended");
    assert_eq!(open.send(1), Ok(()));
    turns(3).await;
    assert!(ended.get());
}

#[corio::test]
async fn settled_outcomes_wait_for_everybody_after_a_panic() {
    let slow = async {
        turns(9).await;
        Ok(1)
    };
    let outcomes = soon(gather_settled([panics(1).boxed_local(), slow.boxed_local()])).await;
    assert!(outcomes[0].as_ref().unwrap_err().is_panic());
    assert_eq!(outcomes[1].as_ref().unwrap(), &Ok(1));
}

#[corio::test]
async fn an_error_of_a_task_on_its_way_out_is_not_lost_with_the_cancelled() {
    let waiter = spawn(async {
        let tidying = async {
            let _ = catch_cancel(pending::<()>()).await;
            Err::<u8, _>("while tidying up")
        };
        let outcome = gather([pending().boxed_local(), tidying.boxed_local()]).await;
        assert!(corio::task::cancelling(), "and the request stands");
        outcome
    });
    turns(4).await;
    waiter.cancel();
    assert_eq!(soon(waiter).await.unwrap(), Err("while tidying up"));
}

#[corio::test]
async fn a_gather_that_is_asked_waits_for_the_last_to_tidy_up() {
    let tidied = Rc::new(Cell::new(false));
    let note = Rc::clone(&tidied);
    let waiter = spawn(async move {
        let tidying = async move {
            let _ = catch_cancel(pending::<()>()).await;
            // The other has ended long before, and whoever waits was polled since.
            turns(9).await;
            note.set(true);
            Ok::<_, ()>(())
        };
        gather([pending().boxed_local(), tidying.boxed_local()]).await
    });
    turns(4).await;
    waiter.cancel();
    assert!(soon(waiter).await.unwrap_err().is_cancelled());
    assert!(tidied.get());
}

#[corio::test]
async fn a_dropped_gather_that_has_failed_leaves_the_others_alone() {
    let count = Rc::new(Cell::new(0));
    let others = (0..3_u8).map(|number| {
        let count = Rc::clone(&count);
        async move {
            turns(usize::from(number) * 3).await;
            count.set(count.get() + 1);
            if number == 0 { Err("the first") } else { Ok(number) }
        }
    });
    assert_eq!(soon(gather(others)).await, Err("the first"));
    turns(10).await;
    assert_eq!(count.get(), 3);
}

#[corio::test]
async fn a_wait_with_a_deadline_around_a_gather_ends_all_of_it() {
    let ended = Rc::new(Cell::new(0));
    let all = gather((0..3).map(|_| {
        let ended = Rc::clone(&ended);
        async move {
            let _ = catch_cancel(pending::<()>()).await;
            turns(2).await;
            ended.set(ended.get() + 1);
            Ok::<_, ()>(())
        }
    }));
    turns(2).await;
    let outcome = soon(corio::time::wait_for(Duration::from_millis(1), all)).await;
    assert_eq!(ended.get(), 3, "it waited until they had tidied up");
    assert!(outcome.is_ok(), "their values win");
}
