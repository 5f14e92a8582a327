//! What asyncio's users rely on among locks: tasks that are cancelled wherever they wait.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use corio::sync::{Barrier, Condition, Event, Mutex, Semaphore};
use corio::{JoinHandle, catch_cancel, spawn, task_group, yield_now};

async fn turns(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

#[corio::test]
async fn a_lock_of_a_cancelled_holder_goes_to_the_next_in_line() {
    let mutex = Rc::new(Mutex::new(()));
    let hold = || {
        let mutex = Rc::clone(&mutex);
        spawn(async move {
            let _guard = mutex.lock().await;
            std::future::pending::<()>().await;
        })
    };
    let (first, second, third) = (hold(), hold(), hold());
    turns(3).await;
    assert!(second.cancel() && second.await.unwrap_err().is_cancelled());
    assert!(mutex.is_locked());
    first.cancel();
    turns(3).await;
    assert!(first.is_finished() && mutex.is_locked() && !third.is_finished());
    third.cancel();
    assert!(third.await.unwrap_err().is_cancelled());
    assert!(!mutex.is_locked());
}

#[corio::test]
async fn the_next_in_line_may_be_cancelled_in_the_turn_that_frees_the_lock() {
    let mutex = Rc::new(Mutex::new(0));
    let guard = mutex.lock().await;
    let add = || {
        let mutex = Rc::clone(&mutex);
        spawn(async move { *mutex.lock().await += 1 })
    };
    let (woken, next) = (add(), add());
    turns(2).await;
    drop(guard);
    woken.cancel();
    next.await.unwrap();
    let was_cancelled = woken.await.is_err();
    assert_eq!(*mutex.lock().await, if was_cancelled { 1 } else { 2 });
}

#[corio::test]
async fn a_cancelled_wait_for_a_condition_does_not_hold_its_lock() {
    let shared = Rc::new((Mutex::new(()), Condition::new()));
    let inside = Rc::clone(&shared);
    let waiter = spawn(async move {
        let guard = inside.0.lock().await;
        catch_cancel(inside.1.wait(guard)).await.is_err()
    });
    turns(3).await;
    let guard = shared.0.lock().await;
    waiter.cancel();
    drop(guard);
    assert!(waiter.await.unwrap());
    assert!(!shared.0.is_locked());
}

#[corio::test]
async fn notified_waiters_go_on_in_the_order_they_came() {
    let shared = Rc::new((Mutex::new(Vec::new()), Condition::new()));
    let wait = |number| {
        let shared = Rc::clone(&shared);
        spawn(async move {
            let guard = shared.0.lock().await;
            shared.1.wait(guard).await.push(number);
        })
    };
    let tasks = [wait(1), wait(2), wait(3)];
    turns(4).await;
    shared.1.notify(&shared.0.lock().await, 2);
    turns(4).await;
    assert_eq!(*shared.0.lock().await, [1, 2]);
    shared.1.notify_all(&shared.0.lock().await);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*shared.0.lock().await, [1, 2, 3]);
}

#[corio::test]
async fn permits_go_round_among_tasks_that_are_cancelled() {
    let semaphore = Rc::new(Semaphore::new(1));
    let (order, open) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Event::new()));
    let take = |number| -> JoinHandle<()> {
        let (semaphore, order) = (Rc::clone(&semaphore), Rc::clone(&order));
        let open = Rc::clone(&open);
        spawn(async move {
            let _permit = semaphore.acquire().await.unwrap();
            order.borrow_mut().push(number);
            open.wait().await;
        })
    };
    let tasks = [0, 1, 2, 3].map(take);
    turns(4).await;
    tasks[1].cancel();
    open.set();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.is_err(), number == 1);
    }
    assert_eq!(*order.borrow(), [0, 2, 3]);
    assert_eq!(semaphore.available(), 1);
}

#[corio::test]
async fn who_releases_and_takes_again_stands_behind_those_who_wait() {
    let semaphore = Rc::new(Semaphore::new(1));
    let order = Rc::new(RefCell::new(Vec::new()));
    let tasks = ["first", "second"].map(|name| {
        let (semaphore, order) = (Rc::clone(&semaphore), Rc::clone(&order));
        spawn(async move {
            for _ in 0..3 {
                let _permit = semaphore.acquire().await.unwrap();
                order.borrow_mut().push(name);
                yield_now().await;
            }
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.borrow(), ["first", "second", "first", "second", "first", "second"]);
}

#[corio::test]
async fn an_event_that_is_cleared_makes_newcomers_wait_again() {
    let event = Rc::new(Event::new());
    event.set();
    event.wait().await;
    event.clear();
    let inside = Rc::clone(&event);
    let waiter = spawn(async move { inside.wait().await });
    turns(3).await;
    assert!(!waiter.is_finished());
    event.set();
    waiter.await.unwrap();
}

#[corio::test]
async fn a_party_that_is_cancelled_leaves_its_place_to_another() {
    let barrier = Rc::new(Barrier::new(2));
    let meet = || {
        let barrier = Rc::clone(&barrier);
        spawn(async move { barrier.wait().await.map(|turn| turn.index()).unwrap() })
    };
    let lost = meet();
    turns(2).await;
    assert_eq!(barrier.n_waiting(), 1);
    lost.cancel();
    assert!(lost.await.unwrap_err().is_cancelled());
    assert_eq!((barrier.n_waiting(), barrier.is_broken()), (0, false));
    let (one, two) = (meet(), meet());
    assert_eq!((one.await.unwrap(), two.await.unwrap()), (0, 1));
}

#[corio::test]
async fn a_task_that_fails_among_others_at_a_barrier_lets_none_wait_for_ever() {
    let barrier = Rc::new(Barrier::new(3));
    let met = Rc::new(Cell::new(0));
    let outcome = task_group(async |group| {
        for _ in 0..2 {
            let (barrier, met) = (Rc::clone(&barrier), Rc::clone(&met));
            group.spawn(async move {
                barrier.wait().await.unwrap();
                met.set(met.get() + 1);
            });
        }
        group.spawn(async { Err::<(), _>("never arrives") });
    });
    assert_eq!(outcome.await.unwrap_err().len(), 1);
    assert_eq!((met.get(), barrier.n_waiting()), (0, 0));
}
