//! Callbacks at the end of a task: called too early, twice, or out of turn.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use corio::context::ContextVar;
use corio::{Runtime, Unhandled, spawn, yield_now};

use crate::OnDrop;

type Log = Rc<RefCell<Vec<String>>>;

async fn some_turns() {
    for _ in 0..4 {
        yield_now().await;
    }
}

#[corio::test]
async fn callbacks_come_after_the_end_in_the_order_in_which_they_were_added() {
    let log = Log::default();
    let task = spawn(async { yield_now().await });
    for number in 0..3 {
        let log = Rc::clone(&log);
        task.on_done(move |ended| {
            assert!(ended.task().is_finished() && !ended.was_cancelled());
            log.borrow_mut().push(format!("{number} of {}", ended.task().id()));
        });
    }
    yield_now().await;
    assert!(log.borrow().is_empty(), "the task has not ended");
    some_turns().await;
    let id = task.id();
    assert_eq!(*log.borrow(), [format!("0 of {id}"), format!("1 of {id}"), format!("2 of {id}")]);
    task.await.unwrap();
}

#[corio::test]
async fn a_callback_of_a_task_that_has_ended_is_called_later_and_not_at_once() {
    let task = spawn(async {});
    some_turns().await;
    let calls = Rc::new(Cell::new(0));
    let count = Rc::clone(&calls);
    task.on_done(move |_| count.set(count.get() + 1));
    assert_eq!(calls.get(), 0);
    some_turns().await;
    assert_eq!(calls.get(), 1);
    some_turns().await;
    assert_eq!(calls.get(), 1, "once");
}

#[corio::test]
async fn a_callback_that_was_taken_back_is_dropped_and_never_called() {
    let (task, other) = (spawn(pending::<()>()), spawn(pending::<()>()));
    let drops = Rc::new(Cell::new(0));
    let dropped = OnDrop({
        let drops = Rc::clone(&drops);
        move || drops.set(drops.get() + 1)
    });
    let id = task.on_done(move |_| {
        let _held = &dropped;
        panic!("it was taken back");
    });
    let kept = Rc::new(Cell::new(false));
    let called = Rc::clone(&kept);
    let other_id = task.on_done(move |_| called.set(true));
    assert!(!other.remove_on_done(&id), "it is another task's");
    assert!(task.remove_on_done(&id));
    assert_eq!(drops.get(), 1);
    assert!(!task.remove_on_done(&id), "it is gone");
    task.cancel();
    some_turns().await;
    assert!(kept.get());
    assert!(!task.remove_on_done(&other_id), "it was called");
}

#[corio::test]
async fn a_callback_hears_of_a_cancellation_and_may_add_another() {
    let task = spawn(pending::<()>());
    let log = Log::default();
    let noted = Rc::clone(&log);
    task.on_done(move |ended| {
        noted.borrow_mut().push(format!("cancelled: {}", ended.was_cancelled()));
        let noted = Rc::clone(&noted);
        ended.task().on_done(move |_| noted.borrow_mut().push("another".into()));
    });
    task.abort();
    some_turns().await;
    some_turns().await;
    assert_eq!(*log.borrow(), ["cancelled: true", "another"]);
}

#[corio::test]
async fn a_callback_runs_in_the_context_in_which_it_was_added() {
    static NAME: ContextVar<&str> = ContextVar::with_default("name", || "nobody");
    let task = spawn(async { NAME.set("the task's own") });
    let token = NAME.set("added");
    let seen = Rc::new(Cell::new(""));
    let see = Rc::clone(&seen);
    task.on_done(move |_| see.set(NAME.get()));
    NAME.reset(token);
    some_turns().await;
    assert_eq!((seen.get(), NAME.get()), ("added", "nobody"));
}

#[corio::test]
async fn a_gathered_task_has_callbacks_beside_those_who_wait_for_it() {
    let ended = Rc::new(Cell::new(0));
    let group = corio::TaskGroup::new();
    for _ in 0..3 {
        let ended = Rc::clone(&ended);
        let child = group.spawn(async {
            yield_now().await;
            std::io::Result::Ok(())
        });
        child.task().on_done(move |_| ended.set(ended.get() + 1));
    }
    group.join().await.unwrap();
    some_turns().await;
    assert_eq!(ended.get(), 3);
}

#[corio::test]
fn the_panic_of_a_callback_is_reported_and_ends_nothing() {
    let heard = Log::default();
    let hook = Rc::clone(&heard);
    let runtime = Runtime::builder()
        .on_unhandled(move |unhandled: &Unhandled| hook.borrow_mut().push(unhandled.to_string()))
        .build()
        .unwrap();
    runtime.block_on(async {
        let called = Rc::new(Cell::new(false));
        let task = spawn(async {});
        task.on_done(|_| panic!("by a callback"));
        let second = Rc::clone(&called);
        task.on_done(move |_| second.set(true));
        some_turns().await;
        assert!(called.get());
    });
    let heard = heard.borrow();
    assert!(heard.len() == 1 && heard[0].contains("by a callback"), "{heard:?}");
}

#[corio::test]
fn callbacks_of_tasks_that_end_with_their_runtime_are_called_in_its_last_turns() {
    let runtime = Runtime::new().unwrap();
    let log = Log::default();
    let task = runtime.block_on(async { spawn(pending::<()>()) });
    let noted = Rc::clone(&log);
    task.on_done(move |ended| {
        noted.borrow_mut().push(format!("cancelled: {}", ended.was_cancelled()));
        let noted = Rc::clone(&noted);
        ended.task().on_done(move |_| noted.borrow_mut().push("another".into()));
    });
    runtime.close();
    assert_eq!(*log.borrow(), ["cancelled: true", "another"]);
}

#[corio::test]
fn a_callback_of_a_task_that_does_not_end_in_time_is_dropped_uncalled() {
    let (calls, drops) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let runtime = Runtime::builder().grace(Duration::ZERO).build().unwrap();
    let task = runtime.block_on(async { spawn(pending::<()>()) });
    let (called, dropped) = (Rc::clone(&calls), Rc::clone(&drops));
    let held = OnDrop(move || dropped.set(dropped.get() + 1));
    task.on_done(move |_| {
        called.set(called.get() + 1);
        drop(held);
    });
    runtime.close();
    assert_eq!((calls.get(), drops.get()), (0, 1));
    // Nor is one that is added to a runtime that is gone.
    let dropped = Rc::clone(&drops);
    let held = OnDrop(move || dropped.set(dropped.get() + 1));
    task.on_done(move |_| drop(held));
    assert_eq!(drops.get(), 2);
}

#[corio::test]
async fn as_many_callbacks_as_one_likes_need_no_stack() {
    const COUNT: usize = 100_000;
    let task = spawn(pending::<()>());
    let calls = Rc::new(Cell::new(0));
    for number in 0..COUNT {
        let calls = Rc::clone(&calls);
        task.on_done(move |_| {
            assert_eq!(calls.get(), number, "out of turn");
            calls.set(number + 1);
        });
    }
    task.cancel();
    while calls.get() < COUNT {
        yield_now().await;
    }
    let dropped = spawn(pending::<()>());
    let drops = Rc::new(Cell::new(0));
    for _ in 0..COUNT {
        let drops = Rc::clone(&drops);
        dropped.on_done(move |_| drops.set(drops.get() + 1));
    }
    dropped.abort();
    while drops.get() < COUNT {
        yield_now().await;
    }
}

#[corio::test]
async fn callbacks_that_come_and_go_leave_nothing_with_a_task_that_lives_long() {
    let task = spawn(pending::<()>());
    let alive = Rc::new(());
    for _ in 0..1000 {
        let held = Rc::clone(&alive);
        let id = task.on_done(move |_| drop(held));
        assert!(task.remove_on_done(&id));
        assert_eq!(Rc::strong_count(&alive), 1);
        assert!(!task.remove_on_done(&id));
    }
}

#[corio::test]
async fn a_callback_that_comes_after_the_outcome_was_taken_still_knows_how_it_ended() {
    let mut cancelled = spawn(pending::<()>());
    cancelled.cancel();
    assert!((&mut cancelled).await.unwrap_err().is_cancelled());
    let mut done = spawn(async { 3 });
    assert_eq!((&mut done).await.unwrap(), 3);
    let log = Log::default();
    for task in [cancelled.task(), done.task()] {
        let noted = Rc::clone(&log);
        task.on_done(move |ended| noted.borrow_mut().push(ended.was_cancelled().to_string()));
    }
    some_turns().await;
    assert_eq!(*log.borrow(), ["true", "false"]);
}
