//! Starting cores together, and ending them together.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use super::{Core, CoreHandle, Layout, Plan};
use crate::driver::{CpuSet, Driver};
use crate::executor;
use crate::runtime::Runtime;
use crate::sync::Event;
use crate::task::{JoinError, TaskRef};

/// When cores end that did not panic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Each with its own work.
    WhenAllDo,
    /// All with the first.
    WithTheFirst,
}

/// What the cores of a group know of one another.
struct Group {
    end: End,
    state: Mutex<State>,
    changed: Condvar,
    is_ending: AtomicBool,
    /// Cores whose work is not over.
    working: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// Who has started, in its place.
    handles: Vec<Option<CoreHandle>>,
    error: Option<io::Error>,
    /// All, once the last has started.
    all: Option<Arc<[CoreHandle]>>,
}

impl Group {
    fn new(count: usize, end: End) -> Arc<Group> {
        let state = State { handles: vec![None; count], ..State::default() };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let (is_ending, working) = (AtomicBool::new(false), AtomicUsize::new(count));
        Arc::new(Group { end, state, changed, is_ending, working })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the others that a core has started, or why it has not.
    fn report(&self, index: usize, started: io::Result<CoreHandle>) {
        let mut state = self.lock();
        match started {
            Ok(handle) => state.handles[index] = Some(handle),
            Err(error) => drop(state.error.get_or_insert(error)),
        }
        if state.all.is_none() && state.handles.iter().all(Option::is_some) {
            state.all = Some(state.handles.iter().flatten().copied().collect());
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until all have started; `None` if one has not.
    fn all_started(&self) -> Option<Arc<[CoreHandle]>> {
        let mut state = self.lock();
        loop {
            if state.error.is_some() {
                return None;
            }
            if let Some(all) = &state.all {
                return Some(Arc::clone(all));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A core's work is over. Has the others asked to end, if theirs is over with it; and lets all
    /// go with the last.
    fn ended(&self, index: usize, has_panicked: bool) {
        let ends_all = has_panicked || (self.end == End::WithTheFirst && index == 0);
        if ends_all && !self.is_ending.swap(true, Ordering::SeqCst) {
            self.call_all(end_work);
        }
        if self.working.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.call_all(let_go);
        }
    }

    fn call_all(&self, call: fn()) {
        let all = self.lock().all.clone();
        for handle in all.iter().flat_map(|all| all.iter()) {
            // One whose loop has broken down needs no telling.
            let _ = handle.call_soon(call);
        }
    }
}

thread_local! {
    /// The core of a group that runs on this thread.
    static HERE: RefCell<Option<Core>> = const { RefCell::new(None) };
    /// The task that is this core's work.
    static WORK: RefCell<Option<TaskRef>> = const { RefCell::new(None) };
    /// Set when the work of all cores is over.
    static OVER: RefCell<Option<Rc<Event>>> = const { RefCell::new(None) };
}

/// The core that runs on this thread, if it is one of a group and its runtime runs now.
pub(super) fn core_here() -> Option<Core> {
    HERE.with_borrow(Clone::clone).filter(|core| core.handles[core.index].is_current())
}

fn let_go() {
    if let Some(over) = OVER.take() {
        over.set();
    }
}

/// Asks the work of the core on this thread to end, and aborts it after the grace limit.
fn end_work() {
    let Some(work) = WORK.with_borrow(Clone::clone) else { return };
    work.cancel_with("another core of its group has ended");
    let grace = executor::Core::current().grace();
    drop(crate::task::spawn(async move {
        crate::time::sleep(grace).await;
        work.abort();
    }));
}

/// Builds the runtime of one core, on its thread.
fn build(layout: &Layout, index: usize, driver: Option<Driver>) -> io::Result<Runtime> {
    let mut builder = (layout.configure)(Runtime::builder());
    if let Some(cpu) = layout.cpus[index] {
        builder = builder.pin(cpu);
    }
    if let Some(driver) = driver {
        // Chosen once, for all alike.
        builder = builder.driver(driver);
    }
    builder.build().map_err(|error| {
        let count = layout.cpus.len();
        io::Error::new(error.kind(), format!("core {index} of {count} cannot start: {error}"))
    })
}

/// Tells the group of a core's end, also where that is a panic of the loop itself.
struct Ending<'a> {
    group: &'a Group,
    index: usize,
    has_panicked: bool,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.group.ended(self.index, self.has_panicked);
    }
}

/// Runs one core from its start to its end.
fn serve<F>(
    runtime: Runtime,
    group: &Group,
    core: Core,
    work: impl FnOnce(Core) -> F,
) -> Result<F::Output, JoinError>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let mut ending = Ending { group, index: core.index, has_panicked: true };
    HERE.set(Some(core.clone()));
    let outcome = runtime.block_on(async {
        let over = Rc::new(Event::new());
        OVER.set(Some(Rc::clone(&over)));
        let task = crate::task::spawn(work(core));
        WORK.set(Some(task.task()));
        if group.is_ending.load(Ordering::SeqCst) {
            // The request came before there was anything to ask.
            end_work();
        }
        let outcome = task.await;
        WORK.take();
        ending.has_panicked = outcome.as_ref().is_err_and(JoinError::is_panic);
        drop(ending);
        // It serves the others until the last of them is done.
        over.wait().await;
        outcome
    });
    runtime.close();
    HERE.take();
    outcome
}

/// Runs `main` as the first core on this thread, and `others` on a thread for each other core.
pub(super) fn run<M, N, W, F>(
    plan: Plan,
    end: End,
    main: M,
    others: W,
) -> io::Result<Outcomes<N::Output, F::Output>>
where
    M: FnOnce(Core) -> N,
    N: Future + 'static,
    N::Output: 'static,
    W: Fn(Core) -> F + Clone + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    executor::Core::assert_none_runs();
    // The first core pins this thread, and threads inherit that.
    let cpus = Cpus(CpuSet::of_this_thread().ok());
    let layout = plan.layout;
    let runtime = build(&layout, 0, None)?;
    let group = Group::new(layout.cpus.len(), end);
    let driver = runtime.features().driver();
    group.report(0, Ok(CoreHandle::of(runtime.core())));
    let threads = start_others(&layout, &group, driver, &cpus, &others);
    let Some(handles) = group.all_started() else {
        for thread in threads {
            let _ = thread.join();
        }
        let error = group.lock().error.take();
        return Err(error.expect("a group that has not started has an error"));
    };
    (plan.tell)(&plan.line);
    let core = Core { index: 0, cpu: layout.cpus[0], handles };
    let first = serve(runtime, &group, core, main);
    let rest = threads.into_iter().map(join).collect();
    Ok(Outcomes { first, rest })
}

/// The CPUs that the calling thread had, which it gets back.
struct Cpus(Option<CpuSet>);

impl Drop for Cpus {
    fn drop(&mut self) {
        if let Some(cpus) = self.0 {
            cpus.use_here();
        }
    }
}

/// What became of each core.
pub(super) struct Outcomes<M, T> {
    pub(super) first: Result<M, JoinError>,
    pub(super) rest: Vec<Result<T, JoinError>>,
}

type Thread<T> = thread::JoinHandle<Option<Result<T, JoinError>>>;

/// Starts the other cores, each on a thread of its own.
fn start_others<W, F>(
    layout: &Arc<Layout>,
    group: &Arc<Group>,
    driver: Driver,
    cpus: &Cpus,
    work: &W,
) -> Vec<Thread<F::Output>>
where
    W: Fn(Core) -> F + Clone + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let mut threads = Vec::new();
    for index in 1..layout.cpus.len() {
        let (layout, group, work) = (Arc::clone(layout), Arc::clone(group), work.clone());
        let for_error = Arc::clone(&group);
        let cpus = cpus.0;
        let run = move || {
            if let Some(cpus) = cpus {
                cpus.use_here();
            }
            let runtime = match build(&layout, index, Some(driver)) {
                Ok(runtime) => runtime,
                Err(error) => {
                    group.report(index, Err(error));
                    return None;
                }
            };
            group.report(index, Ok(CoreHandle::of(runtime.core())));
            let handles = group.all_started()?;
            let core = Core { index, cpu: layout.cpus[index], handles };
            Some(serve(runtime, &group, core, work))
        };
        match thread::Builder::new().name(format!("corio-{index}")).spawn(run) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                let text = format!("core {index} gets no thread: {error}");
                for_error.report(index, Err(io::Error::new(error.kind(), text)));
                break;
            }
        }
    }
    threads
}

fn join<T>(thread: Thread<T>) -> Result<T, JoinError> {
    match thread.join() {
        Ok(outcome) => outcome.expect("a group that has started runs on each thread"),
        Err(panic) => Err(JoinError::panicked(panic, 0, Location::caller())),
    }
}
