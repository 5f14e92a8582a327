//! One core: its tasks, timers, operations and driver, and who may touch them when.
//!
//! `[one-thread]`: a core and everything that holds it stay on one thread; only its cell
//! (`ticket.rs`) is seen by others.
//!
//! `[no-user-code-while-borrowed]`: polls, wakes, clones and drops of wakers, drops of futures,
//! outputs and payloads, and hooks run only while no part of the core is borrowed. Each part sits
//! in a `RefCell` of its own, borrowed for one step and never across a call into a receiver, so a
//! breach is a panic at the guilty line, not a corruption.
//!
//! The executor knows operations and their receivers; it does not know what a stream is.

pub(crate) mod calls;
pub(crate) mod context;
mod courtesy;
pub(crate) mod inbox;
pub(crate) mod join_error;
pub(crate) mod operation;
mod ready;
mod report;
mod running;
pub(crate) mod scope;
pub(crate) mod scoped;
pub(crate) mod slots;
#[cfg(test)]
pub(crate) mod slots_tests;
mod spawning;
pub(crate) mod task;
mod teardown;
pub(crate) mod ticket;
pub(crate) mod timers;
mod trace;
mod turn;
pub(crate) mod waiting;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

pub use join_error::JoinError;
pub use report::Unhandled;
pub(crate) use report::{
    UnhandledHook, contain, orphaned_job_panicked, print, print_line, print_start_error,
    report_job_panic_without_core,
};
pub(crate) use spawning::{SpawnHook, Spawning};
pub use teardown::CloseReport;
pub(crate) use turn::Allowance;
pub use turn::BusyPoll;

use crate::driver::{
    AnyDriver, BufferConfig, Completion, Driver, Fd, Features, Pools, RingSize, SharedDriver,
    Token, Workers, WorkersConfig, choose, current_flag, now_ns, once_a_process, wall_seed,
};
use context::Place;
use courtesy::Courtesy;
pub(crate) use courtesy::Leave;
use ready::Tasks;
use scope::Scope;
use slots::{Done, Receive, Slots, Start};
use task::AnyTask;
use ticket::{Address, Claim, ROOT_SLOT, Ticket};
use timers::Timers;
use trace::OperationSpan;
use turn::Pace;

/// What a core is built from.
pub(crate) struct Config {
    pub(crate) driver: Option<Driver>,
    pub(crate) ring: RingSize,
    pub(crate) buffers: BufferConfig,
    pub(crate) busy_poll: BusyPoll,
    pub(crate) seed: Option<u64>,
    pub(crate) grace: Duration,
    pub(crate) linger: Duration,
    pub(crate) spawning: Spawning,
    pub(crate) workers: WorkersConfig,
    pub(crate) unhandled: UnhandledHook,
}

/// Where a core is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub(crate) enum Life {
    /// Tasks may be spawned.
    Open,
    /// Teardown has begun: spawns are refused, what runs may end.
    Closing,
    /// Operations are being cancelled; none is started.
    Draining,
    /// Nothing runs any more; what is left closes its descriptors by system call.
    Closed,
}

/// What can be asked for to be done at the end of the turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Errand {
    /// Send what an outbox holds. `alone` if the turn has nothing else to send or to do.
    Flush { alone: bool },
    /// Start the operations that a resource wants to stand.
    Arm,
}

/// A resource with something to do at the end of a turn.
pub(crate) trait TurnEnd {
    /// Called once for each time it was asked for, while no part of the core is borrowed.
    fn turn_end(self: Rc<Self>, core: &Rc<Core>, errand: Errand);
}

/// One core.
pub(crate) struct Core {
    claim: Claim,
    pub(crate) driver: SharedDriver,
    pub(crate) pools: Rc<Pools>,
    /// Threads for what blocks.
    pub(crate) workers: Workers,
    features: Features,
    slots: RefCell<Slots>,
    tasks: RefCell<Tasks>,
    timers: RefCell<Timers>,
    /// Outboxes with something to send, flushed at the end of the turn.
    flushes: RefCell<Vec<Rc<dyn TurnEnd>>>,
    /// The one queue for arming receives: first come, first armed.
    armings: RefCell<VecDeque<Rc<dyn TurnEnd>>>,
    completions: RefCell<Vec<Completion>>,
    current_task: Cell<Option<Rc<dyn AnyTask>>>,
    /// The context of what is polled now; between polls that of `block_on`'s future.
    context: Place,
    /// The scope inside of the current task that is being polled.
    current_scope: Cell<Option<Rc<Scope>>>,
    /// The scope of the future of `block_on`.
    root_scope: Cell<Option<Rc<Scope>>>,
    life: Cell<Life>,
    turning: Cell<bool>,
    pace: Pace,
    courtesy: Courtesy,
    task_count: Cell<u64>,
    /// Streams that are still sending or waiting for their peer after they were dropped.
    lingering: Cell<usize>,
    random: Cell<u64>,
    pub(crate) counters: Counters,
    grace: Duration,
    linger: Duration,
    spawning: Spawning,
    unhandled: UnhandledHook,
}

/// What a core counts, for `Stats`.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) turns: Cell<u64>,
    pub(crate) polls: Cell<u64>,
    pub(crate) foreign_wakes: Cell<u64>,
    pub(crate) foreign_completions: Cell<u64>,
    pub(crate) no_buffers: Cell<u64>,
    pub(crate) own_receives: Cell<u64>,
    pub(crate) busy_polls: Cell<u64>,
    pub(crate) dropped_connections: Cell<u64>,
}

/// Adds one to a counter.
pub(crate) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// Tells of a panic that nobody will take, after its core went away.
pub(crate) fn report_panic_without_core(task: &dyn AnyTask) {
    if let Some(message) = task.panic_message() {
        let (id, spawned_at) = (task.header().id, task.header().spawned_at);
        print(&Unhandled::TaskPanicked { id, spawned_at, message });
    }
}

/// Wakes any waker, whatever it does, and whether or not a core runs on this thread.
#[inline]
pub(crate) fn wake(waker: Waker) {
    if ticket::is_ticket(&waker) {
        waker.wake();
    } else {
        wake_foreign(waker);
    }
}

fn wake_foreign(waker: Waker) {
    match Core::try_current() {
        Some(core) => core.wake(waker),
        None => {
            if !contain(|| waker.wake()) {
                print(&Unhandled::WakerPanicked);
            }
        }
    }
}

/// What a misuse outside of a runtime is told.
pub(crate) const NO_RUNTIME: &str = "there is no corio runtime on this thread: call this from a \
    future that runs under `corio::run`, `Runtime::block_on`, `#[corio::main]` or `#[corio::test]`";

/// The same for one inside of a blocking job.
const NO_RUNTIME_IN_JOB: &str = "there is no corio runtime on this thread: it is a worker, and \
    runs a blocking job; cure: let the job return, and go on with its value in the task that \
    awaits it";

/// What a resource answers when it is polled while its core does not run.
pub(crate) fn not_turning() -> io::Error {
    io::Error::other(
        "this resource belongs to a corio runtime that is not running here: likely it was kept \
         past the end of its runtime, or is polled by another executor; cure: use it inside the \
         `block_on` of the runtime it was made in",
    )
}

impl Core {
    pub(crate) fn new(config: Config) -> io::Result<Rc<Core>> {
        let pools = Rc::new(Pools::new(&config.buffers)?);
        let choice = choose(config.driver, config.ring, &pools)?;
        let core = Core::with_driver(config, choice.driver, choice.features, pools)?;
        if let Some(reason) = choice.fell_back {
            once_a_process(|| core.report(&Unhandled::FellBack { reason }));
        }
        core.listen_to_bell();
        Ok(core)
    }

    pub(crate) fn with_driver(
        config: Config,
        driver: AnyDriver,
        features: Features,
        pools: Rc<Pools>,
    ) -> io::Result<Rc<Core>> {
        let claim = Claim::new()?;
        let tasks = RefCell::new(Tasks::new(claim.home));
        // Any ticket brings the core round; this one may wake the root in vain.
        let bring_round = Ticket::new(claim.home, ROOT_SLOT, 0).waker();
        let mut driver = driver;
        driver.employ(
            Workers::new(config.workers.for_files(), bring_round.clone()),
            bring_round.clone(),
        );
        let core = Rc::new(Core {
            claim,
            driver: Rc::new(RefCell::new(driver)),
            pools,
            workers: Workers::new(config.workers, bring_round.clone()),
            features,
            slots: RefCell::default(),
            tasks,
            timers: RefCell::new(Timers::new()),
            flushes: RefCell::default(),
            armings: RefCell::default(),
            completions: RefCell::default(),
            current_task: Cell::default(),
            context: context::with_current(Place::copy),
            current_scope: Cell::default(),
            root_scope: Cell::default(),
            life: Cell::new(Life::Open),
            turning: Cell::new(false),
            pace: Pace::new(config.busy_poll, &features),
            courtesy: Courtesy::default(),
            task_count: Cell::new(0),
            lingering: Cell::new(0),
            // A generator that shifts must not start at zero.
            random: Cell::new(config.seed.unwrap_or_else(wall_seed).max(1)),
            counters: Counters::default(),
            grace: config.grace,
            linger: config.linger,
            spawning: config.spawning,
            unhandled: config.unhandled,
        });
        Ok(core)
    }

    /// The core that runs on this thread now.
    #[track_caller]
    pub(crate) fn current() -> Rc<Core> {
        match Core::try_current() {
            Some(core) => core,
            None if current_flag().is_some() => panic!("{NO_RUNTIME_IN_JOB}"),
            None => panic!("{NO_RUNTIME}"),
        }
    }

    pub(crate) fn try_current() -> Option<Rc<Core>> {
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    /// How long a task on this thread may look for something before it asks to be woken; nothing
    /// where no core runs.
    pub(crate) fn allowance() -> Option<Allowance> {
        let allowance = |core: &Rc<Core>| core.pace.allowance();
        CURRENT.try_with(|current| current.borrow().as_ref().map(allowance)).ok().flatten()
    }

    /// Whether tasks of this thread's core wait for their turn.
    pub(crate) fn has_others_ready() -> bool {
        let has_ready = |core: &Rc<Core>| core.tasks.borrow().has_ready();
        CURRENT
            .try_with(|current| current.borrow().as_ref().is_some_and(has_ready))
            .unwrap_or(false)
    }

    /// Where other threads reach this core.
    pub(crate) fn address(&self) -> Address {
        self.claim.address()
    }

    /// Makes this the thread's core until the guard is dropped.
    #[track_caller]
    pub(crate) fn enter(self: &Rc<Core>) -> Entered {
        Core::assert_none_runs();
        self.enter_over()
    }

    #[track_caller]
    pub(crate) fn assert_none_runs() {
        assert!(
            Core::try_current().is_none(),
            "a corio runtime already runs on this thread: `run` and `block_on` cannot be called \
             from a future; await it, or `spawn` it, instead"
        );
    }

    /// How long tasks have to end that were asked to.
    pub(crate) fn grace(&self) -> Duration {
        self.grace
    }

    /// As `enter`, in the middle of another runtime: one that is dropped there ends at once.
    fn enter_over(self: &Rc<Core>) -> Entered {
        let core = Rc::clone(self);
        let outer = CURRENT.try_with(|current| current.borrow_mut().replace(core)).ok().flatten();
        self.turning.set(true);
        Entered { core: Rc::clone(self), outer }
    }

    pub(crate) fn features(&self) -> &Features {
        &self.features
    }

    pub(crate) fn life(&self) -> Life {
        self.life.get()
    }

    /// An error unless this core is the one that runs on this thread.
    pub(crate) fn check_turning(&self) -> io::Result<()> {
        if self.turning.get() { Ok(()) } else { Err(not_turning()) }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        now_ns()
    }

    /// Whether a deadline has passed. One that lies far ahead of the clock's last reading is left
    /// to its timer, since reading the clock costs as much as setting one.
    pub(crate) fn has_passed(&self, deadline_ns: u64) -> bool {
        !self.pace.is_far_ahead(deadline_ns) && self.now_ns() >= deadline_ns
    }

    /// The next number of the core's generator (xorshift64*), below `bound`.
    pub(crate) fn random_below(&self, bound: usize) -> usize {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        let high = x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        (high as usize * bound) >> 32
    }

    pub(crate) fn report(&self, unhandled: &Unhandled) {
        // A hook that panics must not end the core either.
        contain(|| (self.unhandled)(unhandled));
    }
}

/// Operations.
impl Core {
    /// Starts an operation. Its receiver hears of each completion, until the last.
    pub(crate) fn start(&self, start: Start) -> Token {
        let owner = start.owner.clone();
        let span = OperationSpan::new(&start.op);
        let token = self.slots.borrow_mut().start(&mut self.driver.borrow_mut(), start, span);
        if let Some(owner) = owner {
            owner.operation_started(token);
        }
        token
    }

    /// Asks for the end of an operation. It still completes.
    pub(crate) fn cancel(&self, token: Token) {
        self.slots.borrow_mut().cancel(&mut self.driver.borrow_mut(), token);
    }

    pub(crate) fn operations_in_flight(&self) -> usize {
        self.slots.borrow().live_count()
    }

    pub(crate) fn fd(&self, raw: i32) -> Rc<Fd> {
        Fd::new(raw, &self.driver)
    }

    /// Has `turn_end` called before the turn's system call, together with all other sends.
    pub(crate) fn flush_at_turn_end(&self, flush: Rc<dyn TurnEnd>) {
        self.flushes.borrow_mut().push(flush);
    }

    /// Has `turn_end` called just before the turn's system call, in the order of asking.
    pub(crate) fn arm_at_turn_end(&self, arming: Rc<dyn TurnEnd>) {
        self.armings.borrow_mut().push_back(arming);
    }

    /// Counts a stream that closes in the background, until the guard is dropped.
    pub(crate) fn linger_guard(self: &Rc<Core>) -> Lingering {
        self.lingering.set(self.lingering.get() + 1);
        Lingering(Rc::clone(self))
    }

    pub(crate) fn begin_root(&self) -> Waker {
        self.tasks.borrow_mut().begin_root().waker()
    }

    pub(crate) fn end_root(&self) {
        self.tasks.borrow_mut().end_root();
        drop(self.root_scope.take());
    }

    pub(crate) fn task_count(&self) -> usize {
        self.tasks.borrow().live_count()
    }

    fn listen_to_bell(self: &Rc<Core>) {
        let bell = Rc::new(BellListener { bell: self.claim.cell.bell });
        bell.listen(self);
    }
}

/// Timers.
impl Core {
    pub(crate) fn timers(&self) -> &RefCell<Timers> {
        &self.timers
    }
}

/// See [`Core::linger_guard`].
pub(crate) struct Lingering(Rc<Core>);

impl Drop for Lingering {
    fn drop(&mut self) {
        self.0.lingering.set(self.0.lingering.get() - 1);
    }
}

/// While this lives, the core is the thread's current one.
pub(crate) struct Entered {
    core: Rc<Core>,
    outer: Option<Rc<Core>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.core.turning.set(false);
        let outer = self.outer.take();
        let held = CURRENT.try_with(|current| std::mem::replace(&mut *current.borrow_mut(), outer));
        drop(held);
    }
}

/// The standing poll of the core's bell: foreign wakes that find it asleep.
struct BellListener {
    bell: crate::driver::Bell,
}

impl BellListener {
    fn listen(self: Rc<Self>, core: &Rc<Core>) {
        let multishot = core.features.has(crate::driver::Feature::PollMultishot);
        core.start(Start {
            op: crate::driver::Op::Poll { fd: self.bell.raw(), multishot },
            payload: crate::driver::Payload::None,
            fd: None,
            receiver: self,
            role: 0,
            owner: None,
        });
    }
}

impl Receive for BellListener {
    fn complete(self: Rc<Self>, core: &Rc<Core>, done: Done) {
        // The bell says only "look into the inbox", which every turn does.
        if !done.more && core.life() < Life::Draining {
            // A poll that is armed anew reports what the counter holds: it must hold nothing.
            self.bell.clear();
            self.listen(core);
        }
    }
}
