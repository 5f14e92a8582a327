//! Channels between two pinned threads: how many values a second go through one, and what a round
//! trip costs beside the least that two threads can do.
//!
//! ```text
//! cargo bench --bench channel
//! cargo bench --bench channel -- stream
//! ```
//!
//! `stream/*` is the time for one `u64`; `ping_pong/*` that for one round trip. The floors are made
//! of std only: a word that the other thread spins on, and a thread that is parked each time.
//! `std` is the standard library's bounded channel, which blocks threads.
//!
//! Every value is added up, and a wrong sum is a panic. Threads are started and runtimes built
//! before the clock runs. Without `--bench` each runs once, on one value.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use corio::channel;
use corio::{BusyPoll, Runtime};
use criterion::Criterion;

const CAPACITY: usize = 4096;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut bench = |name: &str, run: fn(u64) -> Duration| {
        criterion.bench_function(name, |bencher| bencher.iter_custom(run));
    };
    bench("stream/corio recv_many", stream_many);
    bench("stream/corio recv", stream_one);
    bench("stream/std", stream_std);
    bench("ping_pong/floor spinning", floor_spinning);
    bench("ping_pong/corio polling", |count| ping_pong(count, BusyPoll::For(SECOND)));
    bench("ping_pong/floor parking", floor_parking);
    bench("ping_pong/corio parking", |count| ping_pong(count, BusyPoll::Off));
    criterion.final_summary();
}

const SECOND: Duration = Duration::from_secs(1);

const BUSY_POLL: BusyPoll = BusyPoll::Adaptive(Duration::from_micros(20));

/// Runs two sides on threads with a CPU each, and times the second, from when both are ready to
/// when it says that it has all: a runtime's end is not part of it.
fn pair<A, B>(first: A, second: B) -> Duration
where
    A: FnOnce(&dyn Fn()) + Send,
    B: FnOnce(&dyn Fn()) -> Instant + Send,
{
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        let barrier = &barrier;
        let (one, other) = (cpus.first().copied(), cpus.last().copied());
        scope.spawn(move || {
            one.map(core_affinity::set_for_current);
            first(&|| {
                barrier.wait();
            });
        });
        let timed = scope.spawn(move || {
            other.map(core_affinity::set_for_current);
            let start = std::cell::Cell::new(None);
            let end = second(&|| {
                barrier.wait();
                start.set(Some(Instant::now()));
            });
            end - start.get().expect("both sides are ready")
        });
        timed.join().expect("no panic")
    })
}

fn on_core<F: Future>(busy_poll: BusyPoll, future: F) -> F::Output {
    let runtime = Runtime::builder().busy_poll(busy_poll).build().expect("the runtime starts");
    runtime.block_on(future)
}

fn stream(
    count: u64,
    receive: impl AsyncFnOnce(channel::mpsc::Receiver<u64>) -> u64 + Send,
) -> Duration {
    let (sender, receiver) = channel::mpsc(CAPACITY);
    let sending = |ready: &dyn Fn()| {
        on_core(BUSY_POLL, async {
            ready();
            for number in 0..count {
                sender.send(number).await.expect("there is a receiver");
            }
            drop(sender);
        });
    };
    pair(sending, |ready| {
        let (sum, end) = on_core(BUSY_POLL, async {
            ready();
            (receive(receiver).await, Instant::now())
        });
        assert_eq!(sum, count * (count - 1) / 2);
        end
    })
}

fn stream_many(count: u64) -> Duration {
    stream(count, async |mut receiver| {
        let (mut values, mut sum) = (Vec::new(), 0);
        while receiver.recv_many(&mut values, CAPACITY).await > 0 {
            sum += values.drain(..).sum::<u64>();
        }
        sum
    })
}

fn stream_one(count: u64) -> Duration {
    stream(count, async |mut receiver| {
        let mut sum = 0;
        while let Some(number) = receiver.recv().await {
            sum += number;
        }
        sum
    })
}

fn stream_std(count: u64) -> Duration {
    let (sender, receiver) = mpsc::sync_channel(CAPACITY);
    let sending = |ready: &dyn Fn()| {
        ready();
        (0..count).for_each(|number| sender.send(number).expect("there is a receiver"));
        drop(sender);
    };
    pair(sending, |ready| {
        ready();
        assert_eq!(receiver.into_iter().sum::<u64>(), count * (count - 1) / 2);
        Instant::now()
    })
}

fn ping_pong(count: u64, busy_poll: BusyPoll) -> Duration {
    let (there, mut pings) = channel::mpsc::<u64>(1);
    let (back, mut pongs) = channel::mpsc::<u64>(1);
    let echo = move |ready: &dyn Fn()| {
        on_core(busy_poll, async {
            ready();
            while let Some(number) = pings.recv().await {
                back.send(number).await.expect("there is a receiver");
            }
        });
    };
    pair(echo, move |ready| {
        on_core(busy_poll, async {
            ready();
            for number in 0..count {
                there.send(number).await.expect("there is a receiver");
                assert_eq!(pongs.recv().await, Some(number));
            }
            let end = Instant::now();
            drop(there);
            end
        })
    })
}

/// Two words, a pair of cache lines each.
#[repr(align(128))]
struct Word(AtomicU64);

fn floor(count: u64, wait: fn(&AtomicU64, u64), say: fn(&AtomicU64, u64, &Slot)) -> Duration {
    let words = Arc::new([Word(AtomicU64::new(0)), Word(AtomicU64::new(0))]);
    let slots = [const { Slot::new() }; 2];
    let echo = |ready: &dyn Fn()| {
        let _ = slots[0].set(thread::current());
        ready();
        for number in 1..=count {
            wait(&words[0].0, number);
            say(&words[1].0, number, &slots[1]);
        }
    };
    pair(echo, |ready| {
        let _ = slots[1].set(thread::current());
        ready();
        for number in 1..=count {
            say(&words[0].0, number, &slots[0]);
            wait(&words[1].0, number);
        }
        Instant::now()
    })
}

type Slot = std::sync::OnceLock<thread::Thread>;

fn floor_spinning(count: u64) -> Duration {
    let wait = |word: &AtomicU64, number| {
        while word.load(Ordering::Acquire) != number {
            std::hint::spin_loop();
        }
    };
    floor(count, wait, |word, number, _| word.store(number, Ordering::Release))
}

fn floor_parking(count: u64) -> Duration {
    let wait = |word: &AtomicU64, number| {
        while word.load(Ordering::Acquire) != number {
            thread::park();
        }
    };
    floor(count, wait, |word, number, other| {
        word.store(number, Ordering::Release);
        other.get().expect("both sides are ready").unpark();
    })
}
