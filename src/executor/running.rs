//! Running tasks: from their spawn, poll by poll, to their end.
//!
//! `task.rs` draws the phases of a task, `scope.rs` what becomes of a request to end.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use super::context::Place;
use super::report::contain;
use super::scope::{Moved, Scope};
use super::task::{AnyTask, Header, Phase, Task};
use super::ticket::{self, Ticket};
use super::trace::TaskSpan;
use super::{CURRENT, Core, Life, Unhandled, count};
use crate::driver::Token;

/// Tasks.
impl Core {
    pub(crate) fn spawn<F>(
        self: &Rc<Core>,
        future: F,
        spawned_at: &'static Location<'static>,
        background: bool,
    ) -> Rc<Task<F>>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.task_count.set(self.task_count.get() + 1);
        let span = TaskSpan::new(self.task_count.get(), spawned_at, background);
        let make = |ticket| {
            let header = Header {
                id: self.task_count.get(),
                spawned_at,
                ticket,
                phase: Cell::new(Phase::Live),
                begun: Cell::new(false),
                aborted: Cell::new(false),
                background,
                has_handle: Cell::new(!background),
                drop_panicked: Cell::new(false),
                was_cancelled: Cell::new(false),
                joiner: RefCell::default(),
                observer: Cell::default(),
                scope: OnceCell::new(),
                name: Cell::default(),
                span,
                context: if background { Place::default() } else { self.context.copy() },
            };
            Task::new(header, future)
        };
        let task = self.tasks.borrow_mut().insert(make);
        let task = task.expect("at most 2^28 tasks may live on one core at a time");
        let refused = match background {
            true => self.life.get() == Life::Closed,
            false => self.life.get() != Life::Open,
        };
        if refused {
            task.end_cancelled();
            self.finish(&*task);
        }
        task
    }

    /// Wakes a task of the core that runs on this thread; false if the ticket is not one.
    pub(crate) fn wake_at_home(ticket: Ticket) -> bool {
        CURRENT
            .try_with(|current| match &*current.borrow() {
                Some(core) if core.claim.home == ticket.home() => {
                    core.tasks.borrow_mut().wake(ticket);
                    true
                }
                _ => false,
            })
            .unwrap_or(false)
    }

    /// Whether the core that a ticket is addressed to is the one that runs on this thread.
    pub(crate) fn runs_here(ticket: Ticket) -> bool {
        CURRENT
            .try_with(|current| {
                current.borrow().as_ref().is_some_and(|core| core.claim.home == ticket.home())
            })
            .unwrap_or(false)
    }

    /// Wakes any waker, whatever it does.
    pub(crate) fn wake(&self, waker: Waker) {
        if ticket::is_ticket(&waker) {
            waker.wake();
        } else if !contain(|| waker.wake()) {
            self.report(&Unhandled::WakerPanicked);
        }
    }

    pub(crate) fn current_task(&self) -> Option<Rc<dyn AnyTask>> {
        let task = self.current_task.take();
        self.current_task.set(task.clone());
        task
    }

    /// The tasks that have not ended, without the runtime's own.
    pub(crate) fn live_tasks(&self) -> Vec<Rc<dyn AnyTask>> {
        let all = self.tasks.borrow().all();
        all.into_iter().filter(|task| !task.header().background).collect()
    }

    /// Polls a task, also from inside the poll of another one (an eager start).
    pub(super) fn run_task(self: &Rc<Core>, task: Rc<dyn AnyTask>) {
        let header = task.header();
        if header.phase.get() != Phase::Live {
            return;
        }
        let takes_request = self.take_request(header);
        if header.aborted.get() || (takes_request && !header.begun.get()) {
            self.in_context_of(header, || task.end_cancelled());
            return self.settle(&*task);
        }
        header.begun.set(true);
        count(&self.counters.polls);
        let outer_task = self.current_task.replace(Some(Rc::clone(&task)));
        let outer_scope = self.current_scope.take();
        let waker = header.ticket.waker();
        let poll = || task.poll(&mut std::task::Context::from_waker(&waker));
        let over = self.in_context_of(header, poll);
        self.current_scope.set(outer_scope);
        let current = self.current_task.replace(outer_task);
        if !over {
            // A request that was made meanwhile ends the task at this very wait.
            self.take_request(header);
        }
        let ends = !over && header.is_to_be_dropped();
        if ends {
            self.in_context_of(header, || task.end_cancelled());
        }
        if over || ends {
            self.settle(&*task);
        }
        drop(current);
    }

    /// Runs a step of a task, which does not unwind, with the task's context values.
    fn in_context_of<T>(&self, header: &Header, step: impl FnOnce() -> T) -> T {
        self.context.swap(&header.context);
        let result = header.span.within(step);
        self.context.swap(&header.context);
        result
    }

    fn take_request(&self, header: &Header) -> bool {
        let scope = header.scope.get();
        scope.is_some_and(|scope| self.take_request_of(scope))
    }

    /// A task's future is gone; it is finished when its operations are.
    fn settle(self: &Rc<Core>, task: &dyn AnyTask) {
        let header = task.header();
        if header.in_flight() == 0 {
            return self.finish(task);
        }
        header.phase.set(Phase::Settling);
        self.cancel_operations(header.scope());
    }

    pub(super) fn finish(self: &Rc<Core>, task: &dyn AnyTask) {
        let header = task.header();
        if header.phase.replace(Phase::Finished) == Phase::Finished {
            return;
        }
        let held = self.tasks.borrow_mut().remove(header.ticket);
        if let Some(scope) = header.scope.get() {
            // Its root has no outer scope that would have to hear of it.
            let (_, woken) = scope.close(false);
            self.wake_each(woken);
        }
        let mut drop_panicked = header.drop_panicked.get();
        let how = task.how_it_ended();
        if !header.has_handle.get() {
            self.report_panic(task);
            drop_panicked |= !task.discard();
        }
        if drop_panicked {
            self.report(&Unhandled::DropPanicked);
        }
        let joiner = header.joiner.take();
        if let Some(joiner) = joiner {
            self.wake(joiner);
        }
        // Taken, since it may hold this very task.
        if let Some(observer) = header.observer.take() {
            observer.ended(self, how);
        }
        self.drop_foreign(header.context.take());
        header.span.close();
        drop(held);
    }

    /// Tells of a panic that nobody will take.
    pub(crate) fn report_panic(&self, task: &dyn AnyTask) {
        if let Some(message) = task.panic_message() {
            let (id, spawned_at) = (task.header().id, task.header().spawned_at);
            self.report(&Unhandled::TaskPanicked { id, spawned_at, message });
        }
    }
}

/// Scopes: see `scope.rs`.
impl Core {
    /// The scope that is polled now: the innermost one of the current task, or that of `block_on`.
    pub(crate) fn current_scope(&self) -> Rc<Scope> {
        if let Some(scope) = self.current_scope.take() {
            self.current_scope.set(Some(Rc::clone(&scope)));
            return scope;
        }
        if let Some(task) = self.current_task() {
            return Rc::clone(task.header().scope());
        }
        let root = self.root_scope.take().unwrap_or_else(Scope::of_main);
        self.root_scope.set(Some(Rc::clone(&root)));
        root
    }

    /// Asks a task to end; false if it has ended.
    pub(crate) fn ask_task(&self, task: &dyn AnyTask, reason: Option<Arc<str>>) -> bool {
        let (is_live, woken) = task.header().ask(reason);
        self.wake_each(woken);
        is_live
    }

    /// Has a scope take what it was told: what it has in flight, and the tasks it waits for, are
    /// asked to end. False if it was told nothing.
    pub(super) fn take_request_of(&self, scope: &Rc<Scope>) -> bool {
        let takes_request = scope.take_request();
        if takes_request {
            self.ask_all_in(scope);
        }
        takes_request
    }

    /// Asks for the end of a scope's operations. Returns the tasks that are awaited in it.
    pub(super) fn cancel_operations(&self, scope: &Rc<Scope>) -> Vec<Rc<dyn AnyTask>> {
        let (mut tokens, mut tasks) = (Vec::new(), Vec::new());
        scope.collect(&mut tokens, &mut tasks);
        for token in tokens {
            self.cancel(token);
        }
        tasks
    }

    pub(crate) fn wake_each(&self, wakers: Vec<Waker>) {
        for waker in wakers {
            self.wake(waker);
        }
    }

    pub(crate) fn find_task(&self, ticket: Ticket) -> Option<Rc<dyn AnyTask>> {
        self.tasks.borrow().find(ticket)
    }

    pub(super) fn operation_ended(self: &Rc<Core>, owner: &Rc<Scope>, token: Token) {
        let (woken, root) = owner.operation_ended(token);
        self.wake_each(woken);
        self.finish_if_settled(&root);
    }

    /// What a scope has in flight, and the tasks it waits for, are asked to end.
    fn ask_all_in(&self, scope: &Rc<Scope>) {
        for task in self.cancel_operations(scope) {
            self.ask_task(&*task, scope.reason_around());
        }
    }

    /// A future was polled elsewhere than before. What is ending there ends it as well.
    pub(super) fn scope_moved(self: &Rc<Core>, scope: &Rc<Scope>, moved: Moved) {
        self.wake_each(moved.woken);
        if let Some(left) = moved.left {
            self.finish_if_settled(&left);
        }
        if scope.is_ending_around() {
            self.ask_all_in(scope);
        }
    }

    /// Finishes the task of a scope that waited for its last operation only.
    fn finish_if_settled(self: &Rc<Core>, root: &Rc<Scope>) {
        if root.in_flight() == 0
            && let Some(ticket) = root.task()
            && let Some(task) = self.find_task(ticket)
            && task.header().phase.get() == Phase::Settling
        {
            self.finish(&*task);
        }
    }
}
