//! Spawning, joining and detaching.

use std::cell::{Cell, RefCell};
use std::future::{pending, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use corio::{JoinHandle, join, spawn, timeout, try_join, yield_now};

use crate::{OnDrop, PATIENCE};

#[corio::test]
async fn a_task_runs_without_being_awaited_and_a_handle_gives_its_value() {
    let text = Rc::new(RefCell::new(String::new()));
    let note = Rc::clone(&text);
    let task = spawn(async move {
        note.borrow_mut().push_str("ran");
        note
    });
    assert!(text.borrow().is_empty(), "a spawn does not poll");
    assert!(!task.is_finished());
    yield_now().await;
    assert_eq!(*text.borrow(), "ran");
    assert!(task.is_finished());
    assert!(!task.cancel());
    assert!(Rc::ptr_eq(&task.await.unwrap(), &text));
}

#[corio::test]
async fn a_dropped_handle_detaches_its_task() {
    let done = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let done = Rc::clone(&done);
        drop(spawn(async move {
            yield_now().await;
            done.set(done.get() + 1);
        }));
    }
    for _ in 0..4 {
        yield_now().await;
    }
    assert_eq!(done.get(), 3);
    assert_eq!(corio::stats().tasks, 0);
}

#[corio::test]
async fn an_output_is_dropped_as_soon_as_nobody_can_take_it() {
    let drops = Rc::new(Cell::new(0));
    let value = || {
        let drops = Rc::clone(&drops);
        OnDrop(move || drops.set(drops.get() + 1))
    };
    drop(spawn(ready(value())));
    yield_now().await;
    assert_eq!(drops.get(), 1, "detached: with the end of the task");
    let task = spawn(ready(value()));
    yield_now().await;
    assert_eq!(drops.get(), 1, "kept for the handle");
    drop(task);
    assert_eq!(drops.get(), 2, "with the handle");
    let taken = spawn(ready(value())).await;
    assert_eq!(drops.get(), 2);
    drop(taken);
    assert_eq!(drops.get(), 3);
}

#[corio::test]
async fn the_last_one_to_poll_a_handle_is_woken() {
    let task = spawn(async {
        yield_now().await;
        yield_now().await;
        9
    });
    let task = Rc::new(RefCell::new(Some(task)));
    let other = Rc::clone(&task);
    // Another task polls the handle once and gives it back.
    spawn(async move {
        let mut handle = other.take().unwrap();
        assert!(futures_util::poll!(&mut handle).is_pending());
        *other.borrow_mut() = Some(handle);
    })
    .await
    .unwrap();
    let handle = task.take().unwrap();
    assert_eq!(timeout(PATIENCE, handle).await.unwrap().unwrap(), 9);
}

#[corio::test]
async fn a_wait_for_a_handle_that_is_dropped_loses_nothing() {
    let mut task = spawn(async {
        for _ in 0..10 {
            yield_now().await;
        }
        11
    });
    assert!(timeout(std::time::Duration::ZERO, &mut task).await.is_err());
    for _ in 0..20 {
        yield_now().await;
    }
    assert_eq!((&mut task).await.unwrap(), 11);
}

#[corio::test]
async fn a_task_that_awaits_or_cancels_itself_ends() {
    let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
    let slot = Rc::clone(&own);
    *own.borrow_mut() = Some(spawn(async move {
        let mut handle = slot.take().unwrap();
        assert!(handle.cancel());
        // It waits for itself; the cancel is what ends that.
        let _ = (&mut handle).await;
        unreachable!("a task cannot see its own end");
    }));
    for _ in 0..5 {
        yield_now().await;
    }
    assert_eq!(corio::stats().tasks, 0);
}

#[corio::test]
async fn places_of_ended_tasks_are_used_again_and_old_wakers_hit_nobody() {
    let old: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let polls = Rc::new(Cell::new(0));
    for _ in 0..100 {
        let notes = Rc::clone(&old);
        spawn(std::future::poll_fn(move |context| {
            notes.borrow_mut().push(context.waker().clone());
            // Awake, and over: it ends while it is queued.
            context.waker().wake_by_ref();
            Poll::Ready(())
        }));
    }
    yield_now().await;
    yield_now().await;
    assert_eq!(corio::stats().tasks, 0);
    for _ in 0..100 {
        let polls = Rc::clone(&polls);
        spawn(std::future::poll_fn(move |_| {
            polls.set(polls.get() + 1);
            Poll::<()>::Pending
        }));
    }
    yield_now().await;
    yield_now().await;
    assert_eq!(polls.get(), 100);
    for waker in old.take() {
        waker.wake_by_ref();
        waker.wake();
    }
    for _ in 0..4 {
        yield_now().await;
    }
    assert_eq!(polls.get(), 100, "no stale waker polls a stranger");
}

#[corio::test]
async fn a_wake_during_a_poll_is_one_more_poll() {
    let polls = Rc::new(Cell::new(0));
    let counter = Rc::clone(&polls);
    let task = spawn(std::future::poll_fn(move |context| {
        counter.set(counter.get() + 1);
        for _ in 0..3 {
            context.waker().wake_by_ref();
        }
        if counter.get() == 2 { Poll::Ready(()) } else { Poll::Pending }
    }));
    task.await.unwrap();
    assert_eq!(polls.get(), 2);
}

#[corio::test]
async fn yields_take_turns() {
    let order = Rc::new(RefCell::new(Vec::new()));
    let tasks: Vec<_> = (0..3)
        .map(|number| {
            let order = Rc::clone(&order);
            spawn(async move {
                for _ in 0..3 {
                    order.borrow_mut().push(number);
                    yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.borrow(), [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[corio::test]
async fn ids_differ_and_handles_say_where_they_come_from() {
    let (one, two) = (spawn(async {}), spawn(async {}));
    assert_ne!(one.id(), two.id());
    let text = format!("{one:?}");
    assert!(text.contains(&one.id().to_string()) && text.contains(file!()), "{text}");
}

#[corio::test]
async fn join_and_try_join_poll_side_by_side() {
    let (one, two) = join!(spawn(async { 1 }), async {
        yield_now().await;
        2
    });
    assert_eq!((one.unwrap(), two), (1, 2));
    let fails = async { Err::<i32, _>("first") };
    let failed = try_join!(fails, pending::<Result<i32, &str>>());
    assert_eq!(failed.unwrap_err(), "first");
}

#[corio::test]
async fn a_handle_that_is_forgotten_harms_nobody() {
    std::mem::forget(spawn(async { 1 }));
    let mut task = Box::pin(spawn(pending::<()>()));
    assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    std::mem::forget(task);
    yield_now().await;
    let mut kept = pin!(spawn(async { 2 }));
    assert_eq!(Pin::new(&mut kept).await.unwrap(), 2);
}

#[corio::test]
async fn tens_of_thousands_of_tasks_live_side_by_side() {
    const COUNT: u64 = 50_000;
    let tasks: Vec<_> = (0..COUNT)
        .map(|number| {
            spawn(async move {
                yield_now().await;
                number
            })
        })
        .collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.await.unwrap();
    }
    assert_eq!(sum, COUNT * (COUNT - 1) / 2);
}
