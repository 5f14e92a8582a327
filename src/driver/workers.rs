//! Threads for what would block the core: a pool of workers, and a queue of jobs.
//!
//! ```text
//!            1 submit            2 a worker takes it          3 it returned
//!   core ──────────▶ queued ─────────────────────▶ running ─────────────────▶ over
//!                      │ 4 withdraw, begin_close      │ 5 cancel: only a flag
//!                      ▼                              ▼
//!                    given back, never runs         runs on, and may look at its flag
//! ```
//!
//! A job has begun when a worker took it out of the queue. Before that it can be had back, whole;
//! afterwards nothing can stop it: it is asked by its flag. One lock guards all of it, for a few
//! instructions at a time, and no foreign code runs under it, so the core never waits for a job.
//!
//! **One pool for each core**, and not one for the process: the end of a runtime gives back what is
//! queued, waits for what runs, and says what it left behind, without a word to other runtimes; and
//! jobs of one that are stuck starve no other. The price is more threads where many cores use it,
//! so threads are started only when a job finds no idle one, and end when they idle for long.
//!
//! **The queue is first in, first out, and unbounded**, as asyncio's is: handing a job over never
//! waits. Whoever makes jobs faster than they are done bounds them where they are made, with a
//! semaphore around the wait for each.
//!
//! How the core hears of it is the job's own affair: a job that somebody waits for wakes that
//! waker, which is a ticket. The pool itself wakes its core for two things: a panic that nobody
//! will take, and, while it closes, the end of a thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use super::cpus::{CpuSet, block_signals};

/// How a pool is made.
pub(crate) struct WorkersConfig {
    /// How many threads there may be at a time.
    pub(crate) count_max: usize,
    /// How long a thread waits for another job before it ends.
    pub(crate) keep_alive: Duration,
    /// Where threads run, if not where their core does.
    pub(crate) cpus: Option<CpuSet>,
    /// Told of a panic that nobody will take once the pool's core has ended.
    pub(crate) orphaned: fn(JobPanic),
}

/// What runs on a worker, once. It returns the text of a panic that nobody will take.
pub(crate) type Run = Box<dyn FnOnce() -> Option<String> + Send>;

/// What a worker is given.
pub(crate) struct Job {
    pub(crate) run: Run,
    pub(crate) flag: CancelFlag,
    pub(crate) spawned_at: &'static Location<'static>,
}

/// A panic that nobody will take.
pub(crate) struct JobPanic {
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) message: String,
}

/// Whether a blocking job was asked to end. A job that goes on for long looks at it now and then;
/// it may give a clone to threads of its own.
#[derive(Clone, Default, Debug)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Whether the job was asked to end: its handle was cancelled or dropped, or its runtime ends.
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }
}

thread_local! {
    /// The flag of the job that this thread runs.
    static RUNNING: RefCell<Option<CancelFlag>> = const { RefCell::new(None) };
}

/// The flag of the job that runs on this thread, if this is a worker's.
pub(crate) fn current_flag() -> Option<CancelFlag> {
    RUNNING.try_with(|running| running.borrow().clone()).ok().flatten()
}

/// Why a job was not taken.
pub(crate) struct Refused {
    pub(crate) job: Job,
    /// The kernel's, which refuses the first thread; none if the pool is closed.
    pub(crate) error: Option<io::Error>,
}

/// What a pool has to do and with how many threads, for `Stats`.
#[derive(Clone, Copy, Default)]
pub(crate) struct WorkersLoad {
    pub(crate) queued: usize,
    pub(crate) running: usize,
    pub(crate) threads: usize,
}

/// The pool of one core. Used by its core alone; threads share [`Pool`].
pub(crate) struct Workers {
    config: WorkersConfig,
    pool: Arc<Pool>,
}

struct Pool {
    state: Mutex<State>,
    /// A job was queued, or the pool closes.
    changed: Condvar,
    /// There is a panic to tell. Read each turn, without the lock.
    has_panics: AtomicBool,
    /// Brings the core round.
    core: Waker,
}

#[derive(Default)]
struct State {
    number_last: u64,
    /// Jobs in the order of their numbers, which is that of their coming.
    queue: BTreeMap<u64, Job>,
    running: BTreeMap<u64, (CancelFlag, &'static Location<'static>)>,
    /// Threads that were started and have not ended, and those of them that wait for a job.
    thread_count: usize,
    idle_count: usize,
    panics: Vec<JobPanic>,
    is_closing: bool,
    /// Nobody will ask for panics any more.
    is_orphaned: bool,
}

impl State {
    fn ask_running(&self) {
        for (flag, _) in self.running.values() {
            flag.cancel();
        }
    }
}

impl Workers {
    /// A pool without threads so far. The waker has to bring the core round whenever it is woken.
    pub(crate) fn new(config: WorkersConfig, core: Waker) -> Workers {
        let pool = Pool {
            state: Mutex::default(),
            changed: Condvar::new(),
            has_panics: AtomicBool::new(false),
            core,
        };
        Workers { config, pool: Arc::new(pool) }
    }

    /// Queues a job. Its number is for [`withdraw`](Self::withdraw).
    pub(crate) fn submit(&self, job: Job) -> Result<u64, Refused> {
        let mut state = self.pool.lock();
        if state.is_closing {
            return Err(Refused { job, error: None });
        }
        state.number_last += 1;
        let number = state.number_last;
        state.queue.insert(number, job);
        // An idle thread takes one job; those that were woken and have not come yet count as idle.
        let wants_thread = state.queue.len() > state.idle_count;
        if !wants_thread || state.thread_count >= self.config.count_max {
            drop(state);
            self.pool.changed.notify_one();
            return Ok(number);
        }
        state.thread_count += 1;
        drop(state);
        match self.start_thread() {
            Ok(()) => Ok(number),
            Err(error) => self.do_without(number, error),
        }
    }

    fn start_thread(&self) -> io::Result<()> {
        let (pool, keep_alive, cpus) =
            (Arc::clone(&self.pool), self.config.keep_alive, self.config.cpus);
        let orphaned = self.config.orphaned;
        let builder = thread::Builder::new().name("corio-worker".to_owned());
        let started = builder.spawn(move || {
            block_signals();
            if let Some(cpus) = cpus {
                cpus.use_here();
            }
            pool.work(keep_alive, orphaned);
        });
        started.map(drop)
    }

    /// A thread could not be started: the others will do the job, if there are any.
    fn do_without(&self, number: u64, error: io::Error) -> Result<u64, Refused> {
        let mut state = self.pool.lock();
        state.thread_count -= 1;
        if state.thread_count > 0 {
            return Ok(number);
        }
        match state.queue.remove(&number) {
            Some(job) => Err(Refused { job, error: Some(error) }),
            None => Ok(number),
        }
    }

    /// Takes a job back that no worker has begun; dropping it is foreign code.
    pub(crate) fn withdraw(&self, number: u64) -> Option<Job> {
        self.pool.lock().queue.remove(&number)
    }

    /// Panics that nobody will take, since the last call.
    pub(crate) fn take_panics(&self) -> Vec<JobPanic> {
        if !self.pool.has_panics.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut state = self.pool.lock();
        self.pool.has_panics.store(false, Ordering::Relaxed);
        std::mem::take(&mut state.panics)
    }

    pub(crate) fn load(&self) -> WorkersLoad {
        let state = self.pool.lock();
        WorkersLoad {
            queued: state.queue.len(),
            running: state.running.len(),
            threads: state.thread_count,
        }
    }

    /// Asks the jobs that run now to end.
    pub(crate) fn ask_running(&self) {
        self.pool.lock().ask_running();
    }

    /// Refuses jobs from now on, asks the running ones to end, and gives the queued ones back. The
    /// core is woken when a thread ends.
    pub(crate) fn begin_close(&self) -> Vec<Job> {
        let mut state = self.pool.lock();
        state.is_closing = true;
        state.ask_running();
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        self.pool.changed.notify_all();
        queue.into_values().collect()
    }

    /// Waits no longer: where the jobs were spawned that still run. They run to their end.
    pub(crate) fn leave_behind(&self) -> Vec<&'static Location<'static>> {
        let mut state = self.pool.lock();
        state.is_orphaned = true;
        state.running.values().map(|(_, spawned_at)| *spawned_at).collect()
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread.
    fn work(&self, keep_alive: Duration, orphaned: fn(JobPanic)) {
        let mut state = self.lock();
        loop {
            if let Some((number, job)) = state.queue.pop_first() {
                state.running.insert(number, (job.flag.clone(), job.spawned_at));
                drop(state);
                let panicked = run(job);
                state = self.lock();
                state.running.remove(&number);
                if let Some(panic) = panicked {
                    state = self.tell(state, panic, orphaned);
                }
                continue;
            }
            if state.is_closing {
                break;
            }
            state.idle_count += 1;
            let waited = self.changed.wait_timeout(state, keep_alive);
            let (locked, wait) = waited.unwrap_or_else(PoisonError::into_inner);
            state = locked;
            state.idle_count -= 1;
            if wait.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.thread_count -= 1;
        let is_awaited = state.is_closing;
        drop(state);
        if is_awaited {
            self.core.wake_by_ref();
        }
    }

    /// Leaves a panic for the core to tell; if there is no core any more, tells it here.
    fn tell<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        panic: JobPanic,
        orphaned: fn(JobPanic),
    ) -> MutexGuard<'a, State> {
        if state.is_orphaned {
            drop(state);
            orphaned(panic);
        } else {
            state.panics.push(panic);
            self.has_panics.store(true, Ordering::Relaxed);
            drop(state);
            // The ticket carries what was written before it to the core that takes it.
            self.core.wake_by_ref();
        }
        self.lock()
    }
}

/// Runs a job, whose flag is this thread's meanwhile.
fn run(job: Job) -> Option<JobPanic> {
    RUNNING.set(Some(job.flag));
    let outcome = catch_unwind(AssertUnwindSafe(job.run));
    RUNNING.set(None);
    let message = outcome.unwrap_or_else(|payload| {
        // A job contains what is foreign in it. What a panic of its own carries may panic again.
        std::mem::forget(payload);
        Some("a job of the runtime's own panicked".to_owned())
    });
    message.map(|message| JobPanic { spawned_at: job.spawned_at, message })
}
