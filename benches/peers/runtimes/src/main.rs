//! What every runtime has to do for a task, on six of them: start one and take its value, let
//! others run, wake another task, set a timeout and take it back, hand on a lock, pass a value.
//!
//! ```text
//! cargo bench --manifest-path benches/peers/Cargo.toml --package runtimes [-- PART OF A NAME]
//! ```
//!
//! The futures that yield and that hand a baton over are the same everywhere, so only the runtimes'
//! own work differs. Locks and queues are the runtime's own, made for one thread where it has such;
//! monoio and compio have none, and use those of smol, which run anywhere. Each batch counts what
//! it did. Without `--bench` every step is done once and nothing is measured.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use criterion::Criterion;

/// A timeout that never comes.
const LONG: Duration = Duration::from_secs(100);

/// Values that a queue holds at most.
const PLACES: usize = 16;

/// The steps, in the order of the functions of a [`Runtime`].
const NAMES: [&str; 6] =
    ["spawn and join", "yield", "wake another task", "timeout", "lock handed on", "queue"];

/// A runtime, with a batch of each step, which takes this long for so many.
struct Runtime {
    name: &'static str,
    steps: [fn(u64) -> Duration; 6],
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    for (step, name) in NAMES.iter().enumerate() {
        let mut group = criterion.benchmark_group(*name);
        for runtime in RUNTIMES {
            group.bench_function(runtime.name, |bencher| bencher.iter_custom(runtime.steps[step]));
        }
        group.finish();
    }
    criterion.final_summary();
}

/// Lets the other tasks run once.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What two tasks hand to each other: whoever has it wakes the other one.
#[derive(Default)]
struct Baton {
    is_away: Cell<bool>,
    waiting: [RefCell<Option<Waker>>; 2],
}

impl Baton {
    /// Takes it `count` times, as the first or the second of the two; returns how often.
    async fn run(self: Rc<Baton>, is_second: bool, count: u64) -> u64 {
        for _ in 0..count {
            poll_fn(|context| {
                if self.is_away.get() == is_second {
                    return Poll::Ready(());
                }
                *self.waiting[usize::from(is_second)].borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            })
            .await;
            self.is_away.set(!is_second);
            let other = self.waiting[usize::from(!is_second)].borrow_mut().take();
            if let Some(other) = other {
                other.wake();
            }
        }
        count
    }
}

/// How long a batch takes that has to do `count` steps.
async fn timed(count: u64, batch: impl Future<Output = u64>) -> Duration {
    let start = Instant::now();
    assert_eq!(batch.await, count);
    start.elapsed()
}

/// The steps on a runtime: how it runs a future, starts a task and waits for its value, bounds a
/// future's time, locks a number, and passes a value on.
macro_rules! runtime {
    (
        $module:ident, $run:expr, $spawn:expr, $join:expr, $timeout:expr,
        lock: $new_lock:expr, |$lock:ident| $guard:expr,
        queue: $new_queue:expr, |$sender:ident| $send:expr, |$receiver:ident| $receive:expr $(,)?
    ) => {
        mod $module {
            use super::*;

            fn spawn_and_join(count: u64) -> Duration {
                let batch = async move {
                    let mut sum = 0;
                    for _ in 0..count {
                        sum += ($join)(($spawn)(async { 1 }).await);
                    }
                    sum
                };
                ($run)(timed(count, batch))
            }

            fn yields(count: u64) -> Duration {
                let batch = async move {
                    for _ in 0..count {
                        yield_once().await;
                    }
                    count
                };
                ($run)(timed(count, batch))
            }

            fn wakes(count: u64) -> Duration {
                // Two tasks share the steps evenly.
                let count = count.next_multiple_of(2);
                let batch = async move {
                    let baton = Rc::new(Baton::default());
                    let one = ($spawn)(Rc::clone(&baton).run(false, count / 2));
                    let other = ($spawn)(baton.run(true, count / 2));
                    ($join)(one.await) + ($join)(other.await)
                };
                ($run)(timed(count, batch))
            }

            fn timeouts(count: u64) -> Duration {
                let batch = async move {
                    for _ in 0..count {
                        ($timeout)(yield_once()).await;
                    }
                    count
                };
                ($run)(timed(count, batch))
            }

            /// Each holds the lock for a turn, so the other always has to wait.
            fn locks(count: u64) -> Duration {
                let count = count.next_multiple_of(2);
                let batch = async move {
                    let shared = Rc::new($new_lock);
                    let [one, other] = [0, 1].map(|_| {
                        let $lock = Rc::clone(&shared);
                        ($spawn)(async move {
                            for _ in 0..count / 2 {
                                let mut guard = $guard;
                                *guard += 1;
                                yield_once().await;
                            }
                            count / 2
                        })
                    });
                    let steps = ($join)(one.await) + ($join)(other.await);
                    let $lock = shared;
                    assert_eq!(*$guard, steps);
                    steps
                };
                ($run)(timed(count, batch))
            }

            fn queues(count: u64) -> Duration {
                let batch = async move {
                    let ($sender, $receiver) = $new_queue;
                    let sending = ($spawn)(async move {
                        let $sender = $sender;
                        for _ in 0..count {
                            ($send)(1).await;
                        }
                        0
                    });
                    #[allow(unused_mut, reason = "some receive through a shared reference")]
                    let mut $receiver = $receiver;
                    let mut sum = 0;
                    for _ in 0..count {
                        sum += $receive;
                    }
                    sum + ($join)(sending.await)
                };
                ($run)(timed(count, batch))
            }

            pub const STEPS: [fn(u64) -> Duration; 6] =
                [spawn_and_join, yields, wakes, timeouts, locks, queues];
        }
    };
}

fn joined<E>(value: Result<u64, E>) -> u64 {
    value.unwrap_or_else(|_| panic!("the task did not panic"))
}

fn passed<T, E>(value: Result<T, E>) -> T {
    value.unwrap_or_else(|_| panic!("the other end is there"))
}

runtime!(
    corio_steps,
    |batch| ::corio::Runtime::new().expect("it starts").block_on(batch),
    ::corio::spawn,
    joined,
    async |future| ::corio::timeout(LONG, future).await.expect("no hundred seconds"),
    lock: ::corio::sync::Mutex::new(0), |lock| lock.lock().await,
    queue: {
        let queue = Rc::new(::corio::queue::Queue::new(PLACES));
        (Rc::clone(&queue), queue)
    },
    |sender| async |value| passed(sender.put(value).await),
    |receiver| passed(receiver.get().await)
);
runtime!(
    tokio_steps,
    |batch| {
        let mut builder = ::tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().expect("it starts");
        ::tokio::task::LocalSet::new().block_on(&runtime, batch)
    },
    ::tokio::task::spawn_local,
    joined,
    async |future| ::tokio::time::timeout(LONG, future).await.expect("no hundred seconds"),
    lock: ::tokio::sync::Mutex::new(0), |lock| lock.lock().await,
    queue: ::tokio::sync::mpsc::channel(PLACES),
    |sender| async |value| passed(sender.send(value).await),
    |receiver| receiver.recv().await.expect("the other end is there")
);
runtime!(
    monoio_steps,
    |batch| {
        let builder = ::monoio::RuntimeBuilder::<::monoio::IoUringDriver>::new();
        builder.enable_timer().build().expect("it starts").block_on(batch)
    },
    ::monoio::spawn,
    |value: u64| value,
    async |future| ::monoio::time::timeout(LONG, future).await.expect("no hundred seconds"),
    lock: ::smol::lock::Mutex::new(0), |lock| lock.lock().await,
    queue: ::smol::channel::bounded(PLACES),
    |sender| async |value| passed(sender.send(value).await),
    |receiver| passed(receiver.recv().await)
);
runtime!(
    compio_steps,
    |batch| ::compio::runtime::Runtime::new().expect("it starts").block_on(batch),
    ::compio::runtime::spawn,
    joined,
    async |future| ::compio::time::timeout(LONG, future).await.expect("no hundred seconds"),
    lock: ::smol::lock::Mutex::new(0), |lock| lock.lock().await,
    queue: ::smol::channel::bounded(PLACES),
    |sender| async |value| passed(sender.send(value).await),
    |receiver| passed(receiver.recv().await)
);
runtime!(
    glommio_steps,
    |batch| ::glommio::LocalExecutor::default().run(batch),
    ::glommio::spawn_local,
    |value: u64| value,
    async |future| {
        let future = async {
            future.await;
            Ok::<_, ::glommio::GlommioError<()>>(())
        };
        ::glommio::timer::timeout(LONG, future).await.expect("no hundred seconds");
    },
    lock: ::glommio::sync::RwLock::new(0), |lock| passed(lock.write().await),
    queue: ::glommio::channels::local_channel::new_bounded(PLACES),
    |sender| async |value| passed(sender.send(value).await),
    |receiver| receiver.recv().await.expect("the other end is there")
);

thread_local! {
    /// smol's executor for tasks that stay on their thread is a value, not a function.
    static SMOL: Rc<smol::LocalExecutor<'static>> = Rc::new(smol::LocalExecutor::new());
}

runtime!(
    smol_steps,
    |batch| {
        let executor = SMOL.with(Rc::clone);
        smol::block_on(executor.run(batch))
    },
    |future| SMOL.with(|executor| executor.spawn(future)),
    |value: u64| value,
    async |future| {
        let late = async {
            smol::Timer::after(LONG).await;
            panic!("no hundred seconds");
        };
        smol::future::or(future, late).await
    },
    lock: ::smol::lock::Mutex::new(0), |lock| lock.lock().await,
    queue: ::smol::channel::bounded(PLACES),
    |sender| async |value| passed(sender.send(value).await),
    |receiver| passed(receiver.recv().await)
);

const RUNTIMES: &[Runtime] = &[
    Runtime { name: "corio", steps: corio_steps::STEPS },
    Runtime { name: "tokio", steps: tokio_steps::STEPS },
    Runtime { name: "monoio", steps: monoio_steps::STEPS },
    Runtime { name: "compio", steps: compio_steps::STEPS },
    Runtime { name: "glommio", steps: glommio_steps::STEPS },
    Runtime { name: "smol", steps: smol_steps::STEPS },
];
