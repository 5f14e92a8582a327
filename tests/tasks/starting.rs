//! How a task starts: now or in the next turn, in which context, and one after another.

use std::cell::{Cell, RefCell};
use std::future::{pending, ready};
use std::rc::Rc;
use std::time::Duration;

use corio::context::{Context, ContextVar};
use corio::task::{Builder, race_staggered};
use corio::{Runtime, sleep, spawn, timeout, yield_now};

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
async fn an_earlier_runner_that_fails_does_not_take_the_time_of_the_last() {
    let delay = Duration::from_millis(20);
    let (fail, mut fails) = corio::sync::oneshot::<()>();
    let (fail, fails) = (Cell::new(Some(fail)), &mut fails);
    let starts = std::cell::RefCell::new(Vec::new());
    let mut fails = Some(fails);
    let runners = (0..3).map(|number| {
        let (fails, fail, starts) = (fails.take(), &fail, &starts);
        async move {
            starts.borrow_mut().push(corio::time::Instant::now());
            match (number, fails) {
                (0, Some(fails)) => Err(fails.await.is_ok()),
                (1, _) => {
                    fail.take().expect("there is one").send(()).unwrap();
                    pending().await
                }
                _ => Ok(number),
            }
        }
    });
    let won = timeout(PATIENCE, race_staggered(delay, runners)).await.unwrap();
    assert_eq!(won, Ok((2, 2)));
    let starts = starts.take();
    assert!(starts[2].duration_since(starts[1]) >= delay, "the second had its time");
}
