//! Tasks that end in any order, under many seeds, against what must come of them.
//!
//! Each task takes a number of turns and ends in some way. Tasks that yield go on in turns, so who
//! ends first is known beforehand: by turns, and then by the order in which they were spawned.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::resume_unwind;
use std::rc::Rc;

use corio::task::{self, TaskGroup, TaskScope, When, as_completed, gather_settled, wait};
use corio::{JoinHandle, catch_cancel, gather, spawn, task_group};
use futures_util::StreamExt;
use futures_util::future::{FutureExt, LocalBoxFuture};

use crate::{OnDrop, soon, support::Random, turns};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Value,
    Error,
    Panic,
    /// Waits, and has a value once it was asked.
    TidyValue,
    /// Waits, and fails once it was asked.
    TidyError,
    /// Waits, and is dropped once it was asked.
    Wait,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    turns: usize,
    end: End,
}

fn plans(random: &mut Random, ends: &[End]) -> Vec<Plan> {
    let count = random.below(7);
    let plan = |_| Plan { turns: random.below(5), end: ends[random.below(ends.len())] };
    (0..count).map(plan).collect()
}

/// The places of those that end so by themselves, in the order in which they do.
fn order(plans: &[Plan], ends: impl Fn(End) -> bool) -> Vec<usize> {
    let mut places: Vec<_> = (0..plans.len()).filter(|place| ends(plans[*place].end)).collect();
    places.sort_by_key(|place| plans[*place].turns);
    places
}

/// What tasks leave of themselves.
#[derive(Clone, Default)]
struct World {
    alive: Rc<Cell<usize>>,
    /// Who failed, each noted by itself.
    failures: Rc<RefCell<Vec<usize>>>,
}

impl World {
    async fn live(self, place: usize, plan: Plan) -> Result<usize, String> {
        let alive = Rc::clone(&self.alive);
        alive.set(alive.get() + 1);
        let _guard = OnDrop(move || alive.set(alive.get() - 1));
        turns(plan.turns).await;
        match plan.end {
            End::TidyValue | End::TidyError => {
                let _ = catch_cancel(pending::<()>()).await;
                turns(plan.turns).await;
            }
            End::Wait => pending().await,
            _ => {}
        }
        match plan.end {
            End::Error | End::TidyError => {
                self.failures.borrow_mut().push(place);
                Err(format!("task {place}"))
            }
            End::Panic => {
                self.failures.borrow_mut().push(place);
                resume_unwind(Box::new(format!("task {place}")))
            }
            _ => Ok(place),
        }
    }

    fn spawn_all(&self, plans: &[Plan]) -> Vec<JoinHandle<Result<usize, String>>> {
        let spawn = |(place, plan): (usize, &Plan)| spawn(self.clone().live(place, *plan));
        plans.iter().enumerate().map(spawn).collect()
    }

    fn all(&self, plans: &[Plan]) -> Vec<LocalBoxFuture<'static, Result<usize, String>>> {
        let live = |(place, plan): (usize, &Plan)| self.clone().live(place, *plan).boxed_local();
        plans.iter().enumerate().map(live).collect()
    }
}

const BY_THEMSELVES: [End; 3] = [End::Value, End::Value, End::Error];
const WITH_PANICS: [End; 4] = [End::Value, End::Value, End::Error, End::Panic];
const ALL: [End; 6] =
    [End::Value, End::Error, End::Panic, End::TidyValue, End::TidyError, End::Wait];

#[corio::test]
async fn a_gather_gives_all_values_or_the_first_error_in_time() {
    for seed in 0..300 {
        let plans = plans(&mut Random::new(seed), &BY_THEMSELVES);
        let outcome = soon(gather(World::default().all(&plans))).await;
        match order(&plans, |end| end == End::Error).first() {
            Some(first) => assert_eq!(outcome, Err(format!("task {first}")), "seed {seed}"),
            None => assert_eq!(outcome, Ok(Vec::from_iter(0..plans.len())), "seed {seed}"),
        }
    }
}

#[corio::test]
async fn the_first_panic_or_error_of_a_gather_in_time_meets_its_waiter() {
    for seed in 0..300 {
        let plans = plans(&mut Random::new(seed), &[End::Value, End::Error, End::Panic, End::Wait]);
        let first = order(&plans, |end| matches!(end, End::Error | End::Panic)).first().copied();
        if first.is_none() && plans.iter().any(|plan| plan.end == End::Wait) {
            continue;
        }
        let all = gather(World::default().all(&plans));
        let outcome = soon(spawn(all)).await;
        match first.map(|first| (first, plans[first].end)) {
            // Of two that end in one turn, either is met first.
            Some((_, End::Panic | End::Error)) => {
                let is_met = outcome.as_ref().map_or(true, Result::is_err);
                assert!(is_met, "seed {seed}: {outcome:?}");
            }
            _ => assert_eq!(outcome.unwrap(), Ok(Vec::from_iter(0..plans.len())), "seed {seed}"),
        }
        task::all().iter().for_each(|task| assert!(task.abort()));
        turns(2).await;
    }
}

#[corio::test]
async fn settled_outcomes_are_all_there_in_the_order_of_the_arguments() {
    for seed in 0..300 {
        let plans = plans(&mut Random::new(seed), &WITH_PANICS);
        let outcomes = soon(gather_settled(World::default().all(&plans))).await;
        assert_eq!(outcomes.len(), plans.len());
        for (place, (plan, outcome)) in plans.iter().zip(outcomes).enumerate() {
            match (plan.end, outcome) {
                (End::Value, Ok(Ok(value))) => assert_eq!(value, place),
                (End::Error, Ok(Err(error))) => assert_eq!(error, format!("task {place}")),
                (End::Panic, Err(error)) => assert!(error.is_panic()),
                (end, outcome) => panic!("seed {seed}: {end:?} gave {outcome:?}"),
            }
        }
    }
}

#[corio::test]
async fn completions_come_in_the_order_in_which_tasks_end() {
    for seed in 0..300 {
        let plans = plans(&mut Random::new(seed), &BY_THEMSELVES);
        let values = as_completed(World::default().all(&plans)).map(|value| match value {
            Ok(place) => place,
            Err(text) => text.strip_prefix("task ").unwrap().parse().unwrap(),
        });
        let values: Vec<_> = soon(values.collect()).await;
        assert_eq!(values, order(&plans, |_| true), "seed {seed}");
    }
}

#[corio::test]
async fn a_wait_parts_all_tasks_as_its_mode_says() {
    for seed in 0..600 {
        let mut random = Random::new(seed);
        let plans = plans(&mut random, &WITH_PANICS);
        let when = [When::FirstCompleted, When::FirstException, When::AllCompleted];
        let when = when[random.below(3)];
        let mut tasks = World::default().spawn_all(&plans);
        let names: Vec<_> = tasks.iter().map(JoinHandle::id).collect();
        let done = soon(wait(&mut tasks, when)).await;
        assert_eq!(done.len() + tasks.len(), plans.len());
        assert!(done.iter().all(JoinHandle::is_finished));
        let failures = |end| matches!(end, End::Error | End::Panic);
        let due = match when {
            When::FirstCompleted => order(&plans, |_| true).into_iter().take(1).collect(),
            When::FirstException if order(&plans, failures).is_empty() => order(&plans, |_| true),
            When::FirstException => order(&plans, failures).into_iter().take(1).collect(),
            When::AllCompleted => order(&plans, |_| true),
        };
        for place in due {
            let is_done = done.iter().any(|task| task.id() == names[place]);
            assert!(is_done, "seed {seed}: {when:?} of {plans:?} without {place}");
        }
        for task in done.into_iter().chain(tasks) {
            drop(soon(task).await);
        }
    }
}

/// What is done to a group from aside, some turns after its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Aside {
    Nothing,
    CancelGroup,
    CancelTask,
}

/// A group outlives all its tasks, has a value only if nobody failed, and has each failure once.
#[corio::test]
async fn a_group_ends_after_all_its_tasks_and_has_every_failure_once() {
    for seed in 0..1000 {
        let mut random = Random::new(seed);
        let (plans, body) = (plans(&mut random, &ALL), plans(&mut random, &ALL).pop());
        let aside = [Aside::Nothing, Aside::CancelGroup, Aside::CancelTask][random.below(3)];
        let world = World::default();
        let (inner, shared) = (world.clone(), Rc::new(RefCell::new(None)));
        let (slot, all) = (Rc::clone(&shared), plans.clone());
        let task = spawn(async move {
            let outcome = task_group(async |group: TaskGroup| {
                slot.replace(Some(group.clone()));
                for (place, plan) in all.into_iter().enumerate() {
                    group.spawn(inner.clone().live(place, plan));
                }
                match body {
                    Some(plan) => inner.clone().live(usize::MAX, plan).await.map(drop),
                    None => Ok(()),
                }
            });
            let outcome = outcome.await;
            assert_eq!(inner.alive.get(), 0, "seed {seed}: a task outlived its group");
            outcome
        });
        turns(random.below(6)).await;
        match aside {
            Aside::Nothing => {}
            Aside::CancelGroup => drop(shared.borrow().as_ref().map(TaskGroup::cancel)),
            Aside::CancelTask => drop(task.cancel_with("aside")),
        }
        // What nobody asked and nobody fails beside waits for ever; the body's border may answer
        // for its task, and leave the tasks of the group alone.
        turns(20).await;
        for _ in 0..4 {
            task.cancel_with("the end");
            turns(20).await;
        }
        assert!(task.is_finished(), "seed {seed}: {aside:?} to {plans:?}, {body:?}");
        let has_failed = |count: usize| format!("seed {seed}: {count} of {:?}", world.failures);
        match soon(task).await {
            Ok(Ok(())) => assert!(world.failures.borrow().is_empty(), "{}", has_failed(0)),
            Ok(Err(error)) => {
                let count = error.len();
                assert_eq!(count, world.failures.borrow().len(), "{}", has_failed(count));
                for error in &error {
                    let (text, name) = (error.to_string(), |place| format!("task {place}"));
                    let is_known = |place: &usize| text.ends_with(&name(*place));
                    assert!(world.failures.borrow().iter().any(is_known), "seed {seed}: {text}");
                }
            }
            Err(error) => {
                assert!(error.is_cancelled(), "seed {seed}: {error}");
                assert!(world.failures.borrow().is_empty(), "{}", has_failed(0));
            }
        }
        assert_eq!(world.alive.get(), 0, "seed {seed}");
        shared.take();
        assert_eq!(corio::stats().tasks, 0, "seed {seed}");
    }
}

#[corio::test]
async fn a_scope_ends_after_all_its_children_and_has_every_failure_once() {
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let (plans, body) = (plans(&mut random, &ALL), random.below(6));
        let world = &World::default();
        let outcome = task::scope(async |scope: TaskScope| {
            for (place, plan) in plans.iter().enumerate() {
                scope.spawn(world.clone().live(place, *plan));
            }
            turns(body).await;
            scope.cancel();
        });
        let outcome = soon(outcome).await;
        assert_eq!(world.alive.get(), 0, "seed {seed}: a child outlived its scope");
        let count = outcome.map_or_else(|error| error.len(), |()| 0);
        assert_eq!(count, world.failures.borrow().len(), "seed {seed}");
    }
}
