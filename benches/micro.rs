//! What the runtime's own steps cost when no socket hides them: spawning, yielding, timers,
//! timeouts, `select!`, and wakes.
//!
//! ```text
//! cargo bench --bench micro                  all, with a table of figures and targets at the end
//! cargo bench --bench micro -- timer         those with this in their name
//! ```
//!
//! Everything runs in one runtime on one CPU, as it does in a server. Only the wakes from another
//! thread have runtimes of their own, since whether a loop polls or sleeps is set when it is built.
//! Each operation yields a number, and a batch whose sum is wrong is a panic, so nothing measured
//! here can be left out by a compiler or fail unseen; the sum of all is printed as a checksum.
//!
//! `CORIO_BENCH_SIZE` is the number of live timers. Without `--bench`, which `cargo bench` passes
//! and `cargo test` does not, each step is done once and nothing is measured.

use std::cell::{Cell, RefCell};
use std::env;
use std::future::{Future, poll_fn, ready};
use std::hint::{black_box, spin_loop};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use corio::net::{TcpListener, TcpStream};
use corio::time::{Sleep, sleep, timeout};
use corio::{BusyPoll, Runtime, select, spawn, yield_now};
use criterion::Criterion;
use futures_util::poll;

const LIVE_TIMERS: usize = 1_000_000;
const LIVE_TIMERS_IN_TESTS: usize = 10_000;

/// Tasks of one round where many live at a time.
const BATCH: u64 = 1_000;

const HOUR: Duration = Duration::from_secs(3600);

/// Long enough for a core with nothing to do to have entered the kernel.
const UNTIL_PARKED: Duration = Duration::from_micros(50);

/// Short enough for a core to be polling still.
const WHILE_POLLING: Duration = Duration::from_micros(20);

fn main() {
    let mut session = Session::new();
    spawns(&mut session);
    structures(&mut session);
    yields(&mut session);
    wakes(&mut session);
    selects(&mut session);
    timeouts(&mut session);
    timers(&mut session);
    session.finish();
}

/// What a number of operations took, and the sum of what they yielded.
struct Lap {
    operations: u64,
    elapsed: Duration,
    work: u64,
}

impl Lap {
    fn since(start: Instant, operations: u64, work: u64) -> Lap {
        Lap { operations, elapsed: start.elapsed(), work }
    }
}

/// The figures of one benchmark: iterations and nanoseconds per operation of each batch.
struct Figures {
    name: &'static str,
    target_ns: Option<u32>,
    batches: Vec<(u64, f64)>,
}

impl Figures {
    /// The least and the median of the batches that were long enough to be no warming up. The
    /// least says more where other programs share the CPU.
    fn least_and_median_ns(&self) -> (f64, f64) {
        let longest = self.batches.iter().map(|batch| batch.0).max().unwrap_or(0);
        let long = self.batches.iter().filter(|batch| batch.0 * 4 >= longest);
        let mut figures: Vec<f64> = long.map(|batch| batch.1).collect();
        figures.sort_by(f64::total_cmp);
        (figures[0], figures[figures.len() / 2])
    }
}

struct Session {
    is_measured: bool,
    criterion: Criterion,
    runtime: Runtime,
    ringer: Ringer,
    figures: Vec<Figures>,
    operations: u64,
    checksum: u64,
}

impl Session {
    fn new() -> Session {
        // Before this thread is pinned: a thread inherits where it may run.
        let cpus = core_affinity::get_core_ids().unwrap_or_default();
        let ringer = Ringer::start(cpus.last().copied());
        let builder = Runtime::builder();
        let builder = match cpus.first() {
            Some(first) => builder.pin(first.id),
            None => builder,
        };
        // Many short samples: some of them meet no other program on their CPU.
        let criterion = Criterion::default()
            .sample_size(200)
            .nresamples(10_000)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2))
            .configure_from_args();
        Session {
            is_measured: env::args().any(|argument| argument == "--bench"),
            criterion,
            runtime: builder.build().expect("the runtime starts"),
            ringer,
            figures: Vec::new(),
            operations: 0,
            checksum: 0,
        }
    }

    fn live_timers(&self) -> usize {
        match env::var("CORIO_BENCH_SIZE") {
            Ok(text) => text.parse().expect("CORIO_BENCH_SIZE is a number"),
            Err(_) if self.is_measured => LIVE_TIMERS,
            Err(_) => LIVE_TIMERS_IN_TESTS,
        }
    }

    /// Measures `run`, which does a number of operations, each of which yields `each`.
    fn bench(
        &mut self,
        name: &'static str,
        target_ns: Option<u32>,
        each: u64,
        mut run: impl FnMut(&Runtime, u64) -> Lap,
    ) {
        let mut figures = Figures { name, target_ns, batches: Vec::new() };
        let (runtime, operations, checksum) =
            (&self.runtime, &mut self.operations, &mut self.checksum);
        self.criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let lap = run(runtime, iterations);
                assert_eq!(lap.work, lap.operations * each, "{name}: an operation went wrong");
                *operations += lap.operations;
                *checksum = checksum.wrapping_add(lap.work);
                let seconds = lap.elapsed.as_secs_f64() / lap.operations as f64;
                figures.batches.push((iterations, seconds * 1e9));
                Duration::from_secs_f64(seconds * iterations as f64)
            });
        });
        if !figures.batches.is_empty() {
            self.figures.push(figures);
        }
    }

    fn bench_async(
        &mut self,
        name: &'static str,
        target_ns: Option<u32>,
        each: u64,
        run: impl AsyncFn(u64) -> Lap,
    ) {
        self.bench(name, target_ns, each, |runtime, count| runtime.block_on(run(count)));
    }

    fn finish(self) {
        self.criterion.final_summary();
        if self.is_measured {
            println!("\n{:<32} {:>10} {:>10} {:>8}", "", "least ns", "median ns", "at most");
        }
        for figures in self.figures.iter().filter(|_| self.is_measured) {
            let (least_ns, median_ns) = figures.least_and_median_ns();
            let verdict = match figures.target_ns {
                None => String::new(),
                Some(target) if median_ns <= f64::from(target) => format!("{target:>8}  met"),
                Some(target) => format!("{target:>8}  MISSED"),
            };
            println!("{:<32} {least_ns:>10.1} {median_ns:>10.1} {verdict}", figures.name);
        }
        println!("{} operations, checksum {}", self.operations, self.checksum);
    }
}

// Tasks.

fn spawns(session: &mut Session) {
    session.bench_async("spawn/join one", Some(80), 1, spawn_one);
    session.bench_async("spawn/join of 1000", Some(80), 1, spawn_many);
    session.bench_async("spawn/join one of 64 bytes", None, 36, spawn_64_bytes);
}

async fn spawn_one(count: u64) -> Lap {
    let (start, mut work) = (Instant::now(), 0);
    for _ in 0..count {
        work += u64::from(spawn(async {}).await.is_ok());
    }
    Lap::since(start, count, work)
}

async fn spawn_many(rounds: u64) -> Lap {
    let mut handles = Vec::with_capacity(BATCH as usize);
    let (start, mut work) = (Instant::now(), 0);
    for _ in 0..rounds {
        handles.extend((0..BATCH).map(|_| spawn(async {})));
        for handle in handles.drain(..) {
            work += u64::from(handle.await.is_ok());
        }
    }
    Lap::since(start, rounds * BATCH, work)
}

fn structures(session: &mut Session) {
    session.bench_async("structure/gather of 1000", None, 1, gather_many);
    session.bench_async("structure/group of 1000", None, 1, group_many);
    session.bench_async("structure/wait_for, ready", None, 1, wait_for_ready);
    session.bench_async("structure/wait_for, pending once", None, 1, wait_for_pending);
    session.bench_async("structure/catch_cancel, ready", None, 1, catch_cancel_ready);
}

async fn gather_many(rounds: u64) -> Lap {
    let (start, mut work) = (Instant::now(), 0);
    for _ in 0..rounds {
        let all = corio::gather((0..BATCH).map(|_| ready(Ok::<u64, ()>(1)))).await;
        work += all.map_or(0, |values| values.iter().sum());
    }
    Lap::since(start, rounds * BATCH, work)
}

async fn group_many(rounds: u64) -> Lap {
    let (start, mut work) = (Instant::now(), 0);
    for _ in 0..rounds {
        let all = corio::task_group(async |group| {
            for _ in 0..BATCH {
                group.spawn(async {});
            }
        });
        work += if all.await.is_ok() { BATCH } else { 0 };
    }
    Lap::since(start, rounds * BATCH, work)
}

async fn wait_for_ready(count: u64) -> Lap {
    let (start, mut work) = (Instant::now(), 0);
    for _ in 0..count {
        work += corio::wait_for(HOUR, ready(1)).await.unwrap_or(0);
    }
    Lap::since(start, count, work)
}

async fn wait_for_pending(count: u64) -> Lap {
    let (start, mut work) = (Instant::now(), 0);
    for _ in 0..count {
        work += u64::from(corio::wait_for(HOUR, yield_now()).await.is_ok());
    }
    Lap::since(start, count, work)
}

async fn catch_cancel_ready(count: u64) -> Lap {
    let (start, mut work) = (Instant::now(), 0);
    for _ in 0..count {
        work += corio::catch_cancel(ready(1)).await.unwrap_or(0);
    }
    Lap::since(start, count, work)
}

/// A future of 64 bytes, which its task has to hold.
struct Sum([u64; 8]);

impl Future for Sum {
    type Output = u64;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<u64> {
        Poll::Ready(self.0.iter().sum())
    }
}

async fn spawn_64_bytes(count: u64) -> Lap {
    let (start, mut work) = (Instant::now(), 0);
    for _ in 0..count {
        let sum = Sum(black_box([1, 2, 3, 4, 5, 6, 7, 8]));
        work += spawn(sum).await.unwrap_or(0);
    }
    Lap::since(start, count, work)
}

fn yields(session: &mut Session) {
    session.bench_async("yield_now/by block_on", Some(20), 1, yield_many);
    session.bench_async("yield_now/by a task", Some(20), 1, async |count| {
        spawn(yield_many(count)).await.expect("the task ends")
    });
}

async fn yield_many(count: u64) -> Lap {
    let (start, mut work) = (Instant::now(), 0);
    for _ in 0..count {
        yield_now().await;
        work += 1;
    }
    Lap::since(start, count, work)
}

// Wakes.

fn wakes(session: &mut Session) {
    session.bench_async("wake/through a JoinHandle", None, 1, wake_through_handles);
    let parked = lazy_runtime(BusyPoll::Off);
    let polling = lazy_runtime(BusyPoll::For(Duration::from_millis(1)));
    let ringer = session.ringer.clone();
    session.bench("wake/from a thread, parked", None, 1, |_, count| {
        parked().block_on(ringer.wake_many(count, UNTIL_PARKED))
    });
    session.bench("wake/from a thread, polling", None, 1, |_, count| {
        polling().block_on(ringer.wake_many(count, WHILE_POLLING))
    });
}

/// A runtime that is built when it is first asked for, on the CPU of the session's.
fn lazy_runtime(busy_poll: BusyPoll) -> impl Fn() -> Rc<Runtime> {
    let known: RefCell<Option<Rc<Runtime>>> = RefCell::default();
    move || {
        let build = || Runtime::builder().busy_poll(busy_poll).build();
        let mut known = known.borrow_mut();
        Rc::clone(known.get_or_insert_with(|| Rc::new(build().expect("the runtime starts"))))
    }
}

/// Leaves its waker behind and waits to be woken.
async fn park(wakers: Rc<RefCell<Vec<Waker>>>) -> u64 {
    let mut is_parked = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut is_parked, true) {
            return Poll::Ready(1);
        }
        wakers.borrow_mut().push(context.waker().clone());
        Poll::Pending
    })
    .await
}

/// A wake, the poll of the task that it makes ready, the wake of the task that awaits its handle,
/// and the poll of that one.
async fn wake_through_handles(rounds: u64) -> Lap {
    let wakers = Rc::new(RefCell::new(Vec::with_capacity(BATCH as usize)));
    let waiting_count = Rc::new(Cell::new(0));
    let mut lap = Lap { operations: rounds * BATCH, elapsed: Duration::ZERO, work: 0 };
    for _ in 0..rounds {
        let parked: Vec<_> = (0..BATCH).map(|_| spawn(park(Rc::clone(&wakers)))).collect();
        let waiting = parked.into_iter().map(|handle| {
            let waiting_count = Rc::clone(&waiting_count);
            spawn(async move {
                waiting_count.set(waiting_count.get() + 1);
                handle.await.unwrap_or(0)
            })
        });
        let waiting: Vec<_> = waiting.collect();
        while waiting_count.get() < BATCH {
            yield_now().await;
        }
        waiting_count.set(0);
        let start = Instant::now();
        wakers.borrow_mut().drain(..).for_each(Waker::wake);
        for handle in waiting {
            lap.work += handle.await.unwrap_or(0);
        }
        lap.elapsed += start.elapsed();
    }
    lap
}

/// Another thread, on another CPU if there is one, that wakes tasks when it is told to.
#[derive(Clone)]
struct Ringer {
    requests: mpsc::Sender<Request>,
    /// When the last wake was sent, in nanoseconds since `epoch`; 0 while it has not been.
    sent_ns: Arc<AtomicU64>,
    epoch: Instant,
}

struct Request {
    waker: Waker,
    pause: Duration,
}

impl Ringer {
    /// Starts the thread. It ends with the last of its `Ringer`s.
    fn start(cpu: Option<core_affinity::CoreId>) -> Ringer {
        let (requests, received) = mpsc::channel();
        let (sent_ns, epoch) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let ringer = Ringer { requests, sent_ns: Arc::clone(&sent_ns), epoch };
        thread::spawn(move || {
            // Where it cannot be pinned it runs anywhere, and the figures are less steady.
            cpu.map(core_affinity::set_for_current);
            for Request { waker, pause } in received {
                let start = Instant::now();
                while start.elapsed() < pause {
                    spin_loop();
                }
                sent_ns.store(epoch.elapsed().as_nanos() as u64, Ordering::Release);
                waker.wake();
            }
        });
        ringer
    }

    /// Has this task woken after a pause; the time from the wake to the poll.
    async fn wake_after(&self, pause: Duration) -> Duration {
        self.sent_ns.store(0, Ordering::Release);
        let mut is_asked = false;
        poll_fn(|context| {
            let now_ns = self.epoch.elapsed().as_nanos() as u64;
            match self.sent_ns.load(Ordering::Acquire) {
                // A wake that was sent after the look at the clock belongs to this poll, too.
                sent_ns if sent_ns > 0 => {
                    return Poll::Ready(Duration::from_nanos(now_ns.saturating_sub(sent_ns)));
                }
                _ if is_asked => {}
                _ => {
                    let request = Request { waker: context.waker().clone(), pause };
                    self.requests.send(request).expect("the thread waits for requests");
                    is_asked = true;
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The median of the latencies stands for each: one hiccup of the scheduler takes as long as a
    /// thousand wakes.
    async fn wake_many(&self, count: u64, pause: Duration) -> Lap {
        let mut latencies = Vec::new();
        for _ in 0..count {
            latencies.push(self.wake_after(pause).await);
        }
        latencies.sort();
        let median = latencies[latencies.len() / 2];
        Lap { operations: count, elapsed: median * count as u32, work: latencies.len() as u64 }
    }
}

// Waiting for several things, and for a time.

fn selects(session: &mut Session) {
    session.bench_async("select!/two ready", None, 3, async |count| {
        let (start, mut work) = (Instant::now(), 0);
        for _ in 0..count {
            work += select! {
                value = ready(black_box(3)) => value,
                value = ready(black_box(3)) => value,
            };
        }
        Lap::since(start, count, work)
    });
}

fn timeouts(session: &mut Session) {
    session.bench_async("timeout/around a ready future", None, 7, async |count| {
        let (start, mut work) = (Instant::now(), 0);
        for _ in 0..count {
            work += timeout(HOUR, ready(black_box(7))).await.unwrap_or(0);
        }
        Lap::since(start, count, work)
    });
    session.bench_async("timeout/around a read, dropped", None, 1, timeout_around_read);
}

/// What a server does for each read that may take too long: set a timer, wait, and give up both.
async fn timeout_around_read(count: u64) -> Lap {
    let (client, mut server) = connected_pair().await.expect("loopback connects");
    // The first read arms the receive that then stands.
    assert!(poll!(pin!(server.read_chunk())).is_pending());
    yield_now().await;
    let (start, mut work) = (Instant::now(), 0);
    for _ in 0..count {
        let mut waiting = pin!(timeout(HOUR, server.read_chunk()));
        work += u64::from(poll!(waiting.as_mut()).is_pending());
    }
    let lap = Lap::since(start, count, work);
    drop(server);
    client.close().await.expect("both ends close in good order");
    lap
}

async fn connected_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    Ok((client, listener.accept().await?))
}

// Timers.

fn timers(session: &mut Session) {
    let size = session.live_timers();
    let mut kept: Option<LiveTimers> = None;
    let mut bench = |name, target_ns, span: Span| {
        session.bench(name, target_ns, 1, |runtime, count| {
            let live = kept.get_or_insert_with(|| runtime.block_on(LiveTimers::set(size)));
            runtime.block_on(live.set_and_cancel(count, span))
        });
    };
    bench("timer/set, cancel: the latest", Some(100), Span { from: HOUR * 3, length: HOUR });
    bench("timer/set, cancel: any", Some(100), LiveTimers::SPAN);
    bench("timer/set, cancel: the earliest", Some(100), Span { from: HOUR / 2, length: HOUR / 4 });
    session.bench("timer/set, cancel another", None, 1, |runtime, count| {
        let live = kept.get_or_insert_with(|| runtime.block_on(LiveTimers::set(size)));
        runtime.block_on(live.set_and_cancel_another(count))
    });
}

/// Durations between two, evenly spread.
#[derive(Clone, Copy)]
struct Span {
    from: Duration,
    length: Duration,
}

/// Many sleeps that are being waited for, with deadlines hours away.
struct LiveTimers {
    sleeps: Vec<Sleep>,
    random: u64,
}

impl LiveTimers {
    const SPAN: Span = Span { from: HOUR, length: HOUR };

    async fn set(size: usize) -> LiveTimers {
        assert!(size > 0, "at least one timer has to live");
        let mut live = LiveTimers { sleeps: Vec::with_capacity(size), random: 1 };
        for _ in 0..size {
            let mut sleep = live.sleep(LiveTimers::SPAN);
            assert!(poll!(&mut sleep).is_pending());
            live.sleeps.push(sleep);
        }
        live
    }

    /// xorshift64: cheap next to what is measured, and the same in every run.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// A sleep whose timer is set by the first poll.
    fn sleep(&mut self, span: Span) -> Sleep {
        // The upper half of the product lies evenly below the length, without a division.
        let offset_ns = (u128::from(self.random()) * span.length.as_nanos()) >> 64;
        sleep(span.from + Duration::from_nanos(offset_ns as u64))
    }

    /// A timer that is not needed after all, which nearly all are.
    async fn set_and_cancel(&mut self, count: u64, span: Span) -> Lap {
        let (start, mut work) = (Instant::now(), 0);
        for _ in 0..count {
            let mut sleep = self.sleep(span);
            work += u64::from(poll!(&mut sleep).is_pending());
        }
        Lap::since(start, count, work)
    }

    /// Sets a timer and cancels an old one at random, which has long left the CPU's caches.
    async fn set_and_cancel_another(&mut self, count: u64) -> Lap {
        let (start, mut work) = (Instant::now(), 0);
        for _ in 0..count {
            let mut fresh = self.sleep(LiveTimers::SPAN);
            work += u64::from(poll!(&mut fresh).is_pending());
            let place = self.random() as usize % self.sleeps.len();
            self.sleeps[place] = fresh;
        }
        Lap::since(start, count, work)
    }
}
