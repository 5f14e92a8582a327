//! Tasks: one allocation for the future, its output and the handle's view of both.
//!
//! ```text
//!            1 poll, pending             3 ready or panicked,        4 last operation of
//!           ┌──────────────┐               operations in flight        the task ended
//!           ▼              │            ┌──────────────────────▶ Settling ─────────┐
//!  spawn ─▶ Live ──────────┘            │                                          ▼
//!           │ └─────────────────────────┴──────────────────────────────────▶ Finished
//!           │                             2 ready or panicked, none in flight      ▲
//!           └──────────────────────────────────────────────────────────────────────┘
//!              5 aborted, or its scope ends and is quiet: the future is dropped
//! ```
//!
//! 1 to 3 and 5 happen in `Core::run_task`, 4 in `Core::operation_ended`; the phase is set in
//! `Core::settle` and `Core::finish` only. A request to end is made of the task's scope
//! (`scope.rs`), which exists once somebody asks for it; `aborted` is set by `JoinHandle::abort`,
//! by a grace limit or by a group that was dropped, and never cleared. The table holds the task
//! until it is `Finished`; handles hold the task itself, never a ticket. `[poll-once]`: only
//! `Core::run_task` polls, it never re-enters the same task, and a future is never moved between
//! its first poll and its drop, which happens in place.
#![allow(unsafe_code)] // A future that lives in its task is pinned there.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Core;
use super::context::Place;
use super::join_error::{JoinError, JoinErrorKind};
use super::report::dispose;
use super::scope::Scope;
use super::ticket::Ticket;
use super::trace::TaskSpan;

/// Where a task is in its life. See the drawing above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Live,
    Settling,
    Finished,
}

/// What is known of a task without knowing its future.
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) ticket: Ticket,
    pub(crate) phase: Cell<Phase>,
    /// It was polled. One that is asked to end before never runs.
    pub(crate) begun: Cell<bool>,
    /// The future is to be dropped without being polled again.
    pub(crate) aborted: Cell<bool>,
    /// The runtime's own work, which teardown leaves alone until outboxes had their time.
    pub(crate) background: bool,
    pub(crate) has_handle: Cell<bool>,
    /// The drop of the future panicked, and the outcome does not say so.
    pub(crate) drop_panicked: Cell<bool>,
    /// It ended without a value, by a request or an abort. Stays when the outcome was taken.
    pub(crate) was_cancelled: Cell<bool>,
    pub(crate) joiner: RefCell<Option<Waker>>,
    /// Who hears of its end, beside whoever awaits it.
    pub(super) observer: Cell<Option<Rc<dyn Observe>>>,
    pub(crate) scope: OnceCell<Rc<Scope>>,
    pub(super) name: Cell<Option<Rc<str>>>,
    pub(super) span: TaskSpan,
    /// The task's own context values, while it is not polled.
    pub(crate) context: Place,
}

impl Header {
    /// The task's scope: what was started while it was polled, and what was asked of it.
    pub(crate) fn scope(&self) -> &Rc<Scope> {
        self.scope.get_or_init(|| Scope::of_task(self.ticket))
    }

    /// Asks the task to end; false if it has ended. Returns whom to wake, which is for the caller
    /// to do while nothing is borrowed.
    pub(crate) fn ask(&self, reason: Option<Arc<str>>) -> (bool, Vec<Waker>) {
        match self.phase.get() {
            Phase::Live => (true, self.scope().ask(reason)),
            _ => (false, Vec::new()),
        }
    }

    /// Has the future dropped at the task's next turn; false if it has ended.
    pub(crate) fn abort(&self) -> bool {
        if self.phase.get() != Phase::Live {
            return false;
        }
        self.aborted.set(true);
        self.ticket.wake();
        true
    }

    /// Has the end of a new task told to `observer`; false if it was refused and has ended.
    pub(crate) fn observe(&self, observer: Rc<dyn Observe>) -> bool {
        let is_live = self.phase.get() == Phase::Live;
        if is_live {
            let known = self.observer.replace(Some(observer));
            assert!(known.is_none(), "a new task has no observer");
        }
        is_live
    }

    /// Has the end of the task told to the observer that is made of the one it had.
    pub(crate) fn observe_too(
        &self,
        make: impl FnOnce(Option<Rc<dyn Observe>>) -> Rc<dyn Observe>,
    ) {
        self.observer.set(Some(make(self.observer.take())));
    }

    /// Who hears of the end, as far as it shows itself.
    pub(crate) fn observer(&self) -> Option<Rc<dyn Any>> {
        let observer = self.observer.take();
        self.observer.set(observer.clone());
        observer?.shown()
    }

    pub(crate) fn set_name(&self, name: Rc<str>) {
        self.span.name(&name);
        self.name.set(Some(name));
    }

    pub(crate) fn name(&self) -> Option<Rc<str>> {
        let name = self.name.take();
        self.name.set(name.clone());
        name
    }

    /// Whether its scope took a request and has nothing left to wait for.
    pub(crate) fn is_to_be_dropped(&self) -> bool {
        self.scope.get().is_some_and(|scope| scope.is_ending() && scope.is_quiet())
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.scope.get().map_or(0, |scope| scope.in_flight())
    }
}

/// Who hears of the end of a task.
pub(crate) trait Observe {
    /// Called once, when the task is finished and nothing is borrowed.
    fn ended(self: Rc<Self>, core: &Rc<Core>, how: How);

    /// The observer itself, if it wants to be found again.
    fn shown(self: Rc<Self>) -> Option<Rc<dyn Any>> {
        None
    }
}

/// How a task ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    Value,
    Cancelled,
    Panicked,
}

/// A task as the core sees it.
pub(crate) trait AnyTask {
    fn header(&self) -> &Header;
    /// Polls the future once; true when it is over. Panics end the task, not the core.
    fn poll(&self, context: &mut Context<'_>) -> bool;
    /// Drops the future unfinished; the outcome is `Cancelled`.
    fn end_cancelled(&self);
    /// Drops the outcome, which nobody will take; false if that panicked.
    fn discard(&self) -> bool;
    /// What the outcome is, which nobody took yet; one that was taken passes for a value.
    fn how_it_ended(&self) -> How;
    /// Whether the outcome, which nobody took yet, is that the task was cancelled.
    fn was_cancelled(&self) -> bool {
        self.how_it_ended() == How::Cancelled
    }
    /// The text of the panic that ended the task, if one did and nobody took it.
    fn panic_message(&self) -> Option<String>;
}

/// A task as its handle sees it.
pub(crate) trait Join<T>: AnyTask {
    /// The outcome, once.
    fn take(&self) -> Option<Result<T, JoinError>>;
    /// Whether the outcome, which nobody took yet, is of this kind.
    fn outcome_is(&self, is_it: &dyn Fn(&Result<T, JoinError>) -> bool) -> bool;
}

/// A future with its header, in the one allocation of a spawn.
pub(crate) struct Task<F: Future> {
    header: Header,
    stage: RefCell<Stage<F>>,
}

enum Stage<F: Future> {
    Running(F),
    /// The outcome, until it is taken.
    Over(Option<Result<F::Output, JoinError>>),
}

impl<F: Future> Task<F> {
    pub(crate) fn new(header: Header, future: F) -> Rc<Task<F>> {
        Rc::new(Task { header, stage: RefCell::new(Stage::Running(future)) })
    }

    /// Drops what the stage holds, in place. A panic of that drop is returned.
    fn empty(&self) -> Result<(), Box<dyn Any + Send>> {
        let mut stage = self.stage.borrow_mut();
        // The old value is dropped where it is; if that panics, the new one is put there all the
        // same.
        catch_unwind(AssertUnwindSafe(|| *stage = Stage::Over(None)))
    }

    /// Drops the future, and keeps its outcome. If that drop panics, a value still wins; a task
    /// that was cancelled has panicked.
    fn end(&self, outcome: Result<F::Output, JoinError>) {
        let outcome = match (self.empty(), outcome) {
            (Ok(()), outcome) => outcome,
            (Err(panic), Err(error)) if error.is_cancelled() => {
                Err(self.error(JoinErrorKind::Panic(panic)))
            }
            (Err(panic), outcome) => {
                dispose(panic);
                self.header.drop_panicked.set(true);
                outcome
            }
        };
        self.header.was_cancelled.set(outcome.as_ref().is_err_and(JoinError::is_cancelled));
        if let Stage::Over(place) = &mut *self.stage.borrow_mut() {
            *place = Some(outcome);
        }
    }

    fn error(&self, kind: JoinErrorKind) -> JoinError {
        let (id, spawned_at) = (self.header.id, self.header.spawned_at);
        JoinError::new(kind, id, spawned_at)
    }

    fn poll_future(&self, context: &mut Context<'_>) -> Poll<Result<F::Output, JoinError>> {
        let mut stage = self.stage.borrow_mut();
        let Stage::Running(future) = &mut *stage else { return Poll::Pending };
        // SAFETY: [poll-once] the future stays in its allocation until it is dropped in place.
        let future = unsafe { Pin::new_unchecked(future) };
        match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(self.error(JoinErrorKind::Panic(panic)))),
        }
    }
}

impl<F: Future> AnyTask for Task<F> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn poll(&self, context: &mut Context<'_>) -> bool {
        match self.poll_future(context) {
            Poll::Pending => false,
            Poll::Ready(outcome) => {
                self.end(outcome);
                true
            }
        }
    }

    fn end_cancelled(&self) {
        let reason = self.header.scope.get().and_then(|scope| scope.reason());
        self.end(Err(self.error(JoinErrorKind::Cancelled(reason))));
    }

    fn discard(&self) -> bool {
        self.empty().map_err(dispose).is_ok()
    }

    fn how_it_ended(&self) -> How {
        match &*self.stage.borrow() {
            Stage::Over(Some(Err(error))) if error.is_cancelled() => How::Cancelled,
            Stage::Over(Some(Err(_))) => How::Panicked,
            _ => How::Value,
        }
    }

    fn panic_message(&self) -> Option<String> {
        match &*self.stage.borrow() {
            Stage::Over(Some(Err(error))) => error.panic_message(),
            _ => None,
        }
    }
}

impl<F: Future> Join<F::Output> for Task<F> {
    fn take(&self) -> Option<Result<F::Output, JoinError>> {
        match &mut *self.stage.borrow_mut() {
            Stage::Over(outcome) => outcome.take(),
            Stage::Running(_) => unreachable!("the outcome is taken from finished tasks only"),
        }
    }

    fn outcome_is(&self, is_it: &dyn Fn(&Result<F::Output, JoinError>) -> bool) -> bool {
        matches!(&*self.stage.borrow(), Stage::Over(Some(outcome)) if is_it(outcome))
    }
}
