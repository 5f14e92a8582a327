//! Whatever is done to a wait at any of its polls, nothing stays behind.
//!
//! Each subject is polled once, twice, and so on to its end. At each of these moments it is struck:
//! dropped, forgotten, ended by a panic around it, cancelled or aborted out of its own poll, or
//! cancelled by another task in the same turn, or handed to another task. Afterwards no task may be
//! left, no operation be in flight, and every value have been dropped once, apart from what was
//! forgotten and had to be aborted.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use corio::io::AsyncFd;
use corio::task::{self, TaskGroup, TaskScope, When, as_completed, gather_settled, race_staggered};
use corio::time::{Instant, timeout_scope, wait_for};
use corio::{catch_cancel, gather, shield, sleep, spawn, task_group, timeout, yield_now};
use futures_util::StreamExt;
use futures_util::future::{FutureExt, LocalBoxFuture};

use crate::{OnDrop, PATIENCE, turns};

type Subject = LocalBoxFuture<'static, ()>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Strike {
    Drop,
    Forget,
    Panic,
    CancelItself,
    AbortItself,
    CancelFromAside,
    HandOver,
}

const STRIKES: [Strike; 7] = [
    Strike::Drop,
    Strike::Forget,
    Strike::Panic,
    Strike::CancelItself,
    Strike::AbortItself,
    Strike::CancelFromAside,
    Strike::HandOver,
];

const MOMENT: Duration = Duration::from_micros(200);

/// Values that are alive, each the local of a future.
#[derive(Clone, Default)]
struct Alive(Rc<Cell<usize>>);

impl Alive {
    fn guard(&self) -> impl Drop + use<> {
        let count = Rc::clone(&self.0);
        count.set(count.get() + 1);
        OnDrop(move || count.set(count.get() - 1))
    }

    /// Ends by itself after some turns.
    async fn quick(self) -> Result<u8, &'static str> {
        let _guard = self.guard();
        turns(2).await;
        Ok(1)
    }

    async fn failing(self) -> Result<u8, &'static str> {
        let _guard = self.guard();
        turns(3).await;
        Err("no luck")
    }

    /// Without the noise of a panic's report.
    async fn panicking(self) -> Result<u8, &'static str> {
        let _guard = self.guard();
        turns(3).await;
        resume_unwind(Box::new("a panic of a child"))
    }

    /// Panics when it is dropped unfinished.
    async fn vengeful(self) -> Result<u8, &'static str> {
        let _guard = self.guard();
        let _revenge = OnDrop(|| {
            if !std::thread::panicking() {
                resume_unwind(Box::new("a panic of a drop"));
            }
        });
        pending().await
    }

    /// Takes a request, and some turns for it.
    async fn tidy(self) -> Result<u8, &'static str> {
        let _guard = self.guard();
        let _ = catch_cancel(pending::<()>()).await;
        turns(2).await;
        Ok(2)
    }

    /// Has an operation in flight, and does not end by itself.
    async fn operating(self) -> Result<u8, &'static str> {
        let _guard = self.guard();
        let (reader, _writer) = std::io::pipe().unwrap();
        let reader = AsyncFd::new(reader).unwrap();
        let _ = reader.readable().await;
        Err("nobody writes")
    }

    async fn stubborn(self) -> Result<u8, &'static str> {
        let _guard = self.guard();
        loop {
            let _ = catch_cancel(pending::<()>()).await;
        }
    }
}

type Making = fn(Alive) -> Subject;

const SUBJECTS: [(&str, Making); 19] = [
    ("a group that ends", |alive| {
        Box::pin(async move {
            let _ = task_group(async |group: TaskGroup| {
                group.spawn(alive.clone().quick());
                let child = group.spawn(alive.clone().quick());
                let _ = child.await;
            })
            .await;
        })
    }),
    ("a group that fails", |alive| Box::pin(group_of_all(alive).map(drop))),
    ("a group in a group", |alive| {
        Box::pin(async move {
            let _ = task_group(async |outer: TaskGroup| {
                outer.spawn(alive.clone().tidy());
                outer.spawn(group_of_all(alive.clone()));
                group_of_all(alive).await
            })
            .await;
        })
    }),
    ("a group that is cancelled", |alive| {
        Box::pin(async move {
            let _ = task_group(async |group: TaskGroup| {
                group.spawn(alive.clone().operating());
                group.spawn(alive.clone().tidy());
                turns(2).await;
                group.cancel();
                alive.tidy().await
            })
            .await;
        })
    }),
    ("a group with stubborn children and a grace limit", |alive| {
        Box::pin(async move {
            let group = task_group(async |group: TaskGroup| {
                group.spawn(alive.clone().stubborn());
                group.spawn(alive.clone().failing());
                alive.stubborn().await
            });
            let _ = group.grace(MOMENT).await;
        })
    }),
    ("a group whose child panics when it is dropped", |alive| {
        Box::pin(async move {
            let _ = task_group(async |group: TaskGroup| {
                group.spawn(alive.clone().vengeful());
                group.spawn(alive.failing());
                pending::<()>().await
            })
            .await;
        })
    }),
    ("a gather with an error", |alive| {
        Box::pin(
            gather([alive.clone().quick().boxed_local(), alive.failing().boxed_local()]).map(drop),
        )
    }),
    ("a gather with a panic", |alive| {
        let one = alive.clone().quick().boxed_local();
        Box::pin(gather([one, alive.panicking().boxed_local()]).map(drop))
    }),
    ("a gather that is asked", |alive| {
        Box::pin(async move {
            let all = [alive.clone().operating().boxed_local(), alive.tidy().boxed_local()];
            let _ = wait_for(MOMENT, gather(all)).await;
        })
    }),
    ("a settled gather", |alive| {
        let one = alive.clone().panicking().boxed_local();
        Box::pin(gather_settled([one, alive.failing().boxed_local()]).map(drop))
    }),
    ("a gather of unlike futures", |alive| {
        Box::pin(async move {
            let _ = async { gather!(alive.clone().quick(), alive.failing()) }.await;
        })
    }),
    ("completions", |alive| {
        let all = [alive.clone().quick().boxed_local(), alive.failing().boxed_local()];
        Box::pin(as_completed(all).timeout(PATIENCE).collect::<Vec<_>>().map(drop))
    }),
    ("a wait for handles", |alive| {
        Box::pin(async move {
            let mut tasks = vec![spawn(alive.clone().quick()), spawn(alive.failing())];
            while !tasks.is_empty() {
                task::wait(&mut tasks, When::FirstCompleted).await;
            }
        })
    }),
    ("a shield", |alive| Box::pin(shield(alive.quick()).map(drop))),
    ("a deadline around work", |alive| {
        Box::pin(async move {
            let _ = wait_for(MOMENT, alive.clone().operating()).await;
            let _ = wait_for(Duration::ZERO, spawn(alive.clone().quick())).await;
            let _ = wait_for(MOMENT, alive.stubborn()).grace(MOMENT).await;
        })
    }),
    ("a block with a deadline", |alive| {
        Box::pin(async move {
            let block = timeout_scope(PATIENCE, async |scope| {
                turns(1).await;
                scope.reschedule(Some(Instant::now() + MOMENT));
                alive.operating().await
            });
            let _ = block.await;
        })
    }),
    ("borders", |alive| {
        Box::pin(async move {
            let inner = catch_cancel(alive.clone().operating());
            let outer = catch_cancel(async {
                if let Err(cancelled) = inner.await {
                    turns(1).await;
                    cancelled.resume().await;
                }
            });
            let _ = timeout(MOMENT, outer).await;
        })
    }),
    ("children that borrow", |alive| {
        Box::pin(async move {
            let sum = &Cell::new(0);
            let _ = task::scope(async |scope: TaskScope| {
                scope.spawn(async move { sum.set(sum.get() + 1) });
                scope.spawn(alive.clone().operating());
                scope.spawn(alive.clone().tidy());
                scope.spawn(alive.clone().panicking());
                alive.tidy().await
            })
            .await;
        })
    }),
    ("a race", |alive| {
        let runners = [alive.clone().failing().boxed_local(), alive.clone().quick().boxed_local()];
        Box::pin(race_staggered(MOMENT, runners).map(drop))
    }),
];

async fn group_of_all(alive: Alive) -> Result<u8, corio::task::GroupError> {
    let outcome = task_group(async |group: TaskGroup| {
        group.spawn(alive.clone().tidy());
        group.spawn(alive.clone().operating());
        group.spawn(alive.clone().panicking());
        group.spawn(alive.clone().failing());
        alive.tidy().await
    });
    outcome.await
}

/// The subject, which is struck once it was polled so many times.
fn struck(
    subject: Subject,
    polls: usize,
    strike: Strike,
    shelf: Rc<RefCell<Option<Subject>>>,
    is_struck: Rc<Cell<bool>>,
) -> impl Future<Output = ()> {
    let (mut subject, mut count) = (Some(subject), 0);
    poll_fn(move |context| {
        count += 1;
        if count == polls + 1 {
            is_struck.set(true);
            let task = task::current().expect("it runs in a task");
            match strike {
                Strike::Drop => subject = None,
                Strike::Forget => std::mem::forget(subject.take()),
                Strike::Panic => resume_unwind(Box::new("struck")),
                Strike::HandOver => drop(shelf.replace(subject.take())),
                Strike::CancelItself => drop(task.cancel_with("itself")),
                Strike::AbortItself => drop(task.abort()),
                Strike::CancelFromAside => drop(spawn(async move { task.cancel() })),
            }
        }
        subject.as_mut().map_or(Poll::Ready(()), |subject| subject.poll_unpin(context))
    })
}

/// Whether the subject was still there to be struck.
async fn run(make: Making, polls: usize, strike: Strike) -> bool {
    let (alive, shelf) = (Alive::default(), Rc::default());
    let of_the_runtime = corio::stats().operations_in_flight;
    let is_struck = Rc::new(Cell::new(false));
    let (note, inner) = (Rc::clone(&is_struck), alive.clone());
    let task = spawn({
        let shelf = Rc::clone(&shelf);
        async move { struck(make(inner), polls, strike, shelf, note).await }
    });
    let known = task.task();
    let outcome = timeout(PATIENCE, task).await;
    assert!(outcome.is_ok(), "it does not end: {:?}", task::all());
    if let Some(subject) = shelf.take() {
        let other = timeout(PATIENCE, spawn(subject)).await;
        assert!(other.is_ok(), "it does not end elsewhere: {:?}", task::all());
    }
    assert!(known.is_finished());
    let start = Instant::now();
    while corio::stats().tasks > 0 || corio::stats().operations_in_flight > of_the_runtime {
        if strike == Strike::Forget && start.elapsed() > 10 * MOMENT {
            for task in task::all() {
                task.abort();
            }
        }
        assert!(start.elapsed() < PATIENCE, "left: {:?}, {:?}", task::all(), corio::stats());
        match start.elapsed() < 5 * MOMENT {
            true => yield_now().await,
            false => sleep(MOMENT).await,
        }
    }
    assert!(!task::cancelling(), "a request went astray");
    let left = alive.0.get();
    assert!(left == 0 || strike == Strike::Forget, "{left} values were not dropped");
    is_struck.get()
}

/// All subjects under one strike, at every poll.
async fn strike_all(strike: Strike) {
    for (name, make) in SUBJECTS {
        let mut polls = 0;
        loop {
            println!("{name}: {strike:?} after {polls} polls");
            if !run(make, polls, strike).await {
                break;
            }
            polls += 1;
            assert!(polls < 100, "it is polled without end");
        }
    }
}

macro_rules! attacks {
    ($($test:ident: $strike:ident,)+) => {
        $(
            #[corio::test]
            async fn $test() {
                strike_all(Strike::$strike).await;
            }
        )+

        #[test]
        fn every_strike_is_struck() {
            assert_eq!(STRIKES, [$(Strike::$strike),+]);
        }
    };
}

attacks! {
    what_is_dropped_at_any_poll_leaves_nothing_behind: Drop,
    what_is_forgotten_at_any_poll_ends_by_an_abort: Forget,
    a_panic_around_a_wait_leaves_nothing_behind: Panic,
    a_task_that_cancels_itself_at_any_poll_leaves_nothing_behind: CancelItself,
    a_task_that_aborts_itself_at_any_poll_leaves_nothing_behind: AbortItself,
    a_task_that_is_cancelled_in_the_turn_that_wakes_it_leaves_nothing_behind: CancelFromAside,
    what_changes_its_task_at_any_poll_goes_on_there: HandOver,
}
