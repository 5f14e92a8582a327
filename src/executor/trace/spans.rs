//! Spans for `tracing`: one for each task, and one for each operation. Feature `tracing`.
//!
//! A task's span is made where the task is spawned, so it lies in the span of whoever spawns it. It
//! is entered for each poll, and closed at the task's end, whoever still holds its handle. That of
//! an operation lies in the span of who starts it, from there to its last completion. What stands
//! (a receive, an accept) is an operation like others, and lives as long as it stands.
//!
//! A subscriber is foreign code: it is called while nothing of the core is borrowed.

use std::cell::Cell;
use std::panic::Location;

use tracing::field::{Empty, display};
use tracing::{Span, debug_span, trace_span};

use crate::driver::Op;

/// A task's span. It is away while it is entered.
pub(in crate::executor) struct TaskSpan(Cell<Span>);

impl TaskSpan {
    pub(in crate::executor) fn new(
        id: u64,
        spawned_at: &'static Location<'static>,
        background: bool,
    ) -> Self {
        let span = match background {
            // The runtime's own.
            true => Span::none(),
            false => debug_span!("task", id, name = Empty, spawned_at = %spawned_at),
        };
        TaskSpan(Cell::new(span))
    }

    /// Tells the task's name.
    pub(in crate::executor) fn name(&self, name: &str) {
        let span = self.0.replace(Span::none());
        // A task that names itself is inside of its span.
        let is_away = span.is_none();
        let target = if is_away { Span::current() } else { span };
        target.record("name", display(name));
        if !is_away {
            self.0.set(target);
        }
    }

    /// Runs a step of the task, which does not unwind, inside of its span.
    pub(in crate::executor) fn within<T>(&self, step: impl FnOnce() -> T) -> T {
        let span = self.0.replace(Span::none());
        let result = span.in_scope(step);
        self.0.set(span);
        result
    }

    /// The task has ended.
    pub(in crate::executor) fn close(&self) {
        drop(self.0.replace(Span::none()));
    }
}

/// The span of an operation in flight.
pub(in crate::executor) struct OperationSpan(Span);

impl OperationSpan {
    pub(in crate::executor) fn new(op: &Op) -> OperationSpan {
        OperationSpan(trace_span!("operation", op = ?op, result = Empty))
    }

    /// That of nothing.
    pub(in crate::executor) fn none() -> OperationSpan {
        OperationSpan(Span::none())
    }

    /// Tells what came of it, and ends.
    pub(in crate::executor) fn completed(self, result: i32) {
        self.0.record("result", result);
    }
}

impl Default for OperationSpan {
    fn default() -> OperationSpan {
        OperationSpan::none()
    }
}
