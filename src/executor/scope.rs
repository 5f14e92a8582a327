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

mod quiet;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;

use quiet::Joins;

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
    /// Who answered for it has handed it on, while others were told that are not closed: then it
    /// is told anew whatever those say.
    is_resumed: Cell<bool>,
    /// Scopes that were told of it and are not closed.
    told_count: Cell<usize>,
}

impl Request {
    pub(crate) fn reason(&self) -> Option<&Arc<str>> {
        self.reason.as_ref()
    }

    /// Has the request told anew, as if nobody had answered for it. Returns whom to wake, or
    /// `None` if nothing is left around `place` that it was made of: then it goes to the task.
    #[must_use]
    pub(crate) fn resume(self: &Rc<Self>, place: &Scope) -> Option<Vec<Waker>> {
        let owner = self.owner.upgrade()?;
        if owner.is_closed() || !place.is_inside(&owner) {
            return None;
        }
        self.is_consumed.set(false);
        self.is_resumed.set(true);
        Some(self.tell_anew())
    }

    /// A scope that was told is closed, or has left the owner. Returns whom to wake.
    fn untell(self: &Rc<Self>, answers: bool) -> Vec<Waker> {
        self.told_count.set(self.told_count.get() - 1);
        if answers && !self.is_resumed.get() {
            self.is_consumed.set(true);
        }
        if self.is_consumed.get() { Vec::new() } else { self.tell_anew() }
    }

    fn tell_anew(self: &Rc<Self>) -> Vec<Waker> {
        if self.told_count.get() > 0 {
            return Vec::new();
        }
        self.is_resumed.set(false);
        let owner = self.owner.upgrade().filter(|owner| !owner.is_closed());
        owner.map_or_else(Vec::new, |owner| owner.deliver(self))
    }
}

type Requests = Vec<Rc<Request>>;

/// What the poll of a scope's future leaves to do, while nothing is borrowed.
pub(crate) struct Polled {
    /// To be dropped.
    pub(crate) old_waker: Option<Waker>,
    pub(crate) moved: Option<Moved>,
}

/// The scope lies in another one than before.
pub(crate) struct Moved {
    /// The outermost scope that it was in.
    pub(crate) left: Option<Rc<Scope>>,
    /// Whom to wake: who waited for what has left, and who is told of the requests that were told
    /// in here, where they have nothing to end any more.
    pub(crate) woken: Vec<Waker>,
}

/// A step of a walk through a tree of scopes.
enum Step<'a> {
    Enter(&'a Rc<Scope>),
    Leave(&'a Rc<Scope>),
}

enum State {
    Open,
    Asked(Requests),
    Ending(Requests),
    Settling,
    Closed,
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
        let (is_consumed, is_resumed) = (Cell::new(false), Cell::new(false));
        let told_count = Cell::new(0);
        self.deliver(&Rc::new(Request { owner, reason, is_consumed, is_resumed, told_count }))
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
        let mut leaves = self.leaves();
        if leaves.is_empty() {
            leaves.push(Rc::clone(self));
            drop(self.delegated.take());
        } else {
            self.delegated.replace(Some(Rc::clone(request)));
        }
        request.told_count.set(leaves.len());
        leaves.iter().filter_map(|leaf| leaf.tell(Rc::clone(request))).collect()
    }

    /// The open borders inside that have none inside themselves.
    fn leaves(self: &Rc<Self>) -> Vec<Rc<Scope>> {
        let mut leaves = Vec::new();
        // For each scope on the way: whether a border was found inside.
        let mut found = vec![false];
        self.walk(|step| match step {
            Step::Enter(_) => {
                found.push(false);
                true
            }
            Step::Leave(scope) => {
                let has_inner = found.pop() == Some(true);
                let is_border = scope.kind == Kind::Border && !scope.is_closed();
                if is_border && !has_inner {
                    leaves.push(Rc::clone(scope));
                }
                if let Some(found_outside) = found.last_mut() {
                    *found_outside |= has_inner || is_border;
                }
                true
            }
        });
        leaves
    }

    /// Visits all scopes inside, and not itself, until `visit` says that it has seen enough. It
    /// does not recurse: how deep scopes nest is the affair of whoever nests them.
    fn walk(self: &Rc<Self>, mut visit: impl FnMut(Step<'_>) -> bool) {
        // Each with the number of its inner scope that was visited last.
        let mut path = vec![(Rc::clone(self), 0)];
        while let Some((scope, number)) = path.last_mut() {
            match scope.inner_after(*number) {
                Some((next, inner)) => {
                    *number = next;
                    if !visit(Step::Enter(&inner)) {
                        return;
                    }
                    path.push((inner, 0));
                }
                None => {
                    let Some((left, _)) = path.pop() else { return };
                    if path.is_empty() || !visit(Step::Leave(&left)) {
                        return;
                    }
                }
            }
        }
    }

    fn inner_after(&self, number: u64) -> Option<(u64, Rc<Scope>)> {
        let inner = self.inner.borrow();
        let mut later = inner.range((Bound::Excluded(number), Bound::Unbounded));
        later.find_map(|(number, scope)| scope.upgrade().map(|scope| (*number, scope)))
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

    /// Who would answer for a request that is made here: the next border, or the task.
    pub(crate) fn answerer(self: &Rc<Self>) -> Rc<Scope> {
        let mut scope = Rc::clone(self);
        self.for_each_outer(|outer| {
            if scope.kind == Kind::Block {
                scope = Rc::clone(outer);
            }
        });
        scope
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
    /// moved.
    pub(crate) fn polled(self: &Rc<Self>, outer: &Rc<Scope>, waker: &Waker) -> Polled {
        let is_known = self.waker.borrow().as_ref().is_some_and(|it| it.will_wake(waker));
        let old_waker = match is_known {
            true => None,
            false => {
                let waker = waker.clone();
                self.waker.borrow_mut().replace(waker)
            }
        };
        let is_same = self.parent.borrow().as_ref().is_some_and(|it| Rc::ptr_eq(it, outer));
        let moved = if is_same { None } else { Some(self.move_into(outer)) };
        Polled { old_waker, moved }
    }

    fn move_into(self: &Rc<Self>, outer: &Rc<Scope>) -> Moved {
        let count = self.in_flight.get();
        // Else there is nothing inside to look for, which would take long for each of many moves.
        let mut was_told = false;
        self.for_each_outer(|outer| {
            let delegated = outer.delegated.borrow();
            was_told |= delegated.as_ref().is_some_and(|request| request.told_count.get() > 0);
        });
        let (left, mut woken) = self.leave_parent(count);
        outer.adopt(self);
        self.parent.replace(Some(Rc::clone(outer)));
        self.for_each_outer(|outer| outer.in_flight.set(outer.in_flight.get() + count));
        if was_told {
            for request in self.take_strangers() {
                woken.extend(request.untell(false));
            }
        }
        Moved { left, woken }
    }

    /// Returns the outermost scope that it was in.
    fn leave_parent(&self, count: usize) -> (Option<Rc<Scope>>, Vec<Waker>) {
        let (mut root, mut woken) = (None, Vec::new());
        self.for_each_outer(|outer| {
            woken.extend(outer.lose(count));
            woken.extend(outer.waker_if_ending());
            root = Some(Rc::clone(outer));
        });
        let parent = self.parent.take();
        if let Some(parent) = parent {
            parent.inner.borrow_mut().remove(&self.number.get());
        }
        (root, woken)
    }

    /// Takes the requests of owners that are no longer around, here and inside.
    fn take_strangers(self: &Rc<Self>) -> Requests {
        let mut strangers = self.take_strangers_here();
        self.walk(|step| {
            if let Step::Enter(scope) = step {
                strangers.append(&mut scope.take_strangers_here());
            }
            true
        });
        strangers
    }

    fn take_strangers_here(&self) -> Requests {
        let mut state = self.state.borrow_mut();
        let (State::Asked(requests) | State::Ending(requests)) = &mut *state else {
            return Requests::new();
        };
        let is_stranger = |it: &mut Rc<Request>| match it.owner.upgrade() {
            Some(owner) => !self.is_inside(&owner),
            None => true,
        };
        let strangers: Requests = requests.extract_if(.., is_stranger).collect();
        // What was taken already has ended operations, and is answered for.
        if requests.is_empty() && matches!(*state, State::Asked(_)) {
            *state = State::Open;
        }
        strangers
    }

    /// The future is ready while operations that it left are in flight: waits for their end.
    pub(crate) fn settle(&self) {
        let requests = self.change_to(State::Settling);
        for request in requests {
            // It was made of this very scope, which is over.
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
            woken.extend(request.untell(answers));
        }
        if self.forget_joins() {
            self.for_each_outer(|outer| woken.extend(outer.waker_if_ending()));
        }
        if self.in_flight.get() == 0 {
            self.unlink();
        }
        (requests, woken)
    }

    /// The waker of the last poll, once nobody is to be woken any more: the caller drops it while
    /// nothing is borrowed.
    pub(crate) fn forget_waker(&self) -> Option<Waker> {
        self.waker.take()
    }

    fn waker_if_ending(&self) -> Option<Waker> {
        if self.is_ending() { self.take_waker() } else { None }
    }

    fn unlink(&self) {
        let parent = self.parent.borrow().clone();
        if let Some(parent) = parent {
            parent.inner.borrow_mut().remove(&self.number.get());
        }
    }
}

impl Drop for Scope {
    /// Scopes that only this one held are dropped one after the other, and not each inside of the
    /// drop of the one before: a chain of them may be longer than the stack is deep.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut scope) = next.and_then(Rc::into_inner) {
            next = scope.parent.get_mut().take();
        }
    }
}
