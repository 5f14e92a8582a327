//! What a scope that ends has to wait for: its operations in flight, and the tasks that are awaited
//! in it.
//!
//! Both are counted or listed where they were started, and asked for through the whole tree. What
//! leaves the tree (a future that moves to another task, a handle that is dropped elsewhere) may be
//! the last that an ending scope waited for, so it is woken then.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Waker;

use super::{Scope, State, Step};
use crate::driver::Token;
use crate::executor::task::{AnyTask, Phase};

/// The tasks that are awaited inside a scope, under keys that are free again when they end.
#[derive(Default)]
pub(super) struct Joins {
    entries: Vec<Option<Rc<dyn AnyTask>>>,
    free: Vec<u32>,
    /// The place of an entry that was unfinished when last looked at: the next look begins there,
    /// so that a thousand looks at a thousand tasks that end in turn are no million.
    looked_at: Cell<usize>,
}

impl Joins {
    fn has_unfinished(&self) -> bool {
        let is_unfinished = |place: &usize| {
            let task = self.entries[*place].as_ref();
            task.is_some_and(|task| task.header().phase.get() != Phase::Finished)
        };
        let first = self.looked_at.get().min(self.entries.len());
        let found = (first..self.entries.len()).chain(0..first).find(is_unfinished);
        self.looked_at.set(found.unwrap_or(0));
        found.is_some()
    }
}

/// What is in flight.
impl Scope {
    pub(crate) fn operation_started(self: &Rc<Self>, token: Token) {
        self.operations.borrow_mut().insert(token);
        self.in_flight.set(self.in_flight.get() + 1);
        self.for_each_outer(|outer| outer.in_flight.set(outer.in_flight.get() + 1));
    }

    /// Returns whom to wake, and the outermost scope.
    pub(crate) fn operation_ended(self: &Rc<Self>, token: Token) -> (Vec<Waker>, Rc<Scope>) {
        self.operations.borrow_mut().remove(&token);
        let mut woken = Vec::from_iter(self.lose(1));
        let mut root = Rc::clone(self);
        self.for_each_outer(|outer| {
            woken.extend(outer.lose(1));
            root = Rc::clone(outer);
        });
        (woken, root)
    }

    /// Counts operations out. At the last, whoever waits for that is to be woken.
    pub(super) fn lose(&self, count: usize) -> Option<Waker> {
        self.in_flight.set(self.in_flight.get() - count);
        if self.in_flight.get() > 0 || count == 0 {
            return None;
        }
        let state = self.state.borrow();
        match *state {
            State::Ending(_) | State::Settling => self.take_waker(),
            State::Closed => {
                drop(state);
                self.unlink();
                None
            }
            _ => None,
        }
    }

    /// Operations of this scope and of all inside that have not ended.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Whether nothing is left that a scope which ends has to wait for: no operation, and no task
    /// that is awaited in it and was asked as well.
    pub(crate) fn is_quiet(self: &Rc<Self>) -> bool {
        self.in_flight.get() == 0 && !self.waits_for_task()
    }

    fn waits_for_task(self: &Rc<Self>) -> bool {
        let mut waits = self.joins.borrow().has_unfinished();
        if !waits {
            self.walk(|step| {
                waits = matches!(step, Step::Enter(scope) if scope.joins.borrow().has_unfinished());
                !waits
            });
        }
        waits
    }

    /// All operations and awaited tasks of this scope and of those inside.
    pub(crate) fn collect(
        self: &Rc<Self>,
        tokens: &mut Vec<Token>,
        tasks: &mut Vec<Rc<dyn AnyTask>>,
    ) {
        let mut collect = |scope: &Scope| {
            tokens.extend(scope.operations.borrow().iter());
            tasks.extend(scope.joins.borrow().entries.iter().flatten().cloned());
        };
        collect(self);
        self.walk(|step| {
            if let Step::Enter(scope) = step {
                collect(scope);
            }
            true
        });
    }

    /// Notes that a task is awaited here: it is asked to end when this scope is.
    pub(crate) fn join(&self, task: Rc<dyn AnyTask>) -> u32 {
        let mut joins = self.joins.borrow_mut();
        match joins.free.pop() {
            Some(key) => {
                joins.entries[key as usize] = Some(task);
                key
            }
            None => {
                joins.entries.push(Some(task));
                joins.entries.len() as u32 - 1
            }
        }
    }

    /// The tasks that are awaited in this very scope.
    pub(crate) fn joined(&self) -> Vec<Rc<dyn AnyTask>> {
        self.joins.borrow().entries.iter().flatten().cloned().collect()
    }

    /// Forgets tasks that have ended, where nobody keeps their keys. Returned for the caller to
    /// drop.
    pub(crate) fn sweep_joins(&self) -> Vec<Rc<dyn AnyTask>> {
        let mut joins = self.joins.borrow_mut();
        let entries = std::mem::take(&mut joins.entries);
        let is_over = |task: &Rc<dyn AnyTask>| task.header().phase.get() == Phase::Finished;
        let (over, live): (Vec<_>, Vec<_>) = entries.into_iter().flatten().partition(is_over);
        joins.entries = live.into_iter().map(Some).collect();
        over
    }

    /// The task is awaited no more. Returned for the caller to drop, with whom to wake: who waited
    /// for nothing else.
    pub(crate) fn unjoin(&self, key: u32) -> (Option<Rc<dyn AnyTask>>, Vec<Waker>) {
        let task = {
            let mut joins = self.joins.borrow_mut();
            let task = joins.entries.get_mut(key as usize).and_then(Option::take);
            if task.is_some() {
                joins.free.push(key);
            }
            task
        };
        let is_live = |task: &Rc<dyn AnyTask>| task.header().phase.get() != Phase::Finished;
        let mut woken = Vec::new();
        if task.as_ref().is_some_and(is_live) {
            woken.extend(self.waker_if_ending());
            self.for_each_outer(|outer| woken.extend(outer.waker_if_ending()));
        }
        (task, woken)
    }

    /// Awaits no task any more; true if one of them has not ended.
    pub(super) fn forget_joins(&self) -> bool {
        let joins = self.joins.take();
        joins.has_unfinished()
    }
}
