//! Values to come: set once and awaited by many, or made once by whoever needs them first.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;

use corio::sync::{OnceCell, Promise};
use corio::{spawn, yield_now};

#[corio::test]
async fn a_promise_wakes_everybody_and_keeps_its_value() {
    let promise = Rc::new(Promise::new());
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let promise = Rc::clone(&promise);
            spawn(async move { promise.wait().await.copied() })
        })
        .collect();
    yield_now().await;
    assert!(!promise.is_over() && promise.get().is_none());
    promise.set(7).unwrap();
    for task in waiting {
        assert_eq!(task.await.unwrap(), Ok(7));
    }
    assert_eq!(promise.wait().await, Ok(&7), "also who comes later");
    assert_eq!(promise.set(8), Err(8));
    assert!(!promise.cancel() && !promise.is_cancelled());
}

#[corio::test]
async fn a_cancelled_promise_is_an_error_for_all_and_takes_no_value() {
    let promise = Rc::new(Promise::<i32>::new());
    let waiter = Rc::clone(&promise);
    let waiting = spawn(async move { waiter.wait().await.copied() });
    yield_now().await;
    assert!(promise.cancel());
    assert!(!promise.cancel());
    assert!(waiting.await.unwrap().is_err());
    assert_eq!(promise.set(1), Err(1));
    assert!(promise.is_cancelled() && promise.is_over());
}

#[corio::test]
async fn a_cancelled_waiter_leaves_the_promise_alone() {
    let promise = Rc::new(Promise::new());
    let waiter = Rc::clone(&promise);
    let waiting = spawn(async move { waiter.wait().await.copied() });
    yield_now().await;
    waiting.cancel();
    assert!(waiting.await.unwrap_err().is_cancelled());
    promise.set("value").unwrap();
    assert_eq!(promise.wait().await, Ok(&"value"));
}

#[corio::test]
async fn a_value_is_made_once_and_others_wait_for_it() {
    let (cell, made) = (Rc::new(OnceCell::new()), Rc::new(Cell::new(0)));
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let (cell, made) = (Rc::clone(&cell), Rc::clone(&made));
            spawn(async move {
                let make = async || {
                    yield_now().await;
                    made.set(made.get() + 1);
                    made.get()
                };
                *cell.get_or_init(make).await
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 1);
    }
    assert_eq!(cell.set(9), Err(9));
    assert_eq!(cell.get(), Some(&1));
}

#[corio::test]
async fn who_is_cancelled_while_making_passes_the_turn_on_and_so_does_a_failure() {
    let cell = Rc::new(OnceCell::new());
    let first = Rc::clone(&cell);
    let stuck = spawn(async move { *first.get_or_init(async || pending::<i32>().await).await });
    yield_now().await;
    let second = Rc::clone(&cell);
    let fails =
        spawn(async move { second.get_or_try_init(async || Err::<i32, _>("no")).await.copied() });
    let third = Rc::clone(&cell);
    let makes = spawn(async move { *third.get_or_init(async || 3).await });
    yield_now().await;
    assert!(stuck.cancel());
    assert_eq!(fails.await.unwrap(), Err("no"));
    assert_eq!(makes.await.unwrap(), 3);
    assert!(stuck.await.unwrap_err().is_cancelled());
}
