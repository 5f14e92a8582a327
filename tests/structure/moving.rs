//! Futures and handles that are polled, dropped or forgotten elsewhere than where they were asked:
//! no request gets lost on the way, none is answered by strangers, and nobody waits for ever.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use corio::task::{TaskGroup, cancelling};
use corio::time::wait_for;
use corio::{JoinHandle, catch_cancel, join, sleep, spawn, task_group, timeout};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::{dropping, soon, turns};

/// A place that futures are put into by one task and taken out of by another.
struct Shelf<T>(Rc<RefCell<Option<T>>>);

impl<T> Clone for Shelf<T> {
    fn clone(&self) -> Shelf<T> {
        Shelf(Rc::clone(&self.0))
    }
}

impl<T: Future + Unpin> Shelf<T> {
    fn new(future: T) -> Shelf<T> {
        Shelf(Rc::new(RefCell::new(Some(future))))
    }

    fn take(&self) -> T {
        self.0.take().expect("it lies there")
    }

    /// Polls what lies there, for as long as it does.
    async fn wait(&self) -> T::Output {
        poll_fn(|context| {
            let Some(mut future) = self.0.take() else { return Poll::Pending };
            let polled = Pin::new(&mut future).poll(context);
            self.0.replace(Some(future));
            polled
        })
        .await
    }
}

#[corio::test]
async fn a_border_that_moved_away_does_not_answer_for_whom_it_left() {
    let border: LocalBoxFuture<'static, _> = Box::pin(catch_cancel(pending::<()>()));
    let shelf = Shelf::new(border);
    let waiting = shelf.clone();
    let first = spawn(async move {
        waiting.wait().await.unwrap();
    });
    turns(2).await;
    // Told, and taken away before it could answer.
    first.cancel();
    let border = shelf.take();
    let second = spawn(async move { border.await.is_err() });
    assert!(soon(first).await.unwrap_err().is_cancelled(), "the request is its own");
    turns(5).await;
    assert!(!second.is_finished(), "nobody asked this one");
    second.cancel();
    assert!(soon(second).await.unwrap());
}

#[corio::test]
async fn borders_deep_inside_of_what_moved_away_do_not_answer_either() {
    let inside = async {
        let waits = [catch_cancel(pending::<()>()), catch_cancel(pending::<()>())];
        let mut waits = FuturesUnordered::from_iter(waits);
        let mut answers = 0;
        while let Some(outcome) = waits.next().await {
            answers += usize::from(outcome.is_err());
        }
        answers
    };
    let block: LocalBoxFuture<'static, _> = Box::pin(wait_for(Duration::MAX, inside));
    let shelf = Shelf::new(block);
    let waiting = shelf.clone();
    let first = spawn(async move { waiting.wait().await.unwrap() });
    turns(2).await;
    first.cancel();
    let block = shelf.take();
    let second = spawn(async move { block.await.unwrap() });
    assert!(soon(first).await.unwrap_err().is_cancelled());
    turns(5).await;
    second.cancel();
    assert_eq!(soon(second).await.unwrap(), 2);
}

#[corio::test]
async fn a_handle_that_is_taken_away_from_an_ending_task_lets_it_end() {
    for drops in [true, false] {
        let stubborn = spawn(async {
            let _ = catch_cancel(pending::<()>()).await;
            pending::<()>().await;
        });
        let abort = stubborn.task();
        let shelf = Shelf::new(stubborn);
        let waiting = shelf.clone();
        let waiter = spawn(async move { waiting.wait().await.is_ok() });
        turns(3).await;
        waiter.cancel();
        turns(3).await;
        assert!(!waiter.is_finished(), "it waits for what it awaits");
        let handle = shelf.take();
        let other = match drops {
            true => {
                drop(handle);
                None
            }
            false => Some(spawn(handle)),
        };
        assert!(soon(waiter).await.unwrap_err().is_cancelled(), "nothing is left to wait for");
        assert!(abort.abort());
        if let Some(other) = other {
            assert!(soon(other).await.unwrap().unwrap_err().is_cancelled());
        }
    }
}

#[corio::test]
async fn a_handle_of_an_ended_task_tells_its_outcome_wherever_nobody_ends() {
    let inner = spawn(pending::<()>());
    let task = inner.task();
    let shelf = Shelf::new(inner);
    let waiting = shelf.clone();
    let waiter = spawn(async move {
        let keeps_it_ending = spawn(async {
            let _ = catch_cancel(pending::<()>()).await;
            turns(20).await;
        });
        let _ = join!(waiting.wait(), keeps_it_ending);
        cancelling()
    });
    turns(3).await;
    waiter.cancel();
    turns(5).await;
    assert!(task.is_finished() && !waiter.is_finished());
    let outcome = soon(shelf.take()).await;
    assert!(outcome.unwrap_err().is_cancelled());
    assert!(soon(waiter).await.unwrap_err().is_cancelled());
}

#[corio::test]
async fn code_behind_a_wait_for_an_ended_task_does_not_run_while_others_end() {
    // `join!` polls both handles whenever one of them ends.
    let went_on = Rc::new(Cell::new(false));
    let note = Rc::clone(&went_on);
    let waiter = spawn(async move {
        let quick = spawn(pending::<()>());
        let slow = spawn(async {
            let _ = catch_cancel(pending::<()>()).await;
            turns(5).await;
        });
        let first = async move {
            let _ = quick.await;
            note.set(true);
        };
        let second = async {
            let _ = slow.await;
            turns(3).await;
        };
        join!(first, second)
    });
    turns(3).await;
    waiter.cancel();
    assert!(soon(waiter).await.unwrap_err().is_cancelled());
    assert!(!went_on.get());
}

#[corio::test]
async fn what_moves_into_an_ending_task_is_asked_there() {
    let asked = Rc::new(Cell::new(false));
    let note = Rc::clone(&asked);
    let patient = spawn(async move {
        note.set(catch_cancel(pending::<()>()).await.is_err());
    });
    let block: LocalBoxFuture<'static, _> = Box::pin(wait_for(Duration::MAX, patient));
    let shelf = Shelf::new(block);
    let waiting = shelf.clone();
    // It is polled here first.
    assert!(futures_util::poll!(Box::pin(shelf.wait())).is_pending());
    let ending = spawn(async move {
        let slow = spawn(async {
            let _ = catch_cancel(pending::<()>()).await;
            turns(5).await;
        });
        let late = async {
            turns(8).await;
            waiting.wait().await.unwrap().unwrap();
        };
        join!(slow, late)
    });
    turns(2).await;
    ending.cancel();
    drop(soon(ending).await);
    assert!(asked.get(), "it was asked where it is awaited now");
    drop(shelf);
}

#[corio::test]
async fn two_borders_answer_and_one_of_them_resumes() {
    for resumes_first in [true, false] {
        let task = spawn(async move {
            let resuming = async {
                let cancelled = catch_cancel(pending::<()>()).await.unwrap_err();
                if !resumes_first {
                    turns(4).await;
                }
                cancelled.resume().await;
            };
            let answering = async {
                let outcome = catch_cancel(async {
                    // Keeps its border from answering for some turns.
                    spawn(async {
                        let _ = catch_cancel(pending::<()>()).await;
                        turns(4).await;
                        pending::<()>().await;
                    })
                    .grace(Duration::MAX)
                    .await
                });
                let _ = timeout(Duration::from_millis(5), outcome).await;
            };
            join!(resuming, answering);
        });
        turns(3).await;
        task.cancel_with("both");
        let error = soon(task).await.unwrap_err();
        assert_eq!(error.reason(), Some("both"), "resumes first: {resumes_first}");
    }
}

#[corio::test]
async fn resuming_what_is_over_ends_the_task() {
    let task = spawn(async {
        let deadline = wait_for(Duration::from_millis(1), catch_cancel(pending::<()>()));
        let cancelled = deadline.await.unwrap().unwrap_err();
        cancelled.resume().await;
    });
    assert!(soon(task).await.unwrap_err().is_cancelled());
    let task = spawn(async {
        let deadline = wait_for(Duration::from_millis(1), catch_cancel(pending::<()>()));
        let cancelled = deadline.await.unwrap().unwrap_err();
        catch_cancel(cancelled.resume()).await.is_err()
    });
    assert!(soon(task).await.unwrap(), "the next border takes it, as it takes any");
}

#[corio::test]
async fn a_group_that_is_kept_keeps_no_tasks() {
    let held = Rc::new(());
    let never_joined = TaskGroup::new();
    for _ in 0..1_000 {
        let held = Rc::clone(&held);
        never_joined.spawn(async move { drop(held) });
    }
    turns(20).await;
    let kept = Rc::new(Cell::new(None));
    let slot = Rc::clone(&kept);
    let outcome = task_group(async |group: TaskGroup| slot.set(Some(group.clone())));
    soon(outcome).await.unwrap();
    let group = kept.take().unwrap();
    for _ in 0..1_000 {
        let held = Rc::clone(&held);
        group.spawn(async move { drop(held) });
    }
    turns(20).await;
    assert_eq!(Rc::strong_count(&held), 1);
    assert_eq!(corio::stats().tasks, 0);
}

#[corio::test]
async fn forgotten_handles_and_waits_keep_no_task_from_ending() {
    let dropped = Rc::new(Cell::new(false));
    let guard = dropping(&dropped);
    let task = spawn(async move {
        let _guard = guard;
        for _ in 0..100 {
            let mut handle: JoinHandle<()> = spawn(sleep(Duration::from_millis(1)));
            assert!(futures_util::poll!(&mut handle).is_pending());
            std::mem::forget(handle);
            let mut wait = Box::pin(wait_for(Duration::MAX, sleep(Duration::from_secs(5))));
            assert!(futures_util::poll!(&mut wait).is_pending());
            std::mem::forget(wait);
        }
        pending::<()>().await;
    });
    turns(3).await;
    task.cancel();
    assert!(soon(task).await.unwrap_err().is_cancelled());
    assert!(dropped.get());
}

/// A future that polls another one once, and then waits for ever.
async fn polls_once(inner: Rc<RefCell<Vec<LocalBoxFuture<'static, ()>>>>, number: usize) {
    if number > 0 {
        let mut future =
            std::mem::replace(&mut inner.borrow_mut()[number - 1], Box::pin(pending()));
        assert!(futures_util::poll!(&mut future).is_pending());
        inner.borrow_mut()[number - 1] = future;
    }
    pending::<()>().await;
}

#[corio::test]
async fn a_chain_of_a_hundred_thousand_borders_needs_no_stack() {
    const COUNT: usize = 100_000;
    // Each border is polled by the next one, once, so that the scopes nest and the polls do not.
    let futures = Rc::new(RefCell::new(Vec::with_capacity(COUNT)));
    let all = Rc::clone(&futures);
    let task = spawn(async move {
        for number in 0..COUNT {
            let inner = polls_once(Rc::clone(&all), number);
            let mut border: LocalBoxFuture<'static, ()> = Box::pin(async {
                let _ = catch_cancel(inner).await;
            });
            let poll = futures_util::poll!(&mut border);
            assert!(poll.is_pending());
            all.borrow_mut().push(border);
        }
        pending::<()>().await;
    });
    soon(async {
        while futures.borrow().len() < COUNT {
            turns(1).await;
        }
    })
    .await;
    task.cancel();
    turns(3).await;
    assert!(!task.is_finished(), "the innermost border was told, which nobody polls");
    task.abort();
    assert!(soon(task).await.is_err());
    let all = futures.take();
    drop(all);
}

#[corio::test]
async fn a_hundred_thousand_borders_in_one_set_are_told_at_once() {
    const COUNT: usize = 100_000;
    let task = spawn(async {
        let mut set: FuturesUnordered<_> =
            (0..COUNT).map(|_| catch_cancel(pending::<()>())).collect();
        let mut told = 0;
        while let Some(outcome) = set.next().await {
            told += usize::from(outcome.is_err());
        }
        told
    });
    turns(1).await;
    task.cancel();
    assert_eq!(soon(task).await.unwrap(), COUNT);
    let task = spawn(async {
        let waits = (0..COUNT).map(|_| wait_for(Duration::MAX, spawn(pending::<()>())));
        let mut set: FuturesUnordered<_> = waits.collect();
        while set.next().await.is_some() {}
    });
    turns(1).await;
    task.cancel();
    assert!(soon(task).await.unwrap_err().is_cancelled());
}

#[corio::test]
async fn a_group_that_ended_with_its_waiter_may_be_polled_while_others_end() {
    // `join!` polls the group again whenever the slow one wakes.
    let task = spawn(async {
        let group = task_group(async |group: TaskGroup| {
            group.spawn(pending::<()>());
            pending::<()>().await
        });
        let slow = spawn(async {
            let _ = catch_cancel(pending::<()>()).await;
            turns(5).await;
        });
        let slow = async {
            let _ = slow.await;
            turns(3).await;
        };
        join!(group, slow)
    });
    turns(3).await;
    task.cancel();
    assert!(soon(task).await.unwrap_err().is_cancelled());
}
