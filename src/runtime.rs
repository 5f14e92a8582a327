//! The runtime of one thread: built, run (several times), closed.

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::driver::{BufferConfig, CpuSet, Driver, Features, RingSize, WorkersConfig};
use crate::executor::{
    BusyPoll, CloseReport, Config, Core, SpawnHook, Spawning, Unhandled, UnhandledHook,
    orphaned_job_panicked, print,
};
use crate::task::TaskRef;

/// How long a loop with a CPU of its own polls before it sleeps, by default.
const BUSY_POLL_DEFAULT: Duration = Duration::from_micros(20);

/// Runs a future to its end on a new runtime of this thread, then ends the runtime in good order:
/// asyncio's `run`.
///
/// Tasks that are left are asked to end and waited for, as [`Runtime::close`] does.
///
/// # Panics
///
/// If a runtime runs on this thread already, or if the kernel refuses one: then the text names the
/// fact, its likely cause and its cure. Use [`Builder::build`] to get the error instead.
///
/// ```
/// let answer = corio::run(async { 42 });
/// assert_eq!(answer, 42);
/// ```
#[track_caller]
pub fn run<F: Future>(future: F) -> F::Output {
    Core::assert_none_runs();
    match Runtime::new() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => panic!("the corio runtime cannot start: {error}"),
    }
}

/// A runtime: one loop on the thread that built it.
///
/// Between two calls of [`Runtime::block_on`] its tasks rest, and what the kernel finishes
/// meanwhile waits for the next call. Dropping it closes it.
///
/// ```
/// let runtime = corio::Runtime::new()?;
/// let task = runtime.block_on(async { corio::spawn(async { 1 }) });
/// assert_eq!(runtime.block_on(task).unwrap(), 1);
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "Runner")]
pub struct Runtime {
    core: Rc<Core>,
}

impl Runtime {
    /// A runtime with the default settings.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new() -> io::Result<Runtime> {
        Runtime::builder().build()
    }

    /// Settings for a runtime.
    #[doc(alias = "new_event_loop")]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Runs a future to its end, and all tasks of this runtime meanwhile.
    ///
    /// # Panics
    ///
    /// If a runtime runs on this thread already. A panic of the future goes through to the caller;
    /// the runtime can be used again.
    #[doc(alias = "run_until_complete")]
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let entered = self.core.enter();
        let output = self.core.block_on(future);
        drop(entered);
        output
    }

    /// Where other threads reach this runtime.
    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// Which features of the ring are in use, and why others are not.
    pub fn features(&self) -> &Features {
        self.core.features()
    }

    /// What this runtime has counted so far.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.core)
    }

    /// Ends the runtime in bounded time, and says what that took.
    ///
    /// New tasks are refused. Running ones are asked to end, as are blocking jobs that run. At the
    /// grace limit, tasks that have not ended are dropped, and such jobs are left behind and
    /// reported. Blocking jobs that have not begun by the end of the tasks never run. Streams that
    /// were dropped with unsent data get the linger limit to send it. All operations are cancelled
    /// and reaped; what the kernel does not let go of is leaked.
    #[doc(alias = "shutdown_default_executor")]
    pub fn close(self) -> CloseReport {
        self.core.close()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runtime({})", self.core.features())
    }
}

impl Core {
    fn block_on<F: Future>(self: &Rc<Core>, future: F) -> F::Output {
        let mut future = pin!(future);
        let waker = self.begin_root();
        let mut outcome = None;
        while outcome.is_none() {
            let mut poll_root = || {
                let mut context = Context::from_waker(&waker);
                match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context))) {
                    Ok(Poll::Pending) => false,
                    Ok(Poll::Ready(output)) => {
                        outcome = Some(Ok(output));
                        true
                    }
                    Err(panic) => {
                        outcome = Some(Err(panic));
                        true
                    }
                }
            };
            self.turn(&mut poll_root, u64::MAX);
        }
        self.end_root();
        match outcome.expect("the loop above ends with an outcome") {
            Ok(output) => output,
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// Settings for a [`Runtime`].
///
/// ```
/// use corio::{BusyPoll, Runtime};
/// let runtime = Runtime::builder().busy_poll(BusyPoll::Off).ring_entries(64).build()?;
/// runtime.block_on(async { corio::yield_now().await });
/// # std::io::Result::Ok(())
/// ```
pub struct Builder {
    driver: Option<Driver>,
    ring: RingSize,
    buffers: BufferConfig,
    busy_poll: Option<BusyPoll>,
    seed: Option<u64>,
    grace: Duration,
    linger: Duration,
    eager_tasks: bool,
    spawn_hook: Option<SpawnHook>,
    pin: Option<usize>,
    blocking_threads: Option<usize>,
    blocking_keep_alive: Duration,
    unhandled: UnhandledHook,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            driver: None,
            ring: RingSize::default(),
            buffers: BufferConfig::default(),
            busy_poll: None,
            seed: None,
            grace: Duration::from_millis(250),
            linger: Duration::from_millis(400),
            eager_tasks: false,
            spawn_hook: None,
            pin: None,
            blocking_threads: None,
            blocking_keep_alive: Duration::from_secs(10),
            unhandled: Box::new(print),
        }
    }
}

impl Builder {
    /// Whether the loop polls in user space before it sleeps. By default
    /// [`BusyPoll::Adaptive`] of 20 µs for a loop that is pinned to a CPU of several, otherwise
    /// [`BusyPoll::Off`].
    pub fn busy_poll(mut self, busy_poll: BusyPoll) -> Builder {
        self.busy_poll = Some(busy_poll);
        self
    }

    /// The kernel interface under the loop. By default io_uring, and epoll where that is
    /// unavailable; the environment's `CORIO_DRIVER=uring` or `epoll` has the last word.
    #[doc(alias = "EventLoop")]
    #[doc(alias = "SelectorEventLoop")]
    pub fn driver(mut self, driver: Driver) -> Builder {
        self.driver = Some(driver);
        self
    }

    /// Refuses to start where io_uring is unavailable, instead of falling back to epoll.
    pub fn require_io_uring(self) -> Builder {
        self.driver(Driver::Uring)
    }

    /// Entries of the submission queue: 256 by default. More operations than that wait in user
    /// space; none is lost.
    pub fn ring_entries(mut self, entries: u32) -> Builder {
        self.ring.submissions = entries.max(1);
        self
    }

    /// Entries of the completion queue: 4096 by default. More completions than that wait in the
    /// kernel; none is lost.
    pub fn completion_entries(mut self, entries: u32) -> Builder {
        self.ring.completions = entries.max(1);
        self
    }

    /// The size of a receive buffer in bytes: 16 KiB by default, between 64 B and 1 MiB.
    pub fn buffer_size(mut self, bytes: usize) -> Builder {
        self.buffers.size_bytes = bytes.clamp(64, 1 << 20);
        self
    }

    /// How many receive buffers there are at the start: 64 by default.
    pub fn buffers_initial(mut self, count: u16) -> Builder {
        self.buffers.initial_count = count.max(1);
        self
    }

    /// How many receive buffers there may be: 1024 by default, at most 8192.
    pub fn buffers_max(mut self, count: u16) -> Builder {
        self.buffers.count_max = count.clamp(1, 8192);
        self
    }

    /// The size in bytes of the large receive buffers, which streams get that keep filling the
    /// ordinary ones: 64 KiB by default, at most 1 MiB.
    pub fn large_buffer_size(mut self, bytes: usize) -> Builder {
        self.buffers.large_size_bytes = bytes.clamp(64, 1 << 20);
        self
    }

    /// How many large receive buffers there may be: 256 by default, at most 8192.
    pub fn large_buffers_max(mut self, count: u16) -> Builder {
        self.buffers.large_count_max = count.clamp(1, 8192);
        self
    }

    /// The seed of everything the runtime draws by lot, such as the order of `select!`.
    pub fn seed(mut self, seed: u64) -> Builder {
        self.seed = Some(seed);
        self
    }

    /// How long tasks and blocking jobs have to end when the runtime closes: 250 ms by default.
    pub fn grace(mut self, grace: Duration) -> Builder {
        self.grace = grace;
        self
    }

    /// How long dropped streams have to send what was written when the runtime closes: 400 ms by
    /// default.
    pub fn linger_at_close(mut self, linger: Duration) -> Builder {
        self.linger = linger;
        self
    }

    /// Pins the thread that builds the runtime to this CPU.
    pub fn pin(mut self, cpu: usize) -> Builder {
        self.pin = Some(cpu);
        self
    }

    /// How many threads [`spawn_blocking`](crate::spawn_blocking) may use at a time; at least 1,
    /// and by default as in asyncio four more than CPUs, at most 32. They are started as they are
    /// needed. More jobs than that wait in a queue.
    #[doc(alias = "set_default_executor")]
    #[doc(alias = "max_workers")]
    pub fn blocking_threads(mut self, count: usize) -> Builder {
        self.blocking_threads = Some(count.max(1));
        self
    }

    /// How long a thread for blocking jobs waits for another one before it ends: 10 s by default.
    pub fn blocking_keep_alive(mut self, keep_alive: Duration) -> Builder {
        self.blocking_keep_alive = keep_alive;
        self
    }

    /// Polls each task that is spawned once inside of its spawn, before that returns, unless its
    /// [`task::Builder`](crate::task::Builder) says otherwise; false by default. What a task starts
    /// with then runs before what follows its spawn.
    ///
    /// Eager starts lie in one another 64 deep at most: what is spawned deeper starts in the next
    /// turn.
    #[doc(alias = "eager_task_factory")]
    #[doc(alias = "create_eager_task_factory")]
    pub fn eager_tasks(mut self, eager: bool) -> Builder {
        self.eager_tasks = eager;
        self
    }

    /// Hears of every task before its first poll, named and in its context: to count tasks, to give
    /// names, or to add a callback for their end. Tasks that the hook itself spawns are not told to
    /// it, nor are the runtime's own.
    ///
    /// ```
    /// use std::{cell::Cell, rc::Rc};
    /// let count = Rc::new(Cell::new(0));
    /// let counter = count.clone();
    /// let runtime = corio::Runtime::builder()
    ///     .on_spawn(move |task| {
    ///         counter.set(counter.get() + 1);
    ///         task.set_name(format!("worker {}", counter.get()));
    ///     })
    ///     .build()?;
    /// let task = runtime.block_on(async { corio::spawn(async {}) });
    /// assert_eq!((task.name().as_deref(), count.get()), (Some("worker 1"), 1));
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "set_task_factory")]
    #[doc(alias = "get_task_factory")]
    pub fn on_spawn(mut self, hook: impl Fn(&TaskRef) + 'static) -> Builder {
        self.spawn_hook =
            Some(Box::new(move |core, task| hook(&TaskRef::new(task, Rc::downgrade(core)))));
        self
    }

    /// Hears of what nobody waited for: a panic in a detached task, a write that failed after its
    /// stream was dropped. By default that is a line on standard error.
    #[doc(alias = "set_exception_handler")]
    pub fn on_unhandled(mut self, hook: impl Fn(&Unhandled) + 'static) -> Builder {
        self.unhandled = Box::new(hook);
        self
    }

    /// Builds the runtime on this thread.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the ring (the error names the fact, the likely cause and the cure, and
    /// holds them as a [`Refusal`](crate::probe::Refusal)), if the CPU to pin to is not one that
    /// this process may use, or if `CORIO_DISABLE` or `CORIO_DRIVER` say what corio does not know.
    pub fn build(self) -> io::Result<Runtime> {
        let cpu_count = std::thread::available_parallelism().map_or(1, usize::from);
        let mut cpus = None;
        if let Some(cpu) = self.pin {
            // Only this thread is to be pinned, not those that it starts for blocking jobs.
            cpus = CpuSet::of_this_thread().ok();
            pin_to(cpu)?;
        }
        let own_cpu = self.pin.is_some() && cpu_count > 1;
        let default = if own_cpu { BusyPoll::Adaptive(BUSY_POLL_DEFAULT) } else { BusyPoll::Off };
        let core = Core::new(Config {
            driver: self.driver,
            ring: self.ring,
            buffers: self.buffers,
            busy_poll: self.busy_poll.unwrap_or(default),
            seed: self.seed,
            grace: self.grace,
            linger: self.linger,
            spawning: Spawning::new(self.eager_tasks, self.spawn_hook),
            workers: WorkersConfig {
                count_max: self.blocking_threads.unwrap_or((cpu_count + 4).min(32)),
                keep_alive: self.blocking_keep_alive,
                cpus,
                orphaned: orphaned_job_panicked,
            },
            unhandled: self.unhandled,
        })?;
        Ok(Runtime { core })
    }
}

fn pin_to(cpu: usize) -> io::Result<()> {
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    let Some(core) = allowed.iter().find(|core| core.id == cpu) else {
        let ids: Vec<_> = allowed.iter().map(|core| core.id.to_string()).collect();
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("cannot pin to CPU {cpu}: this process may use {}", ids.join(", ")),
        ));
    };
    match core_affinity::set_for_current(*core) {
        true => Ok(()),
        false => Err(io::Error::other(format!("the kernel refuses to pin to CPU {cpu}"))),
    }
}

/// What a runtime has counted since it was built.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Turns of the loop.
    pub turns: u64,
    /// Polls of tasks.
    pub polls: u64,
    /// System calls that entered the ring.
    pub enters: u64,
    /// Operations that the kernel took.
    pub submissions: u64,
    /// Completions that came back.
    pub completions: u64,
    /// Completions that nobody here had asked for; they are thrown away.
    pub foreign_completions: u64,
    /// Wakes from other threads.
    pub foreign_wakes: u64,
    /// Times the loop polled in user space before it slept.
    pub busy_polls: u64,
    /// Receives that found no buffer in the pool.
    pub no_buffers: u64,
    /// Receives into memory of their own, since the pool had none.
    pub own_receives: u64,
    /// Times the submission queue was full, so that operations waited in user space.
    pub submission_overflows: u64,
    /// Completions that the kernel lost for want of memory.
    pub lost_completions: u64,
    /// Connections that were accepted but reset, since their listener was dropped.
    pub dropped_connections: u64,
    /// Operations in flight now.
    pub operations_in_flight: usize,
    /// Tasks alive now.
    pub tasks: usize,
    /// Receive buffers that hold unread or unsent bytes now.
    pub buffers_in_use: usize,
    /// Receive buffers in circulation now.
    pub buffers_total: usize,
    /// Blocking jobs that wait for a thread now.
    pub blocking_queued: usize,
    /// Blocking jobs that run now.
    pub blocking_running: usize,
    /// Threads for blocking jobs now, idle ones included.
    pub blocking_threads: usize,
}

impl Stats {
    pub(crate) fn of(core: &Core) -> Stats {
        let driver = core.driver.borrow().stats();
        let counters = &core.counters;
        let pools = [&core.pools.small, &core.pools.large];
        let workers = core.workers.load();
        Stats {
            turns: counters.turns.get(),
            polls: counters.polls.get(),
            enters: driver.enters,
            submissions: driver.submissions,
            completions: driver.completions,
            foreign_completions: counters.foreign_completions.get(),
            foreign_wakes: counters.foreign_wakes.get(),
            busy_polls: counters.busy_polls.get(),
            no_buffers: counters.no_buffers.get(),
            own_receives: counters.own_receives.get(),
            dropped_connections: counters.dropped_connections.get(),
            submission_overflows: driver.overflowed,
            lost_completions: driver.lost,
            operations_in_flight: core.operations_in_flight(),
            tasks: core.task_count(),
            buffers_in_use: pools.iter().map(|pool| usize::from(pool.lent_count())).sum(),
            buffers_total: pools.iter().map(|pool| usize::from(pool.total_count())).sum(),
            blocking_queued: workers.queued,
            blocking_running: workers.running,
            blocking_threads: workers.threads,
        }
    }
}

/// What the runtime of this thread has counted so far.
///
/// # Panics
///
/// If no runtime runs on this thread.
#[track_caller]
pub fn stats() -> Stats {
    Stats::of(&Core::current())
}
