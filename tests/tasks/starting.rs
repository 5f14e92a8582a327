//! How a task starts: now or in the next turn, in which context, and one after another.

use std::cell::{Cell, RefCell};
use std::future::{pending, ready};
use std::rc::Rc;
use std::time::Duration;

use corio::context::{Context, ContextVar};
use corio::task::{Builder, as_completed, race_staggered};
use corio::{Runtime, TaskGroup, gather, shield, sleep, spawn, timeout, yield_now};
use futures_util::StreamExt;

use crate::{OnDrop, PATIENCE};

const MOMENT: Duration = Duration::from_millis(2);

#[corio::test]
fn a_runtime_may_poll_every_task_inside_of_its_spawn() {
    let runtime = Runtime::builder().eager_tasks(true).build().unwrap();
    runtime.block_on(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let noted = Rc::clone(&log);
        let task = spawn(async move {
            noted.borrow_mut().push("first step");
            yield_now().await;
            noted.borrow_mut().push("second step");
        });
        log.borrow_mut().push("spawned");
        assert!(!task.is_finished());
        let at_once = spawn(ready(7));
        assert!(at_once.is_finished());
        assert_eq!(at_once.await.unwrap(), 7);
        task.await.unwrap();
        assert_eq!(*log.borrow(), ["first step", "spawned", "second step"]);
        let later = Builder::new().eager(false).spawn(ready(8));
        assert!(!later.is_finished(), "a task's own word counts more");
        assert_eq!(later.await.unwrap(), 8);
    });
}

#[corio::test]
fn what_makes_tasks_of_futures_starts_them_as_their_runtime_says() {
    for eager in [true, false] {
        let runtime = Runtime::builder().eager_tasks(eager).build().unwrap();
        runtime.block_on(async {
            let steps = Rc::new(Cell::new(0));
            let step = || {
                let steps = Rc::clone(&steps);
                async move {
                    steps.set(steps.get() + 1);
                    Ok::<_, &str>(steps.get())
                }
            };
            let begun = |count| if eager { count } else { 0 };
            let group = TaskGroup::new();
            group.spawn(step());
            assert_eq!((steps.take(), group.len()), (begun(1), usize::from(!eager)));
            group.join().await.unwrap();
            steps.set(0);
            let gathered = gather([step(), step()]);
            assert_eq!(steps.get(), begun(2));
            assert_eq!(gathered.await, Ok(vec![1, 2]));
            steps.set(0);
            let completed = as_completed([step(), step(), step()]);
            assert_eq!(steps.get(), begun(3));
            assert_eq!(completed.collect::<Vec<_>>().await, [Ok(1), Ok(2), Ok(3)]);
            steps.set(0);
            let shielded = shield(step());
            assert_eq!(steps.get(), begun(1));
            assert_eq!(shielded.await.unwrap(), Ok(1));
        });
    }
}

#[corio::test]
async fn a_task_in_a_context_of_its_own_sees_nothing_of_its_spawner() {
    static LEVEL: ContextVar<u32> = ContextVar::with_default("level", || 0);
    LEVEL.set(1);
    let mut context = Context::new();
    context.run(|| LEVEL.set(5));
    for eager in [false, true] {
        let builder = Builder::new().context(context.clone()).eager(eager);
        let task = builder.spawn(async {
            let seen = LEVEL.get();
            LEVEL.set(9);
            yield_now().await;
            (seen, LEVEL.get())
        });
        assert_eq!(task.await.unwrap(), (5, 9));
    }
    assert_eq!((context.get(&LEVEL), LEVEL.get()), (Some(5), 1));
}

#[corio::test]
async fn an_outcome_can_be_asked_for_without_waiting_and_is_given_once() {
    let mut task = spawn(async { 3 });
    assert!(task.try_join().is_none());
    yield_now().await;
    assert_eq!(task.try_join().unwrap().unwrap(), 3);
    assert!(task.try_join().is_none(), "it was taken");
    let mut cancelled = spawn(pending::<()>());
    cancelled.cancel();
    yield_now().await;
    assert!(cancelled.try_join().unwrap().unwrap_err().is_cancelled());
}

#[corio::test]
async fn a_race_starts_the_next_when_one_fails_and_gives_all_errors_in_order() {
    let started = Cell::new(0);
    let runners = (0..3).map(|number| {
        let started = &started;
        async move {
            started.set(started.get() + 1);
            // The first fails last.
            sleep(MOMENT * (3 - number)).await;
            Err::<(), _>(number)
        }
    });
    let lost = timeout(PATIENCE, race_staggered(MOMENT / 4, runners)).await.unwrap();
    assert_eq!((lost, started.get()), (Err(vec![0, 1, 2]), 3));
    let none: [std::future::Ready<Result<(), ()>>; 0] = [];
    assert_eq!(race_staggered(MOMENT, none).await, Err(vec![]));
}

#[corio::test]
async fn a_race_that_is_won_drops_who_runs_and_never_makes_the_rest() {
    let (made, dropped) = (Cell::new(0), Cell::new(0));
    let runners = (0..5).map(|number| {
        made.set(made.get() + 1);
        let dropped = &dropped;
        async move {
            let _at_end = OnDrop(|| dropped.set(dropped.get() + 1));
            if number < 2 { pending().await } else { Ok::<_, ()>("won") }
        }
    });
    let won = timeout(PATIENCE, race_staggered(MOMENT, runners)).await.unwrap();
    assert_eq!((won, made.get(), dropped.get()), (Ok(("won", 2)), 3, 3));
}

#[corio::test]
async fn a_race_that_is_dropped_drops_its_runners() {
    let dropped = Cell::new(0);
    let runner = || async {
        let _at_end = OnDrop(|| dropped.set(dropped.get() + 1));
        pending::<Result<(), ()>>().await
    };
    let race = race_staggered(Duration::ZERO, [runner(), runner()]);
    assert!(timeout(MOMENT, race).await.is_err());
    assert_eq!(dropped.get(), 2);
}

#[corio::test]
fn a_chain_of_eager_starts_is_longer_than_the_stack() {
    const LENGTH: usize = 100_000;
    fn link(left: usize, done: Rc<Cell<bool>>) {
        spawn(async move {
            match left {
                0 => done.set(true),
                _ => link(left - 1, done),
            }
        });
    }
    let runtime = Runtime::builder().eager_tasks(true).build().unwrap();
    runtime.block_on(async {
        let done = Rc::new(Cell::new(false));
        link(LENGTH, Rc::clone(&done));
        while !done.get() {
            yield_now().await;
        }
    });
}

/// A runtime whose hook runs a closure for each task, and what it reports.
fn hooked(hook: impl Fn(&corio::task::TaskRef) + 'static) -> (Runtime, Rc<RefCell<Vec<String>>>) {
    let heard = Rc::new(RefCell::new(Vec::new()));
    let hear = Rc::clone(&heard);
    let unhandled =
        move |unhandled: &corio::Unhandled| hear.borrow_mut().push(unhandled.to_string());
    let runtime = Runtime::builder().on_spawn(hook).on_unhandled(unhandled).build().unwrap();
    (runtime, heard)
}

#[corio::test]
fn a_hook_hears_of_every_task_once_before_it_runs() {
    let told = Rc::new(RefCell::new(Vec::new()));
    let tell = Rc::clone(&told);
    let (runtime, heard) = hooked(move |task| {
        assert!(!task.is_finished());
        tell.borrow_mut().push(task.name().map_or("", |_| "named"));
    });
    runtime.block_on(async {
        let names = Rc::clone(&told);
        let counted = |count: usize| {
            let told = names.take();
            assert_eq!(told.len(), count);
        };
        spawn(async {}).await.unwrap();
        counted(1);
        let seen = Rc::clone(&told);
        let eager = Builder::new().name("one").eager(true).spawn(async move { seen.take() });
        assert_eq!(eager.await.unwrap(), ["named"]);
        let group = TaskGroup::new();
        group.spawn(async {});
        group.join().await.unwrap();
        counted(1);
        gather([ready(Ok::<_, ()>(1)), ready(Ok(2))]).await.unwrap();
        counted(2);
        as_completed([ready(1), ready(2), ready(3)]).collect::<Vec<_>>().await;
        counted(3);
        shield(async {}).await.unwrap();
        counted(1);
        corio::cores::CoreHandle::current().spawn(|| async {}).await.unwrap();
        counted(1);
    });
    assert!(heard.borrow().is_empty());
}

#[corio::test]
fn a_hook_may_spawn_cancel_add_callbacks_and_panic() {
    let (calls, ended) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (called, end) = (Rc::clone(&calls), Rc::clone(&ended));
    let (runtime, heard) = hooked(move |task| {
        called.set(called.get() + 1);
        spawn(async {});
        let end = Rc::clone(&end);
        task.on_done(move |_| end.set(end.get() + 1));
        match &*task.name().unwrap_or_default() {
            "cancel" => assert!(task.cancel()),
            "panic" => panic!("by a hook"),
            _ => {}
        }
    });
    runtime.block_on(async {
        let cancelled = Builder::new().name("cancel").eager(true).spawn(async {});
        assert!(cancelled.await.unwrap_err().is_cancelled());
        let task = Builder::new().name("panic").spawn(async { 5 });
        assert_eq!(task.await.unwrap(), 5);
        // Whoever waits for many hears of the end as well as the callback does.
        gather([ready(Ok::<_, ()>(1)), ready(Ok(2))]).await.unwrap();
        as_completed([ready(1)]).collect::<Vec<_>>().await;
        corio::task_group(async |group| drop(group.spawn(async {}))).await.unwrap();
        for _ in 0..4 {
            yield_now().await;
        }
    });
    assert_eq!((calls.get(), ended.get()), (6, 6));
    assert_eq!(*heard.borrow(), ["the hook that hears of spawns panicked"]);
}
