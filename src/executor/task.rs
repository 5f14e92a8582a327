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
//!                 5 pending, cancel requested, none in flight: the future is dropped
//! ```
//!
//! 1 to 3 and 5 happen in `Core::run_task`, 4 in `Core::operation_ended`; the phase is set in
//! `Core::settle` and `Core::finish` only. `cancel` is set by `JoinHandle::cancel` and by teardown,
//! and never cleared. The table holds the task until it is `Finished`; handles hold the task
//! itself, never a ticket. `[poll-once]`: only `Core::run_task` polls, it never re-enters, and a
//! future is never moved between its first poll and its drop, which happens in place.
#![allow(unsafe_code)] // A future that lives in its task is pinned there.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::context::Place;
use super::report::{dispose, panic_text};
use super::ticket::Ticket;
use crate::driver::Token;

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
    /// Somebody asked the task to end.
    pub(crate) cancel: Cell<bool>,
    /// The runtime's own work, which teardown leaves alone until outboxes had their time.
    pub(crate) background: bool,
    pub(crate) has_handle: Cell<bool>,
    /// The drop of the future panicked, and the outcome does not say so.
    pub(crate) drop_panicked: Cell<bool>,
    pub(crate) joiner: RefCell<Option<Waker>>,
    /// Operations that were started while this task was polled and have not ended.
    pub(crate) operations: RefCell<BTreeSet<Token>>,
    /// The task's own context values, while it is not polled.
    pub(crate) context: Place,
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
    /// The text of the panic that ended the task, if one did and nobody took it.
    fn panic_message(&self) -> Option<String>;
}

/// A task as its handle sees it.
pub(crate) trait Join<T>: AnyTask {
    /// The outcome, once.
    fn take(&self) -> Option<Result<T, JoinError>>;
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
        if let Stage::Over(place) = &mut *self.stage.borrow_mut() {
            *place = Some(outcome);
        }
    }

    fn error(&self, kind: JoinErrorKind) -> JoinError {
        let (id, spawned_at) = (self.header.id, self.header.spawned_at);
        JoinError(Box::new(Ending { kind, id, spawned_at }))
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
        self.end(Err(self.error(JoinErrorKind::Cancelled)));
    }

    fn discard(&self) -> bool {
        self.empty().map_err(dispose).is_ok()
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
}

/// Why a task has no value: it was cancelled, or it panicked.
pub struct JoinError(Box<Ending>);

struct Ending {
    kind: JoinErrorKind,
    id: u64,
    spawned_at: &'static Location<'static>,
}

enum JoinErrorKind {
    Cancelled,
    Panic(Box<dyn Any + Send>),
}

impl JoinError {
    /// Whether the task was cancelled, or its runtime ended.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0.kind, JoinErrorKind::Cancelled)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        !self.is_cancelled()
    }

    /// What the task panicked with, for `std::panic::resume_unwind`.
    ///
    /// # Panics
    ///
    /// If the task did not panic.
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.0.kind {
            JoinErrorKind::Panic(payload) => payload,
            JoinErrorKind::Cancelled => {
                panic!("task {} was cancelled, it did not panic", self.0.id)
            }
        }
    }

    fn panic_message(&self) -> Option<String> {
        let JoinErrorKind::Panic(payload) = &self.0.kind else { return None };
        Some(panic_text(&**payload))
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.panic_message() {
            Some(text) => {
                write!(f, "task {} spawned at {} panicked: {text}", self.0.id, self.0.spawned_at)
            }
            None => write!(f, "task {} spawned at {} was cancelled", self.0.id, self.0.spawned_at),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {}
