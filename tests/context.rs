//! Context values: one that leaks from a task to another, a change that is lost, a restoring that
//! restores too much, and foreign code that meets a borrow.

mod support;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corio::context::{Context, ContextVar};
use corio::{Runtime, join, sleep, spawn, spawn_blocking, yield_now};
use support::{Random, bounded, poll_once, run_with};

static NUMBER: ContextVar<u32> = ContextVar::new("number");
static OTHER: ContextVar<u32> = ContextVar::new("other");
static NAME: ContextVar<String> = ContextVar::with_default("name", || "nobody".into());
static LOCAL: ContextVar<Rc<Cell<u32>>> = ContextVar::local("local");

fn text_of(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).into())).unwrap_or_default()
}

#[track_caller]
fn panic_of(misuse: impl FnOnce()) -> String {
    text_of(catch_unwind(AssertUnwindSafe(misuse)).expect_err("no panic"))
}

#[corio::test]
async fn an_unset_variable_has_no_value_and_get_says_which() {
    assert_eq!(NUMBER.try_get(), None);
    let text = panic_of(|| {
        NUMBER.get();
    });
    assert!(text.contains("`number` has no value here"), "{text}");
    assert_eq!((NAME.get(), NAME.try_get()), ("nobody".into(), Some("nobody".into())));
}

#[corio::test]
async fn a_child_has_a_copy_of_what_was_set_when_it_was_spawned() {
    NUMBER.set(1);
    let child = spawn(async { NUMBER.get() });
    NUMBER.set(2);
    assert_eq!(child.await.unwrap(), 1, "what is set after the spawn is not the child's");
    let grandchild = spawn(async { spawn(async { NUMBER.get() }).await.unwrap() });
    assert_eq!(grandchild.await.unwrap(), 2);
}

#[corio::test]
async fn what_a_child_sets_is_not_seen_by_its_parent_or_its_siblings() {
    NUMBER.set(1);
    let set = |value| {
        spawn(async move {
            NUMBER.set(value);
            OTHER.set(value);
            yield_now().await;
            (NUMBER.get(), OTHER.get())
        })
    };
    let (a, b) = (set(10), set(20));
    yield_now().await;
    assert_eq!((NUMBER.get(), OTHER.try_get()), (1, None));
    assert_eq!((a.await.unwrap(), b.await.unwrap()), ((10, 10), (20, 20)));
    assert_eq!((NUMBER.get(), OTHER.try_get()), (1, None));
}

#[corio::test]
async fn bare_futures_of_one_task_share_its_context() {
    let first = async {
        NUMBER.set(5);
        yield_now().await;
    };
    let second = async {
        yield_now().await;
        NUMBER.get()
    };
    assert_eq!(join!(first, second).1, 5);
    assert_eq!(NUMBER.get(), 5);
}

#[corio::test]
async fn reset_restores_what_was_before_in_any_nesting() {
    let first = NUMBER.set(1);
    let second = NUMBER.set(2);
    NUMBER.reset(second);
    assert_eq!(NUMBER.get(), 1);
    NUMBER.reset(first);
    assert_eq!(NUMBER.try_get(), None);
    // A token that is dropped restores nothing.
    drop(NUMBER.set(3));
    assert_eq!(NUMBER.get(), 3);
}

#[corio::test]
async fn a_token_of_another_variable_is_refused_and_changes_nothing() {
    let token = NUMBER.set(1);
    OTHER.set(2);
    let text = panic_of(|| OTHER.reset(token));
    assert!(text.contains("another variable than `other`"), "{text}");
    assert_eq!((NUMBER.get(), OTHER.get()), (1, 2));
}

#[corio::test]
async fn a_token_of_another_task_is_refused_and_changes_nothing() {
    let token = NUMBER.set(1);
    let child = spawn(async move {
        let text = panic_of(|| NUMBER.reset(token));
        assert!(text.contains("another context"), "{text}");
        NUMBER.get()
    });
    assert_eq!(child.await.unwrap(), 1);
    // Nor may a context that never had a value take one.
    let token = Context::new().run(|| NUMBER.set(2));
    assert!(panic_of(|| NUMBER.reset(token)).contains("another context"));
    assert_eq!(NUMBER.get(), 1);
}

#[corio::test]
async fn a_scope_holds_for_its_future_only_and_over_its_waits() {
    NUMBER.set(1);
    let scoped = NUMBER.scope(7, async {
        let before = NUMBER.get();
        sleep(Duration::from_micros(50)).await;
        let child = spawn(async { NUMBER.get() }).await.unwrap();
        NUMBER.set(8);
        // What it sets beside its own variable belongs to the task.
        OTHER.set(9);
        yield_now().await;
        (before, child, NUMBER.get())
    });
    let watching = async {
        for _ in 0..4 {
            assert_eq!(NUMBER.get(), 1);
            yield_now().await;
        }
    };
    assert_eq!(join!(scoped, watching).0, (7, 7, 8));
    assert_eq!((NUMBER.get(), OTHER.get()), (1, 9));
}

#[corio::test]
async fn scopes_nest_and_end_when_their_future_panics() {
    let inner = async {
        let text = NUMBER.scope(2, async { panic!("in {}", NUMBER.get()) });
        let caught = futures_util::FutureExt::catch_unwind(AssertUnwindSafe(text)).await;
        (text_of(caught.unwrap_err()), NUMBER.get())
    };
    assert_eq!(NUMBER.scope(1, inner).await, ("in 2".into(), 1));
    assert_eq!(NUMBER.try_get(), None);
}

struct SeesOnDrop(Rc<RefCell<Vec<Option<u32>>>>);

impl Drop for SeesOnDrop {
    fn drop(&mut self) {
        self.0.borrow_mut().push(NUMBER.try_get());
    }
}

#[corio::test]
async fn a_future_is_dropped_in_its_context_wherever_that_happens() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let guard = SeesOnDrop(Rc::clone(&seen));
    let scoped = NUMBER.scope(3, async move {
        let _guard = guard;
        pending::<()>().await;
    });
    assert!(poll_once(scoped).is_none());
    let guard = SeesOnDrop(Rc::clone(&seen));
    let task = spawn(async move {
        NUMBER.set(4);
        let _guard = guard;
        pending::<()>().await;
    });
    yield_now().await;
    task.cancel();
    assert!(task.await.unwrap_err().is_cancelled());
    let guard = SeesOnDrop(Rc::clone(&seen));
    let mut context = Context::new();
    context.run(|| NUMBER.set(5));
    drop(context.scope(async move { drop(guard) }));
    assert_eq!(*seen.borrow(), [Some(3), Some(4), Some(5)]);
}

#[corio::test]
async fn a_context_keeps_what_is_set_in_it() {
    NUMBER.set(1);
    let mut context = Context::copy();
    assert_eq!(context.len(), 1);
    NUMBER.set(2);
    context.run(|| drop(NUMBER.set(NUMBER.get() + 10)));
    assert_eq!((context.get(&NUMBER), NUMBER.get()), (Some(11), 2));
    let copy = context.clone();
    context.run(|| drop(OTHER.set(3)));
    assert_eq!((copy.get(&OTHER), context.get(&OTHER)), (None, Some(3)));
    assert_eq!(copy.get(&NAME), Some("nobody".into()), "the default holds there, too");
    // asyncio's create_task(..., context=context).
    let task = spawn(context.scope(async { (NUMBER.get(), OTHER.get()) }));
    assert_eq!(task.await.unwrap(), (11, 3));
    assert_eq!(Context::new().run(|| NUMBER.try_get()), None);
    let panic = panic_of(|| Context::new().run(|| panic!("inside")));
    assert_eq!((panic.as_str(), NUMBER.get()), ("inside", 2));
}

#[corio::test]
async fn a_blocking_job_has_the_shared_values_and_keeps_its_changes_to_itself() {
    NUMBER.set(1);
    LOCAL.set(Rc::new(Cell::new(2)));
    let job = spawn_blocking(|| {
        let seen = (NUMBER.get(), LOCAL.try_get().is_some(), NAME.get());
        NUMBER.set(50);
        LOCAL.set(Rc::new(Cell::new(60)));
        seen
    });
    assert_eq!(bounded(job).await.unwrap(), (1, false, "nobody".into()));
    assert_eq!((NUMBER.get(), LOCAL.get().get()), (1, 2));
    // The thread has no memory of it.
    let clean =
        Context::new().run(|| spawn_blocking(|| (NUMBER.try_get(), LOCAL.try_get().is_none())));
    assert_eq!(bounded(clean).await.unwrap(), (None, true));
}

#[corio::test]
fn a_runtime_copies_the_threads_context_and_keeps_its_own_over_its_runs() {
    NUMBER.set(1);
    let runtime = Runtime::new().unwrap();
    NUMBER.set(2);
    runtime.block_on(async {
        assert_eq!(NUMBER.get(), 1);
        NUMBER.set(3);
    });
    assert_eq!(NUMBER.get(), 2);
    assert_eq!(runtime.block_on(async { spawn(async { NUMBER.get() }).await.unwrap() }), 3);
    let elsewhere = std::thread::spawn(|| NUMBER.try_get());
    assert_eq!(elsewhere.join().unwrap(), None, "a new thread has a context of its own");
}

/// A value whose clone and drop look at the variables, set them, and spawn.
struct Meddler(Arc<AtomicUsize>);

static MEDDLER: ContextVar<Meddler> = ContextVar::new("meddler");

static MEDDLED: AtomicUsize = AtomicUsize::new(0);

fn meddle() {
    MEDDLED.fetch_add(1, Ordering::SeqCst);
    drop(NUMBER.set(NUMBER.try_get().unwrap_or(0) + 1));
    spawn(async { OTHER.set(1) });
    spawn_blocking(|| {}).detach();
}

impl Clone for Meddler {
    fn clone(&self) -> Meddler {
        meddle();
        self.0.fetch_add(1, Ordering::SeqCst);
        Meddler(Arc::clone(&self.0))
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
        meddle();
    }
}

#[corio::test]
fn a_value_that_meddles_when_it_is_cloned_or_dropped_meets_no_borrow() {
    let alive = Arc::new(AtomicUsize::new(0));
    let make = || {
        alive.fetch_add(1, Ordering::SeqCst);
        Meddler(Arc::clone(&alive))
    };
    let runtime = Runtime::builder().grace(Duration::from_secs(20)).build().unwrap();
    runtime.block_on(bounded(async {
        let token = MEDDLER.set(make());
        drop(MEDDLER.get());
        drop(MEDDLER.set(make()));
        spawn(async { drop(MEDDLER.get()) }).await.unwrap();
        MEDDLER.scope(make(), yield_now()).await;
        let mut context = Context::copy();
        drop(context.run(|| MEDDLER.set(make())));
        drop(context);
        MEDDLER.reset(token);
        assert!(MEDDLED.load(Ordering::SeqCst) > 4, "it did meddle");
    }));
    runtime.close();
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

struct Bomb;

impl Clone for Bomb {
    fn clone(&self) -> Bomb {
        Bomb
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "a bomb");
    }
}

static BOMB: ContextVar<Bomb> = ContextVar::new("bomb");

#[corio::test]
fn a_value_whose_drop_panics_ends_no_core() {
    let reports = Rc::new(RefCell::new(Vec::new()));
    let notes = Rc::clone(&reports);
    let builder = Runtime::builder()
        .on_unhandled(move |unhandled| notes.borrow_mut().push(unhandled.to_string()));
    run_with(builder, async {
        spawn(async { drop(BOMB.set(Bomb)) }).await.unwrap();
        yield_now().await;
        assert_eq!(reports.borrow().len(), 1);
        assert!(reports.borrow()[0].contains("panicked when the runtime dropped it"));
        drop(BOMB.set(Bomb));
    });
    assert_eq!(reports.borrow().len(), 2, "the runtime's own context holds the other");
}

/// A model beside the real thing: tasks set, reset, scope and spawn as a seed has it, and each
/// always sees what the model says.
async fn walk(seed: u64, depth: usize, mut number: Option<u32>, mut other: Option<u32>) {
    let mut random = Random::new(seed);
    let mut children = Vec::new();
    for step in 0..12 {
        assert_eq!((NUMBER.try_get(), OTHER.try_get()), (number, other), "seed {seed}");
        let value = random.below(1000) as u32;
        match random.below(6) {
            0 => {
                drop(NUMBER.set(value));
                number = Some(value);
            }
            1 => {
                let token = OTHER.set(value);
                assert_eq!(OTHER.get(), value);
                yield_now().await;
                OTHER.reset(token);
            }
            2 if depth > 0 => {
                let child = walk(seed * 31 + step, depth - 1, number, other);
                children
                    .push(spawn(Box::pin(child) as std::pin::Pin<Box<dyn Future<Output = ()>>>));
            }
            3 if depth > 0 => {
                let scoped = Box::pin(walk(seed * 37 + step, 0, Some(value), other));
                let scoped: std::pin::Pin<Box<dyn Future<Output = ()>>> = scoped;
                let child = spawn(NUMBER.scope(value, scoped));
                children.push(child);
            }
            4 => {
                drop(OTHER.set(value));
                other = Some(value);
            }
            _ => yield_now().await,
        }
    }
    for child in children {
        child.await.unwrap();
    }
    assert_eq!((NUMBER.try_get(), OTHER.try_get()), (number, other), "seed {seed}");
}

#[corio::test]
async fn every_task_sees_its_own_values_in_any_interleaving() {
    for seed in 1..=100 {
        bounded(spawn(walk(seed, 3, None, None))).await.unwrap();
    }
}
