//! Scopes: what can be asked to end, and who answers.
//!
//! A **scope** is a stretch of work that can be asked to end as one: a task, the inside of a
//! `wait_for`, the body of a group. A **border** (`catch_cancel`) is a scope that answers for the
//! ones around it. Scopes nest as their futures do, and form a tree for each task.
//!
//! ```text
//!                 told                      next poll: taken               pending, nothing in
//!   Open ──────────────────────▶ Asked ──────────────────────▶ Ending ───── flight: dropped ────┐
//!    │ ▲                          │ │                            │                              │
//!    │ └────── 1 a border opens ──┘ │ 2 ready, or dropped        │ 2 ready: its value wins      │
//!    │                              ▼                            ▼                              ▼
//!    └──────────────────────────────────────▶ Settling ───▶ Closed ◀─────────────── (Cancelled) ┘
//!       ready, operations in flight                nothing in flight
//! ```
//!
//! A **request** is made of its owner by [`Scope::ask`], and told to the leaves: the open borders
//! below the owner that have no open border inside. Without any, the owner itself is told. Who was
//! told takes it at its next poll, or at the end of the one that is going on: its operations in
//! flight are asked to end, the tasks it waits for are asked as well, no operation is started any
//! more, and it is polled until it is ready (its value wins) or pending with nothing in flight (it
//! is dropped).
//!
//! * A request is *consumed* when a border answers for it, by returning `Cancelled`; nobody else
//!   hears of it then, and its owner runs on.
//! * Where all who were told closed without answering (2), it is told anew: to the borders that are
//!   leaves now, or to the owner. So no value that came in between swallows a request.
//! * A border that opens below a scope that was told and has not been polled since takes its place
//!   (1): the request waits for whoever answers first.
//! * A border that was leaked never answers. An abort, a grace limit or teardown end its owner.
//!
//! An operation belongs to the scope that was polled when it was started. `in_flight` counts those
//! of a scope and of all scopes inside, also of those that were dropped: their orphans are the
//! enclosing scope's, so a task never outlives what it started.
//!
//! Nothing here runs foreign code. What is to be woken is handed to the caller, who does it while
//! nothing is borrowed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;

use super::task::{AnyTask, Phase};
use super::ticket::{Ticket, is_ticket};
use crate::driver::Token;

/// What a scope is to a request that is made around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The future of `block_on`, of which nothing is asked.
    Main,
    /// A task.
    Task(Ticket),
    /// Ends for its own owner only: a `wait_for`, a group.
    Block,
    /// Answers for the scopes around it: `catch_cancel`.
    Border,
}

/// A request to end. See the top of this file.
pub(crate) struct Request {
    owner: Weak<Scope>,
    reason: Option<Arc<str>>,
    /// A border answered for it.
    is_consumed: Cell<bool>,
    /// Scopes that were told of it and are not closed.
    told_count: Cell<usize>,
}

impl Request {
    pub(crate) fn reason(&self) -> Option<&Arc<str>> {
        self.reason.as_ref()
    }

    /// Has the request told anew, as if nobody had answered for it. Returns whom to wake.
    #[must_use]
    pub(crate) fn resume(self: &Rc<Self>) -> Vec<Waker> {
        self.is_consumed.set(false);
        self.tell_anew()
    }

    fn tell_anew(self: &Rc<Self>) -> Vec<Waker> {
        let owner = self.owner.upgrade();
        let owner = owner.filter(|owner| self.told_count.get() == 0 && !owner.is_closed());
        owner.map_or_else(Vec::new, |owner| owner.deliver(self))
    }
}

type Requests = Vec<Rc<Request>>;

enum State {
    Open,
    Asked(Requests),
    Ending(Requests),
    Settling,
    Closed,
}

/// The tasks that are awaited inside a scope, under keys that are free again when they end.
#[derive(Default)]
struct Joins {
    entries: Vec<Option<Rc<dyn AnyTask>>>,
    free: Vec<u32>,
}

/// See the top of this file.
pub(crate) struct Scope {
    kind: Kind,
    /// Its place in the enclosing scope's list.
    number: Cell<u64>,
    parent: RefCell<Option<Rc<Scope>>>,
    /// Scopes inside that are open or have operations in flight, in the order they were opened.
    inner: RefCell<BTreeMap<u64, Weak<Scope>>>,
    opened_count: Cell<u64>,
    state: RefCell<State>,
    /// What was asked of this scope and told to borders inside.
    delegated: RefCell<Option<Rc<Request>>>,
    /// Operations of this scope, and the number of those and of all scopes inside.
    operations: RefCell<BTreeSet<Token>>,
    in_flight: Cell<usize>,
    joins: RefCell<Joins>,
    /// Whom to wake: the waker of the last poll, or the task's.
    waker: RefCell<Option<Waker>>,
}

impl Scope {
    /// The scope of a task.
    pub(crate) fn of_task(ticket: Ticket) -> Rc<Scope> {
        Rc::new(Scope::new(Kind::Task(ticket), None, Some(ticket.waker())))
    }

    /// The scope of the future of `block_on`.
    pub(crate) fn of_main() -> Rc<Scope> {
        Rc::new(Scope::new(Kind::Main, None, None))
    }

    pub(crate) fn is_main(&self) -> bool {
        self.kind == Kind::Main
    }

    /// The task whose scope this is.
    pub(crate) fn task(&self) -> Option<Ticket> {
        match self.kind {
            Kind::Task(ticket) => Some(ticket),
            _ => None,
        }
    }

    fn new(kind: Kind, parent: Option<Rc<Scope>>, waker: Option<Waker>) -> Scope {
        Scope {
            kind,
            number: Cell::new(0),
            parent: RefCell::new(parent),
            inner: RefCell::default(),
            opened_count: Cell::new(0),
            state: RefCell::new(State::Open),
            delegated: RefCell::default(),
            operations: RefCell::default(),
            in_flight: Cell::new(0),
            joins: RefCell::default(),
            waker: RefCell::new(waker),
        }
    }

    /// Opens a scope inside this one.
    pub(crate) fn open(self: &Rc<Self>, kind: Kind, waker: Waker) -> Rc<Scope> {
        let scope = Rc::new(Scope::new(kind, Some(Rc::clone(self)), Some(waker)));
        self.adopt(&scope);
        if kind == Kind::Border {
            scope.relieve_outer();
        }
        scope
    }

    fn adopt(&self, scope: &Rc<Scope>) {
        let number = self.opened_count.get() + 1;
        self.opened_count.set(number);
        scope.number.set(number);
        self.inner.borrow_mut().insert(number, Rc::downgrade(scope));
    }

    /// Takes over what scopes around were told and have not taken yet.
    fn relieve_outer(&self) {
        let mut taken = Requests::new();
        self.for_each_outer(|outer| {
            let mut state = outer.state.borrow_mut();
            if let State::Asked(requests) = &mut *state {
                taken.append(requests);
                *state = State::Open;
            }
        });
        for request in &taken {
            if let Some(owner) = request.owner.upgrade() {
                owner.delegated.replace(Some(Rc::clone(request)));
            }
        }
        if !taken.is_empty() {
            self.state.replace(State::Asked(taken));
        }
    }

    fn for_each_outer(&self, mut visit: impl FnMut(&Rc<Scope>)) {
        let mut next = self.parent.borrow().clone();
        while let Some(scope) = next {
            visit(&scope);
            next = scope.parent.borrow().clone();
        }
    }

    fn is_closed(&self) -> bool {
        matches!(*self.state.borrow(), State::Closed)
    }
}

/// Requests.
impl Scope {
    /// Asks this scope to end. Returns whom to wake. Asking again before anybody answered is
    /// asking once.
    #[must_use]
    pub(crate) fn ask(self: &Rc<Self>, reason: Option<Arc<str>>) -> Vec<Waker> {
        if self.request().is_some() || !matches!(*self.state.borrow(), State::Open) {
            return Vec::new();
        }
        let owner = Rc::downgrade(self);
        let (is_consumed, told_count) = (Cell::new(false), Cell::new(0));
        self.deliver(&Rc::new(Request { owner, reason, is_consumed, told_count }))
    }

    /// What was asked of this scope, until a border answers for it.
    pub(crate) fn request(&self) -> Option<Rc<Request>> {
        let own = match &*self.state.borrow() {
            State::Asked(requests) | State::Ending(requests) => {
                let is_own = |it: &&Rc<Request>| std::ptr::eq(it.owner.as_ptr(), self);
                requests.iter().find(is_own).cloned()
            }
            _ => None,
        };
        own.or_else(|| {
            let delegated = self.delegated.borrow();
            delegated.clone().filter(|request| !request.is_consumed.get())
        })
    }

    fn deliver(self: &Rc<Self>, request: &Rc<Request>) -> Vec<Waker> {
        let mut leaves = Vec::new();
        self.collect_leaves(&mut leaves);
        if leaves.is_empty() {
            leaves.push(Rc::clone(self));
            drop(self.delegated.take());
        } else {
            self.delegated.replace(Some(Rc::clone(request)));
        }
        request.told_count.set(leaves.len());
        leaves.iter().filter_map(|leaf| leaf.tell(Rc::clone(request))).collect()
    }

    /// The open borders inside that have none inside themselves; false if there is no border.
    fn collect_leaves(&self, leaves: &mut Vec<Rc<Scope>>) -> bool {
        let mut found = false;
        for scope in self.inner_scopes() {
            let found_inside = scope.collect_leaves(leaves);
            let is_border = scope.kind == Kind::Border && !scope.is_closed();
            if is_border && !found_inside {
                leaves.push(scope);
            }
            found |= found_inside || is_border;
        }
        found
    }

    fn inner_scopes(&self) -> Vec<Rc<Scope>> {
        self.inner.borrow().values().filter_map(Weak::upgrade).collect()
    }

    fn tell(&self, request: Rc<Request>) -> Option<Waker> {
        match &mut *self.state.borrow_mut() {
            State::Asked(requests) | State::Ending(requests) => requests.push(request),
            state => *state = State::Asked(vec![request]),
        }
        self.take_waker()
    }

    /// The waker of the last poll. A foreign one is handed out itself, since cloning it would run
    /// foreign code; the next poll brings another.
    fn take_waker(&self) -> Option<Waker> {
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(ticket) if is_ticket(ticket) => Some(ticket.clone()),
            _ => waker.take(),
        }
    }

    /// Takes what the scope was told, if anything: then its operations are to be asked to end.
    pub(crate) fn take_request(&self) -> bool {
        let mut state = self.state.borrow_mut();
        match &mut *state {
            State::Asked(requests) => {
                *state = State::Ending(std::mem::take(requests));
                true
            }
            _ => false,
        }
    }

    /// Whether this scope took a request.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(*self.state.borrow(), State::Ending(_))
    }

    /// Whether this scope or one around it took a request: no operation is started in it.
    pub(crate) fn is_ending_around(&self) -> bool {
        let mut is_ending = self.is_ending();
        self.for_each_outer(|outer| is_ending |= outer.is_ending());
        is_ending
    }

    /// Why this scope or one around it ends.
    pub(crate) fn reason_around(&self) -> Option<Arc<str>> {
        let mut reason = self.reason();
        self.for_each_outer(|outer| reason = reason.take().or_else(|| outer.reason()));
        reason
    }

    /// Whether this scope or one around it was asked, and nobody has answered for that.
    pub(crate) fn is_asked_around(&self) -> bool {
        let is_asked = |scope: &Scope| {
            let state = scope.state.borrow();
            matches!(*state, State::Asked(_) | State::Ending(_)) || scope.request().is_some()
        };
        let mut found = is_asked(self);
        self.for_each_outer(|outer| found |= is_asked(outer));
        found
    }

    /// Whether this scope is `other` or lies inside of it.
    pub(crate) fn is_inside(&self, other: &Rc<Scope>) -> bool {
        let mut is_inside = std::ptr::eq(self, Rc::as_ptr(other));
        self.for_each_outer(|outer| is_inside |= Rc::ptr_eq(outer, other));
        is_inside
    }

    /// Why this scope ends.
    pub(crate) fn reason(&self) -> Option<Arc<str>> {
        match &*self.state.borrow() {
            State::Ending(requests) => requests.iter().find_map(|it| it.reason.clone()),
            _ => None,
        }
    }
}

/// The future inside: polled, and over.
impl Scope {
    /// Notes the waker of a poll, and that the scope lies inside `outer` now: its future may have
    /// moved. Returns what to drop, and whom to wake.
    pub(crate) fn polled(
        self: &Rc<Self>,
        outer: &Rc<Scope>,
        waker: &Waker,
    ) -> (Option<Waker>, Vec<Waker>) {
        let is_known = self.waker.borrow().as_ref().is_some_and(|it| it.will_wake(waker));
        let old = match is_known {
            true => None,
            false => {
                let waker = waker.clone();
                self.waker.borrow_mut().replace(waker)
            }
        };
        let is_same = self.parent.borrow().as_ref().is_some_and(|it| Rc::ptr_eq(it, outer));
        let woken = if is_same { Vec::new() } else { self.move_into(outer) };
        (old, woken)
    }

    fn move_into(self: &Rc<Self>, outer: &Rc<Scope>) -> Vec<Waker> {
        let count = self.in_flight.get();
        let woken = self.leave_parent(count);
        outer.adopt(self);
        self.parent.replace(Some(Rc::clone(outer)));
        self.for_each_outer(|outer| outer.in_flight.set(outer.in_flight.get() + count));
        woken
    }

    fn leave_parent(&self, count: usize) -> Vec<Waker> {
        let mut woken = Vec::new();
        self.for_each_outer(|outer| woken.extend(outer.lose(count)));
        let parent = self.parent.take();
        if let Some(parent) = parent {
            parent.inner.borrow_mut().remove(&self.number.get());
        }
        woken
    }

    /// The future is ready while operations that it left are in flight: waits for their end.
    pub(crate) fn settle(&self) {
        let requests = self.change_to(State::Settling);
        for request in requests {
            request.told_count.set(request.told_count.get() - 1);
        }
    }

    fn change_to(&self, state: State) -> Requests {
        match self.state.replace(state) {
            State::Asked(requests) | State::Ending(requests) => requests,
            _ => Requests::new(),
        }
    }

    /// The future is over, or dropped. If this scope answers for what it was told, that is
    /// consumed and returned; otherwise it is told anew. Returns whom to wake.
    #[must_use]
    pub(crate) fn close(self: &Rc<Self>, answers: bool) -> (Requests, Vec<Waker>) {
        let requests = self.change_to(State::Closed);
        let mut woken = Vec::new();
        for request in &requests {
            request.told_count.set(request.told_count.get() - 1);
            if answers {
                request.is_consumed.set(true);
            } else if !request.is_consumed.get() {
                woken.extend(request.tell_anew());
            }
        }
        drop(self.joins.take());
        if self.in_flight.get() == 0 {
            self.unlink();
        }
        (requests, woken)
    }

    fn unlink(&self) {
        let parent = self.parent.borrow().clone();
        if let Some(parent) = parent {
            parent.inner.borrow_mut().remove(&self.number.get());
        }
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
    fn lose(&self, count: usize) -> Option<Waker> {
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
    pub(crate) fn is_quiet(&self) -> bool {
        self.in_flight.get() == 0 && !self.waits_for_task()
    }

    fn waits_for_task(&self) -> bool {
        let is_unfinished = |task: &Rc<dyn AnyTask>| task.header().phase.get() != Phase::Finished;
        let awaits_here = self.joins.borrow().entries.iter().flatten().any(is_unfinished);
        awaits_here || self.inner_scopes().iter().any(|scope| scope.waits_for_task())
    }

    /// All operations and awaited tasks of this scope and of those inside.
    pub(crate) fn collect(&self, tokens: &mut Vec<Token>, tasks: &mut Vec<Rc<dyn AnyTask>>) {
        tokens.extend(self.operations.borrow().iter());
        tasks.extend(self.joins.borrow().entries.iter().flatten().cloned());
        for scope in self.inner_scopes() {
            scope.collect(tokens, tasks);
        }
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

    /// The task is awaited no more. Returned for the caller to drop.
    pub(crate) fn unjoin(&self, key: u32) -> Option<Rc<dyn AnyTask>> {
        let mut joins = self.joins.borrow_mut();
        let task = joins.entries.get_mut(key as usize)?.take();
        joins.free.push(key);
        task
    }
}
