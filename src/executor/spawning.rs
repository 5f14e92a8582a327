//! What a spawn does beside making a task: the hook that hears of it, and the eager start.
//!
//! Whoever makes a task for a user calls [`Core::spawned`] once the task has all that belongs to
//! it: its name, its context, its observer. The hook is foreign code: it runs while nothing is
//! borrowed, and is out of its place meanwhile, so what it spawns itself is not told to it.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use super::report::contain;
use super::task::{AnyTask, Phase, Task};
use super::{Core, Unhandled};

/// How deep eager starts may lie in one another; what is spawned deeper starts in the next turn.
/// A chain of such tasks is as long as somebody likes, and the stack is not.
const EAGER_DEPTH_MAX: usize = 64;

/// Hears of each task.
pub(crate) type SpawnHook = Box<dyn Fn(&Rc<Core>, Rc<dyn AnyTask>)>;

/// How a core spawns.
#[derive(Default)]
pub(crate) struct Spawning {
    /// Tasks are polled once inside of their spawn.
    is_eager: bool,
    /// Away while it runs.
    hook: Cell<Option<SpawnHook>>,
    /// How many eager starts lie in one another now.
    depth: Cell<usize>,
}

impl Spawning {
    pub(crate) fn new(is_eager: bool, hook: Option<SpawnHook>) -> Spawning {
        Spawning { is_eager, hook: Cell::new(hook), depth: Cell::new(0) }
    }
}

impl Core {
    /// Tells the hook of a new task, and polls the task if it is to start at once; the runtime
    /// says so for whoever does not.
    #[inline]
    pub(crate) fn spawned<F>(self: &Rc<Core>, task: &Rc<Task<F>>, is_eager: Option<bool>)
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        if let Some(hook) = self.spawning.hook.take() {
            self.tell(hook, Rc::<Task<F>>::clone(task));
        }
        if is_eager.unwrap_or(self.spawning.is_eager) {
            self.run_now(Rc::<Task<F>>::clone(task));
        }
    }

    /// Tells the hook of a new task that starts in the next turn whatever the runtime says.
    pub(crate) fn announce(self: &Rc<Core>, task: &Rc<dyn AnyTask>) {
        if let Some(hook) = self.spawning.hook.take() {
            self.tell(hook, Rc::clone(task));
        }
    }

    #[cold]
    fn tell(self: &Rc<Core>, hook: SpawnHook, task: Rc<dyn AnyTask>) {
        // One that was refused has ended, and was no task of this runtime.
        let is_told = task.header().phase.get() == Phase::Finished || contain(|| hook(self, task));
        self.spawning.hook.set(Some(hook));
        if !is_told {
            self.report(&Unhandled::SpawnHookPanicked);
        }
    }

    /// Polls a task that was just spawned, inside of the poll that spawned it.
    fn run_now(self: &Rc<Core>, task: Rc<dyn AnyTask>) {
        let depth = self.spawning.depth.get();
        if depth == EAGER_DEPTH_MAX {
            return;
        }
        self.spawning.depth.set(depth + 1);
        self.tasks.borrow_mut().unqueue_newest(task.header().ticket);
        self.run_task(task);
        self.spawning.depth.set(depth);
    }
}
