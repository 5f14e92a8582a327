//! What every runtime has to do for a task, in nanoseconds, on six of them in one run: start one
//! and take its value, let others run, wake another task, set a timeout and take it back.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml --package runtimes [-- STEPS]
//! ```
//!
//! The futures that yield and that hand a baton over are the same everywhere, so only the runtimes'
//! own work differs. Batches take turns, and their medians are shown. Each batch counts what it
//! did.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Batches of each step on each runtime.
const ROUNDS: usize = 21;

/// Steps of a batch, unless the argument says otherwise.
const STEPS_A_BATCH: usize = 10_000;

/// A timeout that never comes.
const LONG: Duration = Duration::from_secs(100);

/// The steps, in the order of the functions of a [`Runtime`].
const NAMES: [&str; 4] =
    ["spawn and join", "yield", "wake another task", "timeout set, taken back"];

/// A runtime, with a batch of each step, which gives its time in nanoseconds a step.
struct Runtime {
    name: &'static str,
    steps: [fn(usize) -> f64; 4],
}

fn main() {
    let count =
        std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(STEPS_A_BATCH);
    // Two tasks share the steps evenly.
    let count = count.next_multiple_of(2);
    let heads: String = RUNTIMES.iter().map(|runtime| format!("{:>10}", runtime.name)).collect();
    println!("{:<26}{heads}   ns", "step");
    for (step, name) in NAMES.iter().enumerate() {
        let mut batches = vec![Vec::new(); RUNTIMES.len()];
        for _ in 0..ROUNDS {
            for (runtime, batches) in RUNTIMES.iter().zip(&mut batches) {
                batches.push((runtime.steps[step])(count));
            }
        }
        let shown: String =
            batches.into_iter().map(|batches| format!("{:>10.1}", median(batches))).collect();
        println!("{name:<26}{shown}");
    }
}

fn median(mut batches: Vec<f64>) -> f64 {
    batches.sort_by(f64::total_cmp);
    batches[batches.len() / 2]
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
    async fn run(self: Rc<Baton>, is_second: bool, count: usize) -> usize {
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

/// The time of one step of a batch that has to do `count` of them.
async fn timed(count: usize, batch: impl Future<Output = usize>) -> f64 {
    let start = Instant::now();
    assert_eq!(batch.await, count);
    start.elapsed().as_nanos() as f64 / count as f64
}

/// The four steps on a runtime: how it runs a future, starts a task and waits for its value, and
/// bounds a future's time.
macro_rules! runtime {
    ($module:ident, $run:expr, $spawn:expr, $join:expr, $timeout:expr) => {
        mod $module {
            use super::*;

            pub fn spawn_and_join(count: usize) -> f64 {
                let batch = async move {
                    let mut sum = 0;
                    for _ in 0..count {
                        sum += ($join)(($spawn)(async { 1 }).await);
                    }
                    sum
                };
                ($run)(timed(count, batch))
            }

            pub fn yields(count: usize) -> f64 {
                let batch = async move {
                    for _ in 0..count {
                        yield_once().await;
                    }
                    count
                };
                ($run)(timed(count, batch))
            }

            pub fn wakes(count: usize) -> f64 {
                let batch = async move {
                    let baton = Rc::new(Baton::default());
                    let half = count / 2;
                    let one = ($spawn)(Rc::clone(&baton).run(false, half));
                    let other = ($spawn)(baton.run(true, count - half));
                    ($join)(one.await) + ($join)(other.await)
                };
                ($run)(timed(count, batch))
            }

            pub fn timeouts(count: usize) -> f64 {
                let batch = async move {
                    for _ in 0..count {
                        ($timeout)(yield_once()).await;
                    }
                    count
                };
                ($run)(timed(count, batch))
            }

            pub const STEPS: [fn(usize) -> f64; 4] = [spawn_and_join, yields, wakes, timeouts];
        }
    };
}

fn joined<E>(value: Result<usize, E>) -> usize {
    value.unwrap_or_else(|_| panic!("the task did not panic"))
}

runtime!(
    corio_steps,
    |batch| ::corio::Runtime::new().expect("it starts").block_on(batch),
    ::corio::spawn,
    joined,
    async |future| ::corio::timeout(LONG, future).await.expect("no hundred seconds")
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
    async |future| ::tokio::time::timeout(LONG, future).await.expect("no hundred seconds")
);
runtime!(
    monoio_steps,
    |batch| {
        let builder = ::monoio::RuntimeBuilder::<::monoio::IoUringDriver>::new();
        builder.enable_timer().build().expect("it starts").block_on(batch)
    },
    ::monoio::spawn,
    |value: usize| value,
    async |future| ::monoio::time::timeout(LONG, future).await.expect("no hundred seconds")
);
runtime!(
    compio_steps,
    |batch| ::compio::runtime::Runtime::new().expect("it starts").block_on(batch),
    ::compio::runtime::spawn,
    joined,
    async |future| ::compio::time::timeout(LONG, future).await.expect("no hundred seconds")
);
runtime!(
    glommio_steps,
    |batch| ::glommio::LocalExecutor::default().run(batch),
    ::glommio::spawn_local,
    |value: usize| value,
    async |future| {
        let future = async {
            future.await;
            Ok::<_, ::glommio::GlommioError<()>>(())
        };
        ::glommio::timer::timeout(LONG, future).await.expect("no hundred seconds");
    }
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
    |value: usize| value,
    async |future| {
        let late = async {
            smol::Timer::after(LONG).await;
            panic!("no hundred seconds");
        };
        smol::future::or(future, late).await
    }
);

const RUNTIMES: &[Runtime] = &[
    Runtime { name: "corio", steps: corio_steps::STEPS },
    Runtime { name: "tokio", steps: tokio_steps::STEPS },
    Runtime { name: "monoio", steps: monoio_steps::STEPS },
    Runtime { name: "compio", steps: compio_steps::STEPS },
    Runtime { name: "glommio", steps: glommio_steps::STEPS },
    Runtime { name: "smol", steps: smol_steps::STEPS },
];
