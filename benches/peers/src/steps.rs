//! What tasks do among themselves, on corio and on tokio's current-thread runtime, in one run.
//!
//! Each step is done many times in a batch, the two runtimes in turn, and the medians of the
//! batches are compared: the figures are nanoseconds a step. Both runtimes do the same: an
//! uncontended lock, a permit, an item through a bounded queue, a note to oneself, a value through
//! a channel of its own, tasks.

use std::fmt::Write as _;
use std::future::Future;
use std::rc::Rc;
use std::time::Instant;

/// Batches of each step, on each runtime.
const ROUNDS: usize = 51;

/// Steps of a batch, unless the argument says otherwise: so few that most batches are over before
/// the kernel gives the CPU to somebody else.
const STEPS_A_BATCH: usize = 10_000;

/// Tasks of a group.
const CROWD: usize = 1000;

/// One step on both runtimes: the time of a batch in nanoseconds a step.
struct Step {
    name: &'static str,
    /// The most that corio may take, as a part of tokio's time.
    target: f64,
    corio: fn(usize) -> f64,
    tokio: fn(usize) -> f64,
}

fn main() {
    let count =
        std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(STEPS_A_BATCH);
    let mut table =
        String::from("step                            corio ns   tokio ns   ratio   target\n");
    for step in STEPS {
        let (mut corio, mut tokio) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            corio.push((step.corio)(count));
            tokio.push((step.tokio)(count));
        }
        let (corio, tokio) = (median(corio), median(tokio));
        let ratio = corio / tokio;
        let verdict = if ratio <= step.target { "met" } else { "missed" };
        let Step { name, target, .. } = step;
        writeln!(
            table,
            "{name:<31} {corio:>8.1} {tokio:>10.1} {ratio:>7.2} {target:>8.2} {verdict}"
        )
        .expect("a String takes everything");
    }
    print!("{table}");
}

fn median(mut batch: Vec<f64>) -> f64 {
    batch.sort_by(f64::total_cmp);
    batch[batch.len() / 2]
}

/// Runs a batch, whose future gives how many steps it did.
fn timed<F: Future<Output = usize>>(run: impl FnOnce(F) -> usize, batch: F) -> f64 {
    let start = Instant::now();
    let count = run(batch);
    start.elapsed().as_nanos() as f64 / count as f64
}

fn on_corio<F: Future<Output = usize>>(batch: F) -> f64 {
    let runtime = corio::Runtime::new().expect("a runtime starts");
    timed(|batch| runtime.block_on(batch), batch)
}

fn on_tokio<F: Future<Output = usize>>(batch: F) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    let local = tokio::task::LocalSet::new();
    timed(|batch| local.block_on(&runtime, batch), batch)
}

const STEPS: &[Step] = &[
    Step { name: "lock and unlock", target: 0.5, corio: lock_corio, tokio: lock_tokio },
    Step {
        name: "permit taken, given back",
        target: 0.5,
        corio: permit_corio,
        tokio: permit_tokio,
    },
    Step { name: "queue: put and get", target: 0.5, corio: queue_corio, tokio: queue_tokio },
    Step { name: "notify and be notified", target: 0.5, corio: notify_corio, tokio: notify_tokio },
    Step {
        name: "oneshot: made, sent, received",
        target: 0.5,
        corio: oneshot_corio,
        tokio: oneshot_tokio,
    },
    Step { name: "spawn and join", target: 1.0, corio: spawn_corio, tokio: spawn_tokio },
    Step { name: "gather of 1,000, a task", target: 1.0, corio: gather_corio, tokio: gather_tokio },
    Step { name: "group of 1,000, a task", target: 1.0, corio: group_corio, tokio: group_tokio },
];

fn lock_corio(count: usize) -> f64 {
    on_corio(async move {
        let lock = corio::sync::Mutex::new(0);
        for _ in 0..count {
            *lock.lock().await += 1;
        }
        assert_eq!(*lock.lock().await, count);
        count
    })
}

fn lock_tokio(count: usize) -> f64 {
    on_tokio(async move {
        let lock = tokio::sync::Mutex::new(0);
        for _ in 0..count {
            *lock.lock().await += 1;
        }
        assert_eq!(*lock.lock().await, count);
        count
    })
}

fn permit_corio(count: usize) -> f64 {
    on_corio(async move {
        let semaphore = corio::sync::Semaphore::new(3);
        for _ in 0..count {
            drop(semaphore.acquire().await.expect("it is open"));
        }
        assert_eq!(semaphore.available(), 3);
        count
    })
}

fn permit_tokio(count: usize) -> f64 {
    on_tokio(async move {
        let semaphore = tokio::sync::Semaphore::new(3);
        for _ in 0..count {
            drop(semaphore.acquire().await.expect("it is open"));
        }
        assert_eq!(semaphore.available_permits(), 3);
        count
    })
}

fn queue_corio(count: usize) -> f64 {
    on_corio(async move {
        let queue = corio::queue::Queue::new(16);
        for number in 0..count {
            queue.put(number).await.expect("it is open");
            assert_eq!(queue.get().await, Ok(number));
        }
        count
    })
}

fn queue_tokio(count: usize) -> f64 {
    on_tokio(async move {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
        for number in 0..count {
            sender.send(number).await.expect("it is open");
            assert_eq!(receiver.recv().await, Some(number));
        }
        count
    })
}

fn notify_corio(count: usize) -> f64 {
    on_corio(async move {
        let notify = corio::sync::Notify::new();
        for _ in 0..count {
            notify.notify_one();
            notify.notified().await;
        }
        count
    })
}

fn notify_tokio(count: usize) -> f64 {
    on_tokio(async move {
        let notify = tokio::sync::Notify::new();
        for _ in 0..count {
            notify.notify_one();
            notify.notified().await;
        }
        count
    })
}

fn oneshot_corio(count: usize) -> f64 {
    on_corio(async move {
        for number in 0..count {
            let (sender, receiver) = corio::sync::oneshot();
            sender.send(number).expect("the receiver is there");
            assert_eq!(receiver.await, Ok(number));
        }
        count
    })
}

fn oneshot_tokio(count: usize) -> f64 {
    on_tokio(async move {
        for number in 0..count {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            sender.send(number).expect("the receiver is there");
            assert_eq!(receiver.await, Ok(number));
        }
        count
    })
}

fn spawn_corio(count: usize) -> f64 {
    on_corio(async move {
        for number in 0..count {
            assert_eq!(corio::spawn(async move { number }).await.expect("no panic"), number);
        }
        count
    })
}

fn spawn_tokio(count: usize) -> f64 {
    on_tokio(async move {
        for number in 0..count {
            let task = tokio::task::spawn_local(async move { number });
            assert_eq!(task.await.expect("no panic"), number);
        }
        count
    })
}

fn gather_corio(count: usize) -> f64 {
    on_corio(async move {
        let rounds = count.div_ceil(CROWD);
        for _ in 0..rounds {
            let futures = (0..CROWD).map(|number| async move { Ok::<_, ()>(number) });
            assert_eq!(corio::task::gather(futures).await.expect("none fails").len(), CROWD);
        }
        rounds * CROWD
    })
}

fn gather_tokio(count: usize) -> f64 {
    on_tokio(async move {
        let rounds = count.div_ceil(CROWD);
        for _ in 0..rounds {
            let spawn = |number| tokio::task::spawn_local(async move { Ok::<_, ()>(number) });
            let tasks: Vec<_> = (0..CROWD).map(spawn).collect();
            let mut values = Vec::with_capacity(CROWD);
            for task in tasks {
                values.push(task.await.expect("no panic").expect("none fails"));
            }
            assert_eq!(values.len(), CROWD);
        }
        rounds * CROWD
    })
}

fn group_corio(count: usize) -> f64 {
    on_corio(async move {
        let rounds = count.div_ceil(CROWD);
        let sum = Rc::new(std::cell::Cell::new(0));
        for _ in 0..rounds {
            let group = corio::task_group(async |group| {
                for _ in 0..CROWD {
                    let sum = Rc::clone(&sum);
                    group.spawn(async move { sum.set(sum.get() + 1) });
                }
            });
            group.await.expect("none fails");
        }
        assert_eq!(sum.get(), rounds * CROWD);
        rounds * CROWD
    })
}

fn group_tokio(count: usize) -> f64 {
    on_tokio(async move {
        let rounds = count.div_ceil(CROWD);
        let sum = Rc::new(std::cell::Cell::new(0));
        for _ in 0..rounds {
            let mut group = tokio::task::JoinSet::new();
            for _ in 0..CROWD {
                let sum = Rc::clone(&sum);
                group.spawn_local(async move { sum.set(sum.get() + 1) });
            }
            while group.join_next().await.is_some() {}
        }
        assert_eq!(sum.get(), rounds * CROWD);
        rounds * CROWD
    })
}
